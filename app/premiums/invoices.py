"""What a term is paid with: instalments made when it begins, issued when their time comes."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.ids import new_id
from app.premiums import invoice_rules as rules
from app.premiums.contract_terms import Frequency
from app.premiums.invoice_models import Invoice, Refund
from app.premiums.invoice_rules import InvoiceState
from app.premiums.models import Policy
from app.premiums.product import Product
from app.premiums.rules import Term

_OPEN = (InvoiceState.SCHEDULED, InvoiceState.ISSUED)


def schedule(
    session: AsyncSession,
    policy: Policy,
    product: Product,
    days: Term,
    *,
    yearly: int,
    time_zone: str,
    now: datetime,
) -> None:
    """The instalments of a term that begins; none for a product that nobody pays for."""
    terms = product.payment
    if terms is None:
        return
    amount = rules.of_term(yearly, product.term_months)
    monthly = policy.frequency == Frequency.MONTHLY.name
    zone = civil_time.zone(time_zone)
    for it in rules.instalments(amount, days, months=product.term_months, monthly=monthly):
        invoice = Invoice(
            member_id=policy.member_id,
            id=new_id(now),
            policy_id=policy.id,
            term_starts_on=days.starts_on,
            part=it.part,
            parts=it.parts,
            covers_from=it.covers.starts_on,
            covers_to=it.covers.ends_on,
            amount=it.amount,
            currency=product.currency,
            payer=policy.payer,
            state=InvoiceState.SCHEDULED,
            issues_at=civil_time.start_of_day(it.covers.starts_on, zone),
        )
        if it.amount == 0:
            invoice.state = InvoiceState.VOID
        elif it.part == 1 or invoice.issues_at <= now:
            issue(invoice, product, time_zone=time_zone, now=now)
        session.add(invoice)


def issue(invoice: Invoice, product: Product, *, time_zone: str, now: datetime) -> None:
    """Ask for it: to be paid within the product's days from the local day of today."""
    assert product.payment is not None
    zone = civil_time.zone(time_zone)
    last_day = civil_time.local_date(now, zone) + timedelta(days=product.payment.due_days)
    invoice.state = InvoiceState.ISSUED
    invoice.due_at = civil_time.end_of_day(last_day, zone)
    invoice.dun_at = invoice.due_at
    invoice.reminders = 0
    invoice.asks_at = now


async def of_policies(
    session: AsyncSession, policies: Sequence[Policy], *states: InvoiceState
) -> list[Invoice]:
    """Locked, in the order of their days; the policies are locked already."""
    found = await session.exec(
        select(Invoice)
        .where(
            col(Invoice.member_id).in_([it.member_id for it in policies]),
            col(Invoice.policy_id).in_([it.id for it in policies]),
            col(Invoice.state).in_(states),
        )
        .order_by(col(Invoice.member_id), col(Invoice.covers_from), col(Invoice.part))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return list(found)


async def end(session: AsyncSession, policy: Policy, *, refunds: bool = True, now: datetime) -> int:
    """Settle what was asked for a cover that ends on `policy.ended_on`: what pays for later days
    is given back, or not asked for any more. How much is given back, in minor units."""
    assert policy.ended_on is not None
    states = (*_OPEN, InvoiceState.PAID, InvoiceState.SUSPENDED)
    owed, given = 0, await _given_back(session, policy)
    for invoice in await of_policies(session, [policy], *states):
        unused = _unused(invoice, policy.ended_on)
        if invoice.state == InvoiceState.PAID:
            # A cover that was stopped before it is rescinded has had a part back already.
            back = unused - given.get(invoice.id, 0) + (invoice.cheaper_by or 0)
            if back > 0 and refunds:
                owed += back
                session.add(_refund(invoice, back, now))
            continue
        invoice.amount -= unused
        if invoice.amount == 0:
            void(invoice)
        if unused > 0:
            invoice.asks_at = now
    return owed


def _unused(invoice: Invoice, last_day: date) -> int:
    """What an instalment asks for days after the last day of cover, at what they cost now."""
    covers = Term(invoice.covers_from, invoice.covers_to)
    if invoice.cheaper_by is None or invoice.cheaper_from is None:
        return rules.unused(invoice.amount, covers, last_day=last_day)
    paid = invoice.state == InvoiceState.PAID
    full = invoice.amount + (0 if paid else invoice.cheaper_by)
    cheaper = Term(max(invoice.cheaper_from, covers.starts_on), covers.ends_on)
    return rules.unused(full, covers, last_day=last_day) - rules.unused(
        invoice.cheaper_by, cheaper, last_day=last_day
    )


async def _given_back(session: AsyncSession, policy: Policy) -> dict[UUID, int]:
    """By invoice, paid out or owed."""
    rows = await session.exec(
        select(col(Refund.invoice_id), func.sum(Refund.amount))
        .join(
            Invoice,
            and_(
                col(Invoice.member_id) == col(Refund.member_id),
                col(Invoice.id) == col(Refund.invoice_id),
            ),
        )
        .where(Refund.member_id == policy.member_id, Invoice.policy_id == policy.id)
        .group_by(col(Refund.invoice_id))
    )
    return {invoice_id: int(amount) for invoice_id, amount in rows}


def _refund(invoice: Invoice, amount: int, now: datetime) -> Refund:
    return Refund(
        member_id=invoice.member_id,
        id=new_id(now),
        invoice_id=invoice.id,
        amount=amount,
        currency=invoice.currency,
        owed_at=now,
        asks_at=now,
    )


def void(invoice: Invoice) -> None:
    invoice.state, invoice.dun_at = InvoiceState.VOID, None


async def suspend(session: AsyncSession, policies: Sequence[Policy], *, now: datetime) -> None:
    """Of covers that have lapsed."""
    for invoice in await of_policies(session, policies, *_OPEN):
        if invoice.state == InvoiceState.ISSUED:
            invoice.asks_at = now
        invoice.state, invoice.dun_at = InvoiceState.SUSPENDED, None


async def revive(
    session: AsyncSession, policy: Policy, product: Product, *, time_zone: str, now: datetime
) -> None:
    """Ask again for what a lapse had suspended; what is not due to be asked for stays planned."""
    for invoice in await of_policies(session, [policy], InvoiceState.SUSPENDED):
        if invoice.issues_at <= now:
            issue(invoice, product, time_zone=time_zone, now=now)
        else:
            invoice.state = InvoiceState.SCHEDULED


async def reprice(
    session: AsyncSession,
    policy: Policy,
    product: Product,
    *,
    before: int,
    yearly: int,
    effective_on: date,
    now: datetime,
) -> int:
    """The running term costs less a year from `effective_on` on than `before` (minor units).
    Each instalment becomes cheaper by its part of the difference, for the days from then on:
    what was paid already is given back. How many were changed."""
    assert yearly <= before
    states = (*_OPEN, InvoiceState.PAID, InvoiceState.SUSPENDED)
    changed = 0
    for invoice in await of_policies(session, [policy], *states):
        if invoice.covers_to < effective_on:
            continue
        old, new = (
            rules.split(rules.of_term(it, product.term_months), invoice.parts)[invoice.part - 1]
            for it in (before, yearly)
        )
        covers = Term(invoice.covers_from, invoice.covers_to)
        less = rules.unused(old - new, covers, last_day=effective_on - timedelta(days=1))
        less = min(less, invoice.amount)
        if less == 0:
            continue
        changed += 1
        assert invoice.cheaper_by is None, "a premium falls once in a term"
        invoice.cheaper_by, invoice.cheaper_from = less, effective_on
        if invoice.state == InvoiceState.PAID:
            session.add(_refund(invoice, less, now))
            continue
        invoice.amount -= less
        if invoice.amount == 0:
            void(invoice)
        invoice.asks_at = now
    return changed


async def first_overdue(
    session: AsyncSession, policy: Policy, *, but: UUID, now: datetime
) -> datetime | None:
    """When what has been overdue for longest was due; None when nothing is."""
    found = await session.exec(
        select(func.min(col(Invoice.due_at))).where(
            Invoice.member_id == policy.member_id,
            Invoice.policy_id == policy.id,
            Invoice.state == InvoiceState.ISSUED,
            col(Invoice.due_at) <= now,
            Invoice.id != but,
        )
    )
    return found.one()
