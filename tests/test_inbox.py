"""The inbox, and what happened to its messages, on a real database."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlmodel import select

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode, parse
from app.nudges.models import Engagement
from app.schema import schema
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    contents,
    execute,
    make_member,
    make_message,
    make_staff,
    operation,
)

INBOX, RECORD = operation("Inbox"), operation("RecordEngagement")
FETCH = "query ($id: ID!) { node(id: $id) { id ... on Message { title } } }"
LATER = NOON + timedelta(hours=1)


def message_id(member: UUID, id: UUID) -> str:
    return encode(Kind.MESSAGE, member, id)


def event(id: str | None, kind="OPENED", at=NOON + timedelta(minutes=5), **changes):
    return {"messageId": id, "kind": kind, "occurredAt": at.isoformat(), **changes}


async def inbox(db, member, **variables):
    return (await execute(INBOX, variables, context=as_member(db, member)))["me"]


async def record(db, member, *events, request=None, now=LATER):
    variables = {"input": {"requestId": str(request or uuid4()), "events": list(events)}}
    data = await execute(RECORD, variables, context=as_member(db, member, now=now))
    return data["recordEngagement"]


async def engagements(db) -> dict[tuple[UUID, str], datetime]:
    async with db.transaction() as session:
        rows = (await session.exec(select(Engagement))).all()
    return {(row.message_id, row.kind): row.occurred_at for row in rows}


async def read_at(db, member, place=0):
    return (await inbox(db, member))["inbox"]["edges"][place]["node"]["readAt"]


async def test_the_inbox_shows_messages_as_they_were_sent_newest_first(db: Database) -> None:
    member, other = await make_member(db), await make_member(db)
    await make_message(db, other, title="Not yours")
    await make_message(db, member, title="Not sent", in_inbox=False)
    older = await make_message(db, member, title="Older")
    newer = await make_message(
        db,
        member,
        title="Newer",
        topic="SERVICE_NOTICE",
        sent_at=NOON + timedelta(minutes=1),
        action=("Read", "wellward://terms"),
    )

    found = await inbox(db, member)

    assert found["unreadCount"] == 2
    assert [edge["node"] for edge in found["inbox"]["edges"]] == [
        {
            "id": message_id(member, newer),
            "topic": "SERVICE_NOTICE",
            "title": "Newer",
            "body": "Newer, please.",
            "sentAt": NOON + timedelta(minutes=1),
            "readAt": None,
            "action": {"label": "Read", "url": "wellward://terms"},
        },
        {
            "id": message_id(member, older),
            "topic": "REMINDERS",
            "title": "Older",
            "body": "Older, please.",
            "sentAt": NOON,
            "readAt": None,
            "action": None,
        },
    ]
    assert found["inbox"]["pageInfo"]["hasNextPage"] is False


async def test_pages_hold_every_message_once_also_those_of_one_moment(db: Database) -> None:
    member = await make_member(db)
    for number in range(11):
        await make_message(
            db, member, title=f"{number}", sent_at=NOON + timedelta(microseconds=number // 4)
        )
    whole = [edge["node"]["id"] for edge in (await inbox(db, member, first=100))["inbox"]["edges"]]
    ids, after = [], None
    for left in (8, 5, 2, 0):
        with StatementCount(db) as statements:
            found = await inbox(db, member, first=3, after=after)
        assert len(statements) == 2  # the member with the count, and a page
        page = found["inbox"]
        ids += [edge["node"]["id"] for edge in page["edges"]]
        assert page["pageInfo"]["hasNextPage"] is (left > 0)
        after = page["pageInfo"]["endCursor"]
    assert ids == whole
    assert len(set(ids)) == 11


async def test_a_message_that_arrives_meanwhile_does_not_move_the_pages(db: Database) -> None:
    member = await make_member(db)
    for number in range(4):
        await make_message(db, member, sent_at=NOON + timedelta(seconds=number))
    first = (await inbox(db, member, first=2))["inbox"]
    await make_message(db, member, title="New", sent_at=NOON + timedelta(seconds=9))
    second = (await inbox(db, member, first=2, after=first["pageInfo"]["endCursor"]))["inbox"]
    seen = [edge["node"]["sentAt"] for edge in first["edges"] + second["edges"]]
    assert seen == [NOON + timedelta(seconds=number) for number in (3, 2, 1, 0)]


@pytest.mark.parametrize(
    "variables",
    [
        {"first": 101},
        {"first": -1},
        {"after": ""},
        {"after": "x"},
        {"after": "MjAyNi0wMy0wMlQwNDowMDowMA"},
        # An instant without offset, and one before the calendar begins; both with an id.
        {"after": "MjAyNi0wMy0wMlQwNDowMDowMHwwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDA"},
        {
            "after": "MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMHwwMDAwMDAwMC0wMDAwLTAwMDAt"
            "MDAwMC0wMDAwMDAwMDAwMDA"
        },
    ],
)
async def test_a_page_that_cannot_be_is_refused_in_words(
    db: Database, variables: dict[str, object]
) -> None:
    member = await make_member(db)
    result = await schema.execute(INBOX, variables, context_value=as_member(db, member))
    (error,) = result.errors or []
    assert (error.extensions or {})["code"] == "BAD_REQUEST"


async def test_no_messages_and_an_empty_page_are_fine(db: Database) -> None:
    member = await make_member(db)
    assert (await inbox(db, member))["inbox"]["edges"] == []
    await make_message(db, member)
    empty = (await inbox(db, member, first=0))["inbox"]
    assert (empty["edges"], empty["pageInfo"]["hasNextPage"]) == ([], True)
    default = (await inbox(db, member, first=None))["inbox"]
    assert len(default["edges"]) == 1


async def test_opening_a_message_reads_it_and_answers_with_the_new_count(db: Database) -> None:
    member = await make_member(db)
    one, two = await make_message(db, member), await make_message(db, member)
    opened = NOON + timedelta(minutes=5)

    answer = await record(
        db,
        member,
        event(message_id(member, one), at=opened),
        event(message_id(member, two), "EXPOSED", at=opened),
    )

    assert answer == {
        "__typename": "RecordEngagementPayload",
        "replayed": False,
        "accepted": 2,
        "member": {"id": encode(Kind.MEMBER, member), "unreadCount": 1},
    }
    assert await engagements(db) == {(one, "OPENED"): opened, (two, "EXPOSED"): opened}
    edges = (await inbox(db, member))["inbox"]["edges"]
    read = {edge["node"]["id"]: edge["node"]["readAt"] for edge in edges}
    assert read == {message_id(member, one): opened, message_id(member, two): None}


async def test_each_kind_counts_once_and_the_earliest_stands(db: Database) -> None:
    member = await make_member(db)
    id = await make_message(db, member)
    named = message_id(member, id)
    minutes = [NOON + timedelta(minutes=number) for number in range(9)]
    answer = await record(db, member, event(named, at=minutes[5]), event(named, at=minutes[4]))
    assert answer["accepted"] == 2
    assert await read_at(db, member) == minutes[4]
    await record(db, member, event(named, at=minutes[8]))
    assert await read_at(db, member) == minutes[4]
    await record(db, member, event(named, at=minutes[2]), event(named, "CLICKED", at=minutes[3]))
    assert await read_at(db, member) == minutes[2]
    assert await engagements(db) == {(id, "OPENED"): minutes[2], (id, "CLICKED"): minutes[3]}


async def test_a_phone_with_a_wrong_clock_opens_neither_early_nor_late(db: Database) -> None:
    member = await make_member(db)
    early, late = await make_message(db, member), await make_message(db, member)
    await record(
        db,
        member,
        event(message_id(member, early), at=datetime(1999, 1, 1, tzinfo=UTC)),
        event(message_id(member, late), at=datetime(2199, 1, 1, tzinfo=UTC)),
    )
    assert await engagements(db) == {(early, "OPENED"): NOON, (late, "OPENED"): LATER}


async def test_unknown_foreign_and_malformed_subjects_are_skipped(db: Database) -> None:
    member, other = await make_member(db), await make_member(db)
    mine, theirs = await make_message(db, member), await make_message(db, other)
    skipped = [
        message_id(other, theirs),
        message_id(member, theirs),
        message_id(member, uuid4()),
        encode(Kind.REMINDER, member, mine),
        "",
        "nonsense",
    ]
    offer = {"offerId": encode(Kind.REMINDER, member, mine)}

    answer = await record(
        db,
        member,
        *map(event, skipped),
        event(None, "CLICKED", **offer),
        event(message_id(member, mine), "DISMISSED"),
    )

    assert answer["accepted"] == 1
    assert list(await engagements(db)) == [(mine, "DISMISSED")]
    assert (await inbox(db, other))["unreadCount"] == 1
    assert (await record(db, member, event("nonsense")))["accepted"] == 0


async def test_a_push_that_was_opened_counts_although_it_is_in_no_inbox(db: Database) -> None:
    member = await make_member(db)
    id = await make_message(db, member, in_inbox=False)
    assert (await record(db, member, event(message_id(member, id))))["accepted"] == 1
    assert list(await engagements(db)) == [(id, "OPENED")]


@pytest.mark.parametrize(
    ("count", "code"), [(0, "BATCH_TOO_LARGE"), (500, None), (501, "BATCH_TOO_LARGE")]
)
async def test_a_batch_holds_one_to_five_hundred(
    db: Database, count: int, code: str | None
) -> None:
    member = await make_member(db)
    named = message_id(member, await make_message(db, member))
    before = await contents(db)
    with StatementCount(db) as statements:
        answer = await record(db, member, *[event(named)] * count)
    if code is None:
        assert answer["accepted"] == count
        assert len(statements) == 4  # lock, claim, record; then the member
        return
    assert (answer["code"], answer["field"]) == (code, "events")
    assert await contents(db) == before


async def test_an_event_names_a_message_or_an_offer_and_not_both(db: Database) -> None:
    member = await make_member(db)
    named = message_id(member, await make_message(db, member))
    before = await contents(db)
    for wrong in (event(None), event(named, offerId=named)):
        refused = await record(db, member, event(named), wrong)
        assert (refused["code"], refused["field"]) == ("VALUE_OUT_OF_RANGE", "events.1")
    assert await contents(db) == before


async def test_a_repeated_request_changes_nothing_and_counts_the_same(db: Database) -> None:
    member = await make_member(db)
    named = message_id(member, await make_message(db, member))
    request = uuid4()
    events = (event(named, at=datetime(2199, 1, 1, tzinfo=UTC)), event("nonsense"))
    first = await record(db, member, *events, request=request)
    before = await contents(db)

    again = await record(db, member, *events, request=request, now=LATER + timedelta(hours=1))

    assert again == first | {"replayed": True}
    reused = await record(db, member, event(named), request=request)
    assert (reused["code"], reused["field"]) == ("REQUEST_REUSED", "requestId")
    assert await contents(db) == before


async def test_the_same_batch_eight_times_at_once_counts_once(db: Database) -> None:
    member = await make_member(db)
    ids = [message_id(member, await make_message(db, member)) for _ in range(5)]
    request = uuid4()
    answers = await asyncio.gather(
        *(record(db, member, *map(event, ids), request=request) for _ in range(8))
    )
    assert sorted(answer["replayed"] for answer in answers) == [False] + [True] * 7
    assert {answer["accepted"] for answer in answers} == {5}
    assert {answer["member"]["unreadCount"] for answer in answers} == {0}
    assert len(await engagements(db)) == 5


async def test_batches_in_any_order_at_once_never_deadlock(db: Database) -> None:
    member = await make_member(db)
    ids = [message_id(member, await make_message(db, member)) for _ in range(20)]
    answers = await asyncio.gather(
        *(record(db, member, *map(event, ids[:: 1 if turn % 2 else -1])) for turn in range(8))
    )
    assert {answer["accepted"] for answer in answers} == {20}
    assert len(await engagements(db)) == 20


async def test_another_members_message_looks_like_none(db: Database) -> None:
    member, other = await make_member(db), await make_member(db)
    theirs = message_id(other, await make_message(db, other))
    disguised = encode(Kind.MESSAGE, member, parse(theirs).key)  # type: ignore[union-attr]
    for id in (theirs, disguised):
        assert (await execute(FETCH, {"id": id}, context=as_member(db, member)))["node"] is None
    found = await execute(FETCH, {"id": theirs}, context=as_member(db, other))
    assert found["node"] == {"id": theirs, "title": "Walk"}
    staff = await make_staff(db)
    await assign(db, staff, other)
    assert (await execute(FETCH, {"id": theirs}, context=as_staff(db, staff)))["node"] is not None


async def test_a_message_that_is_not_in_the_inbox_is_not_shown(db: Database) -> None:
    member = await make_member(db)
    planned = message_id(member, await make_message(db, member, in_inbox=False))
    assert (await execute(FETCH, {"id": planned}, context=as_member(db, member)))["node"] is None
