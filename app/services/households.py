"""Who shares the services of a spouse (SVC-7)."""

from collections.abc import Mapping
from datetime import date
from uuid import UUID

from sqlalchemy import ARRAY, Date, Uuid, bindparam, text

from app.services.entitled import Reader

_SPOUSES = text("""
select me.member_id, other.member_id
from unnest(:member_ids, :days) as asked (member_id, day)
join household_members me on me.member_id = asked.member_id
  and me.joined_on <= asked.day and (me.left_on is null or me.left_on > asked.day)
join household_members other on other.household_id = me.household_id
  and other.member_id <> me.member_id
  and other.joined_on <= asked.day and (other.left_on is null or other.left_on > asked.day)
where (me.role, other.role) in (('HOLDER', 'SPOUSE'), ('SPOUSE', 'HOLDER'))
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("days", type_=ARRAY(Date)))


async def spouses_of(reading: Reader, members: Mapping[UUID, date]) -> Mapping[UUID, UUID]:
    """Members with their local day, to the spouses of those who have one: as
    `members.households.spouse_of`, of many with one statement."""
    wanted = {"member_ids": list(members), "days": list(members.values())}
    rows = (await reading.execute(_SPOUSES, wanted)).all()
    return {member_id: spouse for member_id, spouse in rows}
