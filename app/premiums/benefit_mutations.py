"""What members choose about benefits, and what employees record."""

from datetime import date
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import strawberry

from app.errors import NotFound
from app.graphql.errors import UserError
from app.graphql.ids import GlobalId, Kind, decode
from app.graphql.node import Info
from app.premiums import benefit_costs, benefit_rules, mild_choices
from app.premiums.facts import MildChoice
from app.premiums.mild_conditions_graphql import (
    BenefitCost,
    MildConditionCase,
    load_case,
    load_cost,
)
from app.worklist.graphql import ACTING


@strawberry.input
class ChooseMildConditionRewardInput:
    request_id: UUID
    case_id: strawberry.ID
    choice: MildChoice


@strawberry.type
class ChooseMildConditionRewardPayload:
    replayed: bool
    case: MildConditionCase


@strawberry.input
class RecordBenefitCostInput:
    request_id: UUID
    case_id: strawberry.ID
    drug: str = strawberry.field(description="ATC code: `A10BA02`.")
    bought_on: date
    amount: Decimal = strawberry.field(
        description="What the member paid, in major units of the case's currency."
    )
    note: str | None = strawberry.field(
        default=None,
        description=f"For the member to read, at most {benefit_rules.NOTE_LENGTH_MAX} characters.",
    )


@strawberry.type
class RecordBenefitCostPayload:
    replayed: bool
    cost: BenefitCost
    case: MildConditionCase


@strawberry.input
class ReverseBenefitCostInput:
    request_id: UUID
    cost_id: strawberry.ID
    reason: str = strawberry.field(
        description=f"For the member to read, at most {benefit_rules.NOTE_LENGTH_MAX} characters."
    )


@strawberry.type
class ReverseBenefitCostPayload:
    replayed: bool
    cost: BenefitCost
    case: MildConditionCase


ChooseMildConditionRewardResult = Annotated[
    ChooseMildConditionRewardPayload | UserError,
    strawberry.union("ChooseMildConditionRewardResult"),
]
RecordBenefitCostResult = Annotated[
    RecordBenefitCostPayload | UserError, strawberry.union("RecordBenefitCostResult")
]
ReverseBenefitCostResult = Annotated[
    ReverseBenefitCostPayload | UserError, strawberry.union("ReverseBenefitCostResult")
]


@strawberry.type
class BenefitsMutation:
    @strawberry.mutation(
        description="What an improvement of the mild condition shall bring at the next renewal: "
        "a lower premium, or more cover. It can be changed until the term ends. Codes: NOT_FOUND, "
        "STATE_INVALID, NOT_ELIGIBLE, REQUEST_REUSED."
    )
    async def choose_mild_condition_reward(
        self, info: Info, input: ChooseMildConditionRewardInput
    ) -> ChooseMildConditionRewardResult:
        context = info.context
        member_id = context.member_id
        named = decode(input.case_id, Kind.MILD_CONDITION_CASE, field="caseId")
        if named.owner_id != member_id:
            raise NotFound(field="caseId")
        async with context.db.transaction() as session:
            _, replayed = await mild_choices.choose(
                session,
                member_id=member_id,
                request_id=input.request_id,
                case_id=named.key,
                choice=input.choice,
                chosen_by=context.viewer.member_id or member_id,
                now=context.now,
            )
        return ChooseMildConditionRewardPayload(
            replayed=replayed, case=await load_case(info, member_id, named.key)
        )

    @strawberry.mutation(
        description="What a member paid for a drug: its share is paid as long as the limit of "
        "the case lasts; what is not paid is kept with the reason. Staff only. Codes: NOT_FOUND, "
        "STATE_INVALID, CODE_INVALID, VALUE_OUT_OF_RANGE, IN_FUTURE, LIMIT_REACHED, "
        "CONSENT_MISSING, REQUEST_REUSED."
    )
    async def record_benefit_cost(
        self, info: Info, input: RecordBenefitCostInput
    ) -> RecordBenefitCostResult:
        context = info.context
        named = decode(input.case_id, Kind.MILD_CONDITION_CASE, field="caseId")
        staff_id = await _acting_staff(info, named, field="caseId")
        async with context.db.transaction() as session:
            cost, replayed = await benefit_costs.record(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                case_id=named.key,
                bought=benefit_costs.Bought(input.drug, input.bought_on, input.amount, input.note),
                now=context.now,
            )
            key = (cost.member_id, cost.id, cost.case_id)
        member_id, cost_id, case_id = key
        return RecordBenefitCostPayload(
            replayed=replayed,
            cost=await load_cost(info, member_id, cost_id),
            case=await load_case(info, member_id, case_id),
        )

    @strawberry.mutation(
        description="It was recorded by mistake: what was paid of it goes back under the limit, "
        "first to costs that had reached it. Staff only. Codes: NOT_FOUND, STATE_INVALID, "
        "VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def reverse_benefit_cost(
        self, info: Info, input: ReverseBenefitCostInput
    ) -> ReverseBenefitCostResult:
        context = info.context
        named = decode(input.cost_id, Kind.BENEFIT_COST, field="costId")
        staff_id = await _acting_staff(info, named, field="costId")
        async with context.db.transaction() as session:
            cost, replayed = await benefit_costs.reverse(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                cost_id=named.key,
                reason=input.reason,
                now=context.now,
            )
            key = (cost.member_id, cost.id, cost.case_id)
        member_id, cost_id, case_id = key
        return ReverseBenefitCostPayload(
            replayed=replayed,
            cost=await load_cost(info, member_id, cost_id),
            case=await load_case(info, member_id, case_id),
        )


async def _acting_staff(info: Info, named: GlobalId, *, field: str) -> UUID:
    """The employee, who may see the member; that they look is recorded. A member who asks for
    what is not theirs to do finds nothing. Raises NotFound, Unauthenticated, Forbidden."""
    viewer = info.context.viewer
    if viewer.staff_id is None and viewer.member_id is not None:
        raise NotFound(field=field)
    staff_id = info.context.require_role(*ACTING)
    if not await info.context.may_see(named.owner_id):
        raise NotFound(field=field)
    return staff_id
