"""What of a batch is due, with all that decides whether it may still go out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Uuid
from sqlmodel.ext.asyncio.session import AsyncSession

from app.nudges import gate, rules, sources

RELEVANT_FOR = timedelta(hours=1)
"""From planning on, of what says nothing else: a reminder that comes later than this does more
harm than good."""
LOOK_AGAIN_AFTER = timedelta(minutes=1)
"""A policy or campaign said so long ago that the message is wanted that it is asked again."""
HALTED = "HALTED"
"""Its policy or campaign is halted: it waits."""


@dataclass(frozen=True, slots=True)
class Token:
    """Where a push goes, or the number or address of an SMS or e-mail; it is shown to nobody
    but the provider."""

    value: str = field(repr=False)
    provider: str
    registered_at: datetime


_DUE = text(
    f"""
    SELECT delivery.member_id, delivery.message_id, delivery.installation_id, delivery.attempts,
           delivery.channel, message.topic, message.template, message.planned_at,
           message.priority, message.is_public, message.source_id, message.cause_key,
           source.kind AS source_kind, source.state AS source_state,
           CASE WHEN message.is_public THEN message.title END AS title,
           CASE WHEN message.is_public THEN message.body END AS body,
           CASE WHEN message.is_public THEN message.action_label END AS action_label,
           coalesce(message.expires_at, message.planned_at + :relevant_for) AS expires_at,
           CASE WHEN message.template LIKE 'reminder.%'
                THEN NOT coalesce(reminder.deleted_at IS NULL
                                  AND reminder.changed_at <= message.planned_at
                                  AND reminder.id IS NOT NULL, false)
                WHEN message.template = '{rules.POINTS_EXPIRY}'
                THEN NOT EXISTS (
                     SELECT FROM points_lots AS lot
                      WHERE lot.member_id = message.member_id AND lot.remaining > 0
                        AND lot.expires_on = CAST(split_part(message.cause_key, ':', 2) AS date))
                ELSE false END AS is_stale
      FROM push_deliveries AS delivery
      JOIN messages AS message
        ON message.member_id = delivery.member_id AND message.id = delivery.message_id
      LEFT JOIN message_sources AS source ON source.id = message.source_id
      LEFT JOIN reminders AS reminder
        ON reminder.member_id = delivery.member_id
       AND reminder.id = CASE WHEN message.cause_key LIKE 'reminder:%'
                              THEN CAST(split_part(message.cause_key, ':', 2) AS uuid) END
     WHERE delivery.batch_id = :batch AND delivery.state = 'QUEUED'
       AND delivery.next_attempt_at <= :now
     ORDER BY delivery.next_attempt_at, delivery.message_id, delivery.installation_id
     LIMIT :limit FOR UPDATE OF delivery
    """
)
# Waits for a phone that is just being handed to another member; in the order in which the
# registration of devices locks.
_TOKENS = text(
    """
    SELECT installation_id, member_id, token, provider, registered_at FROM push_tokens
     WHERE installation_id = ANY(:installations) AND stale_since IS NULL
     ORDER BY token, provider FOR SHARE
    """
).bindparams(bindparam("installations", type_=ARRAY(Uuid)))
_CONTACTS = text(
    """
    SELECT member_id, created_at,
           CASE WHEN phone_dead_at IS NULL AND phone_verified_at IS NOT NULL THEN phone END
               AS phone,
           CASE WHEN email_dead_at IS NULL AND email_verified_at IS NOT NULL THEN email END
               AS email
      FROM members WHERE member_id = ANY(:members)
    """
).bindparams(bindparam("members", type_=ARRAY(Uuid)))

Key = tuple[UUID, UUID, str]
"""Member, installation (or what stands for it) and channel."""


async def look(
    connection: AsyncConnection, batch_id: UUID, *, limit: int, now: datetime
) -> Sequence[Any]:
    """Locked until the commit, what waited longest first."""
    wanted = {"batch": batch_id, "limit": limit, "now": now, "relevant_for": RELEVANT_FOR}
    return (await connection.execute(_DUE, wanted)).all()


async def tokens(connection: AsyncConnection, due: Sequence[Any]) -> Mapping[Key, Token]:
    """Where each push goes that can go anywhere, locked until the commit."""
    phones = [row.installation_id for row in due if row.channel == gate.Channel.PUSH]
    found: dict[Key, Token] = {}
    if phones:
        for row in await connection.execute(_TOKENS, {"installations": phones}):
            token = Token(row.token, row.provider, row.registered_at)
            found[row.member_id, row.installation_id, gate.Channel.PUSH] = token
    return found


async def contacts(connection: AsyncConnection, due: Sequence[Any]) -> Mapping[Key, Token]:
    """Where each SMS and e-mail goes. Read once the members are locked: nobody has changed it
    before the commit."""
    found: dict[Key, Token] = {}
    others = [row for row in due if row.channel != gate.Channel.PUSH]
    if others:
        members = sorted({row.member_id for row in others})
        rows = await connection.execute(_CONTACTS, {"members": members})
        of_member = {row.member_id: row for row in rows}
        for row in others:
            contact = of_member[row.member_id]
            value = contact.phone if row.channel == gate.Channel.SMS else contact.email
            if value:
                token = Token(value, row.channel, contact.created_at)
                found[row.member_id, row.installation_id, row.channel] = token
    return found


async def no_longer_wanted(
    session: AsyncSession,
    due: Sequence[Any],
    standing: Mapping[UUID, gate.Standing],
    *,
    now: datetime,
) -> set[sources.Cause]:
    """Causes by which a policy or campaign does not concern their members any more. It is asked
    at once about who has taken a consent back: which one it rests on is its own business."""
    asked: dict[tuple[str, UUID], set[sources.Cause]] = {}
    for row in due:
        if row.source_state != sources.ACTIVE:
            continue
        said = standing.get(row.member_id)
        taken_back_at = said.taken_back_at if said else None
        is_old = now - row.planned_at >= LOOK_AGAIN_AFTER
        if is_old or (taken_back_at is not None and taken_back_at >= row.planned_at):
            cause = (row.member_id, row.cause_key)
            asked.setdefault((row.source_kind, row.source_id), set()).add(cause)
    gone: set[sources.Cause] = set()
    for (name, source_id), causes in asked.items():
        kind = sources.KINDS.get(name)
        if kind is None or kind.remaining is None:
            continue
        gone |= causes - await kind.remaining(session, source_id, sorted(causes), now)
    return gone


def refusal(
    row: Any,
    token: Token | None,
    standing: gate.Standing | None,
    *,
    is_wanted: bool,
    services: Collection[str],
    now: datetime,
) -> str | None:
    """Why it does not go out now, or `HALTED`; null when it does."""
    if token is None:
        return gate.Refusal.NO_ADDRESS
    is_cancelled = row.source_state == sources.CANCELLED
    if standing is None or row.is_stale or is_cancelled or not is_wanted:
        return gate.Refusal.NOT_RELEVANT
    if now >= row.expires_at:
        return gate.Refusal.EXPIRED
    if row.source_state == sources.HALTED:
        return HALTED
    if token.provider not in services:
        return gate.Refusal.NO_PROVIDER
    return gate.refusal(
        standing,
        topic=gate.Topic(row.topic),
        channel=gate.Channel(row.channel),
        priority=_priority(row),
        now=now,
    )


def _priority(row: Any) -> gate.Priority:
    """A notice or reminder may come at night, unless the member has quiet hours."""
    if row.source_id is None and row.priority != gate.Priority.CRITICAL:
        return gate.Priority.OWN
    return gate.Priority(row.priority)
