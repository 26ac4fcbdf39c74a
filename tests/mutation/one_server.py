"""A plugin of pytest: the run and its database server are those of whoever started this one,
and outlive it. So each mutant finds a server with a migrated template."""

from tests import database


def _nothing() -> None:
    pass


database.begin_run = _nothing
database.end_run = _nothing
