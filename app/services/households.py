"""Who shares the services of a spouse (SVC-7)."""

from collections.abc import Mapping
from datetime import date
from uuid import UUID

from app.services.entitled import Reader


async def spouses_of(reading: Reader, members: Mapping[UUID, date]) -> Mapping[UUID, UUID]:
    """Members with their local day, to the spouses of those who have one."""
    return {}
