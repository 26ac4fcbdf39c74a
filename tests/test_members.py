"""Sign-in, consents and pauses, on a real database."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.errors import Forbidden
from app.graphql.ids import Kind, encode
from app.members.sign_in import REMEMBERED_FOR, STRANGER, SignIns
from tests.factories import (
    ISSUER,
    NOON,
    as_member,
    as_staff,
    assign,
    counts,
    execute,
    guard,
    make_member,
    make_staff,
)

SET_CONSENT = """
mutation ($input: SetConsentInput!) { setConsent(input: $input) { __typename
  ... on SetConsentPayload { replayed consents { id purpose state textVersion changedAt } }
  ... on UserError { code message field } } }
"""
PAUSE = """
mutation ($input: PauseProgrammeInput!) { pauseProgramme(input: $input) { __typename
  ... on PauseProgrammePayload { replayed pause { id reason startsOn endsOn } }
  ... on UserError { code message field } } }
"""
RESUME = """
mutation ($input: ResumeProgrammeInput!) { resumeProgramme(input: $input) { __typename
  ... on ResumeProgrammePayload { replayed pause { id endsOn } member { id pause { id } } }
  ... on UserError { code message field } } }
"""
ME = """{ me { id displayName birthDate sex timeZone locale today
  pause { id reason startsOn endsOn } consents { purpose state textVersion changedAt } } }"""


def consent_input(**changes):
    base = {
        "requestId": str(uuid4()),
        "purpose": "MARKETING",
        "granted": True,
        "textVersion": "2026-01",
    }
    return {"input": {**base, **changes}}


def pause_input(**changes):
    base = {
        "requestId": str(uuid4()),
        "reason": "TRAVEL",
        "startsOn": "2026-03-02",
        "endsOn": "2026-03-05",
    }
    return {"input": {**base, **changes}}


async def set_consent(db, member, **changes):
    data = await execute(SET_CONSENT, consent_input(**changes), context=as_member(db, member))
    return data["setConsent"]


async def pause(db, member, *, now=NOON, **changes):
    data = await execute(PAUSE, pause_input(**changes), context=as_member(db, member, now=now))
    return data["pauseProgramme"]


async def resume(db, member, pause_id, *, now=NOON, request=None):
    variables = {"input": {"requestId": str(request or uuid4()), "pauseId": pause_id}}
    data = await execute(RESUME, variables, context=as_member(db, member, now=now))
    return data["resumeProgramme"]


def state_of(answer, purpose="MARKETING"):
    return next(c["state"] for c in answer["consents"] if c["purpose"] == purpose)


async def test_me_is_one_statement(db: Database):
    member = await make_member(db, display_name="李强", time_zone="America/New_York")
    with StatementCount(db) as sent:
        data = await execute(ME, context=as_member(db, member))
    me = data["me"]
    assert len(sent) == 1
    assert (me["displayName"], me["today"], me["pause"]) == ("李强", date(2026, 3, 1), None)
    assert [c["state"] for c in me["consents"]] == ["GRANTED"] + ["NOT_ASKED"] * 6


async def test_the_five_answers_of_a_consent(db: Database):
    member = await make_member(db)
    assert state_of(await set_consent(db, member, granted=False)) == "REFUSED"
    assert state_of(await set_consent(db, member, granted=True)) == "GRANTED"
    assert state_of(await set_consent(db, member, granted=False)) == "WITHDRAWN"
    assert state_of(await set_consent(db, member, granted=False)) == "WITHDRAWN"
    # The withdrawal that was said again is no further fact.
    assert (await counts(db))["consents"] == 1 + 3


async def test_a_consent_to_an_old_text_changes_nothing(db: Database):
    member = await make_member(db)
    before = await counts(db)
    answer = await set_consent(db, member, textVersion="2019-01")
    assert (answer["code"], answer["field"]) == ("VERSION_OUTDATED", "textVersion")
    assert "2026-01" in answer["message"]
    assert await counts(db) == before


async def test_a_consent_sent_eight_times_at_once_is_recorded_once(db: Database):
    member, request = await make_member(db), str(uuid4())
    answers = await asyncio.gather(*(set_consent(db, member, requestId=request) for _ in range(8)))
    assert sorted(a["replayed"] for a in answers) == [False] + [True] * 7
    assert {state_of(a) for a in answers} == {"GRANTED"}
    assert (await counts(db))["consents"] == 1 + 1


async def test_rival_answers_come_one_after_the_other(db: Database):
    member = await make_member(db)
    await asyncio.gather(*(set_consent(db, member, granted=i % 2 == 0) for i in range(8)))
    async with db.read() as connection:
        rows = await connection.execute(
            text("select version, state from consents where purpose = 'MARKETING' order by 1")
        )
        found = [tuple(row) for row in rows]
    assert [version for version, _ in found] == list(range(1, len(found) + 1))
    # Each answer differs from the one before, and a refusal comes only before any grant.
    states = [state for _, state in found]
    assert all(a != b for a, b in pairwise(states))
    assert "REFUSED" not in states[1:]


async def test_a_no_is_taken_whatever_text_was_seen(db: Database):
    member = await make_member(db)
    await set_consent(db, member, granted=True)
    answer = await set_consent(db, member, granted=False, textVersion="2019-01")
    assert state_of(answer) == "WITHDRAWN"


async def test_a_pause_that_begins_later_can_be_found_and_taken_back(db: Database):
    member = await make_member(db)
    made = await pause(db, member, startsOn="2026-03-20", endsOn=None)
    query = "{ me { pause { id } pauses { id startsOn } } }"

    async def shown():
        return (await execute(query, context=as_member(db, member)))["me"]

    assert await shown() == {
        "pause": None,
        "pauses": [{"id": made["pause"]["id"], "startsOn": date(2026, 3, 20)}],
    }
    await resume(db, member, made["pause"]["id"])
    assert await shown() == {"pause": None, "pauses": []}


async def test_a_request_id_with_another_input_is_refused(db: Database):
    member, request = await make_member(db), str(uuid4())
    await set_consent(db, member, requestId=request)
    before = await counts(db)
    answer = await set_consent(db, member, requestId=request, granted=False)
    assert (answer["code"], answer["field"]) == ("REQUEST_REUSED", "requestId")
    assert await counts(db) == before


async def test_a_pause_runs_until_resumed(db: Database):
    member = await make_member(db)
    made = await pause(db, member, endsOn=None)
    assert made["pause"]["endsOn"] is None
    me = (await execute(ME, context=as_member(db, member, now=NOON + timedelta(days=90))))["me"]
    assert me["pause"]["id"] == made["pause"]["id"]

    ended = await resume(db, member, made["pause"]["id"], now=NOON + timedelta(days=90))
    assert ended["pause"]["endsOn"] == date(2026, 5, 30)
    assert ended["member"]["pause"] is None


async def test_a_pause_that_begins_later_is_not_running_yet(db: Database):
    member = await make_member(db)
    await pause(db, member, startsOn="2026-03-04", endsOn="2026-03-05")
    for day, running in ((0, False), (1, False), (2, True), (3, True), (4, False)):
        me = (await execute(ME, context=as_member(db, member, now=NOON + timedelta(days=day))))[
            "me"
        ]
        assert (me["pause"] is not None) is running, day


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"startsOn": "2026-03-01"}, "startsOn"),
        ({"startsOn": "2027-03-04", "endsOn": None}, "startsOn"),
        ({"endsOn": "2026-03-01"}, "endsOn"),
    ],
)
async def test_an_impossible_pause_changes_nothing(db: Database, changes, field):
    member = await make_member(db)
    before = await counts(db)
    answer = await pause(db, member, **changes)
    assert (answer["code"], answer["field"]) == ("PERIOD_INVALID", field)
    assert await counts(db) == before


async def test_the_first_day_is_judged_in_the_members_zone(db: Database):
    # 20:00 UTC on 1 March is 2 March in Shanghai and still 1 March in New York.
    evening = datetime(2026, 3, 1, 20, tzinfo=UTC)
    east, west = await make_member(db), await make_member(db, time_zone="America/New_York")
    assert (await pause(db, east, now=evening, startsOn="2026-03-01"))["code"] == "PERIOD_INVALID"
    assert (await pause(db, west, now=evening, startsOn="2026-03-01"))["pause"]


async def test_a_second_pause_at_that_time_is_refused(db: Database):
    member = await make_member(db)
    await pause(db, member)
    before = await counts(db)
    assert (await pause(db, member, startsOn="2026-03-05", endsOn=None))["code"] == "ALREADY_PAUSED"
    assert await counts(db) == before
    assert (await pause(db, member, startsOn="2026-03-06", endsOn=None))["pause"]


async def test_of_eight_rival_pauses_one_is_kept(db: Database):
    member = await make_member(db)
    answers = await asyncio.gather(*(pause(db, member) for _ in range(8)))
    assert sorted(a["__typename"] for a in answers) == ["PauseProgrammePayload"] + ["UserError"] * 7
    assert (await counts(db))["pauses"] == 1


async def test_resuming_twice_at_once_ends_it_once(db: Database):
    member, request = await make_member(db), uuid4()
    made = await pause(db, member, endsOn=None)
    later = NOON + timedelta(days=3)
    answers = await asyncio.gather(
        *(resume(db, member, made["pause"]["id"], now=later, request=request) for _ in range(8))
    )
    assert sorted(a["replayed"] for a in answers) == [False] + [True] * 7
    assert {a["pause"]["endsOn"] for a in answers} == {date(2026, 3, 4)}
    assert (await resume(db, member, made["pause"]["id"], now=later))["code"] == "NOT_FOUND"


async def test_a_pause_of_somebody_else_cannot_be_resumed(db: Database):
    member, other = await make_member(db), await make_member(db)
    made = await pause(db, member, endsOn=None)
    before = await counts(db)
    forged = encode(Kind.PAUSE, other, uuid4())
    for id in (made["pause"]["id"], forged, "nonsense", ""):
        answer = await resume(db, other, id)
        assert (answer["code"], answer["field"]) == ("NOT_FOUND", "pauseId")
    assert await counts(db) == before


async def test_a_guardian_acts_for_the_child_and_for_nobody_else(db: Database):
    guardian, child, stranger = [await make_member(db) for _ in range(3)]
    await guard(db, child_id=child, guardian_id=guardian)
    answer = await set_consent_as(db, guardian, acting_for=child)
    assert state_of(answer) == "GRANTED"
    me = (await execute("{ me { id } }", context=as_member(db, guardian, acting_for=child)))["me"]
    assert me["id"] == encode(Kind.MEMBER, child)

    sign_ins = SignIns(db)
    row = await subject_of(db, guardian)
    found = await sign_ins.viewer(
        issuer=ISSUER, subject=row, acting_for=child, expires_at=NOON, now=NOON
    )
    assert (found.member_id, found.acting_for) == (guardian, child)
    with pytest.raises(Forbidden):
        await sign_ins.viewer(
            issuer=ISSUER, subject=row, acting_for=stranger, expires_at=NOON, now=NOON
        )


async def set_consent_as(db, member, *, acting_for):
    context = as_member(db, member, acting_for=acting_for)
    return (await execute(SET_CONSENT, consent_input(), context=context))["setConsent"]


async def subject_of(db: Database, member_id) -> str:
    from sqlmodel import select

    from app.members.models import MemberSignIn

    async with db.read() as connection:
        statement = select(MemberSignIn.subject).where(MemberSignIn.member_id == member_id)
        return (await connection.execute(statement)).scalar_one()


async def test_who_is_known_is_remembered_for_half_a_minute(db: Database):
    member = await make_member(db, locale="zh-CN")
    subject, sign_ins = await subject_of(db, member), SignIns(db)

    async def ask(now):
        return await sign_ins.viewer(
            issuer=ISSUER, subject=subject, acting_for=None, expires_at=NOON, now=now
        )

    with StatementCount(db) as sent:
        for _ in range(5):
            assert (await ask(NOON)).locale == "zh-CN"
        assert len(sent) == 1
        await ask(NOON + REMEMBERED_FOR)
        assert len(sent) == 2


async def test_an_unknown_subject_is_nobody(db: Database):
    sign_ins = SignIns(db)
    found = await sign_ins.viewer(
        issuer=ISSUER, subject="member:nobody", acting_for=None, expires_at=NOON, now=NOON
    )
    assert found == STRANGER


async def test_another_issuers_same_subject_is_nobody(db: Database):
    member = await make_member(db)
    found = await SignIns(db).viewer(
        issuer="https://other.test",
        subject=await subject_of(db, member),
        acting_for=None,
        expires_at=NOON,
        now=NOON,
    )
    assert found == STRANGER


async def test_a_health_manager_sees_assigned_members_and_each_read_is_audited(db: Database):
    manager, mine, other = await make_staff(db), await make_member(db), await make_member(db)
    await assign(db, manager, mine)
    query = "query ($id: ID!) { member(id: $id) { id displayName } node(id: $id) { id } }"

    async def ask(member):
        return await execute(
            query, {"id": encode(Kind.MEMBER, member)}, context=as_staff(db, manager)
        )

    assert (await ask(mine))["member"]["displayName"] == "王芳"
    assert (await counts(db))["audit_reads"] == 1
    assert await ask(other) == {"member": None, "node": None}
    assert (await counts(db))["audit_reads"] == 1
