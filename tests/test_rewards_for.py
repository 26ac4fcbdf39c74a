"""Rewards for some: the risk tier and the market segment of a member decide."""

import pytest
from sqlalchemy import text

from app.db import Database
from tests.factories import NOON, consent
from tests.shoppers import make_reward, make_shopper, redeem
from tests.test_rewards import listed, of


async def stand(db: Database, member, *, tier: str, segment: str) -> None:
    async with db.write() as connection:
        await connection.execute(
            text("insert into risk_profiles (member_id, tier, contests) values (:m, :tier, 0)"),
            {"m": member, "tier": tier},
        )
        await connection.execute(
            text("""insert into member_standing (member_id, segment, lifecycle, lifecycle_since)
              values (:m, :segment, 'ACTIVE', :now)"""),
            {"m": member, "segment": segment, "now": NOON},
        )


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"tiers": ["HIGH", "LOW"]}, None),
        ({"tiers": ["LOW"]}, "NOT_ELIGIBLE"),
        ({"segments": ["RURAL_RESIDENT"]}, None),
        ({"segments": ["ELDERLY", "CHILD"]}, "NOT_ELIGIBLE"),
        ({"tiers": ["HIGH"], "segments": ["CHILD"]}, "NOT_ELIGIBLE"),
        ({"tiers": ["HIGH"], "segments": ["RURAL_RESIDENT"]}, None),
    ],
)
async def test_a_reward_is_for_its_tiers_and_segments(db: Database, made, reason):
    member, reward = await make_shopper(db, 100), await make_reward(db, price=10, **made)
    await stand(db, member, tier="HIGH", segment="RURAL_RESIDENT")
    assert of(await listed(db, member), reward)["unavailableReason"] == reason
    assert (await redeem(db, member, reward)).get("code") == reason


async def test_without_consent_nobody_is_in_a_tier(db: Database):
    member, reward = await make_shopper(db, 100), await make_reward(db, price=10, tiers=["HIGH"])
    await stand(db, member, tier="HIGH", segment="ELDERLY")
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    assert of(await listed(db, member), reward)["unavailableReason"] == "NOT_ELIGIBLE"
    assert (await redeem(db, member, reward))["code"] == "NOT_ELIGIBLE"
