"""Holds whose time is over, released one member at a time."""

from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

import structlog
from sqlalchemy import DateTime, Uuid, bindparam, text

from app.db import Database
from app.points import holds

BATCH = 500

_log = structlog.get_logger(__name__)

_DUE = text(
    """select member_id, id, expires_at from points_holds
        where state = 'HELD' and expires_at <= :now and (expires_at, id) > (:after_at, :after_id)
        order by expires_at, id limit :limit"""
).bindparams(
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("after_at", type_=DateTime(timezone=True)),
    bindparam("after_id", type_=Uuid),
)


async def time_out_due(
    db: Database, *, now: datetime, failures: list[Exception] | None = None
) -> Collection[UUID]:
    """Release every hold whose time is over at `now`; whose they were. Each in a transaction
    of its own: any number of runs may go on at once, and one that is cut short is repeated.

    One that cannot be released does not keep the others: why is added to `failures`, or the
    first is raised at the end when there is no such list.
    """
    members: set[UUID] = set()
    failed = failures if failures is not None else []
    after_at, after_id = datetime.min.replace(tzinfo=UTC), UUID(int=0)
    while True:
        async with db.read() as connection:
            after = {"after_at": after_at, "after_id": after_id}
            due = (await connection.execute(_DUE, {"now": now, "limit": BATCH, **after})).all()
        for member_id, hold_id, expires_at in due:
            after_at, after_id = expires_at, hold_id
            try:
                if await _time_out(db, member_id, hold_id, now):
                    members.add(member_id)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                _log.error("hold_not_timed_out", hold_id=str(hold_id))
                failed.append(error)
        if len(due) < BATCH:
            break
    if failures is None and failed:
        raise failed[0]
    return members


async def _time_out(db: Database, member_id: UUID, hold_id: UUID, now: datetime) -> bool:
    """Whether it was still there to be released."""
    async with db.transaction() as session:
        try:
            await holds.time_out(session, member_id=member_id, hold_id=hold_id, now=now)
        except holds.HoldResolved:
            return False
    return True
