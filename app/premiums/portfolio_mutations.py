"""What employees record of a portfolio."""

from datetime import date
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import strawberry

from app.graphql.errors import UserError
from app.graphql.ids import Kind, decode
from app.graphql.node import Info
from app.premiums import portfolio, prevention
from app.premiums.portfolio_graphql import ACTING
from app.premiums.portfolio_types import PortfolioProposal, PreventionSpending
from app.premiums.prevention import Purpose


@strawberry.input
class RecordPortfolioYearInput:
    request_id: UUID
    product_code: str
    year: int = strawberry.field(description="A calendar year that is over.")
    claims: Decimal = strawberry.field(description="Major units of the product's currency.")
    ceded_tier_claims: Decimal | None = strawberry.field(
        default=None,
        description="Of `claims`, those of the tiers that the product cedes; only if it does.",
    )
    operating_cost: Decimal | None = strawberry.field(
        default=None, description="Left out: the product's percentage of premium."
    )
    reference: str = strawberry.field(description="Of the document in the books.")


@strawberry.input
class DecidePortfolioYearInput:
    request_id: UUID
    proposal_id: strawberry.ID
    confirm: bool = strawberry.field(
        description="Another person than who recorded it confirms; anybody may drop it."
    )


@strawberry.input
class BookPreventionSpendingInput:
    request_id: UUID
    product_code: str
    spent_on: date
    purpose: Purpose
    amount: Decimal = strawberry.field(description="Major units of the product's currency.")
    reference: str = strawberry.field(description="Of the document in the books.")


@strawberry.input
class ReversePreventionSpendingInput:
    request_id: UUID
    spending_id: strawberry.ID
    reference: str = strawberry.field(description="Of the document in the books.")


@strawberry.type
class PortfolioProposalPayload:
    replayed: bool
    proposal: PortfolioProposal


@strawberry.type
class PreventionSpendingPayload:
    replayed: bool
    spending: PreventionSpending


PortfolioProposalResult = Annotated[
    PortfolioProposalPayload | UserError, strawberry.union("PortfolioProposalResult")
]
PreventionSpendingResult = Annotated[
    PreventionSpendingPayload | UserError, strawberry.union("PreventionSpendingResult")
]


@strawberry.type
class PortfolioMutation:
    @strawberry.mutation(
        description="Figures of a year; they count once another person confirms. Actuaries and "
        "administrators. Codes: NOT_FOUND, VALUE_OUT_OF_RANGE, IN_FUTURE, STATE_INVALID, "
        "ALREADY_DECIDED, REQUEST_REUSED."
    )
    async def record_portfolio_year(
        self, info: Info, input: RecordPortfolioYearInput
    ) -> PortfolioProposalResult:
        context = info.context
        staff_id = context.require_role(*ACTING)
        async with context.db.transaction() as session:
            made, replayed = await portfolio.propose(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                product_code=input.product_code,
                year=input.year,
                claims=input.claims,
                ceded_tier_claims=input.ceded_tier_claims,
                operating_cost=input.operating_cost,
                reference=input.reference,
                now=context.now,
            )
        shown = PortfolioProposal.of(made, staff_id)
        return PortfolioProposalPayload(replayed=replayed, proposal=shown)

    @strawberry.mutation(
        description="Confirm, so that premiums are priced with it from now on, or drop. Actuaries "
        "and administrators. Codes: NOT_FOUND, ALREADY_DECIDED, SECOND_PERSON_NEEDED, "
        "STATE_INVALID, REQUEST_REUSED."
    )
    async def decide_portfolio_year(
        self, info: Info, input: DecidePortfolioYearInput
    ) -> PortfolioProposalResult:
        context = info.context
        staff_id = context.require_role(*ACTING)
        named = decode(input.proposal_id, Kind.PORTFOLIO_PROPOSAL, field="proposalId")
        async with context.db.transaction() as session:
            made, replayed = await portfolio.decide(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                proposal_id=named.owner_id,
                confirm=input.confirm,
                now=context.now,
            )
        shown = PortfolioProposal.of(made, staff_id)
        return PortfolioProposalPayload(replayed=replayed, proposal=shown)

    @strawberry.mutation(
        description="From the prevention reserve. What exceeds it or the market's cap is booked "
        "all the same; `portfolio.warnings` says so. Actuaries and administrators. Codes: "
        "NOT_FOUND, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def book_prevention_spending(
        self, info: Info, input: BookPreventionSpendingInput
    ) -> PreventionSpendingResult:
        context = info.context
        staff_id = context.require_role(*ACTING)
        async with context.db.transaction() as session:
            made, replayed = await prevention.book(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                product_code=input.product_code,
                spent_on=input.spent_on,
                purpose=input.purpose,
                amount=input.amount,
                reference=input.reference,
                now=context.now,
            )
            is_reversed = replayed and await prevention.is_reversed(session, made.id)
        shown = PreventionSpending.of(made, is_reversed=is_reversed)
        return PreventionSpendingPayload(replayed=replayed, spending=shown)

    @strawberry.mutation(
        description="Take back what was booked by mistake, once. Actuaries and administrators. "
        "Codes: NOT_FOUND, ALREADY_DECIDED, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def reverse_prevention_spending(
        self, info: Info, input: ReversePreventionSpendingInput
    ) -> PreventionSpendingResult:
        context = info.context
        staff_id = context.require_role(*ACTING)
        named = decode(input.spending_id, Kind.PREVENTION_SPENDING, field="spendingId")
        async with context.db.transaction() as session:
            made, replayed = await prevention.reverse(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                spending_id=named.owner_id,
                reference=input.reference,
                now=context.now,
            )
        shown = PreventionSpending.of(made, is_reversed=False)
        return PreventionSpendingPayload(replayed=replayed, spending=shown)
