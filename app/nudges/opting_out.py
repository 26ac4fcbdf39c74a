"""After a member takes a consent back, opts out or pauses, nothing leaves.

Whoever does so holds the member's row, so that no further push is marked (`outbox.next_group`
locks it too), and waits for those that are on their way before it commits. A worker that died
holds it up until its lease is over. What people of the staff were to say is taken back as well.
"""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import DateTime, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.members.models import ConsentRecord
from app.members.rules import ConsentState
from app.nudges import outreach

_LOOK_EVERY_SECONDS = 0.02
_ON_THEIR_WAY = text("""
select exists (select from push_deliveries d join push_batches b on b.id = d.batch_id
  where d.member_id = :member_id and d.state = 'ATTEMPTING' and b.leased_until > :now)
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("now", type_=DateTime(timezone=True)))


async def wait(session: AsyncSession, member_id: UUID, now: datetime) -> None:
    """Until nothing is on its way to the member, whom the caller has locked. Calls and visits that
    the gate does not let through any more are closed."""
    await outreach.withdraw_refused(session, member_id, now=now)
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        at = now + timedelta(seconds=loop.time() - began)
        looked = await session.execute(_ON_THEIR_WAY, {"member_id": member_id, "now": at})
        if not looked.scalar_one():
            return
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


async def after_consent(session: AsyncSession, answered: ConsentRecord, now: datetime) -> None:
    """Follows an answer about a consent (see `members.service.ON_CONSENT`)."""
    if answered.state != ConsentState.GRANTED:
        await wait(session, answered.member_id, now)
