"""Devices, loans and connections as they are shown: of many members with one statement."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Integer, Text, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.members.directory import has_ground

SOURCES_MAX = 100
LOANS_MAX = 50

_DEVICE_COLUMNS = "d.id, d.serial, d.kind, d.model, d.owner, d.state, d.member_id, d.registered_at"


def _register() -> str:
    """Devices of the programme, and those of members whom the employee may see (`seen`)."""
    return f"""
select {_DEVICE_COLUMNS}, s.seen from devices d
cross join lateral (select coalesce((select :sees_everybody or {has_ground()} from members
    where members.member_id = d.member_id), false) as seen) s
where (d.owner = 'PROGRAMME' or s.seen)
  and (cast(:states as text[]) is null or d.state = any(:states))
  and (cast(:kinds as text[]) is null or d.kind = any(:kinds))
  and (cast(:serial as text) is null or d.serial = :serial)
  and (cast(:id as uuid) is null or d.id < :id)
order by d.id desc limit :limit
"""


# What a source is called may say what somebody measures. No row at all means never asked.
_CONSENTED = """
(not :consented_only or coalesce((select s.state = 'GRANTED' from consents s
  where s.member_id = c.member_id and s.purpose = 'HEALTH_DATA'
  order by s.version desc limit 1), false))
"""
_OF_MEMBER = text(f"""
select l.member_id, l.id, l.device_id, l.lent_at, l.ended_at, l.outcome, {_DEVICE_COLUMNS}
from unnest(:member_ids) as asked (member_id)
cross join lateral (select * from device_loans l where l.member_id = asked.member_id
  order by l.lent_at desc, l.id desc limit {LOANS_MAX}) l
join devices d on d.id = l.device_id
order by l.lent_at desc, l.id desc
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)))
_SOURCES = text(f"""
select c.* from unnest(:member_ids) as asked (member_id)
cross join lateral (select * from connections c where c.member_id = asked.member_id
  order by coalesce(c.synced_at, c.connected_at) desc, c.id desc limit {SOURCES_MAX}) c
where {_CONSENTED}
order by coalesce(c.synced_at, c.connected_at) desc, c.id desc
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("consented_only", type_=Boolean)
)
_LOAN = text(f"""
select l.member_id, l.id, l.device_id, l.lent_at, l.ended_at, l.outcome, {_DEVICE_COLUMNS}
from device_loans l join devices d on d.id = l.device_id
where l.member_id = :member_id and l.id = :id
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))
_SOURCE = text(f"""
select c.* from connections c where c.member_id = :member_id and c.id = :id and {_CONSENTED}
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("id", type_=Uuid),
    bindparam("consented_only", type_=Boolean),
)
_DEVICE = text(f"select {_DEVICE_COLUMNS} from devices d where d.id = :id").bindparams(
    bindparam("id", type_=Uuid)
)


async def register(
    connection: AsyncConnection,
    *,
    staff_id: UUID,
    sees_everybody: bool,
    states: Sequence[str] | None,
    kinds: Sequence[str] | None,
    serial: str | None,
    after: UUID | None,
    limit: int,
) -> Sequence[Any]:
    """The newest devices, after a key."""
    statement = text(_register()).bindparams(
        bindparam("staff_id", type_=Uuid),
        bindparam("sees_everybody", type_=Boolean),
        bindparam("states", type_=ARRAY(Text)),
        bindparam("kinds", type_=ARRAY(Text)),
        bindparam("id", type_=Uuid),
        bindparam("limit", type_=Integer),
    )
    values = {
        "staff_id": staff_id,
        "sees_everybody": sees_everybody,
        "states": states,
        "kinds": kinds,
        "serial": serial,
        "id": after,
        "limit": limit,
    }
    return (await connection.execute(statement, values)).all()


async def loans(connection: AsyncConnection, member_ids: Sequence[UUID]) -> Sequence[Any]:
    """Of each member the newest, with their devices."""
    return (await connection.execute(_OF_MEMBER, {"member_ids": list(member_ids)})).all()


async def sources(
    connection: AsyncConnection, member_ids: Sequence[UUID], *, consented_only: bool
) -> Sequence[Any]:
    """Of each member the ones last heard, with the columns of `connections`. `consented_only`
    leaves out members who do not consent to the use of health data."""
    values = {"member_ids": list(member_ids), "consented_only": consented_only}
    return (await connection.execute(_SOURCES, values)).all()


async def loan(connection: AsyncConnection, member_id: UUID, id: UUID) -> Any:
    return (await connection.execute(_LOAN, {"member_id": member_id, "id": id})).one_or_none()


async def source(
    connection: AsyncConnection, member_id: UUID, id: UUID, *, consented_only: bool
) -> Any:
    values = {"member_id": member_id, "id": id, "consented_only": consented_only}
    return (await connection.execute(_SOURCE, values)).one_or_none()


async def device(connection: AsyncConnection, id: UUID) -> Any:
    return (await connection.execute(_DEVICE, {"id": id})).one_or_none()
