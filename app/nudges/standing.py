"""Reading what the gate asks about: consent, pauses and preferences of many members at once."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import Uuid
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.members.rules import ConsentState, PausedDays
from app.nudges.gate import Standing

_log = structlog.get_logger(__name__)

# A local day is at most one day away from that of UTC; the exact day is the gate's business.
_READ = text(
    """
    SELECT members.member_id, members.time_zone, members.locale,
           (SELECT state FROM consents
             WHERE consents.member_id = members.member_id AND purpose = 'HEALTH_DATA'
             ORDER BY version DESC LIMIT 1) AS health_consent,
           (SELECT state FROM consents
             WHERE consents.member_id = members.member_id AND purpose = 'MARKETING'
             ORDER BY version DESC LIMIT 1) AS marketing_consent,
           (SELECT max(recorded_at) FROM consents
             WHERE consents.member_id = members.member_id AND state <> 'GRANTED') AS taken_back_at,
           ARRAY(SELECT ROW(starts_on, ends_on) FROM pauses
                  WHERE pauses.member_id = members.member_id
                    AND (ends_on IS NULL OR ends_on >= :since)) AS pauses,
           wish.quiet_from, wish.quiet_to, wish.topics, wish.paused_until
      FROM members LEFT JOIN notification_preferences AS wish USING (member_id)
     WHERE members.member_id = ANY(:members) AND members.erased_at IS NULL
    """
).bindparams(bindparam("members", type_=ARRAY(Uuid)))
_STATEMENT = _READ.columns(topics=JSONB)
# A member who takes a consent back, opts out or pauses is locked by that until it commits. In
# the order in which everybody locks many members.
_LOCK = text(
    """SELECT FROM members WHERE member_id = ANY(:members) ORDER BY member_id FOR SHARE"""
).bindparams(bindparam("members", type_=ARRAY(Uuid)))


async def standings(
    session: AsyncSession, member_ids: Collection[UUID], *, now: datetime, lock: bool = False
) -> Mapping[UUID, Standing]:
    """By member. One whose zone this program does not know is left out, and does not keep the
    others waiting; so is one who was erased. With `lock` nobody changes what they said before
    this transaction ends."""
    connection = await session.connection()
    members = sorted(set(member_ids))
    if lock:
        await connection.execute(_LOCK, {"members": members})
    rows = await connection.execute(
        _STATEMENT, {"members": members, "since": now.date() - timedelta(days=2)}
    )
    found: dict[UUID, Standing] = {}
    for row in rows:
        try:
            zone = civil_time.zone(row.time_zone)
        except civil_time.UnknownZone:
            _log.error("member_zone_unknown", zone=row.time_zone, member_id=str(row.member_id))
            continue
        found[row.member_id] = Standing(
            zone=zone,
            locale=row.locale,
            health_consent=ConsentState(row.health_consent or ConsentState.NOT_ASKED),
            pauses=[PausedDays(*days) for days in row.pauses],
            messages_paused_until=row.paused_until,
            quiet_hours=None if row.quiet_from is None else (row.quiet_from, row.quiet_to),
            chosen_channels=row.topics or {},
            marketing_consent=ConsentState(row.marketing_consent or ConsentState.NOT_ASKED),
            taken_back_at=row.taken_back_at,
        )
    return found
