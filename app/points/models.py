"""Transfers, wallets and lots; and the hash chain in SQL, for jobs that work on whole sets."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    text,
)
from sqlmodel import SQLModel

from app.columns import column
from app.points.rules import ROUTES, Balances, CauseKind, Decision, HoldState
from app.row_rules import RowRules


def _one_of(values: type[CauseKind] | type[Decision] | type[HoldState]) -> str:
    return ", ".join(f"'{value}'" for value in values)


_ROUTES = ", ".join(
    f"'{kind} {debit} {credit}'"
    for kind, routes in ROUTES.items()
    for debit, credit in sorted(routes)
)


ROUTE_ALLOWED = f"kind || ' ' || debit || ' ' || credit in ({_ROUTES})"
WALLET_RULES = RowRules(
    "wallets",
    {
        **dict.fromkeys(Balances._fields, "bigint"),
        "seq": "bigint",
        "head": "bytea",
        "rooted_seq": "bigint",
    },
    {
        "balances_not_negative": f"least({', '.join(Balances._fields)}) >= 0",
        "rooted_seq_in_range": "rooted_seq between 0 and seq",
        "head_follows_seq": "(seq = 0) = (head = '')",
    },
)
TRANSFER_RULES = RowRules(
    "points_transfers",
    {
        **dict.fromkeys(("seq", "amount", "balance_after"), "bigint"),
        **dict.fromkeys(("kind", "debit", "credit", "cause_kind"), "text"),
        "cause_id": "uuid",
        "expires_on": "date",
        "hash": "bytea",
    },
    {
        "seq_positive": "seq > 0",
        "amount_positive": "amount > 0",
        "balance_not_negative": "balance_after >= 0",
        "accounts_differ": "debit <> credit",
        "route_allowed": ROUTE_ALLOWED,
        "cause_kind_known": f"cause_kind is null or cause_kind in ({_one_of(CauseKind)})",
        "cause_complete": "(cause_kind is null) = (cause_id is null)",
        "expires_when_earned": "case when credit not in ('pending', 'available')"
        " then expires_on is null when debit = 'issued' then expires_on is not null"
        " else true end",
        "hash_is_sha256": "octet_length(hash) = 32",
    },
)
_PARTS = ("remaining", "pending", "held", "used", "expired", "reversed")
LOT_RULES = RowRules(
    "points_lots",
    dict.fromkeys((*_PARTS, "amount"), "bigint"),
    {"parts_within_amount": f"least({', '.join(_PARTS)}) >= 0 and {' + '.join(_PARTS)} <= amount"},
)


class Wallet(SQLModel, table=True):
    """A member's balances, in whole points. A projection of the transfers, written by the
    same statement; whoever writes it raises `version` and does so only from the version
    that was read."""

    __tablename__ = "wallets"
    __table_args__ = (
        WALLET_RULES.check,
        # Written by each check-in: on its own page that takes no index entries.
        {"postgresql_with": {"fillfactor": 80}},
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    pending: int = column(int, big=True, default=0)
    available: int = column(int, big=True, default=0)
    held: int = column(int, big=True, default=0)
    owed: int = column(int, big=True, default=0)
    earned_total: int = column(int, big=True, default=0)
    """What was ever issued and confirmed, less what was reversed."""
    spent: int = column(int, big=True, default=0, older_rows="0")
    """Less what was given back."""
    expired: int = column(int, big=True, default=0, older_rows="0")
    version: int = column(int, big=True, default=0)
    seq: int = column(int, big=True, default=0)
    """Of the newest transfer; 0 when there is none."""
    head: bytes = column(bytes, default=b"")
    """The newest transfer's hash."""
    rooted_seq: int = column(int, big=True, default=0)
    """The newest `seq` that a root outside the database bears witness to."""
    tally: str | None = column(str, null=True)
    """What counts towards caps, of the transfers up to `tally_seq`: a `tally.Tally`, written."""
    tally_seq: int = column(int, big=True, default=0, older_rows="0")


class PointsTransfer(SQLModel, table=True):
    """Moves points from one account to another. Append-only: a correction is another
    transfer. Both sides live in one row, so no row can be unbalanced."""

    __tablename__ = "points_transfers"
    __table_args__ = (
        ForeignKeyConstraint(["member_id"], ["wallets.member_id"]),
        ForeignKeyConstraint(
            ["member_id", "corrects"], ["points_transfers.member_id", "points_transfers.id"]
        ),
        UniqueConstraint("member_id", "id"),
        UniqueConstraint("member_id", "cause_key"),
        TRANSFER_RULES.check,
        # What was earned in a day or month, for caps.
        Index("points_transfers_of_day", "member_id", "local_date"),
        Index(
            "points_transfers_correcting",
            "member_id",
            "corrects",
            postgresql_where="corrects is not null",
        ),
    )

    member_id: UUID = column(UUID, key=True)
    seq: int = column(int, key=True, big=True, sa_column_kwargs={"autoincrement": False})
    """From 1, without a gap."""
    id: UUID = column(UUID)
    chain_version: int = column(int)
    """How `hash` is computed."""
    kind: str = column(str)
    debit: str = column(str)
    credit: str = column(str)
    amount: int = column(int, big=True)
    balance_after: int = column(int, big=True)
    """Available + pending."""
    cause_kind: str | None = column(str, null=True)
    cause_id: UUID | None = column(UUID, null=True)
    """Null when it has no cause of its own, as an expiry."""
    cause_key: str = column(str)
    """Ids, days and numbers only, the revision last: `<assignment>:<starts_on>:0`. One cause
    counts once, whatever request brings it."""
    rule_version: UUID | None = column(UUID, null=True)
    """The product version whose rule decided."""
    rule_code: str | None = column(str, null=True)
    """The rule or template; its title is the entry's."""
    corrects: UUID | None = column(UUID, null=True)
    """The earlier transfer that it confirms, takes back or restates."""
    local_date: date = column(date)
    """Of the cause, in the member's calendar."""
    posted_at: datetime = column(datetime)
    expires_on: date | None = column(date, null=True)
    """Last local day on which the points can be spent; there is a lot when it is set."""
    hash: bytes = column(bytes)


class PointsDecision(SQLModel, table=True):
    """A decision about an earning of which nothing was left to move, so that no transfer bears
    witness to it. Append-only."""

    __tablename__ = "points_decisions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["member_id", "earning_id"], ["points_transfers.member_id", "points_transfers.id"]
        ),
        CheckConstraint(f"decision in ({_one_of(Decision)})", name="decision_known"),
    )

    member_id: UUID = column(UUID, key=True)
    earning_id: UUID = column(UUID, key=True)
    """Its first transfer."""
    decision: str = column(str, key=True)
    decided_at: datetime = column(datetime)


class PointsLot(SQLModel, table=True):
    """What became of one earning; spending takes the oldest first. Its parts sum up to its
    amount, and over all lots to the wallet's balances. A projection of the transfers, as
    `book.py` follows them."""

    __tablename__ = "points_lots"
    __table_args__ = (
        ForeignKeyConstraint(
            ["member_id", "id"], ["points_transfers.member_id", "points_transfers.id"]
        ),
        LOT_RULES.check,
        Index(
            "points_lots_oldest_first",
            "member_id",
            "expires_on",
            "earned_seq",
            postgresql_where="remaining > 0",
        ),
        Index("points_lots_of_origin", "member_id", text("coalesce(origin_id, id)")),
        # For the clock: whose days are over, and who is to be told of it.
        Index("points_lots_due", "expires_at", postgresql_where="remaining > 0"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    """Of the transfer that gave it."""
    origin_id: UUID | None = column(UUID, null=True)
    """The earning that the points come from: itself, or what it restates, or whose lot had
    ended when the points came back. Null for itself in lots of the release before this column:
    read `coalesce(origin_id, id)`."""
    earned_seq: int = column(int, big=True)
    is_grace: bool = column(bool, older_rows="false")
    """Given in place of a lot that had ended."""
    expires_on: date = column(date)
    """Last local day."""
    expires_at: datetime = column(datetime)
    """The local midnight after it, as an instant."""
    amount: int = column(int, big=True)
    remaining: int = column(int, big=True)
    """The part that is available."""
    pending: int = column(int, big=True, default=0)
    held: int = column(int, big=True, default=0)
    used: int = column(int, big=True, default=0, older_rows="0")
    """Redeemed, or paid a debt, or given anew as another lot."""
    expired: int = column(int, big=True, default=0, older_rows="0")
    reversed: int = column(int, big=True, default=0, older_rows="0")


class PointsHold(SQLModel, table=True):
    """Points reserved for a redemption: captured as a whole or in part, released or timed out,
    once. Points spent at once are a hold that was captured when it was made."""

    __tablename__ = "points_holds"
    __table_args__ = (
        ForeignKeyConstraint(
            ["member_id", "id"], ["points_transfers.member_id", "points_transfers.id"]
        ),
        CheckConstraint(f"state in ({_one_of(HoldState)})", name="state_known"),
        CheckConstraint(
            "amount > 0 and least(captured, released) >= 0 and case state"
            " when 'HELD' then captured + released = 0"
            " when 'CAPTURED' then captured > 0 and captured + released = amount"
            " else captured = 0 and released = amount end",
            name="amounts_follow_state",
        ),
        CheckConstraint("(state = 'HELD') = (resolved_at is null)", name="resolved_once"),
        CheckConstraint("(captured > 0) = (capture_id is not null)", name="captured_by_transfer"),
        Index("points_holds_due", "expires_at", postgresql_where="state = 'HELD'"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    """Of the transfer that took the points."""
    amount: int = column(int, big=True)
    captured: int = column(int, big=True, default=0)
    released: int = column(int, big=True, default=0)
    """Given back, or expired meanwhile, or paid a debt."""
    state: str = column(str)
    capture_id: UUID | None = column(UUID, null=True)
    """The transfer that redeemed them."""
    expires_at: datetime = column(datetime)
    """From then on the clock releases it."""
    created_at: datetime = column(datetime)
    resolved_at: datetime | None = column(datetime, null=True)


class PointsHoldLot(SQLModel, table=True):
    """From which lots a hold took its points, so that each gets its own back."""

    __tablename__ = "points_hold_lots"
    __table_args__ = (
        ForeignKeyConstraint(
            ["member_id", "hold_id"], ["points_holds.member_id", "points_holds.id"]
        ),
        ForeignKeyConstraint(["member_id", "lot_id"], ["points_lots.member_id", "points_lots.id"]),
        CheckConstraint(
            "amount > 0 and least(captured, released, returned) >= 0"
            " and captured + released <= amount and returned <= captured",
            name="parts_within_amount",
        ),
    )

    member_id: UUID = column(UUID, key=True)
    hold_id: UUID = column(UUID, key=True)
    lot_id: UUID = column(UUID, key=True)
    amount: int = column(int, big=True)
    captured: int = column(int, big=True, default=0)
    released: int = column(int, big=True, default=0)
    returned: int = column(int, big=True, default=0)
    """Of what was captured, given back by a reversal."""


class PointsExpiryNotice(SQLModel, table=True):
    """What was announced to expire: a fact that the nudges tell the member. When more comes
    to expire with it, it is announced anew as the next revision. What was announced too late
    expires later."""

    __tablename__ = "points_expiry_notices"
    __table_args__ = (
        ForeignKeyConstraint(["member_id"], ["wallets.member_id"]),
        CheckConstraint("amount > 0 and days_before > 0 and revision >= 0", name="in_range"),
        CheckConstraint(
            "(ends_on is null) = (ends_at is null) and (ends_on is null or ends_on >= expires_on)",
            name="ends_later",
        ),
        Index("points_expiry_notices_announced", "announced_at"),
    )

    member_id: UUID = column(UUID, key=True)
    expires_on: date = column(date, key=True)
    """Last local day."""
    days_before: int = column(int, key=True)
    amount: int = column(int, big=True)
    revision: int = column(int)
    announced_at: datetime = column(datetime)
    ends_on: date | None = column(date, null=True)
    """The last local day instead of `expires_on`, when it was announced late."""
    ends_at: datetime | None = column(datetime, null=True)
    """The local midnight after it, as an instant."""


TRANSFER_HASH_SQL = """
create or replace function wellward_transfer_hash(
  previous bytea, chain_version bigint, member_id uuid, seq bigint, id uuid, kind text,
  debit text, credit text, amount bigint, balance_after bigint, cause_kind text, cause_id uuid,
  cause_key text, rule_version uuid, rule_code text, corrects uuid, local_date date,
  posted_at timestamptz, expires_on date) returns bytea
language sql immutable parallel safe
return sha256(
  wellward_chain_field(previous)
  || wellward_chain_field(int8send(chain_version))
  || wellward_chain_field(uuid_send(member_id))
  || wellward_chain_field(int8send(seq))
  || wellward_chain_field(uuid_send(id))
  || wellward_chain_field(int8send(amount))
  || wellward_chain_field(int8send(balance_after))
  || wellward_chain_field(int8send((local_date - date '1970-01-01')::bigint))
  || wellward_chain_field(int8send(
       (extract(epoch from posted_at - timestamptz '1970-01-01 00:00:00+00') * 1000000)::bigint))
  || wellward_chain_field(int8send((expires_on - date '1970-01-01')::bigint))
  || wellward_chain_field(uuid_send(cause_id))
  || wellward_chain_field(uuid_send(rule_version))
  || wellward_chain_field(uuid_send(corrects))
  || wellward_chain_field(convert_to(kind, 'UTF8'))
  || wellward_chain_field(convert_to(debit, 'UTF8'))
  || wellward_chain_field(convert_to(credit, 'UTF8'))
  || wellward_chain_field(convert_to(cause_kind, 'UTF8'))
  || wellward_chain_field(convert_to(rule_code, 'UTF8'))
  || wellward_chain_field(convert_to(cause_key, 'UTF8')))
"""
"""The same as `rules.transfer_hash`; a test holds the two together."""

WALLET_RULES.create_with(Wallet.__table__)  # type: ignore[attr-defined]
TRANSFER_RULES.create_with(PointsTransfer.__table__)  # type: ignore[attr-defined]
LOT_RULES.create_with(PointsLot.__table__)  # type: ignore[attr-defined]

SQL_FUNCTIONS = (
    """
create or replace function wellward_chain_field(field bytea) returns bytea
language sql immutable parallel safe
return case when field is null then int4send(-1) else int4send(octet_length(field)) || field end
""",
    TRANSFER_HASH_SQL,
)
"""In this order; the first migration creates them."""
