"""Taken back, hung and switched off between the release and the phone: nothing leaves that should
not, and one service or wish holds up no other."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.adapters.push import PushMessage, PushOutcome, PushResult
from app.campaigns import rules as campaign_rules
from app.config import Settings
from app.db import Database
from app.events import Events
from app.jobs import queue
from app.members import service as members
from app.members.rules import ConsentPurpose
from app.nudges.dispatch import BACKOFF_MAX, SILENT_PAUSE, UNAUTHORISED_PAUSE, pause_after
from app.nudges.dispatch import dispatch as dispatch_batch
from app.nudges.gate import Channel, Outreach, Priority, Topic
from tests import opting_out
from tests.factories import NOON, make_member
from tests.nudges import make_phone, rows
from tests.nudging import (
    EVENING,
    make_walker,
    plan,
    release,
)
from tests.test_one_gate import Recorder, dispatch, tell

# Sending


async def test_a_consent_that_a_policy_rests_on_is_asked_again_before_its_push(
    db: Database,
) -> None:
    """Not the one that every message rests on, and seconds after it was released."""
    taken, kept = await make_walker(db), await make_walker(db)
    for member in (taken, kept):
        await make_phone(db, member, f"ok:{member}")
    await plan(db, EVENING)
    await release(db, EVENING)
    async with db.transaction() as session:
        await members.set_consent(
            session,
            member_id=taken,
            request_id=uuid4(),
            purpose=ConsentPurpose.DEVICE_DATA,
            granted=False,
            text_version="1",
            recorded_by=taken,
            now=EVENING,
        )
    provider = Recorder()
    await dispatch(db, provider, now=EVENING + timedelta(seconds=1))
    assert [it.token for it in provider.sent] == [f"ok:{kept}"]
    assert await rows(
        db, "SELECT state, reason FROM push_deliveries WHERE member_id = :m", m=taken
    ) == [("SUPPRESSED", "NOT_RELEVANT")]


# Services that hang


async def test_a_gateway_that_hangs_keeps_the_other_services_going(db: Database) -> None:
    phone = await make_member(db)
    await make_phone(db, phone, "ok:1")
    await make_phone(db, phone, "ok:2", provider="JPUSH")
    others = [await make_member(db, phone=f"+861390000{it:04}") for it in range(60)]
    await tell(db, *others, phone, channels=(Channel.SMS, Channel.PUSH))
    batches = [id for (id,) in await rows(db, "SELECT id FROM push_batches")]
    assert len(batches) == 3
    answer, pushed = asyncio.Event(), asyncio.Event()

    class Hung(Recorder):
        async def send(self, message: PushMessage) -> PushResult:
            if message.service == "FCM":
                pushed.set()
                return await super().send(message)
            await answer.wait()
            return PushResult(PushOutcome.UNKNOWN, code="TIMEOUT")

    context = queue.JobContext(db, lambda: NOON, Events("postgresql://unused"), Hung(), Settings())
    sending = [asyncio.create_task(dispatch_batch(context, it)) for it in batches]
    await asyncio.wait_for(pushed.wait(), 30)
    answer.set()
    await asyncio.gather(*sending)
    # One group was lost, and not the whole batch after it.
    assert await rows(
        db, "SELECT channel, state, count(*) FROM push_deliveries GROUP BY 1, 2 ORDER BY 1, 2"
    ) == [
        ("PUSH", "SENT", 1),
        ("PUSH", "UNKNOWN", 1),
        ("SMS", "QUEUED", 35),
        ("SMS", "SUPPRESSED", 1),
        ("SMS", "UNKNOWN", 25),
    ]
    await dispatch(db, Recorder(), now=NOON + SILENT_PAUSE)
    found = dict(await rows(db, "SELECT state, count(*) FROM push_deliveries GROUP BY 1"))
    assert found == {"SENT": 36, "SUPPRESSED": 1, "UNKNOWN": 26}


_SENT, _SILENT = PushResult(PushOutcome.SENT), PushResult(PushOutcome.UNKNOWN, code="TIMEOUT")
_LOST = PushResult(PushOutcome.RETRY, code="CONNECTION")
_REFUSED = PushResult(PushOutcome.UNAUTHORISED, code="HTTP_401")
_REJECTED = PushResult(PushOutcome.REJECTED, code="INVALID_ARGUMENT")


def later(seconds: int | None) -> PushResult:
    return PushResult(
        PushOutcome.RETRY, "HTTP_429", retry_after=timedelta(seconds=seconds) if seconds else None
    )


@pytest.mark.parametrize(
    ("results", "pause"),
    [
        ([_SENT, _SILENT, _REFUSED], None),
        ([_SILENT, _LOST], SILENT_PAUSE),
        ([_SILENT, _REJECTED], None),
        ([_REFUSED, _SILENT], UNAUTHORISED_PAUSE),
        ([later(60), later(70)], timedelta(seconds=70)),
        ([later(86_400)], BACKOFF_MAX),
        ([later(None)], None),
        ([later(60), _REJECTED], None),
    ],
)
def test_after_which_answers_a_batch_steps_aside(
    results: list[PushResult], pause: timedelta | None
) -> None:
    assert pause_after(results) == pause


# People


@pytest.mark.parametrize("opt_out", opting_out.WAYS)
async def test_nobody_calls_who_has_opted_out_since(db: Database, opt_out: Any) -> None:
    import app.schema  # noqa: F401 - what follows a consent and a pause

    member, other = await make_member(db), await make_member(db)
    ways = (Outreach.PHONE_CALL, Outreach.HOME_VISIT)
    await tell(db, member, other, channels=ways)
    await tell(
        db,
        member,
        channels=ways,
        cause="contract",
        topic=Topic.SERVICE_NOTICE,
        priority=Priority.CRITICAL,
    )
    async with db.transaction() as session:
        await opt_out(session, member)
    left = await rows(
        db, "SELECT member_id, count(*) FROM worklist_items WHERE closed_at IS NULL GROUP BY 1"
    )
    # A contract is not ended by a pause or a wish about offers.
    kept = {} if opt_out is opting_out.withdraw else {member: 2}
    assert dict(left) == {other: 2, **kept}
    closed = await rows(
        db, "SELECT DISTINCT closed_reason FROM worklist_items WHERE closed_at IS NOT NULL"
    )
    assert closed == [("SETTLED",)]


# Caps


async def test_reminders_leave_room_for_what_others_have_to_say(db: Database) -> None:
    """Who takes a medicine six times a day hears of a warning, of the examination and of steps."""
    member = await make_member(db)
    for day in range(7):
        at = NOON + timedelta(days=day)
        for number in range(6):
            await tell(db, member, cause=f"own:{day}:{number}", priority=Priority.OWN, now=at)
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        await tell(db, member, cause=priority.value, priority=priority, now=at)
    assert await rows(db, "SELECT suppressed_reason, count(*) FROM messages GROUP BY 1") == [
        (None, 45)
    ]


# Words of campaigns


@pytest.mark.parametrize(
    ("title", "body", "said"),
    [
        ("免费体检", "本周六在镇卫生院。\n请致电 0571-8888 0000 预约。", None),
        ("免费体检", "第一行。\r\n第二行。", None),
        ("免费\n体检", "本周六。", "on one line"),
        ("免费\u202e体检", "本周六。", "can be read"),
        ("免费体检", "\u200b\u200b", "can be read"),
        ("免费体检", "您好，本周六。", "您"),
        ("免费体检", "三天治\u200b愈", "a promise"),
        ("免费体检", "点 ｈｔｔｐ：／／ａ．ｃｎ", "a link"),
        ("Free cash", "This Saturday.", "cash"),
    ],
)
def test_what_a_campaign_may_say(title: str, body: str, said: str | None) -> None:
    variant = campaign_rules.Variant(key="a", locale="zh-CN", title=title, body=body, weight=1)
    fault = campaign_rules.variants_fault([variant], steps=1)
    assert (fault is None) == (said is None)
    assert fault is None or (said or "") in fault.text.en
