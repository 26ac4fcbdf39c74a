"""A check-in that a review rejected is contested, whether points were given for it or not."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from app.db import Database
from app.graphql.ids import Kind, encode
from tests.factories import NOON, as_member, as_staff, counts, execute, make_member, operation
from tests.reviewing import (
    appeal,
    appeal_check_in,
    assert_sound,
    balances,
    check_ins,
    decide,
    review_of,
    standing,
    verified_by,
)
from tests.tasks_at_work import about_noon, check_in, make_tasked, rows
from tests.worklist import manager_of, worklist

REVIEW = operation("Review", "console")
PRESSURE = "measure-blood-pressure"
"""Twice a week: the first check-in pays nothing yet."""


async def make_rejected(db: Database, code: str = PRESSURE) -> tuple[UUID, UUID, UUID, UUID]:
    """Member, their assignment, the manager who rejected their check-in, and the check-in."""
    member, tasks = await make_tasked(db, code)
    manager = await manager_of(db, member)
    await verified_by(db, member, "STAFF")
    await check_in(db, member, tasks[code])
    await verified_by(db, member, "NONE")
    await decide(db, manager, await review_of(db, member), "REJECT", reason="Nothing to be seen.")
    [(id,)] = await rows(db, "select id from checkins where member_id = :id", id=member)
    return member, tasks[code], manager, id


async def test_without_an_entry_the_appeal_is_linked_to_the_check_in(db: Database) -> None:
    member, _, _, rejected = await make_rejected(db)
    assert await rows(db, "select count(*) from points_transfers") == [(0,)]
    colleague = await manager_of(db, member)
    request = uuid4()

    sent = await appeal_check_in(db, member, rejected, text=" I have it here. ", request_id=request)

    review = sent["review"]
    assert (sent["replayed"], review["state"], review["reason"]) == (False, "OPEN", None)
    assert review["dueAt"] == NOON + timedelta(days=5)
    assert review["checkIn"] == {"id": encode(Kind.CHECK_IN, member, rejected), "state": "REJECTED"}
    [edge] = (await worklist(db, colleague))["edges"]
    assert (edge["node"]["kind"], edge["node"]["dueAt"]) == ("APPEAL", review["dueAt"])
    assert edge["node"]["reason"] == "The member contests that a check-in was rejected"
    shown = (await execute(REVIEW, {"id": review["id"]}, context=as_staff(db, colleague)))["node"]
    assert (shown["kind"], shown["text"], shown["points"]) == ("APPEAL", "I have it here.", 10)
    assert shown["entry"] is None
    assert shown["checkIn"]["id"] == review["checkIn"]["id"]
    assert shown["task"]["points"] == 10
    again = await appeal_check_in(
        db, member, rejected, text=" I have it here. ", request_id=request
    )
    assert again == {**sent, "replayed": True}


async def test_accepting_restores_it_and_the_task_pays_as_soon_as_it_is_done(db: Database) -> None:
    member, assignment, manager, rejected = await make_rejected(db)
    colleague = await manager_of(db, member)
    review = (await appeal_check_in(db, member, rejected))["review"]["id"]

    # Whoever rejected it does not answer the appeal.
    own = await decide(db, manager, review)
    assert (own["code"], own["field"]) == ("SECOND_PERSON_NEEDED", "reviewId")
    answer = await decide(db, colleague, review, reason="It was on the photo.")

    assert answer["review"]["state"] == "ACCEPTED"
    assert (answer["checkIn"]["state"], answer["checkIn"]["pointsAwarded"]) == ("ACCEPTED", 0)
    assert await standing(db, member) == [("OPEN", 0, 1)]
    await check_in(db, member, assignment, now=about_noon(1))
    assert await balances(db, member) == (10, 0)
    assert await standing(db, member) == [("DONE", 10, 2)]
    assert (await worklist(db, colleague))["totalCount"] == 0
    await assert_sound(db)


async def test_accepting_the_one_that_was_missing_pays_the_task(db: Database) -> None:
    member, assignment, _, rejected = await make_rejected(db)
    colleague = await manager_of(db, member)
    await check_in(db, member, assignment, now=about_noon(1))
    assert await balances(db, member) == (0, 0)
    review = (await appeal_check_in(db, member, rejected, now=about_noon(1)))["review"]["id"]

    answer = await decide(db, colleague, review, now=about_noon(1))

    assert (answer["checkIn"]["state"], answer["checkIn"]["pointsAwarded"]) == ("ACCEPTED", 10)
    assert await balances(db, member) == (10, 0)
    assert await standing(db, member) == [("DONE", 10, 2)]
    await assert_sound(db)


async def test_refusing_says_why_and_moves_nothing(db: Database) -> None:
    member, _, _, rejected = await make_rejected(db)
    colleague = await manager_of(db, member)
    review = (await appeal_check_in(db, member, rejected))["review"]["id"]
    answer = await decide(db, colleague, review, "REJECT", reason="Still nothing.")
    assert (answer["review"]["state"], answer["review"]["reason"]) == ("REJECTED", "Still nothing.")
    assert (await check_ins(db, member))[0][0] == "REJECTED"
    assert await rows(db, "select count(*) from points_transfers") == [(0,)]
    # A decision about an appeal is the last one.
    again = await appeal_check_in(db, member, rejected)
    assert (again["code"], again["field"]) == ("LIMIT_REACHED", "checkInId")


async def test_with_an_entry_it_is_one_matter_by_either_name(db: Database) -> None:
    member, _, _, rejected = await make_rejected(db, "medication")
    [(refused,)] = await rows(db, "select id from points_transfers order by seq limit 1")
    colleague = await manager_of(db, member)

    sent = await appeal_check_in(db, member, rejected)

    by_entry = await appeal(db, member, refused)
    assert (by_entry["code"], by_entry["field"]) == ("LIMIT_REACHED", "entryId")
    shown = await execute(REVIEW, {"id": sent["review"]["id"]}, context=as_staff(db, colleague))
    assert shown["node"]["entry"]["id"] == encode(Kind.POINTS_ENTRY, member, refused)
    answer = await decide(db, colleague, sent["review"]["id"])
    assert answer["checkIn"]["state"] == "ACCEPTED"
    assert await balances(db, member) == (10, 0)
    [(corrects,)] = await rows(db, "select corrects from points_transfers where kind = 'ADJUSTED'")
    assert corrects == refused
    await assert_sound(db)


@pytest.mark.parametrize("first", ["entry", "check-in"])
async def test_what_one_appeal_gave_another_does_not_give_again(db: Database, first: str) -> None:
    """The entry of a task was refused because of another check-in than the one it was for."""
    member, tasks = await make_tasked(db, PRESSURE)
    manager, colleague = await manager_of(db, member), await manager_of(db, member)
    await verified_by(db, member, "STAFF")
    await check_in(db, member, tasks[PRESSURE])
    review = await review_of(db, member)
    await verified_by(db, member, "NONE")
    await check_in(db, member, tasks[PRESSURE], now=about_noon(1))
    await decide(db, manager, review, "REJECT", now=about_noon(1))
    [(refused,)] = await rows(db, "select id from points_transfers order by seq limit 1")
    [(rejected,)] = await rows(db, "select id from checkins where state = 'REJECTED'")
    now = about_noon(1)

    if first == "entry":
        sent = await appeal(db, member, refused, now=now)
        other = await appeal_check_in(db, member, rejected, now=now)
    else:
        sent = await appeal_check_in(db, member, rejected, now=now)
        other = await appeal(db, member, refused, now=now)

    assert other["code"] == "LIMIT_REACHED"
    await decide(db, colleague, sent["review"]["id"], now=now)
    assert await balances(db, member) == (10, 0)
    await assert_sound(db)


async def test_each_of_two_rejected_check_ins_is_contested(db: Database) -> None:
    member, tasks = await make_tasked(db, PRESSURE)
    manager, colleague = await manager_of(db, member), await manager_of(db, member)
    await verified_by(db, member, "STAFF")
    found = []
    for day in range(2):
        await check_in(db, member, tasks[PRESSURE], now=about_noon(day))
        found.append(await review_of(db, member))
    now = about_noon(1)
    for review in found:
        await decide(db, manager, review, "REJECT", now=now)

    for (rejected,) in await rows(db, "select id from checkins order by occurred_at"):
        assert await balances(db, member) == (0, 0)
        sent = await appeal_check_in(db, member, rejected, now=now)
        answer = await decide(db, colleague, sent["review"]["id"], now=now)
        assert answer["review"]["state"] == "ACCEPTED"

    assert await standing(db, member) == [("DONE", 10, 2)]
    assert await balances(db, member) == (10, 0)
    await assert_sound(db)


@pytest.mark.parametrize("decision", ["ACCEPT", "REJECT"])
async def test_a_request_sent_again_after_the_decision_is_answered(
    db: Database, decision: str
) -> None:
    """Accepting gives the check-in an entry, which is one matter with it."""
    member, assignment, _, rejected = await make_rejected(db)
    colleague, request, now = await manager_of(db, member), uuid4(), about_noon(1)
    await check_in(db, member, assignment, now=now)
    sent = await appeal_check_in(db, member, rejected, request_id=request, now=now)
    await decide(db, colleague, sent["review"]["id"], decision, now=now)

    again = await appeal_check_in(db, member, rejected, request_id=request, now=now)

    assert (again["replayed"], again["review"]["id"]) == (True, sent["review"]["id"])
    assert again["review"]["state"] == f"{decision}ED"
    other = await appeal_check_in(db, member, rejected, now=now)
    assert other["code"] == "LIMIT_REACHED"


async def test_refusals_open_nothing(db: Database) -> None:
    member, assignment, _, rejected = await make_rejected(db)
    await check_in(db, member, assignment, now=about_noon(1))
    await verified_by(db, member, "STAFF")
    await check_in(db, member, assignment, now=about_noon(2))
    [(accepted,), (waiting,)] = await rows(
        db, "select id from checkins where state <> 'REJECTED' order by occurred_at"
    )
    other, _, _, theirs = await make_rejected(db)
    before = await counts(db)
    late = NOON + timedelta(days=60, seconds=1)

    refused = [
        (await appeal_check_in(db, member, uuid4()), "NOT_FOUND", "checkInId"),
        (await appeal_check_in(db, member, theirs), "NOT_FOUND", "checkInId"),
        (
            await appeal_check_in(db, member, encode(Kind.CHECK_IN, other, theirs)),
            "NOT_FOUND",
            "checkInId",
        ),
        (await appeal_check_in(db, member, "nonsense"), "NOT_FOUND", "checkInId"),
        (await appeal_check_in(db, member, accepted), "NOT_ELIGIBLE", "checkInId"),
        (await appeal_check_in(db, member, waiting), "NOT_ELIGIBLE", "checkInId"),
        (await appeal_check_in(db, member, rejected, text=" "), "VALUE_OUT_OF_RANGE", "text"),
        (await appeal_check_in(db, member, rejected, text="x" * 501), "VALUE_OUT_OF_RANGE", "text"),
        (await appeal_check_in(db, member, rejected, now=late), "TOO_OLD", "checkInId"),
    ]

    for answer, code, field in refused:
        assert (answer["code"], answer["field"]) == (code, field), answer
    assert await counts(db) == before


async def test_eight_at_once_open_one(db: Database) -> None:
    member, _, _, rejected = await make_rejected(db)
    request = uuid4()
    same = await asyncio.gather(
        *(appeal_check_in(db, member, rejected, request_id=request) for _ in range(8))
    )
    assert sorted(it["replayed"] for it in same) == [False] + [True] * 7
    assert len({it["review"]["id"] for it in same}) == 1
    other = await asyncio.gather(*(appeal_check_in(db, member, rejected) for _ in range(8)))
    assert {it["code"] for it in other} == {"LIMIT_REACHED"}
    reused = await appeal_check_in(db, member, rejected, request_id=request, text="Else.")
    assert reused["code"] == "REQUEST_REUSED"
    assert await rows(db, "select count(*) from reviews where kind = 'APPEAL'") == [(1,)]


async def test_of_many_who_answer_at_once_one_does(db: Database) -> None:
    member, assignment, _, rejected = await make_rejected(db)
    await check_in(db, member, assignment, now=about_noon(1))
    staff = [await manager_of(db, member) for _ in range(8)]
    review = (await appeal_check_in(db, member, rejected, now=about_noon(1)))["review"]["id"]

    answers = await asyncio.gather(
        *(decide(db, it, review, "REJECT" if n % 2 else "ACCEPT") for n, it in enumerate(staff))
    )

    codes = [it.get("code") for it in answers]
    assert (codes.count(None), codes.count("ALREADY_DECIDED")) == (1, 7)
    accepted = codes.index(None) % 2 == 0
    assert await balances(db, member) == ((10, 0) if accepted else (0, 0))
    await assert_sound(db)


async def test_it_shows_in_why_and_to_nobody_else(db: Database) -> None:
    member, _, _, rejected = await make_rejected(db)
    colleague = await manager_of(db, member)
    review = (await appeal_check_in(db, member, rejected))["review"]["id"]
    await decide(db, colleague, review, "REJECT", reason="Still nothing.")
    variables = {"id": encode(Kind.CHECK_IN, member, rejected)}
    why = (await execute(operation("Why"), variables, context=as_member(db, member)))["why"]
    said = " ".join(f"{it['title']} {it['detail']}" for it in why["steps"])
    assert "Nothing to be seen." in said and "Still nothing." in said
    stranger = as_member(db, await make_member(db))
    assert await execute(
        "query ($id: ID!) { node(id: $id) { id } }", {"id": review}, context=stranger
    ) == {"node": None}
