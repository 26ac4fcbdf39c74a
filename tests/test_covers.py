"""Sums insured with their uplifts (PRM-5, PTS-4), and complication covers (COV-4)."""

import asyncio
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database
from app.health_tasks.models import ParticipationMonth
from app.premiums import benefit_jobs, cover_uplifts, rules
from app.premiums import jobs as premium_jobs
from app.premiums.benefit_rules import (
    CoverDecision,
    CoverReason,
    decide_cover,
    sum_insured,
    uplift_days,
    whole_months,
)
from app.premiums.benefit_terms import ComplicationCover
from app.premiums.offering import offer_due
from tests.factories import NOON, as_member, as_staff, contents, execute, operation
from tests.insured import BENEFITS, LATER, make_case, make_insured, make_manager, measured
from tests.policy_holders import PLAIN, publish, tick, variant
from tests.shoppers import UPLIFT, fulfil_due, give, make_reward, redeem
from tests.test_mild_conditions import choose, withdraw

WORDS = {"zh": "视网膜病变", "en": "Retinopathy"}
COVER = ComplicationCover.model_validate(
    {
        "code": "diabetic_retinopathy",
        "label": WORDS,
        "explanation": WORDS,
        "icd10": ["E11.3"],
        "amount": "10000",
        "insured_months_min": 24,
        "window_months": 24,
        "good_months_min": 18,
        "month_counts_from_percent": "80",
    }
)
TWO_YEARS = NOON.replace(year=2028, day=3)


async def policy_of(db: Database, member_id: UUID) -> UUID:
    async with db.read() as connection:
        sql = text("select id from policies where member_id = :id and state = 'IN_FORCE'")
        found: UUID = (await connection.execute(sql, {"id": member_id})).scalar_one()
        return found


async def shown(db: Database, member_id: UUID, *, now: datetime = NOON, locale: str = "en") -> Any:
    context = as_member(db, member_id, now=now, locale=locale)
    return (await execute(BENEFITS, {}, context=context))["me"]["policy"]["benefits"]


async def redeem_uplift(db: Database, member_id: UUID, percent: str = "5") -> str:
    await give(db, member_id, 10)
    reward = await make_reward(db, price=10, **{**UPLIFT, "cover_uplift_percent": Decimal(percent)})
    done = await redeem(db, member_id, reward)
    assert await fulfil_due(db) == 1
    found: str = done["redemption"]["id"]
    return found


async def test_a_redeemed_uplift_lifts_the_sum_insured_for_its_months(db: Database) -> None:
    member = await make_insured(db)
    [before] = (await shown(db, member))["sumsInsured"]
    assert before["amount"] == before["base"] == {"amount": "200000.00", "currency": "CNY"}
    redemption = await redeem_uplift(db, member)

    assert await benefit_jobs.apply_uplifts(db, now=NOON + timedelta(minutes=5)) == 1

    benefits = await shown(db, member)
    [lifted] = benefits["sumsInsured"]
    assert (lifted["amount"]["amount"], lifted["upliftPercent"]) == ("210000.00", "5")
    [edge] = benefits["coverUplifts"]["edges"]
    assert edge["node"] == {
        "source": "REWARD",
        "percent": "5",
        "startsOn": date(2026, 3, 2),
        "endsOn": date(2027, 3, 1),
    }
    over = await shown(db, member, now=NOON + timedelta(days=365))
    assert over["sumsInsured"][0]["amount"]["amount"] == "200000.00"
    manager = await make_manager(db, member)
    sent = {"requestId": str(uuid4()), "redemptionId": redemption, "reason": "Mistake."}
    reverse = (
        "mutation($input: ReverseRedemptionInput!) { reverseRedemption(input: $input) "
        "{ __typename ... on UserError { code } } }"
    )
    refused = await execute(reverse, {"input": sent}, context=as_staff(db, manager))
    assert refused["reverseRedemption"]["code"] == "STATE_INVALID", "the cover rests on it"


async def test_uplifts_add_up_to_the_products_limit(db: Database) -> None:
    member = await make_insured(db)
    for percent in ("20", "25"):
        await redeem_uplift(db, member, percent)
    assert await benefit_jobs.apply_uplifts(db, now=NOON) == 2
    [lifted] = (await shown(db, member))["sumsInsured"]
    assert (lifted["amount"]["amount"], lifted["upliftPercent"]) == ("260000.00", "30")


async def test_applied_by_many_at_once_it_lifts_once(db: Database) -> None:
    member = await make_insured(db)
    await redeem_uplift(db, member)
    done = await asyncio.gather(*(benefit_jobs.apply_uplifts(db, now=NOON) for _ in range(8)))
    assert sum(done) == 1
    assert len((await contents(db, "cover_uplifts"))["cover_uplifts"]) == 1


async def test_where_nothing_can_be_lifted_the_reward_waits(db: Database) -> None:
    member = await make_insured(db, "starter")
    await redeem_uplift(db, member)
    assert await benefit_jobs.apply_uplifts(db, now=NOON) == 0
    async with db.read() as connection:
        sql = text("select applied_at from pending_benefits")
        assert (await connection.execute(sql)).scalar_one() is None
    assert await shown(db, member) is None


async def test_what_waited_lifts_from_the_term_that_can_be_lifted(db: Database) -> None:
    await publish(db, variant("flat", **PLAIN, benefits={"covers": []}))
    member = await make_insured(db, "flat")
    await redeem_uplift(db, member)
    assert await benefit_jobs.apply_uplifts(db, now=NOON) == 0
    await publish(db, variant("flat", **PLAIN, version="1.1.0"))
    renewal = datetime(2027, 3, 2, 4, tzinfo=NOON.tzinfo)
    await offered_and_renewed(db, now=renewal)
    assert await benefit_jobs.apply_uplifts(db, now=renewal) == 1
    [edge] = (await shown(db, member, now=renewal))["coverUplifts"]["edges"]
    days = (edge["node"]["startsOn"], edge["node"]["endsOn"])
    assert days == (date(2027, 3, 2), date(2028, 3, 1)), "all of its months"


async def offered_and_renewed(db: Database, *, now: datetime) -> None:
    async with db.write() as connection:
        sql = "update participation_months set closed_at = :at where closed_at is null"
        await connection.execute(text(sql), {"at": now})
    await tick(db, offer_due, now=now - timedelta(days=10))
    assert await premium_jobs.renew_terms(db, now=now) == 1


async def test_a_term_is_lifted_once(db: Database) -> None:
    member = await make_insured(db)
    policy_id = await policy_of(db, member)
    term = rules.Term(date(2027, 3, 2), date(2028, 3, 1))

    async def lift() -> bool:
        async with db.transaction() as session:
            return await cover_uplifts.uplift_term(
                session,
                member_id=member,
                policy_id=policy_id,
                term=term,
                percent=Decimal(5),
                now=NOON,
            )

    assert sorted(await asyncio.gather(*(lift() for _ in range(4)))) == [False] * 3 + [True]
    later = await shown(db, member, now=NOON + timedelta(days=366))
    assert later["sumsInsured"][0]["amount"]["amount"] == "210000.00"


async def test_an_improvement_chosen_as_cover_lifts_the_next_term(db: Database) -> None:
    """From the reading to the sum insured: trigger, choice, averages, renewal (PRM-5)."""
    member, case_id = await make_case(db, glucose="7.4")
    await choose(db, member, case_id, "COVER")
    # Two days in the month of the trigger, two in the third month after it.
    for day, glucose in ((10, "7.4"), (85, "6.4"), (95, "6.4")):
        await measured(db, member, at=LATER + timedelta(days=day), glucose=glucose)
    renewal = datetime(2027, 3, 2, 4, tzinfo=NOON.tzinfo)
    async with db.write() as connection:
        sql = "update participation_months set closed_at = :at where closed_at is null"
        await connection.execute(text(sql), {"at": renewal})

    assert await premium_jobs.renew_terms(db, now=renewal) == 1

    benefits = await shown(db, member, now=renewal)
    assert benefits["sumsInsured"][0]["amount"]["amount"] == "210000.00"
    [edge] = benefits["coverUplifts"]["edges"]
    assert edge["node"] == {
        "source": "MILD_CONDITION",
        "percent": "5",
        "startsOn": date(2027, 3, 2),
        "endsOn": date(2028, 3, 1),
    }


def test_sums_are_rounded_half_up_and_days_begin_with_the_policy() -> None:
    assert sum_insured(1_001, [Decimal("0.05")], percent_max=None) == 1_002
    assert sum_insured(1_000, [Decimal("0.04")], percent_max=None) == 1_000
    assert sum_insured(1_000, [Decimal(20), Decimal(20)], percent_max=Decimal(30)) == 1_300
    days = uplift_days(date(2026, 1, 31), term_starts_on=date(2026, 1, 1), months=1)
    assert days == rules.Term(date(2026, 1, 31), date(2026, 2, 27))
    later = uplift_days(date(2026, 1, 31), term_starts_on=date(2026, 2, 5), months=12)
    assert later.starts_on == date(2026, 2, 5)


# Complication covers


async def with_months(db: Database, member: UUID, good: int, *, of: int = 24) -> None:
    """Closed months of the first two policy years, the last `good` of them well done."""
    async with db.transaction() as session:
        for number in range(of):
            month = rules.add_months(date(2026, 3, 1), number)
            percent = Decimal(85) if number >= of - good else Decimal(40)
            values = {
                "due": 20, "done": 17, "percent": percent, "paused": 0, "closes_at": NOON,
                "closed_at": NOON, "changed_at": NOON,
            }  # fmt: skip
            known = await session.get(ParticipationMonth, (member, month))
            if known is None:
                session.add(ParticipationMonth(member_id=member, month=month, **values))
                continue
            for name, value in values.items():
                setattr(known, name, value)


async def renewed(db: Database, member: UUID, years: int = 2) -> None:
    """As renewals leave it: a term for each year."""
    policy_id = await policy_of(db, member)
    async with db.write() as connection:
        for year in range(1, years + 1):
            sql = text(
                "insert into policy_terms (member_id, policy_id, starts_on, ends_on, base, total,"
                " currency, adjustment_percent, created_at) select member_id, policy_id,"
                " (starts_on + make_interval(years => :year))::date,"
                " (ends_on + make_interval(years => :year))::date, base, total, currency, 0,"
                " created_at from policy_terms where policy_id = :id and starts_on = '2026-03-02'"
            )
            await connection.execute(sql, {"year": year, "id": policy_id})


async def decisions(db: Database) -> list[Any]:
    async with db.read() as connection:
        sql = text("select * from complication_decisions order by decided_at")
        return list((await connection.execute(sql)).all())


async def test_a_long_term_good_member_gets_the_cover_until_the_term_ends(db: Database) -> None:
    member = await make_insured(db)
    await with_months(db, member, good=18)
    await renewed(db, member)
    assert await benefit_jobs.decide_covers(db, now=TWO_YEARS) == 1

    [decided] = await decisions(db)
    assert (decided.decision, decided.reason) == ("GRANTED", "GOOD_MEMBER")
    assert (decided.starts_on, decided.ends_on) == (date(2028, 3, 3), date(2029, 3, 1))
    assert (decided.insured_months, decided.good_months) == (24, 18)
    [cover] = (await shown(db, member, now=TWO_YEARS))["complicationCovers"]
    assert (cover["covered"], cover["coveredUntil"]) == (True, date(2029, 3, 1))
    assert cover["amount"] == {"amount": "10000.00", "currency": "CNY"}
    assert "24 months" in cover["decisionExplanation"]
    [chinese] = (await shown(db, member, now=TWO_YEARS, locale="zh-CN"))["complicationCovers"]
    assert "24 个月" in chinese["decisionExplanation"]


@pytest.mark.parametrize(
    ("good", "months", "reason"),
    [(17, 24, "TOO_FEW_GOOD_MONTHS"), (18, 12, "NOT_INSURED_LONG_ENOUGH")],
)
async def test_others_are_told_what_it_takes(
    db: Database, good: int, months: int, reason: str
) -> None:
    member = await make_insured(db)
    await with_months(db, member, good=good)
    await renewed(db, member)
    now = TWO_YEARS.replace(year=2026 + months // 12)
    await benefit_jobs.decide_covers(db, now=now)
    [cover] = (await shown(db, member, now=now))["complicationCovers"]
    assert (cover["decision"], cover["reason"], cover["covered"]) == ("REFUSED", reason, False)
    assert cover["decisionExplanation"].startswith("It takes")


async def test_who_has_the_complication_already_is_refused(db: Database) -> None:
    member = await make_insured(db)
    await with_months(db, member, good=24)
    await renewed(db, member)
    sent = {"requestId": str(uuid4()), "icd10": "E11.30"}
    done = await execute(operation("SetCondition"), {"input": sent}, context=as_member(db, member))
    assert done["setCondition"]["__typename"] == "SetConditionPayload", done
    await benefit_jobs.decide_covers(db, now=TWO_YEARS)
    assert [it.reason for it in await decisions(db)] == ["COMPLICATION_KNOWN"]


async def test_without_consent_nothing_is_decided_and_what_was_granted_stays(
    db: Database,
) -> None:
    member, other = await make_insured(db), await make_insured(db)
    for it in (member, other):
        await with_months(db, it, good=24)
        await renewed(db, it)
    await withdraw(db, other)
    await benefit_jobs.decide_covers(db, now=TWO_YEARS)
    assert [it.member_id for it in await decisions(db)] == [member]
    await withdraw(db, member)
    await with_months(db, member, good=0)
    await benefit_jobs.decide_covers(db, now=TWO_YEARS + timedelta(days=60))
    [cover] = (await shown(db, member, now=TWO_YEARS + timedelta(days=60)))["complicationCovers"]
    assert cover["covered"]


async def test_decided_once_a_month_by_however_many(db: Database) -> None:
    member = await make_insured(db)
    await with_months(db, member, good=2)
    await renewed(db, member)

    async def decide(now: datetime) -> int:
        return sum(
            await asyncio.gather(*(benefit_jobs.decide_covers(db, now=now) for _ in range(4)))
        )

    assert await decide(TWO_YEARS) == 1
    assert await decide(TWO_YEARS + timedelta(days=20)) == 0
    assert await decide(TWO_YEARS + timedelta(days=31)) == 1
    assert len(await decisions(db)) == 2


async def test_who_stays_good_is_covered_without_a_day_between_terms(db: Database) -> None:
    member = await make_insured(db)
    await with_months(db, member, good=24)
    await renewed(db, member, years=3)
    await benefit_jobs.decide_covers(db, now=TWO_YEARS)
    await with_months(db, member, good=24, of=36)
    late = datetime(2029, 3, 5, 4, tzinfo=NOON.tzinfo)
    await benefit_jobs.decide_covers(db, now=late)
    assert [(it.starts_on, it.ends_on) for it in await decisions(db)] == [
        (date(2028, 3, 3), date(2029, 3, 1)),
        (date(2029, 3, 2), date(2030, 3, 1)),
    ]


def test_months_without_a_percentage_are_made_up_for_by_earlier_ones() -> None:
    months = [
        rules.MonthOfParticipation(
            rules.add_months(date(2024, 1, 1), number),
            None if 10 <= number < 16 else Decimal(80 if number < 18 else 79),
        )
        for number in range(30)
    ]
    it = decide_cover(
        COVER,
        policy_started_on=date(2024, 1, 1),
        today=date(2026, 7, 2),
        months=months,
        conditions=["E11.9"],
    )
    assert (it.counted_months, it.good_months) == (24, 12)
    assert (it.decision, it.reason) == (CoverDecision.REFUSED, CoverReason.TOO_FEW_GOOD_MONTHS)


def test_whole_months() -> None:
    assert whole_months(date(2026, 1, 31), date(2026, 2, 27)) == 0
    assert whole_months(date(2026, 1, 31), date(2026, 2, 28)) == 1
    assert whole_months(date(2026, 3, 2), date(2028, 3, 1)) == 23
    assert whole_months(date(2026, 3, 2), date(2028, 3, 2)) == 24
    assert whole_months(date(2026, 3, 2), date(2026, 1, 1)) == 0
