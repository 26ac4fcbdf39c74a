"""Holds whose time is over, released one member at a time."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, bindparam, text

from app.db import Database
from app.points import holds

BATCH = 500

_DUE = text(
    """select member_id, id from points_holds where state = 'HELD' and expires_at <= :now
        order by expires_at, id limit :limit"""
).bindparams(bindparam("now", type_=DateTime(timezone=True)))


async def time_out_due(db: Database, *, now: datetime) -> Collection[UUID]:
    """Release every hold whose time is over at `now`; whose they were. Each in a transaction
    of its own: any number of runs may go on at once, and one that is cut short is repeated."""
    members: set[UUID] = set()
    while True:
        async with db.read() as connection:
            due = (await connection.execute(_DUE, {"now": now, "limit": BATCH})).all()
        for member_id, hold_id in due:
            if await _time_out(db, member_id, hold_id, now):
                members.add(member_id)
        if len(due) < BATCH:
            return members


async def _time_out(db: Database, member_id: UUID, hold_id: UUID, now: datetime) -> bool:
    """Whether it was still there to be released."""
    async with db.transaction() as session:
        try:
            await holds.time_out(session, member_id=member_id, hold_id=hold_id, now=now)
        except holds.HoldResolved:
            return False
    return True
