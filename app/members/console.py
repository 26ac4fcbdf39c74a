"""The console's way in: the signed-in employee, colleagues, and the members they may see."""

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app.errors import RequestFailed, Unauthenticated
from app.graphql.facets import Facet
from app.graphql.ids import GlobalId, Kind, encode
from app.graphql.node import Fetch, Info
from app.graphql.paging import (
    PAGE,
    Connection,
    PageInfo,
    connection,
    page_size,
    read_cursor,
    write_cursor,
)
from app.members import directory, filters, rules
from app.members.confirming import Contact
from app.members.filter_graphql import MemberFilter, document_of
from app.members.graphql import LazyMember
from app.members.rules import StaffRole
from app.members.sign_in import audit

if TYPE_CHECKING:
    from app.risk.graphql import RiskTier
    from app.schema import Staff

LazyStaff = Annotated["Staff", strawberry.lazy("app.schema")]
LazyTier = Annotated["RiskTier", strawberry.lazy("app.risk.graphql")]


class SearchInvalid(RequestFailed):
    pass


# What is known of a member for the console


@strawberry.enum
class DeadContact(StrEnum):
    PHONE = "PHONE"
    EMAIL = "EMAIL"


@strawberry.type
class MemberContact:
    """The part of `Member` by which staff find somebody."""

    login: str | None = strawberry.field(
        description="The name the member signs in with; null when they never could. Seen by "
        "whoever may see the member."
    )
    phone: str | None = strawberry.field(
        description="E.164; null when it is not known. Seen by whoever may see the member."
    )
    email: str | None = strawberry.field(
        description="Null when it is not known. Seen by whoever may see the member."
    )
    dead_contacts: list[DeadContact] = strawberry.field(
        description="Of phone and e-mail those that refuse messages for good; not used until they "
        "are changed or confirmed anew."
    )
    unverified_contacts: list[Contact] = strawberry.field(
        description="Of phone and e-mail those that are set and not confirmed: nothing but the "
        "code is sent there (`verifyContact`)."
    )


LOGIN = """
(select s.login from member_sign_ins s where s.member_id = members.member_id
 order by s.issuer, s.subject limit 1)
"""
FACETS = (
    Facet(field="login", attribute="login", sql=LOGIN, read=lambda value, _: value),
    Facet(field="phone", attribute="phone", sql="members.phone", read=lambda value, _: value),
    Facet(field="email", attribute="email", sql="members.email", read=lambda value, _: value),
    Facet(
        field="deadContacts",
        attribute="dead_contacts",
        sql="""array_remove(array[case when members.phone_dead_at is not null then 'PHONE' end,
          case when members.email_dead_at is not null then 'EMAIL' end], null)""",
        read=lambda value, _: [DeadContact(it) for it in value],
    ),
    Facet(
        field="unverifiedContacts",
        attribute="unverified_contacts",
        sql="""array_remove(array[
          case when members.phone is not null and members.phone_verified_at is null
            then 'PHONE' end,
          case when members.email is not null and members.email_verified_at is null
            then 'EMAIL' end], null)""",
        read=lambda value, _: [Contact(it) for it in value],
    ),
)


# Lists


@strawberry.type
class MemberEdge:
    cursor: str
    member_id: strawberry.Private[UUID]

    @strawberry.field
    async def node(self, info: Info) -> LazyMember:
        return await info.context.members.load(info, self.member_id)  # type: ignore[no-any-return]


@strawberry.type
class MemberConnection:
    edges: list[MemberEdge]
    page_info: PageInfo


def _members(found: Sequence[UUID], *, size: int, after: str | None) -> MemberConnection:
    edges = [MemberEdge(cursor=write_cursor(id), member_id=id) for id in found[:size]]
    return MemberConnection(
        edges=edges,
        page_info=PageInfo(
            has_next_page=len(found) > size,
            has_previous_page=after is not None,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
    )


def _search(text: str | None) -> str | None:
    """None finds everybody. Raises SearchInvalid."""
    if text is None or not text.strip():
        return None
    if len(text) > directory.SEARCH_LENGTH_MAX or "\0" in text:
        raise SearchInvalid("`search` must be at most 100 characters of text.")
    return text.strip()


# Employees


def _staff(info: Info, row: Any) -> Any:
    """A `Staff`, as the wiring has composed it, from a row with the columns of `staff`."""
    composed: Any = info.schema.get_type_by_name("Staff")
    return composed.origin(
        id=strawberry.ID(encode(Kind.STAFF, row.staff_id)),
        display_name=row.display_name,
        roles=[StaffRole(role) for role in row.roles],
        staff_id=row.staff_id,
    )


async def load_staff(info: Info, staff_id: UUID) -> Any:
    """An employee, or None; loads of one moment share one statement."""
    state = info.context.state
    if "members.staff" not in state:

        async def load(staff_ids: list[UUID]) -> list[Any]:
            async with info.context.db.read() as reading:
                rows = await directory.employees(reading, staff_ids)
            found = {row.staff_id: _staff(info, row) for row in rows}
            return [found.get(staff_id) for staff_id in staff_ids]

        state["members.staff"] = DataLoader(load_fn=load)
    return await state["members.staff"].load(staff_id)


@strawberry.type
class ConsoleQuery:
    @strawberry.field(description="The signed-in employee. Staff only.")
    async def staff(self, info: Info) -> LazyStaff:
        found = await load_staff(info, info.context.staff_id)
        if found is None:
            raise Unauthenticated
        return found  # type: ignore[no-any-return]

    @strawberry.field(
        description="Members that the signed-in employee may see, the newest first: a health "
        "manager those they look after. `search` is a part of the name, login or telephone "
        "number. Staff only; each read is audited. Codes: FILTER_INVALID."
    )
    async def members(
        self,
        info: Info,
        search: str | None = None,
        filter: MemberFilter | None = None,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> MemberConnection:
        context = info.context
        staff_id = context.require_role(StaffRole.HEALTH_MANAGER, *rules.SEES_EVERY_MEMBER)
        sees_all = rules.sees_all(context.viewer.roles)
        size = page_size(first)
        cursor = read_cursor(after, UUID)
        wanted = filters.condition(document_of(filter), now=context.now) if filter else None
        async with context.db.read() as reading:
            found = await directory.find(
                reading,
                seen_by=None if sees_all else staff_id,
                search=_search(search),
                condition=wanted,
                after=cursor[0] if cursor else None,
                limit=size + 1,
            )
        await context.grant(found[:size], audit)
        return _members(found, size=size, after=after)

    @strawberry.field(description="Active health managers by name, to hand over to. Staff only.")
    async def health_managers(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[LazyStaff]:
        _ = info.context.staff_id
        size = page_size(first)
        cursor = read_cursor(after, UUID)
        async with info.context.db.read() as reading:
            rows = await directory.health_managers(
                reading, after=cursor[0] if cursor else None, limit=size + 1
            )
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: _staff(info, row),
            key=lambda row: (row.staff_id,),
        )


async def _fetch_staff(info: Info, id: GlobalId) -> Any:
    return await load_staff(info, id.owner_id)


NODE_FETCHERS: dict[Kind, Fetch] = {Kind.STAFF: _fetch_staff}
