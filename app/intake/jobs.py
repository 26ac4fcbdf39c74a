"""Events of gateways are read as they come, and forgotten when nobody sends them again."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from app.intake.gateways import processing, receiving
from app.intake.gateways.signatures import Gateway
from app.jobs.clock import clock
from app.jobs.queue import JobContext, job


@job(receiving.JOB, concurrency=8)
async def read_event(context: JobContext, payload: dict[str, Any]) -> None:
    await processing.process(
        context.db,
        member_id=UUID(payload["member"]),
        gateway=Gateway(payload["gateway"]),
        event_id=payload["event"],
        now=context.now(),
    )


@clock("intake.forget_events", every=timedelta(hours=1), concurrency=1)
async def forget_events(context: JobContext, _payload: dict[str, Any]) -> None:
    await processing.forget(context.db, now=context.now())
