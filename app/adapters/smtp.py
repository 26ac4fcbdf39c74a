"""E-mail by SMTP: smtplib in a thread, one connection and one message an attempt.

A refusal of the recipient is told apart from one of the message, and an answer that did not
come after the message was handed over is UNKNOWN: it is not sent a second time.
"""

import asyncio
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from typing import Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from app.adapters.push import PushMessage, PushOutcome, PushResult
from app.config import Settings
from app.errors import ConfigurationError

TIMEOUT_SECONDS = 10.0
CONCURRENCY = 8
_NO_SUCH_RECIPIENT = (550, 551, 553)
"""RFC 5321, 4.2.3: no such mailbox, moved, name not allowed."""
_SET_UP = (454, 502, 503, 530, 534, 535, 538)

Tls = Literal["implicit", "starttls", "off"]


@dataclass(frozen=True, slots=True)
class Server:
    host: str
    port: int
    tls: Tls
    user: str | None = None
    password: str | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """From `smtps://user:password@host:465` (TLS from the first byte), or
        `smtp://host:587` (STARTTLS is required, unless `?tls=off`). Raises ConfigurationError.
        """
        parts = urlsplit(url)
        wanted = parse_qs(parts.query).get("tls", ["starttls"])[0]
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ConfigurationError("WELLWARD_SMTP_URL: use smtps://user:password@host:465")
        if wanted not in ("starttls", "off"):
            raise ConfigurationError(f"WELLWARD_SMTP_URL: tls={wanted!r}; use starttls or off")
        implicit = parts.scheme == "smtps"
        return cls(
            host=parts.hostname,
            port=parts.port or (465 if implicit else 587),
            tls="implicit" if implicit else ("off" if wanted == "off" else "starttls"),
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )


class SmtpProvider:
    name = "smtp"
    services = ("EMAIL",)

    def __init__(
        self,
        server: Server,
        *,
        sender: str,
        timeout_seconds: float = TIMEOUT_SECONDS,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self._server = server
        self._sender = sender
        self._timeout = timeout_seconds
        self._tls = tls_context or ssl.create_default_context()
        self._slots = asyncio.Semaphore(CONCURRENCY)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        assert settings.smtp_url is not None and settings.smtp_from is not None
        server = Server.parse(settings.smtp_url.get_secret_value())
        return cls(server, sender=settings.smtp_from)

    async def send(self, message: PushMessage) -> PushResult:
        try:
            mail = self._mail(message)
        except ValueError:
            # A line break in an address would be a header of somebody else's.
            return PushResult(PushOutcome.REJECTED, code="ADDRESS_INVALID")
        async with self._slots:
            return await asyncio.to_thread(self._deliver, message.token, mail)

    async def close(self) -> None:
        """Nothing stays open."""

    def _mail(self, message: PushMessage) -> bytes:
        mail = EmailMessage(policy=WIRE)
        mail["From"] = self._sender
        mail["To"] = message.token
        mail["Subject"] = message.title
        # Of the message, so that a server that gets it twice can tell.
        mail["Message-ID"] = (
            f"<{message.collapse_key}@{self._sender.rpartition('@')[2].strip('>')}>"
        )
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.body)
        return mail.as_bytes()

    def _deliver(self, recipient: str, mail: bytes) -> PushResult:
        handed_over = False
        try:
            with self._connect() as server:
                code, _ = server.mail(self._sender.rpartition("<")[2].strip(">"))
                if code != 250:
                    return _refused(code)
                code, _ = server.rcpt(recipient)
                if code not in (250, 251):
                    return _refused(code, of_recipient=True)
                handed_over = True
                code, _ = server.data(mail)
                if code != 250:
                    return _refused(code)
        except smtplib.SMTPResponseException as error:
            return _refused(error.smtp_code)
        except smtplib.SMTPNotSupportedError:
            return PushResult(PushOutcome.UNAUTHORISED, code="SMTP_UNSUPPORTED")
        except (smtplib.SMTPException, OSError, ValueError) as error:
            outcome = PushOutcome.UNKNOWN if handed_over else PushOutcome.RETRY
            return PushResult(
                outcome, code="TIMEOUT" if isinstance(error, TimeoutError) else "CONNECTION"
            )
        return PushResult(PushOutcome.SENT)

    def _connect(self) -> smtplib.SMTP:
        """Raises SMTPException, OSError."""
        at = self._server
        if at.tls == "implicit":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                at.host, at.port, timeout=self._timeout, context=self._tls
            )
        else:
            server = smtplib.SMTP(at.host, at.port, timeout=self._timeout)
        server.ehlo()
        if at.tls == "starttls":
            server.starttls(context=self._tls)
            server.ehlo()
        if at.user is not None:
            server.login(at.user, at.password or "")
        return server


def _refused(code: int, *, of_recipient: bool = False) -> PushResult:
    named = f"SMTP_{code}"
    if of_recipient and code in _NO_SUCH_RECIPIENT:
        return PushResult(PushOutcome.TOKEN_GONE, code=named)
    if code in _SET_UP:
        return PushResult(PushOutcome.UNAUTHORISED, code=named)
    if 400 <= code < 500:
        return PushResult(PushOutcome.RETRY, code=named)
    return PushResult(PushOutcome.REJECTED, code=named)
