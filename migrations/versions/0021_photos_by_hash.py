"""Photos are found by their picture, when its first is forgotten, and by the id of their file."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Uploads go on meanwhile.
    with op.get_context().autocommit_block():
        for name, columns in (
            ("photos_of_picture", ["sha256", "uploaded_at"]),
            ("photos_of_file", ["id"]),
        ):
            op.create_index(
                name, "photos", columns, if_not_exists=True, postgresql_concurrently=True
            )
