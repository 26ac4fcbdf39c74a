"""A member's status level, as the member sees it."""

from datetime import date
from typing import Self
from uuid import UUID

import strawberry
from sqlalchemy import ARRAY, Date, Uuid, bindparam, text
from strawberry.dataloader import DataLoader

from app import civil_time
from app.graphql.node import Info
from app.points import levels
from app.points.programme import programme

# Confirmed points by local day, less what was taken back: what the wallet's `earned_total`
# counts. An earning's corrections have its own day.
_EARNED = text(
    """
select t.member_id, t.local_date, sum(case
    when t.debit in ('issued', 'pending') and t.credit not in ('pending', 'reversed') then t.amount
    when t.debit not in ('issued', 'pending') and t.credit in ('pending', 'reversed') then -t.amount
    else 0 end)::bigint
from points_transfers t
where t.member_id = any(:member_ids) and t.local_date between :first and :last
group by t.member_id, t.local_date
"""
).bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("first", type_=Date),
    bindparam("last", type_=Date),
)
_ZONES = text(
    "select member_id, time_zone from members where member_id = any(:member_ids)"
).bindparams(bindparam("member_ids", type_=ARRAY(Uuid)))


@strawberry.type(description="The next level, and what is missing.")
class PointsLevelAhead:
    code: str
    name: str
    points_needed: int = strawberry.field(description="Points in one calendar year.")
    by: date = strawberry.field(
        description="Last day of the year in which the points of `pointsToNext` count."
    )


@strawberry.type(description="Reached by the points of one year, kept to the end of the next.")
class PointsLevel:
    code: str
    name: str
    since: date | None = strawberry.field(
        description="The day on which it was reached; null for the lowest level."
    )
    until: date | None = strawberry.field(
        description="Its last day; null for the lowest level, which is never lost."
    )
    earned_this_year: int = strawberry.field(
        description="Confirmed points of this calendar year, less what was taken back."
    )
    points_to_next: int | None = strawberry.field(
        description="Still to be earned this year; null on the highest level."
    )
    next: PointsLevelAhead | None

    @classmethod
    def of(cls, found: levels.Standing, locale: str) -> Self:
        ahead = None
        if found.next is not None and found.next_by is not None:
            ahead = PointsLevelAhead(
                code=found.next.code,
                name=found.next.name.to(locale),
                points_needed=found.next.points,
                by=found.next_by,
            )
        return cls(
            code=found.level.code,
            name=found.level.name.to(locale),
            since=found.since,
            until=found.until,
            earned_this_year=found.earned,
            points_to_next=found.to_next,
            next=ahead,
        )


async def load(info: Info, member_id: UUID) -> PointsLevel:
    """With two statements, however many members a request asks about at once."""
    state = info.context.state
    if "points.levels" not in state:

        async def load_many(member_ids: list[UUID]) -> list[PointsLevel]:
            return await _load(info, member_ids)

        state["points.levels"] = DataLoader(load_fn=load_many)
    loader: DataLoader[UUID, PointsLevel] = state["points.levels"]
    return await loader.load(member_id)


async def _load(info: Info, member_ids: list[UUID]) -> list[PointsLevel]:
    now = info.context.now
    # Nobody's calendar is further off than a day.
    years = {"first": date(now.year - 2, 1, 1), "last": date(now.year + 1, 12, 31)}
    async with info.context.db.read() as connection:
        found_zones = await connection.execute(_ZONES, {"member_ids": member_ids})
        zones = {member_id: civil_time.zone(name) for member_id, name in found_zones}
        rows = await connection.execute(_EARNED, {"member_ids": member_ids, **years})
        earned: dict[UUID, list[levels.Earned]] = {}
        for member_id, day, points in rows:
            earned.setdefault(member_id, []).append((day, points))
    found = []
    for member_id in member_ids:
        today = civil_time.local_date(now, zones[member_id])
        standing = levels.standing(programme().ladder(), earned.get(member_id, ()), today)
        found.append(PointsLevel.of(standing, info.context.locale))
    return found
