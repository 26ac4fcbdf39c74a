"""The public annual payout report (TRU-5): the numbers of a year as they are published, for
ever. Sums over everybody; groups of fewer than ten persons are left out.

The numbers are made when a year is confirmed and kept with it: what the public reads costs one
look-up, and never changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Text, bindparam, text

from app.premiums import money, portfolio_reads, portfolio_rules
from app.premiums.backtest_tally import AGE_BANDS, age_band
from app.premiums.portfolio_models import PortfolioProposal
from app.premiums.pricing_rules import LossRatioRule
from app.premiums.product import Product

_PUBLISHED = text("""
select distinct on (product_code, year) product_code, year, recorded_at, published
from loss_ratios where cast(:code as text) is null or product_code = :code
order by product_code, year desc, revision desc
""").bindparams(bindparam("code", type_=Text))


@dataclass(frozen=True, slots=True)
class Published:
    product_code: str
    year: int
    confirmed_at: datetime
    numbers: dict[str, Any]


async def published(reading: Any, code: str | None = None) -> Sequence[Published]:
    """Every year of a product, or of all: by product, the newest year first."""
    return [
        Published(row.product_code, row.year, row.recorded_at, row.published)
        for row in await reading.execute(_PUBLISHED, {"code": code})
    ]


async def numbers(
    reading: Any, product: Product, of: PortfolioProposal, percent: Decimal
) -> dict[str, Any]:
    """What is published of a year. Amounts are strings in major units."""
    ages = await portfolio_reads.persons(reading, of.product_code, year=of.year)
    name = {"zh": product.name.zh, "en": product.name.en}
    shown: dict[str, Any] = {"name": name, "currency": of.currency,
                             "cell_min": portfolio_rules.CELL_MIN}  # fmt: skip
    if sum(ages.values()) < portfolio_rules.CELL_MIN:
        return {**shown, "too_small": True}
    spent = await portfolio_reads.spent(reading, of.product_code, of.currency, year=of.year)
    benefits = await portfolio_reads.benefits(reading, of.product_code, of.currency, year=of.year)
    rule = next((it for it in product.rules if isinstance(it, LossRatioRule)), None)
    change = portfolio_rules.change_of_table(percent, rule) if rule is not None else None
    return {
        **shown,
        "members": sum(ages.values()),
        "ages": _ages(ages),
        "premium": _major(of.premium, of.currency),
        "claims": _major(of.claims, of.currency),
        "operating_cost": _major(of.operating_cost, of.currency),
        "loss_ratio_percent": str(percent),
        "next_year_percent": None if change is None else str(change),
        "benefit": _benefit(*benefits, of.currency),
        "reserve": _reserve(product, of, spent),
        "burden": _burden(product, of),
    }


def _ages(ages: Any) -> dict[str, int | None]:
    bands = dict.fromkeys(AGE_BANDS, 0)
    for age, members in ages.items():
        bands[age_band(max(0, min(age, 130)))] += members
    return portfolio_rules.published(bands)


def _benefit(members: int, paid: int, currency: str) -> dict[str, Any]:
    if 0 < members < portfolio_rules.CELL_MIN:
        return {"members": None, "paid": None}
    return {"members": members, "paid": _major(paid, currency)}


def _reserve(product: Product, of: PortfolioProposal, spent: Any) -> dict[str, Any] | None:
    if product.reserve is None:
        return None
    return {
        "percent": str(product.reserve.percent),
        "set_aside": _major(
            portfolio_rules.share(of.premium, product.reserve.percent), of.currency
        ),
        "spent": {purpose: _major(amount, of.currency) for purpose, amount in spent.items()},
    }


def _burden(product: Product, of: PortfolioProposal) -> dict[str, Any]:
    found = burden(product, of)
    parties = product.risk_share.parties if product.risk_share is not None else ()
    shares = portfolio_rules.divide(found.excess, [it.percent for it in parties]) if parties else []
    return {
        "ceded": _major(found.ceded, of.currency),
        "excess": _major(found.excess, of.currency),
        "parties": [
            {
                "name": {"zh": party.name.zh, "en": party.name.en},
                "percent": str(party.percent),
                "amount": _major(amount, of.currency),
            }
            for party, amount in zip(parties, shares, strict=True)
        ],
    }


def burden(product: Product, of: Any) -> portfolio_rules.Burden:
    """Who carries what of the figures of a year (a proposal or a confirmed one)."""
    return portfolio_rules.burden(
        of.premium,
        claims=of.claims,
        ceded_tier_claims=of.ceded_tier_claims,
        operating_cost=of.operating_cost,
        cession_percent=product.cession.percent if product.cession is not None else Decimal(0),
    )


def _major(minor: int, currency: str) -> str:
    return str(money.major(minor, currency))
