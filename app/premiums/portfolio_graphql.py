"""A product's portfolio for those who answer for it: one year, with what it means for the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import strawberry
from sqlalchemy import Integer, Text, Uuid, bindparam, text

from app.errors import RequestFailed
from app.graphql.node import Info
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.members.rules import StaffRole
from app.premiums import money_graphql, portfolio_reads, portfolio_rules, quoting
from app.premiums import portfolio_refusals as refusals
from app.premiums.money_graphql import Money
from app.premiums.portfolio_rules import PortfolioWarning
from app.premiums.portfolio_types import (
    PortfolioBurden,
    PortfolioProposal,
    PortfolioTiers,
    PortfolioYear,
    PreventionPurposeSum,
    PreventionReserve,
    PreventionSpending,
)
from app.premiums.prevention import Purpose
from app.premiums.pricing_rules import TierRule
from app.premiums.product import Product
from app.risk import rulesets
from app.risk.rulesets import Tier

ACTING = (StaffRole.ACTUARY, StaffRole.ADMIN)
"""Roles that record and confirm."""
LOOKING = (*ACTING, StaffRole.AUDITOR)
YEARS_MAX = 20


class YearInvalid(RequestFailed):
    code = "VALUE_OUT_OF_RANGE"

    def __init__(self, last: int) -> None:
        super().__init__(f"`year` must be {refusals.YEAR_MIN} to {last}.")


_YEARS = text("""
select distinct on (year) * from loss_ratios where product_code = :code
order by year desc, revision desc limit :size
""").bindparams(bindparam("code", type_=Text), bindparam("size", type_=Integer))
_PROPOSAL = text("""
select * from portfolio_proposals
where product_code = :code and year = :year and decided_at is null
""").bindparams(bindparam("code", type_=Text), bindparam("year", type_=Integer))
_SPENDINGS = text("""
select s.*, exists (select from prevention_spendings r where r.reverses = s.id) as is_reversed
from prevention_spendings s where s.product_code = :code and s.year = :year
and (cast(:after as uuid) is null or s.id < :after)
order by s.id desc limit :size
""").bindparams(
    bindparam("code", type_=Text),
    bindparam("year", type_=Integer),
    bindparam("after", type_=Uuid),
    bindparam("size", type_=Integer),
)


@dataclass(frozen=True, slots=True)
class _Known:
    """What a portfolio's year is shown from."""

    product: Product
    earned: portfolio_reads.Earned
    spent: Mapping[str, int]
    tiers: portfolio_reads.TierCounts
    years: Sequence[Any]
    proposal: Any | None


@strawberry.type(description="A product's whole portfolio in one calendar year.")
class Portfolio:
    product_code: str
    name: str
    year: int
    premium: Money = strawberry.field(
        description="Earned by days of cover; of a year that is not over, until today."
    )
    members: int = strawberry.field(description="With cover on at least a day.")
    confirmed: PortfolioYear | None
    proposal: PortfolioProposal | None = strawberry.field(description="Waits for another person.")
    burden: PortfolioBurden | None
    reserve: PreventionReserve | None
    tier_mix: PortfolioTiers | None
    warnings: list[PortfolioWarning]
    years: list[PortfolioYear] = strawberry.field(
        description=f"Confirmed, the newest first; at most {YEARS_MAX}."
    )

    @strawberry.field(description="Of the year, the newest first.")
    async def spendings(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[PreventionSpending]:
        size = page_size(first)
        cursor = read_cursor(after, UUID)
        given = {"code": self.product_code, "year": self.year, "size": size + 1,
                 "after": cursor[0] if cursor else None}  # fmt: skip
        async with info.context.db.read() as reading:
            rows = (await reading.execute(_SPENDINGS, given)).all()
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: PreventionSpending.of(row, is_reversed=row.is_reversed),
            key=lambda row: (row.id,),
        )


@strawberry.type
class PortfolioQuery:
    @strawberry.field(
        description="Loss ratio, reserve, cession, risk share and mean tier multiplier of a "
        "product; the last year that is over if none is named. Actuaries, administrators and "
        "auditors. Codes: VALUE_OUT_OF_RANGE."
    )
    async def portfolio(self, info: Info, product_code: str, year: int | None = None) -> Portfolio:
        context = info.context
        staff_id = context.require_role(*LOOKING)
        wanted = refusals.last_year(context.now) if year is None else year
        if not refusals.YEAR_MIN <= wanted <= context.now.year:
            raise YearInvalid(context.now.year)
        async with context.db.read() as reading:
            known = await _read(reading, product_code, wanted, today=context.now.date())
        return _portfolio(known, wanted, staff_id, now=context.now, locale=context.locale)


async def _read(reading: Any, code: str, year: int, *, today: date) -> _Known:
    """A constant number of statements. Raises QuoteInvalid."""
    product = await quoting.version_of(reading, code, None)
    given = {"code": code, "year": year}
    return _Known(
        product,
        await portfolio_reads.earned(reading, code, product.currency, year=year, until=today),
        await portfolio_reads.spent(reading, code, product.currency, year=year),
        await portfolio_reads.tiers(reading, code, day=today),
        (await reading.execute(_YEARS, {"code": code, "size": YEARS_MAX})).all(),
        (await reading.execute(_PROPOSAL, given)).one_or_none(),
    )


def _portfolio(
    known: _Known, year: int, staff_id: UUID, *, now: datetime, locale: str
) -> Portfolio:
    product = known.product
    confirmed = next((row for row in known.years if row.year == year), None)
    figures = confirmed if confirmed is not None else known.proposal
    mix = _mix(product, known.tiers)
    warnings = list(_warnings(known, mix))
    if confirmed is None and year <= refusals.last_year(now) and known.earned.premium:
        warnings.append(PortfolioWarning.LOSS_RATIO_MISSING)
    return Portfolio(
        product_code=product.code,
        name=product.name.to(locale),
        year=year,
        premium=money_graphql.of(known.earned.premium, product.currency),
        members=known.earned.members,
        confirmed=PortfolioYear.of(confirmed, product) if confirmed is not None else None,
        proposal=PortfolioProposal.of(known.proposal, staff_id) if known.proposal else None,
        burden=PortfolioBurden.of(figures, product, locale) if figures is not None else None,
        reserve=_reserve(known),
        tier_mix=mix,
        warnings=warnings,
        years=[PortfolioYear.of(row, product) for row in known.years],
    )


def _warnings(known: _Known, mix: PortfolioTiers | None) -> list[PortfolioWarning]:
    found = []
    reserve, premium = known.product.reserve, known.earned.premium
    if reserve is not None:
        spent = sum(known.spent.values())
        found += portfolio_rules.of_reserve(reserve, premium=premium, spent=spent)
    if mix is not None and mix.drift is not None and abs(mix.drift) > portfolio_rules.DRIFT_MAX:
        found.append(PortfolioWarning.TIER_MULTIPLIER_DRIFTS)
    return found


def _reserve(known: _Known) -> PreventionReserve | None:
    reserve, currency = known.product.reserve, known.product.currency
    if reserve is None:
        return None
    set_aside = portfolio_rules.share(known.earned.premium, reserve.percent)
    spent = sum(known.spent.values())
    return PreventionReserve(
        percent=reserve.percent,
        cap_percent=reserve.cap_percent,
        set_aside=money_graphql.of(set_aside, currency),
        spent=money_graphql.of(spent, currency),
        left=money_graphql.of(set_aside - spent, currency),
        by_purpose=[
            PreventionPurposeSum(
                purpose=it, amount=money_graphql.of(known.spent.get(it, 0), currency)
            )
            for it in Purpose
        ],
    )


def _mix(product: Product, counts: portfolio_reads.TierCounts) -> PortfolioTiers | None:
    rule = next((it for it in product.rules if isinstance(it, TierRule)), None)
    if rule is None:
        return None
    planned = portfolio_rules.mean_multiplier(rule.multipliers, rulesets.in_force().planned_mix)
    assert planned is not None
    weights = {tier: Decimal(count) for tier, count in counts.by_tier.items()}
    actual = portfolio_rules.mean_multiplier(rule.multipliers, weights)
    return PortfolioTiers(
        planned_multiplier=planned,
        actual_multiplier=actual,
        drift=actual - planned if actual is not None else None,
        low=counts.by_tier.get(Tier.LOW, 0),
        medium=counts.by_tier.get(Tier.MEDIUM, 0),
        high=counts.by_tier.get(Tier.HIGH, 0),
        without_tier=counts.without_tier,
    )
