"""A member's connections as values, for those who judge what is missing."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from app.measurements import devices_data
from app.measurements.devices_rules import DeviceKind, Link

_SILENCES_MAX = 20


def links_sql(member_id: str) -> str:
    """A column of a statement: what `links_of` takes, of the member that this SQL names."""
    return f"""
array(select row(c.kind, c.connected_at, coalesce(c.synced_at, c.connected_at),
    c.silent_after_days, c.silent_at is not null or c.disconnected_at is not null,
    c.disconnected_at,
    array(select row(s.silent_from, s.ended_at) from device_silences s
      where s.member_id = c.member_id and s.connection_id = c.id
      order by s.silent_from desc limit {_SILENCES_MAX}))
  from connections c where c.member_id = {member_id})
"""


def links_of(rows: Iterable[Sequence[Any]]) -> list[Link]:
    return [_link(*row) for row in rows]


def _link(
    kind: str,
    connected_at: datetime,
    heard_at: datetime,
    silent_after_days: int,
    is_watched: bool,
    disconnected_at: datetime | None,
    silences: Iterable[tuple[datetime, datetime | None]],
) -> Link:
    return Link(
        kind=DeviceKind(kind),
        connected_at=connected_at,
        heard_at=heard_at,
        silent_after_days=silent_after_days,
        is_watched=is_watched,
        disconnected_at=disconnected_at,
        silences=[(start, end) for start, end in silences],
        measures=devices_data.measures(DeviceKind(kind)),
    )
