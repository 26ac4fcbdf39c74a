"""Campaigns from draft to done: lock, look, decide, write."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.campaigns import refusals, rules
from app.campaigns.models import Campaign, CampaignEvent, CampaignStep, CampaignVariant
from app.campaigns.rules import Action, Audience, CampaignChannel, CampaignState, Goal, Timing
from app.errors import NotFound
from app.ids import new_id
from app.jobs import queue as jobs
from app.members import filters, requests, segments
from app.nudges import recurrence, sources
from app.nudges.gate import Topic
from app.texts import Text

KIND = "CAMPAIGN"
ASSIGN_JOB = "campaigns.assign"
WITHDRAW_JOB = "campaigns.withdraw"
_EVENTS = {Action.SUBMIT: "SUBMITTED", Action.PAUSE: "PAUSED", Action.CANCEL: "CANCELLED"}
"""Of what `_move` does."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A campaign as it is written."""

    name: str
    topic: Topic
    filter: filters.Filter
    channel: CampaignChannel
    variants: Sequence[rules.Variant]
    starts_at: datetime
    ends_at: datetime | None = None
    holdout_percent: Decimal = Decimal(10)
    audience: Audience = Audience.FROZEN
    local_time: time | None = None
    recurrence: str | None = None
    goal: Goal = Goal.CHECK_IN
    goal_days: int = 14
    steps: Sequence[rules.Step] = field(default_factory=tuple)
    """Those after the first."""

    @property
    def timing(self) -> Timing:
        if self.recurrence is not None:
            return Timing.RECURRING
        return Timing.AT_ONCE if self.local_time is None else Timing.LOCAL_TIME


async def create(
    session: AsyncSession, *, staff_id: UUID, request_id: UUID, wish: Wish, now: datetime
) -> tuple[Campaign, bool]:
    """A draft; whether this request was answered before.

    Raises NameInvalid, FilterRefused, VariantsInvalid, PeriodInvalid, OutOfRange,
    RecurrenceInvalid, RequestReused.
    """
    made = new_id(now)
    earlier = await _claim(session, "createCampaign", staff_id, request_id, made, asdict(wish), now)
    if earlier is not None:
        return await session.get_one(Campaign, earlier), True
    size = await _check(session, wish, now=now)
    campaign = Campaign(
        id=made,
        state=CampaignState.DRAFT,
        audience_size=size,
        version=1,
        created_by=staff_id,
        created_at=now,
        **_columns(wish),
    )
    session.add(campaign)
    await session.flush()
    await _write_texts(session, made, wish)
    await _note(session, campaign, "CREATED", staff_id, now=now)
    return campaign, False


async def edit(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    campaign_id: UUID,
    wish: Wish,
    now: datetime,
) -> tuple[Campaign, bool]:
    """Write a campaign anew that was not started; it is a draft again, and whoever edits it is
    one of its authors. Raises as `create`, NotFound, StateInvalid."""
    values = {"campaignId": campaign_id, **asdict(wish)}
    earlier = await _claim(session, "editCampaign", staff_id, request_id, campaign_id, values, now)
    if earlier is not None:
        return await session.get_one(Campaign, campaign_id), True
    campaign = await _lock(session, campaign_id)
    follows = _after(campaign, Action.EDIT)
    campaign.audience_size = await _check(session, wish, now=now)
    for name, value in _columns(wish).items():
        setattr(campaign, name, value)
    campaign.state, campaign.submitted_at = follows, None
    await session.flush()
    for table in (CampaignVariant, CampaignStep):
        await session.execute(delete(table).where(col(table.campaign_id) == campaign_id))
    await _write_texts(session, campaign_id, wish)
    await _note(session, campaign, "EDITED", staff_id, now=now)
    return campaign, False


async def submit(
    session: AsyncSession, *, staff_id: UUID, request_id: UUID, campaign_id: UUID, now: datetime
) -> tuple[Campaign, bool]:
    """Ask a second person to look at it. Raises NotFound, StateInvalid, RequestReused."""
    return await _move(
        session, "submitCampaign", Action.SUBMIT, staff_id, request_id, campaign_id, now=now
    )


async def pause(
    session: AsyncSession, *, staff_id: UUID, request_id: UUID, campaign_id: UUID, now: datetime
) -> tuple[Campaign, bool]:
    """Once this has committed, at most the groups leave that are on their way: nothing is
    planned, released or taken up to be sent. Raises NotFound, StateInvalid, RequestReused."""
    return await _move(
        session, "pauseCampaign", Action.PAUSE, staff_id, request_id, campaign_id, now=now
    )


async def cancel(
    session: AsyncSession, *, staff_id: UUID, request_id: UUID, campaign_id: UUID, now: datetime
) -> tuple[Campaign, bool]:
    """As `pause`, for good. Raises NotFound, StateInvalid, RequestReused."""
    return await _move(
        session, "cancelCampaign", Action.CANCEL, staff_id, request_id, campaign_id, now=now
    )


async def start(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    campaign_id: UUID,
    version: int | None = None,
    now: datetime,
) -> tuple[Campaign, bool]:
    """Approve and start what somebody else has written, or go on with what was paused. `version`
    is the one that was looked at: another is not started.

    Raises NotFound, StateInvalid, SecondPersonNeeded, VersionOutdated, PeriodInvalid,
    FilterRefused, RequestReused.
    """
    values = {} if version is None else {"version": version}
    earlier = await _claim(session, "startCampaign", staff_id, request_id, campaign_id, values, now)
    if earlier is not None:
        return await _same(session, earlier, campaign_id), True
    campaign = await _lock(session, campaign_id)
    is_paused = campaign.state == CampaignState.PAUSED
    follows = _after(campaign, Action.RESUME if is_paused else Action.START)
    if not is_paused and staff_id in await _authors(session, campaign_id):
        raise refusals.SecondPersonNeeded
    if version is not None and version != campaign.version:
        raise refusals.VersionOutdated
    fault = rules.period_fault(campaign.starts_at, campaign.ends_at, recurs=False, now=now)
    if fault is not None:
        raise refusals.PeriodInvalid(fault)
    campaign.state = follows
    if is_paused:
        await sources.resume(session, campaign_id, now=now)
    else:
        condition = segments.checked(campaign.filter, now=now)
        await segments.check_saved(session, campaign.filter, filled=True)
        connection = await session.connection()
        size = await segments.count(connection, condition)
        hides = await segments.asks_of_health(connection, campaign.filter)
        campaign.audience_size = segments.coarse(size) if hides else size
        campaign.approved_by = staff_id
        campaign.started_at = now
        campaign.assigned_upto = UUID(int=0)
        await sources.add(session, campaign_id, kind=KIND, name=campaign.name, now=now)
    await session.flush()
    await jobs.enqueue(session, ASSIGN_JOB, {"campaign_id": str(campaign_id)}, now=now)
    await _note(session, campaign, "RESUMED" if is_paused else "STARTED", staff_id, now=now)
    return campaign, False


async def end(session: AsyncSession, campaign: Campaign, *, now: datetime) -> None:
    """Its time is over, or it has said all, of which some may still be on its way. The campaign
    is locked, running or paused."""
    campaign.state = _after(campaign, Action.END)
    campaign.ended_at = now
    if campaign.ends_at is not None and campaign.ends_at <= now:
        await _stop(session, campaign, now=now)
    await _note(session, campaign, "ENDED", None, now=now)


async def _stop(session: AsyncSession, campaign: Campaign, *, now: datetime) -> None:
    """Nothing of it is said any more; a job takes what nobody has done yet out of worklists."""
    await sources.cancel(session, campaign.id, now=now)
    if campaign.channel in rules.BY_PEOPLE:
        await jobs.enqueue(session, WITHDRAW_JOB, {"campaign_id": str(campaign.id)}, now=now)


async def _move(
    session: AsyncSession,
    operation: str,
    action: Action,
    staff_id: UUID,
    request_id: UUID,
    campaign_id: UUID,
    *,
    now: datetime,
) -> tuple[Campaign, bool]:
    earlier = await _claim(session, operation, staff_id, request_id, campaign_id, {}, now)
    if earlier is not None:
        return await _same(session, earlier, campaign_id), True
    campaign = await _lock(session, campaign_id)
    campaign.state = _after(campaign, action)
    if action is Action.SUBMIT:
        campaign.submitted_at = now
    elif action is Action.PAUSE:
        await sources.halt(session, campaign_id, now=now)
    elif action is Action.CANCEL:
        campaign.ended_at = now
        await _stop(session, campaign, now=now)
    await _note(session, campaign, _EVENTS[action], staff_id, now=now)
    return campaign, False


async def _claim(
    session: AsyncSession,
    operation: str,
    staff_id: UUID,
    request_id: UUID,
    result: UUID,
    values: Mapping[str, Any],
    now: datetime,
) -> UUID | None:
    given = {"campaignId": result, **values} if operation != "createCampaign" else values
    return await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation=operation,
        values=given,
        result=result,
        now=now,
    )


async def _same(session: AsyncSession, earlier: UUID, campaign_id: UUID) -> Campaign:
    assert earlier == campaign_id
    return await session.get_one(Campaign, campaign_id)


async def _lock(session: AsyncSession, campaign_id: UUID) -> Campaign:
    """Raises NotFound."""
    found = await session.get(Campaign, campaign_id, with_for_update=True, populate_existing=True)
    if found is None:
        raise NotFound(field="campaignId")
    return found


def _after(campaign: Campaign, action: Action) -> CampaignState:
    """Raises StateInvalid."""
    state = CampaignState(campaign.state)
    follows = rules.after(state, action)
    if follows is None:
        raise refusals.StateInvalid(state)
    return follows


async def _authors(session: AsyncSession, campaign_id: UUID) -> set[UUID]:
    written = select(CampaignEvent.staff_id).where(
        CampaignEvent.campaign_id == campaign_id,
        col(CampaignEvent.kind).in_(["CREATED", "EDITED"]),
    )
    return {it for it in (await session.exec(written)).all() if it is not None}


async def _note(
    session: AsyncSession, campaign: Campaign, kind: str, staff_id: UUID | None, *, now: datetime
) -> None:
    latest = select(func.max(CampaignEvent.place)).where(CampaignEvent.campaign_id == campaign.id)
    place = (await session.exec(latest)).one() or 0
    campaign.version = place + 1
    session.add(
        CampaignEvent(
            campaign_id=campaign.id, place=place + 1, kind=kind, staff_id=staff_id, at=now
        )
    )
    await session.flush()


# What is written


async def _check(session: AsyncSession, wish: Wish, *, now: datetime) -> int:
    """How many members the filter finds. Raises as `create`."""
    if not 1 <= len(wish.name.strip()) <= rules.NAME_MAX or "\0" in wish.name:
        raise refusals.NameInvalid(length_max=rules.NAME_MAX)
    condition = segments.checked(wish.filter, now=now)
    await segments.check_saved(session, wish.filter)
    if round(wish.holdout_percent, 2) != wish.holdout_percent:
        said = Text(
            zh=f"{wish.holdout_percent} %：最多两位小数。",
            en=f"{wish.holdout_percent} % has more than two decimals.",
        )
        raise refusals.OutOfRange(said, field="holdoutPercent")
    if not 0 <= wish.holdout_percent <= rules.HOLDOUT_MAX:
        most = rules.HOLDOUT_MAX
        said = Text(
            zh=f"{wish.holdout_percent} %：须为 0 至 {most} %。",
            en=f"{wish.holdout_percent} % must be 0 to {most} %.",
        )
        raise refusals.OutOfRange(said, field="holdoutPercent")
    if not 1 <= wish.goal_days <= rules.GOAL_DAYS_MAX:
        most_days = rules.GOAL_DAYS_MAX
        said = Text(
            zh=f"{wish.goal_days} 天：须为 1 至 {most_days} 天。",
            en=f"{wish.goal_days} days must be 1 to {most_days}.",
        )
        raise refusals.OutOfRange(said, field="goalDays")
    _check_timing(wish, now=now)
    fault = rules.steps_fault(wish.steps) or rules.variants_fault(
        wish.variants, steps=len(wish.steps) + 1
    )
    if fault is not None:
        raise refusals.VariantsInvalid(fault)
    connection = await session.connection()
    size = await segments.count(connection, condition)
    hides = await segments.asks_of_health(connection, wish.filter)
    if hides and wish.channel is CampaignChannel.BROADCAST:
        raise refusals.BroadcastOfHealth
    return segments.coarse(size) if hides else size


def _check_timing(wish: Wish, *, now: datetime) -> None:
    recurs = wish.recurrence is not None
    fault = rules.period_fault(wish.starts_at, wish.ends_at, recurs=recurs, now=now)
    if fault is not None:
        raise refusals.PeriodInvalid(fault)
    if wish.recurrence is None:
        return
    try:
        recurrence.parse_recurrence(wish.recurrence)
    except recurrence.InvalidRecurrence as error:
        raise refusals.RecurrenceInvalid(error.reason) from error
    if wish.local_time is None or wish.steps:
        raise refusals.OutOfRange(
            Text(
                zh="重复发送的活动须有当地时间，且只有一步。",
                en="What recurs has a local time, and one step only.",
            ),
            field="recurrence",
        )


def _columns(wish: Wish) -> dict[str, Any]:
    return {
        "name": wish.name.strip(),
        "topic": wish.topic,
        "filter": dict(wish.filter),
        "channel": wish.channel,
        "audience": wish.audience,
        "timing": wish.timing,
        "local_time": wish.local_time,
        "recurrence": wish.recurrence,
        "goal": wish.goal,
        "goal_days": wish.goal_days,
        "holdout_percent": wish.holdout_percent,
        "starts_at": wish.starts_at,
        "ends_at": wish.ends_at,
    }


async def _write_texts(session: AsyncSession, campaign_id: UUID, wish: Wish) -> None:
    steps = [rules.Step(0, ()), *wish.steps]
    for place, step in enumerate(steps):
        session.add(
            CampaignStep(
                campaign_id=campaign_id,
                step=place,
                wait_hours=step.wait_hours,
                exits=[str(it) for it in step.exits],
            )
        )
    for variant in wish.variants:
        session.add(CampaignVariant(campaign_id=campaign_id, **asdict(variant)))
    await session.flush()
