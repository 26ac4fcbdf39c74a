"""Referral: who counts, who does not, and what three give; and stories shown with consent."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from app.campaigns import facts as _facts  # noqa: F401 - who is covered
from app.campaigns import referrals
from app.db import Database
from app.graphql.ids import Kind, encode
from app.members import standing_service
from app.premiums import service as premiums
from tests.campaigns import DAY, manager, rows, run
from tests.factories import (
    NOON,
    as_member,
    contents,
    execute,
    guard,
    make_member,
    operation,
    refused,
)
from tests.nudges import make_phone

PARTS = {
    part.split("(", 1)[0].split("{", 1)[0].split()[-1]: part
    for name, client in (("Referral", "app"), ("ClaimStories", "app"), ("ClaimStories", "console"))
    for part in operation(name, client)
    .replace("\nmutation", "\0mutation")
    .replace("\nquery", "\0query")
    .split("\0")
}


async def programme(db: Database, member: UUID) -> dict:
    return (await execute(PARTS["Referral"], context=as_member(db, member)))["referralProgramme"]


async def claim(
    db: Database, member: UUID, code: str, *, phone=None, request=None, now=NOON
) -> dict:
    sent = {
        "requestId": str(request or uuid4()),
        "code": code,
        "installationId": str(phone or uuid4()),
    }
    answer = await execute(
        PARTS["ClaimReferral"], {"input": sent}, context=as_member(db, member, now=now)
    )
    return answer["claimReferral"]


async def stay(db: Database, member: UUID, *, days: int = 30) -> None:
    """Enrolled so many days ago, used since."""
    async with db.transaction() as session:
        await premiums.enrol(
            session,
            member_id=member,
            product_code="starter",
            starts_on=(NOON - days * DAY).date(),
            now=NOON - days * DAY,
        )
    await run(
        db,
        "insert into requests values (:m, :r, 'test', '', :m, :at)",
        m=member,
        r=uuid4(),
        at=NOON - DAY,
    )


async def settle(db: Database, now=NOON) -> int:
    await standing_service.notice_use(db, now=now)
    async for _ in standing_service.refresh_due(db, now=now):
        pass
    return sum([it async for it in referrals.settle(db, now=now)])


async def test_three_who_enrol_and_stay_give_a_vip_health_manager_once(db: Database):
    referrer = await make_member(db)
    code = (await programme(db, referrer))["code"]
    assert len(code) == 8 and (await programme(db, referrer))["link"].endswith(code)
    brought = [await make_member(db) for _ in range(4)]
    for member in brought:
        assert (await claim(db, member, f" {code.lower()} "))["replayed"] is False
    for member in brought[:2]:
        await stay(db, member)
    await stay(db, brought[3], days=29)
    assert await settle(db) == 2
    found = await programme(db, referrer)
    assert (found["claimed"], found["qualified"], found["vipSince"]) == (4, 2, None)
    await stay(db, brought[2])
    await asyncio.gather(*(settle(db) for _ in range(4)))
    found = await programme(db, referrer)
    assert (found["qualified"], found["needed"]) == (3, 3) and found["vipSince"] is not None
    assert await settle(db, NOON + 2 * DAY) == 1
    assert len(await rows(db, "select 1 from referral_benefits")) == 1
    items = await rows(db, "select kind from worklist_items where member_id = :m", m=referrer)
    assert items == [("FOLLOW_UP",)]
    assert await rows(db, "select 1 from points_transfers where member_id = :m", m=referrer) == []


async def test_who_enrolled_and_never_came_does_not_count(db: Database):
    referrer, idle = await make_member(db), await make_member(db)
    await claim(db, idle, (await programme(db, referrer))["code"])
    async with db.transaction() as session:
        await premiums.enrol(
            session,
            member_id=idle,
            product_code="starter",
            starts_on=(NOON - 40 * DAY).date(),
            now=NOON - 40 * DAY,
        )
    # The claim itself was a use, before the cover is looked at as one.
    await run(
        db, "update requests set created_at = :at where owner = :m", at=NOON - 41 * DAY, m=idle
    )
    assert await settle(db) == 0


@pytest.mark.parametrize(
    "why",
    [
        "oneself",
        "number",
        "guardian",
        "child",
        "phone",
        "shared",
        "checks in",
        "again",
        "late",
        "in a circle",
        "erased",
        "unknown",
        "blank",
    ],
)
async def test_what_does_not_count_is_refused_and_nothing_moves(db: Database, why):  # noqa: C901
    referrer = await make_member(db, phone="+8613900000001")
    code = (await programme(db, referrer))["code"]
    member = await make_member(db, phone="+8613900000001" if why == "number" else None)
    phone = uuid4()
    now = NOON
    match why:
        case "oneself":
            member = referrer
        case "guardian":
            await guard(db, child_id=referrer, guardian_id=member)
        case "child":
            await guard(db, child_id=member, guardian_id=referrer)
        case "phone":
            phone = await make_phone(db, referrer, "token")
        case "shared":
            other = await make_member(db)
            await claim(db, other, code, phone=phone)
        case "checks in":
            await run(
                db, "insert into device_owners values (:i, :m, :at)", i=phone, m=referrer, at=NOON
            )
        case "again":
            await claim(db, member, code)
        case "late":
            now = NOON + timedelta(days=31)
        case "in a circle":
            # Who joined later brought nobody who was there: else two would bring each other.
            await run(
                db,
                "update members set created_at = created_at + interval '1 s' where member_id = :m",
                m=referrer,
            )
        case "erased":
            await run(
                db, "update members set erased_at = :at where member_id = :m", at=NOON, m=referrer
            )
        case "unknown":
            code = "22222222"
        case "blank":
            code = "\0"
    before = await contents(db)
    answer = await claim(db, member, code, phone=phone, now=now)
    assert answer["code"] == (
        "CODE_INVALID" if why in ("unknown", "blank", "erased") else "NOT_ELIGIBLE"
    )
    assert answer["field"] == "code"
    assert await contents(db) == before


async def test_a_phone_that_both_come_to_use_blocks_a_referral(db: Database):
    referrer, member = await make_member(db), await make_member(db)
    await claim(db, member, (await programme(db, referrer))["code"])
    await stay(db, member)
    phone = await make_phone(db, member, "token")
    await run(db, "insert into device_owners values (:i, :m, :at)", i=phone, m=referrer, at=NOON)
    assert await settle(db) == 1
    assert await rows(db, "select state, reason from referrals") == [("BLOCKED", "SAME_DEVICE")]
    assert (await programme(db, referrer))["claimed"] == 0


@pytest.mark.parametrize("who", ["referrer", "member"])
async def test_who_is_erased_gives_and_gets_nothing(db: Database, who):
    referrer, member = await make_member(db), await make_member(db)
    await claim(db, member, (await programme(db, referrer))["code"])
    await stay(db, member)
    await standing_service.notice_use(db, now=NOON)
    async for _ in standing_service.refresh_due(db, now=NOON):
        pass
    erased = referrer if who == "referrer" else member
    await run(db, "update members set erased_at = :at where member_id = :m", at=NOON, m=erased)
    assert sum([it async for it in referrals.settle(db, now=NOON)]) == 0
    assert await rows(db, "select state from referrals") == [("PENDING",)]


async def test_the_same_claim_eight_times_at_once_is_one(db: Database):
    referrer, member = await make_member(db), await make_member(db)
    codes = await asyncio.gather(*(programme(db, referrer) for _ in range(8)))
    assert len({it["code"] for it in codes}) == 1
    request, phone = uuid4(), uuid4()
    answers = await asyncio.gather(
        *(claim(db, member, codes[0]["code"], request=request, phone=phone) for _ in range(8))
    )
    assert sorted(it["replayed"] for it in answers) == [False] + [True] * 7
    assert len(await rows(db, "select 1 from referrals")) == 1


async def test_two_members_on_one_phone_are_one_claim(db: Database):
    referrer = await make_member(db)
    code = (await programme(db, referrer))["code"]
    first, second = await make_member(db), await make_member(db)
    phone = uuid4()
    answers = await asyncio.gather(*(claim(db, it, code, phone=phone) for it in (first, second)))
    assert sorted(it["__typename"] for it in answers) == ["ClaimReferralPayload", "UserError"]
    assert len(await rows(db, "select 1 from referrals")) == 1


# Stories


async def tell(db: Database, member: UUID, request=None, **changes) -> dict:
    sent = {
        "requestId": str(request or uuid4()),
        "title": "Paid in two days",
        "body": "They paid.",
        "consentVersion": "2026-11",
    }
    answer = await execute(
        PARTS["SubmitClaimStory"], {"input": sent | changes}, context=as_member(db, member)
    )
    return answer["submitClaimStory"]


async def decide(context, story: str, publish: bool, reason=None, request=None) -> dict:
    sent = {
        "requestId": str(request or uuid4()),
        "storyId": story,
        "publish": publish,
        "reason": reason,
    }
    return (await execute(PARTS["ModerateClaimStory"], {"input": sent}, context=context))[
        "moderateClaimStory"
    ]


async def withdraw(db: Database, member: UUID, story: str, request=None) -> dict:
    sent = {"input": {"requestId": str(request or uuid4()), "storyId": story}}
    return (await execute(PARTS["WithdrawClaimStory"], sent, context=as_member(db, member)))[
        "withdrawClaimStory"
    ]


async def shown(db: Database, reader: UUID) -> list[tuple[str, str]]:
    found = (await execute(PARTS["ClaimStories"], context=as_member(db, reader)))["claimStories"]
    return [(edge["node"]["title"], edge["node"]["byline"]) for edge in found["edges"]]


async def test_a_story_is_shown_once_read_and_until_withdrawn(db: Database):
    author, reader = await make_member(db), await make_member(db)
    context = await manager(db, "ADMIN")
    named = (await tell(db, author, isNamed=True))["story"]
    assert (named["state"], named["byline"]) == ("SUBMITTED", "王**")
    assert await shown(db, reader) == []
    waiting = (await execute(PARTS["ClaimStoriesToRead"], context=context))["claimStoriesToRead"]
    assert [edge["node"]["id"] for edge in waiting["edges"]] == [named["id"]]
    assert await rows(db, "select member_id from audit_reads") == [(author,)]
    assert (await decide(context, named["id"], True))["state"] == "PUBLISHED"
    assert await shown(db, reader) == [("Paid in two days", "王**")]
    assert (await withdraw(db, author, named["id"]))["story"]["state"] == "WITHDRAWN"
    assert await shown(db, reader) == []
    assert (await decide(context, named["id"], True))["code"] == "STATE_INVALID"


async def test_a_story_that_is_not_shown_says_why_to_its_author(db: Database):
    author = await make_member(db)
    context = await manager(db, "ADMIN")
    story = (await tell(db, author))["story"]
    assert (await decide(context, story["id"], False))["field"] == "reason"
    assert (await decide(context, story["id"], False, "Names a doctor."))["state"] == "REJECTED"
    own = (await execute(PARTS["MyClaimStories"], context=as_member(db, author)))["myClaimStories"]
    assert own["edges"][0]["node"]["reason"] == "Names a doctor."
    other = await make_member(db)
    assert (await execute(PARTS["MyClaimStories"], context=as_member(db, other)))["myClaimStories"][
        "edges"
    ] == []


async def test_what_is_shown_can_be_taken_down(db: Database):
    author = await make_member(db)
    context = await manager(db, "ADMIN")
    story = (await tell(db, author))["story"]
    await decide(context, story["id"], True)
    assert (await decide(context, story["id"], False, "Reported."))["state"] == "REJECTED"
    assert await shown(db, author) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"title": " "}, "VALUE_OUT_OF_RANGE"),
        ({"title": "x" * 81}, "VALUE_OUT_OF_RANGE"),
        ({"body": "x" * 2001}, "VALUE_OUT_OF_RANGE"),
        ({"body": "\0"}, "VALUE_OUT_OF_RANGE"),
        ({"consentVersion": "2020-01"}, "CONSENT_MISSING"),
    ],
)
async def test_a_story_that_cannot_be_shown_is_refused(db: Database, changes, code):
    author = await make_member(db)
    before = await contents(db)
    assert (await tell(db, author, **changes))["code"] == code
    assert await contents(db) == before


async def test_five_stories_wait_at_most(db: Database):
    author = await make_member(db)
    answers = await asyncio.gather(*(tell(db, author) for _ in range(8)))
    assert sorted(it.get("code", "") for it in answers) == [""] * 5 + ["LIMIT_REACHED"] * 3


async def test_the_same_request_about_a_story_eight_times_is_one(db: Database):
    author = await make_member(db)
    request = uuid4()
    told = await asyncio.gather(*(tell(db, author, request) for _ in range(8)))
    assert len({it["story"]["id"] for it in told}) == 1
    story = told[0]["story"]["id"]
    context, request = await manager(db, "ADMIN"), uuid4()
    decided = await asyncio.gather(*(decide(context, story, True, None, request) for _ in range(8)))
    assert sorted(it["replayed"] for it in decided) == [False] + [True] * 7
    request = uuid4()
    gone = await asyncio.gather(*(withdraw(db, author, story, request) for _ in range(8)))
    assert sorted(it["replayed"] for it in gone) == [False] + [True] * 7


async def test_stories_are_the_members_and_decisions_the_employees(db: Database):
    author, other = await make_member(db), await make_member(db)
    story = (await tell(db, author))["story"]["id"]
    assert (await withdraw(db, other, story))["code"] == "NOT_FOUND"
    sent = {"input": {"requestId": str(uuid4()), "storyId": story, "publish": True}}
    assert (
        await refused(PARTS["ModerateClaimStory"], sent, context=as_member(db, author))
        == "FORBIDDEN"
    )
    nobody = encode(Kind.CLAIM_STORY, author, uuid4())
    assert (await decide(await manager(db, "ADMIN"), nobody, True))["code"] == "NOT_FOUND"
