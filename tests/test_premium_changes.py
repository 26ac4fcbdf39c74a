"""What changes a premium besides a renewal: redeemed credit, and rules that act in a term."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlmodel import select

from app.db import Database
from app.premiums import catalogue, invoices, jobs, payments, product, recalculating
from app.premiums.models import Policy
from app.premiums.pricing_rules import Timing
from app.premiums.product import PRODUCTS
from tests import shoppers
from tests.factories import as_member, execute
from tests.policy_holders import do, rows
from tests.premium_world import BEGIN, END, START, closed, insured, renew, two_readings, year_closed
from tests.test_premium_pricing import Killed, amounts, premiums, verified

CURRENT = """{ me { premium { adjustmentPercent } policy { current { total { amount }
  adjustmentPercent lines { rule amount { amount } effectiveOn } } } } }"""


async def with_credit(db: Database, amount: int, **options) -> UUID:
    """A member with a redeemed premium credit, in minor units."""
    member = await insured(db, **options)
    await shoppers.give(db, member, 100, now=BEGIN)
    reward = await shoppers.make_reward(
        db, **(shoppers.CREDIT | {"premium_credit": {"amount": amount, "currency": "CNY"}})
    )
    await shoppers.redeem(db, member, reward, now=BEGIN + timedelta(days=5))
    assert await shoppers.fulfil_due(db, now=BEGIN + timedelta(days=5)) == 1
    await year_closed(db, member)
    return member


async def uses(db: Database) -> list[tuple[int, int]]:
    async with db.read() as reading:
        rows = await reading.execute(
            text(
                "select p.number, u.amount from premium_credit_uses u join premiums p"
                " on p.member_id = u.member_id and p.id = u.premium_id order by 1"
            )
        )
        return [tuple(row) for row in rows]


async def test_a_credit_pays_once_whoever_renews(db: Database):
    member = await with_credit(db, 10_000)
    assert sum(await asyncio.gather(*(renew(db) for _ in range(4)))) == 1
    _, second = await premiums(db, member)
    assert (amounts(second)["PTS-4"], second.total) == (-10_000, 290_000)
    assert await uses(db) == [(2, 10_000)]
    assert await renew(db, now=datetime(2028, 2, 29, 16, tzinfo=UTC)) == 1
    *_, third = await premiums(db, member)
    assert "PTS-4" not in amounts(third)
    assert await verified(db) == 3


async def test_what_a_premium_does_not_need_of_a_credit_stays(db: Database):
    member = await with_credit(db, 350_000, tier="LOW")  # a premium of 240 000
    await renew(db)
    await renew(db, now=datetime(2028, 2, 29, 16, tzinfo=UTC))
    _, second, third = await premiums(db, member)
    assert [it.total for it in (second, third)] == [0, 130_000]
    assert await uses(db) == [(2, 240_000), (3, 110_000)]
    async with db.read() as reading:
        [applied] = (
            await reading.execute(text("select applied_at from pending_benefits"))
        ).scalars()
    assert applied == END
    assert await verified(db) == 3


async def test_a_renewal_that_is_rolled_back_uses_no_credit(db: Database, monkeypatch):
    member = await with_credit(db, 10_000)
    real = jobs.service.renew_due

    async def dies(session, **arguments):
        await real(session, **arguments)
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(jobs.service, "renew_due", dies)
        with pytest.raises(RuntimeError):
            await renew(db)
    assert (len(await premiums(db, member)), await uses(db)) == (1, [])
    await renew(db)
    assert await uses(db) == [(2, 10_000)]


# In a term


async def publish_mid_term(db: Database) -> None:
    """The chronic-care plan with PRM-3 in the term, as a later version."""
    care = product.read(PRODUCTS / "chronic-care-1.0.0.yaml")
    rules = tuple(
        it.model_copy(update={"timing": Timing.MID_TERM}) if it.code == "PRM-3" else it
        for it in care.rules
    )
    async with db.transaction() as session:
        made = care.model_copy(update={"version": "1.9.0", "rules": rules})
        await catalogue.publish(session, made, now=BEGIN - timedelta(days=60))


async def improving(db: Database) -> UUID:
    member = await insured(db, tier="HIGH")
    await two_readings(db, member, "SYSTOLIC_BP", "150", START)
    await two_readings(db, member, "SYSTOLIC_BP", "140", date(2026, 5, 1))
    for month in (3, 4, 5):
        at = datetime(2026, month + 1, 1, tzinfo=UTC)
        await closed(db, member, date(2026, month, 1), "90", at=at)
    return member


async def test_high_risk_that_improves_returns_to_base_in_the_term(db: Database):
    await publish_mid_term(db)
    member = await improving(db)
    june = datetime(2026, 6, 2, tzinfo=UTC)
    before = (await execute(CURRENT, context=as_member(db, member, now=june)))["me"]
    assert before["policy"]["current"]["total"] == {"amount": "3600.00"}
    done = await asyncio.gather(*(recalculating.recalculate(db, now=june) for _ in range(3)))
    assert sum(done) == 1
    first, second = await premiums(db, member)
    assert (second.moment, second.number) == ("MID_TERM", 2)
    assert (second.term_starts_on, second.effective_on) == (START, date(2026, 6, 1))
    assert (first.total, second.total) == (360_000, 300_000)
    assert amounts(second) == {"PRM-1": 60_000, "PRM-3": -60_000}
    assert second.lines[1]["effective_on"] == "2026-06-01"

    me = (await execute(CURRENT, context=as_member(db, member, now=june)))["me"]
    assert me["premium"] == {"adjustmentPercent": "0"}
    assert me["policy"]["current"]["total"] == {"amount": "3000.00"}
    assert [it["rule"] for it in me["policy"]["current"]["lines"]] == ["PRM-1", "PRM-3"]

    # The next months change nothing more, and a run that is repeated neither.
    for month in (6, 7):
        at = datetime(2026, month + 1, 1, tzinfo=UTC)
        await closed(db, member, date(2026, month, 1), "90", at=at)
        await recalculating.recalculate(db, now=at + timedelta(days=1))
    assert len(await premiums(db, member)) == 2
    assert await verified(db) == 2


@pytest.mark.parametrize("paid", [False, True])
async def test_a_cheaper_rest_of_the_term_is_billed_or_given_back(db: Database, paid: bool):
    await publish_mid_term(db)
    member = await improving(db)
    [(invoice, amount)] = await rows(db, "select id, amount from invoices")
    assert amount == 360_000
    june = datetime(2026, 6, 2, tzinfo=UTC)
    if paid:
        told = payments.Told("acquirer", "charge", amount, "CNY", BEGIN)
        await do(db, payments.record, member_id=member, invoice_id=invoice, told=told, now=BEGIN)
    await asyncio.gather(*(recalculating.recalculate(db, now=june) for _ in range(3)))
    # 600.00 a year less, for the 273 of 365 days from 1 June on.
    less = 44_877
    refunds = await rows(db, "select amount from refunds")
    billed = await rows(db, "select amount, state from invoices")
    if paid:
        assert (billed, refunds) == ([(amount, "PAID")], [(less,)])
    else:
        assert (billed, refunds) == ([(amount - less, "ISSUED")], [])

    # The cover ends on 30 November: 90 of 365 days at the 3000.00 that they cost now.
    later = 73_972
    async with db.transaction() as session:
        policy = (await session.exec(select(Policy).where(Policy.member_id == member))).one()
        policy.ended_on = date(2026, 11, 30)
        given = await invoices.end(session, policy, now=datetime(2026, 11, 1, tzinfo=UTC))
    refunds = await rows(db, "select amount from refunds order by amount")
    if paid:
        assert (given, refunds) == (later, [(less,), (later,)])
    else:
        billed = await rows(db, "select amount, state from invoices")
        assert (given, billed, refunds) == (0, [(amount - less - later, "ISSUED")], [])


async def test_a_recalculation_cut_short_is_done_once(db: Database, monkeypatch):
    await publish_mid_term(db)
    members = [await improving(db) for _ in range(3)]
    june = datetime(2026, 6, 2, tzinfo=UTC)
    monkeypatch.setattr(recalculating, "BATCH", 1)
    real, calls = recalculating.projecting.write, 0

    async def dies_in_the_second_batch(session, held, *, now):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Killed
        return await real(session, held, now=now)

    with monkeypatch.context() as patched:
        patched.setattr(recalculating.projecting, "write", dies_in_the_second_batch)
        with pytest.raises(Killed):
            await recalculating.recalculate(db, now=june)
    assert sorted([len(await premiums(db, it)) for it in members]) == [1, 1, 2]
    rest = await asyncio.gather(*(recalculating.recalculate(db, now=june) for _ in range(2)))
    assert sum(rest) == 2
    assert [len(await premiums(db, it)) for it in members] == [2, 2, 2]
