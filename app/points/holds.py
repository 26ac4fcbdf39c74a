"""Points reserved for a redemption, and what becomes of them, once."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, NotFound, UserError
from app.points import moves
from app.points.book import TIMED_OUT, Hold
from app.points.earning import Cause
from app.points.moves import Move
from app.points.posting import Ledger
from app.points.rules import Account, HoldState, Route, TransferKind
from app.texts import Text


class InsufficientPoints(UserError):
    def __init__(self, *, available: int, amount: int) -> None:
        super().__init__(
            ErrorCode.INSUFFICIENT_POINTS,
            Text(
                zh=f"可用积分 {available}，需要 {amount}。",
                en=f"You have {available} points; this needs {amount}.",
            ),
        )


class HoldResolved(UserError):
    """It was captured, released or timed out before, and not in this way."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(zh="这笔预留已经处理。", en="These reserved points were dealt with already."),
        )


@dataclass(frozen=True, slots=True)
class HoldView:
    """A hold as it is now, in points."""

    id: UUID
    state: HoldState
    amount: int
    captured: int
    released: int
    expires_at: datetime


async def hold(
    session: AsyncSession,
    *,
    member_id: UUID,
    hold_id: UUID,
    amount: int,
    expires_at: datetime,
    cause: Cause,
    now: datetime,
) -> HoldView:
    """Reserve `amount` points (> 0) until `expires_at`, the oldest first. `hold_id` is a new
    id, and the transfer's; a repeat with it returns the hold as it is now.

    Raises InsufficientPoints.
    """
    return await _take(
        session,
        member_id=member_id,
        hold_id=hold_id,
        move=Move(TransferKind.HELD, Route(Account.AVAILABLE, Account.HELD), amount),
        lasts_until=expires_at,
        cause=cause,
        now=now,
    )


async def spend(
    session: AsyncSession,
    *,
    member_id: UUID,
    hold_id: UUID,
    amount: int,
    cause: Cause,
    now: datetime,
) -> HoldView:
    """Reserve and capture `amount` points (> 0) at once, as one transfer whose id is `hold_id`.

    Raises InsufficientPoints.
    """
    return await _take(
        session,
        member_id=member_id,
        hold_id=hold_id,
        move=Move(TransferKind.REDEEMED, Route(Account.AVAILABLE, Account.REDEEMED), amount),
        lasts_until=now,
        cause=cause,
        now=now,
    )


async def capture(
    session: AsyncSession,
    *,
    member_id: UUID,
    hold_id: UUID,
    now: datetime,
    amount: int | None = None,
) -> HoldView:
    """Redeem `amount` points of a hold (all of them when null) and release the rest. Once; a
    repeat with the same amount returns the hold as it is. A hold whose time is over can be
    captured until the clock has released it, and one whose lots have ended as well.

    Raises NotFound, HoldResolved.
    """
    ledger, found = await _hold(session, member_id, hold_id, now)
    amount = found.amount if amount is None else amount
    assert 0 < amount <= found.amount, "more than is held"
    if found.state is HoldState.CAPTURED and found.captured == amount:
        return _view(found)
    if found.state is not HoldState.HELD:
        raise HoldResolved
    resolved = moves.capturing(
        ledger.book, found, amount, owed=ledger.owed, moment=ledger.moment, late=ledger.late
    )
    return await _resolve(ledger, found, resolved, key="captured")


async def release(
    session: AsyncSession, *, member_id: UUID, hold_id: UUID, now: datetime
) -> HoldView:
    """Give back all points of a hold, once. Those whose lot has ended expire at once, unless
    they are within the days of grace, or were promised for longer.

    Raises NotFound, HoldResolved.
    """
    ledger, found = await _hold(session, member_id, hold_id, now)
    return await _release(ledger, found, HoldState.RELEASED)


async def time_out(
    session: AsyncSession, *, member_id: UUID, hold_id: UUID, now: datetime
) -> HoldView:
    """`release`, by the clock, of a hold whose time is over.

    Raises NotFound, HoldResolved.
    """
    ledger, found = await _hold(session, member_id, hold_id, now)
    assert found.expires_at <= now, "its time is not over"
    return await _release(ledger, found, HoldState.TIMED_OUT)


async def _take(
    session: AsyncSession,
    *,
    member_id: UUID,
    hold_id: UUID,
    move: Move,
    lasts_until: datetime,
    cause: Cause,
    now: datetime,
) -> HoldView:
    assert move.amount > 0
    ledger = await Ledger.lock(session, member_id, now)
    # Looked up only once the lock is held: of two identical requests the second waits above
    # and then finds the first one's hold here.
    done = await ledger.know_hold(hold_id)
    if done is None:
        of_cause = await ledger.of_keys(cause.key)
        done = await ledger.know_hold(of_cause[0].id) if of_cause else None
    if done is not None:
        return _view(done)
    await ledger.expire()
    available = ledger.wallet.balances.available
    if available < move.amount:
        raise InsufficientPoints(available=available, amount=move.amount)
    await ledger.know_oldest(move.amount)
    ledger.post(
        [move], key=cause.key, cause=(cause.kind, cause.id), id=hold_id, lasts_until=lasts_until
    )
    await ledger.write()
    return _view(ledger.book.holds[hold_id])


async def _hold(
    session: AsyncSession, member_id: UUID, hold_id: UUID, now: datetime
) -> tuple[Ledger, Hold]:
    ledger = await Ledger.lock(session, member_id, now)
    found = await ledger.know_hold(hold_id)
    if found is None:
        raise NotFound(field="holdId")
    return ledger, found


async def _release(ledger: Ledger, found: Hold, state: HoldState) -> HoldView:
    if found.state is state:
        return _view(found)
    if found.state is not HoldState.HELD:
        raise HoldResolved
    key = TIMED_OUT if state is HoldState.TIMED_OUT else "released"
    resolved = moves.releasing(
        ledger.book, found, owed=ledger.owed, moment=ledger.moment, late=ledger.late
    )
    return await _resolve(ledger, found, resolved, key=key)


async def _resolve(ledger: Ledger, found: Hold, resolved: moves.Moves, *, key: str) -> HoldView:
    taken = await ledger.find(found.id)
    assert taken is not None and taken.cause_kind is not None and taken.cause_id is not None
    ledger.post(
        resolved,
        key=f"hold:{found.id}:{key}",
        cause=(taken.cause_kind, taken.cause_id),
        corrects=found.id,
    )
    await ledger.write()
    return _view(found)


def _view(found: Hold) -> HoldView:
    return HoldView(
        found.id, found.state, found.amount, found.captured, found.released, found.expires_at
    )
