"""Looking for mild conditions after what was recorded; the clock closes cases, applies redeemed
uplifts, and decides about complication covers. All of it is safe to run twice and in parallel,
and catches up after any downtime."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.jobs.clock import clock
from app.jobs.queue import JobContext, job
from app.premiums import complication_covers, cover_uplifts, mild_conditions

BATCH = 200

mild_conditions.follow_recordings()


@job(mild_conditions.JOB)
async def _look(context: JobContext, payload: dict[str, Any]) -> None:
    async with context.db.transaction() as session:
        await mild_conditions.look(session, member_id=UUID(payload["member_id"]), now=context.now())


@clock("premiums.close_mild_conditions", every=timedelta(hours=1))
async def _close(context: JobContext, _payload: dict[str, Any]) -> None:
    await close_over(context.db, now=context.now())


@clock("premiums.apply_cover_uplifts", every=timedelta(minutes=5))
async def _apply(context: JobContext, _payload: dict[str, Any]) -> None:
    await apply_uplifts(context.db, now=context.now())


@clock("premiums.decide_complication_covers", every=timedelta(hours=1))
async def _decide(context: JobContext, _payload: dict[str, Any]) -> None:
    await decide_covers(context.db, now=context.now())


async def close_over(db: Database, *, now: datetime, limit: int = BATCH) -> int:
    """All cases that are over, in batches that commit one by one; how many."""
    return await _all(
        db, lambda session: mild_conditions.close_over(session, limit=limit, now=now), limit
    )


async def apply_uplifts(db: Database, *, now: datetime, limit: int = BATCH) -> int:
    """All redeemed uplifts that wait, in batches that commit one by one; how many."""
    return await _all(
        db, lambda session: cover_uplifts.apply_rewards(session, limit=limit, now=now), limit
    )


async def decide_covers(db: Database, *, now: datetime, limit: int = BATCH) -> int:
    """About all policies that are due, in batches that commit one by one; how many."""
    await _all(db, lambda session: complication_covers.enter(session, limit=limit, now=now), limit)
    return await _all(
        db, lambda session: complication_covers.decide_due(session, limit=limit, now=now), limit
    )


async def _all(db: Database, batch: Callable[[AsyncSession], Awaitable[int]], limit: int) -> int:
    total = 0
    while True:
        async with db.transaction() as session:
            done = await batch(session)
        total += done
        if done < limit:
            return total
