"""The clock renews terms and rewrites projections after months have closed."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select

from app.db import Database
from app.health_tasks.models import ParticipationMonth
from app.jobs.clock import clock
from app.jobs.queue import JobContext
from app.premiums import service
from app.premiums.models import ProjectionMark

BATCH = 500

OVERLAP = timedelta(minutes=10)
"""Months are read again this far back: a transaction may commit later than its `now`."""

_MARK = "premiums.project"


@clock("premiums.project", every=timedelta(minutes=1))
async def project(context: JobContext, payload: dict[str, Any]) -> None:
    await refresh_projections(context.db, now=context.now())


@clock("premiums.renew", every=timedelta(minutes=1))
async def renew(context: JobContext, payload: dict[str, Any]) -> None:
    await renew_terms(context.db, now=context.now())


async def refresh_projections(db: Database, *, now: datetime) -> int:
    """Project every member whose months changed since the last run; how many.

    Batches commit one by one, so a run that is cut short goes on where it stopped; reading
    a month twice writes the same projection twice.
    """
    async with db.transaction() as session:
        mark = await session.get(ProjectionMark, _MARK)
        since = mark.changed_through - OVERLAP if mark else datetime.min.replace(tzinfo=now.tzinfo)
    changed = col(ParticipationMonth.changed_at)
    async with db.read() as connection:
        rows = await connection.execute(
            select(ParticipationMonth.member_id)
            .where(changed > since, changed <= now)
            .distinct()
            .order_by(col(ParticipationMonth.member_id))
        )
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
    total = 0
    while True:
        async with db.transaction() as session:
            renewed = await service.renew_due(session, limit=BATCH, now=now)
        total += renewed
        if renewed == 0:
            return total
