"""Where one thing of a policy meets another: a cover after a cover, a wish to stop and a lapse, a
version with other terms, a credit and an offer, two overdue invoices, a late clock."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app import civil_time
from app.db import Database, StatementCount
from app.points import service as points
from app.points.rules import CauseKind, expiry
from app.premiums import (
    applications,
    cancellation,
    collecting,
    offering,
    payment_choices,
    payment_orders,
    payments,
    policy_jobs,
    reinstatement,
    renewal,
    rescission,
)
from app.premiums.contract_terms import Frequency
from app.premiums.history import Actor
from app.premiums.models import Policy
from app.premiums.payments import Told
from tests import shoppers
from tests.factories import NOON, as_member, execute, make_staff, operation
from tests.points_ledger import balances, sound
from tests.policy_holders import (
    PLAIN,
    accepted,
    applied,
    do,
    events,
    insured,
    invoices_of,
    policy_of,
    publish,
    rows,
    tick,
    variant,
)
from tests.premium_world import assessed
from tests.test_premium_pricing import verified

DAY = timedelta(days=1)
MONTHLY = {"frequency": Frequency.MONTHLY}
END = datetime(2027, 3, 1, 16, tzinfo=UTC)
"""The midnight in Shanghai after the last day of a year from 2 March 2026."""
DUE = datetime(2026, 3, 16, 16, tzinfo=UTC)


@pytest.fixture(autouse=True)
async def products(db: Database) -> None:
    await publish(db, variant(**PLAIN))


async def close_months(db: Database, *, now: datetime) -> None:
    """As the clock of the tasks does it before a term is renewed."""
    async with db.write() as connection:
        await connection.exec_driver_sql(
            "update participation_months set closed_at = $1, changed_at = $1 where closed_at is null",
            (now,),
        )


async def pay(db: Database, policy: Policy, *, now: datetime = NOON, parts: int = 99) -> int:
    """The first invoices; how much in sum."""
    found = await rows(
        db, "select id, amount from invoices where policy_id = :id order by part limit :parts",
        id=policy.id, parts=parts,
    )  # fmt: skip
    for id, amount in found:
        told = Told("test", id.hex, amount, "CNY", now)
        await do(db, payments.record, member_id=policy.member_id, invoice_id=id, told=told, now=now)
    return sum(amount for _, amount in found)


async def as_holder(db: Database, service: Callable[..., Any], policy: Policy, **more: Any) -> Any:
    """What a member does with a contract of theirs."""
    by = Actor.member(policy.member_id)
    return await do(
        db, service, member_id=policy.member_id, policy_id=policy.id, by=by, **more
    )  # fmt: skip


async def earn(db: Database, member: UUID, amount: int, *, now: datetime) -> None:
    """By a task that is asked for now."""
    [(assignment,)] = await rows(
        db,
        "select id from task_assignments where member_id = :m and ended_at is null"
        " order by id limit 1",
        m=member,
    )
    async with db.transaction() as session:
        await points.earn(
            session,
            member_id=member,
            amount=amount,
            cause=points.Cause(CauseKind.TASK, assignment, f"{assignment}:{now.date()}:0"),
            rule=points.Rule(None, "walk"),
            local_date=now.date(),
            expires=expiry(now.date(), 12, civil_time.zone("Asia/Shanghai")),
            now=now,
        )


async def rescinded(db: Database, policy: Policy, *, now: datetime) -> None:
    first, second = await make_staff(db), await make_staff(db)
    given = {"member_id": policy.member_id, "policy_id": policy.id, "now": now}
    await do(db, rescission.propose, **given, staff_id=first, reason="Concealed.", refunds=True)
    await do(db, rescission.confirm, **given, staff_id=second, confirm=True)


OPEN_TASKS = "select count(*) from task_assignments where ended_at is null"


async def test_who_is_insured_anew_keeps_that_when_the_cover_before_is_rescinded(db: Database):
    before = await insured(db)
    member = before.member_id
    await earn(db, member, 30, now=NOON)
    await as_holder(db, cancellation.cancel, before, now=NOON + 40 * DAY)
    now = NOON + 50 * DAY
    anew = await accepted(db, await applied(db, member, declared=None, now=now), now=now)
    await earn(db, member, 70, now=now + DAY)
    tasks = await rows(db, OPEN_TASKS)
    await rescinded(db, before, now=now + 10 * DAY)
    await policy_jobs.take_points_back(db, now=now + 10 * DAY)
    assert (await balances(db, member))["available"] == 70
    assert await rows(db, OPEN_TASKS) == tasks != [(0,)]
    assert (await policy_of(db, anew)).state == "IN_FORCE"
    # What the second brought is taken back with the second.
    await as_holder(db, cancellation.cancel, anew, now=now + 11 * DAY)
    await policy_jobs.take_points_back(db, now=now + 11 * DAY)
    assert (await balances(db, member)).get("available", 0) == 0
    assert await rows(db, OPEN_TASKS) == [(0,)]
    assert await sound(db)


async def test_a_wish_to_stop_stands_after_a_lapse_and_its_reinstatement(db: Database):
    policy = await insured(db, wanted=MONTHLY)
    await tick(db, collecting.dun_due, now=DUE)
    await tick(db, collecting.issue_due, now=datetime(2026, 4, 2, tzinfo=UTC))
    await as_holder(db, cancellation.cancel, policy, now=datetime(2026, 4, 5, tzinfo=UTC))
    assert (await policy_of(db, policy)).ended_on == date(2026, 5, 1)
    await tick(db, collecting.lapse_due, now=DUE + 30 * DAY)
    assert (await policy_of(db, policy)).ended_on == date(2026, 4, 15)
    await do(
        db, reinstatement.reinstate, staff_id=await make_staff(db), member_id=policy.member_id,
        policy_id=policy.id, reason="Paid.", now=datetime(2026, 4, 20, tzinfo=UTC),
    )  # fmt: skip
    found = await policy_of(db, policy)
    assert (found.state, found.ended_on) == ("IN_FORCE", date(2026, 5, 1))
    await close_months(db, now=datetime(2026, 5, 1, tzinfo=UTC))
    assert await tick(db, renewal.renew_due, now=datetime(2026, 5, 1, 16, tzinfo=UTC)) == 1
    found = await policy_of(db, policy)
    assert (found.state, found.ended_on) == ("CANCELLED", date(2026, 5, 1))
    assert await rows(db, "select count(*) from policy_terms") == [(1,)]


@pytest.mark.parametrize("months", [1, 5, 24])
async def test_a_version_with_longer_or_shorter_terms_goes_on_the_day_after(db: Database, months):
    policy = await insured(db)
    await pay(db, policy)
    rules = [it for it in variant().model_dump(mode="json")["rules"] if it["kind"] == "region"]
    blocks = {"rules": rules, "renewal": {"offer_days_before": 10}, "cancellation": None}
    newer = variant(**PLAIN, **blocks, version="1.1.0", term_months=months)
    await publish(db, newer)
    await tick(db, offering.offer_due, now=END - 5 * DAY)
    await close_months(db, now=END)
    assert await tick(db, renewal.renew_due, now=END) == 1
    month, year = (3 + months - 1) % 12 + 1, 2027 + (2 + months) // 12
    term = (date(2027, 3, 2), date(year, month, 1))
    found = await rows(db, "select starts_on, ends_on from policy_terms order by 1")
    assert found[1:] == [term]
    ending = "select facts -> 'ending' ->> 'starts_on' from premiums where number = 2"
    assert await rows(db, ending) == [("2026-03-02",)], "judged by the year that has ended"
    assert await rows(db, "select covers_from, covers_to from invoices where part = 1") == [
        (date(2026, 3, 2), date(2027, 3, 1)), term
    ]  # fmt: skip


async def test_who_is_too_young_for_a_new_version_ends_and_stops_nobody(db: Database):
    young = await insured(db, birth_date=date(2006, 1, 1))
    other = await insured(db)
    await publish(db, variant(**PLAIN, version="1.1.0", eligibility={"age_from": 30}))
    await tick(db, offering.offer_due, now=END - 5 * DAY)
    await close_months(db, now=END)
    assert await tick(db, renewal.renew_due, now=END) == 2
    assert (await policy_of(db, young)).state == "ENDED"
    assert (await policy_of(db, other)).state == "IN_FORCE"


async def test_what_a_new_version_does_not_offer_becomes_what_it_does(db: Database):
    policy = await insured(db)
    given = {"member_id": policy.member_id, "policy_id": policy.id}
    await as_holder(db, payment_choices.set_frequency, policy, frequency=Frequency.MONTHLY)
    yearly = {"frequencies": ["annual"], "stop_any_time": False}
    await publish(db, variant(**PLAIN, version="1.1.0", payment=yearly))
    await tick(db, offering.offer_due, now=END - 5 * DAY)
    await close_months(db, now=END)
    await tick(db, renewal.renew_due, now=END)
    assert len(await invoices_of(db, policy)) == 2
    assert await rows(db, "select frequency from policies where id = :i", i=given["policy_id"]) == [
        ("ANNUAL",)
    ]


async def with_credit(db: Database, amount: int) -> UUID:
    """Somebody whose cover has ended, and who has redeemed a premium credit."""
    before = await insured(db, now=NOON - 100 * DAY)
    member = before.member_id
    await shoppers.give(db, member, 1000)
    credit = {"premium_credit": {"amount": amount, "currency": "CNY"}}
    reward = await shoppers.make_reward(db, **(shoppers.CREDIT | credit))
    await shoppers.redeem(db, member, reward)
    assert await shoppers.fulfil_due(db) == 1
    await as_holder(db, cancellation.cancel, before, now=NOON - 10 * DAY)
    return member


async def total(db: Database, policy: Policy) -> int:
    [(found,)] = await rows(
        db, "select total from policy_terms where policy_id = :id", id=policy.id
    )
    return int(found)


async def test_an_offer_with_a_credit_is_accepted_late_at_its_price(db: Database):
    member = await with_credit(db, 350_000)  # more than a year costs
    policy = await applied(db, member, declared=None)
    assert await total(db, policy) == 0
    await accepted(db, policy, now=NOON + 2 * DAY)
    assert await total(db, policy) == 0
    # The offer that was replaced has used nothing: the rest is there for the next year.
    await close_months(db, now=END + 2 * DAY)
    assert await tick(db, renewal.renew_due, now=END + 2 * DAY) == 1
    used = "select amount from premium_credit_uses u join premiums p on p.id = u.premium_id"
    first, again, second = [it for (it,) in await rows(db, f"{used} order by p.number")]
    assert first == again and second == 350_000 - first


@pytest.mark.parametrize("how", ["withdrawn", "expired", "cancelled", "rescinded"])
async def test_a_credit_is_there_again_when_no_cover_came_of_it(db: Database, how):
    member = await with_credit(db, 5_000)
    policy = await applied(db, member, declared=None)
    with_it, later = await total(db, policy), NOON + 20 * DAY
    if how == "withdrawn":
        await as_holder(db, applications.withdraw, policy, now=later)
    elif how == "expired":
        assert await tick(db, applications.close_due, now=later) == 1
    else:
        await accepted(db, policy)
        if how == "cancelled":
            await as_holder(db, cancellation.cancel, policy, now=later)
        else:
            await rescinded(db, policy, now=later)
    again = await applied(db, member, declared=None, now=later + DAY)
    assert await total(db, again) == with_it


async def test_a_credit_stays_used_by_a_cover_that_was(db: Database):
    member = await with_credit(db, 5_000)
    policy = await accepted(db, await applied(db, member, declared=None))
    later = NOON + 40 * DAY  # after the free days
    await as_holder(db, cancellation.cancel, policy, now=later)
    again = await applied(db, member, declared=None, now=later)
    assert await total(db, again) == await total(db, policy) + 5_000


async def test_a_failure_that_is_told_after_the_payment_is_nobodys_work(db: Database):
    policy = await insured(db)
    amount = await pay(db, policy)
    [(invoice,)] = await rows(db, "select id from invoices")
    late = Told("test", "late", amount, "CNY", NOON, "INSUFFICIENT_FUNDS")
    await do(db, payments.record, member_id=policy.member_id, invoice_id=invoice, told=late)
    assert await rows(db, "select state, failures from invoices") == [("PAID", 0)]
    assert await rows(db, "select count(*) from payments where outcome = 'FAILED'") == [(1,)]
    assert await rows(db, "select kind from worklist_items") == []


async def test_paying_the_older_of_two_leaves_the_grace_of_the_other(db: Database):
    await publish(db, variant("slow", **PLAIN, renewal={"grace_days": 60}))
    policy = await insured(db, code="slow", wanted=MONTHLY)
    await tick(db, collecting.dun_due, now=DUE)
    assert (await policy_of(db, policy)).grace_ends_at == DUE + 60 * DAY
    await tick(db, collecting.issue_due, now=datetime(2026, 4, 1, 16, tzinfo=UTC))
    second_due = datetime(2026, 4, 15, 16, tzinfo=UTC) + DAY
    await tick(db, collecting.dun_due, now=second_due)
    await pay(db, policy, now=second_due + DAY, parts=1)
    assert (await policy_of(db, policy)).grace_ends_at == second_due + 60 * DAY
    assert await tick(db, collecting.lapse_due, now=DUE + 60 * DAY) == 0
    await pay(db, policy, now=DUE + 60 * DAY, parts=2)
    assert (await policy_of(db, policy)).grace_ends_at is None
    assert (await events(db, policy))[-1] == ("SETTLED", "IN_FORCE")


async def test_with_a_late_clock_no_day_is_covered_after_the_term(db: Database):
    lapses, stops = await insured(db, wanted=MONTHLY), await insured(db)
    await pay(db, stops)
    await pay(db, lapses, parts=11)
    issued = datetime(2027, 2, 1, 16, tzinfo=UTC)
    await tick(db, collecting.issue_due, now=issued)
    await tick(db, collecting.dun_due, now=issued + 20 * DAY)
    late = END + 30 * DAY
    assert await tick(db, collecting.lapse_due, now=late) == 1
    await as_holder(db, cancellation.cancel, stops, now=late)
    for policy, state in ((lapses, "LAPSED"), (stops, "CANCELLED")):
        found = await policy_of(db, policy)
        assert (found.state, found.ended_on) == (state, date(2027, 3, 1))
    assert await rows(db, "select count(*) from refunds") == [(0,)]


async def test_who_pays_by_months_is_covered_to_the_end_of_it_though_years_come_next(db: Database):
    policy = await insured(db, wanted=MONTHLY)
    now = datetime(2026, 4, 10, tzinfo=UTC)
    await tick(db, collecting.issue_due, now=now)
    await pay(db, policy, parts=2)
    await as_holder(db, payment_choices.set_frequency, policy, frequency=Frequency.ANNUAL, now=now)
    await as_holder(db, cancellation.cancel, policy, now=now)
    assert (await policy_of(db, policy)).ended_on == date(2026, 5, 1)
    assert await rows(db, "select count(*) from refunds") == [(0,)]


@pytest.mark.parametrize("provider", ["acquirer", None])
async def test_what_an_employee_has_to_pay_back_stands_in_the_worklist(db: Database, provider):
    policy = await insured(db)
    await pay(db, policy)
    await as_holder(db, cancellation.cancel, policy, now=NOON + DAY)
    items = "select kind, subject_id, closed_at is null from worklist_items"
    for _ in range(2):
        if provider is None:
            await do(db, payment_orders.unmark, limit=100)
        else:  # another one than took the premium in
            await do(db, payment_orders.order_due, provider=provider, limit=100)
        assert await rows(db, items) == [("PAYMENT", policy.id, True)]
    [(refund,)] = await rows(db, "select id from refunds")
    await do(
        db, payments.record_refund, staff_id=await make_staff(db), member_id=policy.member_id,
        refund_id=refund, reference="wire 7",
    )  # fmt: skip
    assert await rows(db, items) == [("PAYMENT", policy.id, False)]


async def test_a_member_pages_through_a_history_that_hides_what_employees_discuss(db: Database):
    policy = await insured(db)
    given = {"member_id": policy.member_id, "policy_id": policy.id}
    first = await make_staff(db)
    for _ in range(3):
        await do(db, rescission.propose, **given, staff_id=first, reason="A rumour.", refunds=True)
        await do(db, rescission.confirm, **given, staff_id=first, confirm=False)
    me = as_member(db, policy.member_id)
    contracts = await execute(operation("Contracts"), {"first": 1}, context=me)
    id = contracts["me"]["contracts"]["edges"][0]["node"]["id"]
    seen: list[str] = []
    after = None
    while True:
        sent = {"id": id, "first": 2, "eventsAfter": after}
        page = (await execute(operation("Contract"), sent, context=me))["node"]["history"]
        seen += [it["node"]["kind"] for it in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert seen == ["BEGAN", "ACCEPTED", "OFFERED", "APPLIED"]


@pytest.mark.parametrize("answers", [True, None])
@pytest.mark.parametrize(("before", "since"), [("MEDIUM", "HIGH"), ("HIGH", "MEDIUM")])
async def test_a_term_costs_what_it_was_offered_for_or_less(db: Database, answers, before, since):
    dearer = since == "HIGH"
    policy = await insured(db)
    await assessed(db, policy.member_id, before, at=NOON + DAY)
    assert await tick(db, offering.offer_due, now=END - 20 * DAY) == 1
    [(offered,)] = await rows(db, "select amount from renewal_offers")
    if answers is not None:
        await as_holder(db, renewal.answer, policy, accept=answers, now=END - 15 * DAY)
    await assessed(db, policy.member_id, since, at=END - 10 * DAY)
    me = as_member(db, policy.member_id, now=END - DAY)
    foreseen = await execute("{ me { policy { renewal { total { amount } } } } }", context=me)
    await close_months(db, now=END)
    assert await tick(db, renewal.renew_due, now=END) == 1
    told = "select total, lines -> -1 ->> 'rule', lines -> -1 -> 'amount' from premiums"
    [(total, rule, amount)] = await rows(db, f"{told} where number = 2")
    assert (total == offered, total < offered) == (dearer, not dearer)
    assert (rule == "OFFER") == dearer
    assert not dearer or amount < 0, "the member sees what would have been"
    shown = foreseen["me"]["policy"]["renewal"]["total"]["amount"]
    assert shown == f"{total // 100}.{total % 100:02}", "what was shown before is what is billed"
    assert (await invoices_of(db, policy))[-1] == (1, total, "ISSUED")
    # The promise was for that term.
    after = END + 366 * DAY  # a leap year
    await close_months(db, now=after)
    assert await tick(db, renewal.renew_due, now=after) == 1
    third = "select total, lines::text like '%OFFER%' from premiums where number = 3"
    [(later, kept)] = await rows(db, third)
    assert (later > total, kept) == (dearer, False)
    assert await verified(db) == 3


async def test_a_credit_is_no_part_of_what_is_offered(db: Database):
    policy = await insured(db)
    await shoppers.give(db, policy.member_id, 1000)
    credit = {"premium_credit": {"amount": 5_000, "currency": "CNY"}}
    reward = await shoppers.make_reward(db, **(shoppers.CREDIT | credit))
    await shoppers.redeem(db, policy.member_id, reward)
    await shoppers.fulfil_due(db)
    await tick(db, offering.offer_due, now=END - 20 * DAY)
    [(offered,)] = await rows(db, "select amount from renewal_offers")
    await close_months(db, now=END)
    await tick(db, renewal.renew_due, now=END)
    assert await rows(db, "select total from premiums where number = 2") == [(offered - 5_000,)]


async def test_offering_to_more_reads_no_more(db: Database):
    await insured(db)
    with StatementCount(db) as few:
        assert await tick(db, offering.offer_due, now=END - 20 * DAY) == 1
    for _ in range(5):
        await insured(db)
    with StatementCount(db) as more:
        assert await tick(db, offering.offer_due, now=END - 20 * DAY) == 5
    assert len(reads(more)) <= len(reads(few))


def reads(counted: StatementCount) -> list[str]:
    return [it for it in counted.statements if it.lstrip()[:6].lower() in ("select", "with a")]
