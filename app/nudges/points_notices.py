"""Tells members which points expire soon: what the ledger has announced, as inbox messages."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, bindparam, text
from sqlalchemy.dialects.postgresql import insert

from app.civil_time import local_date
from app.db import Database
from app.events import Event
from app.graphql.ids import Kind, encode
from app.ids import new_id
from app.nudges import gate
from app.nudges.models import Message
from app.nudges.standing import standings
from app.texts import Text

BATCH = 500
NEWS_FOR = timedelta(days=3)
"""An announcement that could not be told for so long is left alone."""

_TITLE = Text(zh="有积分即将过期", en="Some points expire soon")
_KEY = "'points-expiry:' || to_char(n.expires_on, 'YYYY-MM-DD') || ':' || n.days_before || ':' || n.revision"
# The rows are locked so that two workers do not write the same batch.
_NEW = text(
    f"""
    SELECT n.member_id, n.expires_on, n.amount, {_KEY} AS cause_key
      FROM points_expiry_notices AS n
     WHERE n.announced_at > :since AND NOT EXISTS (
           SELECT FROM messages AS m WHERE m.member_id = n.member_id AND m.cause_key = {_KEY})
     ORDER BY n.announced_at LIMIT :limit
       FOR UPDATE OF n SKIP LOCKED
    """
).bindparams(bindparam("since", type_=DateTime(timezone=True)))


@dataclass(frozen=True, slots=True)
class Told:
    notices: int
    arrived: tuple[Event, ...]
    """To publish after the commit."""


async def tell(db: Database, *, now: datetime, limit: int = BATCH) -> Told:
    """Write the messages of up to `limit` announcements, each once, in one transaction. One
    that the gate holds back is kept with its reason."""
    async with db.transaction() as session:
        connection = await session.connection()
        found = await connection.execute(_NEW, {"since": now - NEWS_FOR, "limit": limit})
        notices = found.all()
        standing = await standings(session, {it.member_id for it in notices}, now=now)
        rows = [
            _message(it.member_id, standing[it.member_id], it, now=now)
            for it in notices
            if it.member_id in standing
        ]
        if not rows:
            return Told(0, ())
        statement = insert(Message).on_conflict_do_nothing().returning(Message.id)  # type: ignore[call-overload]
        new = set((await connection.execute(statement, rows)).scalars())
    return Told(
        len(rows),
        tuple(
            Event(row["member_id"], "message", encode(Kind.MESSAGE, row["member_id"], row["id"]))
            for row in rows
            if row["id"] in new and row["in_inbox"]
        ),
    )


def _message(
    member_id: UUID, standing: gate.Standing, notice: Any, *, now: datetime
) -> Mapping[str, Any]:
    refused = gate.refusal(standing, topic=gate.Topic.POINTS, channel=gate.Channel.IN_APP, now=now)
    return {
        "member_id": member_id,
        "id": new_id(now),
        "cause_key": notice.cause_key,
        "topic": gate.Topic.POINTS,
        "template": "points.expiry",
        "title": _TITLE.to(standing.locale),
        "body": _body(notice.amount, notice.expires_on).to(standing.locale),
        "local_date": local_date(now, standing.zone),
        "planned_at": now,
        "sent_at": now if refused is None else None,
        "in_inbox": refused is None,
        "suppressed_reason": refused,
    }


def _body(amount: int, last_day: date) -> Text:
    return Text(
        zh=f"{amount} 积分在 {last_day.isoformat()} 当天结束后过期，在此之前都可以使用。",
        en=f"{amount} points can be spent up to and including {last_day.isoformat()}.",
    )
