"""Series of a member's data by day and week; loads of one moment share one statement."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Date, Integer, Text, Uuid, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from strawberry.dataloader import DataLoader

from app.graphql.node import Info
from app.measurements import queries
from app.measurements.totals import Day

Row = TypeVar("Row")


class Period(StrEnum):
    DAY = "DAY"
    WEEK = "WEEK"


class Days(NamedTuple):
    """The newest periods of one code, before `before`, from `since` on; at most `limit`."""

    code: str
    since: date | None
    before: date | None
    limit: int
    per: Period = Period.DAY


class Summary(NamedTuple):
    """What was measured in a local day, or in a week from Monday on."""

    starts_on: date
    n: int
    minimum: Decimal
    mean: Decimal
    maximum: Decimal


_CONSENTED = """(not :consented_only or (select c.state from consents c
    where c.member_id = wanted.member_id and c.purpose = 'HEALTH_DATA'
    order by c.version desc limit 1) = 'GRANTED')"""
_PARAMETERS = (
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("code", type_=Text),
    bindparam("since", type_=Date),
    bindparam("before", type_=Date),
    bindparam("limit", type_=Integer),
    bindparam("consented_only", type_=Boolean),
)
_TOTALS = text(f"""
select wanted.member_id, d.id, d.code, d.local_date, d.value, d.unit, array(
  select row(t.source_id, t.value) from daily_totals t where t.member_id = wanted.member_id
  and t.code = d.code and t.local_date = d.local_date and t.superseded_at is null
  order by t.source_id collate "C")
from unnest(:member_ids) as wanted (member_id)
join lateral (select * from daily_total_days d where d.member_id = wanted.member_id
  and d.code = :code and d.local_date >= coalesce(:since, '-infinity')
  and d.local_date < coalesce(:before, 'infinity')
  order by d.local_date desc limit :limit) d on {_CONSENTED}
order by d.local_date desc
""").bindparams(*_PARAMETERS)


def _summaries(period: Period) -> Any:
    """Readings, streams and totals of a code, by local day or week. A local day lies within
    a day of the same day in UTC: so the index by instant is used."""
    starts_on = "local_date" if period is Period.DAY else "date_trunc('week', local_date)::date"
    of_table = "x.member_id = wanted.member_id and x.code = :code"
    days = f"{starts_on} >= coalesce(:since, '-infinity') and {starts_on} < coalesce(:before, 'infinity')"
    instants = """x.{0} >= coalesce((:since)::timestamptz, '-infinity') - interval '8 days'
      and x.{0} < coalesce((:before)::timestamptz, 'infinity') + interval '1 day'"""
    return text(f"""
select wanted.member_id, s.starts_on, s.n, s.minimum, s.mean, s.maximum
from unnest(:member_ids) as wanted (member_id)
join lateral (
  select starts_on, sum(n)::bigint as n, min(minimum) as minimum,
    round(sum(total) / sum(n), 3) as mean, max(maximum) as maximum
  from (
    select {starts_on} as starts_on, 1 as n, x.value as minimum, x.value as maximum,
      x.value as total
    from measurements x where {of_table} and x.superseded_at is null
      and {instants.format("measured_at")} and {days}
    union all
    select {starts_on}, x.n, x.minimum, x.maximum, x.total
    from measurement_streams x where {of_table} and {instants.format("starts_at")} and {days}
    union all
    select {starts_on}, 1, x.value, x.value, x.value
    from daily_total_days x where {of_table} and {days}) parts
  group by starts_on order by starts_on desc limit :limit) s on {_CONSENTED}
order by s.starts_on desc
""").bindparams(*_PARAMETERS)


_SUMMARIES = {period: _summaries(period) for period in Period}

Read = Callable[[AsyncConnection, Sequence[UUID], Days, bool], Awaitable[dict[UUID, list[Row]]]]


async def daily_totals(
    connection: AsyncConnection, member_ids: Sequence[UUID], wanted: Days, consented_only: bool
) -> dict[UUID, list[Day]]:
    found: dict[UUID, list[Day]] = defaultdict(list)
    for member_id, *row in await _rows(connection, _TOTALS, member_ids, wanted, consented_only):
        found[member_id].append(Day(*row))
    return found


async def summaries(
    connection: AsyncConnection, member_ids: Sequence[UUID], wanted: Days, consented_only: bool
) -> dict[UUID, list[Summary]]:
    statement = _SUMMARIES[wanted.per]
    found: dict[UUID, list[Summary]] = defaultdict(list)
    for member_id, *row in await _rows(connection, statement, member_ids, wanted, consented_only):
        found[member_id].append(Summary(*row))
    return found


async def _rows(
    connection: AsyncConnection,
    statement: Any,
    member_ids: Sequence[UUID],
    wanted: Days,
    consented_only: bool,
) -> Any:
    parameters = {
        "member_ids": list(member_ids),
        "code": wanted.code,
        "since": wanted.since,
        "before": wanted.before,
        "limit": wanted.limit,
        "consented_only": consented_only,
    }
    return await connection.execute(statement, parameters)


async def of_member(info: Info, member_id: UUID, wanted: Days, read: Read[Row]) -> list[Row]:
    """What one member has; loads of one moment, as of a list of members, share one statement."""
    consented_only = not info.context.is_own(member_id)
    name = f"measurements.{read.__name__}.{wanted}.{consented_only}"
    state = info.context.state
    if name not in state:

        async def load(member_ids: list[UUID]) -> list[list[Row]]:
            async with info.context.db.read() as reading:
                found = await read(reading, member_ids, wanted, consented_only)
            return [found.get(member_id, []) for member_id in member_ids]

        state[name] = DataLoader(load_fn=load)
    found: list[Row] = await state[name].load(member_id)
    return found


async def consents(connection: AsyncConnection, member_id: UUID) -> bool:
    """Whether the consent to the use of health data is in force."""
    return bool(await connection.scalar(select(queries.consents(member_id))))
