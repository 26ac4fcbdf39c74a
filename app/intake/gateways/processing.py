"""Reads a stored event into the member's record. Run again, it changes nothing."""

from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy import DateTime, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from app import civil_time
from app.checkins import recording
from app.db import Database
from app.intake import gathering, writing
from app.intake.gateways import open_wearables, receiving, terra
from app.intake.gateways.events import Event, Kind
from app.intake.gateways.found import Found
from app.intake.gateways.signatures import Gateway
from app.intake.gathering import DayTotal, Interval
from app.intake.models import EventState
from app.intake.report import Report
from app.intake.spool import Portion, Spool
from app.intake.writing import Target
from app.measurements import service as measurements
from app.measurements import totals
from app.measurements.kinds import Channel
from app.measurements.totals import DayKey, SourceTotal

_log = structlog.get_logger(__name__)

_TAKE = text("""
select e.type, e.user_id, e.provider, e.received_at, e.body, m.time_zone
from gateway_events e join members m using (member_id)
where e.member_id = :member_id and e.gateway = :gateway and e.id = :id and e.state = 'WAITING'
""").bindparams(bindparam("member_id", type_=Uuid))
_END = text("""
update gateway_events set state = :state, body = null, outcome = :outcome
where member_id = :member_id and gateway = :gateway and id = :id and state = 'WAITING'
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("outcome", type_=JSONB))
_FORGET = text("delete from gateway_events where received_at < :before").bindparams(
    bindparam("before", type_=DateTime(timezone=True))
)

_KEYS = """
t.member_id = :member_id and t.source_id = :source_id and t.superseded_at is null
  and t.code = wanted.code and t.local_date = wanted.local_date
"""
_WANTED = "unnest(cast(:codes as text[]), cast(:days as date[])) as wanted (code, local_date)"
_SAID_LATER = text(f"""
select t.code, t.local_date, t.said_at from {_WANTED} join daily_totals t on {_KEYS}
where t.said_at > :said_at
""").bindparams(
    bindparam("member_id", type_=Uuid), bindparam("said_at", type_=DateTime(timezone=True))
)
_SAY = text(f"""
update daily_totals t set said_at = wanted.said_at
from unnest(cast(:codes as text[]), cast(:days as date[]), cast(:instants as timestamptz[]))
  as wanted (code, local_date, said_at)
where {_KEYS} and t.said_at is distinct from wanted.said_at
""").bindparams(bindparam("member_id", type_=Uuid))


async def process(
    db: Database, *, member_id: UUID, gateway: Gateway, event_id: str, now: datetime
) -> None:
    """A job that died in the middle is run again: each of its batches is a request of its own,
    which is known by then."""
    keys = {"member_id": member_id, "gateway": gateway.value, "id": event_id}
    async with db.read() as reading:
        row = (await reading.execute(_TAKE, keys)).one_or_none()
    if row is None:
        return
    event = Event(
        gateway, event_id, row.type, Kind.DATA, row.user_id, row.provider, row.received_at
    )
    target = Target(db, member_id, row.time_zone, Channel.GATEWAY, event.source_id, event=event_id)
    report = Report(event.source_id)
    state = EventState.DONE
    if not await _may_send(db, member_id, event):
        state = EventState.IGNORED
    else:
        try:
            await _record(target, event, orjson.loads(row.body), report, now)
        except recording.HealthConsentMissing:
            state = EventState.IGNORED
    outcome = {
        "accepted": report.readings.accepted + report.daily_totals.accepted,
        "known": report.readings.known + report.daily_totals.known,
        "rejected": {str(reason): it.count for reason, it in report.rejected.items()},
    }
    async with db.transaction() as session:
        await session.execute(_END, {**keys, "state": state.value, "outcome": outcome})
    _log.info("gateway_event", gateway=gateway.value, type=event.type, state=state.value)


async def forget(db: Database, *, now: datetime) -> None:
    """That events came, once nobody sends them again."""
    async with db.write() as connection:
        await connection.execute(_FORGET, {"before": now - receiving.KEPT})


async def _may_send(db: Database, member_id: UUID, event: Event) -> bool:
    """Whether the member has not disconnected meanwhile: what came late would connect again."""
    async with db.transaction() as session:
        return await receiving.is_connected(session, receiving.Keys(member_id, event))


async def _record(
    target: Target, event: Event, body: Mapping[str, Any], report: Report, now: datetime
) -> None:
    found = Found(event.source_id, report)
    (terra if event.gateway is Gateway.TERRA else open_wearables).read(event.type, body, found)
    with Spool() as spool:
        for sample in found.samples:
            spool.add_sample(sample)
        await writing.write(target, spool, report, place="item", now=now)
    if found.totals or found.portions:
        await _record_totals(target, found, report, now, said_at=event.occurred_at)


async def _record_totals(
    target: Target, found: Found, report: Report, now: datetime, *, said_at: datetime
) -> None:
    """Parts of a day are added to those that came before; the member is locked meanwhile. Jobs
    run in any order: what an event says that came before others stands back behind theirs."""
    zone = civil_time.zone(target.time_zone)
    parts = list(gathering.by_day(_lasting(found.portions), zone))
    async with target.db.transaction() as session:
        await measurements.lock(session, target.member_id)
        keys = sorted({(it.code, it.local_date) for it in (*found.totals, *parts)})
        common = {
            "member_id": target.member_id,
            "source_id": found.source,
            "codes": [code for code, _ in keys],
            "days": [day for _, day in keys],
        }
        found_later = await session.execute(_SAID_LATER, {**common, "said_at": said_at})
        later = {(code, day): at for code, day, at in found_later}
        known = await totals.sources_in_force(session, target.member_id, keys)
        merged = _merged(known, found.totals, parts, later)
        for start in range(0, len(merged), recording.TOTALS_MAX):
            batch = merged[start : start + recording.TOTALS_MAX]
            await writing.write_totals(session, target, batch, report, place="item", now=now)
        instants = [later.get(key, said_at) for key in keys]
        await session.execute(_SAY, {**common, "instants": instants})


def _lasting(portions: Iterable[Portion]) -> list[Portion]:
    """In order, each until the next one of its kind begins; what is there twice, once."""
    last: dict[tuple[str, str], Portion] = {}
    found: list[Portion] = []
    for it in sorted({it._replace(where=0) for it in portions}):
        before = last.get((it.code, it.source))
        if before is not None and before.start == it.start:
            continue
        last[it.code, it.source] = it
        found.append(it)
    starts: dict[tuple[str, str], int] = {}
    ended: list[Portion] = []
    for it in reversed(found):
        following = starts.get((it.code, it.source))
        ended.append(it if following is None else it._replace(end=min(it.end, following)))
        starts[it.code, it.source] = it.start
    return ended[::-1]


def _merged(
    known: Mapping[DayKey, Mapping[str, SourceTotal]],
    wholes: list[DayTotal],
    parts: list[DayTotal],
    later: Collection[DayKey],
) -> list[DayTotal]:
    """Running totals of each day and source: a whole stands as it is; parts are added to the
    parts that are known, unless a whole that is larger was said before. `later` are the days
    of which something is known that was said after these."""
    said: dict[tuple[str, date, str], DayTotal] = {}
    for whole in wholes:
        if (whole.code, whole.local_date) not in later:
            said[whole.code, whole.local_date, whole.source] = whole
    for part in parts:
        key = (part.code, part.local_date, part.source)
        before = known[part.code, part.local_date].get(part.source)
        if key in said:
            continue
        if before is None:
            said[key] = part
            continue
        is_late = (part.code, part.local_date) in later
        if is_late and before.intervals is None:
            continue
        kept = [Interval(*it) for it in totals.intervals_of(before.intervals)]
        intervals = _joined(part.intervals, kept) if is_late else _joined(kept, part.intervals)
        value = sum((it.value for it in intervals), Decimal(0))
        if before.intervals is None and before.value > value:
            continue
        said[key] = part._replace(value=value, intervals=tuple(intervals))
    return [said[key] for key in sorted(said, key=lambda key: (key[1], key[0], key[2]))]


def _joined(before: Iterable[Interval], new: Iterable[Interval]) -> list[Interval]:
    """What is said now about a time replaces what was said about it before; each lasts until
    the next one begins."""
    found = sorted(({it.start: it for it in before} | {it.start: it for it in new}).values())
    trimmed = [it._replace(end=min(it.end, later.start)) for it, later in pairwise(found)]
    return gathering.bounded([*trimmed, *found[-1:]])
