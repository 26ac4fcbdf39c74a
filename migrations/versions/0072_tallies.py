"""What counts towards caps, kept beside the wallet: a check-in read a year of transfers for it.
Wallets have none until the first check-in that pays; until then all their transfers are later.

And room on their pages for what each check-in changes; pages that are there stay as they are."""

from app import migration_steps as steps

revision = "0072"
down_revision = "0071"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        steps.add_columns("wallets", "tally text", "tally_seq bigint not null default 0")
        for table in ("wallets", "tasks"):
            steps.run(f"alter table {table} set (fillfactor = 80)")
