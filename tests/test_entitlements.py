"""Services are reserved, consumed and given back within their quotas (SVC-1 … SVC-7)."""

import asyncio
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.members.households_models import HouseholdMember
from app.premiums import catalogue
from app.premiums.benefit_terms import Entitlement
from app.premiums.product import Product
from app.services import jobs, rules
from app.services.rules import Counted, Holder, UnavailableReason, UseState
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    contents,
    execute,
    make_member,
    make_staff,
    operation,
    refused,
)
from tests.foreign_world import everything
from tests.insured import LATER, make_case, make_insured, make_manager
from tests.test_mild_conditions import withdraw

RESERVE = operation("ReserveEntitlement")
RELEASE = operation("ReleaseEntitlement")
CONSUME = operation("ConsumeEntitlement", "console")
RESERVE_FOR = operation("ReserveEntitlementForMember", "console")
RELEASE_OF = operation("ReleaseEntitlementOfMember", "console")
SHOW = operation("Entitlements")
MOVED = ("entitlement_quotas", "entitlement_uses", "requests")


async def reserve(
    db: Database,
    member_id: UUID,
    service: str = "consultation",
    *,
    request_id: UUID | None = None,
    staff_id: UUID | None = None,
    now: datetime = NOON,
) -> Any:
    sent = {"requestId": str(request_id or uuid4()), "service": service}
    if staff_id is None:
        context = as_member(db, member_id, now=now)
        return (await execute(RESERVE, {"input": sent}, context=context))["reserveEntitlement"]
    sent["memberId"] = encode(Kind.MEMBER, member_id)
    context = as_staff(db, staff_id, now=now)
    found = await execute(RESERVE_FOR, {"input": sent}, context=context)
    return found["reserveEntitlementFor"]


async def consume(
    db: Database,
    staff_id: UUID,
    use: str,
    *,
    request_id: UUID | None = None,
    now: datetime = NOON,
    **more: Any,
) -> Any:
    sent = {"requestId": str(request_id or uuid4()), "useId": use, **more}
    context = as_staff(db, staff_id, now=now)
    return (await execute(CONSUME, {"input": sent}, context=context))["consumeEntitlement"]


async def release(db: Database, member_id: UUID, use: str, *, now: datetime = NOON) -> Any:
    sent = {"requestId": str(uuid4()), "useId": use}
    context = as_member(db, member_id, now=now)
    return (await execute(RELEASE, {"input": sent}, context=context))["releaseEntitlement"]


async def take_back(db: Database, staff_id: UUID, use: str, **more: Any) -> Any:
    sent = {"requestId": str(uuid4()), "useId": use, "reason": "Called off by us.", **more}
    context = as_staff(db, staff_id)
    return (await execute(RELEASE_OF, {"input": sent}, context=context))["releaseEntitlement"]


async def shown(
    db: Database, member_id: UUID, service: str = "consultation", *, now: datetime = NOON
) -> Any:
    found = await execute(SHOW, {}, context=as_member(db, member_id, now=now))
    nodes = [edge["node"] for edge in found["me"]["entitlements"]["edges"]]
    return next((it for it in nodes if it["service"] == service), None)


async def set_tier(db: Database, member_id: UUID, tier: str | None) -> None:
    sql = (
        "insert into risk_profiles (member_id, tier, contests) values (:id, :tier, 0)"
        " on conflict (member_id) do update set tier = excluded.tier"
    )
    async with db.write() as connection:
        await connection.execute(text(sql), {"id": member_id, "tier": tier})


async def assert_counted(db: Database) -> None:
    """What is true whatever happened: each quota counts its uses, one by one."""
    wrong = """
    select q.* from entitlement_quotas q, lateral (
      select count(*) filter (where u.state = 'RESERVED') as reserved,
        count(*) filter (where u.state = 'CONSUMED') as consumed
      from entitlement_uses u where u.holder_id = q.member_id and u.policy_id = q.policy_id
        and u.service = q.service and u.period_starts_on = q.starts_on) c
    where (c.reserved, c.consumed) is distinct from (q.reserved::bigint, q.consumed::bigint)
    """
    async with db.read() as connection:
        assert (await connection.execute(text(wrong))).all() == []


async def test_reserved_consumed_and_given_back(db: Database) -> None:
    member = await make_insured(db)
    staff = await make_manager(db, member)
    done = await reserve(db, member)
    assert done["entitlement"] == {
        "service": "consultation", "left": 4, "reserved": 1, "consumed": 0, "available": True,
        "unavailableReason": None, "periodEndsOn": date(2026, 3, 31),
    }  # fmt: skip
    assert (done["use"]["state"], done["use"]["label"]) == ("RESERVED", "Online consultation")
    assert done["use"]["expiresAt"] == NOON + timedelta(days=30)
    consumed = await consume(db, staff, done["use"]["id"], note="Dr. Li, by video.")
    assert (consumed["use"]["state"], consumed["use"]["note"]) == ("CONSUMED", "Dr. Li, by video.")
    assert (
        consumed["entitlement"] | {"left": 4, "reserved": 0, "consumed": 1}
        == consumed["entitlement"]
    )
    other = await reserve(db, member)
    back = await release(db, member, other["use"]["id"])
    assert (back["use"]["state"], back["entitlement"]["left"]) == ("RELEASED", 4)
    undone = await take_back(db, staff, done["use"]["id"])
    assert (undone["use"]["state"], undone["entitlement"]["left"]) == ("RELEASED", 5)
    await assert_counted(db)


async def test_a_month_is_one_of_the_members_zone(db: Database) -> None:
    # 23:30 on 31 March in Shanghai, and half an hour later.
    start = datetime(2026, 3, 31, 15, 30, tzinfo=UTC)
    member = await make_insured(db)
    for _ in range(5):
        assert (await reserve(db, member, now=start))["use"]["state"] == "RESERVED"
    used = await reserve(db, member, now=start)
    assert used["code"] == "LIMIT_REACHED" and "2026-04-01" in used["message"]
    april = await reserve(db, member, now=start + timedelta(minutes=30))
    assert april["entitlement"]["left"] == 4
    assert (await shown(db, member, now=start + timedelta(minutes=30)))["reserved"] == 1


async def test_a_year_is_a_policy_year(db: Database) -> None:
    member = await make_insured(db)
    await reserve(db, member, "examination")
    before = datetime(2027, 3, 1, 4, tzinfo=UTC)
    assert (await reserve(db, member, "examination", now=before))["code"] == "LIMIT_REACHED"
    later = before + timedelta(days=1)
    assert (await reserve(db, member, "examination", now=later))["use"]["state"] == "RESERVED"


async def test_what_has_no_quota_is_counted_and_never_used_up(db: Database) -> None:
    member = await make_insured(db)
    for _ in range(3):
        done = await reserve(db, member, "health_information")
    assert done["entitlement"] | {"left": None, "reserved": 3} == done["entitlement"]


@pytest.mark.parametrize(
    ("tier", "service", "reason"),
    [
        (None, "device_monitoring", "NOT_ASSESSED"),
        ("LOW", "device_monitoring", "OTHER_TIER"),
        ("MEDIUM", "device_monitoring", None),
        ("MEDIUM", "health_manager", "OTHER_TIER"),
        ("HIGH", "health_manager", None),
        ("LOW", "consultation", None),
    ],
)
async def test_each_tier_has_its_services(
    db: Database, tier: str | None, service: str, reason: str | None
) -> None:
    member = await make_insured(db)
    if tier is not None:
        await set_tier(db, member, tier)
    assert (await shown(db, member, service))["unavailableReason"] == reason
    done = await reserve(db, member, service)
    assert done.get("code") == (None if reason is None else "NOT_ELIGIBLE")


async def test_the_green_channel_comes_with_an_open_case(db: Database) -> None:
    member, _ = await make_case(db)
    other = await make_insured(db)
    assert (await shown(db, member, "green_channel", now=LATER))["available"]
    done = await reserve(db, member, "green_channel", now=LATER)
    assert done["use"]["state"] == "RESERVED"
    without = await reserve(db, other, "green_channel", now=LATER)
    assert (without["code"], without["field"]) == ("NOT_ELIGIBLE", "service")


async def test_an_employee_reserves_for_a_member(db: Database) -> None:
    member = await make_insured(db)
    staff = await make_manager(db, member)
    await set_tier(db, member, "HIGH")
    done = await reserve(db, member, "health_manager", staff_id=staff)
    assert done["use"]["state"] == "RESERVED"
    await withdraw(db, member)
    before = await contents(db, *MOVED)
    refused_ = await reserve(db, member, "health_manager", staff_id=staff)
    assert refused_["code"] == "CONSENT_MISSING", "the tier is health data"
    assert await contents(db, *MOVED) == before
    assert (await reserve(db, member, staff_id=staff))["use"]["state"] == "RESERVED"
    own = await reserve(db, member, "health_manager")
    assert own["use"]["state"] == "RESERVED", "a member loses nothing by withdrawing"


async def test_refusals_move_nothing(db: Database) -> None:
    member, stranger = await make_insured(db), await make_insured(db)
    nobody = await make_member(db)
    staff, elsewhere = await make_manager(db, member), await make_staff(db)
    use = (await reserve(db, member))["use"]["id"]
    gone = (await reserve(db, member))["use"]["id"]
    await release(db, member, gone)
    for _ in range(4):
        await reserve(db, member)
    before = await contents(db, *MOVED)
    late = NOON + timedelta(days=30)
    answers = [
        (await reserve(db, member), "LIMIT_REACHED"),
        (await reserve(db, member, "flying"), "NOT_FOUND"),
        (await reserve(db, nobody), "NOT_FOUND"),
        (await reserve(db, member, staff_id=elsewhere), "NOT_FOUND"),
        (await release(db, stranger, use), "NOT_FOUND"),
        (await release(db, member, gone), "STATE_INVALID"),
        (await take_back(db, staff, gone), "STATE_INVALID"),
        (await take_back(db, staff, use, reason=None), "VALUE_OUT_OF_RANGE"),
        (await take_back(db, staff, use, reason="x" * 501), "VALUE_OUT_OF_RANGE"),
        (await take_back(db, elsewhere, use), "NOT_FOUND"),
        (await consume(db, staff, gone), "STATE_INVALID"),
        (await consume(db, staff, use, note=" "), "VALUE_OUT_OF_RANGE"),
        (await consume(db, staff, use, now=late), "STATE_INVALID"),
        (await consume(db, elsewhere, use), "NOT_FOUND"),
    ]
    assert [answer.get("code") for answer, _ in answers] == [code for _, code in answers]
    assert await contents(db, *MOVED) == before
    sent = {"input": {"requestId": str(uuid4()), "useId": use}}
    as_itself = await execute(CONSUME, sent, context=as_member(db, member))
    assert as_itself["consumeEntitlement"]["code"] == "NOT_FOUND"
    auditor = as_staff(db, staff, "AUDITOR")
    assert await refused(CONSUME, sent, context=auditor) == "FORBIDDEN"
    await assert_counted(db)


async def test_after_the_policy_has_ended_nothing_is_consumed(db: Database) -> None:
    member = await make_insured(db)
    staff = await make_manager(db, member)
    use = (await reserve(db, member))["use"]["id"]
    async with db.write() as connection:
        ended = "update policies set state = 'CANCELLED', ended_on = '2026-03-02'"
        await connection.execute(text(ended))
    before = await contents(db, *MOVED)
    assert (await consume(db, staff, use))["code"] == "STATE_INVALID"
    assert (await reserve(db, member))["code"] == "NOT_FOUND"
    assert await contents(db, *MOVED) == before
    assert (await release(db, member, use))["use"]["state"] == "RELEASED"


async def test_the_same_request_eight_times_at_once_is_one(db: Database) -> None:
    member = await make_insured(db)
    staff = await make_manager(db, member)
    request_id = uuid4()
    done = await asyncio.gather(*(reserve(db, member, request_id=request_id) for _ in range(8)))
    assert Counter(it["replayed"] for it in done) == {False: 1, True: 7}
    [use] = {it["use"]["id"] for it in done}
    again = await reserve(db, member, "examination", request_id=request_id)
    assert again["code"] == "REQUEST_REUSED"
    request_id = uuid4()
    done = await asyncio.gather(*(consume(db, staff, use, request_id=request_id) for _ in range(8)))
    assert Counter(it["replayed"] for it in done) == {False: 1, True: 7}
    assert (await shown(db, member))["consumed"] == 1
    await assert_counted(db)


async def test_the_last_units_have_as_many_winners(db: Database) -> None:
    member = await make_insured(db)
    done = await asyncio.gather(*(reserve(db, member) for _ in range(12)))
    assert Counter(it.get("code", "done") for it in done) == {"done": 5, "LIMIT_REACHED": 7}
    assert await shown(db, member) | {"left": 0, "reserved": 5} == await shown(db, member)
    done = await asyncio.gather(*(reserve(db, member, "examination") for _ in range(8)))
    assert Counter(it.get("code", "done") for it in done) == {"done": 1, "LIMIT_REACHED": 7}
    await assert_counted(db)


async def test_consumed_released_and_expired_at_once_it_ends_once(db: Database) -> None:
    member = await make_insured(db)
    staff = await make_manager(db, member)
    for _ in range(4):
        use = (await reserve(db, member))["use"]["id"]
        ends = await asyncio.gather(
            consume(db, staff, use),
            release(db, member, use),
            consume(db, staff, use),
            release(db, member, use),
        )
        assert Counter(it.get("code", "done") for it in ends) == {"done": 1, "STATE_INVALID": 3}
    await assert_counted(db)


async def test_the_clock_gives_back_what_nobody_used(db: Database) -> None:
    member, other = await make_insured(db), await make_insured(db)
    await reserve(db, member, "examination")
    staff = await make_manager(db, other)
    await consume(db, staff, (await reserve(db, other, "examination"))["use"]["id"])
    late = NOON + timedelta(days=30)
    assert await jobs.expire_due(db, now=late - timedelta(seconds=1)) == 0
    expired = await asyncio.gather(*(jobs.expire_due(db, now=late, limit=1) for _ in range(4)))
    assert sum(expired) == 1
    assert (await shown(db, member, "examination", now=late))["left"] == 1
    assert (await shown(db, other, "examination", now=late))["left"] == 0
    await assert_counted(db)


async def test_lists_are_paged_and_their_statements_do_not_grow(db: Database) -> None:
    member = await make_insured(db)
    uses = [(await reserve(db, member))["use"]["id"]]

    async def page(**sent: Any) -> Any:
        return (await execute(SHOW, sent, context=as_member(db, member)))["me"]

    with StatementCount(db) as few:
        await page()
    for minute in (1, 2):
        done = await reserve(db, member, now=NOON + timedelta(minutes=minute))
        uses.append(done["use"]["id"])
    with StatementCount(db) as more:
        await page()
    assert len(few) == len(more) <= 4
    found = (await page(uses=2))["entitlementUses"]
    assert [it["node"]["id"] for it in found["edges"]] == [uses[2], uses[1]]
    found = (await page(uses=2, usesAfter=found["pageInfo"]["endCursor"]))["entitlementUses"]
    assert [it["node"]["id"] for it in found["edges"]] == [uses[0]]
    assert not found["pageInfo"]["hasNextPage"]
    assert (await page(state="CONSUMED"))["entitlementUses"]["edges"] == []
    first = (await page(first=5))["entitlements"]
    rest = (await page(first=50, after=first["pageInfo"]["endCursor"]))["entitlements"]
    services = [it["node"]["service"] for it in (*first["edges"], *rest["edges"])]
    assert (len(services), len(set(services))) == (12, 12)
    assert first["pageInfo"]["hasNextPage"] and not rest["pageInfo"]["hasNextPage"]


# The spouse (SVC-7)


async def live_together(db: Database, holder: UUID, spouse: UUID) -> None:
    household_id = uuid4()
    async with db.transaction() as session:
        for member_id, role in ((holder, "HOLDER"), (spouse, "SPOUSE")):
            session.add(
                HouseholdMember(
                    member_id=member_id,
                    id=uuid4(),
                    household_id=household_id,
                    role=role,
                    joined_on=NOON.date(),
                    joined_at=NOON,
                )
            )


async def test_a_spouse_shares_the_family_doctor_and_nothing_else(db: Database) -> None:
    holder, spouse = await make_insured(db), await make_member(db)
    assert (await reserve(db, spouse, "family_doctor"))["code"] == "NOT_FOUND"
    await live_together(db, holder, spouse)
    shared = await shown(db, spouse, "family_doctor")
    assert (shared["ofSpouse"], shared["sharedWithSpouse"]) == (True, True)
    done = await reserve(db, spouse, "family_doctor")
    assert (done["use"]["ofSpouse"], done["entitlement"]["reserved"]) == (True, 1)
    own = await shown(db, holder, "family_doctor")
    assert (own["ofSpouse"], own["reserved"]) == (False, 1), "one quota for both"
    assert (await reserve(db, spouse, "consultation"))["code"] == "NOT_FOUND"
    assert (await release(db, holder, done["use"]["id"]))["code"] == "NOT_FOUND"
    found = await execute(SHOW, {}, context=as_member(db, holder))
    assert found["me"]["entitlementUses"]["edges"] == [], "what the spouse does is theirs"
    staff = await make_manager(db, spouse)
    assert (await consume(db, staff, done["use"]["id"]))["use"]["state"] == "CONSUMED"
    await assert_counted(db)
    async with db.write() as connection:
        await connection.execute(text("update household_members set left_on = '2026-03-02'"))
    assert await shown(db, spouse, "family_doctor") is None


async def test_rivals_in_one_household_share_the_last_unit(db: Database) -> None:
    plain = everything().model_dump(mode="json")
    doctor = terms(service="family_doctor", shared_with_spouse=True, quota=ONE_A_MONTH)
    limited = plain | {"code": "couple", "entitlements": [doctor.model_dump(mode="json")]}
    async with db.transaction() as session:
        await catalogue.publish(session, Product.model_validate(limited), now=NOON)
    holder, spouse = await make_insured(db, "couple"), await make_member(db)
    await live_together(db, holder, spouse)
    done = await asyncio.gather(*(reserve(db, it, "family_doctor") for it in (holder, spouse) * 4))
    assert Counter(it.get("code", "done") for it in done) == {"done": 1, "LIMIT_REACHED": 7}
    await assert_counted(db)


# Rules

ONE_A_MONTH = {"units": 1, "per": "month"}


def terms(**changes: Any) -> Entitlement:
    words = {"zh": "服务", "en": "Service"}
    return Entitlement.model_validate(
        {"service": "examination", "label": words, "explanation": words, **changes}
    )


@pytest.mark.parametrize(
    ("per", "day", "started_on", "starts_on", "ends_on"),
    [
        ("month", date(2028, 2, 29), date(2026, 3, 2), date(2028, 2, 1), date(2028, 2, 29)),
        ("year", date(2026, 3, 2), date(2026, 3, 2), date(2026, 3, 2), date(2027, 3, 1)),
        ("year", date(2027, 3, 1), date(2026, 3, 2), date(2026, 3, 2), date(2027, 3, 1)),
        ("year", date(2027, 3, 2), date(2026, 3, 2), date(2027, 3, 2), date(2028, 3, 1)),
        # Begun on a leap day: reckoned from the beginning each time.
        ("year", date(2025, 2, 27), date(2024, 2, 29), date(2024, 2, 29), date(2025, 2, 27)),
        ("year", date(2025, 2, 28), date(2024, 2, 29), date(2025, 2, 28), date(2026, 2, 27)),
        ("year", date(2028, 2, 28), date(2024, 2, 29), date(2027, 2, 28), date(2028, 2, 28)),
        # A clock that is behind the first day.
        ("year", date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 2), date(2027, 3, 1)),
    ],
)
def test_periods(per: str, day: date, started_on: date, starts_on: date, ends_on: date) -> None:
    found = rules.period(terms(quota={"units": 1, "per": per}), day, policy_started_on=started_on)
    assert (found.starts_on, found.ends_on) == (starts_on, ends_on)


def test_a_new_version_that_allows_less_leaves_nothing_below_zero() -> None:
    one = terms(quota={"units": 1, "per": "month"})
    assert rules.units_left(one, Counted(reserved=2, consumed=1)) == 0
    reason = rules.unavailable(one, Holder(None, False), Counted(2, 1))
    assert reason is UnavailableReason.QUOTA_USED


@pytest.mark.parametrize("state", list(UseState))
def test_who_may_release_what(state: UseState) -> None:
    assert rules.may_release(state, by_staff=False) == (state is UseState.RESERVED)
    allowed = (UseState.RESERVED, UseState.CONSUMED)
    assert rules.may_release(state, by_staff=True) == (state in allowed)
