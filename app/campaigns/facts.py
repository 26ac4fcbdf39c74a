"""What domains below know of members, for where they stand and for filters. Imported by the
wiring of web and worker."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.campaigns import queries
from app.campaigns.leaves import HEALTH, LEAVES
from app.members import filters, standing_service

_COVER = """
select distinct on (p.member_id) p.member_id, p.started_on, p.state = 'IN_FORCE' as in_force,
  p.term_ends_at as ends_at
from policies p where p.member_id = any(:members)
order by p.member_id, (p.state = 'IN_FORCE') desc, p.term_ends_at desc, p.id
"""
_IS_COVERED = """
exists (select from policies p where p.member_id = s.member_id and p.state = 'IN_FORCE'
  and p.started_on <= :soon)
"""
# An app that opens registers its installation anew.
_OPENED = """
select member_id, refreshed_at as used_at from installations where refreshed_at > :since
"""


async def _product_codes(connection: AsyncConnection) -> list[str]:
    return [code for code, _ in await queries.products(connection)]


standing_service.COVER.of_members = _COVER
standing_service.COVER.is_covered = _IS_COVERED
if _OPENED not in standing_service.SIGNS_OF_USE:
    standing_service.SIGNS_OF_USE.append(_OPENED)
filters.UPPER_LEAVES.update(LEAVES)
filters.HEALTH_FIELDS.update(HEALTH)
filters.UPPER_CODES["productCodes"] = _product_codes
