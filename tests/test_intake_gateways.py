"""Device gateways over HTTP: who may send, what is kept of it, and what happens again."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from app import main
from app.config import Settings
from app.db import Database
from app.errors import ConfigurationError
from app.gateways import BODY_BYTES_MAX, read_secrets
from app.graphql.ids import Kind, encode
from app.intake.gateways import processing, receiving
from app.intake.gateways.signatures import Gateway
from tests.factories import NOON, consent, contents, counts, make_member
from tests.tasks_at_work import rows
from tests.toy_server import Toy, run_app

OLD, NEW = "terra-secret-of-last-year", "terra-secret-of-this-year"
KEY = base64.b64encode(b"a key of thirty-two random bytes").decode()
SECRETS = {"terra": [NEW, OLD], "open-wearables": [f"whsec_{KEY}"]}
USER = "4735eac4-31a2-47ef-8b11-51e98d84c680"
MORNING = "2026-03-02T08:00:00+08:00"


class Clock:
    now: datetime = NOON


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
    response = await send(site, auth(member))
    assert (response.status_code, response.json()) == (202, {"status": "accepted"})
    yield member


async def make_wearer(db: Database, **given: Any) -> UUID:
    member = await make_member(db, **given)
    async with db.transaction() as session:
        session.add(consent(member, "DEVICE_DATA", "GRANTED"))
    return member


def terra_headers(body: bytes, at: datetime, secret: str = NEW) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"terra-signature": f"t={stamp},v1={digest}"}


def svix_headers(
    body: bytes, at: datetime, *, id: str = "msg_1", key: str = KEY, name: str = "svix"
) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    signed = f"{id}.{stamp}.".encode() + body
    digest = hmac.new(base64.b64decode(key), signed, hashlib.sha256).digest()
    return {
        f"{name}-id": id,
        f"{name}-timestamp": stamp,
        f"{name}-signature": f"v1,{base64.b64encode(b'0' * 32).decode()} "
        f"v1,{base64.b64encode(digest).decode()}",
    }


async def post(
    site: Toy, content: bytes, headers: dict[str, str], *, gateway: str = "terra"
) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.post(
            f"{site.base}/gateways/{gateway}/events",
            content=content,
            headers={"content-type": "application/json", **headers},
        )


async def send(site: Toy, event: Any, *, at: datetime = NOON) -> httpx.Response:
    body = json.dumps(event).encode()
    return await post(site, body, terra_headers(body, at))


async def send_wearables(site: Toy, event: Any, *, id: str, at: datetime = NOON) -> httpx.Response:
    body = json.dumps(event).encode()
    return await post(site, body, svix_headers(body, at, id=id), gateway="open-wearables")


def user(**changes: Any) -> dict[str, Any]:
    return {"user_id": USER, "provider": "GARMIN", "active": True, "scopes": "ALL"} | changes


def auth(member: UUID, kind: str = "auth", **changes: Any) -> dict[str, Any]:
    reference = encode(Kind.MEMBER, member)
    whole = user(reference_id=reference)
    return {"type": kind, "status": "success", "user": whole, "reference_id": reference} | changes


def event(kind: str, *data: Any, **changes: Any) -> dict[str, Any]:
    return {"type": kind, "user": user(**changes), "data": list(data), "version": "2022-03-16"}


def daily(steps: int = 8123, **changes: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "start_time": "2026-03-01T00:00:00.000000+08:00",
            "end_time": "2026-03-02T00:00:00.000000+08:00",
        },
        "distance_data": {"steps": steps, "distance_meters": 6210.5, "floors_climbed": 4},
        "active_durations_data": {"activity_seconds": 1980},
        "calories_data": {"net_activity_calories": 412.6, "total_burned_calories": 2100},
        "heart_rate_data": {
            "summary": {"resting_hr_bpm": 58},
            "detailed": {
                "hr_samples": [
                    {"timestamp": f"2026-03-01T10:{i:02d}:00+08:00", "bpm": 80 + i}
                    for i in range(10)
                ]
            },
        },
    } | changes


def weighed(kg: float = 70.5, at: str = MORNING) -> dict[str, Any]:
    return {
        "metadata": {},
        "measurements_data": {"measurements": [{"measurement_time": at, "weight_kg": kg}]},
    }


async def work(db: Database, now: datetime = NOON) -> int:
    """Reads what waits, as the job does; how many events that were."""
    waiting = await rows(
        db, "select member_id, gateway, id from gateway_events where state = 'WAITING' order by id"
    )
    for it in waiting:
        await processing.process(
            db, member_id=it.member_id, gateway=Gateway(it.gateway), event_id=it.id, now=now
        )
    return len(waiting)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["errors"][0]["extensions"]["code"]


async def sources(db: Database) -> list[tuple[str, str, str]]:
    found = await rows(db, "select source_id, kind, state from connections order by 1")
    return [tuple(row) for row in found]  # type: ignore[misc]


# What is kept


async def test_a_day_of_a_watch(db: Database, site: Toy, member: UUID) -> None:
    response = await send(site, event("daily", daily()))
    assert (response.status_code, response.json()) == (202, {"status": "accepted"})
    jobs = await rows(db, "select entrypoint from pgqueuer where entrypoint like 'intake%'")
    assert jobs == [("intake.gateway_event",)]
    assert await work(db) == 1
    totals = await rows(
        db, "select code, local_date, value, source_id, channel from daily_totals order by code"
    )
    assert [(row.code, row.value) for row in totals] == [
        ("ACTIVE_ENERGY", Decimal("412.6")),
        ("ACTIVE_MINUTES", Decimal(33)),
        ("DISTANCE_WALK_RUN", Decimal("6210.5")),
        ("FLIGHTS_CLIMBED", Decimal(4)),
        ("STEPS", Decimal(8123)),
    ]
    assert {(row.local_date, row.source_id, row.channel) for row in totals} == {
        (date(2026, 3, 1), "terra:garmin", "GATEWAY")
    }
    assert await rows(db, "select code, value, trust from measurements") == [
        ("RESTING_HEART_RATE", Decimal(58), "MEDIUM")
    ]
    assert await rows(db, "select n, minimum, maximum from measurement_streams") == [(10, 80, 89)]
    [ended] = await rows(db, "select state, body, outcome from gateway_events")
    assert (ended.state, ended.body) == ("DONE", None)
    assert ended.outcome == {"accepted": 16, "known": 0, "rejected": {}}


async def test_a_body_and_a_night(db: Database, site: Toy, member: UUID) -> None:
    body = weighed() | {
        "blood_pressure_data": {
            "blood_pressure_samples": [
                {"timestamp": MORNING, "systolic_bp": 128, "diastolic_bp": 82}
            ]
        },
        "glucose_data": {
            "blood_glucose_samples": [{"timestamp": MORNING, "blood_glucose_mg_per_dL": 99}]
        },
        "temperature_data": {
            "body_temperature_samples": [{"timestamp": MORNING, "temperature_celsius": 36.6}]
        },
    }
    night = {
        "metadata": {"start_time": "2026-03-01T23:00:00+08:00", "end_time": MORNING},
        "sleep_durations_data": {"asleep": {"duration_asleep_state_seconds": 27000}},
    }
    await send(site, event("body", body))
    await send(site, event("sleep", night))
    assert await work(db) == 2
    assert [tuple(row) for row in await rows(
        db, "select code, value, local_date from measurements order by code"
    )] == [
        ("BODY_TEMPERATURE", Decimal("36.6"), date(2026, 3, 2)),
        ("DIASTOLIC_BP", Decimal(82), date(2026, 3, 2)),
        ("RANDOM_GLUCOSE", Decimal("5.495"), date(2026, 3, 2)),
        ("SLEEP_DURATION", Decimal("7.5"), date(2026, 3, 2)),
        ("SYSTOLIC_BP", Decimal(128), date(2026, 3, 2)),
        ("WEIGHT", Decimal("70.5"), date(2026, 3, 2)),
    ]  # fmt: skip


async def test_a_restated_day_replaces_the_one_before_and_may_go_back(
    db: Database, site: Toy, member: UUID
) -> None:
    for minute, steps in enumerate((5000, 9000, 5000)):
        # The third says what the first said, with another heart rate: another event.
        body = event(
            "daily", daily(steps, heart_rate_data={"summary": {"resting_hr_bpm": 55 + minute}})
        )
        await send(site, body)
        await work(db, NOON + timedelta(minutes=minute))
    found = await rows(
        db, "select value from daily_totals where code = 'STEPS' and superseded_at is null"
    )
    assert found == [(Decimal(5000),)]
    assert await rows(db, "select count(*) from daily_totals where code = 'STEPS'") == [(3,)]


async def test_what_is_wrong_is_left_out_and_the_rest_is_kept(
    db: Database, site: Toy, member: UUID
) -> None:
    nonsense = {"measurement_time": MORNING, "weight_kg": "x"}
    data = [
        weighed(7000, at="2026-03-02T07:00:00+08:00"),
        weighed(at="yesterday"),
        {"measurements_data": {"measurements": [nonsense, None, 7, {}]}},
        {"measurements_data": []},
        [],
        weighed(70),
    ]
    await send(site, event("body", *data))
    await work(db)
    assert await rows(db, "select value from measurements") == [(Decimal(70),)]
    [(outcome,)] = await rows(db, "select outcome from gateway_events")
    assert outcome == {
        "accepted": 1,
        "known": 0,
        "rejected": {"VALUE_OUT_OF_RANGE": 1, "TIME_UNREADABLE": 1, "VALUE_UNREADABLE": 1},
    }


# Open Wearables


def series(kind: str, *samples: Any) -> dict[str, Any]:
    return {
        "type": f"{kind}.created",
        "data": {"user_id": "ow-7", "provider": "oura", "series_type": kind, "samples": samples},
    }


def counted(at: str, value: float, **changes: Any) -> dict[str, Any]:
    usual = {"timestamp": at, "type": "steps", "value": value, "unit": "count"}
    return usual | {"is_daily_total": False} | changes


async def test_parts_of_a_day_add_up_however_they_come(db: Database, site: Toy) -> None:
    member = await make_wearer(db)
    async with db.transaction() as session:
        await receiving.link(
            session, gateway="open-wearables", user_id="ow-7", member_id=member, now=NOON
        )
    first = series(
        "steps", *(counted(f"2026-03-01T{h:02d}:00:00+08:00", 100) for h in range(8, 12))
    )
    second = series(
        "steps",
        counted("2026-03-01T11:00:00+08:00", 150),
        counted("2026-03-01T11:05:00+08:00", 40),
        counted("2026-03-01T07:00:00+08:00", 10),
    )
    for id, body in (("a", first), ("b", second), ("c", first | {"x": 1}), ("b", second)):
        await send_wearables(site, body, id=id)
        await work(db)
    [day] = await rows(db, "select value, intervals from daily_totals where superseded_at is null")
    # The third event says again what the first said, of 11:00 too.
    assert day.value == 100 * 4 + 40 + 10
    assert len(day.intervals) == 6
    whole = series("steps", counted("2026-03-01T00:00:00+08:00", 900, is_daily_total=True))
    await send_wearables(site, whole, id="d")
    await work(db)
    assert await rows(db, "select value from daily_total_days") == [(Decimal(900),)]


async def test_series_nights_and_what_is_none_of_ours(db: Database, site: Toy) -> None:
    member = await make_wearer(db)
    async with db.transaction() as session:
        await receiving.link(
            session, gateway="open-wearables", user_id="ow-7", member_id=member, now=NOON
        )
    beats = [
        {"timestamp": f"2026-03-01T08:{i:02d}:00+08:00", "type": "heart_rate", "value": 60 + i, "unit": "bpm"}
        for i in range(5)
    ]  # fmt: skip
    night = {
        "type": "sleep.created",
        "data": {
            "user_id": "ow-7", "start_time": "2026-03-01T23:00:00+08:00", "end_time": MORNING,
            "sleep_duration_seconds": 25200.0, "source": {"provider": "oura"},
        },
    }  # fmt: skip
    workout = night | {"type": "workout.created"}
    stress = series("stress", {"timestamp": MORNING, "type": "garmin_stress_level", "value": 30})
    answers = [
        await send_wearables(site, body, id=f"m{place}")
        for place, body in enumerate((series("heart_rate", *beats), night, workout, stress))
    ]
    assert [it.json()["status"] for it in answers] == [
        "accepted",
        "accepted",
        "ignored",
        "accepted",
    ]
    await work(db)
    assert await rows(db, "select code, value from measurements") == [
        ("SLEEP_DURATION", Decimal(7))
    ]
    assert await rows(db, "select n from measurement_streams") == [(5,)]


# Once


async def test_what_is_sent_again_changes_nothing(db: Database, site: Toy, member: UUID) -> None:
    body = json.dumps(event("daily", daily())).encode()
    headers = terra_headers(body, NOON)
    first = await post(site, body, headers)
    before = await contents(db)
    # The very same request, and another attempt of the gateway a minute later.
    for again in (headers, terra_headers(body, NOON + timedelta(minutes=1))):
        response = await post(site, body, again)
        assert (response.status_code, response.json()) == (200, {"status": "known"})
    assert await contents(db) == before
    assert first.status_code == 202
    await work(db)
    done = await contents(db)
    assert (await post(site, body, headers)).json() == {"status": "known"}
    assert await work(db) == 0
    assert await contents(db) == done


async def test_eight_attempts_at_once_are_one_event(db: Database, site: Toy, member: UUID) -> None:
    answers = await asyncio.gather(*(send(site, event("daily", daily())) for _ in range(8)))
    assert sorted(it.json()["status"] for it in answers) == ["accepted"] + ["known"] * 7
    assert await rows(db, "select count(*) from gateway_events") == [(1,)]
    [it] = await rows(db, "select member_id, id from gateway_events")
    await asyncio.gather(
        *(
            processing.process(
                db, member_id=it.member_id, gateway=Gateway.TERRA, event_id=it.id, now=NOON
            )
            for _ in range(8)
        )
    )
    assert await rows(db, "select count(*) from daily_totals") == [(5,)]
    assert await rows(db, "select sum(n) from measurement_streams") == [(10,)]


async def test_a_job_that_died_in_the_middle_is_run_again(
    db: Database, site: Toy, member: UUID
) -> None:
    await send(site, event("daily", daily()))
    await work(db)
    kept = await contents(db, "measurements", "daily_totals", "measurement_streams")
    body = json.dumps(event("daily", daily())).encode()
    async with db.write() as connection:
        await connection.execute(
            text("update gateway_events set state = 'WAITING', body = :body"), {"body": body}
        )
    assert await work(db) == 1
    assert await contents(db, "measurements", "daily_totals", "measurement_streams") == kept


async def test_that_an_event_came_is_forgotten_after_a_month(
    db: Database, site: Toy, member: UUID
) -> None:
    await send(site, event("daily", daily()))
    await processing.forget(db, now=NOON + timedelta(days=30))
    assert await rows(db, "select count(*) from gateway_events") == [(1,)]
    await processing.forget(db, now=NOON + timedelta(days=30, seconds=1))
    assert await rows(db, "select count(*) from gateway_events") == [(0,)]


# Who may send


async def test_only_who_knows_the_secret_may_send(db: Database, site: Toy, member: UUID) -> None:
    before = await counts(db)
    body = json.dumps(event("daily", daily())).encode()
    other = json.dumps(event("daily", daily(9000))).encode()
    good = terra_headers(body, NOON)["terra-signature"]
    stamp, digest = good.split(",")
    bad = [
        {},
        {"terra-signature": ""},
        {"terra-signature": stamp},
        {"terra-signature": digest},
        {"terra-signature": f"{stamp},v1="},
        {"terra-signature": f"{stamp},v1=" + "0" * 64},
        {"terra-signature": f"t=1,{digest}"},
        {"terra-signature": f"t=1,{good}"},
        {"terra-signature": f"t=-5,{digest}"},
        {"terra-signature": good + "x" * 3000},
        terra_headers(body, NOON, "another-secret-altogether"),
        terra_headers(other, NOON),
        svix_headers(body, NOON),
    ]
    for headers in bad:
        assert code(await post(site, body, headers)) == (401, "SIGNATURE_REFUSED"), headers
    for gateway, name in (("open-wearables", "svix"), ("open-wearables", "webhook")):
        wrong = base64.b64encode(b"another key, of another gateway!").decode()
        signed = svix_headers(body, NOON, key=wrong, name=name)
        assert code(await post(site, body, signed, gateway=gateway)) == (401, "SIGNATURE_REFUSED")
    assert await counts(db) == before


async def test_both_secrets_sign_while_they_change_and_svix_by_either_name(
    db: Database, site: Toy, member: UUID
) -> None:
    for steps, secret in ((1000, OLD), (2000, NEW)):
        body = json.dumps(event("daily", daily(steps))).encode()
        assert (await post(site, body, terra_headers(body, NOON, secret))).status_code == 202
    unknown = json.dumps(series("steps", counted(MORNING, 1))).encode()
    for name in ("svix", "webhook"):
        headers = svix_headers(unknown, NOON, name=name)
        response = await post(site, unknown, headers, gateway="open-wearables")
        assert code(response) == (404, "USER_UNKNOWN")


@pytest.mark.parametrize(
    ("seconds", "status"), [(-301, 401), (-300, 202), (0, 202), (300, 202), (301, 401)]
)
async def test_a_request_is_good_for_five_minutes(
    site: Toy, member: UUID, seconds: int, status: int
) -> None:
    response = await send(site, event("daily", daily()), at=NOON + timedelta(seconds=seconds))
    assert response.status_code == status


@pytest.mark.parametrize("gateway", ["garmin", "terra/..", "TERRA", "%00"])
async def test_there_is_no_other_gateway(site: Toy, gateway: str) -> None:
    body = b"{}"
    response = await post(site, body, terra_headers(body, NOON), gateway=gateway)
    assert response.status_code in (400, 404)


async def test_a_gateway_without_a_secret_may_not_send(database_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=database_url)
    with run_app(main.create_app(settings, now=lambda: NOON)) as site:
        body = b"{}"
        assert code(await post(site, body, terra_headers(body, NOON))) == (404, "NOT_FOUND")
        async with httpx.AsyncClient() as client:
            found = await client.get(f"{site.base}/gateways/terra/events")
        assert found.status_code == 405


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{", b"\xff", b'{"type": 7}', b'{"type": "daily", "user": 7}',
        b'{"type": "daily", "user": {"user_id": 7, "provider": "GARMIN"}}',
        b'{"type": "daily", "user": {"user_id": "a b", "provider": "GARMIN"}}',
        b'{"type": "daily", "user": {"user_id": "a", "provider": null}}',
        b'{"type": "\\u0000", "user": {}}', b"[" * 5000, b'{"a":' * 900 + b"1" + b"}" * 900,
    ],
)  # fmt: skip
async def test_what_is_signed_but_no_event_is_refused(db: Database, site: Toy, body: bytes) -> None:
    before = await counts(db)
    response = await post(site, body, terra_headers(body, NOON))
    assert response.status_code == 400
    assert await counts(db) == before


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(site: Toy) -> None:
    host, port = site.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /gateways/terra/events HTTP/1.1\r\nhost: {host}\r\n"
    writer.write(f"{head}content-length: {BODY_BYTES_MAX + 1}\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ") and b"BODY_TOO_LARGE" in answer


# Connections


async def test_an_event_of_nobody_we_know_is_to_be_sent_again(
    db: Database, site: Toy, member: UUID
) -> None:
    before = await counts(db)
    response = await send(site, event("daily", daily(), user_id="somebody-else"))
    assert code(response) == (404, "USER_UNKNOWN")
    stranger = auth(UUID(int=7), user=user(user_id="new", reference_id=str(UUID(int=7))))
    assert code(await send(site, stranger)) == (404, "USER_UNKNOWN")
    assert await counts(db) == before


async def test_a_user_does_not_become_another_members(
    db: Database, site: Toy, member: UUID
) -> None:
    other = await make_wearer(db)
    before = await contents(db)
    response = await send(site, auth(other), at=NOON + timedelta(seconds=1))
    assert code(response) == (409, "USER_TAKEN")
    assert await contents(db) == before


async def test_deauthorisation_stops_everything_until_the_member_connects_again(
    db: Database, site: Toy, member: UUID
) -> None:
    assert await sources(db) == [("terra:garmin", "GATEWAY", "CONNECTED")]
    await send(site, event("daily", daily(1000)))  # Accepted, not yet read.
    gone = {"type": "deauth", "status": "success", "user": user()}
    assert (await send(site, gone, at=NOON + timedelta(seconds=5))).status_code == 202
    assert await sources(db) == [("terra:garmin", "GATEWAY", "DISCONNECTED")]

    late = await send(site, event("daily", daily(2000)), at=NOON + timedelta(seconds=6))
    assert (late.status_code, late.json()) == (200, {"status": "ignored"})
    await work(db)
    assert await rows(db, "select 1 from daily_totals") == []
    assert await rows(db, "select state, body from gateway_events") == [("IGNORED", None)]
    assert await sources(db) == [("terra:garmin", "GATEWAY", "DISCONNECTED")]

    again = await send(site, auth(member), at=NOON + timedelta(seconds=10))
    assert again.json() == {"status": "accepted"}
    # The deauthorisation comes a second time, late: it is older than the new connection.
    old = await send(site, gone, at=NOON + timedelta(seconds=9))
    assert old.json() == {"status": "known"}
    assert await sources(db) == [("terra:garmin", "GATEWAY", "CONNECTED")]
    await send(site, event("daily", daily(3000)))
    await work(db)
    found = await rows(db, "select value from daily_totals where code = 'STEPS'")
    assert found == [(Decimal(3000),)]


async def test_access_revoked_and_a_new_name_for_the_same_person(
    db: Database, site: Toy, member: UUID
) -> None:
    revoked = {"type": "access_revoked", "user": user()}
    await send(site, revoked, at=NOON + timedelta(seconds=1))
    assert await sources(db) == [("terra:garmin", "GATEWAY", "DISCONNECTED")]
    moved = {
        "type": "user_reauth", "status": "warning",
        "old_user": user(), "new_user": user(user_id="new-name"),
    }  # fmt: skip
    await send(site, moved, at=NOON + timedelta(seconds=2))
    assert await sources(db) == [("terra:garmin", "GATEWAY", "CONNECTED")]
    old = await send(site, event("body", weighed()))
    new = await send(site, event("body", weighed(), user_id="new-name"))
    assert (old.json()["status"], new.json()["status"]) == ("ignored", "accepted")


async def test_open_wearables_connects_and_revokes_each_provider(db: Database, site: Toy) -> None:
    member = await make_wearer(db)
    async with db.transaction() as session:
        await receiving.link(
            session, gateway="open-wearables", user_id="ow-7", member_id=member, now=NOON
        )

    def connection(what: str, provider: str, at: str) -> dict[str, Any]:
        name = "connected_at" if what == "created" else "revoked_at"
        data = {"user_id": "ow-7", "provider": provider, "connection_id": "c", name: at}
        return {"type": f"connection.{what}", "data": data}

    for place, (what, provider, at) in enumerate(
        [
            ("created", "oura", "2026-03-01T00:00:00+00:00"),
            ("created", "garmin", "2026-03-01T00:00:00+00:00"),
            ("revoked", "garmin", "2026-03-01T01:00:00+00:00"),
            # Late, and older than what is known.
            ("created", "garmin", "2026-03-01T00:30:00+00:00"),
        ]
    ):
        await send_wearables(site, connection(what, provider, at), id=f"c{place}")
    assert await sources(db) == [
        ("open-wearables:garmin", "GATEWAY", "DISCONNECTED"),
        ("open-wearables:oura", "GATEWAY", "CONNECTED"),
    ]
    oura = series("steps", counted(MORNING, 10))
    garmin = {**oura, "data": oura["data"] | {"provider": "garmin"}}
    answers = [
        (await send_wearables(site, body, id=f"s{place}")).json()["status"]
        for place, body in enumerate((oura, garmin))
    ]
    assert answers == ["accepted", "ignored"]


async def test_without_consent_an_event_is_dropped(db: Database, site: Toy, member: UUID) -> None:
    await send(site, event("daily", daily()))
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    await work(db)
    assert await rows(db, "select state, body from gateway_events") == [("IGNORED", None)]
    assert await rows(db, "select 1 from daily_totals") == []


async def test_health_checks_of_gateways_are_answered(site: Toy) -> None:
    for body in ({"type": "healthcheck"}, {"type": "processing", "user": user()}):
        response = await send(site, body)
        assert (response.status_code, response.json()) == (200, {"status": "ignored"})


# Secrets


@pytest.mark.parametrize(
    "secrets",
    [
        {"garmin": ["a secret of some length"]},
        {"terra": []},
        {"terra": ["one secret of three", "two secrets of three", "three secrets of three"]},
        {"terra": ["tiny"]},
        {"open-wearables": ["whsec_not base64 at all!"]},
    ],
)
def test_secrets_that_cannot_be_meant_forbid_a_start(secrets: dict[str, list[str]]) -> None:
    with pytest.raises(ConfigurationError) as error:
        read_secrets(Settings(gateway_secrets=secrets))
    assert not any(it in str(error.value) for given in secrets.values() for it in given)


def test_secrets_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WELLWARD_GATEWAY_SECRETS", json.dumps(SECRETS))
    settings = Settings()
    found = read_secrets(settings)
    assert found[Gateway.TERRA] == [NEW.encode(), OLD.encode()]
    assert found[Gateway.OPEN_WEARABLES] == [base64.b64decode(KEY)]
    assert NEW not in repr(settings)
