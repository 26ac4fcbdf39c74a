"""Photos that nobody used are forgotten, and files that no photo has."""

from datetime import timedelta
from typing import Any

from app.adapters.storage import open_storage
from app.checkins import photos
from app.jobs.clock import clock
from app.jobs.queue import JobContext


@clock("checkins.forget_photos", every=timedelta(hours=1))
async def forget_photos(context: JobContext, _payload: dict[str, Any]) -> None:
    await photos.forget_unused(context.db, open_storage(context.settings), now=context.now())


@clock("checkins.forget_orphans", every=timedelta(days=1))
async def forget_orphans(context: JobContext, _payload: dict[str, Any]) -> None:
    await photos.forget_orphans(context.db, open_storage(context.settings), now=context.now())
