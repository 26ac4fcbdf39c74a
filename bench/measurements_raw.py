"""The limit of ingest: what a handler written by hand costs. Starlette, asyncpg, one `unnest`
insert into a table with the same keys; no sign-in, no ranges, no conversion, no local day."""

import contextlib
import os
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.ids import new_id

TABLES = """
create schema if not exists bench_raw;
create table bench_raw.measurements (member_id uuid not null, id uuid not null,
  code text not null, value numeric(12,3) not null, unit text not null,
  measured_at timestamptz not null, source_id text not null, method text not null,
  recorded_at timestamptz not null default now(), primary key (member_id, id),
  unique (member_id, code, measured_at, source_id));
grant usage on schema bench_raw to public;
grant select, insert on all tables in schema bench_raw to public;
"""
INSERT = """
insert into bench_raw.measurements (member_id, id, code, value, unit, measured_at, source_id,
  method)
select $1::uuid, * from unnest($2::uuid[], $3::text[], $4::numeric[], $5::text[],
  $6::timestamptz[], $7::text[], $8::text[])
on conflict do nothing
"""


class _Handler:
    def __init__(self) -> None:
        self.pool: Any = None

    async def __call__(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        sent = body["variables"]["input"]["measurements"]
        instants = [datetime.fromisoformat(it["measuredAt"]) for it in sent]
        status = await self.pool.execute(
            INSERT,
            UUID(request.headers["x-member"]),
            [new_id(at) for at in instants],
            [it["code"] for it in sent],
            [Decimal(it["value"]) for it in sent],
            [it["unit"] for it in sent],
            instants,
            [it["sourceId"] for it in sent],
            [it["method"] for it in sent],
        )
        answer = {"data": {"recordMeasurements": {"accepted": int(status.split()[-1])}}}
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
