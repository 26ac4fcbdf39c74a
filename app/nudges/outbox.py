"""Pushes of a leased batch: mark a group as attempting, record how it ended.

A row is ATTEMPTING from just before its request until its result is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Uuid

from app.db import Database
from app.nudges import gate, leases, rules
from app.nudges.leases import Lease
from app.nudges.standing import standings

RELEVANT_FOR = timedelta(hours=1)
"""From planning on: a reminder that comes later than this does more harm than good."""


@dataclass(frozen=True, slots=True)
class Token:
    """Where a push goes; it is shown to nobody but the provider."""

    value: str = field(repr=False)
    provider: str
    registered_at: datetime


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


_DUE = text(
    f"""
    SELECT delivery.member_id, delivery.message_id, delivery.installation_id, delivery.attempts,
           message.topic, message.template, message.planned_at,
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
     WHERE installation_id = ANY(:installations)
     ORDER BY token, provider FOR SHARE
    """
).bindparams(bindparam("installations", type_=ARRAY(Uuid)))
_MARK = text(
    """
    UPDATE push_deliveries AS delivery
       SET state = CASE WHEN looked_at.reason IS NULL THEN 'ATTEMPTING' ELSE 'SUPPRESSED' END,
           reason = looked_at.reason,
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
       AND held_back.reason IS NOT NULL AND NOT message.in_inbox
       AND NOT EXISTS (
           SELECT FROM push_deliveries AS other
            WHERE other.member_id = message.member_id AND other.message_id = message.id
              AND other.state <> 'SUPPRESSED')
    """
)


async def next_group(
    db: Database, lease: Lease, *, provider: str | None, limit: int, now: datetime
) -> Group | None:
    """Ask the gate again about the next `limit` due pushes and commit as attempting those
    that may go out now; None when the lease was lost.

    `provider` is the name of who sends here.
    """
    async with db.transaction() as session:
        connection = await session.connection()
        # Also keeps the batch from being taken over before this has committed.
        if not await leases.extend(connection, lease, now=now):
            return None
        found = await connection.execute(
            _DUE, {"batch": lease.batch_id, "limit": limit, "now": now}
        )
        due = found.all()
        if not due:
            return Group(0, ())
        tokens = await _tokens(connection, [row.installation_id for row in due])
        standing = await standings(session, {row.member_id for row in due}, now=now)
        reasons = [
            _refusal(
                row,
                tokens.get((row.member_id, row.installation_id)),
                standing.get(row.member_id),
                provider=provider,
                now=now,
            )
            for row in due
        ]
        marked = {
            "members": [row.member_id for row in due],
            "messages": [row.message_id for row in due],
            "installations": [row.installation_id for row in due],
            "reasons": reasons,
            "now": now,
        }
        await connection.execute(_MARK, marked)
        if any(reasons):
            await connection.execute(_WENT_NOWHERE, marked)
    pushes = [
        Push(
            member_id=row.member_id,
            message_id=row.message_id,
            installation_id=row.installation_id,
            token=tokens[row.member_id, row.installation_id],
            template=row.template,
            locale=standing[row.member_id].locale,
            attempts=row.attempts + 1,
            expires_at=row.planned_at + RELEVANT_FOR,
        )
        for row, reason in zip(due, reasons, strict=True)
        if reason is None
    ]
    return Group(len(due), pushes)


async def _tokens(
    connection: AsyncConnection, installations: Sequence[UUID]
) -> Mapping[tuple[UUID, UUID], Token]:
    """By (member, installation), locked until the commit."""
    rows = await connection.execute(_TOKENS, {"installations": installations})
    return {
        (row.member_id, row.installation_id): Token(row.token, row.provider, row.registered_at)
        for row in rows
    }


def _refusal(
    row: Any,
    token: Token | None,
    standing: gate.Standing | None,
    *,
    provider: str | None,
    now: datetime,
) -> gate.Refusal | None:
    if token is None:
        return gate.Refusal.NO_ADDRESS
    if standing is None or row.is_stale:
        return gate.Refusal.NOT_RELEVANT
    if now >= row.planned_at + RELEVANT_FOR:
        return gate.Refusal.EXPIRED
    # The log stands in for every provider.
    if provider is None or provider not in ("log", token.provider.lower()):
        return gate.Refusal.NO_PROVIDER
    topic = gate.Topic(row.topic)
    return gate.refusal(standing, topic=topic, channel=gate.Channel.PUSH, now=now)


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
           attempting_since = NULL, provider_message_id = ended.provider_id, changed_at = :now
      FROM ended
     WHERE delivery.member_id = ended.member_id AND delivery.message_id = ended.message_id
       AND delivery.installation_id = ended.installation_id AND delivery.state = 'ATTEMPTING'
    """
)


async def record(db: Database, results: Sequence[tuple[Push, Recorded]], *, now: datetime) -> None:
    """Write how a group ended, in one statement. A token that the provider does not know any
    more is forgotten, unless it was registered anew meanwhile. What another worker has given
    up as UNKNOWN stays so."""
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
    }
    async with db.write() as connection:
        await connection.execute(_RECORD, parameters)


_COUNTS = text(
    """
    SELECT CASE WHEN state = 'QUEUED' AND reason = 'UNAUTHORISED' THEN 'unauthorised'
                ELSE lower(state) END, count(*)
      FROM push_deliveries WHERE changed_at > :since GROUP BY 1
    """
)


async def push_counts(connection: AsyncConnection, *, now: datetime) -> Mapping[str, int]:
    """Pushes of the last day by result, for the metrics. `unauthorised` ones wait for somebody
    to mend the provider's set-up."""
    rows = await connection.execute(_COUNTS, {"since": now - timedelta(days=1)})
    return {result: count for result, count in rows}
