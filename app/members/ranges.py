"""All members, range by range in the order of their ids: for jobs that go through everybody."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Integer, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

FIRST = UUID(int=0)
"""After which all members come."""

_UPTO = text("""
select member_id from (select member_id from members where member_id > :after
  order by member_id limit :size) range order by member_id desc limit 1
""").bindparams(bindparam("after", type_=Uuid), bindparam("size", type_=Integer))
# One look into the index for each zone in which there are members.
_ZONES = text("""
with recursive known as (
  (select time_zone from members order by time_zone limit 1)
  union all
  select (select time_zone from members where time_zone > known.time_zone
           order by time_zone limit 1)
    from known where known.time_zone is not null)
select time_zone from known where time_zone is not null
""")


async def upto(session: AsyncSession, after: UUID, size: int) -> UUID | None:
    """The last of the next `size` members after this one; None when there is nobody left."""
    found: UUID | None = (await session.execute(_UPTO, {"after": after, "size": size})).scalar()
    return found


async def zones(session: AsyncSession) -> Sequence[str]:
    """In which there are members, as they were written down."""
    return (await session.execute(_ZONES)).scalars().all()
