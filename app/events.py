"""Live updates between processes: what changed for a member, told after the commit.

Best effort by design. Nothing is kept for a closed connection, and a client that reconnects
asks for everything again; so publishing never waits, never fails and never slows a commit
(NOTIFY inside a transaction would make every commit of the server wait for the one before).
"""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import asyncpg
import orjson
import structlog

from app.db import driver_url

CHANNEL = "wellward_events"
BATCH_SECONDS = 0.05
PAYLOAD_BYTES_MAX = 7_900
"""PostgreSQL allows 7,999."""
BUFFER_MAX = 10_000
SUBSCRIPTION_MAX = 100
PROBE_SECONDS = 10.0
TIMEOUT_SECONDS = 5.0
BACKOFF_SECONDS = (0.05, 5.0)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """Something of a member changed. `kind` is `points`, `message` or `task`; `key` is
    its global id, and nothing of what it holds."""

    member_id: UUID
    kind: str
    key: str


class Subscription:
    """The events of one member from `async with` on. It ends when `Events` is closed.

    A reader that is too slow finds each (kind, key) once, and of more than `SUBSCRIPTION_MAX`
    different ones the newest.
    """

    def __init__(self, events: "Events", member_id: UUID) -> None:
        self._events = events
        self._member_id = member_id
        self._waiting: dict[Event, None] = {}
        self._changed = asyncio.Event()
        self._ended = False

    async def __aenter__(self) -> Self:
        self._events._subscriptions.setdefault(self._member_id, set()).add(self)
        self._ended = self._events._closed
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        of_member = self._events._subscriptions.get(self._member_id, set())
        of_member.discard(self)
        if not of_member:
            self._events._subscriptions.pop(self._member_id, None)
        self._end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        event = next(iter(self._waiting))
        del self._waiting[event]
        return event

    def _put(self, event: Event) -> None:
        _put_bounded(self._waiting, event, SUBSCRIPTION_MAX)
        self._changed.set()

    def _end(self) -> None:
        self._ended = True
        self._changed.set()


class Events:
    """One per process. Before `start` and while the database is away, what is published is
    kept up to `BUFFER_MAX`, then the oldest is dropped."""

    def __init__(self, url: str) -> None:
        """`url` must lead to a session of its own, not through transaction pooling."""
        self._url = driver_url(url)
        self._buffer: dict[Event, None] = {}
        self._wake = asyncio.Event()
        self._subscriptions: dict[UUID, set[Subscription]] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def publish(self, *events: Event) -> None:
        """Tell everybody, soon. Call it after the commit."""
        for event in events:
            _put_bounded(self._buffer, event, BUFFER_MAX)
        self._wake.set()

    def subscribe(self, member_id: UUID) -> Subscription:
        return Subscription(self, member_id)

    async def start(self) -> None:
        """Connect in the background; a database that is away does not stop anybody."""
        assert self._task is None and not self._closed
        self._task = asyncio.create_task(self._run(), name="events")

    async def close(self) -> None:
        """Send what is left, for at most a second, and end every subscription."""
        self._closed = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=1)
            self._task.cancel()
            await asyncio.wait({self._task})
        for of_member in list(self._subscriptions.values()):
            for subscription in list(of_member):
                subscription._end()

    async def _run(self) -> None:
        shortest, longest = BACKOFF_SECONDS
        pause = shortest
        while not self._closed:
            connection = None
            try:
                connection = await asyncpg.connect(
                    self._url,
                    timeout=TIMEOUT_SECONDS,
                    command_timeout=TIMEOUT_SECONDS,
                    server_settings={"application_name": "wellward-events"},
                )
                pause = shortest
                await self._serve(connection)
            except Exception as error:  # noqa: BLE001 - whatever it is, connect again
                _log.warning("events_disconnected", error=type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)
            finally:
                if connection is not None:
                    connection.terminate()

    async def _serve(self, connection: "asyncpg.Connection[Any]") -> None:
        """Send and receive until closed. Raises when the connection is lost."""
        connection.add_termination_listener(lambda _: self._wake.set())
        await connection.add_listener(CHANNEL, self._received)
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), PROBE_SECONDS)
            if not self._closed and not connection.is_closed():
                await asyncio.sleep(BATCH_SECONDS)
            self._wake.clear()
            batch, self._buffer = self._buffer, {}
            try:
                # Without a batch this is the probe that finds a connection that died silently.
                await connection.execute(
                    "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload",
                    CHANNEL,
                    payloads(batch),
                )
            except BaseException:
                # Some may have been told already; twice is harmless.
                self._put_back(batch)
                raise
            if self._closed:
                return

    def _put_back(self, batch: Iterable[Event]) -> None:
        newer, self._buffer = self._buffer, {}
        for event in (*batch, *newer):
            _put_bounded(self._buffer, event, BUFFER_MAX)
        self._wake.set()

    def _received(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        try:
            rows = orjson.loads(str(payload))
            events = [Event(UUID(member), kind, key) for member, kind, key in rows]
        except (ValueError, TypeError):
            _log.warning("event_unreadable")  # of another version of this program
            return
        for event in events:
            for subscription in self._subscriptions.get(event.member_id, ()):
                subscription._put(event)


def payloads(events: Iterable[Event]) -> list[str]:
    """As few notifications as hold `events`, each below PostgreSQL's limit. An event that
    fits into none, or is none, is left out: it must not stop the others."""
    found: list[str] = []
    rows: list[str] = []
    size = 2
    for event in events:
        try:
            # Not the id itself: the driver's own UUIDs are a subclass, which orjson refuses.
            row = orjson.dumps([str(event.member_id), event.kind, event.key]).decode()
        except TypeError:
            _log.error("event_unwritable")
            continue
        length = len(row.encode()) + 1
        if length + 2 > PAYLOAD_BYTES_MAX:
            _log.error("event_too_long")
            continue
        if size + length > PAYLOAD_BYTES_MAX:
            found.append(f"[{','.join(rows)}]")
            rows, size = [], 2
        rows.append(row)
        size += length
    if rows:
        found.append(f"[{','.join(rows)}]")
    return found


def _put_bounded(waiting: dict[Event, None], event: Event, most: int) -> None:
    """Add to an ordered set, at the cost of its oldest when it is full."""
    if event not in waiting and len(waiting) >= most:
        del waiting[next(iter(waiting))]
    waiting[event] = None
