"""A member ends the cover: within the free days as if it had never been, later from a day on."""

from datetime import date, datetime, timedelta
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, UserError
from app.health_tasks import ending
from app.members.models import Member
from app.premiums import history, invoices, terms
from app.premiums.history import Actor
from app.premiums.invoice_models import Invoice
from app.premiums.invoice_rules import InvoiceState
from app.premiums.lifecycle import COVERED, PolicyEventKind
from app.premiums.models import Policy
from app.premiums.policy_models import Clawback
from app.premiums.product import Product
from app.texts import Text


class NotCancellable(UserError):
    """The product lets nobody stop during a term."""

    def __init__(self, days: int) -> None:
        super().__init__(
            ErrorCode.NOT_ELIGIBLE,
            Text(
                zh=f"投保 {days} 天后，该产品只能在到期时停止。",
                en=f"After {days} days this product ends with its term only.",
            ),
            field="contractId",
        )


class AlreadyCancelled(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(zh="保单已在停止中。", en="The cover is going to end already."),
            field="contractId",
        )


async def cancel(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    policy_id: UUID,
    by: Actor,
    now: datetime,
) -> tuple[Policy, bool]:
    """End a cover. Within the product's free days from its first one everything that was paid
    is given back, and what was earned is taken back (COV-7). Later a yearly premium is given
    back by days from tomorrow on; who pays monthly is covered to the end of the month that runs
    (PRM-15). The policy, and whether this request was answered before.

    Raises NotFound, PolicyStateInvalid, NotCancellable, AlreadyCancelled, RequestReused.
    """
    policy = await history.lock(session, member_id, policy_id)
    values = {"policyId": policy_id}
    if await history.claim(session, member_id, request_id, "cancelPolicy", policy_id, values, now):
        return policy, True
    history.check(policy, PolicyEventKind.CANCELLED)
    if policy.ended_on is not None:
        raise AlreadyCancelled
    member = await session.get_one(Member, member_id)
    product = (await terms.versions_of(session, [policy]))[policy.product_version_id]
    today = civil_time.local_date(now, civil_time.zone(member.time_zone))
    if is_free(policy, product, today):
        await undo(session, policy, product, member, today=today, now=now)
        history.record(session, policy, PolicyEventKind.CANCELLED, by=by, now=now)
        return policy, False
    if product.payment is not None and not product.payment.stop_any_time:
        raise NotCancellable(product.cancellation.days if product.cancellation else 0)
    zone = civil_time.zone(member.time_zone)
    of_term = civil_time.local_date(policy.term_ends_at - timedelta(seconds=1), zone)
    last_on = min(await _last_day(session, policy, today), of_term)
    policy.ended_on = last_on
    await invoices.end(session, policy, now=now)
    if last_on > today:
        policy.term_ends_at = civil_time.end_of_day(last_on, zone)
        history.record(session, policy, PolicyEventKind.CANCELLATION_PLANNED, by=by, now=now)
    else:
        history.record(session, policy, PolicyEventKind.CANCELLED, by=by, now=now)
        await session.flush()
        await ending.end_tasks(session, member, last_on=last_on, now=now)
    return policy, False


def is_free(policy: Policy, product: Product, today: date) -> bool:
    """The first day of cover is the first of the free days."""
    days = product.cancellation.days if product.cancellation else 0
    return today < policy.started_on + timedelta(days=days)


async def undo(
    session: AsyncSession,
    policy: Policy,
    product: Product,
    member: Member,
    *,
    today: date,
    refunds: bool = True,
    now: datetime,
) -> None:
    """As if the cover had never been: its last day is the one before the first."""
    policy.ended_on = policy.started_on - timedelta(days=1)
    await invoices.end(session, policy, refunds=refunds, now=now)
    await session.flush()
    # The tasks of a cover that is over have ended with it; those of today are another one's.
    if history.state_of(policy) in COVERED:
        await ending.end_tasks(session, member, last_on=today - timedelta(days=1), now=now)
    claws_back = product.cancellation is not None and product.cancellation.claws_back_points
    key = (policy.member_id, policy.id)
    if claws_back and await session.get(Clawback, key) is None:
        session.add(
            Clawback(
                member_id=policy.member_id,
                policy_id=policy.id,
                ordered_at=now,
                earned_from=policy.created_at,
                look_at=now,
            )
        )


async def _last_day(session: AsyncSession, policy: Policy, today: date) -> date:
    """Of the month that runs, where the term is paid by months, whatever the next would be."""
    running = await session.exec(
        select(Invoice)
        .where(
            Invoice.member_id == policy.member_id,
            Invoice.policy_id == policy.id,
            Invoice.parts > 1,
            col(Invoice.covers_from) <= today,
            col(Invoice.covers_to) >= today,
            col(Invoice.state).in_((InvoiceState.PAID, InvoiceState.ISSUED)),
        )
        .limit(1)
    )
    found = running.first()
    return found.covers_to if found is not None else today
