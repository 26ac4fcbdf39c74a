"""What members and employees do with redemptions."""

from typing import Annotated, Any
from uuid import UUID

import strawberry

from app.errors import NotFound
from app.events import Event
from app.graphql.errors import UserError
from app.graphql.ids import GlobalId, Kind, decode, encode
from app.graphql.node import Info
from app.points.graphql import PointsAccount, load_account
from app.rewards import rules, service
from app.rewards.graphql import Redemption
from app.worklist.graphql import ACTING


@strawberry.input
class RedeemRewardInput:
    request_id: UUID
    reward_id: strawberry.ID


@strawberry.type
class RedeemRewardPayload:
    replayed: bool
    redemption: Redemption
    points: PointsAccount


@strawberry.input
class CancelRedemptionInput:
    request_id: UUID
    redemption_id: strawberry.ID
    reason: str | None = strawberry.field(
        default=None,
        description=f"For the member to read, at most {rules.NOTE_LENGTH_MAX} characters; "
        "employees give one.",
    )


@strawberry.type
class CancelRedemptionPayload:
    replayed: bool
    redemption: Redemption
    points: PointsAccount


@strawberry.input
class FulfilRedemptionInput:
    request_id: UUID
    redemption_id: strawberry.ID
    note: str | None = strawberry.field(
        default=None,
        description="For the member to read, as a tracking number; at most "
        f"{rules.NOTE_LENGTH_MAX} characters.",
    )


@strawberry.type
class FulfilRedemptionPayload:
    replayed: bool
    redemption: Redemption
    points: PointsAccount


@strawberry.input
class ReverseRedemptionInput:
    request_id: UUID
    redemption_id: strawberry.ID
    reason: str = strawberry.field(
        description=f"For the member to read, at most {rules.NOTE_LENGTH_MAX} characters."
    )
    restock: bool = strawberry.field(
        default=False,
        description="What the member had came back and can be given to somebody else; never a "
        "voucher code. A benefit always goes back.",
    )


@strawberry.type
class ReverseRedemptionPayload:
    replayed: bool
    redemption: Redemption
    points: PointsAccount


RedeemRewardResult = Annotated[
    RedeemRewardPayload | UserError, strawberry.union("RedeemRewardResult")
]
CancelRedemptionResult = Annotated[
    CancelRedemptionPayload | UserError, strawberry.union("CancelRedemptionResult")
]
FulfilRedemptionResult = Annotated[
    FulfilRedemptionPayload | UserError, strawberry.union("FulfilRedemptionResult")
]

ReverseRedemptionResult = Annotated[
    ReverseRedemptionPayload | UserError, strawberry.union("ReverseRedemptionResult")
]


@strawberry.type
class RewardsMutation:
    @strawberry.mutation(
        description="Codes: OUT_OF_STOCK, INSUFFICIENT_POINTS, LIMIT_REACHED, NOT_ELIGIBLE, "
        "NOT_FOUND, REQUEST_REUSED."
    )
    async def redeem_reward(self, info: Info, input: RedeemRewardInput) -> RedeemRewardResult:
        context = info.context
        member_id = context.member_id
        named = decode(input.reward_id, Kind.REWARD, field="rewardId")
        async with context.db.transaction() as session:
            row, replayed = await service.redeem(
                session,
                member_id=member_id,
                request_id=input.request_id,
                reward_id=named.owner_id,
                now=context.now,
            )
        return RedeemRewardPayload(**await _payload(info, row, replayed))

    @strawberry.mutation(
        description="While it is reserved: by the member, or by staff with a reason. Points and "
        "stock go back. Codes: NOT_FOUND, STATE_INVALID, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def cancel_redemption(
        self, info: Info, input: CancelRedemptionInput
    ) -> CancelRedemptionResult:
        context = info.context
        named = decode(input.redemption_id, Kind.REDEMPTION, field="redemptionId")
        by_owner = named.owner_id == (context.viewer.acting_for or context.viewer.member_id)
        staff_id = None if by_owner else await _acting_staff(info, named)
        async with context.db.transaction() as session:
            row, replayed = await service.cancel(
                session,
                owner=staff_id or named.owner_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                redemption_id=named.key,
                staff_id=staff_id,
                reason=input.reason,
                now=context.now,
            )
        return CancelRedemptionPayload(**await _payload(info, row, replayed))

    @strawberry.mutation(
        description="The member has it: the points are spent. Staff only. Codes: NOT_FOUND, "
        "STATE_INVALID, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def fulfil_redemption(
        self, info: Info, input: FulfilRedemptionInput
    ) -> FulfilRedemptionResult:
        context = info.context
        named = decode(input.redemption_id, Kind.REDEMPTION, field="redemptionId")
        staff_id = await _acting_staff(info, named)
        async with context.db.transaction() as session:
            row, replayed = await service.fulfil_by_hand(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                redemption_id=named.key,
                note=input.note,
                now=context.now,
            )
        return FulfilRedemptionPayload(**await _payload(info, row, replayed))

    @strawberry.mutation(
        description="Gives the points of what was fulfilled back: it did not work, or never came. "
        "Points that would have expired meanwhile can be spent for some days of grace. Staff "
        "only. Codes: NOT_FOUND, STATE_INVALID, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def reverse_redemption(
        self, info: Info, input: ReverseRedemptionInput
    ) -> ReverseRedemptionResult:
        context = info.context
        named = decode(input.redemption_id, Kind.REDEMPTION, field="redemptionId")
        staff_id = await _acting_staff(info, named)
        async with context.db.transaction() as session:
            row, replayed = await service.reverse(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                redemption_id=named.key,
                reason=input.reason,
                restock=input.restock,
                now=context.now,
            )
        return ReverseRedemptionPayload(**await _payload(info, row, replayed))


async def _acting_staff(info: Info, named: GlobalId) -> UUID:
    """The employee, who may see the member; that they look is recorded. A member who asks for
    what is not theirs finds nothing. Raises NotFound, Unauthenticated, Forbidden."""
    viewer = info.context.viewer
    if viewer.staff_id is None and viewer.member_id is not None:
        raise NotFound(field="redemptionId")
    staff_id = info.context.require_role(*ACTING)
    if not await info.context.may_see(named.owner_id):
        raise NotFound(field="redemptionId")
    return staff_id


async def _payload(info: Info, row: Any, replayed: bool) -> dict[str, Any]:
    """After the commit, with the balances as they are now."""
    if not replayed:
        account = encode(Kind.POINTS_ACCOUNT, row.member_id)
        info.context.events.publish(Event(row.member_id, "points", account))
    return {
        "replayed": replayed,
        "redemption": Redemption.of(row),
        "points": await load_account(info, row.member_id),
    }
