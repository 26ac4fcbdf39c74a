"""Check-ins that wait for a decision: what is pending, and what each decision makes of it."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.health_tasks import jobs
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    contents,
    counts,
    execute,
    make_member,
    make_staff,
    operation,
    refused,
)
from tests.reviewing import (
    DECIDE,
    assert_sound,
    balances,
    check_ins,
    decide,
    review_of,
    standing,
    verified_by,
)
from tests.tasks_at_work import about_noon, check_in, make_tasked, next_expiry, rows, task_id
from tests.worklist import manager_of, send, worklist

TOMORROW = NOON + timedelta(days=1)


async def make_reviewed(
    db: Database, *codes: str, above: int = 500, **options
) -> tuple[UUID, dict[str, UUID], UUID]:
    """A member whose check-ins are confirmed by staff, and their health manager."""
    member, tasks = await make_tasked(db, *codes, **options)
    await verified_by(db, member, "STAFF", second_person_above=above)
    return member, tasks, await manager_of(db, member)


# What waits


async def test_points_wait_with_the_reason_in_sight(db: Database) -> None:
    member, tasks, manager = await make_reviewed(db, "medication")

    with StatementCount(db) as sent:
        done = await check_in(db, member, tasks["medication"], note="with breakfast")

    assert len(sent) == 2
    assert done["checkIn"]["state"] == "IN_REVIEW"
    assert done["checkIn"]["pointsAwarded"] == 10
    assert done["checkIn"]["explanation"] == (
        "Being looked at: this task is confirmed by our staff. 10 points are pending."
    )
    assert done["task"]["state"] == "IN_REVIEW"
    assert (done["points"]["available"], done["points"]["pending"]) == (0, 10)
    assert await next_expiry(db, member) is None
    [edge] = (await worklist(db, manager))["edges"]
    item = edge["node"]
    assert (item["kind"], item["member"]["id"]) == ("REVIEW", encode(Kind.MEMBER, member))
    assert item["reason"].startswith("Check-in for “Take today's medication”: this task")
    assert item["dueAt"] == NOON + timedelta(days=3)
    assert item["subject"] == {
        "__typename": "Review", "id": await review_of(db, member), "state": "OPEN",
    }  # fmt: skip
    await assert_sound(db)


async def test_a_review_shows_what_is_claimed_and_what_was_before(db: Database) -> None:
    member, tasks, manager = await make_reviewed(db, "walk")
    for hour, value in ((4, "1000"), (3, "1500"), (1, "4000")):
        at = NOON - timedelta(hours=hour)
        await check_in(db, member, tasks["walk"], value=value, now=at, note=f"{hour} h")

    query = {"id": await review_of(db, member)}
    shown = await execute(operation("Review", "console"), query, context=as_staff(db, manager))

    node = shown["node"]
    assert node["task"]["id"] == task_id(member, tasks["walk"])
    assert (node["kind"], node["state"], node["points"]) == ("CHECK_IN", "OPEN", 10)
    assert node["checkIn"]["value"] == "4000"
    assert [it["value"] for it in node["earlier"]] == ["1500", "1000"]
    assert (node["note"], node["photoUrl"], node["entry"]) == ("1 h", None, None)
    assert node["findings"] == ["this task is confirmed by our staff"]
    # The member sees that it is looked at, and nobody's name.
    mine = await execute(operation("Review", "console"), query, context=as_member(db, member))
    assert mine["node"]["state"] == "OPEN"


# Decisions


async def test_accepting_gives_the_points_and_finishes_the_task(db: Database) -> None:
    member, tasks, manager = await make_reviewed(db, "medication")
    await check_in(db, member, tasks["medication"])
    review = await review_of(db, member)
    request = uuid4()

    decided = await decide(db, manager, review, reason=" Confirmed by phone. ", request_id=request)

    assert decided == {
        "__typename": "DecideReviewPayload",
        "replayed": False,
        "review": {
            "id": review,
            "state": "ACCEPTED",
            "decidedBy": {"id": encode(Kind.STAFF, manager), "displayName": "Zhou"},
            "reason": "Confirmed by phone.",
        },
        "checkIn": {"id": decided["checkIn"]["id"], "state": "ACCEPTED", "pointsAwarded": 10},
    }
    assert await balances(db, member) == (10, 0)
    assert await standing(db, member) == [("DONE", 10, 1)]
    page = "query ($id: ID!) { node(id: $id) { ... on CheckIn { explanation } } }"
    shown = await execute(page, {"id": decided["checkIn"]["id"]}, context=as_member(db, member))
    assert shown["node"]["explanation"] == "Accepted: Confirmed by phone. 10 points."
    assert (await worklist(db, manager))["totalCount"] == 0
    [item] = await rows(db, "select closed_at, closed_reason, events from worklist_items")
    assert tuple(item) == (NOON, "DONE", 2)
    before = await contents(db, "points_transfers", "reviews", "review_events", "checkins", "tasks")
    again = await decide(
        db, manager, review, reason=" Confirmed by phone. ", request_id=request, now=TOMORROW
    )
    assert again == {**decided, "replayed": True}
    assert await contents(db, *before) == before
    await assert_sound(db)


async def test_refusing_takes_them_back_with_the_reason_and_the_day_is_free_again(
    db: Database,
) -> None:
    member, tasks, manager = await make_reviewed(db, "medication")
    await check_in(db, member, tasks["medication"])
    first = await review_of(db, member)

    decided = await decide(db, manager, first, "REJECT", reason="The box is still full.")

    assert (decided["review"]["state"], decided["checkIn"]["pointsAwarded"]) == ("REJECTED", 0)
    assert await balances(db, member) == (0, 0)
    assert await standing(db, member) == [("OPEN", 0, 0)]
    history = await execute(operation("PointsHistory"), context=as_member(db, member))
    entries = [it["node"] for it in history["me"]["points"]["entries"]["edges"]]
    assert [(it["kind"], it["state"], it["amount"]) for it in entries] == [
        ("REVERSED", "POSTED", -10),
        ("EARNED", "REJECTED", 10),
    ]
    page = "query ($id: ID!) { node(id: $id) { ... on CheckIn { state explanation } } }"
    shown = await execute(page, {"id": decided["checkIn"]["id"]}, context=as_member(db, member))
    assert shown["node"] == {
        "state": "REJECTED", "explanation": "Not accepted: The box is still full.",
    }  # fmt: skip

    later = NOON + timedelta(hours=1)
    again = await check_in(db, member, tasks["medication"], now=later)
    assert (again["replayed"], again["checkIn"]["state"]) == (False, "IN_REVIEW")
    await decide(db, manager, await review_of(db, member), now=later)
    assert await balances(db, member) == (10, 0)
    assert await standing(db, member) == [("DONE", 10, 1)]
    keys = await rows(
        db, "select cause_key from points_transfers where kind = 'EARNED' order by seq"
    )
    assert [key.rpartition(":")[2] for (key,) in keys] == ["0", "1"]
    await assert_sound(db)


async def test_a_refused_check_in_sent_again_is_answered_with_what_was_decided(
    db: Database,
) -> None:
    member, tasks, manager = await make_reviewed(db, "medication")
    request = uuid4()
    await check_in(db, member, tasks["medication"], request_id=request)
    await decide(db, manager, await review_of(db, member), "REJECT", reason="No.")

    again = await check_in(db, member, tasks["medication"], request_id=request)
    same_instant = await check_in(db, member, tasks["medication"])

    for answer in (again, same_instant):
        assert (answer["replayed"], answer["checkIn"]["state"]) == (True, "REJECTED")
    assert await balances(db, member) == (0, 0)


# Several check-ins of one task


async def two_check_ins(db: Database, member: UUID, assignment: UUID) -> list[str]:
    """The reviews of today's and tomorrow's; the second one reaches the target."""
    found = []
    for number in range(2):
        at = about_noon(number)
        await check_in(db, member, assignment, now=at)
        found.append(await review_of(db, member))
    return found


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_task_is_paid_when_all_that_it_needs_is_accepted(db: Database, order) -> None:
    member, tasks, manager = await make_reviewed(db, "measure-blood-pressure")
    found = await two_check_ins(db, member, tasks["measure-blood-pressure"])
    assert await standing(db, member) == [("IN_REVIEW", 10, 2)]

    await decide(db, manager, found[order[0]], now=TOMORROW)
    assert await standing(db, member) == [("IN_REVIEW", 10, 2)]
    assert await balances(db, member) == (0, 10)
    await decide(db, manager, found[order[1]], now=TOMORROW)

    assert await standing(db, member) == [("DONE", 10, 2)]
    assert await balances(db, member) == (10, 0)
    await assert_sound(db)


@pytest.mark.parametrize("rejected", [0, 1])
async def test_refusing_one_of_two_leaves_the_task_open(db: Database, rejected: int) -> None:
    member, tasks, manager = await make_reviewed(db, "measure-blood-pressure")
    found = await two_check_ins(db, member, tasks["measure-blood-pressure"])

    await decide(db, manager, found[rejected], "REJECT", now=TOMORROW)
    assert await standing(db, member) == [("OPEN", 0, 1)]
    assert await balances(db, member) == (0, 0)
    await decide(db, manager, found[1 - rejected], now=TOMORROW)

    assert await standing(db, member) == [("OPEN", 0, 1)]
    states = [state for state, _, _ in await check_ins(db, member)]
    assert (states[rejected], states[1 - rejected]) == ("REJECTED", "ACCEPTED")
    assert all(points == 0 for _, points, _ in await check_ins(db, member))
    await verified_by(db, member, "NONE")
    last = await check_in(db, member, tasks["measure-blood-pressure"], now=about_noon(2))
    assert (last["task"]["state"], last["points"]["available"]) == ("DONE", 10)
    await assert_sound(db)


async def test_a_check_in_beyond_doubt_waits_with_the_one_before(db: Database) -> None:
    member, tasks, manager = await make_reviewed(db, "measure-blood-pressure")
    assignment = tasks["measure-blood-pressure"]
    await check_in(db, member, assignment)
    review = await review_of(db, member)
    await verified_by(db, member, "NONE")

    second = await check_in(db, member, assignment, now=about_noon(1))
    assert (second["checkIn"]["state"], second["task"]["state"]) == ("ACCEPTED", "IN_REVIEW")
    assert second["checkIn"]["explanation"] == (
        "Counted. An earlier check-in is being looked at: 10 points are pending."
    )
    third = await check_in(db, member, assignment, now=about_noon(2))
    assert (third["checkIn"]["pointsAwarded"], third["task"]["state"]) == (0, "IN_REVIEW")
    assert "pending" in third["checkIn"]["explanation"]

    await decide(db, manager, review, "REJECT", now=about_noon(2))

    # The second and third are enough without the first.
    assert await standing(db, member) == [("DONE", 10, 2)]
    assert await balances(db, member) == (10, 0)
    assert [it[:2] for it in await check_ins(db, member)] == [
        ("REJECTED", 0), ("ACCEPTED", 10), ("ACCEPTED", 0),
    ]  # fmt: skip
    await assert_sound(db)


async def test_points_of_a_refused_check_in_pass_to_one_that_stands(db: Database) -> None:
    """The refused one had reached the target; what came later reaches it too."""
    member, tasks, manager = await make_reviewed(db, "measure-blood-pressure")
    assignment = tasks["measure-blood-pressure"]
    await verified_by(db, member, "NONE")
    await check_in(db, member, assignment)
    await verified_by(db, member, "STAFF")
    await check_in(db, member, assignment, now=about_noon(1))
    await verified_by(db, member, "NONE")
    await check_in(db, member, assignment, now=about_noon(2))
    assert await balances(db, member) == (0, 10)

    await decide(db, manager, await review_of(db, member), "REJECT", now=about_noon(2))

    assert await standing(db, member) == [("DONE", 10, 2)]
    assert await balances(db, member) == (10, 0)
    assert [it[1] for it in await check_ins(db, member)] == [0, 0, 10]
    await assert_sound(db)


# After the close


@pytest.mark.parametrize(
    ("decision", "state", "points"), [("ACCEPT", "DONE", 10), ("REJECT", "MISSED", 0)]
)
async def test_a_period_that_closed_meanwhile_is_settled_by_the_decision(
    db: Database, decision: str, state: str, points: int
) -> None:
    member, tasks, manager = await make_reviewed(db, "medication")
    await check_in(db, member, tasks["medication"])
    end = datetime(2026, 4, 1, tzinfo=UTC)
    await jobs.close_periods(db, now=end)
    closed = (
        "select t.state, p.done, p.due from tasks t join participation_months p using (member_id)"
    )
    closed += " where t.starts_on = '2026-03-02' and p.month = '2026-03-01'"
    [before] = await rows(db, closed)
    assert (before.state, before.done) == ("IN_REVIEW", 0)

    await decide(db, manager, await review_of(db, member), decision, now=end)

    assert (await standing(db, member))[0] == (state, points, points // 10)
    assert await balances(db, member) == (points, 0)
    waiting = await rows(db, "select payload from pgqueuer where entrypoint like '%restate_month'")
    assert len(waiting) == 1
    await assert_sound(db)


@pytest.mark.parametrize(
    ("decision", "state", "points"), [("ACCEPT", "DONE", 80), ("REJECT", "MISSED", 0)]
)
async def test_what_pays_at_the_close_pays_with_the_decision(
    db: Database, decision: str, state: str, points: int
) -> None:
    member, tasks, manager = await make_reviewed(
        db, "smoke-free", starts_on=date(2026, 3, 1), now=NOON - timedelta(days=2), points_each=80
    )
    await verified_by(db, member, "NONE")
    for day in range(19):
        await check_in(db, member, tasks["smoke-free"], date(2026, 3, 1), now=about_noon(day))
    await verified_by(db, member, "STAFF")
    last = await check_in(db, member, tasks["smoke-free"], date(2026, 3, 1), now=about_noon(19))
    assert (last["checkIn"]["state"], last["task"]["state"]) == ("IN_REVIEW", "OPEN")
    end = datetime(2026, 4, 1, tzinfo=UTC)
    await jobs.close_periods(db, now=end)
    assert (await standing(db, member))[0][0] == "IN_REVIEW"
    assert await balances(db, member) == (0, 0)

    await decide(db, manager, await review_of(db, member), decision, now=end)

    assert (await standing(db, member))[0][:2] == (state, points)
    assert await balances(db, member) == (points, 0)
    await assert_sound(db)


async def test_abstaining_accepted_in_time_pays_at_the_close_all_the_same(db: Database) -> None:
    member, tasks, manager = await make_reviewed(
        db, "smoke-free", starts_on=date(2026, 3, 1), now=NOON - timedelta(days=2), points_each=80
    )
    for day in range(20):
        await check_in(db, member, tasks["smoke-free"], date(2026, 3, 1), now=about_noon(day))
        await decide(db, manager, await review_of(db, member), now=about_noon(day))
    assert (await standing(db, member))[0] == ("OPEN", 0, 20)
    end = datetime(2026, 4, 1, tzinfo=UTC)
    await jobs.close_periods(db, now=end)
    assert await balances(db, member) == (80, 0)


# Who may, and once


async def test_refusals_move_nothing(db: Database) -> None:
    member, tasks, manager = await make_reviewed(db, "medication")
    stranger = await make_member(db)
    await check_in(db, member, tasks["medication"])
    review = await review_of(db, member)
    other = await make_staff(db)
    before = await contents(db)

    unknown = encode(Kind.REVIEW, member, uuid4())
    for staff, id in (
        (manager, unknown),
        (manager, encode(Kind.REVIEW, stranger, UUID(int=1))),
        (manager, encode(Kind.CHECK_IN, member, uuid4())),
        (manager, "nonsense"),
        (other, review),
    ):
        answer = await decide(db, staff, id)
        assert (answer["code"], answer["field"]) == ("NOT_FOUND", "reviewId")
    for reason in ("", "  ", "x" * 501, "a\0b"):
        answer = await decide(db, manager, review, reason=reason)
        assert (answer["code"], answer["field"]) == ("VALUE_OUT_OF_RANGE", "reason")
    sent = {"requestId": str(uuid4()), "reviewId": review, "decision": "ACCEPT", "reason": "x"}
    for context in (
        as_member(db, member),
        as_staff(db, manager, "AUDITOR"),
        as_staff(db, manager, "CAMPAIGN_MANAGER"),
    ):
        from app.schema import schema

        result = await schema.execute(DECIDE, {"input": sent}, context_value=context)
        assert result.errors and result.errors[0].original_error.code == "FORBIDDEN"
    after = await contents(db)
    before.pop("audit_reads"), after.pop("audit_reads")
    assert after == before


async def test_of_two_who_decide_at_once_one_wins(db: Database) -> None:
    member, tasks, manager = await make_reviewed(db, "medication")
    await check_in(db, member, tasks["medication"])
    review = await review_of(db, member)
    staff = [await manager_of(db, member) for _ in range(7)] + [manager]

    answers = await asyncio.gather(
        *(
            decide(db, it, review, "ACCEPT" if place % 2 else "REJECT", reason=str(place))
            for place, it in enumerate(staff)
        )
    )

    won = [it for it in answers if it["__typename"] == "DecideReviewPayload"]
    assert len(won) == 1
    assert [it["code"] for it in answers if it not in won] == ["ALREADY_DECIDED"] * 7
    accepted = won[0]["review"]["state"] == "ACCEPTED"
    assert await balances(db, member) == (10 * accepted, 0)
    assert await rows(db, "select count(*) from review_events") == [(2,)]
    await assert_sound(db)


async def test_one_request_eight_times_at_once_decides_once(db: Database) -> None:
    member, tasks, manager = await make_reviewed(db, "medication")
    await check_in(db, member, tasks["medication"])
    review, request = await review_of(db, member), uuid4()

    answers = await asyncio.gather(
        *(decide(db, manager, review, request_id=request) for _ in range(8))
    )

    assert sorted(it["replayed"] for it in answers) == [False] + [True] * 7
    assert {it["review"]["state"] for it in answers} == {"ACCEPTED"}
    assert await balances(db, member) == (10, 0)
    other = await decide(db, manager, review, "REJECT", request_id=request)
    assert other["code"] == "REQUEST_REUSED"


async def test_check_ins_that_race_with_a_decision_are_decided_on_what_it_left(
    db: Database,
) -> None:
    member, tasks, manager = await make_reviewed(db, "measure-blood-pressure")
    assignment = tasks["measure-blood-pressure"]
    await check_in(db, member, assignment)
    review = await review_of(db, member)
    await verified_by(db, member, "NONE")
    sent = [check_in(db, member, assignment, now=about_noon(day)) for day in (1, 2, 3)]

    await asyncio.gather(decide(db, manager, review, "REJECT", now=about_noon(3)), *sent)

    assert await standing(db, member) == [("DONE", 10, 3)]
    assert await balances(db, member) == (10, 0)
    await assert_sound(db)


# Two people


async def test_many_points_need_two_who_agree(db: Database) -> None:
    member, tasks, first = await make_reviewed(db, "medication", above=9)
    second, third = await manager_of(db, member), await manager_of(db, member)
    await check_in(db, member, tasks["medication"])
    review = await review_of(db, member)

    one = await decide(db, first, review, reason="Looks right.")
    assert one["review"]["state"] == "AWAITING_SECOND_PERSON"
    assert (one["review"]["reason"], one["checkIn"]["state"]) == (None, "IN_REVIEW")
    assert await balances(db, member) == (0, 10)
    assert (await worklist(db, second))["totalCount"] == 1
    again = await decide(db, first, review)
    assert (again["code"], again["field"]) == ("SECOND_PERSON_NEEDED", "reviewId")

    disagrees = await decide(db, second, review, "REJECT", reason="Does not.")
    assert disagrees["review"]["state"] == "AWAITING_SECOND_PERSON"
    assert (await decide(db, second, review, "REJECT"))["code"] == "SECOND_PERSON_NEEDED"
    agrees = await decide(db, third, review, "REJECT", reason="No, it does not.")

    assert agrees["review"]["state"] == "REJECTED"
    assert agrees["review"]["reason"] == "No, it does not."
    assert await balances(db, member) == (0, 0)
    said = await rows(
        db, "select place, state, decision, staff_id from review_events order by place"
    )
    waits = "AWAITING_SECOND_PERSON"
    assert [tuple(it) for it in said] == [
        (1, "OPEN", None, None),
        (2, waits, "ACCEPT", first),
        (3, waits, "REJECT", second),
        (4, "REJECTED", "REJECT", third),
    ]
    [row] = await rows(db, "select decided_by, second_by from reviews")
    assert tuple(row) == (second, third)


async def test_two_who_agree_at_once_decide_together(db: Database) -> None:
    member, tasks, first = await make_reviewed(db, "medication", above=9)
    staff = [first, await manager_of(db, member)]
    await check_in(db, member, tasks["medication"])
    review = await review_of(db, member)

    answers = await asyncio.gather(*(decide(db, it, review) for it in staff))

    states = sorted(it["review"]["state"] for it in answers)
    assert states == ["ACCEPTED", "AWAITING_SECOND_PERSON"]
    assert await balances(db, member) == (10, 0)


async def test_just_as_many_points_need_one_person(db: Database) -> None:
    member, tasks, manager = await make_reviewed(db, "medication", above=10)
    await check_in(db, member, tasks["medication"])
    decided = await decide(db, manager, await review_of(db, member))
    assert decided["review"]["state"] == "ACCEPTED"


async def test_its_item_closes_with_the_decision_and_not_before(db: Database) -> None:
    member, tasks, manager = await make_reviewed(db, "medication")
    await check_in(db, member, tasks["medication"])
    [edge] = (await worklist(db, manager))["edges"]
    before = await counts(db)
    answer = await send(db, manager, "CompleteWorklistItem", itemId=edge["node"]["id"])
    assert (answer["code"], answer["field"]) == ("STATE_INVALID", "itemId")
    after = await counts(db)
    assert {**after, "audit_reads": 0} == {**before, "audit_reads": 0}
    assert await refused("{ staff { id } }", context=as_member(db, member)) == "FORBIDDEN"
