"""A number or address is used once its member has shown that it is theirs: by a code that was
sent there. Until then nothing else is sent to it. Two members may have the same one; each of them
confirms it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Integer, LargeBinary, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, UserError
from app.ids import new_id
from app.jobs import queue
from app.members import requests, service
from app.members.contact_models import ContactChallenge
from app.members.models import Member
from app.texts import Text

SEND_JOB = "members.send_contact_code"
CODE_FOR = timedelta(minutes=15)
ATTEMPTS_MAX = 5
PAUSE = timedelta(minutes=1)
OF_MEMBER_MAX = 5
"""Codes to the numbers, or the addresses, of one member within a day. With the attempts of each, a
guess of six digits succeeds once in 40,000 days of trying."""
OF_ADDRESS_MAX = 10
"""Codes to one number or address within a day, whoever asks: nobody is to be pestered by it."""
KEPT_FOR = timedelta(days=30)


class Contact(StrEnum):
    PHONE = "PHONE"
    EMAIL = "EMAIL"

    def of(self, member: Member) -> str | None:
        return member.phone if self is Contact.PHONE else member.email


class NothingToConfirm(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="没有需要验证的号码或地址：尚未填写，或已经验证。",
                en="There is nothing to confirm: none is set, or it is confirmed already.",
            ),
            field="contact",
        )


class TooManyCodes(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.LIMIT_REACHED,
            Text(
                zh=f"验证码每分钟最多发送一次，每天最多 {OF_MEMBER_MAX} 次，请稍后再试。",
                en=f"A code is sent once a minute and {OF_MEMBER_MAX} times a day at most; "
                "try again later.",
            ),
            field="contact",
        )


class CodeWrong(UserError):
    """Wrong, over, used up, of another address, or never sent: they all look the same."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.CODE_INVALID,
            Text(
                zh="验证码不正确或已失效，请重新获取。",
                en="This code is wrong or over; ask for a new one.",
            ),
            field="code",
        )


def hash_of(address: str) -> bytes:
    return sha256(address.encode()).digest()


def code_hash(challenge_id: UUID, code: str) -> bytes:
    return sha256(challenge_id.bytes + code.encode()).digest()


_SENT = text("""
select count(*) filter (where member_id = :member_id) as of_member,
  count(*) filter (where address_hash = :address_hash) as of_address,
  max(requested_at) filter (where member_id = :member_id) as last_at
from contact_challenges where contact = :contact and requested_at > :since
  and (member_id = :member_id or address_hash = :address_hash)
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("address_hash", type_=LargeBinary),
    bindparam("since", type_=DateTime(timezone=True)),
)
# Rivals for the last code to one address, of different members, one after the other.
_ONE_AT_A_TIME = text("select pg_advisory_xact_lock(:key)")


async def begin(session: AsyncSession, member: Member, contact: Contact, *, now: datetime) -> bool:
    """Have a code sent to where the member, who is locked, is to be reached; False when there
    were too many."""
    address = contact.of(member)
    assert address is not None
    hashed = hash_of(address)
    key = int.from_bytes(hashed[:8], signed=True)
    await session.execute(_ONE_AT_A_TIME, {"key": key})
    asked = {
        "member_id": member.member_id,
        "address_hash": hashed,
        "contact": contact.value,
        "since": now - timedelta(days=1),
    }
    sent = (await session.execute(_SENT, asked)).one()
    is_soon = sent.last_at is not None and now - sent.last_at < PAUSE
    if is_soon or sent.of_member >= OF_MEMBER_MAX or sent.of_address >= OF_ADDRESS_MAX:
        return False
    challenge = ContactChallenge(
        member_id=member.member_id,
        id=new_id(now),
        contact=contact.value,
        address_hash=hashed,
        requested_at=now,
        expires_at=now + CODE_FOR,
    )
    session.add(challenge)
    await session.flush()
    payload = {"member": str(member.member_id), "challenge": str(challenge.id)}
    await queue.enqueue(session, SEND_JOB, payload, now=now, priority=10)
    return True


async def request_code(
    session: AsyncSession,
    *,
    owner: UUID,
    member_id: UUID,
    request_id: UUID,
    contact: Contact,
    now: datetime,
) -> bool:
    """Have a new code sent; those before it are worth nothing. True when `owner` was answered
    before. Raises NothingToConfirm, TooManyCodes, RequestReused."""
    member = await service.lock(session, member_id)
    earlier = await requests.claim(
        session,
        owner=owner,
        request_id=request_id,
        operation="requestContactCode",
        values={"memberId": member_id, "contact": contact},
        result=member_id,
        now=now,
    )
    if earlier is not None:
        return True
    if contact.of(member) is None or _is_in_use(member, contact):
        raise NothingToConfirm
    if not await begin(session, member, contact, now=now):
        raise TooManyCodes
    return False


def _is_in_use(member: Member, contact: Contact) -> bool:
    """A dead one may be confirmed anew: its mailbox may have been mended."""
    if contact is Contact.PHONE:
        return member.phone_verified_at is not None and member.phone_dead_at is None
    return member.email_verified_at is not None and member.email_dead_at is None


@dataclass(frozen=True, slots=True)
class Answer:
    is_right: bool
    replayed: bool = False


_NEWEST = text("""
select id, address_hash, code_hash, expires_at, attempts, confirmed_at from contact_challenges
where member_id = :member_id and contact = :contact order by requested_at desc, id desc limit 1
""").bindparams(bindparam("member_id", type_=Uuid))
_WRONG = text("""
update contact_challenges set attempts = attempts + 1
where member_id = :member_id and id = :id and attempts < :most
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("id", type_=Uuid),
    bindparam("most", type_=Integer),
)
_CONFIRM: Mapping[Contact, Any] = {
    contact: text(f"""
with used as (
  update contact_challenges set confirmed_at = :now where member_id = :member_id and id = :id)
update members set {name}_verified_at = :now, {name}_dead_at = null where member_id = :member_id
""").bindparams(
        bindparam("now", type_=DateTime(timezone=True)),
        bindparam("member_id", type_=Uuid),
        bindparam("id", type_=Uuid),
    )
    for contact, name in ((Contact.PHONE, "phone"), (Contact.EMAIL, "email"))
}


async def verify(
    session: AsyncSession,
    *,
    owner: UUID,
    member_id: UUID,
    request_id: UUID,
    contact: Contact,
    code: str,
    now: datetime,
) -> Answer:
    """Confirm a number or address by the newest code that was sent there, once. A wrong code is
    counted, so this refuses by its answer: commit before saying so. Raises RequestReused."""
    member = await service.lock(session, member_id)
    address = contact.of(member)
    savepoint = await session.begin_nested()
    earlier = await requests.claim(
        session,
        owner=owner,
        request_id=request_id,
        operation="verifyContact",
        values={"memberId": member_id, "contact": contact, "code": code},
        result=member_id,
        now=now,
    )
    if earlier is not None:
        await savepoint.commit()
        return Answer(is_right=True, replayed=True)
    wanted = {"member_id": member_id, "contact": contact.value}
    newest = (await session.execute(_NEWEST, wanted)).one_or_none()
    if newest is None or not _is_right(newest, address, code, now=now):
        await savepoint.rollback()
        if newest is not None:
            wrong = {"member_id": member_id, "id": newest.id, "most": ATTEMPTS_MAX}
            await session.execute(_WRONG, wrong)
        return Answer(is_right=False)
    await savepoint.commit()
    if newest.confirmed_at is None:
        await session.execute(
            _CONFIRM[contact], {"member_id": member_id, "id": newest.id, "now": now}
        )
        session.expire(member)
    return Answer(is_right=True, replayed=newest.confirmed_at is not None)


def _is_right(newest: Any, address: str | None, code: str, *, now: datetime) -> bool:
    """Given again it is right, and changes nothing."""
    if address is None or newest.code_hash is None:
        return False
    is_open = now < newest.expires_at and newest.attempts < ATTEMPTS_MAX
    is_of_address = compare_digest(newest.address_hash, hash_of(address))
    is_code = compare_digest(newest.code_hash, code_hash(newest.id, code))
    return is_open and is_of_address and is_code


_PRUNE = text("delete from contact_challenges where requested_at < :before").bindparams(
    bindparam("before", type_=DateTime(timezone=True))
)


async def prune(session: AsyncSession, *, now: datetime) -> None:
    """Forget codes that are long over."""
    await session.execute(_PRUNE, {"before": now - KEPT_FOR})
