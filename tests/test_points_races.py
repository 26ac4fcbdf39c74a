"""Rivals: a hold is resolved once, and a transfer reversed once, however many try."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db import Database
from app.points import service
from app.points.service import HoldResolved, HoldView
from tests.factories import NOON
from tests.points_ledger import balances, do, earn, hold, make_wallet, sound, spend
from tests.processes import FULL_COUNTS

RACES = 10_000 if FULL_COUNTS else 1_000
REVERSALS = 2_000 if FULL_COUNTS else 200
MEMBERS = 20
LATE = NOON + timedelta(hours=1)
_CONFIGURED = 8
"""Members at a time: as many as there are connections."""


async def each(
    members: list[UUID], act: Callable[[UUID, int], Awaitable[None]], *, count: int
) -> None:
    """`act` for `count` numbers, spread over the members, several members at a time."""
    limit = asyncio.Semaphore(_CONFIGURED)

    async def one(place: int, member_id: UUID) -> None:
        for number in range(place, count, len(members)):
            async with limit:
                await act(member_id, number)

    await asyncio.gather(*(one(place, it) for place, it in enumerate(members)))


@pytest.mark.timeout(3600 if FULL_COUNTS else 300)
async def test_of_capture_release_and_time_out_one_wins(db: Database) -> None:
    members = [await make_wallet(db) for _ in range(MEMBERS)]
    for member_id in members:
        await earn(db, member_id, 50)
    won: dict[str, int] = {"CAPTURED": 0, "RELEASED": 0, "TIMED_OUT": 0}
    spent: dict[UUID, int] = dict.fromkeys(members, 0)
    ways: list[Any] = [service.capture, service.release, service.time_out]

    async def attempt(what: Any, member_id: UUID, hold_id: UUID) -> HoldView | None:
        try:
            found: HoldView = await do(db, what, now=LATE, member_id=member_id, hold_id=hold_id)
        except HoldResolved:
            return None
        return found

    async def race(member_id: UUID, number: int) -> None:
        rng = Random(number)
        if 50 - spent[member_id] < 10:
            spent[member_id] -= 50
            await earn(db, member_id, 50, key=str(number))
        hold_id = await hold(db, member_id, 3, hours=1)
        rivals = rng.sample(ways, 3)
        found = await asyncio.gather(*(attempt(what, member_id, hold_id) for what in rivals))
        [winner] = [it for it in found if it is not None]
        won[winner.state] += 1
        spent[member_id] += winner.captured

    await each(members, race, count=RACES)

    assert sum(won.values()) == RACES
    assert min(won.values()) > RACES // 10
    async with db.read() as connection:
        rows = await connection.execute(
            text("select state, count(*), sum(captured) from points_holds group by state")
        )
        stored = {state: (count, captured) for state, count, captured in rows}
    assert stored == {
        state: (count, 3 * count * (state == "CAPTURED")) for state, count in won.items()
    }
    assert await sound(db)


@pytest.mark.timeout(3600 if FULL_COUNTS else 300)
async def test_what_four_clients_reverse_is_reversed_once(db: Database) -> None:
    members = [await make_wallet(db) for _ in range(MEMBERS)]

    async def reverse(member_id: UUID, number: int) -> None:
        if number % 2:
            transfer_id = (await earn(db, member_id, 5, key=f"{number}")).id
        else:
            await earn(db, member_id, 5, key=f"{number}")
            transfer_id = await spend(db, member_id, 5)
        of = {"member_id": member_id, "transfer_id": transfer_id}
        found = await asyncio.gather(*(do(db, service.reverse, **of) for _ in range(4)))
        assert len({tuple(transfers) for transfers in found}) == 1
        assert sum(transfer.amount for transfer in found[0]) == 5

    await each(members, reverse, count=REVERSALS)

    kept = {member_id: await balances(db, member_id) for member_id in members}
    # The earnings of every other number are gone, the redemptions were given back.
    assert sum(it.get("available", 0) for it in kept.values()) == 5 * (REVERSALS // 2)
    assert {name for it in kept.values() for name in it} == {"available", "earned_total"}
    async with db.read() as connection:
        count = await connection.scalar(
            text("select count(*) from points_transfers where kind = 'REVERSED'")
        )
    assert count == REVERSALS
    assert await sound(db)
