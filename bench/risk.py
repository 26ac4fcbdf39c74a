"""`python -m bench.risk`: everybody assessed anew, members a second.

Members come by COPY with an examination of nine values, a week of blood pressure at home and
six answered questionnaires each; then all of them are assessed, and once more with nothing
changed.
"""

import asyncio
import os
import random
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import orjson
import typer
from rich.console import Console

from app.adapters.embedded_postgres import DATABASE, SUPERUSER, EmbeddedPostgres
from app.config import Settings
from app.db import Database
from app.ids import new_id
from app.place import Place
from app.risk import everybody
from bench.ledger_report import Figure, markdown, table

ROOT = Path(__file__).resolve().parent.parent
COPY = 2_000
_EXAMINATION = {
    "SYSTOLIC_BP": (126, 16, "mm[Hg]"), "DIASTOLIC_BP": (78, 10, "mm[Hg]"),
    "BMI": (24.5, 3.5, "kg/m2"), "WAIST": (84, 9, "cm"), "TOTAL_CHOLESTEROL": (4.8, 0.9, "mmol/L"),
    "HDL": (1.3, 0.3, "mmol/L"), "TRIGLYCERIDES": (1.5, 0.5, "mmol/L"),
    "FASTING_GLUCOSE": (5.5, 0.7, "mmol/L"), "CREATININE": (72, 14, "umol/L"),
}  # fmt: skip
"""Mean, deviation and unit of made-up values."""
_HOME = {code: _EXAMINATION[code] for code in ("SYSTOLIC_BP", "DIASTOLIC_BP")}
_YES_NO = (["true"], ["false"])


def main(
    members: Annotated[int, typer.Option(min=500)] = 100_000,
    output: Annotated[Path, typer.Option(help="Where the figures go.")] = ROOT
    / "var"
    / "bench-risk.json",
) -> None:
    console = Console(stderr=True, highlight=False)
    figures = asyncio.run(_measure(members, console))
    Console(width=120).print(table(figures))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(
        orjson.dumps(
            {"members": members, "markdown": markdown(figures)}, option=orjson.OPT_INDENT_2
        )
    )


async def _measure(members: int, console: Console) -> list[Figure]:
    now = datetime.now(UTC)  # noqa: TID251 - the benchmark is an edge
    figures = [
        Figure("load of the machine before", os.getloadavg()[0], "", f"{os.cpu_count()} CPUs")
    ]
    with TemporaryDirectory(prefix="wellward-bench-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", bin_dir=Settings().pg_bin)
        place = Place("", "", server).start()
        try:
            await place.migrate()
            owner = await asyncpg.connect(server.dsn(DATABASE, SUPERUSER))
            with console.status(f"Loading {members:,} members"):
                await _load(owner, members, now)
                await owner.execute("vacuum analyze")
            await owner.close()
            db = Database.open(place.database_url)
            try:
                for name in ("first", "again, nothing changed"):
                    with console.status(f"Assessing, {name}"):
                        figures.append(await _assess(db, name, now))
            finally:
                await db.close()
        finally:
            server.remove()
    return figures


async def _assess(db: Database, name: str, now: datetime) -> Figure:
    began, busy = time.perf_counter(), time.process_time()
    progress = [it async for it in everybody.reassess(db, now=now)][-1]
    seconds = time.perf_counter() - began
    cpu = 1000 * (time.process_time() - busy) / progress.done
    note = (
        f"{progress.done:,} members in {seconds:.0f} s, {progress.changed:,} changed; "
        f"{cpu:.2f} ms of Python each"
    )
    return Figure(f"assessed a second, {name}", progress.done / seconds, "members", note)


async def _load(owner: "asyncpg.Connection[Any]", members: int, now: datetime) -> None:
    dice = random.Random(1)
    for start in range(0, members, COPY):
        ids = [new_id(now) for _ in range(min(COPY, members - start))]
        await _copy(owner, "members", [_member(id, dice, now) for id in ids])
        await _copy(owner, "consents", [_consent(id, now) for id in ids])
        readings = [it for id in ids for it in _readings(id, dice, now)]
        await _copy(owner, "measurements", readings)
        answers = [it for id in ids for it in _answers(id, dice, now)]
        await _copy(owner, "questionnaire_responses", answers)


async def _copy(owner: "asyncpg.Connection[Any]", name: str, rows: list[dict[str, Any]]) -> None:
    columns = list(rows[0])
    records = [tuple(row[it] for it in columns) for row in rows]
    await owner.copy_records_to_table(name, records=records, columns=columns)


def _member(id: UUID, dice: random.Random, now: datetime) -> dict[str, Any]:
    born = now.date() - timedelta(days=dice.randint(20 * 365, 75 * 365))
    return {
        "member_id": id, "display_name": "x", "birth_date": born,
        "sex": dice.choice(("FEMALE", "MALE")), "time_zone": "Asia/Shanghai", "locale": "zh-CN",
        "region": dice.choice(("CN-11", "CN-31", "CN-44")), "created_at": now,
    }  # fmt: skip


def _consent(id: UUID, now: datetime) -> dict[str, Any]:
    return {
        "member_id": id, "purpose": "HEALTH_DATA", "version": 1, "state": "GRANTED",
        "text_version": "1", "recorded_at": now, "recorded_by": id,
    }  # fmt: skip


def _readings(id: UUID, dice: random.Random, now: datetime) -> list[dict[str, Any]]:
    examined = now - timedelta(days=dice.randint(1, 300))
    found = [_reading(id, code, examined, "CLINICAL", dice) for code in _EXAMINATION]
    for days in range(7):
        at = now - timedelta(days=days, hours=2)
        found += [_reading(id, code, at, "SENSED", dice) for code in _HOME]
    return found


def _reading(id: UUID, code: str, at: datetime, method: str, dice: random.Random) -> dict[str, Any]:
    mean, deviation, unit = _EXAMINATION[code]
    value = Decimal(str(round(dice.gauss(mean, deviation), 2)))
    clinical = method == "CLINICAL"
    return {
        "member_id": id, "id": new_id(at), "code": code, "value": value, "unit": unit,
        "sent_value": str(value), "sent_unit": unit, "measured_at": at, "local_date": at.date(),
        "recorded_at": at, "method": method, "source_id": "clinic" if clinical else "monitor",
        "trust": "HIGH" if clinical else "MEDIUM",
        "channel": "EXAMINATION" if clinical else "APP",
    }  # fmt: skip


def _answers(id: UUID, dice: random.Random, now: datetime) -> list[dict[str, Any]]:
    relatives = [["none"], ["none"], ["father"], ["second_degree"]]
    forms = {
        "health-declaration": {
            "diagnoses": dice.choice((["none"],) * 9 + (["hypertension"],)),
            "high_glucose_ever": dice.choice(_YES_NO), "gestational_diabetes": ["no"],
            "blood_pressure_medication": ["false"], "glucose_medication": ["false"],
            "statin": ["false"], "residence": ["urban"],
        },
        "family-history": {
            it: dice.choice(relatives) for it in ("diabetes", "hypertension", "cardiovascular")
        },
        "smoking": dice.choice(({"status": ["never"]}, {"status": ["current"], "years": ["12"]})),
        "activity": {
            "active_daily": dice.choice(_YES_NO), "moderate_days": [str(dice.randint(1, 7))],
            "moderate_minutes": ["40"], "vigorous_minutes": ["0"],
        },
        "diet": {"vegetables_daily": ["true"]},
        "alcohol": {"frequency": ["never"]},
    }  # fmt: skip
    return [
        {
            "member_id": id, "id": new_id(now), "code": code, "version": "1", "place": 1,
            "answers": orjson.dumps(answers).decode(), "scores": "{}", "answered_at": now,
            "answered_by": id,
        }
        for code, answers in forms.items()
    ]  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
