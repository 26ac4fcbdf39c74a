"""Facts of members as they were known at an instant: by one statement, however many."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

from app.db import Database, StatementCount
from app.health_tasks.models import ParticipationRestatement
from app.premiums import facts as known_facts
from app.premiums import gathering, rules
from app.premiums.facts import Diagnosed, Facts, Moment, NoData, Participated
from app.premiums.gathering import Asked
from app.premiums.portfolio_models import LossRatio, PortfolioProposal
from app.premiums.product import PRODUCTS, read
from app.records.models import ConditionVersion
from app.risk.rulesets import Tier
from tests.factories import consent, make_member
from tests.premium_world import (
    BEGIN,
    END,
    START,
    assessed,
    closed,
    diagnosed,
    insured,
    measured,
    two_readings,
)

CARE = read(PRODUCTS / "chronic-care-1.0.0.yaml")
TERM = rules.term(START, 0, months=12)
MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)


def asked(member, *, as_of=END, ending=TERM, **other) -> Asked:
    moment = Moment.RENEWAL if ending else Moment.ENROLMENT
    effective_on = date(2027, 3, 1) if ending else START
    return Asked(member, CARE, moment, as_of, effective_on, ending, **other)


async def facts(db: Database, member, **other) -> Facts:
    async with db.read() as reading:
        [found] = await gathering.gather(reading, [asked(member, **other)])
    assert await gathering.gather(db, [asked(member, **other)]) == [found], "by the driver itself"
    assert found is not None
    return found


async def test_a_member_without_anything_has_a_profile_only(db: Database):
    member = await make_member(db, consents=False, region="CN-11")
    found = await facts(db, member, ending=None)
    assert found == Facts(
        moment=Moment.ENROLMENT,
        as_of=END,
        effective_on=START,
        age=50,
        sex=found.sex,
        region="CN-11",
    )


async def test_somebody_unknown_has_no_facts(db: Database):
    member = await make_member(db)
    unknown = type(member)(int=7)
    async with db.read() as reading:
        first, second = await gathering.gather(reading, [asked(unknown), asked(member)])
    assert first is None
    assert second is not None and second.age == 51


async def test_readings_are_months_by_code_and_context_as_known_then(db: Database):
    member = await make_member(db)
    await measured(db, member, "SYSTOLIC_BP", "150", date(2026, 3, 4))
    await measured(db, member, "SYSTOLIC_BP", "142", date(2026, 3, 9))
    await measured(db, member, "SYSTOLIC_BP", "120", date(2026, 3, 9), context="AT_REST", hour=4)
    # Superseded since: what was decided before knew it, what is decided after does not.
    corrected = datetime(2026, 6, 1, tzinfo=UTC)
    await measured(db, member, "SYSTOLIC_BP", "160", date(2026, 4, 2), superseded_at=corrected)
    await measured(db, member, "SYSTOLIC_BP", "130", date(2026, 4, 2), recorded_at=corrected)
    before = await facts(db, member, as_of=corrected - timedelta(seconds=1))
    after = await facts(db, member, as_of=corrected)
    plain, at_rest = before.series
    assert (plain.code, plain.context, plain.unit) == ("SYSTOLIC_BP", None, "mm[Hg]")
    assert at_rest.context == "AT_REST"
    march = plain.months[0]
    assert (march.month, march.readings, march.days, march.total) == (MARCH, 2, 2, Decimal(292))
    assert (march.first_on, march.last_on) == (date(2026, 3, 4), date(2026, 3, 9))
    assert [it.total for it in plain.months] == [Decimal(292), Decimal(160)]
    assert [it.total for it in after.series[0].months] == [Decimal(292), Decimal(130)]


async def test_only_trusted_readings_of_the_term_that_a_rule_looks_at(db: Database):
    member = await make_member(db)
    day = date(2026, 5, 5)
    await measured(db, member, "SYSTOLIC_BP", "140", day, trust="MEDIUM", method="SELF_REPORTED")
    await measured(db, member, "SYSTOLIC_BP", "141", day, trust="LOW", hour=3)
    await measured(db, member, "SYSTOLIC_BP", "142", day, trust="UNVERIFIED", hour=4)
    await measured(db, member, "SYSTOLIC_BP", "250", day, confirmed=False, hour=5)
    await measured(db, member, "SYSTOLIC_BP", "143", date(2026, 2, 28))  # before the term
    await measured(db, member, "SYSTOLIC_BP", "144", date(2027, 3, 1))  # after it
    found = await facts(db, member, as_of=END + timedelta(days=30))
    [series] = found.series
    assert [(it.readings, it.total) for it in series.months] == [(1, Decimal(140))]


async def test_sensed_readings_go_with_the_consent_to_device_data(db: Database):
    member = await make_member(db)
    await measured(db, member, "BMI", "27", date(2026, 5, 5), method="SENSED")
    assert len((await facts(db, member)).series) == 1
    withdrawn = datetime(2026, 7, 1, tzinfo=UTC)
    async with db.transaction() as session:
        session.add(consent(member, "DEVICE_DATA", "WITHDRAWN", now=withdrawn))
    assert (await facts(db, member)).series == ()
    assert len((await facts(db, member, as_of=withdrawn - timedelta(seconds=1))).series) == 1


async def test_withdrawn_consent_leaves_no_fact_of_health_but_what_was_done(db: Database):
    member = await insured(db, tier="HIGH")
    await assessed(db, member, "HIGH", at=BEGIN + timedelta(days=1), groups=["pre_chronic"])
    await two_readings(db, member, "SYSTOLIC_BP", "150", MARCH)
    await diagnosed(db, member, "I10", APRIL, at=BEGIN + timedelta(days=40))
    await closed(db, member, MARCH, "90", at=datetime(2026, 4, 1, tzinfo=UTC))
    policy = {"policy_id": await policy_of(db, member), "number": 2}
    known = await facts(db, member, **policy)
    assert known.tier is not None and known.tier.tier is Tier.HIGH
    assert known.tier_at_start is not None
    assert known.health == {"pre_chronic", "hypertension"}
    assert known.diagnoses == (Diagnosed("I10", APRIL),)
    async with db.transaction() as session:
        now = END - timedelta(days=1)
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2, now=now))
    found = await facts(db, member, **policy)
    assert (found.tier, found.tier_at_start, found.series, found.diagnoses) == (None, None, (), ())
    assert (found.health, found.health_at_start) == (frozenset(), frozenset())
    assert found.refuses_upload
    assert found.participation == (Participated(MARCH, Decimal(90)),)
    # As it was known the day before, it still is.
    assert await facts(db, member, as_of=END - timedelta(days=2), **policy) == (
        Facts(**{**fields_of(known), "as_of": END - timedelta(days=2)})
    )


async def test_tier_and_health_at_the_start_are_those_the_term_was_priced_with(db: Database):
    member = await insured(db, tier="HIGH")
    await assessed(db, member, "LOW", at=BEGIN + timedelta(days=90))
    found = await facts(db, member, policy_id=await policy_of(db, member), number=2)
    assert found.tier is not None and found.tier.tier is Tier.LOW
    assert found.tier_at_start is not None and found.tier_at_start.tier is Tier.HIGH
    assert found.tier_at_start.assessed_at == BEGIN - timedelta(days=1)


async def test_the_five_kinds_of_no_data_are_kept_apart(db: Database):
    member = await make_member(db)
    closing = datetime(2026, 9, 1, tzinfo=UTC)
    left_out = [
        ({"withdrawn": 3, "paused": 1}, NoData.WITHDRAWN),
        ({"refused": 2}, NoData.REFUSED),
        ({"paused": 5, "silent": 2}, NoData.PAUSED),
        ({"silent": 1}, NoData.DEVICE_SILENT),
        ({}, NoData.NOTHING_DUE),
    ]
    for number, (counts, _) in enumerate(left_out):
        await closed(db, member, rules.add_months(MARCH, number), None, at=closing, **counts)
    await closed(db, member, rules.add_months(MARCH, 5), "0", at=closing, paused=20)
    found = await facts(db, member)
    assert [it.no_data for it in found.participation] == [*(why for _, why in left_out), None]
    assert found.participation[5].percent == 0  # somebody who did nothing


async def test_a_month_that_was_restated_since_is_taken_as_it_was(db: Database):
    member = await make_member(db)
    first, second = datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 4, 20, tzinfo=UTC)
    await closed(db, member, MARCH, "90", at=second)
    async with db.transaction() as session:
        session.add(
            ParticipationRestatement(
                member_id=member, month=MARCH, changed_at=first, due=20, done=14,
                percent=Decimal(70), paused=0, silent=0, refused=0, withdrawn=0,
            )
        )  # fmt: skip
    then = await facts(db, member, as_of=second - timedelta(seconds=1))
    now = await facts(db, member)
    assert [it.percent for it in then.participation] == [Decimal(70)]
    assert [it.percent for it in now.participation] == [Decimal(90)]
    assert (await facts(db, member, as_of=first - timedelta(seconds=1))).participation == ()


async def test_diagnoses_are_those_of_clinicians_as_known_then(db: Database):
    member = await make_member(db)
    at = datetime(2026, 6, 1, tzinfo=UTC)
    taken_back = await diagnosed(db, member, "I10", date(2026, 5, 20), at=at)
    await diagnosed(db, member, "E11.9", None, at=at)
    await diagnosed(db, member, "I11", date(2026, 5, 1), at=at, source="DECLARED")
    later = at + timedelta(days=10)
    async with db.transaction() as session:
        session.add(
            ConditionVersion(
                member_id=member, condition_id=taken_back, version=2, icd10="I10",
                source="CLINICAL", onset_on=date(2026, 5, 20), retracted=True,
                recorded_at=later, recorded_by=member,
            )
        )  # fmt: skip
    found = await facts(db, member, as_of=later)
    assert found.diagnoses == (Diagnosed("E11.9", date(2026, 6, 1)),)
    assert found.health == {"diabetes", "hypertension"}  # declared conditions count there
    before = await facts(db, member, as_of=later - timedelta(seconds=1))
    assert Diagnosed("I10", date(2026, 5, 20)) in before.diagnoses


async def test_many_members_are_one_statement(db: Database):
    members = [await make_member(db) for _ in range(12)]
    for member in members:
        await measured(db, member, "BMI", "27", date(2026, 5, 5))
    async with db.read() as reading:
        with StatementCount(db) as sent:
            found = await gathering.gather(reading, [asked(it) for it in members])
    assert len(sent) == 1
    assert all(it is not None and len(it.series) == 1 for it in found)


async def test_each_is_known_as_of_an_instant_of_its_own(db: Database):
    member = await make_member(db)
    await measured(db, member, "BMI", "27", date(2026, 5, 5))
    early = asked(member, as_of=datetime(2026, 5, 1, tzinfo=UTC))
    async with db.read() as reading:
        before, after = await gathering.gather(reading, [early, asked(member)])
    assert before is not None and after is not None
    assert (before.series, len(after.series)) == ((), 1)


async def loss_ratio(db: Database, year: int, revision: int, percent: str, at: datetime) -> None:
    """As two employees record one."""
    figures = {"premium": 1000, "claims": 900, "ceded_tier_claims": 0, "operating_cost": 100}
    proposal = {
        "id": uuid4(),
        "product_code": "chronic-care",
        "year": year,
        "currency": "CNY",
        "reference": "test",
        "proposed_by": uuid4(),
        "proposed_at": at,
        "decided_by": uuid4(),
        "decided_at": at,
        "confirmed": True,
    }
    async with db.transaction() as session:
        session.add(PortfolioProposal(**proposal, **figures))
        await session.flush()
        kept = {name: proposal[name] for name in ("product_code", "year", "currency")}
        session.add(
            LossRatio(
                **kept,
                **figures,
                revision=revision,
                proposal_id=proposal["id"],
                percent=Decimal(percent),
                proposed_by=proposal["proposed_by"],
                confirmed_by=proposal["decided_by"],
                recorded_at=at,
                published={},
            )
        )


async def policy_of(db: Database, member):
    from sqlalchemy import text

    async with db.read() as reading:
        statement = text("select id from policies where member_id = :member_id")
        return (await reading.execute(statement, {"member_id": member})).scalar_one()


def fields_of(found: Facts) -> dict:
    from dataclasses import fields

    return {it.name: getattr(found, it.name) for it in fields(found)}


async def test_the_loss_ratio_is_the_newest_that_was_known_then(db: Database):
    member = await make_member(db)
    known = datetime(2026, 2, 1, tzinfo=UTC)
    for year, revision, percent, at in (
        (2025, 1, "121", known),
        (2025, 2, "119.5", known + timedelta(days=30)),
        (2024, 1, "70", known),
    ):
        await loss_ratio(db, year, revision, percent, at)
    before = await facts(db, member, as_of=known)
    after = await facts(db, member, as_of=known + timedelta(days=30))
    assert before.loss_ratio == known_facts.LossRatio(2025, Decimal(121))
    assert after.loss_ratio == known_facts.LossRatio(2025, Decimal("119.5"))
    assert (await facts(db, member, as_of=known - timedelta(days=1))).loss_ratio is None
