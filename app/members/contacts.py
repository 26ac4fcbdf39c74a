"""Where a member is reached outside the app: a telephone number and an e-mail address. One that
is new is confirmed first (`confirming.py`); what is refused for good is not used again until it is
changed or confirmed anew."""

import re
from datetime import datetime
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, UserError
from app.members import confirming, requests, service
from app.members.confirming import Contact
from app.texts import Text

_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
"""E.164."""
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@([A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63}")
"""What browsers accept (HTML, 4.10.5.1.5), with a domain of two parts or more; 254 characters at
most (RFC 5321, 4.5.3.1.3)."""
_EMAIL_LENGTH_MAX = 254


class PhoneInvalid(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh="电话号码须为国际格式，如 +8613800000000。",
                en="A phone number is in its international form, as +8613800000000.",
            ),
            field="phone",
        )


class EmailInvalid(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh="邮箱地址须形如 name@example.com，最长 254 个字符。",
                en="An e-mail address looks like name@example.com, with 254 characters at most.",
            ),
            field="email",
        )


async def set_contact(
    session: AsyncSession,
    *,
    owner: UUID,
    member_id: UUID,
    request_id: UUID,
    phone: str | None,
    email: str | None,
    now: datetime,
) -> bool:
    """Replace both; None takes one away. One that is new gets a code, unless there were too many
    of late, and nothing else before it is confirmed. True when `owner` was answered before.
    Raises PhoneInvalid, EmailInvalid, RequestReused."""
    member = await service.lock(session, member_id)
    earlier = await requests.claim(
        session,
        owner=owner,
        request_id=request_id,
        operation="setContact",
        values={"memberId": member_id, "phone": phone, "email": email},
        result=member_id,
        now=now,
    )
    if earlier is not None:
        return True
    if phone is not None and not _PHONE.fullmatch(phone):
        raise PhoneInvalid
    if email is not None and not (len(email) <= _EMAIL_LENGTH_MAX and _EMAIL.fullmatch(email)):
        raise EmailInvalid
    changed: list[Contact] = []
    if member.phone != phone:
        member.phone, member.phone_dead_at, member.phone_verified_at = phone, None, None
        changed.append(Contact.PHONE)
    if member.email != email:
        member.email, member.email_dead_at, member.email_verified_at = email, None, None
        changed.append(Contact.EMAIL)
    await session.flush()
    for contact in changed:
        if contact.of(member) is not None:
            await confirming.begin(session, member, contact, now=now)
    return False
