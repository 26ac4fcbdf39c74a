"""What a year of the next term was offered for: it never costs more."""

from app import migration_steps as steps

revision = "0036"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        steps.add_columns("renewal_offers", "amount bigint", "priced_at timestamptz")
        steps.check("renewal_offers", "priced_whole", "(amount is null) = (priced_at is null)")
