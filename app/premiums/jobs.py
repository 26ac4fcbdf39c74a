"""The clock renews terms, recalculates each month, and rewrites projections after what changes
them: months that close, tiers, consents, credits."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.jobs.clock import clock
from app.jobs.queue import JobContext
from app.premiums import backfill, one_by_one, recalculating, renewal, service
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
    failed = None
    for start in range(0, len(member_ids), BATCH):
        failed = await _project(db, member_ids[start : start + BATCH], now=now) or failed
    # Past those who failed too: they are asked about again when something changes, or next month.
    async with db.transaction() as session:
        statement = insert(ProjectionMark).values(job=_MARK, changed_through=now)
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=["job"],
                set_={"changed_through": statement.excluded.changed_through},
                where=col(ProjectionMark.changed_through) < statement.excluded.changed_through,
            )
        )
    if failed is not None:
        raise failed
    return len(member_ids)


async def _project(db: Database, member_ids: Sequence[UUID], *, now: datetime) -> Exception | None:
    """What somebody's failed with; everybody else's is written."""

    async def work(session: AsyncSession, member_id: UUID | None) -> int:
        wanted = member_ids if member_id is None else [member_id]
        return await service.project(session, member_ids=wanted, now=now)

    try:
        async with db.transaction() as session:
            await work(session, None)
    except Exception:  # noqa: BLE001 - whatever it is, the others go on
        _, failed = await one_by_one.each(
            db, member_ids, work, event="projection_failed", until_done=False
        )
        return failed
    return None


async def renew_terms(db: Database, *, now: datetime) -> int:
    """Renew until nothing is due, so that several missed terms are made up for; how many."""
    await backfill.keep_past(db, now=now, due_by=now)

    async def work(session: AsyncSession, policy_id: UUID | None) -> int:
        return await service.renew_due(session, limit=BATCH, now=now, only=policy_id)

    async def due(session: AsyncSession) -> Sequence[UUID]:
        return await renewal.due(session, now=now)

    return await one_by_one.run(db, work, due, event="renewal_failed")
