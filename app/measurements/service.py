"""Recording readings: judge each, then write all of them with one statement."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache, partial
from itertools import repeat
from operator import attrgetter
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.db import Statement, fetch
from app.ids import new_ids
from app.measurements import devices, pairs, readings_sent, rules, streams
from app.measurements.catalogue import Quantity, Stream, quantities
from app.measurements.facts import ON_RECORDED, ChangedSlot, NewReading, Outcome, Touched
from app.measurements.kinds import LIVE
from app.measurements.rules import Channel, Judged, Reading, Refused
from app.measurements.streams import Aggregate, Point, SlotKey

_COLUMNS = readings_sent.COLUMNS
_NEW = tuple(name for name in _COLUMNS if name != "supersedes")
_KEY_AND_VALUE = (
    "id", "code", "value", "measured_at", "method", "source_id", "context", "trust", "confirmed",
)  # fmt: skip

_LOCK_SQL = "select time_zone from members where member_id = :member_id for no key update"
LOCK = Statement(_LOCK_SQL, {"member_id": "uuid"})
"""As `lock`, for whoever has executed something in the transaction before."""
_LOCK = text(_LOCK_SQL).bindparams(bindparam("member_id", type_=Uuid))


_NOT_RETRACTED = """
where not exists (select from measurements t
  where t.member_id = :member_id and t.code = sent.code and t.measured_at = sent.measured_at
  and t.source_id = sent.source_id and t.retracted and t.value = sent.value)"""
_UNLESS_KNOWN = f"""{_NOT_RETRACTED}
on conflict (member_id, code, measured_at, source_id) where superseded_at is null do nothing
returning id"""


def _insert(columns: Sequence[str], unless: str = "") -> Statement:
    return Statement(
        f"""
insert into measurements (member_id, recorded_at, recorded_by, channel, {", ".join(columns)})
select :member_id, :now, :recorded_by, :channel, sent.*
from {readings_sent.rows(*columns)}{unless}""",
        {"member_id": "uuid", "now": "timestamptz", "recorded_by": "uuid", "channel": "text"},
    )


_INSERT = _insert(_NEW, _UNLESS_KNOWN)
_INSERT_NEW = _insert(_NEW)
"""Where nothing of it is known; to look for each reading whether it is costs a third more."""
_INSERT_VERSIONS = _insert(_COLUMNS, _UNLESS_KNOWN)

KNOWN = """
exists (select from measurements t where t.member_id = :member_id and t.retracted)
or exists (select from unnest(:codes, :source_ids) as sent (code, source_id)
  -- One search for each, which skips what other sources sent meanwhile.
  cross join lateral (select from measurements t where t.member_id = :member_id
    and t.code = sent.code and t.source_id = sent.source_id and t.superseded_at is null
    and t.measured_at between :first_at and :last_at limit 1) found)
"""
"""For a statement that looks up more: whether any reading may be known already, in force or taken
back. Takes `sought` and `member_id`."""
KNOWN_TYPES = {
    "member_id": "uuid", "codes": "text[]", "source_ids": "text[]",
    "first_at": "timestamptz", "last_at": "timestamptz",
}  # fmt: skip

# What says something else is a new version, unless nobody vouches for it and somebody did for
# the one that is there; no device corrects a clinic. An extreme value that was confirmed stays so.
_SUPERSEDE = text(f"""
with known as (
  select sent.id as new_id, m.id, m.recorded_at, m.local_date,
    (m.value, m.method, m.context) is distinct from (sent.value, sent.method, sent.context)
      or (sent.confirmed and m.confirmed is not true)
      or (sent.trust = 'HIGH' and m.trust <> 'HIGH') as differs,
    m.trust = 'HIGH'
      and (sent.trust <> 'HIGH' or (m.method = 'CLINICAL' and sent.method <> 'CLINICAL')) as outranks
  from {readings_sent.rows(*_KEY_AND_VALUE)}
  join measurements m on m.member_id = :member_id and m.code = sent.code
    and m.measured_at = sent.measured_at and m.source_id = sent.source_id
    and m.superseded_at is null and m.id <> sent.id),
superseded as (
  update measurements m set superseded_at = greatest(:now, m.recorded_at)
  from known where m.member_id = :member_id and m.id = known.id
  and known.differs and not known.outranks and m.superseded_at is null
  returning m.id)
select known.new_id, superseded.id, known.local_date
from known left join superseded on superseded.id = known.id
""").bindparams(bindparam("member_id", type_=Uuid))

_RETRACTED = text(f"""
select sent.id from {readings_sent.rows(*_KEY_AND_VALUE)}
join measurements m on m.member_id = :member_id and m.code = sent.code
  and m.measured_at = sent.measured_at and m.source_id = sent.source_id and m.retracted
  and m.value = sent.value
""").bindparams(bindparam("member_id", type_=Uuid))

_OTHER_HALVES = text("""
select m.code, m.measured_at, m.source_id, m.value
from unnest(cast(:codes as text[]), cast(:instants as timestamptz[]), cast(:sources as text[]))
  as wanted (code, measured_at, source_id)
join measurements m on m.member_id = :member_id and m.code = wanted.code
  and m.measured_at = wanted.measured_at and m.source_id = wanted.source_id
  and m.superseded_at is null
""").bindparams(bindparam("member_id", type_=Uuid))

_SLOTS = text("""
select s.code, s.starts_at, s.source_id, s.n, s.minimum, s.maximum, s.total, s.seconds
from unnest(cast(:codes as text[]), cast(:starts as timestamptz[]), cast(:sources as text[]))
  as wanted (code, starts_at, source_id)
join measurement_streams s on s.member_id = :member_id and s.code = wanted.code
  and s.starts_at = wanted.starts_at and s.source_id = wanted.source_id
""").bindparams(bindparam("member_id", type_=Uuid))

_MERGE_SLOTS = text("""
insert into measurement_streams (member_id, recorded_at, changed_at, code, starts_at, source_id,
  local_date, unit, n, minimum, maximum, total, seconds, trust)
select :member_id, :now, :now, sent.* from unnest(cast(:codes as text[]),
  cast(:starts as timestamptz[]), cast(:sources as text[]), cast(:days as date[]),
  cast(:units as text[]), cast(:ns as integer[]), cast(:minima as numeric[]),
  cast(:maxima as numeric[]), cast(:totals as numeric[]), cast(:seconds as bytea[]),
  cast(:trusts as text[])) as sent
on conflict (member_id, code, starts_at, source_id) do update set n = excluded.n,
  minimum = excluded.minimum, maximum = excluded.maximum, total = excluded.total,
  seconds = excluded.seconds, changed_at = excluded.changed_at
returning code, starts_at, source_id, local_date
""").bindparams(bindparam("member_id", type_=Uuid))


def clinical(readings: Iterable[tuple[str, Decimal, str]], *, at: datetime) -> list[Reading]:
    """Readings of one examination: (code, value, UCUM unit)."""
    return [
        Reading(code, value, unit, at, rules.Method.CLINICAL, source_id="examination")
        for code, value, unit in readings
    ]


_KEY = attrgetter("code", "measured_at", "source_id")


def sought(readings: Sequence[Reading]) -> dict[str, Any]:
    """What `KNOWN` takes."""
    codes, instants, sources = zip(*map(_KEY, readings), strict=True)
    # What cannot be a name is refused, and may not even be text to the server.
    found = [it for it in set(zip(codes, sources, strict=True)) if rules.is_name(it[1])]
    return {
        "codes": [code for code, _ in found], "source_ids": [source_id for _, source_id in found],
        "first_at": min(instants), "last_at": max(instants),
    }  # fmt: skip


async def lock(session: AsyncSession, member_id: UUID) -> str:
    """Whoever records something about a member holds this, so that what they have read stays
    as it is; the member's time zone."""
    found: str = (await session.execute(_LOCK, {"member_id": member_id})).scalar_one()
    return found


async def record(
    session: AsyncSession,
    *,
    member_id: UUID,
    time_zone: str,
    readings: Sequence[Reading],
    now: datetime,
    channel: Channel = Channel.EXAMINATION,
    recorded_by: UUID | None = None,
    late_days: int | None = None,
    senses: bool = True,
    held: Sequence[str] | None = None,
    may_know: bool = True,
) -> Outcome:
    """Keep what is plausible and new. The caller holds `lock`.

    A reading of the same code, instant and source is known already; one that says something
    else supersedes it. `late_days` is how old it may be, None any age; `senses`, whether the
    member consents to data of their devices; `held` the serial numbers of those of the
    programme, looked up when it is not said; `may_know`, whether any of the readings may be known
    (see `KNOWN`).
    """
    zone = civil_time.zone(time_zone)
    if held is None:
        held = await devices.held(session, member_id) if _may_be_held(readings, channel) else ()
    terms = rules.Terms(
        now, oldest(now, late_days, zone), late_days or 0, channel, senses, frozenset(held)
    )
    found = rules.judge_all(readings, terms)
    keys: list[pairs.HalfKey] = list(map(_KEY, readings))
    if Refused in set(map(type, found)) or not pairs.are_ordinary(keys, found):  # type: ignore[arg-type]
        found = await _paired(session, member_id, keys, found)
    rejected = [(at, it) for at, it in enumerate(found) if isinstance(it, Refused)]
    single, points = _kept(readings, keys, found, are_all=not rejected)
    writing = _Writing(session, member_id, channel, recorded_by, zone, now, may_know)
    new = await writing.readings(list(single.values())) if single else []
    slots, counted = await writing.slots(points) if points else ([], 0)
    touched = Touched(readings=new, slots=slots)
    accepted = len(new) + counted
    if touched:
        for follow in ON_RECORDED:
            await follow(session, member_id, touched, now)
    duplicates = len(readings) - len(rejected) - accepted
    return Outcome(accepted, duplicates, rejected, touched)


def _kept(
    readings: Sequence[Reading],
    keys: Sequence[pairs.HalfKey],
    found: Sequence[Judged | Refused],
    *,
    are_all: bool,
) -> tuple[dict[pairs.HalfKey, Judged], dict[SlotKey, list[Judged]]]:
    """What is kept one by one, each once, and what in aggregates; `are_all` when none is refused."""
    single: dict[pairs.HalfKey, Any] = {}
    points: dict[SlotKey, list[Judged]] = defaultdict(list)
    streamed = _streamed()
    if are_all and streamed.keys().isdisjoint(key[0] for key in keys):
        return dict(zip(keys, found, strict=True)), points  # type: ignore[arg-type]
    for reading, key, it in zip(readings, keys, found, strict=True):
        if isinstance(it, Refused):
            continue
        code, measured_at, source_id = key
        if code in streamed and rules.is_stream(reading, streamed[code]):
            points[SlotKey(code, streams.slot_of(measured_at)[0], source_id)].append(it)
        else:
            single[key] = it
    return single, points


@cache
def _streamed() -> Mapping[str, Quantity]:
    return {code: it for code, it in quantities().items() if it.stream is not Stream.NEVER}


def _may_be_held(readings: Iterable[Reading], channel: Channel) -> bool:
    """Whether one may have come from a device of the register."""
    return channel in LIVE and any(
        it.method is rules.Method.SENSED and it.source_id for it in readings
    )


def oldest(now: datetime, late_days: int | None, zone: ZoneInfo) -> datetime | None:
    """The start of the first local day that is not too old."""
    if late_days is None:
        return None
    first = civil_time.local_date(now, zone) - timedelta(days=late_days)
    return civil_time.start_of_day(first, zone)


async def _paired(
    session: AsyncSession,
    member_id: UUID,
    keys: Sequence[pairs.HalfKey],
    found: list[Judged | Refused],
) -> list[Judged | Refused]:
    """With the halves of each blood pressure kept together."""
    sent = [key if key[0] in pairs.OTHER_HALF else None for key in keys]
    alone = pairs.lone_halves(found)
    known: dict[pairs.HalfKey, Decimal] = {}
    if alone:
        codes, instants, sources = (list(it) for it in zip(*alone, strict=True))
        parameters = {
            "member_id": member_id, "codes": codes, "instants": instants, "sources": sources,
        }  # fmt: skip
        for code, measured_at, source_id, value in await session.execute(_OTHER_HALVES, parameters):
            known[code, measured_at, source_id] = value
    return pairs.settle(sent, found, known)


class _Writing:
    """The statements of one recording."""

    def __init__(
        self,
        session: AsyncSession,
        member_id: UUID,
        channel: Channel,
        recorded_by: UUID | None,
        zone: ZoneInfo,
        now: datetime,
        may_know: bool,
    ) -> None:
        self._session = session
        self._may_know = may_know
        self._common = {"member_id": member_id, "now": now}
        self._sender = {"channel": channel.value, "recorded_by": recorded_by}
        self._zone = zone
        self._now = now

    async def readings(self, judged: Sequence[Judged]) -> list[NewReading]:
        """Those that are in force from now on: new ones, and new versions."""
        kinds, values, sent_values, instants, confirmed = zip(*judged, strict=True)
        ids, days = new_ids(self._now, len(judged)), self._days(instants)
        codes = [kind.code for kind in kinds]
        columns = (ids, codes, days, kinds, values, sent_values, instants, confirmed)
        rows = [*map(_as_new, zip(*columns, repeat(None)))]
        if not self._may_know:
            await self._insert(_INSERT_NEW, rows, _NEW)
            return rows
        if await self._insert(_INSERT, rows, _NEW) == len(rows):
            return rows
        wanted = {**self._common, **readings_sent.parameters(rows, _KEY_AND_VALUE)}
        retracted = set((await self._session.execute(_RETRACTED, wanted)).scalars())
        rows = [row for row in rows if row.id not in retracted]
        found = await self._session.execute(_SUPERSEDE, wanted)
        known: dict[UUID, tuple[UUID | None, date]] = {id: (old, day) for id, old, day in found}
        versions = []
        for row in rows:
            old, day = known.get(row.id, (None, row.local_date))
            if old is not None:
                versions.append(row._replace(supersedes=old, local_date=day))
        if versions:
            await self._insert(_INSERT_VERSIONS, versions, _COLUMNS)
        return [row for row in rows if row.id not in known] + versions

    def _days(self, instants: Sequence[datetime]) -> Iterable[date]:
        """Their local days."""
        first = min(instants).astimezone(self._zone)
        last = max(instants).astimezone(self._zone)
        if (last.date(), last.utcoffset()) == (first.date(), first.utcoffset()):
            return repeat(first.date(), len(instants))
        return readings_sent.each_once(lambda it: it.astimezone(self._zone).date(), instants)

    async def _insert(
        self, statement: Statement, rows: Sequence[NewReading], columns: Sequence[str]
    ) -> int:
        sent = readings_sent.parameters(rows, columns)
        made = await fetch(self._session, statement, {**self._common, **self._sender, **sent})
        return len(made)

    async def slots(self, points: dict[SlotKey, list[Judged]]) -> tuple[list[ChangedSlot], int]:
        """The aggregates that changed, and how many values were new."""
        codes, starts, sources = (list(it) for it in zip(*points, strict=True))
        keys = {"codes": codes, "starts": starts, "sources": sources}
        known = {
            SlotKey(*row[:3]): Aggregate(*row[3:])
            for row in await self._session.execute(_SLOTS, {**self._common, **keys})
        }
        sent = {
            key: [Point(streams.slot_of(at)[1], value) for _, value, _, at, _ in found]
            for key, found in points.items()
        }
        changed, count = streams.merge_all(known, sent)
        if not changed:
            return [], 0
        written = await self._session.execute(
            _MERGE_SLOTS, {**self._common, **self._slot_arrays(changed, points)}
        )
        return [
            ChangedSlot(
                code, source_id, starts_at, local_date,
                (it := changed[SlotKey(code, starts_at, source_id)]).n,
                it.minimum, it.maximum, it.mean,
            )
            for code, starts_at, source_id, local_date in written
        ], count  # fmt: skip

    def _slot_arrays(
        self, changed: dict[SlotKey, Aggregate], points: dict[SlotKey, list[Judged]]
    ) -> dict[str, Any]:
        found = list(changed.values())
        return {
            "codes": [key.code for key in changed],
            "starts": [key.starts_at for key in changed],
            "sources": [key.source_id for key in changed],
            "days": [civil_time.local_date(key.starts_at, self._zone) for key in changed],
            "units": [points[key][0][0].unit for key in changed],
            "ns": [it.n for it in found],
            "minima": [it.minimum for it in found],
            "maxima": [it.maximum for it in found],
            "totals": [it.total for it in found],
            "seconds": [it.seconds for it in found],
            "trusts": [points[key][0][0].trust for key in changed],
        }


_as_new: Callable[[tuple[Any, ...]], NewReading] = partial(tuple.__new__, NewReading)
"""Without a look at each name."""
