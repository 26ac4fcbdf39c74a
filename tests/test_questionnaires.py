"""Asking and answering questionnaires, on a real database through the API."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql.context import ANONYMOUS
from app.graphql.ids import Kind, encode, parse
from app.records import published
from app.records.published import QuestionnaireChanged
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    consent,
    contents,
    context,
    counts,
    execute,
    guard,
    make_member,
    make_staff,
    operation,
    refused,
)

ANSWER = operation("AnswerQuestionnaire")
NOTICES = """
mutation ($input: AnswerQuestionnaireInput!) { answerQuestionnaire(input: $input) {
  ... on AnswerQuestionnairePayload { replayed notices { severity message } response { id
    code version title answers { key text values shown } scores { code value unit band bandLabel } } }
  ... on UserError { code field message } } }
"""
RESPONSES = """
query ($code: String, $first: Int = 20, $after: String) { me { questionnaireResponses(
  code: $code, first: $first, after: $after) { edges { node { id code answeredAt } }
  pageInfo { hasNextPage endCursor } } } }
"""
NODE = "query ($id: ID!) { node(id: $id) { id ... on QuestionnaireResponse { scores { value } } } }"
PHQ = [
    *("interest", "mood", "sleep", "energy", "appetite"),
    *("failure", "concentration", "movement", "self_harm"),
]


def phq(*points: int) -> list[dict]:
    return [
        {"key": key, "values": [str(value)]}
        for key, value in zip(PHQ, points or (1,) * 9, strict=True)
    ]


def smoking(cigarettes: int = 12) -> list[dict]:
    return [
        {"key": "status", "values": ["current"]},
        {"key": "cigarettes_per_day", "values": [str(cigarettes)]},
        {"key": "years", "values": ["20"]},
    ]


async def answer(
    db: Database,
    member: UUID,
    answers: list[dict],
    *,
    code: str = "phq-9",
    version: str = "1",
    request: UUID | None = None,
    now: datetime = NOON,
    document: str = ANSWER,
    acting_for: UUID | None = None,
    locale: str = "en",
):
    input = {
        "requestId": str(request or uuid4()),
        "code": code,
        "version": version,
        "answers": answers,
    }
    asked = as_member(db, member, now=now, acting_for=acting_for, locale=locale)
    return (await execute(document, {"input": input}, context=asked))["answerQuestionnaire"]


async def rows(db: Database, sql: str, **values: object) -> list[tuple]:
    async with db.read() as connection:
        return [tuple(row) for row in await connection.execute(text(sql), values)]


# Asking


async def test_a_questionnaire_is_shown_in_the_members_language(db: Database):
    member = await make_member(db)
    document = operation("Questionnaire")
    variables = {"code": "smoking"}
    english = await execute(document, variables, context=as_member(db, member))
    chinese = await execute(document, variables, context=as_member(db, member, locale="zh-CN"))
    found = english["questionnaire"]
    assert (found["code"], found["version"], found["title"]) == ("smoking", "1", "Smoking")
    assert chinese["questionnaire"]["title"] == "吸烟情况"
    by_key = {item["key"]: item for item in found["items"]}
    assert next(iter(by_key)) == "status"
    cigarettes = by_key["cigarettes_per_day"]
    assert (cigarettes["kind"], cigarettes["required"]) == ("INTEGER", True)
    assert cigarettes["showWhen"] == {"key": "status", "anyOf": ["current"]}
    assert (cigarettes["unit"], cigarettes["minimum"]) == ("{cigarettes}/d", "1")
    assert cigarettes["options"] == []
    assert [it["value"] for it in by_key["status"]["options"]] == ["never", "former", "current"]
    assert by_key["status"]["showWhen"] is None


async def test_there_is_none_of_another_code_and_nobody_asks_without_signing_in(db: Database):
    member = await make_member(db)
    document, variables = "query ($c: String!) { questionnaire(code: $c) { code } }", {"c": "PHQ-9"}
    assert await execute(document, variables, context=as_member(db, member)) == {
        "questionnaire": None
    }
    staff = await make_staff(db)
    assert (await execute(document, {"c": "phq-9"}, context=as_staff(db, staff)))["questionnaire"]
    result = await execute_anonymous(db, document, {"c": "phq-9"})
    assert result == "UNAUTHENTICATED"


async def execute_anonymous(db: Database, document: str, variables: dict) -> str:
    from app.schema import schema

    answer = await schema.execute(document, variables, context_value=context(db, ANONYMOUS))
    assert answer.data == {"questionnaire": None} and answer.errors
    return answer.errors[0].original_error.code  # type: ignore[union-attr]


async def test_every_questionnaire_can_be_loaded(db: Database):
    member = await make_member(db)
    for code in published.in_force():
        data = await execute(
            operation("Questionnaire"), {"code": code}, context=as_member(db, member)
        )
        assert data["questionnaire"]["items"]


# Answering


async def test_an_answer_is_kept_scored_and_recorded(db: Database):
    member = await make_member(db)
    found = await answer(db, member, phq(2, 2, 2, 1, 1, 1, 1, 0, 0), document=NOTICES)
    assert found["replayed"] is False and found["notices"] == []
    response = found["response"]
    assert (response["code"], response["version"]) == ("phq-9", "1")
    assert response["scores"] == [
        {
            "code": "phq9",
            "value": "10",
            "unit": "{score}",
            "band": "moderate",
            "bandLabel": "Moderate",
        }
    ]
    assert response["answers"][0]["shown"] == "More than half the days"
    assert [it["key"] for it in response["answers"]] == PHQ
    kept = await rows(db, "select code, place, answered_at from questionnaire_responses")
    assert kept == [("phq-9", 1, NOON)]
    measured = await rows(
        db, "select code, value, unit, method, source_id, trust from measurements"
    )
    assert measured == [
        ("PHQ9", Decimal(10), "{score}", "SELF_REPORTED", "questionnaire:phq-9", "LOW")
    ]
    assert (await counts(db))["worklist_items"] == 0


async def test_the_contracts_document_is_answered_with_the_risk(db: Database):
    member = await make_member(db)
    found = await answer(db, member, phq())
    assert found["__typename"] == "AnswerQuestionnairePayload"
    assert found["response"]["answeredAt"] == NOON
    assert parse(found["response"]["id"]).owner_id == member
    assert found["risk"]["id"] == encode(Kind.RISK_PROFILE, member)


@pytest.mark.parametrize(
    ("code", "answers", "measured"),
    [
        ("smoking", smoking(), {"CIGARETTES": (12, "{cigarettes}/d")}),
        (
            "smoking",
            [{"key": "status", "values": ["never"]}],
            {"CIGARETTES": (0, "{cigarettes}/d")},
        ),
        (
            "alcohol",
            [{"key": "frequency", "values": ["never"]}],
            {"AUDIT_C": (0, "{score}"), "ALCOHOL": (0, "{drinks}/d")},
        ),
        (
            "health-declaration",
            [
                {"key": "diagnoses", "values": ["none"]},
                {"key": "high_glucose_ever", "values": ["false"]},
                {"key": "gestational_diabetes", "values": ["no"]},
                {"key": "blood_pressure_medication", "values": ["false"]},
                {"key": "glucose_medication", "values": ["false"]},
                {"key": "statin", "values": ["false"]},
                {"key": "residence", "values": ["urban"]},
                {"key": "height", "values": ["170.5"]},
                {"key": "waist", "values": ["88"]},
            ],
            {"HEIGHT": (Decimal("170.5"), "cm"), "WAIST": (88, "cm")},
        ),
    ],
)
async def test_what_the_catalogue_has_a_code_for_is_a_reading(
    db: Database, code, answers, measured
):
    member = await make_member(db)
    found = await answer(db, member, answers, code=code)
    assert found["__typename"] == "AnswerQuestionnairePayload", found
    kept = await rows(db, "select code, value, unit from measurements")
    assert {it: (value, unit) for it, value, unit in kept} == measured


async def test_thoughts_of_self_harm_open_an_urgent_item_and_say_where_help_is(db: Database):
    member, manager = await make_member(db), await make_staff(db)
    await assign(db, manager, member)
    request = uuid4()
    sent = phq(0, 0, 0, 0, 0, 0, 0, 0, 1)
    found = await answer(db, member, sent, document=NOTICES, request=request)
    [notice] = found["notices"]
    assert notice["severity"] == "URGENT" and "12356" in notice["message"]
    [item] = await rows(
        db, "select kind, priority, due_at, reason_en, reason_zh from worklist_items"
    )
    assert item[:3] == ("ALERT", 100, NOON + timedelta(hours=1))
    for word in ("harm", "PHQ", "depress", "自杀", "伤害"):
        assert word not in item[3] + item[4]
    again = await answer(db, member, sent, document=NOTICES, request=request, locale="zh-CN")
    assert again["replayed"] and "12356" in again["notices"][0]["message"]
    assert (await counts(db))["worklist_items"] == 1

    shown = await execute(
        "{ staff { worklist { edges { node { subject { id __typename } } } } } }",
        context=as_staff(db, manager),
    )
    [edge] = shown["staff"]["worklist"]["edges"]
    assert edge["node"]["subject"] == {
        "id": found["response"]["id"],
        "__typename": "QuestionnaireResponse",
    }
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    hidden = await execute(
        "{ staff { worklist { edges { node { subject { id } } } } } }",
        context=as_staff(db, manager),
    )
    assert hidden["staff"]["worklist"]["edges"][0]["node"]["subject"] is None


async def test_a_new_answer_stands_in_front_of_the_earlier_one_which_stays(db: Database):
    member = await make_member(db)
    first = await answer(db, member, phq(*[1] * 9))
    before = await contents(db, "questionnaire_responses")
    second = await answer(db, member, phq(*[2] * 9), now=NOON + timedelta(days=30))
    assert first["response"]["id"] != second["response"]["id"]
    after = await contents(db, "questionnaire_responses")
    assert set(before["questionnaire_responses"]) < set(after["questionnaire_responses"])
    assert await rows(
        db, "select place, scores->'phq9'->>0 from questionnaire_responses order by place"
    ) == [(1, "9"), (2, "18")]
    for response in (first, second):
        data = await execute(
            NODE, {"id": response["response"]["id"]}, context=as_member(db, member)
        )
        assert data["node"]["id"] == response["response"]["id"]


# Refusals


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"code": "psqi"}, "NOT_FOUND", "code"),
        ({"version": "2"}, "VERSION_OUTDATED", "version"),
        ({"version": "0"}, "VERSION_OUTDATED", "version"),
        ({"answers": phq()[:8]}, "ANSWER_INVALID", "answers"),
        (
            {"answers": [*phq()[:8], {"key": "self_harm", "values": ["4"]}]},
            "ANSWER_INVALID",
            "answers.8.values",
        ),
        (
            {"answers": [*phq(), {"key": "mood", "values": ["1"]}]},
            "ANSWER_INVALID",
            "answers.9.key",
        ),
        ({"answers": [{"key": "x", "values": []}]}, "ANSWER_INVALID", "answers.0.key"),
        (
            {
                "code": "smoking",
                "answers": [{"key": "status", "values": ["never"]}, *smoking()[1:]],
            },
            "ANSWER_INVALID",
            "answers.1.key",
        ),
        ({"code": "smoking", "answers": smoking(0)}, "ANSWER_INVALID", "answers.1.values"),
    ],
)
async def test_a_refusal_says_where_and_changes_nothing(db: Database, change, code, field):
    member = await make_member(db)
    before = await contents(db)
    arguments = {"answers": phq(), "code": "phq-9", "version": "1"} | change
    answers = arguments.pop("answers")
    found = await answer(db, member, answers, **arguments)
    assert (found["__typename"], found["code"], found["field"]) == ("UserError", code, field)
    assert found["message"]
    assert await contents(db) == before


@pytest.mark.parametrize("state", [None, "REFUSED", "WITHDRAWN"])
async def test_without_consent_nothing_is_kept(db: Database, state):
    member = await make_member(db, consents=False)
    if state:
        async with db.transaction() as session:
            session.add(consent(member, "HEALTH_DATA", state))
    before = await contents(db)
    found = await answer(db, member, phq(3, 3, 3, 3, 3, 3, 3, 3, 3))
    assert (found["__typename"], found["code"]) == ("UserError", "CONSENT_MISSING")
    assert await contents(db) == before


# Retries and rivals


async def test_a_request_is_answered_once(db: Database):
    member, request = await make_member(db), uuid4()
    first = await answer(db, member, phq(), request=request)
    before = await contents(db)
    again = await answer(db, member, phq(), request=request, now=NOON + timedelta(minutes=9))
    assert again == {**first, "replayed": True}
    other = await answer(db, member, phq(*[2] * 9), request=request)
    assert (other["code"], other["field"]) == ("REQUEST_REUSED", "requestId")
    assert await contents(db) == before


async def test_a_replay_is_answered_after_consent_was_withdrawn(db: Database):
    member, request = await make_member(db), uuid4()
    first = await answer(db, member, phq(), request=request)
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    again = await answer(db, member, phq(), request=request)
    assert again["response"] == first["response"] and again["replayed"]


async def test_the_same_request_eight_times_at_once_is_one_answer(db: Database):
    member, request = await make_member(db), uuid4()
    found = await asyncio.gather(*(answer(db, member, phq(), request=request) for _ in range(8)))
    assert sorted(it["replayed"] for it in found) == [False] + [True] * 7
    assert len({it["response"]["id"] for it in found}) == 1
    after = await counts(db)
    assert (after["questionnaire_responses"], after["measurements"]) == (1, 1)


async def test_eight_answers_at_once_stand_one_behind_the_other(db: Database):
    member = await make_member(db)
    found = await asyncio.gather(*(answer(db, member, phq(*[place % 4] * 9)) for place in range(8)))
    assert {it["__typename"] for it in found} == {"AnswerQuestionnairePayload"}
    places = await rows(db, "select place from questionnaire_responses order by place")
    assert places == [(place,) for place in range(1, 9)]
    in_force = await rows(db, "select count(*) from measurements where superseded_at is null")
    assert in_force == [(1,)], "one instant has one score"


# Who sees what


async def test_responses_are_paged_newest_first(db: Database):
    member, other = await make_member(db), await make_member(db)
    await answer(db, other, phq())
    for day in range(5):
        await answer(db, member, phq(), now=NOON + timedelta(days=day))
    await answer(db, member, smoking(), code="smoking", now=NOON + timedelta(days=5))
    found, after = [], None
    while True:
        with StatementCount(db) as statements:
            page = (
                await execute(
                    RESPONSES, {"first": 2, "after": after}, context=as_member(db, member)
                )
            )["me"]["questionnaireResponses"]
        assert len(statements) == 2  # the member, and a page
        found += [edge["node"]["answeredAt"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert found == [NOON + timedelta(days=day) for day in range(5, -1, -1)]
    of_code = await execute(RESPONSES, {"code": "smoking"}, context=as_member(db, member))
    assert len(of_code["me"]["questionnaireResponses"]["edges"]) == 1


async def test_a_health_manager_sees_answers_while_the_member_consents(db: Database):
    member, manager, stranger = await make_member(db), await make_staff(db), await make_staff(db)
    await assign(db, manager, member)
    id = (await answer(db, member, phq()))["response"]["id"]
    found = await execute(NODE, {"id": id}, context=as_staff(db, manager))
    assert found["node"]["scores"] == [{"value": "9"}]
    assert (await counts(db))["audit_reads"] == 1
    assert (await execute(NODE, {"id": id}, context=as_staff(db, stranger)))["node"] is None
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    assert (await execute(NODE, {"id": id}, context=as_staff(db, manager)))["node"] is None
    own = await execute(NODE, {"id": id}, context=as_member(db, member))
    assert own["node"]["id"] == id


async def test_a_guardian_answers_for_the_child(db: Database):
    guardian, child = await make_member(db), await make_member(db)
    await guard(db, child_id=child, guardian_id=guardian)
    found = await answer(db, guardian, phq(), acting_for=child)
    assert parse(found["response"]["id"]).owner_id == child
    assert await rows(db, "select member_id, answered_by from questionnaire_responses") == [
        (child, guardian)
    ]


async def test_an_employee_does_not_answer(db: Database):
    staff = await make_staff(db)
    input = {"requestId": str(uuid4()), "code": "phq-9", "version": "1", "answers": phq()}
    assert await refused(ANSWER, {"input": input}, context=as_staff(db, staff)) == "FORBIDDEN"


async def test_answering_costs_the_same_whatever_was_answered_before(db: Database):
    member = await make_member(db)
    with StatementCount(db) as first:
        await answer(db, member, phq())
    for day in range(1, 10):
        await answer(db, member, phq(), now=NOON + timedelta(days=day))
    with StatementCount(db) as later:
        await answer(db, member, phq(), now=NOON + timedelta(days=20))
    assert len(later) <= len(first)


# Publication


async def test_a_published_questionnaire_never_changes(db: Database, owner_url: str):
    owner = Database.open(owner_url)
    try:
        async with owner.transaction() as session:
            assert await published.publish(session) == 0
        form = published.in_force()["diet"]
        changed = form.model_copy(update={"title": published.in_force()["sleep"].title})
        with pytest.raises(QuestionnaireChanged, match="'diet' version 1"):
            async with owner.transaction() as session:
                await published.publish(session, {("diet", "1"): changed})
        new = form.model_copy(update={"version": "2"})
        async with owner.transaction() as session:
            assert await published.publish(session, {("diet", "2"): new}) == 1
    finally:
        await owner.close()


async def test_an_instant_is_that_of_the_server(db: Database):
    member = await make_member(db)
    late = datetime(2026, 3, 2, 16, 30, tzinfo=UTC)  # half past midnight in Shanghai
    await answer(db, member, phq(), now=late)
    [(local_date,)] = await rows(db, "select local_date::text from measurements")
    assert local_date == "2026-03-03"
