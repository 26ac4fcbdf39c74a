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
from app.services import granting
from app.services.granted import Source
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
# Members who were taken over together have joined at one moment.
_CIRCLE = text("""
with recursive brought_by (member_id) as (
  select referrer_id from referrals where member_id = :referrer
  union select r.referrer_id from referrals r join brought_by b on b.member_id = r.member_id
) select exists (select from brought_by where member_id = :member)
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
    if (
        referrer.created_at > member.created_at
        or (await session.execute(_CIRCLE, both)).scalar_one()
    ):
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
            .on_conflict_do_update(
                index_elements=["member_id", "kind"],
                set_={"referrals": referrals, "granted_at": now, "revoked_at": None},
                where=col(ReferralBenefit.revoked_at).is_not(None),
            )
            .returning(col(ReferralBenefit.member_id))
        )
        if granted.first() is not None:
            tasks.append((referrer_id, _task(now)))
    if tasks:
        await granting.grant(
            session, [member_id for member_id, _ in tasks], source=Source.REFERRAL, now=now
        )
        await worklist.open_items(session, tasks=tasks, now=now)


# What never was has ended before it began (`premiums/cancellation.py`).
_UNDONE = text("""
select r.member_id, r.referrer_id from referrals r
where r.state = 'QUALIFIED' and r.member_id > :after
and exists (select from policies p where p.member_id = r.member_id
  and p.started_on = r.enrolled_on and p.ended_on < p.started_on)
and not exists (select from policies p where p.member_id = r.member_id
  and p.started_on <= r.enrolled_on and (p.ended_on is null or p.ended_on >= p.started_on)
  and p.state in ('IN_FORCE', 'LAPSED', 'ENDED', 'CANCELLED'))
order by r.member_id limit :limit
""").bindparams(bindparam("after", type_=Uuid), bindparam("limit", type_=Integer))
_UNDO = text("""
update referrals set state = 'BLOCKED', reason = 'COVER_UNDONE', settled_at = :now
where member_id = any(:members) and state = 'QUALIFIED'
""").bindparams(
    bindparam("members", type_=ARRAY(Uuid)), bindparam("now", type_=DateTime(timezone=True))
)
_TOO_FEW = text("""
update referral_benefits b set revoked_at = :now
where b.member_id = any(:referrers) and b.kind = :kind and b.revoked_at is null
and (select count(*) from referrals r where r.referrer_id = b.member_id
  and r.state = 'QUALIFIED') < :needed
returning b.member_id, b.granted_at
""").bindparams(
    bindparam("referrers", type_=ARRAY(Uuid)), bindparam("now", type_=DateTime(timezone=True))
)


async def undo(db: Database, *, now: datetime) -> AsyncIterator[int]:
    """A cover that was undone as if it had never been brought nobody: the member does not count
    any more, and who has too few then loses what they gave. In batches that commit one by one;
    how many each undid."""
    after: UUID | None = UUID(int=0)
    while after is not None:
        async with db.transaction() as session:
            wanted = {"after": after, "limit": BATCH}
            rows = (await session.execute(_UNDONE, wanted)).all()
            if rows:
                await _undo(session, rows, now=now)
        yield len(rows)
        after = rows[-1].member_id if len(rows) == BATCH else None


async def _undo(session: AsyncSession, rows: Any, *, now: datetime) -> None:
    referrers = sorted({row.referrer_id for row in rows})
    await session.execute(_LOCK, {"members": referrers})
    await session.execute(_UNDO, {"members": [row.member_id for row in rows], "now": now})
    wanted = {
        "referrers": referrers,
        "kind": programme().entitlement,
        "needed": programme().needed,
        "now": now,
    }
    lost = (await session.execute(_TOO_FEW, wanted)).all()
    if not lost:
        return
    members = [row.member_id for row in lost]
    await granting.revoke(session, members, source=Source.REFERRAL, because="COVER_UNDONE", now=now)
    causes = [(row.member_id, _cause(row.granted_at)) for row in lost]
    await worklist.settle_items(session, causes=causes, now=now)


def _cause(granted_at: datetime) -> str:
    """Who loses it and earns it anew is followed up anew."""
    return f"referral:VIP_HEALTH_MANAGER:{granted_at:%Y-%m-%dT%H:%M}"


def _task(now: datetime) -> worklist.Task:
    return worklist.Task(
        kind=WorklistItemKind.FOLLOW_UP,
        cause_key=_cause(now),
        reason=Text(
            zh="推荐达标，已获得 VIP 权益，请安排 VIP 健康管理师。",
            en="Has referred enough members and has the VIP services: give them a VIP health manager.",
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
  (select granted_at from referral_benefits
    where member_id = :member and revoked_at is null) as granted_at,
  (select code from referral_codes where member_id = :member) as code
from referrals where referrer_id = :member
""").bindparams(bindparam("member", type_=Uuid))


async def standing(connection: AsyncConnection, member_id: UUID) -> Standing:
    row = (await connection.execute(_STANDING, {"member": member_id})).one()
    return Standing(row.code, row.claimed, row.qualified, row.granted_at)
