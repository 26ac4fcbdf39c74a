"""Transfers, wallets and lots; and the hash chain in SQL, for jobs that work on whole sets."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint
from sqlmodel import SQLModel

from app.columns import column
from app.points.rules import ROUTES, CauseKind, TransferKind


def _one_of(values: type[CauseKind] | type[TransferKind]) -> str:
    return ", ".join(f"'{value}'" for value in values)


_ROUTES = ", ".join(
    f"'{kind} {debit} {credit}'"
    for kind, routes in ROUTES.items()
    for debit, credit in sorted(routes)
)


class Wallet(SQLModel, table=True):
    """A member's balances, in whole points. A projection of the transfers, written by the
    same statement; whoever writes it raises `version` and does so only from the version
    that was read."""

    __tablename__ = "wallets"
    __table_args__ = (
        CheckConstraint(
            "pending >= 0 and available >= 0 and held >= 0 and owed >= 0 and earned_total >= 0",
            name="balances_not_negative",
        ),
        CheckConstraint("rooted_seq between 0 and seq", name="rooted_seq_in_range"),
        CheckConstraint("(seq = 0) = (head = '')", name="head_follows_seq"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    pending: int = column(int, big=True, default=0)
    available: int = column(int, big=True, default=0)
    held: int = column(int, big=True, default=0)
    owed: int = column(int, big=True, default=0)
    earned_total: int = column(int, big=True, default=0)
    """What was ever issued and confirmed, less what was reversed."""
    version: int = column(int, big=True, default=0)
    seq: int = column(int, big=True, default=0)
    """Of the newest transfer; 0 when there is none."""
    head: bytes = column(bytes, default=b"")
    """The newest transfer's hash."""
    rooted_seq: int = column(int, big=True, default=0)
    """The newest `seq` that a root outside the database bears witness to."""


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
        CheckConstraint("seq > 0", name="seq_positive"),
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint("balance_after >= 0", name="balance_not_negative"),
        CheckConstraint("debit <> credit", name="accounts_differ"),
        CheckConstraint(
            f"kind || ' ' || debit || ' ' || credit in ({_ROUTES})", name="route_allowed"
        ),
        CheckConstraint(f"cause_kind in ({_one_of(CauseKind)})", name="cause_kind_known"),
        CheckConstraint("(cause_kind is null) = (cause_id is null)", name="cause_complete"),
        CheckConstraint(
            "case when credit not in ('pending', 'available') then expires_on is null"
            " when debit = 'issued' then expires_on is not null else true end",
            name="expires_when_earned",
        ),
        CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
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


class PointsLot(SQLModel, table=True):
    """What is left of one earning; spending takes the oldest first. The parts sum up to the
    wallet's balances of the same names."""

    __tablename__ = "points_lots"
    __table_args__ = (
        ForeignKeyConstraint(
            ["member_id", "id"], ["points_transfers.member_id", "points_transfers.id"]
        ),
        CheckConstraint(
            "remaining >= 0 and pending >= 0 and held >= 0 and remaining + pending + held <= amount",
            name="parts_within_amount",
        ),
        Index(
            "points_lots_oldest_first",
            "member_id",
            "expires_on",
            "earned_seq",
            postgresql_where="remaining > 0",
        ),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    """Of the transfer that earned it."""
    earned_seq: int = column(int, big=True)
    expires_on: date = column(date)
    """Last local day."""
    expires_at: datetime = column(datetime)
    """The local midnight after it, as an instant."""
    amount: int = column(int, big=True)
    remaining: int = column(int, big=True)
    """The part that is available."""
    pending: int = column(int, big=True, default=0)
    held: int = column(int, big=True, default=0)


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

SQL_FUNCTIONS = (
    """
create or replace function wellward_chain_field(field bytea) returns bytea
language sql immutable parallel safe
return case when field is null then int4send(-1) else int4send(octet_length(field)) || field end
""",
    TRANSFER_HASH_SQL,
)
"""In this order; the first migration creates them."""
