"""How members came to stand where they stand, and who was in a saved segment when."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Date, DateTime, Integer, Uuid, bindparam, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from app.members import directory, filters
from app.members.models import Member
from app.members.rules import ConsentPurpose, ConsentState
from app.members.standing_models import SegmentMembership
from app.texts import Text

WHY: Mapping[str, Text] = {
    "no_cover_yet": Text(zh="还没有生效的保障。", en="No cover yet."),
    "cover_began": Text(zh="保障开始。", en="The cover began."),
    "new_no_more": Text(zh="保障开始已满 7 天。", en="Covered for 7 days."),
    "no_use_for_a_year": Text(zh="一年没有使用。", en="No use for a year."),
    "used_again": Text(zh="重新开始使用。", en="Used again."),
    "cover_ended": Text(zh="保障结束。", en="The cover ended."),
}
"""The reasons of `lifecycle_rules.stage`, in words."""

Cursor = tuple[datetime, UUID]

_EVENTS = text("""
select found.* from unnest(:member_ids) as asked (member_id)
cross join lateral (
  select e.* from standing_events e where e.member_id = asked.member_id and e.kind = :kind
    and (cast(:at as timestamptz) is null or (e.recorded_at, e.id) < (:at, cast(:id as uuid)))
  order by e.recorded_at desc, e.id desc limit :limit) found
order by found.recorded_at desc, found.id desc
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("at", type_=DateTime(timezone=True)),
    bindparam("limit", type_=Integer),
)


async def events(
    reading: AsyncConnection,
    member_ids: Sequence[UUID],
    *,
    kind: str,
    after: Cursor | None,
    limit: int,
) -> Mapping[UUID, Sequence[Any]]:
    """Of each member at most `limit` changes of a kind, the last to be noted first."""
    at, id = after or (None, None)
    wanted = {"member_ids": list(member_ids), "kind": kind, "at": at, "id": id, "limit": limit}
    found: dict[UUID, list[Any]] = {member_id: [] for member_id in member_ids}
    for row in await reading.execute(_EVENTS, wanted):
        found[row.member_id].append(row)
    return found


# Saved segments

_OF_MEMBER = text("""
select found.*, s.id, s.name, s.kind, s.definition, s.counted, s.refreshed_at, s.created_at,
  s.archived_at
from unnest(:member_ids) as asked (member_id)
cross join lateral (
  select m.* from segment_memberships m join saved_segments a on a.id = m.segment_id
  where m.member_id = asked.member_id
    and (not a.definition::text ~ :of_health or coalesce((
      select c.state = 'GRANTED' from consents c where c.member_id = m.member_id
        and c.purpose = 'HEALTH_DATA' order by c.version desc limit 1), false))
    and (cast(:at as timestamptz) is null or (m.entered_at, m.segment_id) < (:at, cast(:id as uuid)))
  order by m.entered_at desc, m.segment_id desc limit :limit) found
join saved_segments s on s.id = found.segment_id
order by found.entered_at desc, found.segment_id desc
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("at", type_=DateTime(timezone=True)),
    bindparam("limit", type_=Integer),
)


async def segments_of(
    reading: AsyncConnection, member_ids: Sequence[UUID], *, after: Cursor | None, limit: int
) -> Mapping[UUID, Sequence[Any]]:
    """Of each member at most `limit` stays in saved segments, the latest entered first: rows
    with the columns of `saved_segments` and of the stay. Those that tell of somebody's health
    while the member consents to its use."""
    at, id = after or (None, None)
    # What names other segments may do so by them.
    names = "|".join(sorted(filters.HEALTH_FIELDS | {"savedSegments"}))
    wanted: dict[str, Any] = {"member_ids": list(member_ids), "at": at, "id": id, "limit": limit}
    wanted["of_health"] = f'"({names})":'
    found: dict[UUID, list[Any]] = {member_id: [] for member_id in member_ids}
    for row in await reading.execute(_OF_MEMBER, wanted):
        found[row.member_id].append(row)
    return found


async def stays(
    reading: AsyncConnection,
    segment_id: UUID,
    *,
    seen_by: UUID | None,
    consenting: bool,
    after: Cursor | None,
    limit: int,
) -> Sequence[Any]:
    """Who was in a segment from when until when, the latest entered first; of the members that
    `seen_by` looks after, unless it is None; with `consenting` of those only who consent to the
    use of their health data."""
    key = tuple_(col(SegmentMembership.entered_at), col(SegmentMembership.member_id))
    statement = (
        select(SegmentMembership)
        .join(Member, col(Member.member_id) == col(SegmentMembership.member_id))
        .where(col(SegmentMembership.segment_id) == segment_id, col(Member.erased_at).is_(None))
    )
    if seen_by is not None:
        ground = text(directory.has_ground()).bindparams(bindparam("staff_id", seen_by, Uuid))
        statement = statement.where(ground)
    if consenting:
        agrees = directory.with_consent(ConsentPurpose.HEALTH_DATA, [ConsentState.GRANTED])
        statement = statement.where(agrees)
    if after is not None:
        statement = statement.where(key < tuple_(*after))
    order = (col(SegmentMembership.entered_at).desc(), col(SegmentMembership.member_id).desc())
    return (await reading.execute(statement.order_by(*order).limit(limit))).all()


_DAYS = text("""
select day, sum(entered)::bigint as entered, sum(gone)::bigint as gone from (
  select (entered_at at time zone 'UTC')::date as day, 1 as entered, 0 as gone
    from segment_memberships where segment_id = :segment
  union all
  select (left_at at time zone 'UTC')::date, 0, 1
    from segment_memberships where segment_id = :segment and left_at is not null) moved
where cast(:before as date) is null or day < :before
group by day order by day desc limit :limit
""").bindparams(
    bindparam("segment", type_=Uuid),
    bindparam("before", type_=Date),
    bindparam("limit", type_=Integer),
)


async def days(
    reading: AsyncConnection, segment_id: UUID, *, before: date | None, limit: int
) -> Sequence[Any]:
    """How many entered and left on each day (UTC) on which any did, the newest first."""
    wanted = {"segment": segment_id, "before": before, "limit": limit}
    return (await reading.execute(_DAYS, wanted)).all()
