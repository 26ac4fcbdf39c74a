"""What a clinic measures opens a case of the mild-condition benefit (COV-1), once."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.measurements import service as measurements
from app.measurements.rules import Channel, Method, Reading
from app.premiums import benefit_jobs, mild_conditions
from app.premiums import benefit_sentences as sentences
from app.premiums import jobs as premium_jobs
from app.premiums import service as premiums
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    consent,
    contents,
    execute,
    make_member,
    operation,
)
from tests.insured import (
    BENEFITS,
    LATER,
    cases,
    look,
    make_case,
    make_insured,
    make_manager,
    measured,
)

CHOOSE = operation("ChooseMildConditionReward")
TRIGGERED = date(2026, 4, 11)
"""Local day of LATER."""


async def shown(db: Database, member_id: UUID, *, locale: str = "en", **options: Any) -> Any:
    context = as_member(db, member_id, locale=locale, **{"now": LATER, **options})
    found = await execute(BENEFITS, {}, context=context)
    return found["me"]["policy"]["benefits"]


async def items(db: Database, member_id: UUID) -> list[Any]:
    sql = "select * from worklist_items where member_id = :id and cause_key like 'mild_condition:%'"
    async with db.read() as connection:
        return list((await connection.execute(text(sql), {"id": member_id})).all())


async def withdraw(db: Database, member_id: UUID, *, state: str = "WITHDRAWN", version: int = 2):
    async with db.transaction() as session:
        session.add(consent(member_id, "HEALTH_DATA", state, version=version))


async def test_a_fasting_value_in_the_diabetes_range_opens_a_case_and_calls_a_clinician(
    db: Database,
) -> None:
    member_id, case_id = await make_case(db, glucose="7.0")

    [case] = await cases(db, member_id)
    assert (case.condition, case.state) == ("FASTING_GLUCOSE", "OPEN")
    assert (case.clinical_class, case.diabetes_range) == ("diabetes_range", True)
    assert (case.triggered_on, case.closes_on) == (TRIGGERED, date(2026, 7, 10))
    assert (case.limit_amount, case.used, case.currency) == (200_000, 0, "CNY")
    [item] = await items(db, member_id)
    assert (item.kind, item.subject_kind, item.subject_id) == (
        "FOLLOW_UP", "MILD_CONDITION_CASE", case_id,
    )  # fmt: skip
    assert "glucose" not in item.reason_en, "the list is shown without the consent too"
    benefits = await shown(db, member_id)
    [edge] = benefits["mildConditionCases"]["edges"]
    node = edge["node"]
    assert (node["diabetesRange"], node["clinicalLabel"]) == (True, "Diabetes range")
    assert "see a doctor" in node["advice"]
    assert node["limit"] == node["remaining"] == {"amount": "2000.00", "currency": "CNY"}
    assert node["used"]["amount"] == "0.00"
    assert (node["daysLeft"], node["choice"], node["sharePercent"]) == (91, "PREMIUM", "50")
    assert node["explanation"].startswith("50 % of drugs that lower the glucose")
    chinese = await shown(db, member_id, locale="zh-CN")
    [edge] = chinese["mildConditionCases"]["edges"]
    assert edge["node"]["clinicalLabel"] == "糖尿病范围" and "看医生" in edge["node"]["advice"]


async def test_grade_1_hypertension_opens_one_of_its_own(db: Database) -> None:
    member_id, _ = await make_case(db)
    at = LATER + timedelta(days=1)
    await measured(db, member_id, at=at, systolic="146", diastolic="92")
    await look(db, now=at)

    assert [(it.condition, it.diabetes_range) for it in await cases(db, member_id)] == [
        ("FASTING_GLUCOSE", True),
        ("GRADE_1_HYPERTENSION", False),
    ]
    assert len(await items(db, member_id)) == 2


@pytest.mark.parametrize(
    "values",
    [
        {"glucose": "6.9"},
        {"glucose": "11.1"},
        {"systolic": "139", "diastolic": "89"},
        {"systolic": "160", "diastolic": "90"},
    ],
)
async def test_what_lies_outside_opens_none(db: Database, values: dict[str, str]) -> None:
    member_id = await make_insured(db)
    await measured(db, member_id, at=LATER, **values)
    assert await look(db, now=LATER) == 1
    assert await cases(db, member_id) == []


async def test_what_nobody_vouches_for_opens_none(db: Database) -> None:
    """A member's own meter screens; it triggers no benefit."""
    member_id = await make_insured(db)
    async with db.transaction() as session:
        await measurements.record(
            session,
            member_id=member_id,
            time_zone="Asia/Shanghai",
            readings=[
                Reading(
                    "FASTING_GLUCOSE", Decimal("7.4"), "mmol/L", LATER, Method.SELF_REPORTED, "me"
                )
            ],
            now=LATER,
            channel=Channel.APP,
            recorded_by=member_id,
        )
    assert await look(db, now=LATER) == 0, "nothing is looked at"
    await look_at(db, member_id)
    assert await cases(db, member_id) == []


async def look_at(db: Database, member_id: UUID, *, now: Any = LATER) -> int:
    async with db.transaction() as session:
        return len(await mild_conditions.look(session, member_id=member_id, now=now))


async def test_what_is_found_in_the_waiting_period_is_not_covered_and_said_so(
    db: Database,
) -> None:
    member_id = await make_insured(db)
    last = NOON + timedelta(days=29)
    await measured(db, member_id, at=last, glucose="7.4")
    await look(db, now=last)

    [case] = await cases(db, member_id)
    assert (case.state, case.closes_on) == ("NOT_COVERED", date(2027, 3, 1)), "the term's last day"
    assert len(await items(db, member_id)) == 1, "a clinician is called all the same"
    await measured(db, member_id, at=LATER, glucose="7.4")
    await look(db, now=LATER)
    assert len(await cases(db, member_id)) == 1, "the same illness, found again"
    benefits = await shown(db, member_id)
    assert benefits["coveredFrom"] == date(2026, 4, 1)
    [edge] = benefits["mildConditionCases"]["edges"]
    assert "waiting period of 30 days" in edge["node"]["explanation"]
    assert edge["node"]["remaining"]["amount"] == "0.00"


async def test_the_first_day_after_the_waiting_period_is_covered(db: Database) -> None:
    member_id = await make_insured(db)
    first = NOON + timedelta(days=30)
    await measured(db, member_id, at=first, glucose="7.4")
    await look(db, now=first)
    assert [it.state for it in await cases(db, member_id)] == ["OPEN"]


async def test_once_while_open_and_again_only_as_the_product_allows(db: Database) -> None:
    member_id, _ = await make_case(db)
    again = LATER + timedelta(days=10)
    await measured(db, member_id, at=again, glucose="7.9")
    await look(db, now=again)
    assert len(await cases(db, member_id)) == 1
    over = LATER + timedelta(days=91)
    assert await benefit_jobs.close_over(db, now=over) == 1
    [case] = await cases(db, member_id)
    assert (case.state, case.closed_reason) == ("CLOSED", "TIME_OVER")
    await measured(db, member_id, at=over, glucose="7.9")
    await look(db, now=over)
    assert len(await cases(db, member_id)) == 1, "chronic care: twelve months after the trigger"


async def test_closing_is_by_the_members_clock(db: Database) -> None:
    member_id, _ = await make_case(db)
    [case] = await cases(db, member_id)
    before = case.closes_at - timedelta(seconds=1)
    assert await benefit_jobs.close_over(db, now=before) == 0
    closed = await asyncio.gather(
        *(benefit_jobs.close_over(db, now=case.closes_at) for _ in range(4))
    )
    assert sum(closed) == 1


async def test_without_consent_nothing_is_triggered_and_nothing_is_lost(db: Database) -> None:
    member_id, _ = await make_case(db)
    other = await make_insured(db)
    before = await contents(db, "mild_condition_cases")
    for it in (member_id, other):
        await withdraw(db, it)
    await measured(db, other, at=LATER, glucose="7.4")
    await measured(db, member_id, at=LATER, systolic="146", diastolic="92")
    assert await look(db, now=LATER) == 2
    assert await contents(db, "mild_condition_cases") == before, "the open case stays as it is"
    manager = await make_manager(db, member_id)
    page = operation("MemberBenefits", "console")
    sent = {"id": encode(Kind.MEMBER, member_id)}
    found = await execute(page, sent, context=as_staff(db, manager, now=LATER))
    assert found["member"]["policy"]["benefits"]["mildConditionCases"]["edges"] == []
    assert len((await shown(db, member_id))["mildConditionCases"]["edges"]) == 1


async def test_a_consent_given_later_has_it_looked_at(db: Database) -> None:
    member_id = await make_insured(db, consents=False)
    await measured(db, member_id, at=LATER, glucose="7.4")
    await look(db, now=LATER)
    assert await cases(db, member_id) == []
    sent = {
        "requestId": str(uuid4()),
        "purpose": "HEALTH_DATA",
        "granted": True,
        "textVersion": "2026-01",
    }
    done = await execute(
        operation("SetConsent"), {"input": sent}, context=as_member(db, member_id, now=LATER)
    )
    assert done["setConsent"]["__typename"] == "SetConsentPayload", done
    assert await look(db, now=LATER) == 1
    assert len(await cases(db, member_id)) == 1


@pytest.mark.parametrize("product", [None, "starter", "inclusive"])
async def test_without_such_a_policy_none_is_opened(db: Database, product: str | None) -> None:
    member_id = await make_insured(db, product) if product else await make_member(db)
    await measured(db, member_id, at=LATER, glucose="7.4")
    await look(db, now=LATER)
    assert await cases(db, member_id) == []


async def test_readings_of_before_the_policy_open_none(db: Database) -> None:
    member_id = await make_member(db)
    await measured(db, member_id, at=NOON - timedelta(days=3), glucose="7.4")
    async with db.transaction() as session:
        await premiums.enrol(
            session,
            member_id=member_id,
            product_code="chronic-care",
            starts_on=NOON.date(),
            now=NOON,
        )
    assert await look_at(db, member_id) == 0


async def test_looked_at_eight_times_at_once_it_opens_once(db: Database) -> None:
    member_id = await make_insured(db)
    await measured(db, member_id, at=LATER, glucose="7.4")
    opened = await asyncio.gather(*(look_at(db, member_id) for _ in range(8)))
    assert sorted(opened) == [0] * 7 + [1]
    assert len(await items(db, member_id)) == 1


async def test_a_corrected_reading_ends_the_case_and_a_corrected_value_keeps_it(
    db: Database,
) -> None:
    member_id, _ = await make_case(db, glucose="7.4")
    await measured(db, member_id, at=LATER, glucose="7.6")  # the same reading, corrected
    await look(db, now=LATER)
    [case] = await cases(db, member_id)
    assert case.state == "OPEN" and len(case.readings) == 1
    await measured(db, member_id, at=LATER, glucose="5.6")
    await look(db, now=LATER)
    [case] = await cases(db, member_id)
    assert (case.state, case.closed_reason) == ("CLOSED", "READING_CORRECTED")
    assert case.closes_on == TRIGGERED


async def test_a_policy_that_ends_ends_the_case_on_its_last_day(db: Database) -> None:
    member_id, _ = await make_case(db)
    async with db.write() as connection:
        await connection.execute(
            text(
                "update policies set state = 'CANCELLED', ended_on = '2026-04-20'"
                " where member_id = :id"
            ),
            {"id": member_id},
        )
    assert await benefit_jobs.close_over(db, now=LATER + timedelta(days=15)) == 1
    [case] = await cases(db, member_id)
    assert (case.closed_reason, case.closes_on) == ("POLICY_ENDED", date(2026, 4, 20))


# The choice (PRM-5)


async def choose(
    db: Database,
    member_id: UUID,
    case_id: UUID,
    choice: str = "COVER",
    *,
    request_id: UUID | None = None,
    now: Any = LATER,
    by: UUID | None = None,
) -> Any:
    sent = {
        "requestId": str(request_id or uuid4()),
        "caseId": encode(Kind.MILD_CONDITION_CASE, member_id, case_id),
        "choice": choice,
    }
    context = as_member(db, by or member_id, now=now)
    found = await execute(CHOOSE, {"input": sent}, context=context)
    return found["chooseMildConditionReward"]


async def choices(db: Database) -> list[tuple[int, str]]:
    sql = text("select place, choice from mild_condition_choices order by place")
    async with db.read() as connection:
        return [tuple(it) for it in (await connection.execute(sql)).all()]


async def test_the_choice_can_be_changed_and_its_history_stays(db: Database) -> None:
    member_id, case_id = await make_case(db)
    for choice in ("COVER", "COVER", "PREMIUM"):
        done = await choose(db, member_id, case_id, choice)
        assert done["case"]["choice"] == choice
    assert await choices(db) == [(1, "COVER"), (2, "PREMIUM")]


async def test_the_same_choice_eight_times_at_once_is_one(db: Database) -> None:
    member_id, case_id = await make_case(db)
    request_id = uuid4()
    done = await asyncio.gather(
        *(choose(db, member_id, case_id, request_id=request_id) for _ in range(8))
    )
    assert sorted(it["replayed"] for it in done) == [False] + [True] * 7
    assert await choices(db) == [(1, "COVER")]
    reused = await choose(db, member_id, case_id, "PREMIUM", request_id=request_id)
    assert reused["code"] == "REQUEST_REUSED"


async def test_rivals_leave_one_choice_in_force(db: Database) -> None:
    member_id, case_id = await make_case(db)
    both = await asyncio.gather(
        *(choose(db, member_id, case_id, it) for it in ("COVER", "PREMIUM") * 2)
    )
    assert all(it["__typename"] == "ChooseMildConditionRewardPayload" for it in both)
    places = [place for place, _ in await choices(db)]
    assert places == list(range(1, len(places) + 1))


async def test_refused_choices_change_nothing(db: Database) -> None:
    member_id, case_id = await make_case(db)
    other = await make_insured(db)
    waiting = await make_insured(db)
    await measured(db, waiting, at=NOON + timedelta(days=2), glucose="7.4")
    await look(db, now=NOON + timedelta(days=2))
    [not_covered] = await cases(db, waiting)
    before = await contents(db)
    assert (await choose(db, member_id, case_id, by=other))["code"] == "NOT_FOUND"
    assert (await choose(db, member_id, uuid4()))["code"] == "NOT_FOUND"
    assert (await choose(db, waiting, not_covered.id))["code"] == "STATE_INVALID"
    assert await contents(db) == before


async def renew(db: Database, *, now: datetime) -> None:
    async with db.write() as connection:
        sql = "update participation_months set closed_at = :at where closed_at is null"
        await connection.execute(text(sql), {"at": now})
    assert await premium_jobs.renew_terms(db, now=now) == 1


async def test_it_can_be_chosen_until_the_term_ends_that_judges_the_improvement(
    db: Database,
) -> None:
    # Found in February: the third month after it closes in the next term.
    member_id, case_id = await make_case(db, now=datetime(2027, 2, 10, 4, tzinfo=UTC))
    for year, refused in ((2027, None), (2028, "STATE_INVALID")):
        at = datetime(year, 3, 2, 4, tzinfo=UTC)
        await renew(db, now=at)
        done = await choose(db, member_id, case_id, now=at)
        assert done.get("code") == refused
    assert await choices(db) == [(1, "COVER")]


async def test_of_a_cover_that_never_was_nothing_is_promised(db: Database) -> None:
    await make_case(db)
    async with db.write() as connection:
        never = "update policies set state = 'RESCINDED', ended_on = started_on - 1"
        await connection.execute(text(never))
    await benefit_jobs.close_over(db, now=LATER)
    async with db.read() as connection:
        row = (await connection.execute(text("select * from mild_condition_cases"))).one()
    words = sentences.case(row, waiting_days=30)
    assert "no drug is paid" in words.en and "不报销药费" in words.zh


async def test_the_statements_of_the_screen_do_not_grow(db: Database) -> None:
    member_id, _ = await make_case(db)
    with StatementCount(db) as few:
        await shown(db, member_id)
    at = LATER + timedelta(days=1)
    await measured(db, member_id, at=at, systolic="146", diastolic="92")
    await look(db, now=at)
    with StatementCount(db) as more:
        assert len((await shown(db, member_id, now=at))["mildConditionCases"]["edges"]) == 2
    assert len(few) == len(more) <= 5
