"""The clock keeps up where members stand, and who is in the segments that employees keep."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from app.jobs.clock import clock
from app.jobs.queue import JobContext, job
from app.members import segments, standing_service


@clock("members.notice_use", every=timedelta(minutes=10))
async def notice_use(context: JobContext, _payload: dict[str, Any]) -> None:
    await standing_service.notice_use(context.db, now=context.now())


@clock("members.refresh_standing", every=timedelta(minutes=5))
async def refresh_standing(context: JobContext, _payload: dict[str, Any]) -> None:
    async for _ in standing_service.refresh_due(context.db, now=context.now()):
        pass


@job(segments.REFRESH_JOB)
async def refresh_segment(context: JobContext, payload: dict[str, Any]) -> None:
    async for _ in segments.refresh(context.db, UUID(payload["segment_id"]), now=context.now()):
        pass


@clock("members.refresh_segments", every=timedelta(hours=1))
async def refresh_segments(context: JobContext, _payload: dict[str, Any]) -> None:
    for segment_id in await segments.due(context.db):
        async for _ in segments.refresh(context.db, segment_id, now=context.now()):
            pass
