"""Lives of one task: check-ins, decisions and appeals in any order. It pays once."""

import random
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from app.db import Database
from app.graphql.ids import Kind, encode
from tests.factories import NOON
from tests.reviewing import (
    appeal,
    appeal_check_in,
    assert_sound,
    balances,
    decide,
    standing,
    verified_by,
)
from tests.tasks_at_work import check_in, make_tasked, rows
from tests.worklist import manager_of

PRESSURE = "measure-blood-pressure"
STEPS = 36


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_is_decided_in_whatever_order_a_task_pays_once(
    db: Database, seed: int
) -> None:
    chance = random.Random(seed)
    member, tasks = await make_tasked(db, PRESSURE)
    staff = [await manager_of(db, member) for _ in range(5)]
    await verified_by(db, member, "NONE", second_person_above=500)
    for number in range(STEPS):
        now = NOON + timedelta(hours=4 * number, minutes=number**2 % 37)
        match chance.choice(("check in", "decide", "decide", "appeal", "contest")):
            case "check in":
                await verified_by(db, member, chance.choice(["STAFF", "NONE"]))
                await check_in(db, member, tasks[PRESSURE], now=now)
            case "decide":
                await _decide_one(db, chance, member, chance.choice(staff), now)
            case "appeal":
                found = "select id from checkins where state = 'REJECTED' order by id"
                rejected = await rows(db, found)
                if rejected:
                    await appeal_check_in(db, member, chance.choice(rejected)[0], now=now)
            case "contest":
                entries = await rows(db, "select id from points_transfers order by seq")
                if entries:
                    await appeal(db, member, chance.choice(entries)[0], now=now)
        await assert_sound(db)
        for state, points, done in await standing(db, member):
            assert (points == 10) == (state in ("DONE", "IN_REVIEW")), (number, state, points)
            assert (done >= 2) == (state in ("DONE", "IN_REVIEW")), (number, state, done)
            expected = {"DONE": (10, 0), "IN_REVIEW": (0, 10), "OPEN": (0, 0)}
            assert await balances(db, member) == expected[state], number


async def _decide_one(
    db: Database, chance: random.Random, member: UUID, by: UUID, now: datetime
) -> None:
    """Of the open reviews one, as an employee does who names no sum."""
    waiting = await rows(
        db,
        "select id from reviews where state in ('OPEN', 'AWAITING_SECOND_PERSON') order by id",
    )
    if waiting:
        review = encode(Kind.REVIEW, member, chance.choice(waiting)[0])
        await decide(db, by, review, chance.choice(["ACCEPT", "REJECT"]), now=now)
