"""The load, in a process of its own: so many connections, each sends its next request when
the answer to the last one is there.

A plan (a file) names the requests of each series, ready to send; then each line on standard
input orders one window, and one line of figures answers it.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import cast
from uuid import uuid4

import orjson
import uvloop

from bench.processes import children_cpu_seconds, cpu_seconds, memory_mb

FRESH_ID = "00000000-0000-4000-8000-00000000f0f0"
"""Stands in a request that is sent again for an id that is new each time."""


@dataclass(frozen=True, slots=True)
class Series:
    """Requests to one server that are of one kind."""

    port: int
    server_pid: int
    requests: list[str]
    """As they go over the wire."""
    expects: str
    """What a good answer holds."""
    once: bool
    """Whether each request may be sent only once: the window ends when there are no more."""


@dataclass(frozen=True, slots=True)
class Plan:
    postgres_pid: int
    connections: int
    series: dict[str, Series]


@dataclass(frozen=True, slots=True)
class Order:
    series: str
    seconds: float
    warm_up_seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one window; milliseconds of latency, milliseconds of CPU time a request."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    server_cpu_ms: float
    postgres_cpu_ms: float
    memory_mb: float
    bytes: float
    exhausted: bool


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
        if not self._window.ended.done():
            self._window.fail("the server closed a connection")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _send(self) -> None:
        request = self._window.next_request()
        if request is not None and self._transport is not None:
            self._sent_at = time.perf_counter()
            self._transport.write(request)


class _Window:
    def __init__(self, requests: Iterator[bytes], expects: bytes) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.exhausted = False
        self.latencies: list[float] = []
        self.bytes = 0
        self._requests = requests
        self._expects = expects

    def next_request(self) -> bytes | None:
        if self.ended.done():
            return None
        request = next(self._requests, None)
        if request is None:
            self.exhausted = True
            self.end()
        return request

    def note(self, seconds: float, head: bytes, body: bytes) -> None:
        if not head.startswith(b"http/1.1 200") or self._expects not in body:
            self.fail(f"{head[:40]!r} {body[:500]!r}")
        self.latencies.append(seconds)
        self.bytes += len(body)

    def end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def fail(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(BadAnswer(why))


class _Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests: dict[str, Iterator[bytes]] = {}
        for name, series in plan.series.items():
            ready = [request.encode() for request in series.requests]
            self._requests[name] = iter(ready) if series.once else _again_and_again(ready)

    async def run(self, order: Order) -> Figures:
        """Raises BadAnswer."""
        series = self._plan.series[order.series]
        loop = asyncio.get_running_loop()
        window = _Window(self._requests[order.series], series.expects.encode())
        clients: list[_Client] = []
        for _ in range(self._plan.connections):
            _, client = await loop.create_connection(
                lambda: _Client(window), "127.0.0.1", series.port
            )
            clients.append(client)
        await self._pass(window, order.warm_up_seconds)
        window.latencies.clear()
        window.bytes = 0
        before = self._cpu(series)
        began = time.perf_counter()
        await self._pass(window, order.seconds)
        took = time.perf_counter() - began
        after = self._cpu(series)
        latencies = sorted(window.latencies)
        count = max(len(latencies), 1)
        window.end()
        window.ended.result()
        if not latencies and not window.exhausted:
            raise BadAnswer("no answer at all")
        for client in clients:
            client.close()
        return Figures(
            requests=len(latencies),
            per_second=len(latencies) / took,
            p50_ms=latencies[count // 2] * 1000 if latencies else 0,
            p99_ms=latencies[count * 99 // 100] * 1000 if latencies else 0,
            server_cpu_ms=(after[0] - before[0]) / count * 1000,
            postgres_cpu_ms=(after[1] - before[1]) / count * 1000,
            memory_mb=memory_mb(series.server_pid),
            bytes=window.bytes / count,
            exhausted=window.exhausted,
        )

    async def _pass(self, window: _Window, seconds: float) -> None:
        """Raises BadAnswer."""
        await asyncio.wait([window.ended], timeout=seconds)
        if window.ended.done():
            window.ended.result()

    def _cpu(self, series: Series) -> tuple[float, float]:
        return cpu_seconds(series.server_pid), children_cpu_seconds(self._plan.postgres_pid)


def _again_and_again(requests: list[bytes]) -> Iterator[bytes]:
    placeholder = FRESH_ID.encode()
    if placeholder not in requests[0]:
        return cycle(requests)
    return (request.replace(placeholder, str(uuid4()).encode()) for request in cycle(requests))


def main() -> None:
    read = orjson.loads(Path(sys.argv[1]).read_bytes())
    series = {name: Series(**found) for name, found in read["series"].items()}
    load = _Load(Plan(read["postgres_pid"], read["connections"], series))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin:
            figures = runner.run(load.run(Order(**orjson.loads(line))))
            sys.stdout.write(orjson.dumps(asdict(figures)).decode() + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
