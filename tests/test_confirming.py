"""Codes that confirm a number or address: over real SMTP and HTTP, once, few, and not for long."""

import asyncio
import email
import email.policy
import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from app.adapters.push import PushMessage, PushOutcome, PushResult
from app.adapters.senders import Senders
from app.adapters.smtp import Server, SmtpProvider
from app.config import Settings
from app.db import Database
from app.events import Events
from app.graphql.ids import Kind, encode
from app.jobs import queue
from app.members import confirming, contact_codes
from app.members.confirming import ATTEMPTS_MAX, OF_ADDRESS_MAX, OF_MEMBER_MAX
from app.nudges.gate import Channel
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    contents,
    execute,
    make_member,
    make_staff,
)
from tests.factories import operation as document_of
from tests.nudges import rows, run
from tests.sms_gateway import SmsGateway, running_gateway
from tests.smtp_server import SmtpServer, running_smtp
from tests.test_one_gate import Recorder, tell
from tests.test_one_gate import dispatch as send_messages

PHONE, EMAIL = "+8613800000000", "fang@example.com"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def gateway() -> Iterator[SmsGateway]:
    with running_gateway() as running:
        yield running


@pytest.fixture
def mail_server() -> Iterator[SmtpServer]:
    with running_smtp() as running:
        yield running


@pytest_asyncio.fixture
async def provider(gateway: SmsGateway, mail_server: SmtpServer) -> AsyncIterator[Senders]:
    at = Server("127.0.0.1", mail_server.port, "off")
    both = Senders([gateway.provider(), SmtpProvider(at, sender="hi@wellward.example")])
    yield both
    await both.close()


async def send(db: Database, provider: Any, *, now: datetime = NOON) -> None:
    """What a worker does."""
    context = queue.JobContext(db, lambda: now, Events("postgresql://unused"), provider, Settings())
    await queue.run_due(db, context, [confirming.SEND_JOB])


async def ask(operation: str, context: Any, **values: Any) -> dict[str, Any]:
    values = {"requestId": str(uuid4()), **values}
    found = await execute(document_of(operation), {"input": values}, context=context)
    answer: dict[str, Any] = found[operation[0].lower() + operation[1:]]
    return answer


async def verify(
    db: Database, member: UUID, code: str, *, now: datetime = NOON, **values: Any
) -> dict[str, Any]:
    values = {"contact": "PHONE", "code": code, **values}
    return await ask("VerifyContact", as_member(db, member, now=now), **values)


async def request(db: Database, member: UUID, *, now: datetime, **values: Any) -> dict[str, Any]:
    context = as_member(db, member, now=now)
    return await ask("RequestContactCode", context, **{"contact": "PHONE", **values})


async def set_phone(db: Database, member: UUID, phone: str = PHONE, **options: Any) -> None:
    assert "member" in await ask("SetContact", as_member(db, member, **options), phone=phone)


def code_in(text: str) -> str:
    (found,) = re.findall(r"\b[0-9]{6}\b", text)
    return str(found)


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 10**6:06d}"


async def verified(db: Database) -> list[tuple[Any, ...]]:
    return await rows(db, "SELECT phone_verified_at, email_verified_at FROM members")


async def test_both_are_confirmed_by_what_was_sent_there(
    db: Database, provider: Senders, gateway: SmsGateway, mail_server: SmtpServer
) -> None:
    member = await make_member(db, locale="zh-CN")
    await ask("SetContact", as_member(db, member), phone=PHONE, email=EMAIL)
    with capture_logs() as logged:
        await send(db, provider)
    (sms,), ((_, recipient, raw),) = gateway.taken, mail_server.mails
    assert (sms["to"], recipient) == (PHONE, EMAIL) and "验证码" in sms["text"]
    mail = email.message_from_bytes(raw, policy=email.policy.default).get_content()
    codes = {"PHONE": code_in(sms["text"]), "EMAIL": code_in(mail)}
    kept = str([await rows(db, "SELECT payload FROM pgqueuer"), logged])
    for secret in (*codes.values(), PHONE, EMAIL):
        assert secret not in kept

    answer = await verify(db, member, codes["PHONE"])
    assert answer["member"]["unverifiedContacts"] == ["EMAIL"]
    other = await verify(db, member, codes["EMAIL"], contact="EMAIL")
    assert other["member"] == {
        "id": encode(Kind.MEMBER, member),
        "phone": PHONE,
        "email": EMAIL,
        "unverifiedContacts": [],
        "deadContacts": [],
    }
    assert await verified(db) == [(NOON, NOON)]


async def test_nothing_else_goes_there_before(
    db: Database, provider: Senders, gateway: SmsGateway
) -> None:
    member = await make_member(db, phone=PHONE)
    await tell(db, member, channels=(Channel.SMS,), cause="queued while it was confirmed")
    await set_phone(db, member, "+8613811111111")
    await tell(db, member, channels=(Channel.SMS,), cause="later")
    await send_messages(db, provider)
    assert gateway.taken == []
    await send(db, provider)
    ((only),) = gateway.taken
    assert only["to"] == "+8613811111111"
    await verify(db, member, code_in(only["text"]))
    await tell(db, member, channels=(Channel.SMS,), cause="at last")
    await send_messages(db, provider)
    assert len(gateway.taken) == 2


async def test_the_same_code_eight_times_at_once_confirms_once(db: Database) -> None:
    member, recorder, same = await make_member(db), Recorder(), str(uuid4())
    await set_phone(db, member)
    await send(db, recorder)
    code = code_in(recorder.sent[0].body)
    answers = await asyncio.gather(
        *(verify(db, member, code, requestId=same) for _ in range(4)),
        *(verify(db, member, code) for _ in range(4)),
    )
    assert sorted(it["replayed"] for it in answers) == [False] + [True] * 7
    assert (await verify(db, member, "000000", requestId=same))["code"] == "REQUEST_REUSED"
    assert await rows(db, "SELECT attempts FROM contact_challenges") == [(0,)]


async def test_wrong_codes_are_few_and_rivals_count_each(db: Database) -> None:
    member, recorder = await make_member(db), Recorder()
    await set_phone(db, member)
    await send(db, recorder)
    code = code_in(recorder.sent[0].body)
    tries = (verify(db, member, wrong(code)) for _ in range(ATTEMPTS_MAX + 3))
    answers = await asyncio.gather(*tries)
    assert {(it["code"], it["field"]) for it in answers} == {("CODE_INVALID", "code")}
    right = await verify(db, member, code)
    assert right == answers[0], "used up looks as wrong does"
    assert await rows(db, "SELECT attempts FROM contact_challenges") == [(ATTEMPTS_MAX,)]
    assert await rows(db, "SELECT owner FROM requests WHERE operation = 'verifyContact'") == []
    assert await verified(db) == [(None, None)]


async def test_a_code_is_for_its_member_contact_address_and_time_only(db: Database) -> None:
    member, rival, recorder = await make_member(db), await make_member(db), Recorder()
    for one in (member, rival):
        await ask("SetContact", as_member(db, one), phone=PHONE, email=EMAIL)
    await send(db, recorder)
    sent = dict(
        await rows(
            db,
            "SELECT replace(id::text, '-', ''), member_id FROM contact_challenges"
            " WHERE contact = 'PHONE'",
        )
    )
    codes = {
        sent[it.collapse_key]: code_in(it.body) for it in recorder.sent if it.collapse_key in sent
    }
    code = codes[member]
    refused = [
        await verify(db, rival, code) if codes[rival] != code else None,
        await verify(db, member, code, contact="EMAIL"),
        await verify(db, member, code, now=NOON + confirming.CODE_FOR),
        await verify(db, member, f" {code}"),
        await verify(db, member, ""),
        await verify(db, member, "x" * 10_000),
    ]
    assert {it["code"] for it in refused if it} == {"CODE_INVALID"}
    await set_phone(db, member, "+8613811111111")
    assert (await verify(db, member, code))["code"] == "CODE_INVALID"
    await set_phone(db, rival)
    answer = await verify(db, rival, codes[rival])
    assert "member" in answer, "two may have the same number, and each confirms it"


async def test_codes_are_asked_for_once_a_minute_and_few_times_a_day(db: Database) -> None:
    member = await make_member(db)
    assert (await request(db, member, now=NOON))["code"] == "STATE_INVALID"
    await set_phone(db, member)
    before = await contents(db)
    soon = await request(db, member, now=NOON + timedelta(seconds=59))
    assert (soon["code"], soon["field"]) == ("LIMIT_REACHED", "contact")
    assert await contents(db) == before
    same = str(uuid4())
    for place in range(1, OF_MEMBER_MAX):
        rivals = (request(db, member, now=NOON + place * MINUTE) for _ in range(4))
        answers = await asyncio.gather(*rivals)
        assert sorted(it["__typename"] for it in answers) == [
            "RequestContactCodePayload",
            *["UserError"] * 3,
        ]
    late = NOON + timedelta(hours=20)
    assert (await request(db, member, now=late))["code"] == "LIMIT_REACHED"
    # Other numbers are no way around it, and can be set all the same.
    await set_phone(db, member, "+8613811111111", now=late)
    assert await rows(db, "SELECT count(*) FROM contact_challenges") == [(OF_MEMBER_MAX,)]
    tomorrow = NOON + timedelta(days=1, minutes=5)
    assert (await request(db, member, now=tomorrow, requestId=same))["replayed"] is False
    assert (await request(db, member, now=tomorrow, requestId=same))["replayed"] is True


async def test_nobody_is_pestered_by_codes_that_others_ask_for(db: Database) -> None:
    members = [await make_member(db) for _ in range(OF_ADDRESS_MAX + 2)]
    await asyncio.gather(*(set_phone(db, it) for it in members))
    assert await rows(db, "SELECT count(*) FROM contact_challenges") == [(OF_ADDRESS_MAX,)]


async def test_only_the_newest_code_counts_and_it_is_sent_once(db: Database) -> None:
    member, recorder = await make_member(db), Recorder()
    await set_phone(db, member)
    await request(db, member, now=NOON + MINUTE)
    await send(db, recorder, now=NOON + MINUTE)
    (only,) = recorder.sent
    [(challenge, _)] = await rows(
        db, "SELECT id, code_hash FROM contact_challenges WHERE code_hash IS NOT NULL"
    )
    payload = {"member": str(member), "challenge": str(challenge)}
    context = queue.JobContext(
        db, lambda: NOON + MINUTE, Events("postgresql://unused"), recorder, Settings()
    )
    await contact_codes.send_code(context, payload)
    assert len(recorder.sent) == 1, "a job that is run again"
    assert "member" in await verify(db, member, code_in(only.body), now=NOON + MINUTE)
    await verify(db, member, code_in(only.body), now=NOON + MINUTE)
    assert (await request(db, member, now=NOON + 5 * MINUTE))["code"] == "STATE_INVALID"


class Answers(Recorder):
    def __init__(self, *outcomes: PushOutcome) -> None:
        super().__init__()
        self.outcomes = list(outcomes)

    async def send(self, message: PushMessage) -> PushResult:
        self.sent.append(message)
        return PushResult(self.outcomes.pop(0))


async def test_what_was_not_taken_is_sent_again_with_another_code(db: Database) -> None:
    member, later = await make_member(db), NOON + MINUTE
    provider = Answers(PushOutcome.RETRY, PushOutcome.SENT)
    await set_phone(db, member)
    with pytest.raises(contact_codes.CodeNotSent):
        await send(db, provider)
    assert (await verify(db, member, code_in(provider.sent[0].body)))["code"] == "CODE_INVALID"
    await run(db, "UPDATE pgqueuer SET execute_after = :now", now=NOON)
    await send(db, provider, now=later)
    assert "member" in await verify(db, member, code_in(provider.sent[1].body), now=later)
    assert await rows(db, "SELECT outcome FROM contact_challenges") == [("sent",)]


@pytest.mark.parametrize(
    ("outcome", "dead"), [(PushOutcome.TOKEN_GONE, NOON), (PushOutcome.REJECTED, None)]
)
async def test_a_number_that_nobody_has_is_dead(
    db: Database, outcome: PushOutcome, dead: datetime | None
) -> None:
    member = await make_member(db)
    await set_phone(db, member)
    await send(db, Answers(outcome))
    assert await rows(db, "SELECT phone_dead_at FROM members") == [(dead,)]
    assert await rows(db, "SELECT outcome FROM contact_challenges") == [(outcome.value,)]


async def test_a_dead_address_lives_again_once_it_is_confirmed(db: Database) -> None:
    member, recorder = await make_member(db, phone=PHONE), Recorder()
    await run(db, "UPDATE members SET phone_dead_at = :now", now=NOON)
    assert "member" in await request(db, member, now=NOON)
    await send(db, recorder)
    answer = await verify(db, member, code_in(recorder.sent[0].body))
    assert answer["member"]["deadContacts"] == []


async def test_without_a_provider_nothing_is_sent_and_it_is_said(db: Database) -> None:
    await set_phone(db, await make_member(db))
    with capture_logs() as logged:
        await send(db, None)
    assert [it["event"] for it in logged] == ["contact_code_no_provider"]
    assert await rows(db, "SELECT outcome FROM contact_challenges") == [("no_provider",)]


async def test_employees_confirm_for_those_whom_they_look_after(db: Database) -> None:
    mine, other, manager = await make_member(db), await make_member(db), await make_staff(db)
    await assign(db, manager, mine)
    context, recorder = as_staff(db, manager), Recorder()
    await ask("SetContact", as_staff(db, manager), memberId=encode(Kind.MEMBER, mine), phone=PHONE)
    await send(db, recorder)
    given = {"contact": "PHONE", "code": code_in(recorder.sent[0].body)}
    answer = await ask("VerifyContact", context, memberId=encode(Kind.MEMBER, mine), **given)
    assert answer["member"]["unverifiedContacts"] == []
    for operation in ("VerifyContact", "RequestContactCode"):
        values = given if operation == "VerifyContact" else {"contact": "PHONE"}
        refused = await ask(operation, context, memberId=encode(Kind.MEMBER, other), **values)
        assert (refused["code"], refused["field"]) == ("NOT_FOUND", "memberId")


async def test_codes_are_forgotten(db: Database) -> None:
    await set_phone(db, await make_member(db))
    for days, left in ((29, 1), (31, 0)):
        async with db.transaction() as session:
            await confirming.prune(session, now=NOON + timedelta(days=days))
        assert await rows(db, "SELECT count(*) FROM contact_challenges") == [(left,)]


async def test_a_job_that_runs_eight_times_at_once_sends_one_code(db: Database) -> None:
    member = await make_member(db)
    await set_phone(db, member)
    ((challenge,),) = await rows(db, "SELECT id FROM contact_challenges")
    payload = {"member": str(member), "challenge": str(challenge)}
    provider = Recorder()
    context = queue.JobContext(
        db, lambda: NOON, Events("postgresql://unused"), provider, Settings()
    )
    # Connections first, so that all look before any has written.
    await asyncio.gather(*(run(db, "SELECT pg_sleep(0.05)") for _ in range(8)))
    await asyncio.gather(*(contact_codes.send_code(context, payload) for _ in range(8)))
    (sent,) = provider.sent
    assert "member" in await verify(db, member, code_in(sent.body))
