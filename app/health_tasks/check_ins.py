"""Check-ins by their ids, of many members at once."""

from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.health_tasks.queries import CHECK_IN_COLUMNS, CONSENT, LatestCheckIn, consent_of
from app.members.rules import shows_health

_FIND = text(f"""
select c.member_id, {CONSENT}, {CHECK_IN_COLUMNS}
from checkins c join members on members.member_id = c.member_id
where (c.member_id, c.id) in (select * from unnest(:member_ids, :ids))
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("ids", type_=ARRAY(Uuid)))


async def find(
    connection: AsyncConnection,
    keys: Sequence[tuple[UUID, UUID]],
    *,
    is_own: Callable[[UUID], bool],
) -> dict[tuple[UUID, UUID], LatestCheckIn]:
    """By (member, id); left out is what does not exist, and what is not shown to the viewer
    now. `is_own` tells whether the viewer is a member, or acts for them."""
    parameters = {"member_ids": [key[0] for key in keys], "ids": [key[1] for key in keys]}
    found: dict[tuple[UUID, UUID], LatestCheckIn] = {}
    for member_id, consent, *row in await connection.execute(_FIND, parameters):
        if shows_health(consent_of(consent), own=is_own(member_id)):
            check_in = LatestCheckIn._make(row)
            found[member_id, check_in.id] = check_in
    return found
