"""Which members an employee finds: those they may see, by a search and a filter."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Uuid,
    any_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy import text as sql_text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased
from sqlmodel import col

from app.members.models import ConsentRecord, Employee, Member, MemberSignIn
from app.members.rules import AgeRange, ConsentPurpose, ConsentState, Sex, StaffRole, born_within

SEARCH_LENGTH_MAX = 100

_LOOKED_AFTER = """
select a.member_id from care_assignments a where a.staff_id = :staff_id and a.ended_at is null
"""

GROUNDS = [_LOOKED_AFTER]
"""Why a health manager may see members: selects of their `member_id`, given `:staff_id`. The
wiring adds those of upper domains."""

Condition = ColumnElement[bool]

UPPER_CONDITIONS: dict[str, Callable[[Any, Sequence[Any]], Condition]] = {}
"""What upper domains know of a member, by the name of the filter's field: given the column of
the member's id and the values of which one must hold. The wiring adds them."""


def has_ground() -> str:
    """Whether a member is among those of `GROUNDS`, as SQL for a statement on `members`."""
    return f"members.member_id in ({' union all '.join(GROUNDS)})"


async def is_grounded(
    connection: AsyncConnection, *, staff_id: UUID, member_id: UUID
) -> bool | None:
    """Whether the employee has a ground to see the member; None when there is no such
    member."""
    statement = sql_text(f"select {has_ground()} from members where member_id = :member_id")
    keys = [bindparam(name, type_=Uuid) for name in ("staff_id", "member_id")]
    found: bool | None = (
        await connection.execute(
            statement.bindparams(*keys), {"staff_id": staff_id, "member_id": member_id}
        )
    ).scalar_one_or_none()
    return found


async def find(
    connection: AsyncConnection,
    *,
    seen_by: UUID | None,
    search: str | None,
    condition: Condition | None,
    after: UUID | None,
    limit: int,
) -> Sequence[UUID]:
    """Members, the newest first, after a key. `seen_by` is the health manager who looks;
    None looks at everybody. An erased member is not found."""
    statement = select(col(Member.member_id)).where(col(Member.erased_at).is_(None))
    if seen_by is not None:
        ground = sql_text(has_ground()).bindparams(bindparam("staff_id", seen_by, Uuid))
        statement = statement.where(ground)
    if search is not None:
        statement = statement.where(_matches(search))
    if condition is not None:
        statement = statement.where(condition)
    if after is not None:
        statement = statement.where(col(Member.member_id) < after)
    statement = statement.order_by(col(Member.member_id).desc()).limit(limit)
    return (await connection.execute(statement)).scalars().all()


def _matches(search: str) -> Condition:
    """A part of the name, login or telephone number, whatever the case."""
    login = exists().where(
        col(MemberSignIn.member_id) == Member.member_id,
        col(MemberSignIn.login).icontains(search, autoescape=True),
    )
    found = [col(Member.display_name).icontains(search, autoescape=True), login]
    digits = "".join(letter for letter in search if letter.isascii() and letter.isdigit())
    if digits and not search.strip("+-() 0123456789"):
        # Kept as +8613800000000; people write spaces and hyphens, and no country code.
        found.append(col(Member.phone).contains(digits))
    return or_(*found)


def of_sexes(sexes: Sequence[Sex]) -> Condition:
    return col(Member.sex).in_(sexes)


def of_age(age: AgeRange, *, today: date) -> Condition:
    """In completed years on the day `today`, both ends included."""
    earliest, latest = born_within(age, today=today)
    return col(Member.birth_date).between(earliest, latest)


def in_regions(codes: Sequence[str]) -> Condition:
    """Of these codes, or of a part of theirs: `CN-31` holds `CN-31-01`."""
    region = col(Member.region)
    return func.coalesce(
        or_(region.in_(codes), *(region.startswith(f"{code}-", autoescape=True) for code in codes)),
        False,
    )


def with_consent(purpose: ConsentPurpose, states: Sequence[ConsentState]) -> Condition:
    """By the answer in force; who was never asked has none."""
    in_force = (
        select(col(ConsentRecord.state))
        .where(
            col(ConsentRecord.member_id) == Member.member_id,
            col(ConsentRecord.purpose) == purpose,
        )
        .order_by(col(ConsentRecord.version).desc())
        .limit(1)
        .scalar_subquery()
    )
    return func.coalesce(in_force, ConsentState.NOT_ASKED.value).in_(states)


async def employees(connection: AsyncConnection, staff_ids: Sequence[UUID]) -> Sequence[Employee]:
    """Rows with the columns of `staff`, also of those who have left."""
    statement = select(Employee).where(col(Employee.staff_id).in_(staff_ids))
    return (await connection.execute(statement)).all()  # type: ignore[return-value]


async def health_managers(
    connection: AsyncConnection, *, after: UUID | None, limit: int
) -> Sequence[Employee]:
    """The active ones, by name, after an employee: rows with the columns of `staff`."""
    statement = select(Employee).where(
        col(Employee.active), literal(StaffRole.HEALTH_MANAGER.value) == any_(col(Employee.roles))
    )
    key = tuple_(col(Employee.display_name), col(Employee.staff_id))
    if after is not None:
        last = aliased(Employee)
        name = select(col(last.display_name)).where(col(last.staff_id) == after).scalar_subquery()
        statement = statement.where(key > tuple_(name, literal(after, Uuid)))
    statement = statement.order_by(col(Employee.display_name), col(Employee.staff_id)).limit(limit)
    return (await connection.execute(statement)).all()  # type: ignore[return-value]
