"""Members with tasks, and how they check in; for the tests of tasks, check-ins and periods."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from app.checkins import service as checkins
from app.db import Database
from app.graphql.ids import Kind, encode
from app.health_tasks import service as health_tasks
from app.health_tasks import templates
from app.members.models import Member
from app.points import service as points
from tests.factories import NOON, as_member, execute, make_member

PRODUCT_VERSION = UUID(int=7)
CHECK_IN = """
mutation ($input: CheckInInput!) { checkIn(input: $input) { __typename
  ... on CheckInPayload { replayed
    checkIn { id state occurredAt localDate value pointsAwarded explanation }
    task { id done target state latestCheckIn { id } }
    points { id available pending } }
  ... on UserError { code message field } } }
"""


async def give_tasks(
    db: Database,
    member_id: UUID,
    *codes: str,
    points_each: int = 10,
    starts_on: date = date(2026, 3, 2),
    late_data_days: int = 30,
    now: datetime = NOON,
) -> dict[str, UUID]:
    """A wallet and these tasks, `walk` or `walk 2` for its second version; the assignment of
    each code."""
    async with db.transaction() as session:
        await templates.load_templates(session)
        await points.open_wallet(session, member_id=member_id)
        assignments = await health_tasks.assign(
            session,
            member=await session.get_one(Member, member_id),
            tasks=[health_tasks.Promise(*_version(code), points_each) for code in codes],
            product_version_id=PRODUCT_VERSION,
            expires_after_months=12,
            late_data_days=late_data_days,
            starts_on=starts_on,
            now=now,
        )
    return {assignment.template_code: assignment.id for assignment in assignments}


def _version(code: str) -> tuple[str, int]:
    name, _, version = code.partition(" ")
    return name, int(version or 1)


async def make_tasked(
    db: Database, *codes: str, now: datetime = NOON, **options: Any
) -> tuple[UUID, dict[str, UUID]]:
    """A member with these tasks; options of `make_member` and `give_tasks`."""
    of_tasks = {
        name: options.pop(name)
        for name in ("points_each", "starts_on", "late_data_days")
        if name in options
    }
    member_id = await make_member(db, now=now, **options)
    return member_id, await give_tasks(db, member_id, *codes, now=now, **of_tasks)


def task_id(member_id: UUID, assignment_id: UUID, starts_on: date = date(2026, 3, 2)) -> str:
    return encode(Kind.TASK, member_id, assignment_id, starts_on)


async def check_in(
    db: Database,
    member_id: UUID,
    assignment_id: UUID,
    starts_on: date = date(2026, 3, 2),
    *,
    now: datetime = NOON,
    request_id: UUID | None = None,
    occurred_at: datetime | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """The result of the mutation, as the phone sees it."""
    sent = {
        "requestId": str(request_id or uuid4()),
        "taskId": task_id(member_id, assignment_id, starts_on),
        "occurredAt": (occurred_at or now).isoformat(),
        **changes,
    }
    context = as_member(db, member_id, now=now)
    data = await execute(CHECK_IN, {"input": sent}, context=context)
    result: dict[str, Any] = data["checkIn"]
    return result


async def next_expiry(db: Database, member_id: UUID, *, now: datetime = NOON) -> Any:
    """What the member sees of the points that expire next."""
    context = as_member(db, member_id, now=now)
    data = await execute("{ me { points { nextExpiry { amount expiresOn } } } }", context=context)
    return data["me"]["points"]["nextExpiry"]


async def tick(
    db: Database,
    member_id: UUID,
    assignment_id: UUID,
    starts_on: date,
    *,
    at: datetime,
    value: Decimal | None = None,
    now: datetime | None = None,
) -> checkins.CheckedIn:
    """A check-in through the service, for histories."""
    return await checkins.check_in(
        db,
        member_id=member_id,
        acted_by=member_id,
        sent=checkins.NewCheckIn(uuid4(), assignment_id, starts_on, at, value, None),
        now=now or at,
    )


def about_noon(days: int) -> datetime:
    """So many days later, and as little to the minute as people are."""
    return NOON + timedelta(days=days, minutes=days**2 % 11)


async def rows(db: Database, sql: str, **parameters: Any) -> list[Any]:
    async with db.read() as connection:
        return list((await connection.execute(text(sql), parameters)).all())


async def earned(db: Database, member_id: UUID) -> tuple[int, int]:
    """Points available, and how many transfers there are."""
    [row] = await rows(
        db,
        "select available, (select count(*) from points_transfers t where t.member_id = w.member_id)"
        " from wallets w where member_id = :member_id",
        member_id=member_id,
    )
    return tuple(row)
