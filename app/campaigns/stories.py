"""Stories that members tell of their claims (REF-2): shown with their consent, once read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select as core_select
from sqlalchemy import tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.campaigns.referral_models import ClaimStory
from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.members import requests
from app.members import service as members
from app.members.models import Member
from app.texts import Text

TITLE_MAX = 80
BODY_MAX = 2000
REASON_MAX = 500
OPEN_MAX = 5
"""Stories of one member that wait to be read."""
CONSENT_VERSION = "2026-11"


class TextInvalid(UserError):
    def __init__(self, *, field: str, length_max: int) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(zh=f"须为 1 至 {length_max} 个字符。", en=f"Write 1 to {length_max} characters."),
            field=field,
        )


class ConsentMissing(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.CONSENT_MISSING,
            Text(zh="须同意公开展示该故事。", en="Agree to its being shown to others."),
            field="consentVersion",
        )


class TooMany(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.LIMIT_REACHED,
            Text(
                zh=f"最多 {OPEN_MAX} 个故事待审核。",
                en=f"At most {OPEN_MAX} stories may wait to be read.",
            ),
            field="title",
        )


class StateInvalid(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(zh="该故事已处理或已撤回。", en="This story was decided about, or withdrawn."),
            field="storyId",
        )


async def submit(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    title: str,
    body: str,
    is_named: bool,
    consent_version: str,
    now: datetime,
) -> tuple[ClaimStory, bool]:
    """A story that waits to be read; whether this request was answered before.

    Raises TextInvalid, ConsentMissing, TooMany, RequestReused.
    """
    await members.lock(session, member_id)
    made = new_id(now)
    values = {"title": title, "body": body, "isNamed": is_named, "consentVersion": consent_version}
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="submitClaimStory",
        values=values,
        result=made,
        now=now,
    )
    if earlier is not None:
        return await session.get_one(ClaimStory, (member_id, earlier)), True
    _check(title, field="title", length_max=TITLE_MAX)
    _check(body, field="body", length_max=BODY_MAX)
    if consent_version != CONSENT_VERSION:
        raise ConsentMissing
    waiting = select(ClaimStory.id).where(
        ClaimStory.member_id == member_id, ClaimStory.state == "SUBMITTED"
    )
    if len((await session.exec(waiting)).all()) >= OPEN_MAX:
        raise TooMany
    story = ClaimStory(
        member_id=member_id,
        id=made,
        title=title.strip(),
        body=body.strip(),
        is_named=is_named,
        consent_version=consent_version,
        state="SUBMITTED",
        submitted_at=now,
    )
    session.add(story)
    return story, False


async def withdraw(
    session: AsyncSession, *, member_id: UUID, request_id: UUID, story_id: UUID, now: datetime
) -> tuple[ClaimStory, bool]:
    """It is shown to nobody from the commit on. Raises NotFound, StateInvalid, RequestReused."""
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="withdrawClaimStory",
        values={"storyId": story_id},
        result=story_id,
        now=now,
    )
    story = await _lock(session, member_id, story_id)
    if earlier is not None:
        return story, True
    if story.state == "WITHDRAWN":
        raise StateInvalid
    story.state, story.withdrawn_at = "WITHDRAWN", now
    return story, False


async def moderate(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    story_id: UUID,
    publish: bool,
    reason: str | None,
    now: datetime,
) -> tuple[ClaimStory, bool]:
    """Show it to others, or not and say why. What is shown can still be taken down.

    Raises NotFound, TextInvalid, StateInvalid, RequestReused.
    """
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="moderateClaimStory",
        values={"memberId": member_id, "storyId": story_id, "publish": publish, "reason": reason},
        result=story_id,
        now=now,
    )
    story = await _lock(session, member_id, story_id)
    if earlier is not None:
        return story, True
    if not publish:
        _check(reason or "", field="reason", length_max=REASON_MAX)
    allowed = ("SUBMITTED",) if publish else ("SUBMITTED", "PUBLISHED")
    if story.state not in allowed:
        raise StateInvalid
    story.state = "PUBLISHED" if publish else "REJECTED"
    story.moderated_by, story.moderated_at = staff_id, now
    story.reason = None if publish else reason
    story.published_at = now if publish else None
    return story, False


async def _lock(session: AsyncSession, member_id: UUID, story_id: UUID) -> ClaimStory:
    found = await session.get(
        ClaimStory, (member_id, story_id), with_for_update=True, populate_existing=True
    )
    if found is None:
        raise NotFound(field="storyId")
    return found


def _check(said: str, *, field: str, length_max: int) -> None:
    if not said.strip() or len(said) > length_max or "\0" in said:
        raise TextInvalid(field=field, length_max=length_max)


Key = tuple[datetime, UUID]


def _stories(*conditions: Any) -> Any:
    return (
        core_select(ClaimStory, col(Member.display_name), col(Member.locale))
        .join(Member, col(Member.member_id) == col(ClaimStory.member_id))
        .where(col(Member.erased_at).is_(None), *conditions)
    )


async def published(connection: AsyncConnection, *, after: Key | None, limit: int) -> Sequence[Any]:
    """Those that are shown, the newest first: rows with the columns of `claim_stories` and the
    member's name."""
    key = tuple_(col(ClaimStory.published_at), col(ClaimStory.id))
    statement = _stories(col(ClaimStory.state) == "PUBLISHED")
    if after is not None:
        statement = statement.where(key < tuple_(*after))
    order = (col(ClaimStory.published_at).desc(), col(ClaimStory.id).desc())
    return (await connection.execute(statement.order_by(*order).limit(limit))).all()


async def waiting(connection: AsyncConnection, *, after: Key | None, limit: int) -> Sequence[Any]:
    """Those that wait to be read, the oldest first."""
    key = tuple_(col(ClaimStory.submitted_at), col(ClaimStory.id))
    statement = _stories(col(ClaimStory.state) == "SUBMITTED")
    if after is not None:
        statement = statement.where(key > tuple_(*after))
    order = (col(ClaimStory.submitted_at), col(ClaimStory.id))
    return (await connection.execute(statement.order_by(*order).limit(limit))).all()


async def of_member(
    connection: AsyncConnection, member_id: UUID, *, before: UUID | None, limit: int
) -> Sequence[Any]:
    statement = _stories(col(ClaimStory.member_id) == member_id)
    if before is not None:
        statement = statement.where(col(ClaimStory.id) < before)
    statement = statement.order_by(col(ClaimStory.id).desc()).limit(limit)
    return (await connection.execute(statement)).all()


async def one(connection: AsyncConnection, member_id: UUID, story_id: UUID) -> Any:
    """The row, or None."""
    statement = _stories(col(ClaimStory.member_id) == member_id, col(ClaimStory.id) == story_id)
    return (await connection.execute(statement)).one_or_none()


def byline(name: str, *, is_named: bool) -> str:
    """The family name of a Chinese name, the first letter of another; nothing unless wished."""
    return f"{name[:1]}**" if is_named and name else ""
