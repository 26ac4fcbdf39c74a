"""The clock renews terms, recalculates each month, and rewrites projections after what changes
them: months that close, tiers, consents, credits."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import DateTime, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col

from app.db import Database
from app.jobs.clock import clock
from app.jobs.queue import JobContext
from app.premiums import backfill, recalculating, service
from app.premiums.models import ProjectionMark

BATCH = 500

OVERLAP = timedelta(minutes=10)
"""Months are read again this far back: a transaction may commit later than its `now`."""

_MARK = "premiums.project"
_CHANGED = text("""
select member_id from participation_months where changed_at > :since and changed_at <= :now
union select member_id from risk_profiles where assessed_at > :since and assessed_at <= :now
union select member_id from consents where recorded_at > :since and recorded_at <= :now
union select member_id from pending_benefits where granted_at > :since and granted_at <= :now
order by 1
""").bindparams(
    bindparam("since", type_=DateTime(timezone=True)),
    bindparam("now", type_=DateTime(timezone=True)),
)


@clock("premiums.project", every=timedelta(minutes=1))
async def project(context: JobContext, payload: dict[str, Any]) -> None:
    await refresh_projections(context.db, now=context.now())


@clock("premiums.renew", every=timedelta(minutes=1))
async def renew(context: JobContext, payload: dict[str, Any]) -> None:
    await renew_terms(context.db, now=context.now())


@clock("premiums.recalculate", every=timedelta(hours=1))
async def recalculate(context: JobContext, payload: dict[str, Any]) -> None:
    await recalculating.recalculate(context.db, now=context.now())


@clock("premiums.keep_past", every=timedelta(days=1))
async def keep_past(context: JobContext, payload: dict[str, Any]) -> None:
    await backfill.keep_past(context.db, now=context.now())


async def refresh_projections(db: Database, *, now: datetime) -> int:
    """Project every member of whom something changed since the last run that a premium rests
    on: months, tier, consents, redeemed credits; how many. Readings and what else is measured
    come with the next assessment, and at the latest with the next month.

    Batches commit one by one, so a run that is cut short goes on where it stopped; reading
    a month twice writes the same projection twice.
    """
    async with db.transaction() as session:
        mark = await session.get(ProjectionMark, _MARK)
        since = mark.changed_through - OVERLAP if mark else datetime.min.replace(tzinfo=now.tzinfo)
    async with db.read() as connection:
        rows = await connection.execute(_CHANGED, {"since": since, "now": now})
        member_ids = list(rows.scalars())
    for start in range(0, len(member_ids), BATCH):
        async with db.transaction() as session:
            batch = member_ids[start : start + BATCH]
            await service.project(session, member_ids=batch, now=now)
    async with db.transaction() as session:
        statement = insert(ProjectionMark).values(job=_MARK, changed_through=now)
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=["job"],
                set_={"changed_through": statement.excluded.changed_through},
                where=col(ProjectionMark.changed_through) < statement.excluded.changed_through,
            )
        )
    return len(member_ids)


async def renew_terms(db: Database, *, now: datetime) -> int:
    """Renew until nothing is due, so that several missed terms are made up for; how many."""
    await backfill.keep_past(db, now=now, due_by=now)
    total = 0
    while True:
        async with db.transaction() as session:
            renewed = await service.renew_due(session, limit=BATCH, now=now)
        total += renewed
        if renewed == 0:
            return total
