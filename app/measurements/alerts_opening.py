"""Alerts of many members open and close with their worklist items, in a few statements."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from app.ids import new_id
from app.measurements import alerts_data
from app.measurements import alerts_rules as rules
from app.measurements.alerts_models import Alert
from app.measurements.alerts_rules import AlertClosed, AlertKind, AlertSeverity, Raised
from app.texts import Text as Sentence
from app.worklist import programme as worklist
from app.worklist.models import WorklistItem
from app.worklist.rules import WorklistItemKind

SUBJECT_KIND = "ALERT"

_LATER = text("""
select m.member_id, m.id, m.code, m.value, m.measured_at, m.source_id, m.method
from unnest(:member_ids, :codes, :since) as w (member_id, code, since)
cross join lateral (
  select m.* from measurements m where m.member_id = w.member_id and m.code = w.code
    and m.measured_at > w.since and m.superseded_at is null
  order by m.measured_at desc limit 100) m
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("codes", type_=ARRAY(Text)),
    bindparam("since", type_=ARRAY(DateTime(timezone=True))),
)
_CLOSE = text("""
update alerts a set closed_at = :now, closed_reason = :reason
from unnest(:member_ids, :ids) as w (member_id, id)
where a.member_id = w.member_id and a.id = w.id and a.closed_at is null
""").bindparams(
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("ids", type_=ARRAY(Uuid)),
)

Found = tuple[UUID, Raised]
"""Of a member."""


async def open_alerts(
    session: AsyncSession, *, found: Sequence[Found], now: datetime
) -> list[Alert]:
    """Keep alerts and open their worklist items; those that are new and not over yet. A rule
    that has an open alert of the member already changes nothing."""
    if not found:
        return []
    over = await _already_over(session, found)
    alerts = {(member_id, it.rule): _alert(member_id, it, now=now) for member_id, it in found}
    for key in over:
        # Kept, so that the history is whole; nobody is told of what is over.
        alerts[key].closed_at = alerts[key].told_at = now
        alerts[key].closed_reason = AlertClosed.NORMAL_AGAIN
    made = await session.execute(
        insert(Alert).on_conflict_do_nothing().returning(col(Alert.member_id), col(Alert.rule)),
        [alert.model_dump() for alert in alerts.values()],
    )
    new = {(member_id, rule) for member_id, rule in made} - over
    tasks = [
        (member_id, _task(alerts[member_id, it.rule], it, now=now))
        for member_id, it in found
        if (member_id, it.rule) in new and _is_work(it)
    ]
    await worklist.open_items(session, tasks=tasks, now=now)
    return [alert for key, alert in alerts.items() if key in new]


async def close(
    session: AsyncSession,
    *,
    alerts: Sequence[tuple[UUID, UUID]],
    reason: AlertClosed,
    now: datetime,
) -> None:
    """Close those of these alerts (member, id) that are open, and their worklist items."""
    if not alerts:
        return
    member_ids, ids = (list(it) for it in zip(*alerts, strict=True))
    values = {"member_ids": member_ids, "ids": ids, "reason": reason, "now": now}
    await session.execute(_CLOSE, values)
    causes = [(member_id, cause_key(id)) for member_id, id in alerts]
    await worklist.settle_items(session, causes=causes, now=now)


def cause_key(alert_id: UUID) -> str:
    return f"alert:{alert_id}"


async def _already_over(session: AsyncSession, found: Sequence[Found]) -> set[tuple[UUID, str]]:
    """Those whose reading came late: a newer one is known, and is clear of the alert."""
    by_reading = [(member_id, it) for member_id, it in found if it.reading is not None]
    if not by_reading:
        return set()
    wanted: dict[tuple[UUID, str], datetime] = {}
    for member_id, it in by_reading:
        assert it.reading is not None
        for code in _codes(it):
            earliest = wanted.get((member_id, code), it.reading.measured_at)
            wanted[member_id, code] = min(earliest, it.reading.measured_at)
    columns: Mapping[str, Any] = {
        "member_ids": [member_id for member_id, _ in wanted],
        "codes": [code for _, code in wanted],
        "since": list(wanted.values()),
    }
    later = (await session.execute(_LATER, columns)).all()
    return {
        (member_id, it.rule)
        for member_id, it in by_reading
        if _is_over(it, [row for row in later if row.member_id == member_id])
    }


def _is_over(it: Raised, later: Sequence[Any]) -> bool:
    assert it.reading is not None and it.code is not None
    moment = rules.clearing_moment(
        later, it.rule, it.code, since=it.reading.measured_at, rules=alerts_data.in_force()
    )
    return moment is not None


def _codes(it: Raised) -> set[str]:
    """Also those that are read together with it."""
    assert it.code is not None
    threshold = alerts_data.in_force().threshold(it.rule)
    return {it.code, *(limit.code for limit in (threshold.limits if threshold else ()))}


def _alert(member_id: UUID, it: Raised, *, now: datetime) -> Alert:
    return Alert(
        member_id=member_id,
        id=new_id(now),
        rule=it.rule,
        rules_version=alerts_data.in_force().version,
        kind=it.kind,
        severity=it.severity,
        message_zh=it.message.zh,
        message_en=it.message.en,
        code=it.code,
        measurement_id=it.reading.id if it.reading else None,
        raised_by_at=it.reading.measured_at if it.reading else now,
        connection_id=it.connection_id,
        # What is kept as an aggregate cannot be confirmed one by one.
        asks_confirmation=it.asks_confirmation
        and it.reading is not None
        and it.reading.id is not None,
        opened_at=now,
        tell_at=now,
    )


def _is_work(it: Raised) -> bool:
    """INFO is worth knowing; nobody has to act. A silent device is somebody's to ask about."""
    return it.kind is AlertKind.SILENCE or it.severity is not AlertSeverity.INFO


def _task(alert: Alert, it: Raised, *, now: datetime) -> worklist.Task:
    silent = it.kind is AlertKind.SILENCE
    return worklist.Task(
        kind=WorklistItemKind.DEVICE_SILENT if silent else WorklistItemKind.ALERT,
        cause_key=cause_key(alert.id),
        reason=it.message if silent else _reason(it),
        priority=rules.PRIORITY[it.severity],
        due_at=now + timedelta(hours=it.due_hours),
        subject_kind=SUBJECT_KIND,
        subject_id=alert.id,
    )


def _reason(it: Raised) -> Sentence:
    """Says no health fact: the item is shown without the consent to health data too. What it is
    about stands in the alert."""
    if it.kind is AlertKind.TREND:
        return Sentence(zh="最近的测量结果需要查看", en="Recent readings need a look")
    if it.severity is AlertSeverity.URGENT:
        return Sentence(zh="紧急：测量结果需要查看", en="Urgent: a reading needs a look")
    return Sentence(zh="测量结果需要查看", en="A reading needs a look")


async def close_handled(session: AsyncSession, item: WorklistItem, now: datetime) -> None:
    """An employee has finished the item of an alert: what comes next is a new alert."""
    if item.subject_kind == SUBJECT_KIND and item.subject_id is not None:
        await session.flush()
        alerts = [(item.member_id, item.subject_id)]
        await close(session, alerts=alerts, reason=AlertClosed.HANDLED, now=now)
