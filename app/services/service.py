"""Reserving, consuming and giving back services: lock the quota, look, decide, write."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.members import requests
from app.premiums.models import Policy
from app.records.service import ConsentMissing
from app.services import entitled, households, rules
from app.services.entitled import Entitled
from app.services.models import EntitlementGrant, EntitlementQuota, EntitlementUse, GrantQuota
from app.services.rules import Counted, UnavailableReason, UseState
from app.texts import Text

Quota = EntitlementQuota | GrantQuota
"""The accumulator of one period."""
_TEXTS = {
    UnavailableReason.NOT_ASSESSED: Text(
        zh="该服务按风险等级提供，目前还没有评估结果。",
        en="This service depends on the risk tier, and there is no assessment yet.",
    ),
    UnavailableReason.OTHER_TIER: Text(
        zh="该服务提供给其他风险等级的会员。",
        en="This service is for members of another risk tier.",
    ),
    UnavailableReason.NO_OPEN_CASE: Text(
        zh="该服务仅在轻症保障期间提供。",
        en="This service comes with an open mild-condition benefit only.",
    ),
}


class ServiceUnavailable(UserError):
    """Not for this member now, for a reason other than a quota that is used."""

    def __init__(self, reason: UnavailableReason) -> None:
        super().__init__(ErrorCode.NOT_ELIGIBLE, _TEXTS[reason], field="service")


class QuotaUsed(UserError):
    def __init__(self, it: Entitled) -> None:
        assert it.entitlement.quota is not None
        units, next_on = it.entitlement.quota.units, it.period.ends_on + timedelta(days=1)
        super().__init__(
            ErrorCode.LIMIT_REACHED,
            Text(
                zh=f"本期 {units} 次已用完或已预约；{next_on} 起重新计算。",
                en=f"All {units} of this period are used or reserved; it begins anew on {next_on}.",
            ),
            field="service",
        )


class UseEnded(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(zh="这次预约已经结束。", en="This reservation has ended already."),
            field="useId",
        )


class CoverEnded(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="保单已不在有效期内，不能再使用该服务。",
                en="The policy is not in force any more; the service cannot be used.",
            ),
            field="useId",
        )


class GrantEnded(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="该权益已收回，不能再使用该服务。",
                en="This service was taken back; it cannot be used.",
            ),
            field="useId",
        )


class NoteInvalid(UserError):
    def __init__(self, *, field: str) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"请填写 1 至 {rules.NOTE_LENGTH_MAX} 个字符。",
                en=f"Write something, at most {rules.NOTE_LENGTH_MAX} characters.",
            ),
            field=field,
        )


async def reserve(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    service: str,
    staff_id: UUID | None = None,
    now: datetime,
) -> tuple[EntitlementUse, bool]:
    """One unit for a member, who asks for it, or an employee for them; the reservation, and
    whether this request was answered before.

    Raises NotFound, ServiceUnavailable, QuotaUsed, ConsentMissing, RequestReused.
    """
    use_id = new_id(now)
    values = {"service": service}
    if staff_id is not None:
        values["memberId"] = str(member_id)
    earlier = await requests.claim(
        session,
        owner=staff_id or member_id,
        request_id=request_id,
        operation="reserveEntitlement",
        values=values,
        result=use_id,
        now=now,
    )
    if earlier is not None:
        return await session.get_one(EntitlementUse, (member_id, earlier)), True
    it = await _find(session, member_id, service, now=now)
    # The tier is health data: in the member's own hands it serves them, in an employee's it
    # needs the consent.
    if staff_id is not None and it.entitlement.tiers and not it.consented:
        raise ConsentMissing
    quota = await _lock_period(session, it)
    counted = Counted(quota.reserved, quota.consumed)
    reason = rules.unavailable(it.entitlement, it.holder, counted)
    if reason is UnavailableReason.QUOTA_USED:
        raise QuotaUsed(it)
    if reason is not None:
        raise ServiceUnavailable(reason)
    _count(quota, rules.reserve(counted))
    use = EntitlementUse(
        member_id=member_id,
        id=use_id,
        holder_id=it.holder_id,
        policy_id=it.policy_id,
        product_version_id=it.version_id,
        grant_id=it.grant_id,
        service=service,
        period_starts_on=it.period.starts_on,
        state=UseState.RESERVED.value,
        reserved_at=now,
        reserved_by=staff_id,
        expires_at=now + timedelta(days=it.entitlement.reserved_days),
    )
    session.add(use)
    await session.flush()
    return use, False


async def consume(
    session: AsyncSession,
    *,
    member_id: UUID,
    use_id: UUID,
    request_id: UUID,
    staff_id: UUID,
    note: str | None,
    now: datetime,
) -> tuple[EntitlementUse, bool]:
    """The member had it; the use, and whether this request was answered before. Not after its
    time, nor when the policy has ended, or what was granted is taken back. Raises NotFound,
    UseEnded, CoverEnded, GrantEnded, NoteInvalid, RequestReused."""
    quota, use = await _lock(session, member_id, use_id)
    values = {"useId": use_id, "note": note}
    if await _answered(session, staff_id, request_id, "consumeEntitlement", values, use_id, now):
        return use, True
    _check_note(note, field="note")
    if use.state != UseState.RESERVED or use.expires_at <= now:
        raise UseEnded
    await _check_in_force(session, use)
    _count(quota, rules.consume(Counted(quota.reserved, quota.consumed)))
    use.consumed_at = now
    _end(use, UseState.CONSUMED, staff_id=staff_id, note=note, now=now)
    return use, False


async def release(
    session: AsyncSession,
    *,
    member_id: UUID,
    use_id: UUID,
    request_id: UUID,
    staff_id: UUID | None,
    reason: str | None,
    now: datetime,
) -> tuple[EntitlementUse, bool]:
    """The unit goes back to its period: the member does not want it, or an employee, who says
    why, takes a reservation or a consumption back; the use, and whether this request was
    answered before. Raises NotFound, UseEnded, NoteInvalid, RequestReused."""
    quota, use = await _lock(session, member_id, use_id)
    values = {"useId": use_id, "reason": reason}
    owner = staff_id or member_id
    if await _answered(session, owner, request_id, "releaseEntitlement", values, use_id, now):
        return use, True
    if staff_id is not None and reason is None:
        raise NoteInvalid(field="reason")
    _check_note(reason, field="reason")
    state = UseState(use.state)
    if not rules.may_release(state, by_staff=staff_id is not None):
        raise UseEnded
    _count(quota, rules.give_back(Counted(quota.reserved, quota.consumed), state))
    _end(use, UseState.RELEASED, staff_id=staff_id, note=reason, now=now)
    return use, False


async def expire(session: AsyncSession, *, member_id: UUID, use_id: UUID, now: datetime) -> bool:
    """Give the unit back when its time is over; whether it was. Raises NotFound."""
    quota, use = await _lock(session, member_id, use_id)
    if use.state != UseState.RESERVED or now < use.expires_at:
        return False
    _count(quota, rules.give_back(Counted(quota.reserved, quota.consumed), UseState.RESERVED))
    _end(use, UseState.EXPIRED, staff_id=None, note=None, now=now)
    return True


async def call_off(session: AsyncSession, *, member_id: UUID, use_id: UUID, now: datetime) -> None:
    """The programme takes a reservation back, if it is one still. Raises NotFound."""
    quota, use = await _lock(session, member_id, use_id)
    if use.state == UseState.RESERVED:
        _count(quota, rules.give_back(Counted(quota.reserved, quota.consumed), UseState.RESERVED))
        _end(use, UseState.RELEASED, staff_id=None, note=None, now=now)
        await session.flush()


async def _check_in_force(session: AsyncSession, use: EntitlementUse) -> None:
    """Raises CoverEnded, GrantEnded."""
    if use.grant_id is not None:
        grant = await session.get_one(
            EntitlementGrant, (use.holder_id, use.grant_id), populate_existing=True
        )
        if grant.revoked_at is not None:
            raise GrantEnded
        return
    policy = await session.get_one(Policy, (use.holder_id, use.policy_id))
    if policy.state != "IN_FORCE":
        raise CoverEnded


async def _find(session: AsyncSession, member_id: UUID, service: str, *, now: datetime) -> Entitled:
    """Raises NotFound."""
    found = await entitled.services(session, [member_id], spouses_of=households.spouses_of, now=now)
    for it in found.get(member_id, ()):
        if it.entitlement.service == service:
            return it
    raise NotFound(field="service")


async def _lock_period(session: AsyncSession, it: Entitled) -> Quota:
    key: dict[str, object] = {"member_id": it.holder_id, "starts_on": it.period.starts_on}
    if it.grant_id is not None:
        key |= {"grant_id": it.grant_id}
        table: Any = GrantQuota
        grant = select(EntitlementGrant).where(
            EntitlementGrant.member_id == it.holder_id, EntitlementGrant.id == it.grant_id
        )
        # Whoever takes it back has done so before, or finds the reservation.
        locked = grant.with_for_update(read=True).execution_options(populate_existing=True)
        if (await session.exec(locked)).one().revoked_at is not None:
            raise NotFound(field="service")
    else:
        assert it.policy_id is not None
        key |= {"policy_id": it.policy_id, "service": it.entitlement.service}
        table = EntitlementQuota
    row = {**key, "ends_on": it.period.ends_on, "reserved": 0, "consumed": 0}
    await session.execute(insert(table).values(**row).on_conflict_do_nothing())
    return await _lock_quota(session, table, **key)


async def _lock(
    session: AsyncSession, member_id: UUID, use_id: UUID
) -> tuple[Quota, EntitlementUse]:
    """The quota first, then the use as it is now. Raises NotFound."""
    named = await session.get(EntitlementUse, (member_id, use_id))
    if named is None:
        raise NotFound(field="useId")
    key: dict[str, object] = {"member_id": named.holder_id, "starts_on": named.period_starts_on}
    if named.grant_id is not None:
        quota = await _lock_quota(session, GrantQuota, **key, grant_id=named.grant_id)
    else:
        of = {"policy_id": named.policy_id, "service": named.service}
        quota = await _lock_quota(session, EntitlementQuota, **key, **of)
    await session.refresh(named)
    return quota, named


async def _lock_quota(session: AsyncSession, table: Any, **key: object) -> Quota:
    found: Quota = (
        await session.exec(
            select(table)
            .where(*(col(getattr(table, name)) == value for name, value in key.items()))
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    ).one()
    return found


async def _answered(
    session: AsyncSession,
    owner: UUID,
    request_id: UUID,
    operation: str,
    values: Mapping[str, object],
    use_id: UUID,
    now: datetime,
) -> bool:
    earlier = await requests.claim(
        session,
        owner=owner,
        request_id=request_id,
        operation=operation,
        values=values,
        result=use_id,
        now=now,
    )
    return earlier is not None


def _count(quota: Quota, counted: Counted) -> None:
    quota.reserved, quota.consumed = counted.reserved, counted.consumed


def _end(
    use: EntitlementUse,
    state: UseState,
    *,
    staff_id: UUID | None,
    note: str | None,
    now: datetime,
) -> None:
    use.state = state.value
    use.ended_at = now
    use.staff_id = staff_id
    use.note = note.strip() if note is not None else None


def _check_note(note: str | None, *, field: str) -> None:
    if note is None:
        return
    if not note.strip() or len(note) > rules.NOTE_LENGTH_MAX or "\0" in note:
        raise NoteInvalid(field=field)
