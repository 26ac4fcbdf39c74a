"""What a migration does to tables that others are using, one short step at a time.

A migration first changes the tables that are there, inside `live()`: each step is a
transaction of its own, holds its lock for a moment, and may be repeated, because a run that is
cut short is begun anew. Tables of its own come after that, in one transaction with its number.

The previous release goes on writing meanwhile and until its processes are replaced, so whatever
it does not know of is nullable or has a default.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from uuid import UUID

from alembic import op
from sqlalchemy import text

MEMBERS_A_BATCH = 500

_BATCH_END = """
select member_id from (select member_id from members where member_id > :after
  order by member_id limit :size) batch order by member_id desc limit 1
"""


def live() -> AbstractContextManager[None]:
    """Each step commits by itself."""
    return op.get_context().autocommit_block()


def run(statement: str) -> Any:
    return op.get_bind().exec_driver_sql(statement)


def add_columns(table: str, *columns: str) -> None:
    """Each as `name type`, nullable or with a constant default: the table is not rewritten."""
    added = ", ".join(f"add column if not exists {column}" for column in columns)
    run(f"alter table {table} {added}")


def check(table: str, name: str, rule: str) -> None:
    """Have a check, in place of the one of that name: for new rows at once, then looked up in
    the old ones while everybody goes on writing."""
    constraint = f"{table}_{name}"
    run(
        f"alter table {table} drop constraint if exists {constraint},"
        f" add constraint {constraint} check ({rule}) not valid"
    )
    run(f"alter table {table} validate constraint {constraint}")


def not_null(table: str, column: str) -> None:
    """Of a column without nulls, without a scan under the lock: the check spares it."""
    check(table, f"{column}_given", f"{column} is not null")
    run(f"alter table {table} alter column {column} set not null")
    drop_constraint(table, f"{table}_{column}_given")


def index(name: str, on: str, *, unique: bool = False, where: str = "") -> None:
    """`on` is `table (columns)`; a half-built index of a run before is built anew."""
    half_built = text(
        "select 1 from pg_index where indexrelid = to_regclass(:name) and not indisvalid"
    )
    if op.get_bind().execute(half_built, {"name": name}).scalar():
        drop_index(name)
    kind = "unique index" if unique else "index"
    condition = f" where {where}" if where else ""
    with _patience():
        run(f"create {kind} concurrently if not exists {name} on {on}{condition}")


def drop_index(name: str) -> None:
    with _patience():
        run(f"drop index concurrently if exists {name}")


def unique(table: str, name: str, columns: str) -> None:
    known = text("select 1 from pg_constraint where conname = :name")
    if op.get_bind().execute(known, {"name": name}).scalar():
        return
    index(name, f"{table} ({columns})", unique=True)
    run(f"alter table {table} add constraint {name} unique using index {name}")


def drop_constraint(table: str, *names: str) -> None:
    dropped = ", ".join(f"drop constraint if exists {name}" for name in names)
    run(f"alter table {table} {dropped}")


def backfill(*statements: str) -> None:
    """Run the statements for some members after the others: with `member_id > :after and
    member_id <= :upto`."""
    connection = op.get_bind()
    after = UUID(int=0)
    batch = {"after": after, "size": MEMBERS_A_BATCH}
    while upto := connection.execute(text(_BATCH_END), batch).scalar():
        for statement in statements:
            connection.execute(text(statement), {"after": batch["after"], "upto": upto})
        batch["after"] = upto


@contextmanager
def _patience() -> Iterator[None]:
    """Wait as long as it takes: what happens concurrently waits for transactions that began
    before it, and nobody waits behind it."""
    before = run("show lock_timeout").scalar()
    run("set lock_timeout = 0")
    try:
        yield
    finally:
        run(f"set lock_timeout = '{before}'")
