"""`recordDailyTotals`: running totals that replace each other, and sources that are united."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode, parse
from tests.factories import NOON, as_member, contents, execute, make_member, operation
from tests.recordings import codes, make_recorder, record_totals, rows, total

MIDNIGHT = datetime(2026, 3, 1, 16, tzinfo=UTC)
"""Of Monday in Shanghai."""
NIGHT = MIDNIGHT + timedelta(hours=23)
VERSIONS = (
    "select value, recorded_at, superseded_at is null from daily_totals order by recorded_at, id"
)


def hourly(counts: dict[int, str]) -> list[dict]:
    return [
        {
            "startAt": (MIDNIGHT + timedelta(hours=hour)).isoformat(),
            "endAt": (MIDNIGHT + timedelta(hours=hour + 1)).isoformat(),
            "value": value,
        }
        for hour, value in counts.items()
    ]


# Running totals


async def test_a_total_is_kept_and_shown_with_its_sources(db: Database) -> None:
    member = await make_recorder(db)
    done = await record_totals(db, member, total("5000"))
    [day] = done.pop("days")
    assert done == {
        "__typename": "RecordDailyTotalsPayload",
        "replayed": False,
        "accepted": 1,
        "rejected": [],
        "tasksAdvanced": [],
        "points": {"id": encode(Kind.POINTS_ACCOUNT, member), "available": 0, "pending": 0},
    }
    named = parse(day.pop("id"))
    assert named is not None and (named.kind, named.owner_id) == (Kind.DAILY_TOTAL, member)
    assert day == {
        "code": "STEPS",
        "localDate": NOON.date(),
        "value": "5000",
        "unit": "{steps}",
        "sources": [{"sourceId": "phone", "value": "5000"}],
    }
    kept = "select value, sent_value, trust, channel, recorded_by, intervals from daily_totals"
    assert await rows(db, kept) == [(5000, "5000", "MEDIUM", "APP", member, None)]


async def test_a_later_total_replaces_the_earlier_one_of_its_source(db: Database) -> None:
    member = await make_recorder(db)
    later = NOON + timedelta(hours=1)
    first = await record_totals(db, member, total("5000"))
    second = await record_totals(db, member, total("4000"), now=later)
    again = await record_totals(db, member, total("4000.0"), now=later)
    assert [it["days"][0]["value"] for it in (first, second, again)] == ["5000", "4000", "4000"]
    assert first["days"][0]["id"] == second["days"][0]["id"] == again["days"][0]["id"]
    assert again["accepted"] == 1
    assert await rows(db, VERSIONS) == [(5000, NOON, False), (4000, later, True)]
    assert await rows(db, "select superseded_at from daily_totals order by recorded_at") == [
        (later,), (None,)
    ]  # fmt: skip
    assert await rows(db, "select value, trusted_value from daily_total_days") == [(4000, 4000)]


async def test_of_one_request_the_last_total_of_a_source_and_day_stands(db: Database) -> None:
    member = await make_recorder(db)
    done = await record_totals(db, member, total("5000"), total("6000"), total("5500"))
    assert (done["accepted"], [day["value"] for day in done["days"]]) == (3, ["5500"])
    assert await rows(db, "select value from daily_totals") == [(5500,)]


# Several sources


async def test_phone_and_watch_are_united_by_their_intervals(db: Database) -> None:
    """The phone counts 9,000 steps in 24 hours, the watch 11,000 in twelve of them."""
    member = await make_recorder(db)
    phone = total("9000", "phone", intervals=hourly(dict.fromkeys(range(24), "375")))
    watch = total("11000", "watch", intervals=hourly(dict.fromkeys(range(11), "916") | {11: "924"}))
    end = MIDNIGHT + timedelta(hours=24)
    await record_totals(db, member, phone, now=end - timedelta(minutes=1))
    done = await record_totals(db, member, watch, now=end - timedelta(minutes=1))
    [day] = done["days"]
    assert day["value"] == str(11000 + 12 * 375)
    assert day["sources"] == [
        {"sourceId": "phone", "value": "9000"}, {"sourceId": "watch", "value": "11000"}
    ]  # fmt: skip
    # The watch corrects itself: the phone's hours come back.
    less = total("1100", "watch", intervals=hourly({0: "1100"}))
    again = await record_totals(db, member, less, now=end)
    assert again["days"][0]["value"] == str(1100 + 23 * 375)


async def test_sources_without_intervals_are_never_summed(db: Database) -> None:
    member = await make_recorder(db)
    done = await record_totals(db, member, total("9000", "phone"), total("11000", "watch"))
    assert done["days"][0]["value"] == "11000"


async def test_what_is_typed_does_not_count_as_trusted(db: Database) -> None:
    member = await make_recorder(db)
    typed = total("20000", "diary", method="SELF_REPORTED")
    await record_totals(db, member, total("5000"), typed)
    assert await rows(db, "select value, trusted_value from daily_total_days") == [(20000, 5000)]


# Bad ones


async def test_a_bad_total_is_rejected_by_its_place_and_the_rest_is_kept(db: Database) -> None:
    member = await make_recorder(db)
    two = hourly({0: "100", 1: "100"})
    overlapping = [two[0], two[1] | {"startAt": two[0]["startAt"]}]
    backwards = [{**two[0], "endAt": two[0]["startAt"]}]
    elsewhere = [
        {
            "startAt": (MIDNIGHT - timedelta(hours=20)).isoformat(),
            "endAt": two[0]["startAt"],
            "value": "1",
        }
    ]
    done = await record_totals(
        db,
        member,
        total("100001"),
        total("5000", unit="km"),
        total("120", code="SYSTOLIC_BP", unit="mm[Hg]"),
        total(localDate="2026-03-03"),
        total(localDate="2026-01-30"),
        total("199", "a", intervals=two),
        total("200", "b", intervals=overlapping),
        total("200", "c", intervals=backwards),
        total("200", "d", intervals=elsewhere),
        total("200", ""),
        total("200", "e", intervals=hourly({13: "1"})),
        total("200", "f", intervals=two),
        total("0", "g", localDate="2026-01-31"),
    )
    assert codes(done) == [
        (0, "VALUE_OUT_OF_RANGE"), (1, "UNIT_UNKNOWN"), (2, "CODE_INVALID"), (3, "IN_FUTURE"),
        (4, "TOO_OLD"), (5, "VALUE_OUT_OF_RANGE"), (6, "PERIOD_INVALID"), (7, "PERIOD_INVALID"),
        (8, "PERIOD_INVALID"), (9, "VALUE_OUT_OF_RANGE"), (10, "IN_FUTURE"),
    ]  # fmt: skip
    assert (done["accepted"], len(done["days"])) == (2, 2)
    assert await rows(db, "select source_id from daily_totals order by 1") == [("f",), ("g",)]


async def test_a_day_has_at_most_288_intervals(db: Database) -> None:
    member = await make_recorder(db)
    step = timedelta(minutes=4)

    def pieces(count: int) -> list[dict]:
        return [
            {
                "startAt": (MIDNIGHT + step * n).isoformat(),
                "endAt": (MIDNIGHT + step * (n + 1)).isoformat(),
                "value": "1",
            }
            for n in range(count)
        ]

    now = MIDNIGHT + timedelta(hours=23)
    done = await record_totals(
        db, member, total("288", "a", intervals=pieces(288)), total("289", "b", intervals=pieces(289)),
        now=now,
    )  # fmt: skip
    assert (done["accepted"], codes(done)) == (1, [(1, "BATCH_TOO_LARGE")])


async def test_sensed_totals_need_the_consent_to_device_data(db: Database) -> None:
    member = await make_member(db)
    done = await record_totals(db, member, total(), total("4000", "diary", method="SELF_REPORTED"))
    assert (done["accepted"], codes(done)) == (1, [(0, "CONSENT_MISSING")])


# Requests


async def test_a_request_that_is_sent_again_changes_nothing(db: Database) -> None:
    member = await make_recorder(db)
    request = uuid4()
    sent = [total("5000"), total("100001"), total("3000", localDate="2026-03-01")]
    first = await record_totals(db, member, *sent, request_id=request)
    await record_totals(db, member, total("6000"))
    before = await contents(db)
    again = await record_totals(db, member, *sent, request_id=request)
    assert again["replayed"] is True
    assert (again["accepted"], again["rejected"]) == (first["accepted"], first["rejected"])
    # The days as they stand now.
    assert [day["value"] for day in again["days"]] == ["3000", "6000"]
    assert await contents(db) == before


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_that_is_too_large_or_empty_is_refused(db: Database, count: int) -> None:
    member = await make_recorder(db)
    before = await contents(db)
    done = await record_totals(db, member, *([total()] * count))
    assert (done["code"], done["field"]) == ("BATCH_TOO_LARGE", "totals")
    assert await contents(db) == before


@pytest.mark.parametrize("reused", [False, True])
async def test_refusals_move_nothing(db: Database, reused: bool) -> None:
    member = await (make_recorder(db) if reused else make_member(db, consents=False))
    request = uuid4()
    if reused:
        await record_totals(db, member, total("1"), request_id=request)
    before = await contents(db)
    done = await record_totals(db, member, total("2"), request_id=request)
    assert done["code"] == ("REQUEST_REUSED" if reused else "CONSENT_MISSING")
    assert await contents(db) == before


async def test_eight_identical_requests_at_once_record_once(db: Database) -> None:
    member = await make_recorder(db)
    request = uuid4()
    done = await asyncio.gather(
        *(record_totals(db, member, total(), request_id=request) for _ in range(8))
    )
    assert sorted(it["replayed"] for it in done) == [False] + [True] * 7
    assert len({it["days"][0]["id"] for it in done}) == 1
    assert await rows(db, "select count(*) from daily_totals") == [(1,)]


async def test_rivals_leave_one_version_of_each_source_and_their_union(db: Database) -> None:
    member = await make_recorder(db)
    sent = [
        total(str(1000 * hour + 1000), f"source {hour}", intervals=hourly({hour: "500"}))
        for hour in range(4)
    ]
    await asyncio.gather(
        *(
            record_totals(db, member, it | {"value": value})
            for it in sent
            for value in ("500", "600")
        )
    )
    in_force = "select count(*) from daily_totals where superseded_at is null"
    assert await rows(db, in_force) == [(4,)]
    # Four hours of 500 each, whichever running total was the last.
    assert await rows(db, "select value from daily_total_days") == [(2000,)]


async def test_as_many_statements_for_a_hundred_totals_as_for_one(db: Database) -> None:
    member = await make_recorder(db)

    async def statements(*sent: dict) -> int:
        with StatementCount(db) as count:
            await record_totals(db, member, *sent)
        return len(count)

    one = await statements(total("1", "first"))
    many = [
        total(
            "5",
            f"source {number}",
            localDate=(date(2026, 3, 2) - timedelta(days=number % 20)).isoformat(),
        )
        for number in range(100)
    ]
    assert await statements(*many) == one
    assert await statements(*(it | {"value": "6"} for it in many)) == one + 1


# How they are shown


DAYS = """query ($after: String, $since: Date) { me { dailyTotals(code: STEPS, first: 2, after: $after, since: $since) {
  edges { node { id localDate value sources { sourceId value } } } pageInfo { hasNextPage endCursor } } } }"""


async def test_days_are_paged_newest_first_and_found_by_id(db: Database) -> None:
    member = await make_recorder(db)
    days = [(NOON.date() - timedelta(days=n)).isoformat() for n in range(5)]
    await record_totals(
        db, member, *(total(f"{n}000", localDate=day) for n, day in enumerate(days))
    )
    await record_totals(
        db, member, total("900", "watch"), total("7", code="ACTIVE_MINUTES", unit="min")
    )
    found, after = [], None
    while True:
        data = await execute(DAYS, {"after": after}, context=as_member(db, member))
        page = data["me"]["dailyTotals"]
        found += [edge["node"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert [node["value"] for node in found] == ["900", "1000", "2000", "3000", "4000"]
    assert found[0]["sources"] == [
        {"sourceId": "phone", "value": "0"}, {"sourceId": "watch", "value": "900"}
    ]  # fmt: skip
    node = "query ($id: ID!) { node(id: $id) { ... on DailyTotal { value } } }"
    data = await execute(node, {"id": found[1]["id"]}, context=as_member(db, member))
    assert data["node"] == {"value": "1000"}
    stranger = as_member(db, await make_member(db))
    data = await execute(node, {"id": found[1]["id"]}, context=stranger)
    assert data["node"] is None
    since = await execute(DAYS, {"since": days[1]}, context=as_member(db, member))
    assert [edge["node"]["value"] for edge in since["me"]["dailyTotals"]["edges"]] == [
        "900",
        "1000",
    ]


async def test_what_was_known_then_is_still_known(db: Database) -> None:
    from app.measurements import known

    member = await make_recorder(db)
    later = NOON + timedelta(hours=2)
    await record_totals(db, member, total("5000"))
    await record_totals(db, member, total("8000"), total("9000", "watch"), now=later)
    async with db.read() as connection:
        before, then, now = [
            await known.daily_totals(
                connection, [member], "STEPS", since=NOON.date(), until=NOON.date(), as_of=at
            )
            for at in (NOON - timedelta(seconds=1), later - timedelta(seconds=1), later)
        ]
    assert before == {}
    assert then == {member: [(date(2026, 3, 2), Decimal(5000), Decimal(5000))]}
    assert now == {member: [(date(2026, 3, 2), Decimal(9000), Decimal(9000))]}


async def test_a_day_has_only_so_many_sources(db: Database) -> None:
    member = await make_recorder(db)
    done = await record_totals(db, member, *(total("10", f"watch-{it}") for it in range(21)))
    assert (done["accepted"], codes(done)) == (20, [(20, "LIMIT_REACHED")])
    # Those that are there go on; other days have their own.
    more = [
        total("20", "watch-0"),
        total("5", "one-more"),
        total("5", "one-more", code="FLIGHTS_CLIMBED", unit="{flights}"),
    ]
    done = await record_totals(db, member, *more)
    assert (done["accepted"], codes(done)) == (2, [(1, "LIMIT_REACHED")])


async def test_a_name_that_nothing_can_hold_is_refused(db: Database) -> None:
    member = await make_recorder(db)
    sent = {"requestId": str(uuid4()), "totals": [total()], "app": "a\0b"}
    data = await execute(
        operation("RecordDailyTotals"), {"input": sent}, context=as_member(db, member)
    )
    assert codes(data["recordDailyTotals"]) == [(0, "VALUE_OUT_OF_RANGE")]
    assert await rows(db, "select count(*) from daily_totals") == [(0,)]
