"""Fulfilling what was redeemed, and giving back what nobody fulfilled in time."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from app.db import Database
from app.events import Event, Events
from app.graphql.ids import Kind, encode
from app.jobs.clock import clock
from app.jobs.queue import JobContext, job
from app.rewards import fulfilment, queries, redemptions
from app.rewards.service import FULFIL_JOB

BATCH = 200

_log = structlog.get_logger(__name__)


@job(FULFIL_JOB, concurrency=8)
async def _fulfil(context: JobContext, payload: dict[str, Any]) -> None:
    member_id = UUID(payload["member_id"])
    async with context.db.transaction() as session:
        fulfilled = await fulfilment.fulfil(
            session,
            member_id=member_id,
            redemption_id=UUID(payload["redemption_id"]),
            now=context.now(),
        )
    if fulfilled:
        _publish(context.events, member_id)


@clock("rewards.expire", every=timedelta(minutes=1), concurrency=1)
async def _expire(context: JobContext, _payload: dict[str, Any]) -> None:
    await expire_due(context.db, now=context.now(), events=context.events)


async def expire_due(db: Database, *, now: datetime, events: Events | None = None) -> int:
    """Give back points and stock of every redemption whose time is over at `now`, each in a
    transaction of its own; how many there were. Safe to run twice and in parallel. One that
    cannot be given back does not keep the others: the first error is raised at the end."""
    total = 0
    after: queries.Due | None = None
    failed: Exception | None = None
    while True:
        async with db.read() as connection:
            due = await queries.due(connection, now=now, after=after, limit=BATCH)
        for after in due:
            member_id, redemption_id, _ = after
            try:
                async with db.transaction() as session:
                    expired = await redemptions.expire(
                        session, member_id=member_id, redemption_id=redemption_id, now=now
                    )
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                _log.error("redemption_not_expired", redemption_id=str(redemption_id))
                failed = failed or error
                continue
            total += expired
            if expired and events is not None:
                _publish(events, member_id)
        if len(due) < BATCH:
            break
    if failed is not None:
        raise failed
    return total


def _publish(events: Events, member_id: UUID) -> None:
    events.publish(Event(member_id, "points", encode(Kind.POINTS_ACCOUNT, member_id)))
