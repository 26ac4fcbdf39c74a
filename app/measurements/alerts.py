"""Alerts: raised by readings, closed by later ones. One statement when there is nothing to do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.ids import new_id
from app.measurements import alerts_data, silence
from app.measurements import alerts_rules as rules
from app.measurements.alerts_models import Alert
from app.measurements.alerts_rules import AlertClosed, AlertKind, AlertSeverity, Kept, Raised
from app.measurements.catalogue import quantities
from app.measurements.facts import Touched
from app.texts import Text as Sentence
from app.worklist import programme as worklist
from app.worklist.rules import WorklistItemKind

SUBJECT_KIND = "alert"
FRESH = timedelta(hours=48)
"""What was measured longer ago is told by trends, classes and the report, not by an alert."""

_INSTANT = DateTime(timezone=True)
_STANDING = text(f"""
with marked as (
  insert into trend_checks (member_id, due_at)
  select :member_id, :trends_due_at where :has_trend
  on conflict (member_id) do nothing),
{silence.HEARD}
select a.id, a.rule, a.kind, a.code, a.raised_by_at, c.source_id
from alerts a left join connections c on c.member_id = a.member_id and c.id = a.connection_id
where a.member_id = :member_id and a.closed_at is null
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("now", type_=_INSTANT),
    bindparam("trends_due_at", type_=_INSTANT),
    bindparam("source_ids", type_=ARRAY(Text)),
    bindparam("ids", type_=ARRAY(Uuid)),
)
_BUDGET = text("""
select m.time_zone, array(
  select row(a.local_date, count(*)) from alerts a
  where a.member_id = m.member_id and a.local_date >= :since and not a.muted
    and a.severity <> 'URGENT' group by a.local_date)
from members m where m.member_id = :member_id
""").bindparams(bindparam("member_id", type_=Uuid))
_LATER = text("""
select m.id, m.code, m.value, m.measured_at, m.source_id, m.method
from measurements m
where m.member_id = :member_id and m.code = any(:codes) and m.measured_at > :since
  and m.superseded_at is null
order by m.measured_at desc limit 1000
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("codes", type_=ARRAY(Text)),
    bindparam("since", type_=_INSTANT),
)


@dataclass(frozen=True, slots=True)
class _Open:
    id: UUID
    rule: str
    kind: str
    code: str | None
    raised_by_at: datetime
    source_id: str | None


async def raise_alerts(
    session: AsyncSession,
    *,
    member_id: UUID,
    touched: Touched,
    now: datetime,
    heard: Iterable[str] = (),
) -> Sequence[UUID]:
    """The ids of the alerts of a recording, in its transaction; see `raise_for`."""
    found = await raise_for(
        session, member_id=member_id, readings=touched.readings, heard=heard, now=now
    )
    return [alert.id for alert in found]


async def raise_for(
    session: AsyncSession,
    *,
    member_id: UUID,
    readings: Sequence[Kept],
    heard: Iterable[str] = (),
    now: datetime,
) -> list[Alert]:
    """What newly kept readings mean: alerts open or close, and silent devices are heard again.

    To be called in the transaction that keeps the readings, once a request, also without any.
    `readings` are the new ones, in canonical units. `heard` names the sources that have just
    synced; what is imported from a file has not. The answer: the open alerts that these
    readings raise, also those that an earlier one had opened.
    """
    rules_ = alerts_data.in_force()
    sources = sorted({source_id for source_id in heard if source_id})
    codes = {reading.code for reading in readings}
    found = await session.execute(
        _STANDING,
        {
            "member_id": member_id,
            "now": now,
            "has_trend": any(trend.code in codes for trend in rules_.trends),
            "trends_due_at": trends_due_at(now),
            **silence.parameters(sources, now=now),
        },
    )
    standing = {row.rule: _Open(*row) for row in found}
    raised = [
        it
        for it in rules.raised_by(readings, rules_)
        if it.reading is not None and it.reading.measured_at > now - FRESH
    ]
    await _close_what_is_over(session, member_id, standing, readings, sources, now=now)
    if not raised:
        return []
    again = [standing[it.rule] for it in raised if it.rule in standing]
    await _prolong(session, member_id, raised, again)
    new = [it for it in raised if it.rule not in standing]
    opened = await open_alerts(session, member_id=member_id, raised=new, now=now)
    known = await _load(session, member_id, [it.id for it in again])
    return [*known, *opened]


def trends_due_at(now: datetime) -> datetime:
    """Trends are looked at once a day, at 20:00 UTC, at night where the members are."""
    due = now.replace(hour=20, minute=0, second=0, microsecond=0)
    return due if due > now else due + timedelta(days=1)


async def open_alerts(
    session: AsyncSession, *, member_id: UUID, raised: Sequence[Raised], now: datetime
) -> list[Alert]:
    """Keep alerts and open their worklist items; those that are new and not over yet. One of
    a rule that has an open alert already changes nothing."""
    if not raised:
        return []
    zone_name, told = (
        await session.execute(
            _BUDGET, {"member_id": member_id, "since": now.date() - timedelta(days=1)}
        )
    ).one()
    today = civil_time.local_date(now, civil_time.zone(zone_name))
    left = alerts_data.in_force().per_day_max - dict(told).get(today, 0)
    over = await _already_over(session, member_id, raised)
    alerts: list[Alert] = []
    for it in raised:
        is_urgent = it.severity is AlertSeverity.URGENT
        muted = not is_urgent and left <= 0
        alert = _alert(member_id, it, today=today, muted=muted, over=it.rule in over, now=now)
        if await _insert(session, alert):
            left -= 0 if is_urgent or muted else 1
            alerts.append(alert)
            if not muted and alert.closed_at is None and _is_work(it):
                await worklist.open_item(
                    session, member_id=member_id, task=_task(alert, it, now=now), now=now
                )
    return [alert for alert in alerts if alert.closed_at is None]


async def close(
    session: AsyncSession,
    *,
    member_id: UUID,
    alert_ids: Sequence[UUID],
    reason: AlertClosed,
    now: datetime,
) -> None:
    """Close those of these alerts that are open, with their worklist items."""
    await _set_closed(session, member_id, alert_ids, reason, now)
    for alert_id in alert_ids:
        await worklist.settle_item(
            session, member_id=member_id, cause_key=cause_key(alert_id), now=now
        )


def cause_key(alert_id: UUID) -> str:
    return f"alert:{alert_id}"


_CLOSE = text("""
update alerts set closed_at = :now, closed_reason = :reason
where member_id = :member_id and id = any(:ids) and closed_at is null
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("now", type_=_INSTANT),
    bindparam("ids", type_=ARRAY(Uuid)),
)
_PROLONG = text("""
update alerts a set raised_by_at = greatest(a.raised_by_at, r.at)
from unnest(:ids, :ats) as r (id, at) where a.member_id = :member_id and a.id = r.id
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("ats", type_=ARRAY(_INSTANT)),
)


async def _set_closed(
    session: AsyncSession,
    member_id: UUID,
    alert_ids: Sequence[UUID],
    reason: AlertClosed,
    now: datetime,
) -> None:
    values = {"member_id": member_id, "ids": list(alert_ids), "reason": reason, "now": now}
    await session.execute(_CLOSE, values)


async def _close_what_is_over(
    session: AsyncSession,
    member_id: UUID,
    standing: dict[str, _Open],
    readings: Sequence[Kept],
    sources: Sequence[str],
    *,
    now: datetime,
) -> None:
    """Also takes them out of `standing`."""
    for alert in list(standing.values()):
        reason = None
        if alert.kind == AlertKind.SILENCE and alert.source_id in sources:
            reason = AlertClosed.SYNCED
        elif alert.kind == AlertKind.THRESHOLD and _clears(alert, readings):
            reason = AlertClosed.NORMAL_AGAIN
        if reason is not None:
            del standing[alert.rule]
            await close(session, member_id=member_id, alert_ids=[alert.id], reason=reason, now=now)


def _clears(alert: _Open, readings: Sequence[Kept]) -> bool:
    assert alert.code is not None
    moment = rules.clearing_moment(
        readings, alert.rule, alert.code, since=alert.raised_by_at, rules=alerts_data.in_force()
    )
    return moment is not None


async def _prolong(
    session: AsyncSession, member_id: UUID, raised: Sequence[Raised], again: Sequence[_Open]
) -> None:
    """A reading that comes after the one that opened it: only later ones can close it."""
    if not again:
        return
    at = {it.rule: it.reading.measured_at for it in raised if it.reading is not None}
    values = {
        "member_id": member_id,
        "ids": [alert.id for alert in again],
        "ats": [at[alert.rule] for alert in again],
    }
    await session.execute(_PROLONG, values)


async def _already_over(
    session: AsyncSession, member_id: UUID, raised: Sequence[Raised]
) -> frozenset[str]:
    """Rules whose reading came late: a newer one is known, and is clear of the alert."""
    by_reading = [it for it in raised if it.reading is not None]
    if not by_reading:
        return frozenset()
    later = (
        await session.execute(
            _LATER,
            {
                "member_id": member_id,
                "codes": list(_codes(by_reading)),
                "since": min(it.reading.measured_at for it in by_reading if it.reading),
            },
        )
    ).all()
    found = set()
    for it in by_reading:
        assert it.reading is not None and it.code is not None
        moment = rules.clearing_moment(
            later, it.rule, it.code, since=it.reading.measured_at, rules=alerts_data.in_force()
        )
        if moment is not None:
            found.add(it.rule)
    return frozenset(found)


def _codes(raised: Sequence[Raised]) -> set[str]:
    """Also those that are read together with them."""
    rules_ = alerts_data.in_force()
    codes = {it.code for it in raised if it.code is not None}
    for it in raised:
        threshold = rules_.threshold(it.rule)
        if threshold is not None:
            codes |= {limit.code for limit in threshold.limits}
    return codes


def _alert(
    member_id: UUID, it: Raised, *, today: date, muted: bool, over: bool, now: datetime
) -> Alert:
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
        asks_confirmation=it.asks_confirmation,
        local_date=today,
        opened_at=now,
        muted=muted,
        closed_at=now if over else None,
        closed_reason=AlertClosed.NORMAL_AGAIN if over else None,
        # Nobody is told of what is over.
        told_at=now if over else None,
    )


async def _insert(session: AsyncSession, alert: Alert) -> bool:
    """Whether it is new: of two requests at once, one opens it."""
    statement = insert(Alert).values(alert.model_dump()).on_conflict_do_nothing()
    made = await session.execute(statement.returning(col(Alert.id)))
    return made.one_or_none() is not None


async def _load(session: AsyncSession, member_id: UUID, ids: Sequence[UUID]) -> list[Alert]:
    if not ids:
        return []
    statement = select(Alert).where(Alert.member_id == member_id, col(Alert.id).in_(ids))
    return list((await session.exec(statement)).all())


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
    """Without values: those are for whoever may see health data."""
    assert it.code is not None
    quantity = quantities()[it.code]
    urgent = it.severity is AlertSeverity.URGENT
    if it.kind is AlertKind.TREND:
        return Sentence(
            zh=f"{quantity.name_zh}：与平时相比有变化", en=f"{quantity.name_en}: not as usual"
        )
    return Sentence(
        zh=f"{'紧急：' if urgent else ''}{quantity.name_zh}异常",
        en=f"{'Urgent: ' if urgent else ''}{quantity.name_en} out of range",
    )
