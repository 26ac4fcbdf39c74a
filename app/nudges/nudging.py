"""Plans what policies want: when their hour comes in a zone, one INSERT ... SELECT for each
range of members. A run that is cut short goes on where it was; run twice, it changes nothing.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.civil_time import at_local_time
from app.db import Database
from app.members import ranges
from app.nudges import asking, policies, sources
from app.nudges.plan_models import NudgeRun
from app.nudges.policies import Policy

RANGE = 50_000
"""Members that one transaction looks at."""
LATE_MAX = timedelta(hours=2)
"""A run this late, because no worker ran, is still worth its while."""


@dataclass(frozen=True, slots=True)
class Hour:
    """The hour of a policy comes at `at` in these zones, where it is `local_date`."""

    at: datetime
    local_date: date
    zones: tuple[str, ...]


def hours(policy: Policy, *, since: datetime, until: datetime) -> Sequence[Hour]:
    """Those after `since`, up to `until`, oldest first."""
    found: dict[tuple[datetime, date], list[str]] = {}
    days = [until.date() + timedelta(days=offset) for offset in (-2, -1, 0, 1)]
    for day in days:
        if not policy.trigger.is_on(day):
            continue
        for hour in policy.trigger.hours():
            for zone, at in _instants(day, hour).items():
                if since < at <= until:
                    found.setdefault((at, day), []).append(zone)
    return [Hour(at, day, tuple(sorted(zones))) for (at, day), zones in sorted(found.items())]


@lru_cache(maxsize=512)
def _instants(day: date, at: time) -> Mapping[str, datetime]:
    """By zone. A zone that skips the day has none."""
    found = {}
    for name in civil_time.zone_names():
        zone = civil_time.zone(name)
        instant = at_local_time(day, at, zone)
        if instant.astimezone(zone).date() == day:
            found[name] = instant
    return found


async def begin(db: Database, *, now: datetime) -> int:
    """Write down the runs whose hour has come, each once; how many are new."""
    async with db.transaction() as session:
        zones = frozenset(await ranges.zones(session))
        # Worked out once a day, hour and zone: beside the loop.
        rows = await asyncio.to_thread(_come, zones, now)
        for policy in policies.in_force().values():
            await sources.add(session, policy.id, kind=policies.KIND, name=policy.code, now=now)
        if not rows:
            return 0
        made = await session.execute(
            insert(NudgeRun)
            .values(rows)
            .on_conflict_do_nothing()
            .returning(col(NudgeRun.source_id))
        )
        return len(made.all())


def _come(zones: AbstractSet[str], now: datetime) -> list[dict[str, Any]]:
    """The runs whose hour has come where there are members."""
    return [
        {
            "source_id": policy.id,
            "planned_for": hour.at,
            "local_date": hour.local_date,
            "after": ranges.FIRST,
            "planned": 0,
        }
        for policy in policies.in_force().values()
        for hour in hours(policy, since=now - LATE_MAX, until=now)
        if not zones.isdisjoint(hour.zones)
    ]


# Also the source: nobody else plans the policy at the same time, for members who move between
# zones, and a halt waits for the range that is being planned.
_NEXT = text("""
select run.source_id, run.planned_for, run.local_date, run.after, source.state
from nudge_runs run join message_sources source on source.id = run.source_id
where run.finished_at is null and run.source_id = any(cast(:known as uuid[]))
order by run.planned_for, run.source_id limit 1 for no key update of run, source skip locked
""")
_BY_RANGES = text(
    "select set_config('enable_seqscan', 'off', true), set_config('random_page_cost', '1.1', true),"
    " set_config('enable_nestloop', 'off', true), set_config('work_mem', '64MB', true),"
    " set_config('plan_cache_mode', 'force_custom_plan', true)"
)
_ADVANCE = text("""
update nudge_runs set after = coalesce(cast(:upto as uuid), after), planned = planned + :planned,
       finished_at = case when cast(:is_over as boolean) then cast(:now as timestamptz) end
where source_id = :source and planned_for = :planned_for and local_date = :local_date
""")


class PlanningFailed(Exception):
    """A policy cannot be planned now; the others can."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy.code)
        self.policy = policy


async def plan_range(
    db: Database, *, now: datetime, size: int = RANGE, without: Collection[UUID] = ()
) -> int | None:
    """Plan the next range of an open run, in one transaction; how many members are to be told
    or held out. None when no run is open but those of `without`, or all are in hand. Raises
    PlanningFailed."""
    known = policies.in_force()
    async with db.transaction() as session:
        wanted = {"known": [id for id in known if id not in without]}
        run = (await session.execute(_NEXT, wanted)).first()
        if run is None:
            return None
        policy = known[run.source_id]
        zones = _zones_of(policy, run)
        upto: UUID | None = None
        is_in_time = now - run.planned_for <= LATE_MAX + timedelta(hours=4)
        if run.state == sources.ACTIVE and is_in_time and zones:
            upto = await ranges.upto(session, run.after, size)
        planned = 0
        if upto is not None:
            try:
                planned = await _plan(session, policy, run, zones, upto, now=now)
            except DBAPIError as error:
                raise PlanningFailed(policy) from error
        await session.execute(
            _ADVANCE,
            {
                "upto": upto,
                "planned": planned,
                "is_over": upto is None,
                "now": now,
                "source": run.source_id,
                "planned_for": run.planned_for,
                "local_date": run.local_date,
            },
        )
    return planned


def _zones_of(policy: Policy, run: Any) -> Sequence[str]:
    """Where the hour of the run was; nowhere when the policy has another one since."""
    begun = hours(policy, since=run.planned_for - timedelta(seconds=1), until=run.planned_for)
    return next((hour.zones for hour in begun if hour.local_date == run.local_date), ())


async def _plan(
    session: AsyncSession,
    policy: Policy,
    run: Any,
    zones: Sequence[str],
    upto: UUID,
    *,
    now: datetime,
) -> int:
    values: dict[str, Any] = {
        **asking.plan_values(policy),
        "local_date": run.local_date,
        "local_day": run.local_date.isoformat(),
        "zones": list(zones),
        "after": run.after,
        "upto": upto,
        "now": now,
        "at": run.planned_for,
    }
    if not policy.sends_at_once:
        values |= _their_hours(policy, run.local_date, zones)
    statement = asking.plan_statement(policy)
    connection = await session.connection()
    # The table that is being filled looks empty to the planner, and of a range of members it
    # expects a few: it would look everything up member by member, up to six times each. A range
    # is walked down the keys instead, all tables in the order of the members at the same time: with
    # the costs of spinning disks it would sort, and hash, what comes in order (a fifth of the time).
    await connection.execute(_BY_RANGES)
    done = await connection.execute(statement, asking.taken(statement, values))
    return done.rowcount


def _their_hours(policy: Policy, day: date, zones: Sequence[str]) -> dict[str, Any]:
    """Each quarter of an hour between floor and ceiling as an instant, in each zone."""
    floor, ceiling = policy.trigger.floor, policy.trigger.ceiling
    assert floor is not None and ceiling is not None
    first, last = quarter_of(floor), quarter_of(ceiling)
    rows = [
        (
            zone,
            quarter,
            at_local_time(day, time(quarter // 4, quarter % 4 * 15), civil_time.zone(zone)),
        )
        for zone in zones
        for quarter in range(first, last + 1)
    ]
    return {
        "hour_zones": [zone for zone, _, _ in rows],
        "quarters": [quarter for _, quarter, _ in rows],
        "instants": [at.astimezone(UTC) for _, _, at in rows],
        "floor": first,
        "ceiling": last,
    }


def quarter_of(at: time) -> int:
    return at.hour * 4 + at.minute // 15
