"""The member says whether an extreme reading was right. What was wrong is superseded, never
deleted; both halves of a blood pressure go together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.measurements import alerts_data, alerts_opening
from app.measurements import service as measurements
from app.measurements.alerts_rules import AlertClosed
from app.measurements.facts import ON_RECORDED, NewReading, Touched
from app.measurements.rules import ReadingKind
from app.texts import Text

_INSTANT = DateTime(timezone=True)
_FIND = text("""
select m.superseded_at, m.id, m.local_date, m.code, m.value, m.unit, m.sent_value, m.sent_unit,
  m.measured_at, m.method, m.source_id, m.app, m.context, m.trust, m.confirmed, m.supersedes
from measurements given
join measurements m on m.member_id = given.member_id and m.measured_at = given.measured_at
  and m.source_id = given.source_id and (m.id = given.id or m.superseded_at is null)
  and (m.code = given.code or (m.code in ('SYSTOLIC_BP', 'DIASTOLIC_BP')
    and given.code in ('SYSTOLIC_BP', 'DIASTOLIC_BP')))
where given.member_id = :member_id and given.id = :id
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))
_SUPERSEDE = text("""
update measurements set superseded_at = greatest(:now, recorded_at), retracted = :retracted
where member_id = :member_id and id = any(:ids) and superseded_at is null
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("now", type_=_INSTANT),
)
# A new version that says the same and is confirmed: what was decided before knew it was not.
_CONFIRM = text("""
insert into measurements (member_id, id, code, value, unit, sent_value, sent_unit, measured_at,
  local_date, recorded_at, recorded_by, channel, method, source_id, app, context, trust, confirmed,
  supersedes)
select m.member_id, w.new_id, m.code, m.value, m.unit, m.sent_value, m.sent_unit, m.measured_at,
  m.local_date, greatest(:now, m.recorded_at), :acted_by, m.channel, m.method, m.source_id, m.app,
  m.context, m.trust, true, m.id
from unnest(:ids, :new_ids) as w (id, new_id)
join measurements m on m.member_id = :member_id and m.id = w.id
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("acted_by", type_=Uuid),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("new_ids", type_=ARRAY(Uuid)),
    bindparam("now", type_=_INSTANT),
)
_ALERTS = text("""
update alerts set confirmed_at = case when :is_right then :now else confirmed_at end
where member_id = :member_id and measurement_id = any(:ids) and closed_at is null
returning id, rule
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("now", type_=_INSTANT),
)


class AlreadySaid(UserError):
    """It was taken back, or replaced."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="这个读数已被更正，不再有效。",
                en="This reading was corrected already and counts no more.",
            ),
            field="measurementId",
        )


class NotTheirsToTakeBack(UserError):
    """What a clinic has measured is for the clinic to correct."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.NOT_ELIGIBLE,
            Text(
                zh="这是医疗机构测量的结果，请联系健康管理师更正。",
                en="A clinic has measured this; ask your health manager to correct it.",
            ),
            field="measurementId",
        )


@dataclass(frozen=True, slots=True)
class Confirmed:
    reading_id: UUID
    """The version that is in force now; of what was wrong, the last one that was."""
    days: Sequence[tuple[str, date]]
    """Codes and local days whose data are different now."""
    alert_ids: Sequence[UUID]


async def confirm(
    session: AsyncSession,
    *,
    member_id: UUID,
    reading_id: UUID,
    is_right: bool,
    acted_by: UUID,
    now: datetime,
) -> Confirmed:
    """Take the member's word. Raises NotFound, AlreadySaid, NotTheirsToTakeBack."""
    await measurements.lock(session, member_id)
    keys = {"member_id": member_id, "id": reading_id}
    rows = (await session.execute(_FIND, keys)).all()
    given = next((row for row in rows if row.id == reading_id), None)
    if given is None:
        raise NotFound(field="measurementId")
    if given.superseded_at is not None:
        raise AlreadySaid
    # Of a blood pressure a clinic may have measured the other half.
    if not is_right and any(row.method == "CLINICAL" and row.trust == "HIGH" for row in rows):
        raise NotTheirsToTakeBack
    ids = [row.id for row in rows]
    alerts = await _told(session, member_id, ids, is_right=is_right, now=now)
    changed = [row for row in rows if not is_right or row.confirmed is False]
    in_force = reading_id
    if changed:
        old = [row.id for row in changed]
        await session.execute(
            _SUPERSEDE, {"member_id": member_id, "ids": old, "now": now, "retracted": not is_right}
        )
    if changed and is_right:
        new = [new_id(now) for _ in changed]
        in_force = dict(zip(old, new, strict=True)).get(reading_id, reading_id)
        values = {"member_id": member_id, "acted_by": acted_by, "ids": old, "new_ids": new}
        await session.execute(_CONFIRM, {**values, "now": now})
    if changed:
        touched = Touched(readings=[_reading(row) for row in changed])
        for follow in ON_RECORDED:
            await follow(session, member_id, touched, now)
    return Confirmed(in_force, [(row.code, row.local_date) for row in changed], alerts)


def _reading(row: Any) -> NewReading:
    kind = ReadingKind(
        code=row.code, unit=row.unit, sent_unit=row.sent_unit, method=row.method,
        source_id=row.source_id, app=row.app, context=row.context, trust=row.trust,
    )  # fmt: skip
    return NewReading(
        row.id, row.code, row.local_date, kind, row.value, row.sent_value, row.measured_at, row.confirmed,
        row.supersedes,
    )  # fmt: skip


async def _told(
    session: AsyncSession, member_id: UUID, ids: Sequence[UUID], *, is_right: bool, now: datetime
) -> list[UUID]:
    """The alerts of these readings. A wrong reading closes them. A right one closes those that
    asked for nothing else; the others stay until a normal reading comes, or somebody has seen
    to them."""
    values = {"member_id": member_id, "ids": list(ids), "is_right": is_right, "now": now}
    rows = (await session.execute(_ALERTS, values)).all()
    asked_only = f"{alerts_data.in_force().extreme.rule}:"
    over = [row.id for row in rows if not is_right or row.rule.startswith(asked_only)]
    await alerts_opening.close(
        session,
        alerts=[(member_id, id) for id in over],
        reason=AlertClosed.CONFIRMED if is_right else AlertClosed.WRONG_READING,
        now=now,
    )
    return [row.id for row in rows]
