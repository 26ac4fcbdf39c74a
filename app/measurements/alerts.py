"""What a recording makes somebody look at."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.measurements.facts import Touched


async def raise_alerts(
    session: AsyncSession, *, member_id: UUID, touched: Touched, now: datetime
) -> Sequence[UUID]:
    """The alerts that this recording raises, in its transaction: their ids. None yet."""
    return ()
