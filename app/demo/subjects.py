"""Who can sign in to the demo: members and employees with the local issuer's subjects."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.adapters.local_issuer import ISSUER
from app.config import Settings
from app.demo.population import Person
from app.errors import Explained
from app.ids import new_id
from app.members.models import (
    CareAssignment,
    Employee,
    Guardianship,
    Member,
    MemberSignIn,
    StaffSignIn,
)
from app.place import Place
from app.premiums import service as premiums
from app.premiums.policy_models import InsuredGroup

STAFF = {
    "manager": ("周晓芸", ["HEALTH_MANAGER"]),
    "manager2": ("Erik Lindqvist", ["HEALTH_MANAGER"]),
    "campaigner": ("何佳", ["CAMPAIGN_MANAGER"]),
    "campaigner2": ("Maya Torres", ["CAMPAIGN_MANAGER"]),
    "actuary": ("沈博文", ["ACTUARY"]),
    "actuary2": ("Nils Berg", ["ACTUARY"]),
    "auditor": ("罗敏", ["AUDITOR"]),
    "admin": ("Ada Admin", ["ADMIN"]),
}


class NobodyOfThatName(Explained):
    def __init__(self, subject: str) -> None:
        kind, login = subject.split(":", 1)
        who = "member" if kind == "member" else "employee"
        super().__init__(
            f"There is no {who} with the login {login!r}; "
            "`wellward up` makes the demo population (members demo and demo2, employees "
            f"{', '.join(STAFF)})."
        )


async def require(place: Place, settings: Settings, subject: str) -> None:
    """Raises NobodyOfThatName."""
    db = place.open(settings)
    statement = text("""
        select exists(select from member_sign_ins where issuer = :issuer and subject = :subject)
        or exists(select from staff_sign_ins where issuer = :issuer and subject = :subject)
    """)
    try:
        async with db.read() as connection:
            parameters = {"issuer": ISSUER, "subject": subject}
            known = (await connection.execute(statement, parameters)).scalar_one()
    finally:
        await db.close()
    if not known:
        raise NobodyOfThatName(subject)


async def hire(session: AsyncSession, *, now: datetime) -> dict[str, UUID]:
    """The demo's employees, by login."""
    made = {}
    for login, (name, roles) in STAFF.items():
        staff_id = new_id(now)
        locale = "en" if name.isascii() else "zh-CN"
        session.add(
            Employee(
                staff_id=staff_id,
                display_name=name,
                roles=roles,
                locale=locale,
                active=True,
                created_at=now,
            )
        )
        await session.flush()
        session.add(StaffSignIn(issuer=ISSUER, subject=f"staff:{login}", staff_id=staff_id))
        made[login] = staff_id
    return made


async def enrol(
    session: AsyncSession,
    person: Person,
    *,
    starts_on: date,
    manager_id: UUID,
    group: InsuredGroup | None = None,
    now: datetime,
) -> UUID:
    """A member with a sign-in, a health manager, a policy (of the group) and its tasks."""
    member_id = await admit(session, person, manager_id=manager_id, now=now)
    await premiums.enrol(
        session,
        member_id=member_id,
        product_code=group.product_code if group else "starter",
        starts_on=starts_on,
        group_code=group.code if group else None,
        now=now,
    )
    return member_id


async def admit(session: AsyncSession, person: Person, *, manager_id: UUID, now: datetime) -> UUID:
    """A member with a sign-in and a health manager, who has no policy yet."""
    member_id = new_id(now)
    session.add(
        Member(
            member_id=member_id,
            display_name=person.display_name,
            birth_date=person.birth_date,
            sex=person.sex,
            phone=person.phone,
            phone_verified_at=now,
            time_zone=person.time_zone,
            locale=person.locale,
            region=person.region,
            occupation=person.occupation,
            residence=person.residence,
            income_band=person.income_band,
            created_at=now,
        )
    )
    await session.flush()
    session.add(
        MemberSignIn(
            issuer=ISSUER,
            subject=f"member:{person.login}",
            member_id=member_id,
            login=person.login,
        )
    )
    session.add(
        CareAssignment(
            member_id=member_id, staff_id=manager_id, role="HEALTH_MANAGER", assigned_at=now
        )
    )
    return member_id


async def guard(session: AsyncSession, *, child_id: UUID, guardian_id: UUID, now: datetime) -> None:
    """A guardian who may act for the child."""
    session.add(Guardianship(member_id=child_id, guardian_id=guardian_id, consented_at=now))
