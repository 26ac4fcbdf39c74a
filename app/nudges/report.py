"""What a nudge policy did: those whom it wanted to tell against those whom it holds out.

A member counts once, in the arm and from the moment at which the policy first had something to
say to them: later occasions come of what the first message did, and are no draw any more. Everybody
who was drawn counts, whether a message reached them or not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

from sqlalchemy import DateTime, Integer, Uuid, bindparam, text
from sqlalchemy import Text as SqlText
from sqlalchemy.ext.asyncio import AsyncConnection

from app import statistics
from app.members.buckets import SIZE
from app.nudges import asking, outcomes
from app.nudges.policies import HOLDOUT, Policy
from app.statistics import Lift, Share


class NudgeMetric(StrEnum):
    CHECK_INS = "CHECK_INS"
    READINGS = "READINGS"
    READINGS_IN_RANGE = "READINGS_IN_RANGE"


_COUNTED = {
    NudgeMetric.CHECK_INS: "count(checked.member_id)",
    NudgeMetric.READINGS: "count(*) filter (where measured.has_any)",
    NudgeMetric.READINGS_IN_RANGE: "count(*) filter (where measured.in_range)",
}


@dataclass(frozen=True, slots=True)
class Arm:
    """Members of one arm; `told` are those of them whom at least one message was sent."""

    assigned: int
    told: int
    of_metric: Mapping[NudgeMetric, int]


@dataclass(frozen=True, slots=True)
class Report:
    arms: Mapping[str, Arm]
    """As the policy has them now, the holdout last; then those it had."""
    p_value: float

    def lifts(self, key: str | None = None) -> Mapping[NudgeMetric, Lift]:
        """Of one arm, or of all but the holdout, against the holdout."""
        held = self.arms[HOLDOUT]
        told = [it for name, it in self.arms.items() if name != HOLDOUT and key in (None, name)]
        found = {}
        for metric in NudgeMetric:
            share = Share(sum(it.of_metric[metric] for it in told), sum(it.assigned for it in told))
            lift = statistics.lift(share, Share(held.of_metric[metric], held.assigned))
            if lift is not None:
                found[metric] = lift
        return found


# `first` are the occasions of the time; whoever had one before began before.
_REPORT = text(f"""
with a as (
  select first.member_id, first.arm, first.planned_at as assigned_at from (
    select distinct on (p.member_id) p.member_id, p.arm, p.planned_at from planned_messages p
     where p.source_id = :source and p.planned_at >= :since and p.planned_at < :until
     order by p.member_id, p.planned_at, p.cause_key) first
  where not exists (select from planned_messages p where p.member_id = first.member_id
    and starts_with(p.cause_key, :prefix) and p.planned_at < :since
    and p.source_id = :source)),
told as (
  select distinct m.member_id from messages m
   where m.source_id = :source and m.suppressed_reason is null),
{outcomes.SETS}
select a.arm, count(*) as assigned, count(told.member_id) as told,
  {", ".join(f"{sql} as {name.lower()}" for name, sql in _COUNTED.items())}
from a left join told using (member_id) left join checked using (member_id)
left join measured using (member_id) group by a.arm
""").bindparams(
    bindparam("source", type_=Uuid),
    bindparam("since", type_=DateTime(timezone=True)),
    bindparam("until", type_=DateTime(timezone=True)),
    bindparam("prefix", type_=SqlText),
    bindparam("days", outcomes.IN_RANGE_DAYS, Integer),
)


# Everything comes in the order of the members, and is joined in it: a third of the time of hashes.
_IN_ORDER = text(
    "select set_config('enable_hashjoin', 'off', true), set_config('work_mem', '64MB', true)"
)


async def report(
    connection: AsyncConnection, policy: Policy, *, since: datetime, until: datetime
) -> Report:
    """Of the members whom the policy first concerned from `since` to before `until`; one
    statement, however many, in the transaction of the caller."""
    await connection.execute(_IN_ORDER)
    rows = await connection.execute(
        _REPORT,
        {
            "source": policy.id,
            "since": since,
            "until": until,
            "prefix": asking.prefix(policy),
        },
    )
    counted = {
        row.arm: Arm(
            row.assigned, row.told, {it: row._mapping[it.value.lower()] for it in NudgeMetric}
        )
        for row in rows
    }
    draw = policy.draw()
    nobody = Arm(0, 0, dict.fromkeys(NudgeMetric, 0))
    keys = [*draw.arms[1:], HOLDOUT, *sorted(counted.keys() - set(draw.arms))]
    arms = {key: counted.get(key, nobody) for key in keys}
    return Report(arms, statistics.sample_ratio(_sizes(arms, draw.arms), _shares(draw.ends)))


def _sizes(arms: Mapping[str, Arm], keys: Sequence[str]) -> list[int]:
    return [arms[key].assigned for key in keys]


def _shares(ends: Sequence[int]) -> list[float]:
    return [(end - start) / SIZE for start, end in pairwise([0, *ends, SIZE])]
