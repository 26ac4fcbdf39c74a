"""The terms that a back-test looks at, with what was charged for each: read, never written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Date, Integer, Text, Uuid, bindparam, text

from app.premiums import rules
from app.premiums.facts import Credit, Moment
from app.premiums.rules import Term

FIRST = UUID(int=0)
# Whoever was covered for at least a day of the term; the last price before it began counts.
_COVERED = """
c.state in ('IN_FORCE', 'ENDED', 'LAPSED', 'CANCELLED', 'RESCINDED')
and (c.ended_on is null or c.ended_on >= p.term_starts_on)"""
_OF_PERIOD = f"""
from premiums p
join product_versions v on v.id = p.product_version_id and v.code = :code
join policies c on c.member_id = p.member_id and c.id = p.policy_id
where p.moment <> 'MID_TERM' and p.term_starts_on between :since and :until and {_COVERED}"""
_PERIOD = (
    bindparam("code", type_=Text),
    bindparam("since", type_=Date),
    bindparam("until", type_=Date),
)
_COUNT = text(f"select count(distinct p.member_id) {_OF_PERIOD}").bindparams(*_PERIOD)
_MEMBERS = text(f"""
select distinct p.member_id {_OF_PERIOD} and p.member_id > :after
order by p.member_id limit :size
""").bindparams(*_PERIOD, bindparam("after", type_=Uuid), bindparam("size", type_=Integer))
_NOT_KEPT = text("""
select count(*) from policy_terms t
join policies c on c.member_id = t.member_id and c.id = t.policy_id
join product_versions v on v.id = c.product_version_id and v.code = :code
where t.starts_on between :since and :until
and c.state in ('IN_FORCE', 'ENDED', 'LAPSED', 'CANCELLED', 'RESCINDED')
and (c.ended_on is null or c.ended_on >= t.starts_on)
and not exists (select from premiums p where p.member_id = t.member_id
  and p.policy_id = t.policy_id and p.term_starts_on = t.starts_on)
""").bindparams(*_PERIOD)
_IDS = bindparam("member_ids", type_=ARRAY(Uuid))
_TERMS = text(f"""
select distinct on (p.member_id, p.term_starts_on, p.policy_id) p.member_id, p.policy_id, p.number,
  p.moment, p.as_of, p.term_starts_on, t.ends_on, p.total, p.currency,
  (p.facts->'ending'->>'starts_on')::date as ending_from,
  (p.facts->'ending'->>'ends_on')::date as ending_to,
  (v.definition->>'term_months')::int as months, c.ended_on, c.payer,
  c.group_id is not null as is_group,
  (select array_agg(row(l.line->>'rule', (l.line->>'amount')::bigint) order by l.place)
    from jsonb_array_elements(p.lines) with ordinality as l (line, place)) as lines,
  (select x.total from premiums x where x.member_id = p.member_id and x.policy_id = p.policy_id
    and x.term_starts_on = p.term_starts_on and x.moment = 'MID_TERM'
    order by x.number desc limit 1) as total_after
from premiums p
join product_versions v on v.id = p.product_version_id and v.code = :code
join policies c on c.member_id = p.member_id and c.id = p.policy_id
left join policy_terms t on t.member_id = p.member_id and t.policy_id = p.policy_id
  and t.starts_on = p.term_starts_on
where p.member_id = any(:member_ids) and p.moment <> 'MID_TERM' and p.term_starts_on <= :until
and {_COVERED}
order by p.member_id, p.term_starts_on, p.policy_id, p.number desc
""").bindparams(_IDS, bindparam("code", type_=Text), bindparam("until", type_=Date))
_CREDITS = text("""
select b.member_id, b.id, b.amount, b.granted_at,
  (b.granted_at at time zone m.time_zone)::date as granted_on
from pending_benefits b join members m on m.member_id = b.member_id
where b.member_id = any(:member_ids) and b.kind = 'PREMIUM_CREDIT' and b.currency = :currency
order by b.member_id, b.granted_at, b.id
""").bindparams(_IDS, bindparam("currency", type_=Text))


@dataclass(frozen=True, slots=True)
class Period:
    """Terms of a product that began on these days, both included."""

    code: str
    since: date
    until: date

    def parameters(self) -> dict[str, Any]:
        return {"code": self.code, "since": self.since, "until": self.until}


@dataclass(frozen=True, slots=True)
class Charged:
    """A term as it was priced when it began."""

    member_id: UUID
    policy_id: UUID
    number: int
    moment: Moment
    as_of: datetime
    term: Term
    months: int
    ending: Term | None
    total: int
    currency: str
    lines: Sequence[tuple[str, int]]
    total_after: int
    """After the last change during the term."""
    segment: str
    ended_on: date | None

    @property
    def covered_days(self) -> int:
        return (self.last_day - self.term.starts_on).days + 1

    @property
    def last_day(self) -> date:
        """Of cover in this term."""
        return min(self.ended_on or date.max, self.term.ends_on)


@dataclass(frozen=True, slots=True)
class Granted:
    credit: Credit
    at: datetime


async def members(reading: Any, period: Period) -> int:
    """How many have a term in the period."""
    found: int = (await reading.execute(_COUNT, period.parameters())).scalar_one()
    return found


async def terms_without_premium(reading: Any, period: Period) -> int:
    """Terms from before premiums were kept, of which nobody knows the facts."""
    found: int = (await reading.execute(_NOT_KEPT, period.parameters())).scalar_one()
    return found


async def page(reading: Any, period: Period, *, after: UUID, size: int) -> list[UUID]:
    given = {**period.parameters(), "after": after, "size": size}
    return list((await reading.execute(_MEMBERS, given)).scalars())


async def terms(reading: Any, period: Period, member_ids: Sequence[UUID]) -> list[Charged]:
    """All terms of these members up to the period's end, in order: what began before it is
    needed for what it carries on."""
    given = {"member_ids": list(member_ids), "code": period.code, "until": period.until}
    return [_charged(row) for row in await reading.execute(_TERMS, given)]


async def credits(
    reading: Any, member_ids: Sequence[UUID], currency: str
) -> dict[UUID, list[Granted]]:
    """Premium credits that were ever granted, in order."""
    found: dict[UUID, list[Granted]] = {}
    given = {"member_ids": list(member_ids), "currency": currency}
    for row in await reading.execute(_CREDITS, given):
        credit = Credit(str(row.id), row.amount, row.granted_on)
        found.setdefault(row.member_id, []).append(Granted(credit, row.granted_at))
    return found


def _charged(row: Any) -> Charged:
    starts_on = row.term_starts_on
    ending = Term(row.ending_from, row.ending_to) if row.ending_from is not None else None
    return Charged(
        member_id=row.member_id,
        policy_id=row.policy_id,
        number=row.number,
        moment=Moment(row.moment),
        as_of=row.as_of,
        term=Term(starts_on, row.ends_on or rules.term(starts_on, 0, months=row.months).ends_on),
        months=row.months,
        ending=ending,
        total=row.total,
        currency=row.currency,
        lines=[(rule, amount) for rule, amount in row.lines or ()],
        total_after=row.total if row.total_after is None else row.total_after,
        segment=_segment(row),
        ended_on=row.ended_on,
    )


def _segment(row: Any) -> str:
    """By the contract: market segments are not assigned to members yet."""
    if row.payer == "GOVERNMENT":
        return "GOVERNMENT"
    return "GROUP" if row.is_group else "INDIVIDUAL"
