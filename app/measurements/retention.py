"""What is older than the programme keeps is deleted: in ranges of members, so that no statement
holds many rows for long. All versions of a reading share its local day, and go together; of the
newest height, the version in force stays."""

from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Date, DateTime, Integer, Uuid, bindparam, text

from app.db import Database

MEMBERS_A_RANGE = 500

_RANGE = text("""
select max(member_id::text)::uuid from (select member_id from members
  where member_id > :after order by member_id limit :members) range
""").bindparams(bindparam("after", type_=Uuid), bindparam("members", type_=Integer))
# Grown people do not grow: their height holds for as long as none is newer.
_NOT_NEWEST_HEIGHT = """
 and (code <> 'HEIGHT' or superseded_at is not null or exists (
  select 1 from measurements newer where newer.member_id = old.member_id
  and newer.code = 'HEIGHT' and newer.superseded_at is null
  and (newer.measured_at, newer.id) > (old.measured_at, old.id)))
"""
_DELETE = {
    table: text(
        f"delete from {table} old where member_id > :after and member_id <= :last"
        " and local_date < :first_kept" + (_NOT_NEWEST_HEIGHT if table == "measurements" else "")
    ).bindparams(
        bindparam("after", type_=Uuid),
        bindparam("last", type_=Uuid),
        bindparam("first_kept", type_=Date),
    )
    for table in ("measurements", "daily_totals", "daily_total_days", "measurement_streams")
}
# With the request that a member may repeat; what a clinic entered is told for as long as it is.
_FORGET = text("""
with asked as (
  delete from requests q using recordings r where q.owner > :after and q.owner <= :last
    and r.member_id = q.owner and r.id = q.result and r.recorded_at < :before
  returning r.member_id, r.id)
delete from recordings r using asked where r.member_id = asked.member_id and r.id = asked.id
""").bindparams(
    bindparam("after", type_=Uuid),
    bindparam("last", type_=Uuid),
    bindparam("before", type_=DateTime(timezone=True)),
)


class Kept(NamedTuple):
    """For how many days; None for ever."""

    readings_days: int | None
    """Readings and daily totals, and what was answered to requests that recorded them."""
    streams_days: int | None


async def delete_old(
    db: Database, kept: Kept, *, now: datetime, members_a_range: int = MEMBERS_A_RANGE
) -> AsyncIterator[int]:
    """How many rows have been deleted so far, after each range of members. Safe to run again,
    and after it was interrupted."""
    first_kept = _first_kept(kept, now)
    deleted, after = 0, UUID(int=0)
    while first_kept:
        async with db.transaction() as session:
            values: dict[str, Any] = {"after": after, "members": members_a_range}
            last = (await session.execute(_RANGE, values)).scalar_one()
            if last is None:
                return
            for table, day in first_kept.items():
                done = await session.execute(
                    _DELETE[table], {"after": after, "last": last, "first_kept": day}
                )
                deleted += done.rowcount
            if kept.readings_days is not None:
                before = now - timedelta(days=kept.readings_days)
                done = await session.execute(
                    _FORGET, {"after": after, "last": last, "before": before}
                )
                deleted += done.rowcount
        after = last
        yield deleted


def _first_kept(kept: Kept, now: datetime) -> dict[str, date]:
    """By table; those that are kept for ever are left out."""
    days = {
        "measurements": kept.readings_days,
        "daily_totals": kept.readings_days,
        "daily_total_days": kept.readings_days,
        "measurement_streams": kept.streams_days,
    }
    return {
        table: now.date() - timedelta(days=count)
        for table, count in days.items()
        if count is not None
    }
