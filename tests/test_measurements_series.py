"""Readings, streams and totals by local day and week."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from app.db import Database, StatementCount
from app.graphql.paging import write_cursor
from app.measurements import known
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    consent,
    execute,
    make_staff,
    refused,
)
from tests.recordings import make_recorder, reading, record, record_totals, total

SERIES = """query ($code: MeasurementCode!, $per: SummaryPeriod, $since: Date, $first: Int, $after: String) {
  me { measurementSummaries(code: $code, per: $per, since: $since, first: $first, after: $after) {
    edges { node { startsOn endsOn count minimum mean maximum unit } }
    pageInfo { hasNextPage endCursor } } } }"""


async def series(db: Database, member, code="WEIGHT", **variables) -> dict:
    data = await execute(SERIES, {"code": code, **variables}, context=as_member(db, member))
    return data["me"]["measurementSummaries"]


def nodes(page: dict) -> list[dict]:
    return [edge["node"] for edge in page["edges"]]


async def weigh(db: Database, member, *values: tuple[int, str]) -> None:
    """(days ago, kilograms)"""
    sent = [
        reading(value, measuredAt=(NOON - timedelta(days=days, minutes=n)).isoformat())
        for n, (days, value) in enumerate(values)
    ]
    assert (await record(db, member, *sent))["accepted"] == len(values)


async def test_a_day_has_number_range_and_mean(db: Database) -> None:
    member = await make_recorder(db)
    await weigh(db, member, (0, "70"), (0, "71"), (0, "70.5"), (2, "73"))
    assert nodes(await series(db, member)) == [
        {
            "startsOn": date(2026, 3, 2),
            "endsOn": date(2026, 3, 2),
            "count": 3,
            "minimum": "70",
            "mean": "70.5",
            "maximum": "71",
            "unit": "kg",
        },
        {
            "startsOn": date(2026, 2, 28),
            "endsOn": date(2026, 2, 28),
            "count": 1,
            "minimum": "73",
            "mean": "73",
            "maximum": "73",
            "unit": "kg",
        },
    ]


async def test_a_week_begins_on_monday(db: Database) -> None:
    member = await make_recorder(db)
    await weigh(db, member, (0, "70"), (1, "72"), (7, "74"), (8, "76"))
    weeks = [
        (node["startsOn"], node["endsOn"], node["count"], node["mean"])
        for node in nodes(await series(db, member, per="WEEK"))
    ]
    assert weeks == [
        (date(2026, 3, 2), date(2026, 3, 8), 1, "70"),
        (date(2026, 2, 23), date(2026, 3, 1), 2, "73"),
        (date(2026, 2, 16), date(2026, 2, 22), 1, "76"),
    ]
    since = await series(db, member, per="WEEK", since="2026-02-23")
    assert [node["mean"] for node in nodes(since)] == ["70", "73"]


async def test_streams_weigh_as_much_as_they_have_values(db: Database) -> None:
    member = await make_recorder(db)
    start = NOON - timedelta(hours=1)

    def beat(second: int, value: str, **changes) -> dict:
        at = (start + timedelta(seconds=second)).isoformat()
        return reading(value, "/min", "HEART_RATE", measuredAt=at, **changes)

    await record(
        db, member, *(beat(n, "60") for n in range(9)), beat(2000, "90"),
        beat(5, "121", context="AT_REST", method="SELF_REPORTED"),
    )  # fmt: skip
    [day] = nodes(await series(db, member, "HEART_RATE"))
    assert (day["count"], day["minimum"], day["mean"], day["maximum"]) == (
        11,
        "60",
        "68.273",
        "121",
    )


async def test_running_totals_count_days(db: Database) -> None:
    member = await make_recorder(db)
    await record_totals(
        db, member, total("4000"), total("9000", "watch"), total("5000", localDate="2026-03-01"),
        total("7000", localDate="2026-02-28"),
    )  # fmt: skip
    weeks = nodes(await series(db, member, "STEPS", per="WEEK"))
    assert [(it["count"], it["minimum"], it["mean"], it["maximum"]) for it in weeks] == [
        (1, "9000", "9000", "9000"),
        (2, "5000", "6000", "7000"),
    ]


async def test_pages_are_complete_and_superseded_values_are_not_in_them(db: Database) -> None:
    member = await make_recorder(db)
    await weigh(db, member, *((days, str(60 + days)) for days in range(7)))
    at = NOON.isoformat()
    await record(db, member, reading("80", measuredAt=at))
    found, after = [], None
    while True:
        page = await series(db, member, first=3, after=after)
        found += nodes(page)
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert [node["mean"] for node in found] == ["80", "61", "62", "63", "64", "65", "66"]


@pytest.mark.parametrize("variables", [{"first": 101}, {"after": "x"}])
async def test_impossible_pages_are_refused(db: Database, variables) -> None:
    member = await make_recorder(db)
    sent = {"code": "WEIGHT", **variables}
    assert await refused(SERIES, sent, context=as_member(db, member)) == "BAD_REQUEST"


async def test_an_employee_sees_them_while_the_member_consents(db: Database) -> None:
    member, manager = await make_recorder(db), await make_staff(db)
    await assign(db, manager, member)
    await weigh(db, member, (0, "70"))
    await record_totals(db, member, total())
    from app.graphql.ids import Kind, encode

    query = """query ($id: ID!) { member(id: $id) {
      measurementSummaries(code: WEIGHT) { edges { node { mean } } }
      dailyTotals(code: STEPS) { edges { node { id value } } } } }"""
    sent = {"id": encode(Kind.MEMBER, member)}
    shown = (await execute(query, sent, context=as_staff(db, manager)))["member"]
    assert [node["mean"] for node in nodes(shown["measurementSummaries"])] == ["70"]
    [day] = nodes(shown["dailyTotals"])
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    shown = (await execute(query, sent, context=as_staff(db, manager)))["member"]
    assert nodes(shown["measurementSummaries"]) == nodes(shown["dailyTotals"]) == []
    node = "query ($id: ID!) { node(id: $id) { id } }"
    assert (await execute(node, {"id": day["id"]}, context=as_staff(db, manager)))["node"] is None
    own = await execute(node, {"id": day["id"]}, context=as_member(db, member))
    assert own["node"] == {"id": day["id"]}


async def test_one_statement_for_a_series_however_long(db: Database) -> None:
    member = await make_recorder(db)
    await weigh(db, member, *((days, "70") for days in range(20)))
    for first in (1, 20):
        with StatementCount(db) as sent:
            await series(db, member, first=first)
        assert len(sent) == 2  # the member, and the series


# Quarters of an hour

QUARTERS = """query ($since: DateTime, $first: Int, $after: String) { me {
  latestQuarters { code startsAt sourceId count mean }
  measurementQuarters(code: HEART_RATE, since: $since, first: $first, after: $after) {
    edges { node { startsAt localDate sourceId count minimum mean maximum unit trust } }
    pageInfo { hasNextPage endCursor } } } }"""


async def beat(db: Database, member, source: str, *values: tuple[int, str]) -> None:
    """(minutes ago, a minute)"""
    sent = [
        reading(
            value,
            "/min",
            "HEART_RATE",
            sourceId=source,
            measuredAt=(NOON - timedelta(minutes=minutes)).isoformat(),
        )
        for minutes, value in values
    ]
    assert (await record(db, member, *sent))["accepted"] == len(values)


async def test_a_stream_is_read_by_quarter_of_an_hour_and_page(db: Database) -> None:
    member = await make_recorder(db)
    await beat(db, member, "watch|1", (0, "60"), (14, "71"), (15, "80"), (16, "62"))
    await beat(db, member, "band", (15, "90"))

    seen: list[dict] = []
    after = None
    for _ in range(3):
        with StatementCount(db) as sent:
            data = await execute(
                QUARTERS, {"first": 1, "after": after}, context=as_member(db, member)
            )
        assert len(sent) == 3
        page = data["me"]["measurementQuarters"]
        seen += nodes(page)
        after = page["pageInfo"]["endCursor"]
        assert page["pageInfo"]["hasNextPage"] is (len(seen) < 4)
    common = {"localDate": date(2026, 3, 2), "unit": "/min", "trust": "MEDIUM"}
    second = {"startsAt": NOON - timedelta(minutes=15)}
    assert seen == [
        common
        | {"startsAt": NOON, "sourceId": "watch|1", "count": 1}
        | {"minimum": "60", "mean": "60", "maximum": "60"},
        common
        | second
        | {"sourceId": "watch|1", "count": 2, "minimum": "71", "mean": "75.5", "maximum": "80"},
        common
        | second
        | {"sourceId": "band", "count": 1, "minimum": "90", "mean": "90", "maximum": "90"},
    ]
    assert data["me"]["latestQuarters"] == [
        {
            "code": "HEART_RATE",
            "startsAt": NOON,
            "sourceId": "watch|1",
            "count": 1,
            "mean": "60",
        }
    ]
    since = {"since": (NOON - timedelta(minutes=1)).isoformat()}
    data = await execute(QUARTERS, since, context=as_member(db, member))
    assert len(nodes(data["me"]["measurementQuarters"])) == 1


@pytest.mark.parametrize("source", ["zz", "00", "ff"])
async def test_a_cursor_of_no_source_is_refused(db: Database, source: str) -> None:
    member = await make_recorder(db)
    sent = {"after": write_cursor(NOON.isoformat(), source)}
    assert await refused(QUARTERS, sent, context=as_member(db, member)) == "BAD_REQUEST"


async def test_employees_see_streams_while_the_member_consents(db: Database) -> None:
    manager = await make_staff(db)
    members = [await make_recorder(db) for _ in range(3)]
    for member in members:
        await assign(db, manager, member)
        await beat(db, member, "watch", (0, "60"))
    async with db.transaction() as session:
        session.add(consent(members[0], "HEALTH_DATA", "WITHDRAWN", version=2))

    query = """{ members { edges { node { latestQuarters { mean }
      measurementQuarters(code: HEART_RATE) { edges { node { mean } } } } } } }"""
    data = await execute(query, context=as_staff(db, manager))

    found = [
        ([it["mean"] for it in node["latestQuarters"]], len(nodes(node["measurementQuarters"])))
        for node in nodes(data["members"])
    ]
    assert sorted(found) == [([], 0), (["60"], 1), (["60"], 1)]


# As known then


async def test_readings_as_they_were_known_then(db: Database) -> None:
    member, other = await make_recorder(db), await make_recorder(db)
    later = NOON + timedelta(hours=1)
    await record(db, member, reading("70"))
    await record(db, other, reading("80"))
    await record(db, member, reading("71"), now=later)

    async def at(as_of) -> dict:
        async with db.read() as connection:
            with StatementCount(db) as sent:
                found = await known.readings(
                    connection, [member, other], ["WEIGHT", "BMI"],
                    since=NOON - timedelta(days=1), until=NOON, as_of=as_of,
                )  # fmt: skip
        assert len(sent) == 1
        return {id: [it.value for it in readings] for id, readings in found.items()}

    assert await at(NOON - timedelta(seconds=1)) == {}
    assert await at(NOON) == {member: [Decimal(70)], other: [Decimal(80)]}
    assert await at(later - timedelta(seconds=1)) == {member: [Decimal(70)], other: [Decimal(80)]}
    assert await at(later) == {member: [Decimal(71)], other: [Decimal(80)]}
