"""Members contest entries of their points, once each, and get an answer."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from app.db import Database
from app.graphql.ids import Kind, encode
from app.points import service as points
from tests.factories import NOON, contents, counts, make_member
from tests.reviewing import (
    appeal,
    assert_sound,
    balances,
    check_ins,
    decide,
    entry,
    review_of,
    standing,
    verified_by,
)
from tests.tasks_at_work import check_in, make_tasked, rows
from tests.worklist import manager_of, worklist

LATER = NOON + timedelta(days=1)


async def transfers(db: Database, member_id: UUID) -> list[tuple]:
    """Id, kind, debit, credit and amount, the oldest first."""
    found = await rows(
        db,
        "select id, kind, debit, credit, amount from points_transfers where member_id = :id"
        " order by seq",
        id=member_id,
    )
    return [tuple(row) for row in found]


async def make_refused(db: Database) -> tuple[UUID, UUID, UUID, UUID]:
    """Member, their assignment, the manager who refused their check-in, and the entry."""
    member, tasks = await make_tasked(db, "medication")
    await verified_by(db, member, "STAFF")
    manager = await manager_of(db, member)
    await check_in(db, member, tasks["medication"])
    await decide(db, manager, await review_of(db, member), "REJECT", reason="No box to be seen.")
    return member, tasks["medication"], manager, (await transfers(db, member))[0][0]


async def make_paid(db: Database) -> tuple[UUID, UUID, UUID]:
    """Member, their manager, and the entry of a task that paid."""
    member, tasks = await make_tasked(db, "medication")
    await check_in(db, member, tasks["medication"])
    return member, await manager_of(db, member), (await transfers(db, member))[0][0]


async def test_an_appeal_is_in_the_worklist_with_its_due_date(db: Database) -> None:
    member, _, _, refused = await make_refused(db)
    colleague = await manager_of(db, member)
    request = uuid4()

    sent = await appeal(db, member, refused, text=" It was in the drawer. ", request_id=request)

    review = sent["review"]
    assert (sent["replayed"], review["state"], review["reason"]) == (False, "OPEN", None)
    assert review["dueAt"] == NOON + timedelta(days=5)
    [edge] = (await worklist(db, colleague))["edges"]
    assert (edge["node"]["kind"], edge["node"]["dueAt"]) == ("APPEAL", review["dueAt"])
    assert edge["node"]["subject"]["id"] == review["id"]
    [row] = await rows(db, "select text, points from reviews where kind = 'APPEAL'")
    assert tuple(row) == ("It was in the drawer.", 10)
    again = await appeal(
        db, member, refused, text=" It was in the drawer. ", request_id=request, now=LATER
    )
    assert again == {**sent, "replayed": True}


async def test_accepting_restores_the_check_in_and_pays_as_the_next_revision(db: Database) -> None:
    member, assignment, manager, refused = await make_refused(db)
    colleague = await manager_of(db, member)
    sent = await appeal(db, member, refused)

    # Whoever refused it does not answer the appeal.
    own = await decide(db, manager, sent["review"]["id"])
    assert (own["code"], own["field"]) == ("SECOND_PERSON_NEEDED", "reviewId")
    answer = await decide(
        db, colleague, sent["review"]["id"], reason="We found the photo.", now=LATER
    )

    assert answer["review"]["state"] == "ACCEPTED"
    assert (answer["checkIn"]["state"], answer["checkIn"]["pointsAwarded"]) == ("ACCEPTED", 10)
    assert await balances(db, member) == (10, 0)
    assert await standing(db, member) == [("DONE", 10, 1)]
    [*_, correction] = await rows(
        db, "select kind, cause_key, corrects, expires_on from points_transfers order by seq"
    )
    assert correction[:3] == ("ADJUSTED", f"{assignment}:2026-03-02:1", refused)
    assert str(correction[3]) == "2027-03-03"
    assert (await worklist(db, colleague))["totalCount"] == 0
    await assert_sound(db)


async def test_refusing_says_why_and_moves_nothing(db: Database) -> None:
    member, _, _, refused = await make_refused(db)
    colleague = await manager_of(db, member)
    sent = await appeal(db, member, refused)
    before = await contents(db, "wallets", "points_transfers", "points_lots")

    answer = await decide(db, colleague, sent["review"]["id"], "REJECT", reason="Still no box.")

    assert (answer["review"]["state"], answer["review"]["reason"]) == ("REJECTED", "Still no box.")
    moved = await contents(db, *before)
    before.pop("wallets"), moved.pop("wallets")
    assert moved == before
    assert await balances(db, member) == (0, 0)
    assert (await check_ins(db, member))[0][0] == "REJECTED"


async def test_a_task_done_meanwhile_is_not_paid_twice(db: Database) -> None:
    member, assignment, _, refused = await make_refused(db)
    colleague = await manager_of(db, member)
    await verified_by(db, member, "NONE")
    await check_in(db, member, assignment, now=NOON + timedelta(hours=1))
    assert await balances(db, member) == (10, 0)

    sent = await appeal(db, member, refused)
    await decide(db, colleague, sent["review"]["id"])

    assert await balances(db, member) == (10, 0)
    assert await standing(db, member) == [("DONE", 10, 2)]
    await assert_sound(db)


async def test_what_paid_too_little_is_corrected_by_what_the_employee_says(db: Database) -> None:
    member, manager, paid = await make_paid(db)
    sent = await appeal(db, member, paid, text="It should have been 15.")
    review = sent["review"]["id"]
    before = await contents(db)

    for wrong in ({}, {"points": 0}, {"points": -1}, {"points": 100_001}):
        answer = await decide(db, manager, review, **wrong)
        assert (answer["code"], answer["field"]) == ("VALUE_OUT_OF_RANGE", "points")
    after = await contents(db)
    before.pop("audit_reads"), after.pop("audit_reads")
    assert after == before
    answer = await decide(db, manager, review, points=5, reason="Five are missing.")

    assert answer["review"]["state"] == "ACCEPTED"
    assert await balances(db, member) == (15, 0)
    [_, correction] = await transfers(db, member)
    assert correction[1:] == ("ADJUSTED", "issued", "available", 5)
    [row] = await rows(db, "select revision from tasks where latest_check_in_id is not null")
    assert tuple(row) == (2,)
    await assert_sound(db)


async def test_more_points_than_one_person_may_give_need_another(db: Database) -> None:
    member, manager, paid = await make_paid(db)
    colleague = await manager_of(db, member)
    sent = await appeal(db, member, paid)
    review = sent["review"]["id"]

    one = await decide(db, manager, review, points=501)
    assert one["review"]["state"] == "AWAITING_SECOND_PERSON"
    other_sum = await decide(db, colleague, review, points=502)
    assert other_sum["review"]["state"] == "AWAITING_SECOND_PERSON"
    agrees = await decide(db, manager, review, points=502)

    assert agrees["review"]["state"] == "ACCEPTED"
    assert await balances(db, member) == (512, 0)


async def test_points_taken_back_come_back(db: Database) -> None:
    member, manager, paid = await make_paid(db)
    async with db.transaction() as session:
        await points.reverse(session, member_id=member, transfer_id=paid, now=NOON)
    assert await balances(db, member) == (0, 0)
    taken = (await transfers(db, member))[-1][0]

    sent = await appeal(db, member, taken)
    await decide(db, manager, sent["review"]["id"])

    assert await balances(db, member) == (10, 0)
    # The entry that gave them is the same matter.
    again = await appeal(db, member, paid)
    assert (again["code"], again["field"]) == ("LIMIT_REACHED", "entryId")
    await assert_sound(db)


async def test_refusals_open_nothing(db: Database) -> None:
    member, _, paid = await make_paid(db)
    other, _, theirs = await make_paid(db)
    async with db.transaction() as session:
        await points.spend(
            session, member_id=member, hold_id=uuid4(), amount=3,
            cause=points.Cause("REDEMPTION", uuid4(), "redemption:1"), now=NOON,
        )  # fmt: skip
    spent = (await transfers(db, member))[-1][0]
    before = await counts(db)

    refused = [
        (await appeal(db, member, uuid4()), "NOT_FOUND", "entryId"),
        (await appeal(db, member, theirs), "NOT_FOUND", "entryId"),
        (await appeal(db, member, entry(other, theirs)), "NOT_FOUND", "entryId"),
        (await appeal(db, member, encode(Kind.MEMBER, member)), "NOT_FOUND", "entryId"),
        (await appeal(db, member, "nonsense"), "NOT_FOUND", "entryId"),
        (await appeal(db, member, spent), "NOT_ELIGIBLE", "entryId"),
        (await appeal(db, member, paid, text=" "), "VALUE_OUT_OF_RANGE", "text"),
        (await appeal(db, member, paid, text="x" * 501), "VALUE_OUT_OF_RANGE", "text"),
        (await appeal(db, member, paid, text="\0"), "VALUE_OUT_OF_RANGE", "text"),
        (await appeal(db, member, paid, now=NOON + timedelta(days=60, seconds=1)), "TOO_OLD", "entryId"),
    ]  # fmt: skip

    for answer, code, field in refused:
        assert (answer["code"], answer["field"]) == (code, field), answer
    assert await counts(db) == before


async def test_eight_at_once_open_one(db: Database) -> None:
    member, _, paid = await make_paid(db)
    request = uuid4()

    same = await asyncio.gather(*(appeal(db, member, paid, request_id=request) for _ in range(8)))
    assert sorted(it["replayed"] for it in same) == [False] + [True] * 7
    assert len({it["review"]["id"] for it in same}) == 1
    other = await asyncio.gather(*(appeal(db, member, paid) for _ in range(8)))
    assert {it["code"] for it in other} == {"LIMIT_REACHED"}
    reused = await appeal(db, member, paid, request_id=request, text="Something else.")
    assert reused["code"] == "REQUEST_REUSED"
    assert await rows(db, "select count(*) from reviews") == [(1,)]
    assert await rows(db, "select count(*) from worklist_items") == [(1,)]


@pytest.mark.parametrize("times", [8])
async def test_of_many_who_answer_at_once_one_does(db: Database, times: int) -> None:
    member, _, paid = await make_paid(db)
    staff = [await manager_of(db, member) for _ in range(times)]
    sent = await appeal(db, member, paid)

    answers = await asyncio.gather(
        *(decide(db, it, sent["review"]["id"], points=place + 1) for place, it in enumerate(staff))
    )

    codes = [it.get("code") for it in answers]
    assert (codes.count(None), codes.count("ALREADY_DECIDED")) == (1, times - 1)
    assert await balances(db, member) == (10 + codes.index(None) + 1, 0)
    await assert_sound(db)


async def test_another_members_review_is_nobodys(db: Database) -> None:
    member, _, paid = await make_paid(db)
    stranger = await make_member(db)
    sent = await appeal(db, member, paid)
    query = "query ($id: ID!) { node(id: $id) { id } }"
    from tests.factories import as_member, execute

    found = await execute(query, {"id": sent["review"]["id"]}, context=as_member(db, stranger))
    assert found == {"node": None}
