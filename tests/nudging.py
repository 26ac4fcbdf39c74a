"""Members of whom a policy has something to say, and the clock that plans and releases."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.db import Database
from app.members.buckets import bucket
from app.nudges import nudging, policies, policy_content, releasing
from app.nudges.policies import HOLDOUT, Policy
from tests.factories import NOON, make_member
from tests.nudges import rows, run
from tests.tasks_at_work import give_tasks

EVENING = NOON + timedelta(hours=6)
"""18:00 in Shanghai."""
LONG_AGO = NOON - timedelta(days=40)
"""Nobody is welcomed any more."""
CONTENT = policy_content


def policy(code: str) -> Policy:
    (found,) = [it for it in policies.in_force().values() if it.code == code]
    return found


def arm_of(code: str, member_id: UUID) -> str:
    """As it is drawn."""
    draw = policy(code).draw()
    place = sum(bucket(policy(code).id.bytes, member_id) >= end for end in draw.ends)
    return draw.arms[place]


async def make_walker(db: Database, *, code: str = "steps-short", **options: Any) -> UUID:
    """Who is asked to walk 8000 steps, consents, and is not held out of the policy `code`."""
    while True:
        member_id = await make_member(db, now=LONG_AGO, **options)
        if arm_of(code, member_id) != HOLDOUT:
            break
    await agree(db, member_id, "DEVICE_DATA")
    await give_tasks(db, member_id, "walk 2")
    return member_id


async def agree(db: Database, member_id: UUID, purpose: str, state: str = "GRANTED") -> None:
    await run(
        db,
        """INSERT INTO consents (member_id, purpose, version, state, text_version, recorded_at,
                                 recorded_by)
           SELECT :id, :purpose, coalesce(max(version), 0) + 1, :state, '1', :now, :id
             FROM consents WHERE member_id = :id AND purpose = :purpose""",
        id=member_id,
        purpose=purpose,
        state=state,
        now=NOON,
    )


async def walk(db: Database, member_id: UUID, steps: int) -> None:
    await run(
        db,
        "UPDATE tasks SET done = :steps, state = CASE WHEN :steps >= target THEN 'DONE'"
        " ELSE 'OPEN' END WHERE member_id = :id",
        id=member_id,
        steps=steps,
    )


async def plan(db: Database, now: datetime, *, size: int = nudging.RANGE) -> int:
    """All runs whose hour has come; how many members are to be told or held out."""
    await nudging.begin(db, now=now)
    total = 0
    while (planned := await nudging.plan_range(db, now=now, size=size)) is not None:
        total += planned
    return total


async def release(db: Database, now: datetime) -> int:
    total = 0
    while released := (await releasing.release(db, now=now)).looked_at:
        total += released
    return total


async def planned_of(db: Database, code: str) -> list[tuple[Any, ...]]:
    """(member, cause, arm, state), in the order of the members."""
    return await rows(
        db,
        "SELECT member_id, cause_key, arm, state FROM planned_messages WHERE source_id = :id"
        " ORDER BY member_id, cause_key",
        id=policy(code).id,
    )


async def told(db: Database) -> list[tuple[Any, ...]]:
    """(member, template, title, body, in the inbox, reason), in the order of planning."""
    return await rows(
        db,
        "SELECT member_id, template, title, body, in_inbox, suppressed_reason FROM messages"
        " ORDER BY planned_at, id",
    )
