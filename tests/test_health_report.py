"""The health report: a month in plain words, for the member and who looks after them."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import text

from app.adapters.links import Links
from app.db import Database, StatementCount
from app.insights import report, report_data, report_page, report_rules
from app.insights.report_rules import Condition, Hour, Tasks
from app.measurements import service as measurements
from app.measurements.catalogue import quantities
from app.measurements.rules import Method, Reading
from app.reports import Reports
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    consent,
    context,
    execute,
    make_member,
    make_staff,
    operation,
)

DAY = timedelta(days=1)
MARCH = date(2026, 3, 1)
END = datetime(2026, 4, 2, 4, tzinfo=UTC)
NO_TASKS = Tasks(0, 0, 0, 0, 0, 0)
REPORT = operation("HealthReport")
FOR_STAFF = operation("MemberReport", "console")


async def measure(
    db: Database, member_id: UUID, code: str, unit: str, values: dict[datetime, int | str]
) -> None:
    async with db.transaction() as session:
        zone = await measurements.lock(session, member_id)
        done = await measurements.record(
            session,
            member_id=member_id,
            time_zone=zone,
            readings=[
                Reading(code, Decimal(value), unit, at, Method.SENSED, source_id="cuff")
                for at, value in values.items()
            ],
            now=END,
        )
    assert done.accepted == len(values), done.rejected


@pytest.fixture
async def member(db: Database) -> UUID:
    """Measured weight in February and March; at noon UTC+8, mostly."""
    member_id = await make_member(db, display_name='<b>王芳</b> & "co"')
    weights: dict[datetime, int | str] = {NOON - 20 * DAY: 70, NOON - 10 * DAY: 72}
    weights |= {NOON + number * DAY: 75 + number for number in range(3)}
    weights[NOON + 10 * DAY + timedelta(hours=9)] = 78
    await measure(db, member_id, "WEIGHT", "kg", weights)
    return member_id


async def ask(db: Database, member_id: UUID, month: str, **options: Any) -> Any:
    answer = await execute(
        REPORT, {"month": month}, context=as_member(db, member_id, now=END, **options)
    )

    return answer["me"]["healthReport"]


async def test_a_month_in_numbers_and_words(db: Database, member: UUID) -> None:
    found = await ask(db, member, "2026-03-17")

    assert (found["month"], found["lastDay"]) == (MARCH, date(2026, 3, 31))
    [weight] = found["summaries"]
    assert weight == {
        "code": "WEIGHT",
        "name": "Body weight",
        "unit": "kg",
        "n": 4,
        "mean": "76.5",
        "minimum": "75",
        "maximum": "78",
        "meanBefore": "71",
        "trend": "UP",
        "regularityPercent": 13,
        "usualHour": 12,
        "text": "On average 76.5 kg, higher than last month. Data on 4 days."
        " Usually in the afternoon.",
        "days": [
            {"date": date(2026, 3, 2), "mean": "75"},
            {"date": date(2026, 3, 3), "mean": "76"},
            {"date": date(2026, 3, 4), "mean": "77"},
            {"date": date(2026, 3, 12), "mean": "78"},
        ],
    }
    assert [it["code"] for it in found["advice"]] == ["weight-rising"]
    assert found["habits"] == {
        "partOfDay": "AFTERNOON",
        "favouriteTask": None,
        "text": "You usually measure in the afternoon.",
    }
    assert found["url"] is None
    chinese = await ask(db, member, "2026-03-01", locale="zh-CN")
    assert chinese["summaries"][0]["text"] == (
        "平均 76.5 kg，比上个月高。有 4 天的数据。通常在下午测量。"
    )


async def test_streams_are_in_the_report_and_at_no_usual_hour(db: Database) -> None:
    member_id = await make_member(db)
    beats: dict[datetime, int | str] = {
        NOON + timedelta(minutes=number): value for number, value in enumerate((60, 70, 80))
    }
    beats[NOON + DAY] = 90
    await measure(db, member_id, "HEART_RATE", "/min", beats)

    found = await ask(db, member_id, "2026-03-01")

    [heart] = found["summaries"]
    assert (heart["code"], heart["n"], heart["mean"]) == ("HEART_RATE", 4, "75")
    assert (heart["minimum"], heart["maximum"], heart["usualHour"]) == ("60", "90", None)
    assert [(it["date"], it["mean"]) for it in heart["days"]] == [
        (date(2026, 3, 2), "70"),
        (date(2026, 3, 3), "90"),
    ]
    assert found["habits"]["partOfDay"] is None


async def test_a_month_that_has_not_begun_and_one_without_data(db: Database, member: UUID) -> None:
    assert await ask(db, member, "2026-05-01") is None
    empty = await ask(db, member, "2025-03-01")
    assert (empty["summaries"], empty["points"], empty["tasks"]["percent"]) == ([], 0, None)


async def test_staff_see_it_while_the_member_consents_and_each_read_is_audited(
    db: Database, member: UUID
) -> None:
    from app.graphql.ids import Kind, encode

    manager, other = await make_staff(db), await make_staff(db)
    await assign(db, manager, member)
    values = {"id": encode(Kind.MEMBER, member), "month": "2026-03-01"}

    seen = await execute(FOR_STAFF, values, context=as_staff(db, manager, now=END))
    assert seen["member"]["healthReport"]["summaries"][0]["mean"] == "76.5"
    assert (await execute(FOR_STAFF, values, context=as_staff(db, other, now=END)))[
        "member"
    ] is None
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    hidden = await execute(FOR_STAFF, values, context=as_staff(db, manager, now=END))
    assert hidden["member"]["healthReport"] is None
    assert (await ask(db, member, "2026-03-01"))["summaries"], "the member still sees it"
    async with db.read() as reading:
        reads = await reading.execute(text("select staff_id from audit_reads"))
        assert list(reads.scalars()) == [manager, manager]


async def test_as_many_statements_for_a_year_of_data_as_for_none(db: Database) -> None:
    counts = []
    for days in (0, 400):
        member_id = await make_member(db)
        values: dict[datetime, int | str] = {END - number * DAY: 70 for number in range(1, days)}
        if values:
            await measure(db, member_id, "WEIGHT", "kg", values)
        with StatementCount(db) as statements:
            await ask(db, member_id, "2026-03-01")
        counts.append(len(statements))

    assert counts[0] == counts[1] == 3


async def test_as_many_statements_for_a_list_of_members_as_for_one(db: Database) -> None:
    manager = await make_staff(db)
    query = """{ members { edges { node { healthReport(month: "2026-03-01") {
      summaries { code n mean } } } } } }"""
    counts = []
    for number in (1, 5):
        for place in range(number):
            member_id = await make_member(db)
            await assign(db, manager, member_id)
            await measure(db, member_id, "WEIGHT", "kg", {NOON: 70 + number + place})
        with StatementCount(db) as statements:
            found = await execute(query, context=as_staff(db, manager, now=END))
        counts.append(len(statements))

    assert counts[0] == counts[1]
    reports = [edge["node"]["healthReport"] for edge in found["members"]["edges"]]
    assert sorted(it["summaries"][0]["mean"] for it in reports) == [
        "71",
        "75",
        "76",
        "77",
        "78",
        "79",
    ]


LINKS = Links(b"k" * 32, lifetime=timedelta(minutes=5))


def serve(db: Database, now: datetime = END) -> httpx.AsyncClient:
    from starlette.applications import Starlette

    def make_context(viewer: Any, **_: Any) -> Any:
        return context(db, viewer, now=now)

    app = Starlette(
        routes=Reports(db, LINKS, make_context=make_context, now=lambda: now).routes()  # type: ignore[arg-type]
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def link(member_id: UUID, month: str = "2026-03", **parameters: str) -> str:
    return LINKS.sign(f"/reports/{member_id.hex}/{month}", parameters, now=END)


async def test_the_page_has_charts_and_escapes_what_people_wrote(
    db: Database, member: UUID
) -> None:
    async with serve(db) as client:
        answer = await client.get(link(member, locale="zh-CN"))

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "script" not in answer.text.lower()
    assert "&lt;b&gt;王芳&lt;/b&gt; &amp; &quot;co&quot;" in answer.text
    assert '<html lang="zh-CN">' in answer.text and "体重" in answer.text
    assert answer.text.count("<svg") == 1 and answer.text.count("<circle") == 4
    # A line through the days that follow each other; none over the gap.
    assert answer.text.count("<polyline") == 1
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    # The page's style is the one that the policy allows.
    import base64
    import hashlib

    [style] = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{allowed}'" in policy


async def test_only_a_link_of_ours_opens_it_and_not_for_long(db: Database, member: UUID) -> None:
    other = await make_member(db)
    async with serve(db) as client:
        forged = link(member).replace(member.hex, other.hex)
        assert (await client.get(forged)).status_code == 403
        assert (await client.get(f"/reports/{member.hex}/2026-03")).status_code == 403
        assert (await client.get(link(uuid4()))).status_code == 404
        assert (await client.get(link(member, "2026-13"))).status_code == 404
        assert (await client.get(link(member, "2026-05"))).status_code == 404
    async with serve(db, END + timedelta(minutes=6)) as client:
        assert (await client.get(link(member))).status_code == 403


async def test_an_employee_opens_it_while_they_may_see_the_member(
    db: Database, member: UUID
) -> None:
    manager = await make_staff(db)
    async with serve(db) as client:
        assert (await client.get(link(member, by=manager.hex))).status_code == 403
        await assign(db, manager, member)
        assert (await client.get(link(member, by=manager.hex))).status_code == 200
        async with db.transaction() as session:
            session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
        assert (await client.get(link(member, by=manager.hex))).status_code == 404
        assert (await client.get(link(member, by="nobody"))).status_code == 403


# Rules


def steps(*values: int, month: date = MARCH) -> list[Hour]:
    return [
        Hour("STEPS", month + number * DAY, None, 1, *(Decimal(value),) * 3)
        for number, value in enumerate(values)
    ]


def advised(hours: list[Hour], tasks: Tasks = NO_TASKS, silent: int = 0) -> list[str]:
    found = report_rules.summaries(
        hours,
        month=MARCH,
        days=31,
        zone=ZoneInfo("Asia/Shanghai"),
        catalogue=quantities().values(),
    )
    said = report_rules.advise(
        report_data.advice(), found=found, tasks=tasks, silent=silent, said_max=5
    )
    return [it.code for it in said]


def test_few_steps_are_told_to_walk_after_dinner() -> None:
    assert advised(steps(*[5999] * 7)) == ["steps-few"]
    assert advised(steps(*[5999] * 6)) == []
    assert advised(steps(*[6000] * 7)) == []
    [few] = [it for it in report_data.advice() if it.code == "steps-few"]
    assert few.text.zh == "步数不足，晚餐后散步30分钟。"
    february = steps(*[10_000] * 7, month=date(2026, 2, 1))
    assert advised(february + steps(*[8000] * 7)) == ["steps-fewer"]
    assert advised(february + steps(*[8001] * 7)) == []


def test_silence_is_no_advice_to_do_more() -> None:
    silent = Tasks(
        done=0, missed=0, paused=3, device_silent=20, consent_refused=2, consent_withdrawn=1
    )

    assert advised([], silent, silent=3) == ["devices-silent"]
    assert advised([], Tasks(4, 6, 0, 0, 0, 0)) == ["tasks-missed"]
    assert advised([], Tasks(8, 2, 0, 0, 0, 0)) == ["tasks-done"]


def test_unknown_values_meet_no_condition() -> None:
    rule = report_rules.Advice("it", Condition(code="WEIGHT", mean_below=Decimal(1)), None)  # type: ignore[arg-type]

    assert report_rules.advise([rule], found=[], tasks=NO_TASKS, silent=0, said_max=5) == []


def test_sentences_are_short() -> None:
    for advice in report_data.advice():
        assert max(map(len, re.split("[。，；]", advice.text.zh))) <= 30, advice.code
        assert max(len(it.split()) for it in re.split(r"[.;]", advice.text.en)) <= 15, advice.code


def test_a_chart_of_one_day_or_of_equal_days_divides_by_nothing() -> None:
    for hours in (steps(0), steps(5, 5, 5)):
        found = report_rules.summaries(
            hours,
            month=MARCH,
            days=1,
            zone=ZoneInfo("UTC"),
            catalogue=quantities().values(),
        )
        made = report.Report(
            MARCH,
            MARCH + 2 * DAY,
            "x",
            found,
            [],
            False,
            NO_TASKS,
            0,
            0,
            report_rules.Habits(None, None),
            [],
        )
        assert "<svg" in report_page.page(made, "en")
