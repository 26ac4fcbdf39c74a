"""The way from an empty database to the present one, and what the application may do there."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app import migrate, tables
from app.adapters.embedded_postgres import APP_ROLE, OWNER_ROLE
from app.db import Database
from tests.database import TestServer

QUEUE = {"pgqueuer", "pgqueuer_log", "pgqueuer_schedules", "pgqueuer_statistics"}


@pytest.fixture
async def empty(server: TestServer):
    """The name of a database without tables."""
    name = await server.empty()
    yield name
    await server.drop(name)


async def fetch(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


async def tables_in(url: str) -> set[str]:
    rows = await fetch(url, "SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'public'")
    return {name for (name,) in rows}


async def rights_in(url: str) -> dict[str, str]:
    """Each table's rights of the application role, as `INSERT,SELECT`."""
    rows = await fetch(
        url,
        """SELECT table_name, string_agg(privilege_type, ',' ORDER BY privilege_type)
             FROM information_schema.role_table_grants WHERE grantee = $1 GROUP BY 1""",
        APP_ROLE,
    )
    return {name: rights for name, rights in rows}


async def test_an_empty_database_gets_every_table_and_twice_changes_nothing(server, empty):
    owner_url, app_url = server.url(empty, OWNER_ROLE), server.url(empty, APP_ROLE)
    assert await migrate.pending(app_url) == await migrate.pending(owner_url) != []

    await migrate.migrate(owner_url, APP_ROLE)
    first = await tables_in(owner_url), await rights_in(owner_url)
    await migrate.migrate(owner_url, APP_ROLE)

    assert (await tables_in(owner_url), await rights_in(owner_url)) == first
    assert first[0] == set(tables.TABLE_CLASSES) | QUEUE | {"alembic_version"}
    assert await migrate.pending(app_url) == await migrate.pending(owner_url) == []


async def test_two_migrators_at_once_wait_for_each_other(server, empty):
    owner_url, order = server.url(empty, OWNER_ROLE), []

    async def after(connection: AsyncConnection) -> None:
        order.append("in")
        await asyncio.sleep(0.05)
        order.append("out")

    migrators = [migrate.migrate(owner_url, APP_ROLE, after=after) for _ in range(4)]
    await asyncio.gather(*migrators)

    assert order == ["in", "out"] * 4
    assert await migrate.pending(owner_url) == []


async def test_what_follows_a_migration_is_written_as_the_owner_or_not_at_all(owner_url):
    async def fail(connection: AsyncConnection) -> None:
        await connection.execute(text("CREATE TABLE products_loaded ()"))
        raise LookupError("no such file")

    with pytest.raises(LookupError):
        await migrate.migrate(owner_url, APP_ROLE, after=fail)
    assert "products_loaded" not in await tables_in(owner_url)

    async def load(connection: AsyncConnection) -> None:
        await connection.execute(text("CREATE TABLE products_loaded ()"))

    await migrate.migrate(owner_url, APP_ROLE, after=load)
    assert "products_loaded" in await tables_in(owner_url)


async def test_a_migrated_database_is_what_the_models_say(owner_url):
    assert await migrate.check_drift(owner_url) == []
    # Looking left nothing behind.
    assert await fetch(owner_url, "SELECT FROM pg_namespace WHERE nspname ~ 'wellward'") == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("ALTER TABLE members ADD COLUMN shoe_size int", "only in the database: column shoe_size"),
        ("ALTER TABLE members DROP COLUMN locale", "only in the models: column locale"),
        (
            "ALTER TABLE members ALTER locale SET DEFAULT 'xx'",
            "only in the database: column locale",
        ),
        ("ALTER TABLE members ADD CHECK (locale <> 'xx')", "only in the database: constraint"),
        ("CREATE INDEX stray ON members (locale)", "only in the database: CREATE INDEX stray"),
        ("DROP TABLE audit_reads", "audit_reads: only in the models"),
        ("CREATE TABLE stray (id int)", "stray: only in the database"),
        (
            (
                "CREATE OR REPLACE FUNCTION wellward_rules_of_tasks(starts_on date, ends_on date,"
                " state text, closed_at timestamptz) RETURNS boolean LANGUAGE sql IMMUTABLE"
                " AS 'SELECT true'"
            ),
            "tasks: only in the database: rules",
        ),
    ],
)
async def test_every_kind_of_drift_is_told(owner_url, change, told):
    await fetch(owner_url, change)

    assert [line for line in await migrate.check_drift(owner_url) if told in line] != []


async def test_each_table_grants_exactly_its_rights(owner_url):
    rights = await rights_in(owner_url)

    for table in tables.TABLE_CLASSES:
        wanted = "INSERT,SELECT" if table in tables.APPEND_ONLY else "DELETE,INSERT,SELECT,UPDATE"
        assert (table, rights.pop(table)) == (table, wanted)
    assert rights.pop("alembic_version") == "SELECT"
    assert rights == dict.fromkeys(QUEUE, "DELETE,INSERT,SELECT,TRUNCATE,UPDATE")


@pytest.mark.parametrize("table", sorted(tables.APPEND_ONLY))
@pytest.mark.parametrize(
    "statement", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "TRUNCATE {0}", "DROP TABLE {0}"]
)
async def test_the_application_cannot_rewrite_what_is_append_only(
    db: Database, table: str, statement: str
):
    column = next(iter(tables.metadata.tables[table].columns)).name

    async with db.write() as connection:
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
            await connection.execute(text(statement.format(table, column)))
        # Nor may it take the owner's place.
        with pytest.raises(DBAPIError, match=r"permission denied"):
            await connection.execute(text(f"SET ROLE {OWNER_ROLE}"))


async def test_a_right_that_was_given_by_hand_is_taken_back(owner_url):
    table = min(tables.APPEND_ONLY)
    await fetch(owner_url, f"GRANT ALL ON {table} TO {APP_ROLE}")

    await migrate.migrate(owner_url, APP_ROLE)

    assert (await rights_in(owner_url))[table] == "INSERT,SELECT"


async def test_the_application_may_use_the_queue_and_its_sequences(db: Database):
    put = "INSERT INTO pgqueuer (priority, status, entrypoint) VALUES (0, 'queued', 'nothing')"
    async with db.write() as connection:
        await connection.execute(text(put))
        taken = await connection.execute(text("DELETE FROM pgqueuer RETURNING id"))

        assert taken.scalars().all() == [1]


async def test_a_missing_role_is_told_with_the_statement_that_makes_it(owner_url):
    with pytest.raises(migrate.MigrationError, match=r"CREATE ROLE nobody_here LOGIN"):
        await migrate.migrate(owner_url, "nobody_here")


async def test_a_database_of_newer_code_lacks_nothing(owner_url, db: Database):
    await fetch(owner_url, "UPDATE alembic_version SET version_num = 'from the future'")

    async with db.read() as connection:
        assert await migrate.pending_on(connection) == []
