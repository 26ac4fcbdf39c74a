"""The clock keeps up where members stand."""

from datetime import timedelta
from typing import Any

from app.jobs.clock import clock
from app.jobs.queue import JobContext
from app.members import standing_service


@clock("members.notice_use", every=timedelta(minutes=10))
async def notice_use(context: JobContext, _payload: dict[str, Any]) -> None:
    await standing_service.notice_use(context.db, now=context.now())


@clock("members.refresh_standing", every=timedelta(minutes=5))
async def refresh_standing(context: JobContext, _payload: dict[str, Any]) -> None:
    async for _ in standing_service.refresh_due(context.db, now=context.now()):
        pass
