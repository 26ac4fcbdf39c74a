"""What the raw handler reads: one statement an operation, and PostgreSQL builds the JSON.

The answers are those of the product for the members of a run, ids and order included; rules that
no such member meets are left out. Rows become objects as a whole where there are many, which costs
the server less than naming each key.
"""


def _member_id(kind: str, column: str) -> str:
    """The global id of a member's only one, and how all others of that kind begin."""
    return f"translate(encode('{kind}'::bytea || uuid_send({column}), 'base64'), '+/', '-_')"


def _rest(column: str) -> str:
    """How the global id of one of several ends."""
    return f"left(translate(encode(uuid_send({column}), 'base64'), '+/', '-_'), 22)"


def _id(kind: str, member: str, column: str) -> str:
    return f"{_member_id(kind, member)} || {_rest(column)}"


def _cursor(column: str) -> str:
    return f"rtrim(encode(convert_to({column}::text, 'UTF8'), 'base64'), '=')"


HOME = f"""
select json_build_object('data', json_build_object('me', json_build_object(
  'id', {_member_id("mb", "m.member_id")}, 'displayName', m.display_name,
  'today', d.today,
  'pause', (select json_build_object('id', {_id("pa", "p.member_id", "p.id")},
      'reason', p.reason, 'startsOn', p.starts_on, 'endsOn', p.ends_on)
    from pauses p where p.member_id = m.member_id and p.starts_on <= d.today
    and (p.ends_on is null or p.ends_on >= d.today) limit 1),
  'risk', null,
  'points', (select json_build_object('id', {_member_id("pt", "w.member_id")},
      'available', w.available, 'pending', w.pending,
      'nextExpiry', (select json_build_object('amount', sum(l.remaining),
        'expiresOn', l.expires_on) from points_lots l where l.member_id = w.member_id
        and l.remaining > 0 and l.expires_at > now() group by l.expires_on
        order by l.expires_on limit 1)) from wallets w where w.member_id = m.member_id),
  'premium', (select json_build_object(
      'adjustmentPercent', trim_scale(v.adjustment_percent)::text,
      'projectedAdjustmentPercent', trim_scale(v.projected_adjustment_percent)::text,
      'renewsOn', v.renews_on) from policies o join premium_projections v
    on v.member_id = o.member_id and v.policy_id = o.id
    where o.member_id = m.member_id and o.state = 'IN_FORCE'),
  'tasksToday', (select json_agg(x.task) from (select task
    from tasks t join task_assignments a on a.member_id = t.member_id and a.id = t.assignment_id
    left join checkins c on c.member_id = t.member_id and c.id = t.latest_check_in_id
    cross join lateral (select
      d.ta || left(translate(encode(uuid_send(t.assignment_id)
        || int4send(t.starts_on - date '0001-01-01' + 1), 'base64'), '+/', '-_'), 27) as id,
      a.title_zh as title, a.kind, a.verification, a.unit, trim_scale(t.target)::text as target,
      trim_scale(t.done)::text as done, t.points, t.state, t.due_at as "dueAt",
      case when c.id is not null then (select it from (select d.ci || {_rest("c.id")} as id,
        c.occurred_at as "occurredAt", c.state) it) end as "latestCheckIn") task
    where t.member_id = m.member_id and t.starts_on <= d.today and t.ends_on >= d.today
    order by case t.state when 'OPEN'
        then (c.local_date is not distinct from d.today and c.slot + 1 >= a.per_day)::int
        when 'IN_REVIEW' then 2 else 3 end,
      t.ends_on - d.today + 1 - ceil(greatest(t.target - t.done, 0)
        / (case a.kind when 'REACH_TOTAL' then a.value_max else 1 end * a.per_day)),
      t.ends_on, a.id) x),
  'nextReminder', (select json_build_object('id', {_id("rm", "r.member_id", "r.id")},
      'title', r.title, 'kind', r.kind, 'nextFireAt', r.next_at)
    from reminders r where r.member_id = m.member_id
    and r.deleted_at is null and r.next_at is not null order by r.next_at limit 1),
  'unreadCount', (select count(*) from messages g where g.member_id = m.member_id
    and g.in_inbox and g.read_at is null))))::text
from members m cross join lateral (select (now() at time zone m.time_zone)::date as today,
  {_member_id("ta", "m.member_id")} as ta, {_member_id("ci", "m.member_id")} as ci offset 0) d
where m.member_id = $1
"""

HISTORY = f"""
with titles as materialized (
  select template_code, min(title_zh) as title from task_assignments where member_id = $1
  group by template_code),
ids as materialized (
  select {_member_id("mb", "$1::uuid")} as mb, {_member_id("pt", "$1::uuid")} as pt,
    {_member_id("pe", "$1::uuid")} as pe, {_member_id("ci", "$1::uuid")} as ci),
page as materialized (
  select seq, id, kind, amount, balance_after, posted_at, expires_on, rule_code, cause_id
  from points_transfers where member_id = $1 and seq < 9223372036854775807
  and (debit, credit) in (('issued', 'available'), ('issued', 'pending'))
  order by seq desc limit 51)
select json_build_object('data', json_build_object('me', json_build_object('id', i.mb,
  'points', json_build_object('id', i.pt, 'available', w.available, 'pending', w.pending,
    'entries', json_build_object(
      'edges', (select json_agg(edge) from (select {_cursor("s.seq")} as cursor, node
        from (select * from page limit 50) s
        left join titles a on a.template_code = s.rule_code
        cross join lateral (select i.pe || {_rest("s.id")} as id, s.kind, 'POSTED' as state,
          s.amount, s.balance_after as "balanceAfter", s.posted_at as "postedAt",
          s.expires_on as "expiresOn", a.title, (select it from (select
            'CheckIn' as __typename, i.ci || {_rest("s.cause_id")} as id) it) as cause) node) edge),
      'pageInfo', (select json_build_object('hasNextPage', count(*) > 50,
        'endCursor', {_cursor("(array_agg(seq))[50]")}) from page))))))::text
from wallets w cross join ids i where w.member_id = $1
"""

_MONEY = (
    "json_build_object('amount', to_char({} / 100.0, 'FM999999990.00'), 'currency', t.currency)"
)


def _quote(total: str, percent: str) -> str:
    return (
        f"'total', {_MONEY.format(total)}, 'adjustmentPercent', trim_scale({percent})::text,"
        " 'lines', '[]'::json"
    )


PREMIUM = f"""
select json_build_object('data', json_build_object('me', json_build_object(
  'id', {_member_id("mb", "m.member_id")},
  'policy', (select json_build_object('id', {_id("po", "o.member_id", "o.id")},
      'product', json_build_object('code', v.code, 'name', v.definition #>> '{{name,zh}}',
        'version', v.version),
      'termStart', t.starts_on, 'termEnd', t.ends_on, 'base', {_MONEY.format("t.base")},
      'current', json_build_object({_quote("t.total", "t.adjustment_percent")}),
      'renewal', json_build_object('asOf', now(),
        {
    _quote("t.base * (1 + r.projected_adjustment_percent / 100)", "r.projected_adjustment_percent")
}))
    from policies o
    join policy_terms t on t.member_id = o.member_id and t.policy_id = o.id
    join product_versions v on v.id = o.product_version_id
    join premium_projections r on r.member_id = o.member_id and r.policy_id = o.id
    where o.member_id = m.member_id and o.state = 'IN_FORCE'
    order by t.starts_on desc limit 1))))::text
from members m where m.member_id = $1
"""
"""The next term is not priced: what the product has projected is shown, and it has no lines."""
