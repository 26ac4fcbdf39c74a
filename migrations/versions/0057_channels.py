"""SMS and e-mail as channels: links, receipts, contacts that are confirmed."""

import sqlalchemy as sa
from alembic import op

from app import migration_steps as steps

revision = "0057"
down_revision = "0054"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)

# Members have been written to at these addresses; what is set from now on is confirmed.
_CONFIRMED = """
update members
   set phone_verified_at = case when phone is null then null else created_at end,
       email_verified_at = case when email is null then null else created_at end
 where member_id > :after and member_id <= :upto
   and (phone is not null and phone_verified_at is null
     or email is not null and email_verified_at is null)
"""


def upgrade() -> None:
    with steps.live():
        steps.add_columns(
            "members", "phone_verified_at timestamptz", "email_verified_at timestamptz"
        )
        steps.backfill(_CONFIRMED)
        steps.index("members_of_phone", "members (phone)", where="phone is not null")
        steps.add_columns(
            "push_deliveries",
            "has_link boolean not null default false",
            "awaits_receipt boolean not null default false",
        )
    _links()
    _challenges()


def _links() -> None:
    op.create_table(
        "message_links",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.CheckConstraint(
            "purpose in ('CLICK', 'UNSUBSCRIBE', 'RECEIPT')",
            name=op.f("message_links_purpose_known"),
        ),
        sa.CheckConstraint("channel in ('SMS', 'EMAIL')", name=op.f("message_links_channel_known")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("message_links_pkey")),
    )
    op.create_index("message_links_ending", "message_links", ["expires_at"])
    op.create_index("message_links_of_member", "message_links", ["member_id"])


def _challenges() -> None:
    op.create_table(
        "contact_challenges",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=True),
        sa.Column("requested_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("confirmed_at", _INSTANT, nullable=True),
        sa.CheckConstraint(
            "contact in ('PHONE', 'EMAIL')", name=op.f("contact_challenges_contact_known")
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("contact_challenges_attempts_counted")),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("contact_challenges_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("contact_challenges_pkey")),
    )
    op.create_index(
        "contact_challenges_of_address", "contact_challenges", ["address_hash", "requested_at"]
    )
    op.create_index("contact_challenges_by_time", "contact_challenges", ["requested_at"])
