"""Instalments, payments, reminders, grace, lapse and reinstatement, at their instants."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from app.db import Database
from app.errors import ErrorCode
from app.premiums import collecting, invoices, payments, reinstatement
from app.premiums.contract_terms import Frequency
from app.premiums.models import Policy
from app.premiums.payments import Told
from tests.factories import NOON, make_staff
from tests.policy_holders import (
    PLAIN,
    TODAY,
    applied,
    do,
    events,
    insured,
    invoices_of,
    policy_of,
    publish,
    refused,
    rows,
    tick,
    variant,
)

DAY = timedelta(days=1)
MONTHLY = {"frequency": Frequency.MONTHLY}
DUE = datetime(2026, 3, 16, 16, tzinfo=UTC)
"""The midnight in Shanghai after the fourteenth day from 2 March."""


@pytest.fixture(autouse=True)
async def products(db: Database) -> None:
    await publish(db, variant(**PLAIN))


async def invoice_ids(db: Database, policy: Policy) -> list[UUID]:
    found = await rows(
        db, "select id from invoices where policy_id = :id order by part", id=policy.id
    )
    return [id for (id,) in found]


async def told(
    db: Database, policy: Policy, invoice: UUID, amount: int, *, now: datetime = NOON, **what
) -> tuple:
    given = {"reference": uuid4().hex, "failure": None, "currency": "CNY", **what}
    return await do(
        db,
        payments.record,
        member_id=policy.member_id,
        invoice_id=invoice,
        told=Told("test", amount=amount, happened_at=now, **given),
        now=now,
    )


async def test_a_year_is_one_invoice_due_after_the_products_days(db: Database):
    policy = await insured(db)
    [(total,)] = await rows(db, "select total from policy_terms")
    assert await invoices_of(db, policy) == [(1, total, "ISSUED")]
    assert await rows(db, "select due_at, dun_at, currency from invoices") == [(DUE, DUE, "CNY")]


async def test_months_sum_to_the_year_and_are_issued_at_the_members_midnight(db: Database):
    policy = await insured(db, wanted=MONTHLY)
    [(total,)] = await rows(db, "select total from policy_terms")
    parts = await invoices_of(db, policy)
    assert (len(parts), sum(amount for _, amount, _ in parts)) == (12, total)
    assert [state for _, _, state in parts] == ["ISSUED"] + ["SCHEDULED"] * 11
    april = datetime(2026, 4, 1, 16, tzinfo=UTC)
    assert await tick(db, collecting.issue_due, now=april - timedelta(seconds=1)) == 0
    runs = await asyncio.gather(*(tick(db, collecting.issue_due, now=april) for _ in range(4)))
    assert sum(runs) == 1
    assert [state for _, _, state in await invoices_of(db, policy)][:3] == [
        "ISSUED", "ISSUED", "SCHEDULED",
    ]  # fmt: skip
    # Months that no worker has seen are issued together, and each once.
    june = datetime(2026, 6, 10, tzinfo=UTC)
    await asyncio.gather(*(tick(db, collecting.issue_due, now=june) for _ in range(4)))
    assert [state for _, _, state in await invoices_of(db, policy)].count("ISSUED") == 4


async def test_a_payment_is_taken_once_however_often_it_is_told(db: Database):
    policy = await insured(db)
    [invoice] = await invoice_ids(db, policy)
    [(_, amount, _)] = await invoices_of(db, policy)
    one = {"reference": "charge-1"}
    answers = await asyncio.gather(*(told(db, policy, invoice, amount, **one) for _ in range(8)))
    assert sum(not replayed for _, replayed in answers) == 1
    assert await invoices_of(db, policy) == [(1, amount, "PAID")]
    assert await rows(db, "select outcome, amount from payments") == [("PAID", amount)]
    await refused(db, ErrorCode.REQUEST_REUSED, told, db, policy, invoice, amount - 1, **one)
    await refused(db, ErrorCode.NOT_FOUND, told, db, policy, uuid4(), amount)
    for wrong in ({"reference": ""}, {"reference": "x" * 121}, {"failure": " "}):
        await refused(db, ErrorCode.VALUE_OUT_OF_RANGE, told, db, policy, invoice, amount, **wrong)
    stranger = await insured(db)
    await refused(db, ErrorCode.NOT_FOUND, told, db, stranger, invoice, amount)


async def test_what_fails_or_does_not_fit_is_for_an_employee(db: Database):
    policy = await insured(db)
    [invoice] = await invoice_ids(db, policy)
    [(_, amount, _)] = await invoices_of(db, policy)
    items = "select closed_at is null from worklist_items where kind = 'PAYMENT' order by opened_at"
    for _ in range(2):
        await told(db, policy, invoice, amount, failure="INSUFFICIENT_FUNDS")
    assert await rows(db, "select failures, state from invoices") == [(2, "ISSUED")]
    assert await rows(db, items) == [(True,)]
    later = NOON + DAY
    await told(db, policy, invoice, amount, now=later)
    assert await rows(db, items) == [(False,)], "paid after all"
    # Paid twice, too little, in another currency: kept, and seen to.
    await told(db, policy, invoice, amount, now=later)
    await told(db, policy, invoice, amount - 1, now=later)
    await told(db, policy, invoice, amount, currency="USD", now=later)
    outcomes = await rows(db, "select outcome, count(*) from payments group by 1 order by 1")
    assert outcomes == [("FAILED", 2), ("PAID", 1), ("UNMATCHED", 3)]
    assert await rows(db, items) == [(False,), (True,), (True,), (True,)]
    assert await invoices_of(db, policy) == [(1, amount, "PAID")]


async def test_unpaid_is_overdue_then_reminded_then_lapses_at_the_very_instant(db: Database):
    policy = await insured(db)
    second = timedelta(seconds=1)
    assert await tick(db, collecting.dun_due, now=DUE - second) == 0
    runs = await asyncio.gather(*(tick(db, collecting.dun_due, now=DUE) for _ in range(4)))
    assert sum(runs) == 1
    found = await policy_of(db, policy)
    grace_ends = DUE + 30 * DAY
    assert (found.state, found.grace_ends_at) == ("IN_FORCE", grace_ends), "covered meanwhile"
    for days in (3, 10):
        assert await tick(db, collecting.dun_due, now=DUE + days * DAY - second) == 0
        assert await tick(db, collecting.dun_due, now=DUE + days * DAY) == 1
    assert await tick(db, collecting.dun_due, now=grace_ends) == 0
    assert [kind for kind, _ in await events(db, policy)][-3:] == [
        "OVERDUE", "REMINDED", "REMINDED",
    ]  # fmt: skip
    assert await tick(db, collecting.lapse_due, now=grace_ends - second) == 0
    runs = await asyncio.gather(*(tick(db, collecting.lapse_due, now=grace_ends) for _ in range(4)))
    assert sum(runs) == 1
    found = await policy_of(db, policy)
    assert (found.state, found.grace_ends_at) == ("LAPSED", None)
    assert found.ended_on == date(2026, 4, 15), "the thirtieth day after the last to pay"
    assert [state for _, _, state in await invoices_of(db, policy)] == ["SUSPENDED"]
    open_tasks = "select count(*) from task_assignments where ended_at is null"
    assert await rows(db, open_tasks) == [(0,)]
    assert await rows(db, "select max(ends_on) from task_assignments") == [(date(2026, 4, 15),)]


async def test_a_clock_that_was_late_reminds_once_and_lapses_on_the_day_it_should(db: Database):
    policy = await insured(db)
    late = DUE + 35 * DAY
    assert await tick(db, collecting.dun_due, now=late) == 1
    assert await tick(db, collecting.lapse_due, now=late) == 1
    assert [kind for kind, _ in await events(db, policy)][-2:] == ["OVERDUE", "LAPSED"]
    assert (await policy_of(db, policy)).ended_on == date(2026, 4, 15)


async def test_paying_ends_the_grace_when_nothing_else_is_overdue(db: Database):
    policy = await insured(db, wanted=MONTHLY)
    at = datetime(2026, 4, 20, tzinfo=UTC)
    await tick(db, collecting.dun_due, now=DUE)
    await tick(db, collecting.issue_due, now=datetime(2026, 4, 1, 16, tzinfo=UTC))
    second_due = datetime(2026, 4, 16, 16, tzinfo=UTC)
    assert second_due > DUE + 30 * DAY  # the first would lapse before: pay it late, not too late
    first, second = (await invoice_ids(db, policy))[:2]
    amount = (await invoices_of(db, policy))[0][1]
    await told(db, policy, first, amount, now=DUE + 20 * DAY)
    assert (await policy_of(db, policy)).grace_ends_at is None
    assert await tick(db, collecting.lapse_due, now=at) == 0
    await tick(db, collecting.dun_due, now=at)
    assert (await policy_of(db, policy)).grace_ends_at == second_due + 30 * DAY
    await told(db, policy, second, (await invoices_of(db, policy))[1][1], now=at)
    assert (await policy_of(db, policy)).grace_ends_at is None
    kinds = [kind for kind, _ in await events(db, policy)]
    assert kinds[-4:] == ["OVERDUE", "SETTLED", "OVERDUE", "SETTLED"]


async def test_paying_and_lapsing_at_once_leave_one_of_them(db: Database):
    for _ in range(4):
        policy = await insured(db)
        [invoice] = await invoice_ids(db, policy)
        [(_, amount, _)] = await invoices_of(db, policy)
        await tick(db, collecting.dun_due, now=DUE)
        at = DUE + 30 * DAY
        await asyncio.gather(
            told(db, policy, invoice, amount, now=at), tick(db, collecting.lapse_due, now=at)
        )
        await tick(db, collecting.lapse_due, now=at)
        found = await policy_of(db, policy)
        [(_, _, state)] = await invoices_of(db, policy)
        assert (found.state, state) in (("IN_FORCE", "PAID"), ("LAPSED", "SUSPENDED"))


async def lapsed(db: Database, **wanted) -> Policy:
    policy = await insured(db, wanted=wanted)
    await tick(db, collecting.dun_due, now=DUE)
    await tick(db, collecting.lapse_due, now=DUE + 30 * DAY)
    return await policy_of(db, policy)


async def test_a_lapsed_cover_is_taken_up_again_within_the_products_days(db: Database):
    staff = await make_staff(db)
    policy = await lapsed(db, **MONTHLY)
    now = DUE + 50 * DAY
    given = {"staff_id": staff, "member_id": policy.member_id, "policy_id": policy.id}
    await refused(
        db, ErrorCode.VALUE_OUT_OF_RANGE, do, db, reinstatement.reinstate, **given,
        reason="", now=now,
    )  # fmt: skip
    request = uuid4()
    answers = await asyncio.gather(
        *(
            do(db, reinstatement.reinstate, **given, reason="Paid.", request_id=request, now=now)
            for _ in range(8)
        )
    )
    assert sum(not replayed for _, replayed in answers) == 1
    found = await policy_of(db, policy)
    assert (found.state, found.ended_on, found.left_on) == ("IN_FORCE", None, date(2026, 4, 15))
    states = [state for _, _, state in await invoices_of(db, policy)]
    assert states == ["ISSUED"] * 3 + ["SCHEDULED"] * 9
    assert await rows(db, "select distinct due_at from invoices where state = 'ISSUED'") == [
        (datetime(2026, 5, 20, 16, tzinfo=UTC),)
    ], "fourteen days from today"
    asked = await rows(db, "select distinct starts_on from task_assignments where ended_at is null")
    assert asked == [(date(2026, 5, 6),)]
    await refused(
        db, ErrorCode.STATE_INVALID, do, db, reinstatement.reinstate, **given, reason="again",
        now=now,
    )  # fmt: skip


async def test_too_late_or_insured_anew_is_not_taken_up_again(db: Database):
    staff = await make_staff(db)
    policy = await lapsed(db)
    given = {
        "staff_id": staff, "member_id": policy.member_id, "policy_id": policy.id, "reason": "ok",
    }  # fmt: skip
    last_day = datetime.combine(policy.ended_on + 60 * DAY, NOON.timetz())
    await refused(
        db, ErrorCode.TOO_OLD, do, db, reinstatement.reinstate, **given, now=last_day + DAY
    )
    anew = await applied(db, policy.member_id, declared=None, now=last_day)
    assert anew.state == "OFFERED"
    await refused(
        db, ErrorCode.STATE_INVALID, do, db, reinstatement.reinstate, **given, now=last_day
    )
    await refused(
        db, ErrorCode.NOT_FOUND, do, db, reinstatement.reinstate,
        **{**given, "member_id": uuid4()}, now=last_day,
    )  # fmt: skip


async def test_another_price_in_mid_term_spreads_over_what_is_not_issued(db: Database):
    policy = await insured(db, wanted=MONTHLY)
    before = await invoices_of(db, policy)
    product = variant(**PLAIN)

    async def reprice(session, *, now):
        locked = await session.merge(policy, load=True)
        return await invoices.reprice(
            session, locked, product, before=sum(it[1] for it in before), yearly=120_001,
            effective_on=date(2026, 4, 2), now=now,
        )  # fmt: skip

    assert await do(db, reprice) == 11
    after = await invoices_of(db, policy)
    assert after[0] == before[0]
    assert [amount for _, amount, _ in after[1:]] == [10_000] * 11
    assert date(2026, 3, 2) == TODAY


async def test_money_for_a_cover_that_has_lapsed_is_kept_and_seen_to(db: Database):
    policy = await lapsed(db)
    [invoice] = await invoice_ids(db, policy)
    [(_, amount, _)] = await invoices_of(db, policy)
    await told(db, policy, invoice, amount, now=DUE + 31 * DAY)
    assert (await policy_of(db, policy)).state == "LAPSED"
    assert await rows(db, "select outcome from payments") == [("UNMATCHED",)]
    assert await rows(db, "select count(*) from worklist_items where kind = 'PAYMENT'") == [(1,)]
