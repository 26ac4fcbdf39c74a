"""Push tokens of phones on which the app was not opened for long: stale after 60 days, when
nothing is pushed there any more; dead after 270, when FCM itself has dropped them, and forgotten
(https://firebase.google.com/docs/cloud-messaging/manage-tokens). Opening the app mends a stale one.
"""

from datetime import datetime, timedelta

from sqlalchemy import text

from app.db import Database

STALE_AFTER = timedelta(days=60)
DEAD_AFTER = timedelta(days=270)
BATCH = 5_000

# A token that somebody is registering is locked, and not stale.
_UNUSED = """
select token.token, token.provider from push_tokens token
left join installations it on it.member_id = token.member_id and it.id = token.installation_id
where coalesce(it.refreshed_at, token.registered_at) < :before {condition}
limit :limit for update of token skip locked
"""
_STALE = text(f"""
update push_tokens set stale_since = :now where (token, provider) in (
  {_UNUSED.format(condition="and token.stale_since is null")}) returning 1
""")
_DEAD = text(f"""
delete from push_tokens where (token, provider) in ({_UNUSED.format(condition="")}) returning 1
""")


async def age(db: Database, *, now: datetime) -> tuple[int, int]:
    """How many became stale, and how many were forgotten; in batches that each commit."""
    dead = await _all(db, _DEAD, {"before": now - DEAD_AFTER, "limit": BATCH})
    stale = await _all(db, _STALE, {"before": now - STALE_AFTER, "limit": BATCH, "now": now})
    return stale, dead


async def _all(db: Database, statement: object, wanted: dict[str, object]) -> int:
    total = 0
    while True:
        async with db.transaction() as session:
            found = len((await session.execute(statement, wanted)).all())
        total += found
        if found < BATCH:
            return total
