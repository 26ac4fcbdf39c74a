"""What is heard from a member's devices, and which of them have gone silent (MON-5)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Date, DateTime, Integer, Text, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.ids import new_id
from app.measurements import alerts_data, alerts_opening, devices_data
from app.measurements.alerts_rules import AlertClosed, AlertKind, Raised
from app.measurements.devices_rules import WATCHED_FROM_DAYS, DeviceKind
from app.texts import Text as Sentence

_INSTANT = DateTime(timezone=True)

# What was given back, or is somebody else's now, stays disconnected whatever still arrives.
HEARD = f"""
heard as (
  insert into connections as c (member_id, id, source_id, kind, state, connected_at, synced_at,
    days_heard, silent_after_days)
  select :member_id, w.id, w.source_id, 'APP', 'CONNECTED', :now, :now, 1, :app_days
  from unnest(:source_ids, :ids) as w (source_id, id) order by w.source_id
  on conflict (member_id, source_id) do update set state = 'CONNECTED', disconnected_at = null,
    synced_at = excluded.synced_at,
    days_heard = c.days_heard + case when c.synced_at is null
      or timezone('UTC', c.synced_at)::date < timezone('UTC', excluded.synced_at)::date
      then 1 else 0 end,
    silent_at = case when c.device_id is not null or c.silent_at is not null
      or c.days_heard >= {WATCHED_FROM_DAYS - 1}
      then excluded.synced_at + make_interval(days => c.silent_after_days) end
  where c.device_id is null or c.state <> 'DISCONNECTED'),
awake as (
  update device_silences s set ended_at = :now from connections c
  where s.member_id = :member_id and s.ended_at is null and c.member_id = s.member_id
    and c.id = s.connection_id and c.source_id = any(:source_ids))
"""
"""Parts of a WITH: these sources have just synced. Takes `parameters`, `member_id`, `now`."""

_HEARD = text(f"""
with {HEARD}
select a.id from alerts a
join connections c on c.member_id = a.member_id and c.id = a.connection_id
where a.member_id = :member_id and a.closed_at is null and c.source_id = any(:source_ids)
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("now", type_=_INSTANT),
    bindparam("source_ids", type_=ARRAY(Text)),
    bindparam("ids", type_=ARRAY(Uuid)),
)
# Who is paused, or does not let us have the data (or was never asked), has no silent device. The days of a pause are
# dates of the member's zone and the job looks again: a day more or less does not matter here.
_DUE = text("""
with due as (
  select c.member_id, c.id from connections c
  where c.state = 'CONNECTED' and c.silent_at <= :now
  order by c.silent_at limit :limit for update skip locked),
seen as (
  select c.*, (select max(coalesce(p.ends_on, 'infinity'::date)) from pauses p
      where p.member_id = c.member_id and p.starts_on <= :today
      and coalesce(p.ends_on, 'infinity'::date) >= p.starts_on) as paused_to,
    exists (select from unnest(array['HEALTH_DATA', 'DEVICE_DATA']) as asked (purpose)
      where (select s.state from consents s where s.member_id = c.member_id
        and s.purpose = asked.purpose order by s.version desc limit 1) is distinct from 'GRANTED')
      as is_unconsented
  from due join connections c using (member_id, id)),
decided as (
  select seen.*, case
    when is_unconsented or paused_to >= :today then :now + interval '1 day'
    when paused_to + 1 + silent_after_days > :today
      then (paused_to + 1 + silent_after_days)::timestamp at time zone 'UTC'
    end as postponed_to from seen),
changed as (
  update connections c set silent_at = coalesce(d.postponed_to, c.silent_at),
    state = case when d.postponed_to is null then 'SILENT' else c.state end
  from decided d where c.member_id = d.member_id and c.id = d.id)
select d.member_id, d.id, d.kind, coalesce(d.synced_at, d.connected_at) as silent_from,
  d.postponed_to is null as is_silent,
  d.device_id is null and exists (select from connections o where o.member_id = d.member_id
    and o.id <> d.id and o.state = 'CONNECTED' and o.silent_at > :now) as is_replaced
from decided d
""").bindparams(
    bindparam("now", type_=_INSTANT),
    bindparam("today", type_=Date),
    bindparam("limit", type_=Integer),
)
_FOUND = text("""
insert into device_silences (member_id, id, connection_id, silent_from, found_at)
select w.*, :now from unnest(:member_ids, :ids, :connection_ids, :silent_from) as w
on conflict do nothing
""").bindparams(
    bindparam("now", type_=_INSTANT),
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("connection_ids", type_=ARRAY(Uuid)),
    bindparam("silent_from", type_=ARRAY(_INSTANT)),
)


def parameters(sources: Sequence[str], *, now: datetime) -> dict[str, Any]:
    """Of `HEARD`. `sources` differ, and are in order: two requests lock them alike."""
    return {
        "source_ids": list(sources),
        "ids": [new_id(now) for _ in sources],
        "app_days": devices_data.silent_after_days(DeviceKind.APP),
    }


async def heard(
    session: AsyncSession, *, member_id: UUID, source_ids: Sequence[str], now: datetime
) -> None:
    """These sources have synced, although nothing was measured: as `alerts.raise_for` does of
    those that have sent readings."""
    sources = sorted({source_id for source_id in source_ids if source_id})
    values = {"member_id": member_id, "now": now, **parameters(sources, now=now)}
    over = (await session.execute(_HEARD, values)).scalars().all()
    await alerts_opening.close(
        session,
        alerts=[(member_id, alert_id) for alert_id in over],
        reason=AlertClosed.SYNCED,
        now=now,
    )


async def find_silent(session: AsyncSession, *, now: datetime, limit: int) -> int:
    """Mark up to `limit` connections that are silent by now and tell of them; how many were
    looked at, fewer than `limit` when no more are due. What another worker holds is skipped.

    A source that is in no register is told of only while nothing else of the member syncs: an
    old phone that was replaced is nobody's to ask about.
    """
    values = {"now": now, "today": now.date(), "limit": limit}
    due = (await session.execute(_DUE, values)).all()
    rows = [row for row in due if row.is_silent]
    if not rows:
        return len(due)
    await session.execute(
        _FOUND,
        {
            "now": now,
            "member_ids": [row.member_id for row in rows],
            "ids": [new_id(now) for _ in rows],
            "connection_ids": [row.id for row in rows],
            "silent_from": [row.silent_from for row in rows],
        },
    )
    found = [(row.member_id, _raised(row, now=now)) for row in rows if not row.is_replaced]
    await alerts_opening.open_alerts(session, found=found, now=now)
    return len(due)


def _raised(row: Any, *, now: datetime) -> Raised:
    rule = alerts_data.in_force().silence
    name = devices_data.name(DeviceKind(row.kind))
    days = (now - row.silent_from) // timedelta(days=1)
    return Raised(
        rule=f"{rule.rule}:{row.id}",
        kind=AlertKind.SILENCE,
        severity=rule.severity,
        asks_confirmation=False,
        due_hours=rule.due_hours,
        message=Sentence(
            zh=rule.message.zh.format(name=name.zh, days=days),
            en=rule.message.en.format(name=name.en, days=days),
        ),
        connection_id=row.id,
    )
