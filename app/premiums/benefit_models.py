"""Cases of the mild-condition benefit with their costs, cover uplifts and complication covers."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Numeric, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.columns import Holds, column
from app.premiums.benefit_rules import (
    CaseState,
    ClosedBecause,
    CostFault,
    CoverDecision,
    CoverReason,
    MovementKind,
    UpliftSource,
)
from app.premiums.benefit_terms import MildConditionKind
from app.premiums.facts import MildChoice

_POLICY = ["policies.member_id", "policies.id"]
_CASE = ["mild_condition_cases.member_id", "mild_condition_cases.id"]


def _one_of(name: str, values: type[StrEnum]) -> str:
    return f"{name} in ({', '.join(repr(value.value) for value in values)})"


class MildConditionCase(SQLModel, table=True):
    """Who had a mild condition (COV-1), and how much of their drugs is paid (COV-2): the
    accumulator. Whoever moves its costs locks it."""

    __tablename__ = "mild_condition_cases"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "policy_id"], _POLICY),
        CheckConstraint(_one_of("condition", MildConditionKind), name="condition_known"),
        CheckConstraint(_one_of("state", CaseState), name="state_known"),
        CheckConstraint(_one_of("closed_reason", ClosedBecause), name="closed_reason_known"),
        CheckConstraint("(closed_at is null) = (closed_reason is null)", name="closed_with_reason"),
        CheckConstraint("(state = 'OPEN') <= (closed_at is null)", name="open_until_closed"),
        CheckConstraint("used between 0 and limit_amount", name="used_within_limit"),
        CheckConstraint("state <> 'NOT_COVERED' or used = 0", name="not_covered_unpaid"),
        # Once per member and condition while it lasts.
        Index(
            "mild_condition_cases_open",
            "member_id",
            "condition",
            unique=True,
            postgresql_where="closed_at is null",
        ),
        Index("mild_condition_cases_due", "closes_at", postgresql_where="closed_at is null"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID)
    product_version_id: UUID = column(UUID, foreign_key="product_versions.id")
    """The terms that it was opened under."""
    condition: str = column(str, Holds.HEALTH)
    clinical_class: str = column(str, Holds.HEALTH)
    """What the guideline calls it, whatever the product does."""
    diabetes_range: bool = column(bool, Holds.HEALTH)
    readings: list[str] = column(list)
    """Ids of the measurements that triggered it."""
    triggered_on: date = column(date)
    """Local day of the newest of them."""
    closes_on: date = column(date)
    """Last day."""
    closes_at: datetime = column(datetime)
    """The local midnight after it, as an instant."""
    state: str = column(str)
    opened_at: datetime = column(datetime)
    closed_at: datetime | None = column(datetime, null=True)
    closed_reason: str | None = column(str, null=True)
    share_percent: Decimal = Field(
        sa_type=Numeric(5, 2), sa_column_kwargs={"info": {"class": Holds.NONE}}
    )
    limit_amount: int = column(int, big=True)
    """In minor units of `currency`, as everything here."""
    used: int = column(int, big=True, default=0)
    """The sum of its movements."""
    currency: str = column(str)


class MildConditionChoice(SQLModel, table=True):
    """What an improvement shall bring (PRM-5). Append-only: the newest counts; without one it
    is the premium."""

    __tablename__ = "mild_condition_choices"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "case_id"], _CASE),
        CheckConstraint(_one_of("choice", MildChoice), name="choice_known"),
    )

    member_id: UUID = column(UUID, key=True)
    case_id: UUID = column(UUID, key=True)
    place: int = column(int, key=True, sa_column_kwargs={"autoincrement": False})
    """1 for the first of its case, which is locked while one is added."""
    choice: str = column(str)
    chosen_at: datetime = column(datetime)
    chosen_by: UUID = column(UUID)
    """The member, or the guardian who acted."""


class BenefitCost(SQLModel, table=True):
    """What a member paid for a drug, and what is paid of it now."""

    __tablename__ = "benefit_costs"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "case_id"], _CASE),
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint("paid between 0 and amount", name="paid_within_amount"),
        CheckConstraint(_one_of("fault", CostFault), name="fault_known"),
        CheckConstraint(
            "(fault is null and reversed_at is null) or paid = 0", name="paid_when_it_counts"
        ),
        CheckConstraint(
            "num_nulls(reversed_at, reversed_by, reversal_reason) in (0, 3)", name="reversed_whole"
        ),
        UniqueConstraint("member_id", "case_id", "place"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    case_id: UUID = column(UUID)
    place: int = column(int)
    """1 for the first of its case, which is locked while one is added: the order in which they
    are paid."""
    drug: str = column(str, Holds.HEALTH)
    """ATC code."""
    bought_on: date = column(date)
    amount: int = column(int, big=True)
    """In minor units of the case's currency."""
    fault: str | None = column(str, null=True)
    """Why it does not count; null when it does."""
    paid: int = column(int, big=True)
    """The sum of its movements."""
    note: str | None = column(str, Holds.FREE_TEXT, null=True)
    recorded_at: datetime = column(datetime)
    recorded_by: UUID = column(UUID)
    reversed_at: datetime | None = column(datetime, null=True)
    reversed_by: UUID | None = column(UUID, null=True)
    reversal_reason: str | None = column(str, Holds.FREE_TEXT, null=True)
    """For the member to read."""


class BenefitMovement(SQLModel, table=True):
    """A change of what is paid of a cost. Append-only."""

    __tablename__ = "benefit_movements"
    __table_args__ = (
        ForeignKeyConstraint(
            ["member_id", "cost_id"], ["benefit_costs.member_id", "benefit_costs.id"]
        ),
        CheckConstraint("amount <> 0", name="amount_moves"),
        CheckConstraint(_one_of("kind", MovementKind), name="kind_known"),
        Index("benefit_movements_of_cost", "member_id", "cost_id"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    cost_id: UUID = column(UUID)
    kind: str = column(str)
    amount: int = column(int, big=True)
    """Signed, in minor units."""
    at: datetime = column(datetime)
    staff_id: UUID = column(UUID)


class CoverUplift(SQLModel, table=True):
    """A percentage that is added to sums insured for some days."""

    __tablename__ = "cover_uplifts"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "policy_id"], _POLICY),
        UniqueConstraint("member_id", "policy_id", "source", "source_key"),
        CheckConstraint(_one_of("source", UpliftSource), name="source_known"),
        CheckConstraint("starts_on <= ends_on", name="period_ordered"),
        CheckConstraint("percent > 0", name="percent_positive"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID)
    source: str = column(str)
    source_key: str = column(str)
    """Id of the redemption, or the first day of the term: one cause lifts once."""
    percent: Decimal = Field(
        sa_type=Numeric(5, 2), sa_column_kwargs={"info": {"class": Holds.NONE}}
    )
    starts_on: date = column(date)
    ends_on: date = column(date)
    """Last day."""
    created_at: datetime = column(datetime)


class ComplicationDecision(SQLModel, table=True):
    """Whether a long-term good member has a complication cover (COV-4), as decided once a
    month while they have it not. Append-only."""

    __tablename__ = "complication_decisions"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "policy_id"], _POLICY),
        CheckConstraint(_one_of("decision", CoverDecision), name="decision_known"),
        CheckConstraint(_one_of("reason", CoverReason), name="reason_known"),
        CheckConstraint(
            "(decision = 'GRANTED') = (ends_on is not null) and starts_on <= ends_on",
            name="granted_with_days",
        ),
    )

    member_id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID, key=True)
    code: str = column(str, key=True)
    """Of the product's complication cover."""
    starts_on: date = column(date, key=True)
    """The local day of the decision, and the first one of a granted cover."""
    ends_on: date | None = column(date, null=True)
    """Last day of a granted cover: that of the term."""
    decision: str = column(str)
    reason: str = column(str, Holds.HEALTH)
    insured_months: int = column(int)
    good_months: int = column(int, Holds.HEALTH)
    counted_months: int = column(int, Holds.HEALTH)
    decided_at: datetime = column(datetime)


class BenefitCheck(SQLModel, table=True):
    """When the clock decides about a policy's complication covers next."""

    __tablename__ = "benefit_checks"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "policy_id"], _POLICY),
        Index("benefit_checks_due", "due_at"),
    )

    member_id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID, key=True)
    due_at: datetime = column(datetime)
