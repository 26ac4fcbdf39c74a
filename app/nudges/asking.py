"""The statements that ask a policy's fact: of a range of members to plan, or of some of them to
find out what is still true and what their wording may say."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Integer, TextClause, bindparam, text
from sqlalchemy import Text as SqlText
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.sql.selectable import TextualSelect
from sqlalchemy.types import Date, LargeBinary, Numeric, Uuid
from sqlmodel.ext.asyncio.session import AsyncSession

from app.members import buckets
from app.nudges.facts import DAY, Fact
from app.nudges.policies import HOLDOUT, Policy

_INSTANT = DateTime(timezone=True)


def _parameters(fact: Fact) -> list[Any]:
    return [bindparam(name, type_=Integer) for name in fact.parameters]


def _consented(policy: Policy) -> str:
    """All purposes that the policy rests on: given, and not taken back since. One walk over the
    consents, however many purposes, without sorting: the newest answer to each is the greatest
    version, with one bit for what it says."""
    if not policy.needs:
        return ""
    purposes = sorted(set(policy.needs))
    said = "c.version * 2 + (c.state = 'GRANTED')::integer"
    newest = [f"max(case c.purpose when '{it}' then {said} end) % 2 = 1" for it in purposes]
    return f"""
      join (select c.member_id from consents c
             where within(c) and c.purpose in ({", ".join(f"'{it}'" for it in purposes)})
             group by c.member_id having {" and ".join(newest)}) consented
        on consented.member_id = who.member_id"""


_WITHIN = re.compile(r"within\((\w+)\)")


def _within(statement: str, members: str) -> str:
    """With the condition on the members, `{}` for the table, wherever it is asked for."""
    return _WITHIN.sub(lambda found: f"({members.replace('{}', found[1])})", statement)


_PLANNED = """
       and not exists (select from planned_messages earlier
             where earlier.member_id = who.member_id and within(earlier) and {cause})"""
# Before the next day's, and not before the first day of the cooldown's.
_RECENTLY = """earlier.cause_key >= :prefix || to_char(who.local_date - :cooldown + 1, 'YYYY-MM-DD')
             and earlier.cause_key < :prefix || to_char(who.local_date + 1, 'YYYY-MM-DD')
             and earlier.source_id = :source"""


def _not_planned(policy: Policy) -> str:
    """Neither for the same cause nor within the cooldown."""
    found = _PLANNED.format(cause=_RECENTLY) if policy.cooldown else ""
    if policy.cooldown and policy.fact.period == DAY:
        return found  # today is one of those days
    return found + _PLANNED.format(cause=f"earlier.cause_key = :prefix || {policy.fact.period}")


def plan_statement(policy: Policy) -> TextClause:
    """Plans the members of a range, whose zones are `:zones`: each with an arm by their
    bucket, sent at once or at their own hour. Who was planned for the same cause stays so: whoever
    runs it sees to it that nobody else plans the policy meanwhile."""
    fact = policy.fact
    if policy.sends_at_once:
        send_at, at_their_hour = "cast(:at as timestamptz)", ""
    else:
        send_at = "hour.at"
        at_their_hour = """
      left join member_rhythms rhythm on rhythm.member_id = who.member_id and within(rhythm)
      join unnest(:hour_zones, :quarters, :instants) as hour (zone, quarter, at)
        on hour.zone = who.time_zone
       and hour.quarter = least(greatest(coalesce(rhythm.quarter, :floor), :floor), :ceiling)"""
    statement = f"""
    insert into planned_messages (member_id, cause_key, source_id, arm, propensity, state,
                                  local_date, send_at, expires_at, planned_at)
    select drawn.member_id, :prefix || drawn.period, :source, (:arms)[drawn.place],
           (:propensities)[drawn.place],
           case drawn.place when 1 then 'HOLDOUT' else 'PLANNED' end, :local_date, drawn.send_at,
           drawn.send_at + make_interval(mins => :valid), :now
      from (
    select distinct on (who.member_id, cast({fact.period} as text))
           who.member_id, {fact.period} as period, {send_at} as send_at,
           {buckets.place_sql(":salt", "who.member_id", ":ends")} + 1 as place
      from (select member_id, time_zone, created_at, :local_date as local_date,
                   cast(:local_day as text) as local_day from members
             where member_id > :after and member_id <= :upto and time_zone = any(:zones)
               and erased_at is null) who
      {fact.joins}{at_their_hour}{_consented(policy)}
     where ({fact.where}){_not_planned(policy)}
     order by who.member_id, cast({fact.period} as text)) drawn
    """
    statement = _within(statement, "{}.member_id > :after and {}.member_id <= :upto")
    parameters = [
        *_parameters(fact),
        bindparam("prefix", type_=SqlText),
        bindparam("source", type_=Uuid),
        bindparam("salt", type_=LargeBinary),
        bindparam("arms", type_=ARRAY(SqlText)),
        bindparam("propensities", type_=ARRAY(Numeric)),
        bindparam("ends", type_=ARRAY(LargeBinary)),
        bindparam("local_date", type_=Date),
        bindparam("local_day", type_=SqlText),
        bindparam("after", type_=Uuid),
        bindparam("upto", type_=Uuid),
        bindparam("zones", type_=ARRAY(SqlText)),
        bindparam("valid", type_=Integer),
        bindparam("now", type_=_INSTANT),
    ]
    if ":at" in statement:
        parameters.append(bindparam("at", type_=_INSTANT))
    if policy.cooldown:
        parameters.append(bindparam("cooldown", type_=Integer))
    if not policy.sends_at_once:
        parameters += [
            bindparam("hour_zones", type_=ARRAY(SqlText)),
            bindparam("quarters", type_=ARRAY(Integer)),
            bindparam("instants", type_=ARRAY(_INSTANT)),
            bindparam("floor", type_=Integer),
            bindparam("ceiling", type_=Integer),
        ]
    return text(statement).bindparams(*parameters)


def taken(statement: TextClause | TextualSelect, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of these values those that the statement names."""
    return {name: values[name] for name in statement.compile().params}


def prefix(policy: Policy) -> str:
    """Of the cause keys of a policy."""
    return f"nudge:{policy.code}:"


def plan_values(policy: Policy) -> dict[str, Any]:
    """What `plan_statement` is given of the policy itself."""
    draw = policy.draw()
    assert draw.arms[0] == HOLDOUT
    values: dict[str, Any] = {
        **policy.trigger.parameters,
        "prefix": prefix(policy),
        "source": policy.id,
        "salt": policy.id.bytes,
        "arms": list(draw.arms),
        "propensities": list(draw.propensities),
        "ends": [buckets.boundary(end) for end in draw.ends],
        "valid": policy.valid,
    }
    return values | ({"cooldown": policy.cooldown} if policy.cooldown else {})


@dataclass(frozen=True, slots=True)
class Held:
    """The fact holds for a member: the occasion, what a wording may say of it, and in which
    language and segment."""

    period: str
    values: Mapping[str, Any]
    locale: str
    segment: str | None


def _look_statement(policy: Policy) -> TextualSelect:
    fact = policy.fact
    values = ", ".join(f"'{name}', {sql}" for name, sql in fact.values.items())
    statement = f"""
    select who.member_id, {fact.period} as period, jsonb_build_object({values}) as "values",
           who.locale,
           (select segment from member_standing s where s.member_id = who.member_id) as segment
      from (select members.member_id, members.locale, members.created_at, asked.local_date,
                   to_char(asked.local_date, 'YYYY-MM-DD') as local_day
              from unnest(:members, :dates) as asked (member_id, local_date)
              join members on members.member_id = asked.member_id
             where members.erased_at is null) who
      {fact.joins}{_consented(policy)}
     where {fact.where}
    """
    statement = _within(statement, "{}.member_id = any(:members)")
    parameters = [
        bindparam("members", type_=ARRAY(Uuid)),
        bindparam("dates", type_=ARRAY(Date)),
        *(it for it in _parameters(fact) if f":{it.key}" in statement),
    ]
    if ":at" in statement:
        parameters.append(bindparam("at", type_=_INSTANT))
    return text(statement).bindparams(*parameters).columns(values=JSONB)


async def look(
    session: AsyncSession,
    policy: Policy,
    asked: Sequence[tuple[UUID, date]],
    *,
    now: datetime,
) -> Mapping[tuple[UUID, str], Held]:
    """Of these members, on these local days, those for whom the fact holds at `now`, by member
    and occasion."""
    if not asked:
        return {}
    statement = _look_statement(policy)
    values = {
        **policy.trigger.parameters,
        "members": [member_id for member_id, _ in asked],
        "dates": [day for _, day in asked],
        "at": now,
    }
    rows = await session.execute(statement, taken(statement, values))
    return {
        (row.member_id, row.period): Held(
            row.period, row._mapping["values"], row.locale, row.segment
        )
        for row in rows
    }
