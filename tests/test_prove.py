"""`make prove` counts a promise as kept only when something was run and all of it held."""

from io import StringIO
from pathlib import Path

import orjson
import pytest
import typer
from rich.console import Console

from bench import promises, prove
from bench.promises import PROMISES, Promise
from tests import figures
from tests.figures import Figure

ROOT = Path(__file__).resolve().parent.parent
TOYS = """
import os
import time

import pytest

from tests.figures import record_figure


@pytest.mark.parametrize("at", [1, 2000])
def test_holds(at):
    assert os.environ["WELLWARD_PROVE"] == "1"
    record_figure("counted", at, "pushes")


def test_breaks():
    assert "what was" == "expected"


@pytest.mark.skip(reason="node is not installed")
def test_is_left_out():
    pass


def test_takes_long():
    time.sleep(600)
"""


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    """A file of tests outside the suite, run without its servers."""
    folder = tmp_path / "toys"
    folder.mkdir()
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\naddopts = -q\n")
    path = folder / "test_toys.py"
    path.write_text(TOYS)
    return path


def promise(text: str, path: Path, *names: str, minutes_max: float = 1) -> Promise:
    selections = tuple(f"{path}::{name}" for name in names) or (str(path),)
    return Promise(text, "a toy", promises.Tests(selections), minutes_max)


def quiet() -> Console:
    return Console(file=StringIO(), width=200)


def test_a_promise_is_kept_with_its_figures(toys: Path, tmp_path: Path) -> None:
    [found] = prove.prove([promise("Holds", toys, "test_holds")], tmp_path / "prove", quiet())

    assert (found.passed, found.remark) == (True, "2 tests")
    assert found.figures == [Figure("counted", 1, "pushes"), Figure("counted", 2000, "pushes")]
    assert 0 < found.seconds < 60
    console = Console(width=160, record=True, file=StringIO())
    console.print(prove.table([found]))
    assert "counted: 1 · 2,000 pushes" in console.export_text()


@pytest.mark.parametrize(
    ("names", "remark"),
    [
        (("test_holds", "test_breaks"), "2 tests, 1 failed"),
        # What was left out was not shown.
        (("test_holds", "test_is_left_out"), "2 tests, 1 not run"),
        (("test_is_left_out",), "0 tests, 1 not run"),
        (("test_that_nobody_wrote",), "0 tests"),
    ],
)
def test_a_promise_is_not_kept(
    toys: Path, tmp_path: Path, names: tuple[str, ...], remark: str
) -> None:
    [found] = prove.prove([promise("Fails", toys, *names)], tmp_path / "prove", quiet())
    assert (found.passed, found.remark) == (False, remark)


def test_what_is_not_finished_in_time_is_stopped_and_not_kept(toys: Path, tmp_path: Path) -> None:
    slow = promise("Slow", toys, "test_takes_long", minutes_max=0.05)
    [found] = prove.prove([slow], tmp_path / "prove", quiet())
    assert (found.passed, found.remark) == (False, "not finished within 0.05 minutes")
    assert found.seconds < 300


@pytest.mark.parametrize(("name", "code"), [("test_holds", 0), ("test_breaks", 1)])
def test_one_that_is_not_kept_ends_with_1_and_stands_in_the_file(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    toy = [promise("One", toys, "test_holds"), promise("Two", toys, name)]
    monkeypatch.setattr(prove, "PROMISES", toy)
    output = tmp_path / "var" / "prove.json"
    ended = 0
    try:
        prove.main(only=None, output=output)
    except typer.Exit as exit:
        ended = exit.exit_code

    kept = orjson.loads(output.read_bytes())
    assert (ended, kept["passed"]) == (code, code == 0)
    assert [(it["promise"], it["passed"]) for it in kept["promises"]] == [
        ("One", True),
        ("Two", code == 0),
    ]
    assert kept["promises"][0]["figures"][1] == {
        "name": "counted",
        "value": 2000,
        "unit": "pushes",
    }
    assert "test_toys.py" in Path(kept["promises"][1]["log"]).read_text() or code == 0


def test_a_benchmark_is_judged_by_its_floors(tmp_path: Path) -> None:
    speed = promises.Speed("PointsHistory")
    windows = {"per_second": 812.4, "p99_ms": 61.23}
    for ratio, kept in ((0.65, True), (0.649, False)):
        found = {"operations": {"PointsHistory": {"ratio_raw": ratio, **windows}}}
        (tmp_path / "bench.json").write_bytes(orjson.dumps(found))
        passed, remark, measured = prove._of_speed(speed, tmp_path, 0)
        assert passed is kept and ("missed" in remark) is not kept
        assert [it.value for it in measured] == [round(ratio, 2), 812, 61.2]
    assert prove._of_speed(speed, tmp_path, 1)[0] is False


def test_a_floor_that_was_not_measured_is_not_kept(tmp_path: Path) -> None:
    found = {"operations": {"Home": {"ratio_raw": 0.9, "per_second": 1, "p99_ms": 1}}}
    (tmp_path / "bench.json").write_bytes(orjson.dumps(found))
    passed, remark, _ = prove._of_speed(promises.Speed("Home", full=True), tmp_path, 0)
    assert not passed and "10 M" in remark


def test_every_promise_names_tests_that_exist() -> None:
    for found in PROMISES:
        for selection in found.by.selections if isinstance(found.by, promises.Tests) else ():
            path, _, name = selection.partition("::")
            assert (ROOT / path).exists(), selection
            assert f"def {name}(" in (ROOT / path).read_text() or not name, selection


def test_without_the_variable_nothing_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(figures.VARIABLE, raising=False)
    figures.record_figure("lost", 1)
    assert figures.read_figures(tmp_path / "none.jsonl") == []
