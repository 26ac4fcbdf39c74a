"""Telling the payment provider, with no transaction open meanwhile, each order once in effect.

An order is leased before it is sent. A worker that dies leaves it to the next one, which sends
it again under the same key.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import DateTime, Integer, Text, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.adapters.payments import Order, OrderKind, OrderOutcome, OrderResult, PaymentProvider
from app.graphql.ids import Kind, encode
from app.jobs.queue import JobContext
from app.premiums import payment_orders
from app.texts import Text as Words
from app.worklist import programme
from app.worklist.rules import WorklistItemKind

GROUP = 10
"""Sent at the same time."""
MARKED_BATCH = 200
LEASE = timedelta(minutes=2)
"""Much longer than the provider's time for an answer."""
BACKOFF_MIN = timedelta(seconds=10)
BACKOFF_MAX = timedelta(hours=1)
UNAUTHORISED_PAUSE = timedelta(minutes=10)
ATTEMPTS_BEFORE_ITEM = 10
"""With the backoff about an hour and a half; it is tried for ever, and a person is told."""
SUBJECT = "POLICY"
_PRIORITY = 60
_SEEN_TO_WITHIN = timedelta(days=1)

_log = structlog.get_logger(__name__)

_TAKE = text("""
update payment_orders t set attempts = t.attempts + 1, lease = :lease, next_at = :until
from (select o.member_id, o.id from payment_orders o
  where o.state = 'WAITING' and o.next_at <= :now and o.provider = :provider
  and not exists (select from payment_orders e where e.member_id = o.member_id
    and e.subject_id = o.subject_id and e.number < o.number and e.state = 'WAITING')
  order by o.next_at limit :limit for update skip locked) due
where t.member_id = due.member_id and t.id = due.id returning t.*
""").bindparams(
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("until", type_=DateTime(timezone=True)),
    bindparam("lease", type_=Uuid),
    bindparam("limit", type_=Integer),
    bindparam("provider", type_=Text),
)
_RECORD = text("""
update payment_orders set state = :state, next_at = :next_at, ended_at = :ended_at,
  code = :code, lease = null
where member_id = :member_id and id = :id and lease = :lease and state = 'WAITING'
returning id
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("id", type_=Uuid),
    bindparam("lease", type_=Uuid),
    bindparam("state", type_=Text),
    bindparam("code", type_=Text),
    bindparam("next_at", type_=DateTime(timezone=True)),
    bindparam("ended_at", type_=DateTime(timezone=True)),
)
_POLICY = text("select policy_id from invoices where member_id = :member_id and id = :id")


@dataclass(frozen=True, slots=True)
class Leased:
    row: Any
    lease: UUID

    @property
    def key(self) -> str:
        """What the provider knows it by."""
        id = encode(self._kind, self.row.member_id, self.row.subject_id)
        return id if self.row.number == 1 else f"{id}.{self.row.number}"

    @property
    def _kind(self) -> Kind:
        return Kind.REFUND if self.row.kind == OrderKind.REFUND.name else Kind.INVOICE

    def order(self) -> Order:
        row, kind = self.row, OrderKind[self.row.kind]
        refund = encode(Kind.REFUND, row.member_id, row.subject_id)
        return Order(
            key=self.key,
            kind=kind,
            invoice=encode(Kind.INVOICE, row.member_id, row.invoice_id),
            refund=refund if kind is OrderKind.REFUND else None,
            amount=row.amount,
            currency=row.currency,
            payer=row.payer,
            due_at=row.due_at,
        )


async def tell_due(context: JobContext) -> int:
    """Tell everything that is due; how many attempts were made."""
    provider = context.payments
    if provider is None:
        return 0
    await _make_orders(context, provider)
    if not provider.collects:
        return 0
    told = 0
    while group := await _take(context, provider):
        results = await asyncio.gather(*(_tell(context, provider, it) for it in group))
        told += len(group)
        if all(it.outcome is OrderOutcome.UNAUTHORISED for it in results):
            _log.error("payment_provider_refuses_us", provider=provider.name, code=results[0].code)
            return told
    return told


async def _make_orders(context: JobContext, provider: PaymentProvider) -> None:
    while True:
        async with context.db.transaction() as session:
            if provider.collects:
                done = await payment_orders.order_due(
                    session, provider=provider.name, limit=MARKED_BATCH, now=context.now()
                )
            else:
                done = await payment_orders.unmark(session, limit=MARKED_BATCH, now=context.now())
        if done == 0:
            return


async def _take(context: JobContext, provider: PaymentProvider) -> Sequence[Leased]:
    now, lease = context.now(), uuid4()
    parameters = {
        "now": now,
        "until": now + LEASE,
        "lease": lease,
        "limit": GROUP,
        "provider": provider.name,
    }
    async with context.db.transaction() as session:
        rows = (await session.execute(_TAKE, parameters)).all()
    return [Leased(row, lease) for row in rows]


async def _tell(context: JobContext, provider: PaymentProvider, leased: Leased) -> OrderResult:
    result = await provider.tell(leased.order(), now=context.now())
    async with context.db.transaction() as session:
        await record(session, leased, result, now=context.now())
    return result


async def record(
    session: AsyncSession, leased: Leased, result: OrderResult, *, now: datetime
) -> None:
    """How an attempt ended; nothing when it was taken for lost and is somebody else's now."""
    row, outcome = leased.row, result.outcome
    state = {OrderOutcome.TAKEN: "TOLD", OrderOutcome.REFUSED: "REFUSED"}.get(outcome, "WAITING")
    over = state != "WAITING"
    written = await session.execute(
        _RECORD,
        {
            "member_id": row.member_id,
            "id": row.id,
            "lease": leased.lease,
            "state": state,
            "code": result.code,
            "next_at": None if over else now + pause(result, attempts=row.attempts),
            "ended_at": now if over else None,
        },
    )
    if written.first() is None:
        return
    if outcome is not OrderOutcome.TAKEN:
        _log.warning("payment_order_not_taken", outcome=outcome.value, code=result.code)
    if state == "REFUSED" or (not over and row.attempts >= ATTEMPTS_BEFORE_ITEM):
        await _see_to(session, leased, refused=state == "REFUSED", now=now)


def pause(result: OrderResult, *, attempts: int) -> timedelta:
    """Until the next attempt: doubled each time with some jitter, never before what the provider
    asks for."""
    if result.outcome is OrderOutcome.UNAUTHORISED:
        return UNAUTHORISED_PAUSE
    doubled: timedelta = min(BACKOFF_MAX, BACKOFF_MIN * 2 ** min(attempts - 1, 12))
    backoff = doubled * (1 + random.random() / 4)
    return max(backoff, result.retry_after or timedelta())


async def _see_to(session: AsyncSession, leased: Leased, *, refused: bool, now: datetime) -> None:
    row = leased.row
    found = await session.execute(_POLICY, {"member_id": row.member_id, "id": row.invoice_id})
    if refused:
        reason = Words(
            zh="支付机构拒绝处理一笔账单或退款。",
            en="The payment provider will not take an invoice or a refund.",
        )
    else:
        reason = Words(
            zh="支付机构一直无法接收一笔账单或退款。",
            en="The payment provider has not taken an invoice or a refund for a long time.",
        )
    task = programme.Task(
        kind=WorklistItemKind.PAYMENT,
        cause_key=f"payment-order:{row.id}:{'refused' if refused else 'waits'}",
        reason=reason,
        priority=_PRIORITY,
        due_at=now + _SEEN_TO_WITHIN,
        subject_kind=SUBJECT,
        subject_id=found.scalar_one(),
    )
    await programme.open_item(session, member_id=row.member_id, task=task, now=now)
