"""Asking for an assessment: what lower and upper domains call, or enqueue by name."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.jobs import queue
from app.measurements.facts import ON_RECORDED, Touched
from app.members import service as members
from app.members.models import ConsentRecord
from app.members.rules import ConsentPurpose, ConsentState
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
    whatever else changes until then is assessed with it. What underwriting asks for has who is
    of high risk measured again also when they were so before (RSK-8)."""
    jobs = [
        queue.NewJob(
            {"member_id": str(member_id), "cause": cause.value},
            dedupe_key=_dedupe_key(member_id, cause),
        )
        for member_id in sorted(set(member_ids))
    ]
    if jobs:
        await queue.enqueue_many(session, JOB, jobs, now=now, run_at=now + DEBOUNCE)


def _dedupe_key(member_id: UUID, cause: Cause) -> str:
    """A job that waits takes over the payload of the next one with its key: a reading must not
    make another cause its own."""
    key = f"{JOB}:{member_id}"
    return key if cause is Cause.INPUTS_CHANGED else f"{key}:{cause}"


async def consented(session: AsyncSession, answered: ConsentRecord, now: datetime) -> None:
    """Follows an answer about a consent (see `members.service.ON_CONSENT`): what has changed
    while the use of health data was not allowed was never assessed."""
    if (answered.purpose, answered.state) == (ConsentPurpose.HEALTH_DATA, ConsentState.GRANTED):
        await inputs_changed(session, [answered.member_id], now=now)


async def recorded(session: AsyncSession, member_id: UUID, touched: Touched, now: datetime) -> None:
    """Follows what was measured (see `measurements.facts.ON_RECORDED`): totals of days and
    streams of sensors make no tier, so that they cost nothing here."""
    if any(it.code in CODES for it in touched.readings):
        await inputs_changed(session, [member_id], now=now)


def follow_recordings() -> None:
    """Have every recording and every consent ask for an assessment; the wiring of each process
    calls it."""
    if recorded not in ON_RECORDED:
        ON_RECORDED.append(recorded)
    if consented not in members.ON_CONSENT:
        members.ON_CONSENT.append(consented)
