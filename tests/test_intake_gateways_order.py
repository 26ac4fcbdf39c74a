"""Events of gateways that are odd, late, out of order or there again."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app import main
from app.config import Settings
from app.db import Database
from app.intake.gateways import processing, receiving
from app.intake.gateways.signatures import Gateway
from tests.factories import NOON, consent, contents
from tests.tasks_at_work import rows
from tests.test_intake_gateways import (
    MORNING,
    SECRETS,
    Clock,
    auth,
    counted,
    daily,
    event,
    make_wearer,
    send,
    send_wearables,
    series,
    sources,
    user,
    weighed,
    work,
)
from tests.toy_server import Toy, run_app


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site(database_url: str, tmp_path: Path, clock: Clock) -> Iterator[Toy]:
    settings = Settings(data_dir=tmp_path, database_url=database_url, gateway_secrets=SECRETS)
    with run_app(main.create_app(settings, now=lambda: clock.now)) as site:
        yield site


@pytest.fixture
async def member(db: Database, site: Toy) -> AsyncIterator[UUID]:
    """Who has connected a Garmin watch at Terra."""
    member = await make_wearer(db)
    assert (await send(site, auth(member))).status_code == 202
    yield member


HOUR = timedelta(hours=1)
GONE = {"type": "deauth", "status": "success", "user": user()}


# Connections


async def test_of_two_changes_in_one_second_the_end_counts(
    db: Database, site: Toy, member: UUID
) -> None:
    """Both are signed at NOON, as the connection was."""
    assert (await send(site, GONE)).json() == {"status": "accepted"}
    assert await sources(db) == [("terra:garmin", "GATEWAY", "DISCONNECTED")]
    late = await send(site, event("daily", daily()))
    assert late.json() == {"status": "ignored"}
    # Whatever the order in which they come.
    for body in (GONE, auth(member), GONE):
        assert (await send(site, body)).json() == {"status": "known"}
    assert await sources(db) == [("terra:garmin", "GATEWAY", "DISCONNECTED")]


# What is beyond all measure


async def test_what_terra_cannot_mean_is_left_out(db: Database, site: Toy, member: UUID) -> None:
    far = ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00")
    await send(site, event("body", *(weighed(70, at) for at in far), weighed(1e30), weighed(71)))
    huge = daily(10**30, active_durations_data={"activity_seconds": 1e300})
    day = daily(500)
    day["metadata"] = {"start_time": far[0], "end_time": far[1]}
    await send(site, event("daily", huge, day))
    assert await work(db) == 2
    assert await rows(db, "select value from measurements where code = 'WEIGHT'") == [(71,)]
    found = await rows(db, "select state, type, outcome from gateway_events order by type")
    assert [(it.state, it.type, it.outcome["rejected"]) for it in found] == [
        ("DONE", "body", {"TIME_UNREADABLE": 2, "VALUE_OUT_OF_RANGE": 1}),
        ("DONE", "daily", {"TIME_UNREADABLE": 1, "VALUE_OUT_OF_RANGE": 2}),
    ]


async def test_what_open_wearables_cannot_mean_is_left_out(
    db: Database, site: Toy, member: UUID
) -> None:
    connected = {
        "type": "connection.created",
        "data": {"user_id": "ow-7", "provider": "oura", "connected_at": MORNING},
    }
    async with db.transaction() as session:
        await receiving.link(
            session, gateway="open-wearables", user_id="ow-7", member_id=member, now=NOON
        )
    assert (await send_wearables(site, connected, id="a")).status_code == 202
    await send_wearables(
        site,
        series(
            "steps",
            counted(MORNING, 1e30),
            counted("9999-12-31T23:59:59-12:00", 10),
            counted(MORNING, 1e30, is_daily_total=True),
            counted(MORNING, 120),
        ),
        id="b",
    )
    assert await work(db) == 1
    [(outcome,)] = await rows(db, "select outcome from gateway_events")
    assert outcome["rejected"] == {"VALUE_OUT_OF_RANGE": 2, "TIME_UNREADABLE": 1}
    assert await rows(db, "select value from daily_totals") == [(Decimal(120),)]


# Late and out of order


def on(day: str, steps: int) -> dict[str, Any]:
    metadata = {"start_time": f"{day}T00:00:00+08:00", "end_time": f"{day}T23:59:00+08:00"}
    return {"metadata": metadata, "distance_data": {"steps": steps}}


async def test_a_day_that_comes_too_late_is_refused_as_the_apps_is(
    db: Database, site: Toy, member: UUID
) -> None:
    await send(site, event("daily", on("2026-01-30", 4000), on("2026-01-31", 5000)))
    assert await work(db) == 1
    [(outcome,)] = await rows(db, "select outcome from gateway_events")
    assert outcome == {"accepted": 1, "known": 0, "rejected": {"TOO_OLD": 1}}
    found = await rows(db, "select local_date, value from daily_totals")
    assert found == [(date(2026, 1, 31), Decimal(5000))]


async def waiting(db: Database) -> list[str]:
    found = await rows(
        db, "select id from gateway_events where state = 'WAITING' order by received_at"
    )
    return [id for (id,) in found]


async def read(db: Database, member: UUID, *ids: str, gateway: str = "terra") -> None:
    for id in ids:
        await processing.process(
            db, member_id=member, gateway=Gateway(gateway), event_id=id, now=NOON + HOUR
        )


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_what_was_said_last_stands_in_whatever_order_it_is_read(
    db: Database, site: Toy, clock: Clock, member: UUID, order: tuple[int, ...]
) -> None:
    said = (
        [on("2026-03-01", 9000)],
        [on("2026-03-01", 4000), on("2026-03-02", 100)],
        # Of the second day nothing.
        [on("2026-03-01", 5000)],
    )
    for minute, days in enumerate(said):
        clock.now = NOON + timedelta(minutes=minute)
        await send(site, event("daily", *days), at=clock.now)
    ids = await waiting(db)
    await read(db, member, *(ids[place] for place in order))
    found = await rows(db, "select local_date, value from daily_total_days order by 1")
    assert found == [(date(2026, 3, 1), Decimal(5000)), (date(2026, 3, 2), Decimal(100))]
    assert await waiting(db) == []


async def test_the_last_of_eight_stands_when_all_are_read_at_once(
    db: Database, site: Toy, clock: Clock, member: UUID
) -> None:
    for minute in range(8):
        clock.now = NOON + timedelta(minutes=minute)
        await send(site, event("daily", on("2026-03-01", 9000 - minute)), at=clock.now)
    await asyncio.gather(*(read(db, member, id) for id in await waiting(db)))
    assert await rows(db, "select value from daily_total_days") == [(Decimal(8993),)]


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_parts_of_a_day_come_to_the_same_in_whatever_order_they_are_read(
    db: Database, site: Toy, clock: Clock, member: UUID, order: tuple[int, ...]
) -> None:
    async with db.transaction() as session:
        await receiving.link(
            session, gateway="open-wearables", user_id="ow-7", member_id=member, now=NOON
        )
    at = "2026-03-01T{:02d}:00:00+08:00"
    said = ({8: 100}, {9: 50, 10: 10}, {10: 20, 11: 1})
    for minute, hours in enumerate(said):
        clock.now = NOON + timedelta(minutes=minute)
        body = series("steps", *(counted(at.format(it), value) for it, value in hours.items()))
        await send_wearables(site, body, id=f"part-{minute}", at=clock.now)
    ids = await waiting(db)
    await read(db, member, *(ids[place] for place in order), gateway="open-wearables")
    assert await rows(db, "select value from daily_total_days") == [(100 + 50 + 20 + 1,)]


# Consent


@pytest.mark.parametrize("purpose", ["HEALTH_DATA", "DEVICE_DATA"])
async def test_without_consent_nothing_of_an_event_is_stored(
    db: Database, site: Toy, member: UUID, purpose: str
) -> None:
    async with db.transaction() as session:
        session.add(consent(member, purpose, "WITHDRAWN", version=2))
    before = await contents(db)
    response = await send(site, event("daily", daily()))
    assert (response.status_code, response.json()) == (200, {"status": "ignored"})
    assert await contents(db) == before
    async with db.transaction() as session:
        session.add(consent(member, purpose, "GRANTED", version=3))
    assert (await send(site, event("daily", daily()))).json() == {"status": "accepted"}


# Again


async def test_a_total_that_went_back_to_what_it_was_is_said_anew(
    db: Database, site: Toy, clock: Clock, member: UUID
) -> None:
    one, other = (event("daily", on("2026-03-01", steps)) for steps in (5000, 9000))
    answers = []
    for minute, body in (
        (0, one),
        (5, one),
        (70, one),
        (71, other),
        (72, other),
        (140, one),
        (141, one),
    ):
        clock.now = NOON + timedelta(minutes=minute)
        answers.append((await send(site, body, at=clock.now)).json()["status"])
        await work(db, clock.now)
    assert answers == ["accepted", "known", "known", "accepted", "known", "accepted", "known"]
    assert await rows(db, "select value from daily_total_days") == [(Decimal(5000),)]
    assert await rows(db, "select count(*) from daily_totals") == [(3,)]
    # And there again.
    for minute, body in ((141, other), (300, other), (301, one), (400, one)):
        clock.now = NOON + timedelta(minutes=minute)
        await send(site, body, at=clock.now)
        await work(db, clock.now)
    assert await rows(db, "select value from daily_total_days") == [(Decimal(5000),)]
    assert await rows(db, "select count(*) from daily_totals") == [(5,)]


async def test_a_late_attempt_of_what_was_replaced_replaces_nothing(
    db: Database, site: Toy, clock: Clock, member: UUID
) -> None:
    one, other = (event("daily", on("2026-03-01", steps)) for steps in (5000, 9000))
    answers = []
    for minute, body in ((0, one), (1, other), (59, one)):
        clock.now = NOON + timedelta(minutes=minute)
        answers.append((await send(site, body, at=clock.now)).json()["status"])
        await work(db, clock.now)
    assert answers == ["accepted", "accepted", "known"]
    assert await rows(db, "select value from daily_total_days") == [(Decimal(9000),)]
