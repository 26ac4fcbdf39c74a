"""Providers that answer badly, late, twice or not at all: nothing is sent a second time, and no
address is given up, because of it."""

import asyncio
import email
import email.policy
import threading
from collections.abc import Mapping
from datetime import timedelta

import pytest

from app.adapters import sms
from app.adapters.posting import RETRY_AFTER_MAX, retry_after
from app.adapters.push import PushOutcome, PushResult
from app.adapters.smtp import CONCURRENCY, Server, SmtpProvider
from app.errors import ConfigurationError
from tests.factories import NOON
from tests.job_worker import eventually
from tests.smtp_server import Session, running_smtp
from tests.test_senders import mailer, message

# E-mail, stage by stage


@pytest.mark.parametrize(
    ("answers", "outcome", "code", "arrived"),
    [
        ({"QUIT": "421 too many connections"}, PushOutcome.SENT, None, 1),
        ({"QUIT": "500 what"}, PushOutcome.SENT, None, 1),
        ({"QUIT": "no number"}, PushOutcome.SENT, None, 1),
        ({"MESSAGE": "251 queued"}, PushOutcome.SENT, None, 1),
        ({"MESSAGE": "no number"}, PushOutcome.UNKNOWN, "SMTP_UNREADABLE", 1),
        ({"MESSAGE": "250 " + "x" * 9000}, PushOutcome.UNKNOWN, "SMTP_UNREADABLE", 1),
        ({"MESSAGE": "451 disk"}, PushOutcome.RETRY, "SMTP_451", 1),
        ({"MESSAGE": "421 closing"}, PushOutcome.RETRY, "SMTP_421", 1),
        ({"MESSAGE": "552 too big"}, PushOutcome.REJECTED, "SMTP_552", 1),
        ({"DATA": "451 not now"}, PushOutcome.RETRY, "SMTP_451", 0),
        ({"DATA": "554 no"}, PushOutcome.REJECTED, "SMTP_554", 0),
        ({"DATA": "250 odd"}, PushOutcome.RETRY, "SMTP_250", 0),
        ({"RCPT": "550 5.1.1 no such user"}, PushOutcome.TOKEN_GONE, "SMTP_550", 0),
        ({"RCPT": "550 5.2.1 disabled"}, PushOutcome.TOKEN_GONE, "SMTP_550", 0),
        ({"RCPT": "550 5.7.1 your address is blocked"}, PushOutcome.REJECTED, "SMTP_550", 0),
        ({"RCPT": "550 5.2.2 over quota"}, PushOutcome.REJECTED, "SMTP_550", 0),
        ({"RCPT": "554 5.7.1 relay"}, PushOutcome.REJECTED, "SMTP_554", 0),
        ({"RCPT": "550 no such user", "QUIT": "421 bye"}, PushOutcome.TOKEN_GONE, "SMTP_550", 0),
        ({"RCPT": "no number"}, PushOutcome.RETRY, "SMTP_UNREADABLE", 0),
        ({"MAIL": "550 5.7.1 you may not send as this"}, PushOutcome.UNAUTHORISED, "SMTP_550", 0),
        ({"MAIL": "452 later"}, PushOutcome.RETRY, "SMTP_452", 0),
        ({"CONNECT": "554 no service here"}, PushOutcome.UNAUTHORISED, "SMTP_554", 0),
        ({"CONNECT": "421 too busy"}, PushOutcome.RETRY, "SMTP_421", 0),
    ],
)
async def test_each_stage_of_a_mail_server(
    answers: Mapping[str, str], outcome: PushOutcome, code: str | None, arrived: int
) -> None:
    with running_smtp(answers=answers) as server:
        provider = mailer(server)
        result = await provider.send(message("li@example.com", service="EMAIL"))
        await provider.close()
    assert result == PushResult(outcome, code=code)
    assert len(server.mails) == arrived
    assert server.connections == 1


async def test_tls_that_is_refused_is_our_set_up() -> None:
    offered = "250-sandbox\n250 STARTTLS"
    for said in ("454 not available", "501 syntax", "554 no"):
        with running_smtp(answers={"EHLO": offered, "STARTTLS": said}) as server:
            provider = mailer(server, tls="starttls")
            result = await provider.send(message("li@example.com", service="EMAIL"))
            await provider.close()
        assert result == PushResult(PushOutcome.UNAUTHORISED, code=f"SMTP_{said[:3]}")


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [({"RCPT": ""}, PushOutcome.RETRY), ({"MESSAGE": ""}, PushOutcome.UNKNOWN)],
)
async def test_a_mail_server_that_hangs_is_left(
    answers: Mapping[str, str], outcome: PushOutcome
) -> None:
    """After the whole attempt's time, however long each step may take."""
    with running_smtp(answers=answers) as server:
        at = Server("127.0.0.1", server.port, "off")
        provider = SmtpProvider(at, sender="a@b.example", timeout_seconds=300, attempt_seconds=1)
        result = await provider.send(message("li@example.com", service="EMAIL"))
        assert result == PushResult(outcome, code="TIMEOUT")
        await provider.close()


async def test_who_is_not_waited_for_any_more_hands_nothing_over() -> None:
    """A member who opts out is told that nothing leaves: an attempt that was cut off must not go
    on in its thread."""
    reached, go_on = threading.Event(), threading.Event()

    with running_smtp() as server:

        class Held(Session):
            def do_RCPT(self, rest: str) -> bool:
                reached.set()
                go_on.wait(30)
                return bool(super().do_RCPT(rest))

        server.RequestHandlerClass = Held
        provider = mailer(server)
        sending = asyncio.create_task(provider.send(message("li@example.com", service="EMAIL")))
        await asyncio.to_thread(reached.wait, 30)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        go_on.set()
        await provider.close()
        await asyncio.to_thread(provider._threads.shutdown)
        assert server.mails == []


async def test_a_mail_server_that_hangs_keeps_nobody_elses_threads() -> None:
    with running_smtp(answers={"CONNECT": ""}) as server:
        at = Server("127.0.0.1", server.port, "off")
        provider = SmtpProvider(at, sender="a@b.example", timeout_seconds=300)
        sending = [
            asyncio.create_task(provider.send(message(f"m{it}@example.com", service="EMAIL")))
            for it in range(4 * CONCURRENCY)
        ]

        async def all_hang() -> bool:
            return server.connections == CONCURRENCY

        await eventually(all_hang)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 7), 30) == 7
        for it in sending:
            it.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        await provider.close()


async def test_what_a_mail_says_is_in_seven_bits_and_has_a_date() -> None:
    with running_smtp() as server:
        provider = mailer(server)
        long = "请在周一到镇卫生院参加免费体检。" * 100
        sent = message("li@example.com", service="EMAIL", title="体检\r\n提醒", body=long)
        assert (await provider.send(sent)).outcome is PushOutcome.SENT
        await provider.close()
    ((_, _, raw),) = server.mails
    assert raw.isascii() and max(map(len, raw.splitlines())) < 1000
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert mail["Subject"] == "体检 提醒"
    assert mail["Date"].datetime is not None
    assert mail.get_content().strip() == long


async def test_an_address_that_no_server_takes_is_refused_at_once() -> None:
    with running_smtp() as server:
        provider = mailer(server)
        for address in ("李@example.com", "a@例子.cn"):
            result = await provider.send(message(address, service="EMAIL"))
            assert result == PushResult(PushOutcome.REJECTED, code="ADDRESS_INVALID"), address
        await provider.close()
        assert server.mails == []


def test_a_port_that_is_none_is_told() -> None:
    for url in ("smtp://mail.example:99999", "smtp://mail.example:port", "smtp://[::1"):
        with pytest.raises(ConfigurationError):
            Server.parse(url)


# SMS


@pytest.mark.parametrize(
    ("status", "body", "outcome", "code"),
    [
        (200, '{"id": null}', PushOutcome.UNKNOWN, "HTTP_200"),
        (200, '{"id": null, "code": "NUMBER_INVALID"}', PushOutcome.TOKEN_GONE, "NUMBER_INVALID"),
        (200, '{"code": "TEXT_REFUSED"}', PushOutcome.REJECTED, "TEXT_REFUSED"),
        (200, '{"code": "QUOTA_EXCEEDED"}', PushOutcome.RETRY, "QUOTA_EXCEEDED"),
        (400, '{"code": "QUOTA_EXCEEDED"}', PushOutcome.RETRY, "QUOTA_EXCEEDED"),
        (200, '{"code": "UNAUTHORISED"}', PushOutcome.UNAUTHORISED, "UNAUTHORISED"),
        (200, '{"id": "7", "code": "OK"}', PushOutcome.SENT, None),
        (200, '{"id": ""}', PushOutcome.UNKNOWN, "HTTP_200"),
        (200, '{"id": "7"', PushOutcome.UNKNOWN, "HTTP_200"),
        (200, "<html>", PushOutcome.UNKNOWN, "HTTP_200"),
        (200, '{"id": {"n": 1}}', PushOutcome.UNKNOWN, "HTTP_200"),
        (200, "[" * 100_000, PushOutcome.UNKNOWN, "HTTP_200"),
        (400, '{"code": ["NUMBER_INVALID"]}', PushOutcome.REJECTED, "HTTP_400"),
        (500, '{"code": "NUMBER_INVALID"}', PushOutcome.UNKNOWN, "NUMBER_INVALID"),
    ],
)
def test_half_answers_of_an_sms_gateway(
    status: int, body: str, outcome: PushOutcome, code: str | None
) -> None:
    found = sms.interpret(status, {}, body.encode(), now=NOON)
    assert (found.outcome, found.code) == (outcome, code)


# Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("0", 0),
        ("-7", None),
        ("7.5", None),
        ("٧", None),
        ("9" * 400, RETRY_AFTER_MAX.total_seconds()),
        ("Mon, 02 Mar 2026 04:00:30 GMT", 30),
        ("Mon, 02 Mar 2026 03:00:00 GMT", 0),
        ("Mon, 02 Mar 2026 04:00:30 -0000", 30),
        ("Fri, 31 Dec 9999 23:59:59 -2359", RETRY_AFTER_MAX.total_seconds()),
        ("Sat, 01 Jan 0001 00:00:00 +2359", 0),
        ("Mon, 99 Mar 2026 04:00:30 GMT", None),
        ("Mon, 02 Mar 99999 04:00:30 GMT", None),
        ("Mon, 02 Mar 2026 04:00:30 +9999999999", None),
        ("Mon, 02 Mar 2026 99999999999999999999:00:30 GMT", None),
        ("soon", None),
        ("", None),
        (",", None),
        ("\x00", None),
    ],
)
def test_whatever_a_retry_after_says(value: str, seconds: float | None) -> None:
    found = retry_after(value, now=NOON)
    assert found == (None if seconds is None else timedelta(seconds=seconds))
