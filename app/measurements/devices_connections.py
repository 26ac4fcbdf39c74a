"""What connects a member's devices and apps to us: made, and ended, by the member, by a loan, or by
a gateway."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, Uuid, bindparam, text
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import NotFound
from app.ids import new_id
from app.measurements import alerts_opening, devices_data
from app.measurements.alerts_rules import AlertClosed
from app.measurements.devices_models import Connection
from app.measurements.devices_rules import DeviceKind

_CONNECT = text("""
insert into connections as c (member_id, id, source_id, kind, device_id, state, connected_at,
  days_heard, silent_after_days, silent_at)
values (:member_id, :id, :serial, :kind, :device_id, 'CONNECTED', :now, 0, :days,
  :now + make_interval(days => :days))
on conflict (member_id, source_id) do update set kind = excluded.kind, state = 'CONNECTED',
  device_id = excluded.device_id, connected_at = excluded.connected_at, disconnected_at = null,
  silent_after_days = excluded.silent_after_days, silent_at = excluded.silent_at
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("id", type_=Uuid),
    bindparam("device_id", type_=Uuid),
    bindparam("now", type_=DateTime(timezone=True)),
)
_DISCONNECT = text("""
with gone as (
  update connections set state = 'DISCONNECTED', disconnected_at = :now, silent_at = null
  where member_id = :member_id and id = :id and state <> 'DISCONNECTED' returning id),
ended as (
  update device_silences set ended_at = :now
  where member_id = :member_id and connection_id = :id and ended_at is null)
select (select array_agg(a.id) from alerts a where a.member_id = :member_id
    and a.connection_id = :id and a.closed_at is null) from gone
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("id", type_=Uuid),
    bindparam("now", type_=DateTime(timezone=True)),
)


async def connect(
    session: AsyncSession,
    *,
    member_id: UUID,
    source_id: str,
    kind: DeviceKind,
    now: datetime,
    device_id: UUID | None = None,
    model: str = "",
) -> None:
    """The member has a device of the register, or has authorised a gateway or an app: it is
    expected to sync from now on. `source_id` is how its readings name it."""
    await session.execute(
        _CONNECT,
        {
            "member_id": member_id,
            "id": new_id(now),
            "serial": source_id,
            "kind": kind,
            "device_id": device_id,
            "now": now,
            "days": devices_data.silent_after_days(kind, model),
        },
    )


async def disconnect(
    session: AsyncSession, *, member_id: UUID, connection_id: UUID, now: datetime
) -> Connection:
    """Nothing is expected of this source any more; what it still sends connects it again,
    unless it is a device of the register. Raises NotFound."""
    known = await session.get(Connection, (member_id, connection_id))
    if known is None:
        raise NotFound(field="dataSourceId")
    await _disconnect(session, member_id, connection_id, now=now)
    await session.refresh(known)
    return known


async def deauthorise(
    session: AsyncSession, *, member_id: UUID, source_id: str, now: datetime
) -> None:
    """A gateway says that it may not read this source any more. An unknown one is ignored."""
    statement = select(Connection.id).where(
        Connection.member_id == member_id, Connection.source_id == source_id
    )
    found = (await session.exec(statement)).one_or_none()
    if found is not None:
        await _disconnect(session, member_id, found, now=now)


async def disconnect_device(
    session: AsyncSession, *, member_id: UUID, device_id: UUID, now: datetime
) -> None:
    """A device of the register that the member does not have any more."""
    statement = select(Connection.id).where(
        Connection.member_id == member_id, Connection.device_id == device_id
    )
    for connection_id in (await session.exec(statement)).all():
        await _disconnect(session, member_id, connection_id, now=now)


async def _disconnect(
    session: AsyncSession, member_id: UUID, connection_id: UUID, *, now: datetime
) -> None:
    keys = {"member_id": member_id, "id": connection_id, "now": now}
    open_alerts = (await session.execute(_DISCONNECT, keys)).scalar_one_or_none()
    await alerts_opening.close(
        session,
        alerts=[(member_id, alert_id) for alert_id in open_alerts or ()],
        reason=AlertClosed.DISCONNECTED,
        now=now,
    )
