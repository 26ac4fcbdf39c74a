"""Which phone is whose, on a real database."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from graphql import GraphQLError
from sqlalchemy import text
from sqlmodel import select

from app.db import Database, StatementCount
from app.graphql.context import ANONYMOUS
from app.graphql.ids import Kind, encode
from app.members.models import Member
from app.nudges.models import Installation, PushDelivery, PushToken
from app.schema import schema
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    contents,
    context,
    execute,
    guard,
    make_member,
    make_message,
    make_staff,
    operation,
)

REGISTER, SET_REMINDER = operation("RegisterDevice"), operation("SetReminder")
FETCH = "query ($id: ID!) { node(id: $id) { id ... on Installation { platform registeredAt } } }"


def device(**changes):
    base = {
        "installationId": str(uuid4()),
        "platform": "ANDROID",
        "pushToken": f"token-{uuid4()}",
        "appVersion": "1.0.0",
        "locale": "en",
        "timeZone": "Asia/Shanghai",
    }
    return {**base, **changes}


async def register(db, member, input, *, now=NOON, acting_for=None):
    caller = as_member(db, member, now=now, acting_for=acting_for)
    return (await execute(REGISTER, {"input": input}, context=caller))["registerDevice"]


async def tokens(db) -> set[tuple[str, UUID, UUID]]:
    async with db.transaction() as session:
        rows = (await session.exec(select(PushToken))).all()
    return {(row.token, row.member_id, row.installation_id) for row in rows}


def token_of(member, input):
    return (input["pushToken"], member, UUID(input["installationId"]))


async def queue_push(db, member, input, state="QUEUED"):
    """A push to this member's installation, planned and not sent."""
    message = await make_message(db, member)
    async with db.transaction() as session:
        session.add(
            PushDelivery(
                member_id=member,
                message_id=message,
                installation_id=UUID(input["installationId"]),
                batch_id=uuid4(),
                state=state,
                next_attempt_at=NOON,
                changed_at=NOON,
            )
        )
    return message


async def states(db) -> dict[UUID, tuple[str, str | None]]:
    async with db.transaction() as session:
        rows = (await session.exec(select(PushDelivery))).all()
    return {row.message_id: (row.state, row.reason) for row in rows}


async def test_a_device_is_registered_and_found_again(db: Database) -> None:
    member = await make_member(db)
    wanted = device(platform="IOS", appVersion="2.1 (77)")

    answer = await register(db, member, wanted)

    id = encode(Kind.INSTALLATION, member, UUID(wanted["installationId"]))
    found = {"id": id, "platform": "IOS", "registeredAt": NOON}
    assert answer == {"__typename": "RegisterDevicePayload", "device": found}
    assert (await execute(FETCH, {"id": id}, context=as_member(db, member)))["node"] == found
    assert await tokens(db) == {token_of(member, wanted)}


async def test_registering_again_refreshes_and_keeps_the_first_date(db: Database) -> None:
    member = await make_member(db)
    wanted = device()
    first = await register(db, member, wanted)
    push = await queue_push(db, member, wanted)
    later = NOON + timedelta(days=3)

    again = await register(
        db, member, wanted | {"appVersion": "1.1.0", "pushToken": "new"}, now=later
    )

    assert again == first
    async with db.transaction() as session:
        row = (await session.exec(select(Installation))).one()
    assert (row.app_version, row.registered_at, row.refreshed_at) == ("1.1.0", NOON, later)
    assert await tokens(db) == {("new", member, UUID(wanted["installationId"]))}
    assert await states(db) == {push: ("QUEUED", None)}  # the same phone, by its new token


async def test_a_member_has_ten_phones_that_get_pushes(db: Database) -> None:
    member, other = await make_member(db), await make_member(db)
    elsewhere = device()
    await register(db, other, elsewhere)
    phones = [device() for _ in range(12)]
    for place, phone in enumerate(phones[:10]):
        await register(db, member, phone, now=NOON + timedelta(minutes=place))
    await register(db, member, phones[0], now=NOON + timedelta(minutes=20))
    pushes = [await queue_push(db, member, phone) for phone in phones[:4]]
    sent = await queue_push(db, member, phones[1], "SENT")

    for place, phone in enumerate(phones[10:]):
        # By the clock of a server that runs behind: the phone in hand stays all the same.
        await register(db, member, phone, now=NOON - timedelta(minutes=place))

    kept = [phones[0], *phones[2:10], phones[11]]
    assert len(kept) == 10
    theirs = token_of(other, elsewhere)
    assert await tokens(db) == {theirs} | {token_of(member, phone) for phone in kept}
    assert await states(db) == {
        pushes[0]: ("QUEUED", None),
        pushes[1]: ("SUPPRESSED", "TOKEN_FORGOTTEN"),
        pushes[2]: ("QUEUED", None),
        pushes[3]: ("QUEUED", None),
        sent: ("SENT", None),
    }
    # The phone that was forgotten comes back when it is used again.
    await register(db, member, phones[1], now=NOON + timedelta(hours=1))
    assert token_of(member, phones[1]) in await tokens(db)
    assert len(await tokens(db)) == 10 + 1


async def test_of_fourteen_phones_at_once_ten_stay(db: Database) -> None:
    member = await make_member(db)
    phones = [device() for _ in range(14)]
    for _ in range(2):
        answers = await asyncio.gather(*(register(db, member, phone) for phone in phones))
        assert {answer["__typename"] for answer in answers} == {"RegisterDevicePayload"}
        assert len(await tokens(db)) == 10


async def test_the_same_registration_eight_times_at_once_is_one(db: Database) -> None:
    member = await make_member(db)
    wanted = device()
    answers = await asyncio.gather(*(register(db, member, wanted) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert await tokens(db) == {token_of(member, wanted)}
    assert len((await contents(db, "installations"))["installations"]) == 1


async def test_without_a_token_it_is_forgotten(db: Database) -> None:
    member = await make_member(db)
    wanted, other = device(), device()
    await register(db, member, wanted)
    await register(db, member, other)
    here, there = await queue_push(db, member, wanted), await queue_push(db, member, other)

    signed_out = {key: value for key, value in wanted.items() if key != "pushToken"}
    answer = await register(db, member, signed_out)

    assert answer["__typename"] == "RegisterDevicePayload"
    assert await tokens(db) == {token_of(member, other)}
    assert await states(db) == {
        here: ("SUPPRESSED", "TOKEN_FORGOTTEN"),
        there: ("QUEUED", None),
    }


async def test_a_phone_handed_to_another_member_gets_no_push_of_the_old_one(
    db: Database,
) -> None:
    old, new = await make_member(db), await make_member(db)
    phone, tablet = device(), device()
    await register(db, old, phone)
    await register(db, old, tablet)
    queued, sent = await queue_push(db, old, phone), await queue_push(db, old, phone, "SENT")
    elsewhere = await queue_push(db, old, tablet)

    await register(db, new, phone)

    assert await tokens(db) == {token_of(new, phone), token_of(old, tablet)}
    assert await states(db) == {
        queued: ("SUPPRESSED", "TOKEN_MOVED"),
        sent: ("SENT", None),
        elsewhere: ("QUEUED", None),
    }


async def test_a_token_moves_also_to_another_installation(db: Database) -> None:
    old, new = await make_member(db), await make_member(db)
    before = device()
    await register(db, old, before)
    queued = await queue_push(db, old, before)
    reinstalled = device(pushToken=before["pushToken"])
    await register(db, new, reinstalled)
    assert await tokens(db) == {token_of(new, reinstalled)}
    assert await states(db) == {queued: ("SUPPRESSED", "TOKEN_MOVED")}


async def test_an_installation_moves_also_with_another_token_or_none(db: Database) -> None:
    old, new = await make_member(db), await make_member(db)
    for token in ("fresh", None):
        phone = device()
        await register(db, old, phone)
        queued = await queue_push(db, old, phone)
        await register(db, new, phone | {"pushToken": token})
        assert (await states(db))[queued] == ("SUPPRESSED", "TOKEN_MOVED")
        assert phone["pushToken"] not in {row[0] for row in await tokens(db)}


async def test_one_token_at_two_providers_is_two_tokens(db: Database) -> None:
    one, two = await make_member(db), await make_member(db)
    first = device()
    second = device(pushToken=first["pushToken"], pushProvider="JPUSH")
    await register(db, one, first)
    await register(db, two, second)
    assert await tokens(db) == {token_of(one, first), token_of(two, second)}


async def test_of_two_members_who_register_one_token_at_once_one_has_it(db: Database) -> None:
    members = [await make_member(db) for _ in range(8)]
    inputs = [device(pushToken="shared") for _ in members]
    for _ in range(3):
        await asyncio.gather(*(register(db, *pair) for pair in zip(members, inputs, strict=True)))
        (left,) = await tokens(db)
        assert left in {token_of(*pair) for pair in zip(members, inputs, strict=True)}


async def test_members_who_swap_phones_at_once_never_deadlock(db: Database) -> None:
    members = [await make_member(db) for _ in range(4)]
    phones = [device() for _ in members]
    tokens_known = [phone["pushToken"] for phone in phones]
    for turn in range(8):
        # Everybody takes the next phone, and every phone has the token of another one.
        wanted = [
            phones[(place + turn) % 4] | {"pushToken": tokens_known[(place * 3 + turn) % 4]}
            for place in range(4)
        ]
        answers = await asyncio.gather(*map(register, [db] * 4, members, wanted))
        assert {answer["__typename"] for answer in answers} == {"RegisterDevicePayload"}
        assert await tokens(db) == {token_of(*pair) for pair in zip(members, wanted, strict=True)}


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"timeZone": "Mars/Olympus"}, "TIME_ZONE_UNKNOWN", "timeZone"),
        ({"timeZone": ""}, "TIME_ZONE_UNKNOWN", "timeZone"),
        ({"timeZone": "../../etc/passwd"}, "TIME_ZONE_UNKNOWN", "timeZone"),
        ({"locale": "not a locale"}, "LOCALE_UNKNOWN", "locale"),
        ({"locale": ""}, "LOCALE_UNKNOWN", "locale"),
        ({"pushToken": ""}, "VALUE_OUT_OF_RANGE", "pushToken"),
        ({"pushToken": "a b"}, "VALUE_OUT_OF_RANGE", "pushToken"),
        ({"pushToken": "a\0"}, "VALUE_OUT_OF_RANGE", "pushToken"),
        ({"pushToken": "a\n"}, "VALUE_OUT_OF_RANGE", "pushToken"),
        ({"pushToken": "x" * 2049}, "VALUE_OUT_OF_RANGE", "pushToken"),
        ({"appVersion": ""}, "VALUE_OUT_OF_RANGE", "appVersion"),
        ({"appVersion": "1" * 51}, "VALUE_OUT_OF_RANGE", "appVersion"),
        ({"appVersion": "1\n"}, "VALUE_OUT_OF_RANGE", "appVersion"),
    ],
)
async def test_what_no_device_says_is_refused_and_moves_nothing(
    db: Database, changes: dict[str, str], code: str, field: str
) -> None:
    old, new = await make_member(db), await make_member(db)
    phone = device()
    await register(db, old, phone)
    await queue_push(db, old, phone)
    before = await contents(db)

    moved = phone | {"timeZone": "Europe/Berlin", "locale": "de"}
    refused = await register(db, new, moved | changes)

    assert (refused["code"], refused["field"]) == (code, field)
    assert "token-" not in refused["message"]
    assert await contents(db) == before


async def test_the_longest_token_that_is_accepted_can_be_stored(db: Database) -> None:
    member = await make_member(db)
    # Nothing that an index could compress.
    longest = device(pushToken="".join(uuid4().hex for _ in range(64)))
    assert len(longest["pushToken"]) == 2048
    await register(db, member, longest)
    assert await tokens(db) == {token_of(member, longest)}


async def test_the_members_zone_and_locale_follow_the_phone(db: Database) -> None:
    member, other = await make_member(db), await make_member(db)
    for owner in (member, other):
        variables = {
            "input": {
                "requestId": str(uuid4()),
                "title": "Walk",
                "kind": "TASK",
                "localTime": "19:30",
                "recurrence": "FREQ=DAILY",
                "startsOn": "2026-03-01",
            }
        }
        await execute(SET_REMINDER, variables, context=as_member(db, owner))

    await register(db, member, device(timeZone="Europe/Berlin", locale="de-DE"))

    async with db.transaction() as session:
        row = await session.get(Member, member)
        assert row is not None
        assert (row.time_zone, row.locale) == ("Europe/Berlin", "de-DE")
        fires = dict(
            (await session.execute(text("select member_id, next_at from reminders"))).all()
        )
    assert fires == {
        member: datetime(2026, 3, 2, 18, 30, tzinfo=UTC),
        other: datetime(2026, 3, 2, 11, 30, tzinfo=UTC),
    }


async def test_a_day_that_has_fired_does_not_fire_again_after_a_flight_west(
    db: Database,
) -> None:
    member = await make_member(db)
    variables = {
        "input": {
            "requestId": str(uuid4()),
            "title": "Walk",
            "kind": "TASK",
            "localTime": "13:00",
            "recurrence": "FREQ=DAILY",
            "startsOn": "2026-03-01",
        }
    }
    await execute(SET_REMINDER, variables, context=as_member(db, member))
    async with db.transaction() as session:
        await session.execute(text("update reminders set last_on = '2026-03-02'"))
    await register(db, member, device(timeZone="America/New_York"), now=NOON)
    async with db.transaction() as session:
        next_at = (await session.execute(text("select next_at from reminders"))).scalar_one()
    assert next_at == datetime(2026, 3, 3, 18, tzinfo=UTC)


async def test_a_refresh_in_the_same_zone_costs_five_statements(db: Database) -> None:
    member = await make_member(db)
    wanted = device()
    await register(db, member, wanted)
    with StatementCount(db) as statements:
        await register(db, member, wanted)
    assert len(statements) <= 5, statements.statements


async def test_a_guardians_phone_stays_the_guardians(db: Database) -> None:
    parent, child = await make_member(db), await make_member(db)
    await guard(db, child_id=child, guardian_id=parent)
    wanted = device()
    await register(db, parent, wanted, acting_for=child)
    assert await tokens(db) == {token_of(parent, wanted)}


async def test_nobody_but_members_registers_a_device(db: Database) -> None:
    staff = await make_staff(db)
    for caller in (as_staff(db, staff), context(db, ANONYMOUS)):
        result = await schema.execute(REGISTER, {"input": device()}, context_value=caller)
        assert result.data is None
        (error,) = result.errors or []
        assert isinstance(error, GraphQLError)
        assert str(error.original_error) == "Sign in to see this."
    assert await tokens(db) == set()


async def test_another_members_installation_looks_like_none(db: Database) -> None:
    member, other = await make_member(db), await make_member(db)
    theirs = (await register(db, other, device()))["device"]["id"]
    assert (await execute(FETCH, {"id": theirs}, context=as_member(db, member)))["node"] is None
