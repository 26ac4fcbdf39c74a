"""Where the database of this process is: a server somebody runs, or our embedded one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from app import migrate
from app.adapters.embedded_postgres import (
    APP_ROLE,
    DATABASE,
    OWNER_ROLE,
    SUPERUSER,
    EmbeddedPostgres,
)
from app.clock import wall_clock
from app.config import Settings
from app.db import Database, Session
from app.health_tasks import templates
from app.premiums import catalogue
from app.premiums import product as products
from app.records import published as questionnaires
from app.rewards.catalogue import load_rewards


@dataclass(frozen=True, slots=True)
class Place:
    """Connection URLs of the application's and the owner's role."""

    database_url: str
    migration_url: str
    embedded: EmbeddedPostgres | None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        if settings.database_url is None:
            server = EmbeddedPostgres(settings.data_dir / "postgres", bin_dir=settings.pg_bin)
            # The addresses hold once the server has started: its socket may lie elsewhere.
            return cls("", "", server)
        url = settings.database_url.get_secret_value()
        owner = settings.migration_database_url
        return cls(url, owner.get_secret_value() if owner else url, None)

    @contextmanager
    def running(self) -> Iterator[Self]:
        """The database for one command: a server that had to be started is stopped again."""
        ran = self.embedded is None or self.embedded.running_pid() is not None
        try:
            yield self.start()
        finally:
            if self.embedded is not None and not ran:
                self.embedded.stop()

    def start(self) -> Self:
        """Have the database accept connections. Raises EmbeddedPostgresError."""
        if self.embedded is None:
            return self
        self.embedded.start()
        return type(self)(
            self.embedded.url(user=APP_ROLE), self.embedded.url(user=OWNER_ROLE), self.embedded
        )

    @property
    def app_role(self) -> str:
        """The role that the application connects as."""
        name = urlsplit(self.database_url).username
        return unquote(name) if name else APP_ROLE

    def open(self, settings: Settings) -> Database:
        return Database.open(
            self.database_url,
            pool_size=settings.pool_size,
            pool_timeout_seconds=settings.pool_timeout_seconds,
            prepared_statements=settings.prepared_statements,
        )

    async def migrate(self) -> None:
        """Migrations, rights, and the data files: templates, product versions, rewards.

        Raises MigrationError, PublishedVersionChanged, ProductInvalid, RewardChanged.
        """
        await migrate.migrate(self.migration_url, self.app_role, after=publish_data)

    async def make_anew(self) -> None:
        """Throw the embedded database away and make an empty one."""
        assert self.embedded is not None
        connection = await asyncpg.connect(self.embedded.dsn("postgres", SUPERUSER))
        try:
            await connection.execute(f"drop database {DATABASE} with (force)")
        finally:
            await connection.close()
        self.embedded.ensure_database(DATABASE)
        await self.migrate()


async def publish_data(connection: AsyncConnection) -> None:
    """Store the shipped task templates, questionnaires, product versions and rewards, each once."""
    await templates.load_templates(connection)
    await questionnaires.publish(connection)
    async with Session(bind=connection, join_transaction_mode="create_savepoint") as session:
        for product in products.shipped():
            await catalogue.publish(session, product, now=wall_clock())
        await load_rewards(session, now=wall_clock())
        await session.commit()


def lock_path(settings: Settings) -> Path:
    """Held by the `wellward up` that runs on this data."""
    return settings.data_dir / "up.lock"
