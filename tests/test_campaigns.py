"""Campaigns from draft to done: who may do what, who gets what, and that a pause bites."""

import asyncio
from datetime import date, datetime, timedelta
from uuid import uuid4

import pytest

from app.campaigns import assigning, planning
from app.campaigns.assignment import HOLDOUT, arm_of, arms
from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.nudges import releasing
from tests.campaigns import (
    DAY,
    agree,
    change,
    create,
    key,
    make_members,
    manager,
    managers,
    pass_time,
    rows,
    run,
    started,
    told,
    variants,
    wish,
)
from tests.factories import NOON, as_staff, contents, execute, make_member, make_staff, refused

CAMPAIGN = """
query($id: ID!) { campaign(id: $id) { name state filter channel audience timing localTime recurrence
  goal goalDays holdoutPercent audienceSize createdBy { id } approvedBy { id }
  variants { key locale step title body weight } steps { step waitHours exits }
  history { kind staff { id } } report { arms { key } } } }
"""
LIST = """
query($first: Int, $after: String, $states: [CampaignState!]) {
  campaigns(first: $first, after: $after, states: $states) {
    edges { node { id variants { key } steps { step } history { kind } } }
    pageInfo { hasNextPage endCursor } } }
"""


async def shown(context, id: str) -> dict:
    return (await execute(CAMPAIGN, {"id": id}, context=context))["campaign"]


async def state(db: Database, id: str) -> str:
    return (await rows(db, "select state from campaigns where id = :id", id=key(id)))[0][0]


# Four eyes


async def test_its_author_cannot_start_it_and_another_can(db: Database):
    await make_members(db, 3)
    author, other = await managers(db)
    made = await change("CreateCampaign", author, **wish())
    campaign = made["campaign"]
    assert (campaign["state"], campaign["audienceSize"]) == ("DRAFT", 3)
    before = await contents(db)
    refusal = await change("StartCampaign", author, campaignId=campaign["id"])
    assert (refusal["code"], refusal["field"]) == ("SECOND_PERSON_NEEDED", "campaignId")
    assert await contents(db) == before
    submitted = await change("SubmitCampaign", author, campaignId=campaign["id"])
    assert submitted["campaign"]["state"] == "IN_REVIEW"
    assert (await change("StartCampaign", author, campaignId=campaign["id"]))[
        "code"
    ] == "SECOND_PERSON_NEEDED"
    begun = await change("StartCampaign", other, campaignId=campaign["id"])
    assert begun["campaign"]["state"] == "RUNNING"
    found = await shown(author, campaign["id"])
    assert [it["kind"] for it in found["history"]] == ["CREATED", "SUBMITTED", "STARTED"]
    assert found["approvedBy"]["id"] != found["createdBy"]["id"]


async def test_who_edits_it_is_one_of_its_authors(db: Database):
    author, editor, third = await managers(db, 3)
    id = await create(author)
    await change("SubmitCampaign", author, campaignId=id)
    edited = await change("EditCampaign", editor, campaignId=id, **wish(name="Walk more"))
    assert edited["campaign"]["state"] == "DRAFT" and edited["campaign"]["name"] == "Walk more"
    for someone in (author, editor):
        assert (await change("StartCampaign", someone, campaignId=id))[
            "code"
        ] == "SECOND_PERSON_NEEDED"
    assert (await change("StartCampaign", third, campaignId=id))["campaign"]["state"] == "RUNNING"
    assert (await change("EditCampaign", editor, campaignId=id, **wish()))[
        "code"
    ] == "STATE_INVALID"


@pytest.mark.parametrize("role", ["HEALTH_MANAGER", "ACTUARY", "AUDITOR", "CLINIC"])
async def test_others_change_nothing(db: Database, role):
    from tests.campaigns import PARTS

    someone = as_staff(db, await make_staff(db, role), role)
    assert await refused(PARTS["CreateCampaign"], {"input": wish()}, context=someone) == "FORBIDDEN"
    sent = {"input": {"requestId": str(uuid4()), "campaignId": encode(Kind.CAMPAIGN, uuid4())}}
    assert await refused(PARTS["StartCampaign"], sent, context=someone) == "FORBIDDEN"


async def test_what_somebody_has_looked_at_is_what_they_start(db: Database):
    author, other = await managers(db)
    id = await create(author)
    seen = (
        await execute(
            "query($id: ID!) { campaign(id: $id) { version } }", {"id": id}, context=other
        )
    )["campaign"]["version"]
    await change("EditCampaign", author, campaignId=id, **wish(name="Something else"))
    before = await contents(db)
    refusal = await change("StartCampaign", other, campaignId=id, version=seen)
    assert (refusal["code"], refusal["field"]) == ("VERSION_OUTDATED", "version")
    assert await contents(db) == before
    begun = await change("StartCampaign", other, campaignId=id, version=seen + 1)
    assert begun["campaign"]["state"] == "RUNNING"


async def segment(db: Database, context, **made) -> str:
    """Of a list, or of a filter whose members were not found yet."""
    kind = "importSegment" if "csv" in made else "createSegment"
    document = f"""mutation($input: {kind[0].upper() + kind[1:]}Input!) {{ {kind}(input: $input) {{
      ... on SegmentPayload {{ segment {{ id }} }} }} }}""".replace(
        "SegmentPayload", kind[0].upper() + kind[1:] + "Payload"
    )
    sent = {"input": {"requestId": str(uuid4()), "name": "S", **made}}
    return (await execute(document, sent, context=context))[kind]["segment"]["id"]


async def test_a_segment_that_is_empty_because_it_is_gone_is_no_exclusion(db: Database):
    """`not` of it would find everybody who was to be left out."""
    await make_member(db, login="wang")
    author, other = await managers(db)
    listed = await segment(db, author, csv="login\nwang")
    id = await create(author, filter={"not": {"savedSegments": [listed]}})
    await run(db, "update saved_segments set archived_at = now()")
    before = await contents(db)
    refusal = await change("StartCampaign", other, campaignId=id)
    assert (refusal["code"], refusal["field"]) == ("FILTER_INVALID", "filter.not.savedSegments")
    new = wish(filter={"any": [{"savedSegments": [listed]}]})
    refusal = await change("CreateCampaign", author, **new)
    assert (refusal["code"], refusal["field"]) == ("FILTER_INVALID", "filter.any.0.savedSegments")
    assert await contents(db) == before


async def test_nothing_starts_on_a_segment_before_its_members_are_found(db: Database):
    from app.members import segments

    await make_members(db, 1)
    author, other = await managers(db)
    made = await segment(db, author, filter={"sexes": ["FEMALE"]})
    id = await create(author, filter={"not": {"savedSegments": [made]}})
    assert (await change("StartCampaign", other, campaignId=id))["code"] == "FILTER_INVALID"
    assert [it async for it in segments.refresh(db, key(made), now=NOON)]
    assert (await change("StartCampaign", other, campaignId=id))["campaign"]["state"] == "RUNNING"


@pytest.mark.parametrize("through_a_segment", [False, True])
async def test_an_sms_to_people_chosen_by_their_health_says_nothing(
    db: Database, through_a_segment
):
    """Whoever reads it would know what they have in common."""
    from app.members import segments

    await make_members(db, 1, phone="+8613900000001")
    healthy = {"not": {"riskTiers": ["HIGH"]}}
    if through_a_segment:
        made = await segment(db, await manager(db), filter={"all": [healthy]})
        assert [it async for it in segments.refresh(db, key(made), now=NOON)]
        healthy = {"savedSegments": [made]}
    for wanted, is_public in ((healthy, False), ({"sexes": ["FEMALE"]}, True)):
        id = await started(db, channel="SMS", topic="SERVICES", filter=wanted)
        await pass_time(db, id)
        found = await rows(db, "select is_public from messages where source_id = :id", id=key(id))
        assert found == [(is_public,)]


async def test_states_allow_what_they_allow(db: Database):
    author, other = await managers(db)
    id = await create(author)
    assert (await change("PauseCampaign", author, campaignId=id))["code"] == "STATE_INVALID"
    await change("StartCampaign", other, campaignId=id)
    assert (await change("SubmitCampaign", author, campaignId=id))["code"] == "STATE_INVALID"
    assert (await change("StartCampaign", other, campaignId=id))["code"] == "STATE_INVALID"
    assert (await change("PauseCampaign", author, campaignId=id))["campaign"]["state"] == "PAUSED"
    assert (await change("StartCampaign", author, campaignId=id))["campaign"]["state"] == "RUNNING"
    assert (await change("CancelCampaign", author, campaignId=id))["campaign"]["state"] == "DONE"
    for name in ("PauseCampaign", "StartCampaign", "CancelCampaign"):
        assert (await change(name, other, campaignId=id))["code"] == "STATE_INVALID"
    nobody = encode(Kind.CAMPAIGN, uuid4())
    assert (await change("StartCampaign", other, campaignId=nobody))["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"name": " "}, "VALUE_OUT_OF_RANGE", "name"),
        ({"filter": {"regions": []}}, "FILTER_INVALID", "filter.regions"),
        ({"variants": []}, "VARIANTS_INVALID", "variants"),
        ({"variants": variants("holdout")}, "VARIANTS_INVALID", "variants.0"),
        ({"variants": variants("a") * 2}, "VARIANTS_INVALID", "variants"),
        ({"variants": variants("a", "b")[:-1]}, "VARIANTS_INVALID", "variants"),
        ({"variants": variants("a", a=0)}, "VARIANTS_INVALID", "variants.0"),
        ({"variants": variants("a", step=1)}, "VARIANTS_INVALID", "variants.0"),
        ({"variants": [variants("a")[0] | {"title": "x" * 81}]}, "VARIANTS_INVALID", "variants.0"),
        ({"variants": [variants("a")[0] | {"actionUrl": "http://x", "actionLabel": "x"}]}, "VARIANTS_INVALID", "variants.0"),
        ({"steps": [{"waitHours": 0}], "variants": variants("a") + variants("a", step=1)}, "VARIANTS_INVALID", "steps.0.waitHours"),
        ({"variants": [variants("a")[0] | {"actionUrl": "https://x", "actionLabel": "\0"}]}, "VARIANTS_INVALID", "variants.0"),
        ({"variants": [variants("a")[0] | {"actionUrl": "https://\0", "actionLabel": "x"}]}, "VARIANTS_INVALID", "variants.0"),
        ({"holdoutPercent": "10.001"}, "VALUE_OUT_OF_RANGE", "holdoutPercent"),
        ({"holdoutPercent": "50.01"}, "VALUE_OUT_OF_RANGE", "holdoutPercent"),
        ({"goalDays": 0}, "VALUE_OUT_OF_RANGE", "goalDays"),
        ({"endsAt": NOON.isoformat()}, "PERIOD_INVALID", "endsAt"),
        ({"recurrence": "FREQ=DAILY", "localTime": "09:00"}, "PERIOD_INVALID", "endsAt"),
        ({"recurrence": "FREQ=HOURLY", "localTime": "09:00", "endsAt": (NOON + DAY).isoformat()}, "RECURRENCE_INVALID", "recurrence"),
        ({"recurrence": "FREQ=DAILY", "endsAt": (NOON + DAY).isoformat()}, "VALUE_OUT_OF_RANGE", "recurrence"),
    ],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused_and_nothing_moves(db: Database, changes, code, field):
    context = await manager(db)
    before = await contents(db)
    answer = await change("CreateCampaign", context, **wish(**changes))
    assert (answer["code"], answer["field"]) == (code, field)
    assert await contents(db) == before


async def test_a_campaign_gives_back_what_was_written(db: Database):
    context = await manager(db)
    sent = wish(
        filter={"not": {"age": {"minimum": 18}}},
        channel="SMS",
        audience="LIVE",
        localTime="09:30",
        steps=[{"waitHours": 48, "exits": ["CLICKED"]}],
        variants=variants("a", "b", b=3) + variants("a", "b", step=1, b=3),
        holdoutPercent="12.5",
        goal="ENROL",
        goalDays=30,
    )
    id = (await change("CreateCampaign", context, **sent))["campaign"]["id"]
    found = await shown(context, id)
    for name in (
        "filter",
        "channel",
        "audience",
        "localTime",
        "holdoutPercent",
        "goal",
        "goalDays",
    ):
        assert found[name] == sent[name]
    assert found["timing"] == "LOCAL_TIME" and found["report"] is None
    assert found["variants"] == sorted(
        sent["variants"], key=lambda it: (it["step"], it["key"], it["locale"])
    )
    assert found["steps"][1] == {"step": 1, "waitHours": 48, "exits": ["CLICKED"]}


# Once, whatever is retried


@pytest.mark.parametrize(
    "name",
    [
        "CreateCampaign",
        "SubmitCampaign",
        "StartCampaign",
        "PauseCampaign",
        "CancelCampaign",
        "EditCampaign",
    ],
)
async def test_the_same_request_eight_times_at_once_is_one(db: Database, name):
    author, other = await managers(db)
    request = str(uuid4())
    if name == "CreateCampaign":
        given = wish(requestId=request)
    else:
        id = await create(author)
        given = {"requestId": request, "campaignId": id}
        if name == "EditCampaign":
            given = wish(requestId=request, name="Again") | {"campaignId": id}
    if name == "PauseCampaign":
        await change("StartCampaign", other, campaignId=id)
    answers = await asyncio.gather(*(change(name, other, **given) for _ in range(8)))
    assert sorted(it["replayed"] for it in answers) == [False] + [True] * 7
    assert len({it["campaign"]["id"] for it in answers}) == 1


async def test_two_who_start_it_start_it_once(db: Database):
    author, first, second = await managers(db, 3)
    id = await create(author)
    answers = await asyncio.gather(
        *(change("StartCampaign", it, campaignId=id) for it in (first, second))
    )
    assert sorted(it.get("code", "") for it in answers) == ["", "STATE_INVALID"]
    assert [it[0] for it in await rows(db, "select kind from campaign_events order by place")] == [
        "CREATED",
        "STARTED",
    ]


# Who gets what


async def test_everybody_gets_it_once_and_in_their_language(db: Database):
    english = await make_members(db, 3)
    chinese = await make_members(db, 2, locale="zh-CN")
    await make_members(db, 2, sex="MALE")
    id = await started(db)
    assert await pass_time(db, id) == 5
    assert await told(db, id) == dict.fromkeys(english + chinese, 1)
    titles = await rows(
        db, "select member_id, title from messages where source_id = :id", id=key(id)
    )
    assert {title for member, title in titles if member in chinese} == {"a zh-CN"}
    assert {title for member, title in titles if member in english} == {"a en"}
    await assigning.assign(db, key(id), now=NOON)
    assert await pass_time(db, id, NOON + timedelta(hours=1)) == 0
    assert sum((await told(db, id)).values()) == 5
    assert await state(db, id) == "DONE"


async def test_the_holdout_gets_nothing_and_arms_are_those_of_the_hash(db: Database, monkeypatch):
    monkeypatch.setattr(assigning, "RANGE", 7)
    monkeypatch.setattr(planning, "BATCH", 5)
    members = await make_members(db, 80)
    id = await started(db, variants=variants("a", "b", b=3), holdoutPercent="30")
    await pass_time(db, id)
    shared = arms({"a": 1, "b": 3}, holdout_percent=30)
    expected = {member: arm_of(key(id), member, shared) for member in members}
    assigned = await rows(db, "select member_id, arm from campaign_members")
    assert dict(assigned) == expected
    assert len(set(expected.values())) == 3
    assert set(await told(db, id)) == {member for member, arm in expected.items() if arm != HOLDOUT}
    held = [member for member, arm in expected.items() if arm == HOLDOUT]
    for table in ("messages", "planned_messages", "push_deliveries"):
        assert (
            await rows(db, f"select 1 from {table} where member_id = any(:held)", held=held) == []
        )


async def test_many_workers_assign_and_plan_everybody_once(db: Database, monkeypatch):
    monkeypatch.setattr(assigning, "RANGE", 5)
    monkeypatch.setattr(planning, "BATCH", 4)
    members = await make_members(db, 23)
    author, other = await managers(db)
    id = await create(author)
    await change("StartCampaign", other, campaignId=id)
    await asyncio.gather(*(assigning.assign(db, key(id), now=NOON) for _ in range(4)))
    await asyncio.gather(*(planning.plan(db, key(id), now=NOON) for _ in range(4)))
    await asyncio.gather(*(releasing.release(db, now=NOON) for _ in range(4)))
    assert await told(db, id) == dict.fromkeys(members, 1)


async def test_who_comes_later_is_in_a_live_audience_and_in_no_frozen_one(db: Database):
    await make_members(db, 2)
    frozen = await started(db, endsAt=(NOON + 9 * DAY).isoformat())
    live = await started(db, audience="LIVE", endsAt=(NOON + 9 * DAY).isoformat())
    await make_members(db, 3, now=NOON + DAY)
    for id in (frozen, live):
        async with db.transaction() as session:
            campaign = await assigning.lock_running(session, key(id))
            assert campaign is not None
            assigning.assign_anew(campaign)
        await assigning.assign(db, key(id), now=NOON + 2 * DAY)
        await pass_time(db, id, NOON + 2 * DAY)
    sizes = dict(await rows(db, "select id, audience_size from campaigns"))
    assert (sizes[key(frozen)], sizes[key(live)]) == (2, 5)


async def test_a_live_audience_loses_who_does_not_belong_to_it_any_more(db: Database):
    stays, leaves = await make_members(db, 2)
    id = await started(db, audience="LIVE")
    await planning.plan(db, key(id), now=NOON)
    await run(db, "update members set sex = 'MALE' where member_id = :m", m=leaves)
    await pass_time(db, id)
    assert await told(db, id) == {stays: 1}
    reasons = await rows(db, "select member_id, suppressed_reason from messages where not in_inbox")
    assert reasons == [(leaves, "NOT_RELEVANT")]


async def test_advertising_goes_to_who_agreed_to_it(db: Database):
    yes, _ = await make_members(db, 2)
    await agree(db, yes)
    id = await started(db, topic="MARKETING")
    await pass_time(db, id)
    assert await told(db, id) == {yes: 1}


# When


async def test_at_a_time_of_each_members_day(db: Database):
    early = await make_member(db, time_zone="Asia/Shanghai")
    late = await make_member(db, time_zone="Europe/Berlin")
    id = await started(db, localTime="13:00", startsAt=NOON.isoformat())
    at = dict(await rows(db, "select member_id, next_at from campaign_members"))
    assert at[early] == NOON + timedelta(hours=1)
    assert at[late] == datetime.fromisoformat("2026-03-02T12:00:00+00:00")
    await pass_time(db, id, NOON + timedelta(hours=1))
    assert await told(db, id) == {early: 1}
    await pass_time(db, id, at[late])
    assert await told(db, id) == {early: 1, late: 1}
    assert await state(db, id) == "DONE"


async def test_it_recurs_on_its_days_until_its_end(db: Database):
    member = await make_member(db)
    await run(
        db,
        'insert into notification_preferences (member_id, topics, changed_at) values (:m, \'{"EDUCATION": ["IN_APP"]}\', now())',
        m=member,
    )
    id = await started(
        db,
        localTime="13:00",
        recurrence="FREQ=WEEKLY;BYDAY=MO,WE",
        endsAt=(NOON + 8 * DAY).isoformat(),
        topic="EDUCATION",
    )
    for day in range(12):
        for hour in range(0, 24, 6):
            await pass_time(db, id, NOON + day * DAY + timedelta(hours=hour, minutes=61))
    days = await rows(db, "select local_date from planned_messages order by 1")
    assert [it[0] for it in days] == [date(2026, 3, 2), date(2026, 3, 4), date(2026, 3, 9)]
    assert await state(db, id) == "DONE"


async def test_nothing_goes_out_before_it_starts_or_after_it_ends(db: Database):
    await make_members(db, 2)
    id = await started(db, startsAt=(NOON + DAY).isoformat(), endsAt=(NOON + 2 * DAY).isoformat())
    assert await pass_time(db, id, NOON + DAY - timedelta(seconds=1)) == 0
    await planning.plan(db, key(id), now=NOON + DAY)
    await pass_time(db, id, NOON + 2 * DAY)
    assert await told(db, id) == {}
    assert await state(db, id) == "DONE"


async def test_steps_wait_and_who_leaves_gets_no_more(db: Database):
    clicks, stays = await make_members(db, 2)
    id = await started(
        db,
        steps=[{"waitHours": 24, "exits": ["CLICKED"]}, {"waitHours": 48, "exits": ["CONVERTED"]}],
        variants=variants("a") + variants("a", step=1) + variants("a", step=2),
    )
    await pass_time(db, id)
    await run(
        db,
        "insert into engagements select member_id, id, 'CLICKED', :at, :at from messages where member_id = :m",
        at=NOON,
        m=clicks,
    )
    await pass_time(db, id, NOON + DAY - timedelta(seconds=1))
    assert await told(db, id) == {clicks: 1, stays: 1}
    await pass_time(db, id, NOON + DAY)
    assert await told(db, id) == {clicks: 1, stays: 2}
    await pass_time(db, id, NOON + 3 * DAY)
    assert await told(db, id) == {clicks: 1, stays: 3}
    assert await state(db, id) == "DONE"


# Pause and cancel


async def test_nothing_is_planned_or_released_once_it_is_paused(db: Database, monkeypatch):
    members = await make_members(db, 9)
    monkeypatch.setattr(planning, "BATCH", 4)
    id = await started(db)
    author = await manager(db)
    await planning.plan(db, key(id), now=NOON)
    await releasing.release(db, now=NOON, limit=3)
    before = len(await told(db, id))
    await change("PauseCampaign", author, campaignId=id)
    await pass_time(db, id)
    assert len(await told(db, id)) == before == 3
    await change("StartCampaign", author, campaignId=id)
    await pass_time(db, id)
    assert await told(db, id) == dict.fromkeys(members, 1)


async def test_what_was_cancelled_never_goes_out(db: Database):
    await make_members(db, 4)
    id = await started(db)
    await planning.plan(db, key(id), now=NOON)
    await change("CancelCampaign", await manager(db), campaignId=id)
    await pass_time(db, id)
    await releasing.drop_cancelled(db)
    assert await told(db, id) == {}
    assert {it[0] for it in await rows(db, "select state from planned_messages")} == {"CANCELLED"}


async def test_a_pause_in_the_middle_of_an_assignment_is_gone_on_with(db: Database, monkeypatch):
    monkeypatch.setattr(assigning, "RANGE", 4)
    members = await make_members(db, 10)
    author, other = await managers(db)
    id = await create(author)
    await change("StartCampaign", other, campaignId=id)
    await asyncio.gather(
        assigning.assign(db, key(id), now=NOON), change("PauseCampaign", author, campaignId=id)
    )
    await change("StartCampaign", author, campaignId=id)
    await assigning.assign(db, key(id), now=NOON)
    await pass_time(db, id)
    assert await told(db, id) == dict.fromkeys(members, 1)


# Lists


async def test_campaigns_are_listed_with_as_many_statements_however_many(db: Database):
    context = await manager(db)
    sizes = []
    for count in (2, 5):
        for _ in range(count):
            await create(context)
        with StatementCount(db) as counted:
            await execute(LIST, {"first": 100}, context=context)
        sizes.append(len(counted))
    assert sizes == [4, 4]
    first = (await execute(LIST, {"first": 3}, context=context))["campaigns"]
    rest = {"first": 100, "after": first["pageInfo"]["endCursor"]}
    second = (await execute(LIST, rest, context=context))["campaigns"]
    ids = [edge["node"]["id"] for edge in first["edges"] + second["edges"]]
    assert len(ids) == len(set(ids)) == 7
    running = (await execute(LIST, {"states": ["RUNNING"]}, context=context))["campaigns"]
    assert running["edges"] == []
