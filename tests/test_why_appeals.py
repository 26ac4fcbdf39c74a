"""What `why` says of points that were refused and then given after all."""

from datetime import timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from app.db import Database
from app.graphql.ids import Kind, encode
from app.health_tasks import jobs
from app.points import service as points
from app.points.rules import Account, CauseKind, TransferKind, expiry
from tests.factories import NOON, as_member, execute
from tests.reviewing import appeal, balances, decide, verified_by
from tests.tasks_at_work import check_in, rows, task_id
from tests.test_appeals import make_refused
from tests.worklist import manager_of

WHY = "query ($id: ID!) { why(id: $id) { summary steps { kind detail } } }"


async def why(db: Database, member: UUID, id: str, **asked: Any) -> Any:
    found = await execute(WHY, {"id": id}, context=as_member(db, member, **asked))
    return found["why"]


async def test_points_that_an_appeal_restored_were_not_taken_back(db: Database) -> None:
    member, task, _, refused = await make_refused(db)
    colleague = await manager_of(db, member)
    sent = await appeal(db, member, refused)
    await decide(db, colleague, sent["review"]["id"])
    assert await balances(db, member) == (10, 0)

    [(done,)] = await rows(db, "select id from checkins")
    for id in (task_id(member, task), encode(Kind.CHECK_IN, member, done)):
        said = (await why(db, member, id))["summary"]
        assert "10 points" in said and "taken back" not in said


async def test_points_of_a_task_that_was_done_again_were_not_taken_back(db: Database) -> None:
    member, task, _, _ = await make_refused(db)
    await verified_by(db, member, "NONE")
    again = await check_in(db, member, task, now=NOON + timedelta(hours=1))
    assert await balances(db, member) == (10, 0)
    for id in (task_id(member, task), again["checkIn"]["id"]):
        said = (await why(db, member, id))["summary"]
        assert "10 points" in said and "taken back" not in said


async def test_points_that_were_taken_back_afterwards_are_named(db: Database) -> None:
    member, task, _, _ = await make_refused(db)
    await verified_by(db, member, "NONE")
    await check_in(db, member, task, now=NOON + timedelta(hours=1))
    [(paid,)] = await rows(
        db, "select id from points_transfers where credit = :to", to=Account.AVAILABLE
    )
    async with db.transaction() as session:
        await points.reverse(session, member_id=member, transfer_id=paid, now=NOON)
    said = (await why(db, member, task_id(member, task)))["summary"]
    assert "10 points were taken back" in said


@pytest.mark.parametrize(
    ("locale", "of_entry", "of_check_in"),
    [
        ("en", "You contested this entry.", "You contested this check-in."),
        ("zh-CN", "你对这笔积分提出了申诉。", "你对这次打卡提出了申诉。"),
    ],
)
async def test_an_appeal_says_what_it_is_about(
    db: Database, locale: str, of_entry: str, of_check_in: str
) -> None:
    member, task, _, refused = await make_refused(db)
    await appeal(db, member, refused)
    other, its, _, _ = await make_refused(db)
    async with db.write() as connection:
        # Of a check-in that no points were given for.
        await connection.exec_driver_sql("update reviews set subject_id = check_in_id")
    found = await why(db, member, task_id(member, task), locale=locale)
    assert of_check_in in str(found) and of_entry not in str(found)
    assert of_check_in not in str(await why(db, other, task_id(other, its), locale=locale))


async def test_points_that_were_given_for_a_missed_task_are_named(db: Database) -> None:
    member, task, _, refused = await make_refused(db)
    tomorrow = NOON + timedelta(days=1, hours=12)
    await jobs.close_periods(db, now=tomorrow)
    said = (await why(db, member, task_id(member, task), now=tomorrow))["summary"]
    assert "so there are no points" in said
    async with db.transaction() as session:
        await points.earn(
            session,
            member_id=member,
            amount=7,
            cause=points.Cause(CauseKind.TRANSFER, refused, f"correction:{refused}"),
            rule=points.Rule(None, "medication"),
            local_date=NOON.date(),
            expires=expiry(NOON.date(), 12, ZoneInfo("Asia/Shanghai")),
            now=tomorrow,
            kind=TransferKind.ADJUSTED,
            corrects=refused,
        )
    said = (await why(db, member, task_id(member, task), now=tomorrow))["summary"]
    assert "7 points were given after all" in said
