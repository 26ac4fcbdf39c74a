"""Reads: contracts in whatever state, their history, invoices and refunds."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Integer, Text, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

Key = tuple[UUID, UUID]
"""A member and the id of what is theirs."""

_COLUMNS = """
select p.*, v.code as product_code, v.version as product_version,
  v.definition #>> '{name,zh}' as name_zh, v.definition #>> '{name,en}' as name_en,
  g.code as group_code, u.waits_for, u.findings, u.conditions, u.answers, u.tier,
  u.decision, u.reason as decision_reason, u.decided_at,
  t.starts_on, t.ends_on, t.base, t.total, t.currency,
  o.starts_on as renews_on, o.answer as renewal_answer,
  exists (select from rescissions r where r.member_id = p.member_id and r.policy_id = p.id
    and r.confirmed_at is null and r.dropped_at is null) as rescission_proposed
from policies p
join product_versions v on v.id = p.product_version_id
left join insured_groups g on g.id = p.group_id
left join underwritings u on u.member_id = p.member_id and u.policy_id = p.id
left join lateral (select * from policy_terms l where l.member_id = p.member_id
  and l.policy_id = p.id order by l.starts_on desc limit 1) t on true
left join renewal_offers o on o.member_id = p.member_id and o.policy_id = p.id
  and o.starts_on = t.ends_on + 1
"""
_CONTRACTS = text(f"""{_COLUMNS}
join unnest(:member_ids, :ids) as wanted (member_id, id)
  on (p.member_id, p.id) = (wanted.member_id, wanted.id)
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("ids", type_=ARRAY(Uuid)))
_OF_MEMBER = text(f"""{_COLUMNS}
where p.member_id = :member_id and (cast(:before as uuid) is null or p.id < :before)
order by p.id desc limit :limit
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("before", type_=Uuid),
    bindparam("limit", type_=Integer),
)
_EVENTS = text("""
select * from policy_events where member_id = :member_id and policy_id = :policy_id
and kind <> all(:but) and (cast(:before as integer) is null or place < :before)
order by place desc limit :limit
""").bindparams(
    bindparam("but", type_=ARRAY(Text)),
    bindparam("member_id", type_=Uuid),
    bindparam("policy_id", type_=Uuid),
    bindparam("before", type_=Integer),
    bindparam("limit", type_=Integer),
)
_REFUNDS = text("""
select r.* from refunds r join invoices i on i.member_id = r.member_id and i.id = r.invoice_id
where r.member_id = :member_id and i.policy_id = :policy_id
and (cast(:after as uuid) is null or r.id > :after) order by r.id limit :limit
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("policy_id", type_=Uuid),
    bindparam("after", type_=Uuid),
    bindparam("limit", type_=Integer),
)
_INVOICES = text("""
select i.* from invoices i
where i.member_id = :member_id and i.policy_id = :policy_id
and (cast(:at as timestamptz) is null or (i.issues_at, i.id) > (:at, :id))
order by i.issues_at, i.id limit :limit
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("policy_id", type_=Uuid),
    bindparam("at", type_=DateTime(timezone=True)),
    bindparam("id", type_=Uuid),
    bindparam("limit", type_=Integer),
)
_INVOICES_OF_KEYS = text("""
select i.* from invoices i
join unnest(:member_ids, :ids) as wanted (member_id, id)
  on (i.member_id, i.id) = (wanted.member_id, wanted.id)
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("ids", type_=ARRAY(Uuid)))
_PAYMENTS = text("""
select p.* from payments p join invoices i on i.member_id = p.member_id and i.id = p.invoice_id
where p.member_id = :member_id and i.policy_id = :policy_id
and (cast(:before as uuid) is null or p.id < :before) order by p.id desc limit :limit
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("policy_id", type_=Uuid),
    bindparam("before", type_=Uuid),
    bindparam("limit", type_=Integer),
)
_REFUND = text("""
select * from refunds where member_id = :member_id and id = :id
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))


async def contracts(connection: AsyncConnection, keys: Sequence[Key]) -> Mapping[Key, Any]:
    """With one statement."""
    member_ids, ids = (list(it) for it in zip(*keys, strict=True))
    rows = await connection.execute(_CONTRACTS, {"member_ids": member_ids, "ids": ids})
    return {(row.member_id, row.id): row for row in rows}


async def of_member(
    connection: AsyncConnection, member_id: UUID, *, before: UUID | None, limit: int
) -> Sequence[Any]:
    """The newest first: ids are in the order of time."""
    parameters = {"member_id": member_id, "before": before, "limit": limit}
    return (await connection.execute(_OF_MEMBER, parameters)).all()


async def history(
    connection: AsyncConnection,
    key: Key,
    *,
    but: Collection[str],
    before: int | None,
    limit: int,
) -> Sequence[Any]:
    """The newest first, without events of the kinds `but`."""
    member_id, policy_id = key
    parameters = {
        "member_id": member_id,
        "policy_id": policy_id,
        "but": list(but),
        "before": before,
        "limit": limit,
    }
    return (await connection.execute(_EVENTS, parameters)).all()


async def invoices(
    connection: AsyncConnection, key: Key, *, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Any]:
    """In the order in which they are issued."""
    member_id, policy_id = key
    at, id = after or (None, None)
    parameters = {
        "member_id": member_id,
        "policy_id": policy_id,
        "at": at,
        "id": id,
        "limit": limit,
    }
    return (await connection.execute(_INVOICES, parameters)).all()


async def invoices_of(connection: AsyncConnection, keys: Sequence[Key]) -> Mapping[Key, Any]:
    member_ids, ids = (list(it) for it in zip(*keys, strict=True))
    rows = await connection.execute(_INVOICES_OF_KEYS, {"member_ids": member_ids, "ids": ids})
    return {(row.member_id, row.id): row for row in rows}


async def refunds(
    connection: AsyncConnection, key: Key, *, after: UUID | None, limit: int
) -> Sequence[Any]:
    """In the order in which they came to be owed."""
    member_id, policy_id = key
    parameters = {"member_id": member_id, "policy_id": policy_id, "after": after, "limit": limit}
    return (await connection.execute(_REFUNDS, parameters)).all()


async def payments(
    connection: AsyncConnection, key: Key, *, before: UUID | None, limit: int
) -> Sequence[Any]:
    """What was recorded of its invoices and refunds, the newest first."""
    member_id, policy_id = key
    parameters = {"member_id": member_id, "policy_id": policy_id, "before": before, "limit": limit}
    return (await connection.execute(_PAYMENTS, parameters)).all()


async def refund(connection: AsyncConnection, key: Key) -> Any:
    member_id, id = key
    return (await connection.execute(_REFUND, {"member_id": member_id, "id": id})).one_or_none()
