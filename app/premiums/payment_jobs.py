"""The clock tells the payment provider what has come to be collected or paid back."""

from datetime import timedelta
from typing import Any

from app.jobs.clock import clock
from app.jobs.queue import JobContext
from app.premiums import telling


@clock("premiums.tell_provider", every=timedelta(seconds=10))
async def tell_provider(context: JobContext, _payload: dict[str, Any]) -> None:
    await telling.tell_due(context)
