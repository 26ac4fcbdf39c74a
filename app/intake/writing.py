"""From the spool to the member's record, in batches, through what records a phone's data.

A batch is one request whose id follows from what is in it: what was imported before is known
by its batch, and otherwise by its readings.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.checkins import recording
from app.checkins.recording import Recorded, Sender
from app.db import Database
from app.intake.gathering import DayTotal, by_day
from app.intake.report import Kept, Reason, Report
from app.intake.spool import Sample, Spool
from app.measurements.kinds import Channel, Context, Method
from app.measurements.rules import Reading, Refused
from app.measurements.totals_rules import SentInterval, Total

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SENSOR = "RANDOM_GLUCOSE"
_SENSOR_DAY = 24
"""More values a day of one source than anybody pricks a finger for: a sensor's stream."""
_PASSING = frozenset({Reason.IN_FUTURE, Reason.CONSENT_MISSING})
"""Refusals that follow from the time of an import, or from what the member agreed to until then."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Target:
    """For whom, and how it comes."""

    db: Database
    member_id: UUID
    time_zone: str
    channel: Channel
    app: str
    dry_run: bool = False
    event: str = ""
    """Of a gateway: what an event says is new, though another said the same before."""

    @property
    def sender(self) -> Sender:
        return Sender(self.member_id, self.member_id, self.channel, self.app)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """In a dry run nothing of it stays."""
        try:
            async with self.db.transaction() as session:
                yield session
                if self.dry_run:
                    raise _Undone
        except _Undone:
            pass


class _Undone(Exception):
    """The end of a dry run's transaction."""


async def write(
    target: Target,
    spool: Spool,
    report: Report,
    *,
    place: str,
    now: datetime,
    progress: Progress = lambda done, total: None,
) -> None:
    """Everything that waits in the spool. `place` is what the file's items are called there:
    `line`, `entry`. Raises recording.HealthConsentMissing."""
    total = spool.sample_count + spool.portion_count
    done = 0
    dense = spool.dense(_SENSOR, _SENSOR_DAY)
    for samples in _together(_distinct(spool.samples(), report)):
        places = [f"{place} {abs(it.where)}" for it in samples]
        await write_samples(target, samples, report, places=places, now=now, dense=dense)
        done += len(samples)
        progress(done, total)
    zone = civil_time.zone(target.time_zone)
    days = by_day(spool.portions(), zone)
    while batch := list(islice(days, recording.TOTALS_MAX)):
        async with target.transaction() as session:
            await write_totals(session, target, batch, report, place=place, now=now)
        progress(done, total)
    progress(total, total)


def _distinct(samples: Iterable[Sample], report: Report) -> Iterator[Sample]:
    """Of several with one instant, code and source, the first."""
    last: tuple[int, str, str] | None = None
    for sample in samples:
        key = sample[:3]
        if key != last:
            yield sample
        elif sample.where > 0:
            report.repeated += 1
        last = key


def _together(samples: Iterator[Sample]) -> Iterator[list[Sample]]:
    """Batches that do not part what was measured at one instant, as a blood pressure."""
    batch: list[Sample] = []
    for sample in samples:
        whole = len(batch) >= recording.READINGS_MAX - 100 and sample.at != batch[-1].at
        if whole or len(batch) == recording.READINGS_MAX:
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


async def write_samples(
    target: Target,
    samples: Sequence[Sample],
    report: Report,
    *,
    places: Sequence[str],
    now: datetime,
    dense: frozenset[tuple[str, int]] = frozenset(),
) -> None:
    """One batch. `places` are where they stand, for the report; `dense` are the sources and
    days (UTC) of a glucose sensor. Raises recording.HealthConsentMissing."""

    async def send(at: Sequence[int], request_id: UUID) -> Recorded:
        return await recording.record_measurements(
            session,
            sender=target.sender,
            request_id=request_id,
            readings=[_reading(samples[it], target.app, dense) for it in at],
            now=now,
        )

    async with target.transaction() as session:
        rejected = await _sent(target, samples, report.readings, send, now)
    _reject(report, rejected, places)


async def write_totals(
    session: AsyncSession,
    target: Target,
    days: Sequence[DayTotal],
    report: Report,
    *,
    place: str,
    now: datetime,
) -> None:
    """One batch. Raises recording.HealthConsentMissing."""

    async def send(at: Sequence[int], request_id: UUID) -> Recorded:
        done, _ = await recording.record_daily_totals(
            session,
            sender=target.sender,
            request_id=request_id,
            sent=[_total(days[it]) for it in at],
            now=now,
        )
        # Of totals, those that say what was known already are accepted too.
        return replace(done, accepted=done.accepted - done.duplicates)

    rejected = await _sent(target, days, report.daily_totals, send, now)
    places = [f"the {it.local_date}, from {place} {it.where}" for it in days]
    _reject(report, rejected, places)


async def _sent(
    target: Target,
    items: Sequence[Any],
    kept: Kept,
    send: Callable[[Sequence[int], UUID], Awaitable[Recorded]],
    now: datetime,
) -> Sequence[tuple[int, Refused]]:
    """What is rejected of a batch, by place. Of one that was sent before, what was refused for
    a reason that passes is judged anew."""
    done = await send(range(len(items)), _request_id(target, items))
    _count(kept, done)
    again = [at for at, refused in done.rejected if refused.code.value in _PASSING]
    if not done.replayed or not again:
        return done.rejected
    anew = replace(target, event=f"{target.event} {now.isoformat()}")
    second = await send(again, _request_id(anew, [items[at] for at in again]))
    _count(kept, second)
    final = [it for it in done.rejected if it[1].code.value not in _PASSING]
    return sorted([*final, *((again[at], refused) for at, refused in second.rejected)], key=_place)


def _place(rejected: tuple[int, Refused]) -> int:
    return rejected[0]


def _count(kept: Kept, done: Recorded) -> None:
    if done.replayed:
        kept.known += done.accepted + done.duplicates
    else:
        kept.accepted += done.accepted
        kept.known += done.duplicates


def _reject(report: Report, rejected: Sequence[tuple[int, Refused]], places: Sequence[str]) -> None:
    for at, refused in rejected:
        known = refused.code.value in Reason.__members__
        report.reject(Reason(refused.code.value) if known else Reason.OTHER, places[at])


def _reading(it: Sample, app: str, dense: frozenset[tuple[str, int]]) -> Reading:
    is_stream = it.code == _SENSOR and (it.source, it.at // 86_400_000) in dense
    return Reading(
        it.code,
        Decimal(it.value),
        it.unit,
        _instant(it.at),
        Method(it.method),
        it.source,
        Context(it.context) if it.context else None,
        app=app,
        continuous=True if is_stream else None,
    )


def _total(it: DayTotal) -> Total:
    return Total(
        it.code,
        it.local_date,
        it.value,
        it.unit,
        it.source,
        Method(it.method),
        [
            SentInterval(_instant(part.start), _instant(part.end), part.value)
            for part in it.intervals
        ],
    )


def _instant(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def _request_id(target: Target, items: Sequence[Any]) -> UUID:
    """The same for the same items of the same member, wherever they stand in a file."""
    digest = hashlib.sha256(f"{target.channel}\0{target.app}\0{target.event}\0".encode())
    for it in items:
        digest.update(repr(it._replace(where=0)).encode())
    return UUID(bytes=digest.digest()[:16], version=5)
