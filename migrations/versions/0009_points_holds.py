"""Holds, what became of each lot, and announced expiries."""

import sqlalchemy as sa
from alembic import op

from app import migration_steps as steps

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        _wallets()
        _lots()
        steps.backfill(_SPENT, _ORIGINS, _GONE)
        _indexes()
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


# Until now nobody could spend; what stands there was moved by hand.
_SPENT = """
update wallets w set spent = t.spent, expired = t.expired from (
  select member_id,
    sum(case when credit = 'redeemed' then amount when debit = 'redeemed' then -amount
      else 0 end) as spent,
    sum(case when credit = 'expired' then amount when debit = 'expired' then -amount
      else 0 end) as expired
  from points_transfers where member_id > :after and member_id <= :upto group by member_id) t
where t.member_id = w.member_id and (t.spent, t.expired) <> (w.spent, w.expired)
"""
_ORIGINS = """
update points_lots l set origin_id = coalesce(t.corrects, case when t.cause_key like '%/2' then (
    select d.id from points_transfers d where d.member_id = t.member_id
    and d.cause_key = left(t.cause_key, -2) and d.credit = 'owed') end, t.id)
from points_transfers t
where l.member_id > :after and l.member_id <= :upto and l.origin_id is null
  and t.member_id = l.member_id and t.id = l.id
"""
# What left a lot: taken back from the earning's own lots, the oldest first; expired with its
# day; the rest was used.
_GONE = """
with gone as (
  select member_id, id, origin_id, expires_on, points,
    sum(points) over (partition by member_id, origin_id order by expires_on, earned_seq)
      - points as before
  from (select *, amount - remaining - pending - held - used - expired - reversed as points
    from points_lots where member_id > :after and member_id <= :upto) l
  where points > 0),
taken as (
  select g.member_id, g.id, g.expires_on, g.points, least(g.points, greatest(0, coalesce((
    select sum(t.amount) from points_transfers t where t.member_id = g.member_id
    and t.corrects = g.origin_id and t.credit = 'reversed' and t.debit in ('available', 'pending')
  ), 0) - g.before)) as reversed
  from gone g),
parted as (
  select t.member_id, t.id, t.points, t.reversed, case when exists (
    select from points_transfers x where x.member_id = t.member_id and x.credit = 'expired'
    and x.local_date = t.expires_on) then t.points - t.reversed else 0 end as expired
  from taken t)
update points_lots l set reversed = l.reversed + p.reversed, expired = l.expired + p.expired,
  used = l.used + p.points - p.reversed - p.expired
from parted p where p.member_id = l.member_id and p.id = l.id
"""


def _wallets() -> None:
    steps.add_columns(
        "wallets", "spent bigint not null default 0", "expired bigint not null default 0"
    )
    steps.check(
        "wallets",
        "balances_not_negative",
        "pending >= 0 and available >= 0 and held >= 0 and owed >= 0 and earned_total >= 0"
        " and spent >= 0 and expired >= 0",
    )


def _lots() -> None:
    # A lot without an origin is its own: the previous release goes on making such.
    steps.add_columns(
        "points_lots",
        "origin_id uuid",
        "is_grace boolean not null default false",
        *(f"{part} bigint not null default 0" for part in ("used", "expired", "reversed")),
    )
    steps.check(
        "points_lots",
        "parts_within_amount",
        "least(remaining, pending, held, used, expired, reversed) >= 0"
        " and remaining + pending + held + used + expired + reversed <= amount",
    )


def _indexes() -> None:
    steps.index("points_lots_of_origin", "points_lots (member_id, coalesce(origin_id, id))")
    steps.index("points_lots_due", "points_lots (expires_at)", where="remaining > 0")


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
