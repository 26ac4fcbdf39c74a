"""Who brought whom, and what that gives (REF-1): lock, look, decide, write."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from secrets import choice
from typing import Any
from uuid import UUID

import yaml
from sqlalchemy import ARRAY, Date, DateTime, Integer, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.campaigns.referral_models import Referral, ReferralBenefit, ReferralCode, ReferralDevice
from app.db import Database
from app.errors import ErrorCode, UserError
from app.members import requests
from app.members import service as members
from app.members.models import Member
from app.texts import Text
from app.worklist import programme as worklist
from app.worklist.rules import WorklistItemKind

ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""Without letters and digits that are taken for each other."""
CODE_LENGTH = 8
LINK = "wellward://referral/"
BATCH = 500


@dataclass(frozen=True, slots=True)
class Programme:
    claim_within_days: int
    active_days: int
    needed: int
    entitlement: str


@cache
def programme() -> Programme:
    content = Path(__file__).with_name("referral.yaml").read_text(encoding="utf-8")
    return Programme(**yaml.safe_load(content))


class CodeInvalid(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.CODE_INVALID,
            Text(zh="推荐码无效。", en="There is no such code."),
            field="code",
        )


class NotEligible(UserError):
    def __init__(self, said: Text) -> None:
        super().__init__(ErrorCode.NOT_ELIGIBLE, said, field="code")


OWN = Text(
    zh="不能使用自己或家人的推荐码。",
    en="A code of one's own, or of one's guardian, does not count.",
)
SAME_DEVICE = Text(
    zh="同一台设备上的推荐不计入。", en="A referral from the same device does not count."
)
# Whom somebody brings comes after them, so that nobody is brought in a circle.
JOINED_LATER = Text(
    zh="推荐人须早于你加入。", en="Whoever brought you must have joined before you."
)
TAKEN = Text(zh="你已填写过推荐码。", en="You have named a code already.")
TOO_LATE = Text(
    zh="加入后 30 天内才能填写推荐码。", en="A code can be named within 30 days of joining."
)

_SAME_PERSON = text("""
select exists (select from members a join members b on a.phone = b.phone
    where a.member_id = :member and b.member_id = :referrer)
  or exists (select from guardianships g where (g.member_id, g.guardian_id) in
    ((:member, :referrer), (:referrer, :member)))
""").bindparams(bindparam("member", type_=Uuid), bindparam("referrer", type_=Uuid))
# A phone that the referrer has used, whoever has it now; or one that both have.
_SAME_DEVICE = text("""
select exists (select from installations i
    where i.member_id = :referrer and (i.id = :installation
      or i.id in (select id from installations where member_id = :member)))
  or exists (select from device_owners d where d.member_id = :referrer
    and (d.installation_id = :installation
      or d.installation_id in (select id from installations where member_id = :member)))
  or exists (select from device_owners d join installations i on i.id = d.installation_id
    where d.member_id = :member and i.member_id = :referrer)
""").bindparams(
    bindparam("member", type_=Uuid),
    bindparam("referrer", type_=Uuid),
    bindparam("installation", type_=Uuid),
)


async def code_of(session: AsyncSession, member_id: UUID, *, now: datetime) -> str:
    """The member's code, made when it is first asked for."""
    found = select(ReferralCode.code).where(ReferralCode.member_id == member_id)
    for _ in range(20):
        made = "".join(choice(ALPHABET) for _ in range(CODE_LENGTH))
        row = insert(ReferralCode).values(code=made, member_id=member_id, created_at=now)
        await session.execute(row.on_conflict_do_nothing())
        if (code := (await session.exec(found)).one_or_none()) is not None:
            return code
    raise AssertionError("no free code")


async def claim(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    code: str,
    installation_id: UUID,
    now: datetime,
) -> bool:
    """Say who brought the member; True when this request was answered before.

    Raises CodeInvalid, NotEligible, RequestReused.
    """
    member = await members.lock(session, member_id)
    code = code.strip().upper()
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="claimReferral",
        values={"code": code, "installationId": installation_id},
        result=member_id,
        now=now,
    )
    if earlier is not None:
        return True
    found = await session.get(ReferralCode, code) if code.isascii() and "\0" not in code else None
    referrer = await session.get(Member, found.member_id) if found is not None else None
    if found is None or referrer is None or referrer.erased_at is not None:
        raise CodeInvalid
    if await session.get(Referral, member_id) is not None:
        raise NotEligible(TAKEN)
    if now > member.created_at + timedelta(days=programme().claim_within_days):
        raise NotEligible(TOO_LATE)
    both = {"member": member_id, "referrer": found.member_id}
    if member_id == found.member_id or (await session.execute(_SAME_PERSON, both)).scalar_one():
        raise NotEligible(OWN)
    if referrer.created_at > member.created_at:
        raise NotEligible(JOINED_LATER)
    device = both | {"installation": installation_id}
    if (await session.execute(_SAME_DEVICE, device)).scalar_one():
        raise NotEligible(SAME_DEVICE)
    taken = await session.execute(
        insert(ReferralDevice)
        .values(installation_id=installation_id, member_id=member_id, claimed_at=now)
        .on_conflict_do_nothing()
        .returning(col(ReferralDevice.member_id))
    )
    if taken.first() is None:
        raise NotEligible(SAME_DEVICE)
    session.add(
        Referral(member_id=member_id, referrer_id=found.member_id, claimed_at=now, state="PENDING")
    )
    return False


# Who has stayed

_STAYED = text("""
select r.member_id, r.referrer_id, p.started_on,
  exists (select from installations a join installations b on a.id = b.id
    where a.member_id = r.member_id and b.member_id = r.referrer_id)
  or exists (select from device_owners d join installations i on i.id = d.installation_id
    where (d.member_id, i.member_id) in
      ((r.member_id, r.referrer_id), (r.referrer_id, r.member_id))) as is_same_device
from referrals r
join members m on m.member_id = r.member_id and m.erased_at is null
join members f on f.member_id = r.referrer_id and f.erased_at is null
join policies p on p.member_id = r.member_id and p.state = 'IN_FORCE'
join member_standing s on s.member_id = r.member_id
where r.state = 'PENDING' and r.member_id > :after and p.started_on <= :stayed_since
and s.lifecycle in ('NEW', 'ACTIVE') and s.last_used_at > cast(p.started_on as timestamptz)
order by r.member_id limit :limit
""").bindparams(
    bindparam("after", type_=Uuid),
    bindparam("stayed_since", type_=Date),
    bindparam("limit", type_=Integer),
)
_SETTLE = text("""
update referrals r set state = w.state, reason = nullif(w.reason, ''), enrolled_on = w.enrolled_on,
  settled_at = :now
from unnest(:members, cast(:states as text[]), cast(:reasons as text[]), :dates)
  as w (member_id, state, reason, enrolled_on)
where r.member_id = w.member_id and r.state = 'PENDING'
""").bindparams(
    bindparam("members", type_=ARRAY(Uuid)),
    bindparam("dates", type_=ARRAY(Date)),
    bindparam("now", type_=DateTime(timezone=True)),
)
_QUALIFIED = text("""
select referrer_id, count(*) as referrals from referrals
where referrer_id = any(:referrers) and state = 'QUALIFIED'
group by referrer_id having count(*) >= :needed
""").bindparams(bindparam("referrers", type_=ARRAY(Uuid)))
_LOCK = text("""
select member_id from members where member_id = any(:members) order by member_id
for no key update
""").bindparams(bindparam("members", type_=ARRAY(Uuid)))


async def settle(db: Database, *, now: datetime) -> AsyncIterator[int]:
    """Who was brought, enrolled and stayed qualifies; who brought enough gets what that gives,
    once. In batches that commit one by one; how many each settled."""
    stayed_since = (now - timedelta(days=programme().active_days)).date()
    after: UUID | None = UUID(int=0)
    while after is not None:
        async with db.transaction() as session:
            wanted = {"after": after, "stayed_since": stayed_since, "limit": BATCH}
            rows = (await session.execute(_STAYED, wanted)).all()
            if rows:
                await _settle(session, rows, now=now)
        yield len(rows)
        after = rows[-1].member_id if len(rows) == BATCH else None


async def _settle(session: AsyncSession, rows: Any, *, now: datetime) -> None:
    referrers = sorted({row.referrer_id for row in rows})
    # Two workers who settle two members of one referrer count one after the other.
    await session.execute(_LOCK, {"members": referrers})
    await session.execute(
        _SETTLE,
        {
            "members": [row.member_id for row in rows],
            "states": ["BLOCKED" if row.is_same_device else "QUALIFIED" for row in rows],
            "reasons": ["SAME_DEVICE" if row.is_same_device else "" for row in rows],
            "dates": [row.started_on for row in rows],
            "now": now,
        },
    )
    wanted = {"referrers": referrers, "needed": programme().needed}
    tasks = []
    for referrer_id, referrals in await session.execute(_QUALIFIED, wanted):
        granted = await session.execute(
            insert(ReferralBenefit)
            .values(
                member_id=referrer_id,
                kind=programme().entitlement,
                referrals=referrals,
                granted_at=now,
            )
            .on_conflict_do_nothing()
            .returning(col(ReferralBenefit.member_id))
        )
        if granted.first() is not None:
            tasks.append((referrer_id, _task(now)))
    if tasks:
        await worklist.open_items(session, tasks=tasks, now=now)


def _task(now: datetime) -> worklist.Task:
    return worklist.Task(
        kind=WorklistItemKind.FOLLOW_UP,
        cause_key="referral:VIP_HEALTH_MANAGER",
        reason=Text(
            zh="推荐达标，请安排 VIP 健康管理师。",
            en="Has referred enough members: give them a VIP health manager.",
        ),
        priority=50,
        due_at=now + timedelta(days=3),
        subject_kind=None,
        subject_id=None,
    )


@dataclass(frozen=True, slots=True)
class Standing:
    code: str | None
    """None until it was asked for."""
    claimed: int
    qualified: int
    granted_at: datetime | None


_STANDING = text("""
select count(*) filter (where state <> 'BLOCKED') as claimed,
  count(*) filter (where state = 'QUALIFIED') as qualified,
  (select granted_at from referral_benefits where member_id = :member) as granted_at,
  (select code from referral_codes where member_id = :member) as code
from referrals where referrer_id = :member
""").bindparams(bindparam("member", type_=Uuid))


async def standing(connection: AsyncConnection, member_id: UUID) -> Standing:
    row = (await connection.execute(_STANDING, {"member": member_id})).one()
    return Standing(row.code, row.claimed, row.qualified, row.granted_at)
