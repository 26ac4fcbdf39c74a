"""What employees see of nudges and change about them."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from app.db import Database, StatementCount
from app.errors import RequestFailed
from app.graphql.ids import Kind, encode
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    execute,
    make_member,
    make_message,
    make_staff,
)
from tests.nudges import rows, run
from tests.nudging import EVENING, make_walker, plan, policy, release, told

SUPPRESSED = """query ($memberId: ID, $reasons: [SuppressionReason!], $first: Int, $after: String) {
  suppressedMessages(memberId: $memberId, reasons: $reasons, first: $first, after: $after) {
    edges { node { topic reason source arm member { id } } }
    pageInfo { hasNextPage endCursor } } }"""
WORDING = {
    "code": "nudge.steps-short",
    "arm": "walk",
    "locale": "zh-CN",
    "version": 0,
    "title": "走一走",
    "body": "还差 {{ left }} 步。",
}


async def listed(context: Any, **values: Any) -> list[dict[str, Any]]:
    found = (await execute(SUPPRESSED, values, context=context))["suppressedMessages"]
    return [edge["node"] for edge in found["edges"]]


async def ask(context: Any, name: str, **values: Any) -> dict[str, Any]:
    """A mutation of Nudges.graphql."""
    document = {
        "publishMessageWording": """mutation ($input: PublishMessageWordingInput!) {
          publishMessageWording(input: $input) { __typename
            ... on PublishMessageWordingPayload { replayed wording { version title body } }
            ... on UserError { code message field } } }""",
        "setNudgePolicyHalted": """mutation ($input: SetNudgePolicyHaltedInput!) {
          setNudgePolicyHalted(input: $input) { __typename
            ... on SetNudgePolicyHaltedPayload { replayed policy { code state } }
            ... on UserError { code message field } } }""",
    }[name]
    values = {"requestId": str(uuid4()), **values}
    answer: dict[str, Any] = (await execute(document, {"input": values}, context=context))[name]
    return answer


async def test_everybody_sees_what_is_theirs_to_see_and_no_more(db: Database) -> None:
    mine, other = [await make_member(db) for _ in range(2)]
    manager = await make_staff(db)
    await assign(db, manager, mine)
    source = policy("steps-short").id
    await plan(db, NOON)
    for member, reason, of in (
        (mine, "OPTED_OUT", None),
        (mine, "NOT_RELEVANT", source),
        (other, "FREQUENCY_CAP", source),
    ):
        await make_message(db, member, in_inbox=False, suppressed=reason, source_id=of)
    await make_message(db, mine)

    by_manager = await listed(as_staff(db, manager))
    assert {(it["reason"], it["source"]) for it in by_manager} == {
        ("NO_LONGER_RELEVANT", "steps-short"),
        ("OPTED_OUT", None),
    }
    assert {it["member"]["id"] for it in by_manager} == {encode(Kind.MEMBER, mine)}
    for role in ("ADMIN", "AUDITOR"):
        seen = await listed(as_staff(db, await make_staff(db), role))
        assert len(seen) == 3
    campaigns = await listed(as_staff(db, await make_staff(db), "CAMPAIGN_MANAGER"))
    assert {(it["reason"], it["member"]) for it in campaigns} == {
        ("FREQUENCY_CAP", None),
        ("NO_LONGER_RELEVANT", None),
    }
    assert await listed(as_staff(db, manager), memberId=encode(Kind.MEMBER, other)) == []
    assert await listed(as_staff(db, manager), memberId="nonsense") == []
    assert len(await listed(as_staff(db, manager), memberId=encode(Kind.MEMBER, mine))) == 2
    only = await listed(as_staff(db, manager), reasons=["NO_LONGER_RELEVANT"])
    assert [it["reason"] for it in only] == ["NO_LONGER_RELEVANT"]
    read = await rows(db, "SELECT DISTINCT member_id, staff_id FROM audit_reads")
    assert (mine, manager) in read and (other, manager) not in read
    for nobody in (as_member(db, mine), as_staff(db, manager, "ACTUARY")):
        with pytest.raises((RequestFailed, AssertionError)):
            await listed(nobody)


async def test_the_list_is_paged_and_its_statements_do_not_grow(db: Database) -> None:
    manager = await make_staff(db)
    members = [await make_member(db) for _ in range(12)]
    await assign(db, manager, *members)
    for member in members:
        await make_message(db, member, in_inbox=False, suppressed="OPTED_OUT")
    counts, seen, after = [], [], None
    for first in (2, 10):
        with StatementCount(db) as statements:
            page = await execute(
                SUPPRESSED, {"first": first, "after": after}, context=as_staff(db, manager)
            )
        counts.append(len(statements))
        found = page["suppressedMessages"]
        seen += [edge["node"]["member"]["id"] for edge in found["edges"]]
        after = found["pageInfo"]["endCursor"]
    assert counts[0] == counts[1]
    assert len(set(seen)) == len(members)
    assert found["pageInfo"]["hasNextPage"] is False


async def test_a_policy_is_halted_at_once_and_only_by_those_who_may(db: Database) -> None:
    await make_walker(db)
    await plan(db, EVENING)
    manager = as_staff(db, await make_staff(db), "CAMPAIGN_MANAGER")
    request = str(uuid4())
    for replayed in (False, True):
        answer = await ask(
            manager, "setNudgePolicyHalted", requestId=request, code="steps-short", halted=True
        )
        assert answer["replayed"] is replayed
        assert answer["policy"] == {"code": "steps-short", "state": "HALTED"}
    again = await ask(manager, "setNudgePolicyHalted", code="steps-short", halted=True)
    assert (again["code"], again["field"]) == ("STATE_INVALID", "code")
    unknown = await ask(manager, "setNudgePolicyHalted", code="steps", halted=True)
    assert (unknown["code"], unknown["field"]) == ("NOT_FOUND", "code")
    assert await release(db, EVENING) == 0

    listed = (
        "{ nudgePolicies { code state plannedLastWeek trigger { at notBefore } arms { key } } }"
    )
    shown = (await execute(listed, context=manager))["nudgePolicies"]
    (it,) = [it for it in shown if it["code"] == "steps-short"]
    assert (it["state"], it["trigger"]["at"]) == ("HALTED", "18:00")
    assert len(shown) == 14

    await ask(manager, "setNudgePolicyHalted", code="steps-short", halted=False)
    assert await release(db, EVENING) == 1


async def test_a_wording_is_published_and_said_from_then_on(db: Database) -> None:
    manager = as_staff(db, await make_staff(db), "CAMPAIGN_MANAGER")
    member = await make_walker(db, locale="zh-CN")
    for arm in ("walk", "number"):
        answer = await ask(manager, "publishMessageWording", **{**WORDING, "arm": arm})
        assert answer["wording"] == {"version": 1, "title": "走一走", "body": WORDING["body"]}
    await plan(db, EVENING)
    await release(db, EVENING)
    assert [it[2:4] for it in await told(db)] == [("走一走", "还差 8000 步。")]

    shown = (
        await execute(
            '{ messageWordings(code: "nudge.steps-short") { arm locale version values } }',
            context=manager,
        )
    )["messageWordings"]
    assert {(it["arm"], it["locale"], it["version"]) for it in shown} >= {
        ("walk", "zh-CN", 1),
        ("walk", "en", 0),
    }
    assert shown[0]["values"] == ["left", "target", "minutes"]
    assert member


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"code": "nudge.nothing"}, "NOT_FOUND", "code"),
        ({"arm": "other"}, "NOT_FOUND", "arm"),
        ({"locale": "fr"}, "NOT_FOUND", "locale"),
        ({"version": 1}, "VERSION_OUTDATED", "version"),
        ({"title": "走" * 81}, "VALUE_OUT_OF_RANGE", "title"),
        ({"body": "{{ pressure }}"}, "VALUE_OUT_OF_RANGE", "body"),
        ({"body": "{{ left.__class__ }}"}, "VALUE_OUT_OF_RANGE", "body"),
    ],
)
async def test_a_wording_that_cannot_be_is_refused_and_nothing_is_kept(
    db: Database, change: dict[str, Any], code: str, field: str
) -> None:
    manager = as_staff(db, await make_staff(db), "CAMPAIGN_MANAGER")
    answer = await ask(manager, "publishMessageWording", **{**WORDING, **change})
    assert (answer["code"], answer["field"]) == (code, field)
    assert await rows(db, "SELECT count(*) FROM message_templates") == [(0,)]
    assert await rows(db, "SELECT count(*) FROM requests") == [(0,)]


async def test_the_same_request_eight_times_and_two_rivals_publish_once(db: Database) -> None:
    staff_id = await make_staff(db)
    request = str(uuid4())
    answers = await asyncio.gather(
        *(
            ask(
                as_staff(db, staff_id, "ADMIN"),
                "publishMessageWording",
                requestId=request,
                **WORDING,
            )
            for _ in range(8)
        )
    )
    assert sorted(it["replayed"] for it in answers) == [False] + [True] * 7
    assert {it["wording"]["version"] for it in answers} == {1}
    rivals = await asyncio.gather(
        *(
            ask(
                as_staff(db, staff_id, "ADMIN"),
                "publishMessageWording",
                **{**WORDING, "version": 1, "body": body},
            )
            for body in ("走吧。", "出门走走。")
        )
    )
    assert sorted(it["__typename"] for it in rivals) == [
        "PublishMessageWordingPayload",
        "UserError",
    ]
    assert await rows(db, "SELECT max(version), count(*) FROM message_templates") == [(2, 2)]


PREVIEW = """query ($input: PreviewMessageInput!) {
  previewMessage(input: $input) { title body lockScreen isSample faults { field message } } }"""


async def preview(context: Any, **values: Any) -> Any:
    given = {"code": "nudge.steps-short", "arm": "number", "locale": "en", **values}
    return (await execute(PREVIEW, {"input": given}, context=context))["previewMessage"]


async def test_a_preview_shows_what_a_member_would_read_and_changes_nothing(db: Database) -> None:
    member = await make_walker(db)
    await run(db, "UPDATE tasks SET done = 3000")
    manager = await make_staff(db)
    await assign(db, manager, member)
    health = as_staff(db, manager)
    campaigns = as_staff(db, await make_staff(db), "CAMPAIGN_MANAGER")
    id = encode(Kind.MEMBER, member)

    of_member = await preview(health, memberId=id)
    assert "5000" in of_member["body"] and of_member["isSample"] is False
    assert of_member["lockScreen"] == "You have a message. Tap to see it."
    sample = await preview(campaigns)
    assert "3200" in sample["body"] and sample["isSample"] is True
    assert await preview(campaigns, memberId=id) is None
    assert await preview(health, code="nudge.other") is None
    assert await preview(health, locale="fr") is None
    wrong = await preview(campaigns, title="{{ x }}", body="Cures everything.")
    assert (wrong["title"], wrong["body"]) == (None, None)
    assert [it["field"] for it in wrong["faults"]] == ["title"]
    draft = await preview(campaigns, segment="CHILD", title="Hello", body="Walk {{ left }}")
    assert draft["body"] == "Walk 3200"
    assert await preview(campaigns, segment="CHILD") is None
    assert await rows(db, "SELECT count(*) FROM message_templates") == [(0,)]


async def test_a_preview_shows_no_health_of_who_took_the_consent_back(db: Database) -> None:
    member = await make_walker(db)
    manager = await make_staff(db)
    await assign(db, manager, member)
    await run(db, "UPDATE tasks SET done = 3000")
    await run(
        db,
        "INSERT INTO consents SELECT member_id, purpose, version + 1, 'WITHDRAWN', text_version,"
        " recorded_at, recorded_by FROM consents WHERE purpose = 'HEALTH_DATA'",
    )
    found = await preview(as_staff(db, manager), memberId=encode(Kind.MEMBER, member))
    assert found["isSample"] is True and "5000" not in found["body"]


async def test_of_eight_who_halt_at_once_one_does(db: Database) -> None:
    context = as_staff(db, await make_staff(db), "CAMPAIGN_MANAGER")
    request = str(uuid4())
    for given in ([{"requestId": request}] * 8, [{"halted": False}] * 8):
        answers = await asyncio.gather(
            *(
                ask(context, "setNudgePolicyHalted", **{"code": "lecture", "halted": True, **it})
                for it in given
            )
        )
        done = [it for it in answers if it["__typename"] != "UserError"]
        if given[0].get("requestId"):
            assert sorted(it["replayed"] for it in done) == [False] + [True] * 7
        else:
            assert len(done) == 1
            codes = {it["code"] for it in answers if it not in done}
            assert codes == {"STATE_INVALID"}
