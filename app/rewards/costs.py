"""What each reward has cost so far: in points, and in money where its terms say what one costs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Self
from uuid import UUID

import strawberry
from sqlalchemy import ARRAY, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection
from strawberry.dataloader import DataLoader

from app.graphql.node import Info
from app.members.rules import StaffRole
from app.rewards.rules import Fulfilment, RedemptionState
from app.rewards.terms import of_definition

LOOKING = (StaffRole.ACTUARY, StaffRole.AUDITOR, StaffRole.CAMPAIGN_MANAGER, StaffRole.ADMIN)
"""Roles that see it."""

_COUNTS = text(
    """
select d.reward_id, v.definition, d.state, count(*), sum(d.points)::bigint
from redemptions d
join reward_versions v on v.reward_id = d.reward_id and v.version = d.reward_version
where d.reward_id = any(:ids) and d.state in ('RESERVED', 'FULFILLED', 'REVERSED')
group by d.reward_id, v.definition, d.state
"""
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))


@dataclass(slots=True)
class Cost:
    """Of one reward, all its versions."""

    fulfilled: int = 0
    points: int = 0
    reserved: int = 0
    reserved_points: int = 0
    reversed: int = 0
    unpriced: int = 0
    money: dict[str, int] = field(default_factory=dict)
    """Minor units, by currency."""


async def costs(connection: AsyncConnection, ids: Iterable[UUID]) -> Mapping[UUID, Cost]:
    """Those that were redeemed; by reward. Money was spent on what members have, and on codes
    whose redemption was reversed, which nobody else gets."""
    found: dict[UUID, Cost] = {}
    for reward_id, definition, state, count, points in await connection.execute(
        _COUNTS, {"ids": list(ids)}
    ):
        cost, terms = found.setdefault(reward_id, Cost()), of_definition(definition)
        if state == RedemptionState.RESERVED:
            cost.reserved += count
            cost.reserved_points += points
            continue
        if state == RedemptionState.FULFILLED:
            cost.fulfilled += count
            cost.points += points
        else:
            cost.reversed += count
            if terms.fulfilment is not Fulfilment.VOUCHER_CODE:
                continue
        price = terms.unit_cost or terms.premium_credit
        if price is None:
            cost.unpriced += count
        else:
            cost.money[price.currency] = cost.money.get(price.currency, 0) + price.amount * count
    return found


@strawberry.type(description="Of all rewards of a kind that were given, in one currency.")
class RewardCostAmount:
    amount_minor: Decimal = strawberry.field(description="In minor units of `currency`.")
    currency: str = strawberry.field(description="ISO 4217: `CNY`.")


@strawberry.type(
    description="What a reward has cost so far. Points are text, because those of all members "
    "may exceed 32 bits."
)
class RewardCost:
    fulfilled: int = strawberry.field(description="How many members have, and keep.")
    points: Decimal = strawberry.field(description="Spent on them.")
    reserved: int = strawberry.field(description="How many wait to be fulfilled.")
    reserved_points: Decimal = strawberry.field(description="Held for them.")
    reversed: int = strawberry.field(description="How many were given back.")
    money: list[RewardCostAmount] = strawberry.field(
        description="What they cost the programme, codes of reversed ones too, as far as the "
        "terms say; by currency."
    )
    unpriced: int = strawberry.field(description="How many of them had terms without a cost.")

    @classmethod
    def of(cls, found: Cost) -> Self:
        return cls(
            fulfilled=found.fulfilled,
            points=Decimal(found.points),
            reserved=found.reserved,
            reserved_points=Decimal(found.reserved_points),
            reversed=found.reversed,
            money=[
                RewardCostAmount(amount_minor=Decimal(amount), currency=currency)
                for currency, amount in sorted(found.money.items())
            ],
            unpriced=found.unpriced,
        )


async def load(info: Info, reward_id: UUID) -> RewardCost:
    """Loads of one moment share one statement."""
    name, context = "rewards.costs", info.context
    if name not in context.state:

        async def load_many(ids: list[UUID]) -> list[RewardCost]:
            async with context.db.read() as reading:
                found = await costs(reading, ids)
            return [RewardCost.of(found.get(id, Cost())) for id in ids]

        context.state[name] = DataLoader(load_fn=load_many)
    loaded: RewardCost = await context.state[name].load(reward_id)
    return loaded
