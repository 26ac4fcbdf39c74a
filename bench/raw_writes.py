"""What the raw handler writes: one statement an operation, to tables of its own, without hash
chain, lots and rules.

Its readings go into a table with the columns, checks and indexes of the product's own.
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
create table bench_raw.measurements (like measurements including all);
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
select c.id, c.occurred_at, t.id as task_id, t.done, t.target, t.state, t.points,
  a.id as account_id, a.balance, false as replayed
from c, t, a, n
union all
select c.id, c.occurred_at, t.id, t.done, t.target, t.state, t.points, a.id, a.balance, true
from bench_raw.checkins c
join bench_raw.tasks t on t.member_id = c.member_id and t.id = c.task_id
join bench_raw.accounts a on a.member_id = c.member_id
where c.member_id = $1::uuid and c.request_id = $3::uuid
"""

RECORD = """
with new as (
  insert into bench_raw.measurements (member_id, id, code, value, unit, sent_value, sent_unit,
    measured_at, local_date, recorded_at, recorded_by, channel, method, source_id, trust)
  select $1::uuid, s.id, s.code, s.value, s.unit, s.value::text, s.unit, s.at,
    timezone('UTC', s.at)::date, $2::timestamptz, $1, 'APP', s.method, s.source_id, 'MEDIUM'
  from unnest($3::uuid[], $4::text[], $5::numeric[], $6::text[], $7::timestamptz[], $8::text[],
    $9::text[]) as s (id, code, value, unit, at, source_id, method)
  on conflict do nothing returning 1)
select (select count(*) from new) as accepted, w.available, w.pending
from wallets w where w.member_id = $1
"""
