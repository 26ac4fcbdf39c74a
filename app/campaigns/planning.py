"""From members whose next message has come to planned messages: set-based, thousands in one
transaction that holds the campaign against a pause.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Date, DateTime, Integer, Numeric, Uuid, bindparam, text
from sqlalchemy import Text as SqlText
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.campaigns import assigning, outcomes, service
from app.campaigns.models import Campaign, CampaignStep
from app.campaigns.rules import BY_PEOPLE, Audience, CampaignState, Goal, Timing
from app.db import Database

BATCH = 10_000
WORTH_SENDING = {Timing.AT_ONCE: timedelta(hours=24)}
WORTH_SENDING_TIMED = timedelta(hours=4)
"""How late a message may still go out that was meant for a time of the day. Later ones are planned
all the same: that they were not sent, and why, is kept."""
WORTH_SAYING = timedelta(days=30)
"""The same of what colleagues say; until when they should is `nudges/outreach.yaml`'s."""
_INSTANT = DateTime(timezone=True)


@dataclass(frozen=True, slots=True)
class _Next:
    """What follows for the members of one zone, step and instant."""

    zone: str
    step: int
    at: datetime
    local_date: date
    """Of the message that is planned now."""
    next_step: int
    next_date: date | None
    next_at: datetime | None


_DUE = text("""
select a.member_id, m.time_zone, a.step, a.next_at, a.local_date
from campaign_members a join members m using (member_id)
where a.campaign_id = :campaign and a.next_at <= :now
order by a.next_at limit :limit for no key update of a skip locked
""").bindparams(
    bindparam("campaign", type_=Uuid),
    bindparam("now", type_=_INSTANT),
    bindparam("limit", type_=Integer),
)
_EXIT = """
update campaign_members a set next_at = null, exited = 'LEFT'
where a.campaign_id = :campaign and a.member_id = any(:members) and a.step = :step and ({left})
"""
_PLAN = text("""
with next as (
  select * from unnest(:zones, :steps, :ats, :local_dates, :next_steps, :next_dates, :next_ats)
    as n (zone, step, at, local_date, next_step, next_date, next_at)
), due as (
  select a.member_id, a.arm, n.* from campaign_members a
  join members m using (member_id)
  join next n on (n.zone, n.step, n.at, n.local_date)
    = (m.time_zone, a.step, a.next_at, a.local_date)
  where a.campaign_id = :campaign and a.member_id = any(:members)
), planned as (
  insert into planned_messages (member_id, cause_key, source_id, arm, propensity, state,
    local_date, send_at, expires_at, planned_at)
  select d.member_id, 'campaign:' || :campaign_key || ':' || d.step || ':' || d.local_date,
    :campaign, d.arm, s.share, 'PLANNED', d.local_date, d.at,
    least(d.at + make_interval(secs => :worth_seconds), :ends_at), :now
  from due d join unnest(:arms, :shares) as s (arm, share) using (arm)
  on conflict do nothing returning 1
), moved as (
  update campaign_members a set step = d.next_step, local_date = d.next_date, next_at = d.next_at
  from due d where a.campaign_id = :campaign and a.member_id = d.member_id
)
select count(*) from planned
""").bindparams(
    bindparam("campaign", type_=Uuid),
    bindparam("members", type_=ARRAY(Uuid)),
    bindparam("campaign_key", type_=SqlText),
    bindparam("zones", type_=ARRAY(SqlText)),
    bindparam("steps", type_=ARRAY(Integer)),
    bindparam("ats", type_=ARRAY(_INSTANT)),
    bindparam("local_dates", type_=ARRAY(Date)),
    bindparam("next_steps", type_=ARRAY(Integer)),
    bindparam("next_dates", type_=ARRAY(Date)),
    bindparam("next_ats", type_=ARRAY(_INSTANT)),
    bindparam("arms", type_=ARRAY(SqlText)),
    bindparam("shares", type_=ARRAY(Numeric)),
    bindparam("worth_seconds", type_=Integer),
    bindparam("ends_at", type_=_INSTANT),
    bindparam("now", type_=_INSTANT),
)
_LEFT = text("""
select exists (select from campaign_members where campaign_id = :id and next_at is not null)
  or exists (select from planned_messages where source_id = :id and state = 'PLANNED')
  or exists (select from push_deliveries d join messages m
    on m.member_id = d.member_id and m.id = d.message_id
    where d.state in ('QUEUED', 'ATTEMPTING') and m.source_id = :id)
  or :by_people and exists (select from messages m join worklist_items i on i.member_id = m.member_id
    and i.closed_at is null and i.cause_key like 'outreach:' || m.id || ':%'
    where m.source_id = :id)
""").bindparams(bindparam("id", type_=Uuid), bindparam("by_people", type_=Boolean))
_FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)


async def running(db: Database) -> Sequence[UUID]:
    statement = select(Campaign.id).where(Campaign.state == CampaignState.RUNNING)
    async with db.read() as connection:
        return (await connection.execute(statement)).scalars().all()


async def end_overdue(db: Database, *, now: datetime) -> int:
    """Whatever runs or is paused past its end is done; how many ended."""
    ended = 0
    overdue = select(Campaign.id).where(
        col(Campaign.state).in_([CampaignState.RUNNING, CampaignState.PAUSED]),
        col(Campaign.ends_at) <= now,
    )
    async with db.read() as connection:
        found = (await connection.execute(overdue)).scalars().all()
    for campaign_id in found:
        async with db.transaction() as session:
            still = overdue.where(Campaign.id == campaign_id).with_for_update()
            if (await session.exec(still)).one_or_none() is None:
                continue
            campaign = await session.get_one(Campaign, campaign_id)
            await service.end(session, campaign, now=now)
            ended += 1
    return ended


async def plan(db: Database, campaign_id: UUID, *, now: datetime) -> int:
    """Plan whatever is due at `now`, and end the campaign when its time is over or it has said
    all; how many messages were planned."""
    planned, more = 0, True
    while more:
        async with db.transaction() as session:
            campaign = await assigning.lock_running(session, campaign_id)
            if campaign is None or now < campaign.starts_at:
                return planned
            if campaign.ends_at is not None and campaign.ends_at <= now:
                await service.end(session, campaign, now=now)
                return planned
            wanted = {"campaign": campaign_id, "now": now, "limit": BATCH}
            due = (await session.execute(_DUE, wanted)).all()
            if due:
                planned += await _plan_batch(session, campaign, due, now=now)
            elif await _is_over(session, campaign):
                await service.end(session, campaign, now=now)
            more = len(due) == BATCH
    return planned


async def _is_over(session: AsyncSession, campaign: Campaign) -> bool:
    """Everybody of a frozen audience was told all that there is to tell, and nothing is on its
    way: what may still leave can still be paused."""
    if campaign.audience == Audience.LIVE or campaign.assigned_at is None:
        return False
    wanted = {"id": campaign.id, "by_people": campaign.channel in BY_PEOPLE}
    return not (await session.execute(_LEFT, wanted)).scalar_one()


async def _plan_batch(
    session: AsyncSession, campaign: Campaign, due: Sequence[Any], *, now: datetime
) -> int:
    steps = {
        row.step: row
        for row in await session.exec(
            select(CampaignStep).where(CampaignStep.campaign_id == campaign.id)
        )
    }
    members = [row.member_id for row in due]
    for step in {row.step for row in due if row.step and steps[row.step].exits}:
        left = outcomes.exits(steps[step].exits, Goal(campaign.goal))
        leaving: dict[str, Any] = {"campaign": campaign.id, "members": members, "step": step}
        if ":days" in left:
            leaving["days"] = campaign.goal_days
        await session.execute(text(_EXIT.format(left=left)), leaving)
    follows = [
        _next(campaign, steps, *key, now=now)
        for key in {(row.time_zone, row.step, row.next_at, row.local_date) for row in due}
    ]
    shares = await assigning.arms(session, campaign)
    worth = WORTH_SENDING.get(Timing(campaign.timing), WORTH_SENDING_TIMED)
    if campaign.channel in BY_PEOPLE:
        worth = WORTH_SAYING
    planned = await session.execute(
        _PLAN,
        {
            "campaign": campaign.id,
            "campaign_key": str(campaign.id),
            "members": members,
            "zones": [it.zone for it in follows],
            "steps": [it.step for it in follows],
            "ats": [it.at for it in follows],
            "local_dates": [it.local_date for it in follows],
            "next_steps": [it.next_step for it in follows],
            "next_dates": [it.next_date for it in follows],
            "next_ats": [it.next_at for it in follows],
            "arms": [it.key for it in shares],
            "shares": [round(it.share, 6) for it in shares],
            "worth_seconds": int(worth.total_seconds()),
            "ends_at": campaign.ends_at or _FOR_EVER,
            "now": now,
        },
    )
    return int(planned.scalar_one())


def _next(
    campaign: Campaign,
    steps: Mapping[int, CampaignStep],
    zone: str,
    step: int,
    at: datetime,
    local_date: date,
    *,
    now: datetime,
) -> _Next:
    if campaign.timing == Timing.RECURRING:
        slot = assigning.next_slot(campaign, zone, last=local_date, now=now)
        return _Next(
            zone, step, at, local_date, step,
            slot.local_date if slot else None, slot.at if slot else None,
        )  # fmt: skip
    follows = steps.get(step + 1)
    if follows is None:
        return _Next(zone, step, at, local_date, step + 1, None, None)
    next_at = at + timedelta(hours=follows.wait_hours)
    if campaign.timing == Timing.LOCAL_TIME and follows.wait_hours % 24 == 0:
        # Whole days are days of the calendar: the same time of the day, over DST.
        day = local_date + timedelta(days=follows.wait_hours // 24)
        assert campaign.local_time is not None
        next_at = civil_time.at_local_time(day, campaign.local_time, civil_time.zone(zone))
    next_date = civil_time.local_date(next_at, civil_time.zone(zone))
    return _Next(zone, step, at, local_date, step + 1, next_date, next_at)
