"""The limit: what a handler written by hand costs. Starlette, asyncpg, one statement an
operation, and PostgreSQL builds the JSON. No sign-in, no limits, no log, no metrics.

Home and the statement of points read the product's own tables; the check-in writes to tables
of its own (`TABLES`), without hash chain, lots and rules. Ids are plain, which favours it.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

HOME = """
select json_build_object('data', json_build_object('me', json_build_object(
  'id', m.member_id, 'displayName', m.display_name,
  'today', (now() at time zone m.time_zone)::date,
  'pause', (select json_build_object('id', p.id, 'reason', p.reason, 'startsOn', p.starts_on,
      'endsOn', p.ends_on) from pauses p where p.member_id = m.member_id
    and p.starts_on <= (now() at time zone m.time_zone)::date
    and (p.ends_on is null or p.ends_on >= (now() at time zone m.time_zone)::date) limit 1),
  'risk', null,
  'points', (select json_build_object('id', w.member_id, 'available', w.available,
      'pending', w.pending, 'nextExpiry', (select json_build_object('amount', sum(l.remaining),
        'expiresOn', l.expires_on) from points_lots l where l.member_id = w.member_id
        and l.remaining > 0 and l.expires_at > now() group by l.expires_on
        order by l.expires_on limit 1)) from wallets w where w.member_id = m.member_id),
  'premium', (select json_build_object('adjustmentPercent', v.adjustment_percent::text,
      'projectedAdjustmentPercent', v.projected_adjustment_percent::text,
      'renewsOn', v.renews_on) from policies o join premium_projections v
    on v.member_id = o.member_id and v.policy_id = o.id
    where o.member_id = m.member_id and o.state = 'IN_FORCE'),
  'tasksToday', (select json_agg(json_build_object('id', a.id, 'title', a.title_zh,
      'kind', a.kind, 'verification', a.verification, 'unit', a.unit, 'target', t.target::text,
      'done', t.done::text, 'points', t.points, 'state', t.state, 'dueAt', t.due_at,
      'latestCheckIn', case when c.id is not null then json_build_object('id', c.id,
        'occurredAt', c.occurred_at, 'state', c.state) end) order by t.due_at)
    from tasks t join task_assignments a on a.member_id = t.member_id and a.id = t.assignment_id
    left join checkins c on c.member_id = t.member_id and c.id = t.latest_check_in_id
    where t.member_id = m.member_id and t.starts_on <= (now() at time zone m.time_zone)::date
      and t.ends_on >= (now() at time zone m.time_zone)::date),
  'nextReminder', (select json_build_object('id', r.id, 'title', r.title, 'kind', r.kind,
      'nextFireAt', r.next_at) from reminders r where r.member_id = m.member_id
    and r.deleted_at is null and r.next_at is not null order by r.next_at limit 1),
  'unreadCount', (select count(*) from messages g where g.member_id = m.member_id
    and g.in_inbox and g.read_at is null))))
from members m where m.member_id = $1
"""

HISTORY = """
with page as (
  select * from points_transfers where member_id = $1 and seq < $2
  and (debit, credit) in (('issued', 'available'), ('issued', 'pending'))
  order by seq desc limit 51),
shown as (select * from page order by seq desc limit 50)
select json_build_object('data', json_build_object('me', json_build_object('id', m.member_id,
  'points', json_build_object('id', w.member_id, 'available', w.available, 'pending', w.pending,
    'entries', json_build_object('edges', (select json_agg(json_build_object('cursor', s.seq::text,
        'node', json_build_object('id', s.id, 'kind', s.kind, 'state', 'POSTED',
          'amount', s.amount, 'balanceAfter', s.balance_after, 'postedAt', s.posted_at,
          'expiresOn', s.expires_on, 'title', a.title_zh,
          'cause', json_build_object('__typename', 'CheckIn', 'id', s.cause_id)))
        order by s.seq desc)
      from shown s left join lateral (select title_zh from task_assignments a
        where a.member_id = s.member_id and a.template_code = s.rule_code limit 1) a on true),
      'pageInfo', json_build_object('hasNextPage', (select count(*) from page) > 50,
        'endCursor', (select min(seq)::text from shown)))))))
from members m join wallets w on w.member_id = m.member_id where m.member_id = $1
"""

TABLES = """
create schema bench_raw;
create table bench_raw.accounts (id bigint generated always as identity primary key,
  member_id uuid unique, balance bigint not null);
insert into bench_raw.accounts (member_id, balance) values (null, 0);
insert into bench_raw.accounts (member_id, balance) select member_id, available from wallets;
create table bench_raw.tasks as
  select member_id, assignment_id as id, target, done, points, state from tasks
  where closed_at is null;
alter table bench_raw.tasks add primary key (member_id, id);
create table bench_raw.checkins (id bigint generated always as identity primary key,
  member_id uuid not null, task_id uuid not null, request_id uuid not null, value int not null,
  occurred_at timestamptz not null, created_at timestamptz not null default now(),
  unique (member_id, request_id));
create table bench_raw.transfers (id bigint generated always as identity primary key,
  kind text not null, check_in_id bigint not null);
create table bench_raw.postings (id bigint generated always as identity primary key,
  transfer_id bigint not null, account_id bigint not null, amount bigint not null,
  balance_after bigint, created_at timestamptz not null default now());
create index on bench_raw.postings (account_id, id);
grant usage on schema bench_raw to public;
grant select, insert, update on all tables in schema bench_raw to public;
"""
"""Idempotent check-in, two postings, the member's balance, the task's progress."""

CHECK_IN = """
with c as (
  insert into bench_raw.checkins (member_id, task_id, request_id, value, occurred_at)
  select t.member_id, t.id, $3::uuid, 1, $4::timestamptz from bench_raw.tasks t
  where t.member_id = $1::uuid and t.id = $2::uuid
  on conflict (member_id, request_id) do nothing
  returning id, task_id, value, occurred_at),
t as (update bench_raw.tasks k set done = k.done + c.value from c
  where k.member_id = $1::uuid and k.id = c.task_id
  returning k.id, k.done, k.target, k.state, k.points),
a as (update bench_raw.accounts b set balance = b.balance + t.points from t
  where b.member_id = $1::uuid returning b.id, b.balance),
x as (insert into bench_raw.transfers (kind, check_in_id) select 'EARNED', c.id from c
  returning id),
p as (insert into bench_raw.postings (transfer_id, account_id, amount, balance_after)
  select x.id, a.id, t.points, a.balance from x, a, t
  union all select x.id, 1, -t.points, null from x, t returning 1),
n as (select count(*) from p)
select c.id, c.occurred_at, c.value, t.id as task_id, t.done, t.target, t.state, t.points,
  a.id as account_id, a.balance, false as replayed
from c, t, a, n
union all
select c.id, c.occurred_at, c.value, t.id, t.done, t.target, t.state, t.points, a.id, a.balance,
  true
from bench_raw.checkins c
join bench_raw.tasks t on t.member_id = c.member_id and t.id = c.task_id
join bench_raw.accounts a on a.member_id = c.member_id
where c.member_id = $1::uuid and c.request_id = $3::uuid
"""

_LAST = 2**63 - 1


class _Handler:
    def __init__(self) -> None:
        self.pool: Any = None

    async def __call__(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        member_id = UUID(request.headers["x-member"])
        match body["operationName"]:
            case "Home":
                found = await self.pool.fetchval(HOME, member_id)
            case "PointsHistory":
                found = await self.pool.fetchval(HISTORY, member_id, _LAST)
            case _:
                found = await self._check_in(member_id, body["variables"]["input"])
        return Response(found, media_type="application/json")

    async def _check_in(self, member_id: UUID, sent: dict[str, Any]) -> bytes:
        row = await self.pool.fetchrow(
            CHECK_IN,
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
            "value": row["value"],
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
        account = {"id": row["account_id"], "available": row["balance"], "pending": 0}
        payload = {
            "__typename": "CheckInPayload",
            "replayed": row["replayed"],
            "checkIn": check_in,
            "task": task,
            "points": account,
        }
        return orjson.dumps({"data": {"checkIn": payload}})


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
