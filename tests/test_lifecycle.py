"""Where members stand: stages of the lifecycle with exact windows, segments with reasons."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.civil_time import start_of_day, zone
from app.db import Database
from app.members import dimensions, segment_rules, standing_service
from app.members import lifecycle_rules as rules
from app.members.lifecycle_rules import Cover, Facts, LifecycleStage
from app.members.models import Pause
from app.members.rules import SegmentCode
from app.premiums import service as premiums
from app.schema import schema
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    contents,
    counts,
    execute,
    make_member,
    make_staff,
)

DAY = timedelta(days=1)
BEGAN = start_of_day(NOON.date(), zone("Asia/Shanghai"))
ME = "{ me { segment { code reason } lifecycle { stage since } dimensions { occupation { name } } } }"
SET = """
mutation($input: SetProfileInput!) { setProfile(input: $input) { __typename
  ... on SetProfilePayload { replayed member { segment { code reason } } }
  ... on UserError { code field } } }
"""


# Rules


def stage(facts: Facts, now: datetime, before=None, since=NOON):
    return rules.stage(facts, before=before, since=since, now=now)


def test_new_for_seven_days_to_the_moment():
    facts = Facts(joined_at=NOON - DAY, cover=Cover(BEGAN))
    assert stage(facts, BEGAN - timedelta(microseconds=1)).stage is LifecycleStage.PROSPECT
    last = stage(facts, BEGAN + 7 * DAY - timedelta(microseconds=1))
    assert (last.stage, last.since, last.look_at) == (LifecycleStage.NEW, BEGAN, BEGAN + 7 * DAY)
    active = stage(facts, BEGAN + 7 * DAY, before=LifecycleStage.NEW, since=BEGAN)
    assert (active.stage, active.since) == (LifecycleStage.ACTIVE, BEGAN + 7 * DAY)


def test_dormant_after_a_year_to_the_moment_however_late_it_is_looked_at():
    used = datetime(2027, 3, 2, 9, tzinfo=UTC)
    facts = Facts(joined_at=NOON, cover=Cover(BEGAN), last_used_at=used)
    over = datetime(2028, 3, 2, 9, tzinfo=UTC)
    assert stage(facts, over - timedelta(microseconds=1)).stage is LifecycleStage.ACTIVE
    for late in (timedelta(0), DAY, 300 * DAY):
        found = stage(facts, over + late, before=LifecycleStage.ACTIVE, since=BEGAN + 7 * DAY)
        assert (found.stage, found.since) == (LifecycleStage.DORMANT, over)


def test_a_pause_is_no_idleness():
    facts = Facts(joined_at=NOON, cover=Cover(BEGAN), last_used_at=NOON, is_paused_openly=True)
    assert stage(facts, NOON + 900 * DAY).stage is LifecycleStage.ACTIVE
    ended = Facts(NOON, Cover(BEGAN), NOON, paused_until=NOON + 200 * DAY)
    assert stage(ended, NOON + 400 * DAY).stage is LifecycleStage.ACTIVE
    assert stage(ended, NOON + 566 * DAY).stage is LifecycleStage.DORMANT


def test_who_comes_back_is_active_since_the_first_use():
    back = NOON + 500 * DAY
    facts = Facts(NOON, Cover(BEGAN), last_used_at=back + DAY, returned_at=back)
    found = stage(facts, back + 2 * DAY, before=LifecycleStage.DORMANT, since=NOON + 365 * DAY)
    assert (found.stage, found.since, found.reason) == (LifecycleStage.ACTIVE, back, "used_again")


def test_cover_that_ends_lapses_and_cover_that_begins_again_is_new():
    ended = Facts(NOON, Cover(BEGAN, ended_at=BEGAN + 100 * DAY), last_used_at=NOON)
    assert stage(ended, BEGAN + 99 * DAY).stage is LifecycleStage.ACTIVE
    assert stage(ended, BEGAN + 99 * DAY).look_at == BEGAN + 100 * DAY
    lapsed = stage(ended, BEGAN + 101 * DAY)
    assert (lapsed.stage, lapsed.since) == (LifecycleStage.LAPSED, BEGAN + 100 * DAY)
    again = Facts(NOON, Cover(BEGAN + 200 * DAY))
    assert stage(again, BEGAN + 203 * DAY, before=LifecycleStage.LAPSED).stage is LifecycleStage.NEW


@pytest.mark.parametrize(
    ("birth", "occupation", "residence", "code"),
    [
        (date(2010, 3, 3), "office", None, "child"),
        (date(2008, 3, 2), None, None, None),
        (date(1966, 3, 2), "rider", "RURAL", "elderly"),
        (date(1966, 3, 3), "rider", "RURAL", "new_citizen"),
        (date(1980, 1, 1), "farmer", "URBAN", "farmer"),
        (date(1980, 1, 1), "office", "RURAL", "rural"),
        (date(1980, 1, 1), "office", "URBAN", "employee"),
        (date(1980, 1, 1), "homemaker", None, None),
        (date(1980, 1, 1), "of a former table", None, None),
    ],
)
def test_a_segment_by_the_first_rule_that_holds(birth, occupation, residence, code):
    facts = segment_rules.Facts(birth, occupation, residence)
    found = segment_rules.in_force().rule_of(facts, today=date(2026, 3, 2))
    assert (found.code if found else None) == code


def test_the_next_birthday_that_matters():
    facts = segment_rules.Facts(date(2008, 2, 29))
    known = segment_rules.in_force()
    assert known.changes_on(facts, today=date(2026, 2, 28)) == date(2026, 3, 1)
    assert known.changes_on(facts, today=date(2026, 3, 1)) == date(2068, 2, 29)


def test_every_choice_of_a_profile_can_be_told():
    known = dimensions.in_force()
    for choices in (known.occupations, known.residences, known.income_bands, known.regions):
        assert choices and all(isinstance(code, str) for code in choices)
    groups = {group for rule in segment_rules.in_force().rules for group in rule.groups}
    assert groups <= {it.group for it in known.occupations.values()}
    assert {rule.segment for rule in segment_rules.in_force().rules} == set(SegmentCode)


# In the database


async def standing(db: Database, member_id: UUID) -> tuple:
    async with db.read() as connection:
        row = await connection.execute(
            text(
                "select lifecycle, lifecycle_since, segment_rule from member_standing where member_id = :id"
            ),
            {"id": member_id},
        )
        return tuple(row.one())


async def history(db: Database, member_id: UUID, kind: str) -> list:
    async with db.read() as connection:
        rows = await connection.execute(
            text(
                "select value from standing_events where member_id = :id and kind = :kind"
                " order by recorded_at, since, id"
            ),
            {"id": member_id, "kind": kind},
        )
        return list(rows.scalars())


async def run(db: Database, now: datetime) -> int:
    await standing_service.notice_use(db, now=now)
    return sum([changes async for changes in standing_service.refresh_due(db, now=now)])


async def enrol(db: Database, member_id: UUID) -> None:
    async with db.transaction() as session:
        await premiums.enrol(
            session, member_id=member_id, product_code="starter", starts_on=NOON.date(), now=NOON
        )


async def used(db: Database, member_id: UUID, at: datetime) -> None:
    async with db.write() as connection:
        await connection.execute(
            text("insert into requests values (:m, :r, 'test', '', :m, :at)"),
            {"m": member_id, "r": uuid4(), "at": at},
        )


async def end_cover(db: Database, member_id: UUID, at: datetime) -> None:
    async with db.write() as connection:
        await connection.execute(
            text("update policies set state = 'ENDED', term_ends_at = :at where member_id = :m"),
            {"m": member_id, "at": at},
        )


async def test_a_life_from_prospect_to_lapsed_with_its_history(db: Database):
    member = await make_member(db)
    assert await run(db, NOON) > 0
    assert (await standing(db, member))[:2] == ("PROSPECT", NOON)
    await enrol(db, member)
    await run(db, NOON + DAY)
    assert (await standing(db, member))[:2] == ("NEW", BEGAN)
    await run(db, NOON + 8 * DAY)
    assert (await standing(db, member))[:2] == ("ACTIVE", BEGAN + 7 * DAY)
    await used(db, member, NOON + 30 * DAY)
    await run(db, NOON + 31 * DAY)
    idle = NOON + 30 * DAY + timedelta(days=365)
    await run(db, idle - timedelta(seconds=1))
    assert (await standing(db, member))[0] == "ACTIVE"
    await run(db, idle + 3 * DAY)
    assert (await standing(db, member))[:2] == ("DORMANT", idle)
    await used(db, member, idle + 5 * DAY)
    await used(db, member, idle + 5 * DAY + timedelta(hours=1))
    await run(db, idle + 6 * DAY)
    assert (await standing(db, member))[:2] == ("ACTIVE", idle + 5 * DAY)
    await end_cover(db, member, idle + 7 * DAY)
    await run(db, idle + 8 * DAY)
    assert (await standing(db, member))[:2] == ("LAPSED", idle + 7 * DAY)
    stages = ["PROSPECT", "NEW", "ACTIVE", "DORMANT", "ACTIVE", "LAPSED"]
    assert await history(db, member, "LIFECYCLE") == stages
    before = await contents(db, "member_standing", "standing_events")
    await run(db, idle + 9 * DAY)
    assert await contents(db, "member_standing", "standing_events") == before


async def test_eight_workers_at_once_write_one_history(db: Database):
    members = [await make_member(db, birth_date=date(1950, 1, 1)) for _ in range(20)]
    await asyncio.gather(*(run(db, NOON) for _ in range(8)))
    moved = await counts(db)
    assert (moved["member_standing"], moved["standing_events"]) == (20, 40)
    assert {(await standing(db, it))[2] for it in members} == {"elderly"}


async def test_a_birthday_moves_the_segment(db: Database):
    member = await make_member(db, birth_date=date(1966, 3, 4))
    await run(db, NOON)
    birthday = start_of_day(date(2026, 3, 4), zone("Asia/Shanghai"))
    await run(db, birthday - timedelta(seconds=1))
    assert await history(db, member, "SEGMENT") == []
    await run(db, birthday)
    assert await history(db, member, "SEGMENT") == ["ELDERLY"]


async def test_an_unreadable_zone_keeps_nobody_waiting(db: Database):
    bad = await make_member(db)
    good = await make_member(db)
    async with db.write() as connection:
        await connection.execute(
            text("update members set time_zone = 'Mars/Olympus' where member_id = :m"), {"m": bad}
        )
    await run(db, NOON)
    assert (await standing(db, good))[0] == "PROSPECT"


async def test_what_was_used_before_anybody_looked_counts(db: Database):
    member = await make_member(db, now=NOON - 800 * DAY)
    await used(db, member, NOON - DAY)
    await run(db, NOON)
    async with db.read() as connection:
        last = await connection.execute(text("select last_used_at from member_standing"))
        assert last.scalar_one() == NOON - DAY


async def test_a_paused_member_does_not_go_dormant(db: Database):
    member = await make_member(db)
    await enrol(db, member)
    async with db.transaction() as session:
        session.add(
            Pause(
                member_id=member,
                id=uuid4(),
                reason="ILLNESS",
                starts_on=NOON.date(),
                created_at=NOON,
            )
        )
    await run(db, NOON + 800 * DAY)
    assert (await standing(db, member))[0] == "ACTIVE"


# Through the API


def sent(request_id=None, **told) -> dict:
    return {"input": {"requestId": str(request_id or uuid4()), **told}}


async def test_a_profile_decides_the_segment_at_once(db: Database):
    member = await make_member(db)
    me = as_member(db, member)
    request = uuid4()
    answer = (await execute(SET, sent(request, occupation="rider"), context=me))["setProfile"]
    assert answer["member"]["segment"]["code"] == "NEW_CITIZEN"
    assert "rider" in answer["member"]["segment"]["reason"]
    again = (await execute(SET, sent(request, occupation="rider"), context=me))["setProfile"]
    assert again["replayed"] is True
    await execute(SET, sent(), context=as_member(db, member, now=NOON + DAY))
    shown = (await execute(ME, context=me))["me"]
    assert shown["segment"] is None and shown["dimensions"]["occupation"] is None
    assert shown["lifecycle"]["stage"] == "PROSPECT"
    assert await history(db, member, "SEGMENT") == ["NEW_CITIZEN", None]


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"occupation": "astronaut"}, "occupation"),
        ({"residence": "urban"}, "residence"),
        ({"incomeBand": ""}, "incomeBand"),
        ({"region": "CN-99"}, "region"),
    ],
)
async def test_an_unknown_choice_is_refused_and_nothing_moves(db: Database, told, field):
    member = await make_member(db)
    before = await contents(db)
    answer = await execute(SET, sent(**told), context=as_member(db, member))
    assert answer["setProfile"] == {
        "__typename": "UserError",
        "code": "VALUE_OUT_OF_RANGE",
        "field": field,
    }
    assert await contents(db) == before


async def test_a_part_of_a_region_stays_when_the_profile_is_written_anew(db: Database):
    """It is no choice of the table, and was known before."""
    member = await make_member(db, region="CN-31-01")
    me = as_member(db, member)
    answer = await execute(SET, sent(region="CN-31-01", occupation="rider"), context=me)
    assert answer["setProfile"]["__typename"] == "SetProfilePayload"
    refusal = (await execute(SET, sent(region="CN-31-02"), context=me))["setProfile"]
    assert (refusal["code"], refusal["field"]) == ("VALUE_OUT_OF_RANGE", "region")
    shown = (await execute("{ me { dimensions { region { code } } } }", context=me))["me"]
    assert shown["dimensions"]["region"] == {"code": "CN-31-01"}


async def test_the_same_profile_eight_times_at_once_is_one_change(db: Database):
    member = await make_member(db)
    request = uuid4()
    answers = await asyncio.gather(
        *(
            execute(SET, sent(request, occupation="rider"), context=as_member(db, member))
            for _ in range(8)
        )
    )
    assert sorted(it["setProfile"]["replayed"] for it in answers) == [False] + [True] * 7
    assert await history(db, member, "SEGMENT") == ["NEW_CITIZEN"]


async def test_an_employee_tells_for_whom_they_look_after_only(db: Database):
    member, other = await make_member(db), await make_member(db)
    manager = await make_staff(db)
    await assign(db, manager, member)
    shown = await schema.execute("{ me { id } }", context_value=as_member(db, member))
    ids = [shown.data["me"]["id"]]
    shown = await schema.execute("{ me { id } }", context_value=as_member(db, other))
    ids.append(shown.data["me"]["id"])
    told = [
        (await execute(SET, sent(memberId=id, residence="RURAL"), context=as_staff(db, manager)))
        for id in ids
    ]
    assert told[0]["setProfile"]["member"]["segment"]["code"] == "RURAL_RESIDENT"
    assert told[1]["setProfile"]["code"] == "NOT_FOUND"
