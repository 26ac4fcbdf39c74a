"""How often and by whom a premium is paid."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, UserError
from app.premiums import history, terms
from app.premiums.contract_terms import Frequency, Payer
from app.premiums.history import Actor
from app.premiums.lifecycle import PolicyEventKind
from app.premiums.models import Policy
from app.premiums.product import Product
from app.texts import Text


class PaymentNotOffered(UserError):
    def __init__(self, field: str, allowed: Collection[str]) -> None:
        named = ", ".join(allowed) or "-"
        super().__init__(
            ErrorCode.NOT_ELIGIBLE,
            Text(zh=f"该产品只提供：{named}。", en=f"The product offers only: {named}."),
            field=field,
        )


async def set_frequency(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    policy_id: UUID,
    frequency: Frequency,
    by: Actor,
    now: datetime,
) -> tuple[Policy, bool]:
    """How often is paid, from the next term on; before the cover begins from the first. The
    policy, and whether this request was answered before.

    Raises NotFound, PolicyStateInvalid, PaymentNotOffered, RequestReused.
    """
    policy = await history.lock(session, member_id, policy_id)
    values = {"policyId": policy_id, "frequency": frequency}
    if await history.claim(
        session, member_id, request_id, "setPaymentFrequency", policy_id, values, now
    ):
        return policy, True
    history.check(policy, PolicyEventKind.PAYMENT_CHANGED)
    product = (await terms.versions_of(session, [policy]))[policy.product_version_id]
    wanted = check_frequency(product, frequency).name
    if policy.frequency != wanted:
        policy.frequency = wanted
        history.record(session, policy, PolicyEventKind.PAYMENT_CHANGED, by=by, now=now)
    return policy, False


async def set_payer(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    policy_id: UUID,
    payer: Payer,
    now: datetime,
) -> tuple[Policy, bool]:
    """Who pays from the next term on, or from the first before the cover begins (COV-13); said
    by an employee, who has seen that an employer or the government does. The policy, and whether
    this request was answered before.

    Raises NotFound, PolicyStateInvalid, PaymentNotOffered, RequestReused.
    """
    policy = await history.lock(session, member_id, policy_id)
    values = {"memberId": member_id, "policyId": policy_id, "payer": payer}
    if await history.claim(session, staff_id, request_id, "setPolicyPayer", policy_id, values, now):
        return policy, True
    history.check(policy, PolicyEventKind.PAYMENT_CHANGED)
    product = (await terms.versions_of(session, [policy]))[policy.product_version_id]
    allowed = product.payment.payers if product.payment else ()
    if payer not in allowed:
        raise PaymentNotOffered("payer", [it.name for it in allowed])
    if policy.payer != payer.name:
        policy.payer = payer.name
        by = Actor.staff(staff_id)
        history.record(session, policy, PolicyEventKind.PAYMENT_CHANGED, by=by, now=now)
    return policy, False


def keep_to(policy: Policy, product: Product) -> None:
    """What a new version does not offer any more becomes the first that it does."""
    if product.payment is None:
        return
    if policy.frequency not in [it.name for it in product.payment.frequencies]:
        policy.frequency = product.payment.frequencies[0].name
    of_groups = product.groups.payers if product.groups else ()
    if policy.payer not in [it.name for it in (*product.payment.payers, *of_groups)]:
        policy.payer = product.payment.payers[0].name


def check_frequency(product: Product, frequency: Frequency) -> Frequency:
    """Raises PaymentNotOffered."""
    allowed = product.payment.frequencies if product.payment else ()
    if frequency not in allowed:
        raise PaymentNotOffered("frequency", [it.name for it in allowed])
    return frequency
