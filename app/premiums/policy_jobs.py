"""What happens to policies by the clock, in batches that commit one by one."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.jobs.clock import clock
from app.jobs.queue import JobContext
from app.premiums import applications, clawbacks, collecting, offering, underwriting

BATCH = 200
CLAWBACK_BATCH = 20
"""Earnings that one transaction takes back: the member's wallet is locked meanwhile."""

_log = structlog.get_logger(__name__)


class Batch(Protocol):
    def __call__(self, session: AsyncSession, *, limit: int, now: datetime) -> Awaitable[int]: ...


async def run(db: Database, batch: Batch, *, now: datetime) -> int:
    """A batch after the other until nothing is left; how many in sum. Safe to run twice and in
    parallel, as each batch is."""
    total = 0
    while True:
        async with db.transaction() as session:
            done = await batch(session, limit=BATCH, now=now)
        total += done
        if done == 0:
            return total


def _by_the_clock(
    name: str, batch: Batch, every: timedelta
) -> Callable[[JobContext, dict[str, Any]], Awaitable[None]]:
    @clock(name, every=every)
    async def job(context: JobContext, _payload: dict[str, Any]) -> None:
        await run(context.db, batch, now=context.now())

    return job


_MINUTE = timedelta(minutes=1)
underwrite = _by_the_clock("premiums.underwrite", underwriting.look_at_waiting, _MINUTE)
begin = _by_the_clock("premiums.begin", applications.begin_due, _MINUTE)
close = _by_the_clock("premiums.close_applications", applications.close_due, _MINUTE)
offer = _by_the_clock("premiums.offer_renewals", offering.offer_due, _MINUTE)
issue = _by_the_clock("premiums.issue_invoices", collecting.issue_due, _MINUTE)
dun = _by_the_clock("premiums.dun", collecting.dun_due, _MINUTE)
lapse = _by_the_clock("premiums.lapse", collecting.lapse_due, _MINUTE)


@clock("premiums.claw_back", every=_MINUTE)
async def claw_back(context: JobContext, _payload: dict[str, Any]) -> None:
    await take_points_back(context.db, now=context.now())


async def take_points_back(db: Database, *, now: datetime) -> int:
    """Take back what is due at `now`; of how many policies. A member whose points cannot be
    taken back does not keep the others: the first error is raised at the end."""
    done, failed = 0, None
    tried: set[UUID] = set()
    while True:
        policy_id: UUID | None = None
        try:
            async with db.transaction() as session:
                found = await clawbacks.next_due(session, now=now, but=frozenset(tried))
                if found is None:
                    break
                policy_id = found.policy_id
                is_all = await clawbacks.take_back(session, found, limit=CLAWBACK_BATCH, now=now)
            done += is_all
        except Exception as error:
            if policy_id is None:
                raise
            _log.error("points_not_taken_back", policy_id=str(policy_id))
            tried.add(policy_id)
            failed = failed or error
    if failed is not None:
        raise failed
    return done
