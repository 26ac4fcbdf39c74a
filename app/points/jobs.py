"""By the clock: roots, what expires, what is announced, and holds whose time is over."""

from datetime import timedelta
from typing import Any

from app.events import Event
from app.graphql.ids import Kind, encode
from app.jobs.clock import clock
from app.jobs.queue import JobContext
from app.points import due_holds, expiry, roots


@clock("points.write_root", every=timedelta(hours=1), concurrency=1)
async def write_root(context: JobContext, payload: dict[str, Any]) -> None:
    await roots.write_root(context.db, context.settings.roots_path, now=context.now())


# Midnight comes on a quarter of an hour in every zone.
@clock("points.expire", every=timedelta(minutes=15), concurrency=2)
async def expire(context: JobContext, payload: dict[str, Any]) -> None:
    await expiry.announce(context.db, now=context.now())
    async for done in expiry.expire_all(context.db, now=context.now()):
        _publish(context, done.members)


@clock("points.time_out_holds", every=timedelta(minutes=1), concurrency=2)
async def time_out_holds(context: JobContext, payload: dict[str, Any]) -> None:
    failures: list[Exception] = []
    _publish(
        context, await due_holds.time_out_due(context.db, now=context.now(), failures=failures)
    )
    if failures:
        raise failures[0]


def _publish(context: JobContext, members: Any) -> None:
    context.events.publish(
        *(Event(member, "points", encode(Kind.POINTS_ACCOUNT, member)) for member in members)
    )
