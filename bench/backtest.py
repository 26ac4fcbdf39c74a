"""`python -m bench.backtest`: a back-test of a synthetic portfolio, and prices from stored facts.

Members come by COPY with a term for each year, priced by the engine as a renewal would be: an
assessment, twelve closed months and readings in each month of each term, and the premium with
its facts. Then the shipped product, with another multiplier, is run over all of it.
"""

import asyncio
import os
import random
import resource
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import orjson
import typer
from rich.console import Console

from app import civil_time
from app.adapters.embedded_postgres import DATABASE, SUPERUSER, EmbeddedPostgres
from app.config import Settings
from app.db import Database
from app.ids import new_id
from app.members.rules import Sex
from app.place import Place
from app.premiums import backtest, engine, facts_json, pricing, product, rules
from app.premiums.backtest_history import Period
from app.premiums.facts import Assessed, Facts, Moment, MonthOfReadings, Participated, Series
from app.premiums.pricing import Due, Known
from app.premiums.product import PRODUCTS, Product
from app.progress import bar
from app.risk.rulesets import Tier
from bench.ledger_report import Figure, table

ROOT = Path(__file__).resolve().parent.parent
COPY = 500
FIRST = date(2024, 3, 1)
READINGS = (("SYSTOLIC_BP", "mm[Hg]", 128, 8), ("BMI", "kg/m2", 25, 1))
"""Code, unit, mean and deviation; two readings of each a month."""
CARE = product.read(PRODUCTS / "chronic-care-1.0.0.yaml")


def main(
    member_years: Annotated[int, typer.Option(min=1000)] = 100_000,
    years: Annotated[int, typer.Option(min=1, max=6, help="Terms of each member.")] = 4,
    processes: Annotated[int, typer.Option(min=1)] = os.cpu_count() or 1,
    output: Annotated[Path, typer.Option(help="Where the figures go.")] = ROOT
    / "var"
    / "bench-backtest.json",
) -> None:
    console = Console(stderr=True, highlight=False)
    figures = asyncio.run(_measure(member_years // years, years, processes, console))
    Console(width=130).print(table(figures))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(
        orjson.dumps(
            [{"name": it.name, "value": it.value, "unit": it.unit, "remark": it.remark}
             for it in figures], option=orjson.OPT_INDENT_2
        )
    )  # fmt: skip


async def _measure(members: int, years: int, processes: int, console: Console) -> list[Figure]:
    figures = [Figure("load before", os.getloadavg()[0], "", f"{os.cpu_count()} CPUs")]
    with TemporaryDirectory(prefix="wellward-bench-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", bin_dir=Settings().pg_bin)
        place = Place("", "", server).start()
        try:
            await place.migrate()
            owner = await asyncpg.connect(server.dsn(DATABASE, SUPERUSER))
            with bar(console, "Loading members") as progress:
                await _load(owner, members, years, progress)
            await owner.execute("vacuum analyze")
            db = Database.open(place.database_url)
            try:
                figures.append(await _stored(owner))
                figures += await _back_test(db, members, years, processes, console)
            finally:
                await db.close()
            await owner.close()
        finally:
            server.remove()
    return figures


async def _stored(owner: "asyncpg.Connection[Any]") -> Figure:
    """Members a second, priced from the facts that their premiums keep; one process."""
    rows = await owner.fetch("select facts from premiums where number > 1 limit 5000")
    began = time.perf_counter()
    for (stored,) in rows:
        engine.price(CARE, facts_json.read(stored), words=False)
    seconds = time.perf_counter() - began
    facts = [facts_json.read(stored) for (stored,) in rows]
    began = time.perf_counter()
    for it in facts:
        engine.price(CARE, it, words=False)
    alone = time.perf_counter() - began
    remark = f"with reading the facts; {len(rows) / alone:,.0f} without"
    return Figure("priced a second from stored facts", len(rows) / seconds, "members", remark)


async def _back_test(
    db: Database, members: int, years: int, processes: int, console: Console
) -> list[Figure]:
    document = CARE.model_dump(mode="json")
    for rule in document["rules"]:
        if rule["kind"] == "tier":
            rule["multipliers"]["HIGH"] = "1.3"
    draft = Product.model_validate({**document, "version": "9.0.0"})
    period = Period(CARE.code, FIRST, rules.add_months(FIRST, 12 * years))
    began, found = time.perf_counter(), None
    with bar(console, "Back-test") as progress:
        async for found in backtest.run(db, draft, period, processes=processes):
            progress(found.done, found.total)
    seconds = time.perf_counter() - began
    assert found is not None
    everybody = found.tally.cells["all", "all"]
    assert everybody.terms == members * years and not found.tally.unpriced
    per_second = everybody.terms / seconds
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        Figure("back-test a second", per_second, "member-years",
               f"{everybody.terms:,} in {seconds:.0f} s, {processes} processes; "
               f"{everybody.dearer:,} dearer"),
        Figure("100,000 member-years would take", 100_000 / per_second, "s"),
        Figure("peak memory of the parent", megabytes, "MB", "with loading the portfolio"),
        Figure("load after", os.getloadavg()[0]),
    ]  # fmt: skip


async def _load(
    owner: "asyncpg.Connection[Any]", members: int, years: int, progress: Callable[[int, int], None]
) -> None:
    dice = random.Random(1)
    version = await owner.fetchval(
        "select id from product_versions where code = $1 and version = $2", CARE.code, CARE.version
    )
    for start in range(0, members, COPY):
        rows: dict[str, list[dict[str, Any]]] = {}
        for _ in range(min(COPY, members - start)):
            _member(rows, version, years, dice)
        for name, found in rows.items():
            columns = list(found[0])
            records = [tuple(row[it] for it in columns) for row in found]
            await owner.copy_records_to_table(name, records=records, columns=columns)
        progress(min(start + COPY, members), members)


def _member(rows: dict[str, list[Any]], version: UUID, years: int, dice: random.Random) -> None:
    at = datetime.combine(FIRST, datetime.min.time(), UTC) + timedelta(hours=1)
    member_id, policy_id = new_id(at), new_id(at)
    born = date(dice.randint(1955, 2000), 1, 1)
    region = dice.choice(("CN-11", "CN-31", "CN-42"))
    rows.setdefault("members", []).append({
        "member_id": member_id, "display_name": "x", "birth_date": born, "sex": "FEMALE",
        "time_zone": "Asia/Shanghai", "locale": "zh-CN", "region": region, "created_at": at,
    })  # fmt: skip
    rows.setdefault("consents", []).append({
        "member_id": member_id, "purpose": "HEALTH_DATA", "version": 1, "state": "GRANTED",
        "text_version": "1", "recorded_at": at, "recorded_by": member_id,
    })  # fmt: skip
    last = rules.term(FIRST, years - 1, months=12)
    rows.setdefault("policies", []).append({
        "member_id": member_id, "id": policy_id, "product_version_id": version,
        "state": "IN_FORCE", "started_on": FIRST,
        "term_ends_at": datetime.combine(last.ends_on, datetime.min.time(), UTC),
        "created_at": at, "payer": "MEMBER", "frequency": "ANNUAL", "events": 0,
    })  # fmt: skip
    carried: dict[str, Decimal] = {}
    before: Facts | None = None
    for number in range(years):
        before, carried = _term(
            rows, number, before, carried, dice, ids=(member_id, policy_id, version),
            born=born, region=region,
        )  # fmt: skip


def _term(
    rows: dict[str, list[Any]],
    number: int,
    before: Facts | None,
    carried: dict[str, Decimal],
    dice: random.Random,
    *,
    ids: tuple[UUID, UUID, UUID],
    born: date,
    region: str,
) -> tuple[Facts, dict[str, Decimal]]:
    """A term, and all that was known of the one before it when it was priced."""
    member_id, policy_id, version = ids
    term = rules.term(FIRST, number, months=12)
    as_of = datetime.combine(term.starts_on, datetime.min.time(), UTC) + timedelta(hours=1)
    tier = dice.choices((Tier.LOW, Tier.MEDIUM, Tier.HIGH), (2, 5, 3))[0]
    assessed = Assessed(tier, as_of - timedelta(hours=1), str(new_id(as_of)))
    rows.setdefault("risk_assessments", []).append({
        "member_id": member_id, "id": UUID(assessed.assessment_id),
        "assessed_at": assessed.assessed_at, "local_date": term.starts_on, "rules_version": "1",
        "cause": "READING", "tier": tier.value, "matched": [], "inputs": "{}",
        "classes": '{"areas": {}, "groups": []}', "results": "{}",
    })  # fmt: skip
    ending = rules.term(FIRST, number - 1, months=12) if number else None
    months: tuple[Participated, ...] = ()
    series: tuple[Series, ...] = ()
    if ending is not None:
        months, series = _year(rows, member_id, ending.starts_on, dice)
    facts = Facts(
        moment=Moment.RENEWAL if ending else Moment.ENROLMENT,
        as_of=as_of, effective_on=term.starts_on, age=civil_time.completed_years(born, term.starts_on),
        sex=Sex.FEMALE, region=region, tier=assessed,
        tier_at_start=before.tier if before is not None else None, ending=ending,
        participation=months, series=series, carried=carried,
    )  # fmt: skip
    due = Due(member_id, policy_id, version, CARE, facts.moment, number + 1, term, ending)
    priced = engine.price(CARE, facts)
    row = pricing.row(Known(due, facts, priced), new_id(as_of))
    for name in ("lines", "carry", "facts"):
        row[name] = orjson.dumps(row[name]).decode()
    rows.setdefault("premiums", []).append(row)
    rows.setdefault("policy_terms", []).append({
        "member_id": member_id, "policy_id": policy_id, "starts_on": term.starts_on,
        "ends_on": term.ends_on, "base": priced.base, "total": priced.total, "currency": "CNY",
        "adjustment_percent": priced.adjustment_percent, "created_at": as_of,
    })  # fmt: skip
    return facts, dict(priced.carry)


def _year(
    rows: dict[str, list[Any]], member_id: UUID, starts_on: date, dice: random.Random
) -> tuple[tuple[Participated, ...], tuple[Series, ...]]:
    """Twelve months of participation and readings."""
    months, found = [], {code: list[MonthOfReadings]() for code, *_ in READINGS}
    drift = dice.gauss(0, 4)
    for place in range(12):
        month = rules.add_months(starts_on, place)
        closed = datetime.combine(rules.add_months(month, 1), datetime.min.time(), UTC)
        percent = Decimal(dice.randint(40, 100))
        months.append(Participated(month, percent))
        rows.setdefault("participation_months", []).append({
            "member_id": member_id, "month": month, "due": 20, "done": 10, "paused": 0,
            "percent": percent, "closes_at": closed, "closed_at": closed, "changed_at": closed,
        })  # fmt: skip
        for code, unit, mean, deviation in READINGS:
            values = [Decimal(round(dice.gauss(mean, deviation) + drift * place / 12, 1)).quantize(
                Decimal("0.1")) for _ in range(2)]  # fmt: skip
            days = [month.replace(day=5), month.replace(day=20)]
            for value, day in zip(values, days, strict=True):
                at = datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=2)
                rows.setdefault("measurements", []).append({
                    "member_id": member_id, "id": new_id(at), "code": code, "value": value,
                    "unit": unit, "sent_value": str(value), "sent_unit": unit, "measured_at": at,
                    "local_date": day, "recorded_at": at, "method": "SENSED",
                    "source_id": "monitor", "trust": "MEDIUM", "channel": "APP",
                })  # fmt: skip
            found[code].append(MonthOfReadings(month, 2, 2, sum(values, Decimal(0)), *days))
    series = tuple(Series(code, None, unit, tuple(found[code])) for code, unit, *_ in READINGS)
    return tuple(months), series


if __name__ == "__main__":
    typer.run(main)
