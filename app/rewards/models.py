"""The catalogue, what became of redemptions, voucher codes, and benefits for the premium."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Numeric, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.columns import Holds, column
from app.rewards.rules import BENEFITS, RedemptionState, RewardEventKind


def _one_of(name: str, values: type[StrEnum] | frozenset[Any]) -> str:
    return f"{name} in ({', '.join(sorted(repr(value.value) for value in values))})"


class Reward(SQLModel, table=True):
    """What points can buy. Many members want it at once: whoever changes it, or the redemption
    of one, locks this row before any wallet."""

    __tablename__ = "rewards"
    __table_args__ = (
        UniqueConstraint("code"),
        CheckConstraint("version > 0 and events > 0", name="counters_positive"),
        CheckConstraint("stock >= 0", name="stock_not_negative"),
    )

    id: UUID = column(UUID, key=True)
    code: str = column(str)
    version: int = column(int)
    """In force."""
    stock: int | None = column(int, null=True)
    """How many are left. Null is unlimited, and stays so: with it, redemptions of one reward
    need not wait for each other."""
    events: int = column(int, default=1)
    """How many there are: the place of the newest."""


class RewardVersion(SQLModel, table=True):
    """The terms of a reward; never changed once published."""

    __tablename__ = "reward_versions"
    __table_args__ = (
        CheckConstraint("version > 0", name="version_positive"),
        CheckConstraint("price > 0", name="price_positive"),
    )

    reward_id: UUID = column(UUID, key=True, foreign_key="rewards.id")
    version: int = column(int, key=True, sa_column_kwargs={"autoincrement": False})
    hash: bytes = column(bytes)
    price: int = column(int)
    """In points; the definition says the same."""
    visible_from: datetime | None = column(datetime, null=True)
    visible_to: datetime | None = column(datetime, null=True)
    definition: dict[str, Any] = column(dict)
    """`terms.Terms`."""


class RewardEvent(SQLModel, table=True):
    """Who changed the catalogue. Append-only."""

    __tablename__ = "reward_events"
    __table_args__ = (CheckConstraint(_one_of("kind", RewardEventKind), name="kind_known"),)

    reward_id: UUID = column(UUID, key=True, foreign_key="rewards.id")
    place: int = column(int, key=True, sa_column_kwargs={"autoincrement": False})
    """1 for the first of its reward, which is locked while one is added."""
    kind: str = column(str)
    staff_id: UUID | None = column(UUID, null=True)
    """Who did it; null when it came from a data file or the command line."""
    version: int = column(int)
    """In force from then on."""
    stock_change: int = column(int, default=0)
    at: datetime = column(datetime)


class Redemption(SQLModel, table=True):
    """Points for a reward: reserved, then fulfilled, cancelled or expired, once; what was
    fulfilled may be reversed, once. Its points are held under its own id."""

    __tablename__ = "redemptions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["reward_id", "reward_version"],
            ["reward_versions.reward_id", "reward_versions.version"],
        ),
        CheckConstraint(_one_of("state", RedemptionState), name="state_known"),
        CheckConstraint("points > 0", name="points_positive"),
        CheckConstraint("(state = 'RESERVED') = (ended_at is null)", name="ended_once"),
        CheckConstraint(
            "num_nulls(code_id, code_key_id, code_sealed) in (0, 3)"
            " and (code_id is null or state in ('FULFILLED', 'REVERSED'))",
            name="code_when_fulfilled",
        ),
        CheckConstraint(
            "num_nulls(reversed_at, reversed_by, reversal_reason)"
            " = case state when 'REVERSED' then 0 else 3 end",
            name="reversed_whole",
        ),
        # How many of a reward a member has.
        Index("redemptions_of_reward", "member_id", "reward_id"),
        # For the clock: whose time is over.
        Index("redemptions_to_expire", "expires_at", postgresql_where="state = 'RESERVED'"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    reward_id: UUID = column(UUID)
    reward_version: int = column(int)
    """The terms that it was redeemed under."""
    points: int = column(int)
    state: str = column(str)
    reserved_at: datetime = column(datetime)
    expires_at: datetime = column(datetime)
    """From then on the clock gives points and stock back."""
    ended_at: datetime | None = column(datetime, null=True)
    """When it was fulfilled, cancelled or expired."""
    staff_id: UUID | None = column(UUID, null=True)
    """Who fulfilled or cancelled it; null when the member or the programme did."""
    note: str | None = column(str, Holds.FREE_TEXT, null=True)
    """Theirs, for the member to read."""
    code_id: UUID | None = column(UUID, null=True)
    code_key_id: str | None = column(str, null=True)
    code_sealed: bytes | None = column(bytes, Holds.SECRET, null=True)
    """The voucher code, as it stood in `voucher_codes`. It stays when the redemption is reversed:
    the member may have seen it, so nobody else gets it."""
    reversed_at: datetime | None = column(datetime, null=True)
    reversed_by: UUID | None = column(UUID, null=True)
    reversal_reason: str | None = column(str, Holds.FREE_TEXT, null=True)
    """For the member to read."""


class VoucherCode(SQLModel, table=True):
    """A code that a partner gave us, and the member who got it. Given to one redemption only."""

    __tablename__ = "voucher_codes"
    __table_args__ = (
        UniqueConstraint("id"),
        CheckConstraint(
            "num_nulls(member_id, redemption_id, given_at) in (0, 3)", name="given_whole"
        ),
        Index("voucher_codes_left", "reward_id", "id", postgresql_where="redemption_id is null"),
        Index(
            "voucher_codes_of_redemption",
            "redemption_id",
            unique=True,
            postgresql_where="redemption_id is not null",
        ),
        Index("voucher_codes_of_member", "member_id", postgresql_where="member_id is not null"),
    )

    fingerprint: bytes = column(bytes, key=True)
    """Keyed hash: the same code cannot come in twice, and nobody without the key can try."""
    id: UUID = column(UUID)
    reward_id: UUID = column(UUID, foreign_key="rewards.id")
    key_id: str = column(str)
    """Of the key that seals it."""
    sealed: bytes = column(bytes, Holds.SECRET)
    imported_at: datetime = column(datetime)
    member_id: UUID | None = column(UUID, null=True)
    redemption_id: UUID | None = column(UUID, null=True)
    given_at: datetime | None = column(datetime, null=True)


class PendingBenefit(SQLModel, table=True):
    """Cover or premium credit that points bought, for the premium engine to apply."""

    __tablename__ = "pending_benefits"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "id"], ["redemptions.member_id", "redemptions.id"]),
        CheckConstraint(_one_of("kind", BENEFITS), name="kind_known"),
        CheckConstraint(
            "case kind when 'COVER_UPLIFT' then percent > 0 and amount is null and currency is null"
            " else percent is null and amount > 0 and currency ~ '^[A-Z]{3}$' end",
            name="worth_of_kind",
        ),
        Index("pending_benefits_granted", "granted_at"),
        Index("pending_benefits_open", "member_id", postgresql_where="applied_at is null"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    """Of the redemption."""
    kind: str = column(str)
    percent: Decimal | None = Field(
        default=None,
        sa_type=Numeric(5, 2),
        nullable=True,
        sa_column_kwargs={"info": {"class": Holds.NONE}},
    )
    """Of cover, added to it."""
    amount: int | None = column(int, big=True, null=True)
    """Of the next premium, in minor units of `currency`."""
    currency: str | None = column(str, null=True)
    granted_at: datetime = column(datetime)
    applied_at: datetime | None = column(datetime, null=True)
