"""Templates, who is asked what, one row a task and period, check-ins, and participation."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint
from sqlmodel import SQLModel

from app.columns import Holds, column
from app.row_rules import RowRules

_ASSIGNMENT = ["task_assignments.member_id", "task_assignments.id"]
_TASK = ["tasks.member_id", "tasks.assignment_id", "tasks.starts_on"]


class TaskTemplate(SQLModel, table=True):
    """A published version of `templates.yaml`; never changed afterwards."""

    __tablename__ = "task_templates"

    code: str = column(str, key=True)
    version: int = column(int, key=True)
    hash: bytes = column(bytes)
    """SHA-256 of the canonical definition."""
    definition: dict[str, Any] = column(dict)


class TaskAssignment(SQLModel, table=True):
    """A member is asked to do a task in each of its periods. It copies what the template and
    the product version said, so that a later version changes nothing that was promised."""

    __tablename__ = "task_assignments"
    __table_args__ = (
        CheckConstraint("period in ('day', 'week', 'month', 'once')", name="period_known"),
        CheckConstraint("target > 0", name="target_positive"),
        CheckConstraint("per_day between 1 and 1000", name="per_day_in_range"),
        CheckConstraint("points >= 0", name="points_not_negative"),
        CheckConstraint("late_data_days >= 0", name="late_data_days_not_negative"),
        CheckConstraint("expires_after_months > 0", name="expires_after_months_positive"),
        # The day before it begins: another task took its place before anything was done.
        CheckConstraint("ends_on is null or ends_on >= starts_on - 1", name="period_ordered"),
        CheckConstraint("second_person_above >= 0", name="second_person_above_not_negative"),
        CheckConstraint(
            "(points_of_rule_max is null) = (points_of_rule_per is null)"
            " and points_of_rule_per in ('day', 'month', 'year')",
            name="rule_cap_whole",
        ),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    template_code: str = column(str)
    template_version: int = column(int)
    title_zh: str = column(str)
    title_en: str = column(str)
    kind: str = column(str)
    period: str = column(str)
    """day, week (from Monday), month, or once (from `starts_on` to `ends_on`)."""
    target: Decimal = column(Decimal)
    """In `unit` (UCUM)."""
    unit: str = column(str)
    per_day: int = column(int)
    value_min: Decimal = column(Decimal)
    value_max: Decimal = column(Decimal)
    verification: str = column(str)
    data_code: str | None = column(str, null=True)
    """What completes it without a tick, of the measurement catalogue; null for nothing."""
    data_at_least: Decimal | None = column(Decimal, null=True)
    """In the code's canonical unit, as is `data_at_most`; both included."""
    data_at_most: Decimal | None = column(Decimal, null=True)
    data_self_reported: bool = column(bool, default=False, older_rows="false")
    """Whether what the member types counts as well."""
    points: int = column(int)
    """What finishing it once pays."""
    points_per_day_max: int | None = column(int, null=True)
    """Cap over all that the member earns in one local day; null for none."""
    points_per_month_max: int | None = column(int, null=True)
    points_per_year_max: int | None = column(int, null=True)
    points_per_member_max: int | None = column(int, null=True)
    """Over all that the member ever earns."""
    points_of_rule_max: int | None = column(int, null=True)
    """Cap over what this rule alone pays in each `points_of_rule_per`."""
    points_of_rule_per: str | None = column(str, null=True)
    """day, month or year."""
    expires_after_months: int = column(int)
    """How long the points can be spent."""
    late_data_days: int = column(int)
    """How old a check-in may be when it arrives."""
    product_version_id: UUID = column(UUID)
    rule_code: str = column(str)
    """Of an alternative also that of the rule it stands for: `caps.OF_FAMILY`."""
    starts_on: date = column(date)
    ends_on: date | None = column(date, null=True)
    """Last local day; null until ended."""
    second_person_above: int | None = column(int, null=True)
    """Two people decide about more points than this; null: as everywhere in the programme."""
    replaces: UUID | None = column(UUID, null=True)
    """The assignment whose place it took, because the member could not do that one."""
    offered_by: UUID | None = column(UUID, null=True)
    """The employee who replaced it."""
    offer_reason: str | None = column(str, Holds.FREE_TEXT, null=True)
    created_at: datetime = column(datetime)
    ended_at: datetime | None = column(datetime, null=True)


TASK_RULES = RowRules(
    "tasks",
    {"starts_on": "date", "ends_on": "date", "state": "text", "closed_at": "timestamptz"},
    {
        "state_known": "state in ('OPEN', 'IN_REVIEW', 'DONE', 'MISSED', 'PAUSED',"
        " 'DEVICE_SILENT', 'CONSENT_REFUSED', 'CONSENT_WITHDRAWN')",
        "period_ordered": "starts_on <= ends_on",
        "closed_is_settled": "closed_at is null or state <> 'OPEN'",
    },
)


class Task(SQLModel, table=True):
    """One task in one period. The clock opens and closes it; a check-in that comes before
    the clock makes the row itself."""

    __tablename__ = "tasks"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "assignment_id"], _ASSIGNMENT),
        TASK_RULES.check,
        Index("tasks_of_day", "member_id", "ends_on"),
        Index("tasks_due", "due_at", postgresql_where="closed_at is null"),
        # Room for what becomes of a task on its day: on its own page it takes no index entries.
        {"postgresql_with": {"fillfactor": 80}},
    )

    member_id: UUID = column(UUID, key=True)
    assignment_id: UUID = column(UUID, key=True)
    starts_on: date = column(date, key=True)
    ends_on: date = column(date)
    """Last local day of the period."""
    starts_at: datetime = column(datetime)
    due_at: datetime = column(datetime)
    """Start of the local day after `ends_on`, in the zone the member was last in."""
    target: Decimal = column(Decimal)
    done: Decimal = column(Decimal, Holds.HEALTH)
    points: int = column(int)
    state: str = column(str, Holds.HEALTH)
    points_awarded: int = column(int)
    capped_by: str | None = column(str, null=True)
    """The kind of cap that left fewer than `points`."""
    revision: int = column(int, default=0, older_rows="0")
    """Of what it pays next: one more for each time that it was refused or corrected."""
    participated: bool = column(bool, Holds.HEALTH)
    """The target is reached without the check-ins of paused days."""
    completed_at: datetime | None = column(datetime, null=True)
    closed_at: datetime | None = column(datetime, null=True)
    latest_check_in_id: UUID | None = column(UUID, null=True)
    """By the instant at which it was done."""
    latest_occurred_at: datetime | None = column(datetime, null=True)


TASK_RULES.create_with(Task.__table__)  # type: ignore[attr-defined]


class CheckIn(SQLModel, table=True):
    """The member says that something was done. Once per slot of a local day, whatever the
    client retries; the local day never moves afterwards."""

    __tablename__ = "checkins"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "assignment_id", "starts_on"], _TASK),
        # What was done after its period shares the day with the next one.
        UniqueConstraint("member_id", "assignment_id", "starts_on", "local_date", "slot"),
        CheckConstraint("state in ('ACCEPTED', 'IN_REVIEW', 'REJECTED')", name="state_known"),
        CheckConstraint("slot >= 0", name="slot_not_negative"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    assignment_id: UUID = column(UUID)
    starts_on: date = column(date)
    """First day of the task's period."""
    local_date: date = column(date)
    slot: int = column(int)
    """From 0 to before the template's `per_day`, without those that were rejected."""
    value: Decimal | None = column(Decimal, Holds.HEALTH, null=True)
    """In the task's unit; null for a plain tick, which counts 1."""
    note: str | None = column(str, Holds.FREE_TEXT, null=True)
    occurred_at: datetime = column(datetime)
    received_at: datetime = column(datetime)
    state: str = column(str)
    counts: bool = column(bool)
    """False when its day was paused as it arrived. Whether it counts for streaks and
    participation, the pauses of today decide: see `rules.counting`."""
    points_awarded: int = column(int)
    reason_code: str = column(str)
    """Why this many points, or none."""
    decision_note: str | None = column(str, Holds.FREE_TEXT, null=True)
    """What somebody who reviewed it says to the member."""
    request_id: UUID = column(UUID)
    acted_by: UUID = column(UUID)
    """The member, or the guardian who acted."""


class ParticipationMonth(SQLModel, table=True):
    """What share of the tasks due in a month was done. Paused tasks, and those without
    consent, are not due. Late check-ins restate a closed month: `changed_at` moves."""

    __tablename__ = "participation_months"
    __table_args__ = (
        CheckConstraint("done between 0 and due", name="done_of_due"),
        CheckConstraint("extract(day from month) = 1", name="month_is_first_day"),
        Index("participation_months_changed", "changed_at"),
        Index("participation_months_due", "closes_at", postgresql_where="closed_at is null"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    month: date = column(date, key=True)
    """First day of the month."""
    due: int = column(int)
    done: int = column(int, Holds.HEALTH)
    percent: Decimal | None = column(Decimal, Holds.HEALTH, null=True)
    """Of `due`, to three decimals, rounded half up; null when nothing was due."""
    paused: int = column(int)
    """How many tasks were left out because the member was paused."""
    silent: int = column(int, default=0, older_rows="0")
    """Because the device that shows them was silent."""
    refused: int = column(int, default=0, older_rows="0")
    """Because the consent was refused."""
    withdrawn: int = column(int, default=0, older_rows="0")
    closes_at: datetime = column(datetime)
    closed_at: datetime | None = column(datetime, null=True)
    changed_at: datetime = column(datetime)


class ParticipationRestatement(SQLModel, table=True):
    """What a closed month was before it was restated: whoever decided before `changed_at` of
    what is there now knew the newest of these. Append-only."""

    __tablename__ = "participation_restatements"
    __table_args__ = (
        ForeignKeyConstraint(
            ["member_id", "month"],
            ["participation_months.member_id", "participation_months.month"],
        ),
    )

    member_id: UUID = column(UUID, key=True)
    month: date = column(date, key=True)
    changed_at: datetime = column(datetime, key=True)
    """Of what is kept here: it was known from then on."""
    due: int = column(int)
    done: int = column(int, Holds.HEALTH)
    percent: Decimal | None = column(Decimal, Holds.HEALTH, null=True)
    paused: int = column(int)
    silent: int = column(int)
    refused: int = column(int)
    withdrawn: int = column(int)
