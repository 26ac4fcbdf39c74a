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
# One that no app shows is seen when it has come.
_TOLD = f"""
select m.member_id, bool_or(m.suppressed_reason is null) as sent, bool_or({_DELIVERED}) as delivered,
  bool_or(e.opened) as opened, bool_or(e.clicked) as clicked,
  bool_or(e.exposed or (:is_unseen and {_DELIVERED})) as exposed, min(e.clicked_at) as clicked_at
from messages m cross join lateral (
  select coalesce(bool_or(kind in ('OPENED', 'CLICKED')), false) as opened,
    coalesce(bool_or(kind = 'CLICKED'), false) as clicked, count(*) > 0 as exposed,
    min(occurred_at) filter (where kind = 'CLICKED') as clicked_at
  from engagements e where e.member_id = m.member_id and e.message_id = m.id) e
where m.source_id = :campaign group by m.member_id
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
        "converted": outcomes.GOALS[goal].replace(":days", ":goal_days"),
        "checked_in": outcomes.CHECKED_IN,
        "in_range": outcomes.IN_RANGE,
    }
    counted = ", ".join(_COUNT.format(what=what, name=name) for name, what in flags.items())
    return text(f"""
    with t as ({_TOLD})
    select a.arm, s.segment, count(*) as assigned, {counted}
    from campaign_members a left join t using (member_id)
    left join member_standing s using (member_id)
    where a.campaign_id = :campaign group by a.arm, s.segment
    """).bindparams(
        bindparam("campaign", type_=Uuid),
        bindparam("days", outcomes.IN_RANGE_DAYS, Integer),
        bindparam("goal_days", type_=Integer),
    )


_SUPPRESSED = text("""
select a.arm, m.suppressed_reason as reason, count(distinct m.member_id) as members
from messages m join campaign_members a on a.member_id = m.member_id and a.campaign_id = m.source_id
where m.source_id = :campaign and m.suppressed_reason is not null group by 1, 2
""").bindparams(bindparam("campaign", type_=Uuid))
_UNSEEN = {
    CampaignChannel.SMS,
    CampaignChannel.EMAIL,
    CampaignChannel.BROADCAST,
    CampaignChannel.PHONE_CALL,
    CampaignChannel.HOME_VISIT,
}
"""Channels of which the app does not say whether they were seen."""


async def report(connection: AsyncConnection, campaign: Any, weights: Mapping[str, int]) -> Report:
    """Of a campaign (a row with its columns), with two statements."""
    wanted = {
        "campaign": campaign.id,
        "goal_days": campaign.goal_days,
        "is_unseen": campaign.channel in _UNSEEN,
    }
    statement = _report(Goal(campaign.goal))
    rows = (await connection.execute(statement, wanted)).all()
    shared = assignment.arms(weights, holdout_percent=Decimal(campaign.holdout_percent))
    keys = sorted((it.key for it in shared), key=lambda key: (key == HOLDOUT, key))
    arms = {key: Counts() for key in keys}
    segments: dict[str | None, dict[str, Counts]] = {}
    for row in rows:
        arms[row.arm].add(row)
        of_segment = segments.setdefault(row.segment, {key: Counts() for key in keys})
        of_segment[row.arm].add(row)
    suppressed = await connection.execute(_SUPPRESSED, {"campaign": campaign.id})
    for row in suppressed:
        arms[row.arm].suppressed[row.reason] += row.members
    sizes = [arms[it.key].assigned for it in shared]
    p_value = statistics.sample_ratio(sizes, [it.share for it in shared])
    return Report(arms, segments, p_value)


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
  select m.*, c.channel in ('SMS', 'EMAIL', 'BROADCAST', 'PHONE_CALL', 'HOME_VISIT') as is_unseen
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
    return steps(of_funnel(row.exposed, row.clicked, row.enrolled))


def of_funnel(exposed: int, clicked: int, enrolled: int) -> Mapping[FunnelStage, int]:
    """Claims are not recorded yet: a stage that nobody counts is left out and is not zero."""
    return {
        FunnelStage.EXPOSURE: exposed,
        FunnelStage.CLICK: clicked,
        FunnelStage.ENROL: enrolled,
    }
