"""What a nudge policy did to health: its lift against the members whom it never tells."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.db import Database, StatementCount
from app.nudges.policies import HOLDOUT
from tests.campaigns import check_in
from tests.factories import NOON, as_member, as_staff, execute, make_member, make_staff, operation
from tests.nudges import run
from tests.nudging import EVENING, LONG_AGO, agree, arm_of, plan, policy, release
from tests.tasks_at_work import give_tasks

CODE = "steps-short"
DAY = timedelta(days=1)
DOCUMENTS = operation("Nudges", "console")
DOCUMENT = (
    "query NudgeReport"
    + DOCUMENTS.split("query NudgeReport")[1].split("\nmutation")[0]
    + "fragment LiftOfNudge"
    + DOCUMENTS.split("fragment LiftOfNudge")[1]
)
READING = """
insert into measurements (member_id, id, code, value, unit, sent_value, sent_unit, measured_at,
  local_date, recorded_at, method, source_id, trust)
values (:m, :id, :code, :value, 'mm[Hg]', '', '', :at, :day, :at, 'SELF_REPORTED', 'x', 'LOW')"""


async def make_drawn(db: Database, arm: str, count: int) -> list[UUID]:
    """Members whom the policy concerns this evening, and who are drawn for this arm."""
    found: list[UUID] = []
    while len(found) < count:
        member = await make_member(db, now=LONG_AGO)
        if arm_of(CODE, member) == arm:
            await agree(db, member, "DEVICE_DATA")
            await give_tasks(db, member, "walk 2")
            found.append(member)
    return found


async def measure(db: Database, member: UUID, systolic: int, at: datetime) -> None:
    values = {"m": member, "at": at, "day": at.date()}
    for code, value in (("SYSTOLIC_BP", systolic), ("DIASTOLIC_BP", 70)):
        await run(db, READING, id=uuid4(), code=code, value=value, **values)


async def ask(db: Database, role: str = "ACTUARY", **values: Any) -> Any:
    context = as_staff(db, await make_staff(db), role, now=EVENING + 20 * DAY)
    return (await execute(DOCUMENT, {"code": CODE, **values}, context=context))["nudgeReport"]


def counts(found: Any, arm: str) -> tuple[int, int, dict[str, int]]:
    (it,) = [it for it in found["arms"] if it["key"] == arm]
    return it["assigned"], it["told"], {one["metric"]: one["count"] for one in it["outcomes"]}


async def test_members_count_once_in_their_arm_with_what_they_did_after_the_draw(
    db: Database,
) -> None:
    number = await make_drawn(db, "number", 3)
    held = await make_drawn(db, HOLDOUT, 2)
    assert await plan(db, EVENING) == 5 and await release(db, EVENING) == 3
    assert await plan(db, EVENING + DAY) in (0, 5)  # another evening changes nobody's place
    await check_in(db, number[0], at=EVENING + DAY)
    await check_in(db, held[0], at=EVENING + 14 * DAY)
    await check_in(db, number[1], at=EVENING - DAY)  # before it was drawn
    await check_in(db, held[1], at=EVENING + 15 * DAY)  # too late
    await measure(db, number[1], 150, EVENING + DAY)
    await measure(db, held[1], 120, EVENING + DAY)
    await measure(db, number[2], 120, EVENING - DAY)
    found = await ask(db)
    assert [it["key"] for it in found["arms"]] == ["number", "walk", HOLDOUT]
    expected = {"CHECK_INS": 1, "READINGS": 1, "READINGS_IN_RANGE": 0}
    assert counts(found, "number") == (3, 3, expected)
    expected = {"CHECK_INS": 1, "READINGS": 1, "READINGS_IN_RANGE": 1}
    assert counts(found, HOLDOUT) == (2, 0, expected)
    assert counts(found, "walk")[:2] == (0, 0)
    assert [it["key"] for it in found["armLift"]] == ["number", "walk"]
    assert found["armLift"][1]["lift"] == []  # nobody there
    by_metric = {it["metric"]: it["difference"] for it in found["lift"]}
    assert by_metric == {
        "CHECK_INS": "-16.67",
        "READINGS": "-16.67",
        "READINGS_IN_RANGE": "-50",
    }


async def test_who_was_drawn_before_the_time_is_no_draw_of_it(db: Database) -> None:
    await make_drawn(db, "walk", 1)
    await plan(db, EVENING)
    # The next occasion, in whatever arm.
    await run(
        db,
        """insert into planned_messages select member_id, :prefix || '2099-01-01', :source, 'walk',
             0.45, 'RELEASED', local_date, send_at, expires_at, :later from planned_messages""",
        prefix=f"nudge:{CODE}:",
        source=policy(CODE).id,
        later=EVENING + 2 * DAY,
    )
    later = (EVENING + DAY).isoformat()
    assert counts(await ask(db), "walk")[0] == 1
    assert counts(await ask(db, since=later), "walk")[0] == 0
    before = (EVENING - DAY).isoformat()
    assert counts(await ask(db, since=before, until=EVENING.isoformat()), "walk")[0] == 0


async def test_a_planted_effect_is_found_and_none_where_there_is_none(db: Database) -> None:
    told, held = await make_drawn(db, "walk", 24), await make_drawn(db, HOLDOUT, 24)
    await plan(db, EVENING)
    for member in told:
        await check_in(db, member, at=EVENING + DAY)
    for member in (*told[:6], *held[:6]):
        await measure(db, member, 120, EVENING + DAY)
    found = await ask(db)
    lift = {it["metric"]: it for it in found["lift"]}
    assert lift["CHECK_INS"]["isFound"] and float(lift["CHECK_INS"]["low"]) > 0
    for metric in ("READINGS", "READINGS_IN_RANGE"):
        assert not lift[metric]["isFound"] and lift[metric]["difference"] == "0"
    # Half of them are held out, where a tenth should be.
    assert found["sampleRatio"]["alarm"]


async def test_it_is_one_statement_for_staff_of_a_known_policy_and_a_time(db: Database) -> None:
    members = await make_drawn(db, "walk", 2)
    await plan(db, EVENING)
    context = as_staff(db, await make_staff(db), "ADMIN", now=EVENING)
    with StatementCount(db) as statements:
        await execute(DOCUMENT, {"code": CODE}, context=context)
    assert len(statements) == 2  # with how they are to be joined
    assert await ask(db, code="nonsense") is None
    at = NOON.isoformat()
    for since, until in ((at, at), (at, (NOON + 93 * DAY).isoformat())):
        with pytest.raises(AssertionError, match="92 days"):
            await ask(db, since=since, until=until)
    with pytest.raises(AssertionError, match="role does not allow"):
        await execute(DOCUMENT, {"code": CODE}, context=as_member(db, members[0]))
