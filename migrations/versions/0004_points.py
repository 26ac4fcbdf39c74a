"""Wallets, transfers, lots, and the hash that chains transfers."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_FUNCTIONS = (
    """
create or replace function wellward_chain_field(field bytea) returns bytea
language sql immutable parallel safe
return case when field is null then int4send(-1) else int4send(octet_length(field)) || field end
    """,
    """
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
    """,
)


def upgrade() -> None:
    op.create_table(
        "wallets",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("pending", sa.BigInteger(), nullable=False),
        sa.Column("available", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("owed", sa.BigInteger(), nullable=False),
        sa.Column("earned_total", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("rooted_seq", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(seq = 0) = (head = '')", name=op.f("wallets_head_follows_seq")),
        sa.CheckConstraint(
            "pending >= 0 and available >= 0 and held >= 0 and owed >= 0 and earned_total >= 0",
            name=op.f("wallets_balances_not_negative"),
        ),
        sa.CheckConstraint(
            "rooted_seq between 0 and seq", name=op.f("wallets_rooted_seq_in_range")
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("wallets_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", name=op.f("wallets_pkey")),
    )
    op.create_table(
        "points_transfers",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("chain_version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("debit", sa.Text(), nullable=False),
        sa.Column("credit", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("balance_after", sa.BigInteger(), nullable=False),
        sa.Column("cause_kind", sa.Text(), nullable=True),
        sa.Column("cause_id", sa.Uuid(), nullable=True),
        sa.Column("cause_key", sa.Text(), nullable=False),
        sa.Column("rule_version", sa.Uuid(), nullable=True),
        sa.Column("rule_code", sa.Text(), nullable=True),
        sa.Column("corrects", sa.Uuid(), nullable=True),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "case when credit not in ('pending', 'available') then expires_on is null when debit = 'issued' then expires_on is not null else true end",
            name=op.f("points_transfers_expires_when_earned"),
        ),
        sa.CheckConstraint(
            "cause_kind in ('CHECK_IN', 'TASK', 'REDEMPTION', 'DAILY_TOTAL', 'TRANSFER', 'STAFF')",
            name=op.f("points_transfers_cause_kind_known"),
        ),
        sa.CheckConstraint(
            "kind || ' ' || debit || ' ' || credit in ('EARNED issued available', 'EARNED issued owed', 'EARNED issued pending', 'HELD available held', 'HELD available pending', 'RELEASED held available', 'RELEASED held owed', 'RELEASED pending available', 'RELEASED pending owed', 'REDEEMED available redeemed', 'REDEEMED held redeemed', 'EXPIRED available expired', 'EXPIRED held expired', 'EXPIRED pending expired', 'REVERSED available reversed', 'REVERSED held reversed', 'REVERSED owed reversed', 'REVERSED pending reversed', 'REVERSED redeemed available', 'REVERSED redeemed owed', 'RESTATED available reversed', 'RESTATED held reversed', 'RESTATED issued available', 'RESTATED issued owed', 'RESTATED issued pending', 'RESTATED owed reversed', 'RESTATED pending reversed', 'ADJUSTED available reversed', 'ADJUSTED expired available', 'ADJUSTED held reversed', 'ADJUSTED issued available', 'ADJUSTED issued owed', 'ADJUSTED issued pending', 'ADJUSTED owed reversed', 'ADJUSTED pending reversed')",
            name=op.f("points_transfers_route_allowed"),
        ),
        sa.CheckConstraint(
            "(cause_kind is null) = (cause_id is null)",
            name=op.f("points_transfers_cause_complete"),
        ),
        sa.CheckConstraint("amount > 0", name=op.f("points_transfers_amount_positive")),
        sa.CheckConstraint(
            "balance_after >= 0", name=op.f("points_transfers_balance_not_negative")
        ),
        sa.CheckConstraint("debit <> credit", name=op.f("points_transfers_accounts_differ")),
        sa.CheckConstraint("octet_length(hash) = 32", name=op.f("points_transfers_hash_is_sha256")),
        sa.CheckConstraint("seq > 0", name=op.f("points_transfers_seq_positive")),
        sa.ForeignKeyConstraint(
            ["member_id", "corrects"],
            ["points_transfers.member_id", "points_transfers.id"],
            name=op.f("points_transfers_member_id_corrects_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["wallets.member_id"], name=op.f("points_transfers_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "seq", name=op.f("points_transfers_pkey")),
        sa.UniqueConstraint(
            "member_id", "cause_key", name=op.f("points_transfers_member_id_cause_key_key")
        ),
        sa.UniqueConstraint("member_id", "id", name=op.f("points_transfers_member_id_id_key")),
    )
    op.create_index(
        "points_transfers_correcting",
        "points_transfers",
        ["member_id", "corrects"],
        unique=False,
        postgresql_where="corrects is not null",
    )
    op.create_index(
        "points_transfers_of_day", "points_transfers", ["member_id", "local_date"], unique=False
    )
    op.create_table(
        "points_lots",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("earned_seq", sa.BigInteger(), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        sa.Column("pending", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "remaining >= 0 and pending >= 0 and held >= 0 and remaining + pending + held <= amount",
            name=op.f("points_lots_parts_within_amount"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "id"],
            ["points_transfers.member_id", "points_transfers.id"],
            name=op.f("points_lots_member_id_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("points_lots_pkey")),
    )
    op.create_index(
        "points_lots_oldest_first",
        "points_lots",
        ["member_id", "expires_on", "earned_seq"],
        unique=False,
        postgresql_where="remaining > 0",
    )

    for statement in _FUNCTIONS:
        op.get_bind().exec_driver_sql(statement)
