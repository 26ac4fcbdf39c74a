"""Readings and running totals of a member: recorded once, then tasks, points and alerts follow.

One transaction: the request is claimed, the member locked, what decides is looked up, and what
was judged is written; whatever the number of readings, the number of statements is the same.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import Any
from uuid import UUID

import orjson
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.checkins import recording_told
from app.checkins.advancing import Advanced, advance
from app.checkins.recording_models import Recording
from app.db import Statement, fetch
from app.errors import ErrorCode, UserError
from app.health_tasks.measured import Added
from app.ids import new_id
from app.measurements import alerts, devices, pairs, rules, totals
from app.measurements import service as measurements
from app.measurements.catalogue import quantities
from app.measurements.facts import Outcome, Touched
from app.measurements.kinds import VOUCHED, Channel
from app.measurements.rules import Reading, Refused
from app.measurements.totals_rules import Total
from app.members import requests
from app.members.rules import ConsentState
from app.texts import Text

READINGS_MAX = 1000
HEARD_MAX = 50
"""Sources of one request whose silence is watched."""
TOTALS_MAX = 100
_LIMITED = frozenset({Channel.APP, Channel.GATEWAY})
"""Channels on which late data has an end; a clinic may enter an old examination."""

_DECIDES = f"""
select
  (select c.state from consents c where c.member_id = :member_id and c.purpose = 'HEALTH_DATA'
    order by c.version desc limit 1),
  (select c.state from consents c where c.member_id = :member_id and c.purpose = 'DEVICE_DATA'
    order by c.version desc limit 1),
  (select max(a.late_data_days) from task_assignments a where a.member_id = :member_id
    and (a.ends_on is null or a.ends_on >= :today)),
  array({devices.HELD})"""
_TYPES = {"member_id": "uuid", "today": "date"}
_LOOK = Statement(_DECIDES, _TYPES)
_LOOK_FOR = Statement(f"{_DECIDES}, {measurements.KNOWN}", _TYPES | measurements.KNOWN_TYPES)

_REMEMBER = Statement(
    "insert into recordings (member_id, id, recorded_at, outcome)"
    " values (:member_id, :id, :now, :outcome)", {}
)  # fmt: skip


class BatchTooLarge(UserError):
    def __init__(self, *, field: str, maximum: int) -> None:
        super().__init__(
            ErrorCode.BATCH_TOO_LARGE,
            Text(zh=f"一次须发送 1 至 {maximum} 条。", en=f"Send 1 to {maximum} at once."),
            field=field,
        )


class HealthConsentMissing(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.CONSENT_MISSING,
            Text(
                zh="需要同意使用健康数据，才能保存测量结果。",
                en="Measurements are kept only with the consent to the use of health data.",
            ),
        )


@dataclass(frozen=True, slots=True)
class Sender:
    """For whom something is recorded, by whom, and which way it comes."""

    member_id: UUID
    acted_by: UUID
    """The member, the guardian who acts, the employee or the clinic."""
    channel: Channel = Channel.APP
    app: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a request did, the first time it came."""

    accepted: int
    duplicates: int
    rejected: Sequence[tuple[int, Refused]]
    to_confirm: Sequence[tuple[int, str]]
    """Place and code of what was kept, but is so far out that somebody should look again."""
    alerts: Sequence[UUID]
    tasks: Sequence[tuple[UUID, date]]
    days: Sequence[UUID]
    readings: Sequence[UUID]
    """What is new of a clinic's entry; of others it is not kept."""
    replayed: bool = False
    points_moved: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides about all of a member's data."""

    time_zone: str
    senses: bool
    late_days: int
    held: Sequence[str] = ()
    """Serial numbers of the programme's devices that they have."""
    may_know: bool = True
    """Whether any of the readings that are sent may be known already."""


async def record_measurements(
    session: AsyncSession,
    *,
    sender: Sender,
    request_id: UUID,
    readings: Sequence[Reading],
    now: datetime,
    owner: UUID | None = None,
    operation: str = "recordMeasurements",
) -> Recorded:
    """Keep readings, once. A bad one is rejected on its own.

    Raises BatchTooLarge, HealthConsentMissing, RequestReused.
    """
    if not 0 < len(readings) <= READINGS_MAX:
        raise BatchTooLarge(field="measurements", maximum=READINGS_MAX)
    recording_id = new_id(now)
    values = {
        "member": sender.member_id,
        "app": sender.app,
        "readings": recording_told.readings(readings),
    }
    earlier = await requests.claim(
        session, owner=owner or sender.member_id, request_id=request_id, operation=operation,
        values=values, result=recording_id, now=now,
    )  # fmt: skip
    if earlier is not None:
        return await _replayed(session, sender.member_id, earlier)
    standing = await look(session, sender.member_id, now, readings)
    done = await measurements.record(
        session,
        member_id=sender.member_id,
        time_zone=standing.time_zone,
        readings=readings,
        now=now,
        channel=sender.channel,
        recorded_by=sender.acted_by,
        late_days=standing.late_days if sender.channel in _LIMITED else None,
        senses=standing.senses,
        held=standing.held,
        may_know=standing.may_know,
    )
    raised, advanced = await follow_up(
        session,
        sender=sender,
        request_id=request_id,
        touched=done.touched,
        heard=_heard(readings, done.rejected) if standing.senses else (),
        now=now,
    )
    by_clinic = sender.channel in VOUCHED
    recorded = Recorded(
        accepted=done.accepted,
        duplicates=done.duplicates,
        rejected=done.rejected,
        to_confirm=_to_confirm(readings, done),
        alerts=raised,
        tasks=advanced.tasks,
        days=(),
        readings=[it.id for it in done.touched.readings] if by_clinic else (),
        points_moved=advanced.points_moved,
    )
    await _remember(session, sender.member_id, recording_id, recorded, now)
    return recorded


async def record_daily_totals(
    session: AsyncSession,
    *,
    sender: Sender,
    request_id: UUID,
    sent: Sequence[Total],
    now: datetime,
) -> tuple[Recorded, Sequence[totals.Day]]:
    """Replace running totals, once a request; and the days as they stand. A bad one is
    rejected on its own.

    Raises BatchTooLarge, HealthConsentMissing, RequestReused.
    """
    if not 0 < len(sent) <= TOTALS_MAX:
        raise BatchTooLarge(field="totals", maximum=TOTALS_MAX)
    member_id = sender.member_id
    recording_id = new_id(now)
    values = {"app": sender.app, "totals": [recording_told.total(it) for it in sent]}
    earlier = await requests.claim(
        session, owner=member_id, request_id=request_id, operation="recordDailyTotals",
        values=values, result=recording_id, now=now,
    )  # fmt: skip
    if earlier is not None:
        found = await _replayed(session, member_id, earlier)
        return found, await totals.days(session, member_id, found.days)
    standing = await look(session, member_id, now)
    done = await totals.record(
        session,
        member_id=member_id,
        time_zone=standing.time_zone,
        totals=sent,
        now=now,
        channel=sender.channel,
        recorded_by=sender.acted_by,
        late_days=standing.late_days if sender.channel in _LIMITED else None,
        senses=standing.senses,
        app=sender.app,
    )
    raised, advanced = await follow_up(
        session,
        sender=sender,
        request_id=request_id,
        touched=done.touched,
        heard=_heard(sent, done.rejected) if standing.senses else (),
        now=now,
    )
    recorded = Recorded(
        accepted=done.accepted,
        duplicates=done.unchanged,
        rejected=done.rejected,
        to_confirm=(),
        alerts=raised,
        tasks=advanced.tasks,
        days=[day.id for day in done.days],
        readings=(),
        points_moved=advanced.points_moved,
    )
    await _remember(session, member_id, recording_id, recorded, now)
    return recorded, done.days


async def look(
    session: AsyncSession, member_id: UUID, now: datetime, readings: Sequence[Reading] = ()
) -> Standing:
    """Lock the member, then look up what decides, about these readings too.
    Raises HealthConsentMissing."""
    [(time_zone,)] = await fetch(session, measurements.LOCK, {"member_id": member_id})
    today = civil_time.local_date(now, civil_time.zone(time_zone))
    statement, about = (_LOOK_FOR, measurements.sought(readings)) if readings else (_LOOK, {})
    [row] = await fetch(session, statement, {"member_id": member_id, "today": today, **about})
    health, sensed, late_days, held = row[:4]
    if health != ConsentState.GRANTED:
        raise HealthConsentMissing
    return Standing(
        time_zone,
        senses=sensed == ConsentState.GRANTED,
        late_days=rules.LATE_DAYS if late_days is None else late_days,
        held=held,
        may_know=row[4] if readings else True,
    )


async def follow_up(
    session: AsyncSession,
    *,
    sender: Sender,
    request_id: UUID,
    touched: Touched,
    heard: Collection[str],
    now: datetime,
) -> tuple[Sequence[UUID], Advanced]:
    """What follows from new data, in their transaction: alerts, tasks and points. `heard` are
    the sources that have just synced."""
    raised = await alerts.raise_alerts(
        session,
        member_id=sender.member_id,
        touched=touched,
        heard=heard,
        channel=sender.channel,
        now=now,
    )
    advanced = await advance(
        session,
        member_id=sender.member_id,
        touched=_codes_and_days(touched),
        request_id=request_id,
        acted_by=sender.acted_by,
        now=now,
        added=partial(_added, touched),
    )
    return raised, advanced


def _heard(sent: Sequence[Reading | Total], rejected: Sequence[tuple[int, Any]]) -> set[str]:
    """The sources that synced: of what is refused nobody knows where it came from."""
    if rejected:
        refused = {at for at, _ in rejected}
        sent = [it for at, it in enumerate(sent) if at not in refused]
    heard = (source for method, source in dict.fromkeys(map(_SENDER, sent)) if method is _SENSED)
    return set(islice(heard, HEARD_MAX))


_SENDER = attrgetter("method", "source_id")
_SENSED = rules.Method.SENSED


def _codes_and_days(touched: Touched) -> set[tuple[str, date]]:
    found = {(it.code, it.local_date) for it in touched.readings}
    found.update((it.code, it.local_date) for it in touched.slots)
    found.update((it.code, it.local_date) for it in touched.days)
    return found


def _added(touched: Touched, code: str, day: date) -> Added | None:
    """What is new of that code and day; None where it is not that readings were merely added."""
    found = [it for it in touched.readings if it.code == code and it.local_date == day]
    if any((it.code, it.local_date) == (code, day) for it in touched.days) or any(
        it.supersedes is not None for it in found
    ):
        return None
    if code == pairs.SYSTOLIC and not pairs.are_whole(found, touched.readings):
        return None  # Other halves came, of which the first may be there already.
    values = [it.value for it in found]
    return Added(min(values), max(values)) if values else None


def _to_confirm(readings: Sequence[Reading], done: Outcome) -> list[tuple[int, str]]:
    wanted = {
        (it.code, it.measured_at, it.source_id)
        for it in done.touched.readings
        if it.confirmed is False
    }
    if not wanted:
        return []
    return [
        (at, it.code)
        for at, it in enumerate(readings)
        if (it.code, it.measured_at, it.source_id) in wanted
    ]


def confirmation(code: str) -> Text:
    """What the member is asked about a reading that is extreme."""
    quantity = quantities()[code]
    return Text(
        zh=f"这个{quantity.name_zh}数值很不寻常。请重新测量，如确认无误，请再次发送并标记为已确认。",
        en=f"This is an unusual {quantity.name_en[:1].lower()}{quantity.name_en[1:]}. Measure "
        "again; if it is right, confirm it.",
    )


# What a request did


async def _remember(
    session: AsyncSession, member_id: UUID, id: UUID, recorded: Recorded, now: datetime
) -> None:
    outcome = {
        "accepted": recorded.accepted,
        "duplicates": recorded.duplicates,
        "rejected": [[at, it.code.value, it.text.zh, it.text.en] for at, it in recorded.rejected],
        "to_confirm": [list(it) for it in recorded.to_confirm],
        "alerts": [str(id) for id in recorded.alerts],
        "tasks": [[str(id), starts_on.isoformat()] for id, starts_on in recorded.tasks],
        "days": [str(id) for id in recorded.days],
        "readings": [str(id) for id in recorded.readings],
    }
    row = {"member_id": member_id, "id": id, "now": now}
    await fetch(session, _REMEMBER, row | {"outcome": orjson.dumps(outcome).decode()})


async def _replayed(session: AsyncSession, member_id: UUID, id: UUID) -> Recorded:
    kept = await session.get_one(Recording, (member_id, id))
    outcome: Mapping[str, Any] = kept.outcome
    return Recorded(
        accepted=outcome["accepted"],
        duplicates=outcome["duplicates"],
        rejected=[
            (at, Refused(ErrorCode(code), Text(zh=zh, en=en)))
            for at, code, zh, en in outcome["rejected"]
        ],
        to_confirm=[(at, code) for at, code in outcome["to_confirm"]],
        alerts=[UUID(it) for it in outcome["alerts"]],
        tasks=[(UUID(it), date.fromisoformat(starts_on)) for it, starts_on in outcome["tasks"]],
        days=[UUID(it) for it in outcome["days"]],
        readings=[UUID(it) for it in outcome["readings"]],
        replayed=True,
    )
