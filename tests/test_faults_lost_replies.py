"""The database commits and the reply gets lost on its way: whoever asks again is told what
happened the first time, and nothing happens twice."""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from app.db import Database
from tests.figures import record_figure
from tests.phones import Phone, check_in_of, http_client, make_phone, wall_clock
from tests.processes import FULL_COUNTS, command, web
from tests.proxy import COMMIT, WRITE, losing
from tests.tasks_at_work import rows

CLIENTS = 20
EACH = 33 if FULL_COUNTS else 12
LOST_OF_ALL = 0.2
ATTEMPTS_MAX = 12
WALK = "Walk 8000 steps today"
WALKS_PER_DAY = 24


async def until_answered(
    phone: Phone, operation: str, variables: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    """How often it was sent, and the result."""
    for attempt in range(1, ATTEMPTS_MAX + 1):
        answer = await phone.send(operation, variables)
        if answer.result is not None:
            return attempt, answer.result
        [error] = answer.body["errors"]
        assert (answer.status, error["message"]) == (200, "Internal error"), answer
        assert set(error["extensions"]) == {"code", "correlationId"}, answer
    raise AssertionError(f"{operation} was not answered in {ATTEMPTS_MAX} attempts")


async def test_every_mutation_whose_reply_was_lost_is_found_again(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    lost: Counter[str] = Counter()
    armed: set[str] = set()

    def loses(kind: str) -> bool:
        """The next reply of an armed kind, once."""
        if kind not in armed:
            return False
        armed.remove(kind)
        return True

    async with (
        losing(database_url, loses) as proxy,
        web(proxy.url, tmp_path) as [site],
        http_client() as http,
    ):
        phone = await make_phone(db, tmp_path, http, site.base, login="phone")
        tasks = await phone.tasks()
        today = (await phone.send("Home", {})).body["data"]["me"]["today"]
        medication = tasks["Take today's medication"]["id"]
        mutations = [
            (WRITE, "CheckIn", check_in_of(medication, at=wall_clock()), "checkIn"),
            (COMMIT, "SetReminder", reminder(today), "reminder"),
            (COMMIT, "SetConsent", consent(), "consents"),
            (COMMIT, "PauseProgramme", pause(today), "pause"),
        ]
        for kind, operation, variables, field in mutations:
            armed.add(kind)
            attempts, result = await until_answered(phone, operation, variables)
            lost[kind] += 1
            assert (attempts, armed) == (2, set()), operation
            assert result["__typename"] == f"{operation}Payload"
            assert result["replayed"] is True
            _, again = await until_answered(phone, operation, variables)
            assert again[field] == result[field]
        assert proxy.lost == lost

    [facts] = await rows(
        db,
        "select (select count(*) from checkins), (select count(*) from points_transfers),"
        " (select available from wallets), (select count(*) from reminders),"
        " (select count(*) from consents where purpose = 'MARKETING'),"
        " (select count(*) from pauses), (select count(*) from requests)",
    )
    assert tuple(facts) == (1, 1, 5, 1, 1, 1, 4)


async def test_check_ins_count_once_when_a_fifth_of_the_replies_is_lost(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    rng = Random(7)
    total = CLIENTS * EACH
    async with (
        losing(database_url, lambda _: rng.random() < LOST_OF_ALL) as proxy,
        web(proxy.url, tmp_path) as [site],
        http_client() as http,
    ):
        phones = [
            await make_phone(db, tmp_path, http, site.base, login=f"phone{number}")
            for number in range(CLIENTS)
        ]
        outcomes = await asyncio.gather(*(check_in_all(phone) for phone in phones))

        results = [result for of_phone in outcomes for result in of_phone]
        assert {result["__typename"] for result in results} == {"CheckInPayload"}
        assert len({result["checkIn"]["id"] for result in results}) == total
        lost = proxy.lost[WRITE]
        record_figure("check-ins sent", total)
        record_figure("replies lost", lost)
        record_figure("check-ins counted", proxy.committed[WRITE])
        # A reply that was lost is the one reason to be told of an earlier effect.
        assert sum(result["replayed"] for result in results) == lost
        assert proxy.committed[WRITE] == total
        assert lost > total * LOST_OF_ALL / 2

    [counted] = await rows(
        db,
        "select count(*), count(distinct (member_id, assignment_id, local_date, slot)),"
        " (select count(*) from requests),"
        " (select sum(version) from wallets),"
        " (select count(*) from wallets w where (available, earned_total) <> ("
        "   (select coalesce(sum(amount), 0) from points_transfers t"
        "    where t.member_id = w.member_id),"
        "   (select coalesce(sum(points_awarded), 0) from checkins c"
        "    where c.member_id = w.member_id)))"
        " from checkins",
    )
    assert tuple(counted) == (total, total, total, total, 0)
    code, said, _ = await command("ledger", "verify", WELLWARD_DATABASE_URL=database_url)
    assert (code, said.startswith(f"Sound: {CLIENTS} members")) == (0, True), said


async def check_in_all(phone: Phone) -> list[dict[str, Any]]:
    tasks = await phone.tasks()
    paying = [title for title in tasks if title != WALK]
    wanted = (paying + [WALK] * WALKS_PER_DAY)[:EACH]
    at = wall_clock() - timedelta(seconds=1)
    results = []
    for number, title in enumerate(wanted):
        # Two ticks of one instant would be one.
        variables = check_in_of(tasks[title]["id"], at=at - timedelta(milliseconds=number))
        results.append((await until_answered(phone, "CheckIn", variables))[1])
    return results


def reminder(today: str) -> dict[str, Any]:
    return {
        "input": {
            "requestId": str(uuid4()),
            "title": "Evening tablet",
            "kind": "MEDICATION",
            "localTime": "21:30",
            "recurrence": "FREQ=DAILY",
            "startsOn": today,
        }
    }


def consent() -> dict[str, Any]:
    sent = {"requestId": str(uuid4()), "purpose": "MARKETING"}
    return {"input": sent | {"granted": True, "textVersion": "2026-01"}}


def pause(today: str) -> dict[str, Any]:
    return {"input": {"requestId": str(uuid4()), "reason": "TRAVEL", "startsOn": today}}
