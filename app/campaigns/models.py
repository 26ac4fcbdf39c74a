"""Campaigns, and who is in them with which arm."""

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Numeric
from sqlmodel import Field, SQLModel

from app.campaigns.rules import Audience, CampaignChannel, CampaignState, Goal, Timing
from app.columns import Holds, column
from app.nudges.gate import Topic


def _one_of(name: str, values: Any) -> CheckConstraint:
    known = ", ".join(f"'{it}'" for it in values)
    return CheckConstraint(f"{name} in ({known})", name=f"{name}_known")


class Campaign(SQLModel, table=True):
    """A message to many, with a holdout that gets nothing. What decides who gets what never
    changes once it has been started."""

    __tablename__ = "campaigns"
    __table_args__ = (
        _one_of("state", CampaignState),
        _one_of("topic", Topic),
        _one_of("channel", CampaignChannel),
        _one_of("audience", Audience),
        _one_of("timing", Timing),
        _one_of("goal", Goal),
        CheckConstraint("holdout_percent between 0 and 50", name="holdout_in_range"),
        CheckConstraint("ends_at is null or ends_at > starts_at", name="period_ordered"),
        CheckConstraint("(timing = 'AT_ONCE') = (local_time is null)", name="timing_whole"),
        CheckConstraint("(timing = 'RECURRING') = (recurrence is not null)", name="recurs_whole"),
        Index("campaigns_running", "id", postgresql_where="state = 'RUNNING'"),
        Index("campaigns_newest", "created_at", "id"),
    )

    id: UUID = column(UUID, key=True)
    name: str = column(str)
    topic: str = column(str)
    filter: dict[str, Any] = column(dict)
    """As it was sent."""
    channel: str = column(str)
    audience: str = column(str)
    timing: str = column(str)
    local_time: time | None = column(time, null=True)
    """Of the member's day; none when it goes out at once."""
    recurrence: str | None = column(str, null=True)
    """RFC 5545 RRULE without DTSTART, daily or rarer."""
    goal: str = column(str)
    goal_days: int = column(int)
    """How long after the assignment a conversion counts."""
    holdout_percent: Decimal = Field(
        sa_type=Numeric(5, 2), sa_column_kwargs={"info": {"class": Holds.NONE}}
    )
    starts_at: datetime = column(datetime)
    ends_at: datetime | None = column(datetime, null=True)
    state: str = column(str)
    audience_size: int = column(int)
    """Whom the filter found when it was last looked at; fixed at the start of a frozen one."""
    version: int = column(int)
    """One more for each change."""
    created_by: UUID = column(UUID)
    created_at: datetime = column(datetime)
    submitted_at: datetime | None = column(datetime, null=True)
    approved_by: UUID | None = column(UUID, null=True)
    """Who started it: never somebody who wrote it."""
    started_at: datetime | None = column(datetime, null=True)
    assigned_upto: UUID | None = column(UUID, null=True)
    """How far the members have been gone through; null once the end was reached."""
    assigned_at: datetime | None = column(datetime, null=True)
    """When the end was reached last."""
    ended_at: datetime | None = column(datetime, null=True)


class CampaignVariant(SQLModel, table=True):
    """What one arm says at one step in one locale."""

    __tablename__ = "campaign_variants"
    __table_args__ = (
        ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        CheckConstraint("weight between 1 and 10000", name="weight_in_range"),
        CheckConstraint("step >= 0", name="step_not_negative"),
        CheckConstraint("char_length(title) between 1 and 80", name="title_length"),
        CheckConstraint("char_length(body) between 1 and 1000", name="body_length"),
    )

    campaign_id: UUID = column(UUID, key=True)
    step: int = column(int, key=True, sa_column_kwargs={"autoincrement": False})
    key: str = column(str, key=True)
    locale: str = column(str, key=True)
    title: str = column(str)
    body: str = column(str)
    weight: int = column(int)
    action_label: str | None = column(str, null=True)
    action_url: str | None = column(str, null=True)


class CampaignStep(SQLModel, table=True):
    """One message of a campaign after another."""

    __tablename__ = "campaign_steps"
    __table_args__ = (
        ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        CheckConstraint("wait_hours >= 0", name="wait_not_negative"),
    )

    campaign_id: UUID = column(UUID, key=True)
    step: int = column(int, key=True, sa_column_kwargs={"autoincrement": False})
    wait_hours: int = column(int)
    """After the step before."""
    exits: list[str] = column(list)
    """What ends it for a member before this step: CONVERTED, CLICKED, OPENED."""


class CampaignEvent(SQLModel, table=True):
    """What was done to a campaign, and by whom. Append-only."""

    __tablename__ = "campaign_events"
    __table_args__ = (ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),)

    campaign_id: UUID = column(UUID, key=True)
    place: int = column(int, key=True, sa_column_kwargs={"autoincrement": False})
    kind: str = column(str)
    """CREATED, EDITED, SUBMITTED, STARTED, PAUSED, RESUMED, ENDED, CANCELLED."""
    staff_id: UUID | None = column(UUID, null=True)
    """None: the programme, at its end."""
    at: datetime = column(datetime)


class CampaignMember(SQLModel, table=True):
    """A member's arm of a campaign. It never changes; who is held out stays so."""

    __tablename__ = "campaign_members"
    __table_args__ = (
        Index("campaign_members_of_campaign", "campaign_id", "member_id"),
        Index(
            "campaign_members_due",
            "campaign_id",
            "next_at",
            postgresql_where="next_at is not null",
        ),
    )

    member_id: UUID = column(UUID, key=True)
    """Without a foreign key, as `planned_messages`: to look a million up again takes a third of
    the time."""
    campaign_id: UUID = column(UUID, key=True)
    arm: str = column(str)
    assigned_at: datetime = column(datetime)
    """When it begins for the member: what they do from then on counts. Not before the campaign
    starts, however early they were drawn."""
    step: int = column(int)
    """The next one."""
    local_date: date | None = column(date, null=True)
    """Of the next message: with the step, what keeps it from being sent twice."""
    next_at: datetime | None = column(datetime, null=True)
    """When the next message is planned; null for the holdout, and once there is none."""
    exited: str | None = column(str, null=True)
    """Why there is none although there would be."""
