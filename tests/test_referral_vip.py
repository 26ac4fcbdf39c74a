"""What three who stayed give: services among the member's own, once, and gone when undone."""

import asyncio
from datetime import date
from typing import Any
from uuid import UUID

from app.campaigns import referrals
from app.db import Database, StatementCount
from app.services import granted, granting
from app.services.granted import Source
from tests.campaigns import DAY, rows, run
from tests.factories import NOON, as_member, as_staff, assign, execute, make_member, make_staff
from tests.insured import make_insured
from tests.test_entitlements import SHOW, consume, reserve, shown
from tests.test_referrals import claim, programme, settle, stay

VIP = ["vip_health_manager", "vip_examination", "vip_green_channel"]
ITEMS = "select closed_reason from worklist_items where member_id = :m order by opened_at"
GRANTS = """
select service, starts_on, ends_on, revoked_because from entitlement_grants
where member_id = :m and revoked_at is null order by service desc
"""


async def brought_by(db: Database, referrer: UUID, count: int) -> list[UUID]:
    code = (await programme(db, referrer))["code"]
    members = [await make_member(db) for _ in range(count)]
    for member in members:
        await claim(db, member, code)
        await stay(db, member)
    return members


async def undone(db: Database, member: UUID) -> None:
    """As within the free days, or by a rescission."""
    await run(
        db,
        "update policies set state = 'CANCELLED', ended_on = started_on - 1 where member_id = :m",
        m=member,
    )


async def undo(db: Database, now: Any = NOON) -> int:
    return sum([it async for it in referrals.undo(db, now=now)])


async def services(db: Database, member: UUID, now: Any = NOON) -> list[str]:
    found = await execute(SHOW, {}, context=as_member(db, member, now=now))
    nodes = [edge["node"] for edge in found["me"]["entitlements"]["edges"]]
    return [it["service"] for it in nodes if it["source"] == "REFERRAL"]


async def test_three_give_services_beside_those_of_the_product_once(db: Database):
    referrer = await make_insured(db)
    await brought_by(db, referrer, 3)
    await asyncio.gather(*(settle(db) for _ in range(8)))
    assert await services(db, referrer) == VIP
    assert (await shown(db, referrer, "consultation"))["source"] == "PRODUCT"
    assert await rows(db, GRANTS, m=referrer) == [
        ("vip_health_manager", date(2026, 3, 2), None, None),
        ("vip_green_channel", date(2026, 3, 2), None, None),
        ("vip_examination", date(2026, 3, 2), date(2027, 3, 1), None),
    ]
    # The ordinary examination is another one.
    assert (await reserve(db, referrer, "examination"))["use"]["state"] == "RESERVED"
    first = await reserve(db, referrer, "vip_examination")
    assert (first["use"]["label"], first["entitlement"]["left"]) == ("VIP examination", 0)
    again = await reserve(db, referrer, "vip_examination")
    assert (again["code"], again["field"]) == ("LIMIT_REACHED", "service")
    staff = await make_staff(db, "HEALTH_MANAGER")
    await assign(db, staff, referrer)
    for_them = await reserve(db, referrer, "vip_health_manager", staff_id=staff)
    done = await consume(db, staff, for_them["use"]["id"], note="Yours from now on.")
    assert (done["use"]["state"], done["entitlement"]["consumed"]) == ("CONSUMED", 1)
    last = NOON + 364 * DAY
    assert (await shown(db, referrer, "vip_examination", now=last))["periodEndsOn"] == date(
        2027, 3, 1
    )
    assert await services(db, referrer, last + DAY) == [VIP[0], VIP[2]]


async def test_who_has_no_policy_has_what_they_earned(db: Database):
    member, other = await make_member(db), await make_member(db)
    async with db.transaction() as session:
        assert await granting.grant(session, [member], source=Source.REFERRAL, now=NOON) == {member}
        assert await granting.grant(session, [member], source=Source.REFERRAL, now=NOON) == set()
    assert await services(db, member) == VIP
    assert await services(db, other) == []
    assert (await reserve(db, other, VIP[0]))["code"] == "NOT_FOUND"
    answers = await asyncio.gather(*(reserve(db, member, VIP[1]) for _ in range(8)))
    assert sorted(it.get("code", "") for it in answers) == [""] + ["LIMIT_REACHED"] * 7
    counted = await rows(db, "select reserved, consumed from entitlement_grant_quotas")
    assert counted == [(1, 0)]


async def test_a_cover_that_never_was_has_brought_nobody(db: Database):
    referrer = await make_insured(db)
    first, *_ = await brought_by(db, referrer, 3)
    await settle(db)
    reserved = await reserve(db, referrer, VIP[0])
    examined = await reserve(db, referrer, VIP[1])
    staff = await make_staff(db, "HEALTH_MANAGER")
    await assign(db, staff, referrer)
    await consume(db, staff, examined["use"]["id"])
    assert await undo(db) == 0
    await undone(db, first)
    assert await asyncio.gather(*(undo(db, NOON + DAY) for _ in range(8)))
    found = await programme(db, referrer)
    assert (found["claimed"], found["qualified"], found["vipSince"]) == (2, 2, None)
    assert await services(db, referrer, NOON + DAY) == []
    assert (await reserve(db, referrer, VIP[0], now=NOON + DAY))["code"] == "NOT_FOUND"
    late = await consume(db, staff, reserved["use"]["id"], now=NOON + DAY)
    assert (late["code"], late["field"]) == ("STATE_INVALID", "useId")
    states = await rows(db, "select state from entitlement_uses order by reserved_at, state")
    assert states == [("CONSUMED",), ("RELEASED",)]
    assert await rows(db, ITEMS, m=referrer) == [("SETTLED",)]
    # Another one brings it back, and the follow-up with it.
    await brought_by(db, referrer, 1)
    await settle(db, NOON + 2 * DAY)
    assert await services(db, referrer, NOON + 2 * DAY) == VIP
    assert (await programme(db, referrer))["vipSince"] is not None
    assert await rows(db, ITEMS, m=referrer) == [("SETTLED",), (None,)]


async def test_who_leaves_later_has_stayed_long_enough(db: Database):
    referrer = await make_member(db)
    first, *_ = await brought_by(db, referrer, 3)
    await settle(db)
    await run(
        db,
        "update policies set state = 'ENDED', ended_on = started_on + 40 where member_id = :m",
        m=first,
    )
    assert await undo(db, NOON + 20 * DAY) == 0
    assert await services(db, referrer) == VIP


async def test_what_is_taken_back_while_it_is_reserved_is_not_reserved(db: Database):
    member = await make_member(db)
    async with db.transaction() as session:
        await granting.grant(session, [member], source=Source.REFERRAL, now=NOON)

    async def take_back() -> None:
        async with db.transaction() as session:
            await granting.revoke(session, [member], source=Source.REFERRAL, because="x", now=NOON)

    await asyncio.gather(*(reserve(db, member, VIP[0]) for _ in range(4)), take_back())
    assert await rows(db, "select 1 from entitlement_uses where state = 'RESERVED'") == []
    assert await rows(db, "select 1 from entitlement_grant_quotas where reserved > 0") == []


async def test_members_who_joined_at_one_moment_do_not_bring_each_other(db: Database):
    one, two, three = [await make_member(db) for _ in range(3)]
    codes = {it: (await programme(db, it))["code"] for it in (one, two, three)}
    assert (await claim(db, two, codes[one]))["__typename"] == "ClaimReferralPayload"
    assert (await claim(db, three, codes[two]))["__typename"] == "ClaimReferralPayload"
    assert (await claim(db, one, codes[three]))["code"] == "NOT_ELIGIBLE"
    assert (await claim(db, one, codes[two]))["code"] == "NOT_ELIGIBLE"


async def test_entitlements_of_many_take_no_statement_a_member(db: Database):
    staff = as_staff(db, await make_staff(db, "ADMIN"), "ADMIN")
    members = [await make_member(db) for _ in range(8)]
    async with db.transaction() as session:
        await granting.grant(session, members, source=Source.REFERRAL, now=NOON)
    counts = []
    for first in (2, 8):
        fields = "entitlements(first: 9) { edges { node { service source } } }"
        document = f"{{ members(first: {first}) {{ edges {{ node {{ {fields} }} }} }} }}"
        with StatementCount(db) as counted:
            found = await execute(document, context=staff)
        edges = found["members"]["edges"]
        assert [len(it["node"]["entitlements"]["edges"]) for it in edges] == [3] * first
        counts.append(len(counted))
    # At most one more batch, of its two statements.
    assert counts[1] <= counts[0] + 2


def test_what_is_granted_is_as_the_product_has_its_own():
    assert [it.entitlement.service for it in granted.in_force()[Source.REFERRAL]] == VIP
    [year] = [it for it in granted.in_force()[Source.REFERRAL] if it.months is not None]
    assert year.ends_on(date(2028, 2, 29)) == date(2029, 2, 27)
    assert granted.of("consultation") is None


async def test_a_zone_that_nobody_knows_keeps_nobody_else_waiting(db: Database):
    lost, fine = await make_member(db), await make_member(db)
    await run(db, "update members set time_zone = 'Mars/Olympus' where member_id = :m", m=lost)
    async with db.transaction() as session:
        got = await granting.grant(session, [lost, fine], source=Source.REFERRAL, now=NOON)
    assert got == {lost, fine}
