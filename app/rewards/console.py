"""The catalogue for those who keep it: all of it, and its changes."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar
from uuid import UUID

import strawberry
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.errors import ErrorCode
from app.errors import UserError as Refusal
from app.graphql.errors import UserError
from app.graphql.ids import Kind, decode
from app.graphql.node import Info
from app.graphql.paging import PAGE, Connection
from app.members.rules import SegmentCode, StaffRole
from app.rewards import catalogue, graphql, rules
from app.rewards.graphql import Reward
from app.rewards.terms import Impossible, NewReward, Terms
from app.risk.graphql import RiskTier
from app.texts import Text

KEEPING = (StaffRole.CAMPAIGN_MANAGER, StaffRole.ADMIN)
"""Roles that change the catalogue."""
LOOKING = (*KEEPING, StaffRole.HEALTH_MANAGER, StaffRole.ACTUARY, StaffRole.AUDITOR)

Model = TypeVar("Model", bound=BaseModel)


class TermsInvalid(Refusal):
    """Names the first field at fault, and what is allowed."""

    def __init__(self, error: ValidationError, *, within: str) -> None:
        fault = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(_camel(str(part)) for part in fault["loc"])
        said = _said(fault)
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(zh=f"条款无效：{said.zh}。", en=f"These terms are invalid: {said.en}."),
            field=".".join(part for part in (within, path) if part),
        )


_FAULTS = {
    "string_too_short": "至少 {min_length} 个字符",
    "string_too_long": "最多 {max_length} 个字符",
    "greater_than": "必须大于 {gt}",
    "greater_than_equal": "不能小于 {ge}",
    "less_than_equal": "不能大于 {le}",
    "decimal_max_digits": "最多 {max_digits} 位数字",
    "decimal_max_places": "最多 {decimal_places} 位小数",
    "decimal_whole_digits": "整数部分最多 {whole_digits} 位",
    "finite_number": "必须是有限的数",
    "string_pattern_mismatch": "格式不符",
}
"""In Chinese, by pydantic's type of error; its own texts are English."""


def _said(fault: ErrorDetails) -> Text:
    context = fault.get("ctx", {})
    error = context.get("error")
    if isinstance(error, Impossible):
        return error.said
    zh = _FAULTS.get(fault["type"], "数值无效").format(**context)
    return Text(zh=zh, en=fault["msg"])


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


@strawberry.input
class LocalizedTextInput:
    zh: str
    en: str


@strawberry.input
class PremiumCreditInput:
    amount_minor: int = strawberry.field(description="In minor units of `currency`.")
    currency: str = strawberry.field(description="ISO 4217: `CNY`.")


@strawberry.input
class RewardUnitCostInput:
    amount_minor: int = strawberry.field(description="In minor units of `currency`.")
    currency: str = strawberry.field(description="ISO 4217: `CNY`.")


@strawberry.input(description="All terms; what is left out is no condition.")
class RewardTermsInput:
    kind: rules.RewardKind
    fulfilment: rules.Fulfilment
    title: LocalizedTextInput = strawberry.field(description="At most 80 characters each.")
    description: LocalizedTextInput = strawberry.field(description="At most 1000 characters each.")
    conditions: LocalizedTextInput | None = strawberry.field(
        default=None, description="In plain words, at most 1000 characters each."
    )
    image_url: str | None = strawberry.field(default=None, description="Begins with https://.")
    price: int = strawberry.field(description="In points.")
    limit_per_member: int | None = None
    visible_from: datetime | None = None
    visible_to: datetime | None = None
    active_from: datetime | None = None
    active_to: datetime | None = None
    tiers: list[RiskTier] = strawberry.field(default_factory=list)
    segments: list[SegmentCode] = strawberry.field(default_factory=list)
    reserved_days: int = strawberry.field(
        default=30, description="How long a redemption may wait to be fulfilled; 1 to 365."
    )
    cover_uplift_percent: Decimal | None = strawberry.field(
        default=None, description="Of a COVER_UPLIFT, and of no other."
    )
    premium_credit: PremiumCreditInput | None = strawberry.field(
        default=None, description="Of a PREMIUM_CREDIT, and of no other."
    )
    unit_cost: RewardUnitCostInput | None = strawberry.field(
        default=None, description="What one costs the programme; a credit costs itself."
    )

    def values(self) -> dict[str, Any]:
        found: dict[str, Any] = strawberry.asdict(self)
        for name in ("premium_credit", "unit_cost"):
            if found[name] is not None:
                money = found[name]
                found[name] = {"amount": money["amount_minor"], "currency": money["currency"]}
        return found


@strawberry.input
class CreateRewardInput:
    request_id: UUID
    code: str = strawberry.field(
        description="Small letters, digits and hyphens, 2 to 40; never used again."
    )
    stock: int | None = strawberry.field(
        default=None,
        description="At first; unlimited for good when left out. 0 for VOUCHER_CODE, whose "
        "stock is its imported codes.",
    )
    terms: RewardTermsInput


@strawberry.input
class UpdateRewardInput:
    request_id: UUID
    reward_id: strawberry.ID
    version: int = strawberry.field(description="That was opened to be changed.")
    terms: RewardTermsInput = strawberry.field(description="They replace the former ones.")


@strawberry.input
class ChangeRewardStockInput:
    request_id: UUID
    reward_id: strawberry.ID
    change: int = strawberry.field(description="To be added; below zero to be taken.")


@strawberry.type
class CreateRewardPayload:
    replayed: bool
    reward: Reward


@strawberry.type
class UpdateRewardPayload:
    replayed: bool
    reward: Reward


@strawberry.type
class ChangeRewardStockPayload:
    replayed: bool
    reward: Reward


CreateRewardResult = Annotated[
    CreateRewardPayload | UserError, strawberry.union("CreateRewardResult")
]
UpdateRewardResult = Annotated[
    UpdateRewardPayload | UserError, strawberry.union("UpdateRewardResult")
]
ChangeRewardStockResult = Annotated[
    ChangeRewardStockPayload | UserError, strawberry.union("ChangeRewardStockResult")
]


@strawberry.type
class CatalogueQuery:
    @strawberry.field(description="Every reward, hidden ones too, cheapest first. Staff only.")
    async def reward_catalogue(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[Reward]:
        info.context.require_role(*LOOKING)
        return await graphql.page(info.context, first, after, all=True)


@strawberry.type
class CatalogueMutation:
    @strawberry.mutation(
        description="Staff only. Codes: STATE_INVALID, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def create_reward(self, info: Info, input: CreateRewardInput) -> CreateRewardResult:
        context = info.context
        staff_id = context.require_role(*KEEPING)
        values = {"code": input.code, "stock": input.stock, "terms": input.terms.values()}
        new = _valid(NewReward, values)
        async with context.db.transaction() as session:
            reward_id, replayed = await catalogue.create(
                session, staff_id=staff_id, request_id=input.request_id, new=new, now=context.now
            )
        return CreateRewardPayload(replayed=replayed, reward=await _load(info, reward_id))

    @strawberry.mutation(
        description="Publishes other terms as the next version; what was redeemed keeps its own. "
        "Staff only. Codes: NOT_FOUND, VERSION_OUTDATED, STATE_INVALID, VALUE_OUT_OF_RANGE, "
        "REQUEST_REUSED."
    )
    async def update_reward(self, info: Info, input: UpdateRewardInput) -> UpdateRewardResult:
        context = info.context
        staff_id = context.require_role(*KEEPING)
        reward_id = decode(input.reward_id, Kind.REWARD, field="rewardId").owner_id
        terms = _valid(Terms, input.terms.values(), within="terms")
        async with context.db.transaction() as session:
            replayed = await catalogue.update(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                reward_id=reward_id,
                version=input.version,
                terms=terms,
                now=context.now,
            )
        return UpdateRewardPayload(replayed=replayed, reward=await _load(info, reward_id))

    @strawberry.mutation(
        description="Staff only. Codes: NOT_FOUND, STATE_INVALID, VALUE_OUT_OF_RANGE, "
        "REQUEST_REUSED."
    )
    async def change_reward_stock(
        self, info: Info, input: ChangeRewardStockInput
    ) -> ChangeRewardStockResult:
        context = info.context
        staff_id = context.require_role(*KEEPING)
        reward_id = decode(input.reward_id, Kind.REWARD, field="rewardId").owner_id
        async with context.db.transaction() as session:
            replayed = await catalogue.change_stock(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                reward_id=reward_id,
                change=input.change,
                now=context.now,
            )
        return ChangeRewardStockPayload(replayed=replayed, reward=await _load(info, reward_id))


def _valid(model: type[Model], values: dict[str, Any], *, within: str = "") -> Model:
    """Raises TermsInvalid."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise TermsInvalid(error, within=within) from None


async def _load(info: Info, reward_id: UUID) -> Reward:
    found = await graphql.load_reward(info, reward_id)
    assert found is not None
    return found
