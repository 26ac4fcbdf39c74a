"""Renewal offers, cancellation with refund and clawback, rescission by two people."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app import civil_time
from app.db import Database
from app.errors import ErrorCode
from app.health_tasks.models import ParticipationMonth
from app.points import rules
from app.points import service as points
from app.points.rules import CauseKind
from app.premiums import (
    cancellation,
    collecting,
    offering,
    payments,
    policy_jobs,
    pricing,
    renewal,
    rescission,
)
from app.premiums.contract_terms import Frequency
from app.premiums.history import Actor
from app.premiums.models import Policy
from app.premiums.payments import Told
from tests.factories import NOON, make_staff
from tests.points_ledger import balances, sound
from tests.policy_holders import (
    PLAIN,
    do,
    events,
    examined,
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
END = datetime(2027, 3, 1, 16, tzinfo=UTC)
"""The midnight in Shanghai after the last day of a year from 2 March 2026."""


@pytest.fixture(autouse=True)
async def products(db: Database) -> None:
    await publish(db, variant(**PLAIN))


async def close_months(db: Database, policy: Policy, at: datetime) -> None:
    """As the clock of the tasks does it before a term is renewed."""
    async with db.transaction() as session:
        month = await session.get_one(ParticipationMonth, (policy.member_id, date(2026, 3, 1)))
        month.closed_at = month.changed_at = at


async def pay(db: Database, policy: Policy, *, now: datetime = NOON, parts: int = 99) -> int:
    """All invoices, or the first ones; how much in sum."""
    found = await rows(
        db, "select id, amount from invoices where policy_id = :id order by part limit :parts",
        id=policy.id, parts=parts,
    )  # fmt: skip
    for id, amount in found:
        told = Told("test", id.hex, amount, "CNY", now)
        await do(db, payments.record, member_id=policy.member_id, invoice_id=id, told=told, now=now)
    return sum(amount for _, amount in found)


async def cancelled(db: Database, policy: Policy, *, now: datetime, **more) -> Policy:
    given = {"member_id": policy.member_id, "policy_id": policy.id}
    by = Actor.member(policy.member_id)
    found, _ = await do(db, cancellation.cancel, **given, by=by, now=now, **more)
    return found


# Renewal


async def test_a_renewal_is_offered_the_products_days_before_and_once(db: Database):
    policy = await insured(db)
    at = END - 30 * DAY
    assert await tick(db, offering.offer_due, now=at - timedelta(seconds=1)) == 0
    runs = await asyncio.gather(*(tick(db, offering.offer_due, now=at) for _ in range(4)))
    assert sum(runs) == 1
    assert await tick(db, offering.offer_due, now=END - DAY) == 0
    offers = "select starts_on, answer from renewal_offers"
    assert await rows(db, offers) == [(date(2027, 3, 2), None)]
    assert (await events(db, policy))[-1] == ("RENEWAL_OFFERED", "IN_FORCE")


async def test_at_renewal_who_has_no_recent_report_is_asked_for_one(db: Database):
    await publish(db, variant("asks"))
    policies = [await insured(db) for _ in range(2)]
    asks = await rows(db, "select id from product_versions where code = 'asks'")
    async with db.write() as connection:
        moved = text("update policies set product_version_id = :id")
        await connection.execute(moved, {"id": asks[0][0]})
    at = END - 30 * DAY
    await examined(db, policies[0].member_id, at.date() - 90 * DAY, now=at)
    assert await tick(db, offering.offer_due, now=at) == 2
    found = "select member_id from worklist_items where kind = 'EXAMINATION_DUE'"
    assert await rows(db, found) == [(policies[1].member_id,)]


async def answered(db: Database, policy: Policy, accept: bool, *, now: datetime, **more):
    by = Actor.member(policy.member_id)
    given = {"member_id": policy.member_id, "policy_id": policy.id, "accept": accept}
    return await do(db, renewal.answer, **given, by=by, now=now, **more)


@pytest.mark.parametrize(
    ("unanswered", "said", "goes_on"),
    [
        ("accept", None, True),
        ("decline", None, False),
        ("accept", False, False),
        ("decline", True, True),
    ],
)
async def test_what_was_said_counts_and_without_a_word_the_product(
    db: Database, unanswered, said, goes_on
):
    await publish(db, variant("renews", **PLAIN, renewal={"unanswered": unanswered}))
    policy = await insured(db, code="renews")
    await pay(db, policy)
    await close_months(db, policy, END)
    await tick(db, offering.offer_due, now=END - 20 * DAY)
    if said is not None:
        await answered(db, policy, not said, now=END - 10 * DAY)
        await answered(db, policy, said, now=END - 9 * DAY)  # the last word
    assert await tick(db, renewal.renew_due, now=END - timedelta(seconds=1)) == 0
    runs = await asyncio.gather(*(tick(db, renewal.renew_due, now=END) for _ in range(4)))
    assert sum(runs) == 1
    found = await policy_of(db, policy)
    terms = await rows(db, "select count(*) from policy_terms where policy_id = :id", id=policy.id)
    if goes_on:
        assert (found.state, terms) == ("IN_FORCE", [(2,)])
        assert [state for _, _, state in await invoices_of(db, policy)] == ["PAID", "ISSUED"]
    else:
        assert (found.state, found.ended_on, terms) == ("ENDED", date(2027, 3, 1), [(1,)])
        open_tasks = "select count(*) from task_assignments where ended_at is null"
        assert await rows(db, open_tasks) == [(0,)]


async def test_an_answer_needs_an_offer_and_counts_once(db: Database):
    policy = await insured(db)
    await refused(db, ErrorCode.STATE_INVALID, answered, db, policy, True, now=END - 40 * DAY)
    await tick(db, offering.offer_due, now=END - 20 * DAY)
    request = uuid4()
    answers = await asyncio.gather(
        *(answered(db, policy, True, now=END - DAY, request_id=request) for _ in range(8))
    )
    assert sum(not replayed for _, replayed in answers) == 1
    kinds = [kind for kind, _ in await events(db, policy)]
    assert kinds.count("RENEWAL_ACCEPTED") == 1
    await refused(db, ErrorCode.STATE_INVALID, answered, db, policy, False, now=END)


async def test_the_next_term_is_under_the_newest_version_and_its_tasks(db: Database):
    policy = await insured(db)
    await pay(db, policy)
    asked = "select template_code from task_assignments where ended_at is null order by 1"
    before = {code for (code,) in await rows(db, asked)}
    fewer = [it for it in variant().model_dump(mode="json")["tasks"]][1:]
    newer = await publish(db, variant(**PLAIN, version="1.1.0", tasks=fewer))
    await tick(db, offering.offer_due, now=END - 20 * DAY)
    assert (await policy_of(db, policy)).product_version_id != newer, "theirs until renewal"
    await close_months(db, policy, END)
    assert await tick(db, renewal.renew_due, now=END) == 1
    assert (await policy_of(db, policy)).product_version_id == newer
    after = {code for (code,) in await rows(db, asked)}
    assert len(before - after) == 1 and after < before


async def test_who_is_too_old_for_the_next_term_is_not_renewed_and_stops_nobody(db: Database):
    oldest = variant(**PLAIN).eligibility.age_to
    old = await insured(db, birth_date=date(2026 - oldest, 3, 1))
    young = await insured(db)
    for policy in (old, young):
        await close_months(db, policy, END)
    assert await tick(db, renewal.renew_due, now=END) == 2
    ended = await policy_of(db, old)
    assert ended.state == "ENDED"
    assert (await policy_of(db, young)).state == "IN_FORCE"
    # An employee speaks with them, once, and they are told.
    items = "select member_id, kind, reason_en from worklist_items where cause_key like 'not-ren%'"
    [(asked, kind, reason)] = await rows(db, items)
    assert (asked, kind) == (ended.member_id, "FOLLOW_UP") and "no price" in reason
    events = (
        "select kind from policy_events where policy_id = :id order by at desc, id desc limit 1"
    )
    assert await rows(db, events, id=old.id) == [("ENDED",)]
    assert await tick(db, renewal.renew_due, now=END) == 0


async def test_who_has_no_price_in_the_next_version_ends_under_the_version_they_had(
    db: Database, monkeypatch
):
    """What no published table allows, but the database may hold: others are renewed."""
    first, second = await insured(db), await insured(db)
    for policy in (first, second):
        await close_months(db, policy, END)
    await tick(db, offering.offer_due, now=END - 20 * DAY)
    before = (await policy_of(db, first)).product_version_id
    real = pricing.known

    def none_for_the_first(due, facts):
        return None if due.policy_id == first.id else real(due, facts)

    monkeypatch.setattr(pricing, "known", none_for_the_first)
    assert await tick(db, renewal.renew_due, now=END) == 2
    ended = await policy_of(db, first)
    assert (ended.state, ended.product_version_id) == ("ENDED", before)
    assert ended.ended_on is not None
    assert (await policy_of(db, second)).state == "IN_FORCE"
    items = "select member_id from worklist_items where cause_key like 'not-renewed:%'"
    assert await rows(db, items) == [(ended.member_id,)]
    for table in ("premiums", "policy_terms", "invoices"):
        starts = f"select count(*) from {table} where policy_id = :id"
        [(many,)] = await rows(db, starts, id=first.id)
        [(more,)] = await rows(db, starts, id=second.id)
        assert more > many


# Cancellation


async def earn(db: Database, member: UUID, amount: int, *, now: datetime) -> UUID:
    """By a task that the policy asks for."""
    [(assignment,)] = await rows(
        db, "select id from task_assignments where member_id = :m order by id limit 1", m=member
    )
    async with db.transaction() as session:
        earned = await points.earn(
            session,
            member_id=member,
            amount=amount,
            cause=points.Cause(CauseKind.TASK, assignment, f"{assignment}:{now.date()}:0"),
            rule=points.Rule(None, "walk"),
            local_date=now.date(),
            expires=expiry(now),
            now=now,
        )
    return earned.id


def expiry(now: datetime):
    return rules.expiry(now.date(), 12, civil_time.zone("Asia/Shanghai"))


async def test_within_the_free_days_everything_is_given_back_and_taken_back(db: Database):
    policy = await insured(db)
    paid = await pay(db, policy)
    member = policy.member_id
    for days in range(3):
        await earn(db, member, 40, now=NOON + days * DAY)
    last = datetime(2026, 3, 31, 15, 59, tzinfo=UTC)  # the thirtieth day, before midnight
    request = uuid4()
    answers = await asyncio.gather(
        *(cancelled(db, policy, now=last, request_id=request) for _ in range(8))
    )
    assert {it.state for it in answers} == {"CANCELLED"}
    found = await policy_of(db, policy)
    assert found.ended_on == date(2026, 3, 1), "there never was a cover"
    assert await rows(db, "select amount, paid_at from refunds") == [(paid, None)]
    assert await rows(db, "select count(*) from task_assignments where ended_at is null") == [(0,)]
    runs = await asyncio.gather(*(policy_jobs.take_points_back(db, now=last) for _ in range(3)))
    assert sum(runs) == 1
    assert (await balances(db, member)).get("available", 0) == 0
    assert await rows(db, "select points from points_clawbacks") == [(120,)]
    # Sent late: taken back the next day, and looked for until nothing can come.
    await earn(db, member, 5, now=last + timedelta(hours=1))
    assert await policy_jobs.take_points_back(db, now=last + DAY) == 1
    assert await rows(db, "select points from points_clawbacks") == [(125,)]
    assert await policy_jobs.take_points_back(db, now=last + 36 * DAY) == 1
    assert await policy_jobs.take_points_back(db, now=last + 99 * DAY) == 0
    assert await sound(db)


async def test_what_was_spent_is_owed(db: Database):
    policy = await insured(db)
    member = policy.member_id
    await earn(db, member, 60, now=NOON)
    async with db.transaction() as session:
        hold = uuid4()
        cause = points.Cause(CauseKind.REDEMPTION, hold, f"redemption:{hold}")
        await points.hold(
            session, member_id=member, hold_id=hold, amount=50, expires_at=NOON + DAY,
            cause=cause, now=NOON,
        )  # fmt: skip
        await points.capture(session, member_id=member, hold_id=hold, now=NOON)
    await cancelled(db, policy, now=NOON + DAY)
    await policy_jobs.take_points_back(db, now=NOON + DAY)
    found = await balances(db, member)
    assert (found.get("available", 0), found["owed"]) == (0, 50)
    assert await rows(db, "select points from points_clawbacks") == [(60,)]
    assert await sound(db)


async def test_after_the_free_days_a_yearly_premium_comes_back_by_days(db: Database):
    policy = await insured(db)
    paid = await pay(db, policy)
    midnight = datetime(2026, 3, 31, 16, tzinfo=UTC)
    found = await cancelled(db, policy, now=midnight)
    assert (found.state, found.ended_on) == ("CANCELLED", date(2026, 4, 1))
    # 31 of 365 days were covered; half up.
    assert await rows(db, "select amount from refunds") == [((paid * 334 * 2 + 365) // 730,)]
    assert await rows(db, "select count(*) from points_clawbacks") == [(0,)]
    await refused(db, ErrorCode.STATE_INVALID, cancelled, db, policy, now=midnight)


async def test_who_pays_monthly_is_covered_to_the_end_of_the_month_and_pays_no_more(db: Database):
    policy = await insured(db, wanted=MONTHLY)
    now = datetime(2026, 4, 10, tzinfo=UTC)
    await tick(db, collecting.issue_due, now=now)
    await pay(db, policy, parts=2)
    found = await cancelled(db, policy, now=now)
    assert (found.state, found.ended_on) == ("IN_FORCE", date(2026, 5, 1))
    assert [state for _, _, state in await invoices_of(db, policy)] == ["PAID"] * 2 + ["VOID"] * 10
    assert await rows(db, "select count(*) from refunds") == [(0,)]
    await refused(db, ErrorCode.STATE_INVALID, cancelled, db, policy, now=now)
    await close_months(db, policy, now)
    midnight = datetime(2026, 5, 1, 16, tzinfo=UTC)
    assert await tick(db, renewal.renew_due, now=midnight - timedelta(seconds=1)) == 0
    assert await tick(db, offering.offer_due, now=midnight - DAY) == 0
    assert await tick(db, renewal.renew_due, now=midnight) == 1
    found = await policy_of(db, policy)
    assert (found.state, found.ended_on) == ("CANCELLED", date(2026, 5, 1))
    assert await rows(db, "select max(ends_on) from task_assignments") == [(date(2026, 5, 1),)]


async def test_what_is_not_paid_yet_is_asked_for_up_to_the_last_day_only(db: Database):
    policy = await insured(db)
    [(_, amount, _)] = await invoices_of(db, policy)
    await cancelled(db, policy, now=NOON + 35 * DAY)
    used = amount - (amount * (365 - 36) * 2 + 365) // 730
    assert await invoices_of(db, policy) == [(1, used, "ISSUED")]
    assert await rows(db, "select count(*) from refunds") == [(0,)]


async def test_a_product_may_let_nobody_stop_during_a_term(db: Database):
    await publish(db, variant("bound", **PLAIN, payment={"stop_any_time": False}))
    policy = await insured(db, code="bound")
    await refused(db, ErrorCode.NOT_ELIGIBLE, cancelled, db, policy, now=NOON + 35 * DAY)
    assert (await cancelled(db, policy, now=NOON + 5 * DAY)).state == "CANCELLED"


async def test_rivals_who_cancel_end_one_cover(db: Database):
    policy = await insured(db)
    await pay(db, policy)
    rivals = await asyncio.gather(
        *(cancelled(db, policy, now=NOON + DAY) for _ in range(6)), return_exceptions=True
    )
    assert sum(isinstance(it, Policy) for it in rivals) == 1
    assert await rows(db, "select count(*) from refunds") == [(1,)]


async def test_a_refund_is_paid_once(db: Database):
    policy = await insured(db)
    await pay(db, policy)
    await cancelled(db, policy, now=NOON + DAY)
    staff = await make_staff(db)
    [(refund,)] = await rows(db, "select id from refunds")
    given = {"staff_id": staff, "member_id": policy.member_id, "refund_id": refund}
    await refused(
        db, ErrorCode.VALUE_OUT_OF_RANGE, do, db, payments.record_refund, **given, reference=""
    )
    rivals = await asyncio.gather(
        *(do(db, payments.record_refund, **given, reference="wire 7") for _ in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(it, tuple) for it in rivals) == 1
    assert await rows(db, "select reference, recorded_by from refunds") == [("wire 7", staff)]


# Rescission


async def test_two_people_rescind_and_one_alone_does_not(db: Database):
    policy = await insured(db)
    paid = await pay(db, policy)
    await earn(db, policy.member_id, 30, now=NOON)
    first, second = await make_staff(db), await make_staff(db)
    now = NOON + 90 * DAY
    given = {"member_id": policy.member_id, "policy_id": policy.id, "now": now}
    said = {"reason": "A tumour was known.", "refunds": True}
    await refused(
        db, ErrorCode.NOT_FOUND, do, db, rescission.confirm, **given, staff_id=first, confirm=True
    )
    await refused(
        db, ErrorCode.VALUE_OUT_OF_RANGE, do, db, rescission.propose, **given,
        staff_id=first, **{**said, "reason": ""},
    )  # fmt: skip
    proposals = await asyncio.gather(
        *(do(db, rescission.propose, **given, staff_id=it, **said) for it in (first, second)),
        return_exceptions=True,
    )
    assert sum(isinstance(it, tuple) for it in proposals) == 1
    proposer, other = (first, second) if isinstance(proposals[0], tuple) else (second, first)
    assert (await policy_of(db, policy)).state == "IN_FORCE"
    await refused(
        db, ErrorCode.SECOND_PERSON_NEEDED, do, db, rescission.confirm, **given,
        staff_id=proposer, confirm=True,
    )  # fmt: skip
    request = uuid4()
    answers = await asyncio.gather(
        *(
            do(db, rescission.confirm, **given, staff_id=other, confirm=True, request_id=request)
            for _ in range(8)
        )
    )
    assert sum(not replayed for _, replayed in answers) == 1
    found = await policy_of(db, policy)
    assert (found.state, found.ended_on) == ("RESCINDED", date(2026, 3, 1))
    assert await rows(db, "select amount from refunds") == [(paid,)]
    await policy_jobs.take_points_back(db, now=now)
    assert (await balances(db, policy.member_id)).get("available", 0) == 0
    assert await sound(db)


async def test_a_rescission_may_be_dropped_and_may_keep_the_premium(db: Database):
    policy = await insured(db)
    await pay(db, policy)
    first, second = await make_staff(db), await make_staff(db)
    given = {"member_id": policy.member_id, "policy_id": policy.id}
    said = {"reason": "Concealed on purpose.", "refunds": False, "staff_id": first}
    for confirm in (False, True):
        await do(db, rescission.propose, **given, **said)
        await do(db, rescission.confirm, **given, staff_id=second, confirm=confirm)
    assert (await policy_of(db, policy)).state == "RESCINDED"
    assert await rows(db, "select count(*) from refunds") == [(0,)]
    await refused(db, ErrorCode.STATE_INVALID, do, db, rescission.propose, **given, **said)


async def test_what_was_given_back_before_is_not_given_back_again(db: Database):
    policy = await insured(db)
    paid = await pay(db, policy)
    await cancelled(db, policy, now=NOON + 40 * DAY)
    first, second = await make_staff(db), await make_staff(db)
    given = {"member_id": policy.member_id, "policy_id": policy.id, "now": NOON + 50 * DAY}
    await do(db, rescission.propose, **given, staff_id=first, reason="Concealed.", refunds=True)
    await do(db, rescission.confirm, **given, staff_id=second, confirm=True)
    assert await rows(db, "select sum(amount)::bigint, count(*) from refunds") == [(paid, 2)]
