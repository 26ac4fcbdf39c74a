"""The clock writes a root every hour."""

from datetime import timedelta
from typing import Any

from app.jobs.clock import clock
from app.jobs.queue import JobContext
from app.points import roots


@clock("points.write_root", every=timedelta(hours=1), concurrency=1)
async def write_root(context: JobContext, payload: dict[str, Any]) -> None:
    await roots.write_root(context.db, context.settings.roots_path, now=context.now())
