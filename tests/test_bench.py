"""The benchmark: what it loads is sound, servers are compared, and what it found is written."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from app import main as product
from app.adapters.embedded_postgres import APP_ROLE
from app.db import Database
from app.demo import bulk
from app.graphql import executor
from app.graphql.documents import TrustedDocuments, prepare
from app.graphql.executor import Plan
from app.graphql.limits import Limits
from app.points.reconcile import reconcile
from app.points.verify import verify
from app.schema import schema
from bench import agreement, chart, copies, core, population, publish, servers, sign_in, windows
from bench.floors import FLOORS, missed
from bench.operations import OPERATIONS, OURS, RAW, RAW_KEPT, Bench
from bench.population import Where
from bench.results import of_rounds
from bench.series import document_id
from bench.windows import Shape
from tests import database
from tests.factories import ISSUER, NOON, as_member

ROOT = Path(__file__).resolve().parent.parent


async def test_copies_are_as_sound_as_who_was_copied(
    db: Database, server: database.TestServer, database_name: str
) -> None:
    where = Where(server.url(database_name, APP_ROLE), server.superuser_url(database_name), None)
    originals = await bulk.load(db, members=3, days=3, issuer=ISSUER, now=NOON)
    told: list[int] = []

    async with population.as_superuser(where) as one, population.as_superuser(where) as other:
        made = await copies.copy([one, other], originals, 67, on_progress=told.append)
        rows = await copies.counts(one)

    assert (rows["members"], rows["points_transfers"]) == (70, 70 * 6)
    assert (len(made), told[-1]) == (67, 67)
    assert len({it.member_id for it in [*originals, *made]}) == 70
    *_, verified = [it async for it in verify(db, roots_path=None)]
    *_, reconciled = [it async for it in reconcile(db)]
    assert (verified.transfers, verified.first_bad) == (70 * 6, None)
    assert reconciled.differences == 0, reconciled.first


async def test_one_window_of_everything(
    server: database.TestServer, database_name: str, tmp_path: Path
) -> None:
    """On real servers, whose answers are compared first."""
    where = Where(server.url(database_name, APP_ROLE), server.superuser_url(database_name), None)
    now = datetime.now(UTC)  # noqa: TID251 - the servers read the clock too
    members = await population.make(
        where, members=40, days=26, now=now, console=Console(quiet=True)
    )

    found = await asyncio.to_thread(_measure, members, tmp_path)

    assert set(found) == set(OPERATIONS)
    for figures in found.values():
        assert figures["per_second"] > 0 and figures["raw_per_second"] > 0
        assert figures["ratio_raw"] > 0 and figures["ratio_raw_kept"] > 0
        assert figures["p99_to_p50"] >= 1
        assert figures["memory_mb"] > 10 and figures["server_cpu_ms"] >= 0
    text = _published(found, tmp_path)
    assert "| Home | wellward |" in text and "Written by hand." in text


def _measure(members: population.Population, folder: Path) -> dict[str, dict[str, float]]:
    found = {}
    shape = Shape(rounds=1, seconds=0.3, connections=2, warm_up_seconds=0.1, requests_max=20)
    with (
        sign_in.issuing() as issuer,
        windows.loading() as load,
        servers.raw_handler(members.where, folder / "raw.log") as raw,
        servers.raw_handler(members.where, folder / "kept.log", kept=True) as kept,
        servers.product(members.where, issuer, folder / "ours.log") as ours,
    ):
        bench = Bench(members, issuer, load, {OURS: ours, RAW: raw, RAW_KEPT: kept})
        bench.first_readings(connections=4, members=8)
        for name in OPERATIONS:
            bench.require_agreement(name, members=2)
            series = bench.series(name, shape, members=8)
            found[name] = of_rounds(windows.run(load, series, shape))
    return found


def _published(found: dict[str, dict[str, float]], root: Path) -> str:
    (root / "docs").mkdir()
    (root / "bench").mkdir()
    document = root / publish.DOCUMENT
    document.write_text(
        f"# Speed\n\n{publish.BEGIN}\n\nOld.\n\n{publish.END}\n\nWritten by hand.\n"
    )
    about = publish.Circumstances(
        day="2026-03-01", command="make bench", machine="a machine", load_before=0.1, cpus=2,
        rows={"members": 40, "tasks": 1, "checkins": 1, "points_transfers": 1}, load_seconds=1,
        connections=2, rounds=1, seconds=0.3, documents=1, layers=(("guard", 5.0),),
    )  # fmt: skip
    publish.publish(found, about, root)
    kept = orjson.loads((root / publish.LATEST).read_bytes())
    assert set(kept) == set(found)
    assert all(isinstance(it, float) for figures in kept.values() for it in figures.values())
    assert "<svg" in (root / publish.CHART).read_text()
    text = document.read_text()
    assert "Old." not in text
    return text


async def test_graphql_core_answers_the_same(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor that the benchmark puts in the place of ours."""
    [member] = await bulk.load(db, members=1, days=2, issuer=ISSUER, now=NOON)
    home = TrustedDocuments.load(product.OPERATIONS).by_id[document_id("Home")]

    async def answer() -> tuple[str | None, Any]:
        plan = prepare(schema, home, Limits()).plan
        context = as_member(db, member.member_id)
        return plan.unsupported, await executor.execute(plan, variables={}, context=context)

    compiled, ours = await answer()
    monkeypatch.setattr(Plan, "__init__", core.handing_over(Plan.__init__))
    handed_over, theirs = await answer()

    assert (compiled, handed_over) == (None, core.REASON)
    assert (ours.errors, theirs.errors) == (None, None)
    assert ours.data == theirs.data and ours.data["me"]["tasksToday"]


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": "1"}, [".a: 1 and '1'"]),
        ({"a": 1}, {"a": True}, [".a: 1 and True"]),
        ({"a": None}, {}, [".a is in one only"]),
        ({"a": [1, 2]}, {"a": [1]}, [".a: 2 and 1"]),
        ({"at": "2026-03-01T08:00:00.100000+00:00"}, {"at": "2026-03-01T08:00:00.1+00:00"}, []),
        (
            {"at": "2026-03-01T08:00:00+00:00"},
            {"at": "2026-03-01T08:00:01+00:00"},
            [".at: '2026-03-01T08:00:00+00:00' and '2026-03-01T08:00:01+00:00'"],
        ),
        ({"asOf": "2026-03-01T08:00:00+00:00"}, {"asOf": "2026-03-01T08:00:01+00:00"}, []),
    ],
)
def test_what_differs_is_named(one: Any, other: Any, told: list[str]) -> None:
    assert agreement.differences(one, other) == told


def test_a_missed_floor_is_said() -> None:
    found = {floor.operation: dict[str, float]() for floor in FLOORS}
    assert missed(found) == [] and all(it.kept(found) is None for it in FLOORS)
    for floor in FLOORS:
        found[floor.operation][floor.figure] = floor.limit
    assert missed(found) == []
    for floor in FLOORS:
        found[floor.operation][floor.figure] += 0.01 if floor.at_most else -0.01
    assert missed(found) == list(FLOORS)


def test_a_document_without_marks_is_not_written() -> None:
    with pytest.raises(ValueError, match="lost its marks"):
        publish.inserted("# Speed\n", "new")


def test_the_document_has_its_marks_and_the_chart_is_drawn() -> None:
    text = (ROOT / publish.DOCUMENT).read_text("utf-8")
    assert text.index(publish.BEGIN) < text.index(publish.END)
    assert "<rect" in chart.svg({"Home": {"ratio_raw": 0.8, "raw_per_second": 4000.0}})
