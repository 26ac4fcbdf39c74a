"""By the clock: what is older than the programme keeps."""

from datetime import timedelta
from typing import Any

import structlog

from app.jobs.clock import clock
from app.jobs.queue import JobContext
from app.measurements.retention import Kept, delete_old

_log = structlog.get_logger(__name__)


@clock("measurements.delete_old", every=timedelta(days=7), concurrency=1)
async def delete_what_is_old(context: JobContext, _payload: dict[str, Any]) -> None:
    settings = context.settings
    kept = Kept(settings.readings_kept_days or None, settings.streams_kept_days or None)
    async for deleted in delete_old(context.db, kept, now=context.now()):
        _log.info("old_measurements_deleted", rows=deleted)
