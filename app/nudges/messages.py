"""Messages as they are planned: asked of the gate once for each channel, counted against the
caps, written with their pushes, SMS and e-mails, one job a batch. Whatever a member is told
goes through here, hundreds at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import DateTime, Uuid
from sqlmodel.ext.asyncio.session import AsyncSession

from app.events import Event
from app.graphql.ids import Kind, encode
from app.nudges import caps, gate, outreach, queued
from app.nudges.queued import PLACE

DEFAULT_CHANNELS: tuple[gate.Carrier, ...] = (gate.Channel.PUSH, gate.Channel.IN_APP)


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a member can be told something."""

    installations: Sequence[UUID] = ()
    """With a token that is in use."""
    phone: bool = False
    email: bool = False

    def by(self, channel: gate.Carrier) -> bool:
        match channel:
            case gate.Channel.PUSH:
                return bool(self.installations)
            case gate.Channel.SMS:
                return self.phone
            case gate.Channel.EMAIL:
                return self.email
        return True


_NOWHERE = Reach()


@dataclass(frozen=True, slots=True)
class Way:
    """`refused` is, of each channel but the inbox, why it is held back, null when it is to go;
    `reason` is why the message goes nowhere."""

    in_inbox: bool
    refused: Mapping[gate.Carrier, gate.Refusal | None]
    reason: gate.Refusal | None


@dataclass(frozen=True, slots=True)
class Planned:
    """A message with the way it goes; `cause_key` is unique for a member."""

    member_id: UUID
    id: UUID
    cause_key: str
    topic: gate.Topic
    template: str
    title: str
    body: str
    local_date: date
    way: Way
    priority: gate.Priority = gate.Priority.NORMAL
    source_id: UUID | None = None
    """The policy or campaign, so that it can be halted and reported."""
    arm: str | None = None
    expires_at: datetime | None = None
    """Until when it may be sent; an hour after it was planned when left out."""
    is_public: bool = False
    """It says nothing about the member: an SMS or e-mail carries its words, and not the
    neutral ones. A push never does."""
    action: tuple[str, str] | None = field(default=None)
    """Label and link."""


NOT_RELEVANT = Way(
    in_inbox=False,
    refused={gate.Channel.PUSH: gate.Refusal.NOT_RELEVANT},
    reason=gate.Refusal.NOT_RELEVANT,
)
"""Of what is over before anybody was told."""


def way(
    standing: gate.Standing,
    topic: gate.Topic,
    *,
    reach: Reach | None,
    now: datetime,
    channels: Sequence[gate.Carrier] = DEFAULT_CHANNELS,
    priority: gate.Priority = gate.Priority.OWN,
) -> Way:
    """Where a message of this topic goes at `now`, by the gate, of the channels wanted."""
    reach = reach or _NOWHERE
    refused: dict[gate.Carrier, gate.Refusal | None] = {}
    for channel in channels:
        found = gate.refusal(standing, topic=topic, channel=channel, priority=priority, now=now)
        if found is None and not reach.by(channel):
            found = gate.Refusal.NO_ADDRESS
        refused[channel] = found
    inbox = refused.pop(gate.Channel.IN_APP, gate.Refusal.OPTED_OUT)
    return Way(inbox is None, refused, _nowhere([*refused.values(), inbox]))


def _nowhere(reasons: Sequence[gate.Refusal | None]) -> gate.Refusal | None:
    """Why nothing goes anywhere; None when something does. A channel that the member has
    switched off is not why the other one failed."""
    if None in reasons:
        return None
    others = [reason for reason in reasons if reason is not gate.Refusal.OPTED_OUT]
    return others[0] if others else gate.Refusal.OPTED_OUT


_REACH = text(
    """
    SELECT members.member_id,
           phone IS NOT NULL AND phone_dead_at IS NULL AND phone_verified_at IS NOT NULL,
           email IS NOT NULL AND email_dead_at IS NULL AND email_verified_at IS NOT NULL,
           ARRAY(SELECT installation_id FROM push_tokens
                  WHERE push_tokens.member_id = members.member_id AND stale_since IS NULL
                  ORDER BY installation_id)
      FROM members WHERE member_id = ANY(:members)
    """
).bindparams(bindparam("members", type_=ARRAY(Uuid)))
_INSERT_MESSAGES = text(
    """
    INSERT INTO messages (member_id, id, cause_key, topic, template, title, body, local_date,
                          planned_at, sent_at, in_inbox, suppressed_reason, priority, source_id,
                          arm, expires_at, is_public, action_label, action_url)
    SELECT member_id, id, cause_key, topic, template, title, body, local_date,
           :now, CASE WHEN in_inbox THEN CAST(:now AS timestamptz) END, in_inbox, reason,
           priority, source_id, arm, expires_at, is_public, action_label, action_url
      FROM unnest(CAST(:members AS uuid[]), CAST(:ids AS uuid[]), CAST(:cause_keys AS text[]),
                  CAST(:topics AS text[]), CAST(:templates AS text[]), CAST(:titles AS text[]),
                  CAST(:bodies AS text[]), CAST(:local_dates AS date[]),
                  CAST(:in_inbox AS boolean[]), CAST(:reasons AS text[]),
                  CAST(:priorities AS text[]), CAST(:sources AS uuid[]), CAST(:arms AS text[]),
                  :expire_at, CAST(:is_public AS boolean[]), CAST(:action_labels AS text[]),
                  CAST(:action_urls AS text[]))
        AS planned (member_id, id, cause_key, topic, template, title, body, local_date, in_inbox,
                    reason, priority, source_id, arm, expires_at, is_public, action_label,
                    action_url)
    ON CONFLICT (member_id, cause_key) DO NOTHING
    RETURNING id
    """
).bindparams(bindparam("expire_at", type_=ARRAY(DateTime(timezone=True))))
_TOO_MANY = text(
    """
    UPDATE messages SET in_inbox = false, sent_at = NULL, suppressed_reason = 'FREQUENCY_CAP'
      FROM unnest(CAST(:members AS uuid[]), CAST(:ids AS uuid[])) AS refused (member_id, id)
     WHERE messages.member_id = refused.member_id AND messages.id = refused.id
    """
)


async def reach(session: AsyncSession, member_ids: Iterable[UUID]) -> Mapping[UUID, Reach]:
    """By member. A token of a phone that was not opened for long is none."""
    connection = await session.connection()
    rows = await connection.execute(_REACH, {"members": list(member_ids)})
    return {
        member_id: Reach(tokens, phone=phone, email=email)
        for member_id, phone, email, tokens in rows
    }


async def write(
    session: AsyncSession,
    planned: Sequence[Planned],
    reach: Mapping[UUID, Reach],
    *,
    now: datetime,
) -> list[Event]:
    """The messages that are new, as far as the caps allow, with their pushes, SMS, e-mails,
    worklist items, and the jobs that send; what to publish after the commit, of those that
    reached the inbox."""
    if not planned:
        return []
    connection = await session.connection()
    inserted = await connection.execute(_INSERT_MESSAGES, _columns(planned) | {"now": now})
    known = set(inserted.scalars())
    new = [it for it in planned if it.id in known]
    refused = await _capped(session, new)
    going = [it for it in new if it.id not in refused]
    await queued.write(
        session,
        [
            queued.Delivery(it.member_id, it.id, place, channel, reason)
            for it in new
            for place, channel, reason in _deliveries(
                it, reach.get(it.member_id, _NOWHERE), capped=it.id in refused
            )
        ],
        now=now,
    )
    await outreach.open_items(
        session,
        [
            outreach.Wanted(
                it.member_id, it.id, channel, it.title, it.body, it.local_date, it.expires_at
            )
            for it in going
            for channel, reason in it.way.refused.items()
            if isinstance(channel, gate.Outreach) and reason is None
        ],
        now=now,
    )
    return [
        Event(it.member_id, "message", encode(Kind.MESSAGE, it.member_id, it.id))
        for it in going
        if it.way.in_inbox
    ]


async def _capped(session: AsyncSession, new: Sequence[Planned]) -> set[UUID]:
    """The ids of those that the caps hold back, which are marked."""
    wanted = [
        caps.Wanted(it.member_id, it.id, it.priority, it.local_date)
        for it in new
        if it.way.reason is None
    ]
    refused = await caps.count(session, wanted)
    if refused:
        held_back = [it for it in new if it.id in refused]
        ids = {"members": [it.member_id for it in held_back], "ids": [it.id for it in held_back]}
        await (await session.connection()).execute(_TOO_MANY, ids)
    return refused


def _deliveries(
    message: Planned, reach: Reach, *, capped: bool
) -> Iterable[tuple[UUID, gate.Channel, gate.Refusal | None]]:
    """Where, by what, and why not."""
    for channel, reason in message.way.refused.items():
        if isinstance(channel, gate.Outreach):
            continue
        why = gate.Refusal.FREQUENCY_CAP if capped and reason is None else reason
        if channel is gate.Channel.PUSH:
            for installation in reach.installations:
                yield installation, channel, why
        else:
            yield PLACE[channel], channel, why


def _columns(planned: Sequence[Planned]) -> dict[str, Any]:
    return {
        "members": [it.member_id for it in planned],
        "ids": [it.id for it in planned],
        "cause_keys": [it.cause_key for it in planned],
        "topics": [it.topic for it in planned],
        "templates": [it.template for it in planned],
        "titles": [it.title for it in planned],
        "bodies": [it.body for it in planned],
        "local_dates": [it.local_date for it in planned],
        "in_inbox": [it.way.in_inbox for it in planned],
        "reasons": [it.way.reason for it in planned],
        "priorities": [it.priority for it in planned],
        "sources": [it.source_id for it in planned],
        "arms": [it.arm for it in planned],
        "expire_at": [it.expires_at for it in planned],
        "is_public": [it.is_public for it in planned],
        "action_labels": [it.action[0] if it.action else None for it in planned],
        "action_urls": [it.action[1] if it.action else None for it in planned],
    }
