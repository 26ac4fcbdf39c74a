"""A small SMTP server that speaks the protocol (RFC 5321) over a real socket.

What it answers is chosen by the local part of the recipient: `nobody` 550, `full` 452, `grey`
451, `spam` 554 after the message, `cut` takes the message and closes, `late` closes before it.
With `answers` it says those instead, by verb (`CONNECT` the greeting, `MESSAGE` after the message);
an empty one is none at all: it waits until the client has gone.
"""

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class SmtpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, *, password: bytes | None = None, answers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.answers = answers or {}
        self.password = password
        """Of AUTH PLAIN; none is asked for when left out."""
        self.mails: list[tuple[str, str, bytes]] = []
        """Sender, recipient, message."""
        self.connections = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Session(socketserver.StreamRequestHandler):
    server: SmtpServer

    def handle(self) -> None:
        self.server.connections += 1
        self.sender, self.recipient = "", ""
        self.is_known = self.server.password is None
        if not self._told("CONNECT", "220 sandbox ESMTP"):
            return
        while line := self.rfile.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            verb = verb.upper()
            if verb in self.server.answers:
                goes_on = self._told(verb, "")
            else:
                goes_on = getattr(self, f"do_{verb}", self.do_OTHER)(rest)
            if not goes_on:
                return

    def _told(self, verb: str, usual: str) -> bool:
        said = self.server.answers.get(verb, usual)
        if not said:
            self.rfile.read()
            return False
        return self._say(*said.split("\n"))

    def do_EHLO(self, rest: str) -> bool:
        return self._say("250-sandbox", "250-AUTH PLAIN", "250 8BITMIME")

    def do_AUTH(self, rest: str) -> bool:
        self.is_known = rest.encode() == b"PLAIN " + (self.server.password or b"")
        return self._say("235 ok" if self.is_known else "535 bad credentials")

    def do_MAIL(self, rest: str) -> bool:
        self.sender = rest[6:].split(">")[0]
        return self._say("250 ok" if self.is_known else "530 authentication required")

    def do_RCPT(self, rest: str) -> bool:
        self.recipient = rest[4:].split(">")[0]
        return self._say(_of_recipient(self.recipient))

    def do_DATA(self, rest: str) -> bool:
        if self.recipient.startswith("late"):
            return False
        self._say("354 go on")
        message = self._message()
        if self.recipient.startswith("spam"):
            return self._say("554 refused")
        self.server.mails.append((self.sender, self.recipient, message))
        if "MESSAGE" in self.server.answers:
            return self._told("MESSAGE", "")
        return not self.recipient.startswith("cut") and self._say("250 queued")

    def do_RSET(self, rest: str) -> bool:
        return self._say("250 ok")

    def do_QUIT(self, rest: str) -> bool:
        self._say("221 bye")
        return False

    def do_OTHER(self, rest: str) -> bool:
        return self._say("502 not implemented")

    def _say(self, *lines: str) -> bool:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())
        return True

    def _message(self) -> bytes:
        lines: list[bytes] = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)


def _of_recipient(recipient: str) -> str:
    answers = {"nobody": "550 no such user", "full": "452 full", "grey": "451 later"}
    return answers.get(recipient.partition("@")[0], "250 ok")


@contextmanager
def running_smtp(**options: Any) -> Iterator[SmtpServer]:
    with SmtpServer(**options) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
