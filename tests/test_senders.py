"""JPush, e-mail and SMS: their protocols over real sockets, and every answer they know."""

import base64
import email
import email.policy
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from app.adapters import jpush, senders, sms
from app.adapters.jpush import JPushProvider
from app.adapters.jpush_sandbox import JPushSandbox, create_sandbox
from app.adapters.push import PushMessage, PushOutcome, PushResult, TokenBucket
from app.adapters.push_log import LogProvider
from app.adapters.sms import SmsProvider
from app.adapters.smtp import Server, SmtpProvider
from app.config import Settings
from app.errors import ConfigurationError
from tests.factories import NOON
from tests.fcm_server import serving
from tests.smtp_server import SmtpServer, running_smtp

KEY, SECRET = "7d431e42dfa6a6d693ac2d04", "5e987ac6d2e04d95a9d8f0d1"
FAST = TokenBucket(per_minute=600_000)


def message(token: str, *, service: str, **options: Any) -> PushMessage:
    return PushMessage(
        token=token,
        title=options.pop("title", "Wellward"),
        body=options.pop("body", "你有一条新消息"),
        data={},
        collapse_key="0197c2a1b2c37d4e8f90a1b2c3d4e5f6",
        message_id="m1",
        ttl=options.pop("ttl", timedelta(hours=1)),
        service=service,
    )


# JPush


class RunningJPush:
    def __init__(self, url: str, sandbox: JPushSandbox) -> None:
        self.url = url
        self.sandbox = sandbox

    def provider(self, **options: Any) -> JPushProvider:
        defaults: dict[str, Any] = {
            "app_key": KEY,
            "master_secret": SECRET,
            "base_url": self.url,
            "concurrency": 5,
            "bucket": FAST,
        }
        return JPushProvider(**(defaults | options))


@pytest.fixture
def jpush_server() -> Iterator[RunningJPush]:
    app = create_sandbox(KEY, SECRET)
    with serving(app) as url:
        yield RunningJPush(url, app.state.sandbox)


async def test_jpush_gets_what_its_documents_ask_for(jpush_server: RunningJPush) -> None:
    provider = jpush_server.provider(apns_production=False)
    result = await provider.send(message("ok:1", service="JPUSH", ttl=timedelta(days=30)))
    await provider.close()

    assert result == PushResult(PushOutcome.SENT, provider_message_id="1")
    (body,) = jpush_server.sandbox.pushes
    assert body["platform"] == ["android", "ios"]
    assert body["audience"] == {"registration_id": ["ok:1"]}
    assert body["notification"]["android"] == {
        "title": "Wellward",
        "alert": "你有一条新消息",
        "extras": {"messageId": "m1"},
    }
    assert body["notification"]["ios"]["alert"] == {"title": "Wellward", "body": "你有一条新消息"}
    assert body["options"] == {
        "time_to_live": 10 * 86_400,
        "apns_production": False,
        "apns_collapse_id": "0197c2a1b2c37d4e8f90a1b2c3d4e5f6",
    }


@pytest.mark.parametrize(
    ("prefix", "outcome", "code", "retry_after"),
    [
        ("gone", PushOutcome.TOKEN_GONE, "1011", None),
        ("invalid", PushOutcome.REJECTED, "1003", None),
        ("barred", PushOutcome.UNAUTHORISED, "2003", None),
        ("broken", PushOutcome.RETRY, "1000", None),
        ("quota", PushOutcome.RETRY, "2002", timedelta(seconds=7)),
        ("timeout", PushOutcome.UNKNOWN, "1030", None),
        ("html", PushOutcome.UNKNOWN, "HTTP_502", None),
        ("drop", PushOutcome.UNKNOWN, "CONNECTION", None),
    ],
)
async def test_each_answer_of_jpush_after_exactly_one_request(
    jpush_server: RunningJPush,
    prefix: str,
    outcome: PushOutcome,
    code: str,
    retry_after: timedelta | None,
) -> None:
    provider = jpush_server.provider()
    result = await provider.send(message(f"{prefix}:1", service="JPUSH"))
    await provider.close()

    assert result == PushResult(outcome, code=code, retry_after=retry_after)
    assert jpush_server.sandbox.requests == 1


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (1000, PushOutcome.RETRY),
        (1001, PushOutcome.UNAUTHORISED),
        (1002, PushOutcome.REJECTED),
        (1003, PushOutcome.REJECTED),
        (1004, PushOutcome.UNAUTHORISED),
        (1005, PushOutcome.REJECTED),
        (1008, PushOutcome.UNAUTHORISED),
        (1009, PushOutcome.REJECTED),
        (1011, PushOutcome.TOKEN_GONE),
        (1020, PushOutcome.UNAUTHORISED),
        (1030, PushOutcome.UNKNOWN),
        (2002, PushOutcome.RETRY),
        (2003, PushOutcome.UNAUTHORISED),
        (2004, PushOutcome.UNAUTHORISED),
        (2005, PushOutcome.UNAUTHORISED),
    ],
)
def test_every_code_of_jpush_has_a_meaning(number: int, outcome: PushOutcome) -> None:
    answer = json.dumps({"error": {"code": number, "message": "the token, perhaps"}}).encode()
    found = jpush.interpret(400, {}, answer, now=NOON)
    assert (found.outcome, found.code) == (outcome, str(number))
    assert jpush.interpret(200, {}, answer, now=NOON).outcome is outcome


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, PushOutcome.UNKNOWN),
        (302, PushOutcome.UNAUTHORISED),
        (400, PushOutcome.REJECTED),
        (401, PushOutcome.UNAUTHORISED),
        (410, PushOutcome.UNAUTHORISED),
        (429, PushOutcome.RETRY),
        (500, PushOutcome.UNKNOWN),
        (503, PushOutcome.RETRY),
        (504, PushOutcome.UNKNOWN),
    ],
)
def test_an_answer_that_is_not_of_jpush(status: int, outcome: PushOutcome) -> None:
    for answer in (b"<html>", b"[]", b'{"error": 1}', b'{"error": {"code": 9999}}'):
        found = jpush.interpret(status, {}, answer, now=NOON)
        assert (found.outcome, found.code) == (outcome, f"HTTP_{status}")
    if status == 429:
        assert found.retry_after == jpush.QUOTA_PAUSE


async def test_jpush_refuses_another_secret(jpush_server: RunningJPush) -> None:
    provider = jpush_server.provider(master_secret="wrong")
    result = await provider.send(message("ok:1", service="JPUSH"))
    await provider.close()
    assert result == PushResult(PushOutcome.UNAUTHORISED, code="1004")
    assert jpush_server.sandbox.pushes == []


async def test_nobody_listens() -> None:
    provider = JPushProvider(
        app_key=KEY, master_secret=SECRET, base_url="http://127.0.0.1:1", concurrency=1, bucket=FAST
    )
    assert await provider.send(message("ok:1", service="JPUSH")) == PushResult(
        PushOutcome.RETRY, code="CONNECTION"
    )
    await provider.close()


# E-mail


@pytest.fixture
def mail_server() -> Iterator[SmtpServer]:
    with running_smtp() as server:
        yield server


def mailer(server: SmtpServer, **options: Any) -> SmtpProvider:
    at = Server("127.0.0.1", server.port, options.pop("tls", "off"), **options)
    return SmtpProvider(at, sender="Wellward <no-reply@wellward.example>", timeout_seconds=10)


async def test_an_e_mail_arrives_as_it_was_written(mail_server: SmtpServer) -> None:
    result = await mailer(mail_server).send(
        message("li@example.com", service="EMAIL", title="体检提醒", body="你好。\n.点号开头的行")
    )

    assert result == PushResult(PushOutcome.SENT)
    ((sender, recipient, raw),) = mail_server.mails
    assert (sender, recipient) == ("no-reply@wellward.example", "li@example.com")
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert mail["Subject"] == "体检提醒"
    assert mail["To"] == "li@example.com"
    assert mail["Message-ID"] == "<0197c2a1b2c37d4e8f90a1b2c3d4e5f6@wellward.example>"
    assert mail.get_content().splitlines() == ["你好。", ".点号开头的行"]


@pytest.mark.parametrize(
    ("name", "outcome", "code", "arrived"),
    [
        ("nobody", PushOutcome.TOKEN_GONE, "SMTP_550", 0),
        ("full", PushOutcome.RETRY, "SMTP_452", 0),
        ("grey", PushOutcome.RETRY, "SMTP_451", 0),
        ("spam", PushOutcome.REJECTED, "SMTP_554", 0),
        ("cut", PushOutcome.UNKNOWN, "CONNECTION", 1),
        ("late", PushOutcome.UNKNOWN, "CONNECTION", 0),
    ],
)
async def test_each_answer_of_a_mail_server_after_exactly_one_attempt(
    mail_server: SmtpServer, name: str, outcome: PushOutcome, code: str, arrived: int
) -> None:
    result = await mailer(mail_server).send(message(f"{name}@example.com", service="EMAIL"))
    assert result == PushResult(outcome, code=code)
    assert len(mail_server.mails) == arrived
    assert mail_server.connections == 1


async def test_a_line_break_in_an_address_adds_no_header(mail_server: SmtpServer) -> None:
    result = await mailer(mail_server).send(
        message("a@example.com\r\nBcc: b@example.com", service="EMAIL")
    )
    assert result == PushResult(PushOutcome.REJECTED, code="ADDRESS_INVALID")
    assert mail_server.connections == 0


async def test_the_password_is_asked_for_and_a_wrong_one_is_our_set_up() -> None:
    plain = base64.b64encode(b"\0us\0secret")
    with running_smtp(password=plain) as server:
        right = mailer(server, user="us", password="secret")
        wrong = mailer(server, user="us", password="other")
        assert (await right.send(message("a@b.example", service="EMAIL"))).outcome == "sent"
        refused = await wrong.send(message("a@b.example", service="EMAIL"))
        nobody = await mailer(server).send(message("a@b.example", service="EMAIL"))
    assert refused == PushResult(PushOutcome.UNAUTHORISED, code="SMTP_535")
    assert nobody == PushResult(PushOutcome.UNAUTHORISED, code="SMTP_530")


async def test_without_tls_nothing_is_said(mail_server: SmtpServer) -> None:
    result = await mailer(mail_server, tls="starttls").send(message("a@b.example", service="EMAIL"))
    assert result == PushResult(PushOutcome.UNAUTHORISED, code="SMTP_UNSUPPORTED")
    assert mail_server.mails == []


def test_addresses_of_mail_servers() -> None:
    assert Server.parse("smtps://u%40b:p@mail.example") == Server(
        "mail.example", 465, "implicit", "u@b", "p"
    )
    assert Server.parse("smtp://mail.example") == Server("mail.example", 587, "starttls")
    assert Server.parse("smtp://mail.example:25?tls=off") == Server("mail.example", 25, "off")
    for wrong in ("http://mail.example", "smtp://", "smtp://mail.example?tls=maybe"):
        with pytest.raises(ConfigurationError):
            Server.parse(wrong)


# SMS


@pytest.mark.parametrize(
    ("status", "body", "outcome", "code"),
    [
        (202, {"id": 7}, PushOutcome.SENT, None),
        (409, {}, PushOutcome.SENT, None),
        (200, {}, PushOutcome.UNKNOWN, "HTTP_200"),
        (400, {"code": "NUMBER_INVALID"}, PushOutcome.TOKEN_GONE, "NUMBER_INVALID"),
        (422, {"code": "NUMBER_UNREACHABLE"}, PushOutcome.TOKEN_GONE, "NUMBER_UNREACHABLE"),
        (400, {"code": "TEXT_REFUSED"}, PushOutcome.REJECTED, "TEXT_REFUSED"),
        (400, {"code": "+86 139 is blocked"}, PushOutcome.REJECTED, "HTTP_400"),
        (401, {}, PushOutcome.UNAUTHORISED, "HTTP_401"),
        (429, {"code": "QUOTA_EXCEEDED"}, PushOutcome.RETRY, "QUOTA_EXCEEDED"),
        (500, {}, PushOutcome.UNKNOWN, "HTTP_500"),
        (503, {}, PushOutcome.RETRY, "HTTP_503"),
    ],
)
def test_each_answer_of_an_sms_gateway(
    status: int, body: dict[str, Any], outcome: PushOutcome, code: str | None
) -> None:
    found = sms.interpret(status, {"Retry-After": "9"}, json.dumps(body).encode(), now=NOON)
    assert (found.outcome, found.code) == (outcome, code)
    assert found.retry_after == (timedelta(seconds=9) if outcome == "retry" else None)


# Together


def test_what_is_configured_is_what_there_is() -> None:
    half = {"jpush_app_key": KEY}
    with pytest.raises((ConfigurationError, ValidationError)):
        Settings(**half)  # type: ignore[arg-type]


async def test_each_message_goes_by_its_service() -> None:
    settings = Settings(
        jpush_app_key=KEY,
        jpush_master_secret=SecretStr(SECRET),
        sms_url="http://127.0.0.1:1",
        sms_key=SecretStr("k"),
        smtp_url=SecretStr("smtp://127.0.0.1:1?tls=off"),
        smtp_from="a@b.example",
    )
    together = senders.from_settings(settings)
    assert together is not None
    assert set(together.services) == {"JPUSH", "SMS", "EMAIL"}
    for service in together.services:
        sent = await together.send(message("x@y.example", service=service))
        assert sent.outcome is PushOutcome.RETRY
    await together.close()

    alone = senders.from_settings(Settings())
    assert isinstance(alone, LogProvider)
    assert SmsProvider.services == ("SMS",)
