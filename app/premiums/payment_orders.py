"""What the payment provider is to be told: orders follow from the invoices and refunds marked.

Whoever changes what is to be collected marks the row (`asks_at`) and knows nothing of providers.
The clock compares it with what the provider was told last, so that what came and went meanwhile
is never told. Money that an employee took in is paid back by an employee, who finds it in the
worklist.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Integer, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from app.adapters.payments import OrderKind
from app.ids import new_id
from app.premiums.invoice_models import PaymentOrder
from app.texts import Text
from app.worklist import programme
from app.worklist.rules import WorklistItemKind

_PRIORITY = 60
_PAID_BACK_WITHIN = timedelta(days=3)
_NOW = bindparam("now", type_=DateTime(timezone=True))
_LIMIT = bindparam("limit", type_=Integer)
_OF_ROWS = (
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("ids", type_=ARRAY(Uuid)),
)
_MARKED_INVOICES = text("""
select i.member_id, i.id, i.state, i.amount, i.currency, i.payer, i.due_at,
  (select p.provider from payments p where p.member_id = i.member_id and p.invoice_id = i.id
    and p.outcome = 'PAID' order by p.recorded_at desc limit 1) as paid_by
from invoices i where i.asks_at is not null order by i.asks_at limit :limit
for update of i skip locked
""").bindparams(_LIMIT)
_MARKED_REFUNDS = text("""
select r.member_id, r.id, r.invoice_id, r.amount, r.currency, r.paid_at, i.payer, i.policy_id,
  (select p.provider from payments p where p.member_id = r.member_id
    and p.invoice_id = r.invoice_id and p.outcome = 'PAID'
    order by p.recorded_at desc limit 1) as paid_by,
  exists (select from payment_orders o where o.member_id = r.member_id
    and o.subject_id = r.id) as ordered
from refunds r join invoices i on i.member_id = r.member_id and i.id = r.invoice_id
where r.asks_at is not null order by r.asks_at limit :limit
for update of r skip locked
""").bindparams(_LIMIT)
# What nobody has tried to tell is not needed in this form any more.
_DROP = text("""
update payment_orders o set state = 'DROPPED', next_at = null, ended_at = :now
from unnest(:member_ids, :ids) as w (member_id, id)
where o.member_id = w.member_id and o.subject_id = w.id and o.state = 'WAITING'
and o.attempts = 0
""").bindparams(_NOW, *_OF_ROWS)
_LAST = text("""
select w.member_id, w.id, coalesce(n.number, 0) as number, l.kind, l.amount
from unnest(:member_ids, :ids) as w (member_id, id)
left join lateral (select max(o.number) as number from payment_orders o
  where o.member_id = w.member_id and o.subject_id = w.id) n on true
left join lateral (select o.kind, o.amount from payment_orders o
  where o.member_id = w.member_id and o.subject_id = w.id and o.state in ('WAITING', 'TOLD')
  order by o.number desc limit 1) l on true
""").bindparams(*_OF_ROWS)
_CLEAR = """
update {table} t set asks_at = null from unnest(:member_ids, :ids) as w (member_id, id)
where t.member_id = w.member_id and t.id = w.id
"""
_CLEAR_INVOICES = text(_CLEAR.format(table="invoices")).bindparams(*_OF_ROWS)
_CLEAR_REFUNDS = text(_CLEAR.format(table="refunds")).bindparams(*_OF_ROWS)
_ASKED_BACK = text("""
select 1 from payment_orders o join refunds r on r.member_id = o.member_id and r.id = o.subject_id
where o.member_id = :member_id and o.subject_id = :id and r.failures = 0
and (o.state = 'TOLD' or o.state = 'WAITING')
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))


@dataclass(frozen=True, slots=True)
class Told:
    """The provider's latest word from us about an invoice."""

    number: int
    """Of the orders there are; 0 without one."""
    collects: int | None
    """The amount that it is to collect, in minor units; None: nothing."""


def next_order(
    *, state: str, amount: int, paid_by: str | None, provider: str, told: Told
) -> OrderKind | None:
    """What is to be told of an invoice now; None when the provider knows."""
    if state == "PAID" and paid_by == provider:
        return None
    wanted = amount if state == "ISSUED" else None
    if wanted == told.collects:
        return None
    return OrderKind.STOP if wanted is None else OrderKind.COLLECT


async def order_due(session: AsyncSession, *, provider: str, limit: int, now: datetime) -> int:
    """Make the orders of up to `limit` marked invoices and as many refunds; of how many. Safe to
    run twice or in parallel."""
    invoices = (await session.execute(_MARKED_INVOICES, {"limit": limit})).all()
    refunds = (await session.execute(_MARKED_REFUNDS, {"limit": limit})).all()
    made: list[dict[str, Any]] = []
    if invoices:
        keys = _keys(invoices)
        await session.execute(_DROP, {**keys, "now": now})
        told = await _told(session, keys)
        for it in invoices:
            last = told[it.member_id, it.id]
            kind = next_order(
                state=it.state,
                amount=it.amount,
                paid_by=it.paid_by,
                provider=provider,
                told=last,
            )
            if kind is not None:
                amount = it.amount if kind is OrderKind.COLLECT else last.collects
                made.append(_row(it, it.id, kind, amount, last.number + 1, provider, now))
        await session.execute(_CLEAR_INVOICES, keys)
    if refunds:
        owed = [it for it in refunds if it.paid_at is None and not it.ordered]
        made += [
            _row(it, it.invoice_id, OrderKind.REFUND, it.amount, 1, provider, now)
            for it in owed
            if it.paid_by == provider
        ]
        await _by_hand(session, [it for it in owed if it.paid_by != provider], now=now)
        await session.execute(_CLEAR_REFUNDS, _keys(refunds))
    if made:
        await session.execute(insert(PaymentOrder), made)
    return len(invoices) + len(refunds)


async def unmark(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """Without a provider there is nobody to tell; of how many rows."""
    invoices = (await session.execute(_MARKED_INVOICES, {"limit": limit})).all()
    if invoices:
        await session.execute(_CLEAR_INVOICES, _keys(invoices))
    refunds = (await session.execute(_MARKED_REFUNDS, {"limit": limit})).all()
    if refunds:
        owed = [it for it in refunds if it.paid_at is None and not it.ordered]
        await _by_hand(session, owed, now=now)
        await session.execute(_CLEAR_REFUNDS, _keys(refunds))
    return len(invoices) + len(refunds)


def refund_key(refund_id: UUID) -> str:
    """Of the worklist item of a refund that an employee has to see to."""
    return f"refund:{refund_id}"


async def _by_hand(session: AsyncSession, refunds: Sequence[Any], *, now: datetime) -> None:
    tasks = [(it.member_id, _task(it, now)) for it in refunds]
    await programme.open_items(session, tasks=tasks, now=now)


def _task(refund: Any, now: datetime) -> programme.Task:
    return programme.Task(
        kind=WorklistItemKind.PAYMENT,
        cause_key=refund_key(refund.id),
        reason=Text(zh="有保费待退还。", en="A premium is to be paid back."),
        priority=_PRIORITY,
        due_at=now + _PAID_BACK_WITHIN,
        subject_kind="POLICY",
        subject_id=refund.policy_id,
    )


async def is_asked_back(session: AsyncSession, *, member_id: UUID, refund_id: UUID) -> bool:
    """Whether the provider pays this back, or may already have done: the refund is locked."""
    found = await session.execute(_ASKED_BACK, {"member_id": member_id, "id": refund_id})
    return found.first() is not None


def _keys(rows: Sequence[Any]) -> dict[str, list[UUID]]:
    return {"member_ids": [it.member_id for it in rows], "ids": [it.id for it in rows]}


async def _told(
    session: AsyncSession, keys: Mapping[str, list[UUID]]
) -> Mapping[tuple[UUID, UUID], Told]:
    rows = await session.execute(_LAST, keys)
    return {
        (it.member_id, it.id): Told(it.number, it.amount if it.kind == "COLLECT" else None)
        for it in rows
    }


def _row(
    it: Any,
    invoice_id: UUID,
    kind: OrderKind,
    amount: int | None,
    number: int,
    provider: str,
    now: datetime,
) -> dict[str, Any]:
    assert amount is not None
    return {
        "member_id": it.member_id,
        "id": new_id(now),
        "invoice_id": invoice_id,
        "subject_id": it.id,
        "number": number,
        "kind": kind.name,
        "amount": amount,
        "currency": it.currency,
        "payer": it.payer,
        "due_at": it.due_at if kind is OrderKind.COLLECT else None,
        "state": "WAITING",
        "attempts": 0,
        "next_at": now,
        "provider": provider,
        "made_at": now,
    }
