"""What came of a campaign: live, with a fixed number of statements however many members."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Integer, Uuid, bindparam, text
from sqlalchemy import Text as SqlText
from sqlalchemy.ext.asyncio import AsyncConnection

from app import statistics
from app.campaigns import assignment, outcomes
from app.campaigns.assignment import HOLDOUT
from app.campaigns.rules import CampaignChannel, Goal
from app.statistics import Lift, Share

UNSEEN = frozenset(
    {
        CampaignChannel.SMS,
        CampaignChannel.EMAIL,
        CampaignChannel.BROADCAST,
        CampaignChannel.PHONE_CALL,
        CampaignChannel.HOME_VISIT,
    }
)
"""Channels of which nothing says whether they were seen or clicked."""


class LiftMetric(StrEnum):
    CONVERSION = "CONVERSION"
    CHECK_INS = "CHECK_INS"
    READINGS_IN_RANGE = "READINGS_IN_RANGE"


class FunnelStage(StrEnum):
    EXPOSURE = "EXPOSURE"
    CLICK = "CLICK"
    ENROL = "ENROL"
    CLAIM = "CLAIM"


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
    of_metric: dict[LiftMetric, int] = field(default_factory=lambda: dict.fromkeys(LiftMetric, 0))
    suppressed: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, row: Any) -> None:
        self.assigned += row.assigned
        self.sent += row.sent
        self.delivered += row.delivered
        self.exposed += row.exposed
        self.opened += row.opened
        self.clicked += row.clicked
        self.enrolled += row.enrolled
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
    counts_clicks: bool = True
    """Whether the channel tells who has clicked."""

    @property
    def alarm(self) -> bool:
        return self.p_value < statistics.ALARM_BELOW

    def lifts(
        self, arms: Mapping[str, Counts], key: str | None = None
    ) -> Mapping[LiftMetric, Lift]:
        """Of one arm, or of all that were told anything, against the holdout."""
        held = arms.get(HOLDOUT)
        told = [it for name, it in arms.items() if name != HOLDOUT and key in (None, name)]
        if held is None or not told:
            return {}
        found = {}
        for metric in LiftMetric:
            treated = Share(
                sum(it.of_metric[metric] for it in told), sum(it.assigned for it in told)
            )
            lift = statistics.lift(treated, Share(held.of_metric[metric], held.assigned))
            if lift is not None:
                found[metric] = lift
        return found


# A message has reached somebody: it is in the inbox, a provider has taken it, or a colleague
# has done what it asked for.
_DELIVERED = """
(m.in_inbox or exists (select from push_deliveries d where d.member_id = m.member_id
  and d.message_id = m.id and d.state = 'SENT')
  or exists (select from worklist_items i where i.member_id = m.member_id
  and i.cause_key like 'outreach:' || m.id || ':%' and i.closed_reason = 'DONE'))
"""
# What was written and not held back since, be it just before it left.
_OF_MESSAGE = "from push_deliveries d where d.member_id = m.member_id and d.message_id = m.id"
_HELD_BACK = f"""
(not m.in_inbox and exists (select {_OF_MESSAGE})
  and not exists (select {_OF_MESSAGE} and d.state <> 'SUPPRESSED'))
"""
# One that no app shows is seen when it has come.
_TOLD = f"""
select m.source_id as campaign_id, m.member_id,
  bool_or(m.suppressed_reason is null and not {_HELD_BACK}) as sent,
  bool_or({_DELIVERED}) as delivered, bool_or(e.opened) as opened, bool_or(e.clicked) as clicked,
  bool_or(e.exposed or (c.channel = any(:unseen) and {_DELIVERED})) as exposed,
  min(e.clicked_at) as clicked_at
from campaigns c join messages m on m.source_id = c.id cross join lateral (
  select coalesce(bool_or(kind in ('OPENED', 'CLICKED')), false) as opened,
    coalesce(bool_or(kind = 'CLICKED'), false) as clicked, count(*) > 0 as exposed,
    min(occurred_at) filter (where kind = 'CLICKED') as clicked_at
  from engagements e where e.member_id = m.member_id and e.message_id = m.id) e
where c.id = any(:campaigns) group by m.source_id, m.member_id
"""
_COUNT = "count(*) filter (where {what}) as {name}"


def _report(goal: Goal) -> Any:
    flags = {
        "sent": "t.sent",
        "delivered": "t.delivered",
        "exposed": "t.exposed",
        "opened": "t.opened",
        "clicked": "t.clicked",
        "enrolled": "t.clicked and exists (select from policies p"
        " where p.member_id = a.member_id and p.created_at > t.clicked_at)",
        "converted": outcomes.GOALS[goal].replace(":days", "it.goal_days"),
        "checked_in": outcomes.CHECKED_IN,
        "in_range": outcomes.IN_RANGE,
    }
    counted = ", ".join(_COUNT.format(what=what, name=name) for name, what in flags.items())
    return text(f"""
    with t as ({_TOLD})
    select a.campaign_id, a.arm, s.segment, count(*) as assigned, {counted}
    from campaigns it join campaign_members a on a.campaign_id = it.id
    left join t on (t.campaign_id, t.member_id) = (a.campaign_id, a.member_id)
    left join member_standing s on s.member_id = a.member_id
    where it.id = any(:campaigns) group by a.campaign_id, a.arm, s.segment
    """).bindparams(
        bindparam("campaigns", type_=ARRAY(Uuid)),
        bindparam("unseen", sorted(UNSEEN), ARRAY(SqlText)),
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
  select case when d.reason like 'TOKEN_%' then 'NO_ADDRESS' else d.reason end {_OF_MESSAGE}
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
    return Report(arms, segments, p_value, campaign.channel not in UNSEEN)


# Funnel


@dataclass(frozen=True, slots=True)
class Step:
    stage: FunnelStage
    count: int
    rate: Decimal | None
    """Of the stage before, in percent; None for the first, and of nobody."""
    overall: Decimal | None
    """Of the first stage."""


def steps(counts: Mapping[FunnelStage, int]) -> Sequence[Step]:
    found: list[Step] = []
    for stage, count in counts.items():
        before = found[-1].count if found else None
        first = found[0].count if found else None
        found.append(Step(stage, count, percent(count, before), percent(count, first)))
    return found


def percent(part: int, whole: int | None) -> Decimal | None:
    """To two decimals, rounded half up."""
    if not whole:
        return None
    return (Decimal(100 * part) / whole).quantize(Decimal("0.01"), "ROUND_HALF_UP")


_FUNNEL = text(f"""
with m as (
  select m.*, c.channel = any(:unseen) as is_unseen
  from campaigns c join messages m on m.source_id = c.id
  left join member_standing s on s.member_id = m.member_id
  where m.planned_at >= :since and m.planned_at < :until and m.suppressed_reason is null
    and (cast(:campaigns as uuid[]) is null or c.id = any(:campaigns))
    and (cast(:channels as text[]) is null or c.channel = any(:channels))
    and (cast(:segments as text[]) is null or s.segment = any(:segments))
), seen as (
  select m.member_id, m.source_id, min(e.clicked_at) as clicked_at,
    bool_or(e.exposed or (m.is_unseen and {_DELIVERED})) as exposed
  from m cross join lateral (
    select count(*) > 0 as exposed, min(occurred_at) filter (where kind = 'CLICKED') as clicked_at
    from engagements e where e.member_id = m.member_id and e.message_id = m.id) e
  group by m.member_id, m.source_id
)
select count(*) filter (where exposed) as exposed,
  count(*) filter (where clicked_at is not null) as clicked,
  count(*) filter (where exists (select from policies p where p.member_id = seen.member_id
    and p.created_at > seen.clicked_at)) as enrolled
from seen
""").bindparams(
    bindparam("since", type_=DateTime(timezone=True)),
    bindparam("until", type_=DateTime(timezone=True)),
    bindparam("unseen", sorted(UNSEEN), ARRAY(SqlText)),
    bindparam("campaigns", type_=ARRAY(Uuid)),
    bindparam("channels", type_=ARRAY(SqlText)),
    bindparam("segments", type_=ARRAY(SqlText)),
)


async def funnel(
    connection: AsyncConnection,
    *,
    since: datetime,
    until: datetime,
    campaigns: Sequence[UUID] | None,
    channels: Sequence[str] | None,
    segments: Sequence[str] | None,
) -> Sequence[Step]:
    """Members of each campaign who saw one of its messages of this time, clicked, and enrolled
    after that; None is any. Somebody in two campaigns counts in both."""
    wanted = {
        "since": since,
        "until": until,
        "campaigns": campaigns,
        "channels": channels,
        "segments": segments,
    }
    row = (await connection.execute(_FUNNEL, wanted)).one()
    counts_clicks = channels is None or not UNSEEN.issuperset(channels)
    clicked = (row.clicked, row.enrolled) if counts_clicks else None
    return steps(of_funnel(row.exposed, clicked))


def of_funnel(exposed: int, clicked: tuple[int, int] | None) -> Mapping[FunnelStage, int]:
    """`clicked` is who clicked and who of them enrolled. Claims are not recorded yet, clicks not
    of every channel: a stage that nobody counts is left out and is not zero."""
    found = {FunnelStage.EXPOSURE: exposed}
    if clicked is not None:
        found[FunnelStage.CLICK], found[FunnelStage.ENROL] = clicked
    return found
