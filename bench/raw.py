"""The limit: what a handler written by hand costs. Starlette, asyncpg, one prepared statement an
operation. No sign-in, no limits, no log, no metrics.

Home, the statement of points and the premium read the product's own tables; what is written goes
to tables of its own (`raw_writes.TABLES`).

It is run twice. By itself it has asyncpg's pool, as anybody would write it. With BENCH_RAW_KEPT it
keeps connections with their statements prepared, because the pool sends one more statement each
time it takes a connection back: no handler can be faster, and few are like that.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.graphql.ids import Kind, encode
from app.ids import new_ids
from bench import raw_reads, raw_writes

CONNECTIONS = 8
"""As many as the product has of each kind."""
KEPT = "BENCH_RAW_KEPT"
STATEMENTS = {
    "Home": raw_reads.HOME,
    "PointsHistory": raw_reads.HISTORY,
    "Premium": raw_reads.PREMIUM,
    "CheckIn": raw_writes.CHECK_IN,
    "RecordMeasurements": raw_writes.RECORD,
}


_SESSION = {
    "jit": "off",
    "timezone": "UTC",
    # Statements are planned while its tables are empty: that plan must not be to read all of them.
    "enable_seqscan": "off",
}


class _Pooled:
    async def open(self, url: str) -> None:
        self._pool = await asyncpg.create_pool(
            url,
            min_size=CONNECTIONS,
            max_size=CONNECTIONS,
            server_settings=_SESSION,
            # Else one ends while another server is measured, and with it the CPU time it took.
            max_inactive_connection_lifetime=0,
        )

    async def close(self) -> None:
        await self._pool.close()

    async def fetch(self, operation: str, *arguments: Any) -> Any:
        return await self._pool.fetch(STATEMENTS[operation], *arguments)


class _Kept:
    def __init__(self) -> None:
        self._idle: list[dict[str, Any]] = []
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._connections: list[asyncpg.Connection] = []

    async def open(self, url: str) -> None:
        for _ in range(CONNECTIONS):
            connection = await asyncpg.connect(url, server_settings=_SESSION)
            self._connections.append(connection)
            self._idle.append(
                {name: await connection.prepare(sql) for name, sql in STATEMENTS.items()}
            )

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()

    async def fetch(self, operation: str, *arguments: Any) -> Any:
        async with self._places:
            statements = self._idle.pop()
            try:
                return await statements[operation].fetch(*arguments)
            finally:
                self._idle.append(statements)


class _Handler:
    def __init__(self, connections: _Pooled | _Kept) -> None:
        self._fetch = connections.fetch

    async def __call__(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        member_id = UUID(request.headers["x-member"])
        operation = body["operationName"]
        match operation:
            case "CheckIn":
                found = await self._check_in(member_id, body["variables"]["input"])
            case "RecordMeasurements":
                sent = body["variables"]["input"]["measurements"]
                found = await self._record(member_id, sent)
            case _:
                [[found]] = await self._fetch(operation, member_id)
        return Response(found, media_type="application/json")

    async def _check_in(self, member_id: UUID, sent: dict[str, Any]) -> bytes:
        [row] = await self._fetch(
            "CheckIn",
            member_id,
            UUID(sent["taskId"]),
            UUID(sent["requestId"]),
            datetime.fromisoformat(sent["occurredAt"]),
        )
        id = str(row["id"])
        check_in = {
            "id": id,
            "state": "ACCEPTED",
            "occurredAt": row["occurred_at"],
            "localDate": row["occurred_at"].date(),
            "value": None,
            "pointsAwarded": row["points"],
            "explanation": "任务完成，积分已发放。",
        }
        task = {
            "id": str(row["task_id"]),
            "done": str(row["done"]),
            "target": str(row["target"]),
            "state": row["state"],
            "latestCheckIn": {"id": id},
        }
        payload = {
            "__typename": "CheckInPayload",
            "replayed": row["replayed"],
            "checkIn": check_in,
            "task": task,
            "points": {"id": str(row["account_id"]), "available": row["balance"], "pending": 0},
        }
        return orjson.dumps({"data": {"checkIn": payload}})

    async def _record(self, member_id: UUID, sent: list[dict[str, str]]) -> bytes:
        now = datetime.now(UTC)  # noqa: TID251 - the benchmark is an edge
        [row] = await self._fetch(
            "RecordMeasurements",
            member_id,
            now,
            new_ids(now, len(sent)),
            [it["code"] for it in sent],
            [Decimal(it["value"]) for it in sent],
            [it["unit"] for it in sent],
            [datetime.fromisoformat(it["measuredAt"]) for it in sent],
            [it["sourceId"] for it in sent],
            [it["method"] for it in sent],
        )
        accepted, available, pending = row
        id = encode(Kind.POINTS_ACCOUNT, member_id)
        payload = {
            "__typename": "RecordMeasurementsPayload",
            "replayed": False,
            "accepted": accepted,
            "duplicates": len(sent) - accepted,
            "rejected": [],
            "alerts": [],
            "tasksAdvanced": [],
            "points": {"id": id, "available": available, "pending": pending},
        }
        return orjson.dumps({"data": {"recordMeasurements": payload}})


def create() -> Starlette:
    """What uvicorn calls; the database's URL is in BENCH_DATABASE_URL."""
    connections = _Kept() if os.environ.get(KEPT) else _Pooled()
    handler = _Handler(connections)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await connections.open(os.environ["BENCH_DATABASE_URL"])
        try:
            yield
        finally:
            await connections.close()

    return Starlette(
        routes=[Route("/graphql", handler.__call__, methods=["POST"])], lifespan=lifespan
    )
