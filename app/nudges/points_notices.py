"""Tells members which points expire soon: what the ledger has announced becomes a message, by
the same gate, the same dispatch and the same channels as a reminder.

Points are announced at midnight, when their last days begin; they are told by day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import DateTime
from sqlalchemy.types import Text as SqlText

from app import civil_time
from app.civil_time import local_date
from app.db import Database
from app.events import Event
from app.ids import new_id
from app.nudges import gate, messages
from app.nudges.rules import POINTS_EXPIRY
from app.nudges.standing import standings
from app.texts import Text

BATCH = 500
NEWS_FOR = timedelta(days=3)
"""An announcement that could not be told for so long is left alone."""
TELL_FROM, TELL_UNTIL = time(9), time(21)
"""By the member's clock."""

_TITLE = Text(zh="有积分即将过期", en="Some points expire soon")
_KEY = (
    "'points-expiry:' || to_char(n.expires_on, 'YYYY-MM-DD') || ':' || n.days_before"
    " || ':' || n.revision"
)
# The rows are locked so that two workers do not write the same batch.
_NEW = text(
    f"""
    SELECT n.member_id, coalesce(n.ends_on, n.expires_on) AS last_day, n.amount,
           {_KEY} AS cause_key,
           (SELECT coalesce(sum(l.remaining), 0)::bigint FROM points_lots AS l
             WHERE l.member_id = n.member_id AND l.expires_on = n.expires_on) AS remaining
      FROM points_expiry_notices AS n JOIN members USING (member_id)
     WHERE n.announced_at > :since AND members.erased_at IS NULL
       AND members.time_zone = ANY(:zones) AND NOT EXISTS (
           SELECT FROM messages AS m WHERE m.member_id = n.member_id AND m.cause_key = {_KEY})
     ORDER BY n.announced_at LIMIT :limit
       FOR UPDATE OF n SKIP LOCKED
    """
).bindparams(
    bindparam("since", type_=DateTime(timezone=True)), bindparam("zones", type_=ARRAY(SqlText))
)


@dataclass(frozen=True, slots=True)
class Told:
    notices: int
    arrived: Sequence[Event]
    """To publish after the commit."""


async def tell(db: Database, *, now: datetime, limit: int = BATCH) -> Told:
    """Write the messages of up to `limit` announcements and their pushes, each once, in one
    transaction. One that the gate holds back is kept with its reason; so is one whose points
    have been spent meanwhile."""
    async with db.transaction() as session:
        connection = await session.connection()
        parameters = {"since": now - NEWS_FOR, "limit": limit, "zones": zones_by_day(now)}
        notices = (await connection.execute(_NEW, parameters)).all()
        if not notices:
            return Told(0, ())
        members = {it.member_id for it in notices}
        standing = await standings(session, members, now=now)
        reach = await messages.reach(session, members)
        planned = [
            _message(it, standing[it.member_id], reach.get(it.member_id), now=now) for it in notices
        ]
        arrived = await messages.write(session, planned, reach, now=now)
    return Told(len(notices), arrived)


def zones_by_day(now: datetime) -> list[str]:
    """Where it is a time of day to be told something."""
    zones = {name: civil_time.zone(name) for name in civil_time.zone_names()}
    return [
        name
        for name, zone in zones.items()
        if TELL_FROM <= now.astimezone(zone).time() < TELL_UNTIL
    ]


def _message(
    notice: Any, standing: gate.Standing, reach: messages.Reach | None, *, now: datetime
) -> messages.Planned:
    topic = gate.Topic.POINTS
    # Of what came to be more meanwhile there will be another announcement.
    points = min(notice.amount, notice.remaining)
    way = messages.way(standing, topic, reach=reach, now=now)
    return messages.Planned(
        member_id=notice.member_id,
        id=new_id(now),
        cause_key=notice.cause_key,
        topic=topic,
        template=POINTS_EXPIRY,
        title=_TITLE.to(standing.locale),
        body=_body(points, notice.last_day).to(standing.locale),
        local_date=local_date(now, standing.zone),
        way=way if points else messages.NOT_RELEVANT,
        priority=gate.Priority.HIGH,
    )


def _body(points: int, last_day: date) -> Text:
    return Text(
        zh=f"{points} 积分在 {last_day.isoformat()} 当天结束后过期，在此之前都可以使用。",
        en=f"{points} points can be spent up to and including {last_day.isoformat()}.",
    )
