"""What is written of each transfer that resolves, corrects or gives back: why, for what, and on
which day. And what the refusals say."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database
from app.errors import ErrorCode, NotFound, UserError
from app.points import corrections, due_holds, holds, service
from app.points.rules import HoldState
from tests.factories import NOON
from tests.points_ledger import (
    TODAY,
    balances,
    do,
    earn,
    hold,
    make_wallet,
    restate,
    sound,
    spend,
)

DAY = timedelta(days=1)
Entry = tuple[str, int, str, str, UUID, str | None]
"""Accounts, amount, key, kind and id of the cause, and code of the rule."""


async def entries(db: Database, corrects: UUID) -> list[Entry]:
    async with db.read() as connection:
        rows = await connection.execute(
            text(
                """select debit || '>' || credit, amount, cause_key, cause_kind, cause_id, rule_code
                     from points_transfers where corrects = :corrects order by seq"""
            ),
            {"corrects": corrects},
        )
        return [tuple(row) for row in rows]


async def days(db: Database, member_id: UUID) -> list[date]:
    async with db.read() as connection:
        rows = await connection.execute(
            text("select local_date from points_transfers where member_id = :id order by seq"),
            {"id": member_id},
        )
        return list(rows.scalars())


async def test_what_resolves_a_hold_tells_the_redemption(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 30)
    part, released, late = [await hold(db, member_id, 10) for _ in range(3)]
    of = {"member_id": member_id}

    found = await do(db, service.capture, hold_id=part, amount=1, **of)
    assert (found.state, found.captured, found.released) == (HoldState.CAPTURED, 1, 9)
    assert found == holds.HoldView(part, HoldState.CAPTURED, 10, 1, 9, NOON + DAY)
    await do(db, service.release, hold_id=released, **of)
    await do(db, service.time_out, hold_id=late, now=NOON + DAY, **of)

    assert await entries(db, part) == [
        ("held>redeemed", 1, f"hold:{part}:captured", "REDEMPTION", part, None),
        ("held>available", 9, f"hold:{part}:captured/2", "REDEMPTION", part, None),
    ]
    assert await entries(db, released) == [
        ("held>available", 10, f"hold:{released}:released", "REDEMPTION", released, None)
    ]
    assert await entries(db, late) == [
        ("held>available", 10, f"hold:{late}:timed_out", "REDEMPTION", late, None)
    ]
    assert await sound(db)


async def test_a_capture_is_of_one_point_at_least_and_of_no_more_than_is_held(
    db: Database,
) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10)
    taken = await hold(db, member_id, 10)
    for amount in (-1, 0, 11):
        with pytest.raises(AssertionError, match="more than is held"):
            await do(db, service.capture, member_id=member_id, hold_id=taken, amount=amount)
    with pytest.raises(AssertionError, match="its time is not over"):
        await do(db, service.time_out, member_id=member_id, hold_id=taken)
    assert await balances(db, member_id) == {"held": 10, "earned_total": 10}


async def test_a_reversed_redemption_tells_it_and_is_given_back_once(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10)
    spent = await spend(db, member_id, 4)
    of = {"member_id": member_id, "transfer_id": spent}

    done = await do(db, service.reverse, **of)
    assert await entries(db, spent) == [
        ("redeemed>available", 4, f"reversal:{spent}", "REDEMPTION", spent, None)
    ]
    assert await do(db, service.reverse, **of) == done != ()
    assert len(await entries(db, spent)) == 1


async def test_restatements_are_numbered_and_on_the_day_of_the_earning(db: Database) -> None:
    member_id = await make_wallet(db)
    [first] = await restate(db, member_id, 5)
    for place, amount in enumerate((6, 6, 5, 5, 8), 1):
        await restate(db, member_id, amount, now=NOON + place * DAY)

    daily = ("DAILY_TOTAL", UUID(int=9), "walk")
    assert await entries(db, first.id) == [
        ("issued>available", 1, "walk:1", *daily),
        ("available>reversed", 1, "walk:2", "TRANSFER", first.id, "walk"),
        ("issued>available", 3, "walk:3", *daily),
    ]
    assert await days(db, member_id) == [TODAY] * 4
    assert await balances(db, member_id) == {"available": 8, "earned_total": 8}

    # The second part of one that pays a debt has no number of its own.
    await spend(db, member_id, 8)
    [gone] = await do(db, service.reverse, member_id=member_id, transfer_id=first.id)
    assert gone.cause_key == f"reversal:{first.id}"
    [again] = await restate(db, member_id, 3, key="swim")
    await restate(db, member_id, 20, key="swim")
    await restate(db, member_id, 21, key="swim")
    assert [it[:3] for it in await entries(db, again.id)] == [
        ("issued>owed", 5, "swim:1"),
        ("issued>available", 12, "swim:1/2"),
        ("issued>available", 1, "swim:2"),
    ]
    assert await sound(db)


async def test_an_earning_is_reversed_by_the_id_of_any_of_its_parts(db: Database) -> None:
    member_id = await make_wallet(db)
    gone = await earn(db, member_id, 5, key="gone")
    await spend(db, member_id, 5)
    await do(db, service.reverse, member_id=member_id, transfer_id=gone.id)
    [paid] = await restate(db, member_id, 12)  # five of them pay the debt
    [more] = await restate(db, member_id, 15)
    async with db.read() as connection:
        rest = await connection.scalar(
            text("select id from points_transfers where cause_key = :key"), {"key": "walk:0/2"}
        )
    assert len({paid.id, more.id, rest}) == 3

    for it in (more.id, rest, paid.id):
        [taken, owed] = await do(db, service.reverse, member_id=member_id, transfer_id=it)
        assert (taken.debit, taken.amount, owed.debit, owed.amount) == ("available", 10, "owed", 5)
        assert taken.cause_key == f"reversal:{paid.id}" and taken.corrects == paid.id
    assert await balances(db, member_id) == {"owed": 5, "spent": 5}
    assert await sound(db)


async def test_a_decision_tells_the_earning(db: Database) -> None:
    member_id = await make_wallet(db)
    for accept, route in ((True, "pending>available"), (False, "pending>reversed")):
        waiting = await earn(db, member_id, 10, key=str(accept), pending=True)
        settled = await do(
            db, service.settle, member_id=member_id, transfer_id=waiting.id, accept=accept
        )
        assert [it.amount for it in settled] == [10]
        key = f"settlement:{waiting.id}"
        assert await entries(db, waiting.id) == [(route, 10, key, "TRANSFER", waiting.id, "walk")]


@pytest.mark.parametrize(
    ("what", "field", "arguments"),
    [
        (service.settle, "transferId", {"transfer_id": uuid4(), "accept": True}),
        (service.reverse, "transferId", {"transfer_id": uuid4()}),
        (service.capture, "holdId", {"hold_id": uuid4()}),
        (service.release, "holdId", {"hold_id": uuid4()}),
        (service.time_out, "holdId", {"hold_id": uuid4()}),
    ],
)
async def test_what_is_not_there_is_named(
    db: Database, what: Any, field: str, arguments: dict[str, object]
) -> None:
    member_id = await make_wallet(db)
    with pytest.raises(NotFound) as found:
        await do(db, what, member_id=member_id, **arguments)
    assert found.value.field == field


@pytest.mark.parametrize(
    ("refusal", "values", "code", "zh", "en"),
    [
        (
            holds.InsufficientPoints,
            {"available": 3, "amount": 5},
            ErrorCode.INSUFFICIENT_POINTS,
            "可用积分 3，需要 5。",
            "You have 3 points; this needs 5.",
        ),
        (
            holds.HoldResolved,
            {},
            ErrorCode.STATE_INVALID,
            "这笔预留已经处理。",
            "These reserved points were dealt with already.",
        ),
        (
            corrections.AlreadySettled,
            {},
            ErrorCode.ALREADY_DECIDED,
            "这笔积分已有决定。",
            "It was decided already about these points.",
        ),
        (
            corrections.NotReversible,
            {},
            ErrorCode.STATE_INVALID,
            "这笔记录不能撤回。",
            "This entry cannot be reversed.",
        ),
    ],
)
def test_a_refusal_says_why(
    refusal: type[UserError], values: dict[str, int], code: ErrorCode, zh: str, en: str
) -> None:
    refused = refusal(**values)
    assert (refused.code, refused.text.zh, refused.text.en) == (code, zh, en)
    assert refused.field is None


async def test_the_clock_names_those_whose_holds_it_released(db: Database) -> None:
    """Not those whose hold was resolved meanwhile."""
    members = [await make_wallet(db) for _ in range(3)]
    for member_id in members:
        await earn(db, member_id, 10)
    taken = [await hold(db, member_id, 10) for member_id in members]
    await do(db, service.release, member_id=members[0], hold_id=taken[0])

    assert await due_holds._time_out(db, members[0], taken[0], NOON + DAY) is False
    assert await due_holds.time_out_due(db, now=NOON + DAY) == set(members[1:])
    assert await due_holds.time_out_due(db, now=NOON + DAY) == set()
