"""The mix of tiers against the one that was planned (RSK-2), and what it means for premiums."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import text

from app.db import Database
from app.risk import queries
from app.risk.rulesets import RuleSet, Tier

_MIX = text(f"""
select p.tier, count(*) from risk_profiles p join members m on m.member_id = p.member_id
where m.erased_at is null and p.assessment_id is not null
and {queries.CONSENTS} group by p.tier
""")
_POINTS = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class Mix:
    """Members by tier, of those who consent to the use of health data; percents are of those who have one."""

    counts: Mapping[Tier, int]
    without_tier: int
    """Assessed, but too little is known."""
    planned: Mapping[Tier, Decimal]

    @property
    def members(self) -> int:
        return sum(self.counts.values())

    def percent(self, tier: Tier) -> Decimal | None:
        """None while nobody has a tier."""
        if not self.members:
            return None
        return (Decimal(100 * self.counts.get(tier, 0)) / self.members).quantize(_POINTS)

    def drift(self, tier: Tier) -> Decimal | None:
        """Percentage points above the plan."""
        percent = self.percent(tier)
        return percent - self.planned[tier] if percent is not None else None

    @property
    def largest_drift(self) -> Decimal | None:
        """The farthest from the plan, either way; in percentage points."""
        found = [it for tier in Tier if (it := self.drift(tier)) is not None]
        return max((abs(it) for it in found), default=None)


async def mix(db: Database, rule_set: RuleSet) -> Mix:
    async with db.read() as connection:
        rows = {tier: n for tier, n in await connection.execute(_MIX)}
    without = rows.pop(None, 0)
    return Mix({Tier(it): n for it, n in rows.items()}, without, rule_set.planned_mix)
