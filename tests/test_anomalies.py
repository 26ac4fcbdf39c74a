"""Evidence and anomalies at work: what is refused, what waits, and what is kept of it."""

import asyncio
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.checkins.models import Photo
from app.db import Database, StatementCount
from app.health_tasks import jobs
from tests.factories import NOON, as_member, consent, contents, execute, guard, make_member
from tests.reviewing import assert_sound, balances, decide, review_of, verified_by
from tests.tasks_at_work import CHECK_IN, about_noon, check_in, make_tasked, rows, task_id
from tests.worklist import manager_of

CENTRE = {"latitude": "31.2304", "longitude": "121.4737", "accuracyMetres": "15"}
TUESDAY = date(2026, 3, 3)


async def make_photo(db: Database, member_id: UUID, *, seen_before: bool = False) -> str:
    """The key of a photo as an upload leaves it."""
    id = uuid4()
    async with db.transaction() as session:
        session.add(
            Photo(
                member_id=member_id,
                id=id,
                media_type="image/png",
                width=16,
                height=12,
                size_bytes=100,
                sha256=id.bytes * 2,
                seen_before=seen_before,
                uploaded_at=NOON,
            )
        )
    return id.hex


async def made_place(db: Database, member: UUID, *, granted: bool = True) -> None:
    """The lecture as its second version asks for it, and the consent to the place."""
    await verified_by(db, member, "PLACE", template_version=2)
    if granted:
        async with db.transaction() as session:
            session.add(consent(member, "LOCATION", "GRANTED"))


def outcome(answer: dict[str, Any]) -> tuple[str, ...]:
    if answer["__typename"] == "UserError":
        return answer["code"], answer["field"]
    return answer["checkIn"]["state"], answer["task"]["state"]


async def findings(db: Database) -> list[list[str]]:
    return [row[0] for row in await rows(db, "select findings from reviews order by id")]


async def untouched(db: Database, before: dict[str, list[str]]) -> bool:
    return await contents(db) == before


# Device and face


@pytest.mark.parametrize("verification", ["DEVICE", "FACE"])
async def test_there_is_nothing_to_tick(db: Database, verification: str) -> None:
    member, tasks = await make_tasked(db, "medication")
    await verified_by(db, member, verification)
    photo = await make_photo(db, member)
    before = await contents(db)
    for evidence in (None, {"photoKey": photo}, {"location": CENTRE}):
        answer = await check_in(db, member, tasks["medication"], evidence=evidence)
        assert outcome(answer) == ("EVIDENCE_MISSING", "evidence")
    assert await untouched(db, before)


# Photo


async def test_a_photo_completes_a_photo_task_at_once(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    await verified_by(db, member, "PHOTO")
    photo = await make_photo(db, member)

    with StatementCount(db) as sent:
        done = await check_in(db, member, tasks["medication"], evidence={"photoKey": photo})

    assert len(sent) == 2
    assert outcome(done) == ("ACCEPTED", "DONE")
    assert await balances(db, member) == (10, 0)
    [kept] = await rows(db, "select photo_id, latitude, installation_id from check_in_evidence")
    assert tuple(kept) == (UUID(photo), None, None)
    [used] = await rows(db, "select p.check_in_id = c.id from photos p, checkins c")
    assert tuple(used) == (True,)


async def test_without_a_photo_of_ones_own_nothing_counts(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    await verified_by(db, member, "PHOTO")
    theirs = await make_photo(db, await make_member(db))
    before = await contents(db)
    assert outcome(await check_in(db, member, tasks["medication"])) == (
        "EVIDENCE_MISSING", "evidence",
    )  # fmt: skip
    for key in (theirs, uuid4().hex, "", "../../etc/passwd", theirs.upper(), f"{{{theirs}}}"):
        answer = await check_in(db, member, tasks["medication"], evidence={"photoKey": key})
        assert outcome(answer) == ("NOT_FOUND", "evidence.photoKey"), key
    await verified_by(db, member, "NONE")
    answer = await check_in(db, member, tasks["medication"], evidence={"photoKey": theirs})
    assert outcome(answer) == ("NOT_FOUND", "evidence.photoKey")
    await verified_by(db, member, "PHOTO")
    assert {name for name, found in (await contents(db)).items() if found != before[name]} <= {
        "task_assignments"
    }


async def test_the_same_photo_twice_waits(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", "article")
    await verified_by(db, member, "PHOTO")
    photo = await make_photo(db, member)
    first = await check_in(db, member, tasks["medication"], evidence={"photoKey": photo})
    again = await check_in(db, member, tasks["article"], evidence={"photoKey": photo})

    assert (outcome(first), outcome(again)) == (("ACCEPTED", "DONE"), ("IN_REVIEW", "IN_REVIEW"))
    assert again["checkIn"]["explanation"] == (
        "Being looked at: the same photo was sent before. 10 points are pending."
    )
    assert await findings(db) == [["SAME_PHOTO"]]
    [first_use] = await rows(
        db, "select c.assignment_id from photos p join checkins c on c.id = p.check_in_id"
    )
    assert tuple(first_use) == (tasks["medication"],)


async def test_a_picture_that_somebody_sent_before_waits(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    await verified_by(db, member, "PHOTO")
    photo = await make_photo(db, member, seen_before=True)
    done = await check_in(db, member, tasks["medication"], evidence={"photoKey": photo})
    assert outcome(done) == ("IN_REVIEW", "IN_REVIEW")
    assert await balances(db, member) == (0, 10)


async def test_one_photo_in_two_check_ins_at_once_is_noticed(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", "article", "stretch", "exercise")
    await verified_by(db, member, "PHOTO")
    photo = await make_photo(db, member)
    sent = [check_in(db, member, it, evidence={"photoKey": photo}) for it in tasks.values()]
    answers = [outcome(it)[0] for it in await asyncio.gather(*sent)]
    assert sorted(answers) == ["ACCEPTED", "IN_REVIEW", "IN_REVIEW", "IN_REVIEW"]
    await assert_sound(db)


# Place


async def test_a_place_within_the_fence_is_kept_coarse(db: Database) -> None:
    member, tasks = await make_tasked(db, "lecture")
    await made_place(db, member)

    with StatementCount(db) as sent:
        done = await check_in(db, member, tasks["lecture"], evidence={"location": CENTRE})

    assert len(sent) == 2
    assert outcome(done) == ("ACCEPTED", "DONE")
    [kept] = await rows(db, "select latitude, longitude, place_code from check_in_evidence")
    assert tuple(kept) == (Decimal("31.23"), Decimal("121.47"), "shanghai-health-centre")
    written = await contents(db, "checkins", "check_in_evidence", "requests", "tasks")
    everything = " ".join(row for found in written.values() for row in found)
    assert "31.2304" not in everything and "121.4737" not in everything


PLACES = {
    "none": (None, "EVIDENCE_MISSING", "evidence"),
    "far away": ({**CENTRE, "latitude": "31.3"}, "EVIDENCE_MISSING", "evidence.location"),
    "too coarse": ({**CENTRE, "accuracyMetres": "2001"}, "EVIDENCE_MISSING", "evidence.location"),
    "no place on earth": ({**CENTRE, "latitude": "91"}, "VALUE_OUT_OF_RANGE", "evidence.location"),
    "no accuracy": ({**CENTRE, "accuracyMetres": "-1"}, "VALUE_OUT_OF_RANGE", "evidence.location"),
}


@pytest.mark.parametrize("case", PLACES)
async def test_other_places_count_for_nothing(db: Database, case: str) -> None:
    place, code, field = PLACES[case]
    member, tasks = await make_tasked(db, "lecture")
    await made_place(db, member)
    before = await contents(db)
    evidence = {"location": place} if place else None
    answer = await check_in(db, member, tasks["lecture"], evidence=evidence)
    assert outcome(answer) == (code, field)
    assert await untouched(db, before)


@pytest.mark.parametrize("state", [None, "REFUSED", "WITHDRAWN"])
async def test_a_place_needs_its_own_consent(db: Database, state: str | None) -> None:
    member, tasks = await make_tasked(db, "lecture")
    await made_place(db, member, granted=state == "WITHDRAWN")
    if state is not None:
        version = 2 if state == "WITHDRAWN" else 1
        async with db.transaction() as session:
            session.add(consent(member, "LOCATION", state, version=version))
    before = await contents(db)
    answer = await check_in(db, member, tasks["lecture"], evidence={"location": CENTRE})
    assert outcome(answer) == ("CONSENT_MISSING", "evidence.location")
    assert await untouched(db, before)


async def test_a_place_at_the_edge_waits(db: Database) -> None:
    member, tasks = await make_tasked(db, "lecture")
    await made_place(db, member)
    edge = {**CENTRE, "latitude": "31.2454", "accuracyMetres": "500"}  # 1,668 m away
    done = await check_in(db, member, tasks["lecture"], evidence={"location": edge})
    assert outcome(done) == ("IN_REVIEW", "IN_REVIEW")
    assert await findings(db) == [["PLACE_UNSURE"]]


async def test_a_place_that_no_task_asks_for_is_not_kept(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    await check_in(db, member, tasks["medication"], evidence={"location": CENTRE})
    assert await rows(db, "select 1 from check_in_evidence") == []


# Devices


async def test_one_device_of_two_members_is_noticed(db: Database) -> None:
    one, tasks = await make_tasked(db, "medication", "article")
    other, others = await make_tasked(db, "medication", "article")
    device = str(uuid4())

    with StatementCount(db) as sent:
        first = await check_in(db, one, tasks["medication"], installationId=device)
    assert (outcome(first)[0], len(sent)) == ("ACCEPTED", 2)
    second = await check_in(db, other, others["medication"], installationId=device)
    third = await check_in(db, one, tasks["article"], installationId=device)
    without = await check_in(db, other, others["article"])

    assert [outcome(it)[0] for it in (second, third, without)] == [
        "IN_REVIEW", "ACCEPTED", "ACCEPTED",
    ]  # fmt: skip
    assert await findings(db) == [["SHARED_DEVICE"]]
    assert second["checkIn"]["pointsAwarded"] == 10
    assert await balances(db, other) == (10, 10)
    [kept] = await rows(db, "select member_id, installation_id from check_in_evidence")
    assert tuple(kept) == (other, UUID(device))


async def test_a_guardian_may_use_their_own_phone_for_a_child(db: Database) -> None:
    guardian, tasks = await make_tasked(db, "medication")
    child, of_child = await make_tasked(db, "medication")
    await guard(db, child_id=child, guardian_id=guardian)
    device = str(uuid4())
    await check_in(db, guardian, tasks["medication"], installationId=device)
    sent = {
        "requestId": str(uuid4()),
        "taskId": task_id(child, of_child["medication"]),
        "occurredAt": NOON.isoformat(),
        "installationId": device,
    }
    context = as_member(db, guardian, acting_for=child)
    data = await execute(CHECK_IN, {"input": sent}, context=context)
    assert outcome(data["checkIn"])[0] == "ACCEPTED"


async def test_a_device_passes_on_when_its_owner_is_not_seen_any_more(db: Database) -> None:
    one, tasks = await make_tasked(db, "medication")
    other, others = await make_tasked(db, "medication")
    device = str(uuid4())

    async def by(member: UUID, assignment: UUID, days: int) -> str:
        at = about_noon(days)
        answer = await check_in(
            db, member, assignment, date(2026, 3, 2) + timedelta(days=days), now=at,
            installationId=device,
        )  # fmt: skip
        return outcome(answer)[0]

    assert await by(one, tasks["medication"], 0) == "ACCEPTED"
    assert await by(one, tasks["medication"], 20) == "ACCEPTED"  # seen again
    assert await by(other, others["medication"], 49) == "IN_REVIEW"
    assert await by(other, others["medication"], 51) == "ACCEPTED"
    assert await by(one, tasks["medication"], 52) == "IN_REVIEW"


# Rates and cadences


async def test_more_than_anybody_walks_waits_and_nothing_is_lost(db: Database) -> None:
    member, tasks = await make_tasked(db, "walk")
    early = NOON - timedelta(hours=11, minutes=50)  # ten past midnight
    done = await check_in(db, member, tasks["walk"], value="9000", now=early)
    assert outcome(done) == ("IN_REVIEW", "IN_REVIEW")
    assert done["checkIn"]["explanation"].startswith("Being looked at: it is more than can be")
    assert await balances(db, member) == (0, 10)
    manager = await manager_of(db, member)
    await decide(db, manager, await review_of(db, member))
    assert await balances(db, member) == (10, 0)


async def test_a_machine_that_ticks_every_day_is_noticed_on_the_tenth(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    states = []
    for day in range(12):
        at = NOON + timedelta(days=day)
        done = await check_in(
            db, member, tasks["medication"], date(2026, 3, 2) + timedelta(days=day), now=at
        )
        states.append(outcome(done)[0])
    assert states == ["ACCEPTED"] * 9 + ["IN_REVIEW"] * 3
    assert await findings(db) == [["IDENTICAL_CADENCE"]] * 3
    assert await balances(db, member) == (90, 30)
    await assert_sound(db)


# Done after the period


async def test_what_was_done_late_goes_to_review_with_a_photo(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    manager = await manager_of(db, member)
    tuesday = about_noon(1)
    await jobs.close_periods(db, now=tuesday)
    photo = await make_photo(db, member)
    bare = await check_in(db, member, tasks["medication"], now=tuesday)
    assert outcome(bare) == ("EVIDENCE_MISSING", "evidence.photoKey")

    done = await check_in(
        db, member, tasks["medication"], now=tuesday, evidence={"photoKey": photo}
    )
    assert outcome(done) == ("IN_REVIEW", "IN_REVIEW")
    assert done["checkIn"]["localDate"] == TUESDAY
    assert await findings(db) == [["LATE"]]
    # The day's own task is another one.
    own = await check_in(
        db, member, tasks["medication"], TUESDAY, now=tuesday + timedelta(minutes=1)
    )
    assert outcome(own) == ("ACCEPTED", "DONE")
    assert await balances(db, member) == (10, 10)

    await decide(db, manager, await review_of(db, member), now=tuesday)

    assert await balances(db, member) == (20, 0)
    [late] = await rows(
        db, "select state, participated, closed_at is not null from tasks where starts_on = '2026-03-02'"
    )  # fmt: skip
    assert tuple(late) == ("DONE", True, True)
    await assert_sound(db)


@pytest.mark.parametrize(
    ("code", "days", "answer"),
    [
        ("medication", 30, ("IN_REVIEW", "IN_REVIEW")),
        ("medication", 31, ("TASK_NOT_DUE", "occurredAt")),
        ("streak-week", 30, ("TASK_NOT_DUE", "occurredAt")),
        ("smoke-free", 30, ("TASK_NOT_DUE", "occurredAt")),
    ],
)
async def test_how_late_is_too_late(
    db: Database, code: str, days: int, answer: tuple[str, str]
) -> None:
    member, tasks = await make_tasked(db, code)
    photo = await make_photo(db, member)
    at: datetime = NOON + timedelta(days=days)
    done = await check_in(db, member, tasks[code], now=at, evidence={"photoKey": photo})
    assert outcome(done) == answer


@pytest.mark.parametrize("state", ["DONE", "IN_REVIEW"])
async def test_what_is_complete_cannot_be_completed_late(db: Database, state: str) -> None:
    member, tasks = await make_tasked(db, "medication")
    photo = await make_photo(db, member)
    if state == "IN_REVIEW":
        await verified_by(db, member, "STAFF")
    await check_in(db, member, tasks["medication"])
    late = await check_in(
        db, member, tasks["medication"], now=about_noon(1), evidence={"photoKey": photo}
    )
    assert outcome(late) == ("TASK_NOT_DUE", "occurredAt")


# Once


async def test_reviewed_check_ins_sent_at_once_open_one_review(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    await verified_by(db, member, "STAFF")
    request = uuid4()
    answers = await asyncio.gather(
        *(check_in(db, member, tasks["medication"], request_id=request) for _ in range(8))
    )
    assert sorted(it["replayed"] for it in answers) == [False] + [True] * 7
    for table in ("reviews", "review_events", "worklist_items", "worklist_events", "checkins"):
        assert await rows(db, f"select count(*) from {table}") == [(1,)]
    assert await balances(db, member) == (0, 10)


async def test_reviews_are_opened_in_the_same_statement_or_not_at_all(
    db: Database, owner_url: str
) -> None:
    member, tasks = await make_tasked(db, "medication")
    await verified_by(db, member, "STAFF")
    owner = Database.open(owner_url)
    async with owner.write() as connection:
        await connection.execute(text("alter table worklist_items add check (kind <> 'REVIEW')"))
    await owner.close()
    before = await contents(db)
    from app.schema import schema

    sent = {
        "requestId": str(uuid4()),
        "taskId": task_id(member, tasks["medication"]),
        "occurredAt": NOON.isoformat(),
    }
    result = await schema.execute(CHECK_IN, {"input": sent}, context_value=as_member(db, member))
    assert result.errors
    assert await untouched(db, before)
