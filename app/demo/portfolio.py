"""What the demo's employees do for the portfolio: a group of an employer, a year's loss ratio."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID, uuid5

from app.db import Database
from app.demo.history import Happening
from app.premiums import catalogue, groups, money, portfolio, portfolio_reads
from app.premiums.contract_terms import Payer
from app.premiums.policy_models import InsuredGroup

_NAMESPACE = UUID("5f6f2a3e-2b9f-4bb0-8a5e-1c8b7b1f0f1d")
_CLAIMED = Decimal("1.25")
"""Of the premium: with operating cost above 120 %, so that the table rises (PRM-14)."""


async def employer(db: Database, staff_id: UUID, *, people: int, now: datetime) -> InsuredGroup:
    """A group whose employer pays (PRM-13)."""
    async with db.transaction() as session:
        made, _ = await groups.add(
            session,
            staff_id=staff_id,
            request_id=uuid5(_NAMESPACE, "group"),
            code="WELLWARD-DEMO",
            name="星河纺织",
            product_code="chronic-care",
            payer=Payer.EMPLOYER,
            people=people,
            now=now,
        )
    return made


def year_closed(product: str, year: int, *, actuaries: tuple[UUID, UUID]) -> tuple[date, Happening]:
    """One actuary proposes the figures of a year in the next January, the other confirms."""

    async def happens(db: Database, now: datetime) -> None:
        async with db.transaction() as session:
            newest = await catalogue.latest(session, product)
            currency = catalogue.definition(newest.id, newest.definition).currency
            earned = await portfolio_reads.earned(session, product, currency, year=year)
            claims = money.major(earned.premium, currency) * _CLAIMED
            proposal, _ = await portfolio.propose(
                session,
                staff_id=actuaries[0],
                request_id=uuid5(_NAMESPACE, f"propose:{product}:{year}"),
                product_code=product,
                year=year,
                claims=claims.quantize(Decimal("0.01")),
                ceded_tier_claims=None,
                operating_cost=None,
                reference=f"demo {year}",
                now=now,
            )
        async with db.transaction() as session:
            await portfolio.decide(
                session,
                staff_id=actuaries[1],
                request_id=uuid5(_NAMESPACE, f"confirm:{product}:{year}"),
                proposal_id=proposal.id,
                confirm=True,
                now=now,
            )

    return date(year + 1, 1, 10), happens
