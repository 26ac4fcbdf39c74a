"""Everything there is from the start: the tables of the models and the queue's."""

import re

from alembic import op
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment

from app import tables
from app.points.models import SQL_FUNCTIONS

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    tables.metadata.create_all(connection)
    for statement in SQL_FUNCTIONS:
        connection.exec_driver_sql(statement)
    # One statement at a time is all that a prepared statement takes.
    for statement in re.split(r"\n\n(?=CREATE )", QueryBuilderEnvironment().build_install_query()):
        connection.exec_driver_sql(statement)
