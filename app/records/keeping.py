"""Recording conditions and medications: lock the member, look, decide, add a version."""

from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.jobs import queue as jobs
from app.members import requests
from app.members import service as members
from app.members.models import Member
from app.records import health
from app.records.health import Source
from app.records.models import ConditionVersion, MedicationVersion
from app.records.service import require_consent
from app.records.wishes import (
    ConditionWish,
    MedicationWish,
    checked_condition,
    checked_medication,
)
from app.texts import Text

__all__ = [
    "Author", "ConditionWish", "MedicationWish", "NotTheirs", "TooMany", "medication",
    "retract_condition", "set_condition", "set_medication", "stop_medication",
]  # fmt: skip

KEPT_MAX = 200
"""Conditions, and medications, of one member."""
_DAY = timedelta(days=1)
_REASSESS = "risk.reassess"
"""A job of the domain above, which assesses the member anew."""
_REASSESS_AFTER = timedelta(seconds=30)


class NotTheirs(UserError):
    """Recorded by a clinician or another system."""

    def __init__(self, *, field: str) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="这条由医护人员或其他系统记录，请联系健康管理师修改。",
                en="A clinician or another system has recorded this; your health manager can "
                "change it.",
            ),
            field=field,
        )


class TooMany(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.LIMIT_REACHED,
            Text(zh=f"最多可记录 {KEPT_MAX} 条。", en=f"At most {KEPT_MAX} can be kept."),
        )


@dataclass(frozen=True, slots=True)
class Author:
    """Who records something about a member."""

    id: UUID
    """The member, the guardian who acts, or the employee; the request is theirs."""
    source: Source

    @property
    def by_staff(self) -> bool:
        """An import is the programme's, as what its employees record."""
        return self.source is not Source.DECLARED


async def set_condition(
    session: AsyncSession,
    *,
    member_id: UUID,
    author: Author,
    request_id: UUID,
    condition_id: UUID | None,
    wish: ConditionWish,
    now: datetime,
) -> tuple[ConditionVersion, bool]:
    """Record a condition, or a new version of the one named; it, and whether this request was
    answered before. Raises NotFound, NotTheirs, CodeInvalid, PeriodInvalid, TextInvalid,
    TooMany, ConsentMissing, RequestReused."""
    member = await members.lock(session, member_id)
    key = condition_id or new_id(now)
    values = {"memberId": member_id, "conditionId": condition_id, **asdict(wish)}
    earlier = await _claim(session, author, request_id, "setCondition", values, key, now)
    if earlier is not None:
        return await _condition(session, member_id, earlier), True
    await require_consent(session, member_id)
    version = 1
    if condition_id is None:
        await _check_room(session, ConditionVersion, member_id)
    else:
        version = (
            await _changeable_condition(session, member_id, condition_id, author)
        ).version + 1
    made = ConditionVersion(
        member_id=member_id,
        condition_id=key,
        version=version,
        source=author.source,
        recorded_at=now,
        recorded_by=author.id,
        **checked_condition(wish, today=_today(member, now)),
    )
    session.add(made)
    await session.flush()
    await _reassess(session, member_id, now)
    return made, False


async def retract_condition(
    session: AsyncSession,
    *,
    member_id: UUID,
    author: Author,
    request_id: UUID,
    condition_id: UUID,
    now: datetime,
) -> bool:
    """It was recorded by mistake and is not shown any more; whether this request was answered
    before. Raises NotFound, NotTheirs, ConsentMissing, RequestReused."""
    await members.lock(session, member_id)
    values = {"memberId": member_id, "conditionId": condition_id}
    earlier = await _claim(
        session, author, request_id, "retractCondition", values, condition_id, now
    )
    if earlier is not None:
        return True
    if author.by_staff:
        await require_consent(session, member_id)
    found = await _changeable_condition(session, member_id, condition_id, author)
    session.add(
        ConditionVersion(
            **found.model_dump(exclude={"version", "retracted", "recorded_at", "recorded_by"}),
            version=found.version + 1,
            retracted=True,
            recorded_at=now,
            recorded_by=author.id,
        )
    )
    await session.flush()
    await _reassess(session, member_id, now)
    return False


async def set_medication(
    session: AsyncSession,
    *,
    member_id: UUID,
    author: Author,
    request_id: UUID,
    medication_id: UUID | None,
    wish: MedicationWish,
    now: datetime,
) -> tuple[MedicationVersion, bool]:
    """Record what somebody takes, or a new version of the medication named; it, and whether
    this request was answered before. Raises NotFound, NotTheirs, CodeInvalid, PeriodInvalid,
    TextInvalid, TimesInvalid, TooMany, ConsentMissing, RequestReused."""
    await members.lock(session, member_id)
    key = medication_id or new_id(now)
    values = {"memberId": member_id, "medicationId": medication_id, **asdict(wish)}
    earlier = await _claim(session, author, request_id, "setMedication", values, key, now)
    if earlier is not None:
        return await medication(session, member_id, earlier), True
    await require_consent(session, member_id)
    version = 1
    if medication_id is None:
        await _check_room(session, MedicationVersion, member_id)
    else:
        found = await _changeable_medication(session, member_id, medication_id, author)
        version = found.version + 1
    made = MedicationVersion(
        member_id=member_id,
        medication_id=key,
        version=version,
        source=author.source,
        recorded_at=now,
        recorded_by=author.id,
        **checked_medication(wish),
    )
    session.add(made)
    await session.flush()
    await _reassess(session, member_id, now)
    return made, False


async def stop_medication(
    session: AsyncSession,
    *,
    member_id: UUID,
    author: Author,
    request_id: UUID,
    medication_id: UUID,
    now: datetime,
) -> tuple[MedicationVersion, bool]:
    """Yesterday was its last day; it, and whether this request was answered before.
    Raises NotFound, NotTheirs, ConsentMissing, RequestReused."""
    member = await members.lock(session, member_id)
    values = {"memberId": member_id, "medicationId": medication_id}
    earlier = await _claim(
        session, author, request_id, "stopMedication", values, medication_id, now
    )
    if earlier is not None:
        return await medication(session, member_id, earlier), True
    if author.by_staff:
        await require_consent(session, member_id)
    found = await _changeable_medication(session, member_id, medication_id, author)
    last = max(_today(member, now), found.starts_on) - _DAY
    made = MedicationVersion(
        **found.model_dump(exclude={"version", "ends_on", "recorded_at", "recorded_by"}),
        version=found.version + 1,
        ends_on=min(last, found.ends_on) if found.ends_on is not None else last,
        recorded_at=now,
        recorded_by=author.id,
    )
    session.add(made)
    await session.flush()
    await _reassess(session, member_id, now)
    return made, False


async def medication(
    session: AsyncSession, member_id: UUID, medication_id: UUID
) -> MedicationVersion:
    """As it is in force. Raises NotFound."""
    found = (
        await session.exec(
            select(MedicationVersion)
            .where(
                MedicationVersion.member_id == member_id,
                MedicationVersion.medication_id == medication_id,
            )
            .order_by(col(MedicationVersion.version).desc())
            .limit(1)
        )
    ).one_or_none()
    if found is None:
        raise NotFound(field="medicationId")
    return found


async def _reassess(session: AsyncSession, member_id: UUID, now: datetime) -> None:
    """Risk rests on conditions and medications. What else changes until then is seen too."""
    await jobs.enqueue(
        session,
        _REASSESS,
        {"member_id": str(member_id), "cause": "INPUTS_CHANGED"},
        now=now,
        run_at=now + _REASSESS_AFTER,
        dedupe_key=f"{_REASSESS}:{member_id}",
    )


async def _condition(
    session: AsyncSession, member_id: UUID, condition_id: UUID
) -> ConditionVersion:
    """The newest version, also one that retracts. Raises NotFound."""
    found = (
        await session.exec(
            select(ConditionVersion)
            .where(
                ConditionVersion.member_id == member_id,
                ConditionVersion.condition_id == condition_id,
            )
            .order_by(col(ConditionVersion.version).desc())
            .limit(1)
        )
    ).one_or_none()
    if found is None:
        raise NotFound(field="conditionId")
    return found


async def _changeable_condition(
    session: AsyncSession, member_id: UUID, condition_id: UUID, author: Author
) -> ConditionVersion:
    found = await _condition(session, member_id, condition_id)
    if found.retracted:
        raise NotFound(field="conditionId")
    if not health.may_change(Source(found.source), by=author.source):
        raise NotTheirs(field="conditionId")
    return found


async def _changeable_medication(
    session: AsyncSession, member_id: UUID, medication_id: UUID, author: Author
) -> MedicationVersion:
    found = await medication(session, member_id, medication_id)
    if not health.may_change(Source(found.source), by=author.source):
        raise NotTheirs(field="medicationId")
    return found


async def _claim(
    session: AsyncSession,
    author: Author,
    request_id: UUID,
    operation: str,
    values: dict[str, Any],
    result: UUID,
    now: datetime,
) -> UUID | None:
    owner = author.id if author.by_staff else values["memberId"]
    return await requests.claim(
        session,
        owner=owner,
        request_id=request_id,
        operation=operation,
        values=values,
        result=result,
        now=now,
    )


async def _check_room(
    session: AsyncSession,
    kind: type[ConditionVersion] | type[MedicationVersion],
    member_id: UUID,
) -> None:
    """Raises TooMany. The member is locked, so that no rival takes the last place."""
    counted = select(func.count()).where(kind.member_id == member_id, kind.version == 1)
    if (await session.exec(counted)).one() >= KEPT_MAX:
        raise TooMany


def _today(member: Member, now: datetime) -> date:
    return civil_time.local_date(now, civil_time.zone(member.time_zone))
