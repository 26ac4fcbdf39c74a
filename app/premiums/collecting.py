"""What the clock does about money: issues invoices, reminds, and lets unpaid covers lapse.

Each function does a batch in one transaction of its caller, takes only what no other run holds,
and finds nothing to do when it is repeated.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import DateTime, Integer, TextClause, bindparam, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.health_tasks import ending
from app.members.models import Member
from app.premiums import history, invoices, terms
from app.premiums.invoice_models import Invoice
from app.premiums.invoice_rules import InvoiceState
from app.premiums.lifecycle import PolicyEventKind
from app.premiums.models import Policy
from app.premiums.product import Product

GRACE_DAYS = 30
"""Of a product that says nothing of renewal."""

# The policy is locked before its invoices, as everywhere.
_OF_DUE = """
select p.id from policies p join invoices i on i.member_id = p.member_id and i.policy_id = p.id
where p.state = 'IN_FORCE' and i.state = '{state}' and i.{at} <= :now
order by i.{at} limit :limit for update of p skip locked
"""
_TO_ISSUE = text(_OF_DUE.format(state="SCHEDULED", at="issues_at")).bindparams(
    bindparam("now", type_=DateTime(timezone=True)), bindparam("limit", type_=Integer)
)
_TO_DUN = text(_OF_DUE.format(state="ISSUED", at="dun_at")).bindparams(
    bindparam("now", type_=DateTime(timezone=True)), bindparam("limit", type_=Integer)
)


async def issue_due(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """Issue instalments whose day has come; of how many policies."""
    policies = await _taken(session, _TO_ISSUE, limit=limit, now=now)
    products, zones = await _known(session, policies)
    # Another run may have done it between the look and the lock.
    done = set()
    for invoice in await _open(session, policies, InvoiceState.SCHEDULED):
        if invoice.issues_at <= now:
            done.add(invoice.policy_id)
            product = products[invoice.policy_id]
            invoices.issue(invoice, product, time_zone=zones[invoice.member_id], now=now)
    await session.flush()
    return len(done)


async def dun_due(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """Say of what is overdue that it is, and again on the product's days after; the first
    time the policy comes into grace. Of how many policies."""
    policies = await _taken(session, _TO_DUN, limit=limit, now=now)
    products, zones = await _known(session, policies)
    by_id = {it.id: it for it in policies}
    done = set()
    for invoice in await _open(session, policies, InvoiceState.ISSUED):
        if invoice.dun_at is None or invoice.dun_at > now:
            continue
        done.add(invoice.policy_id)
        assert invoice.due_at is not None
        policy, product = by_id[invoice.policy_id], products[invoice.policy_id]
        if invoice.reminders == 0 and policy.grace_ends_at is None:
            zone = zones[invoice.member_id]
            policy.grace_ends_at = grace_ends_at(product, invoice.due_at, zone)
            history.record(session, policy, PolicyEventKind.OVERDUE, now=now)
        elif invoice.reminders > 0:
            history.record(session, policy, PolicyEventKind.REMINDED, now=now)
        assert product.payment is not None
        coming = [
            _later(invoice.due_at, days, zones[invoice.member_id])
            for days in product.payment.reminder_days
        ]
        # However late the clock is: one reminder, not all that were missed.
        invoice.dun_at = next((at for at in coming if at > now), None)
        invoice.reminders += 1
    await session.flush()
    return len(done)


async def lapse_due(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """End covers whose grace is over; how many. What was asked for waits for a reinstatement."""
    found = await session.exec(
        select(Policy)
        .where(col(Policy.grace_ends_at) <= now)
        .order_by(col(Policy.grace_ends_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    policies = found.all()
    if not policies:
        return 0
    members = {
        it.member_id: it
        for it in await session.exec(
            select(Member).where(col(Member.member_id).in_([it.member_id for it in policies]))
        )
    }
    for policy in policies:
        assert policy.grace_ends_at is not None
        zone = civil_time.zone(members[policy.member_id].time_zone)
        # Of a term that has ended and is not renewed yet no day is covered after its last.
        over = min(policy.grace_ends_at, policy.term_ends_at)
        last_on = civil_time.local_date(over - timedelta(seconds=1), zone)
        policy.ended_on = last_on if policy.ended_on is None else min(last_on, policy.ended_on)
        history.record(session, policy, PolicyEventKind.LAPSED, now=now)
    await invoices.suspend(session, policies, now=now)
    await session.flush()
    for policy in sorted(policies, key=lambda it: it.member_id):
        assert policy.ended_on is not None
        await ending.end_tasks(session, members[policy.member_id], last_on=policy.ended_on, now=now)
    return len(policies)


def grace_ends_at(product: Product, due_at: datetime, time_zone: str) -> datetime:
    """When a cover lapses of which nothing is paid that was due then."""
    days = product.renewal.grace_days if product.renewal else GRACE_DAYS
    return _later(due_at, days, time_zone)


def _later(instant: datetime, days: int, time_zone: str) -> datetime:
    """The local midnight so many days after another."""
    zone = civil_time.zone(time_zone)
    day = civil_time.local_date(instant, zone) + timedelta(days=days)
    return civil_time.start_of_day(day, zone)


async def _taken(
    session: AsyncSession, statement: TextClause, *, limit: int, now: datetime
) -> Sequence[Policy]:
    """Locked."""
    rows = await session.execute(statement, {"now": now, "limit": limit})
    ids = set(rows.scalars())
    if not ids:
        return []
    found = await session.exec(
        select(Policy).where(col(Policy.id).in_(ids)).execution_options(populate_existing=True)
    )
    return found.all()


async def _known(
    session: AsyncSession, policies: Sequence[Policy]
) -> tuple[Mapping[UUID, Product], Mapping[UUID, str]]:
    """Products by policy, and the members' zones."""
    versions = await terms.versions_of(session, policies)
    zones = await session.exec(
        select(col(Member.member_id), col(Member.time_zone)).where(
            col(Member.member_id).in_([it.member_id for it in policies])
        )
    )
    return {it.id: versions[it.product_version_id] for it in policies}, dict(zones.all())


async def _open(
    session: AsyncSession, policies: Sequence[Policy], state: InvoiceState
) -> Sequence[Invoice]:
    if not policies:
        return []
    return await invoices.of_policies(session, policies, state)
