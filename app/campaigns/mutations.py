"""What campaign managers change."""

from collections.abc import Awaitable, Callable
from datetime import datetime, time
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import strawberry

from app.campaigns import rules, service
from app.campaigns.graphql import RUNNING, Campaign
from app.campaigns.rules import Audience, CampaignChannel, Exit, Goal
from app.graphql.errors import UserError
from app.graphql.ids import Kind, decode
from app.graphql.node import Info
from app.members.filter_graphql import MemberFilter, document_of
from app.nudges.gate import Topic


@strawberry.input
class CampaignVariantInput:
    key: str = strawberry.field(
        description="The arm; variants of one arm differ in locale and step only."
    )
    locale: str = strawberry.field(description="`zh-CN` or `en`; every arm has the same ones.")
    title: str = strawberry.field(description="1 to 80 characters; never on a lock screen.")
    body: str = strawberry.field(description="1 to 1000 characters.")
    weight: int = strawberry.field(default=1, description="Relative to the other arms.")
    step: int = strawberry.field(default=0, description="0 is the first message.")
    action_label: str | None = None
    action_url: str | None = strawberry.field(
        default=None, description="Begins with wellward:// or https://."
    )


@strawberry.input(description="One more message, to those who have not left before it.")
class CampaignStepInput:
    wait_hours: int = strawberry.field(description="After the step before; 1 to 2160.")
    exits: list[Exit] = strawberry.field(default_factory=list)


@strawberry.input
class CampaignWishInput:
    request_id: UUID
    name: str = strawberry.field(description="1 to 80 characters.")
    topic: Topic
    filter: MemberFilter
    channel: CampaignChannel = strawberry.field(
        description="An SMS or e-mail carries the words only when `filter` asks nothing about "
        "anybody's health; else it says that there is a message."
    )
    variants: list[CampaignVariantInput] = strawberry.field(
        description="1 to 20 of each step; at least one per locale."
    )
    holdout_percent: Decimal = strawberry.field(
        default=Decimal(10),
        description="0 to 50 percent, to two decimals, who get nothing, for the comparison.",
    )
    starts_at: datetime
    ends_at: datetime | None = None
    audience: Audience = Audience.FROZEN
    local_time: time | None = strawberry.field(
        default=None, description="Of the member's day; at once when left out."
    )
    recurrence: str | None = strawberry.field(
        default=None,
        description="RFC 5545 RRULE without DTSTART, daily or rarer; needs `localTime` and "
        "`endsAt`. Once when left out.",
    )
    steps: list[CampaignStepInput] = strawberry.field(
        default_factory=list, description="Those after the first."
    )
    goal: Goal = Goal.CHECK_IN
    goal_days: int = strawberry.field(
        default=14, description="How long after the assignment a conversion counts; 1 to 365."
    )

    def wish(self) -> service.Wish:
        return service.Wish(
            name=self.name,
            topic=self.topic,
            filter=document_of(self.filter),
            channel=self.channel,
            variants=[rules.Variant(**vars(it)) for it in self.variants],
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            holdout_percent=self.holdout_percent,
            audience=self.audience,
            local_time=self.local_time,
            recurrence=self.recurrence,
            goal=self.goal,
            goal_days=self.goal_days,
            steps=[rules.Step(it.wait_hours, it.exits) for it in self.steps],
        )


@strawberry.input
class CreateCampaignInput(CampaignWishInput):
    pass


@strawberry.input(description="All of it anew.")
class EditCampaignInput(CampaignWishInput):
    campaign_id: strawberry.ID = strawberry.field(name="campaignId")


@strawberry.input
class SubmitCampaignInput:
    request_id: UUID
    campaign_id: strawberry.ID


@strawberry.input
class StartCampaignInput:
    request_id: UUID
    campaign_id: strawberry.ID
    version: int | None = strawberry.field(
        default=None, description="Which one was looked at: another is not started."
    )


@strawberry.input
class PauseCampaignInput:
    request_id: UUID
    campaign_id: strawberry.ID


@strawberry.input
class CancelCampaignInput:
    request_id: UUID
    campaign_id: strawberry.ID


@strawberry.type
class CreateCampaignPayload:
    replayed: bool
    campaign: Campaign


@strawberry.type
class EditCampaignPayload:
    replayed: bool
    campaign: Campaign


@strawberry.type
class SubmitCampaignPayload:
    replayed: bool
    campaign: Campaign


@strawberry.type
class StartCampaignPayload:
    replayed: bool
    campaign: Campaign


@strawberry.type
class PauseCampaignPayload:
    replayed: bool
    campaign: Campaign


@strawberry.type
class CancelCampaignPayload:
    replayed: bool
    campaign: Campaign


CreateCampaignResult = Annotated[
    CreateCampaignPayload | UserError, strawberry.union("CreateCampaignResult")
]
EditCampaignResult = Annotated[
    EditCampaignPayload | UserError, strawberry.union("EditCampaignResult")
]
SubmitCampaignResult = Annotated[
    SubmitCampaignPayload | UserError, strawberry.union("SubmitCampaignResult")
]
StartCampaignResult = Annotated[
    StartCampaignPayload | UserError, strawberry.union("StartCampaignResult")
]
PauseCampaignResult = Annotated[
    PauseCampaignPayload | UserError, strawberry.union("PauseCampaignResult")
]
CancelCampaignResult = Annotated[
    CancelCampaignPayload | UserError, strawberry.union("CancelCampaignResult")
]

Change = Callable[..., Awaitable[tuple[Any, bool]]]


async def _changed(info: Info, input: Any, change: Change) -> tuple[bool, Campaign]:
    """One call of a service on the campaign that is named."""
    context = info.context
    staff_id = context.require_role(*RUNNING)
    named = decode(input.campaign_id, Kind.CAMPAIGN, field="campaignId")
    async with context.db.transaction() as session:
        row, replayed = await change(
            session,
            staff_id=staff_id,
            request_id=input.request_id,
            campaign_id=named.owner_id,
            now=context.now,
        )
        return replayed, Campaign.of(row.model_copy())


@strawberry.type
class CampaignsMutation:
    @strawberry.mutation(
        description="Campaign managers only; makes a draft. Codes: VALUE_OUT_OF_RANGE, "
        "FILTER_INVALID, VARIANTS_INVALID, PERIOD_INVALID, RECURRENCE_INVALID, REQUEST_REUSED."
    )
    async def create_campaign(self, info: Info, input: CreateCampaignInput) -> CreateCampaignResult:
        context = info.context
        staff_id = context.require_role(*RUNNING)
        async with context.db.transaction() as session:
            row, replayed = await service.create(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                wish=input.wish(),
                now=context.now,
            )
            campaign = Campaign.of(row.model_copy())
        return CreateCampaignPayload(replayed=replayed, campaign=campaign)

    @strawberry.mutation(
        description="Campaign managers only; before it was started. It is a draft again, and who "
        "edits it cannot start it. Codes: as `createCampaign`, NOT_FOUND, STATE_INVALID."
    )
    async def edit_campaign(self, info: Info, input: EditCampaignInput) -> EditCampaignResult:
        async def change(session: Any, **given: Any) -> tuple[Any, bool]:
            return await service.edit(session, wish=input.wish(), **given)

        replayed, campaign = await _changed(info, input, change)
        return EditCampaignPayload(replayed=replayed, campaign=campaign)

    @strawberry.mutation(
        description="Campaign managers only; asks a second person to look at it. Codes: "
        "NOT_FOUND, STATE_INVALID, REQUEST_REUSED."
    )
    async def submit_campaign(self, info: Info, input: SubmitCampaignInput) -> SubmitCampaignResult:
        replayed, campaign = await _changed(info, input, service.submit)
        return SubmitCampaignPayload(replayed=replayed, campaign=campaign)

    @strawberry.mutation(
        description="Campaign managers only, and not by one who has written it; whoever pauses it "
        "may also go on with it. Codes: NOT_FOUND, STATE_INVALID, SECOND_PERSON_NEEDED, "
        "VERSION_OUTDATED, PERIOD_INVALID, FILTER_INVALID, REQUEST_REUSED."
    )
    async def start_campaign(self, info: Info, input: StartCampaignInput) -> StartCampaignResult:
        async def change(session: Any, **given: Any) -> tuple[Any, bool]:
            return await service.start(session, version=input.version, **given)

        replayed, campaign = await _changed(info, input, change)
        return StartCampaignPayload(replayed=replayed, campaign=campaign)

    @strawberry.mutation(
        description="Campaign managers only; at most what is on its way still leaves. Codes: "
        "NOT_FOUND, STATE_INVALID, REQUEST_REUSED."
    )
    async def pause_campaign(self, info: Info, input: PauseCampaignInput) -> PauseCampaignResult:
        replayed, campaign = await _changed(info, input, service.pause)
        return PauseCampaignPayload(replayed=replayed, campaign=campaign)

    @strawberry.mutation(
        description="Campaign managers only; as `pauseCampaign`, for good. Codes: NOT_FOUND, "
        "STATE_INVALID, REQUEST_REUSED."
    )
    async def cancel_campaign(self, info: Info, input: CancelCampaignInput) -> CancelCampaignResult:
        replayed, campaign = await _changed(info, input, service.cancel)
        return CancelCampaignPayload(replayed=replayed, campaign=campaign)
