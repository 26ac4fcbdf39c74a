"""Reads: the catalogue as a member sees it, and redemptions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Self
from uuid import UUID

import orjson
from sqlalchemy import DateTime, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.rewards.rules import Person
from app.rewards.terms import Terms, of_definition

Key = tuple[UUID, UUID]
"""A member and the id of what is theirs."""

FACTS = {
    "tier": """(select p.tier from risk_profiles p where p.member_id = :member_id
      and (select c.state = 'GRANTED' from consents c where c.member_id = p.member_id
        and c.purpose = 'HEALTH_DATA' order by c.version desc limit 1))""",
    "segment": "(select s.segment from member_standing s where s.member_id = :member_id)",
}
"""What a member is, as SQL on `:member_id`; null until assessed and without the consent to the
use of health data, or while too little is known."""


@lru_cache(maxsize=1024)
def _terms(definition: str) -> Terms:
    """The same few are shown again and again."""
    return of_definition(orjson.loads(definition))


@dataclass(frozen=True, slots=True)
class Shelved:
    """A reward with the terms in force, and who looks at it."""

    id: UUID
    code: str
    version: int
    stock: int | None
    terms: Terms
    person: Person | None
    """None when it is no member who looks."""

    @classmethod
    def of(cls, row: Any, member_id: UUID | None) -> Self:
        """From a row of `_REWARD`."""
        person = Person(row.available, row.redeemed, row.tier, row.segment)
        return cls(
            id=row.id,
            code=row.code,
            version=row.version,
            stock=row.stock,
            terms=_terms(row.definition),
            person=person if member_id is not None else None,
        )


# A code that was given stays with the member, who may have used it, whatever became of the
# points.
_REDEEMED = """
(select count(*) from redemptions d where d.member_id = :member_id and d.reward_id = r.id
 and (d.state in ('RESERVED', 'FULFILLED') or d.code_id is not null))
"""
_VISIBLE = """
(v.visible_from is null or v.visible_from <= :now) and (v.visible_to is null or v.visible_to > :now)
"""


@cache
def _reward(condition: str) -> Any:
    """Rewards with their terms in force, and what decides whether `:member_id` gets them."""
    statement = f"""
    select r.id, r.code, r.version, r.stock, v.price, v.definition::text, {_REDEEMED} as redeemed,
      coalesce((select w.available from wallets w where w.member_id = :member_id), 0) as available,
      {FACTS["tier"]} as tier, {FACTS["segment"]} as segment
    from rewards r join reward_versions v on v.reward_id = r.id and v.version = r.version
    where {condition}
    """
    found = text(statement).bindparams(bindparam("member_id", type_=Uuid))
    if ":now" in statement:
        found = found.bindparams(bindparam("now", type_=DateTime(timezone=True)))
    return found


_AFTER = """
(v.price, r.id) > (:price, cast(:id as uuid)) order by v.price, r.id limit :limit
"""
Cursor = tuple[int, UUID]
"""(price, id): ascending is cheapest first."""
_FIRST: Cursor = (0, UUID(int=0))


async def page(
    connection: AsyncConnection,
    *,
    member_id: UUID | None,
    after: Cursor | None,
    limit: int,
    now: datetime | None,
) -> Sequence[Shelved]:
    """The cheapest first; those that can be seen at `now`, or all when it is None."""
    price, id = after or _FIRST
    parameters: dict[str, Any] = {
        "member_id": member_id,
        "price": price,
        "id": id,
        "limit": limit,
    }
    if now is not None:
        parameters["now"] = now
    condition = _AFTER if now is None else f"{_VISIBLE} and {_AFTER}"
    rows = await connection.execute(_reward(condition), parameters)
    return [Shelved.of(row, member_id) for row in rows]


async def rewards(
    connection: AsyncConnection, ids: Iterable[UUID], *, member_id: UUID | None
) -> Mapping[UUID, Shelved]:
    """Also those that cannot be seen in the list."""
    statement = _reward("r.id = any(cast(:ids as uuid[]))")
    rows = await connection.execute(statement, {"ids": list(ids), "member_id": member_id})
    return {row.id: Shelved.of(row, member_id) for row in rows}


_WALLET = text("select available from wallets where member_id = :member_id for no key update")


async def lock_wallet(connection: AsyncConnection, member_id: UUID) -> bool:
    """Whether the member has one."""
    locked = await connection.execute(_WALLET, {"member_id": member_id})
    return locked.one_or_none() is not None


async def lock_person(
    connection: AsyncConnection, *, member_id: UUID, reward_id: UUID
) -> Person | None:
    """What decides whether a member gets a reward, under the lock of their wallet, so that
    they redeem one thing after the other. None for a member without a wallet."""
    if not await lock_wallet(connection, member_id):
        return None
    # Counted by a later statement: the one that waited would not see what it waited for.
    found = await rewards(connection, [reward_id], member_id=member_id)
    return found[reward_id].person


_REDEMPTIONS = text(
    """select d.* from redemptions d
        where (d.member_id, d.id) in (
          select * from unnest(cast(:member_ids as uuid[]), cast(:ids as uuid[])))"""
)


async def redemptions(connection: AsyncConnection, keys: Iterable[Key]) -> Mapping[Key, Any]:
    """Rows with the columns of `redemptions`."""
    member_ids, ids = zip(*keys, strict=True)
    rows = await connection.execute(
        _REDEMPTIONS, {"member_ids": list(member_ids), "ids": list(ids)}
    )
    return {(row.member_id, row.id): row for row in rows}


_OF_MEMBER = text(
    """select d.* from redemptions d
        where d.member_id = :member_id and (cast(:before as uuid) is null or d.id < :before)
        order by d.id desc limit :limit"""
).bindparams(bindparam("member_id", type_=Uuid), bindparam("before", type_=Uuid))


async def of_member(
    connection: AsyncConnection, member_id: UUID, *, before: UUID | None, limit: int
) -> Sequence[Any]:
    """Rows with the columns of `redemptions`, the newest first: ids are in the order of time."""
    parameters = {"member_id": member_id, "before": before, "limit": limit}
    return (await connection.execute(_OF_MEMBER, parameters)).all()


_DUE = text(
    """select member_id, id, expires_at from redemptions
        where state = 'RESERVED' and expires_at <= :now
          and (expires_at, member_id, id) > (:after_at, :after_member_id, :after_id)
        order by expires_at, member_id, id limit :limit"""
).bindparams(
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("after_at", type_=DateTime(timezone=True)),
    bindparam("after_member_id", type_=Uuid),
    bindparam("after_id", type_=Uuid),
)
Due = tuple[UUID, UUID, datetime]
"""(member, redemption, when its time was over)."""


async def due(
    connection: AsyncConnection, *, now: datetime, after: Due | None, limit: int
) -> Sequence[Due]:
    """Redemptions whose time is over at `now`, the longest first."""
    member_id, id, at = after or (UUID(int=0), UUID(int=0), datetime.min.replace(tzinfo=UTC))
    parameters = {
        "now": now,
        "after_at": at,
        "after_member_id": member_id,
        "after_id": id,
        "limit": limit,
    }
    return [tuple(row) for row in await connection.execute(_DUE, parameters)]
