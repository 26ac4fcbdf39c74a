"""The clock plans what is due and finds what a dead worker left; batches are sent as jobs."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from app.jobs.clock import clock
from app.jobs.queue import JobContext, job
from app.nudges import (
    alert_notices,
    leases,
    links,
    nudging,
    planning,
    points_notices,
    policy_content,
    policy_notices,
    queued,
    releasing,
    rhythms,
    tokens,
)
from app.nudges.dispatch import dispatch

_log = structlog.get_logger(__name__)
_SOURCES = (policy_content,)
"""Modules that register what they send when they are imported."""


@clock(planning.PLAN_JOB, every=timedelta(seconds=5), concurrency=2)
async def plan(context: JobContext, _payload: dict[str, Any]) -> None:
    """Several may run at once; one that died with its worker must not keep the next waiting."""
    while True:
        planned = await planning.plan_due(context.db, now=context.now())
        context.events.publish(*planned.arrived)
        if planned.reminders < planning.PLANNED_MAX:
            return


@job(queued.DISPATCH_JOB, concurrency=8)
async def send_batch(context: JobContext, payload: dict[str, Any]) -> None:
    """So few at a time leave other jobs their turn when a million reminders are due at 8."""
    await dispatch(context, UUID(payload["batch"]))


@clock("nudges.recover", every=timedelta(seconds=10), concurrency=2)
async def recover(context: JobContext, _payload: dict[str, Any]) -> None:
    await leases.recover(context.db, now=context.now())


@clock("nudges.points_notices", every=timedelta(minutes=15), concurrency=2)
async def tell_of_expiring_points(context: JobContext, _payload: dict[str, Any]) -> None:
    """What the ledger has announced."""
    while (told := await points_notices.tell(context.db, now=context.now())).notices:
        context.events.publish(*told.arrived)


@clock("nudges.policy_notices", every=timedelta(minutes=5), concurrency=1)
async def tell_of_policies(context: JobContext, _payload: dict[str, Any]) -> None:
    """What has become of them."""
    while (told := await policy_notices.tell(context.db, now=context.now())).notices:
        context.events.publish(*told.arrived)


@clock("nudges.alert_notices", every=timedelta(seconds=10), concurrency=2)
async def tell_of_alerts(context: JobContext, _payload: dict[str, Any]) -> None:
    """What readings, or their absence, have raised."""
    while (told := await alert_notices.tell(context.db, now=context.now())).looked_at:
        context.events.publish(*told.arrived)


@clock("nudges.policies", every=timedelta(minutes=1), concurrency=2)
async def plan_policies(context: JobContext, _payload: dict[str, Any]) -> None:
    """Whose hour has come somewhere. Several may run at once: each takes another run. One that
    fails does not keep the others waiting; it is tried again the next minute."""
    await nudging.begin(context.db, now=context.now())
    failed: set[UUID] = set()
    while True:
        try:
            planned = await nudging.plan_range(context.db, now=context.now(), without=failed)
        except nudging.PlanningFailed as error:
            _log.error("nudge_planning_failed", policy=error.policy.code)
            failed.add(error.policy.id)
            continue
        if planned is None:
            return


@clock("nudges.release", every=timedelta(seconds=5), concurrency=2)
async def release(context: JobContext, _payload: dict[str, Any]) -> None:
    while True:
        released = await releasing.release(context.db, now=context.now())
        context.events.publish(*released.arrived)
        if released.looked_at < releasing.BATCH:
            return


@clock("nudges.drop_cancelled", every=timedelta(minutes=1))
async def drop_cancelled(context: JobContext, _payload: dict[str, Any]) -> None:
    while await releasing.drop_cancelled(context.db):
        pass


@clock("nudges.rhythms", every=timedelta(days=1), offset=timedelta(hours=18))
async def learn_rhythms(context: JobContext, _payload: dict[str, Any]) -> None:
    """In the night of those who live in China."""
    await rhythms.learn(context.db, now=context.now())


@clock("nudges.links", every=timedelta(hours=1))
async def forget_links(context: JobContext, _payload: dict[str, Any]) -> None:
    """Those whose time is over."""
    gone = 1
    while gone:
        async with context.db.write() as connection:
            gone = await links.prune(connection, now=context.now())


@clock("nudges.tokens", every=timedelta(days=1), offset=timedelta(hours=19))
async def age_tokens(context: JobContext, _payload: dict[str, Any]) -> None:
    await tokens.age(context.db, now=context.now())
