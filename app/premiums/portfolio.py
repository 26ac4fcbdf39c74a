"""Yearly figures of a portfolio: recorded by one employee and confirmed by another, from then
on the loss ratio that premiums are priced with."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import NotFound
from app.ids import new_id
from app.members import requests
from app.premiums import catalogue, payouts, portfolio_reads, portfolio_rules
from app.premiums import portfolio_refusals as refusals
from app.premiums.portfolio_models import LossRatio, PortfolioProposal
from app.premiums.product import Product


async def propose(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    product_code: str,
    year: int,
    claims: Decimal,
    ceded_tier_claims: Decimal | None,
    operating_cost: Decimal | None,
    reference: str,
    now: datetime,
) -> tuple[PortfolioProposal, bool]:
    """Figures of a year that is over, in major units; they count once another person confirms.
    Premium is what the stored premiums earned; operating cost left out is the product's
    percentage of it. With whether this request was answered before.

    Raises NotFound, FigureInvalid, YearNotOver, YearInUse, NothingEarned, AlreadyProposed,
    RequestReused.
    """
    id = new_id(now)
    given = {
        "productCode": product_code, "year": year, "claims": claims, "reference": reference,
        "cededTierClaims": ceded_tier_claims, "operatingCost": operating_cost,
    }  # fmt: skip
    earlier = await claim(session, staff_id, request_id, "recordPortfolioYear", given, id, now)
    if earlier is not None:
        return await session.get_one(PortfolioProposal, earlier), True
    product = await of_code(session, product_code)
    refusals.check_year(year, now)
    refusals.check_reference(reference)
    claimed = refusals.minor("claims", claims, product.currency)
    of_ceded_tiers = refusals.ceded(product, claims, ceded_tier_claims)
    await _lock(session, product_code, year)
    await _check_open(session, product_code, year)
    earned = await portfolio_reads.earned(session, product_code, product.currency, year=year)
    if earned.premium <= 0:
        raise refusals.NothingEarned(year)
    made = PortfolioProposal(
        id=id,
        product_code=product_code,
        year=year,
        currency=product.currency,
        premium=earned.premium,
        claims=claimed,
        ceded_tier_claims=of_ceded_tiers,
        operating_cost=refusals.operating_cost(product, operating_cost, earned.premium),
        reference=reference.strip(),
        proposed_by=staff_id,
        proposed_at=now,
    )
    session.add(made)
    await session.flush()
    return made, False


async def decide(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    proposal_id: UUID,
    confirm: bool,
    now: datetime,
) -> tuple[PortfolioProposal, bool]:
    """Another person confirms, and terms that begin after the year are priced with it from now
    on; or anybody drops it. With whether this request was answered before.

    Raises NotFound, Decided, AnotherPersonNeeded, YearInUse, RequestReused.
    """
    given = {"proposalId": proposal_id, "confirm": confirm}
    earlier = await claim(
        session, staff_id, request_id, "decidePortfolioYear", given, proposal_id, now
    )
    if earlier is not None:
        return await session.get_one(PortfolioProposal, earlier), True
    proposal = await session.get(PortfolioProposal, proposal_id, with_for_update=True)
    if proposal is None:
        raise NotFound(field="proposalId")
    if proposal.decided_at is not None:
        raise refusals.Decided("proposalId")
    if confirm:
        if proposal.proposed_by == staff_id:
            raise refusals.AnotherPersonNeeded
        await _lock(session, proposal.product_code, proposal.year)
        session.add(await _confirmed(session, proposal, staff_id, now))
    proposal.decided_by, proposal.decided_at, proposal.confirmed = staff_id, now, confirm
    await session.flush()
    return proposal, False


async def _confirmed(
    session: AsyncSession, proposal: PortfolioProposal, staff_id: UUID, now: datetime
) -> LossRatio:
    code, year = proposal.product_code, proposal.year
    if await portfolio_reads.is_in_use(session, code, year):
        raise refusals.YearInUse(year)
    product = await of_code(session, code)
    last = await session.exec(
        select(func.max(LossRatio.revision)).where(
            LossRatio.product_code == code, LossRatio.year == year
        )
    )
    figures = {
        name: getattr(proposal, name)
        for name in ("currency", "premium", "claims", "ceded_tier_claims", "operating_cost")
    }
    percent = portfolio_rules.loss_ratio(
        proposal.premium, claims=proposal.claims, operating_cost=proposal.operating_cost
    )
    return LossRatio(
        product_code=code,
        year=year,
        revision=(last.one() or 0) + 1,
        proposal_id=proposal.id,
        percent=percent,
        proposed_by=proposal.proposed_by,
        confirmed_by=staff_id,
        recorded_at=now,
        published=await payouts.numbers(session, product, proposal, percent),
        **figures,
    )


async def of_code(session: AsyncSession, code: str) -> Product:
    """The newest version of a product. Raises NotFound."""
    try:
        version = await catalogue.latest(session, code)
    except catalogue.ProductUnknown as error:
        raise NotFound(field="productCode") from error
    return catalogue.definition(version.id, version.definition)


LOCK = text("select pg_advisory_xact_lock(hashtextextended('portfolio ' || :key, 0))")
"""Of rivals for the same key the second waits for the end of the first."""


async def _lock(session: AsyncSession, code: str, year: int) -> None:
    await session.execute(LOCK, {"key": f"{code} {year}"})


async def claim(
    session: AsyncSession,
    staff_id: UUID,
    request_id: UUID,
    operation: str,
    values: Mapping[str, Any],
    result: UUID,
    now: datetime,
) -> UUID | None:
    """As `requests.claim`, by an employee."""
    return await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation=operation,
        values=values,
        result=result,
        now=now,
    )


async def _check_open(session: AsyncSession, code: str, year: int) -> None:
    """Raises AlreadyProposed, YearInUse."""
    waiting = await session.exec(
        select(PortfolioProposal).where(
            PortfolioProposal.product_code == code,
            PortfolioProposal.year == year,
            col(PortfolioProposal.decided_at).is_(None),
        )
    )
    if waiting.first() is not None:
        raise refusals.AlreadyProposed(year)
    if await portfolio_reads.is_in_use(session, code, year):
        raise refusals.YearInUse(year)
