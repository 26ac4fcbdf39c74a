"""Filters of members: what they find, and which make no sense."""

from datetime import date
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.civil_time import completed_years as age_on
from app.db import Database
from app.members import rules
from tests.factories import as_staff, consent, make_member, make_staff
from tests.test_staff import MEMBERS, find, member_id


@pytest.fixture
async def people(db: Database) -> dict[str, UUID]:
    found = {
        "girl": await make_member(db, birth_date=date(2016, 3, 3), region="CN-31"),
        "woman": await make_member(db, birth_date=date(1976, 3, 2), region="CN-31-01"),
        "man": await make_member(db, sex="MALE", birth_date=date(1976, 3, 3), region="CN-3"),
        "other": await make_member(db, sex="UNKNOWN", birth_date=date(1990, 1, 1), consents=False),
    }
    async with db.transaction() as session:
        session.add(consent(found["man"], "HEALTH_DATA", "WITHDRAWN", version=2))
        session.add(consent(found["woman"], "MARKETING", "REFUSED"))
    return found


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"sexes": ["FEMALE"]}, "girl woman"),
        ({"sexes": ["MALE", "UNKNOWN"]}, "man other"),
        ({"age": {"minimum": 50}}, "woman"),
        ({"age": {"minimum": 49, "maximum": 49}}, "man"),
        ({"age": {"maximum": 9}}, "girl"),
        ({"age": {"minimum": 0, "maximum": 150}}, "girl woman man other"),
        ({"regions": ["CN-31"]}, "girl woman"),
        ({"regions": ["CN-31-01", "CN-3"]}, "woman man"),
        ({"regions": ["%"]}, ""),
        ({"not": {"regions": ["CN-31"]}}, "man other"),
        ({"consent": {"purpose": "HEALTH_DATA", "states": ["GRANTED"]}}, "girl woman"),
        ({"consent": {"purpose": "HEALTH_DATA", "states": ["WITHDRAWN"]}}, "man"),
        ({"consent": {"purpose": "HEALTH_DATA", "states": ["NOT_ASKED"]}}, "other"),
        ({"consent": {"purpose": "MARKETING", "states": ["NOT_ASKED"]}}, "girl man other"),
        (
            {"consent": {"purpose": "MARKETING", "states": ["NOT_ASKED", "REFUSED"]}},
            "girl woman man other",
        ),
        ({"all": [{"sexes": ["FEMALE"]}, {"age": {"minimum": 18}}]}, "woman"),
        ({"any": [{"sexes": ["MALE"]}, {"age": {"maximum": 17}}]}, "girl man"),
        ({"not": {"any": [{"sexes": ["MALE"]}, {"sexes": ["UNKNOWN"]}]}}, "girl woman"),
        ({"all": [{"not": {"not": {"sexes": ["MALE"]}}}]}, "man"),
    ],
)
async def test_a_filter_finds(db: Database, people, wanted, found):
    admin = await make_staff(db, "ADMIN")
    names = {member_id(id): name for name, id in people.items()}
    answer = {names[id] for id in await find(db, admin, "ADMIN", filter=wanted)}
    assert answer == set(found.split())


def nested(depth: int) -> dict:
    return {"sexes": ["MALE"]} if depth == 1 else {"not": nested(depth - 1)}


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        (nested(6), "filter.not.not.not.not.not"),
        ({"all": []}, "filter.all"),
        ({"any": [{"sexes": []}]}, "filter.any.0.sexes"),
        ({"regions": ["x"] * 101}, "filter.regions"),
        ({"age": {}}, "filter.age"),
        ({"age": {"minimum": 40, "maximum": 39}}, "filter.age"),
        ({"age": {"minimum": -1}}, "filter.age"),
        ({"age": {"maximum": 151}}, "filter.age"),
        ({"consent": {"purpose": "MARKETING", "states": []}}, "filter.consent.states"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused(db: Database, wanted, part):
    from app.schema import schema

    admin = await make_staff(db, "ADMIN")
    result = await schema.execute(
        MEMBERS, {"filter": wanted}, context_value=as_staff(db, admin, "ADMIN")
    )
    assert result.errors and result.errors[0].message.startswith(f"`{part}`")
    assert result.errors[0].original_error.code == "FILTER_INVALID"


async def test_five_filters_inside_each_other_are_accepted(db: Database, people):
    admin = await make_staff(db, "ADMIN")
    assert await find(db, admin, "ADMIN", filter=nested(5)) == [member_id(people["man"])]


@pytest.mark.parametrize("wanted", [{}, {"sexes": ["MALE"], "regions": ["x"]}, {"sexes": None}])
async def test_a_filter_has_exactly_one_field(db: Database, wanted):
    from app.schema import schema

    admin = await make_staff(db, "ADMIN")
    result = await schema.execute(
        MEMBERS, {"filter": wanted}, context_value=as_staff(db, admin, "ADMIN")
    )
    assert result.errors and result.data is None
    assert any(word in result.errors[0].message.lower() for word in ("exactly one", "non-null"))


DAYS = st.dates(date(1896, 1, 1), date(2100, 12, 31))


@given(birth=DAYS, today=DAYS, low=st.integers(0, 150), width=st.integers(0, 20))
def test_an_age_range_holds_whom_their_age_says(birth, today, low, width):
    if birth > today:
        return
    age = rules.AgeRange(low, low + width)
    earliest, latest = rules.born_within(age, today=today)
    assert (earliest <= birth <= latest) is (low <= age_on(birth, today) <= low + width)


@given(birth=DAYS, today=DAYS, years=st.integers(0, 150))
def test_an_open_age_range_holds_whom_their_age_says(birth, today, years):
    if birth > today:
        return
    low, high = rules.AgeRange(minimum=years), rules.AgeRange(maximum=years)
    old = rules.born_within(low, today=today)
    young = rules.born_within(high, today=today)
    assert (old[0] <= birth <= old[1]) is (age_on(birth, today) >= years)
    assert (young[0] <= birth <= young[1]) is (age_on(birth, today) <= years)
