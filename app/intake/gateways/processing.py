"""Reads a stored event into the member's record. Run again, it changes nothing."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy import DateTime, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel.ext.asyncio.session import AsyncSession

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
        await _record_totals(target, found, report, now)


async def _record_totals(target: Target, found: Found, report: Report, now: datetime) -> None:
    """Parts of a day are added to those that came before; the member is locked meanwhile."""
    zone = civil_time.zone(target.time_zone)
    parts = list(gathering.by_day(_lasting(found.portions), zone))
    async with target.db.transaction() as session:
        await measurements.lock(session, target.member_id)
        merged = await _merged(session, target.member_id, found.totals, parts)
        for start in range(0, len(merged), recording.TOTALS_MAX):
            batch = merged[start : start + recording.TOTALS_MAX]
            await writing.write_totals(session, target, batch, report, place="item", now=now)


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


async def _merged(
    session: AsyncSession, member_id: UUID, wholes: list[DayTotal], parts: list[DayTotal]
) -> list[DayTotal]:
    """Running totals of each day and source: a whole stands as it is; parts are added to the
    parts that are known, unless a whole that is larger was said before."""
    keys = sorted({(it.code, it.local_date) for it in (*wholes, *parts)})
    known = await totals.sources_in_force(session, member_id, keys)
    said: dict[tuple[str, Any, str], DayTotal] = {}
    for whole in wholes:
        said[whole.code, whole.local_date, whole.source] = whole
    for part in parts:
        key = (part.code, part.local_date, part.source)
        before = known[part.code, part.local_date].get(part.source)
        if key in said:
            continue
        if before is None:
            said[key] = part
            continue
        intervals = _joined(
            [Interval(*it) for it in totals.intervals_of(before.intervals)], part.intervals
        )
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
