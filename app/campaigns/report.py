"""What came of a campaign: live, with a fixed number of statements however many members."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Integer, Uuid, bindparam, text
from sqlalchemy import Text as SqlText
from sqlalchemy.ext.asyncio import AsyncConnection

from app import statistics
from app.campaigns import assignment, funnel, outcomes
from app.campaigns.assignment import HOLDOUT
from app.campaigns.rules import Goal
from app.statistics import Lift, Share

TELLS_FROM = funnel.TELLS_FROM
"""Means of readings are compared among so many members at least: of fewer they would tell of one
person's health."""


class LiftMetric(StrEnum):
    CONVERSION = "CONVERSION"
    CHECK_INS = "CHECK_INS"
    READINGS_IN_RANGE = "READINGS_IN_RANGE"


_COUNTED = (
    "assigned",
    "sent",
    "delivered",
    "exposed",
    "opened",
    "clicked",
    "enrolled",
    "enrolled_by_click",
    "claimed",
    "claimed_by_click",
)


@dataclass
class Counts:
    """Members of one arm, or of one arm and segment."""

    assigned: int = 0
    sent: int = 0
    delivered: int = 0
    exposed: int = 0
    opened: int = 0
    clicked: int = 0
    enrolled: int = 0
    enrolled_by_click: int = 0
    claimed: int = 0
    claimed_by_click: int = 0
    of_metric: dict[LiftMetric, int] = field(default_factory=lambda: dict.fromkeys(LiftMetric, 0))
    suppressed: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, row: Any) -> None:
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + getattr(row, name))
        for metric, count in zip(
            LiftMetric, (row.converted, row.checked_in, row.in_range), strict=True
        ):
            self.of_metric[metric] += count


@dataclass(frozen=True, slots=True)
class Report:
    arms: Mapping[str, Counts]
    """By key, in the order of the keys, the holdout last."""
    segments: Mapping[str | None, Mapping[str, Counts]]
    """By market segment, then by arm."""
    p_value: float
    is_clickable: bool = True
    """Whether there is anything to click."""

    def tally(self) -> funnel.Tally:
        """Of all who were told anything."""
        total = Counts()
        for key, counts in self.arms.items():
            if key != HOLDOUT:
                for name in _COUNTED:
                    setattr(total, name, getattr(total, name) + getattr(counts, name))
        return funnel.Tally.of(total, is_clickable=self.is_clickable)

    @property
    def assigned(self) -> int:
        return sum(it.assigned for it in self.arms.values())

    def lifts(
        self, arms: Mapping[str, Counts], key: str | None = None, *, sees_all: bool = False
    ) -> Mapping[LiftMetric, Lift]:
        """Of one arm, or of all that were told anything, against the holdout. `sees_all`: to
        whoever may see every member, and so each reading."""
        held = arms.get(HOLDOUT)
        told = [it for name, it in arms.items() if name != HOLDOUT and key in (None, name)]
        if held is None or not told:
            return {}
        found = {}
        for metric in LiftMetric:
            treated = Share(
                sum(it.of_metric[metric] for it in told), sum(it.assigned for it in told)
            )
            control = Share(held.of_metric[metric], held.assigned)
            is_few = min(treated.assigned, control.assigned) < TELLS_FROM
            if metric is LiftMetric.READINGS_IN_RANGE and is_few and not sees_all:
                continue
            lift = statistics.lift(treated, control)
            if lift is not None:
                found[metric] = lift
        return found


# What was written and not held back since, be it just before it left.
_HELD_BACK = f"""
(not m.in_inbox and exists (select {funnel.OF_MESSAGE})
  and not exists (select {funnel.OF_MESSAGE} and d.state <> 'SUPPRESSED'))
"""
_TOLD = f"""
select m.source_id as campaign_id, m.member_id,
  bool_or(m.suppressed_reason is null and not {_HELD_BACK}) as sent,
  bool_or(arrived.at is not null) as delivered, bool_or(e.opened) as opened,
  bool_or({funnel.EXPOSED}) as exposed, min(e.clicked_at) as clicked_at,
  bool_or(k.is_clickable) as is_clickable, min({funnel.TOUCHED_AT}) as touched_at
from campaigns c join messages m on m.source_id = c.id {funnel.TOUCHES}
where c.id = any(:campaigns) group by m.source_id, m.member_id
"""
_COUNT = "count(*) filter (where {what}) as {name}"


def _report(goal: Goal) -> Any:
    flags = {
        "sent": "t.sent",
        "delivered": "t.delivered",
        "exposed": "t.exposed",
        "opened": "t.opened",
        "clicked": "t.clicked_at is not null",
        "enrolled": "f.member_id is not null",
        "enrolled_by_click": "f.member_id is not null and t.clicked_at is not null",
        "claimed": "f.claimed",
        "claimed_by_click": "f.claimed and t.clicked_at is not null",
        "converted": outcomes.GOALS[goal].replace(":days", "it.goal_days"),
        "checked_in": outcomes.CHECKED_IN,
        "in_range": outcomes.IN_RANGE,
    }
    counted = ", ".join(_COUNT.format(what=what, name=name) for name, what in flags.items())
    return text(f"""
    with t as ({_TOLD}), f as ({funnel.followed("t")})
    select a.campaign_id, a.arm, s.segment, count(*) as assigned,
      bool_or(t.is_clickable) as is_clickable, {counted}
    from campaigns it join campaign_members a on a.campaign_id = it.id
    left join t on (t.campaign_id, t.member_id) = (a.campaign_id, a.member_id)
    left join f on (f.campaign_id, f.member_id) = (a.campaign_id, a.member_id)
    left join member_standing s on s.member_id = a.member_id
    where it.id = any(:campaigns) group by a.campaign_id, a.arm, s.segment
    """).bindparams(
        bindparam("campaigns", type_=ARRAY(Uuid)),
        bindparam("unseen", sorted(funnel.UNSEEN), ARRAY(SqlText)),
        bindparam("days", outcomes.IN_RANGE_DAYS, Integer),
    )


_WEIGHTS = text("""
select distinct campaign_id, key, weight from campaign_variants
where campaign_id = any(:campaigns)
""").bindparams(bindparam("campaigns", type_=ARRAY(Uuid)))
# A phone that is somebody else's now is no address.
_SUPPRESSED = text(f"""
select m.source_id as campaign_id, a.arm, r.reason, count(distinct m.member_id) as members
from messages m join campaign_members a on a.member_id = m.member_id and a.campaign_id = m.source_id
cross join lateral (
  select m.suppressed_reason as reason where m.suppressed_reason is not null
  union
  select case when d.reason like 'TOKEN_%' then 'NO_ADDRESS' else d.reason end {funnel.OF_MESSAGE}
    and m.suppressed_reason is null and {_HELD_BACK}) r
where m.source_id = any(:campaigns) group by 1, 2, 3
""").bindparams(bindparam("campaigns", type_=ARRAY(Uuid)))


async def reports(connection: AsyncConnection, campaigns: Sequence[Any]) -> Mapping[UUID, Report]:
    """Of campaigns (rows with their columns), by id: with one statement for each goal among
    them, one for the weights of their arms and one for what was held back."""
    rows: dict[UUID, list[Any]] = {row.id: [] for row in campaigns}
    weights: dict[UUID, dict[str, int]] = {row.id: {} for row in campaigns}
    for id, key, weight in await connection.execute(_WEIGHTS, {"campaigns": list(rows)}):
        weights[id][key] = weight
    for goal in {row.goal for row in campaigns}:
        ids = [row.id for row in campaigns if row.goal == goal]
        for found in await connection.execute(_report(Goal(goal)), {"campaigns": ids}):
            rows[found.campaign_id].append(found)
    suppressed: dict[UUID, list[Any]] = {row.id: [] for row in campaigns}
    for found in await connection.execute(_SUPPRESSED, {"campaigns": list(rows)}):
        suppressed[found.campaign_id].append(found)
    return {
        row.id: _of_rows(row, weights[row.id], rows[row.id], suppressed[row.id])
        for row in campaigns
    }


def _of_rows(
    campaign: Any, weights: Mapping[str, int], rows: Sequence[Any], suppressed: Sequence[Any]
) -> Report:
    shared = assignment.arms(weights, holdout_percent=Decimal(campaign.holdout_percent))
    keys = sorted((it.key for it in shared), key=lambda key: (key == HOLDOUT, key))
    arms = {key: Counts() for key in keys}
    segments: dict[str | None, dict[str, Counts]] = {}
    for row in rows:
        arms[row.arm].add(row)
        of_segment = segments.setdefault(row.segment, {key: Counts() for key in keys})
        of_segment[row.arm].add(row)
    for row in suppressed:
        arms[row.arm].suppressed[row.reason] += row.members
    sizes = [arms[it.key].assigned for it in shared]
    p_value = statistics.sample_ratio(sizes, [it.share for it in shared])
    is_clickable = campaign.channel not in funnel.UNSEEN or any(row.is_clickable for row in rows)
    return Report(arms, segments, p_value, is_clickable)
