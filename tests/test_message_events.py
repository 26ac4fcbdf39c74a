"""What becomes of SMS and e-mails, told over real HTTP: signed, once, about ours only."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from starlette.routing import Route

from app.adapters.senders import Senders
from app.adapters.smtp import Server, SmtpProvider
from app.config import Settings
from app.db import Database
from app.errors import ConfigurationError
from app.events import Events
from app.jobs import queue
from app.message_events import BODY_BYTES_MAX, MessageEvents, read_secrets
from app.nudges import outbox, queued
from app.nudges.gate import Channel, Topic
from app.nudges.receipts import SOFT_BOUNCES_MAX
from tests.factories import NOON, consent, contents, make_member
from tests.nudges import rows, run
from tests.phones import Phone
from tests.small_site import running_routes
from tests.sms_gateway import SmsGateway, running_gateway
from tests.smtp_server import SmtpServer, running_smtp
from tests.test_one_gate import tell
from tests.toy_server import Toy

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
PHONE, EMAIL = "+8613900000000", "li@example.com"
RECORDED, KNOWN, IGNORED = ((200, {"status": it}) for it in ("recorded", "known", "ignored"))


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    secrets = {"sms": [SECRET], "email": [SECRET]}
    return Settings(data_dir=tmp_path, database_url=database_url, message_secrets=secrets)


@pytest.fixture
def site(settings: Settings, database_url: str) -> Iterator[Toy]:
    def routes(db: Database) -> list[Route]:
        secrets = read_secrets(settings)
        return MessageEvents(db, secrets, now=lambda: NOON, timeout_seconds=30).routes()

    with running_routes(database_url, routes) as running:
        yield running


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
    mail = SmtpProvider(
        at, sender="Wellward <hi@wellward.example>", return_path="bounces@mail.wellward.example"
    )
    both = Senders([gateway.provider(), mail])
    yield both
    await both.close()


async def told(
    site: Toy | Phone,
    channel: str,
    event: Any,
    *,
    key: bytes = KEY,
    at: datetime = NOON,
    raw: bytes | None = None,
) -> tuple[int, Any]:
    body = json.dumps(event).encode() if raw is None else raw
    stamp = str(int(at.timestamp()))
    digest = hmac.digest(key, f"msg_1.{stamp}.".encode() + body, hashlib.sha256)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
    async with httpx.AsyncClient(timeout=30) as client:
        url = f"{site.base}/messages/{channel}/events"
        answer = await client.post(url, content=body, headers=headers)
    return answer.status_code, answer.json()


async def send(
    db: Database,
    settings: Settings,
    provider: Any,
    *members: UUID,
    now: datetime = NOON,
    **options: Any,
) -> None:
    await tell(db, *members, now=now, **options)
    context = queue.JobContext(db, lambda: now, Events("postgresql://unused"), provider, settings)
    await queue.run_due(db, context, [queued.DISPATCH_JOB])


async def states(db: Database) -> list[tuple[Any, ...]]:
    found = await rows(db, "SELECT channel, state, reason, awaits_receipt FROM push_deliveries")
    return sorted(found, key=str)


async def counts(db: Database) -> Mapping[tuple[str, str], int]:
    async with db.read() as connection:
        return await outbox.push_counts(connection, now=NOON)


async def dead(db: Database) -> list[tuple[Any, ...]]:
    return await rows(db, "SELECT phone_dead_at, email_dead_at FROM members")


async def topics(db: Database) -> list[Any]:
    return [it for (it,) in await rows(db, "SELECT topics FROM notification_preferences")]


async def somebody(db: Database, **options: Any) -> UUID:
    return await make_member(db, phone=PHONE, email=EMAIL, **options)


SMS: dict[str, Any] = {"channels": (Channel.SMS,)}
MAIL: dict[str, Any] = {"channels": (Channel.EMAIL,)}


# SMS


async def test_an_sms_has_arrived_when_the_gateway_says_so(
    db: Database, settings: Settings, site: Toy, provider: Senders, gateway: SmsGateway
) -> None:
    await send(db, settings, provider, await somebody(db), **SMS)
    assert await states(db) == [("SMS", "SENT", None, True)]
    assert await counts(db) == {("sms", "awaited"): 1}
    event = {"type": "sms.delivered", "reference": gateway.taken[0]["reference"]}
    answers = await asyncio.gather(*(told(site, "sms", event) for _ in range(8)))
    assert sorted(answers, key=str) == [KNOWN] * 7 + [RECORDED]
    assert await states(db) == [("SMS", "SENT", "ARRIVED", False)]
    late = await told(site, "sms", {**event, "type": "sms.failed", "permanent": True})
    assert late == KNOWN, "what a phone has got it keeps"
    assert await dead(db) == [(None, None)]


@pytest.mark.parametrize("is_permanent", [False, True])
async def test_an_sms_that_failed_was_not_delivered(
    db: Database,
    settings: Settings,
    site: Toy,
    provider: Senders,
    gateway: SmsGateway,
    is_permanent: bool,
) -> None:
    await send(db, settings, provider, await somebody(db), **SMS)
    reference = gateway.taken[0]["reference"]
    event = {"type": "sms.failed", "reference": reference, "permanent": is_permanent}
    assert [await told(site, "sms", event) for _ in range(2)] == [RECORDED, KNOWN]
    reason = "NUMBER_GONE" if is_permanent else "UNDELIVERED"
    assert await states(db) == [("SMS", "FAILED", reason, False)]
    assert await dead(db) == [(NOON if is_permanent else None, None)]
    assert await told(site, "sms", {**event, "type": "sms.delivered"}) == KNOWN


async def test_a_receipt_ends_what_was_unknown_and_waits_for_what_is_on_its_way(
    db: Database, settings: Settings, site: Toy, provider: Senders, gateway: SmsGateway
) -> None:
    await send(db, settings, provider, await somebody(db), **SMS)
    event = {"type": "sms.delivered", "reference": gateway.taken[0]["reference"]}
    await run(db, "UPDATE push_deliveries SET state = 'ATTEMPTING', awaits_receipt = false")
    status, body = await told(site, "sms", event)
    assert (status, body["errors"][0]["extensions"]["code"]) == (503, "TOO_EARLY")
    await run(db, "UPDATE push_deliveries SET state = 'UNKNOWN', reason = 'WORKER_LOST'")
    assert await told(site, "sms", event) == RECORDED
    assert await states(db) == [("SMS", "SENT", "ARRIVED", False)]


@pytest.mark.parametrize("text", ["R", "【退订】"])
async def test_an_answer_refuses_advertising_by_sms(
    db: Database,
    settings: Settings,
    site: Toy,
    provider: Senders,
    gateway: SmsGateway,
    text: str,
) -> None:
    member = await somebody(db, locale="zh-CN")
    async with db.transaction() as session:
        session.add(consent(member, "MARKETING", "GRANTED"))
    await send(db, settings, provider, member, topic=Topic.MARKETING, cause="1", **SMS)
    assert gateway.taken[0]["text"].endswith("拒收请回复R")
    event = {"type": "sms.received", "from": PHONE, "text": text}
    answers = await asyncio.gather(*(told(site, "sms", event) for _ in range(8)))
    assert sorted(answers, key=str) == [KNOWN] * 7 + [RECORDED]
    assert await topics(db) == [{"MARKETING": ["IN_APP", "EMAIL"]}]
    await send(db, settings, provider, member, topic=Topic.MARKETING, cause="2", **SMS)
    await send(db, settings, provider, member, cause="3", **SMS)
    assert len(gateway.taken) == 2, "other topics go on"


async def test_what_is_no_refusal_or_nobodys_changes_nothing(db: Database, site: Toy) -> None:
    await somebody(db)
    await somebody(db)
    before = await contents(db)
    for event in (
        {"from": PHONE, "text": "谢谢"},
        {"from": PHONE, "text": "R" * 50},
        {"from": "+8613911111111", "text": "R"},
    ):
        assert await told(site, "sms", {"type": "sms.received", **event}) == IGNORED
    assert await contents(db) == before
    # Two have this number.
    assert await told(site, "sms", {"type": "sms.received", "from": PHONE, "text": "R"}) == RECORDED
    assert len(await topics(db)) == 2


# E-mail


async def test_an_address_to_which_nobody_belongs_is_dead(
    db: Database, settings: Settings, site: Toy, provider: Senders, mail_server: SmtpServer
) -> None:
    await send(db, settings, provider, await somebody(db), **MAIL)
    ((returns_to, _, _),) = mail_server.mails
    [(message,)] = await rows(db, "SELECT id FROM messages")
    assert returns_to == f"bounces+{message.hex}@mail.wellward.example"
    event = {"type": "email.bounced", "reference": returns_to, "permanent": True}
    answers = await asyncio.gather(*(told(site, "email", event) for _ in range(8)))
    assert sorted(answers, key=str) == [KNOWN] * 7 + [RECORDED]
    assert await states(db) == [("EMAIL", "FAILED", "HARD_BOUNCE", False)]
    assert await counts(db) == {("email", "bounced"): 1}
    assert await dead(db) == [(None, NOON)]


async def test_each_form_of_a_reference(
    db: Database, settings: Settings, site: Toy, provider: Senders
) -> None:
    for form in ("{}", "<{}@wellward.example>", "bounces+{}@mail.example"):
        await send(db, settings, provider, await somebody(db), **MAIL)
        [(message,)] = await rows(db, "SELECT message_id FROM push_deliveries WHERE state = 'SENT'")
        event = {"type": "email.bounced", "reference": form.format(message.hex)}
        assert await told(site, "email", event) == RECORDED
    assert await states(db) == [("EMAIL", "FAILED", "SOFT_BOUNCE", False)] * 3


async def test_a_bounce_of_an_old_address_leaves_the_new_one(
    db: Database, settings: Settings, site: Toy, provider: Senders
) -> None:
    await send(db, settings, provider, await somebody(db), **MAIL)
    [(message,)] = await rows(db, "SELECT id FROM messages")
    later = NOON + timedelta(minutes=5)
    await run(db, "UPDATE members SET email = 'new@a.example', email_verified_at = :at", at=later)
    event = {"type": "email.bounced", "reference": message.hex, "permanent": True}
    assert await told(site, "email", event) == RECORDED
    assert await dead(db) == [(None, None)]


async def test_an_address_dies_of_bounces_in_a_row_only(
    db: Database, settings: Settings, site: Toy, provider: Senders
) -> None:
    member = await somebody(db)

    async def tell_again(number: int) -> str:
        await run(db, "DELETE FROM message_counts")
        now = NOON + timedelta(minutes=number)
        await send(db, settings, provider, member, cause=str(number), now=now, **MAIL)
        [(newest,)] = await rows(db, "SELECT id FROM messages ORDER BY id DESC LIMIT 1")
        return str(newest.hex)

    for number in range(2 * SOFT_BOUNCES_MAX):
        assert await dead(db) == [(None, None)]
        reference = await tell_again(number)
        if number != SOFT_BOUNCES_MAX - 1:  # which arrives
            event = {"type": "email.bounced", "reference": reference}
            assert await told(site, "email", event) == RECORDED
    assert await dead(db) == [(None, NOON)]


async def test_a_complaint_ends_advertising_and_what_it_is_about(
    db: Database, settings: Settings, site: Toy, provider: Senders
) -> None:
    await send(db, settings, provider, await somebody(db), topic=Topic.EDUCATION, **MAIL)
    [(message,)] = await rows(db, "SELECT id FROM messages")
    event = {"type": "email.complained", "reference": message.hex}
    answers = await asyncio.gather(*(told(site, "email", event) for _ in range(8)))
    assert sorted(answers, key=str) == [KNOWN] * 7 + [RECORDED]
    kept = ["IN_APP", "SMS"]
    assert await topics(db) == [{"MARKETING": kept, "EDUCATION": kept}]
    assert await states(db) == [("EMAIL", "SENT", None, False)]


# What is not theirs


async def test_what_is_not_signed_or_no_event_moves_nothing(
    db: Database, settings: Settings, site: Toy, provider: Senders
) -> None:
    await send(db, settings, provider, await somebody(db), **MAIL)
    [(message,)] = await rows(db, "SELECT id FROM messages")
    good = {"type": "email.bounced", "reference": message.hex, "permanent": True}
    before = await contents(db)
    for channel, event, given, status in (
        ("email", good, {"key": b"x" * 32}, 401),
        ("email", good, {"at": NOON - timedelta(minutes=6)}, 401),
        ("email", good, {"at": NOON + timedelta(minutes=6)}, 401),
        ("fax", good, {}, 404),
        ("sms", good, {}, 400),
        ("email", {**good, "type": "email.read"}, {}, 400),
        ("email", {**good, "reference": None}, {}, 400),
        ("email", {**good, "permanent": "perhaps"}, {}, 400),
        ("sms", {"type": "sms.received", "from": "139", "text": "R"}, {}, 400),
        ("sms", {"type": "sms.received", "from": PHONE}, {}, 400),
        ("email", [], {}, 400),
        ("email", None, {"raw": b"{"}, 400),
        ("email", None, {"raw": b" " * (BODY_BYTES_MAX + 1)}, 413),
        # Of another system, of another channel, made up: all the same, and not told again.
        ("email", {**good, "reference": uuid4().hex}, {}, 200),
        ("email", {**good, "reference": "bounces+nothing@mail.example"}, {}, 200),
        ("sms", {"type": "sms.failed", "reference": message.hex}, {}, 200),
    ):
        answer = await told(site, channel, event, **given)
        assert answer[0] == status and (status != 200 or answer == IGNORED), (event, answer)
    assert await contents(db) == before


@pytest.mark.parametrize(
    "secrets", [{"fax": [SECRET]}, {"sms": []}, {"sms": [SECRET] * 3}, {"email": ["x"]}]
)
def test_secrets_that_cannot_be_are_refused_unsaid(secrets: Any, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, message_secrets=secrets)
    with pytest.raises(ConfigurationError, match="WELLWARD_MESSAGE_SECRETS") as refused:
        read_secrets(settings)
    assert SECRET not in str(refused.value)
