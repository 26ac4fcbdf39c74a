"""What is heard from a member's devices, and which of them have gone silent."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from app.ids import new_id
from app.measurements import devices_data
from app.measurements.devices_rules import WATCHED_FROM_DAYS, DeviceKind

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


def parameters(sources: Sequence[str], *, now: datetime) -> dict[str, Any]:
    """Of `HEARD`. `sources` differ, and are in order: two requests lock them alike."""
    return {
        "source_ids": list(sources),
        "ids": [new_id(now) for _ in sources],
        "app_days": devices_data.silent_after_days(DeviceKind.APP),
    }
