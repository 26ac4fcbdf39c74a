"""What a task has paid, of all its revisions: at most its points, once.

It is what was issued for the task less what was taken back, whether it waits or not. Whatever
is settled, restored or corrected, the next payment is the rest, and a decision is about the rest
with what waits.
"""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

# Every revision was posted under a key of its own, and one that paid a debt under two.
_PAID = text("""
select a.points,
  coalesce((select sum(case x.debit when 'issued' then x.amount else -x.amount end)
    from points_transfers x where x.member_id = t.member_id
    and (x.id = any(i.ids) or (x.corrects = any(i.ids) and x.credit = 'reversed'))), 0) as paid,
  coalesce((select sum(x.amount) from points_transfers x where x.member_id = t.member_id
    and x.id = any(i.ids) and x.credit = 'pending' and not exists (
      select from points_transfers s where s.member_id = x.member_id
      and s.corrects = coalesce(x.corrects, x.id) and s.kind in ('RELEASED', 'REVERSED'))), 0)
    as waiting
from checkins c
join tasks t using (member_id, assignment_id, starts_on)
join task_assignments a on a.member_id = t.member_id and a.id = t.assignment_id
cross join lateral (
  select coalesce(array_agg(x.id), '{}') as ids from points_transfers x
  where x.member_id = t.member_id and x.debit = 'issued' and x.cause_key = any(array(
    select t.assignment_id || ':' || t.starts_on || ':' || revision || part
    from generate_series(0, t.revision) as revision, (values (''), ('/2')) as parts (part)))) i
where c.member_id = :member_id and c.id = :id
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))


class Paid(NamedTuple):
    """Points."""

    promised: int
    """What the task pays when it is done."""
    paid: int
    """More than promised when an appeal gave more."""
    waiting: int
    """Of what is paid: not decided yet."""

    @property
    def owed(self) -> int:
        return max(0, self.promised - self.paid)

    @property
    def undecided(self) -> int:
        """What hangs on a decision about any check-in of the task."""
        return self.owed + self.waiting


async def of_task(session: AsyncSession, *, member_id: UUID, check_in_id: UUID) -> Paid:
    """By the task that the check-in is of; the wallet is locked."""
    keys = {"member_id": member_id, "id": check_in_id}
    promised, paid, waiting = (await session.execute(_PAID, keys)).one()
    return Paid(promised, int(paid), int(waiting))
