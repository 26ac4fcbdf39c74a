"""How a redemption ends, once, and how its end is taken back, once: the reward's row is locked
first, then the redemption, then the wallet."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, NotFound, UserError
from app.points import service as points
from app.points.models import PointsHold
from app.rewards import catalogue, queries, rules
from app.rewards.models import PendingBenefit, Redemption, Reward
from app.rewards.rules import Fulfilment, RedemptionState
from app.texts import Text
from app.worklist import programme as worklist


class AlreadyEnded(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(zh="这次兑换已经结束。", en="This redemption has ended already."),
            field="redemptionId",
        )


class NotFulfilled(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="只有已履行的兑换可以撤回；未履行的请取消。",
                en="Only what was fulfilled can be reversed; while it is reserved, cancel it.",
            ),
            field="redemptionId",
        )


class BenefitApplied(UserError):
    """The premium rests on it already."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="该权益已用于保单，不能撤回。",
                en="This benefit was applied to the policy already; it cannot be reversed.",
            ),
            field="redemptionId",
        )


class NotRestockable(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="会员可能已看到券码，不能退回库存。",
                en="The member may have seen the code; it cannot be given to anybody else.",
            ),
            field="restock",
        )


class ColleagueNeeded(UserError):
    """The code is worth something to who has it: nobody gives one away again and again alone."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="你已为该会员撤回过一张券；这次请由另一位同事撤回。",
                en="You have reversed a voucher of this member before; a colleague has to now.",
            ),
            field="redemptionId",
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


def worklist_key(redemption_id: UUID) -> str:
    """Of the item that asks an employee to fulfil it."""
    return f"fulfilment:{redemption_id}"


async def find(session: AsyncSession, member_id: UUID, redemption_id: UUID) -> Redemption:
    """Raises NotFound."""
    found = await session.get(Redemption, (member_id, redemption_id))
    if found is None:
        raise NotFound(field="redemptionId")
    return found


async def lock(session: AsyncSession, member_id: UUID, redemption_id: UUID) -> Redemption | None:
    """The redemption as it is now; after its reward, when that is locked too."""
    return (
        await session.exec(
            select(Redemption)
            .where(Redemption.member_id == member_id, Redemption.id == redemption_id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    ).one_or_none()


async def lock_with_reward(
    session: AsyncSession, member_id: UUID, redemption_id: UUID
) -> tuple[Reward, Redemption]:
    """Raises NotFound."""
    named = await find(session, member_id, redemption_id)
    reward = await catalogue.lock(session, named.reward_id)
    found = await lock(session, member_id, redemption_id)
    assert reward is not None and found is not None, "nobody deletes them"
    return reward, found


def is_open(redemption: Redemption, *, now: datetime) -> bool:
    """Whether anybody but the clock may still end it."""
    return redemption.state == RedemptionState.RESERVED and now < redemption.expires_at


async def fulfil(
    session: AsyncSession,
    redemption: Redemption,
    *,
    now: datetime,
    staff_id: UUID | None = None,
    note: str | None = None,
) -> None:
    """The redemption is locked and open: its points are spent now."""
    await _end(session, redemption, RedemptionState.FULFILLED, staff_id, note, now)
    await points.capture(session, member_id=redemption.member_id, hold_id=redemption.id, now=now)


async def cancel(
    session: AsyncSession,
    reward: Reward,
    redemption: Redemption,
    *,
    now: datetime,
    staff_id: UUID | None = None,
    note: str | None = None,
) -> None:
    """Both are locked and it is open: points and stock go back."""
    await _end(session, redemption, RedemptionState.CANCELLED, staff_id, note, now)
    _put_back(reward)
    await points.release(session, member_id=redemption.member_id, hold_id=redemption.id, now=now)


async def reverse(
    session: AsyncSession,
    reward: Reward,
    redemption: Redemption,
    fulfilment: Fulfilment,
    *,
    staff_id: UUID,
    reason: str,
    restock: bool,
    now: datetime,
) -> None:
    """Both are locked and it was fulfilled: the points go back, those whose lots have ended
    for the days of grace. The unit goes back when it is `restock`ed, and when it was a benefit,
    which is taken off the list of the premium engine; a code never does.

    Raises NotFulfilled, BenefitApplied, NotRestockable, ColleagueNeeded.
    """
    if redemption.state != RedemptionState.FULFILLED:
        raise NotFulfilled
    if restock and fulfilment is Fulfilment.VOUCHER_CODE:
        raise NotRestockable
    if redemption.code_id is not None and await _has_reversed(session, redemption, staff_id):
        raise ColleagueNeeded
    if fulfilment is Fulfilment.BENEFIT:
        await _withdraw_benefit(session, redemption)
    redemption.state = RedemptionState.REVERSED
    redemption.reversed_at = now
    redemption.reversed_by = staff_id
    redemption.reversal_reason = reason.strip()
    if restock or fulfilment is Fulfilment.BENEFIT:
        _put_back(reward)
    hold = await session.get_one(PointsHold, (redemption.member_id, redemption.id))
    assert hold.capture_id is not None, "fulfilled, and not paid"
    await points.reverse(
        session, member_id=redemption.member_id, transfer_id=hold.capture_id, now=now
    )


async def _has_reversed(session: AsyncSession, redemption: Redemption, staff_id: UUID) -> bool:
    """Whether they gave this member the points of a code back before. The wallet is locked, so
    that of two at once the second sees the first."""
    await queries.lock_wallet(await session.connection(), redemption.member_id)
    earlier = await session.exec(
        select(Redemption.id)
        .where(
            Redemption.member_id == redemption.member_id,
            Redemption.reversed_by == staff_id,
            col(Redemption.code_id).is_not(None),
        )
        .limit(1)
    )
    return earlier.one_or_none() is not None


async def _withdraw_benefit(session: AsyncSession, redemption: Redemption) -> None:
    """Raises BenefitApplied."""
    withdrawn = await session.execute(
        delete(PendingBenefit)
        .where(
            col(PendingBenefit.member_id) == redemption.member_id,
            col(PendingBenefit.id) == redemption.id,
            col(PendingBenefit.applied_at).is_(None),
        )
        .returning(col(PendingBenefit.id))
    )
    if withdrawn.one_or_none() is None:
        raise BenefitApplied


async def expire(
    session: AsyncSession, *, member_id: UUID, redemption_id: UUID, now: datetime
) -> bool:
    """Give points and stock back when its time is over; whether it was. Raises NotFound."""
    reward, redemption = await lock_with_reward(session, member_id, redemption_id)
    if redemption.state != RedemptionState.RESERVED or now < redemption.expires_at:
        return False
    await _end(session, redemption, RedemptionState.EXPIRED, None, None, now)
    _put_back(reward)
    await points.time_out(session, member_id=member_id, hold_id=redemption_id, now=now)
    return True


async def _end(
    session: AsyncSession,
    redemption: Redemption,
    state: RedemptionState,
    staff_id: UUID | None,
    note: str | None,
    now: datetime,
) -> None:
    redemption.state = state
    redemption.ended_at = now
    redemption.staff_id = staff_id
    redemption.note = note.strip() if note is not None else None
    key = worklist_key(redemption.id)
    await worklist.settle_item(session, member_id=redemption.member_id, cause_key=key, now=now)


def _put_back(reward: Reward) -> None:
    if reward.stock is not None:
        reward.stock += 1
