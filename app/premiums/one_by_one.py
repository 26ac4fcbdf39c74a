"""One member must never stop the others: what fails in a batch is done again one by one."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database

_log = structlog.get_logger(__name__)

Work = Callable[[AsyncSession, UUID | None], Awaitable[int]]
"""Does what is due: a batch of it, or for one of them; how many."""
Due = Callable[[AsyncSession], Awaitable[Sequence[UUID]]]
"""Whom `Work` may be asked for by name."""


async def run(db: Database, work: Work, due: Due, *, event: str) -> int:
    """Batch after batch, each in a transaction of its own, until nothing is due; how many.

    When a batch fails, everybody who is due has a transaction of their own. The first error of
    somebody who failed alone too is raised at the end.
    """
    total = 0
    while True:
        try:
            done = await _once(db, work, None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            _log.warning("batch_failed", work=event, error=type(error).__name__)
            break
        total += done
        if done == 0:
            return total
    async with db.transaction() as session:
        ids = await due(session)
    done, failed = await each(db, ids, work, event=event)
    if failed is not None:
        raise failed
    return total + done


async def each(
    db: Database, ids: Sequence[UUID], work: Work, *, event: str, until_done: bool = True
) -> tuple[int, Exception | None]:
    """Each alone, `until_done` or once; how many, and the first error. A failure is logged as
    `event` by id and kind: what an error says may be about somebody's health."""
    total, failed = 0, None
    for id in ids:
        try:
            while done := await _once(db, work, id):
                total += done
                if not until_done:
                    break
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            _log.error(event, id=str(id), error=type(error).__name__)
            failed = failed or error
    return total, failed


async def _once(db: Database, work: Work, id: UUID | None) -> int:
    async with db.transaction() as session:
        return await work(session, id)
