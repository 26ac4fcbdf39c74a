"""What an applicant declares: conditions that they have, and what the product asks to confirm."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, UserError
from app.premiums import history, terms, underwriting
from app.premiums.history import Actor
from app.premiums.lifecycle import PolicyEventKind, PolicyState
from app.premiums.models import Policy
from app.premiums.policy_models import Underwriting
from app.premiums.product import Product
from app.records import health
from app.texts import Text

CONDITIONS_MAX = 30


class DeclarationInvalid(UserError):
    def __init__(self, field: str, text: Text) -> None:
        super().__init__(ErrorCode.ANSWER_INVALID, text, field=field)


@dataclass(frozen=True, slots=True)
class Declared:
    conditions: tuple[str, ...]
    """ICD-10."""
    confirmed: Mapping[str, bool]
    """To each declaration of the product, by code."""


async def declare(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    policy_id: UUID,
    declared: Declared,
    by: Actor,
    now: datetime,
) -> tuple[Policy, bool]:
    """Answer the declarations, or answer them anew, while nobody has decided. The policy, and
    whether this request was answered before.

    Raises NotFound, PolicyStateInvalid, DeclarationInvalid, RequestReused.
    """
    policy = await history.lock(session, member_id, policy_id)
    values = {
        "policyId": policy_id,
        "conditions": list(declared.conditions),
        "confirmed": dict(declared.confirmed),
    }
    if await history.claim(
        session, member_id, request_id, "declareForPolicy", policy_id, values, now
    ):
        return policy, True
    history.check(policy, PolicyEventKind.DECLARED)
    product = (await terms.versions_of(session, [policy]))[policy.product_version_id]
    sheet = await session.get_one(Underwriting, (member_id, policy_id))
    fill(sheet, product, declared, by=by, now=now)
    history.record(session, policy, PolicyEventKind.DECLARED, by=by, now=now)
    await session.flush()
    # Whoever is to decide already has it; what was said meanwhile is theirs to read.
    if policy.state == PolicyState.APPLIED:
        await underwriting.look(session, [policy], now=now)
    return policy, False


def fill(
    sheet: Underwriting, product: Product, declared: Declared, *, by: Actor, now: datetime
) -> None:
    """Raises DeclarationInvalid."""
    asked = [it.code for it in product.underwriting.declarations] if product.underwriting else []
    if set(declared.confirmed) != set(asked) or len(declared.confirmed) < len(asked):
        named = ", ".join(asked) or "-"
        text = Text(
            zh=f"须逐项答复：{named}。", en=f"Each of these is to be answered once: {named}."
        )
        raise DeclarationInvalid("declared.answers", text)
    if len(declared.conditions) > CONDITIONS_MAX:
        text = Text(
            zh=f"最多 {CONDITIONS_MAX} 项。", en=f"There are at most {CONDITIONS_MAX} conditions."
        )
        raise DeclarationInvalid("declared.conditions", text)
    codes = [health.icd10(code) for code in declared.conditions]
    for place, code in enumerate(codes):
        if code is None:
            text = Text(zh="不是 ICD-10 编码。", en="This is no ICD-10 code.")
            raise DeclarationInvalid(f"declared.conditions.{place}", text)
    sheet.conditions = sorted({code for code in codes if code is not None})
    sheet.answers = dict(declared.confirmed)
    sheet.declared_at, sheet.declared_by = now, by.id
