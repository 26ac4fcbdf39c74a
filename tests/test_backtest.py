"""A draft over the portfolio's history, against what was charged."""

import asyncio
import csv
import io
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
import yaml

from app.db import Database, StatementCount
from app.premiums import backtest, backtest_claims, backtest_report
from app.premiums.backtest import Progress
from app.premiums.backtest_history import Period
from app.premiums.backtest_report import Asked
from app.premiums.product import PRODUCTS, Product, read
from app.risk import rulesets
from app.risk.rulesets import Tier
from tests.factories import contents
from tests.policy_holders import rows, variant
from tests.premium_world import (
    BEGIN,
    START,
    assessed,
    insured,
    renew,
    two_readings,
    year_closed,
)

LAST = date(2027, 2, 1)
ALL = Period("chronic-care", START, date(2028, 12, 31))
CARE = read(PRODUCTS / "chronic-care-1.0.0.yaml")


def draft(**blocks: Any) -> Product:
    """The product in force with parts changed, as an actuary tries it."""
    return variant("chronic-care", version="9.0.0", **blocks)


def with_rule(code: str, **changes: Any) -> Product:
    """With one rule changed, or taken away."""
    document = CARE.model_dump(mode="json", exclude_defaults=True)
    rules = [
        {**rule, **changes} if rule["code"] == code else rule
        for rule in document["rules"]
        if rule["code"] != code or changes
    ]
    return draft(rules=rules)


async def back_test(
    db: Database, of: Product, period: Period = ALL, **options: Any
) -> tuple[Progress, backtest_report.Document]:
    found = [it async for it in backtest.run(db, of, period, **options)]
    asked = Asked(of, period, rulesets.in_force().planned_mix, options.get("claims"))
    return found[-1], backtest_report.document(asked, found[-1])


def group(shown: backtest_report.Document, dimension: str, name: str) -> backtest_report.Document:
    [found] = [it for it in shown["groups"] if (it["dimension"], it["group"]) == (dimension, name)]
    return found


async def two_terms(db: Database, tier: str = "MEDIUM") -> UUID:
    """A member who improves in the first term, so that the second is cheaper."""
    member = await insured(db, tier=tier)
    await two_readings(db, member, "SYSTOLIC_BP", "148", START)
    await two_readings(db, member, "SYSTOLIC_BP", "141", LAST)
    await year_closed(db, member)
    assert await renew(db) == 1
    return member


async def test_the_product_in_force_as_a_draft_changes_nothing(db: Database):
    await two_terms(db)
    await insured(db, tier="HIGH", region="CN-31-0115")
    await insured(db, tier=None, birth_date=date(1998, 1, 1), sex="MALE")
    before = await contents(db)
    _, shown = await back_test(db, draft())
    assert await contents(db) == before, "a back-test stores nothing"
    everybody = group(shown, "all", "all")
    assert (everybody["terms"], everybody["dearer"], everybody["cheaper"]) == (4, 0, 0)
    [(charged,)] = await rows(db, "select sum(total) from premiums")
    assert everybody["charged"] == everybody["draft"] == f"{charged / 100:.2f}"
    assert shown["bands"] == [
        {"change_percent": it["change_percent"], "terms": 4 if it["change_percent"] == "0" else 0}
        for it in shown["bands"]
    ]
    assert shown["extremes"] == {"dearer": [], "cheaper": []}
    for rule in shown["rules"]:
        assert (rule["charged_terms"], rule["charged"]) == (rule["draft_terms"], rule["draft"])
    assert group(shown, "tier", "NONE")["charged"] == "1800.00"
    assert group(shown, "region", "CN-31-0115")["charged"] == "4320.00"
    assert group(shown, "age", "18-29")["terms"] == 1
    assert group(shown, "year", "2027")["charged"] == "2850.00"


async def test_who_pays_more_or_less_and_by_which_rule(db: Database):
    await insured(db, tier="HIGH")
    await insured(db, tier="LOW")
    await insured(db, tier="MEDIUM")
    _, shown = await back_test(
        db, with_rule("PRM-1", multipliers={"LOW": "0.6", "MEDIUM": "1.0", "HIGH": "1.5"})
    )
    assert group(shown, "tier", "HIGH")["change_percent"] == "25.00"
    assert group(shown, "tier", "LOW")["change"] == "-600.00"
    everybody = group(shown, "all", "all")
    assert (everybody["dearer"], everybody["cheaper"], everybody["same"]) == (1, 1, 1)
    assert (everybody["more"], everybody["less"]) == ("900.00", "600.00")
    [dearest] = shown["extremes"]["dearer"]
    assert (dearest["charged"], dearest["draft"]) == ("3600.00", "4500.00")
    assert dearest["rules"] == {"PRM-1": "900.00"}
    assert "member_id" not in dearest
    [cheapest] = shown["extremes"]["cheaper"]
    assert cheapest["change"] == "-600.00"
    bands = {it["change_percent"]: it["terms"] for it in shown["bands"]}
    assert (bands["20 to 30"], bands["-30 to -20"], bands["0"]) == (1, 1, 1)
    assert shown["mean_tier_multiplier"] == {"planned": "1.070", "actual": "1.033"}


async def test_what_a_term_carries_on_is_the_drafts_own(db: Database, owner_url: str):
    """Under the draft an improvement is worth 10 %, and the next year builds on that."""
    await two_terms(db)
    steeper = with_rule("PRM-6", percent="-10", percent_at_most="-30")
    _, shown = await back_test(db, steeper)
    assert group(shown, "year", "2027")["draft"] == "2700.00"
    # A third term in which nothing happens keeps what there was: 5 % in truth, 10 % in the draft.
    assert await renew(db, now=datetime(2028, 2, 29, 16, tzinfo=UTC)) == 1
    _, shown = await back_test(db, steeper)
    third = group(shown, "year", "2028")
    assert (third["charged"], third["draft"]) == ("2850.00", "2700.00")
    # And when only the third is asked about, it rests on the two before all the same.
    late = Period("chronic-care", date(2028, 1, 1), date(2028, 12, 31))
    _, shown = await back_test(db, steeper, late)
    assert shown["terms_before_the_period"] == 2
    assert group(shown, "all", "all")["draft"] == "2700.00"


async def test_facts_are_those_that_were_known_then(db: Database):
    member = await insured(db, tier="LOW")
    await assessed(db, member, "HIGH", at=BEGIN + timedelta(days=30))
    _, shown = await back_test(db, draft())
    assert group(shown, "tier", "LOW")["terms"] == 1


async def test_a_draft_may_look_at_what_the_product_in_force_did_not(db: Database):
    member = await insured(db, "starter")
    await two_readings(db, member, "SYSTOLIC_BP", "148", START)
    await two_readings(db, member, "SYSTOLIC_BP", "141", LAST)
    await year_closed(db, member)
    await renew(db)
    period = Period("starter", START, date(2028, 12, 31))
    _, shown = await back_test(db, draft(), period)
    assert group(shown, "year", "2027")["draft"] == "2850.00"
    assert {it["rule"] for it in shown["rules"] if it["draft_terms"]} >= {"PRM-1", "PRM-6"}


async def test_terms_without_a_price_say_why(db: Database):
    await insured(db, birth_date=date(1955, 1, 1))
    await insured(db)
    eligible = {"age_from": 18, "age_to": 60}
    table = [it for it in CARE.model_dump(mode="json")["base_premium"]["by_age"]
             if it["age_to"] <= 60]  # fmt: skip
    table.append({"age_from": 56, "age_to": 60, "amount": "3900.00"})
    _, shown = await back_test(
        db, draft(eligibility=eligible, base_premium={"by_age": table}), claims=None
    )
    assert shown["unpriced"]["reasons"] == {"TOO_OLD": 1}
    assert shown["unpriced"]["examples"] == [{"reason": "TOO_OLD", "term": "2026-03", "age": 71}]
    assert group(shown, "all", "all")["terms"] == 1
    _, shown = await back_test(db, draft(currency="THB"))
    assert shown["unpriced"]["reasons"] == {"OTHER_CURRENCY": 2}


async def test_a_cover_that_ended_counts_for_its_days(db: Database, owner_url: str):
    await insured(db)
    sql = "update policies set state = 'LAPSED', ended_on = :day"
    async with db.transaction() as session:
        from sqlalchemy import text

        await session.execute(text(sql), {"day": START + timedelta(days=72)})
    _, shown = await back_test(db, draft())
    assert group(shown, "all", "all")["charged"] == "600.00"  # 3000 x 73 / 365
    async with db.transaction() as session:
        await session.execute(text(sql), {"day": START - timedelta(days=1)})
    _, shown = await back_test(db, draft())
    assert shown["members"] == 0 and shown["terms"] == 0


# Claims


def claims_of(tmp_path: Path, text: str, currency: str = "CNY") -> backtest_claims.Claims:
    path = tmp_path / "claims.csv"
    path.write_text(text, encoding="utf-8")
    return backtest_claims.read(path, currency)


async def test_claims_of_members_make_a_loss_ratio(db: Database, tmp_path: Path):
    one, two = await insured(db, tier="HIGH"), await insured(db, tier="LOW")
    given = claims_of(
        tmp_path,
        f"member_id,date,amount\n{one},2026-04-01,1800.00\n{one},2026-12-31,0.50\n"
        f"{two},2026-02-28,100\n{uuid4()},2026-04-01,5\n{two},2026-04-31,5\nx,2026-04-01,5\n"
        f"{two},2026-04-01,-5\n{two},2026-04-01,5.001\n{two},2026-04-01\n{two},2026-04-01,NaN\n",
    )
    _, shown = await back_test(db, draft(operating_cost_percent="10"), claims=given)
    high = group(shown, "tier", "HIGH")
    assert high["claims"] == "1800.50"
    # (1800.50 + 360.00) / 3600.00
    assert high["loss_ratio_charged"] == high["loss_ratio_draft"] == "60.01"
    assert group(shown, "tier", "LOW")["loss_ratio_charged"] == "10.00"
    assert group(shown, "all", "all")["claims"] == "1800.50"
    rejected = {it["line"]: it["reason"] for it in shown["claims"]["rejected"]}
    assert list(rejected) == [4, 5, 6, 7, 8, 9, 10, 11]
    assert rejected[4] == rejected[5] == "no term of the period holds this member and day"
    assert rejected[6].startswith("date:") and rejected[7].startswith("member_id:")
    assert "2 decimals" in rejected[9] and "3 columns" in rejected[10]
    assert str(two) not in orjson.dumps(shown).decode()


async def test_sums_of_years_make_a_loss_ratio(db: Database, tmp_path: Path):
    await two_terms(db)
    given = claims_of(
        tmp_path, "year,amount,tier\n2026,2000,MEDIUM\n2027,1000,MEDIUM\n1999,1,LOW\n2026,1,BAD\n"
    )
    _, shown = await back_test(db, draft(operating_cost_percent=None), claims=given)
    assert group(shown, "year", "2026")["loss_ratio_charged"] == "66.67"
    assert group(shown, "year", "2027")["claims"] == "1000.00"
    assert group(shown, "tier", "MEDIUM")["loss_ratio_draft"] == "51.28"
    assert group(shown, "age", "50-59")["claims"] is None
    assert [it["line"] for it in shown["claims"]["rejected"]] == [4, 5]


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "member_id,amount\n", "year,amount,tier,tier\n", "year\n2026\n"]
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, text: str):
    with pytest.raises(backtest_claims.ClaimsUnreadable, match="header must be"):
        claims_of(tmp_path, text)


# However it is run


async def test_batches_and_processes_make_no_difference(
    db: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    member = await two_terms(db)
    for place in range(6):
        await insured(db, tier=list(Tier)[place % 3], birth_date=date(1960 + 5 * place, 1, 1))
    of = with_rule("PRM-1", multipliers={"LOW": "0.7", "MEDIUM": "1.1", "HIGH": "1.3"})
    text = f"member_id,date,amount\n{member},2026-04-01,100\n{uuid4()},2026-04-01,5\n"
    _, whole = await back_test(db, of, claims=claims_of(tmp_path, text))
    monkeypatch.setattr(backtest, "BATCH", 2)
    found, parts = await back_test(db, of, claims=claims_of(tmp_path, text))
    assert parts == whole and (found.done, found.total) == (7, 7)
    _, spread = await back_test(db, of, claims=claims_of(tmp_path, text), processes=2)
    assert spread == whole


async def test_the_number_of_statements_does_not_depend_on_the_members(db: Database):
    async def statements() -> int:
        with StatementCount(db) as count:
            await back_test(db, draft())
        return len(count)

    await insured(db)
    one = await statements()
    for _ in range(4):
        await insured(db)
    assert await statements() == one


async def test_the_command_writes_everything(db: Database, database_url: str, tmp_path: Path):
    member = await two_terms(db, "HIGH")
    claims = tmp_path / "claims.csv"
    claims.write_text(f"member_id,date,amount\n{member},2026-04-01,100\nx,2026-04-01,1\n")
    document = written(tmp_path, with_rule("PRM-1", multipliers={"LOW": "0.8", "MEDIUM": "1.0", "HIGH": "1.4"}))  # fmt: skip
    out = tmp_path / "out"
    ended = await command(
        database_url, [document, "--from", "2026-01-01", "--to", "2028-01-01", "--claims", claims,
                       "--output", out, "--processes", "1"]
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert f"{claims}:3: member_id: must be a UUID" in ended.stderr
    assert "2 terms" in ended.stdout and "HIGH" in ended.stdout
    shown = orjson.loads((out / "backtest.json").read_bytes())
    assert group(shown, "all", "all")["draft"] == "8190.00"
    for name, key in (("groups", "groups"), ("bands", "bands"), ("rules", "rules")):
        table = list(csv.DictReader(io.StringIO((out / f"{name}.csv").read_text("utf-8-sig"))))
        assert len(table) == len(shown[key])
    for language, heading in (("zh", "按风险等级"), ("en", "By risk tier")):
        page = (out / f"backtest.{language}.html").read_text(encoding="utf-8")
        assert heading in page and "<svg" in page and "8,190.00 CNY" in page
        assert "<script" not in page and "http" not in page and str(member) not in page
    named = await command(database_url, [document, "--to", "2028-01-01", "--output", out,
                                         "--processes", "1", "--with-ids"])  # fmt: skip
    assert named.returncode == 0, named.stderr
    assert str(member) in (out / "backtest.json").read_text()


async def test_the_command_refuses_what_cannot_be(db: Database, database_url: str, tmp_path: Path):
    document = written(tmp_path, draft())
    nobody = await command(database_url, [document])
    assert nobody.returncode == 1 and "No term of product 'chronic-care'" in nobody.stderr
    order = await command(database_url, [document, "--from", "2027-01-01", "--to", "2026-01-01"])
    assert order.returncode == 1 and "is after --to" in order.stderr
    bad = tmp_path / "bad.csv"
    bad.write_text("who,what\n")
    header = await command(database_url, [document, "--claims", bad])
    assert header.returncode == 1 and "the header must be" in header.stderr


def written(folder: Path, it: Product) -> Path:
    path = folder / "draft.yaml"
    document = it.model_dump(mode="json", exclude_defaults=True)
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return path


async def command(url: str, arguments: Sequence[object]) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "app.cli", "product", "backtest", *map(str, arguments)]
    environment = {**os.environ, "WELLWARD_DATABASE_URL": url}
    return await asyncio.to_thread(
        subprocess.run, line, env=environment, capture_output=True, text=True, timeout=120
    )
