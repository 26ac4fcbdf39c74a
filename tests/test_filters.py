"""Filters of members: what each fact finds, and any tree of them against a plain evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.campaigns import facts as _facts  # noqa: F401 - registers what domains know
from app.civil_time import completed_years
from app.db import Database
from app.members import buckets, filters, segments
from app.members.models import Member
from app.members.standing_models import MemberStanding, SegmentMembership
from app.premiums import service as premiums
from app.risk.tables import RiskProfile
from tests.factories import NOON, consent, make_member

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
LISTED = uuid4()


@dataclass
class Person:
    """What the evaluation below knows of a member."""

    id: UUID
    sex: str
    birth: date
    region: str | None
    occupation: str | None
    band: str | None
    segment: str | None
    stage: str | None
    used: int | None
    """Days ago."""
    came: int
    tier: str | None
    health: str
    covered: bool
    done: int
    missed: int
    systolic: list[int] = field(default_factory=list)
    listed: bool = False


def draw(rng: Random, id: UUID) -> Person:
    return Person(
        id=id,
        sex=rng.choice(["FEMALE", "MALE", "UNKNOWN"]),
        birth=date(rng.randint(1940, 2020), rng.randint(1, 12), rng.randint(1, 28)),
        region=rng.choice([None, "CN-31", "CN-31-01", "CN-3", "CN-44"]),
        occupation=rng.choice([None, "rider", "office"]),
        band=rng.choice([None, "under_3000", "from_15000"]),
        segment=rng.choice([None, "NEW_CITIZEN", "ELDERLY"]),
        stage=rng.choice([None, "PROSPECT", "NEW", "ACTIVE", "DORMANT"]),
        used=rng.choice([None, 1, 30, 400]),
        came=rng.choice([5, 500]),
        tier=rng.choice([None, "LOW", "HIGH"]),
        health=rng.choice(["GRANTED", "GRANTED", "WITHDRAWN", "NOT_ASKED"]),
        covered=rng.random() < 0.5,
        done=rng.randint(0, 3),
        missed=rng.randint(0, 3),
        systolic=[rng.randint(100, 180) for _ in range(rng.randint(0, 3))],
        listed=rng.random() < 0.3,
    )


async def store(db: Database, it: Person) -> None:
    async with db.transaction() as session:
        session.add(
            Member(
                member_id=it.id,
                display_name="王芳",
                birth_date=it.birth,
                sex=it.sex,
                time_zone="Asia/Shanghai",
                locale="en",
                region=it.region,
                occupation=it.occupation,
                income_band=it.band,
                created_at=NOON - it.came * DAY,
            )
        )
        await session.flush()
        if it.health != "NOT_ASKED":
            session.add(consent(it.id, "HEALTH_DATA", "GRANTED"))
        if it.health == "WITHDRAWN":
            session.add(consent(it.id, "HEALTH_DATA", "WITHDRAWN", version=2))
        if it.stage:
            session.add(
                MemberStanding(
                    member_id=it.id,
                    segment=it.segment,
                    lifecycle=it.stage,
                    lifecycle_since=NOON,
                    last_used_at=NOON - it.used * DAY if it.used else None,
                )
            )
        if it.tier:
            session.add(RiskProfile(member_id=it.id, tier=it.tier, contests=0))
        if it.listed:
            session.add(SegmentMembership(member_id=it.id, segment_id=LISTED, entered_at=NOON))
        if it.covered:
            await premiums.enrol(
                session,
                member_id=it.id,
                product_code="starter",
                starts_on=NOON.date(),
                now=NOON,
            )
        connection = await session.connection()
        await connection.execute(text("delete from tasks where member_id = :m"), {"m": it.id})
        for place, value in enumerate(it.systolic):
            await connection.execute(
                text("""
                insert into measurements (member_id, id, code, value, unit, sent_value, sent_unit,
                  measured_at, local_date, recorded_at, method, source_id, trust)
                values (:m, :id, 'SYSTOLIC_BP', :v, 'mm[Hg]', '', '', :at, :day, :at,
                  'SELF_REPORTED', 'x', 'HIGH')"""),
                {
                    "m": it.id,
                    "id": uuid4(),
                    "v": value,
                    "at": NOON - (place + 1) * DAY + HOUR,
                    "day": NOON.date(),
                },
            )
        await add_tasks(connection, it)


async def add_tasks(connection: Any, it: Person) -> None:
    """Closed ones, on an assignment of their own."""
    if not it.done + it.missed:
        return
    assignment = uuid4()
    await connection.execute(
        text("""
        insert into task_assignments select (jsonb_populate_record(null::task_assignments, to_jsonb(a)
          || jsonb_build_object('member_id', cast(:m as text), 'id', cast(:a as text)))).*
        from task_assignments a limit 1"""),
        {"m": str(it.id), "a": str(assignment)},
    )
    for place, state in enumerate(["DONE"] * it.done + ["MISSED"] * it.missed):
        due = NOON - (place + 1) * DAY + HOUR
        await connection.execute(
            text("""
            insert into tasks (member_id, assignment_id, starts_on, ends_on, starts_at, due_at, target,
              done, points, state, points_awarded, participated, closed_at)
            values (:m, :a, :day, :day, :from, :due, 1, 1, 1, :state, 0, true, :due)"""),
            {
                "m": it.id,
                "a": assignment,
                "day": (due - DAY).date(),
                "from": due - DAY,
                "due": due,
                "state": state,
            },
        )


def holds(it: Person, wanted: Mapping[str, Any]) -> bool:  # noqa: C901 - one case a fact
    """The filter, evaluated as a person would read it."""
    ((name, value),) = wanted.items()
    match name:
        case "all":
            return all(holds(it, part) for part in value)
        case "any":
            return any(holds(it, part) for part in value)
        case "not":
            return not holds(it, value)
        case "sexes":
            return it.sex in value
        case "age":
            age = completed_years(it.birth, NOON.date())
            return value.get("minimum", 0) <= age <= value.get("maximum", 150)
        case "regions":
            return it.region is not None and any(
                it.region == code or it.region.startswith(f"{code}-") for code in value
            )
        case "occupations":
            return it.occupation in value
        case "incomeBands":
            return it.band in value
        case "segments":
            return it.stage is not None and it.segment in value
        case "lifecycleStages":
            return it.stage in value
        case "riskTiers":
            return it.health == "GRANTED" and it.tier in value
        case "consent":
            return (it.health if value["purpose"] == "HEALTH_DATA" else "NOT_ASKED") in value[
                "states"
            ]
        case "inactiveDays":
            idle = it.stage is None or it.used is None or it.used >= value
            return it.came >= value and idle
        case "productCodes":
            return it.covered and "starter" in value
        case "savedSegments":
            return it.listed and str(LISTED) in value
        case "randomShare":
            place = buckets.bucket(value["salt"].encode(), it.id)
            low, high = (
                int(Decimal(value[end]) * buckets.SIZE / 100)
                for end in ("fromPercent", "toPercent")
            )
            return low <= place < high
        case "participation":
            states = (["DONE"] * it.done + ["MISSED"] * it.missed)[: value["days"]]
            if it.health != "GRANTED" or not states:
                return False
            share = Decimal(100 * states.count("DONE")) / len(states)
            return (
                Decimal(value.get("minimumPercent", 0))
                <= share
                <= Decimal(value.get("maximumPercent", 100))
            )
        case "measurement":
            values = it.systolic[: value["days"]]
            if it.health != "GRANTED" or not values:
                return False
            mean = Decimal(sum(values)) / len(values)
            return Decimal(value.get("minimum", 0)) <= mean <= Decimal(value.get("maximum", 999))
    raise AssertionError(name)


def leaf(rng: Random) -> dict[str, Any]:
    days = rng.choice([1, 2, 30])
    return rng.choice(
        [
            {"sexes": rng.sample(["FEMALE", "MALE", "UNKNOWN"], rng.randint(1, 2))},
            {"age": {"minimum": rng.randint(0, 60)}},
            {"age": {"minimum": 18, "maximum": rng.randint(18, 90)}},
            {"regions": [rng.choice(["CN-31", "CN-3", "CN-31-01"])]},
            {"occupations": ["rider"]},
            {"incomeBands": ["under_3000", "from_15000"]},
            {"segments": ["ELDERLY"]},
            {"lifecycleStages": rng.sample(["NEW", "ACTIVE", "DORMANT"], 2)},
            {"riskTiers": ["HIGH"]},
            {
                "consent": {
                    "purpose": "HEALTH_DATA",
                    "states": [rng.choice(["GRANTED", "WITHDRAWN", "NOT_ASKED"])],
                }
            },
            {"consent": {"purpose": "MARKETING", "states": ["NOT_ASKED"]}},
            {"inactiveDays": rng.choice([1, 30, 100])},
            {"productCodes": [rng.choice(["starter", "none"])]},
            {"savedSegments": [rng.choice([str(LISTED), str(uuid4())])]},
            {
                "randomShare": {
                    "salt": rng.choice(["a", "盐"]),
                    "fromPercent": "10",
                    "toPercent": "62.5",
                }
            },
            {"participation": {"days": days, "minimumPercent": rng.choice(["0", "50", "66.7"])}},
            {"participation": {"days": days, "maximumPercent": rng.choice(["0", "50", "99"])}},
            {
                "measurement": {
                    "code": "SYSTOLIC_BP",
                    "unit": "mm[Hg]",
                    "days": days,
                    "minimum": str(rng.randint(100, 180)),
                }
            },
            {
                "measurement": {
                    "code": "SYSTOLIC_BP",
                    "unit": "mm[Hg]",
                    "days": days,
                    "maximum": str(rng.randint(100, 180)),
                }
            },
        ]
    )


def tree(rng: Random, depth: int) -> dict[str, Any]:
    kind = rng.choice(["leaf", "leaf", "all", "any", "not"]) if depth > 1 else "leaf"
    if kind == "leaf":
        return leaf(rng)
    if kind == "not":
        return {"not": tree(rng, depth - 1)}
    return {kind: [tree(rng, depth - 1) for _ in range(rng.randint(1, 3))]}


async def found(db: Database, wanted: Mapping[str, Any]) -> set[UUID]:
    async with db.read() as connection:
        rows = await connection.execute(segments.found(filters.condition(wanted, now=NOON)))
        return set(rows.scalars())


async def test_any_filter_finds_whom_a_plain_evaluation_finds(db: Database):
    rng = Random(20261)
    template = await make_member(db)  # whose tasks are those that others copy
    async with db.transaction() as session:
        await premiums.enrol(
            session, member_id=template, product_code="starter", starts_on=NOON.date(), now=NOON
        )
    people = [draw(rng, uuid4()) for _ in range(40)]
    for it in people:
        await store(db, it)
    everybody = {it.id for it in people}
    split = 0
    for number in range(250):
        wanted = tree(rng, 1 + number % filters.DEPTH_MAX)
        expected = {it.id for it in people if holds(it, wanted)}
        assert await found(db, wanted) & everybody == expected, wanted
        split += 0 < len(expected) < len(people)
    assert split > 150, "most filters must tell people apart"


async def test_not_finds_whoever_the_filter_does_not(db: Database):
    rng = Random(3)
    everybody = {await make_member(db) for _ in range(3)}
    for _ in range(40):
        wanted = leaf(rng)
        inside = await found(db, wanted)
        assert inside | await found(db, {"not": wanted}) == everybody
        assert not inside & await found(db, {"not": wanted})


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ({}, "filter"),
        ({"sexes": ["MALE"], "regions": ["x"]}, "filter"),
        ({"colour": ["red"]}, "filter.colour"),
        ({"sexes": "MALE"}, "filter.sexes"),
        ({"sexes": ["HE"]}, "filter.sexes"),
        ({"occupations": ["x\0"]}, "filter.occupations"),
        ({"inactiveDays": 0}, "filter.inactiveDays.days"),
        ({"savedSegments": ["nobody"]}, "filter.savedSegments"),
        (
            {"all": [{"participation": {"days": 366, "minimumPercent": "1"}}]},
            "filter.all.0.participation.days",
        ),
        ({"participation": {"days": 3}}, "filter.participation"),
        ({"participation": {"days": 3, "minimumPercent": "101"}}, "filter.participation"),
        (
            {"measurement": {"code": "X", "unit": "kg", "days": 3, "minimum": "1"}},
            "filter.measurement.code",
        ),
        (
            {"measurement": {"code": "WEIGHT", "unit": "mmol/L", "days": 3, "minimum": "1"}},
            "filter.measurement.unit",
        ),
        (
            {
                "measurement": {
                    "code": "WEIGHT",
                    "unit": "kg",
                    "days": 3,
                    "minimum": "2",
                    "maximum": "1",
                }
            },
            "filter.measurement",
        ),
        ({"randomShare": {"salt": "", "fromPercent": "1"}}, "filter.randomShare.salt"),
        (
            {"randomShare": {"salt": "a", "fromPercent": "7", "toPercent": "7"}},
            "filter.randomShare",
        ),
        ({"randomShare": {"salt": "a", "fromPercent": "100"}}, "filter.randomShare"),
        (
            {"randomShare": {"salt": "a", "fromPercent": "1", "toPercent": "101"}},
            "filter.randomShare",
        ),
    ],
)
def test_a_filter_that_makes_no_sense_names_its_part(wanted, path):
    with pytest.raises(filters.FilterInvalid) as caught:
        filters.condition(wanted, now=NOON)
    assert caught.value.path == path
    assert path in str(caught.value)


async def test_a_filter_may_be_large_and_not_endless(db: Database):
    """PostgreSQL takes 32,767 parameters, and looks at each fact of each member."""
    regions = [f"CN-{number}" for number in range(100)]
    largest = {"any": [{"all": [{"regions": regions}]} for _ in range(5)]}
    assert await found(db, largest) == set()
    with pytest.raises(filters.FilterInvalid) as caught:
        filters.condition({"any": [{"regions": regions}] * 6}, now=NOON)
    assert caught.value.path == "filter"
    with pytest.raises(filters.FilterInvalid):
        filters.condition({"any": [{"any": [{"sexes": ["MALE"]}] * 100}] * 100}, now=NOON)


async def test_the_draw_is_the_same_here_and_in_the_database(db: Database):
    salt = uuid4().bytes
    ids = [uuid4() for _ in range(50)]
    async with db.read() as connection:
        rows = await connection.execute(
            text(
                f"select id, {buckets.sql(':salt', 'id')} from unnest(cast(:ids as uuid[])) as m (id)"
            ),
            {"salt": salt, "ids": ids},
        )
        assert {id: drawn for id, drawn in rows} == {id: buckets.bucket(salt, id) for id in ids}
