"""The clock assigns and plans what runs."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from app.campaigns import assigning, planning, referrals, service
from app.campaigns import content as _content  # noqa: F401 - says what campaigns say
from app.campaigns import facts as _facts  # noqa: F401 - what domains know of members
from app.jobs.clock import clock
from app.jobs.queue import JobContext, job
from app.nudges import outreach


@job(service.ASSIGN_JOB)
async def assign(context: JobContext, payload: dict[str, Any]) -> None:
    """Assign, and plan at once what is due: nobody waits for the clock."""
    campaign_id = UUID(payload["campaign_id"])
    await assigning.assign(context.db, campaign_id, now=context.now())
    await planning.plan(context.db, campaign_id, now=context.now())


@clock("campaigns.plan", every=timedelta(seconds=10), concurrency=2)
async def plan(context: JobContext, _payload: dict[str, Any]) -> None:
    for campaign_id in await planning.running(context.db):
        await planning.plan(context.db, campaign_id, now=context.now())
    await planning.end_overdue(context.db, now=context.now())


@job(service.WITHDRAW_JOB)
async def withdraw(context: JobContext, payload: dict[str, Any]) -> None:
    """Out of the worklists with what a campaign wanted said that is over."""
    campaign_id = UUID(payload["campaign_id"])
    more = True
    while more:
        async with context.db.transaction() as session:
            more = await outreach.withdraw(session, campaign_id, now=context.now()) > 0


@clock("campaigns.assign_live", every=timedelta(minutes=10))
async def assign_live(context: JobContext, _payload: dict[str, Any]) -> None:
    """Go on where an assignment was cut short, and find whom live audiences have gained."""
    for campaign_id in await planning.running(context.db):
        async with context.db.transaction() as session:
            campaign = await assigning.lock_running(session, campaign_id)
            if campaign is not None:
                assigning.assign_anew(campaign)
        await assigning.assign(context.db, campaign_id, now=context.now())


@clock("campaigns.settle_referrals", every=timedelta(hours=1))
async def settle_referrals(context: JobContext, _payload: dict[str, Any]) -> None:
    now = context.now()
    async for _ in referrals.undo(context.db, now=now):
        pass
    async for _ in referrals.settle(context.db, now=now):
        pass
