"""The bulk loader: what it loads is sound, and the product takes it for its own."""

import pytest
from sqlalchemy import text

from app.db import Database
from app.demo import bulk
from app.graphql.ids import Kind, encode
from app.points.verify import verify
from app.premiums.catalogue import ProductUnknown
from tests.factories import ISSUER, NOON, as_member, counts, execute, operation


async def load(db: Database, members: int, days: int = 12) -> list[bulk.BulkMember]:
    return await bulk.load(db, members=members, days=days, issuer=ISSUER, now=NOON)


async def test_the_ledger_verifies(db: Database) -> None:
    members = await load(db, 7)

    *_, report = [report async for report in verify(db, roots_path=None)]

    assert (report.done, report.first_bad) == (True, None)
    assert (report.members, report.transfers) == (7, 7 * 12 * 2)
    assert len({member.member_id for member in members}) == 7


async def test_nothing_of_the_pattern_remains(db: Database) -> None:
    await load(db, 3, days=0)

    rows = await counts(db)

    assert rows["members"] == rows["wallets"] == rows["policies"] == 3
    assert rows["task_assignments"] == rows["tasks"] == 33
    assert rows["checkins"] == rows["points_transfers"] == 0


async def test_a_member_sees_home_and_history(db: Database) -> None:
    [member] = await load(db, 1)
    context = as_member(db, member.member_id)

    home = (await execute(operation("Home"), context=context))["me"]
    history = (await execute(operation("PointsHistory"), context=context))["me"]["points"]

    assert len(home["tasksToday"]) == 11
    assert sum(task["latestCheckIn"] is not None for task in home["tasksToday"]) > 0
    assert home["points"]["available"] == history["available"] == 12 * 10
    assert home["unreadCount"] == 2
    assert home["nextReminder"]["title"] == "服药"
    assert home["premium"]["adjustmentPercent"] == "0"
    assert len(history["entries"]["edges"]) == 24
    assert history["entries"]["edges"][0]["node"]["balanceAfter"] == 120


async def test_every_tick_pays_and_the_ledger_still_verifies(db: Database) -> None:
    [member] = await load(db, 1)
    assert len(member.ticks) >= 3
    earned = 0

    for number, (assignment_id, starts_on) in enumerate(member.ticks):
        answer = await execute(
            operation("CheckIn"),
            {
                "input": {
                    "requestId": f"00000000-0000-4000-8000-{number:012}",
                    "taskId": encode(Kind.TASK, member.member_id, assignment_id, starts_on),
                    "occurredAt": NOON.isoformat(),
                }
            },
            context=as_member(db, member.member_id),
        )
        assert answer["checkIn"]["task"]["state"] == "DONE", answer
        earned += answer["checkIn"]["checkIn"]["pointsAwarded"]

    *_, report = [report async for report in verify(db, roots_path=None)]
    assert earned > 0 and report.first_bad is None
    assert report.transfers == 24 + len(member.ticks)


async def test_all_or_nothing(db: Database, owner_url: str) -> None:
    await load(db, 1)
    before = await counts(db)

    with pytest.raises(Exception, match="member_sign_ins"):
        await load(db, 2)  # The same names again.

    assert await counts(db) == before


async def test_without_a_product_it_says_so(db: Database, owner_url: str) -> None:
    owner = Database.open(owner_url)
    async with owner.write() as connection:
        await connection.execute(text("delete from product_versions"))
    await owner.close()

    with pytest.raises(ProductUnknown):
        await load(db, 1)
