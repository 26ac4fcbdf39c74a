"""Campaigns for those who run them: what they are, what came of them, what to try next."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app.campaigns import queries, report, suggestions
from app.campaigns.assignment import HOLDOUT
from app.campaigns.report import Counts, FunnelStage, LiftMetric
from app.campaigns.rules import (
    Audience,
    CampaignChannel,
    CampaignState,
    Exit,
    Goal,
    Timing,
)
from app.campaigns.statistics import Lift
from app.errors import RequestFailed
from app.graphql import enums
from app.graphql.ids import GlobalId, Kind, encode, parse
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.members.console import LazyStaff, load_staff
from app.members.enums import SegmentCode, StaffRole
from app.members.filter_graphql import sent_form
from app.members.segments_graphql import JSON, segment_id
from app.members.standing import ProfileChoice
from app.nudges.gate import Topic
from app.nudges.suppression import SuppressionReason

RUNNING = (StaffRole.CAMPAIGN_MANAGER, StaffRole.ADMIN)
"""Roles that write, start and stop campaigns."""
LOOKING = (*RUNNING, StaffRole.ACTUARY, StaffRole.AUDITOR, StaffRole.HEALTH_MANAGER)
FUNNEL_DAYS_MAX = 731


enums.register(CampaignState, {"IN_REVIEW": "Waits for a second person."})
strawberry.enum(CampaignChannel)
enums.register(
    Audience,
    {
        "FROZEN": "Whoever the filter finds at the start.",
        "LIVE": "Whoever it finds while the campaign runs.",
    },
    name="CampaignAudience",
)
strawberry.enum(Timing, name="CampaignTiming")
enums.register(
    Goal,
    {"USE": "Anything that the member does."},
    name="CampaignGoal",
    description="What counts as a conversion, of the holdout as well.",
)
strawberry.enum(Exit, name="CampaignExit")
strawberry.enum(LiftMetric)
strawberry.enum(FunnelStage)


class FunnelInvalid(RequestFailed):
    pass


@strawberry.type
class SuppressedCount:
    reason: SuppressionReason
    count: int


@strawberry.type(description="Members of one arm; somebody told twice counts once.")
class CampaignArm:
    key: str
    assigned: int
    sent: int
    suppressed: list[SuppressedCount]
    delivered: int
    opened: int
    clicked: int
    converted: int
    conversion_rate: Decimal = strawberry.field(description="Converted of assigned, in percent.")

    @classmethod
    def of(cls, key: str, it: Counts) -> "CampaignArm":
        converted = it.of_metric[LiftMetric.CONVERSION]
        return cls(
            key=key,
            assigned=it.assigned,
            sent=it.sent,
            suppressed=[
                SuppressedCount(reason=SuppressionReason.of(reason), count=count)
                for reason, count in sorted(it.suppressed.items())
            ],
            delivered=it.delivered,
            opened=it.opened,
            clicked=it.clicked,
            converted=converted,
            conversion_rate=report.percent(converted, it.assigned) or Decimal(0),
        )


@strawberry.type
class CampaignLift:
    metric: LiftMetric
    difference: Decimal = strawberry.field(
        description="In percentage points, with its always-valid 95 % interval: it may be looked "
        "at as often as one likes."
    )
    low: Decimal
    high: Decimal
    is_found: bool = strawberry.field(description="The interval leaves out zero.")

    @classmethod
    def of(cls, metric: LiftMetric, it: Lift) -> "CampaignLift":
        points = (it.difference, it.low, it.high)
        difference, low, high = (round(Decimal(100 * value), 2) for value in points)
        return cls(metric=metric, difference=difference, low=low, high=high, is_found=it.is_found)


def _lifts(found: Mapping[LiftMetric, Lift]) -> list[CampaignLift]:
    return [CampaignLift.of(metric, it) for metric, it in found.items()]


@strawberry.type
class SampleRatio:
    p_value: Decimal = strawberry.field(description="0 to 1.")
    alarm: bool = strawberry.field(
        description="The arms are not of the sizes they should be: trust no lift."
    )


@strawberry.type
class FunnelStep:
    stage: FunnelStage
    count: int
    rate: Decimal | None = strawberry.field(
        description="Of the stage before, in percent; null for the first."
    )
    overall: Decimal | None = strawberry.field(
        description="Of the first stage, in percent; null for the first."
    )

    @classmethod
    def of(cls, it: report.Step) -> "FunnelStep":
        return cls(stage=it.stage, count=it.count, rate=it.rate, overall=it.overall)


@strawberry.type
class ArmLift:
    key: str
    lift: list[CampaignLift]


@strawberry.type(description="The same for one market segment: whom does it help, whom not.")
class SegmentReport:
    segment: SegmentCode | None = strawberry.field(description="Null: in none.")
    arms: list[CampaignArm] = strawberry.field(
        description="Without `suppressed`, which is told for all segments together."
    )
    lift: list[CampaignLift]


@strawberry.type
class CampaignReport:
    arms: list[CampaignArm] = strawberry.field(
        description="Members in each arm, the holdout among them (`holdout`)."
    )
    lift: list[CampaignLift] = strawberry.field(
        description="All other arms against the holdout, one per metric; none without a holdout. "
        "CHECK_INS: checked in within 14 days of the assignment; READINGS_IN_RANGE: the mean of "
        "every code measured in these days is in its range."
    )
    arm_lift: list[ArmLift] = strawberry.field(description="Each arm against the holdout.")
    sample_ratio: SampleRatio
    funnel: list[FunnelStep] = strawberry.field(
        description="A stage that nothing counts yet is left out."
    )
    segments: list[SegmentReport]

    @classmethod
    def of(cls, it: report.Report) -> "CampaignReport":
        told = [counts for key, counts in it.arms.items() if key != HOLDOUT]
        funnel = report.of_funnel(
            sum(counts.exposed for counts in told),
            sum(counts.clicked for counts in told),
            sum(counts.enrolled for counts in told),
        )
        return cls(
            arms=[CampaignArm.of(key, counts) for key, counts in it.arms.items()],
            lift=_lifts(it.lifts(it.arms)),
            arm_lift=[
                ArmLift(key=key, lift=_lifts(it.lifts(it.arms, key)))
                for key in it.arms
                if key != HOLDOUT
            ],
            sample_ratio=SampleRatio(p_value=round(Decimal(it.p_value), 6), alarm=it.alarm),
            funnel=[FunnelStep.of(step) for step in report.steps(funnel)],
            segments=[
                SegmentReport(
                    segment=SegmentCode(code) if code else None,
                    arms=[CampaignArm.of(key, counts) for key, counts in arms.items()],
                    lift=_lifts(it.lifts(arms)),
                )
                for code, arms in sorted(it.segments.items(), key=lambda item: item[0] or "")
            ],
        )


@strawberry.type
class CampaignVariant:
    key: str
    locale: str
    step: int
    title: str
    body: str
    weight: int
    action_label: str | None
    action_url: str | None


@strawberry.type
class CampaignStep:
    step: int
    wait_hours: int = strawberry.field(description="After the step before.")
    exits: list[Exit]


@strawberry.type(description="What was done to a campaign.")
class CampaignEvent:
    kind: str
    at: datetime
    staff_id: strawberry.Private[UUID | None]

    @strawberry.field(description="Null: the programme itself, at its end.")
    async def staff(self, info: Info) -> LazyStaff | None:
        if self.staff_id is None:
            return None
        return await load_staff(info, self.staff_id)  # type: ignore[no-any-return]


@strawberry.type
class Campaign(Node):
    row: strawberry.Private[Any]
    name: str
    state: CampaignState
    topic: Topic
    channel: CampaignChannel
    audience: Audience
    timing: Timing
    local_time: time | None
    recurrence: str | None
    goal: Goal
    goal_days: int
    holdout_percent: Decimal
    starts_at: datetime
    ends_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    audience_size: int = strawberry.field(
        description="Members the filter finds, holdout included; fixed at the start."
    )
    filter: JSON = strawberry.field(description="As it is sent in `MemberFilter`.")

    @strawberry.field
    async def created_by(self, info: Info) -> LazyStaff | None:
        return await load_staff(info, self.row.created_by)  # type: ignore[no-any-return]

    @strawberry.field(description="Who started it; null until then.")
    async def approved_by(self, info: Info) -> LazyStaff | None:
        if self.row.approved_by is None:
            return None
        return await load_staff(info, self.row.approved_by)  # type: ignore[no-any-return]

    @strawberry.field
    async def variants(self, info: Info) -> list[CampaignVariant]:
        return [
            CampaignVariant(
                key=it.key,
                locale=it.locale,
                step=it.step,
                title=it.title,
                body=it.body,
                weight=it.weight,
                action_label=it.action_label,
                action_url=it.action_url,
            )
            for it in (await _parts(info, self.row.id))[0]
        ]

    @strawberry.field
    async def steps(self, info: Info) -> list[CampaignStep]:
        return [
            CampaignStep(
                step=it.step, wait_hours=it.wait_hours, exits=[Exit(exit) for exit in it.exits]
            )
            for it in (await _parts(info, self.row.id))[1]
        ]

    @strawberry.field
    async def history(self, info: Info) -> list[CampaignEvent]:
        return [
            CampaignEvent(kind=it.kind, at=it.at, staff_id=it.staff_id)
            for it in (await _parts(info, self.row.id))[2]
        ]

    @strawberry.field(description="Null until started.")
    async def report(self, info: Info) -> CampaignReport | None:
        if self.row.started_at is None:
            return None
        weights = {it.key: it.weight for it in (await _parts(info, self.row.id))[0]}
        async with info.context.db.read() as reading:
            return CampaignReport.of(await report.report(reading, self.row, weights))

    @classmethod
    def of(cls, row: Any) -> "Campaign":
        """From a row with the columns of `campaigns`."""
        return cls(
            id=strawberry.ID(encode(Kind.CAMPAIGN, row.id)),
            row=row,
            name=row.name,
            state=CampaignState(row.state),
            topic=Topic(row.topic),
            channel=CampaignChannel(row.channel),
            audience=Audience(row.audience),
            timing=Timing(row.timing),
            local_time=row.local_time,
            recurrence=row.recurrence,
            goal=Goal(row.goal),
            goal_days=row.goal_days,
            holdout_percent=row.holdout_percent,
            starts_at=row.starts_at,
            ends_at=row.ends_at,
            created_at=row.created_at,
            started_at=row.started_at,
            audience_size=row.audience_size,
            filter=JSON(sent_form(row.filter, encode=segment_id)),
        )


async def _parts(info: Info, campaign_id: UUID) -> tuple[Sequence[Any], ...]:
    """Variants, steps, events; loads of one moment share their statements."""
    state = info.context.state
    if "campaigns.parts" not in state:

        async def load(ids: list[UUID]) -> list[tuple[Sequence[Any], ...]]:
            async with info.context.db.read() as reading:
                found = await queries.parts(reading, ids)
            return [found[id] for id in ids]

        state["campaigns.parts"] = DataLoader(load_fn=load)
    found: tuple[Sequence[Any], ...] = await state["campaigns.parts"].load(campaign_id)
    return found


@strawberry.type(description="What a rule suggests, and the figures on which it rests.")
class CampaignSuggestion:
    rule: str
    segment: SegmentCode
    channel: CampaignChannel = strawberry.field(description="Where it goes badly.")
    suggested_channel: CampaignChannel | None
    text: str
    since: datetime
    evidence: list[FunnelStep]


@strawberry.input(description="What is left out is any.")
class FunnelFilter:
    campaign_ids: list[strawberry.ID] | None = None
    segments: list[SegmentCode] | None = None
    channels: list[CampaignChannel] | None = None
    since: datetime = strawberry.field(description="Messages planned from then on.")
    until: datetime | None = strawberry.field(
        default=None, description="Before then; at most two years after `since`."
    )


@strawberry.type(description="What campaigns and segments are made of, besides `profileOptions`.")
class CampaignOptions:
    products: list[ProfileChoice]


def _instant(value: str) -> datetime:
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError(value)
    return found.astimezone(UTC)


@strawberry.type
class CampaignsQuery:
    @strawberry.field(description="Staff only.")
    async def campaign(self, info: Info, id: strawberry.ID) -> Campaign | None:
        info.context.require_role(*LOOKING)
        named = parse(id)
        if named is None or named.kind is not Kind.CAMPAIGN:
            return None
        return await _fetch_campaign(info, named)

    @strawberry.field(description="The newest first. Staff only.")
    async def campaigns(
        self,
        info: Info,
        states: list[CampaignState] | None = None,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[Campaign]:
        info.context.require_role(*LOOKING)
        size = page_size(first)
        cursor = read_cursor(after, _instant, UUID)
        async with info.context.db.read() as reading:
            rows = await queries.page(
                reading,
                states=states,
                after=cursor,  # type: ignore[arg-type]
                limit=size + 1,
            )
        return connection(
            rows,
            size=size,
            after=after,
            node=Campaign.of,
            key=lambda row: (row.created_at.isoformat(), row.id),
        )

    @strawberry.field(
        description="From seeing a message to enrolling, live; a member counts once a campaign. "
        "Staff only."
    )
    async def funnel(self, info: Info, filter: FunnelFilter) -> list[FunnelStep]:
        context = info.context
        context.require_role(*LOOKING)
        until = filter.until or context.now
        if not timedelta(0) <= until - filter.since <= timedelta(days=FUNNEL_DAYS_MAX):
            raise FunnelInvalid("`until` must not be before `since`, and at most two years after it.")
        ids = None
        if filter.campaign_ids is not None:
            named = [parse(id) for id in filter.campaign_ids[:100]]
            ids = [it.owner_id for it in named if it and it.kind is Kind.CAMPAIGN]
        async with context.db.read() as reading:
            steps = await report.funnel(
                reading,
                since=filter.since,
                until=until,
                campaigns=ids,
                channels=filter.channels,
                segments=filter.segments,
            )
        return [FunnelStep.of(it) for it in steps]

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

    @strawberry.field(description="Staff only.")
    async def campaign_options(self, info: Info) -> CampaignOptions:
        context = info.context
        context.require_role(*LOOKING)
        async with context.db.read() as reading:
            products = await queries.products(reading)
        return CampaignOptions(
            products=[
                ProfileChoice(code=code, name=name.to(context.locale)) for code, name in products
            ]
        )


async def _fetch_campaign(info: Info, id: GlobalId) -> Campaign | None:
    if not info.context.viewer.roles & set(LOOKING):
        return None
    async with info.context.db.read() as reading:
        row = await queries.one(reading, id.owner_id)
    return Campaign.of(row) if row else None


NODE_FETCHERS: dict[Kind, Fetch] = {Kind.CAMPAIGN: _fetch_campaign}
