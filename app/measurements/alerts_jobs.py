"""The clock finds silent devices each hour, and looks at trends when they are due; a quarter of
an hour of a stream is judged when it is over."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.db import Database
from app.jobs.clock import clock
from app.jobs.queue import JobContext, job
from app.measurements import alerts, alerts_trends, silence

BATCH = 500


@clock("measurements.silent_devices", every=timedelta(hours=1))
async def _find_silent(context: JobContext, _payload: dict[str, Any]) -> None:
    await find_silent(context.db, now=context.now())


@clock("measurements.trends", every=timedelta(minutes=15))
async def _check_trends(context: JobContext, _payload: dict[str, Any]) -> None:
    await check_trends(context.db, now=context.now())


@job(alerts.QUARTER_JOB)
async def _judge_quarter(context: JobContext, payload: dict[str, Any]) -> None:
    async with context.db.transaction() as session:
        await alerts.judge_quarter(
            session,
            member_id=UUID(payload["member_id"]),
            starts_at=datetime.fromisoformat(payload["starts_at"]),
            now=context.now(),
        )


async def find_silent(db: Database, *, now: datetime, limit: int = BATCH) -> int:
    """All that are due at `now`, in batches that commit one by one; how many. Safe to run
    twice, in parallel, and after any downtime."""
    total = 0
    while True:
        async with db.transaction() as session:
            looked_at = await silence.find_silent(session, now=now, limit=limit)
        total += looked_at
        if looked_at < limit:
            return total


async def check_trends(db: Database, *, now: datetime, limit: int = BATCH) -> int:
    """As `find_silent`, of the members whose trends are due."""
    total = 0
    while True:
        async with db.transaction() as session:
            looked_at = await alerts_trends.check(session, now=now, limit=limit)
        total += looked_at
        if looked_at == 0:
            return total
