"""One gate for every sender and channel: caps, opting out, quiet hours, what leaves by which way,
and that nothing about health does."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app import civil_time
from app.adapters.fcm import FcmProvider
from app.adapters.push import PushMessage, PushOutcome, PushResult, TokenBucket
from app.adapters.push_log import LogProvider
from app.adapters.senders import Senders
from app.adapters.smtp import Server, SmtpProvider
from app.config import Settings
from app.db import Database
from app.events import Events
from app.ids import new_id
from app.jobs import queue
from app.members.rules import ConsentState
from app.nudges import caps, gate, messages, queued, sources, tokens
from app.nudges import jobs as _jobs  # noqa: F401 - handlers
from app.nudges.gate import Channel, Outreach, Priority, Refusal, Topic
from app.nudges.standing import standings
from tests.factories import NOON, make_member
from tests.fcm_server import RunningSandbox, running_sandbox
from tests.figures import record_figure
from tests.nudges import make_phone, rows, run
from tests.nudging import EVENING, agree, make_walker, plan, release, walk
from tests.opting_out import prefer_nothing
from tests.smtp_server import SmtpServer, running_smtp
from tests.test_nudges_rules import transitions

PROVING = bool(os.environ.get("WELLWARD_PROVE"))
CANARY = "canary7193"


class Recorder(LogProvider):
    """Sends nothing; keeps what it was given, and when."""

    def __init__(self) -> None:
        self.sent: list[PushMessage] = []

    async def send(self, message: PushMessage) -> PushResult:
        self.sent.append(message)
        return PushResult(PushOutcome.SENT)


async def dispatch(db: Database, provider: Any, *, now: datetime = NOON) -> None:
    context = queue.JobContext(db, lambda: now, Events("postgresql://unused"), provider, Settings())
    await queue.run_due(db, context, [queued.DISPATCH_JOB])


async def tell(
    db: Database,
    *member_ids: UUID,
    cause: str = "test",
    topic: Topic = Topic.SERVICES,
    channels: tuple[gate.Carrier, ...] = (Channel.PUSH, Channel.IN_APP),
    priority: Priority = Priority.NORMAL,
    now: datetime = NOON,
    **options: Any,
) -> None:
    """As any sender does."""
    async with db.transaction() as session:
        reach = await messages.reach(session, member_ids)
        standing = await standings(session, member_ids, now=now)
        planned = [
            messages.Planned(
                member_id=it,
                id=new_id(now),
                cause_key=cause,
                topic=topic,
                template="test",
                title=options.get("title", "Hello"),
                body=options.get("body", "A message."),
                local_date=civil_time.local_date(now, standing[it].zone),
                way=messages.way(
                    standing[it],
                    topic,
                    reach=reach.get(it),
                    channels=channels,
                    priority=priority,
                    now=now,
                ),
                priority=priority,
                is_public=options.get("is_public", False),
                source_id=options.get("source_id"),
                action=options.get("action"),
                expires_at=now + timedelta(hours=3),
            )
            for it in member_ids
        ]
        await messages.write(session, planned, reach, now=now)


async def reasons(db: Database) -> dict[str, int]:
    found = await rows(
        db, "SELECT coalesce(suppressed_reason, 'sent'), count(*) FROM messages GROUP BY 1"
    )
    return {str(reason): int(count) for reason, count in found}


# Caps


@pytest.mark.parametrize(
    ("priority", "allowed"),
    [
        (Priority.LOW, 1),
        (Priority.NORMAL, 3),
        (Priority.HIGH, 6),
        (Priority.CRITICAL, 20),
        (Priority.OWN, 20),
    ],
)
async def test_twenty_senders_at_once_never_exceed_the_cap_of_a_day(
    db: Database, priority: Priority, allowed: int
) -> None:
    members_ = sorted([await make_member(db) for _ in range(5)])
    for member in members_:
        await make_phone(db, member, f"ok:{member}")
    orders = [random.sample(members_, 5) for _ in range(20)]
    # Whoever comes later in the day finds what others have counted.
    await asyncio.gather(
        *(
            tell(db, *sorted(order), cause=f"campaign:{number}", priority=priority)
            for number, order in enumerate(orders)
        )
    )

    assert await reasons(db) == {
        key: count
        for key, count in (("sent", 5 * allowed), ("FREQUENCY_CAP", 5 * (20 - allowed)))
        if count
    }
    provider = Recorder()
    await dispatch(db, provider)
    assert len(provider.sent) == 5 * allowed
    counted = [] if priority is Priority.OWN else [(f'{{"2026-03-02": {allowed}}}',)]
    assert await rows(db, "SELECT DISTINCT days::text FROM message_counts") == counted


async def test_a_week_has_a_cap_and_the_next_one_begins_on_monday(db: Database) -> None:
    member = await make_member(db)
    for day in range(8):
        for number in range(3):
            at = NOON + timedelta(days=day)
            await tell(db, member, cause=f"{day}:{number}", now=at)
    by_day = await rows(
        db,
        "SELECT local_date, count(*) FILTER (WHERE in_inbox) FROM messages GROUP BY 1 ORDER BY 1",
    )
    assert [count for _, count in by_day] == [3, 3, 3, 3, 0, 0, 0, 3]


async def test_what_matters_more_finds_room_when_what_matters_less_does_not(db: Database) -> None:
    member = await make_member(db)
    for number in range(4):
        await tell(db, member, cause=f"normal:{number}")
    await tell(db, member, cause="low", priority=Priority.LOW)
    await tell(db, member, cause="high", priority=Priority.HIGH)
    await tell(db, member, cause="critical", priority=Priority.CRITICAL)
    held_back = await rows(
        db, "SELECT cause_key FROM messages WHERE suppressed_reason IS NOT NULL ORDER BY 1"
    )
    assert held_back == [("low",), ("normal:3",)]


async def test_what_goes_nowhere_and_what_is_there_already_counts_for_nothing(
    db: Database,
) -> None:
    member = await make_member(db)
    await tell(db, member, cause="push only", channels=(Channel.PUSH,))
    for _ in range(3):
        await tell(db, member, cause="again")
    assert await rows(db, "SELECT days::text FROM message_counts") == [('{"2026-03-02": 1}',)]
    assert await reasons(db) == {"NO_ADDRESS": 1, "sent": 1}


def test_the_counter_is_of_the_local_week() -> None:
    assert caps.week_from(date(2026, 3, 8)) == date(2026, 3, 2)
    assert caps.week_from(date(2026, 3, 9)) == date(2026, 3, 9)


# Opting out


async def test_an_opt_out_does_not_wait_for_a_worker_that_died(db: Database) -> None:
    member = await make_member(db)
    await make_phone(db, member, "ok:1")
    await tell(db, member)
    await run(db, "UPDATE push_deliveries SET state = 'ATTEMPTING', attempting_since = :n", n=NOON)
    await run(
        db, "UPDATE push_batches SET leased_until = :at", at=NOON + timedelta(milliseconds=200)
    )
    async with db.transaction() as session:
        await prefer_nothing(session, member)


# Consent to advertising, halted sources


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        ([], "CONSENT_NOT_ASKED"),
        (["REFUSED"], "CONSENT_REFUSED"),
        (["GRANTED", "WITHDRAWN"], "CONSENT_WITHDRAWN"),
        (["GRANTED"], None),
    ],
)
async def test_advertising_needs_a_yes(db: Database, states: list[str], reason: str | None) -> None:
    member = await make_member(db)
    for state in states:
        await agree(db, member, "MARKETING", state)
    await tell(db, member, topic=Topic.MARKETING, channels=(Channel.IN_APP,))
    assert await rows(db, "SELECT in_inbox, suppressed_reason FROM messages") == [
        (reason is None, reason)
    ]


@pytest.mark.parametrize(
    ("change", "expected", "after"),
    [
        (sources.halt, ("QUEUED", "HALTED"), ("SUPPRESSED", "EXPIRED")),
        (sources.cancel, ("SUPPRESSED", "NOT_RELEVANT"), ("SUPPRESSED", "NOT_RELEVANT")),
    ],
)
async def test_what_is_queued_of_a_source_stops_with_it(
    db: Database, change: Any, expected: tuple[str, str], after: tuple[str, str]
) -> None:
    member, id = await make_member(db), uuid4()
    await make_phone(db, member, "ok:1")
    async with db.transaction() as session:
        await sources.add(session, id, kind="TEST", name="test", now=NOON)
    await tell(db, member, source_id=id)
    async with db.transaction() as session:
        await change(session, id, now=NOON)
    provider = Recorder()
    await dispatch(db, provider)
    assert await rows(db, "SELECT state, reason FROM push_deliveries") == [expected]
    await dispatch(db, provider, now=NOON + timedelta(hours=3))
    assert await rows(db, "SELECT state, reason FROM push_deliveries") == [after]
    assert provider.sent == []


async def test_a_halted_source_goes_on_where_it_was(db: Database) -> None:
    member, id = await make_member(db), uuid4()
    await make_phone(db, member, "ok:1")
    async with db.transaction() as session:
        await sources.add(session, id, kind="TEST", name="test", now=NOON)
        await sources.halt(session, id, now=NOON)
    await tell(db, member, source_id=id)
    provider = Recorder()
    await dispatch(db, provider)
    async with db.transaction() as session:
        await sources.resume(session, id, now=NOON)
    await dispatch(db, provider, now=NOON + timedelta(minutes=1))
    assert len(provider.sent) == 1
    assert await rows(db, "SELECT attempts FROM push_deliveries") == [(1,)]


# Channels


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path) as running:
        yield running


@pytest.fixture
def mail_server() -> Iterator[SmtpServer]:
    with running_smtp() as server:
        yield server


@pytest_asyncio.fixture
async def provider(sandbox: RunningSandbox, mail_server: SmtpServer) -> AsyncIterator[Senders]:
    fcm = FcmProvider(
        credentials_path=sandbox.credentials,
        base_url=sandbox.url,
        concurrency=5,
        bucket=TokenBucket(per_minute=540_000),
    )
    at = Server("127.0.0.1", mail_server.port, "off")
    both = Senders([fcm, SmtpProvider(at, sender="no-reply@wellward.example")])
    yield both
    await both.close()


async def test_one_message_leaves_by_push_and_e_mail_and_is_in_the_inbox(
    db: Database, provider: Senders, sandbox: RunningSandbox, mail_server: SmtpServer
) -> None:
    member = await make_member(db, phone="+8613900000000", locale="zh-CN")
    await make_phone(db, member, "ok:1")
    await run(db, "UPDATE members SET email = 'li@example.com', email_verified_at = now()")
    everywhere = (Channel.PUSH, Channel.IN_APP, Channel.SMS, Channel.EMAIL)
    await tell(db, member, channels=everywhere, body="血压 150", title="血压")
    await dispatch(db, provider)

    states = await rows(db, "SELECT channel, state, reason FROM push_deliveries ORDER BY 1")
    assert states == [
        ("EMAIL", "SENT", None),
        ("PUSH", "SENT", None),
        ("SMS", "SUPPRESSED", "NO_PROVIDER"),
    ]
    ((_, recipient, mail),) = mail_server.mails
    assert recipient == "li@example.com"
    (push,) = sandbox.messages()
    assert push["body"] == "你有一条新消息，点按查看。"
    # What the app shows behind its lock is in neither.
    assert "150" not in mail.decode() and "150" not in str(push)
    assert await rows(db, "SELECT in_inbox, body FROM messages") == [(True, "血压 150")]


async def test_words_about_nobody_go_out_by_sms_and_never_by_push(db: Database) -> None:
    member = await make_member(db, phone="+8613900000000")
    await make_phone(db, member, "ok:1")
    await tell(
        db,
        member,
        channels=(Channel.PUSH, Channel.SMS),
        title="Free check",
        body="At the town hall.",
        is_public=True,
    )
    provider = Recorder()
    await dispatch(db, provider)
    said = {it.service: (it.token, it.title, it.body) for it in provider.sent}
    assert said == {
        "FCM": ("ok:1", "Wellward", "You have a message. Tap to see it."),
        "SMS": ("+8613900000000", "Free check", "At the town hall."),
    }


async def test_a_member_without_the_app_is_called_visited_and_told_by_people(db: Database) -> None:
    member, leaves_me_alone = await make_member(db), await make_member(db)
    async with db.transaction() as session:
        await prefer_nothing(session, leaves_me_alone)
    ways = (Outreach.PHONE_CALL, Outreach.HOME_VISIT, Outreach.BROADCAST)
    for _ in range(2):
        await tell(db, member, leaves_me_alone, channels=ways, title="Check", body="On Monday.")

    items = await rows(
        db, "SELECT member_id, kind, reason_en, due_at FROM worklist_items ORDER BY reason_en"
    )
    assert items == [
        (member, "OUTREACH", f"{what}: Check", NOON + timedelta(hours=3))
        for what in ("Announce", "Call", "Visit")
    ]
    assert await rows(
        db, "SELECT member_id, suppressed_reason FROM messages WHERE suppressed_reason IS NOT NULL"
    ) == [(leaves_me_alone, "OPTED_OUT")]


async def test_nobody_is_written_to_without_an_address_or_to_an_old_one(db: Database) -> None:
    member = await make_member(db)
    await tell(db, member, channels=(Channel.SMS, Channel.EMAIL), cause="1")
    assert await reasons(db) == {"NO_ADDRESS": 1}
    await run(db, "UPDATE members SET phone = '+8613900000000', phone_verified_at = now()")
    await tell(db, member, channels=(Channel.SMS,), cause="2")
    await run(db, "UPDATE members SET phone = NULL")
    provider = Recorder()
    await dispatch(db, provider)
    assert provider.sent == []
    assert await reasons(db) == {"NO_ADDRESS": 2}


# Stale tokens


async def test_unused_tokens_become_stale_and_die_and_opening_the_app_mends_them(
    db: Database,
) -> None:
    ages = {"used": 59, "stale": 61, "dead": 271}
    member = await make_member(db)
    for name, days in ages.items():
        await make_phone(db, member, f"ok:{name}", now=NOON - timedelta(days=days))

    assert await tokens.age(db, now=NOON) == (1, 1)
    assert await tokens.age(db, now=NOON) == (0, 0)
    assert await rows(db, "SELECT token, stale_since FROM push_tokens ORDER BY 1") == [
        ("ok:stale", NOON),
        ("ok:used", None),
    ]
    await tell(db, member)
    provider = Recorder()
    await dispatch(db, provider)
    assert [it.token for it in provider.sent] == ["ok:used"]


# Nothing about health


async def test_no_canary_of_a_sensitive_column_leaves(
    db: Database, provider: Senders, sandbox: RunningSandbox, mail_server: SmtpServer
) -> None:
    member = await make_walker(db, display_name=CANARY, phone="+8613900000000")
    await make_phone(db, member, "ok:1")
    await run(
        db,
        "UPDATE members SET email = 'li@example.com', email_verified_at = now(), region = :c",
        c=CANARY,
    )
    for column in ("title_zh", "title_en", "offer_reason"):
        await run(db, f"UPDATE task_assignments SET {column} = :c", c=CANARY)
    await walk(db, member, 3141)
    everywhere = (Channel.PUSH, Channel.IN_APP, Channel.SMS, Channel.EMAIL)
    await tell(db, member, channels=everywhere, title=CANARY, body=CANARY, now=EVENING)
    with capture_logs() as logs:
        await plan(db, EVENING)
        await release(db, EVENING)
        await dispatch(db, provider, now=EVENING)

    assert await rows(db, "SELECT count(*) FROM messages WHERE in_inbox") == [(2,)]
    assert len(sandbox.messages()) == 2 and len(mail_server.mails) == 1
    said = str([sandbox.messages(), mail_server.mails, logs])
    payloads = str(await rows(db, "SELECT payload FROM pgqueuer"))
    for secret in (CANARY, "3141", "4859", "steps-short"):
        assert secret not in said and secret not in payloads, secret


# Quiet hours

ZONES = sorted(civil_time.zone_names())
TIMES = st.times().map(lambda it: it.replace(second=0, microsecond=0))
INSTANTS = st.integers(0, 2 * 366 * 24 * 60).map(
    lambda minutes: datetime(2026, 1, 1, tzinfo=NOON.tzinfo) + timedelta(minutes=minutes)
)


@given(
    zone=st.sampled_from(ZONES),
    hours=st.one_of(st.none(), st.tuples(TIMES, TIMES).filter(lambda it: it[0] != it[1])),
    now=INSTANTS,
    priority=st.sampled_from(Priority),
)
@settings(max_examples=20_000 if PROVING else 400, deadline=None)
def test_in_quiet_hours_nothing_makes_a_noise_and_they_end(
    zone: str, hours: tuple[time, time] | None, now: datetime, priority: Priority
) -> None:
    """In every zone, over two years with all their changes of the clock, over midnight."""
    standing = gate.Standing(civil_time.zone(zone), "en", ConsentState.GRANTED, quiet_hours=hours)
    clock = now.astimezone(standing.zone).time()
    own_or_critical = priority in (Priority.OWN, Priority.CRITICAL)
    if hours is None and own_or_critical:
        quiet = False
    else:
        start, end = hours or (time(22), time(8))
        minutes = (clock.hour * 60 + clock.minute - start.hour * 60 - start.minute) % 1440
        length = (end.hour * 60 + end.minute - start.hour * 60 - start.minute) % 1440
        quiet = minutes < length
    for channel in Channel:
        found = gate.refusal(
            standing, topic=Topic.SERVICES, channel=channel, priority=priority, now=now
        )
        makes_noise = channel is not Channel.IN_APP
        assert (found is Refusal.QUIET_HOURS) == (quiet and makes_noise)
    if quiet:
        later = gate.quiet_until(standing, now=now)
        assert now < later <= now + timedelta(hours=25)


WINDOWS = [("22:00", "08:00"), ("23:30", "00:15"), ("13:00", "14:00"), ("02:15", "02:45"),
           ("00:00", "23:45")]  # fmt: skip
BEGIN, END = datetime(2026, 1, 1, tzinfo=NOON.tzinfo), datetime(2028, 1, 1, tzinfo=NOON.tzinfo)
STEP = timedelta(minutes=15) if PROVING else timedelta(hours=23, minutes=45)


@cache
def behaviours() -> dict[tuple[tuple[datetime, timedelta], ...], str]:
    """How the offsets of zones go over the two years: from when on which. One zone of each."""
    found: dict[tuple[tuple[datetime, timedelta], ...], str] = {}
    for name in ZONES:
        zone = civil_time.zone(name)
        instants = [BEGIN, *transitions(zone, BEGIN.year, END.year - 1)]
        offsets = [it.astimezone(zone).utcoffset() or timedelta(0) for it in instants]
        found.setdefault(tuple(zip(instants, offsets, strict=True)), name)
    return found


@pytest.mark.parametrize("window", WINDOWS)
def test_quiet_hours_of_every_zone_over_two_years(window: tuple[str, str]) -> None:
    """Every quarter of an hour of every zone; those that keep the same time are tried once. Against
    minutes counted from the offset."""
    start, end = (time.fromisoformat(it) for it in window)
    first, last = (it.hour * 60 + it.minute for it in (start, end))
    looked = 0
    known = behaviours()
    for segments, name in known.items():
        standing = gate.Standing(
            civil_time.zone(name), "en", ConsentState.GRANTED, quiet_hours=(start, end)
        )
        ends = [*(instant for instant, _ in segments[1:]), END]
        now, was_quiet = BEGIN, True
        for (_, offset), until in zip(segments, ends, strict=True):
            while now < until:
                local = now + offset
                minute = local.hour * 60 + local.minute
                quiet = (minute - first) % 1440 < (last - first) % 1440
                assert gate.quiet_at(standing, priority=Priority.NORMAL, now=now) is quiet
                if quiet and not was_quiet:
                    later = gate.quiet_until(standing, now=now)
                    if gate.quiet_at(standing, priority=Priority.NORMAL, now=later):
                        # The clock has skipped the quarter that is not quiet.
                        later = gate.quiet_until(standing, now=later)
                    assert not gate.quiet_at(standing, priority=Priority.NORMAL, now=later)
                now, was_quiet, looked = now + STEP, quiet, looked + 1
    what = f"{len(ZONES)} zones of {len(known)} kinds, {looked:,} instants"
    record_figure(f"quiet from {start:%H:%M} to {end:%H:%M}", what)
