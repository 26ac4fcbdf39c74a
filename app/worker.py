"""The worker process: takes jobs, keeps the clock, and stops gently."""

import asyncio
import importlib
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from app import collector
from app.adapters import senders
from app.adapters.payment_http import HttpProvider
from app.adapters.payments import ByHand, PaymentProvider
from app.clock import wall_clock
from app.config import Mode, Settings
from app.db import Database
from app.events import Events
from app.jobs import clock, runner
from app.jobs.queue import JobContext
from app.observability import configure_logging
from app.payments import read_secrets

if sys.platform != "win32":
    import uvloop

JOB_MODULES = (
    "app.campaigns.jobs",
    "app.checkins.jobs",
    "app.health_tasks.jobs",
    "app.intake.jobs",
    "app.measurements.alerts_jobs",
    "app.measurements.retention_jobs",
    "app.members.contact_codes",
    "app.members.standing_jobs",
    "app.nudges.jobs",
    "app.points.jobs",
    "app.premiums.benefit_jobs",
    "app.premiums.jobs",
    "app.premiums.payment_jobs",
    "app.premiums.policy_jobs",
    "app.rewards.jobs",
    "app.risk.jobs",
    "app.services.jobs",
)
_GIVE_BACK_SECONDS = 3

_log = structlog.get_logger(__name__)


class NoDatabase(Exception):
    def __init__(self) -> None:
        super().__init__("Set WELLWARD_DATABASE_URL, or start everything with `wellward up`.")


def payment_provider(settings: Settings) -> PaymentProvider:
    """Call it inside the event loop that uses it. Raises ConfigurationError."""
    name, url = settings.payment_provider, settings.payment_url
    if name is None or url is None:
        return ByHand()
    return HttpProvider(name, url, read_secrets(settings)[name][0])


def import_jobs(modules: Sequence[str] = JOB_MODULES) -> None:
    """Have every domain register its handlers."""
    for name in modules:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise


async def run(
    settings: Settings,
    *,
    database_url: str | None = None,
    modules: Sequence[str] = JOB_MODULES,
    job_lease: timedelta = runner.LEASE,
    clock_lease: timedelta = clock.LEASE,
) -> None:
    """Work until SIGTERM or SIGINT, then finish running jobs within the settings' time.

    `database_url` is that of the embedded server. A database that goes away is waited for.
    Raises NoDatabase.
    """
    if database_url is None:
        if settings.database_url is None:
            raise NoDatabase
        database_url = settings.database_url.get_secret_value()
    session_url = (
        settings.listen_database_url.get_secret_value()
        if settings.listen_database_url
        else database_url
    )
    import_jobs(modules)
    collector.spare()
    db = Database.open(
        database_url,
        pool_size=settings.pool_size,
        pool_timeout_seconds=settings.pool_timeout_seconds,
        prepared_statements=settings.prepared_statements,
    )
    events = Events(session_url)
    push, payments = senders.from_settings(settings), payment_provider(settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    jobs = runner.Runner(
        session_url,
        JobContext(db, wall_clock, events, push, settings, payments),
        lease=job_lease,
    )
    try:
        await events.start()
        taking = asyncio.create_task(jobs.run(), name="jobs")
        ticking = asyncio.create_task(
            clock.keep(db, session_url, now=wall_clock, stopping=stopping, lease=clock_lease),
            name="clock",
        )
        _log.info("worker_started")
        await stopping.wait()
        _log.info("worker_stopping")
        await _finish(jobs, taking, settings.shutdown_timeout_seconds)
        await asyncio.wait({ticking}, timeout=_GIVE_BACK_SECONDS)
    finally:
        await events.close()
        if push is not None:
            await push.close()
        await payments.close()
        await db.close()
    _log.info("worker_stopped")


async def _finish(jobs: runner.Runner, taking: asyncio.Task[None], seconds: float) -> None:
    """Let running jobs end; after `seconds` give them back to the queue."""
    jobs.stop()
    await asyncio.wait({taking}, timeout=seconds)
    if taking.done():
        return
    _log.warning("jobs_interrupted")
    jobs.interrupt()
    await asyncio.wait({taking}, timeout=_GIVE_BACK_SECONDS)
    if not taking.done():
        jobs.abandon()
        taking.cancel()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop, as the web process has it: a push costs half. None where there is none."""
    if sys.platform == "win32":
        return None
    return uvloop.new_event_loop


def main() -> None:
    settings = Settings()
    configure_logging(settings.log_level, messages=settings.mode is Mode.DEVELOPMENT)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(run(settings))
    except NoDatabase as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
