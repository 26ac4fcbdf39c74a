"""Referral and claim stories for members, and the employees who read stories before others."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry

from app.campaigns import referrals, stories
from app.errors import NotFound
from app.graphql.errors import UserError
from app.graphql.ids import GlobalId, Kind, decode, encode
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.members.enums import StaffRole
from app.members.history_graphql import instant
from app.members.sign_in import audit

if TYPE_CHECKING:
    from app.schema import Member

LazyMember = Annotated["Member", strawberry.lazy("app.schema")]
READING = (StaffRole.ADMIN,)
"""Who reads stories and decides whether they are shown: they tell of somebody's health, so it is
whoever sees every member, and each read is written down."""


class ClaimStoryState(StrEnum):
    SUBMITTED = "SUBMITTED"
    PUBLISHED = "PUBLISHED"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"


strawberry.enum(ClaimStoryState)


@strawberry.type(description="Whom a member has brought, and what that gives; never cash.")
class ReferralProgramme:
    code: str
    link: str
    claimed: int = strawberry.field(description="Members who named the code.")
    qualified: int = strawberry.field(description="Of those, who enrolled and stayed.")
    needed: int = strawberry.field(description="So many give a VIP health manager.")
    vip_since: datetime | None = strawberry.field(
        description="Since when the member has a VIP health manager for it; null until then."
    )


@strawberry.type
class ClaimStory(Node):
    title: str
    body: str
    byline: str = strawberry.field(description="As `王**`; empty when no name is to be shown.")
    published_at: datetime | None
    state: ClaimStoryState
    reason: str | None = strawberry.field(description="Why it is not shown; for its author.")

    @classmethod
    def of(cls, row: Any) -> "ClaimStory":
        """From a row with the columns of `claim_stories` and the member's name."""
        return cls(
            id=strawberry.ID(encode(Kind.CLAIM_STORY, row.member_id, row.id)),
            title=row.title,
            body=row.body,
            byline=stories.byline(row.display_name, is_named=row.is_named),
            published_at=row.published_at,
            state=ClaimStoryState(row.state),
            reason=row.reason,
        )


@strawberry.type(description="A published story, of whom nothing but the byline is said.")
class PublicClaimStory:
    title: str
    body: str
    byline: str = strawberry.field(description="As `王**`; empty when no name is to be shown.")
    published_at: datetime

    @classmethod
    def of(cls, row: Any) -> "PublicClaimStory":
        return cls(
            title=row.title,
            body=row.body,
            byline=stories.byline(row.display_name, is_named=row.is_named),
            published_at=row.published_at,
        )


@strawberry.input
class ClaimReferralInput:
    request_id: UUID
    code: str
    installation_id: UUID = strawberry.field(description="As in `registerDevice`.")


@strawberry.type
class ClaimReferralPayload:
    replayed: bool


@strawberry.input
class SubmitClaimStoryInput:
    request_id: UUID
    title: str = strawberry.field(description="1 to 80 characters.")
    body: str = strawberry.field(description="1 to 2000 characters.")
    is_named: bool = strawberry.field(default=False, description="Whether to show the family name.")
    consent_version: str = strawberry.field(
        description="Of the text by which the member agrees to its being shown: "
        "`claimStoryConsentVersion`."
    )


@strawberry.type
class SubmitClaimStoryPayload:
    replayed: bool
    story: ClaimStory


@strawberry.input
class WithdrawClaimStoryInput:
    request_id: UUID
    story_id: strawberry.ID


@strawberry.type
class WithdrawClaimStoryPayload:
    replayed: bool
    story: ClaimStory


@strawberry.input
class ModerateClaimStoryInput:
    request_id: UUID
    story_id: strawberry.ID
    publish: bool
    reason: str | None = strawberry.field(
        default=None, description="Why not, in words for the member; at most 500 characters."
    )


@strawberry.type
class ModerateClaimStoryPayload:
    replayed: bool
    state: ClaimStoryState


ClaimReferralResult = Annotated[
    ClaimReferralPayload | UserError, strawberry.union("ClaimReferralResult")
]
SubmitClaimStoryResult = Annotated[
    SubmitClaimStoryPayload | UserError, strawberry.union("SubmitClaimStoryResult")
]
WithdrawClaimStoryResult = Annotated[
    WithdrawClaimStoryPayload | UserError, strawberry.union("WithdrawClaimStoryResult")
]
ModerateClaimStoryResult = Annotated[
    ModerateClaimStoryPayload | UserError, strawberry.union("ModerateClaimStoryResult")
]


@strawberry.type
class ReferralQuery:
    @strawberry.field(description="Whom `me` has brought; the code is made when first asked for.")
    async def referral_programme(self, info: Info) -> ReferralProgramme:
        context = info.context
        member_id = context.member_id
        async with context.db.read() as reading:
            found = await referrals.standing(reading, member_id)
        code = found.code
        if code is None:
            async with context.db.transaction() as session:
                code = await referrals.code_of(session, member_id, now=context.now)
        return ReferralProgramme(
            code=code,
            link=referrals.LINK + code,
            claimed=found.claimed,
            qualified=found.qualified,
            needed=referrals.programme().needed,
            vip_since=found.granted_at,
        )

    @strawberry.field(description="What members tell of their claims, the newest first.")
    async def claim_stories(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[PublicClaimStory]:
        if info.context.viewer.staff_id is None:
            _ = info.context.member_id
        size = page_size(first)
        cursor = read_cursor(after, instant, UUID)
        async with info.context.db.read() as reading:
            rows = await stories.published(reading, after=cursor, limit=size + 1)  # type: ignore[arg-type]
        return connection(
            rows,
            size=size,
            after=after,
            node=PublicClaimStory.of,
            key=lambda row: (row.published_at.isoformat(), row.id),
        )

    @strawberry.field(description="One's own, the newest first.")
    async def my_claim_stories(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[ClaimStory]:
        member_id = info.context.member_id
        size = page_size(first)
        cursor = read_cursor(after, UUID)
        async with info.context.db.read() as reading:
            rows = await stories.of_member(
                reading, member_id, before=cursor[0] if cursor else None, limit=size + 1
            )
        return connection(
            rows, size=size, after=after, node=ClaimStory.of, key=lambda row: (row.id,)
        )

    @strawberry.field(description="The text's version that `submitClaimStory` needs.")
    async def claim_story_consent_version(self, info: Info) -> str:
        _ = info.context.member_id
        return stories.CONSENT_VERSION

    @strawberry.field(
        description="Stories that wait to be read, the oldest first. Administrators only; each read is "
        "audited."
    )
    async def claim_stories_to_read(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[ClaimStory]:
        info.context.require_role(*READING)
        size = page_size(first)
        cursor = read_cursor(after, instant, UUID)
        async with info.context.db.read() as reading:
            rows = await stories.waiting(reading, after=cursor, limit=size + 1)  # type: ignore[arg-type]
        await info.context.grant((row.member_id for row in rows[:size]), audit)
        return connection(
            rows,
            size=size,
            after=after,
            node=ClaimStory.of,
            key=lambda row: (row.submitted_at.isoformat(), row.id),
        )


@strawberry.type
class ReferralMutation:
    @strawberry.mutation(
        description="Says who brought `me`, once, within 30 days of joining. Codes: CODE_INVALID, "
        "NOT_ELIGIBLE, REQUEST_REUSED."
    )
    async def claim_referral(self, info: Info, input: ClaimReferralInput) -> ClaimReferralResult:
        context = info.context
        async with context.db.transaction() as session:
            replayed = await referrals.claim(
                session,
                member_id=context.member_id,
                request_id=input.request_id,
                code=input.code,
                installation_id=input.installation_id,
                now=context.now,
            )
        return ClaimReferralPayload(replayed=replayed)

    @strawberry.mutation(
        description="Codes: VALUE_OUT_OF_RANGE, CONSENT_MISSING, LIMIT_REACHED, REQUEST_REUSED."
    )
    async def submit_claim_story(
        self, info: Info, input: SubmitClaimStoryInput
    ) -> SubmitClaimStoryResult:
        context = info.context
        member_id = context.member_id
        async with context.db.transaction() as session:
            row, replayed = await stories.submit(
                session,
                member_id=member_id,
                request_id=input.request_id,
                title=input.title,
                body=input.body,
                is_named=input.is_named,
                consent_version=input.consent_version,
                now=context.now,
            )
            story_id = row.id
        return SubmitClaimStoryPayload(
            replayed=replayed, story=await _own(info, member_id, story_id)
        )

    @strawberry.mutation(
        description="It is shown to nobody any more. Codes: NOT_FOUND, STATE_INVALID, "
        "REQUEST_REUSED."
    )
    async def withdraw_claim_story(
        self, info: Info, input: WithdrawClaimStoryInput
    ) -> WithdrawClaimStoryResult:
        context = info.context
        member_id = context.member_id
        named = decode(input.story_id, Kind.CLAIM_STORY, field="storyId")
        if named.owner_id != member_id:
            raise NotFound(field="storyId")
        async with context.db.transaction() as session:
            _, replayed = await stories.withdraw(
                session,
                member_id=member_id,
                request_id=input.request_id,
                story_id=named.key,
                now=context.now,
            )
        return WithdrawClaimStoryPayload(
            replayed=replayed, story=await _own(info, member_id, named.key)
        )

    @strawberry.mutation(
        description="Administrators only. Codes: NOT_FOUND, VALUE_OUT_OF_RANGE, STATE_INVALID, "
        "REQUEST_REUSED."
    )
    async def moderate_claim_story(
        self, info: Info, input: ModerateClaimStoryInput
    ) -> ModerateClaimStoryResult:
        context = info.context
        staff_id = context.require_role(*READING)
        named = decode(input.story_id, Kind.CLAIM_STORY, field="storyId")
        if not await context.may_see(named.owner_id):
            raise NotFound(field="storyId")
        async with context.db.transaction() as session:
            row, replayed = await stories.moderate(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                story_id=named.key,
                publish=input.publish,
                reason=input.reason,
                now=context.now,
            )
            state = ClaimStoryState(row.state)
        return ModerateClaimStoryPayload(replayed=replayed, state=state)


async def _own(info: Info, member_id: UUID, story_id: UUID) -> ClaimStory:
    async with info.context.db.read() as reading:
        return ClaimStory.of(await stories.one(reading, member_id, story_id))


async def _fetch_story(info: Info, id: GlobalId) -> ClaimStory | None:
    async with info.context.db.read() as reading:
        row = await stories.one(reading, id.owner_id, id.key)
    return ClaimStory.of(row) if row else None


NODE_FETCHERS: dict[Kind, Fetch] = {Kind.CLAIM_STORY: _fetch_story}
