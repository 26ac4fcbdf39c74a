"""Who has a complication cover (COV-4): decided once a month, with the reason, and kept."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, DateTime, Integer, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.premiums import benefit_rules as benefits
from app.premiums import catalogue, rules
from app.premiums.benefit_models import BenefitCheck, ComplicationDecision
from app.premiums.benefit_rules import CoverDecision

_INSTANT = DateTime(timezone=True)
_DAY = timedelta(days=1)
_AFTER_MONTH_END = timedelta(days=2)
"""By then the month that has ended is closed."""
_ENTER = text("""
insert into benefit_checks (member_id, policy_id, due_at)
select c.member_id, c.id, :now from policies c
join product_versions v on v.id = c.product_version_id
where c.state = 'IN_FORCE'
  and jsonb_path_exists(v.definition, '$.benefits.complication_covers[0]')
  and not exists (select from benefit_checks k
    where k.member_id = c.member_id and k.policy_id = c.id)
order by c.member_id limit :limit on conflict do nothing returning member_id
""").bindparams(bindparam("now", type_=_INSTANT), bindparam("limit", type_=Integer))
_TAKE = text("""
delete from benefit_checks k using (
  select member_id, policy_id from benefit_checks where due_at <= :now
  order by due_at, member_id limit :limit for update skip locked) due
where k.member_id = due.member_id and k.policy_id = due.policy_id
returning k.member_id, k.policy_id
""").bindparams(bindparam("now", type_=_INSTANT), bindparam("limit", type_=Integer))
# A condition as it is in force; who does not consent has no fact, and nothing is decided.
_INSURED = text("""
select c.member_id, c.id as policy_id, c.started_on, v.id as version_id, v.definition,
  m.time_zone,
  array(select row(t.starts_on, t.ends_on) from policy_terms t
    where t.member_id = c.member_id and t.policy_id = c.id order by t.starts_on) as terms,
  array(select row(p.month, p.percent) from participation_months p
    where p.member_id = c.member_id and p.closed_at is not null
      and p.month >= date_trunc('month', c.started_on) order by p.month) as months,
  array(select n.icd10 from conditions n where n.member_id = c.member_id and not n.retracted
    and not exists (select from conditions l where l.member_id = n.member_id
      and l.condition_id = n.condition_id and l.version > n.version)) as conditions,
  array(select row(d.code, d.starts_on, d.ends_on) from complication_decisions d
    where d.member_id = c.member_id and d.policy_id = c.id) as decided,
  coalesce((select s.state = 'GRANTED' from consents s where s.member_id = c.member_id
    and s.purpose = 'HEALTH_DATA' order by s.version desc limit 1), false) as consented
from unnest(:member_ids, :policy_ids) as w (member_id, policy_id)
join policies c on c.member_id = w.member_id and c.id = w.policy_id and c.state = 'IN_FORCE'
join product_versions v on v.id = c.product_version_id
join members m on m.member_id = c.member_id
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("policy_ids", type_=ARRAY(Uuid))
)


async def enter(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """Have policies in force whose product has such a cover decided about; how many are new."""
    return len((await session.execute(_ENTER, {"now": now, "limit": limit})).all())


async def decide_due(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """Decide about up to `limit` policies that are due, and when next; how many were. Those
    that another run holds are skipped, and one that is in force no more is left out for good."""
    taken = (await session.execute(_TAKE, {"now": now, "limit": limit})).all()
    if not taken:
        return 0
    member_ids, policy_ids = (list(it) for it in zip(*taken, strict=True))
    wanted = {"member_ids": member_ids, "policy_ids": policy_ids}
    insured = (await session.execute(_INSURED, wanted)).all()
    decided = [it.model_dump() for row in insured for it in _decisions(row, now=now)]
    if decided:
        await session.execute(insert(ComplicationDecision).on_conflict_do_nothing(), decided)
    checks = [
        {
            "member_id": row.member_id,
            "policy_id": row.policy_id,
            "due_at": _next_check(row, now=now),
        }
        for row in insured
    ]
    if checks:
        await session.execute(insert(BenefitCheck).on_conflict_do_nothing(), checks)
    return len(taken)


def _decisions(row: Any, *, now: datetime) -> Sequence[ComplicationDecision]:
    """Of one policy: of each cover that it has not already. What was granted stays until its
    last day, whatever happens (nobody loses cover within a term)."""
    terms = catalogue.definition(row.version_id, row.definition).benefits
    if terms is None or not row.consented:
        return ()
    today = civil_time.local_date(now, civil_time.zone(row.time_zone))
    term = _running(row, today)
    if term is None:
        return ()
    months = [rules.MonthOfParticipation(*it) for it in row.months]
    decided = {(code, starts_on): ends_on for code, starts_on, ends_on in row.decided}
    covered_to = _covered_to(decided)
    made = []
    for cover in terms.complication_covers:
        if covered_to.get(cover.code, date.min) >= today:
            continue
        it = benefits.decide_cover(
            cover,
            policy_started_on=row.started_on,
            today=today,
            months=months,
            conditions=row.conditions,
        )
        granted = it.decision is CoverDecision.GRANTED
        made.append(
            ComplicationDecision(
                member_id=row.member_id,
                policy_id=row.policy_id,
                code=cover.code,
                # Who had it until the term before ended has it without a day between.
                starts_on=term.starts_on
                if granted
                and covered_to.get(cover.code) == term.starts_on - _DAY
                and (cover.code, term.starts_on) not in decided
                else today,
                ends_on=term.ends_on if granted else None,
                decision=it.decision.value,
                reason=it.reason.value,
                insured_months=it.insured_months,
                good_months=it.good_months,
                counted_months=it.counted_months,
                decided_at=now,
            )
        )
    return made


def _covered_to(decided: Mapping[tuple[str, date], date | None]) -> Mapping[str, date]:
    """Last day of each cover that was ever granted."""
    last: dict[str, date] = {}
    for (code, _), ends_on in decided.items():
        if ends_on is not None:
            last[code] = max(last.get(code, ends_on), ends_on)
    return last


def _running(row: Any, today: date) -> rules.Term | None:
    """None between a term that has ended and its renewal."""
    terms = (rules.Term(*it) for it in row.terms)
    return next((it for it in terms if it.starts_on <= today <= it.ends_on), None)


def _next_check(row: Any, *, now: datetime) -> datetime:
    """Two local days into the next month, or when another term begins; each day while one has
    ended and is not renewed yet."""
    zone = civil_time.zone(row.time_zone)
    today = civil_time.local_date(now, zone)
    term = _running(row, today)
    if term is None:
        return now + _DAY
    month = rules.add_months(today.replace(day=1), 1) + _AFTER_MONTH_END
    return civil_time.start_of_day(min(month, term.ends_on + _DAY), zone)
