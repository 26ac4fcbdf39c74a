"""The preview of a filter, and segments that employees keep."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry

from app.graphql.errors import UserError
from app.graphql.facets import Profile
from app.graphql.ids import GlobalId, Kind, decode, encode, parse
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.members import filter_names, filters, rules, segments, standing_history
from app.members.filter_graphql import MemberFilter, document_of, sent_form
from app.members.history_graphql import SegmentHistory, instant, load_rows
from app.members.rules import StaffRole
from app.members.sign_in import audit

if TYPE_CHECKING:
    from app.schema import Member

LazyMember = Annotated["Member", strawberry.lazy("app.schema")]
KEEPING = (StaffRole.CAMPAIGN_MANAGER, StaffRole.ADMIN)
"""Roles that keep segments."""
LOOKING = (*KEEPING, StaffRole.HEALTH_MANAGER, StaffRole.ACTUARY, StaffRole.AUDITOR)

JSON = strawberry.scalars.JSON


@strawberry.type
class SegmentPreview:
    document: strawberry.Private[filters.Filter]
    wanted: strawberry.Private[Any]

    @strawberry.field(
        description="In tens, rounded down, when the filter asks about somebody's health and the "
        "employee does not see every member."
    )
    async def count(self, info: Info) -> int:
        sees_all = rules.sees_all(info.context.viewer.roles)
        async with info.context.db.read() as reading:
            found = await segments.count(reading, self.wanted)
            hides = not sees_all and await segments.asks_of_health(reading, self.document)
        return segments.coarse(found) if hides else found

    @strawberry.field(
        description="Drawn at random, of those that the employee may see; at most 20."
    )
    async def sample(self, info: Info, first: int = 5) -> list[LazyMember]:
        context = info.context
        sees_all = rules.sees_all(context.viewer.roles)
        if not sees_all and StaffRole.HEALTH_MANAGER not in context.viewer.roles:
            return []
        async with context.db.read() as reading:
            found = await segments.sample(
                reading,
                self.wanted,
                seen_by=None if sees_all else context.staff_id,
                limit=max(0, min(first, segments.SAMPLE_MAX)),
            )
        await context.grant(found, audit)
        return [await context.members.load(info, member_id) for member_id in found]


@strawberry.type(description="Members that employees have named, by a filter or as a list.")
class SavedSegment(Node, SegmentHistory):
    name: str
    filter: JSON | None = strawberry.field(
        description="As it is sent in `MemberFilter`; null for a list."
    )
    member_count: int | None = strawberry.field(
        description="When it was last looked at; null before. In tens, rounded down, when the filter "
        "asks about somebody's health."
    )
    refreshed_at: datetime | None
    created_at: datetime
    archived_at: datetime | None

    @classmethod
    def of(cls, row: Any) -> "SavedSegment":
        return cls(
            id=strawberry.ID(segment_id(row.id)),
            row=row,
            name=row.name,
            filter=JSON(sent_form(row.definition, encode=segment_id)) if row.definition else None,
            member_count=row.counted,
            refreshed_at=row.refreshed_at,
            created_at=row.created_at,
            archived_at=row.archived_at,
        )


@strawberry.type(description="A member's stay in a saved segment.")
class SegmentMembership:
    segment: SavedSegment
    entered_at: datetime
    left_at: datetime | None = strawberry.field(description="Null while the member is in it.")


@strawberry.type
class SavedSegmentsOfMember:
    """The part of `Member` that is kept here."""

    profile: strawberry.Private[Profile]

    @strawberry.field(
        description="In which saved segments the member is and was, the latest entered first. "
        "For employees; members are told of none."
    )
    async def saved_segments(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[SegmentMembership]:
        size = page_size(first)
        cursor: Any = read_cursor(after, instant, UUID)
        may_look = not info.context.viewer.roles.isdisjoint(LOOKING)

        async def load(reading: Any, member_ids: list[UUID]) -> Mapping[UUID, Sequence[Any]]:
            if not may_look:
                return {member_id: () for member_id in member_ids}
            return await standing_history.segments_of(
                reading, member_ids, after=cursor, limit=size + 1
            )

        name = f"members.saved_segments.{size}.{after}"
        return connection(
            await load_rows(info, name, self.profile.member_id, load),
            size=size,
            after=after,
            node=lambda row: SegmentMembership(
                segment=SavedSegment.of(row), entered_at=row.entered_at, left_at=row.left_at
            ),
            key=lambda row: (row.entered_at.isoformat(), row.segment_id),
        )


def segment_id(id: UUID | str) -> str:
    return encode(Kind.SAVED_SEGMENT, UUID(str(id)))


@strawberry.input
class CreateSegmentInput:
    request_id: UUID
    name: str = strawberry.field(description="1 to 80 characters.")
    filter: MemberFilter


@strawberry.input
class ImportSegmentInput:
    request_id: UUID
    name: str = strawberry.field(description="1 to 80 characters.")
    csv: str = strawberry.field(
        description="One column, headed `id`, `login` or `phone` (E.164); at most 20000 lines."
    )
    skip_unknown: bool = strawberry.field(
        default=False,
        description="Import the others when lines name nobody; nothing is imported then otherwise.",
    )


@strawberry.input
class ArchiveSegmentInput:
    request_id: UUID
    segment_id: strawberry.ID


@strawberry.type
class SegmentPayload:
    replayed: bool
    segment: SavedSegment


@strawberry.type
class CreateSegmentPayload(SegmentPayload):
    pass


@strawberry.type
class ArchiveSegmentPayload(SegmentPayload):
    pass


@strawberry.type
class ImportSegmentPayload(SegmentPayload):
    members: int
    unknown_lines: list[int] = strawberry.field(
        description="Lines that name nobody, the header being line 1; at most 100."
    )
    duplicate_lines: list[int] = strawberry.field(
        description="Lines that name somebody again; at most 100."
    )


CreateSegmentResult = Annotated[
    CreateSegmentPayload | UserError, strawberry.union("CreateSegmentResult")
]
ImportSegmentResult = Annotated[
    ImportSegmentPayload | UserError, strawberry.union("ImportSegmentResult")
]
ArchiveSegmentResult = Annotated[
    ArchiveSegmentPayload | UserError, strawberry.union("ArchiveSegmentResult")
]


@strawberry.type
class SegmentsQuery:
    @strawberry.field(description="Staff only.")
    async def saved_segment(self, info: Info, id: strawberry.ID) -> SavedSegment | None:
        info.context.require_role(*LOOKING)
        named = parse(id)
        if named is None or named.kind is not Kind.SAVED_SEGMENT:
            return None
        return await _fetch_segment(info, named)

    @strawberry.field(
        description="Who a filter finds, before it is used. Staff only. Codes: FILTER_INVALID."
    )
    async def segment_preview(self, info: Info, filter: MemberFilter) -> SegmentPreview:
        context = info.context
        context.require_role(*LOOKING)
        document = document_of(filter)
        wanted = filters.condition(document, now=context.now)
        async with context.db.read() as reading:
            await filter_names.check(reading, document)
        return SegmentPreview(document=document, wanted=wanted)

    @strawberry.field(description="The newest first. Staff only.")
    async def saved_segments(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[SavedSegment]:
        info.context.require_role(*LOOKING)
        size = page_size(first)
        cursor = read_cursor(after, instant, UUID)
        async with info.context.db.read() as reading:
            rows = await segments.page(reading, after=cursor, limit=size + 1)  # type: ignore[arg-type]
        return connection(
            rows,
            size=size,
            after=after,
            node=SavedSegment.of,
            key=lambda row: (row.created_at.isoformat(), row.id),
        )


@strawberry.type
class SegmentsMutation:
    @strawberry.mutation(
        description="Campaign managers only. Codes: VALUE_OUT_OF_RANGE, FILTER_INVALID, "
        "REQUEST_REUSED."
    )
    async def create_segment(self, info: Info, input: CreateSegmentInput) -> CreateSegmentResult:
        context = info.context
        staff_id = context.require_role(*KEEPING)
        async with context.db.transaction() as session:
            row, replayed = await segments.create(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                name=input.name,
                document=document_of(input.filter),
                now=context.now,
            )
            return CreateSegmentPayload(replayed=replayed, segment=SavedSegment.of(row))

    @strawberry.mutation(
        description="Campaign managers only. Codes: VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def import_segment(self, info: Info, input: ImportSegmentInput) -> ImportSegmentResult:
        context = info.context
        staff_id = context.require_role(*KEEPING)
        async with context.db.transaction() as session:
            made = await segments.import_list(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                name=input.name,
                content=input.csv,
                skip_unknown=input.skip_unknown,
                now=context.now,
            )
            return ImportSegmentPayload(
                replayed=made.replayed,
                segment=SavedSegment.of(made.segment),
                members=made.members,
                unknown_lines=list(made.unknown_lines),
                duplicate_lines=list(made.duplicate_lines),
            )

    @strawberry.mutation(
        description="Campaign managers only; nobody is in it any more. Codes: NOT_FOUND, "
        "STATE_INVALID, REQUEST_REUSED."
    )
    async def archive_segment(self, info: Info, input: ArchiveSegmentInput) -> ArchiveSegmentResult:
        context = info.context
        staff_id = context.require_role(*KEEPING)
        named = decode(input.segment_id, Kind.SAVED_SEGMENT, field="segmentId")
        async with context.db.transaction() as session:
            row, replayed = await segments.archive(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                segment_id=named.owner_id,
                now=context.now,
            )
            return ArchiveSegmentPayload(replayed=replayed, segment=SavedSegment.of(row))


async def _fetch_segment(info: Info, id: GlobalId) -> SavedSegment | None:
    if not info.context.viewer.roles & set(LOOKING):
        return None
    async with info.context.db.read() as reading:
        row = await segments.one(reading, id.owner_id)
    return SavedSegment.of(row) if row else None


NODE_FETCHERS: dict[Kind, Fetch] = {Kind.SAVED_SEGMENT: _fetch_segment}
