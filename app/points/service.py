"""What may be done with a member's points, each once: lock, look, decide, write.

A cause counts once, whatever request brings it: a repeat returns what was posted the first
time. Before anything is decided, what is over by now expires. The wallet stays locked until
the transaction ends; a contended row of reference data (a reward's stock) is locked before it.
"""

from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from app.points.corrections import (
    AlreadySettled,
    NotReversible,
    restate,
    restore_expired,
    reverse,
    settle,
)
from app.points.earning import (
    EARNING_CTES,
    TALLY_SQL,
    WALLET_COLUMNS,
    Cause,
    Earning,
    Rule,
    WalletState,
    earn,
    plan_earning,
    tally_of_unpaid,
)
from app.points.holds import (
    HoldResolved,
    HoldView,
    InsufficientPoints,
    capture,
    hold,
    release,
    spend,
    time_out,
)
from app.points.models import Wallet

__all__ = [
    "EARNING_CTES", "TALLY_SQL", "WALLET_COLUMNS", "AlreadySettled", "Cause", "Earning", "HoldResolved",
    "HoldView", "InsufficientPoints", "NotReversible", "Rule", "WalletState", "capture", "earn",
    "hold", "open_wallet", "plan_earning", "release", "restate", "restore_expired", "reverse",
    "settle", "spend", "tally_of_unpaid", "time_out",
]  # fmt: skip


async def open_wallet(session: AsyncSession, member_id: UUID) -> None:
    """Give a member an empty wallet; one that is there stays as it is."""
    empty = Wallet(member_id=member_id).model_dump()
    await session.execute(insert(Wallet).values(empty).on_conflict_do_nothing())
