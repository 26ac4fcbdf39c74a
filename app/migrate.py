"""Bringing a database to the present: migrations, then the application role's rights.

Nobody but the owner's role changes tables, and the application connects as another role,
that cannot rewrite what is append-only.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from app import tables
from app.db import async_url
from app.errors import Explained

_SCRIPTS = Path(__file__).resolve().parent.parent / "migrations"
_VERSION_TABLE = "alembic_version"
_QUEUE_PREFIX = "pgqueuer"
_ADVISORY_LOCK = 7_305_421_002
_OTHER_MIGRATOR_SECONDS = 600.0
_OTHER_MIGRATOR_POLL_SECONDS = 0.05
# A migration that waits for a lock makes everybody else wait behind it.
LOCK_TIMEOUT = "5s"
_LOCK_NOT_AVAILABLE = "55P03"
_LOCK_ATTEMPTS = 5
LOCK_PAUSE_SECONDS = 1.0


class MigrationError(Explained):
    """The database cannot be migrated; the text says what to do."""


async def migrate(
    owner_url: str,
    app_role: str,
    *,
    to: str = "head",
    after: Callable[[AsyncConnection], Awaitable[None]] | None = None,
) -> None:
    """Apply what is pending up to the revision `to`, then set the rights of `app_role`; both
    may be repeated, also after a run that was cut short.

    `after` runs in a transaction of its own, as the owner. Of two migrators the second waits
    for the first, so the connection must be one session (no transaction pooling). When
    `app_role` is the owner itself, nothing is append-only for it.

    Raises MigrationError when there is no such role, or another migrator takes too long, and
    DBAPIError when somebody keeps a table locked through all attempts.
    """
    async with _connect(owner_url) as connection:
        await _be_the_only_one(connection)
        await connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        await connection.commit()
        await _upgrade_patiently(connection, to)
        async with connection.begin():
            await connection.run_sync(_grant, app_role)
        if after is not None:
            async with connection.begin():
                await after(connection)


async def pending(url: str) -> list[str]:
    """The revisions that this database lacks, oldest first."""
    async with _connect(url) as connection:
        return await pending_on(connection)


async def pending_on(connection: AsyncConnection) -> list[str]:
    """The same over an open connection, also the application role's."""
    return await connection.run_sync(_pending)


async def check_drift(owner_url: str) -> list[str]:
    """Where a migrated database differs from the models, one sentence each.

    The models are created in a schema of their own, inside a transaction that is rolled
    back, and the server's catalogs are compared: types, defaults, checks and all.
    """
    async with _connect(owner_url) as connection:
        return await connection.run_sync(_drift)


def alembic_options() -> dict[str, Any]:
    """How migrations run, for `migrations/env.py`."""
    return {
        "target_metadata": tables.metadata,
        "version_table": _VERSION_TABLE,
        "transaction_per_migration": True,
        "compare_server_default": True,
        "include_name": lambda name, kind, _parents: kind != "table" or _is_ours(name),
    }


@asynccontextmanager
async def _connect(url: str) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(async_url(url), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


def _is_ours(table: str | None) -> bool:
    return table is not None and table != _VERSION_TABLE and not table.startswith(_QUEUE_PREFIX)


def _config(connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


async def _be_the_only_one(connection: AsyncConnection) -> None:
    """Raises MigrationError."""
    # Asked for again and again: whoever waits inside a statement keeps a snapshot, and an index
    # that the other one builds concurrently would wait for that.
    take = text(f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})")
    try:
        async with asyncio.timeout(_OTHER_MIGRATOR_SECONDS):
            while not (await connection.execute(take)).scalar_one():
                await connection.commit()
                await asyncio.sleep(_OTHER_MIGRATOR_POLL_SECONDS)
    except TimeoutError:
        raise MigrationError("Another `wellward migrate` is running; try again later.") from None
    await connection.commit()


async def _upgrade_patiently(connection: AsyncConnection, to: str) -> None:
    """Begin anew when a table was locked: what is done stays done, and nobody has waited
    longer than the lock timeout behind it."""
    for attempts_left in reversed(range(_LOCK_ATTEMPTS)):
        try:
            await connection.run_sync(_upgrade, to)
            return
        except DBAPIError as error:
            await connection.rollback()
            if attempts_left == 0 or getattr(error.orig, "sqlstate", "") != _LOCK_NOT_AVAILABLE:
                raise
        await asyncio.sleep(LOCK_PAUSE_SECONDS)


def _upgrade(connection: Connection, to: str) -> None:
    command.upgrade(_config(connection), to)
    connection.commit()  # with nothing to do, it has still read


def _pending(connection: Connection) -> list[str]:
    context = MigrationContext.configure(connection, opts={"version_table": _VERSION_TABLE})
    applied = set(context.get_current_heads())
    missing: list[str] = []
    for script in ScriptDirectory.from_config(_config()).walk_revisions():
        if script.revision in applied:
            break
        missing.insert(0, script.revision)
    else:
        if applied:  # by newer code than this; it has all that this one needs
            return []
    return missing


def _grant(connection: Connection, app_role: str) -> None:
    owner, exists = connection.execute(
        text("SELECT current_user, EXISTS (SELECT FROM pg_roles WHERE rolname = :role)"),
        {"role": app_role},
    ).one()
    if not exists:
        raise MigrationError(
            f"There is no role {app_role!r} on the server; make one: "
            f"CREATE ROLE {app_role} LOGIN PASSWORD '...'"
        )
    if app_role == owner:
        return
    quote = connection.dialect.identifier_preparer.quote
    role = quote(app_role)
    statements = [
        f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}",
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}",
    ]
    for table in inspect(connection).get_table_names(schema="public"):
        statements.append(f"GRANT {_rights(table)} ON {quote(table)} TO {role}")
    for statement in statements:
        connection.exec_driver_sql(statement)


def _rights(table: str) -> str:
    if table == _VERSION_TABLE:
        return "SELECT"
    if table in tables.APPEND_ONLY:
        return "SELECT, INSERT"
    if table.startswith(_QUEUE_PREFIX):
        return "SELECT, INSERT, UPDATE, DELETE, TRUNCATE"
    return "SELECT, INSERT, UPDATE, DELETE"


_CATALOG = """
WITH here AS (
  SELECT oid, relname, relkind, reloptions FROM pg_class
   WHERE relnamespace = CAST(:schema AS regnamespace)
)
SELECT relname, 'column ' || attname || ' ' || format_type(atttypid, atttypmod)
       || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
       || coalesce(' DEFAULT ' || pg_get_expr(adbin, adrelid), '')
  FROM here JOIN pg_attribute ON attrelid = here.oid AND attnum > 0 AND NOT attisdropped
  LEFT JOIN pg_attrdef ON adrelid = here.oid AND adnum = attnum
 WHERE relkind IN ('r', 'p')
UNION ALL
SELECT relname, 'constraint ' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid, true)
  FROM here JOIN pg_constraint ON conrelid = here.oid
 WHERE contype <> 'n'  -- NOT NULL, from PostgreSQL 18 on; a column says it already
UNION ALL
SELECT relname, pg_get_indexdef(indexrelid, 0, true)
  FROM here JOIN pg_index ON indrelid = here.oid
UNION ALL
SELECT relname, 'option ' || unnest(reloptions) FROM here WHERE relkind IN ('r', 'p')
UNION ALL
SELECT substr(proname, length('wellward_rules_of_') + 1),
       'rules (' || pg_get_function_arguments(oid) || ') ' || CAST(provolatile AS text)
       || ' ' || md5(prosrc)
  FROM pg_proc
 WHERE pronamespace = CAST(:schema AS regnamespace) AND starts_with(proname, 'wellward_rules_of_')
UNION ALL
SELECT relname, pg_get_triggerdef(pg_trigger.oid, true)
  FROM here JOIN pg_trigger ON tgrelid = here.oid AND NOT tgisinternal
"""


def _drift(connection: Connection) -> list[str]:
    scratch = "wellward_models"
    found = _catalog(connection, "public")
    connection.exec_driver_sql(f"CREATE SCHEMA {scratch}")
    connection.exec_driver_sql(f"SET LOCAL search_path = {scratch}")
    tables.metadata.create_all(connection, checkfirst=False)
    wanted = _catalog(connection, scratch)
    connection.rollback()
    return [
        *(f"{table}: only in the models: {fact}" for table, fact in sorted(wanted - found)),
        *(f"{table}: only in the database: {fact}" for table, fact in sorted(found - wanted)),
    ]


def _catalog(connection: Connection, schema: str) -> set[tuple[str, str]]:
    # What is in the search path is printed without its schema, so the two can be compared.
    connection.exec_driver_sql(f"SET LOCAL search_path = {schema}")
    rows: Sequence[Any] = connection.execute(text(_CATALOG), {"schema": schema}).all()
    return {(table, fact) for table, fact in rows if _is_ours(table)}
