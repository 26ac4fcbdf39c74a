"""Nobody reaches another member's data through any id.

Generated from the composed schema: every argument of type ID, inside inputs too, and `node`
for every type. A new one fails here until the tables below say what goes in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from graphql import parse, validate
from sqlalchemy import text

from app.db import Database
from app.graphql import executor, masking
from app.graphql import ids as global_ids
from app.graphql.context import ANONYMOUS, Context, Viewer
from app.graphql.documents import Operation
from app.graphql.ids import GlobalId, Kind, encode
from app.measurements import service as measurements
from app.premiums import service as premiums
from app.schema import NODE_FETCHERS, schema
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    contents,
    context,
    guard,
    make_member,
    make_message,
    make_staff,
)
from tests.schema_walk import Asker, IdArgument, id_arguments, node_types, objects, strings

SCHEMA = schema._schema

OWNED = {
    "CheckIn": Kind.CHECK_IN,
    "Consent": Kind.CONSENT,
    "HealthTask": Kind.TASK,
    "Installation": Kind.INSTALLATION,
    "Measurement": Kind.MEASUREMENT,
    "Member": Kind.MEMBER,
    "Message": Kind.MESSAGE,
    "NotificationPreferences": Kind.PREFERENCES,
    "Pause": Kind.PAUSE,
    "PointsAccount": Kind.POINTS_ACCOUNT,
    "PointsEntry": Kind.POINTS_ENTRY,
    "Policy": Kind.POLICY,
    "Reminder": Kind.REMINDER,
}
"""Types whose objects are a member's, and which that member gets by `node`."""
STAFF_ONLY = {"WorklistEvent": Kind.WORKLIST_EVENT, "WorklistItem": Kind.WORKLIST_ITEM}
"""Types about a member which only employees get."""
NOT_YET = {
    "Alert": Kind.ALERT,
    "Redemption": Kind.REDEMPTION,
    "Review": Kind.REVIEW,
    "RiskProfile": Kind.RISK_PROFILE,
}
"""Types of which there is no object yet, so that `node` knows none."""
NOBODYS = {"Staff"}
"""Types of colleagues, which belong to no member."""


@dataclass(frozen=True)
class Known:
    """What an argument takes, and who may send it with the id of a member's object."""

    types: tuple[str, ...]
    rightful: str = "owner"
    writes: frozenset[str] = frozenset()
    """Tables that get a row of the sender's own all the same."""


ANY = tuple({**OWNED, **STAFF_ONLY})
REQUESTS = frozenset({"requests"})
ARGUMENTS = {
    "Query.node(id)": Known(ANY, "manager"),
    "Query.member(id)": Known(("Member",), "manager"),
    "Staff.worklist(filter.memberId)": Known(("Member",), "manager"),
    "Mutation.checkIn(input.taskId)": Known(("HealthTask",)),
    "Mutation.resumeProgramme(input.pauseId)": Known(("Pause",)),
    "Mutation.setReminder(input.reminderId)": Known(("Reminder",)),
    "Mutation.deleteReminder(input.reminderId)": Known(("Reminder",)),
    # Skipped, not refused; the request of whoever sent it is remembered.
    "Mutation.recordEngagement(input.events.messageId)": Known(("Message",), "owner", REQUESTS),
    # Names what is nobody's, a reward or a campaign; of a member's object it says nothing.
    "Mutation.recordEngagement(input.events.offerId)": Known(ANY, "nobody", REQUESTS),
    "Mutation.openFollowUp(input.memberId)": Known(("Member",), "manager"),
    "Mutation.noteWorklistItem(input.itemId)": Known(("WorklistItem",), "manager"),
    "Mutation.snoozeWorklistItem(input.itemId)": Known(("WorklistItem",), "manager"),
    "Mutation.completeWorklistItem(input.itemId)": Known(("WorklistItem",), "manager"),
    "Mutation.handOverWorklistItem(input.itemId)": Known(("WorklistItem",), "manager"),
}
EMPLOYEES = {"Mutation.handOverWorklistItem(input.toStaffId)"}
"""Arguments that name a colleague, who is no member's."""
SUBSCRIPTIONS = {"memberEvents"}
"""Without arguments; `test_member_events.py` shows that they tell of `me` only."""

WAYS = {"Query": (), "Mutation": (), "Staff": (("Query", "staff"),)}
"""How to get from the root to the types whose fields take an id."""

MARK = "Xiulan-7193"
"""Part of every text that is written for the foreign member."""
LATER = (NOON + timedelta(days=1)).isoformat()
VALUES = {
    "Member.measurements.code": "SYSTOLIC_BP",
    "PauseProgrammeInput.startsOn": "2026-03-02",
    "OpenFollowUpInput.dueAt": LATER,
    "SetReminderInput.recurrence": "FREQ=DAILY",
    "SnoozeWorklistItemInput.until": LATER,
    "Query.members.search": MARK,
}
"""What makes a request valid but for the id, by argument or input field."""


@dataclass
class World:
    """Two members with everything, people around them, and ids of what is the foreign one's."""

    foreign: UUID
    ids: dict[str, str]
    viewers: dict[str, Context]
    """Who must not get any of it."""
    rightful: dict[str, Context]
    values: dict[str, Any] = field(default_factory=dict)


async def ask(
    way: tuple[tuple[str, str], ...],
    *,
    world_values: Mapping[str, Any] = VALUES,
    id_at: tuple[str, ...] = (),
    id: str = "",
    asked_by: Context,
    depth: int = 3,
) -> dict[str, Any]:
    """Data and errors, as the server answers."""
    asker = Asker(SCHEMA, world_values, depth)
    body, sent = asker.ask(way, id_at)
    document = _DOCUMENTS.get(body)
    if document is None:
        document = _DOCUMENTS[body] = parse(body)
        assert validate(SCHEMA, document) == []
    node: Any = document.definitions[0]
    values = asker.variables(way, sent, id_at, id)
    result = await executor.execute(
        schema,
        Operation(document, node, "Asked", trusted=False),
        variables=_with_request_id(values),
        context=_fresh(asked_by),
    )
    errors = masking.formatted(result.errors or (), correlation_id="test")
    return {"data": result.data, "codes": [error["extensions"]["code"] for error in errors]}


_DOCUMENTS: dict[str, Any] = {}


def _with_request_id(values: dict[str, Any]) -> dict[str, Any]:
    if "requestId" in values.get("input", {}):
        values["input"]["requestId"] = str(uuid4())
    return values


def _fresh(asked_by: Context) -> Context:
    """A context as a new request has it."""
    return context(asked_by.db, asked_by.viewer)


async def populate(db: Database, member_id: UUID, mark: str) -> dict[str, str]:
    """Give a member one of everything that can be made through the API and by the clock."""
    async with db.transaction() as session:
        await premiums.enrol(
            session,
            member_id=member_id,
            product_code="starter",
            starts_on=NOON.date(),
            now=NOON,
        )
        kept = await measurements.record(
            session,
            member_id=member_id,
            time_zone="Asia/Shanghai",
            readings=measurements.clinical(
                [("SYSTOLIC_BP", Decimal(128), "mm[Hg]")], at=NOON - timedelta(hours=1)
            ),
            now=NOON,
        )
        assert kept == 1
    await make_message(db, member_id, title=mark)
    me = as_member(db, member_id)
    values = {
        **VALUES,
        "CheckInInput.note": mark,
        "SetReminderInput.title": mark,
        "RegisterDeviceInput.installationId": str(uuid4()),
        "RegisterDeviceInput.pushToken": f"{mark}-token",
        "RegisterDeviceInput.locale": "en",
        "RegisterDeviceInput.timeZone": "Asia/Shanghai",
    }
    found: dict[str, str] = {}

    async def did(name: str, id_at: tuple[str, ...] = (), id: str = "") -> None:
        answer = await ask(
            (("Mutation", name),), world_values=values, id_at=id_at, id=id, asked_by=me
        )
        assert answer["codes"] == [], answer
        assert answer["data"][name]["__typename"].endswith("Payload"), answer
        _keep(found, answer)

    home = await ask((("Query", "me"),), world_values=values, asked_by=me)
    assert home["codes"] == [], home
    tasks = {
        task["HealthTask_title"]: task["HealthTask_id"]
        for task in home["data"]["me"]["Member_tasksToday"]
    }
    await did("checkIn", ("input", "taskId"), tasks["Move for 30 minutes after a meal"])
    for name in ("setReminder", "registerDevice", "pauseProgramme"):
        await did(name)
    home = await ask((("Query", "me"),), world_values=values, asked_by=me, depth=5)
    _keep(found, home)
    # The one that was not done yet, so that its owner could check in.
    found["HealthTask"] = tasks["Take today's medication"]
    return found


def _keep(found: dict[str, str], answer: Mapping[str, Any]) -> None:
    for type_name, id in objects(answer["data"]):
        found.setdefault(type_name, id)


@pytest.fixture
async def world(db: Database) -> World:
    foreign, stranger, guardian, child = [
        await make_member(db, display_name=name, login=name.lower(), phone=phone)
        for name, phone in (
            (MARK, "+86 139 7193 7193"),
            ("Stranger", None),
            ("Guardian", None),
            ("Child", None),
        )
    ]
    manager, elsewhere, former, colleague = [await make_staff(db) for _ in range(4)]
    await assign(db, manager, foreign, stranger)
    await assign(db, elsewhere, stranger)
    await assign(db, former, foreign)
    async with db.write() as connection:
        ended = "update care_assignments set ended_at = :now where staff_id = :former"
        await connection.execute(text(ended), {"now": NOON, "former": former})
    for member_id in (child, foreign):
        await guard(db, child_id=member_id, guardian_id=guardian)
    await populate(db, stranger, "Stranger")
    ids = await populate(db, foreign, MARK)
    values = {
        **VALUES,
        "OpenFollowUpInput.reason": MARK,
        "HandOverWorklistItemInput.toStaffId": encode(Kind.STAFF, colleague),
    }
    opened = await ask(
        (("Mutation", "openFollowUp"),),
        world_values=values,
        id_at=("input", "memberId"),
        id=ids["Member"],
        asked_by=as_staff(db, manager),
        depth=5,
    )
    _keep(ids, opened)
    both = Viewer(member_id=stranger, staff_id=elsewhere, roles=frozenset({"HEALTH_MANAGER"}))
    return World(
        foreign=foreign,
        ids=ids,
        viewers={
            "another member": as_member(db, stranger),
            "a guardian as themselves": as_member(db, guardian),
            "a guardian for another child": as_member(db, guardian, acting_for=child),
            "a manager of others": as_staff(db, elsewhere),
            "a manager of former times": as_staff(db, former),
            "a manager who is a member": context(db, both),
            "a campaign manager": as_staff(db, await make_staff(db), "CAMPAIGN_MANAGER"),
            "an actuary": as_staff(db, await make_staff(db), "ACTUARY"),
            "nobody": context(db, ANONYMOUS),
        },
        rightful={"owner": as_member(db, foreign), "manager": as_staff(db, manager)},
        values=values,
    )


def assert_nothing_of(foreign: UUID, answer: Mapping[str, Any], asked: str) -> None:
    for found in strings(answer["data"]):
        assert MARK not in found and foreign.hex not in found.replace("-", ""), (asked, answer)
        named = global_ids.parse(found)
        assert named is None or named.owner_id != foreign, (asked, answer)


def of_nobody(id: str) -> str:
    """An id of the same kind that names nothing."""
    named: GlobalId | None = global_ids.parse(id)
    assert named is not None
    return encode(named.kind, *(uuid4() if isinstance(it, UUID) else it for it in named.parts))


def made_up(foreign: UUID) -> dict[str, str]:
    """Ids that the foreign member's objects would have, of types without any."""
    single = (Kind.RISK_PROFILE,)
    return {
        name: encode(kind, foreign) if kind in single else encode(kind, foreign, uuid4())
        for name, kind in NOT_YET.items()
    }


# The tables above know the whole schema


def test_every_argument_that_takes_an_id_is_known() -> None:
    assert {str(argument) for argument in id_arguments(SCHEMA)} == ARGUMENTS.keys() | EMPLOYEES


def test_every_type_with_an_id_is_known() -> None:
    known = [OWNED, STAFF_ONLY, NOT_YET, dict.fromkeys(NOBODYS, Kind.STAFF)]
    assert node_types(SCHEMA) == set().union(*known)
    assert sum(map(len, known)) == len(node_types(SCHEMA))
    kinds = {kind for types in known for kind in types.values()}
    assert kinds == set(Kind)
    assert set(NODE_FETCHERS) == kinds - set(NOT_YET.values())


def test_every_subscription_is_known() -> None:
    assert set(SCHEMA.subscription_type.fields) == SUBSCRIPTIONS  # type: ignore[union-attr]
    assert not any(it.args for it in SCHEMA.subscription_type.fields.values())  # type: ignore[union-attr]


# No id of a foreign object leads to it


async def test_the_foreign_member_has_one_of_everything(world: World) -> None:
    assert set(world.ids) - NOBODYS == set(OWNED) | set(STAFF_ONLY)
    for name, id in world.ids.items():
        named = global_ids.parse(id)
        assert named is not None
        assert named.kind == {**OWNED, **STAFF_ONLY, "Staff": Kind.STAFF}[name]
        assert (named.owner_id == world.foreign) == (name not in NOBODYS)


@pytest.mark.parametrize("argument", list(id_arguments(SCHEMA)), ids=str)
async def test_a_foreign_id_gives_nothing_and_changes_nothing(
    db: Database, world: World, argument: IdArgument
) -> None:
    if str(argument) in EMPLOYEES:
        return
    known = ARGUMENTS[str(argument)]
    way = (*WAYS[argument.type], (argument.type, argument.field))
    every_id = {**world.ids, **made_up(world.foreign)}
    before = await contents(db)
    for who, asked_by in world.viewers.items():
        wanted: Iterable[str] = known.types
        if who in ("another member", "a manager who is a member"):
            wanted = set(every_id) - NOBODYS
        for name in wanted:
            answers = [
                await ask(
                    way, world_values=world.values, id_at=argument.path, id=id, asked_by=asked_by
                )
                for id in (every_id[name], of_nobody(every_id[name]))
            ]
            asked = f"{who}, {name}"
            # "Not yours" and "does not exist" look the same.
            assert answers[0] == answers[1], asked
            assert set(answers[0]["codes"]) <= {"UNAUTHENTICATED", "FORBIDDEN"}, (asked, answers)
            assert_nothing_of(world.foreign, answers[0], asked)
    after = await contents(db)
    assert {name for name in after if after[name] != before[name]} <= known.writes
    await it_works_for_whoever_may(world, argument, known, way)


async def it_works_for_whoever_may(
    world: World, argument: IdArgument, known: Known, way: tuple[tuple[str, str], ...]
) -> None:
    """Otherwise the refusals above would have had another reason."""
    if known.rightful == "nobody":
        return
    for name in known.types:
        answer = await ask(
            way,
            world_values=world.values,
            id_at=argument.path,
            id=world.ids[name],
            asked_by=world.rightful[known.rightful],
        )
        found = answer["data"]
        for _, step in way:
            assert found is not None, (name, answer)
            found = found[step]
        assert found is not None and found["__typename"] != "UserError", (name, answer)
        if argument.field == "recordEngagement":
            assert found["RecordEngagementPayload_accepted"] == 1
        named = [global_ids.parse(it) for it in strings(found)]
        assert any(it is not None and it.owner_id == world.foreign for it in named), answer


async def test_members_get_their_own_by_node_but_nothing_that_is_for_staff(world: World) -> None:
    me = world.rightful["owner"]
    for name, id in {**world.ids, **made_up(world.foreign)}.items():
        answer = await ask((("Query", "node"),), id_at=("id",), id=id, asked_by=me)
        found = answer["data"]["node"]
        if name in OWNED:
            assert answer["codes"] == []
            assert (found["__typename"], found[f"{name}_id"]) == (name, id)
        else:
            assert found is None, name


async def test_no_field_without_an_id_shows_a_foreign_member(world: World) -> None:
    with_id = {argument.field for argument in id_arguments(SCHEMA) if argument.type == "Query"}
    for name in set(Asker(SCHEMA).root("Query").fields) - with_id:
        for who, asked_by in world.viewers.items():
            answer = await ask(
                (("Query", name),), world_values=world.values, asked_by=asked_by, depth=4
            )
            assert set(answer["codes"]) <= {"UNAUTHENTICATED", "FORBIDDEN"}, (who, answer)
            assert_nothing_of(world.foreign, answer, f"{who}, {name}")
    found = await ask(
        (("Query", "members"),), world_values=world.values, asked_by=world.rightful["manager"]
    )
    assert MARK in strings(found["data"]), "the search finds whom one may see"
