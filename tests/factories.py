"""Makes what a test needs, as plain functions."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson

from app.db import Database
from app.events import Events
from app.graphql.context import Context, Viewer
from app.ids import new_id
from app.members.models import (
    CareAssignment,
    ConsentRecord,
    Employee,
    Guardianship,
    Member,
    MemberSignIn,
    StaffSignIn,
)
from app.members.sign_in import decide_access
from app.nudges.models import Message

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
"""A Monday, noon in Shanghai."""

ISSUER = "https://issuer.test"


async def make_member(
    db: Database,
    *,
    login: str | None = None,
    display_name: str = "王芳",
    birth_date: date = date(1975, 5, 17),
    sex: str = "FEMALE",
    phone: str | None = None,
    email: str | None = None,
    time_zone: str = "Asia/Shanghai",
    locale: str = "en",
    region: str | None = None,
    consents: bool = True,
    now: datetime = NOON,
) -> UUID:
    """A member who can sign in as `member:<login>`; with the consent to health data unless
    `consents` is false (then never asked)."""
    member_id = new_id(now)
    login = login or f"m{member_id.hex[-12:]}"
    async with db.transaction() as session:
        session.add(
            Member(
                member_id=member_id,
                display_name=display_name,
                birth_date=birth_date,
                sex=sex,
                phone=phone,
                phone_verified_at=now if phone else None,
                email=email,
                email_verified_at=now if email else None,
                time_zone=time_zone,
                locale=locale,
                region=region,
                created_at=now,
            )
        )
        await session.flush()
        session.add(
            MemberSignIn(issuer=ISSUER, subject=f"member:{login}", member_id=member_id, login=login)
        )
        if consents:
            session.add(consent(member_id, "HEALTH_DATA", "GRANTED", now=now))
    return member_id


def consent(
    member_id: UUID, purpose: str, state: str, *, version: int = 1, now: datetime = NOON
) -> ConsentRecord:
    return ConsentRecord(
        member_id=member_id,
        purpose=purpose,
        version=version,
        state=state,
        text_version="2026-01",
        recorded_at=now,
        recorded_by=member_id,
    )


async def make_staff(
    db: Database, *roles: str, display_name: str = "Zhou", active: bool = True
) -> UUID:
    staff_id = uuid4()
    async with db.transaction() as session:
        session.add(
            Employee(
                staff_id=staff_id,
                display_name=display_name,
                roles=list(roles or ("HEALTH_MANAGER",)),
                locale="en",
                active=active,
                created_at=NOON,
            )
        )
        await session.flush()
        session.add(StaffSignIn(issuer=ISSUER, subject=f"staff:{staff_id.hex}", staff_id=staff_id))
    return staff_id


async def assign(db: Database, staff_id: UUID, *member_ids: UUID) -> None:
    """These members are looked after by this health manager."""
    async with db.transaction() as session:
        for member_id in member_ids:
            session.add(
                CareAssignment(
                    member_id=member_id,
                    staff_id=staff_id,
                    role="HEALTH_MANAGER",
                    assigned_at=NOON,
                )
            )


async def guard(db: Database, *, child_id: UUID, guardian_id: UUID) -> None:
    async with db.transaction() as session:
        session.add(Guardianship(member_id=child_id, guardian_id=guardian_id, consented_at=NOON))


def as_member(
    db: Database,
    member_id: UUID,
    *,
    now: datetime = NOON,
    locale: str = "en",
    acting_for: UUID | None = None,
) -> Context:
    viewer = Viewer(member_id=member_id, acting_for=acting_for, locale=locale)
    return context(db, viewer, now=now)


def as_staff(
    db: Database, staff_id: UUID, *roles: str, now: datetime = NOON, locale: str = "en"
) -> Context:
    held = frozenset(roles or ("HEALTH_MANAGER",))
    return context(db, Viewer(staff_id=staff_id, roles=held, locale=locale), now=now)


def context(db: Database, viewer: Viewer, *, now: datetime = NOON) -> Context:
    """As the web process makes it for one request; its events go nowhere."""
    from app.schema import FACETS

    return Context(
        db=db,
        now=now,
        viewer=viewer,
        events=Events("postgresql:///"),
        decide_access=decide_access,
        members=FACETS,
        request_id="test",
        operation="Test",
    )


async def execute(
    document: str, variables: dict[str, Any] | None = None, *, context: Context
) -> dict[str, Any]:
    """The data of an operation that must have no errors."""
    from app.schema import schema

    result = await schema.execute(document, variables, context_value=context)
    assert result.errors is None, result.errors
    assert result.data is not None
    return result.data


def as_json(data: Any) -> Any:
    """As a client gets it: days and instants are texts."""
    return orjson.loads(orjson.dumps(data))


async def refused(
    document: str, variables: dict[str, Any] | None = None, *, context: Context
) -> str:
    """The code of an operation that must have no data."""
    from app.schema import schema

    result = await schema.execute(document, variables, context_value=context)
    assert result.data is None and result.errors, result.data
    error = result.errors[0]
    found = (error.extensions or {}).get("code") or getattr(error.original_error, "code", None)
    assert found is not None, error
    return str(found)


async def counts(db: Database) -> dict[str, int]:
    """How many rows every table has: equal before and after means that nothing moved."""
    from sqlalchemy import text

    from app.tables import metadata

    tables = [table.name for table in metadata.sorted_tables]
    columns = ", ".join(f'(select count(*) from "{name}") as "{name}"' for name in tables)
    async with db.read() as connection:
        row = (await connection.execute(text(f"select {columns}"))).one()
    return dict(zip(tables, row, strict=True))


async def contents(db: Database, *tables: str) -> dict[str, list[str]]:
    """Every row of these tables, or of all: equal before and after means that nothing moved."""
    from sqlalchemy import text

    from app.tables import metadata

    found = {}
    async with db.read() as connection:
        for name in tables or tuple(table.name for table in metadata.sorted_tables):
            rows = await connection.execute(text(f'select t::text from "{name}" t order by 1'))
            found[name] = list(rows.scalars())
    return found


async def make_message(
    db: Database,
    member_id: UUID,
    *,
    title: str = "Walk",
    topic: str = "REMINDERS",
    sent_at: datetime | None = NOON,
    in_inbox: bool = True,
    action: tuple[str, str] | None = None,
    suppressed: str | None = None,
    source_id: UUID | None = None,
) -> UUID:
    """A message, as planning leaves it; not in the inbox when `in_inbox` is false."""
    id = new_id(NOON)
    async with db.transaction() as session:
        session.add(
            Message(
                member_id=member_id,
                id=id,
                cause_key=f"test:{id}",
                topic=topic,
                template="reminder.TASK",
                title=title,
                body=f"{title}, please.",
                action_label=action[0] if action else None,
                action_url=action[1] if action else None,
                local_date=NOON.date(),
                planned_at=NOON,
                sent_at=sent_at if in_inbox else None,
                in_inbox=in_inbox,
                suppressed_reason=suppressed,
                source_id=source_id,
            )
        )
    return id


def operation(name: str, client: str = "app") -> str:
    """The text of a trusted document of the member app, or of the `console`."""
    folder = Path(__file__).parent.parent / "schema" / "operations" / client
    return (folder / f"{name}.graphql").read_text("utf-8")
