"""Campaigns for those who run them: what they are, what came of them, what to try next."""

from collections.abc import Sequence
from datetime import datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app.campaigns import funnel, queries, report
from app.campaigns.report_graphql import CampaignReport
from app.campaigns.rules import (
    Audience,
    CampaignChannel,
    CampaignState,
    Exit,
    Goal,
    Timing,
)
from app.graphql import enums
from app.graphql.ids import GlobalId, Kind, encode, parse
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.members import rules as member_rules
from app.members import segments
from app.members.console import LazyStaff, load_staff
from app.members.enums import StaffRole
from app.members.filter_graphql import sent_form
from app.members.history_graphql import instant
from app.members.segments_graphql import JSON, segment_id
from app.members.standing import ProfileChoice
from app.nudges.gate import Topic

RUNNING = (StaffRole.CAMPAIGN_MANAGER, StaffRole.ADMIN)
"""Roles that write, start and stop campaigns."""
LOOKING = (*RUNNING, StaffRole.ACTUARY, StaffRole.AUDITOR, StaffRole.HEALTH_MANAGER)


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
    {"USE": "Anything that the member does, but look at messages."},
    name="CampaignGoal",
    description="What counts as a conversion, of the holdout as well.",
)
strawberry.enum(Exit, name="CampaignExit")


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
    version: int = strawberry.field(description="One more for each change; see `startCampaign`.")
    created_at: datetime
    started_at: datetime | None
    audience_size: int = strawberry.field(
        description="Members the filter finds, holdout included; fixed at the start of a frozen "
        "audience. In tens, rounded down, when the filter asks about somebody's health."
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

    @strawberry.field(
        description="Null until started; for those who do not see every member also while the "
        f"filter asks about somebody's health and fewer than {funnel.TELLS_FROM} are assigned."
    )
    async def report(self, info: Info) -> CampaignReport | None:
        if self.row.started_at is None:
            return None
        found = await _report(info, self.row)
        if found.assigned < funnel.TELLS_FROM and not sees_all(info):
            async with info.context.db.read() as reading:
                if await segments.asks_of_health(reading, self.row.filter):
                    return None
        return CampaignReport.of(found, sees_all=sees_all(info))

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
            version=row.version,
            created_at=row.created_at,
            started_at=row.started_at,
            audience_size=row.audience_size,
            filter=JSON(sent_form(row.filter, encode=segment_id)),
        )


def sees_all(info: Info) -> bool:
    return member_rules.sees_all(info.context.viewer.roles)


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


async def _report(info: Info, row: Any) -> report.Report:
    """Reports of one moment share their statements."""
    state = info.context.state
    if "campaigns.reports" not in state:

        async def load(rows: list[Any]) -> list[report.Report]:
            async with info.context.db.read() as reading:
                found = await report.reports(reading, rows)
            return [found[row.id] for row in rows]

        # Live: shared within one moment, and not kept for the next.
        state["campaigns.reports"] = DataLoader(load_fn=load, cache=False)
    found: report.Report = await state["campaigns.reports"].load(row)
    return found


async def load_campaign(info: Info, campaign_id: UUID) -> Campaign | None:
    """Loads of one moment share their statement."""
    state = info.context.state
    if "campaigns.rows" not in state:

        async def load(ids: list[UUID]) -> list[Any]:
            async with info.context.db.read() as reading:
                found = await queries.some(reading, ids)
            return [found.get(id) for id in ids]

        state["campaigns.rows"] = DataLoader(load_fn=load)
    row = await state["campaigns.rows"].load(campaign_id)
    return Campaign.of(row) if row is not None else None


@strawberry.type(description="What campaigns and segments are made of, besides `profileOptions`.")
class CampaignOptions:
    products: list[ProfileChoice]


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
        cursor = read_cursor(after, instant, UUID)
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
