"""Each policy that ships, asked of somebody whom it concerns, and of the same person when what
it is about is over."""

from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.db import Database
from app.nudges import policies, sources
from app.nudges.policies import HOLDOUT
from app.premiums import service as premiums
from tests.factories import NOON, make_member
from tests.nudges import rows, run
from tests.nudging import LONG_AGO, agree, arm_of, plan, planned_of, policy, release, told
from tests.tasks_at_work import give_tasks

TODAY = NOON.date()
Change = Callable[[Database, UUID], Awaitable[None]]


def task(template: str, *, ends_on: date = TODAY, done: int = 0, starts_on: date = TODAY) -> Change:
    async def change(db: Database, member: UUID) -> None:
        await give_tasks(db, member, template, starts_on=starts_on)
        await run(
            db,
            "UPDATE tasks SET ends_on = :ends_on, done = :done, starts_on = :starts_on"
            " WHERE member_id = :id",
            id=member,
            ends_on=ends_on,
            starts_on=starts_on,
            done=done,
        )

    return change


def sql(*statements: str) -> Change:
    async def change(db: Database, member: UUID) -> None:
        for statement in statements:
            values = {"id": member, "now": NOON, "today": TODAY, "other": uuid4()}
            named = {key: value for key, value in values.items() if f":{key}" in statement}
            await run(db, statement, **named)

    return change


async def points(db: Database, member: UUID) -> None:
    await give_tasks(db, member)
    await run(
        db,
        """INSERT INTO points_transfers (member_id, seq, id, chain_version, kind, debit, credit,
               amount, balance_after, cause_key, local_date, posted_at, expires_on, hash)
           VALUES (:id, 1, :id, 1, 'EARNED', 'issued', 'available', 70, 70, 'x', :today, :now,
                   :last, sha256('x'))""",
        id=member,
        now=NOON,
        today=TODAY,
        last=TODAY + timedelta(days=14),
    )
    await run(
        db,
        """INSERT INTO points_lots (member_id, id, earned_seq, is_grace, expires_on, expires_at,
               amount, remaining, pending, held, used, expired, reversed)
           VALUES (:id, :id, 1, false, :last, :now, 70, 70, 0, 0, 0, 0, 0)""",
        id=member,
        now=NOON + timedelta(days=14),
        last=TODAY + timedelta(days=14),
    )


async def more_steps(db: Database, member: UUID) -> None:
    for day in range(1, 36):
        await run(
            db,
            """INSERT INTO daily_total_days (member_id, id, code, local_date, value, unit,
                   trusted_value, changed_at)
               VALUES (:id, :other, 'STEPS', :day, :value, '{steps}', :value, :now)""",
            id=member,
            other=uuid4(),
            day=TODAY - timedelta(days=day),
            value=Decimal(6200 if day <= 7 else 5000),
            now=NOON,
        )


async def lower_pressure(db: Database, member: UUID) -> None:
    for day, value in ((1, 128), (3, 130), (20, 138), (30, 140)):
        await run(
            db,
            """INSERT INTO measurements (member_id, id, code, value, unit, sent_value, sent_unit,
                   measured_at, local_date, recorded_at, channel, method, source_id, trust)
               VALUES (:id, :other, 'SYSTOLIC_BP', :value, 'mm[Hg]', 'x', 'mm[Hg]', :at, :day, :at,
                       'EXAMINATION', 'CLINICAL', '', 'HIGH')""",
            id=member,
            other=uuid4(),
            value=Decimal(value),
            at=NOON - timedelta(days=day),
            day=TODAY - timedelta(days=day),
        )


async def insured(db: Database, member: UUID) -> None:
    async with db.transaction() as session:
        await premiums.enrol(
            session, member_id=member, product_code="starter", starts_on=TODAY, now=NOON
        )
    # What the enrolment asks of them concerns other policies.
    await run(db, "UPDATE tasks SET state = 'DONE' WHERE member_id = :id", id=member)
    await run(
        db,
        "UPDATE policies SET term_ends_at = :at WHERE member_id = :id",
        id=member,
        at=NOON + timedelta(days=20),
    )


STANDING = """INSERT INTO member_standing (member_id, lifecycle, lifecycle_since, last_used_at)
              VALUES (:id, '{}', :now, CAST(:now AS timestamptz) - interval '{} days')"""

CASES: dict[str, tuple[Change, Change, str]] = {
    "steps-short": (
        task("walk 2", done=3000),
        sql("UPDATE tasks SET done = 7000 WHERE member_id = :id"),
        "5000",
    ),
    "streak-at-risk": (
        task("streak-week", ends_on=TODAY + timedelta(days=20), done=4),
        sql("UPDATE tasks SET done = 0 WHERE member_id = :id"),
        "4",
    ),
    "task-due": (
        task("measure-blood-pressure", ends_on=TODAY + timedelta(days=1)),
        sql("UPDATE tasks SET state = 'DONE' WHERE member_id = :id"),
        "1",
    ),
    "medication": (
        task("medication"),
        sql("UPDATE tasks SET state = 'DONE' WHERE member_id = :id"),
        "",
    ),
    "points-expiring": (
        points,
        sql("UPDATE points_lots SET remaining = 0, used = 70 WHERE member_id = :id"),
        "70",
    ),
    "welcome-claims-guide": (
        sql("UPDATE members SET created_at = CAST(:now AS timestamptz) - interval '1 hour'"),
        sql("UPDATE members SET created_at = CAST(:now AS timestamptz) - interval '8 days'"),
        "claim",
    ),
    "welcome-tips": (
        sql("UPDATE members SET created_at = CAST(:now AS timestamptz) - interval '3 days'"),
        sql("UPDATE members SET created_at = CAST(:now AS timestamptz) - interval '8 days'"),
        "salt",
    ),
    "examination-due": (
        task("annual-examination", ends_on=TODAY + timedelta(days=40)),
        sql("UPDATE tasks SET closed_at = :now, state = 'DONE' WHERE member_id = :id"),
        "40",
    ),
    "lecture": (
        task("lecture", ends_on=TODAY + timedelta(days=12)),
        sql("UPDATE tasks SET state = 'DONE' WHERE member_id = :id"),
        "11",
    ),
    "quiet-fortnight": (
        sql(STANDING.format("ACTIVE", 15)),
        sql("UPDATE member_standing SET last_used_at = :now WHERE member_id = :id"),
        "days",
    ),
    "wake-up": (
        sql(STANDING.format("DORMANT", 400)),
        sql("UPDATE member_standing SET lifecycle = 'ACTIVE' WHERE member_id = :id"),
        "benefits",
    ),
    "renewal": (insured, sql("UPDATE policies SET state = 'ENDED' WHERE member_id = :id"), "days"),
    "steps-improved": (
        more_steps,
        sql("UPDATE daily_total_days SET trusted_value = 5000 WHERE member_id = :id"),
        "",
    ),
    "pressure-improved": (
        lower_pressure,
        sql("UPDATE measurements SET value = 140 WHERE member_id = :id"),
        "10",
    ),
}
CODES = [it.code for it in policies.in_force().values()]


async def concerned(db: Database, code: str) -> UUID:
    while True:
        member = await make_member(db, now=LONG_AGO)
        if arm_of(code, member) != HOLDOUT:
            break
    await agree(db, member, "DEVICE_DATA")
    await CASES[code][0](db, member)
    return member


async def when(db: Database, code: str) -> Any:
    """An instant just after the policy's hour in Shanghai, on the first day on which it acts."""
    hour = policy(code).trigger.hours()[0]
    at = NOON.replace(hour=0) + timedelta(hours=hour.hour - 8, minutes=hour.minute + 1)
    while not policy(code).trigger.is_on((at + timedelta(hours=8)).date()):
        at += timedelta(days=1)
    return at


def test_every_policy_has_a_case() -> None:
    assert CASES.keys() == set(CODES)


@pytest.mark.parametrize("code", CASES)
async def test_whom_it_concerns_is_told_once(db: Database, code: str) -> None:
    member = await concerned(db, code)
    at = await when(db, code)
    if code == "welcome-claims-guide":
        at += timedelta(hours=5)

    await plan(db, at)
    await plan(db, at + timedelta(hours=1))
    ((who, cause, arm, state),) = await planned_of(db, code)
    assert (who, arm, state) == (member, arm_of(code, member), "PLANNED")
    assert cause.startswith(f"nudge:{code}:")
    await only(db, code)
    ((send_at,),) = await rows(
        db, "SELECT send_at FROM planned_messages WHERE source_id = :id", id=policy(code).id
    )
    assert await release(db, send_at) == 1

    ((_, template, title, body, in_inbox, reason),) = await told(db)
    assert (template, in_inbox, reason) == (f"nudge.{code}", True, None)
    assert "{" not in title + body and "None" not in title + body
    if arm in ("number", "plain", "advice"):
        assert CASES[code][2] in body


@pytest.mark.parametrize("code", CASES)
async def test_once_it_is_over_nobody_is_told(db: Database, code: str) -> None:
    member = await concerned(db, code)
    at = await when(db, code)
    if code == "welcome-claims-guide":
        at += timedelta(hours=5)
    await plan(db, at)
    await only(db, code)
    await CASES[code][1](db, member)

    await release(db, at + timedelta(hours=12))

    assert [it[4:] for it in await told(db)] == [(False, "NOT_RELEVANT")]
    assert await plan(db, at + timedelta(days=1)) == 0 or code in ("lecture",)


async def only(db: Database, code: str) -> None:
    """What other policies have planned meanwhile is not looked at."""
    async with db.transaction() as session:
        for it in policies.in_force().values():
            if it.code != code:
                await sources.halt(session, it.id, now=NOON)
