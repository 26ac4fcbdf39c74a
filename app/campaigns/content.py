"""What a planned message of a campaign says when its time has come, and whom it still concerns."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, text, true
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.campaigns import outcomes, rules
from app.campaigns.models import Campaign, CampaignStep, CampaignVariant
from app.campaigns.rules import Audience, CampaignChannel, Goal
from app.campaigns.service import KIND
from app.members import filters, segments
from app.members.models import Member
from app.nudges import gate, sources
from app.nudges.sources import Cause, Content, Due

TEMPLATE = "campaign"
CHANNELS: Mapping[CampaignChannel, tuple[gate.Carrier, ...]] = {
    CampaignChannel.PUSH: (gate.Channel.PUSH, gate.Channel.IN_APP),
    CampaignChannel.IN_APP: (gate.Channel.IN_APP,),
    CampaignChannel.SMS: (gate.Channel.SMS,),
    CampaignChannel.EMAIL: (gate.Channel.EMAIL,),
    CampaignChannel.BROADCAST: (gate.Outreach.BROADCAST,),
    CampaignChannel.PHONE_CALL: (gate.Outreach.PHONE_CALL,),
    CampaignChannel.HOME_VISIT: (gate.Outreach.HOME_VISIT,),
}
_MEMBERS = text("""
select a.member_id, a.arm, m.locale from campaign_members a join members m using (member_id)
where a.campaign_id = :campaign and a.member_id = any(:members)
""").bindparams(bindparam("campaign", type_=Uuid), bindparam("members", type_=ARRAY(Uuid)))
_LEFT = """
select a.member_id from campaign_members a
where a.campaign_id = :campaign and a.member_id = any(:members) and ({left})
"""


async def prepare(
    session: AsyncSession, source_id: UUID, due: Sequence[Due], now: datetime
) -> Mapping[Cause, Content]:
    """By cause; who is missing is not concerned any more, or is held out."""
    campaign = await session.get(Campaign, source_id)
    members = {it.member_id for it in due}
    if campaign is None or not _is_on(campaign, now):
        return {}
    concerned = await _concerned(session, campaign, members, now)
    texts = await variants(session, source_id)
    # What people chosen by their health have in common must not stand on a lock screen.
    is_public = not await segments.asks_of_health(await session.connection(), campaign.filter)
    rows = await session.execute(_MEMBERS, {"campaign": source_id, "members": sorted(concerned)})
    people = {row.member_id: row for row in rows}
    found: dict[Cause, Content] = {}
    left = await _left(session, campaign, [it.cause for it in due])
    for it in due:
        person, step = people.get(it.member_id), _step(it.cause_key)
        if person is None or it.member_id in left.get(step, ()):
            continue
        # The arm as it was assigned, whatever the plan says: nothing may leave to the holdout.
        said = rules.variant_for(texts, arm=person.arm, step=step, locale=person.locale)
        if said is not None:
            found[it.cause] = _content(campaign, said, is_public=is_public)
    return found


def _step(cause_key: str) -> int:
    return int(cause_key.split(":")[2])


async def _left(
    session: AsyncSession, campaign: Campaign, causes: Sequence[Cause]
) -> Mapping[int, set[UUID]]:
    """By step those who have left since it was planned: a night may lie between."""
    wanted = select(CampaignStep).where(
        CampaignStep.campaign_id == campaign.id,
        col(CampaignStep.step).in_({_step(key) for _, key in causes} - {0}),
    )
    found = {}
    for step in [it for it in await session.exec(wanted) if it.exits]:
        members = [member_id for member_id, key in causes if _step(key) == step.step]
        left = outcomes.exits(step.exits, Goal(campaign.goal))
        values: dict[str, Any] = {"campaign": campaign.id, "members": members}
        if ":days" in left:
            values["days"] = campaign.goal_days
        rows = await session.execute(text(_LEFT.format(left=left)), values)
        found[step.step] = set(rows.scalars())
    return found


async def remaining(
    session: AsyncSession, source_id: UUID, causes: Sequence[Cause], now: datetime
) -> set[Cause]:
    """Without those whom it does not concern any more, and who have left before their step."""
    campaign = await session.get(Campaign, source_id)
    if campaign is None or not _is_on(campaign, now):
        return set()
    concerned = await _concerned(session, campaign, {member_id for member_id, _ in causes}, now)
    left = await _left(session, campaign, causes)
    return {
        (member_id, key)
        for member_id, key in causes
        if member_id in concerned and member_id not in left.get(_step(key), ())
    }


def _is_on(campaign: Campaign, now: datetime) -> bool:
    """What was cancelled is its source's business; what has said all may still be on its way."""
    return campaign.ends_at is None or now < campaign.ends_at


async def _concerned(
    session: AsyncSession, campaign: Campaign, members: set[UUID], now: datetime
) -> set[UUID]:
    """Without those who were erased, and those whom a live audience has lost."""
    is_live = campaign.audience == Audience.LIVE
    condition = filters.condition(campaign.filter, now=now) if is_live else true()
    statement = select(Member.member_id).where(
        col(Member.member_id).in_(members), col(Member.erased_at).is_(None), condition
    )
    return set((await session.exec(statement)).all())


async def variants(session: AsyncSession, campaign_id: UUID) -> Sequence[rules.Variant]:
    statement = (
        select(CampaignVariant)
        .where(CampaignVariant.campaign_id == campaign_id)
        .order_by(col(CampaignVariant.step), col(CampaignVariant.key), col(CampaignVariant.locale))
    )
    return [
        rules.Variant(
            key=row.key,
            locale=row.locale,
            title=row.title,
            body=row.body,
            weight=row.weight,
            step=row.step,
            action_label=row.action_label,
            action_url=row.action_url,
        )
        for row in await session.exec(statement)
    ]


def _content(campaign: Campaign, said: rules.Variant, *, is_public: bool) -> Content:
    is_linked = said.action_label is not None and said.action_url is not None
    return Content(
        topic=gate.Topic(campaign.topic),
        template=TEMPLATE,
        title=said.title,
        body=said.body,
        channels=CHANNELS[CampaignChannel(campaign.channel)],
        priority=gate.Priority.LOW
        if campaign.topic == gate.Topic.MARKETING
        else gate.Priority.NORMAL,
        is_public=is_public,
        action=(said.action_label or "", said.action_url or "") if is_linked else None,
    )


if KIND not in sources.KINDS:
    sources.register(KIND, prepare, remaining)
