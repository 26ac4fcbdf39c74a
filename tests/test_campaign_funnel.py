"""The funnel: seen, clicked, enrolled, claimed; by campaign, segment, channel and week."""

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.campaigns import funnel
from app.db import Database, StatementCount
from app.premiums import service as premiums
from tests.campaigns import (
    DAY,
    engage,
    make_members,
    manager,
    pass_time,
    report,
    rows,
    run,
    started,
)
from tests.factories import NOON, as_member, execute, make_member, operation, refused

DOCUMENTS = operation("CampaignList", "console").replace("\nquery", "\0query").split("\0")
FUNNEL, BY = (
    next(it for it in DOCUMENTS if f"query {name}(" in it) for name in ("Funnel", "FunnelBy")
)
CASE = """
insert into mild_condition_cases (member_id, id, policy_id, product_version_id, condition,
  clinical_class, diabetes_range, readings, triggered_on, closes_on, closes_at, state, opened_at,
  share_percent, limit_amount, used, currency)
select member_id, :id, id, product_version_id, 'FASTING_GLUCOSE', 'x', true, '{}', '2026-03-03',
  '2027-03-03', '2027-03-03', 'OPEN', '2026-03-03', 50, 200000, 0, 'CNY'
from policies where member_id = :m
"""
COST = """
insert into benefit_costs (member_id, id, case_id, place, drug, bought_on, amount, fault, paid,
  recorded_at, recorded_by)
values (:m, :id, :case, :place, 'A10BA02', '2026-03-03', 1000, :fault, 0, :at, :m)
"""
STANDING = """
insert into member_standing (member_id, segment, lifecycle, lifecycle_since)
values (:m, :s, 'ACTIVE', now())
"""
CLICKED_AT = NOON + timedelta(hours=1)


async def enrol(db: Database, member: UUID, at: datetime) -> None:
    async with db.transaction() as session:
        await premiums.enrol(
            session, member_id=member, product_code="starter", starts_on=at.date(), now=at
        )


async def claim(db: Database, member: UUID, at: datetime, *, fault: str | None = None) -> UUID:
    case, cost = uuid4(), uuid4()
    await run(db, CASE, m=member, id=case)
    await run(db, COST, m=member, id=cost, case=case, place=1, fault=fault, at=at)
    return cost


async def counts(db: Database, role: str = "ADMIN", now: datetime = NOON + 500 * DAY, **wanted):
    context = await manager(db, role, now=now)
    usual = {"since": (NOON - DAY).isoformat(), "until": (NOON + 99 * DAY).isoformat()}
    found = await execute(FUNNEL, {"filter": usual | wanted}, context=context)
    return [(step["stage"], step["count"]) for step in found["funnel"]]


async def by(db: Database, *dimensions: str, role: str = "ADMIN", **sent: Any) -> list[Any]:
    context = await manager(db, role, now=NOON + 500 * DAY)
    usual = {"since": (NOON - DAY).isoformat(), "until": (NOON + 99 * DAY).isoformat()}
    variables = {"filter": usual, "by": list(dimensions), **sent}
    with StatementCount(db) as counted:
        found = (await execute(BY, variables, context=context))["funnelBy"]
    assert len(counted) <= 2  # with the campaigns that are named
    return [edge["node"] for edge in found["edges"]]


async def told(db: Database, count: int, **changes: Any) -> tuple[str, list[UUID]]:
    """A campaign that these members saw and clicked."""
    members = await make_members(db, count)
    id = await started(db, **changes)
    await pass_time(db, id)
    for member in members:
        await engage(db, member, "EXPOSED", "CLICKED", at=CLICKED_AT)
    return id, members


async def test_each_stage_is_a_part_of_the_one_before(db: Database):
    id, members = await told(db, 8)
    [seen, *_] = await make_members(db, 1)  # told nothing
    early, late, applied, undone, refused_, reversed_, slow, claimed = members
    await enrol(db, early, CLICKED_AT - timedelta(minutes=30))
    await enrol(db, late, CLICKED_AT + (funnel.ENROL_DAYS * DAY) + timedelta(minutes=1))
    for member in (applied, undone, refused_, reversed_, slow, claimed, seen):
        await enrol(db, member, NOON + DAY)
    await run(db, "update policies set state = 'DECLINED' where member_id = :m", m=applied)
    await run(
        db,
        "update policies set state = 'CANCELLED', ended_on = started_on - 1 where member_id = :m",
        m=undone,
    )
    await claim(db, seen, NOON + 2 * DAY)
    await claim(db, claimed, NOON + 2 * DAY)
    await claim(db, refused_, NOON + 2 * DAY, fault="DRUG_NOT_COVERED")
    cost = await claim(db, reversed_, NOON + 2 * DAY)
    await run(
        db,
        "update benefit_costs set reversed_at = :at, reversed_by = :m, reversal_reason = 'x'"
        " where id = :id",
        at=NOON + 3 * DAY,
        m=reversed_,
        id=cost,
    )
    await claim(db, slow, NOON + (funnel.CLAIM_DAYS + 2) * DAY)
    expected = [("EXPOSURE", 8), ("CLICK", 8), ("ENROL", 4), ("CLAIM", 1)]
    assert await counts(db) == expected
    # Of so few, whoever does not see every member is not told who was ill.
    assert await counts(db, "CAMPAIGN_MANAGER") == expected[:3]
    for role, stages in (("ADMIN", expected), ("CAMPAIGN_MANAGER", expected[:3])):
        steps = (await report(await manager(db, role, now=NOON + 500 * DAY), id))["funnel"]
        assert [(it["stage"], it["count"]) for it in steps] == stages
    rates = (await execute(FUNNEL, {"filter": {"since": NOON.isoformat()}}, context=await manager(
        db, "ADMIN", now=NOON + 2 * DAY)))["funnel"]  # fmt: skip
    assert [(str(it["rate"]), str(it["overall"])) for it in rates[1:]] == [
        ("100", "100"), ("50", "50"), ("25", "12.5"),
    ]  # fmt: skip


async def test_claims_of_ten_who_enrolled_are_told(db: Database):
    _, members = await told(db, funnel.TELLS_FROM)
    for member in members:
        await enrol(db, member, NOON + DAY)
    await claim(db, members[0], NOON + 2 * DAY)
    assert (await counts(db, "CAMPAIGN_MANAGER"))[-1] == ("CLAIM", 1)


async def test_where_nothing_can_be_clicked_enrolment_follows_the_announcement(db: Database):
    heard, absent = await make_members(db, 2)
    id = await started(db, channel="BROADCAST", topic="SERVICES")
    await pass_time(db, id)
    await run(
        db,
        "update worklist_items set closed_at = :at, closed_reason = 'DONE' where member_id = :m",
        at=NOON + DAY,
        m=heard,
    )
    for member in (heard, absent):
        await enrol(db, member, NOON + 2 * DAY)
    assert await counts(db, channels=["BROADCAST"]) == [
        ("EXPOSURE", 1), ("ENROL", 1), ("CLAIM", 0),
    ]  # fmt: skip
    # Beside what can be clicked it is in no later stage.
    [other] = await make_members(db, 1, sex="MALE")
    pushed = await started(db, filter={"sexes": ["MALE"]})
    await pass_time(db, pushed)
    await engage(db, other, "CLICKED", at=CLICKED_AT)
    assert await counts(db) == [("EXPOSURE", 2), ("CLICK", 1), ("ENROL", 0), ("CLAIM", 0)]


async def test_an_sms_with_a_link_is_clicked(db: Database):
    members = await make_members(db, 3)
    for place, member in enumerate(members):
        await run(
            db,
            "update members set phone = :p, phone_verified_at = :at where member_id = :m",
            p=f"+861390000000{place}",
            at=NOON,
            m=member,
        )
    id = await started(db, channel="SMS", topic="SERVICES")
    await pass_time(db, id)
    await run(db, "update push_deliveries set state = 'SENT', has_link = true")
    waiting, clicks, _ = members
    await run(
        db, "update push_deliveries set awaits_receipt = true where member_id = :m", m=waiting
    )
    await run(
        db,
        "insert into engagements select member_id, id, k, :at, :at from messages,"
        " unnest(array['OPENED', 'CLICKED']) k where member_id = :m",
        at=CLICKED_AT,
        m=clicks,
    )
    await enrol(db, clicks, NOON + DAY)
    assert await counts(db) == [("EXPOSURE", 2), ("CLICK", 1), ("ENROL", 1), ("CLAIM", 0)]
    found = await report(await manager(db), id)
    [arm] = found["arms"]
    assert (arm["delivered"], arm["clicked"]) == (2, 1)
    assert [it["stage"] for it in found["funnel"]] == ["EXPOSURE", "CLICK", "ENROL"]


async def test_by_segment_channel_campaign_and_week(db: Database):
    old, young, none = await make_members(db, 3)
    for member, segment in ((old, "ELDERLY"), (young, "URBAN_EMPLOYEE")):
        await run(db, STANDING, m=member, s=segment)
    first = await started(db, name="First")
    second = await started(db, name="Second", startsAt=(NOON + 7 * DAY).isoformat())
    for id, at in ((first, NOON), (second, NOON + 7 * DAY)):
        await pass_time(db, id, at)
        for member in (old, young, none):
            await engage(db, member, "EXPOSED", at=at + timedelta(hours=1))
    await engage(db, old, "CLICKED", at=NOON + 8 * DAY)
    found = await by(db, "SEGMENT", "CAMPAIGN")
    told = {
        (it["segment"], it["campaign"]["name"]): [step["count"] for step in it["steps"][:2]]
        for it in found
    }
    assert told == {
        (segment, name): [1, int((segment, name) == ("ELDERLY", "Second"))]
        for segment in ("ELDERLY", "URBAN_EMPLOYEE", None)
        for name in ("First", "Second")
    }
    weeks = await by(db, "WEEK")
    assert [(it["week"], it["steps"][0]["count"]) for it in weeks] == [
        (date(2026, 3, 2), 3),
        (date(2026, 3, 9), 3),
    ]
    [channel] = await by(db, "CHANNEL")
    assert (channel["channel"], channel["segment"], channel["campaign"]) == ("IN_APP", None, None)
    paged = [await by(db, "SEGMENT", "CAMPAIGN", first=4)]
    context = await manager(db, "ADMIN", now=NOON + 500 * DAY)
    usual = {"since": (NOON - DAY).isoformat(), "until": (NOON + 99 * DAY).isoformat()}
    sent = {"filter": usual, "by": ["SEGMENT", "CAMPAIGN"], "first": 4}
    page = (await execute(BY, sent, context=context))["funnelBy"]["pageInfo"]
    assert page["hasNextPage"]
    paged.append(await by(db, "SEGMENT", "CAMPAIGN", first=4, after=page["endCursor"]))
    assert [*paged[0], *paged[1]] == found


@pytest.mark.parametrize(
    ("by", "since"),
    [
        ([], NOON),
        (["WEEK"] * 2, NOON),
        (["WEEK", "SEGMENT", "CHANNEL"], NOON),
        (["WEEK"], NOON - 999 * DAY),
    ],
)
async def test_what_makes_no_sense_is_refused(db: Database, by: list[str], since: datetime):
    sent = {"filter": {"since": since.isoformat()}, "by": by}
    assert await refused(BY, sent, context=await manager(db)) == "BAD_REQUEST"


async def test_members_ask_for_no_funnel(db: Database):
    context = as_member(db, await make_member(db))
    sent = {"filter": {"since": NOON.isoformat()}, "by": ["WEEK"]}
    await refused(BY, sent, context=context)
    assert await rows(db, "select 1 from campaigns") == []
