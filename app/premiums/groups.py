"""Who is insured together (PRM-13): groups, and who belongs to them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, text
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


async def add(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    code: str,
    name: str,
    product_code: str,
    payer: Payer,
    now: datetime,
) -> tuple[InsuredGroup, bool]:
    """A group whose members apply with its code; it and whether this request was answered
    before.

    Raises NotFound, GroupInvalid, GroupCodeTaken, RequestReused.
    """
    group_id = new_id(now)
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="addInsuredGroup",
        values={"code": code, "name": name, "productCode": product_code, "payer": payer},
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
        created_at=now,
        created_by=staff_id,
    )
    session.add(made)
    await session.flush()
    return made, False


async def join(session: AsyncSession, policy: Policy, product: Product, code: str) -> None:
    """Have a new policy be one of a group's. Raises NotFound."""
    found = await session.exec(
        select(InsuredGroup).where(
            InsuredGroup.code == _folded(code),
            InsuredGroup.product_code == product.code,
            col(InsuredGroup.active),
        )
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


_LOCK = text("select pg_advisory_xact_lock(hashtextextended('insured group ' || :code, 0))")


def _folded(code: str) -> str:
    return code.strip().upper()


def _is_text(said: str, length_max: int) -> bool:
    return bool(said.strip()) and len(said) <= length_max and "\0" not in said


def _length(length_max: int) -> Text:
    return Text(
        zh=f"须为 1 至 {length_max} 个字符。", en=f"It is 1 to {length_max} characters long."
    )
