"""A proxy before PostgreSQL that loses replies: what the server has committed by then, the
client never hears of.

It reads the protocol (https://www.postgresql.org/docs/current/protocol.html) as far as it
must: it knows COMMIT, and a data-modifying statement outside of a transaction, which commits
by itself; and it cuts the connection when the server says that it is ready for the next one.
"""

import asyncio
import re
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy import make_url

COMMIT, WRITE = "commit", "write"
_WRITES = re.compile(rb"\s*(with|insert|update|delete)\b", re.IGNORECASE)
_MODIFIES = re.compile(rb"\b(insert\s+into|(?<!for )update|delete\s+from)\b", re.IGNORECASE)
_ENCRYPTION_REQUESTS = (80_877_103, 80_877_104)
"""TLS and GSSAPI, in the place of a protocol version."""


@dataclass
class Proxy:
    """`loses(kind)` is asked, for each commit, whether its reply gets lost."""

    upstream: str
    """URL of the database."""
    loses: Callable[[str], bool]
    url: str = ""
    """The same database through this proxy."""
    committed: Counter[str] = field(default_factory=Counter)
    """How many commits there were by kind, with and without a reply."""
    lost: Counter[str] = field(default_factory=Counter)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        to_server: asyncio.StreamWriter | None = None
        try:
            from_server, to_server = await self._connect()
            session = _Session(self)
            to_server.write(await session.start(reader, writer))
            async with asyncio.TaskGroup() as both:
                both.create_task(session.requests(reader, to_server))
                both.create_task(session.replies(from_server, writer))
        except* (OSError, EOFError):
            pass  # one side hung up, or the reply was lost: the other side learns it now
        finally:
            for side in (writer, to_server):
                if side is not None:
                    side.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        url = make_url(self.upstream)
        host, port = url.query.get("host", url.host), url.query.get("port", url.port) or 5432
        assert isinstance(host, str)
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, int(str(port)))


@asynccontextmanager
async def losing(upstream: str, loses: Callable[[str], bool]) -> AsyncIterator[Proxy]:
    proxy = Proxy(upstream, loses)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    address = make_url(upstream).difference_update_query(["host", "port"])
    address = address.set(host="127.0.0.1", port=port)
    proxy.url = address.render_as_string(hide_password=False)
    try:
        yield proxy
    finally:
        server.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), 1)


class _ReplyLost(EOFError):
    """Ends the connection."""


class _Session:
    """What one connection is in the middle of."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._writes: set[bytes] = set()
        """Names of prepared statements that modify data."""
        self._in_transaction = False
        self._awaited: str | None = None
        """The kind of commit that the server is at."""

    async def start(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> bytes:
        """The first message for the server; encryption is refused, as it is on a socket."""
        while True:
            size = await client.readexactly(4)
            packet = await client.readexactly(struct.unpack("!i", size)[0] - 4)
            if struct.unpack("!i", packet[:4])[0] not in _ENCRYPTION_REQUESTS:
                return size + packet
            to_client.write(b"N")

    async def requests(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        while True:
            kind, size, body = await _message(client)
            self._look_at(kind, body)
            to_server.write(kind + size + body)
            await to_server.drain()

    def _look_at(self, kind: bytes, body: bytes) -> None:
        if kind == b"P":  # Parse: name, statement, types
            name, statement, _ = body.split(b"\0", 2)
            if _WRITES.match(statement) and _MODIFIES.search(statement):
                self._writes.add(name)
            else:
                self._writes.discard(name)
        elif kind == b"B":  # Bind: portal, name of the statement, values
            if not self._in_transaction and body.split(b"\0", 2)[1] in self._writes:
                self._awaited = WRITE
        elif kind == b"Q" and body.strip(b"\0; ").upper() == b"COMMIT":
            self._awaited = COMMIT

    async def replies(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        held: list[bytes] = []
        refused = False
        while True:
            kind, size, body = await _message(server)
            held.append(kind + size + body)
            # An error, or the COMMIT of a transaction that had failed already.
            refused |= kind == b"E" or (kind, body) == (b"C", b"ROLLBACK\0")
            if kind == b"Z":
                self._in_transaction = body != b"I"
                self._count(refused)
                refused = False
            elif self._awaited is not None:
                continue  # whether it counts, the server says at the end
            to_client.write(b"".join(held))
            held.clear()
            await to_client.drain()

    def _count(self, refused: bool) -> None:
        """Raises _ReplyLost."""
        kind, self._awaited = self._awaited, None
        if kind is None or refused:
            return
        self._proxy.committed[kind] += 1
        if self._proxy.loses(kind):
            self._proxy.lost[kind] += 1
            raise _ReplyLost


async def _message(stream: asyncio.StreamReader) -> tuple[bytes, bytes, bytes]:
    """Type, size as sent, and the rest."""
    head = await stream.readexactly(5)
    return head[:1], head[1:], await stream.readexactly(struct.unpack("!i", head[1:])[0] - 4)
