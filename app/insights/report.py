"""Members' months, read with two statements however much there is."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Date, Uuid, bindparam, text
from sqlalchemy import Text as TextType
from sqlalchemy.ext.asyncio import AsyncConnection

from app import civil_time
from app.insights import report_data
from app.insights import report_rules as rules
from app.measurements import quarters
from app.measurements.catalogue import quantities
from app.measurements.devices_links import links_of, links_sql
from app.members.rules import Sex
from app.records import clinical, thresholds
from app.records import queries as records
from app.texts import Text

# Readings by the hour; streams by day, for a sensor measures at no usual hour; and running
# totals as one value a day. What is extreme and not confirmed
# yet is left out. A local day lies within these instants, in every zone.
YEAR_MIN, YEAR_MAX = 1900, 2200

_MONTH = text(f"""
select m.member_id, m.display_name, m.birth_date, m.sex, m.time_zone,
  array(select row(r.code, r.local_date, date_trunc('hour', r.measured_at), count(*), sum(r.value),
      min(r.value), max(r.value))
    from measurements r where r.member_id = m.member_id and r.superseded_at is null
    and r.measured_at >= cast(:since as date) - interval '1 day'
    and r.measured_at < cast(:until as date) + interval '1 day'
    and r.local_date >= :since and r.local_date < :until and r.confirmed is not false
    group by r.code, r.local_date, date_trunc('hour', r.measured_at)) as readings,
  array(select row(s.code, s.local_date, sum(s.n), sum(s.total), min(s.minimum), max(s.maximum))
    from measurement_streams s where s.member_id = m.member_id and s.code = any(:streamed)
    and s.starts_at >= cast(:since as date) - interval '1 day'
    and s.starts_at < cast(:until as date) + interval '1 day'
    and s.local_date >= :since and s.local_date < :until
    group by s.code, s.local_date) as streams,
  array(select row(d.code, d.local_date, d.value) from daily_total_days d
    where d.member_id = m.member_id and d.local_date >= :since and d.local_date < :until)
    as totals,
  array(select row(t.state, count(*)) from tasks t where t.member_id = m.member_id
    and t.closed_at is not null and t.ends_on >= :month and t.ends_on < :until group by t.state)
    as tasks,
  (select coalesce(sum(case when p.credit in ('available', 'pending') then p.amount
      when p.debit in ('available', 'pending') then -p.amount end), 0)
    from points_transfers p where p.member_id = m.member_id and p.local_date >= :month
    and p.local_date < :until and p.kind in ('EARNED', 'ADJUSTED')
    and not (p.credit in ('available', 'pending') and p.debit in ('available', 'pending')))
    as points,
  (select row(a.title_zh, a.title_en) from tasks t
    join task_assignments a on a.member_id = t.member_id and a.id = t.assignment_id
    where t.member_id = m.member_id and t.state = 'DONE' and t.ends_on >= :month
    and t.ends_on < :until group by a.title_zh, a.title_en
    order by count(*) desc, a.title_en limit 1) as favourite,
  {links_sql("m.member_id")} as links
from members m where m.member_id = any(:member_ids) and m.erased_at is null
  and (not :consented_only or coalesce((select c.state = 'GRANTED' from consents c
    where c.member_id = m.member_id and c.purpose = 'HEALTH_DATA'
    order by c.version desc limit 1), false))
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("since", type_=Date),
    bindparam("month", type_=Date),
    bindparam("until", type_=Date),
    bindparam("streamed", type_=ARRAY(TextType)),
    bindparam("consented_only", type_=Boolean),
)


@dataclass(frozen=True, slots=True)
class Report:
    month: date
    """Its first day."""
    last_day: date
    """Of the month, or today."""
    name: str
    summaries: Sequence[rules.Summary]
    classes: Sequence[clinical.Found]
    """As they are now."""
    see_a_doctor: bool
    """A reading of the last year lies in the diabetes range."""
    tasks: rules.Tasks
    points: int
    """Earned on days of the month, less what was taken back."""
    silent_days: int
    habits: rules.Habits
    advice: Sequence[rules.Advice]


async def of_month(
    connection: AsyncConnection,
    member_id: UUID,
    month: date,
    *,
    consented_only: bool,
    now: datetime,
) -> Report | None:
    """The month in which the day `month` lies, up to today. None when there is no such member,
    when the month has not begun, or, with `consented_only`, when the member does not consent to
    the use of health data."""
    found = await of_members(connection, [member_id], month, consented_only=consented_only, now=now)
    return found.get(member_id)


async def of_members(
    connection: AsyncConnection,
    member_ids: Sequence[UUID],
    month: date,
    *,
    consented_only: bool,
    now: datetime,
) -> dict[UUID, Report]:
    """`of_month` of many members, with as many statements; members without one are left out."""
    first, until = month.replace(day=1), rules.month_after(month)
    values = {
        "member_ids": list(member_ids),
        "since": rules.month_before(first),
        "month": first,
        "until": until,
        "streamed": quarters.streamed(),
        "consented_only": consented_only,
    }
    rows = (await connection.execute(_MONTH, values)).all()
    begun = [row for row in rows if _today(row, now) >= first]
    if not begun:
        return {}
    readings: dict[UUID, list[clinical.Reading]] = defaultdict(list)
    for it in await records.readings(
        connection,
        [row.member_id for row in begun],
        thresholds.guidelines(),
        consented_only=consented_only,
        now=now,
    ):
        readings[it.member_id].append(clinical.of_row(it))
    return {row.member_id: _report(row, readings[row.member_id], first, now) for row in begun}


def _today(row: Any, now: datetime) -> date:
    return civil_time.local_date(now, civil_time.zone(row.time_zone))


def _report(row: Any, known: Sequence[clinical.Reading], first: date, now: datetime) -> Report:
    """From a row of `_MONTH`, and what the classes may rest on."""
    zone = civil_time.zone(row.time_zone)
    today = _today(row, now)
    last = min(rules.month_after(first) - timedelta(days=1), today)
    hours = _hours(row)
    found = rules.summaries(
        hours,
        month=first,
        days=(last - first).days + 1,
        zone=zone,
        catalogue=quantities().values(),
    )
    age = civil_time.completed_years(row.birth_date, today)
    person = clinical.Person(Sex(row.sex), age)
    tasks = _tasks(dict(row.tasks))
    silent = rules.silent_days(links_of(row.links), first=first, last=last, zone=zone)
    return Report(
        month=first,
        last_day=last,
        name=row.display_name,
        summaries=found,
        classes=clinical.classes(known, person, thresholds.guidelines(), today=today),
        see_a_doctor=clinical.diabetes_range(known, thresholds.guidelines(), today=today)
        is not None,
        tasks=tasks,
        points=int(row.points),
        silent_days=silent,
        habits=rules.habits(
            hours,
            Text(zh=row.favourite[0], en=row.favourite[1]) if row.favourite else None,
            month=first,
            zone=zone,
        ),
        advice=rules.advise(
            report_data.advice(),
            found=found,
            tasks=tasks,
            silent=silent,
            said_max=report_data.said_max(),
        ),
    )


def _hours(row: Any) -> list[rules.Hour]:
    totals = [rules.Hour(code, day, None, 1, it, it, it) for code, day, it in row.totals]
    streams = [rules.Hour(code, day, None, *rest) for code, day, *rest in row.streams]
    return [*(rules.Hour(*it) for it in row.readings), *streams, *totals]


def _tasks(by_state: dict[str, int]) -> rules.Tasks:
    return rules.Tasks(
        done=by_state.get("DONE", 0),
        missed=by_state.get("MISSED", 0),
        paused=by_state.get("PAUSED", 0),
        device_silent=by_state.get("DEVICE_SILENT", 0),
        consent_refused=by_state.get("CONSENT_REFUSED", 0),
        consent_withdrawn=by_state.get("CONSENT_WITHDRAWN", 0),
    )
