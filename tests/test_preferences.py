"""Quiet hours, topics and channels, and a pause of messages, on a real database."""

import asyncio
from datetime import time, timedelta

import pytest

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.nudges import gate
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    contents,
    execute,
    make_member,
    make_staff,
    operation,
)

SET = operation("SetNotificationPreferences")
READ = """{ me { notificationPreferences {
  id quietHours { start end } topics { topic channels } pausedUntil } } }"""
FETCH = """query ($id: ID!) { node(id: $id) { id ... on NotificationPreferences {
  quietHours { start end } } } }"""

DEFAULTS = {
    "TASKS": ["PUSH", "IN_APP", "SMS", "EMAIL"],
    "REMINDERS": ["PUSH", "IN_APP", "SMS", "EMAIL"],
    "MEASUREMENTS": ["PUSH", "IN_APP", "SMS", "EMAIL"],
    "POINTS": ["PUSH", "IN_APP", "SMS", "EMAIL"],
    "PREMIUM": ["PUSH", "IN_APP", "SMS", "EMAIL"],
    "SERVICES": ["PUSH", "IN_APP", "SMS", "EMAIL"],
    "EDUCATION": ["IN_APP", "SMS", "EMAIL"],
    "MARKETING": ["IN_APP", "SMS", "EMAIL"],
    "SERVICE_NOTICE": ["PUSH", "IN_APP", "SMS", "EMAIL"],
}


def topics(**chosen):
    return [{"topic": topic, "channels": channels} for topic, channels in chosen.items()]


async def set_preferences(db, member, *, now=NOON, **input):
    variables = {"input": {"topics": [], **input}}
    data = await execute(SET, variables, context=as_member(db, member, now=now))
    return data["setNotificationPreferences"]


async def read(db, member, *, now=NOON):
    data = await execute(READ, context=as_member(db, member, now=now))
    return data["me"]["notificationPreferences"]


def listed(preferences):
    return {it["topic"]: it["channels"] for it in preferences["topics"]}


async def test_without_a_choice_every_topic_has_its_default_channels(db: Database) -> None:
    member = await make_member(db)
    found = await read(db, member)
    assert found["id"] == encode(Kind.PREFERENCES, member)
    assert (found["quietHours"], found["pausedUntil"]) == (None, None)
    assert listed(found) == DEFAULTS
    assert list(listed(found)) == list(DEFAULTS)  # in the order of the enum


async def test_what_is_shown_and_saved_as_it_is_changes_nothing(db: Database) -> None:
    """An app that only moves the quiet hours must not switch SMS and e-mail off."""
    member = await make_member(db)
    shown = await read(db, member)
    await set_preferences(db, member, topics=shown["topics"])
    for topic in gate.Topic:
        chosen = {it["topic"]: it["channels"] for it in (await read(db, member))["topics"]}
        for channel in gate.Channel:
            assert gate.comes_by(topic, channel, chosen) is gate.comes_by(topic, channel, {})


async def test_preferences_are_replaced_as_a_whole(db: Database) -> None:
    member = await make_member(db)
    until = NOON + timedelta(days=2)

    answer = await set_preferences(
        db,
        member,
        quietHours={"start": "22:00", "end": "07:30"},
        topics=topics(MARKETING=[], TASKS=["EMAIL", "PUSH", "PUSH"]),
        pausedUntil=until.isoformat(),
    )

    assert answer["preferences"] == await read(db, member)
    found = answer["preferences"]
    assert found["quietHours"] == {"start": "22:00", "end": "07:30"}
    assert found["pausedUntil"] == until
    assert listed(found) == DEFAULTS | {"MARKETING": [], "TASKS": ["PUSH", "EMAIL"]}

    await set_preferences(db, member, topics=topics(POINTS=["SMS"]))

    found = await read(db, member)
    assert (found["quietHours"], found["pausedUntil"]) == (None, None)
    assert listed(found) == DEFAULTS | {"POINTS": ["SMS"]}


async def test_what_is_stored_is_what_the_gate_reads(db: Database) -> None:
    member = await make_member(db)
    await set_preferences(
        db,
        member,
        quietHours={"start": "22:00", "end": "07:30"},
        topics=topics(REMINDERS=["IN_APP"], SERVICE_NOTICE=[]),
    )
    from app.nudges.standing import standings

    async with db.transaction() as session:
        standing = (await standings(session, [member], now=NOON))[member]
    assert standing.quiet_hours == (time(22), time(7, 30))
    chosen = standing.chosen_channels
    assert set(gate.channels(gate.Topic.REMINDERS, chosen)) == {gate.Channel.IN_APP}
    assert set(gate.channels(gate.Topic.SERVICE_NOTICE, chosen)) == {gate.Channel.IN_APP}


async def test_notices_of_contract_and_safety_stay_in_the_inbox(db: Database) -> None:
    member = await make_member(db)
    everything_off = topics(**{topic: [] for topic in DEFAULTS})
    found = (await set_preferences(db, member, topics=everything_off))["preferences"]
    assert listed(found) == {topic: [] for topic in DEFAULTS} | {"SERVICE_NOTICE": ["IN_APP"]}


async def test_sending_it_twice_changes_nothing_also_at_once(db: Database) -> None:
    member = await make_member(db)
    wanted = {
        "quietHours": {"start": "22:00", "end": "07:30"},
        "topics": topics(TASKS=[]),
    }
    answers = await asyncio.gather(*(set_preferences(db, member, **wanted) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    before = await contents(db)
    assert len(before["notification_preferences"]) == 1
    await set_preferences(db, member, **wanted)
    assert await contents(db) == before


async def test_a_pause_ends_by_itself_and_one_in_the_past_is_none(db: Database) -> None:
    member = await make_member(db)
    until = NOON + timedelta(hours=1)
    await set_preferences(db, member, pausedUntil=until.isoformat())
    before_end = await read(db, member, now=until - timedelta(seconds=1))
    assert before_end["pausedUntil"] == until
    assert (await read(db, member, now=until))["pausedUntil"] is None
    late = await set_preferences(db, member, now=until, pausedUntil=until.isoformat())
    assert late["preferences"]["pausedUntil"] is None


@pytest.mark.parametrize(
    ("input", "code", "field"),
    [
        ({"quietHours": {"start": "22:00", "end": "22:00"}}, "PERIOD_INVALID", "quietHours.end"),
        (
            {"topics": topics(TASKS=[], POINTS=[]) + topics(TASKS=["PUSH"])},
            "VALUE_OUT_OF_RANGE",
            "topics.2.topic",
        ),
    ],
)
async def test_what_contradicts_itself_is_refused_and_changes_nothing(
    db: Database, input: dict[str, object], code: str, field: str
) -> None:
    member = await make_member(db)
    await set_preferences(db, member, topics=topics(MARKETING=[]))
    before = await contents(db)
    refused = await set_preferences(db, member, **input)
    assert (refused["code"], refused["field"]) == (code, field)
    assert await contents(db) == before


async def test_setting_them_costs_four_statements(db: Database) -> None:
    member = await make_member(db)
    with StatementCount(db) as statements:
        await set_preferences(db, member, topics=topics(TASKS=[]))
    # Lock, write, look for what people are to say and for what is on its way.
    assert len(statements) == 4


async def test_another_members_preferences_look_like_none(db: Database) -> None:
    member, other = await make_member(db), await make_member(db)
    await set_preferences(db, other, quietHours={"start": "22:00", "end": "07:30"})
    theirs = encode(Kind.PREFERENCES, other)
    assert (await execute(FETCH, {"id": theirs}, context=as_member(db, member)))["node"] is None
    staff = await make_staff(db)
    await assign(db, staff, other)
    seen = await execute(FETCH, {"id": theirs}, context=as_staff(db, staff))
    assert seen["node"] == {"id": theirs, "quietHours": {"start": "22:00", "end": "07:30"}}
