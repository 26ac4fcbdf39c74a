"""Telephone number and e-mail address: set by the member or who looks after them, forgotten for
sending when they are refused for good, tried again when they are changed."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.db import Database
from app.graphql.ids import Kind, encode
from app.nudges import messages, outbox
from app.nudges.due import Token
from app.nudges.outbox import Push, Recorded
from app.nudges.queued import PLACE
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    execute,
    make_member,
    make_message,
    make_staff,
)
from tests.factories import operation as document_of
from tests.job_worker import eventually
from tests.nudges import rows, run

DOCUMENT = document_of("SetContact")
PHONE, EMAIL = "+8613800000000", "fang@example.com"


async def ask(context: Any, **values: Any) -> dict[str, Any]:
    values = {"requestId": str(uuid4()), **values}
    answer: dict[str, Any] = (await execute(DOCUMENT, {"input": values}, context=context))[
        "setContact"
    ]
    return answer


async def kept(db: Database, member: UUID) -> tuple[Any, ...]:
    (row,) = await rows(
        db,
        "SELECT phone, phone_dead_at, email, email_dead_at FROM members WHERE member_id = :id",
        id=member,
    )
    return tuple(row)


async def reached(db: Database, member: UUID) -> tuple[bool, bool]:
    async with db.transaction() as session:
        found = (await messages.reach(session, [member]))[member]
    return found.phone, found.email


async def confirmed(db: Database, member: UUID) -> None:
    await run(
        db,
        "UPDATE members SET phone_verified_at = created_at, email_verified_at = created_at"
        " WHERE member_id = :id",
        id=member,
    )


def refusal_of(member: UUID, service: str, address: str) -> tuple[Push, Recorded]:
    push = Push(
        member_id=member,
        message_id=uuid4(),
        installation_id=next(it for channel, it in PLACE.items() if channel == service),
        token=Token(address, service, NOON),
        template="",
        locale="en",
        attempts=1,
        expires_at=NOON,
        words=None,
    )
    return push, Recorded("TOKEN_REMOVED", "SMTP_550")


async def test_a_member_sets_both_and_takes_one_away(db: Database) -> None:
    member = await make_member(db)
    answer = await ask(as_member(db, member), phone=PHONE, email=EMAIL)
    assert answer["member"] == {
        "id": encode(Kind.MEMBER, member),
        "phone": PHONE,
        "email": EMAIL,
        "unverifiedContacts": ["PHONE", "EMAIL"],
        "deadContacts": [],
    }
    assert await reached(db, member) == (False, False)
    await confirmed(db, member)
    assert await reached(db, member) == (True, True)
    await ask(as_member(db, member), email=EMAIL)
    assert await kept(db, member) == (None, None, EMAIL, None)
    assert await reached(db, member) == (False, True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("phone", "13800000000"),
        ("phone", "+0138000000"),
        ("phone", "+86138000000001234"),
        ("phone", "+8613800000000\n"),
        ("phone", ""),
        ("email", "fang"),
        ("email", "fang@localhost"),
        ("email", "fang@example.com\nBcc: all@example.com"),
        ("email", "fang <fang@example.com>"),
        ("email", "a,b@example.com"),
        ("email", f"{'x' * 64}@{'y' * 60}.{'y' * 60}.{'y' * 60}.{'y' * 60}.com"),
        ("email", ""),
    ],
)
async def test_what_is_no_address_is_refused_and_nothing_changes(
    db: Database, field: str, value: str
) -> None:
    member = await make_member(db, phone=PHONE)
    answer = await ask(as_member(db, member), **{field: value})
    assert (answer["code"], answer["field"]) == ("VALUE_OUT_OF_RANGE", field)
    assert await kept(db, member) == (PHONE, None, None, None)
    assert await rows(db, "SELECT owner FROM requests WHERE operation = 'setContact'") == []


async def test_staff_set_it_for_those_whom_they_look_after(db: Database) -> None:
    mine, other, manager = await make_member(db), await make_member(db), await make_staff(db)
    await assign(db, manager, mine)
    context = as_staff(db, manager)
    answer = await ask(context, memberId=encode(Kind.MEMBER, mine), phone=PHONE)
    assert answer["member"]["phone"] == PHONE
    answer = await ask(context, memberId=encode(Kind.MEMBER, other), phone=PHONE)
    assert (answer["code"], answer["field"]) == ("NOT_FOUND", "memberId")
    assert (await kept(db, other))[0] is None
    with pytest.raises(AssertionError, match="role does not allow"):
        actuary = as_staff(db, await make_staff(db), "ACTUARY")
        await ask(actuary, memberId=encode(Kind.MEMBER, mine), phone=PHONE)


async def test_the_same_request_eight_times_at_once_is_one(db: Database) -> None:
    member, request = await make_member(db), str(uuid4())
    answers = await asyncio.gather(
        *(ask(as_member(db, member), requestId=request, phone=PHONE) for _ in range(8))
    )
    assert sorted(it["replayed"] for it in answers) == [False] + [True] * 7
    answer = await ask(as_member(db, member), requestId=request, phone=None)
    assert answer["code"] == "REQUEST_REUSED"
    assert (await kept(db, member))[0] == PHONE


async def test_what_is_refused_for_good_is_not_used_until_it_is_changed(db: Database) -> None:
    member, other = await make_member(db), await make_member(db)
    for one in (member, other):
        await ask(as_member(db, one), phone=PHONE, email=EMAIL)
        await confirmed(db, one)
    await outbox.record(db, [refusal_of(member, "EMAIL", EMAIL)], now=NOON)
    assert await kept(db, member) == (PHONE, None, EMAIL, NOON)
    assert await reached(db, member) == (True, False)
    assert await reached(db, other) == (True, True)
    await outbox.record(db, [refusal_of(member, "SMS", PHONE)], now=NOON)
    assert await reached(db, member) == (False, False)
    answer = await ask(as_member(db, member), phone=PHONE, email="new@example.com")
    assert answer["member"]["deadContacts"] == ["PHONE"]
    assert answer["member"]["unverifiedContacts"] == ["EMAIL"]
    await confirmed(db, member)
    assert await reached(db, member) == (False, True)


async def test_a_late_refusal_of_the_old_address_leaves_the_new_one(db: Database) -> None:
    member = await make_member(db)
    await ask(as_member(db, member), email="new@example.com")
    await outbox.record(db, [refusal_of(member, "EMAIL", EMAIL)], now=NOON)
    assert await kept(db, member) == (None, None, "new@example.com", None)


async def test_a_refusal_does_not_wait_for_who_opts_out_and_waits_for_it(db: Database) -> None:
    """Whoever opts out holds the member until nothing is on its way: it ends all the same."""
    member = await make_member(db)
    await ask(as_member(db, member), email=EMAIL)
    push, recorded = refusal_of(member, "EMAIL", EMAIL)
    await make_message(db, member)
    await run(
        db,
        """INSERT INTO push_deliveries (member_id, message_id, installation_id, batch_id, state,
                  attempts, next_attempt_at, changed_at, channel)
           SELECT member_id, id, :place, :batch, 'ATTEMPTING', 1, :now, :now, 'EMAIL'
             FROM messages""",
        place=push.installation_id,
        batch=uuid4(),
        now=NOON,
    )
    [[message]] = await rows(db, "SELECT id FROM messages")
    ended = [(replace(push, message_id=message), recorded)]
    async with db.transaction() as session:
        connection = await session.connection()
        await connection.exec_driver_sql("SELECT FROM members FOR UPDATE")
        recording = asyncio.create_task(outbox.record(db, ended, now=NOON))

        async def is_recorded() -> bool:
            return await rows(db, "SELECT state FROM push_deliveries") == [("TOKEN_REMOVED",)]

        await eventually(is_recorded)
        assert not recording.done()
    await recording
    assert (await kept(db, member))[3] == NOON
