"""What the stored premiums say about a product's whole portfolio: sums and counts only.

A year is a calendar year of local days. What a premium earns in it goes by days of cover, each
part of a term rounded down as far as the day before it, so that the years of a term sum to it
and what is left over falls into the later one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import Date, Integer, Text, bindparam, text

from app.risk.rulesets import Tier

_CODE = bindparam("code", type_=Text)
_YEAR = bindparam("year", type_=Integer)
_DAYS = (bindparam("since", type_=Date), bindparam("until", type_=Date))
_COVERED = "c.state in ('IN_FORCE', 'ENDED', 'LAPSED', 'CANCELLED', 'RESCINDED')"
# Each price of a term counts until the next one of the same term; terms of which no price was
# kept count with their headline.
_EARNED = text(f"""
with terms as (
  select t.member_id, t.policy_id, t.starts_on, t.ends_on, t.total, t.currency,
    (v.definition->>'term_months')::int as months, c.ended_on
  from policy_terms t
  join policies c on c.member_id = t.member_id and c.id = t.policy_id
  join product_versions v on v.id = c.product_version_id and v.code = :code
  where t.starts_on <= :until and t.ends_on >= :since and {_COVERED}),
prices as (
  select t.*, coalesce(p.total, t.total) as price, coalesce(p.effective_on, t.starts_on) as from_on,
    lead(p.effective_on) over (partition by t.member_id, t.policy_id, t.starts_on order by p.number)
      as next_on
  from terms t left join premiums p on p.member_id = t.member_id and p.policy_id = t.policy_id
    and p.term_starts_on = t.starts_on),
parts as (
  select member_id, currency, price, months, ends_on - starts_on + 1 as days,
    greatest(from_on, :since) - starts_on as days_before,
    least(coalesce(next_on - 1, ends_on), ends_on, coalesce(ended_on, ends_on), :until)
      - starts_on + 1 as days_through
  from prices)
select currency, count(distinct member_id) as members,
  sum(price * months * days_through / (12 * days) - price * months * days_before / (12 * days))::bigint
    as premium
from parts where days_through > days_before group by currency
""").bindparams(_CODE, *_DAYS)
_PERSONS = text(f"""
select age, count(*) as members from (
  select distinct t.member_id, :year - extract(year from m.birth_date)::int as age
  from policy_terms t
  join policies c on c.member_id = t.member_id and c.id = t.policy_id
  join product_versions v on v.id = c.product_version_id and v.code = :code
  join members m on m.member_id = t.member_id
  where t.starts_on <= :until and t.ends_on >= :since and {_COVERED}
  and (c.ended_on is null or c.ended_on >= greatest(t.starts_on, :since))) covered
group by age order by age
""").bindparams(_CODE, _YEAR, *_DAYS)
_BENEFITS = text("""
select count(distinct k.member_id) filter (where paid > 0) as members, coalesce(sum(paid), 0)::bigint as paid
from (select b.member_id, sum(v.amount) as paid from benefit_movements v
  join benefit_costs b on b.member_id = v.member_id and b.id = v.cost_id
  join mild_condition_cases k on k.member_id = b.member_id and k.id = b.case_id
  join product_versions p on p.id = k.product_version_id and p.code = :code
  where b.bought_on between :since and :until and k.currency = :currency
  group by b.member_id) k
""").bindparams(_CODE, *_DAYS, bindparam("currency", type_=Text))
_TIERS = text("""
select priced.tier, count(*) as policies from policies c
join product_versions v on v.id = c.product_version_id and v.code = :code
cross join lateral (select p.facts->'tier'->>'tier' as tier from premiums p
  where p.member_id = c.member_id and p.policy_id = c.id and p.term_starts_on <= :day
  order by p.number desc limit 1) priced
where c.state = 'IN_FORCE' group by priced.tier
""").bindparams(_CODE, bindparam("day", type_=Date))
_SPENT = text("""
select purpose, sum(amount)::bigint as amount from prevention_spendings
where product_code = :code and year = :year and currency = :currency group by purpose
""").bindparams(_CODE, _YEAR, bindparam("currency", type_=Text))
_IN_USE = text("""
select exists (select from premiums p
  join product_versions v on v.id = p.product_version_id and v.code = :code
  where p.effective_on > make_date(:year, 12, 31)
  and (p.facts->'loss_ratio'->>'year')::int = :year)
""").bindparams(_CODE, _YEAR)


@dataclass(frozen=True, slots=True)
class Earned:
    members: int
    """With cover on at least a day."""
    premium: int
    """Minor units."""


@dataclass(frozen=True, slots=True)
class TierCounts:
    """Policies in force by the tier that their term was priced with."""

    by_tier: Mapping[Tier, int]
    without_tier: int


async def earned(
    reading: Any, code: str, currency: str, *, year: int, until: date | None = None
) -> Earned:
    """Premium of the days of cover in a year, up to `until` if given; of one currency."""
    given: dict[str, Any] = {"code": code, **_days(year)}
    if until is not None:
        given["until"] = min(given["until"], until)
    for row in await reading.execute(_EARNED, given):
        if row.currency == currency:
            return Earned(row.members, row.premium)
    return Earned(0, 0)


async def persons(reading: Any, code: str, *, year: int) -> Mapping[int, int]:
    """How many were covered on at least a day, by the age that they reached in the year."""
    rows = await reading.execute(_PERSONS, {"code": code, "year": year, **_days(year)})
    return {row.age: row.members for row in rows}


async def benefits(reading: Any, code: str, currency: str, *, year: int) -> tuple[int, int]:
    """Of the mild-condition benefit, by when the drug was bought: members, minor units paid."""
    given = {"code": code, "currency": currency, **_days(year)}
    row = (await reading.execute(_BENEFITS, given)).one()
    return row.members, row.paid


async def tiers(reading: Any, code: str, *, day: date) -> TierCounts:
    rows = {
        row.tier: row.policies for row in await reading.execute(_TIERS, {"code": code, "day": day})
    }
    without = rows.pop(None, 0)
    return TierCounts({Tier(tier): count for tier, count in rows.items()}, without)


async def spent(reading: Any, code: str, currency: str, *, year: int) -> Mapping[str, int]:
    """From the prevention reserve, by purpose; minor units."""
    given = {"code": code, "year": year, "currency": currency}
    return {row.purpose: row.amount for row in await reading.execute(_SPENT, given)}


async def is_in_use(reading: Any, code: str, year: int) -> bool:
    """Whether a premium rests on the year's loss ratio."""
    found: bool = (await reading.execute(_IN_USE, {"code": code, "year": year})).scalar_one()
    return found


def of_year(mix: Mapping[Tier, int]) -> Mapping[Tier, Decimal]:
    return {tier: Decimal(count) for tier, count in mix.items()}


def _days(year: int) -> dict[str, date]:
    return {"since": date(year, 1, 1), "until": date(year, 12, 31)}
