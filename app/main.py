"""The web process: settings, database, sign-in and schema become a server. Wiring only."""

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import strawberry
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from app import migrate, web
from app.adapters import identity
from app.adapters.links import Links, open_links
from app.adapters.sealing import Sealer, open_sealer
from app.adapters.storage import open_storage
from app.checkins.checks import checks
from app.clock import wall_clock
from app.config import Mode, Settings
from app.db import Database
from app.errors import ConfigurationError, Forbidden
from app.events import Events
from app.gateways import Gateways, read_secrets
from app.graphql import plans
from app.graphql.context import ANONYMOUS, Context, Viewer
from app.graphql.documents import Documents, TrustedDocuments
from app.graphql.ids import Kind, parse
from app.graphql.limits import Limits
from app.graphql.serving import Serving
from app.jobs import clock, queue
from app.members import clinics
from app.members.sign_in import SignIns, decide_access
from app.message_events import MessageEvents
from app.message_events import read_secrets as message_secrets
from app.message_links import MessageLinks
from app.nudges import outbox
from app.nudges.links import Site
from app.nudges.planning import PLAN_JOB
from app.observability import (
    CLOCK_SILENT,
    LETTERS,
    POOL,
    PUSHES,
    QUEUE_DEPTH,
    QUEUE_LATE,
    configure_logging,
)
from app.payments import PaymentEvents
from app.payments import read_secrets as payment_secrets
from app.payout_reports import PayoutReports
from app.photos import Photos
from app.probes import Check, Probes
from app.reports import Reports
from app.schema import FACETS, schema

log = structlog.get_logger(__name__)

OPERATIONS = Path(__file__).resolve().parent.parent / "schema" / "operations"

_GAUGES_FRESH_SECONDS = 15


def create() -> Starlette:
    """What uvicorn calls in each web process. `wellward serve` names the embedded server."""
    settings = Settings()
    app = create_app(settings, database_url=os.environ.get("WELLWARD_DATABASE_URL_RESOLVED"))
    _spare_the_collector()
    return app


def _spare_the_collector() -> None:
    """Modules and schema stay for good: looking through all of them for garbage takes longer
    than many requests. A request makes a few thousand objects, so it collects every few."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def create_app(
    settings: Settings,
    *,
    database_url: str | None = None,
    now: Callable[[], datetime] = wall_clock,
    graphql_schema: strawberry.Schema = schema,
) -> Starlette:
    """The application; nothing is opened before its lifespan begins.

    `database_url` is that of an embedded server. Raises ConfigurationError.
    """
    configure_logging(settings.log_level, messages=settings.mode is Mode.DEVELOPMENT)
    plans.check_schema(graphql_schema)
    parts = _Parts.of(settings, _database_url(settings, database_url), now)
    limits = Limits(body_bytes=settings.body_bytes_max)
    serving = Serving(
        schema=graphql_schema,
        documents=Documents(
            graphql_schema,
            TrustedDocuments.load(OPERATIONS),
            limits=limits,
            free=settings.mode is Mode.DEVELOPMENT,
        ),
        authenticate=parts.authenticate,
        make_context=parts.make_context,
        now=now,
        limits=limits,
        timeout_seconds=settings.request_timeout_seconds,
    )
    probes = Probes(
        {
            "database": partial(_answers, parts.db, "select"),
            "migrations": partial(_migrated, parts.db),
            "queue": partial(_answers, parts.db, "select from pgqueuer limit 1"),
        },
        refresh=_refresh(parts.db, now),
    )
    further = _further_routes(settings, parts, now)
    return web.build(settings, serving, probes, parts.lifespan, further)


def _further_routes(
    settings: Settings, parts: "_Parts", now: Callable[[], datetime]
) -> list[BaseRoute]:
    """What is no GraphQL. Raises ConfigurationError."""
    photos = Photos(
        parts.db,
        open_storage(settings),
        parts.links,
        authenticate=parts.authenticate,
        make_context=parts.make_context,
        now=now,
        timeout_seconds=settings.request_timeout_seconds,
    )
    gateways = Gateways(
        parts.db, read_secrets(settings), now=now, timeout_seconds=settings.request_timeout_seconds
    )
    reports = Reports(parts.db, parts.links, make_context=parts.make_context, now=now)
    told = PaymentEvents(
        parts.db,
        payment_secrets(settings),
        now=now,
        timeout_seconds=settings.request_timeout_seconds,
    )
    payouts = PayoutReports(parts.db, now=now)
    links = MessageLinks(
        parts.db, Site.of(settings), now=now, timeout_seconds=settings.request_timeout_seconds
    )
    outcomes = MessageEvents(
        parts.db,
        message_secrets(settings),
        now=now,
        timeout_seconds=settings.request_timeout_seconds,
    )
    return [
        *photos.routes(),
        *reports.routes(),
        *payouts.routes(),
        *gateways.routes(),
        *told.routes(),
        *links.routes(),
        *outcomes.routes(),
    ]


def _database_url(settings: Settings, embedded_url: str | None) -> str:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    if embedded_url is None:
        raise ConfigurationError(
            "Set WELLWARD_DATABASE_URL, or start everything with `wellward up`."
        )
    return embedded_url


@dataclass(frozen=True, slots=True)
class _Parts:
    """What lives as long as the process."""

    db: Database
    events: Events
    verifier: identity.Verifier
    sign_ins: SignIns
    clinic_keys: clinics.ClinicKeys
    sealer: Sealer | None
    links: Links
    now: Callable[[], datetime]

    @classmethod
    def of(cls, settings: Settings, url: str, now: Callable[[], datetime]) -> "_Parts":
        db = Database.open(
            url,
            pool_size=settings.pool_size,
            pool_timeout_seconds=settings.pool_timeout_seconds,
            prepared_statements=settings.prepared_statements,
        )
        listen = settings.listen_database_url
        return cls(
            db=db,
            events=Events(listen.get_secret_value() if listen else url),
            verifier=identity.open_verifier(settings, os.environ),
            sign_ins=SignIns(db),
            clinic_keys=clinics.ClinicKeys(db),
            sealer=open_sealer(settings),
            links=open_links(settings, lifetime=timedelta(minutes=checks().photos.link_minutes)),
            now=now,
        )

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """The server ends connections before this ends what they use."""
        await self.events.start()
        log.info("web_started")
        try:
            yield
        finally:
            await self.events.close()
            await self.verifier.close()
            await self.db.close()
            log.info("web_stopped")

    async def authenticate(self, *, token: str | None, acting_for: str | None) -> Viewer:
        if token is None:
            return ANONYMOUS
        now = self.now()
        if clinics.is_key(token):
            return await self.clinic_keys.viewer(token, acting=acting_for is not None, now=now)
        proven = await self.verifier.verify(token, now=now)
        return await self.sign_ins.viewer(
            issuer=proven.issuer,
            subject=proven.subject,
            acting_for=None if acting_for is None else _member_id(acting_for),
            expires_at=proven.expires_at,
            now=now,
        )

    def make_context(self, viewer: Viewer, *, request_id: str, operation: str) -> Context:
        now = self.now()
        # By place: by name it takes twice as long.
        return Context(
            self.db,
            now,
            viewer,
            self.events,
            decide_access,
            FACETS,
            self.sign_ins.forget,
            request_id,
            operation,
            partial(self.links.sign, now=now),
            self.sealer,
        )


def _member_id(header: str) -> UUID:
    """The member that `X-Acting-For` names, by global id. Raises Forbidden: a member that
    does not exist looks like one that is not the guardian's."""
    found = parse(header)
    if found is None or found.kind is not Kind.MEMBER:
        raise Forbidden("You do not act for this member.")
    return found.owner_id


async def _answers(db: Database, statement: str) -> None:
    async with db.read() as connection:
        await connection.execute(text(statement))


async def _migrated(db: Database) -> None:
    async with db.read() as connection:
        missing = await migrate.pending_on(connection)
    if missing:
        raise RuntimeError(f"{len(missing)} migrations are pending")


def _refresh(db: Database, now: Callable[[], datetime]) -> Check:
    """Reads the gauges from where they are kept, and asks the database rarely, however often
    somebody scrapes."""
    asked_at = float("-inf")
    one_at_a_time = asyncio.Lock()

    async def refresh() -> None:
        nonlocal asked_at
        _read_pool("read", db.reader)
        _read_pool("write", db.writer)
        async with one_at_a_time:
            if time.monotonic() - asked_at < _GAUGES_FRESH_SECONDS:
                return
            await _read_queue(db, now())
            await _read_pushes(db, now())
            asked_at = time.monotonic()

    return refresh


def _read_pool(name: str, engine: AsyncEngine) -> None:
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    POOL.labels(name, "in_use").set(pool.checkedout())
    POOL.labels(name, "idle").set(pool.checkedin())


async def _read_queue(db: Database, now: datetime) -> None:
    QUEUE_LATE.set((await queue.late(db, now=now)).total_seconds())
    slot = await clock.last_slot(db, PLAN_JOB)
    CLOCK_SILENT.set((now - slot).total_seconds() if slot else float("inf"))
    found = await queue.depth(db)
    QUEUE_DEPTH.clear()
    for depth in found:
        QUEUE_DEPTH.labels(depth.name, depth.state).set(depth.jobs)


async def _read_pushes(db: Database, now: datetime) -> None:
    async with db.read() as connection:
        counts = await outbox.push_counts(connection, now=now)
    PUSHES.clear()
    LETTERS.clear()
    for (channel, result), count in counts.items():
        if channel == "push":
            PUSHES.labels(result).set(count)
        else:
            LETTERS.labels(channel, result).set(count)
