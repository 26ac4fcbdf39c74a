"""Premium, what if, history and quotes as clients ask for them: by the trusted documents."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode, parse
from tests.factories import (
    as_member,
    as_staff,
    assign,
    consent,
    counts,
    execute,
    make_member,
    make_staff,
    operation,
    refused,
)
from tests.premium_world import (
    BEGIN,
    END,
    START,
    assessed,
    insured,
    measured,
    renew,
    two_readings,
    year_closed,
)

PREMIUM, SIMULATE = operation("Premium"), operation("SimulatePremium")
HISTORY, WHY = operation("PremiumHistory"), operation("Why")
OF_MEMBER = operation("MemberPremium", "console")
QUOTE, QUOTE_FACTS = operation("Quote", "console"), operation("QuoteFacts", "console")
SPRING = BEGIN + timedelta(days=40)


async def policy(db: Database, member: UUID, *, now: datetime = SPRING, **options):
    context = as_member(db, member, now=now, **options)
    return (await execute(PREMIUM, context=context))["me"]["policy"]


async def simulated(db: Database, member: UUID, scenario: dict, *, now: datetime = SPRING):
    context = as_member(db, member, now=now)
    found = await execute(SIMULATE, {"scenario": scenario}, context=context)
    return found["me"]["policy"]["simulate"]


async def wrong(db: Database, member: UUID, scenario: dict) -> str:
    """The message of a scenario that is refused."""
    from app.schema import schema

    result = await schema.execute(
        SIMULATE, {"scenario": scenario}, context_value=as_member(db, member, now=SPRING)
    )
    assert result.errors, result.data
    assert getattr(result.errors[0].original_error, "code", "") == "VALUE_OUT_OF_RANGE"
    return str(result.errors[0].message)


async def improved(db: Database, **options) -> UUID:
    """A year of improvement behind, renewed."""
    member = await insured(db, tier="MEDIUM", **options)
    await two_readings(db, member, "SYSTOLIC_BP", "148", START)
    await two_readings(db, member, "SYSTOLIC_BP", "141", date(2027, 2, 1))
    await year_closed(db, member)
    await renew(db)
    return member


def adds_up(base: dict, quote: dict) -> bool:
    total = Decimal(base["amount"]) + sum(Decimal(it["amount"]["amount"]) for it in quote["lines"])
    return total == Decimal(quote["total"]["amount"])


async def test_every_line_says_which_rule_on_what_evidence_from_when(db: Database):
    member = await improved(db, region="CN-31")
    after = END + timedelta(days=3)
    found = await policy(db, member, now=after)
    current = found["current"]
    assert adds_up(found["base"], current)
    assert [it["rule"] for it in current["lines"]] == ["PRM-12", "PRM-1", "PRM-6"]
    region, tier, year = current["lines"]
    assert region["evidence"][0]["__typename"] == "ProfileEvidence"
    assert tier["evidence"] == [
        {
            "__typename": "RiskAssessmentEvidence",
            "tier": "MEDIUM",
            "assessedAt": BEGIN - timedelta(days=1),
        }
    ]
    assert year["evidence"] == [
        {
            "__typename": "MeasurementEvidence",
            "code": "SYSTOLIC_BP",
            "unit": "mm[Hg]",
            "fromAverage": "148",
            "toAverage": "141",
            "fromDate": date(2026, 3, 5),
            "toDate": date(2027, 2, 20),
            "readings": 4,
        }
    ]
    assert (year["percent"], year["amount"]) == ("-5", {"amount": "-180.00", "currency": "CNY"})
    assert year["effectiveOn"] == date(2027, 3, 1)
    assert all(it["whyId"] and it["label"] and it["explanation"] for it in current["lines"])
    assert current["total"]["amount"] == "3420.00"
    assert adds_up(found["base"], found["renewal"])
    assert found["renewal"]["asOf"] == after


async def test_texts_are_in_the_members_language(db: Database):
    member = await insured(db, tier="HIGH", locale="zh-CN")
    found = await policy(db, member)
    assert found["product"]["name"] == "慢病管理保险"
    assert found["current"]["lines"][0]["label"] == "风险等级"


@pytest.mark.parametrize("document", [PREMIUM, SIMULATE])
async def test_a_policy_takes_a_constant_number_of_statements(db: Database, document: str):
    plain = await insured(db, "starter", tier=None)
    full = await improved(db)
    sent = []
    for member in (plain, full, plain, full):
        context = as_member(db, member, now=END + timedelta(days=2))
        with StatementCount(db) as statements:
            await execute(document, {"scenario": {"riskTier": "LOW"}}, context=context)
        sent.append(len(statements))
    # The policy, which term follows, and one for all facts.
    assert sent[2:] == [3, 3]


async def test_without_a_policy_there_is_nothing_to_pay(db: Database):
    member = await make_member(db)
    assert await policy(db, member) is None


# What if


async def test_an_empty_scenario_is_the_renewal(db: Database):
    member = await improved(db)
    now = END + timedelta(days=100)
    renewal = (await policy(db, member, now=now))["renewal"]
    for scenario in ({}, {"measurements": []}, {"measurements": None, "riskTier": None}):
        found = await simulated(db, member, scenario, now=now)
        assert found["total"] == renewal["total"]
        assert found["adjustmentPercent"] == renewal["adjustmentPercent"]
        assert found["lines"] == [
            {name: value for name, value in line.items() if name not in ("whyId", "evidence")}
            for line in renewal["lines"]
        ]


async def test_a_tier_and_months_of_participation_can_be_tried(db: Database):
    member = await insured(db, tier=None)
    await assessed(
        db, member, "MEDIUM", at=BEGIN + timedelta(days=1), areas={"FASTING_GLUCOSE": "ifg"}
    )
    assert (await simulated(db, member, {"riskTier": "HIGH"}))["total"]["amount"] == "3600.00"
    starter = await insured(db, "starter", tier=None)
    for months, total in ((0, "3000.00"), (4, "2880.00"), (12, "2700.00")):
        found = await simulated(db, starter, {"participationMonths": months})
        assert found["total"]["amount"] == total


async def test_what_if_the_pressure_falls_by_five(db: Database):
    member = await insured(db)
    await two_readings(db, member, "SYSTOLIC_BP", "150", START)
    before = await counts(db)
    for change, unit, total in (
        ("-5", None, "2850.00"),
        ("-4.9", None, "3000.00"),
        ("-0.67", "kPa", "2850.00"),  # 5.03 mm[Hg]
        ("0", None, "3000.00"),
    ):
        change_of = {"code": "SYSTOLIC_BP", "change": change, "unit": unit}
        found = await simulated(db, member, {"measurements": [change_of]})
        assert found["total"]["amount"] == total, change
    assert await counts(db) == before
    # At the end of the term, too: its last month, as far as it is known, moves.
    await two_readings(db, member, "SYSTOLIC_BP", "149", date(2027, 2, 1))
    last = {"measurements": [{"code": "SYSTOLIC_BP", "change": "-4"}]}
    found = await simulated(db, member, last, now=END - timedelta(days=1))
    assert found["total"]["amount"] == "2850.00"


async def test_a_measurement_without_readings_changes_nothing(db: Database):
    member = await insured(db)
    found = await simulated(db, member, {"measurements": [{"code": "BMI", "change": "-3"}]})
    assert found["total"]["amount"] == "3000.00"


async def test_a_scenario_that_cannot_be_names_field_value_and_what_is_allowed(db: Database):
    member = await insured(db)
    await measured(db, member, "SYSTOLIC_BP", "150", date(2026, 3, 4))

    def pressure(change, **other):
        return {"measurements": [{"code": "SYSTOLIC_BP", "change": change, **other}]}

    assert await wrong(db, member, {"participationMonths": 13}) == (
        "`scenario.participationMonths` is 13; it must be from 0 to 12."
    )
    assert "from 0 to 12" in await wrong(db, member, {"participationMonths": -1})
    assert await wrong(db, member, pressure("-251")) == (
        "`scenario.measurements.0.change` is -251; it must be from -250 to 250 mm[Hg]."
    )
    assert "one of mm[Hg], kPa" in await wrong(db, member, pressure("-5", unit="mmol/L"))
    found = await wrong(db, member, pressure("200"))
    assert "from 50 to 300 mm[Hg]" in found and "150" not in found
    twice = {"measurements": [{"code": "BMI", "change": "1"}] * 2}
    assert "measurements.1.code` is BMI" in await wrong(db, member, twice)
    many = {"measurements": [{"code": "BMI", "change": "1"}] * 21}
    assert "at most 20 long" in await wrong(db, member, many)


# History


PAGE = """query ($first: Int, $after: String) { me { premiumHistory(first: $first, after: $after) {
  edges { node { moment termStart premium { total { amount } } } }
  pageInfo { hasNextPage endCursor } } } }"""


async def test_history_is_paged_with_one_statement_a_page(db: Database):
    member = await improved(db)
    context = as_member(db, member, now=END)
    with StatementCount(db) as sent:
        page = (await execute(HISTORY, context=context))["me"]["premiumHistory"]
    assert len(sent) == 2  # the member, and the page
    assert [len(it["node"]["premium"]["lines"]) for it in page["edges"]] == [2, 1]
    page = (await execute(PAGE, {"first": 1}, context=context))["me"]["premiumHistory"]
    [newest] = [edge["node"] for edge in page["edges"]]
    assert (newest["moment"], newest["termStart"]) == ("RENEWAL", date(2027, 3, 1))
    assert page["pageInfo"]["hasNextPage"]
    after = {"first": 5, "after": page["pageInfo"]["endCursor"]}
    page = (await execute(PAGE, after, context=as_member(db, member)))["me"]["premiumHistory"]
    [first] = [edge["node"] for edge in page["edges"]]
    assert (first["moment"], first["premium"]["total"]["amount"]) == ("ENROLMENT", "3000.00")
    assert not page["pageInfo"]["hasNextPage"]


async def test_an_employee_sees_lines_while_the_member_consents(db: Database):
    member = await improved(db)
    manager = await make_staff(db)
    await assign(db, manager, member)
    asked = {"id": encode(Kind.MEMBER, member)}
    context = as_staff(db, manager, now=END + timedelta(days=1))
    found = (await execute(OF_MEMBER, asked, context=context))["node"]
    assert len(found["policy"]["current"]["lines"]) == 2
    assert len(found["premiumHistory"]["edges"]) == 2
    line = found["policy"]["current"]["lines"][0]["whyId"]
    assert (await execute(WHY, {"id": line}, context=context))["why"] is not None
    async with db.transaction() as session:
        now = END + timedelta(days=1)
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2, now=now))
    context = as_staff(db, manager, now=END + timedelta(days=2))
    found = (await execute(OF_MEMBER, asked, context=context))["node"]
    assert found["policy"]["current"]["lines"] == []
    assert found["policy"]["current"]["total"]["amount"] == "2850.00"
    assert found["policy"]["renewal"]["lines"] == []
    assert (await execute(WHY, {"id": line}, context=context))["why"] is None
    own = await policy(db, member, now=END + timedelta(days=2))
    assert len(own["current"]["lines"]) == 2
    stranger = as_staff(db, await make_staff(db))
    assert (await execute(OF_MEMBER, asked, context=stranger))["node"] is None


# Why


async def test_why_goes_from_the_line_down_to_the_readings(db: Database):
    member = await improved(db)
    now = END + timedelta(days=1)
    found = await policy(db, member, now=now)
    year = found["current"]["lines"][1]
    assert year["rule"] == "PRM-6"
    why = (await execute(WHY, {"id": year["whyId"]}, context=as_member(db, member, now=now)))["why"]
    assert "-150.00 CNY" in why["summary"]
    first, start, *rest = why["steps"]
    assert first["kind"] == "PREMIUM" and first["ruleVersion"] == "chronic-care 1.0.0"
    assert first["subject"] == {"__typename": "PremiumLine", "rule": "PRM-6"}
    assert "148 mm[Hg] on average of 2 readings" in start["detail"]
    readings = [it for it in rest if it["subject"]]
    assert len(readings) == 4
    assert {it["subject"]["__typename"] for it in readings} == {"Measurement"}
    # A reading that was taken back since is still what was decided on.
    tier = found["current"]["lines"][0]
    why = (await execute(WHY, {"id": tier["whyId"]}, context=as_member(db, member, now=now)))["why"]
    assert [it["kind"] for it in why["steps"]] == ["PREMIUM", "ASSESSMENT"]


async def test_why_of_a_line_of_the_renewal(db: Database):
    member = await insured(db, "starter", tier=None)
    await year_closed(db, member, "90")
    now = END - timedelta(days=1)
    [line] = (await policy(db, member, now=now))["renewal"]["lines"]
    why = (await execute(WHY, {"id": line["whyId"]}, context=as_member(db, member, now=now)))["why"]
    months = [it for it in why["steps"] if it["kind"] == "TASK"]
    assert len(months) == 11  # the last one closes tomorrow
    assert months[0]["detail"] == "2026-03: 90 % of the due tasks done."


async def test_why_of_somebody_elses_line_or_of_none_is_null(db: Database):
    member, other = await insured(db, tier="HIGH"), await insured(db)
    line = (await policy(db, member))["current"]["lines"][0]["whyId"]
    found = parse(line)
    assert found is not None
    none = encode(Kind.PREMIUM_LINE, member, found.key, UUID(int=99))
    for id, viewer in ((line, other), (none, member)):
        context = as_member(db, viewer, now=SPRING)
        assert (await execute(WHY, {"id": id}, context=context))["why"] is None


# Quotes of employees


async def test_a_manager_asks_what_a_member_would_pay(db: Database):
    member = await make_member(db, birth_date=date(1975, 5, 17), region="CN-31", now=BEGIN)
    await assessed(db, member, "HIGH", at=BEGIN)
    manager = await make_staff(db)
    await assign(db, manager, member)
    asked = {
        "memberId": encode(Kind.MEMBER, member),
        "productCode": "chronic-care",
        "startsOn": "2026-06-01",
    }
    before = await counts(db)
    found = (await execute(QUOTE, asked, context=as_staff(db, manager, now=SPRING)))["quote"]
    assert found["premium"]["total"]["amount"] == "4320.00"
    assert (found["moment"], found["effectiveOn"]) == ("ENROLMENT", date(2026, 6, 1))
    assert [it["rule"] for it in found["premium"]["lines"]] == ["PRM-12", "PRM-1"]
    assert {it["rule"] for it in found["premium"]["notApplied"]} >= {"PRM-14", "PRM-13"}
    after = await counts(db)
    assert after.pop("audit_reads") == before.pop("audit_reads") + 1
    assert after == before
    stranger = as_staff(db, await make_staff(db))
    assert (await execute(QUOTE, asked, context=stranger))["quote"] is None
    assert await execute_code(QUOTE, asked, as_member(db, member)) == "FORBIDDEN"
    for wrong in ({"productCode": "none"}, {"version": "7.7.7"}, {"startsOn": "2090-01-01"}):
        context = as_staff(db, manager, now=SPRING)
        assert await execute_code(QUOTE, asked | wrong, context) == "VALUE_OUT_OF_RANGE"


async def test_an_actuary_prices_facts_that_are_given(db: Database):
    actuary = as_staff(db, await make_staff(db, "ACTUARY"), "ACTUARY")
    facts = (
        '{"moment": "ENROLMENT", "as_of": "2026-12-01T00:00:00Z", "effective_on": "2026-12-01",'
        ' "age": 50, "sex": "FEMALE", "tier": {"tier": "LOW", "assessed_at":'
        ' "2026-11-30T00:00:00Z"}}'
    )
    asked = {"productCode": "chronic-care", "facts": facts}
    found = (await execute(QUOTE_FACTS, asked, context=actuary))["quoteFacts"]
    assert found["premium"]["total"]["amount"] == "2400.00"
    assert await execute_code(QUOTE_FACTS, asked | {"facts": "{}"}, actuary) == "VALUE_OUT_OF_RANGE"
    manager = as_staff(db, await make_staff(db))
    assert await refused(QUOTE_FACTS, asked, context=manager) == "FORBIDDEN"


async def execute_code(document: str, variables: dict, context) -> str:
    from app.schema import schema

    result = await schema.execute(document, variables, context_value=context)
    assert result.errors
    return str(getattr(result.errors[0].original_error, "code", ""))
