"""Risk through the API: the report, contesting it, who sees it, and why it is so."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.ids import new_id
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    consent,
    contents,
    counts,
    execute,
    make_member,
    make_staff,
    operation,
    refused,
)
from tests.risk_people import ANSWERS, assess, make_person, measure
from tests.test_risk_assessments import rechecks, waiting
from tests.worklist import worklist

REPORT = operation("RiskReport")
CONTEST = operation("ContestRisk")
DECIDE = operation("DecideReview", "console")
WHY = """query ($id: ID!) { why(id: $id) { summary steps { kind title detail ruleVersion occurredAt
  subject { __typename ... on Node { id } ... on Measurement { code value unit }
    ... on RiskAssessment { model } } } } }"""


async def report(db: Database, member_id: UUID, locale: str = "en") -> Any:
    data = await execute(REPORT, context=as_member(db, member_id, locale=locale))
    return data["me"]["risk"]


async def contest(
    db: Database, member_id: UUID, words: str = "I was ill that day.", request: UUID | None = None
) -> Any:
    variables = {"input": {"requestId": str(request or uuid4()), "text": words}}
    data = await execute(CONTEST, variables, context=as_member(db, member_id))
    return data["contestRisk"]


async def decide(db: Database, staff: UUID, review: str, decision: str) -> Any:
    variables = {
        "input": {
            "requestId": str(uuid4()), "reviewId": review, "decision": decision, "reason": "Checked.",
        }
    }  # fmt: skip
    data = await execute(DECIDE, variables, context=as_staff(db, staff))
    return data["decideReview"]


async def make_contested(db: Database) -> tuple[UUID, UUID, str]:
    """A member whose tier is contested, their health manager, and the review's id."""
    member_id = await make_person(db, readings={"SYSTOLIC_BP": 150, "DIASTOLIC_BP": 95})
    staff = await make_staff(db)
    await assign(db, staff, member_id)
    await assess(db, member_id)
    assert (await contest(db, member_id))["replayed"] is False
    [edge] = (await worklist(db, staff))["edges"]
    return member_id, staff, edge["node"]["subject"]["id"]


async def test_who_was_never_assessed_has_no_risk(db: Database) -> None:
    assert await report(db, await make_member(db)) is None


async def test_the_report_says_tier_reasons_and_what_each_model_rests_on(db: Database) -> None:
    answers = {**ANSWERS, "smoking": {"status": ["current"], "years": ["20"]}}
    member_id = await make_person(
        db, answers=answers, readings={"SYSTOLIC_BP": 134, "DIASTOLIC_BP": 82}
    )
    await assess(db, member_id)

    risk = await report(db, member_id)

    assert risk["tier"] == "MEDIUM"
    assert risk["assessedAt"] == NOON
    assert {"Pre-chronic", "Long-term smoking"} <= {it["label"] for it in risk["reasons"]}
    [smoking] = [it for it in risk["reasons"] if it["label"] == "Long-term smoking"]
    assert smoking["detail"] == "You have smoked for 20 years; stopping helps at any time."
    by_model = {it["model"]: it for it in risk["assessments"]}
    assert next(iter(by_model)) == "china_par_10y_ascvd"
    assert len(by_model) == 10

    par = by_model["china_par_10y_ascvd"]
    assert (par["outcome"], par["horizonYears"], par["unit"], par["modelVersion"]) == (
        "CARDIOVASCULAR_DISEASE", 10, "%", "1.0",
    )  # fmt: skip
    [sbp] = [it for it in par["inputs"] if it["name"] == "sbp"]
    assert sbp == {
        "name": "sbp", "value": "134", "unit": "mm[Hg]", "measuredOn": NOON.date() - timedelta(1),
        "provenance": "CLINICAL",
    }  # fmt: skip
    ages = [it for it in par["inputs"] if it["name"] == "age"]
    assert [(it["value"], it["provenance"], it["measuredOn"]) for it in ages] == [
        ("35", "PROFILE", None)
    ]
    total = sum(Decimal(it["value"]) for it in par["contributions"])
    assert total == Decimal(par["value"])
    [smoke] = [it for it in par["contributions"] if it["factor"] == "Smoking"]
    assert smoke["detail"].startswith("Smoking: adds ")
    [pressure] = [it for it in par["contributions"] if it["factor"] == "Upper blood pressure"]
    assert pressure["detail"].startswith("Upper blood pressure 134 mmHg: adds ")

    score2 = by_model["score2"]
    assert (score2["value"], score2["unit"], score2["category"], score2["contributions"]) == (
        None, None, None, [],
    )  # fmt: skip
    assert score2["notApplicableReason"] == "age 35 is outside the range of this model (40-69)."


async def test_the_report_is_in_the_members_language(db: Database) -> None:
    member_id = await make_person(db, readings={"BMI": 29}, locale="zh-CN")
    await assess(db, member_id)
    risk = await report(db, member_id, "zh-CN")
    assert risk["reasons"][0]["label"] == "慢病前期"
    findrisc = next(it for it in risk["assessments"] if it["model"] == "findrisc")
    bmi = next(it for it in findrisc["contributions"] if it["factor"] == "体质指数")
    assert bmi["detail"] == "体质指数 29 kg/m²：增加 1 分。"


async def test_low_risk_and_too_little_have_their_own_words(db: Database) -> None:
    healthy = await make_person(db)
    await assess(db, healthy)
    unknown = await make_member(db)
    await assess(db, unknown)
    assert [it["label"] for it in (await report(db, healthy))["reasons"]] == [
        "No risk factor was found"
    ]
    risk = await report(db, unknown)
    # 50: age alone is a reason; the rest is still needed for the models.
    assert (risk["tier"], [it["label"] for it in risk["reasons"]]) == ("MEDIUM", ["Age"])
    young = await make_member(db, birth_date=(NOON - timedelta(days=9000)).date())
    await assess(db, young)
    risk = await report(db, young)
    assert risk["tier"] is None
    assert risk["reasons"] == [
        {
            "label": "Not enough is known",
            "detail": "Still needed: blood pressure, height and weight.",
        }
    ]


async def test_the_report_takes_the_same_statements_however_much_is_known(db: Database) -> None:
    member_id = await make_person(db)
    await assess(db, member_id)
    with StatementCount(db) as count:
        await report(db, member_id)
    assert len(count) <= 3


async def test_an_employee_sees_risk_while_the_member_consents(db: Database) -> None:
    member_id = await make_person(db)
    staff = await make_staff(db)
    await assign(db, staff, member_id)
    await assess(db, member_id)
    page = "query ($id: ID!) { member(id: $id) { risk { tier } } }"
    who = {"id": encode(Kind.MEMBER, member_id)}
    shown = await execute(page, who, context=as_staff(db, staff))
    assert shown["member"]["risk"] == {"tier": "LOW"}
    risk = await report(db, member_id)
    node = "query ($id: ID!) { node(id: $id) { __typename id } }"
    ids = [risk["id"], risk["assessments"][0]["id"]]
    for id in ids:
        found = await execute(node, {"id": id}, context=as_staff(db, staff))
        assert found["node"]["id"] == id

    async with db.transaction() as session:
        session.add(consent(member_id, "HEALTH_DATA", "WITHDRAWN", version=2))
    hidden = await execute(page, who, context=as_staff(db, staff))
    assert hidden["member"]["risk"] is None
    for id in ids:
        assert (await execute(node, {"id": id}, context=as_staff(db, staff)))["node"] is None
        assert (await execute(node, {"id": id}, context=as_member(db, member_id)))["node"]
        stranger = as_member(db, await make_member(db))
        assert (await execute(node, {"id": id}, context=stranger))["node"] is None


async def test_history_is_paged_newest_first(db: Database) -> None:
    member_id = await make_person(db)
    await assess(db, member_id)
    await measure(db, member_id, NOON - timedelta(hours=2), BMI=29)
    await assess(db, member_id, now=NOON + timedelta(hours=1))
    query = """query ($after: String) { me { risk { history(first: 1, after: $after) {
      edges { cursor node { tier rulesVersion reasons { label } } } pageInfo { hasNextPage } } } } }"""
    context = as_member(db, member_id)
    first = (await execute(query, {}, context=context))["me"]["risk"]["history"]
    assert first["edges"][0]["node"]["tier"] == "MEDIUM"
    assert first["pageInfo"]["hasNextPage"]
    after = {"after": first["edges"][0]["cursor"]}
    second = (await execute(query, after, context=context))["me"]["risk"]["history"]
    assert second["edges"][0]["node"]["tier"] == "LOW"
    assert not second["pageInfo"]["hasNextPage"]


async def test_histories_of_a_list_are_one_statement(db: Database) -> None:
    staff = await make_staff(db)
    query = """{ members(first: 50) { edges { node { id risk { history(first: 1) {
      edges { node { tier } } pageInfo { hasNextPage } } } } } } }"""

    async def read(tiers: dict[UUID, str]) -> int:
        with StatementCount(db) as count:
            data = await execute(query, context=as_staff(db, staff))
        shown = {it["node"]["id"]: it["node"]["risk"]["history"] for it in data["members"]["edges"]}
        assert shown == {
            encode(Kind.MEMBER, member_id): {
                "edges": [{"node": {"tier": tier}}], "pageInfo": {"hasNextPage": True},
            }
            for member_id, tier in tiers.items()
        }  # fmt: skip
        return len(count)

    tiers: dict[UUID, str] = {}
    statements = []
    for readings, tier in (
        ({"BMI": 29}, "MEDIUM"),
        ({"SYSTOLIC_BP": 150, "DIASTOLIC_BP": 95}, "HIGH"),
    ):
        for _ in range(2):
            member_id = await make_person(db)
            await assign(db, staff, member_id)
            await assess(db, member_id)
            await measure(db, member_id, NOON - timedelta(hours=2), **readings)
            await assess(db, member_id, now=NOON + timedelta(hours=1))
            tiers[member_id] = tier
        statements.append(await read(tiers))
    assert statements[0] == statements[1]


# Contests


async def test_a_contest_opens_a_review_in_the_worklist(db: Database) -> None:
    member_id, staff, _ = await make_contested(db)
    [edge] = (await worklist(db, staff))["edges"]
    item = edge["node"]
    assert (item["kind"], item["subject"]["__typename"]) == ("RISK_CONTESTED", "Review")
    assert item["reason"] == "The member contests their risk tier."
    query = "{ me { risk { tier contest { state text reason dueAt } } } }"
    shown = await execute(query, context=as_member(db, member_id))
    assert shown["me"]["risk"] == {
        "tier": "HIGH",
        "contest": {
            "state": "OPEN", "text": "I was ill that day.", "reason": None,
            "dueAt": NOON + timedelta(days=3),
        },
    }  # fmt: skip


async def test_a_contest_is_once_for_an_assessment(db: Database) -> None:
    member_id, staff, review = await make_contested(db)
    before = await counts(db)
    again = await contest(db, member_id)
    assert (again["__typename"], again["code"]) == ("UserError", "LIMIT_REACHED")
    await decide(db, staff, review, "REJECT")
    after_decision = await counts(db)
    assert (await contest(db, member_id))["code"] == "LIMIT_REACHED"
    assert await counts(db) == after_decision
    assert before["reviews"] == after_decision["reviews"] == 1
    # A new assessment may be contested anew.
    await measure(db, member_id, NOON - timedelta(hours=2), BMI=29)
    await assess(db, member_id, now=NOON + timedelta(hours=1))
    assert (await contest(db, member_id))["replayed"] is False


async def test_a_contest_that_is_refused_changes_nothing(db: Database) -> None:
    never = await make_member(db)
    assert (await contest(db, never))["code"] == "NOT_FOUND"
    member_id = await make_person(db)
    await assess(db, member_id)
    before = await contents(db)
    for words in ("", "   ", "x" * 501, "\0"):
        assert (await contest(db, member_id, words))["code"] == "VALUE_OUT_OF_RANGE"
    assert await contents(db) == before


async def test_who_has_withdrawn_the_consent_contests_nothing(db: Database) -> None:
    member_id = await make_person(db)
    await assess(db, member_id)
    async with db.transaction() as session:
        session.add(consent(member_id, "HEALTH_DATA", "WITHDRAWN", version=2))
    before = await contents(db)
    assert (await contest(db, member_id))["code"] == "CONSENT_MISSING"
    assert await contents(db) == before


async def test_a_contest_is_opened_once_whatever_the_client_retries(db: Database) -> None:
    member_id = await make_person(db)
    await assess(db, member_id)
    request = uuid4()
    answers = await asyncio.gather(*(contest(db, member_id, request=request) for _ in range(8)))
    assert sorted(it["replayed"] for it in answers) == [False] + [True] * 7
    assert (await counts(db))["reviews"] == 1
    other = await contest(db, member_id, "Something else.", request)
    assert other["code"] == "REQUEST_REUSED"
    rivals = await make_person(db)
    await assess(db, rivals)
    answers = await asyncio.gather(*(contest(db, rivals) for _ in range(8)))
    assert sorted(it["__typename"] for it in answers) == ["ContestRiskPayload"] + ["UserError"] * 7
    assert (await counts(db))["reviews"] == 2


async def test_an_accepted_contest_has_the_member_measured_again(db: Database) -> None:
    member_id, staff, review = await make_contested(db)
    answer = await decide(db, staff, review, "ACCEPT")
    assert answer["review"]["state"] == "ACCEPTED"
    assert answer["checkIn"] is None
    assert await rechecks(db, member_id) == [("BLOOD_PRESSURE", False), ("GLUCOSE", False)]
    # Beside the job of what was measured before, whose payload is not this one's.
    assert len(await waiting(db)) == 2
    assert (await worklist(db, staff))["edges"] == []
    assert (await report(db, member_id))["tier"] == "HIGH"  # until it is measured


async def test_what_was_contested_is_not_what_is_measured_again(db: Database) -> None:
    member_id = await make_person(db)
    await measure(db, member_id, NOON - timedelta(hours=1), SYSTOLIC_BP=150, DIASTOLIC_BP=95)
    staff = await make_staff(db)
    await assign(db, staff, member_id)
    await assess(db, member_id)
    await contest(db, member_id)
    [edge] = (await worklist(db, staff))["edges"]
    await decide(db, staff, edge["node"]["subject"]["id"], "ACCEPT")

    # Assessed again, with the reading of this morning that was contested.
    await assess(db, member_id, now=NOON + timedelta(minutes=1))
    assert await rechecks(db, member_id) == [("BLOOD_PRESSURE", False), ("GLUCOSE", False)]

    at = NOON + timedelta(hours=1)
    await measure(db, member_id, at, now=at, SYSTOLIC_BP=118, DIASTOLIC_BP=76)
    await assess(db, member_id, now=at)
    assert await rechecks(db, member_id) == [("BLOOD_PRESSURE", True), ("GLUCOSE", False)]


async def test_a_rejected_contest_leaves_the_tier_with_the_reason(db: Database) -> None:
    member_id, staff, review = await make_contested(db)
    async with db.transaction() as session:
        await session.execute(text("delete from pgqueuer"))
    await decide(db, staff, review, "REJECT")
    query = "{ me { risk { contest { state reason } } } }"
    shown = await execute(query, context=as_member(db, member_id))
    assert shown["me"]["risk"]["contest"] == {"state": "REJECTED", "reason": "Checked."}
    assert await rechecks(db, member_id) == []
    assert await waiting(db) == []


async def test_only_members_contest_and_only_staff_decide(db: Database) -> None:
    member_id, staff, review = await make_contested(db)
    variables = {"input": {"requestId": str(uuid4()), "text": "x"}}
    assert await refused(CONTEST, variables, context=as_staff(db, staff)) == "FORBIDDEN"
    stranger = await make_staff(db)
    answer = await decide(db, stranger, review, "ACCEPT")
    assert answer["code"] == "NOT_FOUND"
    decision = {"requestId": str(uuid4()), "reviewId": review, "decision": "ACCEPT", "reason": "x"}
    context = as_member(db, member_id)
    assert await refused(DECIDE, {"input": decision}, context=context) == "FORBIDDEN"


# Filters


async def test_members_and_items_are_found_by_tier(db: Database) -> None:
    low, high = await make_person(db), await make_person(db, readings={"SYSTOLIC_BP": 150})
    withdrawn = await make_person(db, readings={"SYSTOLIC_BP": 150})
    never = await make_member(db)
    everybody = [low, high, withdrawn, never]
    for member_id in everybody[:3]:
        await assess(db, member_id)
        await contest(db, member_id)
    async with db.transaction() as session:
        session.add(consent(withdrawn, "HEALTH_DATA", "WITHDRAWN", version=2))
    staff = await make_staff(db)
    await assign(db, staff, *everybody)

    async def found(*tiers: str) -> set[str]:
        query = """query ($tiers: [RiskTier!]!) {
          members(filter: { riskTiers: $tiers }) { edges { node { id } } } }"""
        data = await execute(query, {"tiers": tiers}, context=as_staff(db, staff))
        return {it["node"]["id"] for it in data["members"]["edges"]}

    assert await found("HIGH") == {encode(Kind.MEMBER, high)}
    assert await found("LOW", "HIGH") == {encode(Kind.MEMBER, it) for it in (low, high)}
    assert await found("MEDIUM") == set()
    items = await worklist(db, staff, filter={"riskTiers": ["HIGH"]})
    assert [it["node"]["member"]["id"] for it in items["edges"]] == [encode(Kind.MEMBER, high)]
    assert items["totalCount"] == 1


# Why


async def test_why_goes_from_the_result_down_to_the_readings(db: Database) -> None:
    member_id = await make_person(
        db, birth_date=NOON.date().replace(year=1966), sex="MALE",
        readings={"SYSTOLIC_BP": 156, "DIASTOLIC_BP": 94},
    )  # fmt: skip
    await assess(db, member_id)
    risk = await report(db, member_id)
    par = next(it for it in risk["assessments"] if it["model"] == "china_par_10y_ascvd")

    data = await execute(WHY, {"id": par["id"]}, context=as_member(db, member_id))

    why = data["why"]
    assert why["summary"].startswith("China-PAR 10-year ASCVD risk: ")
    first, *rest = why["steps"]
    assert first["ruleVersion"] == "china_par_10y_ascvd 1.0"
    assert first["subject"]["id"] == par["id"]
    readings = [it for it in rest if it["kind"] == "READING"]
    codes = {it["subject"]["code"] for it in readings}
    assert codes == {"SYSTOLIC_BP", "DIASTOLIC_BP", "TOTAL_CHOLESTEROL", "HDL", "WAIST"}
    [systolic] = [it for it in readings if it["subject"]["code"] == "SYSTOLIC_BP"]
    assert systolic["detail"] == "156 mmHg, measured on 2026-03-01."
    assert Decimal(systolic["subject"]["value"]) == 156
    ruled = [it for it in rest if it["ruleVersion"] == "tiers 1"]
    assert [it["title"] for it in ruled] in (
        ["High 10-year cardiovascular risk"], ["Intermediate 10-year cardiovascular risk"],
    )  # fmt: skip

    absent = next(it for it in risk["assessments"] if it["model"] == "framingham_hypertension")
    data = await execute(WHY, {"id": absent["id"]}, context=as_member(db, member_id))
    assert "does not apply" in data["why"]["summary"]

    stranger = as_member(db, await make_member(db))
    assert (await execute(WHY, {"id": par["id"]}, context=stranger))["why"] is None
    nothing = encode(Kind.RISK_ASSESSMENT, member_id, new_id(NOON), UUID(int=1))
    assert (await execute(WHY, {"id": nothing}, context=as_member(db, member_id)))["why"] is None
