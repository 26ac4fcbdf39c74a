"""What a provider tells of money that it was asked to pay back. Each event once."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import NotFound
from app.ids import new_id
from app.premiums import payment_orders, payments
from app.premiums.invoice_models import Invoice, Payment, Refund
from app.premiums.invoice_rules import PaymentOutcome
from app.premiums.payments import Told
from app.texts import Text
from app.worklist import programme
from app.worklist.rules import WorklistItemKind

_PRIORITY = 60
_SEEN_TO_WITHIN = timedelta(days=3)
_FAILED = Text(zh="退款未能付出。", en="A refund could not be paid.")
_UNMATCHED = Text(
    zh="支付机构付出的退款与应退的不符。", en="A provider paid back what was not owed."
)


async def record(
    session: AsyncSession, *, member_id: UUID, refund_id: UUID, told: Told, now: datetime
) -> bool:
    """Take down that it was paid back, or could not be; what failed, or was not owed like
    this, is for an employee to see to. Whether the same was told before.

    Raises NotFound, ReferenceInvalid, ReferenceReused.
    """
    payments.check(told)
    refund = (
        await session.exec(
            select(Refund)
            .where(Refund.member_id == member_id, Refund.id == refund_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    ).one_or_none()
    if refund is None:
        raise NotFound(field="refundId")
    known = await session.exec(
        select(Payment).where(
            Payment.member_id == member_id,
            Payment.provider == told.provider,
            Payment.reference == told.reference,
        )
    )
    earlier = known.one_or_none()
    if earlier is not None:
        _check_same(earlier, refund, told)
        return True
    failed = told.failure is not None
    session.add(_row(refund, told, now))
    owed = refund.paid_at is None
    fits = owed and (refund.amount, refund.currency) == (told.amount, told.currency)
    if fits and not failed:
        refund.paid_at, refund.reference = now, told.reference
        await programme.settle_item(
            session, member_id=member_id, cause_key=payment_orders.refund_key(refund_id), now=now
        )
    elif not failed or owed:
        if failed:
            refund.failures += 1
        key = payment_orders.refund_key(refund_id)
        if not failed:
            key = f"{key}:{told.provider}:{told.reference}"
        reason = _FAILED if failed else _UNMATCHED
        await _see_to(session, refund, key, reason, now)
    await session.flush()
    return False


def _row(refund: Refund, told: Told, now: datetime) -> Payment:
    failed = told.failure is not None
    return Payment(
        member_id=refund.member_id,
        id=new_id(now),
        invoice_id=refund.invoice_id,
        refund_id=refund.id,
        provider=told.provider,
        reference=told.reference,
        outcome=PaymentOutcome.REFUND_FAILED if failed else PaymentOutcome.REFUNDED,
        amount=told.amount,
        currency=told.currency,
        failure=told.failure,
        happened_at=told.happened_at,
        recorded_at=now,
    )


def _check_same(earlier: Payment, refund: Refund, told: Told) -> None:
    before = (earlier.refund_id, earlier.amount, earlier.currency, earlier.failure)
    if before != (refund.id, told.amount, told.currency, told.failure):
        raise payments.ReferenceReused


async def _see_to(
    session: AsyncSession, refund: Refund, key: str, reason: Text, now: datetime
) -> None:
    invoice = await session.get_one(Invoice, (refund.member_id, refund.invoice_id))
    task = programme.Task(
        kind=WorklistItemKind.PAYMENT,
        cause_key=key,
        reason=reason,
        priority=_PRIORITY,
        due_at=now + _SEEN_TO_WITHIN,
        subject_kind=payments.SUBJECT,
        subject_id=invoice.policy_id,
    )
    await programme.open_item(session, member_id=refund.member_id, task=task, now=now)
