"""What a member tells of their life (MEM-8), and the segment that follows from it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, UserError
from app.members import dimensions, requests, service, standing_service
from app.texts import Text


class ChoiceUnknown(UserError):
    def __init__(self, code: str, *, field: str) -> None:
        shown = code[:40]
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"{shown!r} 不在可选项中，请查看 profileOptions。",
                en=f"{shown!r} is none of the choices; see profileOptions.",
            ),
            field=field,
        )


@dataclass(frozen=True, slots=True)
class Told:
    """All of it; None is not known."""

    occupation: str | None = None
    residence: str | None = None
    income_band: str | None = None
    region: str | None = None


async def set_profile(
    session: AsyncSession,
    *,
    owner: UUID,
    member_id: UUID,
    request_id: UUID,
    told: Told,
    now: datetime,
) -> bool:
    """Replace what is known of a member's life; True when `owner` was answered before. The
    segment follows at once. Raises ChoiceUnknown, RequestReused."""
    member = await service.lock(session, member_id)
    values: Mapping[str, Any] = {"memberId": member_id, **asdict(told)}
    earlier = await requests.claim(
        session,
        owner=owner,
        request_id=request_id,
        operation="setProfile",
        values=values,
        result=member_id,
        now=now,
    )
    if earlier is not None:
        return True
    _check(told, region=member.region)
    member.occupation = told.occupation
    member.residence = told.residence
    member.income_band = told.income_band
    member.region = told.region
    await session.flush()
    await standing_service.refresh(session, [member_id], now=now)
    return False


def _check(told: Told, *, region: str | None) -> None:
    """`region` is the one that is known: it may be a part of one of the table."""
    known = dimensions.in_force()
    for field, code, choices in (
        ("occupation", told.occupation, known.occupations),
        ("residence", told.residence, known.residences),
        ("incomeBand", told.income_band, known.income_bands),
    ):
        if code is not None and code not in choices:
            raise ChoiceUnknown(code, field=field)
    if told.region not in (None, region, *known.regions):
        raise ChoiceUnknown(told.region or "", field="region")
