"""One attempt to hand a mail over by SMTP, in a thread; what each refusal means, by its stage.

Until DATA is under way nothing can have arrived. What comes after the server has taken the message
changes nothing any more: a QUIT that it refuses is no reason to send it again.
"""

import re
import smtplib
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from app.adapters.push import PushOutcome, PushResult
from app.errors import ConfigurationError

_FAREWELL_SECONDS = 2.0
_NO_SUCH_RECIPIENT = (550, 551, 553)
"""RFC 5321, 4.2.3: no such mailbox, moved, name not allowed."""
_ENHANCED = re.compile(rb"[245]\.(\d{1,3}\.\d{1,3})\b")
_MAILBOX_DISABLED = b"2.1"
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
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ConfigurationError("WELLWARD_SMTP_URL: no such host or port") from None
        wanted = parse_qs(parts.query).get("tls", ["starttls"])[0]
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ConfigurationError("WELLWARD_SMTP_URL: use smtps://user:password@host:465")
        if wanted not in ("starttls", "off"):
            raise ConfigurationError(f"WELLWARD_SMTP_URL: tls={wanted!r}; use starttls or off")
        implicit = parts.scheme == "smtps"
        return cls(
            host=parts.hostname,
            port=port or (465 if implicit else 587),
            tls="implicit" if implicit else ("off" if wanted == "off" else "starttls"),
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )


class Aborted(Exception):
    """Nobody waits for it any more, and nothing was handed over."""


class Attempt:
    """`deliver` runs in a thread; `abort` is called from another one."""

    def __init__(self, server: Server, *, timeout_seconds: float, tls: ssl.SSLContext) -> None:
        self._server = server
        self._timeout = timeout_seconds
        self._tls = tls
        self._lock = threading.Lock()
        self._aborted = False
        self._handed_over = False
        self._connection: smtplib.SMTP | None = None

    def abort(self) -> bool:
        """From now on nothing is handed over. Whether it was already: then it may arrive."""
        with self._lock:
            self._aborted = True
            if self._connection is not None and self._connection.sock is not None:
                with suppress(OSError):
                    self._connection.sock.shutdown(socket.SHUT_RDWR)
            return self._handed_over

    def deliver(self, sender: str, recipient: str, mail: bytes) -> PushResult:
        try:
            result = self._say(sender, recipient, mail)
        except smtplib.SMTPNotSupportedError:
            return self._left(PushOutcome.UNAUTHORISED, "SMTP_UNSUPPORTED")
        except smtplib.SMTPDataError as error:
            return self._farewell(_of_message(error.smtp_code, is_taken=False))
        except smtplib.SMTPResponseException as error:
            if self._handed_over:  # No answer that can be read, and the message may be taken.
                return self._left(PushOutcome.UNKNOWN, "SMTP_UNREADABLE")
            return self._farewell(_of_set_up(error.smtp_code))
        except ssl.SSLCertVerificationError:
            return self._left(PushOutcome.UNAUTHORISED, "CERTIFICATE")
        except UnicodeEncodeError:
            return self._left(PushOutcome.REJECTED, "ADDRESS_INVALID")
        except (smtplib.SMTPException, OSError, ValueError, Aborted) as error:
            outcome = PushOutcome.UNKNOWN if self._handed_over else PushOutcome.RETRY
            return self._left(
                outcome, "TIMEOUT" if isinstance(error, TimeoutError) else "CONNECTION"
            )
        return self._farewell(result)

    def _say(self, sender: str, recipient: str, mail: bytes) -> PushResult:
        """Raises SMTPException, OSError, ValueError, Aborted."""
        server = self._connect()
        code, _ = server.mail(sender)
        if code != 250:
            return _of_set_up(code)
        code, text = server.rcpt(recipient)
        if not 200 <= code < 300:
            return _of_recipient(code, text)
        with self._lock:
            if self._aborted:
                raise Aborted
            self._handed_over = True
        code, _ = server.data(mail)
        return _of_message(code, is_taken=True)

    def _connect(self) -> smtplib.SMTP:
        """Raises SMTPException, OSError, Aborted."""
        at = self._server
        if at.tls == "implicit":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                at.host, at.port, timeout=self._timeout, context=self._tls
            )
        else:
            server = smtplib.SMTP(at.host, at.port, timeout=self._timeout)
        with self._lock:
            self._connection = server
            if self._aborted:
                raise Aborted
        server.ehlo_or_helo_if_needed()
        if at.tls == "starttls":
            server.starttls(context=self._tls)
            server.ehlo_or_helo_if_needed()
        if at.user is not None:
            server.login(at.user, at.password or "")
        return server

    def _farewell(self, result: PushResult) -> PushResult:
        """Whatever the server answers to it, the result stands."""
        if self._connection is not None:
            with suppress(smtplib.SMTPException, OSError, ValueError):
                if self._connection.sock is not None:
                    self._connection.sock.settimeout(_FAREWELL_SECONDS)
                self._connection.quit()
        return self._left(result.outcome, result.code)

    def _left(self, outcome: PushOutcome, code: str | None) -> PushResult:
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
        return PushResult(outcome, code=code)


def _of_set_up(code: int) -> PushResult:
    """Of the greeting, TLS, the password, and us as the sender: no fault of this mail."""
    if 500 <= code < 600 or code in _SET_UP:
        return PushResult(PushOutcome.UNAUTHORISED, code=f"SMTP_{code}")
    return PushResult(PushOutcome.RETRY, code=_named(code))


def _of_recipient(code: int, text: bytes) -> PushResult:
    """An address at which nobody is, unless the server says that it is something else, as its
    policy (RFC 3463: 5.7.x): whoever blocks us says 550 of everybody."""
    if code in _SET_UP:
        return PushResult(PushOutcome.UNAUTHORISED, code=f"SMTP_{code}")
    if code in _NO_SUCH_RECIPIENT:
        told = _ENHANCED.match(text)
        if told is None or told[1].startswith(b"1.") or told[1] == _MAILBOX_DISABLED:
            return PushResult(PushOutcome.TOKEN_GONE, code=f"SMTP_{code}")
    if 500 <= code < 600:
        return PushResult(PushOutcome.REJECTED, code=f"SMTP_{code}")
    return PushResult(PushOutcome.RETRY, code=_named(code))


def _of_message(code: int, *, is_taken: bool) -> PushResult:
    """`is_taken`: the whole message was sent; an answer that is none says nothing about it."""
    if 200 <= code < 300 and is_taken:
        return PushResult(PushOutcome.SENT)
    if code in _SET_UP:
        return PushResult(PushOutcome.UNAUTHORISED, code=f"SMTP_{code}")
    if 400 <= code < 500:
        return PushResult(PushOutcome.RETRY, code=f"SMTP_{code}")
    if 500 <= code < 600:
        return PushResult(PushOutcome.REJECTED, code=f"SMTP_{code}")
    return PushResult(PushOutcome.UNKNOWN if is_taken else PushOutcome.RETRY, code=_named(code))


def _named(code: int) -> str:
    return f"SMTP_{code}" if 200 <= code < 600 else "SMTP_UNREADABLE"
