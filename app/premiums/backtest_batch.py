"""A batch of members in a back-test: their terms again, under the draft."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.premiums import backtest_history as history
from app.premiums import engine, gathering
from app.premiums.backtest_claims import Claim
from app.premiums.backtest_history import Charged, Granted, Period
from app.premiums.backtest_tally import Compared, Tally, Unpriced
from app.premiums.facts import Facts, Moment
from app.premiums.gathering import Asked
from app.premiums.pricing_rules import BenefitFromPoints
from app.premiums.product import Product


@dataclass(slots=True)
class _Carried:
    """What the draft's own price of a member's terms so far leaves to the next."""

    policy_id: UUID | None = None
    percents: Mapping[str, Decimal] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    """Of each premium credit."""

    def into(self, facts: Facts, it: Charged) -> Mapping[str, Decimal]:
        """As `gathering` does it: another policy's only for who comes back."""
        same = self.policy_id in (None, it.policy_id)
        return self.percents if same or facts.left_on is not None else {}


async def price(
    reading: Any,
    draft: Product,
    period: Period,
    member_ids: Sequence[UUID],
    claims: Mapping[UUID, list[Claim]],
) -> Tally:
    """All terms of these members. A constant number of statements."""
    charged = await history.terms(reading, period, member_ids)
    # What is known of the portfolio is known of the product that was in force.
    looked_for = draft.model_copy(update={"code": period.code})
    known = await gathering.gather(reading, [_asked(it, looked_for) for it in charged])
    granted: Mapping[UUID, list[Granted]] = {}
    if any(isinstance(rule, BenefitFromPoints) and rule.credit for rule in draft.rules):
        granted = await history.credits(reading, member_ids, draft.currency)
    tally = Tally()
    carried: dict[UUID, _Carried] = {}
    open_claims = {id: list(found) for id, found in claims.items()}
    for it, facts in zip(charged, known, strict=True):
        so_far = carried.setdefault(it.member_id, _Carried())
        mine = _claims_of(it, open_claims.get(it.member_id, []), period)
        found = _compare(draft, it, facts, so_far, granted.get(it.member_id, ()), mine)
        if it.term.starts_on < period.since:
            tally.outside += 1
        elif isinstance(found, Unpriced):
            tally.refuse(found)
        else:
            tally.add(found)
    tally.claim_lines = {claim.line for found in open_claims.values() for claim in found}
    return tally.settled()


def _claims_of(it: Charged, claims: list[Claim], period: Period) -> int:
    """What of a member's claims lies in a term of the period; taken from the list."""
    if it.term.starts_on < period.since:
        return 0
    mine = [claim for claim in claims if it.term.starts_on <= claim.on <= it.last_day]
    for claim in mine:
        claims.remove(claim)
    return sum(claim.amount for claim in mine)


def _asked(it: Charged, draft: Product) -> Asked:
    return Asked(
        member_id=it.member_id,
        product=draft,
        moment=it.moment,
        as_of=it.as_of,
        effective_on=it.term.starts_on,
        ending=it.ending,
        policy_id=it.policy_id,
        number=it.number,
    )


def _compare(
    draft: Product,
    it: Charged,
    facts: Facts | None,
    so_far: _Carried,
    granted: Sequence[Granted],
    claims: int,
) -> Compared | Unpriced:
    """One term; `so_far` becomes what it leaves to the next."""
    reason = _why_not(draft, it, facts)
    if reason is not None:
        # Whoever the draft has no price for begins anew when it has one again.
        so_far.percents = {}
        age = facts.age if facts is not None else None
        return Unpriced(reason, str(it.member_id), it.term.starts_on, age, it.total, claims)
    assert facts is not None
    known = replace(
        facts,
        carried=so_far.into(facts, it),
        credits=tuple(
            replace(grant.credit, amount=left)
            for grant in granted
            if grant.at <= it.as_of
            and (left := grant.credit.amount - so_far.used.get(grant.credit.redemption_id, 0)) > 0
        ),
    )
    priced = engine.price(draft, known, words=False)
    so_far.policy_id, so_far.percents = it.policy_id, priced.carry
    for id, amount in priced.credits_used.items():
        so_far.used[id] = so_far.used.get(id, 0) + amount
    return Compared(
        member=str(it.member_id),
        term=it.term,
        covered_days=it.covered_days,
        months=it.months,
        age=facts.age,
        tier=facts.tier.tier if facts.tier is not None else None,
        region=facts.region,
        segment=it.segment,
        charged=it.total,
        draft=priced.total,
        charged_lines=it.lines,
        draft_lines=[(line.rule, line.amount) for line in priced.lines],
        lowered=max(it.total - it.total_after, 0),
        claims=claims,
    )


def _why_not(draft: Product, it: Charged, facts: Facts | None) -> str | None:
    if facts is None:
        return "MEMBER_UNKNOWN"
    if it.currency != draft.currency:
        return "OTHER_CURRENCY"
    who = draft.eligibility
    if facts.age > who.age_to:
        return "TOO_OLD"
    if it.moment is Moment.ENROLMENT and facts.age < who.age_from:
        return "TOO_YOUNG"
    table = draft.base_premium
    if table.row(age=facts.age, sex=facts.sex, health=facts.health) is None:
        return "NO_ROW_IN_TABLE"
    return None
