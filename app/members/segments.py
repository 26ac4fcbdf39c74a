"""Segments that employees keep: filters, and lists that were imported, with their history."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Uuid, bindparam, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.jobs import queue as jobs
from app.members import directory, filter_names, filters, ranges, requests, segment_lists
from app.members.directory import Condition
from app.members.models import Member
from app.members.standing_models import SavedSegment, SegmentMembership
from app.texts import Text

NAME_MAX = 80
SAMPLE_MAX = 20
LINES_MAX = 100
COARSE = 10
"""Counts of people chosen by their health are told in steps of this."""
RANGE = 50_000
"""Members that one statement of a refresh looks at."""
REFRESH_JOB = "members.refresh_segment"


class NameInvalid(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"名称须为 1 至 {NAME_MAX} 个字符。",
                en=f"A name has 1 to {NAME_MAX} characters.",
            ),
            field="name",
        )


class FilterRefused(UserError):
    """A filter that makes no sense, where it would be kept."""

    def __init__(self, error: filters.FilterInvalid) -> None:
        said = str(error)
        super().__init__(
            ErrorCode.FILTER_INVALID, Text(zh=f"筛选条件无效：{said}", en=said), field=error.path
        )


class Archived(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(zh="该人群已归档。", en="This segment is archived."),
            field="segmentId",
        )


def checked(wanted: filters.Filter, *, now: datetime) -> Condition:
    """The condition of a filter that is to be kept. Raises FilterRefused."""
    try:
        return filters.condition(wanted, now=now)
    except filters.FilterInvalid as error:
        raise FilterRefused(error) from error


async def check_saved(
    session: AsyncSession, wanted: filters.Filter, *, filled: bool = False
) -> None:
    """That the segments and codes which a filter names are there; with `filled`, that the
    segments' members were found. An empty one would be no exclusion. Raises FilterRefused."""
    try:
        await filter_names.check(await session.connection(), wanted, filled=filled)
    except filters.FilterInvalid as error:
        raise FilterRefused(error) from error


async def asks_of_health(connection: AsyncConnection, wanted: filters.Filter) -> bool:
    """Whether a filter asks about somebody's health, itself or by the segments it names."""
    asked, seen = [wanted], set[UUID]()
    while asked:
        if any(filters.fields(it) & filters.HEALTH_FIELDS for it in asked):
            return True
        named = {id for it in asked for _, id in filters.saved_segments(it)} - seen
        seen |= named
        inside = select(col(SavedSegment.definition)).where(
            col(SavedSegment.id).in_(named), col(SavedSegment.kind) == "FILTER"
        )
        asked = list((await connection.execute(inside)).scalars()) if named else []
    return False


def coarse(count: int) -> int:
    """A count of people chosen by their health, in tens: it tells of no single person."""
    return count - count % COARSE


# Who is found


def found(condition: Condition) -> Any:
    """Select of the members that a condition finds; nobody who is erased."""
    return select(col(Member.member_id)).where(col(Member.erased_at).is_(None), condition)


async def count(connection: AsyncConnection, condition: Condition) -> int:
    statement = select(func.count()).select_from(found(condition).subquery())
    return int((await connection.execute(statement)).scalar_one())


async def sample(
    connection: AsyncConnection, condition: Condition, *, seen_by: UUID | None, limit: int
) -> Sequence[UUID]:
    """Some of them at random; of those that `seen_by` looks after, unless it is None."""
    statement = found(condition)
    if seen_by is not None:
        ground = text(directory.has_ground()).bindparams(bindparam("staff_id", seen_by, Uuid))
        statement = statement.where(ground)
    statement = statement.order_by(func.random()).limit(limit)
    return (await connection.execute(statement)).scalars().all()


# Keeping


async def create(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    name: str,
    document: filters.Filter,
    now: datetime,
) -> tuple[SavedSegment, bool]:
    """Keep a filter under a name; its members are found by a job. The segment, and whether this
    request was answered before. Raises NameInvalid, FilterRefused, RequestReused."""
    values = {"name": name, "filter": document}
    made, replayed = await _claim(session, "createSegment", staff_id, request_id, values, now)
    if replayed:
        return await _get(session, made), True
    checked(document, now=now)
    await check_saved(session, document)
    segment = _segment(made, name, staff_id, now, kind="FILTER", definition=dict(document))
    session.add(segment)
    await session.flush()
    await jobs.enqueue(session, REFRESH_JOB, {"segment_id": str(made)}, now=now)
    return segment, False


@dataclass(frozen=True, slots=True)
class Imported:
    segment: SavedSegment
    members: int
    unknown_lines: Sequence[int]
    """Line numbers that name nobody, the header being line 1; at most `LINES_MAX` of them."""
    duplicate_lines: Sequence[int]
    """Those that name somebody again."""
    replayed: bool = False


async def import_list(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    name: str,
    content: str,
    skip_unknown: bool = False,
    now: datetime,
) -> Imported:
    """A segment of the members that a CSV names, one a line, by id, login or phone. Of all of
    them, unless lines that name nobody shall be skipped.

    Raises NameInvalid, ListInvalid, RequestReused.
    """
    values = {"name": name, "csv": content, "skipUnknown": skip_unknown}
    made, replayed = await _claim(session, "importSegment", staff_id, request_id, values, now)
    by, named = segment_lists.read(content)
    known = await segment_lists.look_up(session, by, list(named.values()))
    unknown = [line for line, value in named.items() if value not in known]
    first_line: dict[UUID, int] = {}
    for line, value in named.items():
        if value in known:
            first_line.setdefault(known[value], line)
    duplicates = [
        line for line, value in named.items() if value in known and first_line[known[value]] != line
    ]
    members = sorted(first_line)
    lines = unknown[:LINES_MAX], duplicates[:LINES_MAX]
    if replayed:
        return Imported(await _get(session, made), len(members), *lines, replayed=True)
    if unknown and not (skip_unknown and members):
        raise segment_lists.named_nobody(unknown)
    segment = _segment(made, name, staff_id, now, kind="LIST")
    segment.counted, segment.refreshed_at = len(members), now
    session.add(segment)
    await session.flush()
    await session.execute(_ENTER, {"segment": made, "members": members, "now": now})
    return Imported(segment, len(members), *lines)


async def archive(
    session: AsyncSession, *, staff_id: UUID, request_id: UUID, segment_id: UUID, now: datetime
) -> tuple[SavedSegment, bool]:
    """Take a segment out of the list; nobody is in it any more. Raises NotFound, Archived."""
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="archiveSegment",
        values={"segmentId": segment_id},
        result=segment_id,
        now=now,
    )
    if earlier is not None:
        return await _get(session, segment_id), True
    segment = await session.get(SavedSegment, segment_id, with_for_update=True)
    if segment is None:
        raise NotFound(field="segmentId")
    if segment.archived_at is not None:
        raise Archived
    segment.archived_at, segment.counted = now, 0
    await session.execute(_LEAVE_ALL, {"segment": segment_id, "now": now})
    return segment, False


async def _claim(
    session: AsyncSession,
    operation: str,
    staff_id: UUID,
    request_id: UUID,
    values: Mapping[str, Any],
    now: datetime,
) -> tuple[UUID, bool]:
    made = new_id(now)
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation=operation,
        values=values,
        result=made,
        now=now,
    )
    return (earlier, True) if earlier is not None else (made, False)


def _segment(
    id: UUID, name: str, staff_id: UUID, now: datetime, *, kind: str, definition: Any = None
) -> SavedSegment:
    name = name.strip()
    if not 1 <= len(name) <= NAME_MAX or "\0" in name:
        raise NameInvalid
    return SavedSegment(
        id=id,
        name=name,
        kind=kind,
        definition=definition or {},
        created_by=staff_id,
        created_at=now,
    )


async def _get(session: AsyncSession, segment_id: UUID) -> SavedSegment:
    return await session.get_one(SavedSegment, segment_id)


# Who is in it

_NOW = bindparam("now", type_=DateTime(timezone=True))
_ENTER = text("""
insert into segment_memberships (member_id, segment_id, entered_at)
select member_id, :segment, :now from unnest(:members) as m (member_id)
on conflict do nothing
""").bindparams(bindparam("segment", type_=Uuid), bindparam("members", type_=ARRAY(Uuid)), _NOW)
_LEAVE_ALL = text("""
update segment_memberships set left_at = greatest(:now, entered_at)
where segment_id = :segment and left_at is null
""").bindparams(bindparam("segment", type_=Uuid), _NOW)
_INSIDE = text("""
select count(*) from segment_memberships where segment_id = :segment and left_at is null
""").bindparams(bindparam("segment", type_=Uuid))


async def refresh(db: Database, segment_id: UUID, *, now: datetime) -> AsyncIterator[int]:
    """Who has come into a filter's segment since, and who is in it no more: in ranges of
    members that commit one by one; how many changed in each. Nothing of an archived one."""
    after: UUID | None = ranges.FIRST
    while after is not None:
        async with db.transaction() as session:
            segment = await session.get(SavedSegment, segment_id, with_for_update=True)
            if segment is None or segment.archived_at is not None or not segment.definition:
                return
            upto = await ranges.upto(session, after, RANGE)
            if upto is not None:
                yield await _refresh_range(session, segment, after, upto, now=now)
            else:
                connection = await session.connection()
                size = (await connection.execute(_INSIDE, {"segment": segment_id})).scalar_one()
                hides = await asks_of_health(connection, segment.definition)
                segment.counted, segment.refreshed_at = coarse(size) if hides else size, now
            after = upto


async def _refresh_range(
    session: AsyncSession, segment: SavedSegment, after: UUID, upto: UUID, *, now: datetime
) -> int:
    wanted = found(filters.condition(segment.definition, now=now)).where(
        col(Member.member_id) > after, col(Member.member_id) <= upto
    )
    inside = aliased(SegmentMembership)
    current = select(col(inside.member_id)).where(
        col(inside.segment_id) == segment.id, col(inside.left_at).is_(None)
    )
    table = SegmentMembership.__table__  # type: ignore[attr-defined]
    left = await session.execute(
        table.update()
        .where(
            table.c.segment_id == segment.id,
            table.c.left_at.is_(None),
            table.c.member_id > after,
            table.c.member_id <= upto,
            table.c.member_id.not_in(wanted.correlate(None)),
        )
        .values(left_at=func.greatest(now, table.c.entered_at))
    )
    rows = wanted.where(col(Member.member_id).not_in(current)).subquery()
    entered = await session.execute(
        table.insert().from_select(
            ["member_id", "segment_id", "entered_at"],
            select(
                rows.c.member_id,
                bindparam("segment", segment.id, Uuid),
                bindparam("now", now, DateTime(timezone=True)),
            ),
        )
    )
    return int(left.rowcount + entered.rowcount)  # type: ignore[attr-defined]


async def due(db: Database) -> Sequence[UUID]:
    """Segments by filter that are kept up."""
    statement = select(col(SavedSegment.id)).where(
        col(SavedSegment.kind) == "FILTER", col(SavedSegment.archived_at).is_(None)
    )
    async with db.read() as connection:
        return (await connection.execute(statement)).scalars().all()


async def page(
    connection: AsyncConnection, *, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Any]:
    """Rows with the columns of `saved_segments` that are not archived, the newest first."""
    key = tuple_(col(SavedSegment.created_at), col(SavedSegment.id))
    statement = select(SavedSegment).where(col(SavedSegment.archived_at).is_(None))
    if after is not None:
        statement = statement.where(key < tuple_(*after))
    statement = statement.order_by(
        col(SavedSegment.created_at).desc(), col(SavedSegment.id).desc()
    ).limit(limit)
    return (await connection.execute(statement)).all()


async def one(connection: AsyncConnection, segment_id: UUID) -> Any:
    """The row, or None."""
    statement = select(SavedSegment).where(col(SavedSegment.id) == segment_id)
    return (await connection.execute(statement)).one_or_none()
