"""Readings: the catalogue, conversion, trust, recording once, and how they are shown."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.measurements import rules, service
from app.measurements.catalogue import quantities
from app.measurements.rules import Channel, Context, Method, Reading, TrustGrade
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    execute,
    make_member,
    make_staff,
    refused,
)

READINGS = """
query ($code: MeasurementCode = WEIGHT, $since: DateTime, $first: Int = 20, $after: String) {
  me { measurements(code: $code, since: $since, first: $first, after: $after) {
    edges { cursor node { id code value unit measuredAt localDate method context trust } }
    pageInfo { hasNextPage hasPreviousPage endCursor } } } }
"""


def reading(value="70", unit="kg", *, code="WEIGHT", at=NOON, source="scale", **changes) -> Reading:
    method = changes.pop("method", Method.SENSED)
    return Reading(code, Decimal(value), unit, at, method, source_id=source, **changes)


async def record(
    db: Database, member, *readings: Reading, zone="Asia/Shanghai", now=NOON, **options
) -> int:
    """How many were kept."""
    async with db.transaction() as session:
        await service.lock(session, member)
        done = await service.record(
            session, member_id=member, time_zone=zone, readings=readings, now=now, **options
        )
    return done.accepted


async def shown(db: Database, member, **variables):
    data = await execute(READINGS, variables, context=as_member(db, member))
    return data["me"]["measurements"]


def nodes(page) -> list[dict]:
    return [edge["node"] for edge in page["edges"]]


async def rows(db: Database, columns: str) -> list[tuple]:
    async with db.read() as connection:
        found = await connection.execute(text(f"select {columns} from measurements order by 1"))
        return [tuple(row) for row in found]


# The catalogue


def test_every_code_has_names_and_a_canonical_unit():
    found = quantities()
    assert len(found) > 40
    for code, quantity in found.items():
        assert quantity.name_zh and quantity.name_en and quantity.canonical.ucum, code
        first = quantity.canonical
        assert (first.multiply, first.divide, first.add, first.is_canonical) == (1, 1, 0, True)
        assert len({unit.ucum for unit in quantity.units}) == len(quantity.units)
    assert found["SYSTOLIC_BP"].loinc == "8480-6"
    assert found["SYSTOLIC_BP"].canonical.ucum == "mm[Hg]"


# From the tables of laboratories, not from the catalogue.
@pytest.mark.parametrize(
    ("code", "sent", "unit", "kept"),
    [
        ("FASTING_GLUCOSE", "126", "mg/dL", "6.994"),
        ("FASTING_GLUCOSE_METER", "126.1", "mg/dL", "6.999"),
        ("FASTING_GLUCOSE", "7.0", "mmol/L", "7.000"),
        ("OGTT_2H", "200", "mg/dL", "11.101"),
        ("HBA1C", "48", "mmol/mol", "6.543"),
        ("TOTAL_CHOLESTEROL", "200", "mg/dL", "5.172"),
        ("LDL", "100", "mg/dL", "2.586"),
        ("HDL", "40", "mg/dL", "1.034"),
        ("TRIGLYCERIDES", "150", "mg/dL", "1.694"),
        ("CREATININE", "1", "mg/dL", "88.420"),
        ("URIC_ACID", "7", "mg/dL", "416.360"),
        ("ALCOHOL", "28", "g/d", "2.000"),
        ("WEIGHT", "70.0005", "kg", "70.001"),
        ("WEIGHT", "154.32", "[lb_av]", "69.998"),
        ("SYSTOLIC_BP", "16", "kPa", "120.010"),
        ("BODY_TEMPERATURE", "98.6", "[degF]", "37.000"),
        ("SPO2", "0.97", "1", "97.000"),
        ("UACR", "3.4", "mg/mmol", "30.056"),
    ],
)
def test_a_value_is_kept_in_the_canonical_unit(code, sent, unit, kept):
    found = quantities()[code].unit(unit)
    assert found is not None
    assert str(rules.canonical(Decimal(sent), found)) == kept


@pytest.mark.parametrize(
    ("mmol", "mgdl"), [("5.6", "100.9"), ("6.1", "109.9"), ("7.0", "126.1"), ("11.1", "200.0")]
)
def test_glucose_converts_both_ways_as_the_published_table_says(mmol, mgdl):
    unit = quantities()["FASTING_GLUCOSE"].unit("mg/dL")
    assert unit is not None
    assert abs(rules.convert(Decimal(mmol), unit) - Decimal(mgdl)) <= Decimal("0.1")
    assert abs(rules.canonical(Decimal(mgdl), unit) - Decimal(mmol)) <= Decimal("0.01")


@pytest.mark.parametrize("code", list(quantities()))
def test_what_is_converted_there_and_back_is_the_same(code):
    for unit in quantities()[code].units:
        value = unit.maximum or Decimal(2)
        back = rules.convert(rules.canonical(value, unit), unit)
        assert abs(back - value) <= abs(value) / 1000 + Decimal("0.001"), unit


def test_extremes_lie_within_what_is_plausible_and_contexts_are_known():
    for code, quantity in quantities().items():
        first = quantity.canonical
        for end in (quantity.extreme_low, quantity.extreme_high):
            assert end is None or (first.minimum < end < first.maximum), code
        assert quantity.contexts <= set(Context), code
        assert quantity.is_reading or quantity.is_daily_total
    found = quantities()["SYSTOLIC_BP"]
    extremes = [rules.is_extreme(Decimal(it), found) for it in ("80", "81", "179", "180", "210")]
    assert extremes == [True, False, False, True, True]
    glucose = [it for it in quantities().values() if it.family == "GLUCOSE"]
    assert len(glucose) == 5 and all(it.unit("mg/dL") for it in glucose)


def test_both_ranges_of_a_code_mean_the_same():
    """A wrong factor would move one of them away from the other."""
    for code, quantity in quantities().items():
        for unit in quantity.units[1:]:
            if code == "ALCOHOL":
                continue  # its two ranges come from two sources
            assert unit.maximum is not None and quantity.canonical.maximum is not None
            ratio = rules.canonical(unit.maximum, unit) / quantity.canonical.maximum
            assert Decimal("0.95") < ratio < Decimal("1.05"), (code, unit.ucum, ratio)


@given(st.decimals("0.1", "900", places=2), st.sampled_from(["FASTING_GLUCOSE", "LDL", "HBA1C"]))
def test_conversion_keeps_the_order(value, code):
    unit = quantities()[code].units[1]
    assert rules.canonical(value, unit) <= rules.canonical(value + 1, unit)


def test_a_range_includes_its_ends():
    unit = quantities()["SYSTOLIC_BP"].canonical
    plausible = [
        rules.is_plausible(Decimal(value), unit) for value in ("49.999", "50", "300", "300.001")
    ]
    assert plausible == [False, True, True, False]


@pytest.mark.parametrize(
    ("method", "channel", "has_source", "grade"),
    [
        (Method.CLINICAL, Channel.CLINIC, True, TrustGrade.HIGH),
        (Method.CLINICAL, Channel.STAFF, False, TrustGrade.HIGH),
        (Method.CLINICAL, Channel.EXAMINATION, False, TrustGrade.HIGH),
        (Method.CLINICAL, Channel.APP, True, TrustGrade.UNVERIFIED),
        (Method.CLINICAL, Channel.EXPORT, True, TrustGrade.UNVERIFIED),
        (Method.SENSED, Channel.APP, True, TrustGrade.MEDIUM),
        (Method.SENSED, Channel.GATEWAY, True, TrustGrade.MEDIUM),
        (Method.SENSED, Channel.APP, False, TrustGrade.UNVERIFIED),
        (Method.SELF_REPORTED, Channel.APP, True, TrustGrade.LOW),
        (Method.SELF_REPORTED, Channel.CLINIC, False, TrustGrade.LOW),
    ],
)
def test_trust_follows_from_provenance(method, channel, has_source, grade):
    assert rules.trust(method, channel, has_source=has_source) is grade


# Recording


async def test_what_was_sent_is_kept_beside_what_it_means(db: Database):
    member = await make_member(db)
    sent = reading("126", "mg/dL", code="FASTING_GLUCOSE", context=Context.FASTING)
    assert await record(db, member, sent) == 1
    kept = "code, value, unit, sent_value, sent_unit, context, trust"
    assert await rows(db, kept) == [
        ("FASTING_GLUCOSE", Decimal("6.994"), "mmol/L", "126", "mg/dL", "FASTING", "MEDIUM")
    ]


async def test_the_local_day_is_that_of_the_measurement(db: Database):
    member = await make_member(db)
    at = datetime(2026, 3, 1, 20, tzinfo=UTC)
    assert await record(db, member, reading(at=at), zone="Asia/Shanghai") == 1
    other = reading(at=at, source="other")
    assert await record(db, member, other, zone="America/New_York") == 1
    assert await rows(db, "local_date") == [(date(2026, 3, 1),), (date(2026, 3, 2),)]


async def test_a_known_reading_is_kept_once(db: Database):
    member, other = await make_member(db), await make_member(db)
    assert await record(db, member, reading(), reading()) == 1
    assert await record(db, member, reading("70.000")) == 0
    assert await record(db, member, reading(source="second scale")) == 1
    assert await record(db, member, reading(at=NOON + timedelta(seconds=1))) == 1
    assert await record(db, other, reading()) == 1
    assert await rows(db, "value") == [(Decimal(70),)] * 4


async def test_eight_senders_of_one_reading_keep_one(db: Database):
    import asyncio

    member = await make_member(db)
    kept = await asyncio.gather(*(record(db, member, reading()) for _ in range(8)))
    assert sorted(kept) == [0] * 7 + [1]


async def test_what_is_implausible_is_left_out(db: Database):
    member = await make_member(db)
    bad = [reading("19.9"), reading("401"), reading("17", "mg/dL", code="FASTING_GLUCOSE")]
    assert await record(db, member, *bad) == 0
    assert await record(db, member, *bad, reading()) == 1
    assert await record(db, member) == 0


async def test_a_number_that_cannot_be_kept_is_left_out(db: Database):
    member = await make_member(db)
    for value in ("1000000000", "-1", "-0.5", "4.1"):
        odd = reading(value, "{presence}", code="URINE_PROTEIN_DIPSTICK")
        assert await record(db, member, odd) == 0
    fits = reading("2", "{presence}", code="URINE_PROTEIN_DIPSTICK")
    assert await record(db, member, fits) == 1


async def test_an_examination_is_clinical(db: Database):
    member = await make_member(db)
    values = [("SYSTOLIC_BP", Decimal(132), "mm[Hg]"), ("BMI", Decimal("27.5"), "kg/m2")]
    assert await record(db, member, *service.clinical(values, at=NOON)) == 2
    assert await rows(db, "code, method, trust") == [
        ("BMI", "CLINICAL", "HIGH"),
        ("SYSTOLIC_BP", "CLINICAL", "HIGH"),
    ]


# How they are shown


async def test_a_reading_as_the_member_sees_it(db: Database):
    member = await make_member(db)
    await record(db, member, reading("70.50", context=Context.AT_REST))
    (node,) = nodes(await shown(db, member))
    assert node.pop("id")
    assert node == {
        "code": "WEIGHT",
        "value": "70.5",
        "unit": "kg",
        "measuredAt": NOON,
        "localDate": date(2026, 3, 2),
        "method": "SENSED",
        "context": "AT_REST",
        "trust": "MEDIUM",
    }


async def test_pages_are_complete_newest_first_and_of_one_code(db: Database):
    member, other = await make_member(db), await make_member(db)
    # Several of one instant, so that the key's second part decides.
    made = [
        reading(str(60 + i), at=NOON - timedelta(hours=i // 3), source=f"{i}") for i in range(17)
    ]
    await record(db, member, *made, reading("25", "kg/m2", code="BMI"))
    await record(db, other, *made)
    found, after = [], None
    while True:
        page = await shown(db, member, first=4, after=after)
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        found += nodes(page)
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert sorted(Decimal(node["value"]) for node in found) == [60 + i for i in range(17)]
    instants = [node["measuredAt"] for node in found]
    assert instants == sorted(instants, reverse=True)
    assert {node["code"] for node in found} == {"WEIGHT"}


async def test_since_includes_its_instant(db: Database):
    member = await make_member(db)
    made = [reading(str(62 - i), at=NOON - timedelta(hours=i)) for i in range(3)]
    await record(db, member, *made)
    page = await shown(db, member, since=(NOON - timedelta(hours=1)).isoformat())
    assert [node["value"] for node in nodes(page)] == ["62", "61"]


async def test_a_superseded_reading_is_not_listed(db: Database):
    member = await make_member(db)
    await record(db, member, reading("70"), reading("71", source="other"))
    async with db.write() as connection:
        await connection.execute(
            text("update measurements set superseded_at = now() where value = 70")
        )
    assert [node["value"] for node in nodes(await shown(db, member))] == ["71"]


@pytest.mark.parametrize(
    "variables", [{"first": 101}, {"first": -1}, {"after": "nonsense"}, {"after": ""}]
)
async def test_impossible_pages_are_refused(db: Database, variables):
    member = await make_member(db)
    assert await refused(READINGS, variables, context=as_member(db, member)) == "BAD_REQUEST"


@pytest.mark.parametrize(
    "instant",
    ["2026-03-02T04:00:00", "0001-01-01T00:00:00+10:00", "9999-12-31T23:00:00-10:00", "x"],
)
async def test_a_forged_cursor_is_refused(db: Database, instant):
    from app.graphql.paging import write_cursor

    member = await make_member(db)
    variables = {"after": write_cursor(instant, uuid4())}
    assert await refused(READINGS, variables, context=as_member(db, member)) == "BAD_REQUEST"


async def test_several_codes_of_one_member(db: Database):
    member = await make_member(db)
    await record(
        db, member, reading("130", "mm[Hg]", code="SYSTOLIC_BP"), reading("25", "kg/m2", code="BMI")
    )
    query = """{ me {
      a: measurements(code: SYSTOLIC_BP) { edges { node { value } } }
      b: measurements(code: BMI) { edges { node { value } } }
      c: measurements(code: SYSTOLIC_BP, first: 0) { edges { node { value } } pageInfo { hasNextPage } }
      d: measurements(code: HEIGHT) { edges { node { value } } } } }"""
    with StatementCount(db) as sent:
        me = (await execute(query, context=as_member(db, member)))["me"]
    assert [nodes(me[name]) for name in "abcd"] == [[{"value": "130"}], [{"value": "25"}], [], []]
    assert me["c"]["pageInfo"]["hasNextPage"] is True
    assert len(sent) == 1 + 4


async def test_a_reading_is_found_by_its_id_by_whoever_sees_the_member(db: Database):
    member, other = await make_member(db), await make_member(db)
    manager, stranger = await make_staff(db), await make_staff(db)
    await assign(db, manager, member)
    await record(db, member, reading())
    (node,) = nodes(await shown(db, member))
    query = "query ($id: ID!) { node(id: $id) { id ... on Measurement { value } } }"
    for context, found in (
        (as_member(db, member), {"id": node["id"], "value": "70"}),
        (as_staff(db, manager), {"id": node["id"], "value": "70"}),
        (as_staff(db, stranger), None),
        (as_member(db, other), None),
    ):
        data = await execute(query, {"id": node["id"]}, context=context)
        assert data["node"] == found
    for forged in (
        encode(Kind.MEASUREMENT, member, uuid4()),
        encode(Kind.MEASUREMENT, other, uuid4()),
    ):
        data = await execute(query, {"id": forged}, context=as_member(db, member))
        assert data["node"] is None


def test_many_ids_are_made_at_once_in_the_order_of_an_index():
    from app.ids import new_ids

    found = new_ids(NOON, 1000)
    assert len(set(found)) == 1000 and found == sorted(found)
    assert {(it.version, it.int >> 80) for it in found} == {(7, int(NOON.timestamp() * 1000))}
    assert {it.int >> 62 & 3 for it in found} == {2}
    assert new_ids(NOON, 0) == []
