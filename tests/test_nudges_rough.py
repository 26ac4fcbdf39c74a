"""What goes wrong between planning and sending: one policy, wording, row or member that is odd keeps
nobody else waiting, and what was taken back meanwhile is not said."""

from datetime import timedelta
from typing import Any

import pytest

from app.config import Settings
from app.db import Database
from app.events import Events
from app.jobs import queue
from app.nudges import facts, jobs
from app.nudges.facts import Fact
from tests.factories import make_member
from tests.nudges import rows, run
from tests.nudging import EVENING, agree, arm_of, make_walker, plan, planned_of, policy

MINUTE = timedelta(minutes=1)


def context_of(db: Database, now: Any = EVENING) -> queue.JobContext:
    return queue.JobContext(db, lambda: now, Events("postgresql://unused"), None, Settings())


# Planning


async def test_a_run_whose_hour_has_been_moved_meanwhile_ends_and_the_others_go_on(
    db: Database,
) -> None:
    """It was cut short, and the next release of the program has another hour."""
    member = await make_walker(db)
    await plan(db, EVENING - timedelta(hours=1))
    await run(
        db,
        "INSERT INTO nudge_runs (source_id, planned_for, local_date, after, planned)"
        " VALUES (:id, :at, :day, gen_random_uuid(), 7)",
        id=policy("steps-short").id,
        at=EVENING - 7 * MINUTE,
        day=EVENING.date(),
    )
    assert await plan(db, EVENING) == 1
    assert [it[0] for it in await planned_of(db, "steps-short")] == [member]
    assert await rows(db, "SELECT count(*) FROM nudge_runs WHERE finished_at IS NULL") == [(0,)]


async def test_a_policy_that_cannot_be_planned_does_not_keep_the_others_waiting(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Fact(joins="", where="1 / (who.local_date - who.local_date) > 0")
    monkeypatch.setitem(facts.FACTS, "steps_below", broken)  # type: ignore[arg-type]
    while arm_of("welcome-claims-guide", member := await make_member(db, now=EVENING)) == "holdout":
        pass
    await agree(db, member, "DEVICE_DATA")

    await jobs.plan_policies(context_of(db), {})

    assert await planned_of(db, "steps-short") == []
    assert member in [it[0] for it in await planned_of(db, "welcome-claims-guide")]
    found = await rows(db, "SELECT DISTINCT source_id FROM nudge_runs WHERE finished_at IS NULL")
    assert found == [(policy("steps-short").id,)]
