"""Giving back what was reserved and not used in time."""

from datetime import datetime, timedelta
from typing import Any

import structlog

from app.db import Database
from app.jobs.clock import clock
from app.jobs.queue import JobContext
from app.services import queries, service

BATCH = 200

_log = structlog.get_logger(__name__)


@clock("services.expire", every=timedelta(minutes=5), concurrency=1)
async def _expire(context: JobContext, _payload: dict[str, Any]) -> None:
    await expire_due(context.db, now=context.now())


async def expire_due(db: Database, *, now: datetime, limit: int = BATCH) -> int:
    """Give back every unit whose time is over at `now`, each in a transaction of its own; how
    many there were. Safe to run twice and in parallel. One that cannot be given back does not
    keep the others: the first error is raised at the end."""
    total = 0
    after: queries.Due | None = None
    failed: Exception | None = None
    while True:
        async with db.read() as connection:
            due = await queries.due(connection, now=now, after=after, limit=limit)
        for after in due:
            try:
                async with db.transaction() as session:
                    total += await service.expire(
                        session, member_id=after.member_id, use_id=after.use_id, now=now
                    )
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                _log.error("reservation_not_expired", use_id=str(after.use_id))
                failed = failed or error
        if len(due) < limit:
            break
    if failed is not None:
        raise failed
    return total
