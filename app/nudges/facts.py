"""What a nudge policy may ask about: SQL of ours, named, with typed parameters.

`who` is whom it is asked about: member_id, local_date (local_day as text) and created_at. A fact
joins what it needs, says for whom it holds, what the occasion is (`period`: one message each) and
which values a wording may use. Planning asks it of a million members; the release and the dispatch
ask it again of those who are about to be told, so that nobody hears what is not true any more.
`within(t)` becomes the range, or the list, of members on the table `t`: PostgreSQL does not carry
it over from `who` by itself, and joins a range in order instead of member by member.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

DAY = "who.local_day"
"""An occasion a local day: the policy's cooldown says how often."""


@dataclass(frozen=True, slots=True)
class Fact:
    joins: str
    where: str
    period: str = DAY
    values: Mapping[str, str] = field(default_factory=dict)
    """Name to SQL, of what a wording may say."""
    parameters: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Name to least and greatest value."""
    samples: Mapping[str, str | int] = field(default_factory=dict)
    """What a preview says of somebody whom it does not concern now."""


_DAYS = (1, 366)
_PERCENT = (1, 500)
_OPEN = (
    "t.closed_at is null and t.state = 'OPEN' and who.local_date between t.starts_on and t.ends_on"
)
_TASK = "join task_assignments a on a.member_id = t.member_id and a.id = t.assignment_id"
_DUE_BY = "t.ends_on between who.local_date and who.local_date + cast(:days as integer)"

FACTS: Mapping[str, Fact] = {
    "steps_below": Fact(
        joins=f"""
        join tasks t on t.member_id = who.member_id and t.ends_on = who.local_date
          and within(t) and {_OPEN}
        {_TASK} and within(a) and a.unit = '{{steps}}' and a.period = 'day'
        left join daily_total_days d on d.member_id = who.member_id and within(d)
          and d.code = 'STEPS' and d.local_date = who.local_date""",
        where="greatest(t.done, coalesce(d.value, 0)) < t.target * :percent / 100",
        values={
            "left": "ceil(t.target - greatest(t.done, coalesce(d.value, 0)))::bigint",
            "target": "t.target::bigint",
            "minutes": "ceil((t.target - greatest(t.done, coalesce(d.value, 0))) / 100)::bigint",
        },
        parameters={"percent": (1, 100)},
        samples={"left": 3200, "target": 8000, "minutes": 32},
    ),
    "streak_at_risk": Fact(
        joins=f"""
        cross join lateral (
          select max(t.done) as days from tasks t {_TASK}
           where t.member_id = who.member_id and t.ends_on >= who.local_date and {_OPEN}
             and a.kind = 'DAYS_IN_A_ROW' and t.done >= :days
             and not exists (select from checkins c where c.member_id = t.member_id
               and c.assignment_id = t.assignment_id and c.starts_on = t.starts_on
               and c.local_date = who.local_date)) streak""",
        where="streak.days is not null",
        values={"days": "streak.days::bigint"},
        parameters={"days": (1, 31)},
        samples={"days": 5},
    ),
    "task_due": Fact(
        joins=f"""
        cross join lateral (
          select count(*) as tasks, min(t.ends_on) as last_day from tasks t {_TASK}
           where t.member_id = who.member_id and {_DUE_BY} and {_OPEN}
             and a.period in ('week', 'month')) due""",
        where="due.tasks > 0",
        values={"tasks": "due.tasks", "days": "due.last_day - who.local_date"},
        parameters={"days": (0, 31)},
        samples={"tasks": 2, "days": 1},
    ),
    # Everybody is told by a notice, some time before (`points_notices.py`): this speaks between
    # two notices only, so that nobody hears of the same points twice in one week.
    "points_expiring": Fact(
        joins="""
        cross join lateral (
          select sum(l.remaining) as points, min(l.expires_on) as last_day from points_lots l
           where l.member_id = who.member_id and l.remaining > 0 and l.expires_on
             between who.local_date + cast(:from_days as integer)
               and who.local_date + cast(:to_days as integer)
             and not exists (select from points_expiry_notices n
              where n.member_id = l.member_id and n.expires_on = l.expires_on
                and n.announced_at at time zone 'UTC'
                  > who.local_date - cast(:apart as integer))) lots""",
        where="lots.points > 0",
        period="to_char(lots.last_day, 'YYYY-MM-DD')",
        values={
            "points": "lots.points::bigint",
            "last_day": "to_char(lots.last_day, 'YYYY-MM-DD')",
        },
        parameters={"from_days": _DAYS, "to_days": _DAYS, "apart": (1, 60)},
        samples={"points": 120, "last_day": "2026-12-31"},
    ),
    "joined": Fact(
        joins="",
        where="""who.created_at <= cast(:at as timestamptz) - make_interval(days => :from_days)
          and who.created_at > cast(:at as timestamptz) - make_interval(days => :to_days)""",
        period="'once'",
        parameters={"from_days": (0, 366), "to_days": (1, 367)},
    ),
    "examination_due": Fact(
        joins=f"""
        cross join lateral (
          select min(t.ends_on) as last_day from tasks t {_TASK}
           where t.member_id = who.member_id and {_DUE_BY} and {_OPEN}
             and a.kind = 'ONE_OFF' and a.template_code = 'annual-examination') examination""",
        where="examination.last_day is not null",
        values={"days": "examination.last_day - who.local_date"},
        parameters={"days": _DAYS},
        samples={"days": 30},
    ),
    "lecture_open": Fact(
        joins=f"""
        cross join lateral (
          select min(t.ends_on) as last_day from tasks t {_TASK}
           where t.member_id = who.member_id and {_DUE_BY} and {_OPEN}
             and a.kind = 'ATTEND') lecture""",
        where="lecture.last_day is not null",
        values={"days": "lecture.last_day - who.local_date"},
        parameters={"days": _DAYS},
        samples={"days": 6},
    ),
    "medication_open": Fact(
        joins=f"""
        cross join lateral (
          select count(*) as tasks from tasks t {_TASK}
           where t.member_id = who.member_id and t.ends_on = who.local_date and {_OPEN}
             and a.kind = 'TAKE_MEDICATION') medication""",
        where="medication.tasks > 0",
    ),
    "dormant": Fact(
        joins="join member_standing s on s.member_id = who.member_id and within(s)",
        where="s.lifecycle = 'DORMANT'",
        period="to_char(s.lifecycle_since at time zone 'UTC', 'YYYY-MM-DD')",
    ),
    "unused": Fact(
        joins="join member_standing s on s.member_id = who.member_id and within(s)",
        where="""s.lifecycle in ('NEW', 'ACTIVE')
          and s.last_used_at <= cast(:at as timestamptz) - make_interval(days => :days)""",
        period="to_char(s.last_used_at at time zone 'UTC', 'YYYY-MM-DD')",
        values={
            "days": "(cast(:at as timestamptz)::date - s.last_used_at::date)",
        },
        parameters={"days": _DAYS},
        samples={"days": 14},
    ),
    "renewal_due": Fact(
        joins="""join policies p on p.member_id = who.member_id and within(p)
          and p.state = 'IN_FORCE'
          and p.term_ends_at > :at
          and p.term_ends_at <= cast(:at as timestamptz) + make_interval(days => :days)""",
        where="true",
        period="p.id || ':' || to_char(p.term_ends_at at time zone 'UTC', 'YYYY-MM-DD')",
        values={"days": "ceil(extract(epoch from p.term_ends_at - :at) / 86400)::bigint"},
        parameters={"days": _DAYS},
        samples={"days": 30},
    ),
    "steps_improved": Fact(
        joins="""
        cross join lateral (
          select avg(d.trusted_value) filter (where d.local_date > who.local_date - 8) as week,
                 count(*) filter (where d.local_date > who.local_date - 8) as days,
                 avg(d.trusted_value) filter (where d.local_date <= who.local_date - 8) as before,
                 count(*) filter (where d.local_date <= who.local_date - 8) as days_before
            from daily_total_days d where d.member_id = who.member_id and d.code = 'STEPS'
             and d.local_date between who.local_date - 35 and who.local_date - 1
             and d.trusted_value is not null) steps""",
        where="""steps.days >= 5 and steps.days_before >= 14
          and steps.week >= steps.before * (100 + :percent) / 100 and steps.before > 0""",
        values={
            "percent": "floor((steps.week / steps.before - 1) * 100)::bigint",
            "steps": "floor(steps.week)::bigint",
        },
        parameters={"percent": _PERCENT},
        samples={"percent": 20, "steps": 9000},
    ),
    "pressure_improved": Fact(
        joins="""
        cross join lateral (
          select avg(m.value) filter (where m.local_date > who.local_date - 14) as latest,
                 count(distinct m.local_date) filter (where m.local_date > who.local_date - 14)
                   as days,
                 avg(m.value) filter (where m.local_date <= who.local_date - 14) as before,
                 count(distinct m.local_date) filter (where m.local_date <= who.local_date - 14)
                   as days_before
            from measurements m where m.member_id = who.member_id and m.code = 'SYSTOLIC_BP'
             and m.superseded_at is null and not m.retracted and m.trust in ('MEDIUM', 'HIGH')
             and m.measured_at > cast(:at as timestamptz) - interval '75 days'
             and m.local_date between who.local_date - 70 and who.local_date) pressure""",
        where="""pressure.days >= 2 and pressure.days_before >= 2
          and pressure.latest <= pressure.before - :mmhg""",
        values={"mmhg": "floor(pressure.before - pressure.latest)::bigint"},
        parameters={"mmhg": (1, 60)},
        samples={"mmhg": 5},
    ),
}
