"""What is to be paid for a term, what was paid, and what is given back."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint
from sqlmodel import SQLModel

from app.columns import column


class Invoice(SQLModel, table=True):
    """One instalment of a term's premium. All of a term are made when it begins, so that they
    sum to it; each is issued when its time comes."""

    __tablename__ = "invoices"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "policy_id"], ["policies.member_id", "policies.id"]),
        UniqueConstraint("member_id", "policy_id", "term_starts_on", "part"),
        CheckConstraint(
            "state in ('SCHEDULED', 'ISSUED', 'PAID', 'SUSPENDED', 'VOID')", name="state_known"
        ),
        CheckConstraint("amount >= 0", name="amount_not_negative"),
        CheckConstraint("covers_from <= covers_to", name="period_ordered"),
        CheckConstraint("part between 1 and parts", name="part_of_parts"),
        CheckConstraint("(state = 'PAID') = (paid_at is not null)", name="paid_whole"),
        CheckConstraint("state <> 'ISSUED' or due_at is not null", name="issued_whole"),
        Index("invoices_to_issue", "issues_at", postgresql_where="state = 'SCHEDULED'"),
        Index("invoices_to_dun", "dun_at", postgresql_where="state = 'ISSUED'"),
        Index("invoices_of_member", "member_id", "issues_at", "id"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID)
    term_starts_on: date = column(date)
    part: int = column(int)
    parts: int = column(int)
    covers_from: date = column(date)
    covers_to: date = column(date)
    """Last day that it pays for."""
    amount: int = column(int, big=True)
    """Minor units of `currency`; less than planned when the cover ended before it was paid."""
    currency: str = column(str)
    payer: str = column(str)
    state: str = column(str)
    issues_at: datetime = column(datetime)
    due_at: datetime | None = column(datetime, null=True)
    """The local midnight after its last day; null until it is issued."""
    dun_at: datetime | None = column(datetime, null=True)
    """When the clock looks at it next; null when no more reminder comes."""
    reminders: int = column(int, default=0)
    failures: int = column(int, default=0)
    paid_at: datetime | None = column(datetime, null=True)


class Payment(SQLModel, table=True):
    """What a provider or an employee has told about an invoice. Append-only."""

    __tablename__ = "payments"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "invoice_id"], ["invoices.member_id", "invoices.id"]),
        UniqueConstraint("member_id", "provider", "reference"),
        CheckConstraint("outcome in ('PAID', 'FAILED', 'UNMATCHED')", name="outcome_known"),
        CheckConstraint("(outcome = 'FAILED') = (failure is not null)", name="failure_whole"),
        Index("payments_of_invoice", "member_id", "invoice_id"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    invoice_id: UUID = column(UUID)
    provider: str = column(str)
    reference: str = column(str)
    """The provider's own, the same whenever it tells the same."""
    outcome: str = column(str)
    """UNMATCHED: money came that the invoice did not ask for; an employee sees to it."""
    amount: int = column(int, big=True)
    currency: str = column(str)
    failure: str | None = column(str, null=True)
    """A code: INSUFFICIENT_FUNDS, EXPIRED, REFUSED ..."""
    recorded_by: UUID | None = column(UUID, null=True)
    """The employee; null for a provider."""
    happened_at: datetime = column(datetime)
    recorded_at: datetime = column(datetime)


class Refund(SQLModel, table=True):
    """What is given back of an invoice that was paid."""

    __tablename__ = "refunds"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "invoice_id"], ["invoices.member_id", "invoices.id"]),
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint("(paid_at is null) = (reference is null)", name="paid_whole"),
        Index("refunds_of_invoice", "member_id", "invoice_id"),
        Index("refunds_open", "owed_at", postgresql_where="paid_at is null"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    invoice_id: UUID = column(UUID)
    amount: int = column(int, big=True)
    currency: str = column(str)
    owed_at: datetime = column(datetime)
    paid_at: datetime | None = column(datetime, null=True)
    reference: str | None = column(str, null=True)
    recorded_by: UUID | None = column(UUID, null=True)
