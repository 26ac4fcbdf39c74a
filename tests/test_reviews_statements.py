"""The worklist reads the entries that are contested together."""

from app.db import Database, StatementCount
from tests.factories import as_staff, assign, execute, make_staff
from tests.reviewing import appeal
from tests.tasks_at_work import check_in, make_tasked
from tests.test_appeals import transfers

WORKLIST = """{ staff { worklist(first: 50) { edges { node { subject {
  ... on Review { entry { id amount } } } } } } } }"""


async def test_contested_entries_cost_one_statement_however_many(db: Database) -> None:
    staff = await make_staff(db)
    needed = []
    for more in (2, 5):
        for _ in range(more):
            member, tasks = await make_tasked(db, "medication")
            await assign(db, staff, member)
            await check_in(db, member, tasks["medication"])
            await appeal(db, member, (await transfers(db, member))[0][0])
        context = as_staff(db, staff)
        with StatementCount(db) as sent:
            found = await execute(WORKLIST, {}, context=context)
        needed.append(len(sent))
    subjects = [it["node"]["subject"] for it in found["staff"]["worklist"]["edges"]]
    assert [it["entry"]["amount"] for it in subjects] == [10] * 7
    assert needed[0] == needed[1]
