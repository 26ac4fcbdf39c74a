"""Something was concealed: two people undo a cover as if it had never been (COV-13)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.members.models import Member
from app.premiums import cancellation, history, terms
from app.premiums.history import Actor
from app.premiums.lifecycle import PolicyEventKind
from app.premiums.models import Policy
from app.premiums.policy_models import Rescission
from app.texts import Text
from app.worklist.reviews import SecondPersonNeeded
from app.worklist.rules import REASON_LENGTH_MAX, is_sayable
from app.worklist.service import TextInvalid


class AlreadyProposed(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.ALREADY_DECIDED,
            Text(
                zh="已有人提出解除，请另一位同事确认或撤回。",
                en="It was proposed already; another person confirms or drops it.",
            ),
            field="contractId",
        )


async def propose(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    policy_id: UUID,
    reason: str,
    refunds: bool,
    now: datetime,
) -> tuple[Policy, bool]:
    """Say what was concealed, and whether what was paid is given back; nothing else changes
    until another person agrees. The policy, and whether this request was answered before.

    Raises NotFound, PolicyStateInvalid, TextInvalid, AlreadyProposed, RequestReused.
    """
    values = {"memberId": member_id, "policyId": policy_id, "reason": reason, "refunds": refunds}
    policy, replayed = await _take(
        session, staff_id, request_id, "proposeRescission", member_id, policy_id, values, now
    )
    if replayed:
        return policy, True
    if not is_sayable(reason, length_max=REASON_LENGTH_MAX):
        raise TextInvalid(field="reason", length_max=REASON_LENGTH_MAX)
    history.check(policy, PolicyEventKind.RESCISSION_PROPOSED)
    if await _open(session, policy) is not None:
        raise AlreadyProposed
    session.add(
        Rescission(
            member_id=member_id,
            id=new_id(now),
            policy_id=policy_id,
            reason=reason.strip(),
            refunds=refunds,
            proposed_by=staff_id,
            proposed_at=now,
        )
    )
    history.record(
        session,
        policy,
        PolicyEventKind.RESCISSION_PROPOSED,
        by=Actor.staff(staff_id),
        reason=reason.strip(),
        now=now,
    )
    return policy, False


async def confirm(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    policy_id: UUID,
    confirm: bool,
    now: datetime,
) -> tuple[Policy, bool]:
    """Another person agrees, and there never was a cover; or somebody drops it. The policy, and
    whether this request was answered before.

    Raises NotFound, PolicyStateInvalid, SecondPersonNeeded, RequestReused.
    """
    values = {"memberId": member_id, "policyId": policy_id, "confirm": confirm}
    policy, replayed = await _take(
        session, staff_id, request_id, "decideRescission", member_id, policy_id, values, now
    )
    if replayed:
        return policy, True
    proposed = await _open(session, policy)
    if proposed is None:
        raise NotFound(field="contractId")
    by = Actor.staff(staff_id)
    if not confirm:
        proposed.dropped_at = now
        history.record(session, policy, PolicyEventKind.RESCISSION_DROPPED, by=by, now=now)
        return policy, False
    if proposed.proposed_by == staff_id:
        raise SecondPersonNeeded
    proposed.confirmed_by, proposed.confirmed_at = staff_id, now
    product = (await terms.versions_of(session, [policy]))[policy.product_version_id]
    member = await session.get_one(Member, member_id)
    today = civil_time.local_date(now, civil_time.zone(member.time_zone))
    history.check(policy, PolicyEventKind.RESCINDED)
    await cancellation.undo(
        session, policy, product, member, today=today, refunds=proposed.refunds, now=now
    )
    history.record(
        session, policy, PolicyEventKind.RESCINDED, by=by, reason=proposed.reason, now=now
    )
    return policy, False


async def _take(
    session: AsyncSession,
    staff_id: UUID,
    request_id: UUID,
    operation: str,
    member_id: UUID,
    policy_id: UUID,
    values: Mapping[str, Any],
    now: datetime,
) -> tuple[Policy, bool]:
    """The locked policy, and whether this request was answered before.
    Raises NotFound, RequestReused."""
    policy = await history.lock(session, member_id, policy_id)
    replayed = await history.claim(session, staff_id, request_id, operation, policy_id, values, now)
    return policy, replayed


async def _open(session: AsyncSession, policy: Policy) -> Rescission | None:
    found = await session.exec(
        select(Rescission).where(
            Rescission.member_id == policy.member_id,
            Rescission.policy_id == policy.id,
            col(Rescission.confirmed_at).is_(None),
            col(Rescission.dropped_at).is_(None),
        )
    )
    return found.one_or_none()
