"""A schema of its own and a real server around it, so that the GraphQL server is tested
without any feature."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import strawberry
import uvicorn
from graphql import GraphQLError
from starlette.applications import Starlette
from strawberry.types import Info

from app import web
from app.adapters.identity import InvalidToken, Reason
from app.config import Mode, Settings
from app.errors import Busy, Forbidden, Unauthenticated
from app.graphql import plans
from app.graphql.context import ANONYMOUS, Viewer
from app.graphql.documents import Documents, TrustedDocuments
from app.graphql.limits import Limits
from app.graphql.serving import Serving
from app.observability import configure_logging
from app.probes import Probes

MEMBER = uuid4()
SECRET = "sys=182 mmHg of Li Na"


@dataclass
class ToyContext:
    viewer: Viewer
    request_id: str
    operation: str
    now: datetime


Resolving = Info[ToyContext, None]


@strawberry.type
class Task:
    id: strawberry.ID
    title: str

    @strawberry.field
    def asked_at(self, info: Resolving) -> datetime:
        return info.context.now

    @strawberry.field
    def next(self) -> "Task":
        return self

    @strawberry.field
    def others(self, first: int = 20) -> "list[Task]":
        return [self] * min(first, 2)

    @strawberry.field
    def plain(self) -> "list[Task]":
        return [self]

    @strawberry.field
    def page(self, first: int = 20) -> "TaskConnection":
        return TaskConnection(edges=[TaskEdge(node=self)])


@strawberry.type
class TaskEdge:
    node: Task


@strawberry.type
class TaskConnection:
    edges: list[TaskEdge]


class Stranger:
    """Nothing of the schema; its repr is a secret."""

    def __repr__(self) -> str:
        return SECRET


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Person(Named):
    age: int


@strawberry.input
class EchoInput:
    text: str
    number: int = 0


calls: dict[str, int] = {"slow_finished": 0, "streams_open": 0}


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str = "world") -> str:
        return f"Hello {name}"

    @strawberry.field
    def echo(self, input: EchoInput) -> str:
        return input.text

    @strawberry.field
    def task(self) -> Task:
        return Task(id=strawberry.ID("1"), title="Walk")

    @strawberry.field
    def me(self, info: Resolving) -> str:
        if info.context.viewer.member_id is None:
            raise Unauthenticated
        return str(info.context.viewer.member_id)

    @strawberry.field
    def instant(self) -> datetime:
        return datetime(2026, 3, 1, 7, 30, tzinfo=UTC)

    @strawberry.field
    def day(self) -> date:
        return date(2026, 3, 1)

    @strawberry.field
    def broken(self) -> str | None:
        reading = SECRET
        raise ValueError(reading)

    @strawberry.field
    def unwritable(self) -> int | None:
        return SECRET  # type: ignore[return-value]

    @strawberry.field
    def stranger(self) -> Named | None:
        return Stranger()  # type: ignore[return-value]

    @strawberry.field
    def person(self) -> Person | None:
        return Stranger()  # type: ignore[return-value]

    @strawberry.field
    def people(self) -> list[Person] | None:
        return Stranger()  # type: ignore[return-value]

    @strawberry.field
    def coded(self) -> str | None:
        raise GraphQLError("Too many.", extensions={"code": "BAD_REQUEST"})

    @strawberry.field
    def missing(self) -> str:
        return None  # type: ignore[return-value]

    @strawberry.field
    async def slow(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        calls["slow_finished"] += 1
        return "done"


@strawberry.type
class Mutation:
    @strawberry.mutation
    def rename(self, title: str) -> Task:
        return Task(id=strawberry.ID("1"), title=title)


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, info: Resolving, upto: int) -> AsyncIterator[int]:
        calls["streams_open"] += 1
        try:
            for number in range(upto):
                yield number
                await asyncio.sleep(0.01)
        finally:
            calls["streams_open"] -= 1

    @strawberry.subscription
    async def idle(self) -> AsyncIterator[int]:
        """Nothing ever happens here."""
        calls["streams_open"] += 1
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            calls["streams_open"] -= 1

    @strawberry.subscription
    async def breaks(self) -> AsyncIterator[int]:
        yield 1
        raise ValueError(SECRET)

    @strawberry.subscription
    async def tasks(self) -> AsyncIterator[Task]:
        while True:
            yield Task(id=strawberry.ID("1"), title="Walk")
            await asyncio.sleep(0.01)


# As every process does; structlog's own defaults print the variables of a stack.
configure_logging("WARNING", messages=True)

schema = strawberry.Schema(
    query=Query, mutation=Mutation, subscription=Subscription, types=[Person]
)
plans.check_schema(schema)


async def authenticate(*, token: str | None, acting_for: str | None) -> Viewer:
    """Tokens of the toy: `good`, `short` (ends in 2 s), `stranger` (signs in nobody that we
    know), `down` (cannot be checked), `crowd` (nobody has time to look); everything else is forged."""
    if token in (None, "stranger"):
        return ANONYMOUS
    if token == "crowd":
        raise Busy
    if token == "down":
        raise InvalidToken(Reason.UNAVAILABLE)
    if token not in ("good", "short"):
        raise InvalidToken(Reason.INVALID)
    if acting_for is not None:
        raise Forbidden
    lifetime = timedelta(seconds=2) if token == "short" else timedelta(hours=1)
    return Viewer(member_id=MEMBER, expires_at=clock() + lifetime)


def make_context(viewer: Viewer, *, request_id: str, operation: str) -> ToyContext:
    return ToyContext(viewer, request_id, operation, clock())


def clock() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the edge of the toy


def make_serving(
    *, folder: Path | None = None, free: bool = True, limits: Limits | None = None, **options: Any
) -> Serving:
    limits = limits or Limits()
    trusted = TrustedDocuments.load(folder) if folder else TrustedDocuments()
    return Serving(
        schema=schema,
        documents=Documents(schema, trusted, limits=limits, free=free),
        authenticate=authenticate,
        make_context=make_context,
        now=clock,
        limits=limits,
        **options,
    )


@dataclass
class Toy:
    """A server that listens; `url` is its GraphQL address."""

    url: str
    server: uvicorn.Server
    thread: threading.Thread
    ready: dict[str, bool] = field(default_factory=dict)

    @property
    def base(self) -> str:
        return self.url.removesuffix("/graphql")

    @property
    def ws_url(self) -> str:
        return self.url.replace("http://", "ws://")

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(timeout=10)
        assert not self.thread.is_alive()


@contextmanager
def run_toy(serving: Serving, *, mode: Mode = Mode.DEVELOPMENT, **settings: Any) -> Iterator[Toy]:
    ready = {"database": True}

    async def check_database() -> None:
        if not ready["database"]:
            raise ConnectionError(SECRET)

    app = web.build(Settings(mode=mode, **settings), serving, Probes({"database": check_database}))
    with run_app(app, ready=ready) as toy:
        yield toy


@contextmanager
def run_app(app: Starlette, *, ready: dict[str, bool] | None = None) -> Iterator[Toy]:
    """Serve on a free port of this machine, in a thread, until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/graphql"
    toy = Toy(url, server, thread, ready or {})
    try:
        yield toy
    finally:
        toy.stop()
        listener.close()
