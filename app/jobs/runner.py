"""Runs queued jobs in a worker: pgqueuer's queue manager, kept alive and stopped gently."""

import asyncio
import contextlib
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import asyncpg
import structlog
from pgqueuer import errors, models
from pgqueuer.db import AsyncpgDriver
from pgqueuer.executors import AbstractEntrypointExecutor, EntrypointExecutorParameters
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries

from app.db import driver_url
from app.jobs import queue

LEASE = timedelta(seconds=20)
"""A job without a sign of life for so long is given to another worker."""
POLL = timedelta(seconds=5)
"""How long a lost notification, or a lease that ran out, may go unnoticed."""
BATCH_SIZE = 10
RUNNING_MAX = 20
BACKOFF_SECONDS = (0.2, 10.0)

_log = structlog.get_logger(__name__)


class JobFailed(Exception):
    """What the queue's log keeps of a dead letter: a class name and a correlation id."""


class Runner:
    """Takes jobs until it is stopped, and starts anew whenever the database was away."""

    def __init__(self, url: str, context: queue.JobContext, *, lease: timedelta = LEASE) -> None:
        """`url` must lead to a session of its own, for LISTEN."""
        self._url = driver_url(url)
        self._context = context
        self._lease = lease
        self._stopping = asyncio.Event()
        self._interrupted = False
        self._manager: QueueManager | None = None
        self._connection: asyncpg.Connection[Any] | None = None
        self._running: set[asyncio.Task[queue.Failed | None]] = set()

    async def run(self) -> None:
        """Until `stop`; running jobs are finished first."""
        shortest, longest = BACKOFF_SECONDS
        pause = shortest
        while not self._stopping.is_set():
            try:
                await self._take_jobs()
                pause = shortest
            except Exception as error:  # noqa: BLE001 - whatever it is, the work goes on
                _log.warning("queue_disconnected", error=type(error).__name__, exc_info=error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
                pause = min(pause * 2, longest)

    def stop(self) -> None:
        """Take no more jobs."""
        self._stopping.set()
        if self._manager is not None:
            self._manager.shutdown.set()

    def interrupt(self) -> None:
        """Give running jobs back to the queue, to be run again at once."""
        self._interrupted = True
        for task in self._running:
            task.cancel()

    def abandon(self) -> None:
        """Cut the connection. pgqueuer deletes a job whose task is cancelled from outside;
        without a connection it cannot, and the job's lease runs out instead."""
        if self._connection is not None:
            self._connection.terminate()

    async def _take_jobs(self) -> None:
        connection = await asyncpg.connect(
            self._url,
            timeout=10,
            command_timeout=30,
            server_settings={"application_name": "wellward-queue", "timezone": "UTC"},
        )
        self._connection = connection
        try:
            manager = self._manager = QueueManager(Queries(AsyncpgDriver(connection)))
            # Otherwise the next poll would be the first to find out.
            connection.add_termination_listener(lambda _: manager.shutdown.set())
            for registered in queue.HANDLERS.values():
                manager.register_executor(registered.name, self._executor(registered))
            if self._stopping.is_set():
                return
            await manager.run(
                dequeue_timeout=POLL,
                batch_size=BATCH_SIZE,
                max_concurrent_tasks=RUNNING_MAX,
                heartbeat_timeout=self._lease,
            )
        finally:
            self._manager = None
            connection.terminate()

    def _executor(self, registered: queue.Registration) -> AbstractEntrypointExecutor:
        return _Executor(
            EntrypointExecutorParameters(
                func=_never,
                concurrency_limit=registered.concurrency,
                on_failure="hold",  # the default deletes what has failed for good
            ),
            self,
        )

    async def attempt(self, job: models.Job) -> queue.Failed | None:
        """Run the job in a task of its own, so that it can be interrupted without telling
        pgqueuer that it was cancelled."""
        task = asyncio.create_task(
            queue.attempt(self._context, job.entrypoint, job.id, job.payload, attempts=job.attempts)
        )
        self._running.add(task)
        if self._interrupted:
            task.cancel()
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            self._running.discard(task)
        if task.cancelled():
            return queue.Failed("Interrupted", timedelta(0))
        return task.result()


class _Executor(AbstractEntrypointExecutor):
    def __init__(self, parameters: EntrypointExecutorParameters, runner: Runner) -> None:
        super().__init__(parameters)
        self._runner = runner

    async def execute(self, job: models.Job, context: models.Context) -> None:
        failed = await self._runner.attempt(job)
        if failed is None:
            return
        if failed.retry_in is None:
            raise JobFailed(failed.reason)
        raise errors.RetryRequested(delay=failed.retry_in, reason=failed.reason)


def _never(_job: models.Job) -> Awaitable[None]:
    """pgqueuer wants a function beside the executor; the executor does not call it."""
    raise AssertionError
