"""What came of a campaign: counts by arm, lift, funnel, suggestions; and that caps hold."""

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from app.campaigns import planning, suggestions
from app.campaigns.assignment import HOLDOUT
from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.nudges import releasing
from app.premiums import service as premiums
from app.schema import schema
from app.statistics import sample_ratio
from tests.campaigns import (
    DAY,
    PARTS,
    agree,
    by_key,
    check_in,
    engage,
    enrolled,
    key,
    make_members,
    manager,
    pass_time,
    report,
    rows,
    run,
    started,
    told,
    variants,
)
from tests.factories import NOON, as_member, consent, execute, make_member, refused

FUNNEL = """
query($filter: FunnelFilter!) { funnel(filter: $filter) { stage count rate overall } }
"""
SUGGESTIONS = """
{ campaignSuggestions { rule segment channel suggestedChannel text evidence { stage count rate } } }
"""
WHOLE = """
query($id: ID!) { campaign(id: $id) { report {
  arms { key assigned converted } armLift { key lift { metric difference isFound } }
  segments { segment arms { key assigned converted } lift { metric } } } } }
"""


async def arms_of(db: Database, id: str) -> dict[UUID, str]:
    return dict(
        await rows(
            db, "select member_id, arm from campaign_members where campaign_id = :id", id=key(id)
        )
    )


async def test_a_report_counts_members_by_arm(db: Database):
    members = await enrolled(db, 24)
    refused_by = members[0]
    async with db.transaction() as session:
        session.add(consent(refused_by, "HEALTH_DATA", "WITHDRAWN", version=2))
    id = await started(db, variants=variants("a", "b"), holdoutPercent="25")
    await pass_time(db, id)
    arms = await arms_of(db, id)
    inbox = set(await told(db, id))
    assert inbox == {it for it in members if arms[it] != HOLDOUT and it != refused_by}
    opened, clicked = sorted(inbox)[:6], sorted(inbox)[:3]
    for member in opened:
        await engage(db, member, *(("OPENED", "CLICKED") if member in clicked else ("OPENED",)))
    done = members[5:15]
    for member in done:
        await check_in(db, member)
    await check_in(db, members[20], at=NOON + 15 * DAY)  # too late to count
    context = await manager(db)
    found = await report(context, id)
    assert [arm["key"] for arm in found["arms"]] == ["a", "b", HOLDOUT]
    for arm_key, arm in by_key(found).items():
        of_arm = {it for it in members if arms[it] == arm_key}
        assert arm["assigned"] == len(of_arm)
        assert arm["sent"] == arm["delivered"] == len(of_arm & inbox)
        assert arm["opened"] == len(of_arm & set(opened))
        assert arm["clicked"] == len(of_arm & set(clicked))
        assert arm["converted"] == len(of_arm & set(done))
        expected = [{"reason": "CONSENT_WITHDRAWN", "count": 1}]
        is_held_back = arms[refused_by] == arm_key != HOLDOUT
        assert arm["suppressed"] == (expected if is_held_back else [])
    steps = {step["stage"]: step for step in found["funnel"]}
    assert (steps["EXPOSURE"]["count"], steps["CLICK"]["count"]) == (6, 3)
    assert (steps["EXPOSURE"]["rate"], steps["CLICK"]["rate"]) == (None, "50")
    p_value = sample_ratio([arm["assigned"] for arm in found["arms"]], [0.375, 0.375, 0.25])
    assert abs(float(found["sampleRatio"]["pValue"]) - p_value) < 1e-6


async def test_a_planted_effect_on_check_ins_is_found_and_none_where_there_is_none(db: Database):
    members = await enrolled(db, 60)
    id = await started(db, holdoutPercent="50", goal="ENROL")
    await pass_time(db, id)
    arms = await arms_of(db, id)
    for member in members:
        if arms[member] != HOLDOUT:
            await check_in(db, member)
    lifts = {it["metric"]: it for it in (await report(await manager(db), id))["lift"]}
    assert float(lifts["CHECK_INS"]["low"]) > 0
    nothing = lifts["CONVERSION"]
    assert float(nothing["low"]) < 0 < float(nothing["high"]) and nothing["difference"] == "0"
    assert set(lifts) == {"CONVERSION", "CHECK_INS", "READINGS_IN_RANGE"}


async def test_readings_in_range_are_means_of_the_two_weeks_after(db: Database):
    good, high, none, late, silent = await make_members(db, 5)
    id = await started(db)
    async with db.transaction() as session:
        session.add(consent(silent, "HEALTH_DATA", "WITHDRAWN", version=2))
    reading = """
    insert into measurements (member_id, id, code, value, unit, sent_value, sent_unit, measured_at,
      local_date, recorded_at, method, source_id, trust)
    values (:m, :id, :code, :value, 'mm[Hg]', '', '', :at, :day, :at, 'SELF_REPORTED', 'x', 'LOW')"""

    async def measured(member: UUID, systolic: int, days: int, diastolic: int = 80) -> None:
        at = NOON + days * DAY
        for code, value in (("SYSTOLIC_BP", systolic), ("DIASTOLIC_BP", diastolic)):
            await run(
                db, reading, m=member, id=uuid4(), code=code, value=value, at=at, day=at.date()
            )

    await measured(good, 150, 1)
    await measured(good, 100, 2)  # on the average 125
    await measured(silent, 120, 2)
    await measured(high, 120, 3, diastolic=95)
    await measured(late, 120, 15)
    await measured(none, 120, -1)
    await pass_time(db, id)
    from app.campaigns import queries
    from app.campaigns import report as reports

    async with db.read() as connection:
        row = await queries.one(connection, key(id))
        found = (await reports.reports(connection, [row]))[row.id]
    assert found.arms["a"].of_metric[reports.LiftMetric.READINGS_IN_RANGE] == 1


async def test_arms_of_wrong_sizes_raise_the_alarm(db: Database):
    await make_members(db, 60)
    id = await started(db, variants=variants("a", "b"))
    await run(db, "delete from campaign_members where arm = 'a'")
    found = await report(await manager(db), id)
    assert found["sampleRatio"]["alarm"] is True


async def test_segments_add_up_to_the_whole_with_as_many_statements(db: Database):
    members = await make_members(db, 12)
    for member, segment in zip(members, ["ELDERLY"] * 4 + ["CHILD"] * 4, strict=False):
        await run(
            db,
            "insert into member_standing (member_id, segment, lifecycle, lifecycle_since) values (:m, :s, 'ACTIVE', now())",
            m=member,
            s=segment,
        )
    id = await started(db, holdoutPercent="50")
    await pass_time(db, id)
    context = await manager(db)
    with StatementCount(db) as counted:
        found = (await execute(WHOLE, {"id": id}, context=context))["campaign"]["report"]
    assert len(counted) == 4  # campaign, three of the report
    assert [it["segment"] for it in found["segments"]] == [None, "CHILD", "ELDERLY"]
    for arm in found["arms"]:
        parts = [it for part in found["segments"] for it in part["arms"] if it["key"] == arm["key"]]
        assert sum(it["assigned"] for it in parts) == arm["assigned"]


async def test_reports_of_a_list_take_as_many_statements_however_many(db: Database):
    await make_members(db, 3)
    context, counts = await manager(db), []
    document = """{ campaigns(first: 20) { edges { node { id report {
      arms { key assigned sent suppressed { reason count } } } } } } }"""
    for count in (1, 3):
        for _ in range(count):
            await started(db)
        with StatementCount(db) as counted:
            found = (await execute(document, context=context))["campaigns"]["edges"]
        counts.append(len(counted))
    assert counts == [4, 4]
    assert [it["node"]["report"]["arms"][0]["assigned"] for it in found] == [3] * 4


async def test_what_is_held_back_before_it_leaves_was_not_sent(db: Database):
    [member] = await make_members(db, 1, phone="+8613900000001")
    id = await started(db, channel="SMS", topic="SERVICES")
    await pass_time(db, id)
    context = await manager(db)
    [arm] = (await report(context, id))["arms"]
    assert (arm["sent"], arm["delivered"], arm["suppressed"]) == (1, 0, [])
    await run(
        db,
        "update push_deliveries set state = 'SUPPRESSED', reason = 'OPTED_OUT' where member_id = :m",
        m=member,
    )
    found = await report(context, id)
    [arm] = found["arms"]
    assert (arm["sent"], arm["delivered"]) == (0, 0)
    assert arm["suppressed"] == [{"reason": "OPTED_OUT", "count": 1}]
    # Nothing in an SMS without a link can be clicked.
    assert [(it["stage"], it["count"]) for it in found["funnel"]] == [("EXPOSURE", 0), ("ENROL", 0)]


async def test_nothing_is_suggested_about_clicks_that_nobody_counts(db: Database, monkeypatch):
    days, _, rules = suggestions.in_force()
    monkeypatch.setattr(suggestions, "in_force", lambda: (days, 1, rules))
    [member] = await make_members(db, 1, phone="+8613900000001")
    await run(
        db,
        "insert into member_standing (member_id, segment, lifecycle, lifecycle_since) values (:m, 'RURAL_RESIDENT', 'ACTIVE', now())",
        m=member,
    )
    id = await started(db, channel="SMS", topic="SERVICES")
    await pass_time(db, id)
    await run(db, "update push_deliveries set state = 'SENT'")
    context = await manager(db, now=NOON + DAY)
    assert (await report(context, id))["funnel"][0]["count"] == 1
    assert (await execute(SUGGESTIONS, context=context))["campaignSuggestions"] == []


async def test_a_draft_has_no_report_and_members_see_none(db: Database):
    from tests.campaigns import create

    context = await manager(db)
    id = await create(context)
    answer = await execute(PARTS["CampaignReport"], {"id": id}, context=context)
    assert answer["campaign"]["report"] is None
    member = as_member(db, await make_member(db))
    denied = await schema.execute(PARTS["CampaignReport"], {"id": id}, context_value=member)
    assert denied.data == {"campaign": None} and denied.errors
    assert (
        await execute(
            PARTS["CampaignReport"], {"id": encode(Kind.CAMPAIGN, uuid4())}, context=context
        )
    )["campaign"] is None


async def test_the_funnel_by_campaign_segment_channel_and_time(db: Database):
    first, second = await make_members(db, 2)
    await run(
        db,
        "insert into member_standing (member_id, segment, lifecycle, lifecycle_since) values (:m, 'ELDERLY', 'ACTIVE', now())",
        m=first,
    )
    id = await started(db)
    await pass_time(db, id)
    await engage(db, first, "EXPOSED", "CLICKED")
    await engage(db, second, "EXPOSED")
    async with db.transaction() as session:
        await premiums.enrol(
            session, member_id=first, product_code="starter", starts_on=NOON.date(), now=NOON + DAY
        )
    context = await manager(db)

    async def counts(**wanted) -> list[int]:
        usual = {"since": (NOON - DAY).isoformat(), "until": (NOON + DAY).isoformat()}
        found = await execute(FUNNEL, {"filter": usual | wanted}, context=context)
        return [step["count"] for step in found["funnel"]]

    assert await counts() == [2, 1, 1]
    assert await counts(segments=["ELDERLY"]) == [1, 1, 1]
    assert await counts(channels=["IN_APP"]) == [2, 1, 1]
    assert await counts(channels=["SMS"]) == [0, 0]  # of which nobody counts clicks
    assert await counts(channels=["SMS", "IN_APP"]) == [2, 1, 1]
    assert await counts(campaignIds=[id]) == [2, 1, 1]
    assert await counts(campaignIds=[encode(Kind.CAMPAIGN, uuid4())]) == [0, 0, 0]
    assert await counts(until=(NOON - timedelta(hours=1)).isoformat()) == [0, 0, 0]
    many = {"filter": {"since": NOON.isoformat(), "campaignIds": [id] * 101}}
    assert await refused(FUNNEL, many, context=context) == "BAD_REQUEST"
    bad = {"filter": {"since": NOON.isoformat(), "until": (NOON - DAY).isoformat()}}
    assert await refused(FUNNEL, bad, context=context) == "BAD_REQUEST"


async def test_a_rule_suggests_with_its_evidence(db: Database, monkeypatch):
    days, _, rules = suggestions.in_force()
    monkeypatch.setattr(suggestions, "in_force", lambda: (days, 3, rules))
    members = await make_members(db, 4)
    for member in members:
        await run(
            db,
            "insert into member_standing (member_id, segment, lifecycle, lifecycle_since) values (:m, 'RURAL_RESIDENT', 'ACTIVE', now())",
            m=member,
        )
    id = await started(db)
    await pass_time(db, id)
    context = await manager(db, now=NOON + DAY)
    assert (await execute(SUGGESTIONS, context=context))["campaignSuggestions"] == []
    for member in members:
        await engage(db, member, "EXPOSED")
    [found] = (await execute(SUGGESTIONS, context=context))["campaignSuggestions"]
    assert (found["rule"], found["suggestedChannel"]) == ("rural_broadcast", "BROADCAST")
    assert found["evidence"][:2] == [
        {"stage": "EXPOSURE", "count": 4, "rate": None},
        {"stage": "CLICK", "count": 0, "rate": "0"},
    ]
    for member in members:
        await engage(db, member, "CLICKED")
    rules_now = [
        it["rule"] for it in (await execute(SUGGESTIONS, context=context))["campaignSuggestions"]
    ]
    assert rules_now == ["enrol_friction"]


@pytest.mark.parametrize("workers", [1, 6])
async def test_twenty_campaigns_at_once_keep_to_the_caps(db: Database, workers):
    """The caps of a local day, over all senders, however many release at the same time."""
    from app.nudges import caps, gate

    members = await make_members(db, 6)
    await agree(db, *members)
    ids = [await started(db, topic="SERVICES") for _ in range(20)]
    for id in ids:
        await planning.plan(db, key(id), now=NOON)

    async def release() -> None:
        while (await releasing.release(db, now=NOON, limit=7)).looked_at:
            pass

    await asyncio.gather(*(release() for _ in range(workers)))
    received: Counter[UUID] = Counter()
    for member, suppressed in await rows(db, "select member_id, suppressed_reason from messages"):
        received[member] += suppressed is None
    most = caps.in_force()[gate.Priority.NORMAL].day
    assert set(received.values()) == {most}
    held = await rows(
        db, "select distinct suppressed_reason from messages where suppressed_reason is not null"
    )
    assert held == [("FREQUENCY_CAP",)]
    assert (await rows(db, "select count(*) from messages"))[0][0] == 120


async def test_few_people_chosen_by_their_health_are_counted_for_who_sees_them(db: Database):
    context, admin = await manager(db), await manager(db, "ADMIN")
    counts = []
    for count in (1, 9):
        for member in await make_members(db, count):
            await run(
                db,
                "insert into risk_profiles (member_id, tier, contests) values (:m, 'HIGH', 0)",
                m=member,
            )
        id = await started(db, filter={"riskTiers": ["HIGH"]})
        found = [
            (await execute(PARTS["CampaignReport"], {"id": id}, context=who))["campaign"]["report"]
            for who in (context, admin)
        ]
        [[size]] = await rows(db, "select audience_size from campaigns where id = :id", id=key(id))
        counts.append(size)
        assert [it is None for it in found] == [count == 1, False]
        assert found[1]["arms"][0]["assigned"] == (1 if count == 1 else 10)
    assert counts == [0, 10]


async def test_readings_of_few_are_compared_for_who_sees_every_member(db: Database):
    await make_members(db, 30)
    id = await started(db, holdoutPercent="50")
    await run(
        db, "delete from campaign_members where arm = 'holdout' and member_id <> :m", m=uuid4()
    )
    await run(
        db,
        "insert into campaign_members (member_id, campaign_id, arm, assigned_at, step)"
        " select member_id, :id, 'holdout', :at, 0 from members m where not exists (select from"
        " campaign_members c where c.member_id = m.member_id) limit 9",
        id=key(id),
        at=NOON,
    )
    for role, metrics in (("CAMPAIGN_MANAGER", 2), ("ADMIN", 3)):
        found = await report(await manager(db, role), id)
        assert len(found["lift"]) == metrics
