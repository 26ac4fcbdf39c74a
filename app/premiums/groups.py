"""Who is insured together (PRM-13): groups, and who belongs to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Integer, bindparam, func, text
from sqlalchemy import Text as SqlText
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.members import requests
from app.premiums import catalogue
from app.premiums.contract_terms import Payer
from app.premiums.models import Policy
from app.premiums.policy_models import InsuredGroup
from app.premiums.product import Product
from app.texts import Text

NAME_LENGTH_MAX = 120
CODE_LENGTH_MAX = 40
PEOPLE_MAX = 1_000_000


class GroupInvalid(UserError):
    def __init__(self, field: str, text: Text) -> None:
        super().__init__(ErrorCode.VALUE_OUT_OF_RANGE, text, field=field)


class GroupCodeTaken(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.CODE_INVALID,
            Text(zh="这个团体代码已被使用。", en="There is a group with this code already."),
            field="code",
        )


class GroupClosed(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.ALREADY_DECIDED,
            Text(zh="这个团体已关闭。", en="The group is closed already."),
            field="code",
        )


async def add(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    code: str,
    name: str,
    product_code: str,
    payer: Payer,
    people: int,
    now: datetime,
) -> tuple[InsuredGroup, bool]:
    """A group of so many people, who apply with its code; it and whether this request was answered
    before.

    Raises NotFound, GroupInvalid, GroupCodeTaken, RequestReused.
    """
    group_id = new_id(now)
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="addInsuredGroup",
        values={
            "code": code,
            "name": name,
            "productCode": product_code,
            "payer": payer,
            "people": people,
        },
        result=group_id,
        now=now,
    )
    if earlier is not None:
        return await session.get_one(InsuredGroup, earlier), True
    if not _is_text(name, NAME_LENGTH_MAX):
        raise GroupInvalid("name", _length(NAME_LENGTH_MAX))
    if not _is_text(code, CODE_LENGTH_MAX):
        raise GroupInvalid("code", _length(CODE_LENGTH_MAX))
    try:
        version = await catalogue.offered(session, product_code, region=None)
    except catalogue.ProductUnknown as error:
        raise NotFound(field="productCode") from error
    terms = catalogue.definition(version.id, version.definition).groups
    allowed = terms.payers if terms else ()
    if payer not in allowed:
        named = ", ".join(it.name for it in allowed) or "-"
        raise GroupInvalid(
            "payer",
            Text(zh=f"该产品的团体只能由 {named} 支付。", en=f"Who pays for a group: {named}."),
        )
    least = terms.members_min if terms else 1
    if not least <= people <= PEOPLE_MAX:
        raise GroupInvalid(
            "people",
            Text(
                zh=f"该产品的团体至少 {least} 人，最多 {PEOPLE_MAX} 人。",
                en=f"A group of this product has at least {least} people, at most {PEOPLE_MAX}.",
            ),
        )
    # Of two rivals for a code the second waits for the first, and then finds it.
    await session.execute(_LOCK, {"code": _folded(code)})
    known = await session.exec(select(InsuredGroup).where(InsuredGroup.code == _folded(code)))
    if known.first() is not None:
        raise GroupCodeTaken
    made = InsuredGroup(
        id=group_id,
        code=_folded(code),
        name=name.strip(),
        product_code=product_code,
        payer=payer.name,
        people=people,
        created_at=now,
        created_by=staff_id,
    )
    session.add(made)
    await session.flush()
    return made, False


async def close(
    session: AsyncSession, *, staff_id: UUID, request_id: UUID, code: str, now: datetime
) -> tuple[InsuredGroup, bool]:
    """Have nobody new join; who is insured stays so. The group, and whether this request was
    answered before. Raises NotFound, GroupClosed, RequestReused."""
    found = await session.exec(
        select(InsuredGroup)
        .where(InsuredGroup.code == _folded(code))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    group = found.one_or_none()
    if group is None:
        raise NotFound(field="code")
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="closeInsuredGroup",
        values={"code": _folded(code)},
        result=group.id,
        now=now,
    )
    if earlier is not None:
        return group, True
    if not group.active:
        raise GroupClosed
    group.active, group.closed_at, group.closed_by = False, now, staff_id
    await session.flush()
    return group, False


@dataclass(frozen=True, slots=True)
class Listed:
    group: Any
    """A row with the columns of `insured_groups`."""
    members: int
    """Covered now."""


async def listed(
    connection: AsyncConnection, *, after: str | None, active: bool | None, limit: int
) -> Sequence[Listed]:
    """By code, with one statement."""
    rows = await connection.execute(_LISTED, {"after": after, "active": active, "limit": limit})
    return [Listed(row, row.members) for row in rows]


async def join(session: AsyncSession, policy: Policy, product: Product, code: str) -> None:
    """Have a new policy be one of a group's. Raises NotFound."""
    found = await session.exec(
        select(InsuredGroup)
        .where(
            InsuredGroup.code == _folded(code),
            InsuredGroup.product_code == product.code,
            col(InsuredGroup.active),
        )
        # Whoever closes it waits, or we see that it is closed.
        .with_for_update(read=True)
    )
    group = found.one_or_none()
    if group is None or product.groups is None:
        raise NotFound(field="groupCode")
    policy.group_id, policy.payer = group.id, group.payer


async def size(session: AsyncSession, group_id: UUID) -> int:
    """How many of the group are covered now."""
    counted = await session.exec(
        select(func.count()).where(
            col(Policy.group_id) == group_id, col(Policy.state) == "IN_FORCE"
        )
    )
    return counted.one()


_LISTED = text("""
select g.*, (select count(*) from policies p
  where p.group_id = g.id and p.state = 'IN_FORCE') as members
from insured_groups g
where (cast(:after as text) is null or g.code > :after)
and (cast(:active as boolean) is null or g.active = :active)
order by g.code limit :limit
""").bindparams(
    bindparam("after", type_=SqlText),
    bindparam("active", type_=Boolean),
    bindparam("limit", type_=Integer),
)
_LOCK = text("select pg_advisory_xact_lock(hashtextextended('insured group ' || :code, 0))")


def _folded(code: str) -> str:
    return code.strip().upper()


def _is_text(said: str, length_max: int) -> bool:
    return bool(said.strip()) and len(said) <= length_max and "\0" not in said


def _length(length_max: int) -> Text:
    return Text(
        zh=f"须为 1 至 {length_max} 个字符。", en=f"It is 1 to {length_max} characters long."
    )
