"""What an appeal gives, a task pays once; what waits, or was bought, is not contested."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database
from app.points import rules as points_rules
from app.points import service as points
from tests.factories import NOON, counts
from tests.reviewing import (
    appeal,
    assert_sound,
    balances,
    check_ins,
    decide,
    review_of,
    standing,
    verified_by,
)
from tests.tasks_at_work import about_noon, check_in, make_tasked, rows
from tests.test_advancing import follow, set_total
from tests.test_appeals import make_paid, transfers
from tests.worklist import manager_of


async def make_refused_for_another(db: Database) -> tuple[UUID, UUID, UUID, UUID, UUID]:
    """Member, assignment, who rejected the first of two check-ins, that one, and the entry of
    the second, which was refused because of it."""
    member, tasks = await make_tasked(db, "measure-blood-pressure")
    manager, assignment = await manager_of(db, member), tasks["measure-blood-pressure"]
    await verified_by(db, member, "STAFF")
    await check_in(db, member, assignment)
    review = await review_of(db, member)
    await verified_by(db, member, "NONE")
    await check_in(db, member, assignment, now=about_noon(1))
    await decide(db, manager, review, "REJECT", now=about_noon(1))
    [(rejected,)] = await rows(db, "select id from checkins where state = 'REJECTED'")
    return member, assignment, manager, rejected, (await transfers(db, member))[0][0]


async def test_an_entry_refused_for_another_check_in_is_about_that_one_and_pays_once(
    db: Database,
) -> None:
    member, assignment, manager, rejected, refused = await make_refused_for_another(db)
    colleague, now = await manager_of(db, member), about_noon(1)
    assert (await check_ins(db, member))[1] == ("ACCEPTED", 0, "COUNTED")

    sent = await appeal(db, member, refused, now=now)
    [(about,)] = await rows(db, "select check_in_id from reviews where kind = 'APPEAL'")
    assert about == rejected
    # Whoever rejected that one does not answer.
    own = await decide(db, manager, sent["review"]["id"], now=now)
    assert own["code"] == "SECOND_PERSON_NEEDED"
    answer = await decide(db, colleague, sent["review"]["id"], now=now)

    assert answer["checkIn"]["state"] == "ACCEPTED"
    assert await standing(db, member) == [("DONE", 10, 2)]
    assert await balances(db, member) == (10, 0)
    done = await check_in(db, member, assignment, now=about_noon(2))
    assert (done["task"]["state"], done["checkIn"]["pointsAwarded"]) == ("DONE", 0)
    assert await balances(db, member) == (10, 0)
    issued = await rows(
        db, "select cause_key, corrects from points_transfers where debit = 'issued' order by seq"
    )
    assert [key.rpartition(":")[2] for key, _ in issued] == ["0", "1"]
    assert issued[1].corrects == refused
    again = await appeal(db, member, refused, now=now)
    assert (again["code"], again["field"]) == ("LIMIT_REACHED", "entryId")
    await assert_sound(db)


@pytest.mark.parametrize("decision", ["ACCEPT", "REJECT"])
async def test_what_waits_is_not_contested_before_it_is_decided(
    db: Database, decision: str
) -> None:
    member, tasks = await make_tasked(db, "medication")
    await verified_by(db, member, "STAFF")
    manager = await manager_of(db, member)
    await check_in(db, member, tasks["medication"])
    pending = (await transfers(db, member))[0][0]
    before = await counts(db)

    answer = await appeal(db, member, pending)
    assert (answer["code"], answer["field"]) == ("NOT_ELIGIBLE", "entryId")
    assert await counts(db) == before
    await decide(db, manager, await review_of(db, member), decision)

    assert await balances(db, member) == (10 if decision == "ACCEPT" else 0, 0)
    assert (await appeal(db, member, pending))["review"]["state"] == "OPEN"
    await assert_sound(db)


async def test_points_named_for_a_check_in_do_not_spare_the_second_person(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", points_each=1000)
    await verified_by(db, member, "STAFF")
    staff = [await manager_of(db, member) for _ in range(4)]
    await check_in(db, member, tasks["medication"])
    review = await review_of(db, member)
    for each in staff[:2]:
        await decide(db, each, review, "REJECT")
    sent = await appeal(db, member, (await transfers(db, member))[0][0])

    one = await decide(db, staff[2], sent["review"]["id"], points=1)
    assert one["review"]["state"] == "AWAITING_SECOND_PERSON"
    assert await balances(db, member) == (0, 0)
    two = await decide(db, staff[3], sent["review"]["id"], points=1)

    assert two["review"]["state"] == "ACCEPTED"
    assert await balances(db, member) == (1000, 0)
    await assert_sound(db)


async def test_whoever_decided_and_was_overruled_does_not_answer_either(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", points_each=1000)
    await verified_by(db, member, "STAFF")
    first, second, third, fourth = [await manager_of(db, member) for _ in range(4)]
    await check_in(db, member, tasks["medication"])
    review = await review_of(db, member)
    for each, decision in ((first, "ACCEPT"), (second, "REJECT"), (third, "REJECT")):
        await decide(db, each, review, decision)
    sent = await appeal(db, member, (await transfers(db, member))[0][0])

    for each in (first, second, third):
        answer = await decide(db, each, sent["review"]["id"])
        assert answer["code"] == "SECOND_PERSON_NEEDED"
    answer = await decide(db, fourth, sent["review"]["id"])
    assert answer["review"]["state"] == "AWAITING_SECOND_PERSON"


async def make_taken_back(db: Database) -> tuple[UUID, UUID, UUID, UUID]:
    """Member, assignment, manager, and the entry that took the points back when the steps of
    the day became fewer."""
    member, tasks = await make_tasked(db, "walk 2")
    for total in (8000, 5000):
        await set_total(db, member, "STEPS", total)
        await follow(db, member, "STEPS")
    assert await balances(db, member) == (0, 0)
    _, (taken, *_) = await transfers(db, member)
    return member, tasks["walk"], await manager_of(db, member), taken


@pytest.mark.parametrize("by", ["data", "tick"])
async def test_points_that_an_appeal_gave_are_not_paid_again(db: Database, by: str) -> None:
    member, assignment, manager, taken = await make_taken_back(db)
    sent = await appeal(db, member, taken)
    await decide(db, manager, sent["review"]["id"], points=7)
    assert await balances(db, member) == (7, 0)

    if by == "data":
        await set_total(db, member, "STEPS", 8000)
        await follow(db, member, "STEPS")
    else:
        await check_in(db, member, assignment, value="8000", now=NOON + timedelta(hours=2))

    assert (await standing(db, member))[0][:2] == ("DONE", 10)
    assert await balances(db, member) == (10, 0)
    await assert_sound(db)


async def test_what_the_task_paid_meanwhile_an_appeal_does_not_give(db: Database) -> None:
    member, _, manager, taken = await make_taken_back(db)
    sent = await appeal(db, member, taken)
    await set_total(db, member, "STEPS", 8000)
    await follow(db, member, "STEPS")
    assert await balances(db, member) == (10, 0)

    answer = await decide(db, manager, sent["review"]["id"])

    assert (answer["code"], answer["field"]) == ("VALUE_OUT_OF_RANGE", "points")
    assert await balances(db, member) == (10, 0)


async def test_a_task_corrected_a_hundred_times_is_corrected_once_more(db: Database) -> None:
    member, manager, paid = await make_paid(db)
    touched = "where latest_check_in_id is not null"
    [(assignment, day)] = await rows(db, f"select assignment_id, starts_on from tasks {touched}")
    async with db.transaction() as session:
        for revision in range(1, 101):
            await points.earn(
                session,
                member_id=member,
                amount=1,
                cause=points.Cause("CHECK_IN", uuid4(), f"{assignment}:{day}:{revision}"),
                rule=points.Rule(None, "medication"),
                local_date=day,
                expires=points_rules.Expiry(day.replace(year=2027), NOON.replace(year=2027)),
                now=NOON,
                kind="ADJUSTED",
                corrects=paid,
            )
    sent = await appeal(db, member, paid)

    answer = await decide(db, manager, sent["review"]["id"], points=7)

    assert answer["review"]["state"] == "ACCEPTED"
    assert await balances(db, member) == (117, 0)
    assert await rows(db, f"select revision from tasks {touched}") == [(102,)]


async def test_what_a_reversed_redemption_gave_back_is_not_contested(db: Database) -> None:
    member, _, _ = await make_paid(db)
    async with db.transaction() as session:
        cause = points.Cause("REDEMPTION", uuid4(), "redemption:1")
        await points.spend(
            session, member_id=member, hold_id=uuid4(), amount=3, cause=cause, now=NOON
        )
        redeemed = text("select id from points_transfers where kind = 'REDEEMED'")
        bought = (await session.execute(redeemed)).scalar_one()
        await points.reverse(session, member_id=member, transfer_id=bought, now=NOON)
    given_back = (await transfers(db, member))[-1]
    assert given_back[1:] == ("REVERSED", "redeemed", "available", 3)

    answer = await appeal(db, member, given_back[0])

    assert (answer["code"], answer["field"]) == ("NOT_ELIGIBLE", "entryId")
