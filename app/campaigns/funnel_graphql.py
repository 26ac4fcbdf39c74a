"""The funnel of campaigns, and what it suggests."""

from datetime import date, datetime, timedelta
from uuid import UUID

import strawberry

from app.campaigns import funnel, suggestions
from app.campaigns.funnel import Dimension
from app.campaigns.graphql import LOOKING, Campaign, load_campaign, sees_all
from app.campaigns.report_graphql import FunnelStep
from app.campaigns.rules import CampaignChannel
from app.errors import RequestFailed
from app.graphql import enums
from app.graphql.ids import Kind, parse
from app.graphql.node import Info
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.members.enums import SegmentCode

FUNNEL_DAYS_MAX = 731
FUNNEL_CAMPAIGNS_MAX = 100
FUNNEL_BY_MAX = 2

enums.register(
    funnel.Dimension,
    {"WEEK": "Of the member's day on which the first message was meant for them."},
    name="FunnelDimension",
)


class FunnelInvalid(RequestFailed):
    pass


@strawberry.input(description="What is left out is any.")
class FunnelFilter:
    campaign_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description=f"At most {FUNNEL_CAMPAIGNS_MAX}."
    )
    segments: list[SegmentCode] | None = None
    channels: list[CampaignChannel] | None = None
    since: datetime = strawberry.field(description="Messages planned from then on.")
    until: datetime | None = strawberry.field(
        default=None, description="Before then; at most two years after `since`."
    )


@strawberry.type(
    description="One combination; what was not asked by is null, and the segment of whoever is in none."
)
class FunnelRow:
    campaign_key: strawberry.Private[UUID | None]
    segment: SegmentCode | None
    channel: CampaignChannel | None
    week: date | None = strawberry.field(
        description="Its Monday, of the member's day on which the first message was meant for them."
    )
    steps: list[FunnelStep]

    @strawberry.field
    async def campaign(self, info: Info) -> Campaign | None:
        return await load_campaign(info, self.campaign_key) if self.campaign_key else None

    @classmethod
    def of(cls, it: funnel.Row) -> "FunnelRow":
        return cls(
            campaign_key=it.campaign_id,
            segment=SegmentCode(it.segment) if it.segment else None,
            channel=CampaignChannel(it.channel) if it.channel else None,
            week=it.week,
            steps=[FunnelStep.of(step) for step in it.steps],
        )


@strawberry.type(description="What a rule suggests, and the figures on which it rests.")
class CampaignSuggestion:
    rule: str
    segment: SegmentCode
    channel: CampaignChannel = strawberry.field(description="Where it goes badly.")
    suggested_channel: CampaignChannel | None
    text: str
    since: datetime
    evidence: list[FunnelStep]


def _wanted(info: Info, filter: FunnelFilter) -> funnel.Wanted:
    """Raises FunnelInvalid."""
    until = filter.until or info.context.now
    if not timedelta(0) <= until - filter.since <= timedelta(days=FUNNEL_DAYS_MAX):
        raise FunnelInvalid("`until` must not be before `since`, and at most two years after it.")
    ids = None
    if filter.campaign_ids is not None:
        if len(filter.campaign_ids) > FUNNEL_CAMPAIGNS_MAX:
            raise FunnelInvalid(f"`campaignIds` has at most {FUNNEL_CAMPAIGNS_MAX} values.")
        named = [parse(id) for id in filter.campaign_ids]
        ids = [it.owner_id for it in named if it and it.kind is Kind.CAMPAIGN]
    return funnel.Wanted(
        since=filter.since,
        until=until,
        campaigns=ids,
        channels=filter.channels,
        segments=filter.segments,
    )


@strawberry.type
class FunnelQuery:
    @strawberry.field(
        description="From seeing a message to a claim, live; a member counts once a campaign. "
        "Staff only."
    )
    async def funnel(self, info: Info, filter: FunnelFilter) -> list[FunnelStep]:
        info.context.require_role(*LOOKING)
        async with info.context.db.read() as reading:
            found = await funnel.funnel(reading, _wanted(info, filter), sees_all=sees_all(info))
        return [FunnelStep.of(it) for it in found]

    @strawberry.field(
        description="The same for each combination that there is of one or two dimensions. Staff "
        "only."
    )
    async def funnel_by(
        self,
        info: Info,
        filter: FunnelFilter,
        by: list[Dimension],
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[FunnelRow]:
        info.context.require_role(*LOOKING)
        if not 1 <= len(by) <= FUNNEL_BY_MAX or len(set(by)) < len(by):
            raise FunnelInvalid(f"`by` has 1 to {FUNNEL_BY_MAX} values, each once.")
        size = page_size(first)
        cursor = read_cursor(after, int)
        start = max(0, cursor[0] + 1) if cursor else 0
        async with info.context.db.read() as reading:
            found = await funnel.table(reading, _wanted(info, filter), by, sees_all=sees_all(info))
        places = list(enumerate(found))
        return connection(
            places[start : start + size + 1],
            size=size,
            after=after,
            node=lambda it: FunnelRow.of(it[1]),
            key=lambda it: (it[0],),
        )

    @strawberry.field(description="By rules, over the last 90 days. Staff only.")
    async def campaign_suggestions(self, info: Info) -> list[CampaignSuggestion]:
        context = info.context
        context.require_role(*LOOKING)
        async with context.db.read() as reading:
            found = await suggestions.suggest(reading, now=context.now)
        return [
            CampaignSuggestion(
                rule=it.rule.code,
                segment=it.segment,
                channel=it.channel,
                suggested_channel=it.rule.suggests,
                text=it.rule.said.to(context.locale),
                since=it.since,
                evidence=[FunnelStep.of(step) for step in it.evidence],
            )
            for it in found
        ]
