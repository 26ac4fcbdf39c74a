"""All members in batches, in the order of their ids: a batch is read with a constant number of
statements, and one that was interrupted is gone on with from where it stopped."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Integer, Uuid, bindparam, text

from app.db import Database
from app.risk import service
from app.risk.requests import Cause
from app.risk.rulesets import RuleSet

BATCH = 500

_NEXT = text("""
select m.member_id from members m
where m.erased_at is null and (cast(:after as uuid) is null or m.member_id > :after)
order by m.member_id limit :limit
""").bindparams(bindparam("after", type_=Uuid), bindparam("limit", type_=Integer))
_COUNT = text("select count(*) from members where erased_at is null")


@dataclass(frozen=True, slots=True)
class Progress:
    done: int
    """Members looked at."""
    total: int
    assessed: int = 0
    """Of them, those who consent."""
    changed: int = 0
    moved: int = 0
    """Whose tier is another one than before."""
    last: UUID | None = None
    """Where to go on."""


async def count(db: Database) -> int:
    async with db.read() as connection:
        found: int = (await connection.execute(_COUNT)).scalar_one()
    return found


async def batches(
    db: Database, *, size: int = BATCH, after: UUID | None = None
) -> AsyncIterator[Sequence[UUID]]:
    while True:
        async with db.read() as connection:
            rows = await connection.execute(_NEXT, {"after": after, "limit": size})
            found = list(rows.scalars())
        if not found:
            return
        yield found
        after = found[-1]


async def reassess(
    db: Database,
    *,
    now: datetime,
    cause: Cause = Cause.RULES_CHANGED,
    rule_set: RuleSet | None = None,
    after: UUID | None = None,
    size: int = BATCH,
) -> AsyncIterator[Progress]:
    """Assess everybody who consents, as after a new rule set; each batch commits by itself."""
    progress = Progress(0, await count(db))
    async for member_ids in batches(db, size=size, after=after):
        async with db.transaction() as session:
            found = await service.assess_many(
                session, member_ids, cause=cause, now=now, rule_set=rule_set
            )
        progress = Progress(
            progress.done + len(member_ids),
            progress.total,
            progress.assessed + len(found),
            progress.changed + sum(it.changed for it in found),
            progress.moved + sum(it.tier != it.before for it in found),
            member_ids[-1],
        )
        yield progress
