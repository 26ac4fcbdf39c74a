"""What is to be paid for a term, what was paid, and what is given back."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint
from sqlmodel import SQLModel

from app.columns import column

_OUTCOMES = "outcome in ('PAID', 'FAILED', 'UNMATCHED', 'REFUNDED', 'REFUND_FAILED')"


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
        CheckConstraint(
            "(cheaper_by is null) = (cheaper_from is null) and coalesce(cheaper_by, 1) > 0",
            name="cheaper_whole",
        ),
        CheckConstraint("covers_from <= covers_to", name="period_ordered"),
        CheckConstraint("part between 1 and parts", name="part_of_parts"),
        CheckConstraint("(state = 'PAID') = (paid_at is not null)", name="paid_whole"),
        CheckConstraint("state <> 'ISSUED' or due_at is not null", name="issued_whole"),
        Index("invoices_to_issue", "issues_at", postgresql_where="state = 'SCHEDULED'"),
        Index("invoices_to_dun", "dun_at", postgresql_where="state = 'ISSUED'"),
        Index("invoices_of_member", "member_id", "issues_at", "id"),
        Index("invoices_to_ask", "asks_at", postgresql_where="asks_at is not null"),
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
    cheaper_by: int | None = column(int, big=True, null=True)
    """What its days from `cheaper_from` on cost less since the premium fell during the term: no
    longer in the amount, or given back when it was paid."""
    cheaper_from: date | None = column(date, null=True)
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
    asks_at: datetime | None = column(datetime, null=True)
    """Since when the provider may have to be told something else; null when it was looked at."""


class Payment(SQLModel, table=True):
    """What a provider or an employee has told about an invoice. Append-only."""

    __tablename__ = "payments"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "invoice_id"], ["invoices.member_id", "invoices.id"]),
        UniqueConstraint("member_id", "provider", "reference"),
        CheckConstraint(_OUTCOMES, name="outcome_known"),
        CheckConstraint(
            "(outcome in ('FAILED', 'REFUND_FAILED')) = (failure is not null)",
            name="failure_whole",
        ),
        CheckConstraint(
            "(outcome in ('REFUNDED', 'REFUND_FAILED')) = (refund_id is not null)",
            name="refund_whole",
        ),
        Index("payments_of_invoice", "member_id", "invoice_id"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    invoice_id: UUID = column(UUID)
    refund_id: UUID | None = column(UUID, null=True)
    """Of the invoice, when that is what it tells about."""
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
        Index("refunds_to_ask", "asks_at", postgresql_where="asks_at is not null"),
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
    failures: int = column(int, default=0, older_rows="0")
    """How often the provider could not pay it back."""
    asks_at: datetime | None = column(datetime, null=True)
    """As an invoice's."""


class PaymentOrder(SQLModel, table=True):
    """What the provider is to be told about an invoice or a refund, and how that went. Of one
    subject they are told one after the other."""

    __tablename__ = "payment_orders"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "invoice_id"], ["invoices.member_id", "invoices.id"]),
        UniqueConstraint("member_id", "subject_id", "number"),
        CheckConstraint("kind in ('COLLECT', 'STOP', 'REFUND')", name="kind_known"),
        CheckConstraint("state in ('WAITING', 'TOLD', 'REFUSED', 'DROPPED')", name="state_known"),
        CheckConstraint("(kind = 'REFUND') = (subject_id <> invoice_id)", name="subject_whole"),
        CheckConstraint("number > 0", name="number_positive"),
        CheckConstraint(
            "(state = 'WAITING') = (next_at is not null)"
            " and (state = 'WAITING') = (ended_at is null)",
            name="waiting_whole",
        ),
        Index("payment_orders_due", "next_at", postgresql_where="state = 'WAITING'"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    invoice_id: UUID = column(UUID)
    subject_id: UUID = column(UUID)
    """The invoice, or its refund."""
    number: int = column(int)
    """From 1 for each subject."""
    kind: str = column(str)
    amount: int = column(int, big=True)
    """Minor units; of STOP what is not to be collected any more."""
    currency: str = column(str)
    payer: str = column(str)
    due_at: datetime | None = column(datetime, null=True)
    state: str = column(str)
    """DROPPED: it was not needed any more before it was told."""
    attempts: int = column(int, default=0)
    next_at: datetime | None = column(datetime, null=True)
    """When it is tried next: while somebody tries, when that is taken for lost."""
    lease: UUID | None = column(UUID, null=True)
    """Of who tries now."""
    provider: str = column(str)
    code: str | None = column(str, null=True)
    """The last word of the provider, or ours when none came."""
    made_at: datetime = column(datetime)
    ended_at: datetime | None = column(datetime, null=True)
