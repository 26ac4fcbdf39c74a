"""Assessing when an input changed, and when time has."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import DateTime, Integer, bindparam, text

from app.db import Database
from app.jobs.clock import clock
from app.jobs.queue import JobContext, job
from app.risk import requests, service
from app.risk.requests import Cause

_log = structlog.get_logger(__name__)
BATCH = 250
EVERY = timedelta(days=30)
"""How old a check may become: birthdays, and readings that grow too old, are seen by then."""

_STALE = text("""
select p.member_id from risk_profiles p
where p.checked_at is null or p.checked_at <= :before
order by p.checked_at nulls first, p.member_id limit :limit
""").bindparams(
    bindparam("before", type_=DateTime(timezone=True)), bindparam("limit", type_=Integer)
)
_TOUCH = text("""
update risk_profiles set checked_at = :now
where member_id = any(:member_ids) and (checked_at is null or checked_at <= :before)
""")


requests.follow_recordings()


@job(requests.JOB)
async def reassess(context: JobContext, payload: dict[str, Any]) -> None:
    async with context.db.transaction() as session:
        await service.assess(
            session,
            member_id=UUID(payload["member_id"]),
            cause=Cause(payload.get("cause", Cause.INPUTS_CHANGED)),
            now=context.now(),
        )


@clock("risk.check_again", every=timedelta(hours=1))
async def check_again(context: JobContext, _payload: dict[str, Any]) -> None:
    async for _ in assess_stale(context.db, now=context.now()):
        pass


async def assess_stale(db: Database, *, now: datetime) -> AsyncIterator[int]:
    """Assess who was not checked for a month or never, in batches that commit one by one; how
    many each time. Who has withdrawn the consent keeps the tier of before, and is asked again
    in a month. A batch in which somebody's assessment fails becomes a job for each of them, so
    that nobody else waits for it."""
    before = now - EVERY
    while True:
        async with db.read() as connection:
            rows = await connection.execute(_STALE, {"before": before, "limit": BATCH})
            member_ids = list(rows.scalars())
        if not member_ids:
            return
        touched = {"now": now, "before": before, "member_ids": member_ids}
        try:
            async with db.transaction() as session:
                await service.assess_many(session, member_ids, cause=Cause.TIME_PASSED, now=now)
                await session.execute(_TOUCH, touched)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one member's
            _log.error("risk_batch_failed", members=len(member_ids), error=type(error).__name__)
            async with db.transaction() as session:
                await requests.inputs_changed(session, member_ids, now=now, cause=Cause.TIME_PASSED)
                await session.execute(_TOUCH, touched)
        yield len(member_ids)
