"""Households: somebody invites with a code, somebody joins with it, anybody leaves (MEM-10)."""

import base64
import hashlib
from datetime import date, datetime, timedelta
from enum import StrEnum
from secrets import token_bytes
from uuid import UUID

from sqlalchemy import Date, Uuid, bindparam, func, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.members import requests
from app.members import service as members
from app.members.households_models import HouseholdInvitation, HouseholdMember
from app.members.models import Member
from app.texts import Text

MEMBERS_MAX = 6
"""Where no product says anything of it."""
VALID_FOR = timedelta(days=7)
_CODE_BYTES = 10


class HouseholdRole(StrEnum):
    HOLDER = "HOLDER"
    SPOUSE = "SPOUSE"
    CHILD = "CHILD"
    OTHER = "OTHER"


class HouseholdRefused(UserError):
    def __init__(self, reason: Text, *, field: str | None = None) -> None:
        super().__init__(ErrorCode.STATE_INVALID, reason, field=field)


_SPOUSE = Text(zh="家庭中已有配偶。", en="There is a spouse in the household already.")
_IN_ANOTHER = Text(zh="你已在一个家庭中，请先退出。", en="You are in a household; leave it first.")
_NOT_HOLDER = Text(zh="只有户主可以邀请。", en="Only who holds the household invites.")

_SPOUSE_OF = text("""
select other.member_id from household_members me
join household_members other on other.household_id = me.household_id
  and other.member_id <> me.member_id
where me.member_id = :member_id
and me.joined_on <= :day and (me.left_on is null or me.left_on > :day)
and other.joined_on <= :day and (other.left_on is null or other.left_on > :day)
and (me.role, other.role) in (('HOLDER', 'SPOUSE'), ('SPOUSE', 'HOLDER'))
limit 1
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("day", type_=Date))


async def spouse_of(connection: AsyncConnection, member_id: UUID, *, on: date) -> UUID | None:
    """Whom a member was married to in their household on a day (SVC-7)."""
    found = await connection.execute(_SPOUSE_OF, {"member_id": member_id, "day": on})
    spouse: UUID | None = found.scalar_one_or_none()
    return spouse


async def invite(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    role: HouseholdRole,
    code: str,
    members_max: int = MEMBERS_MAX,
    now: datetime,
) -> bool:
    """Let whoever has the random `code` join, once and within a week; who invites first holds
    the household. Whether this request was answered before: then its code was another one, which
    is kept nowhere.

    Raises HouseholdRefused, RequestReused.
    """
    member = await members.lock(session, member_id)
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="inviteToHousehold",
        values={"role": role},
        result=member_id,
        now=now,
    )
    if earlier is not None:
        return True
    if role is HouseholdRole.HOLDER:
        raise HouseholdRefused(_NOT_HOLDER, field="role")
    mine = await current(session, member_id)
    if mine is None:
        mine = _row(member, new_id(now), HouseholdRole.HOLDER, now)
        session.add(mine)
        await session.flush()
    elif mine.role != HouseholdRole.HOLDER:
        raise HouseholdRefused(_NOT_HOLDER)
    await _check_room(session, mine.household_id, role, members_max)
    invitation = HouseholdInvitation(
        code_hash=_hash(code),
        member_id=member_id,
        household_id=mine.household_id,
        role=role,
        made_at=now,
        expires_at=now + VALID_FOR,
    )
    session.add(invitation)
    await session.flush()
    return False


async def holder_of(session: AsyncSession, code: str) -> UUID:
    """Who made the code. Raises NotFound."""
    invitation = await session.get(HouseholdInvitation, _hash(code))
    if invitation is None:
        raise NotFound(field="code")
    return invitation.member_id


async def join(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    code: str,
    members_max: int = MEMBERS_MAX,
    now: datetime,
) -> bool:
    """Belong to the household whose holder made the code; whether this request was answered
    before. Raises NotFound, HouseholdRefused, RequestReused."""
    hashed = _hash(code)
    # The invitation first: of two who have the same code, one joins.
    invitation = await session.get(
        HouseholdInvitation, hashed, with_for_update=True, populate_existing=True
    )
    if invitation is None:
        raise NotFound(field="code")
    # And then the holder: invitations of one household are taken one after the other.
    ids = sorted({invitation.member_id, member_id})
    locked = {id: await members.lock(session, id) for id in ids}
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="joinHousehold",
        values={"code": hashed.hex()},
        result=invitation.household_id,
        now=now,
    )
    if earlier is not None:
        return True
    holder = await current(session, invitation.member_id)
    gone = holder is None or holder.household_id != invitation.household_id
    if invitation.used_by is not None or invitation.expires_at <= now or gone:
        raise NotFound(field="code")
    if await current(session, member_id) is not None:
        raise HouseholdRefused(_IN_ANOTHER)
    await _check_room(session, invitation.household_id, HouseholdRole(invitation.role), members_max)
    invitation.used_by = member_id
    role = HouseholdRole(invitation.role)
    session.add(_row(locked[member_id], invitation.household_id, role, now))
    await session.flush()
    return False


async def leave(session: AsyncSession, *, member_id: UUID, request_id: UUID, now: datetime) -> bool:
    """Belong to it no more from today on; without its holder nobody does. Whether this request
    was answered before. Raises NotFound, RequestReused."""
    member = await members.lock(session, member_id)
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="leaveHousehold",
        values={},
        result=member_id,
        now=now,
    )
    if earlier is not None:
        return True
    mine = await current(session, member_id)
    if mine is None:
        raise NotFound(field="household")
    today = civil_time.local_date(now, civil_time.zone(member.time_zone))
    leaving = [mine]
    if mine.role == HouseholdRole.HOLDER:
        leaving = await _everybody(session, mine.household_id)
    for it in leaving:
        it.left_on = max(today, it.joined_on)
    await session.flush()
    return False


async def current(session: AsyncSession, member_id: UUID) -> HouseholdMember | None:
    found = await session.exec(
        select(HouseholdMember)
        .where(HouseholdMember.member_id == member_id, col(HouseholdMember.left_on).is_(None))
        .execution_options(populate_existing=True)
    )
    return found.one_or_none()


async def _everybody(session: AsyncSession, household_id: UUID) -> list[HouseholdMember]:
    found = await session.exec(
        select(HouseholdMember)
        .where(HouseholdMember.household_id == household_id, col(HouseholdMember.left_on).is_(None))
        .order_by(col(HouseholdMember.member_id))
        .with_for_update()
    )
    return list(found)


async def _check_room(
    session: AsyncSession, household_id: UUID, role: HouseholdRole, members_max: int
) -> None:
    """Under the holder's lock. Raises HouseholdRefused."""
    counted = await session.exec(
        select(
            func.count(),
            func.count().filter(col(HouseholdMember.role) == HouseholdRole.SPOUSE),
        ).where(
            col(HouseholdMember.household_id) == household_id,
            col(HouseholdMember.left_on).is_(None),
        )
    )
    members_now, spouses = counted.one()
    if members_now >= members_max:
        raise HouseholdRefused(
            Text(
                zh=f"家庭最多 {members_max} 人。",
                en=f"A household has at most {members_max} members.",
            )
        )
    if role is HouseholdRole.SPOUSE and spouses:
        raise HouseholdRefused(_SPOUSE, field="role")


def _row(member: Member, household_id: UUID, role: HouseholdRole, now: datetime) -> HouseholdMember:
    return HouseholdMember(
        member_id=member.member_id,
        id=new_id(now),
        household_id=household_id,
        role=role,
        joined_on=civil_time.local_date(now, civil_time.zone(member.time_zone)),
        joined_at=now,
    )


def new_code() -> str:
    """80 random bits, as letters and digits."""
    return base64.b32encode(token_bytes(_CODE_BYTES)).decode()


def _hash(code: str) -> bytes:
    folded = "".join(it for it in code.upper() if it.isalnum())
    return hashlib.sha256(folded.encode()).digest()
