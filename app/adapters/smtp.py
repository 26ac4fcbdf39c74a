"""E-mail by SMTP: smtplib in a thread, one connection and one message an attempt.

A refusal of the recipient is told apart from one of the message, and an answer that did not
come after the message was handed over is UNKNOWN: it is not sent a second time.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Self

from app.adapters.push import PushMessage, PushOutcome, PushResult
from app.adapters.smtp_attempt import Attempt, Server
from app.config import Settings

__all__ = ["Server", "SmtpProvider"]

TIMEOUT_SECONDS = 10.0
"""Of each step; ATTEMPT_SECONDS of all of them, also when a server says a byte now and then. Whoever
opts out waits for it, in a request that takes 30 s at most."""
ATTEMPT_SECONDS = 20.0
CONCURRENCY = 8
# Not every server takes 8 bits (RFC 6152).
WIRE = SMTP.clone(cte_type="7bit")


class SmtpProvider:
    services = ("EMAIL",)

    def __init__(
        self,
        server: Server,
        *,
        sender: str,
        return_path: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        attempt_seconds: float = ATTEMPT_SECONDS,
        tls_context: ssl.SSLContext | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._server = server
        self._sender = sender
        self._address = sender.rpartition("<")[2].strip(">")
        self._return_path = return_path
        self._timeout = timeout_seconds
        self._attempt_seconds = attempt_seconds
        self._wall_clock = wall_clock
        self._tls = tls_context or ssl.create_default_context()
        self._slots = asyncio.Semaphore(CONCURRENCY)
        # Its own: a server that hangs must not keep everybody else's threads.
        self._threads = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="smtp")

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        assert settings.smtp_url is not None and settings.smtp_from is not None
        server = Server.parse(settings.smtp_url.get_secret_value())
        return cls(server, sender=settings.smtp_from, return_path=settings.smtp_return_path)

    async def send(self, message: PushMessage) -> PushResult:
        try:
            mail = self._mail(message)
        except ValueError:
            # A line break in an address would be a header of somebody else's.
            return PushResult(PushOutcome.REJECTED, code="ADDRESS_INVALID")
        attempt = Attempt(self._server, timeout_seconds=self._timeout, tls=self._tls)
        async with self._slots:
            delivering = asyncio.get_running_loop().run_in_executor(
                self._threads, attempt.deliver, self._returns_to(message), message.token, mail
            )
            try:
                await asyncio.wait({delivering}, timeout=self._attempt_seconds)
            finally:
                # Also when nobody waits for it any more: what is recorded as left must be.
                may_arrive = not delivering.done() and attempt.abort()
        if delivering.done():
            return delivering.result()
        outcome = PushOutcome.UNKNOWN if may_arrive else PushOutcome.RETRY
        return PushResult(outcome, code="TIMEOUT")

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _returns_to(self, message: PushMessage) -> str:
        """The envelope sender: with the message in it, so that what comes back months later and
        from whatever server says which one it was (VERP)."""
        if self._return_path is None:
            return self._address
        name, _, domain = self._return_path.partition("@")
        return f"{name}+{message.collapse_key}@{domain}"

    def _mail(self, message: PushMessage) -> bytes:
        mail = EmailMessage(policy=WIRE)
        mail["From"] = self._sender
        mail["To"] = message.token
        mail["Subject"] = " ".join(message.title.split())
        mail["Date"] = format_datetime(datetime.fromtimestamp(self._wall_clock(), UTC))
        # Of the message, so that a server that gets it twice can tell.
        mail["Message-ID"] = (
            f"<{message.collapse_key}@{self._sender.rpartition('@')[2].strip('>')}>"
        )
        if message.unsubscribe is not None and message.unsubscribe.startswith("https://"):
            # RFC 8058, which asks for https.
            mail["List-Unsubscribe"] = f"<{message.unsubscribe}>"
            mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.body)
        return mail.as_bytes()
