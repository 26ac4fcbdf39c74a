"""Services that a member has earned, whatever their product."""

import sqlalchemy as sa
from alembic import op

from app import migration_steps as steps

revision = "0061"
down_revision = "0060"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_EARNED = """
insert into entitlement_grants (member_id, id, service, source, starts_on, ends_on, granted_at)
select b.member_id, gen_random_uuid(), s.service, 'REFERRAL', b.day,
  (b.day + s.lasts - interval '1 day')::date, b.granted_at
from (select r.*, (r.granted_at at time zone m.time_zone)::date as day
  from referral_benefits r join members m using (member_id) where m.erased_at is null) b
cross join (values ('vip_health_manager', null::interval), ('vip_examination', '12 months'),
  ('vip_green_channel', null)) as s (service, lasts)
"""


def upgrade() -> None:
    with steps.live():
        steps.add_columns("referral_benefits", "revoked_at timestamptz")
        steps.add_columns("entitlement_uses", "grant_id uuid")
        for name in ("policy_id", "product_version_id"):
            steps.run(f"alter table entitlement_uses alter column {name} drop not null")
        steps.check(
            "entitlement_uses",
            "of_one",
            "num_nonnulls(policy_id, grant_id) = 1"
            " and (policy_id is null) = (product_version_id is null)",
        )
    _grants()
    _quotas()
    op.execute(_EARNED)


def _grants() -> None:
    op.create_table(
        "entitlement_grants",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("granted_at", _INSTANT, nullable=False),
        sa.Column("revoked_at", _INSTANT, nullable=True),
        sa.Column("revoked_because", sa.Text(), nullable=True),
        sa.CheckConstraint("source in ('REFERRAL')", name=op.f("entitlement_grants_source_known")),
        sa.CheckConstraint(
            "ends_on is null or ends_on >= starts_on",
            name=op.f("entitlement_grants_period_ordered"),
        ),
        sa.CheckConstraint(
            "(revoked_at is null) = (revoked_because is null)",
            name=op.f("entitlement_grants_revoked_with_reason"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("entitlement_grants_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("entitlement_grants_pkey")),
    )
    op.create_index(
        "entitlement_grants_current",
        "entitlement_grants",
        ["member_id", "service", "source"],
        unique=True,
        postgresql_where=sa.text("revoked_at is null"),
    )


def _quotas() -> None:
    table = "entitlement_grant_quotas"
    op.create_table(
        table,
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=False),
        sa.Column("reserved", sa.Integer(), nullable=False),
        sa.Column("consumed", sa.Integer(), nullable=False),
        sa.CheckConstraint("starts_on <= ends_on", name=op.f(f"{table}_period_ordered")),
        sa.CheckConstraint(
            "reserved >= 0 and consumed >= 0", name=op.f(f"{table}_counts_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "grant_id"],
            ["entitlement_grants.member_id", "entitlement_grants.id"],
            name=op.f(f"{table}_member_id_grant_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "grant_id", "starts_on", name=op.f(f"{table}_pkey")),
    )
