"""The load, in a process of its own: so many connections, each sends its next request when
the answer to the last one is there.

A plan (a file) names the requests of each series, ready to send; then each line on standard
input orders one window, and one line of figures answers it.
"""

import asyncio
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import orjson
import uvloop

from bench.processes import (
    Instructions,
    children,
    children_cpu_seconds,
    cpu_seconds,
    memory_mb,
)

FRESH_ID = "00000000-0000-4000-8000-00000000f0f0"
"""Stands in a request that is sent again for an id that is new each time."""
NOBODY = "authorization: nobody"
"""Stands for somebody's own header."""
_AUTHORIZATION = re.compile(rb"authorization: [^\r]+")
_WARM_UP_SHARE = 0.2
"""Of the requests of a window that may have only so many."""
_DRAIN_SECONDS = 10
_ATTACHING_SECONDS = 0.05
"""Until what counts instructions does so."""


@dataclass(frozen=True, slots=True)
class Series:
    """Requests to one server that are of one kind. Connections go to its processes in turn."""

    ports: list[int]
    pids: list[int]
    postgres_pid: int | None
    requests: list[str]
    """As they go over the wire; without `body`, where there is one."""
    expects: str
    """What a good answer matches, a regular expression."""
    once: bool
    """Whether each request may be sent only once: the window ends when there are no more."""
    greeting: str | None = None
    """What everybody whose requests come up in a window sends before it, in whose place stands
    `NOBODY`: so that all are signed in."""
    body: str = ""
    """What all of them end with: readings are 70 kB, and thousands of members send the same."""


@dataclass(frozen=True, slots=True)
class Order:
    series: str
    seconds: float
    warm_up_seconds: float
    connections: int
    requests_max: int | None = None
    """After which the window ends before its time."""
    instructions: bool = False
    """Whether to count them."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one window; milliseconds of latency, milliseconds of CPU time a request."""

    requests: int
    seconds: float
    per_second: float
    p50_ms: float
    p99_ms: float
    server_cpu_ms: float
    postgres_cpu_ms: float
    server_instructions: float
    """Thousands a request, of user mode; 0 when they were not counted."""
    postgres_instructions: float
    memory_mb: float
    """Of one process."""
    bytes: float


class BadAnswer(Exception):
    """A server did not do what was asked; a speed would mean nothing."""


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, window: "_Window") -> None:
        self._window = window
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        start = head.find(b"content-length:") + 15
        end = head.find(b"\r", start)
        length = int(head[start : end if end > 0 else None])
        body = self._buffer[head_end + 4 :]
        if len(body) < length:
            return
        self._buffer = b""
        self._window.note(time.perf_counter() - self._sent_at, head, body)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._window.lost()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _send(self) -> None:
        request = self._window.next_request()
        if request is not None and self._transport is not None:
            self._sent_at = time.perf_counter()
            self._transport.write(request)


class _Window:
    def __init__(
        self, requests: Iterator[bytes], expects: re.Pattern[bytes], requests_max: int | None
    ) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.warm: asyncio.Future[None] = loop.create_future()
        self.drained: asyncio.Future[None] = loop.create_future()
        self.latencies: list[float] = []
        self.bytes = 0
        self._requests = requests
        self._expects = expects
        self._left = sys.maxsize if requests_max is None else requests_max
        self._warm_at = 0 if requests_max is None else int(requests_max * (1 - _WARM_UP_SHARE))
        self._under_way = 0

    def next_request(self) -> bytes | None:
        if self.ended.done():
            return None
        request = next(self._requests, None) if self._left else None
        if request is None:
            self.end()
            return None
        self._left -= 1
        self._under_way += 1
        if self._left <= self._warm_at and not self.warm.done():
            self.warm.set_result(None)
        return request

    def note(self, seconds: float, head: bytes, body: bytes) -> None:
        self._under_way -= 1
        if not head.startswith(b"http/1.1 200") or not self._expects.search(body):
            self.fail(f"{head[:40]!r} {body[:500]!r}")
        if not self.ended.done():
            self.latencies.append(seconds)
            self.bytes += len(body)
        elif not self._under_way and not self.drained.done():
            self.drained.set_result(None)

    def end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
            if not self._under_way:
                self.drained.set_result(None)

    def lost(self) -> None:
        if not self.ended.done() or self._under_way:
            self.fail("the server closed a connection")

    def fail(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(BadAnswer(why))
            self.drained.cancel()


class _Load:
    def __init__(self, plan: dict[str, Series]) -> None:
        self._plan = plan
        self._requests = {name: _Requests(series) for name, series in plan.items()}

    async def run(self, order: Order) -> Figures:
        """Raises BadAnswer."""
        series, requests = self._plan[order.series], self._requests[order.series]
        if series.greeting is not None:
            await _greet(series, requests.greetings(order.requests_max), order.connections)
        window = _Window(requests, re.compile(series.expects.encode()), order.requests_max)
        clients = await _connect(window, series, order.connections)
        await asyncio.wait(
            [window.warm, window.ended],
            timeout=order.warm_up_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        counters = _counters(series) if order.instructions else []
        if counters:
            await asyncio.sleep(_ATTACHING_SECONDS)
        window.latencies.clear()
        window.bytes = 0
        before = _cpu(series)
        began = time.perf_counter()
        await asyncio.wait([window.ended], timeout=order.seconds)
        took = time.perf_counter() - began
        after = _cpu(series)
        window.end()
        window.ended.result()
        instructions = [it.stop() for it in counters] or [0.0, 0.0]
        await _part(window, clients)
        latencies = sorted(window.latencies)
        if not latencies:
            raise BadAnswer("no answer at all")
        count = len(latencies)
        return Figures(
            requests=count,
            seconds=took,
            per_second=count / took,
            p50_ms=latencies[count // 2] * 1000,
            p99_ms=latencies[count * 99 // 100] * 1000,
            server_cpu_ms=(after[0] - before[0]) / count * 1000,
            postgres_cpu_ms=(after[1] - before[1]) / count * 1000,
            server_instructions=instructions[0] / count / 1000,
            postgres_instructions=instructions[1] / count / 1000,
            memory_mb=max(memory_mb(pid) for pid in series.pids),
            bytes=window.bytes / count,
        )


class _Requests:
    """Those of a series, from where the last window ended."""

    def __init__(self, series: Series) -> None:
        self._ready = [request.encode() for request in series.requests]
        self._once = series.once
        self._greeting = (series.greeting or "").encode()
        self._body = series.body.encode()
        self._renewed = FRESH_ID.encode() in self._ready[0] + self._body
        self._next = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._next == len(self._ready):
            if self._once:
                raise StopIteration
            self._next = 0
        request = self._ready[self._next] + self._body
        self._next += 1
        return _renewed(request) if self._renewed else request

    def greetings(self, count: int | None) -> list[bytes]:
        """Of whoever sends the next so many requests."""
        coming = self._ready[self._next :][:count]
        found = dict.fromkeys(_AUTHORIZATION.findall(b"".join(coming)))
        return [self._greeting.replace(NOBODY.encode(), it) for it in found]


def _renewed(request: bytes) -> bytes:
    return request.replace(FRESH_ID.encode(), str(uuid4()).encode())


async def _greet(series: Series, greetings: list[bytes], connections: int) -> None:
    """Raises BadAnswer."""
    window = _Window(iter(greetings), re.compile(b"."), None)
    clients = await _connect(window, series, connections)
    await window.ended
    await _part(window, clients)


async def _connect(window: _Window, series: Series, connections: int) -> list[_Client]:
    loop = asyncio.get_running_loop()
    clients: list[_Client] = []
    for number in range(connections):
        port = series.ports[number % len(series.ports)]
        _, client = await loop.create_connection(lambda: _Client(window), "127.0.0.1", port)
        clients.append(client)
    return clients


async def _part(window: _Window, clients: list[_Client]) -> None:
    """Once all that is under way is answered."""
    await asyncio.wait([window.drained], timeout=_DRAIN_SECONDS)
    for client in clients:
        client.close()


def _cpu(series: Series) -> tuple[float, float]:
    servers = sum(cpu_seconds(pid) for pid in series.pids)
    pid = series.postgres_pid
    return servers, 0.0 if pid is None else children_cpu_seconds(pid)


def _counters(series: Series) -> list[Instructions]:
    if series.postgres_pid is None:
        return []
    return [Instructions(series.pids), Instructions(children(series.postgres_pid))]


async def _answer(load: _Load, order: Order) -> dict[str, Any]:
    try:
        return asdict(await load.run(order))
    except BadAnswer as bad:
        return {"bad_answer": str(bad)}


def main() -> None:
    """Reads plans and orders until standard input ends."""
    plan: dict[str, Series] = {}
    load = _Load(plan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin:
            read = orjson.loads(line)
            if "plan" in read:
                found = orjson.loads(Path(read["plan"]).read_bytes())
                load = _Load({name: Series(**series) for name, series in found.items()})
                answer = {}
            else:
                answer = runner.run(_answer(load, Order(**read)))
            sys.stdout.write(orjson.dumps(answer).decode() + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
