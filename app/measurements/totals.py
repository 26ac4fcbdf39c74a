"""Running totals of local days: the later one of a source stands, all sources are united."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.ids import new_id
from app.measurements import rules, totals_rules
from app.measurements.catalogue import quantities
from app.measurements.facts import ON_RECORDED, ChangedDay, Touched
from app.measurements.kinds import TRUSTED, Channel, TrustGrade
from app.measurements.rules import Refused
from app.measurements.totals_rules import JudgedTotal, Terms, Total
from app.measurements.union import Counted, Interval, union

DayKey = tuple[str, date]
"""Code and local day."""

_WANTED = "unnest(cast(:codes as text[]), cast(:days as date[])) as wanted (code, local_date)"
_IN_FORCE = text(f"""
select t.id, t.code, t.local_date, t.source_id, t.value, t.intervals::text, t.method, t.trust,
  t.recorded_at
from {_WANTED} join daily_totals t on t.member_id = :member_id and t.code = wanted.code
  and t.local_date = wanted.local_date and t.superseded_at is null
""").bindparams(bindparam("member_id", type_=Uuid))
_DAYS = text(f"""
select d.code, d.local_date, d.id, d.value, d.trusted_value
from {_WANTED} join daily_total_days d on d.member_id = :member_id and d.code = wanted.code
  and d.local_date = wanted.local_date
""").bindparams(bindparam("member_id", type_=Uuid))
_DAYS_BY_ID = text("""
select d.id, d.code, d.local_date, d.value, d.unit, array(
  select row(t.source_id, t.value) from daily_totals t where t.member_id = d.member_id
  and t.code = d.code and t.local_date = d.local_date and t.superseded_at is null
  order by t.source_id collate "C")
from daily_total_days d
where d.member_id = :member_id and d.id = any(cast(:ids as uuid[]))
order by d.code, d.local_date
""").bindparams(bindparam("member_id", type_=Uuid))
_SUPERSEDE = text("""
update daily_totals t set superseded_at = greatest(:now, t.recorded_at)
where t.member_id = :member_id and t.id = any(cast(:ids as uuid[])) and t.superseded_at is null
""").bindparams(bindparam("member_id", type_=Uuid))
_SENT = (
    "id uuid, supersedes uuid, code text, local_date date, source_id text, value numeric, unit text,"
    " sent_value text, sent_unit text, intervals text, method text, trust text"
)
_COLUMNS = [it.split()[0] for it in _SENT.split(", ")]
_ARRAYS = ", ".join(
    f"cast(:{name} as {kind}[])" for name, kind in (it.split() for it in _SENT.split(", "))
)
_INSERT = text(f"""
insert into daily_totals (member_id, recorded_at, recorded_by, channel, app, {", ".join(_COLUMNS)})
select :member_id, :now, :recorded_by, :channel, :app,
  {", ".join(f"sent.{it}::jsonb" if it == "intervals" else f"sent.{it}" for it in _COLUMNS)}
from unnest({_ARRAYS}) as sent ({", ".join(_COLUMNS)})
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("recorded_by", type_=Uuid))
_PROJECT = text("""
insert into daily_total_days as d (member_id, changed_at, id, code, local_date, value, unit,
  trusted_value)
select :member_id, :now, sent.* from unnest(cast(:ids as uuid[]), cast(:codes as text[]),
  cast(:days as date[]), cast(:values as numeric[]), cast(:units as text[]),
  cast(:trusted as numeric[])) as sent
on conflict (member_id, code, local_date) do update set value = excluded.value,
  trusted_value = excluded.trusted_value, changed_at = excluded.changed_at
""").bindparams(bindparam("member_id", type_=Uuid))


class SourceTotal(NamedTuple):
    """What one source says about a day, in force."""

    id: UUID
    source_id: str
    value: Decimal
    intervals: str | None
    """As JSON."""
    method: str
    trust: str
    recorded_at: datetime

    def says(self, other: JudgedTotal) -> bool:
        """Also when that may be relied on less."""
        if self.trust != TrustGrade.HIGH and other.trust == TrustGrade.HIGH:
            return False
        return (self.value, _compact(self.intervals), self.method) == (
            other.value, _compact(other.intervals), other.method,
        )  # fmt: skip

    def counted(self) -> Counted:
        return Counted(self.value, intervals_of(self.intervals))


class Day(NamedTuple):
    """A local day as it stands."""

    id: UUID
    code: str
    local_date: date
    value: Decimal
    unit: str
    sources: Sequence[tuple[str, Decimal]]
    """Each with its own total, by name."""


@dataclass(frozen=True, slots=True)
class TotalsOutcome:
    accepted: int
    unchanged: int
    """How many of the accepted said what was known already."""
    rejected: Sequence[tuple[int, Refused]]
    days: Sequence[Day]
    """Every day of which an accepted total was sent, changed or not."""
    touched: Touched


async def record(
    session: AsyncSession,
    *,
    member_id: UUID,
    time_zone: str,
    totals: Sequence[Total],
    now: datetime,
    channel: Channel,
    recorded_by: UUID | None,
    late_days: int | None,
    senses: bool,
    app: str | None = None,
) -> TotalsOutcome:
    """Replace what the same source said before about the same day, and unite the sources. The
    caller holds `measurements.service.lock`. See `service.record` for the arguments."""
    today = civil_time.local_date(now, civil_time.zone(time_zone))
    terms = Terms(now, today, late_days, channel, senses)
    judged: list[JudgedTotal | Refused]
    if rules.is_name(app or ""):
        judged = [totals_rules.judge(total, terms) for total in totals]
    else:
        judged = [rules.SOURCE_INVALID for _ in totals]
    keys = sorted({(it.code, it.local_date) for it in judged if isinstance(it, JudgedTotal)})
    known = await sources_in_force(session, member_id, keys) if keys else {}
    judged = totals_rules.within_limit(judged, {key: set(known[key]) for key in known})
    rejected = [(at, it) for at, it in enumerate(judged) if isinstance(it, Refused)]
    latest = {
        (it.code, it.local_date, it.source_id): it for it in judged if isinstance(it, JudgedTotal)
    }
    if not latest:
        return TotalsOutcome(0, 0, rejected, (), Touched())
    keys = sorted({(code, day) for code, day, _ in latest})
    common = {"member_id": member_id, "now": now}
    rows = _new_versions(latest.values(), known, now)
    if rows:
        old = [row["supersedes"] for row in rows if row["supersedes"] is not None]
        if old:
            await session.execute(_SUPERSEDE, {**common, "ids": old})
        sender = {"channel": channel.value, "recorded_by": recorded_by, "app": app}
        columns = {name: [row[name] for row in rows] for name in _COLUMNS}
        await session.execute(_INSERT, {**common, **sender, **columns})
    touched_days, changed = await _project(session, common, keys, known)
    touched = Touched(days=changed)
    if touched:
        for follow in ON_RECORDED:
            await follow(session, member_id, touched, now)
    accepted = len(totals) - len(rejected)
    return TotalsOutcome(accepted, accepted - len(rows), rejected, touched_days, touched)


async def days(session: Any, member_id: UUID, ids: Sequence[UUID]) -> list[Day]:
    """As they stand, by code and day; by session or connection."""
    if not ids:
        return []
    rows = await session.execute(_DAYS_BY_ID, {"member_id": member_id, "ids": list(ids)})
    return [Day(*row) for row in rows]


async def sources_in_force(
    session: Any, member_id: UUID, keys: Sequence[DayKey]
) -> dict[DayKey, dict[str, SourceTotal]]:
    """What each source says about these days; by session or connection."""
    found: dict[DayKey, dict[str, SourceTotal]] = defaultdict(dict)
    rows = await session.execute(_IN_FORCE, {"member_id": member_id, **_of(keys)})
    for id, code, day, source_id, *rest in rows:
        found[code, day][source_id] = SourceTotal(id, source_id, *rest)
    return found


def _new_versions(
    sent: Iterable[JudgedTotal], known: dict[DayKey, dict[str, SourceTotal]], now: datetime
) -> list[dict[str, Any]]:
    """The rows to write; afterwards `known` is as if they had been written."""
    rows = []
    for it in sent:
        sources = known[it.code, it.local_date]
        before = sources.get(it.source_id)
        if before is not None and before.says(it):
            continue
        id = new_id(now)
        rows.append({"id": id, "supersedes": before.id if before else None, **it._asdict()})
        sources[it.source_id] = SourceTotal(
            id, it.source_id, it.value, it.intervals, it.method, it.trust, now
        )
    return rows


async def _project(
    session: AsyncSession,
    common: dict[str, Any],
    keys: Sequence[DayKey],
    known: dict[DayKey, dict[str, SourceTotal]],
) -> tuple[list[Day], list[ChangedDay]]:
    """Unite the sources of each day, and keep what has changed."""
    stored = {
        (code, day): tuple(rest)
        for code, day, *rest in await session.execute(_DAYS, {**common, **_of(keys)})
    }
    days, changed = [], []
    catalogue = quantities()
    for code, local_date in keys:
        sources = known[code, local_date]
        value, trusted = united(list(sources.values()))
        id, before, trusted_before = stored.get((code, local_date), (None, None, None))
        id = id or new_id(common["now"])
        unit = catalogue[code].canonical.ucum
        told = [(name, sources[name].value) for name in sorted(sources)]
        days.append(Day(id, code, local_date, value, unit, told))
        if (before, trusted_before) != (value, trusted):
            changed.append(
                ChangedDay(id, code, local_date, unit, before, value, trusted_before, trusted)
            )
    if changed:
        columns = {
            "ids": [it.id for it in changed],
            "codes": [it.code for it in changed],
            "days": [it.local_date for it in changed],
            "values": [it.after for it in changed],
            "units": [it.unit for it in changed],
            "trusted": [it.trusted_after for it in changed],
        }
        await session.execute(_PROJECT, {**common, **columns})
    return days, changed


def united(sources: Sequence[SourceTotal]) -> tuple[Decimal, Decimal | None]:
    """Over all sources, and over those that are trusted; None when none is."""
    trusted = [it for it in sources if it.trust in TRUSTED]
    value = union([it.counted() for it in sources])
    if len(trusted) == len(sources):
        return value, value
    return value, union([it.counted() for it in trusted]) if trusted else None


def intervals_of(text: str | None) -> list[Interval]:
    """From how they are kept."""
    if text is None:
        return []
    return [Interval(start, end, Decimal(value)) for start, end, value in orjson.loads(text)]


def _compact(text: str | None) -> Any:
    """PostgreSQL writes JSON with spaces."""
    return None if text is None else orjson.loads(text)


def _of(keys: Sequence[DayKey]) -> dict[str, Any]:
    return {"codes": [code for code, _ in keys], "days": [day for _, day in keys]}
