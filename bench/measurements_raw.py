"""The limit of ingest: what a handler written by hand costs. Starlette, asyncpg, one `unnest`
insert into a table with the columns, checks and indexes of the product's own. No sign-in, no
ranges, no conversion, no local day of the member; the same counts are answered."""

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

from app.ids import new_ids

TABLES = """
create schema if not exists bench_raw;
create table bench_raw.measurements (like measurements including all);
grant usage on schema bench_raw to public;
grant select, insert on all tables in schema bench_raw to public;
"""
INSERT = """
insert into bench_raw.measurements (member_id, id, code, value, unit, sent_value, sent_unit,
  measured_at, local_date, recorded_at, recorded_by, channel, method, source_id, trust)
select $1::uuid, s.id, s.code, s.value, s.unit, s.value::text, s.unit, s.at,
  timezone('UTC', s.at)::date, $2::timestamptz, $1, 'APP', s.method, s.source_id, 'MEDIUM'
from unnest($3::uuid[], $4::text[], $5::numeric[], $6::text[], $7::timestamptz[], $8::text[],
  $9::text[]) as s (id, code, value, unit, at, source_id, method)
on conflict do nothing
"""


class _Handler:
    def __init__(self) -> None:
        self.pool: Any = None

    async def __call__(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        sent = body["variables"]["input"]["measurements"]
        instants = [datetime.fromisoformat(it["measuredAt"]) for it in sent]
        now = datetime.now(UTC)  # noqa: TID251 - the benchmark is an edge
        status = await self.pool.execute(
            INSERT,
            UUID(request.headers["x-member"]),
            now,
            new_ids(now, len(sent)),
            [it["code"] for it in sent],
            [Decimal(it["value"]) for it in sent],
            [it["unit"] for it in sent],
            instants,
            [it["sourceId"] for it in sent],
            [it["method"] for it in sent],
        )
        accepted = int(status.split()[-1])
        counts = {"accepted": accepted, "duplicates": len(sent) - accepted, "rejected": []}
        answer = {"data": {"recordMeasurements": counts}}
        return Response(orjson.dumps(answer), media_type="application/json")


def create() -> Starlette:
    """What uvicorn calls; the database's URL is in BENCH_DATABASE_URL."""
    handler = _Handler()

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        url = os.environ["BENCH_DATABASE_URL"]
        async with asyncpg.create_pool(
            url, min_size=8, max_size=8, server_settings={"jit": "off"}
        ) as handler.pool:
            yield

    return Starlette(
        routes=[Route("/graphql", handler.__call__, methods=["POST"])], lifespan=lifespan
    )
