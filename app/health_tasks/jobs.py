"""The clock closes periods each minute; late check-ins restate closed months."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from app.db import Database
from app.events import Event, Events
from app.graphql.ids import Kind, encode
from app.health_tasks import closing, rechecks
from app.jobs.clock import clock
from app.jobs.queue import JobContext, job

BATCH_MEMBERS = 200


@clock("health_tasks.close_periods", every=timedelta(minutes=1))
async def _close(context: JobContext, payload: dict[str, Any]) -> None:
    await close_periods(context.db, now=context.now(), events=context.events)


@clock("health_tasks.take_rechecks", every=timedelta(minutes=1))
async def _take_rechecks(context: JobContext, payload: dict[str, Any]) -> None:
    await take_rechecks(context.db, now=context.now(), events=context.events)


async def take_rechecks(
    db: Database, *, now: datetime, events: Events | None = None, limit: int = BATCH_MEMBERS
) -> int:
    """Make tasks of all re-checks that risk has proposed, in batches that commit one by one;
    how many proposals there were."""
    total = 0
    while True:
        async with db.transaction() as session:
            taken = await rechecks.take(session, limit=limit, now=now)
        total += len(taken)
        if events is not None:
            made = [it.assignment for it in taken if it.assignment is not None]
            events.publish(
                *(
                    Event(
                        it.member_id, "task", encode(Kind.TASK, it.member_id, it.id, it.starts_on)
                    )
                    for it in made
                )
            )
        if len(taken) < limit:
            return total


@job("health_tasks.restate_month")
async def _restate(context: JobContext, payload: dict[str, Any]) -> None:
    async with context.db.transaction() as session:
        await closing.restate_month(
            session,
            member_id=UUID(payload["member_id"]),
            month=date.fromisoformat(payload["month"]),
            now=context.now(),
        )


async def close_periods(
    db: Database, *, now: datetime, events: Events | None = None, limit: int = BATCH_MEMBERS
) -> int:
    """Close every period that is over at `now`, in batches of `limit` members that commit one
    by one; how many members had one. `events` is told what each batch changed. Safe to run
    twice, in parallel, and after any downtime: a period is closed once, and each member's in
    order."""
    total = 0
    while True:
        async with db.transaction() as session:
            closed = await closing.close_batch(session, members=limit, now=now)
        if closed.members == 0:
            return total
        total += closed.members
        if events is not None:
            events.publish(*_changes(closed))


def _changes(closed: closing.Closed) -> Iterator[Event]:
    for member_id, assignment_id, starts_on in closed.tasks:
        yield Event(member_id, "task", encode(Kind.TASK, member_id, assignment_id, starts_on))
    for member_id in closed.paid:
        yield Event(member_id, "points", encode(Kind.POINTS_ACCOUNT, member_id))
