"""A check-in through the schema: what it does, and what is refused with nothing moved."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from tests.factories import NOON, as_member, consent, counts, execute, guard, make_member
from tests.tasks_at_work import CHECK_IN, check_in, earned, make_tasked, next_expiry, rows, task_id

MONDAY = date(2026, 3, 2)


async def test_a_check_in_completes_a_task_and_pays_for_it(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    request = uuid4()

    done = await check_in(db, member, tasks["medication"], request_id=request, note="after lunch")

    assert done == {
        "__typename": "CheckInPayload",
        "replayed": False,
        "checkIn": {
            "id": done["checkIn"]["id"],
            "state": "ACCEPTED",
            "occurredAt": NOON,
            "localDate": MONDAY,
            "value": None,
            "pointsAwarded": 10,
            "explanation": "Task done: 10 points.",
        },
        "task": {
            "id": task_id(member, tasks["medication"]),
            "done": "1",
            "target": "1",
            "state": "DONE",
            "latestCheckIn": {"id": done["checkIn"]["id"]},
        },
        "points": {
            "id": encode(Kind.POINTS_ACCOUNT, member),
            "available": 10,
            "pending": 0,
        },
    }
    assert await next_expiry(db, member) == {"amount": 10, "expiresOn": date(2027, 3, 2)}
    [transfer] = await rows(
        db,
        "select kind, debit, credit, amount, cause_kind, cause_key, rule_version::text, rule_code,"
        " local_date, expires_on, id from points_transfers",
    )
    assert transfer[:10] == (
        "EARNED", "issued", "available", 10, "CHECK_IN", f"{tasks['medication']}:2026-03-02:0",
        "00000000-0000-0000-0000-000000000007", "medication", MONDAY, date(2027, 3, 2),
    )  # fmt: skip
    [kept] = await rows(
        db, "select request_id, note, acted_by, slot, counts, local_date, starts_on from checkins"
    )
    assert kept == (request, "after lunch", member, 0, True, MONDAY, MONDAY)
    [lot] = await rows(db, "select id, amount, remaining, expires_on from points_lots")
    assert lot == (transfer[10], 10, 10, date(2027, 3, 2))


async def test_two_statements_whether_it_pays_or_not(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", "exercise")

    for code in ("medication", "exercise"):
        with StatementCount(db) as sent:
            done = await check_in(db, member, tasks[code])
        assert done["__typename"] == "CheckInPayload"
        assert len(sent) == 2, sent.statements


async def test_what_expires_next_is_looked_up_when_it_is_asked_for(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    asking = CHECK_IN.replace("pending }", "pending nextExpiry { amount expiresOn } }")
    sent = {
        "requestId": str(uuid4()),
        "taskId": task_id(member, tasks["medication"]),
        "occurredAt": NOON.isoformat(),
    }

    with StatementCount(db) as statements:
        done = await execute(asking, {"input": sent}, context=as_member(db, member))

    expiry = done["checkIn"]["points"]["nextExpiry"]
    assert expiry == {"amount": 10, "expiresOn": date(2027, 3, 2)}
    assert len(statements) == 3


async def test_progress_is_kept_until_the_target_is_reached_and_pays_once(db: Database) -> None:
    member, tasks = await make_tasked(db, "walk", points_each=7)
    steps = ["3000", "4999.5", "0.5", "1000"]

    if_paid = []
    for index, value in enumerate(steps):
        at = NOON + timedelta(minutes=index)
        done = await check_in(db, member, tasks["walk"], now=at, value=value)
        if done["__typename"] == "UserError":
            if_paid.append(done["code"])
        else:
            if_paid.append((done["task"]["done"], done["checkIn"]["pointsAwarded"]))

    assert if_paid == [("3000", 0), ("7999.5", 0), "VALUE_OUT_OF_RANGE", ("8999.5", 7)]
    again = await check_in(db, member, tasks["walk"], now=at + timedelta(minutes=1), value="1")
    assert again["checkIn"]["pointsAwarded"] == 0
    assert again["task"]["state"] == "DONE"
    assert "pays once" in again["checkIn"]["explanation"]
    assert await earned(db, member) == (7, 1)


async def test_latest_check_in_is_by_when_it_was_done(db: Database) -> None:
    member, tasks = await make_tasked(db, "walk")
    late = await check_in(db, member, tasks["walk"], value="5", occurred_at=NOON)
    early = await check_in(
        db, member, tasks["walk"], value="5", occurred_at=NOON - timedelta(hours=2)
    )

    assert early["task"]["latestCheckIn"] == {"id": late["checkIn"]["id"]}


async def test_a_guardian_checks_in_for_a_child(db: Database) -> None:
    child, tasks = await make_tasked(db, "medication")
    guardian = await make_member(db)
    await guard(db, child_id=child, guardian_id=guardian)
    from tests.tasks_at_work import CHECK_IN

    sent = {
        "requestId": str(uuid4()),
        "taskId": task_id(child, tasks["medication"]),
        "occurredAt": NOON.isoformat(),
    }
    context = as_member(db, guardian, acting_for=child)
    data = await execute(CHECK_IN, {"input": sent}, context=context)

    assert data["checkIn"]["task"]["state"] == "DONE"
    assert await rows(db, "select member_id, acted_by from checkins") == [(child, guardian)]


async def test_a_row_that_the_clock_has_not_made_yet_is_made_by_the_check_in(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    later = NOON + timedelta(days=3)

    done = await check_in(db, member, tasks["medication"], date(2026, 3, 5), now=later)

    assert done["task"]["state"] == "DONE"
    [row] = await rows(
        db, "select starts_on, ends_on, starts_at, due_at from tasks where state = 'DONE'"
    )
    assert row == (
        date(2026, 3, 5),
        date(2026, 3, 5),
        datetime(2026, 3, 4, 16, tzinfo=UTC),
        datetime(2026, 3, 5, 16, tzinfo=UTC),
    )


LONG_NOTE = "x" * 501
REFUSALS = {
    "in the future": ({"occurred_at": NOON + timedelta(minutes=6)}, "IN_FUTURE", "occurredAt"),
    "too old": (
        {"now": NOON + timedelta(days=31), "occurred_at": NOON},
        "TOO_OLD",
        "occurredAt",
    ),
    "before its period": (
        {"occurred_at": NOON - timedelta(days=1)},
        "TASK_NOT_DUE",
        "occurredAt",
    ),
    "after its period, without evidence": (
        {"now": NOON + timedelta(days=1), "occurred_at": NOON + timedelta(hours=13)},
        "EVIDENCE_MISSING",
        "evidence.photoKey",
    ),
    "long after its period": (
        {"now": NOON + timedelta(days=31)},
        "TASK_NOT_DUE",
        "occurredAt",
    ),
    "too small": ({"value": "0"}, "VALUE_OUT_OF_RANGE", "value"),
    "too large": ({"value": "100001"}, "VALUE_OUT_OF_RANGE", "value"),
    "negative": ({"value": "-1"}, "VALUE_OUT_OF_RANGE", "value"),
    "a long note": ({"note": LONG_NOTE}, "VALUE_OUT_OF_RANGE", "note"),
    "a note with NUL": ({"note": "a\0b"}, "VALUE_OUT_OF_RANGE", "note"),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_refuses_and_moves_nothing(db: Database, case: str) -> None:
    changes, code, field = REFUSALS[case]
    member, tasks = await make_tasked(db, "walk")
    before = await counts(db)

    answer = await check_in(db, member, tasks["walk"], **changes)

    assert (answer["__typename"], answer.get("code"), answer.get("field")) == (
        "UserError", code, field,
    )  # fmt: skip
    assert answer["message"]
    assert await counts(db) == before
    assert await rows(db, "select available, version from wallets") == [(0, 0)]


async def test_the_range_is_named(db: Database) -> None:
    member, tasks = await make_tasked(db, "walk")

    answer = await check_in(db, member, tasks["walk"], value="100001")

    assert answer["message"] == "The value must be from 1 to 100000 (steps)."


async def test_a_task_that_does_not_exist_and_one_of_somebody_else_look_the_same(
    db: Database,
) -> None:
    member, tasks = await make_tasked(db, "medication", "article")
    other, others = await make_tasked(db, "medication")
    before = await counts(db)

    unknown = await check_in(db, member, uuid4())
    foreign = await check_in(db, member, others["medication"])
    owned = await check_in(
        db, member, tasks["medication"], taskId=task_id(other, tasks["medication"])
    )
    no_task = await check_in(db, member, uuid4(), taskId=encode(Kind.MEMBER, member))
    nonsense = await check_in(db, member, uuid4(), taskId="???")
    before_start = await check_in(db, member, tasks["medication"], date(2026, 3, 1))
    no_period = await check_in(db, member, tasks["article"], date(2026, 3, 3))
    far = await check_in(db, member, tasks["article"], date.max)

    for answer in (unknown, foreign, owned, no_task, nonsense, before_start, no_period, far):
        assert (answer["code"], answer["field"]) == ("NOT_FOUND", "taskId")
        assert answer["message"] == unknown["message"]
    assert await counts(db) == before


@pytest.mark.parametrize("state", [None, "REFUSED", "WITHDRAWN"])
async def test_without_consent_nothing_is_counted(db: Database, state: str | None) -> None:
    member, tasks = await make_tasked(db, "medication", consents=False)
    if state is not None:
        async with db.transaction() as session:
            session.add(consent(member, "HEALTH_DATA", state))
    before = await counts(db)

    answer = await check_in(db, member, tasks["medication"])

    assert answer["code"] == "CONSENT_MISSING"
    assert await counts(db) == before


async def test_the_same_id_with_another_input_is_refused(db: Database) -> None:
    member, tasks = await make_tasked(db, "walk", "medication")
    request = uuid4()
    await check_in(db, member, tasks["walk"], request_id=request, value="10")
    before = await counts(db)

    for changes in (
        {"value": "11"},
        {"value": None},
        {"value": "10", "note": "n"},
        {"value": "10", "occurred_at": NOON - timedelta(seconds=1)},
        {"value": "10", "evidence": {"photoKey": "k"}},
    ):
        answer = await check_in(db, member, tasks["walk"], request_id=request, **changes)
        assert (answer["code"], answer["field"]) == ("REQUEST_REUSED", "requestId"), changes
    for task in (tasks["medication"], uuid4()):
        answer = await check_in(db, member, task, request_id=request, value="10")
        assert answer["code"] == "REQUEST_REUSED"
    assert await counts(db) == before


async def test_the_same_request_spelled_otherwise_is_the_same(db: Database) -> None:
    member, tasks = await make_tasked(db, "walk")
    request = uuid4()
    first = await check_in(db, member, tasks["walk"], request_id=request, value="10")

    again = await check_in(
        db,
        member,
        tasks["walk"],
        request_id=request,
        value=10,
        occurredAt="2026-03-02T12:00:00+08:00",
        now=NOON + timedelta(hours=1),
    )

    assert again["replayed"] is True
    assert again["checkIn"] == first["checkIn"]
    assert again["points"] == first["points"]


async def test_a_replay_shows_balances_of_now(db: Database) -> None:
    member, tasks = await make_tasked(db, "walk", "medication")
    request = uuid4()
    await check_in(db, member, tasks["walk"], request_id=request, value="10")
    await check_in(db, member, tasks["medication"])

    again = await check_in(db, member, tasks["walk"], request_id=request, value="10")

    assert (again["replayed"], again["points"]["available"]) == (True, 10)


async def test_task_with_another_verification_needs_evidence(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    async with db.transaction() as session:
        from sqlalchemy import text

        await session.execute(text("update task_assignments set verification = 'PHOTO'"))
    before = await counts(db)

    answer = await check_in(db, member, tasks["medication"])

    assert (answer["code"], answer["field"]) == ("EVIDENCE_MISSING", "evidence")
    assert await counts(db) == before


async def test_caps_leave_what_there_is_room_for(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", "stretch", "article")
    async with db.transaction() as session:
        from sqlalchemy import text

        await session.execute(
            text("update task_assignments set points_per_day_max = 15, points_per_month_max = 25")
        )

    one = await check_in(db, member, tasks["medication"])
    two = await check_in(db, member, tasks["stretch"])
    three = await check_in(db, member, tasks["article"])

    assert [done["checkIn"]["pointsAwarded"] for done in (one, two, three)] == [10, 5, 0]
    assert "limit" in three["checkIn"]["explanation"]
    assert three["task"]["state"] == "DONE"
    tomorrow = NOON + timedelta(days=1)
    four = await check_in(db, member, tasks["medication"], date(2026, 3, 3), now=tomorrow)
    five = await check_in(db, member, tasks["stretch"], date(2026, 3, 3), now=tomorrow)
    assert [done["checkIn"]["pointsAwarded"] for done in (four, five)] == [10, 0]
    assert Decimal(15 + 10) == (await earned(db, member))[0]
