"""What an SMS or e-mail carries so that it leads back: a link, a way to unsubscribe, and the
reference under which the world outside tells what became of it.

Tokens are random and are kept as hashes. Each attempt to send has its own; the reference is the
message's id, the same in every attempt.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any, Self
from urllib.parse import quote
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, LargeBinary, Uuid, bindparam, text
from sqlalchemy import Text as SqlText
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel.ext.asyncio.session import AsyncSession

from app.config import Settings, origin_of
from app.graphql.ids import Kind, encode
from app.nudges import gate
from app.nudges.queued import PLACE

CLICK_PATH, UNSUBSCRIBE_PATH = "/l/", "/u/"
TOKEN_BYTES = 12
"""96 bits, 16 characters: nobody guesses one, and an SMS stays short."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16}")
_CLICK_FOR = timedelta(days=14)
"""From when the message is worth nothing any more."""
UNSUBSCRIBE_FOR = timedelta(days=180)
"""Longer than any law asks for (60 days in Canada)."""
_RECEIPT_FOR = timedelta(days=30)
"""Mail servers give up after 5 days; people complain later."""
_PRUNED_AT_ONCE = 5000


class Purpose(StrEnum):
    CLICK = "CLICK"
    UNSUBSCRIBE = "UNSUBSCRIBE"
    RECEIPT = "RECEIPT"


@dataclass(frozen=True, slots=True)
class Site:
    """Where links of ours begin, and where they may lead."""

    base: str
    app_url: str
    origins: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        if settings.public_url is None or settings.app_url is None:
            return None
        origins = {*settings.link_origins, origin_of(settings.app_url) or ""}
        return cls(settings.public_url.removesuffix("/"), settings.app_url, frozenset(origins))

    def target(self, clicked: "Found") -> str:
        """Where whoever opens a link goes: to the action of a message that says nothing about
        the member, when its origin is allowed, else to the message."""
        action = clicked.action_url
        if action is not None and origin_of(action) in self.origins and action.isascii():
            return action
        message = encode(Kind.MESSAGE, clicked.member_id, clicked.message_id)
        return self.app_url.replace("{message}", quote(message, safe=""))


@dataclass(frozen=True, slots=True)
class Links:
    """Where the member is led; shown to nobody else."""

    click: str | None = field(default=None, repr=False)
    unsubscribe: str | None = field(default=None, repr=False)


NO_LINKS = Links()


@dataclass(frozen=True, slots=True)
class Wanted:
    """An SMS or e-mail that is about to leave."""

    member_id: UUID
    message_id: UUID
    channel: gate.Channel
    can_unsubscribe: bool
    expires_at: datetime
    """When the message is worth nothing any more."""


_INSERT = text("""
with made as (
  insert into message_links (token_hash, purpose, member_id, message_id, channel, created_at,
                             expires_at)
  select hash, purpose, member_id, message_id, channel, :now, expires_at
  from unnest(:hashes, :purposes, :members, :messages, :channels, :ends)
    as w (hash, purpose, member_id, message_id, channel, expires_at)
  on conflict (token_hash) do nothing)
update push_deliveries d set has_link = true
  from unnest(:linked_members, :linked_messages, :linked_places) as w (member_id, message_id, place)
 where d.member_id = w.member_id and d.message_id = w.message_id and d.installation_id = w.place
""").bindparams(
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("hashes", type_=ARRAY(LargeBinary)),
    bindparam("purposes", type_=ARRAY(SqlText)),
    bindparam("members", type_=ARRAY(Uuid)),
    bindparam("messages", type_=ARRAY(Uuid)),
    bindparam("channels", type_=ARRAY(SqlText)),
    bindparam("ends", type_=ARRAY(DateTime(timezone=True))),
    bindparam("linked_members", type_=ARRAY(Uuid)),
    bindparam("linked_messages", type_=ARRAY(Uuid)),
    bindparam("linked_places", type_=ARRAY(Uuid)),
)


async def make(
    connection: AsyncConnection, wanted: Sequence[Wanted], *, site: Site | None, now: datetime
) -> Mapping[tuple[UUID, UUID, str], Links]:
    """By member, message and channel; one statement however many, and none for none. Without a
    site there is only the reference."""
    if not wanted:
        return {}
    found: dict[tuple[UUID, UUID, str], Links] = {}
    rows: list[tuple[bytes, Purpose, Wanted, datetime]] = []
    for it in wanted:
        reference = reference_of(it.channel, it.message_id)
        rows.append((hashed(Purpose.RECEIPT, reference), Purpose.RECEIPT, it, now + _RECEIPT_FOR))
        click, unsubscribe = None, None
        if site is not None:
            token = token_urlsafe(TOKEN_BYTES)
            until = max(it.expires_at, now) + _CLICK_FOR
            rows.append((hashed(Purpose.CLICK, token), Purpose.CLICK, it, until))
            click = f"{site.base}{CLICK_PATH}{token}"
        if site is not None and it.can_unsubscribe:
            token = token_urlsafe(TOKEN_BYTES)
            given = hashed(Purpose.UNSUBSCRIBE, token)
            rows.append((given, Purpose.UNSUBSCRIBE, it, now + UNSUBSCRIBE_FOR))
            unsubscribe = f"{site.base}{UNSUBSCRIBE_PATH}{token}"
        found[it.member_id, it.message_id, it.channel] = Links(click, unsubscribe)
    linked = wanted if site is not None else ()
    await connection.execute(
        _INSERT,
        {
            "now": now,
            "hashes": [hash for hash, _, _, _ in rows],
            "purposes": [purpose.value for _, purpose, _, _ in rows],
            "members": [it.member_id for _, _, it, _ in rows],
            "messages": [it.message_id for _, _, it, _ in rows],
            "channels": [it.channel.value for _, _, it, _ in rows],
            "ends": [until for _, _, _, until in rows],
            "linked_members": [it.member_id for it in linked],
            "linked_messages": [it.message_id for it in linked],
            "linked_places": [PLACE[it.channel] for it in linked],
        },
    )
    return found


def reference_of(channel: gate.Channel, message_id: UUID) -> str:
    """Under which a gateway or mail server tells what became of it."""
    return f"{channel.value}:{message_id.hex}"


def hashed(purpose: Purpose, token: str) -> bytes:
    return sha256(f"{purpose.value}:{token}".encode()).digest()


@dataclass(frozen=True, slots=True)
class Found:
    """What a token leads to."""

    member_id: UUID
    message_id: UUID
    channel: gate.Channel
    topic: gate.Topic
    action_url: str | None
    """Of a message that says nothing about the member."""
    locale: str


_FIND = text("""
select l.member_id, l.message_id, l.channel, m.topic, members.locale,
  case when m.is_public then m.action_url end as action_url
from message_links l join messages m on m.member_id = l.member_id and m.id = l.message_id
join members on members.member_id = l.member_id and members.erased_at is null
where l.token_hash = :hash and l.expires_at > :now
""").bindparams(
    bindparam("hash", type_=LargeBinary), bindparam("now", type_=DateTime(timezone=True))
)


async def find(
    connection: AsyncConnection, purpose: Purpose, token: str, *, now: datetime
) -> Found | None:
    """None for whatever leads nowhere: never made, for another purpose, over, or of somebody who
    was erased."""
    if purpose is not Purpose.RECEIPT and not _TOKEN.fullmatch(token):
        return None
    row = (
        await connection.execute(_FIND, {"hash": hashed(purpose, token), "now": now})
    ).one_or_none()
    if row is None:
        return None
    return Found(
        row.member_id,
        row.message_id,
        gate.Channel(row.channel),
        gate.Topic(row.topic),
        row.action_url,
        row.locale,
    )


# The first click counts; who clicks has opened it.
_CLICKED = text("""
with message as (
  select member_id, id, coalesce(sent_at, planned_at) as since from messages
  where member_id = :member_id and id = :message_id for no key update
), noted as (
  insert into engagements (member_id, message_id, kind, occurred_at, received_at)
  select message.member_id, message.id, kind, greatest(:now, since), :now
  from message, unnest(array['CLICKED', 'OPENED']) as kind
  on conflict (member_id, message_id, kind) do nothing returning kind
)
update messages set read_at = greatest(:now, message.since) from message
where messages.member_id = message.member_id and messages.id = message.id
  and messages.read_at is null
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("message_id", type_=Uuid),
    bindparam("now", type_=DateTime(timezone=True)),
)


async def clicked(session: AsyncSession, found: Found, *, now: datetime) -> None:
    """Note that the member opened the link, once."""
    values: dict[str, Any] = {
        "member_id": found.member_id,
        "message_id": found.message_id,
        "now": now,
    }
    await session.execute(_CLICKED, values)


_PRUNE = text("""
delete from message_links where token_hash in (
  select token_hash from message_links where expires_at <= :now limit :limit)
""")


async def prune(connection: AsyncConnection, *, now: datetime) -> int:
    """Forget what is over; how many, at most some thousands."""
    gone = await connection.execute(_PRUNE, {"now": now, "limit": _PRUNED_AT_ONCE})
    return gone.rowcount
