"""The one statement that gathers what is known of members: one, or a whole portfolio.

Each asked row has its own instant, and sees what was known then: versions of readings and
conditions by when they were recorded and superseded, months by when they were last changed,
consents and assessments by when they were given.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ARRAY, Boolean, Date, DateTime, Integer, Text, Uuid, bindparam, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect

from app.db import Statement
from app.measurements.known import versions
from app.risk.facts import RANK

ASKED: Mapping[str, Any] = {
    "member_id": Uuid(),
    "policy_id": Uuid(),
    "as_of": DateTime(timezone=True),
    "number": Integer(),
    "starts_on": Date(),
    "ends_on": Date(),
    "effective_on": Date(),
    "rank": Integer(),
    "wants_level": Boolean(),
    "wants_group": Boolean(),
    "currency": Text(),
    "product": Text(),
}
"""Columns of what is asked, one array each."""

_CONSENT = """(select s.state from consents s where s.member_id = a.member_id
    and s.purpose = '{}' and s.recorded_at <= a.as_of order by s.version desc limit 1)"""
_ASSESSMENT = """select x.id, x.tier, x.assessed_at, x.classes, x.inputs from risk_assessments x
  where x.member_id = a.member_id and x.assessed_at <= {} and {}
  order by x.assessed_at desc, x.id desc limit 1"""
# A month that has been restated since is taken as it was before.
_MONTH = "month, due, percent, paused, silent, refused, withdrawn"
_MONTHS = f"""
array(select row({_MONTH}) from (
    select {_MONTH} from participation_months p
    where p.member_id = a.member_id and p.closed_at is not null and p.changed_at <= a.as_of
    union all
    (select distinct on (r.month) {", ".join(f"r.{it}" for it in _MONTH.split(", "))}
    from participation_restatements r
    join participation_months p on p.member_id = r.member_id and p.month = r.month
      and p.changed_at > a.as_of
    where r.member_id = a.member_id and r.changed_at <= a.as_of
    order by r.month, r.changed_at desc)) known
  where (month + interval '1 month')::date - 1 between a.starts_on and a.ends_on
  order by month)"""
_READINGS = versions(
    "measurements",
    member_id="a.member_id",
    as_of="a.as_of",
    condition="v.code = any(:codes) and v.measured_at >= w.since - 2 and v.measured_at < w.until + 2",
)
_SERIES = f"""
case when health.state = 'GRANTED' then
  array(select row(code, context, unit, month, readings, days, total, first_on, last_on) from (
    select v.code, v.context, v.unit, date_trunc('month', v.local_date)::date as month,
      count(*)::int as readings, count(distinct v.local_date)::int as days, sum(v.value) as total,
      min(v.local_date) as first_on, max(v.local_date) as last_on
    from (select date_trunc('month', least(a.starts_on, mild.since))::date as since,
        date_trunc('month', a.ends_on + 1)::date as until) w
    cross join lateral ({_READINGS}) v
    where v.local_date >= w.since and v.local_date < w.until
      and {RANK.format("v")} >= a.rank and v.confirmed is not false
      and (v.method <> 'SENSED' or device.state is null or device.state = 'GRANTED')
    group by v.code, v.context, v.unit, date_trunc('month', v.local_date)) found
  order by code, context nulls first, month) end"""
# What members declare about themselves makes nobody dearer.
_DIAGNOSES = """
case when health.state = 'GRANTED' then
  array(select row(c.icd10, coalesce(c.onset_on,
      (select min(f.recorded_at) from conditions f where f.member_id = c.member_id
        and f.condition_id = c.condition_id)::timestamptz at time zone m.time_zone)::date, c.source)
    from (select distinct on (c.condition_id) c.* from conditions c
      where c.member_id = a.member_id and c.recorded_at <= a.as_of
      order by c.condition_id, c.version desc) c
    where not c.retracted order by 1) end"""
_MILD = """
case when health.state = 'GRANTED' then
  array(select row(k.condition, k.triggered_on, coalesce((select c.choice
      from mild_condition_choices c where c.member_id = k.member_id and c.case_id = k.id
      and c.chosen_at <= a.as_of order by c.place desc limit 1), 'PREMIUM'))
    from mild_condition_cases k where k.member_id = a.member_id and k.opened_at <= a.as_of
    and k.state <> 'NOT_COVERED' and k.triggered_on > a.starts_on - 366
    order by k.triggered_on, k.condition) end"""
_EARNED = """
case when a.wants_level then
  array(select row(extract(year from t.local_date)::int, sum(case
      when t.debit in ('issued', 'pending') and t.credit not in ('pending', 'reversed')
        then t.amount
      when t.debit not in ('issued', 'pending') and t.credit in ('pending', 'reversed')
        then -t.amount else 0 end)::bigint)
    from points_transfers t where t.member_id = a.member_id and t.posted_at <= a.as_of
    and t.local_date >= (date_trunc('year', a.as_of) - interval '1 year')::date - 1
    group by extract(year from t.local_date)) end"""
# What later premiums of the policy used is not used yet; what a cover used that never came to be
# is not used any more, nor what an offer did that another one took the place of.
_CAME_TO_BE = """
not exists (select from policy_events e
    join policies n on n.member_id = e.member_id and n.id = e.policy_id
  where e.member_id = p.member_id and e.policy_id = p.policy_id and e.at <= a.as_of
  and (e.state in ('WITHDRAWN', 'DECLINED', 'EXPIRED', 'RESCINDED')
    or (e.state = 'CANCELLED' and n.ended_on < n.started_on)))
and not (p.moment = 'ENROLMENT' and exists (select from premiums q
  where q.member_id = p.member_id and q.policy_id = p.policy_id and q.number > p.number
  and q.moment = 'ENROLMENT' and q.as_of <= a.as_of))"""
_CREDITS = f"""
array(select row(b.id, b.amount - coalesce(u.used, 0),
      (b.granted_at at time zone m.time_zone)::date)
    from pending_benefits b
    left join lateral (select sum(u.amount)::bigint as used from premium_credit_uses u
      join premiums p on p.member_id = u.member_id and p.id = u.premium_id
      where u.member_id = b.member_id and u.redemption_id = b.id and u.used_at <= a.as_of
      and (p.policy_id is distinct from a.policy_id
        or (p.number < a.number and a.starts_on is not null))
      and {_CAME_TO_BE}) u on true
    where b.member_id = a.member_id and b.kind = 'PREMIUM_CREDIT' and b.currency = a.currency
    and b.granted_at <= a.as_of and b.amount > coalesce(u.used, 0)
    order by b.granted_at, b.id)"""

# A cover that ended before what is priced begins; at a renewal, within the term that ends.
_LEFT_ON = """
(select max(o.last_on) from (select coalesce(o.ended_on, o.left_on) as last_on, o.started_on
    from policies o where o.member_id = a.member_id) o
  where o.last_on >= o.started_on and o.last_on < a.effective_on
  and (a.starts_on is null or o.last_on >= a.starts_on))"""
# By what had happened to a policy before that instant: what happens at it, to others of the same
# batch too, does not count yet. One that the release before wrote has no history.
_COVERED = """
({0}.started_on <= a.effective_on and {0}.created_at < a.as_of and case coalesce(
    (select e.state from policy_events e where e.member_id = {0}.member_id
      and e.policy_id = {0}.id and e.at < a.as_of order by e.place desc limit 1),
    case when exists (select from policy_events e where e.member_id = {0}.member_id
      and e.policy_id = {0}.id) then 'APPLIED' else {0}.state end)
  when 'IN_FORCE' then {1} when 'GRACE' then {1}
  when 'ENDED' then {2} when 'LAPSED' then {2} when 'CANCELLED' then {2} when 'RESCINDED' then {2}
  else false end)"""
_PLANNED = """
not ({0}.ended_on < a.effective_on and exists (select from policy_events e
  where e.member_id = {0}.member_id and e.policy_id = {0}.id and e.at < a.as_of
  and e.kind = 'CANCELLATION_PLANNED'))"""


def _covered(policy: str) -> str:
    return _COVERED.format(
        policy,
        f"coalesce({_PLANNED.format(policy)}, true)",
        f"coalesce({policy}.ended_on >= a.effective_on, true)",
    )


# Counted once for a group and a day, whoever of it is asked about; who is asked about is one.
_GROUPS = f"""
groups as (select a.group_id, a.effective_on, a.as_of, (select count(*) from policies c
    where c.group_id = a.group_id and {_covered("c")}) as members
  from (select distinct p.group_id, a.effective_on, a.as_of from a
    join policies p on p.member_id = a.member_id and p.id = a.policy_id
    where a.wants_group and p.group_id is not null) a)"""
_GROUP_MEMBERS = f"""
(select (g.members + (not {_covered("p")})::int)::int
  from policies p join groups g on g.group_id = p.group_id
    and g.effective_on = a.effective_on and g.as_of = a.as_of
  where p.member_id = a.member_id and p.id = a.policy_id)"""
# The newest year that was known then; one that lies further back says nothing of this term.
_LOSS_RATIO = """
(select row(l.year, l.percent) from loss_ratios l where l.product_code = a.product
  and l.year < extract(year from a.effective_on) and l.recorded_at <= a.as_of
  and l.year >= extract(year from a.effective_on) - 2
  order by l.year desc, l.revision desc limit 1)"""
# Of a term that begins then, never of one that runs.
_OFFERED = """
(select o.amount from renewal_offers o where o.member_id = a.member_id
  and o.policy_id = a.policy_id and o.starts_on = a.effective_on and o.starts_on > a.ends_on
  and o.priced_at <= a.as_of)"""

_GATHER = f"""
{_GROUPS}
select a.place::int, m.birth_date, m.sex, m.region, m.time_zone,
  health.state as health_state, now_.id as assessment_id, now_.tier, now_.assessed_at,
  now_.classes::json as classes, now_.inputs::json as inputs,
  ending.facts::json as ending_facts, start_.id as start_id, start_.tier as start_tier,
  start_.assessed_at as start_at, start_.classes::json as start_classes,
  start_.inputs::json as start_inputs, before.carry::json as carry,
  before.policy_id as before_policy_id, {_MONTHS} as months, {_SERIES} as series,
  {_DIAGNOSES} as diagnoses, {_MILD} as mild, {_EARNED} as earned, {_CREDITS} as credits,
  {_LEFT_ON} as left_on, {_GROUP_MEMBERS} as group_members,
  {_LOSS_RATIO} as loss_ratio, {_OFFERED} as offered
from a
join members m on m.member_id = a.member_id
cross join lateral (select {_CONSENT.format("HEALTH_DATA")} as state) health
cross join lateral (select {_CONSENT.format("DEVICE_DATA")} as state) device
cross join lateral (select min(k.triggered_on) as since from mild_condition_cases k
  where k.member_id = a.member_id and k.opened_at <= a.as_of and k.state <> 'NOT_COVERED'
  and k.triggered_on > a.starts_on - 366) mild
left join lateral ({_ASSESSMENT.format("a.as_of", "health.state = 'GRANTED'")}) now_ on true
left join lateral (select p.facts from premiums p where p.member_id = a.member_id
  and p.policy_id = a.policy_id and p.number < a.number and p.term_starts_on = a.starts_on
  order by p.number limit 1) ending on true
left join lateral ({
    _ASSESSMENT.format(
        "(a.starts_on::timestamp at time zone m.time_zone)",
        "ending.facts is null and health.state = 'GRANTED'",
    )
}) start_ on true
left join lateral (select p.carry, p.policy_id from premiums p
  where p.member_id = a.member_id and p.as_of <= a.as_of
  and (p.policy_id is distinct from a.policy_id or p.number < a.number)
  order by p.as_of desc, p.number desc limit 1) before on true
order by a.place
"""
_CODES = bindparam("codes", type_=ARRAY(Text))
_POSTGRESQL: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]

GATHER = text(f"""
with a as materialized (select * from unnest({", ".join(f":{it}" for it in ASKED)})
  with ordinality as a ({", ".join(ASKED)}, place)), {_GATHER}
""").bindparams(*(bindparam(name, type_=ARRAY(kind)) for name, kind in ASKED.items()), _CODES)
_ONE = f"""
with a as materialized (select {", ".join(f":{it} as {it}" for it in ASKED)}, 1 as place), {_GATHER}
"""
GATHER_ONE = text(_ONE).bindparams(
    *(bindparam(name, type_=kind) for name, kind in ASKED.items()), _CODES
)
"""For one, with values in the place of arrays: only then does the server come to keep the plan. It
takes eight times as long to make one as to run it."""
GATHER_ONE_DIRECTLY = Statement(
    _ONE,
    {name: kind.compile(_POSTGRESQL) for name, kind in {**ASKED, "codes": _CODES.type}.items()},
)
"""The same for the driver."""
