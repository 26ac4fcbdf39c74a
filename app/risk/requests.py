"""Asking for an assessment: what lower and upper domains call, or enqueue by name."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.jobs import queue
from app.measurements.facts import ON_RECORDED, Touched
from app.risk.facts import CODES

JOB = "risk.reassess"
"""Domains below enqueue it by this name, with `payload` and `dedupe_key` as here."""
DEBOUNCE = timedelta(seconds=30)
"""An examination is many readings: they are assessed once, together."""


class Cause(StrEnum):
    """What an assessment was made for (RSK-4)."""

    ENROLMENT = "ENROLMENT"
    UNDERWRITING = "UNDERWRITING"
    CLAIM = "CLAIM"
    INPUTS_CHANGED = "INPUTS_CHANGED"
    """A reading, an answer, a condition or a medication."""
    TIME_PASSED = "TIME_PASSED"
    """A birthday, or readings that have become too old."""
    CONTESTED = "CONTESTED"
    RULES_CHANGED = "RULES_CHANGED"


async def inputs_changed(
    session: AsyncSession,
    member_ids: Iterable[UUID],
    *,
    now: datetime,
    cause: Cause = Cause.INPUTS_CHANGED,
) -> None:
    """Have these members assessed once this transaction has committed, half a minute later;
    whatever else changes until then is assessed with it."""
    jobs = [
        queue.NewJob(
            {"member_id": str(member_id), "cause": cause.value},
            dedupe_key=f"{JOB}:{member_id}",
        )
        for member_id in sorted(set(member_ids))
    ]
    if jobs:
        await queue.enqueue_many(session, JOB, jobs, now=now, run_at=now + DEBOUNCE)


async def recorded(session: AsyncSession, member_id: UUID, touched: Touched, now: datetime) -> None:
    """Follows what was measured (see `measurements.facts.ON_RECORDED`): totals of days and
    streams of sensors make no tier, so that they cost nothing here."""
    if any(it.code in CODES for it in touched.readings):
        await inputs_changed(session, [member_id], now=now)


def follow_recordings() -> None:
    """Have every recording ask for an assessment; the wiring of each process calls it."""
    if recorded not in ON_RECORDED:
        ON_RECORDED.append(recorded)
