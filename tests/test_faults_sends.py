"""One check-in that a hundred requests send at the same time, to two web processes."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

from app.db import Database
from tests.figures import record_figure
from tests.phones import Phone, check_in_of, http_client, make_phone, wall_clock
from tests.processes import command, web
from tests.tasks_at_work import rows

SENDS = 100
EFFECT = """
select count(*) as check_ins,
  (select count(*) from points_transfers) as transfers,
  (select count(*) from requests) as requests,
  (select row(available, pending, earned_total, seq, version) from wallets) as wallet
from checkins
"""


async def test_a_hundred_sends_of_one_check_in_count_once(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    async with web(database_url, tmp_path, 2) as sites, http_client() as http:
        phone = await make_phone(db, tmp_path, http, sites[0].base, login="phone")
        bases = [site.base for site in sites]
        tasks = await phone.tasks()
        medication, article = (
            tasks["Take today's medication"],
            tasks["Read one health article this week"],
        )

        one_id = check_in_of(medication["id"], at=wall_clock())
        await all_answered_with_one(phone, bases, [one_id] * SENDS, points=medication["points"])
        assert await rows(db, EFFECT) == [(1, 1, 1, (5, 0, 5, 1, 1))]

        at = wall_clock()
        many_ids = [check_in_of(article["id"], at=at, request_id=uuid4()) for _ in range(SENDS)]
        await all_answered_with_one(phone, bases, many_ids, points=article["points"])
        assert await rows(db, EFFECT) == [(2, 2, 1 + SENDS, (15, 0, 15, 2, 2))]

        # Sent again later, each of the hundred ids still names that check-in.
        again = await asyncio.gather(*(phone.send("CheckIn", sent) for sent in many_ids))
        assert all(answer.result and answer.result["replayed"] for answer in again)
        assert await rows(db, EFFECT) == [(2, 2, 1 + SENDS, (15, 0, 15, 2, 2))]
        assert all('"level":"error"' not in site.said() for site in sites)

    verified = await command("ledger", "verify", WELLWARD_DATABASE_URL=database_url)
    assert verified[:2] == (0, "Sound: 1 members, 2 transfers, 0 roots.\n")


async def all_answered_with_one(
    phone: Phone, bases: list[str], sent: list[dict[str, Any]], *, points: int
) -> None:
    """Sends all at once, every other to the other process."""
    answers = await asyncio.gather(
        *(
            phone.send("CheckIn", variables, bases[number % len(bases)])
            for number, variables in enumerate(sent)
        )
    )
    assert {answer.status for answer in answers} == {200}
    record_figure("requests answered", len(answers))
    assert [answer.body for answer in answers if "errors" in answer.body] == []
    results = [answer.result for answer in answers if answer.result is not None]
    assert {result["__typename"] for result in results} == {"CheckInPayload"}
    effects = {result["checkIn"]["id"] for result in results}
    record_figure("check-ins counted", len(effects))
    assert len(effects) == 1
    assert sorted(result["replayed"] for result in results) == [False, *[True] * (len(sent) - 1)]
    assert {result["checkIn"]["pointsAwarded"] for result in results} == {points}
    assert {result["task"]["state"] for result in results} == {"DONE"}
    assert len({result["points"]["available"] for result in results}) == 1
