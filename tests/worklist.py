"""What the tests of the worklist share."""

from datetime import timedelta
from uuid import UUID, uuid4

from graphql import parse, print_ast
from graphql.utilities import separate_operations
from sqlalchemy import text

from app.db import Database
from app.graphql.ids import Kind, encode
from app.ids import new_id
from app.worklist.models import WorklistItem
from tests.factories import NOON, as_staff, assign, counts, execute, make_staff, operation

WORKLIST = operation("Worklist", "console")
_FOLLOW_UPS = operation("FollowUps", "console")


def document(name: str) -> str:
    """One operation of FollowUps.graphql with its fragments."""
    return print_ast(separate_operations(parse(_FOLLOW_UPS))[name])


async def send(db: Database, staff: UUID, name: str, *, roles=(), now=NOON, request=None, **values):
    variables = {"input": {"requestId": str(request or uuid4()), **values}}
    context = as_staff(db, staff, *roles, now=now)
    data = await execute(document(name), variables, context=context)
    return data[name[0].lower() + name[1:]]


async def open_follow_up(db: Database, staff: UUID, member: UUID, **values):
    defaults = {"reason": "Call back", "dueAt": (NOON + timedelta(days=1)).isoformat()}
    return await send(
        db,
        staff,
        "OpenFollowUp",
        memberId=encode(Kind.MEMBER, member),
        **{**defaults, **values},
    )


async def worklist(db: Database, staff: UUID, *roles: str, now=NOON, **variables):
    context = as_staff(db, staff, *roles, now=now)
    data = await execute(WORKLIST, variables, context=context)
    return data["staff"]["worklist"]


def ids(page) -> list[str]:
    return [edge["node"]["id"] for edge in page["edges"]]


def kinds(item) -> list[str]:
    return [edge["node"]["kind"] for edge in item["events"]["edges"]]


async def make_item(db: Database, member: UUID, **values) -> str:
    """An item as a domain opens it."""
    id = new_id(NOON)
    defaults = {
        "kind": "EXAMINATION_DUE",
        "reason_zh": "该体检了",
        "reason_en": "Examination due",
        "priority": 50,
        "due_at": NOON + timedelta(days=1),
        "opened_at": NOON,
        "cause_key": f"test:{id}",
    }
    async with db.transaction() as session:
        session.add(WorklistItem(member_id=member, id=id, **{**defaults, **values}))
    return encode(Kind.WORKLIST_ITEM, member, id)


async def manager_of(db: Database, *members: UUID, **values) -> UUID:
    staff = await make_staff(db, **values)
    await assign(db, staff, *members)
    return staff


async def audited(db: Database) -> list[UUID]:
    async with db.read() as connection:
        rows = await connection.execute(text("select member_id from audit_reads"))
        return sorted(rows.scalars())


ACTIONS = {
    "NoteWorklistItem": {"note": "Called"},
    "SnoozeWorklistItem": {"until": (NOON + timedelta(days=1)).isoformat()},
    "CompleteWorklistItem": {},
    "HandOverWorklistItem": {"toStaffId": "colleague"},
}


async def act(db: Database, staff: UUID, name: str, item: str, *, roles=(), request=None, to=None):
    values = dict(ACTIONS[name])
    if "toStaffId" in values:
        values["toStaffId"] = encode(Kind.STAFF, to or await make_staff(db))
    return await send(db, staff, name, roles=roles, request=request, itemId=item, **values)


async def moved(db: Database, before: dict[str, int]) -> dict[str, int]:
    """How many rows each table has more."""
    after = await counts(db)
    return {name: after[name] - count for name, count in before.items() if after[name] != count}
