"""Plain-language terms: every clause of a policy, and what a word of them means (TRU-1, TRU-2)."""

from datetime import date

import pytest

from app.db import Database
from app.errors import Unauthenticated
from app.graphql.context import ANONYMOUS
from app.graphql.ids import Kind, encode
from app.premiums import catalogue, clauses, product
from app.premiums import service as premiums
from app.premiums.product import PRODUCTS
from app.schema import schema
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    context,
    execute,
    make_member,
    make_staff,
)
from tests.product_documents import document, parsed

EXPLAIN = """query($term: String!, $policyId: ID, $productCode: String) {
  explainTerm(term: $term, policyId: $policyId, productCode: $productCode) {
    product { code version } term { code label explanation example } related { code label } } }"""
TERMS = "{ me { policy { id product { version } terms { code label explanation example } } } }"
CHRONIC = product.read(PRODUCTS / "chronic-care-1.0.0.yaml")


async def insured(db: Database, code: str = "chronic-care", **profile):
    member = await make_member(db, birth_date=date(1976, 5, 17), **profile)
    async with db.transaction() as session:
        policy = await premiums.enrol(
            session, member_id=member, product_code=code, starts_on=date(2026, 3, 2), now=NOON
        )
    return member, encode(Kind.POLICY, member, policy.id)


async def explain(context, term, **more):
    return (await execute(EXPLAIN, {"term": term, **more}, context=context))["explainTerm"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("PRM-6", "PRM-6"),
        ("prm-6", "PRM-6"),
        ("A year of improvement", "PRM-6"),
        ("连续改善", "PRM-6"),
        ("Loss ratio", "PRM-14"),  # a clause before the word of the glossary
        ("operating cost", "loss-ratio"),
        ("等待期", "waiting-period"),
        ("宽限期", "grace"),
        ("cancellation", "cancellation"),
        ("犹豫期", "cancellation"),
        ("cover-hospital", "cover-hospital"),
        ("COV-2", "COV-2"),
        ("service-family-doctor", "service-family-doctor"),
        ("retinopathy", "cover-diabetic-retinopathy"),
        ("中医", "service-tcm"),
        ("  bounds ", "bounds"),
        ("120 %", "PRM-14"),
        ("(systolic blood pressure", "PRM-3"),
    ],
)
def test_a_clause_is_found_by_code_label_or_word(asked, code):
    found = clauses.explain(CHRONIC, asked)
    assert found is not None
    assert found.clause.code == code


@pytest.mark.parametrize(
    "asked", ["", "   ", "PRM-99", "oller coaster", "ear", "(.*", "x" * 20_000]
)
def test_what_nobody_wrote_is_not_explained(asked):
    """`ear` stands in `year`, which is another word."""
    assert clauses.explain(CHRONIC, asked) is None


def test_words_of_the_glossary_that_stand_in_a_clause_come_with_it():
    found = clauses.explain(CHRONIC, "PRM-14")
    assert [it.code for it in found.terms] == ["loss-ratio"]
    found = clauses.explain(CHRONIC, "PRM-1")
    assert "risk-tier" in [it.code for it in found.terms]
    assert clauses.explain(CHRONIC, "bounds").clause not in found.terms


async def test_a_member_reads_the_clauses_of_their_policy_in_their_language(db: Database):
    zh, _ = await insured(db)
    en, policy = await insured(db, locale="en")
    for member, locale in ((zh, "zh-CN"), (en, "en")):
        shown = (await execute(TERMS, context=as_member(db, member, locale=locale)))["me"]["policy"]
        assert [it["code"] for it in shown["terms"]] == [it.code for it in clauses.of(CHRONIC)]
        by_code = {it["code"]: it for it in shown["terms"]}
        written = next(it for it in CHRONIC.rules if it.code == "PRM-4")
        assert by_code["PRM-4"] == {
            "code": "PRM-4",
            "label": written.label.to(locale),
            "explanation": written.explanation.to(locale),
            "example": written.example.to(locale),
        }
    assert shown["id"] == policy


async def test_a_word_is_explained_of_the_policy_of_the_product_or_of_mine(db: Database):
    member, policy = await insured(db, locale="en")
    me = as_member(db, member, locale="en")
    for more in ({}, {"policyId": policy}, {"productCode": "chronic-care"}):
        found = await explain(me, "loss ratio", **more)
        assert found["product"] == {"code": "chronic-care", "version": "1.0.0"}
        assert (found["term"]["code"], found["term"]["label"]) == ("PRM-14", "Loss ratio")
        assert "120 %" in found["term"]["explanation"]
        assert "121 %" in found["term"]["example"]
        assert found["related"] == [{"code": "loss-ratio", "label": "Loss ratio"}]
    other = await explain(me, "consultation", productCode="inclusive")
    assert (other["term"]["code"], other["product"]["code"]) == (
        "service-consultation",
        "inclusive",
    )
    assert await explain(me, "PRM-99") is None
    assert await explain(me, "grace", productCode="no-such") is None
    assert await explain(me, "grace", policyId="nonsense") is None
    assert await explain(me, "grace", policyId=encode(Kind.MEMBER, member)) is None


async def test_whose_policy_it_is_decides_who_reads_its_terms(db: Database):
    member, policy = await insured(db)
    other, _ = await insured(db, "starter")
    manager, stranger = [await make_staff(db, "HEALTH_MANAGER") for _ in range(2)]
    await assign(db, manager, member)
    assert await explain(as_member(db, other), "grace", policyId=policy) is None
    assert await explain(as_staff(db, stranger), "grace", policyId=policy) is None
    found = await explain(as_staff(db, manager, "HEALTH_MANAGER"), "grace", policyId=policy)
    assert found["term"]["code"] == "grace"
    for asked in ({}, {"productCode": "chronic-care"}):
        answer = await schema.execute(
            EXPLAIN, {"term": "grace", **asked}, context_value=context(db, ANONYMOUS)
        )
        assert answer.data == {"explainTerm": None}
        assert isinstance(answer.errors[0].original_error, Unauthenticated)


async def test_a_member_without_a_policy_has_no_words_of_their_own(db: Database):
    member = await make_member(db, locale="en")
    me = as_member(db, member, locale="en")
    assert await explain(me, "grace") is None
    assert (await explain(me, "grace", productCode="inclusive"))["term"]["code"] == "grace"


async def test_members_keep_the_words_of_their_version(db: Database):
    member, _ = await insured(db, locale="en")
    changed = document("improvement") | {"code": "chronic-care", "version": "1.1.0"}
    async with db.transaction() as session:
        await catalogue.publish(session, parsed(changed), now=NOON)
    me = as_member(db, member, locale="en")
    assert (await explain(me, "PRM-6"))["product"]["version"] == "1.0.0"
    assert await explain(me, "PRM-6", productCode="chronic-care") is None
    newer = await explain(me, "improvement", productCode="chronic-care")
    assert newer["product"]["version"] == "1.1.0"
