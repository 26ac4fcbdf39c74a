"""Deliveries of a leased batch: mark a group as attempting, record how it ended.

A row is ATTEMPTING from just before its request until its result is written.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db import Database
from app.nudges import due, gate, leases, links
from app.nudges.due import Token
from app.nudges.leases import Lease
from app.nudges.links import NO_LINKS, Links, Site
from app.nudges.queued import PLACE
from app.nudges.standing import standings

HALTED_PAUSE = timedelta(minutes=1)
"""How long what is halted waits before it is looked at again."""


@dataclass(frozen=True, slots=True)
class Push:
    """A delivery that is marked as attempting."""

    member_id: UUID
    message_id: UUID
    installation_id: UUID
    token: Token
    template: str
    locale: str
    attempts: int
    """With this one."""
    expires_at: datetime
    words: tuple[str, str] | None = None
    """Title and body of what says nothing about the member; null: neutral words."""
    action_label: str | None = None
    is_advertising: bool = False
    links: Links = NO_LINKS
    """Of an SMS or e-mail."""

    @property
    def is_push(self) -> bool:
        return self.installation_id not in PLACE.values()


@dataclass(frozen=True, slots=True)
class Group:
    looked_at: int
    """0: nothing of the batch is due any more."""
    pushes: Sequence[Push]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one attempt leaves behind."""

    state: str
    reason: str | None = None
    next_attempt_at: datetime | None = None
    provider_message_id: str | None = None
    is_counted: bool = True
    """Whether it was one of the attempts that a push has."""


_MARK = text(
    """
    UPDATE push_deliveries AS delivery
       SET state = CASE WHEN looked_at.reason IS NULL THEN 'ATTEMPTING'
                        WHEN looked_at.reason = 'HALTED' THEN 'QUEUED' ELSE 'SUPPRESSED' END,
           reason = looked_at.reason,
           next_attempt_at = CASE WHEN looked_at.reason = 'HALTED' THEN CAST(:later AS timestamptz)
                                  ELSE delivery.next_attempt_at END,
           attempts = attempts + CASE WHEN looked_at.reason IS NULL THEN 1 ELSE 0 END,
           attempting_since = CASE WHEN looked_at.reason IS NULL
                                   THEN CAST(:now AS timestamptz) END,
           changed_at = :now
      FROM unnest(CAST(:members AS uuid[]), CAST(:messages AS uuid[]),
                  CAST(:installations AS uuid[]), CAST(:reasons AS text[]))
        AS looked_at (member_id, message_id, installation_id, reason)
     WHERE delivery.member_id = looked_at.member_id
       AND delivery.message_id = looked_at.message_id
       AND delivery.installation_id = looked_at.installation_id
    """
)
_WENT_NOWHERE = text(
    """
    UPDATE messages AS message SET suppressed_reason = held_back.reason
      FROM unnest(CAST(:members AS uuid[]), CAST(:messages AS uuid[]), CAST(:reasons AS text[]))
        AS held_back (member_id, id, reason)
     WHERE message.member_id = held_back.member_id AND message.id = held_back.id
       AND held_back.reason <> 'HALTED' AND NOT message.in_inbox
       AND NOT EXISTS (
           SELECT FROM push_deliveries AS other
            WHERE other.member_id = message.member_id AND other.message_id = message.id
              AND other.state <> 'SUPPRESSED')
    """
)


async def next_group(
    db: Database,
    lease: Lease,
    *,
    services: Collection[str],
    limit: int,
    now: datetime,
    site: Site | None = None,
) -> Group | None:
    """Ask the gate again about the next `limit` due deliveries and commit as attempting those
    that may go out now; None when the lease was lost.

    `services` are those that can be sent by here. The members are locked until the commit:
    whoever takes a consent back, opts out or pauses does so before, and nothing goes out, or
    after, and waits for what is on its way (`opting_out.py`).
    """
    async with db.transaction() as session:
        connection = await session.connection()
        # Also keeps the batch from being taken over before this has committed.
        if not await leases.extend(connection, lease, now=now):
            return None
        found = await due.look(connection, lease.batch_id, limit=limit, now=now)
        if not found:
            return Group(0, ())
        tokens = await due.tokens(connection, found)
        members = {row.member_id for row in found}
        standing = await standings(session, members, now=now, lock=True)
        tokens = {**tokens, **await due.contacts(connection, found)}
        unwanted = await due.no_longer_wanted(session, found, standing, now=now)
        reasons = [
            due.refusal(
                row,
                tokens.get((row.member_id, row.installation_id, row.channel)),
                standing.get(row.member_id),
                is_wanted=(row.member_id, row.cause_key) not in unwanted,
                services=services,
                now=now,
            )
            for row in found
        ]
        marked = {
            "members": [row.member_id for row in found],
            "messages": [row.message_id for row in found],
            "installations": [row.installation_id for row in found],
            "reasons": reasons,
            "later": now + HALTED_PAUSE,
            "now": now,
        }
        await connection.execute(_MARK, marked)
        if any(reasons):
            await connection.execute(_WENT_NOWHERE, marked)
        leaving = [row for row, reason in zip(found, reasons, strict=True) if reason is None]
        linked = await links.make(connection, _letters(leaving), site=site, now=now)
    pushes = [
        Push(
            member_id=row.member_id,
            message_id=row.message_id,
            installation_id=row.installation_id,
            token=tokens[row.member_id, row.installation_id, row.channel],
            template=row.template,
            locale=standing[row.member_id].locale,
            attempts=row.attempts + 1,
            expires_at=row.expires_at,
            words=(row.title, row.body) if row.is_public else None,
            action_label=row.action_label,
            is_advertising=row.topic == gate.Topic.MARKETING,
            links=linked.get((row.member_id, row.message_id, row.channel), NO_LINKS),
        )
        for row in leaving
    ]
    return Group(len(found), pushes)


def _letters(leaving: Sequence[Any]) -> Sequence[links.Wanted]:
    """The SMS and e-mails among them. What concerns somebody's safety cannot be unsubscribed."""
    return [
        links.Wanted(
            member_id=row.member_id,
            message_id=row.message_id,
            channel=gate.Channel(row.channel),
            can_unsubscribe=row.channel == gate.Channel.EMAIL
            and row.priority != gate.Priority.CRITICAL,
            expires_at=row.expires_at,
        )
        for row in leaving
        if row.channel != gate.Channel.PUSH
    ]


_RECORD = text(
    """
    WITH ended AS (
        SELECT * FROM unnest(
            CAST(:members AS uuid[]), CAST(:messages AS uuid[]), CAST(:installations AS uuid[]),
            CAST(:states AS text[]), CAST(:reasons AS text[]),
            CAST(:next_attempts AS timestamptz[]), CAST(:provider_ids AS text[]),
            CAST(:is_counted AS boolean[]), CAST(:tokens AS text[]),
            CAST(:token_providers AS text[]), CAST(:tokens_registered AS timestamptz[]))
            AS ended (member_id, message_id, installation_id, state, reason, next_attempt_at,
                      provider_id, is_counted, token, token_provider, token_registered_at)),
    forgotten AS (
        DELETE FROM push_tokens WHERE (token, provider) IN (
            SELECT token.token, token.provider FROM push_tokens AS token JOIN ended
                ON token.token = ended.token AND token.provider = ended.token_provider
               AND token.member_id = ended.member_id
               AND token.installation_id = ended.installation_id
               AND token.registered_at = ended.token_registered_at
             WHERE ended.state = 'TOKEN_REMOVED'
               FOR UPDATE OF token SKIP LOCKED))
    UPDATE push_deliveries AS delivery
       SET state = ended.state, reason = ended.reason,
           next_attempt_at = coalesce(ended.next_attempt_at, delivery.next_attempt_at),
           attempts = delivery.attempts - CASE WHEN ended.is_counted THEN 0 ELSE 1 END,
           attempting_since = NULL, provider_message_id = ended.provider_id, changed_at = :now,
           awaits_receipt = ended.state = 'SENT'
                            AND ended.token_provider = ANY(CAST(:awaiting AS text[]))
      FROM ended
     WHERE delivery.member_id = ended.member_id AND delivery.message_id = ended.message_id
       AND delivery.installation_id = ended.installation_id AND delivery.state = 'ATTEMPTING'
    """
)


# Not an address that was changed meanwhile. Members in the order in which everybody locks many.
_DEAD = text(
    """
    WITH dead AS (
        SELECT member.member_id, ended.provider
          FROM unnest(CAST(:members AS uuid[]), CAST(:states AS text[]), CAST(:tokens AS text[]),
                      CAST(:token_providers AS text[])) AS ended (member_id, state, token, provider)
          JOIN members AS member ON member.member_id = ended.member_id
           AND ended.token = CASE ended.provider WHEN 'SMS' THEN member.phone
                                                 WHEN 'EMAIL' THEN member.email END
         WHERE ended.state = 'TOKEN_REMOVED'
         ORDER BY member.member_id FOR UPDATE OF member),
    gone AS (
        SELECT member_id, bool_or(provider = 'SMS') AS phone, bool_or(provider = 'EMAIL') AS email
          FROM dead GROUP BY member_id)
    UPDATE members
       SET phone_dead_at = CASE WHEN gone.phone THEN :now ELSE phone_dead_at END,
           email_dead_at = CASE WHEN gone.email THEN :now ELSE email_dead_at END
      FROM gone WHERE members.member_id = gone.member_id
    """
).bindparams(bindparam("now", type_=DateTime(timezone=True)))


async def record(
    db: Database,
    results: Sequence[tuple[Push, Recorded]],
    *,
    now: datetime,
    awaiting: Collection[str] = (),
) -> None:
    """Write how a group ended, in one statement. A token that the provider does not know any
    more is forgotten, unless it was registered anew meanwhile; a number or address at which
    nobody is, is not used again until it is changed. What another worker has given
    up as UNKNOWN stays so. Of the services `awaiting` somebody will tell what has arrived."""
    parameters: Mapping[str, Any] = {
        "now": now,
        "members": [push.member_id for push, _ in results],
        "messages": [push.message_id for push, _ in results],
        "installations": [push.installation_id for push, _ in results],
        "states": [recorded.state for _, recorded in results],
        "reasons": [recorded.reason for _, recorded in results],
        "next_attempts": [recorded.next_attempt_at for _, recorded in results],
        "provider_ids": [recorded.provider_message_id for _, recorded in results],
        "is_counted": [recorded.is_counted for _, recorded in results],
        "tokens": [push.token.value for push, _ in results],
        "token_providers": [push.token.provider for push, _ in results],
        "tokens_registered": [push.token.registered_at for push, _ in results],
        "awaiting": list(awaiting),
    }
    dead = any(recorded.state == "TOKEN_REMOVED" and not push.is_push for push, recorded in results)
    async with db.write() as connection:
        await connection.execute(_RECORD, parameters)
    if dead:
        # In a transaction of its own: whoever opts out holds the member until the one above ends.
        async with db.write() as connection:
            await connection.execute(_DEAD, parameters)


_SERVICE = text(
    """
    SELECT coalesce(token.provider, delivery.channel)
      FROM push_deliveries AS delivery LEFT JOIN push_tokens AS token
        ON token.installation_id = delivery.installation_id AND delivery.channel = 'PUSH'
     WHERE delivery.batch_id = :batch AND delivery.state = 'QUEUED' LIMIT 1
    """
)


async def service_of(db: Database, batch_id: UUID) -> str:
    """By which service a batch goes; empty when nothing of it is queued."""
    async with db.read() as connection:
        found = await connection.execute(_SERVICE, {"batch": batch_id})
        return found.scalar() or ""


_COUNTS = text(
    """
    SELECT lower(channel),
           CASE WHEN state = 'QUEUED' AND reason = 'UNAUTHORISED' THEN 'unauthorised'
                WHEN reason IN ('HARD_BOUNCE', 'SOFT_BOUNCE') THEN 'bounced'
                WHEN awaits_receipt THEN 'awaited'
                ELSE lower(state) END, count(*)
      FROM push_deliveries WHERE changed_at > :since GROUP BY 1, 2
    """
)


async def push_counts(
    connection: AsyncConnection, *, now: datetime
) -> Mapping[tuple[str, str], int]:
    """Pushes, SMS and e-mails of the last day by channel and result, for the metrics.
    `unauthorised` ones wait for somebody to mend the provider's set-up."""
    rows = await connection.execute(_COUNTS, {"since": now - timedelta(days=1)})
    return {(channel, result): count for channel, result, count in rows}
