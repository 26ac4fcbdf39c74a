"""Holds, what became of each lot, and announced expiries."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _wallets()
    _lots()
    _holds()
    op.create_table(
        "points_expiry_notices",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("days_before", sa.Integer(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("announced_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "amount > 0 and days_before > 0 and revision >= 0",
            name=op.f("points_expiry_notices_in_range"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["wallets.member_id"], name=op.f("points_expiry_notices_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "expires_on", "days_before", name=op.f("points_expiry_notices_pkey")
        ),
    )
    op.create_index("points_expiry_notices_announced", "points_expiry_notices", ["announced_at"])


def _count(table: str, *names: str) -> None:
    """Columns that are zero in every row there is."""
    for name in names:
        op.add_column(
            table, sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
        )
        op.alter_column(table, name, server_default=None)


def _wallets() -> None:
    op.drop_constraint(op.f("wallets_balances_not_negative"), "wallets")
    _count("wallets", "spent", "expired")
    # Until now nobody could spend; what stands there was moved by hand.
    op.execute(
        """update wallets w set spent = t.spent, expired = t.expired from (
             select member_id,
               sum(case when credit = 'redeemed' then amount when debit = 'redeemed' then -amount
                 else 0 end) as spent,
               sum(case when credit = 'expired' then amount when debit = 'expired' then -amount
                 else 0 end) as expired
             from points_transfers group by member_id) t
           where t.member_id = w.member_id and (t.spent <> 0 or t.expired <> 0)"""
    )
    op.create_check_constraint(
        op.f("wallets_balances_not_negative"),
        "wallets",
        "pending >= 0 and available >= 0 and held >= 0 and owed >= 0 and earned_total >= 0"
        " and spent >= 0 and expired >= 0",
    )


def _lots() -> None:
    op.drop_constraint(op.f("points_lots_parts_within_amount"), "points_lots")
    op.add_column("points_lots", sa.Column("origin_id", sa.Uuid(), nullable=True))
    op.add_column("points_lots", sa.Column("is_grace", sa.Boolean(), nullable=True))
    _count("points_lots", "used", "expired", "reversed")
    op.execute(
        """update points_lots l set is_grace = false,
             origin_id = coalesce(t.corrects, case when t.cause_key like '%/2' then (
               select d.id from points_transfers d where d.member_id = t.member_id
               and d.cause_key = left(t.cause_key, -2)) end, t.id),
             used = l.amount - l.remaining - l.pending - l.held
           from points_transfers t where t.member_id = l.member_id and t.id = l.id"""
    )
    op.alter_column("points_lots", "origin_id", nullable=False)
    op.alter_column("points_lots", "is_grace", nullable=False)
    op.create_check_constraint(
        op.f("points_lots_parts_within_amount"),
        "points_lots",
        "least(remaining, pending, held, used, expired, reversed) >= 0"
        " and remaining + pending + held + used + expired + reversed <= amount",
    )
    op.create_index("points_lots_of_origin", "points_lots", ["member_id", "origin_id"])
    op.create_index(
        "points_lots_due", "points_lots", ["expires_at"], postgresql_where="remaining > 0"
    )


def _holds() -> None:
    op.create_table(
        "points_holds",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("captured", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("capture_id", sa.Uuid(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state in ('HELD', 'CAPTURED', 'RELEASED', 'TIMED_OUT')",
            name=op.f("points_holds_state_known"),
        ),
        sa.CheckConstraint(
            "amount > 0 and least(captured, released) >= 0 and case state"
            " when 'HELD' then captured + released = 0"
            " when 'CAPTURED' then captured > 0 and captured + released = amount"
            " else captured = 0 and released = amount end",
            name=op.f("points_holds_amounts_follow_state"),
        ),
        sa.CheckConstraint(
            "(state = 'HELD') = (resolved_at is null)", name=op.f("points_holds_resolved_once")
        ),
        sa.CheckConstraint(
            "(captured > 0) = (capture_id is not null)",
            name=op.f("points_holds_captured_by_transfer"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "id"],
            ["points_transfers.member_id", "points_transfers.id"],
            name=op.f("points_holds_member_id_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("points_holds_pkey")),
    )
    op.create_index(
        "points_holds_due", "points_holds", ["expires_at"], postgresql_where="state = 'HELD'"
    )
    op.create_table(
        "points_hold_lots",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("hold_id", sa.Uuid(), nullable=False),
        sa.Column("lot_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("captured", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.BigInteger(), nullable=False),
        sa.Column("returned", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "amount > 0 and least(captured, released, returned) >= 0"
            " and captured + released <= amount and returned <= captured",
            name=op.f("points_hold_lots_parts_within_amount"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "hold_id"],
            ["points_holds.member_id", "points_holds.id"],
            name=op.f("points_hold_lots_member_id_hold_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "lot_id"],
            ["points_lots.member_id", "points_lots.id"],
            name=op.f("points_hold_lots_member_id_lot_id_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "hold_id", "lot_id", name=op.f("points_hold_lots_pkey")
        ),
    )
