"""What a provider or an employee tells of an invoice: paid, failed, or money back. Each once."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.members.models import Member
from app.premiums import collecting, history, invoices, money, payment_orders, terms
from app.premiums.history import Actor
from app.premiums.invoice_models import Invoice, Payment, Refund
from app.premiums.invoice_rules import InvoiceState, PaymentOutcome
from app.premiums.lifecycle import PolicyEventKind, PolicyState
from app.premiums.models import Policy
from app.texts import Text
from app.worklist import programme
from app.worklist.rules import WorklistItemKind

REFERENCE_LENGTH_MAX = 120
FAILURE_LENGTH_MAX = 60
SUBJECT = "POLICY"
BY_HAND = "staff"
"""The provider of what employees tell."""
_PRIORITY = 60
_SEEN_TO_WITHIN = timedelta(days=3)
_PAYABLE = (InvoiceState.SCHEDULED, InvoiceState.ISSUED)


class ReferenceReused(UserError):
    """The same reference says something else than before."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.REQUEST_REUSED,
            Text(
                zh="这个支付凭证号已记录了另一笔支付。",
                en="This reference has told of another payment.",
            ),
            field="reference",
        )


class ReferenceInvalid(UserError):
    def __init__(self, field: str, length_max: int) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"须为 1 至 {length_max} 个字符。",
                en=f"It is 1 to {length_max} characters long.",
            ),
            field=field,
        )


class AmountInvalid(UserError):
    def __init__(self, places: int) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"金额须大于 0，最多 {places} 位小数。",
                en=f"The amount is above 0, with at most {places} decimals.",
            ),
            field="amount",
        )


class PaymentInFuture(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.IN_FUTURE,
            Text(zh="支付时间不能晚于现在。", en="It cannot have happened after now."),
            field="happenedAt",
        )


class RefundAsked(UserError):
    """Paid by hand too it would be paid twice."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.ALREADY_DECIDED,
            Text(
                zh="支付机构已受理这笔退款，请等待其结果。",
                en="The payment provider was asked to pay this back; wait for what it says.",
            ),
            field="refundId",
        )


class RefundPaid(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.ALREADY_DECIDED,
            Text(zh="这笔退款已付出。", en="This was paid back already."),
            field="refundId",
        )


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody says about an invoice."""

    provider: str
    reference: str
    """Theirs, unique for the provider: the same when the same is told again."""
    amount: int
    """Minor units."""
    currency: str
    happened_at: datetime
    failure: str | None = None
    """A code when it failed; null when it was paid."""
    recorded_by: UUID | None = None


async def record(
    session: AsyncSession, *, member_id: UUID, invoice_id: UUID, told: Told, now: datetime
) -> tuple[Invoice, bool]:
    """Take it down and follow it: a paid invoice ends the grace of its policy; what failed, and
    money that the invoice did not ask for, is for an employee to see to. The invoice, and
    whether the same was told before.

    Raises NotFound, ReferenceInvalid, ReferenceReused.
    """
    check(told)
    invoice = await session.get(Invoice, (member_id, invoice_id))
    if invoice is None:
        raise NotFound(field="invoiceId")
    policy = await history.lock(session, member_id, invoice.policy_id)
    await session.refresh(invoice, with_for_update=True)
    known = await session.exec(
        select(Payment).where(
            Payment.member_id == member_id,
            Payment.provider == told.provider,
            Payment.reference == told.reference,
        )
    )
    earlier = known.one_or_none()
    if earlier is not None:
        _check_same(earlier, invoice_id, told)
        return invoice, True
    asked = (invoice.amount, invoice.currency) == (told.amount, told.currency)
    matches = asked and invoice.state in _PAYABLE
    if told.failure is not None:
        outcome = PaymentOutcome.FAILED
    else:
        outcome = PaymentOutcome.PAID if matches else PaymentOutcome.UNMATCHED
    session.add(_row(invoice, told, outcome, now))
    if outcome is PaymentOutcome.PAID:
        invoice.state, invoice.paid_at, invoice.dun_at = InvoiceState.PAID, now, None
        # Somebody else than the provider may have taken it in.
        invoice.asks_at = now
        await programme.settle_item(
            session, member_id=member_id, cause_key=_cause_key(invoice_id), now=now
        )
        if history.state_of(policy) is PolicyState.GRACE:
            by = Actor.staff(told.recorded_by) if told.recorded_by else history.PROGRAMME
            await _settle(session, policy, invoice, by=by, now=now)
    elif outcome is PaymentOutcome.UNMATCHED or invoice.state in _PAYABLE:
        # What is told late of an invoice that is settled meanwhile is nobody's work.
        if outcome is PaymentOutcome.FAILED and invoice.state == InvoiceState.ISSUED:
            invoice.failures += 1
        key = _cause_key(invoice_id)
        if outcome is PaymentOutcome.UNMATCHED:
            key = f"{key}:{told.provider}:{told.reference}"
        await programme.open_item(
            session, member_id=member_id, task=_item(invoice, outcome, key, now), now=now
        )
    await session.flush()
    return invoice, False


async def _settle(
    session: AsyncSession, policy: Policy, paid: Invoice, *, by: Actor, now: datetime
) -> None:
    """The grace ends, or lasts as long as that of what is overdue still."""
    due_at = await invoices.first_overdue(session, policy, but=paid.id, now=now)
    if due_at is None:
        history.record(session, policy, PolicyEventKind.SETTLED, by=by, now=now)
        return
    member = await session.get_one(Member, policy.member_id)
    product = (await terms.versions_of(session, [policy]))[policy.product_version_id]
    policy.grace_ends_at = collecting.grace_ends_at(product, due_at, member.time_zone)


async def record_by_hand(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    invoice_id: UUID,
    reference: str,
    amount: Decimal,
    failure: str | None,
    happened_at: datetime,
    now: datetime,
) -> bool:
    """An employee has seen it; `amount` is in major units of the invoice's currency. Whether it
    was told before.

    Raises NotFound, AmountInvalid, ReferenceInvalid, ReferenceReused, RequestReused.
    """
    invoice = await session.get(Invoice, (member_id, invoice_id))
    if invoice is None:
        raise NotFound(field="invoiceId")
    values = {
        "memberId": member_id,
        "invoiceId": invoice_id,
        "reference": reference,
        "amount": amount,
        "failure": failure,
        "happenedAt": happened_at,
    }
    if await history.claim(session, staff_id, request_id, "recordPayment", invoice_id, values, now):
        return True
    if happened_at > now:
        raise PaymentInFuture
    told = Told(
        BY_HAND,
        reference.strip(),
        _minor(amount, invoice.currency),
        invoice.currency,
        happened_at,
        failure,
        staff_id,
    )
    _, replayed = await record(
        session, member_id=member_id, invoice_id=invoice_id, told=told, now=now
    )
    return replayed


def _minor(amount: Decimal, currency: str) -> int:
    """Raises AmountInvalid."""
    places = money.decimals(currency)
    exact = amount.scaleb(places)
    if not 0 < exact < 10**15 or exact != exact.to_integral_value():
        raise AmountInvalid(places)
    return int(exact)


async def record_refund(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    refund_id: UUID,
    reference: str,
    now: datetime,
) -> tuple[Refund, bool]:
    """An employee has paid back what was owed; the refund, and whether this request was
    answered before.

    Raises NotFound, ReferenceInvalid, RefundPaid, RefundAsked, RequestReused.
    """
    found = (
        await session.exec(
            select(Refund)
            .where(Refund.member_id == member_id, Refund.id == refund_id)
            .with_for_update()
        )
    ).one_or_none()
    if found is None:
        raise NotFound(field="refundId")
    values = {"memberId": member_id, "refundId": refund_id, "reference": reference}
    if await history.claim(session, staff_id, request_id, "recordRefund", refund_id, values, now):
        return found, True
    if not _is_said(reference, REFERENCE_LENGTH_MAX):
        raise ReferenceInvalid("reference", REFERENCE_LENGTH_MAX)
    if found.paid_at is not None:
        raise RefundPaid
    if await payment_orders.is_asked_back(session, member_id=member_id, refund_id=refund_id):
        raise RefundAsked
    found.asks_at = None
    found.paid_at, found.reference, found.recorded_by = now, reference.strip(), staff_id
    key = payment_orders.refund_key(refund_id)
    await programme.settle_item(session, member_id=member_id, cause_key=key, now=now)
    return found, False


def check(told: Told) -> None:
    """Raises ReferenceInvalid."""
    if not _is_said(told.reference, REFERENCE_LENGTH_MAX):
        raise ReferenceInvalid("reference", REFERENCE_LENGTH_MAX)
    if told.failure is not None and not _is_said(told.failure, FAILURE_LENGTH_MAX):
        raise ReferenceInvalid("failure", FAILURE_LENGTH_MAX)


def _check_same(earlier: Payment, invoice_id: UUID, told: Told) -> None:
    before = (earlier.invoice_id, earlier.amount, earlier.currency, earlier.failure)
    if earlier.refund_id is not None or before != (
        invoice_id,
        told.amount,
        told.currency,
        told.failure,
    ):
        raise ReferenceReused


def _is_said(text: str, length_max: int) -> bool:
    return bool(text.strip()) and len(text) <= length_max and text.isprintable()


def _cause_key(invoice_id: UUID) -> str:
    return f"payment:{invoice_id}"


def _row(invoice: Invoice, told: Told, outcome: PaymentOutcome, now: datetime) -> Payment:
    return Payment(
        member_id=invoice.member_id,
        id=new_id(now),
        invoice_id=invoice.id,
        provider=told.provider,
        reference=told.reference,
        outcome=outcome,
        amount=told.amount,
        currency=told.currency,
        failure=told.failure,
        recorded_by=told.recorded_by,
        happened_at=told.happened_at,
        recorded_at=now,
    )


def _item(invoice: Invoice, outcome: PaymentOutcome, key: str, now: datetime) -> programme.Task:
    failed = outcome is PaymentOutcome.FAILED
    return programme.Task(
        kind=WorklistItemKind.PAYMENT,
        cause_key=key,
        reason=Text(zh="保费扣款失败。", en="A premium could not be collected.")
        if failed
        else Text(zh="收到一笔对不上账单的款项。", en="Money came that no invoice asked for."),
        priority=_PRIORITY,
        due_at=now + _SEEN_TO_WITHIN,
        subject_kind=SUBJECT,
        subject_id=invoice.policy_id,
    )
