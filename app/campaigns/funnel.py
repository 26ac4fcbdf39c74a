"""The funnel of campaigns, live (CMP-4): who saw a message, clicked, enrolled, and had a claim.

A member counts once a campaign. Each stage is a part of the one before:

- EXPOSURE: the app said that the message was seen. One that no app shows (SMS, e-mail, what
  colleagues say) is seen when it has arrived.
- CLICK: the member followed its link or button. Where nothing can be clicked there is no such
  stage, and the next one begins at the exposure.
- ENROL: a cover that came about, applied for within `ENROL_DAYS` of the first click.
- CLAIM: a cost that this cover's benefit counts (`benefit_costs` without a fault, not reversed),
  recorded within `CLAIM_DAYS` of the enrolment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, TextClause, Uuid, bindparam, text
from sqlalchemy import Text as SqlText
from sqlalchemy.ext.asyncio import AsyncConnection

from app.campaigns.rules import BY_PEOPLE, CampaignChannel

ENROL_DAYS = 90
CLAIM_DAYS = 365
TELLS_FROM = 10
"""Claims of so many members who enrolled are told to those who do not see every member: of fewer
they would tell of one person's health."""
UNSEEN = BY_PEOPLE | {CampaignChannel.SMS, CampaignChannel.EMAIL}
"""Channels of which no app says that a message was seen."""


class FunnelStage(StrEnum):
    EXPOSURE = "EXPOSURE"
    CLICK = "CLICK"
    ENROL = "ENROL"
    CLAIM = "CLAIM"


class Dimension(StrEnum):
    CAMPAIGN = "CAMPAIGN"
    SEGMENT = "SEGMENT"
    CHANNEL = "CHANNEL"
    WEEK = "WEEK"


# Parts of statements, about a message `m` of a campaign `c`.

OF_MESSAGE = "from push_deliveries d where d.member_id = m.member_id and d.message_id = m.id"
_BY_PEOPLE = ", ".join(f"'{it}'" for it in sorted(BY_PEOPLE))
_ARRIVED_AT = f"""
coalesce(case when m.in_inbox then m.sent_at end,
  (select min(d.changed_at) {OF_MESSAGE} and d.state = 'SENT' and not d.awaits_receipt),
  case when c.channel in ({_BY_PEOPLE}) then (
    select min(i.closed_at) from worklist_items i where i.member_id = m.member_id
    and i.cause_key like 'outreach:' || m.id || ':%' and i.closed_reason = 'DONE') end)
"""
# It is in the inbox, a provider has taken it, or a colleague has done what it asked for.
TOUCHES = f"""
cross join lateral (
  select count(*) > 0 as is_engaged,
    coalesce(bool_or(kind in ('OPENED', 'CLICKED')), false) as opened,
    min(occurred_at) filter (where kind = 'CLICKED') as clicked_at
  from engagements e where e.member_id = m.member_id and e.message_id = m.id) e
cross join lateral (select {_ARRIVED_AT} as at) arrived
cross join lateral (
  select c.channel <> all(:unseen) or exists (select {OF_MESSAGE} and d.has_link) as is_clickable) k
"""
EXPOSED = "(e.is_engaged or (c.channel = any(:unseen) and arrived.at is not null))"
TOUCHED_AT = "case when k.is_clickable then e.clicked_at else arrived.at end"
COVERED = """
p.state not in ('APPLIED', 'REFERRED', 'OFFERED', 'DECLINED', 'WITHDRAWN', 'EXPIRED')
and (p.ended_on is null or p.ended_on >= p.started_on)
"""
"""A cover that came about, and was not undone as if it had never been."""


def followed(seen: str) -> str:
    """Those of `seen` who enrolled, and whether they had a claim."""
    return f"""
    select s.campaign_id, s.member_id, p.claimed from {seen} s cross join lateral (
      select exists (select from mild_condition_cases k
          join benefit_costs b on b.member_id = k.member_id and b.case_id = k.id
          where k.member_id = p.member_id and k.policy_id = p.id
          and b.fault is null and b.reversed_at is null and b.recorded_at > p.created_at
          and b.recorded_at <= p.created_at + make_interval(days => {CLAIM_DAYS})) as claimed
      from policies p where p.member_id = s.member_id and p.created_at > s.touched_at
      and p.created_at <= s.touched_at + make_interval(days => {ENROL_DAYS}) and {COVERED}
      order by p.created_at limit 1) p
    where s.touched_at is not null
    """


_KEYS: Mapping[Dimension, str] = {
    Dimension.CAMPAIGN: "seen.campaign_id",
    Dimension.SEGMENT: "seen.segment",
    Dimension.CHANNEL: "seen.channel",
    Dimension.WEEK: "seen.week",
}


def _statement(by: Sequence[Dimension]) -> TextClause:
    keys = "".join(f"{_KEYS[it]} as {it.lower()}, " for it in by)
    groups = ", ".join(_KEYS[it] for it in by)
    grouped = f"group by {groups} order by {groups}" if by else ""
    return text(f"""
    with seen as (
      select m.member_id, m.source_id as campaign_id, c.channel, s.segment,
        cast(date_trunc('week', min(m.local_date)) as date) as week,
        bool_or({EXPOSED}) as exposed, min(e.clicked_at) as clicked_at,
        bool_or(k.is_clickable) as is_clickable, min({TOUCHED_AT}) as touched_at
      from campaigns c join messages m on m.source_id = c.id
      left join member_standing s on s.member_id = m.member_id
      {TOUCHES}
      where m.planned_at >= :since and m.planned_at < :until and m.suppressed_reason is null
        and (cast(:campaigns as uuid[]) is null or c.id = any(:campaigns))
        and (cast(:channels as text[]) is null or c.channel = any(:channels))
        and (cast(:segments as text[]) is null or s.segment = any(:segments))
      group by m.member_id, m.source_id, c.channel, s.segment
    ), f as ({followed("seen")})
    select {keys}count(*) filter (where exposed) as exposed,
      count(*) filter (where clicked_at is not null) as clicked,
      count(f.member_id) as enrolled,
      count(f.member_id) filter (where clicked_at is not null) as enrolled_by_click,
      count(*) filter (where f.claimed) as claimed,
      count(*) filter (where f.claimed and clicked_at is not null) as claimed_by_click,
      coalesce(bool_or(is_clickable), false) as is_clickable
    from seen left join f using (campaign_id, member_id) {grouped}
    """).bindparams(
        bindparam("since", type_=DateTime(timezone=True)),
        bindparam("until", type_=DateTime(timezone=True)),
        bindparam("unseen", sorted(UNSEEN), ARRAY(SqlText)),
        bindparam("campaigns", type_=ARRAY(Uuid)),
        bindparam("channels", type_=ARRAY(SqlText)),
        bindparam("segments", type_=ARRAY(SqlText)),
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Messages planned from `since` to before `until`; None is any."""

    since: datetime
    until: datetime
    campaigns: Sequence[UUID] | None = None
    channels: Sequence[CampaignChannel] | None = None
    segments: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """Members at each stage."""

    exposed: int = 0
    clicked: int | None = None
    """None where nothing can be clicked."""
    enrolled: int = 0
    claimed: int = 0

    @classmethod
    def of(cls, row: Any, *, is_clickable: bool) -> "Tally":
        """From a row with the counts. Where something can be clicked, who enrolled without a
        click is in no stage after it."""
        if not is_clickable:
            return cls(row.exposed, None, row.enrolled, row.claimed)
        return cls(row.exposed, row.clicked, row.enrolled_by_click, row.claimed_by_click)


@dataclass(frozen=True, slots=True)
class Step:
    stage: FunnelStage
    count: int
    rate: Decimal | None
    """Of the stage before, in percent; None for the first, and of nobody."""
    overall: Decimal | None
    """Of the first stage."""


@dataclass(frozen=True, slots=True)
class Row:
    """One combination of what was asked by; None where that is not asked, or not known."""

    steps: Sequence[Step]
    campaign_id: UUID | None = None
    segment: str | None = None
    channel: str | None = None
    week: date | None = None
    """Its Monday, of the member's day on which the first message was meant for them."""


def steps(it: Tally, *, sees_all: bool = False) -> Sequence[Step]:
    """`sees_all`: of whoever may see every member, and so each claim."""
    counts = {FunnelStage.EXPOSURE: it.exposed}
    if it.clicked is not None:
        counts[FunnelStage.CLICK] = it.clicked
    counts[FunnelStage.ENROL] = it.enrolled
    if sees_all or it.enrolled >= TELLS_FROM:
        counts[FunnelStage.CLAIM] = it.claimed
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


async def funnel(
    connection: AsyncConnection, wanted: Wanted, *, sees_all: bool = False
) -> Sequence[Step]:
    """With one statement. Somebody in two campaigns counts in both."""
    [row] = await _rows(connection, wanted, ())
    return steps(row[1], sees_all=sees_all)


async def table(
    connection: AsyncConnection,
    wanted: Wanted,
    by: Sequence[Dimension],
    *,
    sees_all: bool = False,
) -> Sequence[Row]:
    """The same for each combination that there is, with one statement, in the order of `by`."""
    assert by
    return [
        Row(
            steps(tally, sees_all=sees_all),
            campaign_id=getattr(row, "campaign", None),
            segment=getattr(row, "segment", None),
            channel=getattr(row, "channel", None),
            week=getattr(row, "week", None),
        )
        for row, tally in await _rows(connection, wanted, by)
    ]


async def _rows(
    connection: AsyncConnection, wanted: Wanted, by: Sequence[Dimension]
) -> Sequence[tuple[Any, Tally]]:
    values = {
        "since": wanted.since,
        "until": wanted.until,
        "campaigns": wanted.campaigns,
        "channels": wanted.channels,
        "segments": wanted.segments,
    }
    found = (await connection.execute(_statement(by), values)).all()
    # Of nobody: what could have been clicked.
    usual = wanted.channels is None or not UNSEEN.issuperset(wanted.channels)
    return [
        (row, Tally.of(row, is_clickable=row.is_clickable or (not row.exposed and usual)))
        for row in found
    ]
