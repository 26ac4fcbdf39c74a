"""Alembic's entry. `app/migrate.py` brings the connection; the command line opens its own."""

import asyncio

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app import migrate
from app.config import Settings
from app.db import async_url


def run(connection: Connection) -> None:
    context.configure(connection=connection, **migrate.alembic_options())
    with context.begin_transaction():
        context.run_migrations()


async def run_by_command_line() -> None:
    settings = Settings()
    url = settings.migration_database_url or settings.database_url
    if url is None:
        raise SystemExit("Set WELLWARD_MIGRATION_DATABASE_URL to the owner's URL.")
    engine = create_async_engine(
        async_url(url.get_secret_value()),
        poolclass=NullPool,
        connect_args={"server_settings": {"lock_timeout": migrate.LOCK_TIMEOUT}},
    )
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


if context.is_offline_mode():
    raise SystemExit("Migrations run on a database only; there is no SQL output.")
given = context.config.attributes.get("connection")
if given is None:
    asyncio.run(run_by_command_line())
else:
    run(given)
