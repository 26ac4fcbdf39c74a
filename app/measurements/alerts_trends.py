"""Trends against a member's own baseline, of many members with a few statements."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, DateTime, Integer, Text, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.measurements import alerts_data, alerts_opening
from app.measurements import alerts_rules as rules
from app.measurements.alerts_rules import AlertClosed, Trend

_INSTANT = DateTime(timezone=True)
_TAKE = text("""
delete from trend_checks t using (
  select member_id from trend_checks where due_at <= :now
  order by due_at limit :limit for update skip locked) due
where t.member_id = due.member_id returning t.member_id
""").bindparams(bindparam("now", type_=_INSTANT), bindparam("limit", type_=Integer))
# Each member and rule reads one range of one index. What is extreme and not confirmed yet, or
# comes from nowhere, says nothing about how somebody usually is. Who does not consent by now is
# not looked at.
_MEANS = text("""
select members.member_id, w.rule, r.mean, r.n, r.days, r.baseline, r.baseline_n, r.baseline_days,
  (select a.id from alerts a where a.member_id = members.member_id and a.rule = w.rule
    and a.closed_at is null) as alert_id
from unnest(:member_ids) as members (member_id)
cross join unnest(:rules, :codes, :since, :baseline_since)
  as w (rule, code, since, baseline_since)
cross join lateral (
  select avg(m.value) filter (where m.measured_at > w.since) as mean,
    count(*) filter (where m.measured_at > w.since) as n,
    count(distinct m.local_date) filter (where m.measured_at > w.since) as days,
    avg(m.value) filter (where m.measured_at <= w.since) as baseline,
    count(*) filter (where m.measured_at <= w.since) as baseline_n,
    count(distinct m.local_date) filter (where m.measured_at <= w.since) as baseline_days
  from measurements m
  where m.member_id = members.member_id and m.code = w.code and m.superseded_at is null
    and m.measured_at > w.baseline_since and m.measured_at <= :now
    and m.confirmed is not false and m.trust <> 'UNVERIFIED') r
where r.n > 0 and (select c.state from consents c where c.member_id = members.member_id
  and c.purpose = 'HEALTH_DATA' order by c.version desc limit 1) = 'GRANTED'
""").bindparams(
    bindparam("now", type_=_INSTANT),
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("rules", type_=ARRAY(Text)),
    bindparam("codes", type_=ARRAY(Text)),
    bindparam("since", type_=ARRAY(_INSTANT)),
    bindparam("baseline_since", type_=ARRAY(_INSTANT)),
)


async def check(session: AsyncSession, *, now: datetime, limit: int) -> int:
    """Look at the trends of up to `limit` members who have new readings; how many there were.
    Whom another worker holds is skipped."""
    taken = await session.execute(_TAKE, {"now": now, "limit": limit})
    member_ids = list(taken.scalars())
    if not member_ids:
        return 0
    trends = {trend.rule: trend for trend in alerts_data.in_force().trends}
    since = [now - timedelta(days=trend.days) for trend in trends.values()]
    rows = await session.execute(
        _MEANS,
        {
            "now": now,
            "member_ids": member_ids,
            "rules": list(trends),
            "codes": [trend.code for trend in trends.values()],
            "since": since,
            "baseline_since": [
                start - timedelta(days=trend.baseline_days)
                for start, trend in zip(since, trends.values(), strict=True)
            ],
        },
    )
    raised, over = [], []
    for row in rows:
        trend = trends[row.rule]
        if not _is_known(trend, row):
            continue
        is_risen = rules.risen(trend, mean=row.mean, baseline=row.baseline)
        if is_risen and row.alert_id is None:
            raised.append(
                (row.member_id, rules.worded(trend, mean=row.mean, baseline=row.baseline))
            )
        elif not is_risen and row.alert_id is not None:
            over.append((row.member_id, row.alert_id))
    await alerts_opening.open_alerts(session, found=raised, now=now)
    await alerts_opening.close(session, alerts=over, reason=AlertClosed.NORMAL_AGAIN, now=now)
    return len(member_ids)


def _is_known(trend: Trend, row: Any) -> bool:
    """Whether both sides hold enough to be compared."""
    return bool(
        row.n >= trend.readings_min
        and row.days >= trend.days_min
        and row.baseline_n >= trend.baseline_readings_min
        and row.baseline_days >= trend.baseline_days_min
    )
