"""Benefits as they are read. Every look-up takes many and is one statement; `open_to` names the
members whose health data the viewer may see without their consent: themselves."""

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

Key = tuple[UUID, UUID]
"""A member and the id of what is theirs."""
Cursor = tuple[date, UUID]
_KEYS = (bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("ids", type_=ARRAY(Uuid)))
_SHOWN = """
(asked.member_id = any(:open_to) or coalesce((select s.state = 'GRANTED' from consents s
  where s.member_id = asked.member_id and s.purpose = 'HEALTH_DATA'
  order by s.version desc limit 1), false))
"""
_OPEN_TO = bindparam("open_to", type_=ARRAY(Uuid))
_CHOICE = """
(select h.choice from mild_condition_choices h where h.member_id = k.member_id
  and h.case_id = k.id order by h.place desc limit 1) as choice
"""
_ZONE = "(select m.time_zone from members m where m.member_id = k.member_id) as time_zone"
_WAITING = "(v.definition #>> '{benefits,waiting_days}')::int as waiting_days"

_POLICIES = text(f"""
select c.member_id, c.id, c.started_on, m.time_zone, v.id as version_id, v.definition,
  array(select row(u.percent, u.starts_on, u.ends_on) from cover_uplifts u
    where u.member_id = c.member_id and u.policy_id = c.id order by u.starts_on, u.id) as uplifts,
  case when {_SHOWN} then array(
    select row(code, decision, reason, insured_months, good_months, counted_months, starts_on,
      ends_on) from (select distinct on (d.code) d.* from complication_decisions d
      where d.member_id = c.member_id and d.policy_id = c.id
      order by d.code, d.decided_at desc, d.starts_on desc) newest)
  end as decisions
from unnest(:member_ids, :ids) as asked (member_id, id)
join policies c on c.member_id = asked.member_id and c.id = asked.id
join product_versions v on v.id = c.product_version_id
join members m on m.member_id = c.member_id
""").bindparams(*_KEYS, _OPEN_TO)
_CASES = text(f"""
select found.*, {_CHOICE.replace("k.", "found.")}, {_WAITING},
  {_ZONE.replace("k.", "found.")}
from unnest(:member_ids, :ids) as asked (member_id, id)
cross join lateral (
  select k.* from mild_condition_cases k
  where k.member_id = asked.member_id and k.policy_id = asked.id and {_SHOWN}
    and (cast(:on as date) is null or (k.triggered_on, k.id) < (:on, cast(:after_id as uuid)))
  order by k.triggered_on desc, k.id desc limit :limit) found
join product_versions v on v.id = found.product_version_id
order by found.triggered_on desc, found.id desc
""").bindparams(*_KEYS, _OPEN_TO)
_CASES_BY_KEY = text(f"""
select k.*, {_CHOICE}, {_WAITING}, {_ZONE}
from unnest(:member_ids, :ids) as asked (member_id, id)
join mild_condition_cases k on k.member_id = asked.member_id and k.id = asked.id
join product_versions v on v.id = k.product_version_id
where {_SHOWN}
""").bindparams(*_KEYS, _OPEN_TO)
_COST = "c.*, k.share_percent, k.limit_amount, k.currency"
_COSTS = text(f"""
select found.*
from unnest(:member_ids, :ids) as asked (member_id, id)
cross join lateral (
  select {_COST} from benefit_costs c
  join mild_condition_cases k on k.member_id = c.member_id and k.id = c.case_id
  where c.member_id = asked.member_id and c.case_id = asked.id and {_SHOWN}
    and (cast(:before as int) is null or c.place < :before)
  order by c.place desc limit :limit) found
order by found.place desc
""").bindparams(*_KEYS, _OPEN_TO)
_COSTS_BY_KEY = text(f"""
select {_COST} from unnest(:member_ids, :ids) as asked (member_id, id)
join benefit_costs c on c.member_id = asked.member_id and c.id = asked.id
join mild_condition_cases k on k.member_id = c.member_id and k.id = c.case_id
where {_SHOWN}
""").bindparams(*_KEYS, _OPEN_TO)
_UPLIFTS = text("""
select found.* from unnest(:member_ids, :ids) as asked (member_id, id)
cross join lateral (
  select u.* from cover_uplifts u where u.member_id = asked.member_id and u.policy_id = asked.id
    and (cast(:on as date) is null or (u.starts_on, u.id) < (:on, cast(:after_id as uuid)))
  order by u.starts_on desc, u.id desc limit :limit) found
order by found.starts_on desc, found.id desc
""").bindparams(*_KEYS)


async def policies(
    reading: AsyncConnection, keys: Sequence[Key], *, open_to: Sequence[UUID]
) -> Sequence[Any]:
    """Product, uplifts, and the newest decision about each complication cover (null when the
    viewer may not see it)."""
    return await _rows(reading, _POLICIES, keys, open_to=list(open_to))


async def cases(
    reading: AsyncConnection,
    policy_keys: Sequence[Key],
    *,
    open_to: Sequence[UUID],
    after: Cursor | None,
    limit: int,
) -> Sequence[Any]:
    """Of each policy at most `limit`, the newest first."""
    on, id = after or (None, None)
    return await _rows(
        reading, _CASES, policy_keys, open_to=list(open_to), on=on, after_id=id, limit=limit
    )


async def cases_by_key(
    reading: AsyncConnection, keys: Sequence[Key], *, open_to: Sequence[UUID]
) -> Sequence[Any]:
    return await _rows(reading, _CASES_BY_KEY, keys, open_to=list(open_to))


async def costs(
    reading: AsyncConnection,
    case_keys: Sequence[Key],
    *,
    open_to: Sequence[UUID],
    before: int | None,
    limit: int,
) -> Sequence[Any]:
    """Of each case at most `limit`, the newest first, with the terms of the case."""
    return await _rows(
        reading, _COSTS, case_keys, open_to=list(open_to), before=before, limit=limit
    )


async def costs_by_key(
    reading: AsyncConnection, keys: Sequence[Key], *, open_to: Sequence[UUID]
) -> Sequence[Any]:
    return await _rows(reading, _COSTS_BY_KEY, keys, open_to=list(open_to))


async def uplifts(
    reading: AsyncConnection, policy_keys: Sequence[Key], *, after: Cursor | None, limit: int
) -> Sequence[Any]:
    """Of each policy at most `limit`, the newest first."""
    on, id = after or (None, None)
    return await _rows(reading, _UPLIFTS, policy_keys, on=on, after_id=id, limit=limit)


async def _rows(
    reading: AsyncConnection, statement: Any, keys: Sequence[Key], **more: Any
) -> Sequence[Any]:
    wanted = {"member_ids": [key[0] for key in keys], "ids": [key[1] for key in keys], **more}
    rows: Sequence[Any] = (await reading.execute(statement, wanted)).all()
    return rows
