"""Which member a gateway's user is, what may be sent, and the events that wait to be read."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gateway_users",
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("linked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "user_id", name=op.f("gateway_users_pkey")),
    )
    op.create_index("gateway_users_of_member", "gateway_users", ["member_id"], unique=False)
    op.create_table(
        "gateway_links",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state in ('CONNECTED', 'DISCONNECTED')", name=op.f("gateway_links_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("gateway_links_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "gateway", "user_id", "provider", name=op.f("gateway_links_pkey")
        ),
    )
    op.create_table(
        "gateway_events",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint(
            "state in ('WAITING', 'DONE', 'IGNORED')", name=op.f("gateway_events_state_known")
        ),
        sa.CheckConstraint(
            "(state = 'WAITING') = (body is not null)",
            name=op.f("gateway_events_body_while_waiting"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("gateway_events_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "gateway", "id", name=op.f("gateway_events_pkey")),
    )
    op.create_index("gateway_events_received", "gateway_events", ["received_at"], unique=False)
