"""The public payout report: only what was published, nobody signs in, no small groups."""

import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from app.config import Settings
from app.db import Database, StatementCount
from app.main import create_app
from app.payout_reports import PATH, PayoutReports
from app.premiums import payout_page, payouts
from tests.factories import make_staff
from tests.policy_holders import rows
from tests.premium_world import insured
from tests.test_portfolio import NEXT, SPENDING, ask, by_owner, confirmed


@pytest.fixture
async def people(db: Database) -> tuple[UUID, UUID]:
    return await make_staff(db, "ACTUARY"), await make_staff(db, "ADMIN")


async def portfolio(db: Database, *, fifties: int, sixties: int, thirties: int = 0) -> list[UUID]:
    born = {1975: fifties, 1965: sixties, 1990: thirties}
    return [
        await insured(db, birth_date=date(year, 1, 1))
        for year, count in born.items()
        for _ in range(count)
    ]


async def years(db: Database, code: str | None = None) -> list[dict[str, Any]]:
    async with db.read() as reading:
        return [it.numbers for it in await payouts.published(reading, code)]


async def test_the_numbers_of_a_year_are_published_when_it_is_confirmed(db: Database, people):
    await portfolio(db, fifties=11, sixties=12)
    await ask(db, "BookPreventionSpending", people[0], **SPENDING)
    assert await years(db) == []
    await confirmed(db, people, claims="90000.00", cededTierClaims="10000.00")
    [found] = await years(db)
    assert (found["members"], found["claims"]) == (23, "90000.00")
    assert {band: n for band, n in found["ages"].items() if n} == {"50-59": 11, "60-69": 12}
    assert found["reserve"]["spent"] == {"HEALTH_SERVICE": "100.00"}
    assert found["next_year_percent"] == "10"
    assert sum(float(it["amount"]) for it in found["burden"]["parties"]) == pytest.approx(
        float(found["burden"]["excess"])
    )
    before = found
    await portfolio(db, fifties=1, sixties=0)
    assert await years(db) == [before], "what is published stays"


async def test_a_small_group_and_one_more_are_left_out(db: Database, people):
    await portfolio(db, fifties=11, sixties=12, thirties=1)
    await confirmed(db, people)
    [found] = await years(db)
    assert found["members"] == 24
    assert (found["ages"]["30-39"], found["ages"]["50-59"], found["ages"]["60-69"]) == (
        None, None, 12,
    )  # fmt: skip
    page = await shown(db)
    assert "not published" in page and ">24<" not in page


async def test_a_portfolio_of_few_publishes_no_number(db: Database, people):
    members = await portfolio(db, fifties=9, sixties=0)
    await confirmed(db, people, claims="1234.00")
    [found] = await years(db)
    assert set(found) == {"name", "currency", "cell_min", "too_small"}
    page = await shown(db)
    assert "1,234" not in page and "Too few people" in page
    assert not any(str(it) in page for it in members)


async def shown(db: Database, locale: str = "en") -> str:
    async with db.read() as reading:
        return payout_page.page(await payouts.published(reading), locale)


async def test_everybody_reads_it_in_either_language(
    db: Database, database_url: str, people, monkeypatch: pytest.MonkeyPatch
):
    await portfolio(db, fifties=10, sixties=0)
    await confirmed(db, people)
    await confirmed(db, people, claims="2500.00")
    settings = Settings(mode="development", data_dir=Path("/nonexistent"))  # type: ignore[call-arg]
    app = create_app(settings, database_url=database_url)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://x") as client:
        english = await client.get(PATH)
        chinese = await client.get(PATH, headers={"accept-language": "zh-CN,zh;q=0.9"})
        named = await client.get(PATH, params={"locale": "zh-CN"})
        nonsense = await client.get(PATH, params={"locale": "<script>"})
        posted = await client.post(PATH)
    assert english.status_code == 200 and "Annual payout report" in english.text
    assert "2,500.00" in english.text and "2,000.00" not in english.text, "the correction counts"
    assert "年度赔付报告" in chinese.text and chinese.text == named.text
    assert nonsense.text == english.text and posted.status_code == 405
    assert english.headers["cache-control"] == "public, max-age=60"
    assert "default-src 'none'" in english.headers["content-security-policy"]
    assert "<script" not in english.text


async def test_many_readers_cost_one_statement_a_minute(db: Database):
    now = [NEXT]
    reports = PayoutReports(db, now=lambda: now[0])
    with StatementCount(db) as count:
        for _ in range(5):
            await reports._published()
        assert len(count) == 1
        now[0] += timedelta(minutes=1)
        await reports._published()
        assert len(count) == 2


async def test_the_benefit_is_published_without_small_groups(db: Database, people, owner_url: str):
    assert payouts._benefit(9, 100, "CNY") == {"members": None, "paid": None}
    assert payouts._benefit(10, 12345, "CNY") == {"members": 10, "paid": "123.45"}
    assert payouts._benefit(0, 0, "CNY") == {"members": 0, "paid": "0.00"}


async def test_the_command_writes_the_page(db: Database, database_url: str, people, tmp_path: Path):
    await portfolio(db, fifties=10, sixties=0)
    await confirmed(db, people)

    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "app.cli", "product", "payouts", *arguments],
            env={**os.environ, "WELLWARD_DATABASE_URL": database_url},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    written = command("chronic-care", "--output", str(tmp_path / "page.html"))
    assert written.returncode == 0, written.stderr
    assert "年度赔付报告" in (tmp_path / "page.html").read_text(encoding="utf-8")
    english = command("--locale", "en")
    assert english.stdout == await shown(db)
    unknown = command("nothing")
    assert unknown.returncode == 1 and "No year of product 'nothing'" in unknown.stderr


async def test_what_is_kept_names_nobody(db: Database, people, owner_url: str):
    members = await portfolio(db, fifties=10, sixties=0)
    await by_owner(owner_url, "update members set display_name = 'Xiulan-7193'")
    await confirmed(db, people)
    [(kept,)] = await rows(db, "select published from loss_ratios")
    text = orjson.dumps(kept).decode()
    assert "Xiulan" not in text and not any(it.hex in text.replace("-", "") for it in members)
