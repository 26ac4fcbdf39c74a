"""Redeeming, cancelling, fulfilling and reversing: lock, look, decide, write."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.jobs import queue as jobs
from app.members import requests
from app.points import service as points
from app.points.rules import CauseKind
from app.rewards import catalogue, queries, redemptions, rules
from app.rewards.models import Redemption
from app.rewards.redemptions import AlreadyEnded, NoteInvalid
from app.rewards.rules import Fulfilment, RedemptionState, UnavailableReason
from app.texts import Text

FULFIL_JOB = "rewards.fulfil"


_CODES = {
    UnavailableReason.OUT_OF_STOCK: ErrorCode.OUT_OF_STOCK,
    UnavailableReason.LIMIT_REACHED: ErrorCode.LIMIT_REACHED,
}
_TEXTS = {
    UnavailableReason.OUT_OF_STOCK: Text(zh="已兑完。", en="None is left."),
    UnavailableReason.LIMIT_REACHED: Text(
        zh="已达到每位会员的兑换上限。", en="You have had as many as one member may have."
    ),
    UnavailableReason.NOT_YET: Text(zh="尚未开始兑换。", en="It cannot be redeemed yet."),
    UnavailableReason.ENDED: Text(zh="兑换已经结束。", en="It cannot be redeemed any more."),
    UnavailableReason.NOT_ELIGIBLE: Text(
        zh="你不符合该奖励的条件。", en="This reward is for other members."
    ),
}


class RewardUnavailable(UserError):
    """Not for this member now, for a reason other than too few points."""

    def __init__(self, reason: UnavailableReason) -> None:
        code = _CODES.get(reason, ErrorCode.NOT_ELIGIBLE)
        super().__init__(code, _TEXTS[reason], field="rewardId")


class NotByHand(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(zh="该奖励由系统自动发放。", en="The programme fulfils this reward by itself."),
            field="redemptionId",
        )


async def redeem(
    session: AsyncSession, *, member_id: UUID, request_id: UUID, reward_id: UUID, now: datetime
) -> tuple[Redemption, bool]:
    """Reserve a reward and its points, and have it fulfilled; the redemption, and whether this
    request was answered before.

    Raises NotFound, RewardUnavailable, points.InsufficientPoints, RequestReused.
    """
    redemption_id = new_id(now)
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="redeemReward",
        values={"rewardId": reward_id},
        result=redemption_id,
        now=now,
    )
    if earlier is not None:
        return await redemptions.find(session, member_id, earlier), True
    # The contended row first, the wallet after it, always.
    reward = await catalogue.lock(session, reward_id)
    if reward is None:
        raise NotFound(field="rewardId")
    terms = await catalogue.terms_of(session, reward.id, reward.version)
    if not terms.visible.holds(now):
        raise NotFound(field="rewardId")
    connection = await session.connection()
    person = await queries.lock_person(connection, member_id=member_id, reward_id=reward_id)
    if person is None:
        raise points.InsufficientPoints(available=0, amount=terms.price)
    reason = rules.unavailable(terms.offer(reward.stock), person, now=now)
    if reason not in (None, UnavailableReason.INSUFFICIENT_POINTS):
        raise RewardUnavailable(reason)
    expires_at = now + timedelta(days=terms.reserved_days)
    await points.hold(
        session,
        member_id=member_id,
        hold_id=redemption_id,
        amount=terms.price,
        expires_at=expires_at,
        cause=points.Cause(CauseKind.REDEMPTION, redemption_id, f"redemption:{redemption_id}"),
        now=now,
    )
    if reward.stock is not None:
        reward.stock -= 1
    redemption = Redemption(
        member_id=member_id,
        id=redemption_id,
        reward_id=reward_id,
        reward_version=reward.version,
        points=terms.price,
        state=RedemptionState.RESERVED,
        reserved_at=now,
        expires_at=expires_at,
    )
    session.add(redemption)
    payload = {"member_id": str(member_id), "redemption_id": str(redemption_id)}
    await jobs.enqueue(session, FULFIL_JOB, payload, now=now)
    return redemption, False


async def cancel(
    session: AsyncSession,
    *,
    owner: UUID,
    request_id: UUID,
    member_id: UUID,
    redemption_id: UUID,
    staff_id: UUID | None,
    reason: str | None,
    now: datetime,
) -> tuple[Redemption, bool]:
    """By the member, or by an employee with a reason; `owner` is who asks. The redemption, and
    whether this request was answered before.

    Raises NotFound, AlreadyEnded, NoteInvalid, RequestReused.
    """
    values = {"redemptionId": redemption_id, "memberId": member_id, "reason": reason}
    if await _claim(session, owner, request_id, "cancelRedemption", redemption_id, values, now):
        return await redemptions.find(session, member_id, redemption_id), True
    if reason is None and staff_id is not None:
        raise NoteInvalid(field="reason")
    _check_note(reason, field="reason")
    reward, redemption = await redemptions.lock_with_reward(session, member_id, redemption_id)
    if not redemptions.is_open(redemption, now=now):
        raise AlreadyEnded
    await redemptions.cancel(session, reward, redemption, staff_id=staff_id, note=reason, now=now)
    return redemption, False


async def fulfil_by_hand(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    redemption_id: UUID,
    note: str | None,
    now: datetime,
) -> tuple[Redemption, bool]:
    """The redemption, and whether this request was answered before.

    Raises NotFound, AlreadyEnded, NotByHand, NoteInvalid, RequestReused.
    """
    values = {"redemptionId": redemption_id, "memberId": member_id, "note": note}
    if await _claim(session, staff_id, request_id, "fulfilRedemption", redemption_id, values, now):
        return await redemptions.find(session, member_id, redemption_id), True
    _check_note(note, field="note")
    redemption = await redemptions.lock(session, member_id, redemption_id)
    if redemption is None:
        raise NotFound(field="redemptionId")
    terms = await catalogue.terms_of(session, redemption.reward_id, redemption.reward_version)
    if terms.fulfilment is not Fulfilment.MANUAL:
        raise NotByHand
    if not redemptions.is_open(redemption, now=now):
        raise AlreadyEnded
    await redemptions.fulfil(session, redemption, staff_id=staff_id, note=note, now=now)
    return redemption, False


async def reverse(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    redemption_id: UUID,
    reason: str,
    restock: bool,
    now: datetime,
) -> tuple[Redemption, bool]:
    """Give the points back after the member had what they bought; the redemption, and whether
    this request was answered before.

    Raises NotFound, NotFulfilled, BenefitApplied, NotRestockable, ColleagueNeeded, NoteInvalid,
    RequestReused.
    """
    values = {
        "redemptionId": redemption_id,
        "memberId": member_id,
        "reason": reason,
        "restock": restock,
    }
    if await _claim(session, staff_id, request_id, "reverseRedemption", redemption_id, values, now):
        return await redemptions.find(session, member_id, redemption_id), True
    _check_note(reason, field="reason")
    reward, redemption = await redemptions.lock_with_reward(session, member_id, redemption_id)
    terms = await catalogue.terms_of(session, redemption.reward_id, redemption.reward_version)
    await redemptions.reverse(
        session,
        reward,
        redemption,
        terms.fulfilment,
        staff_id=staff_id,
        reason=reason,
        restock=restock,
        now=now,
    )
    return redemption, False


async def _claim(
    session: AsyncSession,
    owner: UUID,
    request_id: UUID,
    operation: str,
    redemption_id: UUID,
    values: Mapping[str, object],
    now: datetime,
) -> bool:
    """Whether this request was answered before. Raises RequestReused."""
    earlier = await requests.claim(
        session,
        owner=owner,
        request_id=request_id,
        operation=operation,
        values=values,
        result=redemption_id,
        now=now,
    )
    return earlier is not None


def _check_note(note: str | None, *, field: str) -> None:
    if note is not None and not rules.is_note(note):
        raise NoteInvalid(field=field)
