"""`why`: what led to points, and what kept them away, in both languages."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql.context import ANONYMOUS
from app.graphql.ids import Kind, encode
from app.points import expiry
from app.points import rules as points_rules
from app.points import service as points
from app.points.rules import CauseKind
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    consent,
    contents,
    context,
    execute,
    guard,
    make_member,
    make_staff,
    operation,
)
from tests.recordings import allow_devices, pressure, record, record_totals, total
from tests.reviewing import appeal, decide, review_of, verified_by
from tests.tasks_at_work import PRODUCT_VERSION, check_in, make_tasked, rows, task_id, tick

APP = operation("Why")
WHY = APP.replace(
    "__typename",
    "__typename ... on HealthTask { id } ... on Redemption { id } ... on Review { id }",
)
"""The app's document, and the ids of all that it may be about."""
MONDAY = date(2026, 3, 2)


async def why(
    db: Database, member_id: UUID, id: str, *, now: datetime = NOON, locale: str = "en"
) -> Any:
    found = await execute(WHY, {"id": id}, context=as_member(db, member_id, now=now, locale=locale))
    return found["why"]


async def summary(db: Database, member_id: UUID, id: str, **options: Any) -> str:
    return str((await why(db, member_id, id, **options))["summary"])


async def publish_version(db: Database) -> None:
    """The product version that the tasks of these tests are promised by."""
    async with db.transaction() as session:
        await session.execute(
            text(
                "insert into product_versions (id, code, version, hash, definition, published_at)"
                " values (:id, 'test', '2.3.4', sha256('x'), '{}', now())"
            ),
            {"id": PRODUCT_VERSION},
        )


def kinds(answer: Any) -> list[str]:
    return [step["kind"] for step in answer["steps"]]


def subjects(answer: Any) -> list[str | None]:
    return [step["subject"] and step["subject"].get("id") for step in answer["steps"]]


async def entries(db: Database, member_id: UUID) -> list[str]:
    """Ids of the member's transfers, the oldest first."""
    found = await rows(
        db, "select id from points_transfers where member_id = :id order by seq", id=member_id
    )
    return [encode(Kind.POINTS_ENTRY, member_id, id) for (id,) in found]


# Points, check-in and task, from each side


@pytest.mark.parametrize("asked", ["entry", "check-in", "task"])
async def test_the_whole_way_from_points_to_the_check_in(db: Database, asked: str) -> None:
    await publish_version(db)
    member, tasks = await make_tasked(db, "medication")
    done = await check_in(db, member, tasks["medication"])
    [entry] = await entries(db, member)
    task = task_id(member, tasks["medication"])
    id = {"entry": entry, "check-in": done["checkIn"]["id"], "task": task}[asked]

    answer = await why(db, member, id)

    steps = {step["kind"]: step for step in answer["steps"]}
    assert subjects(answer)[0] == id
    assert set(kinds(answer)) == {"POINTS", "TASK", "CHECK_IN"}
    assert {entry, done["checkIn"]["id"], task} == set(subjects(answer))
    assert steps["TASK"]["ruleVersion"] == "test 2.3.4"
    assert next(step["ruleVersion"] for step in answer["steps"] if step["kind"] == "POINTS") == (
        "test 2.3.4"
    )
    assert steps["CHECK_IN"]["occurredAt"] == NOON
    assert "10" in answer["summary"]


async def test_an_answer_in_both_languages(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    await check_in(db, member, tasks["medication"])
    task = task_id(member, tasks["medication"])

    english = await why(db, member, task)
    chinese = await why(db, member, task, locale="zh-CN")

    assert english["summary"] == "“Take today's medication” is done: 10 points."
    assert chinese["summary"] == "「今天按时服药」已完成，获得 10 积分。"
    assert [step["title"] for step in english["steps"]] == [
        "Task", "Points", "Where these points are now", "Check-in",
    ]  # fmt: skip
    assert [step["title"] for step in chinese["steps"]] == [
        "任务", "积分", "积分现在的去向", "打卡",
    ]  # fmt: skip
    assert english["steps"][1]["detail"] == "10 points earned, to be spent until 2027-03-02."
    assert chinese["steps"][1]["detail"] == "获得 10 积分，有效期至 2027-03-02。"
    assert english["steps"][0]["detail"] == (
        "“Take today's medication”, 2026-03-02 to 2026-03-02, target 1 times, 10 points."
        " It pays once, when the target is reached."
    )


# Why not


async def test_nothing_done_yet_and_nothing_done_at_all(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", "exercise")
    today, month = (
        task_id(member, tasks["medication"]),
        task_id(member, tasks["exercise"]),
    )
    assert await summary(db, member, today) == (
        "Nothing was done for “Take today's medication” yet. Done by 2026-03-02 it pays 10 points."
    )
    assert await summary(db, member, today, now=NOON + timedelta(days=1)) == (
        "The period of “Take today's medication” ended on 2026-03-02 and nothing was done,"
        " so there are no points."
    )
    await check_in(db, member, tasks["exercise"])
    assert await summary(db, member, month) == (
        "“Exercise 20 times this month”: 1 of 20 times so far."
        " Reached by 2026-03-31 it pays 10 points."
    )
    assert "ended on 2026-03-31 with 1 of 20 times" in await summary(
        db, member, month, now=NOON + timedelta(days=40)
    )
    chinese = await summary(db, member, today, locale="zh-CN")
    assert chinese == "「今天按时服药」还没有打卡。在 2026-03-02 之前完成可得 10 积分。"


async def test_not_due(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    tomorrow = task_id(member, tasks["medication"], MONDAY + timedelta(days=1))

    assert await summary(db, member, tomorrow) == (
        "“Take today's medication” begins on 2026-03-03; nothing can be done for it yet."
    )
    assert await summary(db, member, tomorrow, locale="zh-CN") == (
        "「今天按时服药」从 2026-03-03 开始，现在还不能打卡。"
    )


async def test_a_check_in_that_only_counts_says_what_is_missing(db: Database) -> None:
    member, tasks = await make_tasked(db, "exercise")
    done = await check_in(db, member, tasks["exercise"])

    answer = await why(db, member, done["checkIn"]["id"])

    assert answer["summary"].startswith("Counted. The points come when the task is done.")
    assert "1 of 20 times so far" in answer["summary"]
    assert kinds(answer) == ["CHECK_IN", "TASK"]


async def test_a_duplicate_names_the_one_that_was_paid(db: Database) -> None:
    member, tasks = await make_tasked(db, "walk")
    first = await check_in(db, member, tasks["walk"], value="8000")
    second = await check_in(db, member, tasks["walk"], value="5", now=NOON + timedelta(minutes=5))

    answer = await why(db, member, second["checkIn"]["id"])

    assert answer["summary"] == (
        "Counted, but another check-in had completed “Walk 8000 steps today” in this period,"
        " and it pays once."
    )
    assert first["checkIn"]["id"] in subjects(answer)
    assert "已由另一次打卡完成" in await summary(
        db, member, second["checkIn"]["id"], locale="zh-CN"
    )


@pytest.mark.parametrize(
    ("columns", "english", "chinese"),
    [
        (
            {"points_per_day_max": 4},
            "The daily limit of points 4 left 4 of 10 points.",
            "每日积分上限 4：任务应得 10 积分，只剩 4 积分的额度。",
        ),
        (
            {"points_per_month_max": 4},
            "The monthly limit of points 4 left 4 of 10 points.",
            "每月积分上限 4：",
        ),
        (
            {"points_per_year_max": 4},
            "The yearly limit of points 4 left 4 of 10 points.",
            "每年积分上限 4：",
        ),
        (
            {"points_per_member_max": 4},
            "The limit of points of the whole programme 4 left 4 of 10 points.",
            "计划内的积分总上限 4：",
        ),
        (
            {"points_of_rule_max": 4, "points_of_rule_per": "day"},
            "The limit of points of this task 4 left 4 of 10 points.",
            "这项任务的积分上限 4：",
        ),
    ],
    ids=["day", "month", "year", "member", "rule"],
)
async def test_a_cap_is_named_with_its_limit(
    db: Database, columns: dict[str, Any], english: str, chinese: str
) -> None:
    member, tasks = await make_tasked(db, "medication")
    changes = ", ".join(f"{name} = :{name}" for name in columns)
    async with db.transaction() as session:
        await session.execute(text(f"update task_assignments set {changes}"), columns)
    done = await check_in(db, member, tasks["medication"])
    [entry] = await entries(db, member)

    for id in (task_id(member, tasks["medication"]), done["checkIn"]["id"], entry):
        answer = await why(db, member, id)
        [cap] = [step for step in answer["steps"] if step["kind"] == "CAP"]
        assert cap["detail"] == english
        assert "limit" in answer["summary"] and "4" in answer["summary"]
        in_chinese = await why(db, member, id, locale="zh-CN")
        [cap] = [step for step in in_chinese["steps"] if step["kind"] == "CAP"]
        assert cap["detail"].startswith(chinese)
        assert "上限" in in_chinese["summary"]


@pytest.mark.parametrize(
    ("state", "english", "chinese"),
    [
        ("REFUSED", "You refused the use of health data", "你拒绝了使用健康数据"),
        ("WITHDRAWN", "You withdrew the use of health data", "你撤回了健康数据授权"),
        (None, "needs your consent to the use of health data", "请先同意使用健康数据"),
    ],
)
async def test_consent_is_a_reason_of_its_own(
    db: Database, state: str | None, english: str, chinese: str
) -> None:
    member, tasks = await make_tasked(db, "medication", consents=False)
    if state is not None:
        async with db.transaction() as session:
            session.add(consent(member, "HEALTH_DATA", state))
    id = task_id(member, tasks["medication"])

    assert english in await summary(db, member, id)
    assert chinese in await summary(db, member, id, locale="zh-CN")


async def test_a_pause_is_no_miss(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    async with db.transaction() as session:
        await session.execute(
            text(
                "insert into pauses (member_id, id, reason, starts_on, created_at)"
                " values (:member, :id, 'TRAVEL', '2026-03-01', :now)"
            ),
            {"member": member, "id": uuid4(), "now": NOON},
        )
    id = task_id(member, tasks["medication"])

    assert "was paused" in await summary(db, member, id)
    assert "计划已暂停" in await summary(db, member, id, locale="zh-CN")
    done = await check_in(db, member, tasks["medication"])
    assert done["checkIn"]["pointsAwarded"] == 10
    assert "is done: 10 points" in await summary(db, member, id)


async def test_abstaining_waits_for_the_end_of_its_period(db: Database) -> None:
    member, tasks = await make_tasked(db, "smoke-free", starts_on=date(2026, 3, 1))
    done = await tick(db, member, tasks["smoke-free"], date(2026, 3, 1), at=NOON)
    task = task_id(member, tasks["smoke-free"], date(2026, 3, 1))
    one = encode(Kind.CHECK_IN, member, done.check_in.id)

    assert "It pays when its period ends, on 2026-03-31." in await summary(db, member, task)
    assert "结束后结算积分" in await summary(db, member, one, locale="zh-CN")


@pytest.mark.parametrize("decision", [None, "ACCEPT", "REJECT"])
async def test_a_check_in_that_somebody_looks_at(db: Database, decision: str | None) -> None:
    member, tasks = await make_tasked(db, "medication")
    await verified_by(db, member, "STAFF")
    done = await check_in(db, member, tasks["medication"])
    check_in_id, task = done["checkIn"]["id"], task_id(member, tasks["medication"])
    review = await review_of(db, member)
    if decision is not None:
        staff = await make_staff(db)
        await assign(db, staff, member)
        answer = await decide(db, staff, review, decision, reason="Seen by Zhou.")
        assert answer["__typename"] != "UserError", answer
    [waited, *decided] = await entries(db, member)

    for id in (check_in_id, task, waited):
        answer = await why(db, member, id)
        assert {review, check_in_id, task, waited} <= set(subjects(answer))
        # Given, it is no entry of its own; taken back, it is.
        assert (decision == "REJECT") == any(entry in subjects(answer) for entry in decided)
        [step] = [step for step in answer["steps"] if step["kind"] == "REVIEW"]
        assert "confirmed by our staff" in step["detail"]
        assert ("It is decided by" in step["detail"]) == (decision is None)
        assert ("Seen by Zhou." in step["detail"]) == (decision is not None)
    english = [await summary(db, member, id) for id in (check_in_id, task)]
    chinese = [await summary(db, member, id, locale="zh-CN") for id in (check_in_id, task)]
    said = {
        None: ("10 points are pending", "waits for a decision", "待定", "待审核"),
        "ACCEPT": ("Accepted: Seen by Zhou.", "is done: 10 points", "审核通过", "已完成"),
        "REJECT": ("Not accepted: Seen by Zhou.", "so far", "审核未通过", "目标"),
    }[decision]
    for text_, words in zip([*english, *chinese], said, strict=True):
        assert words in text_, (decision, text_)


async def test_an_appeal_belongs_to_its_entry(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    await verified_by(db, member, "STAFF")
    await check_in(db, member, tasks["medication"])
    staff = await make_staff(db)
    await assign(db, staff, member)
    await decide(db, staff, await review_of(db, member), "REJECT", reason="No.")
    first = await entries(db, member)
    assert (await appeal(db, member, first[-1]))["__typename"] != "UserError"
    contested = await review_of(db, member, kind="APPEAL")

    answer = await why(db, member, first[-1])
    assert contested in subjects(answer)
    assert any("You contested this entry." in step["detail"] for step in answer["steps"])

    other = await make_staff(db)
    await assign(db, other, member)
    await decide(db, other, contested, "ACCEPT", reason="It was.")
    everything = await entries(db, member)
    assert len(everything) > len(first)
    for id in everything:
        answer = await why(db, member, id)
        assert set(everything) <= set(subjects(answer)), id
        assert any("It was." in step["detail"] for step in answer["steps"])


# Transfers


async def earn(
    db: Database, member_id: UUID, check_in_id: UUID, key: str, amount: int = 10, **options: Any
) -> Any:
    async with db.transaction() as session:
        return await points.earn(
            session,
            member_id=member_id,
            amount=amount,
            cause=points.Cause(CauseKind.CHECK_IN, check_in_id, key),
            rule=points.Rule(PRODUCT_VERSION, "medication"),
            local_date=MONDAY,
            expires=points_rules.expiry(MONDAY, 12, ZoneInfo("Asia/Shanghai")),
            now=NOON,
            **options,
        )


async def test_points_that_wait_and_how_it_was_decided(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", "stretch")
    for code, accept, english, chinese in (
        ("medication", True, "Accepted: 10 points can be spent", "审核通过，10 积分可用"),
        ("stretch", False, "Not accepted: 10 points are not given", "审核未通过，10 积分未发放"),
    ):
        waiting = await earn(db, member, uuid4(), f"{tasks[code]}:2026-03-02:0", pending=True)
        id = encode(Kind.POINTS_ENTRY, member, waiting.id)
        assert (await summary(db, member, id)).startswith(
            "10 points wait for a decision, to be spent until 2027-03-02."
        )
        async with db.transaction() as session:
            await points.settle(
                session, member_id=member, transfer_id=waiting.id, accept=accept, now=NOON
            )
        details = [step["detail"] for step in (await why(db, member, id))["steps"]]
        assert any(english in detail for detail in details)
        details = [s["detail"] for s in (await why(db, member, id, locale="zh"))["steps"]]
        assert any(chinese in detail for detail in details)


async def test_what_was_taken_back_names_the_whole_chain(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    done = await check_in(db, member, tasks["medication"])
    [earned] = await rows(db, "select id from points_transfers")
    async with db.transaction() as session:
        await points.reverse(session, member_id=member, transfer_id=earned[0], now=NOON)
    first, second = await entries(db, member)

    for id in (first, second, done["checkIn"]["id"], task_id(member, tasks["medication"])):
        answer = await why(db, member, id)
        assert {first, second} <= set(subjects(answer))
        assert "taken back" in " ".join(
            [answer["summary"], *(step["detail"] for step in answer["steps"])]
        )
    assert (await why(db, member, second))["steps"][0]["subject"]["id"] == second
    assert "撤回" in await summary(db, member, second, locale="zh-CN")


async def test_a_restated_earning_shows_every_revision(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    await check_in(db, member, tasks["medication"])
    [(check_in_id,)] = await rows(db, "select id from checkins")
    for amount in (25, 7):
        async with db.transaction() as session:
            await points.restate(
                session,
                member_id=member,
                cause=points.Cause(
                    CauseKind.CHECK_IN, check_in_id, f"{tasks['medication']}:2026-03-02"
                ),
                amount_now=amount,
                rule=points.Rule(PRODUCT_VERSION, "medication"),
                local_date=MONDAY,
                expires=points_rules.expiry(MONDAY, 12, ZoneInfo("Asia/Shanghai")),
                now=NOON,
            )
    ids = await entries(db, member)
    assert len(ids) >= 3

    for id in ids:
        answer = await why(db, member, id)
        assert set(ids) <= set(subjects(answer))
        assert {"TASK", "CHECK_IN"} <= set(kinds(answer))
        assert subjects(answer)[0] == id


async def test_a_debt_that_an_earning_paid_belongs_to_it(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", "stretch")
    await check_in(db, member, tasks["medication"])
    [(earned,)] = await rows(db, "select id from points_transfers")
    hold = uuid4()
    async with db.transaction() as session:
        await points.spend(
            session, member_id=member, hold_id=hold, amount=6,
            cause=points.Cause(CauseKind.REDEMPTION, uuid4(), "redemption:x"), now=NOON,
        )  # fmt: skip
        await points.reverse(session, member_id=member, transfer_id=earned, now=NOON)
    await check_in(db, member, tasks["stretch"])

    [(second,)] = await rows(
        db, "select id from points_transfers where debit = 'issued' order by seq desc limit 1"
    )
    answer = await why(db, member, encode(Kind.POINTS_ENTRY, member, second))

    details = [step["detail"] for step in answer["steps"]]
    assert any("6 points paid what was owed" in detail for detail in details)
    assert any("4 points earned" in detail for detail in details)
    assert "stretch" in str(answer) or "Move for 30 minutes" in str(answer)


async def test_a_redemption_says_which_points_were_used(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", "stretch")
    for code in tasks:
        await check_in(db, member, tasks[code])
    earned = await entries(db, member)
    redemption = await redeem(db, member, 15)

    held = (await entries(db, member))[-1]
    for id in (encode(Kind.REDEMPTION, member, redemption), held):
        answer = await why(db, member, id)
        details = [step["detail"] for step in answer["steps"]]
        assert "10 points earned on 2026-03-02" in " ".join(details)
        assert "5 points earned on 2026-03-02" in " ".join(details)
        assert set(earned) <= set(subjects(answer))
        assert encode(Kind.REDEMPTION, member, redemption) in subjects(answer)
    assert "for 15 points: the points are reserved" in await summary(
        db, member, encode(Kind.REDEMPTION, member, redemption)
    )
    async with db.transaction() as session:
        await points.release(session, member_id=member, hold_id=redemption, now=NOON)
        await session.execute(
            text("update redemptions set state = 'CANCELLED', ended_at = :now"), {"now": NOON}
        )
    answer = await why(db, member, encode(Kind.REDEMPTION, member, redemption), locale="zh-CN")
    assert "已取消，不扣积分" in answer["summary"]
    assert any("预留的 15 积分已退回" in step["detail"] for step in answer["steps"])


async def redeem(db: Database, member_id: UUID, amount: int) -> UUID:
    """A redemption of a shipped reward, reserved with these points."""
    redemption = uuid4()
    async with db.transaction() as session:
        await points.hold(
            session,
            member_id=member_id,
            hold_id=redemption,
            amount=amount,
            expires_at=NOON + timedelta(days=7),
            cause=points.Cause(CauseKind.REDEMPTION, redemption, f"redemption:{redemption}"),
            now=NOON,
        )
        await session.execute(
            text(
                "insert into redemptions (member_id, id, reward_id, reward_version, points, state,"
                " reserved_at, expires_at) select :member, :id, r.id, r.version, :points,"
                " 'RESERVED', :now, :until from rewards r order by r.code limit 1"
            ),
            {
                "member": member_id, "id": redemption, "points": amount, "now": NOON,
                "until": NOON + timedelta(days=7),
            },
        )  # fmt: skip
    return redemption


async def test_what_expired_and_where_it_came_from(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    await check_in(db, member, tasks["medication"])
    later = datetime(2027, 3, 3, 4, tzinfo=UTC)
    await expiry.announce(db, now=later - timedelta(days=20))
    await expiry.expire_due(db, now=later)
    first, second = await entries(db, member)

    answer = await why(db, member, second, now=later)
    assert answer["summary"] == ("10 points could be spent until 2027-03-02, and expired after it.")
    assert first in subjects(answer)
    earning = await why(db, member, first, now=later)
    assert any("10 expired" in step["detail"] for step in earning["steps"])
    assert "已过期" in await summary(db, member, second, now=later, locale="zh-CN")


# Who may ask, and what it costs


async def test_everybody_who_may_see_the_member_may_ask_and_nobody_else(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    done = await check_in(db, member, tasks["medication"])
    guardian, stranger = await make_member(db), await make_member(db)
    await guard(db, child_id=member, guardian_id=guardian)
    manager, other = await make_staff(db), await make_staff(db)
    await assign(db, manager, member)
    id = done["checkIn"]["id"]

    async def asked(by: Any) -> Any:
        return (await execute(WHY, {"id": id}, context=by))["why"]

    own = await asked(as_member(db, member))
    assert own is not None
    assert await asked(as_member(db, guardian, acting_for=member)) == own
    assert await asked(as_staff(db, manager)) == own
    assert [row for row in await rows(db, "select staff_id, member_id from audit_reads")] == [
        (manager, member)
    ]
    assert await asked(as_member(db, stranger)) is None
    assert await asked(as_staff(db, other)) is None


async def test_an_employee_is_answered_while_the_member_consents(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    done = await check_in(db, member, tasks["medication"])
    manager = await make_staff(db)
    await assign(db, manager, member)
    [entry] = await entries(db, member)
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    for id in (done["checkIn"]["id"], task_id(member, tasks["medication"]), entry):
        found = await execute(WHY, {"id": id}, context=as_staff(db, manager))
        assert found == {"why": None}
        assert await why(db, member, id) is not None


DATA = APP.replace(
    "__typename",
    "__typename ... on DailyTotal { id value sources { sourceId value } }"
    " ... on Measurement { id value }",
)


async def test_it_goes_down_to_the_total_that_completed_the_task(db: Database) -> None:
    member, tasks = await make_tasked(db, "walk 2")
    await allow_devices(db, member)
    sent = [total("9000", "phone"), total("4000", "watch")]
    done = await record_totals(db, member, *sent)
    for document in (APP, DATA):
        found = await execute(
            document, {"id": task_id(member, tasks["walk"])}, context=as_member(db, member)
        )
        [step] = [it for it in found["why"]["steps"] if it["kind"] == "DAILY_TOTAL"]
        assert step["subject"]["__typename"] == "DailyTotal"
        assert step["detail"] == (
            "9000 steps on 2026-03-02. By source: phone 9000; watch 4000; what overlaps counts once."
        )
    [day] = done["days"]
    assert (step["subject"]["id"], step["subject"]["value"]) == (day["id"], "9000")


async def test_it_goes_down_to_the_readings_that_completed_the_task(db: Database) -> None:
    member, tasks = await make_tasked(db, "measure-blood-pressure 2")
    await record(db, member, *pressure("120", "80", method="SELF_REPORTED"))
    found = await execute(
        DATA,
        {"id": task_id(member, tasks["measure-blood-pressure"])},
        context=as_member(db, member),
    )
    [step] = [it for it in found["why"]["steps"] if it["kind"] == "READING"]
    assert (step["subject"]["__typename"], step["subject"]["value"]) == ("Measurement", "120")


async def test_what_does_not_exist_looks_like_what_is_not_yours(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    other, others = await make_tasked(db, "medication")
    done = await check_in(db, other, others["medication"])
    [foreign] = await entries(db, other)
    before = await contents(db)

    for id in (
        foreign,
        done["checkIn"]["id"],
        task_id(other, others["medication"]),
        task_id(member, others["medication"]),
        task_id(member, tasks["medication"], date(2026, 3, 1)),
        task_id(member, tasks["medication"], date.max),
        task_id(member, tasks["medication"], date.min),
        encode(Kind.POINTS_ENTRY, member, uuid4()),
        encode(Kind.CHECK_IN, member, uuid4()),
        encode(Kind.REDEMPTION, member, uuid4()),
        encode(Kind.MEMBER, member),
        encode(Kind.MEASUREMENT, member, uuid4()),
        "",
        "???",
    ):
        assert await why(db, member, id) is None, id
    assert await contents(db) == before


async def test_statements_do_not_grow_with_what_there_is_to_tell(db: Database) -> None:
    member, tasks = await make_tasked(db, "walk")
    everything = (
        "query ($id: ID!) { why(id: $id) { summary steps { subject { __typename"
        " ... on CheckIn { id state explanation } ... on HealthTask { title done }"
        " ... on PointsEntry { amount title } } } } }"
    )
    counted: dict[str, set[int]] = {}
    for number in range(6):
        at = NOON + timedelta(minutes=number)
        await check_in(db, member, tasks["walk"], value="4000", now=at)
        asked = task_id(member, tasks["walk"])
        for document in (APP, everything):
            with StatementCount(db) as sent:
                answer = await execute(document, {"id": asked}, context=as_member(db, member))
            assert len(answer["why"]["steps"]) >= number + 2
            counted.setdefault(document, set()).add(len(sent))
    assert counted[APP] == {3}
    assert max(counted[everything]) <= 6


async def test_a_subject_is_the_object_itself(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    await check_in(db, member, tasks["medication"], note="n")
    document = (
        "query ($id: ID!) { why(id: $id) { steps { subject { ...Some } } } }"
        " fragment Some on ExplanationSubject { __typename ... on CheckIn { id pointsAwarded }"
        " ... on HealthTask { title taskState: state } ... on PointsEntry { amount state }"
        " ... on Node { id } }"
    )
    answer = await execute(
        document, {"id": task_id(member, tasks["medication"])}, context=as_member(db, member)
    )
    found = {step["subject"]["__typename"]: step["subject"] for step in answer["why"]["steps"]}
    assert found["CheckIn"]["pointsAwarded"] == 10
    assert (found["HealthTask"]["title"], found["HealthTask"]["taskState"]) == (
        "Take today's medication",
        "DONE",
    )
    assert (found["PointsEntry"]["amount"], found["PointsEntry"]["state"]) == (10, "POSTED")


async def test_many_check_ins_are_counted_not_listed(db: Database) -> None:
    member, tasks = await make_tasked(db, "walk")
    for number in range(14):
        at = NOON + timedelta(minutes=number)
        last = await check_in(db, member, tasks["walk"], value="10", now=at)
    answer = await why(db, member, task_id(member, tasks["walk"]))

    check_ins = [step for step in answer["steps"] if step["kind"] == "CHECK_IN"]
    assert len(check_ins) == 10
    assert "And 4 more." in check_ins[-1]["detail"]
    assert check_ins[0]["subject"]["id"] == last["checkIn"]["id"]


async def test_nobody_signed_in_gets_no_answer(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    asked = {"id": task_id(member, tasks["medication"])}
    assert (await execute(WHY, asked, context=context(db, ANONYMOUS)))["why"] is None


async def test_the_apps_document_is_answered(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    done = await check_in(db, member, tasks["medication"])
    asked = {"id": done["checkIn"]["id"]}
    answer = (await execute(APP, asked, context=as_member(db, member)))["why"]
    assert answer["summary"] == "Task done: 10 points."
    assert [step["subject"]["__typename"] for step in answer["steps"]] == [
        "CheckIn", "PointsEntry", "PointsEntry", "HealthTask",
    ]  # fmt: skip
