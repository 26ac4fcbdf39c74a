"""From the application to the first day of cover, on a real database, by the real jobs."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.db import Database
from app.errors import ErrorCode, RequestReused, UserError
from app.premiums import (
    applications,
    cancellation,
    groups,
    payment_choices,
    underwriting,
)
from app.premiums.contract_terms import Frequency, Payer
from app.premiums.declarations import Declared, declare
from app.premiums.history import Actor
from tests.factories import NOON, counts, make_member, make_staff
from tests.policy_holders import (
    CARE,
    CONFIRMED,
    PLAIN,
    TODAY,
    accepted,
    applied,
    assessed,
    do,
    events,
    examined,
    insured,
    measure,
    policy_of,
    publish,
    refused,
    rows,
    tick,
    variant,
)

DAY = timedelta(days=1)


async def test_what_asks_nothing_is_offered_at_once_and_in_force_when_accepted(db: Database):
    await publish(db, variant(**PLAIN))
    member = await make_member(db)
    policy = await applied(db, member, declared=None)
    assert policy.state == "OFFERED"
    assert await rows(db, "select count(*) from policy_terms") == [(1,)], "the price is fixed"
    policy = await accepted(db, policy)
    assert (policy.state, policy.started_on, policy.due_at) == ("IN_FORCE", TODAY, None)
    assert await events(db, policy) == [
        ("APPLIED", "APPLIED"),
        ("OFFERED", "OFFERED"),
        ("ACCEPTED", "ACCEPTED"),
        ("BEGAN", "IN_FORCE"),
    ]
    found = await counts(db)
    assert (found["wallets"], found["premium_projections"]) == (1, 1)
    assert found["tasks"] > 0
    asked = await rows(
        db, "select convert_from(payload, 'UTF8') from pgqueuer where entrypoint = 'risk.reassess'"
    )
    assert any('"ENROLMENT"' in it for (it,) in asked)


async def test_the_way_through_underwriting_by_the_jobs(db: Database):
    await publish(db, variant())
    member = await make_member(db)
    policy = await applied(db, member, declared=None)
    waits = "select waits_for, findings from underwritings"
    assert await rows(db, waits) == [(["DECLARATIONS", "ASSESSMENT", "EXAMINATION_REPORT"], [])]
    asked = await rows(
        db, "select convert_from(payload, 'UTF8') from pgqueuer where entrypoint = 'risk.reassess'"
    )
    assert any('"UNDERWRITING"' in it for (it,) in asked)
    await do(
        db, declare, member_id=member, policy_id=policy.id,
        declared=Declared(("i10", "E11.9"), CONFIRMED), by=Actor.member(member),
    )  # fmt: skip
    assert await rows(db, waits) == [(["ASSESSMENT", "EXAMINATION_REPORT"], [])]
    assert await rows(db, "select conditions from underwritings") == [(["E11.9", "I10"],)]
    # Nothing has come: nobody looks again for ten minutes.
    assert await tick(db, underwriting.look_at_waiting, now=NOON + timedelta(minutes=1)) == 0
    later = NOON + timedelta(minutes=2)
    await assessed(db, member, now=later)
    assert await tick(db, underwriting.look_at_waiting, now=later + DAY) == 1
    assert await rows(db, waits) == [(["EXAMINATION_REPORT"], [])]
    await examined(db, member, date(2026, 1, 5), now=later)
    at = later + DAY + underwriting.LOOK_AGAIN
    assert await tick(db, underwriting.look_at_waiting, now=at) == 1
    found = await policy_of(db, policy)
    assert (found.state, found.started_on) == ("OFFERED", date(2026, 3, 3))
    assert found.due_at == at + 14 * DAY
    assert await rows(db, "select decision, decided_by from underwritings") == [("ACCEPT", None)]


async def test_who_is_of_high_risk_measures_again_before_anybody_decides(db: Database):
    await publish(db, variant())
    member, colleague = await make_member(db), await make_staff(db)
    old = NOON - timedelta(days=40)
    await measure(db, member, ("SYSTOLIC_BP", "190", "mm[Hg]"), now=old)
    await measure(db, member, ("DIASTOLIC_BP", "115", "mm[Hg]"), now=old)
    await examined(db, member, date(2026, 1, 5))
    policy = await applied(db, member)
    await assessed(db, member)
    tier = await rows(db, "select tier from risk_profiles")
    assert tier == [("HIGH",)], "two numbers of a severe pressure"
    await tick(db, underwriting.look_at_waiting, now=NOON + timedelta(minutes=11))
    assert await rows(db, "select waits_for from underwritings") == [(["RECHECK"],)]
    waiting = await policy_of(db, policy)
    assert waiting.due_at == NOON + timedelta(days=14, minutes=11), "the product's days for it"
    decided = {
        "staff_id": colleague, "member_id": member, "policy_id": policy.id, "accept": True,
        "reason": "fine",
    }  # fmt: skip
    later = NOON + timedelta(hours=1)
    await refused(db, ErrorCode.EVIDENCE_MISSING, do, db, underwriting.decide, now=later, **decided)
    at = NOON + DAY
    for readings in (
        (("SYSTOLIC_BP", "182", "mm[Hg]"), ("DIASTOLIC_BP", "112", "mm[Hg]")),
        (("FASTING_GLUCOSE", "5.2", "mmol/L"),),
    ):
        await measure(db, member, *readings, now=at)
    await assessed(db, member, now=at)
    await tick(db, underwriting.look_at_waiting, now=at + timedelta(minutes=11))
    assert (await policy_of(db, policy)).state == "OFFERED"


async def test_what_is_not_plain_is_for_a_person_once_and_their_word_counts(db: Database):
    await publish(db, variant(underwriting={"examination_report_months": None}))
    member, colleague = await make_member(db), await make_staff(db)
    policy = await applied(db, member, declared=Declared(("C50",), CONFIRMED))
    await assessed(db, member)
    await tick(db, underwriting.look_at_waiting, now=NOON + timedelta(minutes=11))
    item = "select kind, closed_at is null, reason_en from worklist_items"
    [(kind, is_open, reason)] = await rows(db, item)
    assert (kind, is_open) == ("UNDERWRITING", True)
    assert "C50" not in reason, "no health data in a list"
    assert await rows(db, "select findings from underwritings") == [(["CONDITION_UNKNOWN"],)]
    decided = {
        "staff_id": colleague, "member_id": member, "policy_id": policy.id, "accept": False,
        "now": NOON + timedelta(hours=1),
    }  # fmt: skip
    await refused(
        db, ErrorCode.VALUE_OUT_OF_RANGE, do, db, underwriting.decide, **decided, reason=" "
    )
    request = uuid4()
    answers = [
        await do(
            db, underwriting.decide, **decided, reason="Advised elsewhere.", request_id=request
        )
        for _ in range(2)
    ]
    assert [replayed for _, replayed in answers] == [False, True]
    assert answers[0][0].state == "DECLINED"
    assert await rows(db, item) == [("UNDERWRITING", False, reason)]
    await refused(
        db, ErrorCode.STATE_INVALID, do, db, underwriting.decide, **decided, reason="again"
    )


async def test_a_declined_condition_declines_at_once_and_one_may_apply_elsewhere(db: Database):
    await publish(db, variant())
    await publish(db, variant("plain", **PLAIN))
    member = await make_member(db)
    policy = await applied(db, member, declared=Declared(("N18.5",), CONFIRMED))
    assert policy.state == "DECLINED"
    other = await applied(db, member, product_code="plain", declared=None)
    assert other.state == "OFFERED"


async def test_refusals_of_an_application_move_nothing(db: Database):
    await publish(db, variant(**PLAIN))
    await publish(db, variant("asks"))
    member = await make_member(db)
    child = await make_member(db, birth_date=date(2024, 1, 1))
    for code, given in (
        (ErrorCode.NOT_FOUND, {"product_code": "none"}),
        (ErrorCode.PERIOD_INVALID, {"starts_on": TODAY - DAY}),
        (ErrorCode.PERIOD_INVALID, {"starts_on": TODAY + 61 * DAY}),
        (ErrorCode.NOT_FOUND, {"group_code": "none"}),
        (ErrorCode.ANSWER_INVALID, {"product_code": "asks", "declared": Declared((), {})}),
        (ErrorCode.ANSWER_INVALID,
         {"product_code": "asks", "declared": Declared((), {**CONFIRMED, "more": True})}),
        (ErrorCode.ANSWER_INVALID,
         {"product_code": "asks", "declared": Declared(("diabetes",), CONFIRMED)}),
        (ErrorCode.ANSWER_INVALID,
         {"product_code": "asks", "declared": Declared(("I10",) * 31, CONFIRMED)}),
    ):  # fmt: skip
        await refused(db, code, applied, db, member, **{"declared": None, **given})
    await refused(db, ErrorCode.NOT_ELIGIBLE, applied, db, child, declared=None)
    await insured(db, phone="+86 139 0000 0000")
    policy = await applied(db, member, declared=None)
    await refused(db, ErrorCode.STATE_INVALID, applied, db, member, declared=None)
    await accepted(db, policy)
    await refused(db, ErrorCode.STATE_INVALID, applied, db, member, declared=None)


async def test_a_double_tap_applies_once_and_rivals_get_one_application(db: Database):
    await publish(db, variant(**PLAIN))
    member, other = await make_member(db), await make_member(db)
    request = uuid4()

    async def apply(member_id, request_id):
        return await do(
            db, applications.apply, member_id=member_id, request_id=request_id,
            wanted=applications.Wanted(CARE), declared=None, by=Actor.member(member_id),
        )  # fmt: skip

    answers = await asyncio.gather(*(apply(member, request) for _ in range(8)))
    assert len({policy.id for policy, _ in answers}) == 1
    assert sum(not replayed for _, replayed in answers) == 1
    rivals = await asyncio.gather(
        *(apply(other, uuid4()) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(it, applications.AlreadyInsured) for it in rivals) == 7
    with pytest.raises(RequestReused):
        await do(
            db, applications.apply, member_id=member, request_id=request,
            wanted=applications.Wanted("plain"), declared=None, by=Actor.member(member),
        )  # fmt: skip


async def test_accepting_eight_times_begins_one_cover(db: Database):
    await publish(db, variant(**PLAIN))
    member = await make_member(db)
    policy = await applied(db, member, declared=None)
    request = uuid4()

    async def accept(request_id):
        return await do(
            db, applications.accept, member_id=member, policy_id=policy.id,
            request_id=request_id, by=Actor.member(member),
        )  # fmt: skip

    answers = await asyncio.gather(*(accept(request) for _ in range(8)))
    assert sum(not replayed for _, replayed in answers) == 1
    rivals = await asyncio.gather(*(accept(uuid4()) for _ in range(4)), return_exceptions=True)
    assert all(isinstance(it, UserError) for it in rivals)
    found = await counts(db)
    assert (found["policy_terms"], found["wallets"]) == (1, 1)
    assert [kind for kind, _ in await events(db, policy)].count("BEGAN") == 1


async def test_a_cover_that_begins_later_begins_at_the_members_midnight(db: Database):
    await publish(db, variant(**PLAIN))
    member = await make_member(db, time_zone="America/New_York")
    policy = await applied(db, member, declared=None, starts_on=date(2026, 3, 8))
    policy = await accepted(db, policy)
    midnight = datetime(2026, 3, 8, 5, tzinfo=UTC)
    assert (policy.state, policy.due_at) == ("ACCEPTED", midnight)
    assert await tick(db, applications.begin_due, now=midnight - timedelta(seconds=1)) == 0
    runs = await asyncio.gather(*(tick(db, applications.begin_due, now=midnight) for _ in range(4)))
    assert sum(runs) == 1
    found = await policy_of(db, policy)
    assert (found.state, found.started_on) == ("IN_FORCE", date(2026, 3, 8))
    # The term ends a year later, in summer time from the night of 14 March 2027 on.
    assert found.term_ends_at == datetime(2027, 3, 8, 5, tzinfo=UTC)


async def test_who_accepts_late_is_covered_from_then_on_at_the_same_price(db: Database):
    await publish(db, variant(**PLAIN))
    policy = await applied(db, await make_member(db), declared=None)
    terms = "select starts_on, ends_on, total from policy_terms"
    [(_, _, total)] = await rows(db, terms)
    found = await accepted(db, policy, now=NOON + 5 * DAY)
    assert (found.state, found.started_on) == ("IN_FORCE", date(2026, 3, 7))
    assert await rows(db, terms) == [(date(2026, 3, 7), date(2027, 3, 6), total)]


async def test_a_birthday_that_changes_the_price_ends_the_offer(db: Database):
    await publish(db, variant(**PLAIN))
    bands = care_bands()
    born = date(2026 - bands[1], 3, 5)
    policy = await applied(db, await make_member(db, birth_date=born), declared=None)
    await refused(db, ErrorCode.STATE_INVALID, accepted, db, policy, now=NOON + 5 * DAY)


def care_bands() -> list[int]:
    """The first ages of the bands that are for everybody."""
    table = variant(**PLAIN).base_premium.by_age
    return [band.age_from for band in table if band.is_for_everybody]


async def test_offers_and_applications_that_nobody_answers_close_in_time(db: Database):
    await publish(db, variant(**PLAIN))
    await publish(db, variant("asks"))
    offered = await applied(db, await make_member(db), declared=None)
    waiting = await applied(db, await make_member(db), product_code="asks")
    just_before = NOON + timedelta(days=14, seconds=-1)
    assert await tick(db, applications.close_due, now=just_before) == 0
    await refused(db, ErrorCode.STATE_INVALID, accepted, db, offered, now=NOON + 14 * DAY)
    assert await tick(db, applications.close_due, now=NOON + 14 * DAY) == 1
    assert (await policy_of(db, offered)).state == "EXPIRED"
    assert await tick(db, applications.close_due, now=NOON + 60 * DAY) == 1
    assert (await policy_of(db, waiting)).state == "EXPIRED"
    assert await tick(db, applications.close_due, now=NOON + 99 * DAY) == 0


async def test_an_application_is_withdrawn_until_the_cover_begins(db: Database):
    await publish(db, variant(**PLAIN))
    member = await make_member(db)
    for take in (False, True):
        policy = await applied(db, member, declared=None, starts_on=TODAY + DAY)
        if take:
            policy = await accepted(db, policy)
        given = {"member_id": member, "policy_id": policy.id, "by": Actor.member(member)}
        found, _ = await do(db, applications.withdraw, **given)
        assert (found.state, found.due_at) == ("WITHDRAWN", None)
        await refused(db, ErrorCode.STATE_INVALID, do, db, applications.withdraw, **given)
    assert await tick(db, applications.begin_due, now=NOON + 9 * DAY) == 0
    begun = await insured(db)
    await refused(
        db, ErrorCode.STATE_INVALID, do, db, applications.withdraw,
        member_id=begun.member_id, policy_id=begun.id, by=Actor.member(begun.member_id),
    )  # fmt: skip


async def test_groups_pay_together_and_their_size_is_known(db: Database):
    await publish(db, variant(**PLAIN))
    staff = await make_staff(db)
    given = {
        "staff_id": staff, "code": " acme ", "name": "Acme", "product_code": CARE,
        "payer": Payer.EMPLOYER, "people": 10,
    }  # fmt: skip
    rivals = await asyncio.gather(
        *(do(db, groups.add, **given) for _ in range(4)), return_exceptions=True
    )
    [group] = [it[0] for it in rivals if isinstance(it, tuple)]
    assert sum(isinstance(it, groups.GroupCodeTaken) for it in rivals) == 3
    for code, wrong in (
        (ErrorCode.VALUE_OUT_OF_RANGE, {"payer": Payer.MEMBER, "code": "x"}),
        (ErrorCode.VALUE_OUT_OF_RANGE, {"name": ""}),
        (ErrorCode.VALUE_OUT_OF_RANGE, {"code": "x" * 41}),
        (ErrorCode.NOT_FOUND, {"product_code": "none", "code": "x"}),
    ):
        await refused(db, code, do, db, groups.add, **{**given, **wrong})
    for number in range(3):
        policy = await applied(db, await make_member(db), declared=None, group_code="ACME")
        assert (policy.group_id, policy.payer) == (group.id, "EMPLOYER")
        if number:
            await accepted(db, policy)
    async with db.transaction() as session:
        assert await groups.size(session, group.id) == 2
    assert await rows(db, "select distinct payer from invoices") == [("EMPLOYER",)]


async def test_how_and_by_whom_is_paid_is_chosen_among_what_the_product_offers(db: Database):
    await publish(db, variant(**PLAIN))
    await publish(db, variant("yearly", **PLAIN, payment={
        "frequencies": ["annual"], "payers": ["member"], "stop_any_time": False,
    }))  # fmt: skip
    staff = await make_staff(db)
    policy = await applied(db, await make_member(db), declared=None)
    given = {"member_id": policy.member_id, "policy_id": policy.id, "by": Actor.member(staff)}
    found, _ = await do(db, payment_choices.set_frequency, **given, frequency=Frequency.MONTHLY)
    assert found.frequency == "MONTHLY"
    by_staff = {"staff_id": staff, "member_id": policy.member_id, "policy_id": policy.id}
    found, _ = await do(db, payment_choices.set_payer, **by_staff, payer=Payer.GOVERNMENT)
    assert found.payer == "GOVERNMENT"
    await accepted(db, policy)
    paid = await rows(db, "select count(*), min(payer), max(payer) from invoices")
    assert paid == [(12, "GOVERNMENT", "GOVERNMENT")]
    yearly = await insured(db, code="yearly")
    given = {"member_id": yearly.member_id, "policy_id": yearly.id}
    await refused(
        db, ErrorCode.NOT_ELIGIBLE, do, db, payment_choices.set_frequency, **given,
        frequency=Frequency.MONTHLY, by=Actor.member(staff),
    )  # fmt: skip
    await refused(
        db, ErrorCode.NOT_ELIGIBLE, do, db, payment_choices.set_payer, **given,
        staff_id=staff, payer=Payer.EMPLOYER,
    )  # fmt: skip


async def test_a_policy_that_the_release_before_wrote_lives_on(db: Database):
    member, version = await make_member(db), await publish(db, variant(**PLAIN))
    async with db.write() as connection:
        await connection.execute(
            text(
                """insert into policies (member_id, id, product_version_id, state, started_on,
                     term_ends_at, created_at)
                   values (:member, :id, :version, 'IN_FORCE', :today, :end, :now)"""
            ),
            {
                "member": member,
                "id": uuid4(),
                "version": version,
                "today": TODAY,
                "end": NOON + 365 * DAY,
                "now": NOON,
            },
        )
    [(id,)] = await rows(db, "select id from policies")
    by = Actor.member(member)
    found, _ = await do(db, cancellation.cancel, member_id=member, policy_id=id, by=by)
    assert (found.state, found.payer, found.events) == ("CANCELLED", "MEMBER", 1)
