"""Tells members what has become of their cover: an event of a policy becomes a message, by the
same gate and dispatch as a reminder. By day, where the member is; never with an amount."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import DateTime, bindparam, text
from sqlalchemy import Text as SqlText
from sqlalchemy.dialects.postgresql import ARRAY

from app.civil_time import local_date
from app.db import Database
from app.events import Event
from app.ids import new_id
from app.nudges import gate, messages
from app.nudges.points_notices import zones_by_day
from app.nudges.rules import POLICY
from app.nudges.standing import standings
from app.premiums.lifecycle import PolicyEventKind
from app.texts import Text

BATCH = 500
NEWS_FOR = timedelta(days=3)
"""What could not be told for so long is left alone."""

_TITLES: Mapping[PolicyEventKind, Text] = {
    PolicyEventKind.OFFERED: Text(zh="你的投保申请有报价了", en="There is an offer for you"),
    PolicyEventKind.DECLINED: Text(
        zh="你的投保申请有结果了", en="There is an answer to your application"
    ),
    PolicyEventKind.EXPIRED: Text(zh="投保申请已关闭", en="An application was closed"),
    PolicyEventKind.BEGAN: Text(zh="保障已生效", en="You are covered"),
    PolicyEventKind.RENEWAL_OFFERED: Text(
        zh="保单即将到期，请查看续保方案", en="Your cover ends soon: see the next term"
    ),
    PolicyEventKind.RENEWED: Text(zh="保单已续保", en="Your cover goes on"),
    PolicyEventKind.ENDED: Text(zh="保障已到期", en="Your cover has ended"),
    PolicyEventKind.OVERDUE: Text(zh="有一笔保费逾期", en="A premium is overdue"),
    PolicyEventKind.REMINDED: Text(zh="有一笔保费仍未支付", en="A premium is still unpaid"),
    PolicyEventKind.LAPSED: Text(zh="保单因未缴费失效", en="Your cover has lapsed"),
    PolicyEventKind.CANCELLED: Text(zh="保单已停止", en="Your cover was stopped"),
    PolicyEventKind.RESCINDED: Text(zh="保险合同已解除", en="Your contract was rescinded"),
    PolicyEventKind.REINSTATED: Text(zh="保单已恢复", en="You are covered again"),
}
_OFFERS = (PolicyEventKind.OFFERED, PolicyEventKind.RENEWAL_OFFERED)
"""Of a cover that there is not yet. All else is the contract: no cap holds it back, and it is in the
inbox of whoever has switched offers off."""
_BODY = Text(zh="打开应用查看详情。", en="Open the app to see it.")
# What the member did a moment ago is told too: it may have been a guardian, or somebody else with
# their phone. Two workers that find the same write it once: the cause is unique.
_NEW = text("""
select e.member_id, e.id, e.kind from policy_events e join members m using (member_id)
where e.at > :since and m.erased_at is null and e.kind = any(:kinds) and m.time_zone = any(:zones)
and not exists (select from messages s where s.member_id = e.member_id
  and s.cause_key = 'policy:' || e.id)
order by e.at limit :limit
""").bindparams(
    bindparam("since", type_=DateTime(timezone=True)),
    bindparam("kinds", type_=ARRAY(SqlText)),
    bindparam("zones", type_=ARRAY(SqlText)),
)


@dataclass(frozen=True, slots=True)
class Told:
    notices: int
    arrived: Sequence[Event] = ()
    """To publish after the commit."""


async def tell(db: Database, *, now: datetime, limit: int = BATCH) -> Told:
    """Write the messages of up to `limit` events and their pushes, each once, in one
    transaction. One that the gate holds back is kept with its reason."""
    parameters = {
        "since": now - NEWS_FOR,
        "kinds": [kind.value for kind in _TITLES],
        "zones": zones_by_day(now),
        "limit": limit,
    }
    async with db.transaction() as session:
        connection = await session.connection()
        found = (await connection.execute(_NEW, parameters)).all()
        if not found:
            return Told(0)
        members = {it.member_id for it in found}
        standing = await standings(session, members, now=now)
        reach = await messages.reach(session, members)
        planned = [
            _message(it, standing[it.member_id], reach.get(it.member_id), now=now) for it in found
        ]
        arrived = await messages.write(session, planned, reach, now=now)
    return Told(len(found), arrived)


def _message(
    event: Any, standing: gate.Standing, reach: messages.Reach | None, *, now: datetime
) -> messages.Planned:
    kind = PolicyEventKind(event.kind)
    topic, priority = gate.Topic.SERVICE_NOTICE, gate.Priority.CRITICAL
    if kind in _OFFERS:
        topic, priority = gate.Topic.PREMIUM, gate.Priority.HIGH
    return messages.Planned(
        member_id=event.member_id,
        id=new_id(now),
        cause_key=f"policy:{event.id}",
        topic=topic,
        template=POLICY,
        title=_TITLES[kind].to(standing.locale),
        body=_BODY.to(standing.locale),
        local_date=local_date(now, standing.zone),
        way=messages.way(
            standing,
            topic,
            reach=reach,
            # An offer, too, may come at night: by day is this clock's business.
            priority=gate.Priority.OWN if kind in _OFFERS else priority,
            now=now,
        ),
        priority=priority,
    )
