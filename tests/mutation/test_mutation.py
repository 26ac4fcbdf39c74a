"""Would the tests notice a mistake in the rules of the ledger? `make prove` tries them all, and
some of those in what moves points; `docs/mutation.md` explains what survives."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.database import RUN_VARIABLE
from tests.figures import VARIABLE, record_figure
from tests.mutation.mutants import mutants
from tests.processes import FULL_COUNTS

ROOT = Path(__file__).resolve().parents[2]
EXPLAINED = ROOT / "docs" / "mutation.md"
KILLED_PERCENT_MIN = 90
RULES = ("rules", "caps", "levels", "moves", "book")
OF_RULES = (
    "tests/test_points_codes.py", "tests/test_points_rules.py", "tests/test_points_book.py",
    "tests/test_points_holds.py", "tests/test_points_corrections.py",
    "tests/test_points_account.py",
)  # fmt: skip
SERVICE = ("earning", "posting", "holds", "corrections", "expiry", "due_holds")
OF_SERVICE = (
    "tests/test_points_holds.py", "tests/test_points_corrections.py",
    "tests/test_points_expiry.py", "tests/test_ledger.py", "tests/test_points_notices.py",
)  # fmt: skip
SAMPLE = 60


def explained() -> Counter[tuple[str, str, str]]:
    """(module, change, line) of each survivor that the documentation lists, `like this`."""
    cells = re.findall(
        r"^\| `(\w+)` \| (.+?) \| `(.+?)` \|", EXPLAINED.read_text("utf-8"), re.MULTILINE
    )
    return Counter(cells)


def tried(folder: Path, modules: tuple[str, ...], tests: tuple[str, ...], *options: str) -> Any:
    """The outcomes, as JSON."""
    found = folder / "outcomes.json"
    command = [sys.executable, "-m", "tests.mutation"]
    command += [f"app/points/{name}.py" for name in modules]
    command += [option for test in tests for option in ("--tests", test)]
    command += ["--output", str(found), *options]
    # Of the full counts each mutant would take minutes.
    dropped = {"WELLWARD_PROVE", VARIABLE, RUN_VARIABLE}
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return orjson.loads(found.read_bytes())


@pytest.mark.skipif(not FULL_COUNTS, reason="minutes; WELLWARD_PROVE=1")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("modules", [RULES, SERVICE], ids=["rules", "service"])
def test_nine_of_ten_mistakes_are_noticed(tmp_path: Path, modules: tuple[str, ...]) -> None:
    rules = modules == RULES
    options = () if rules else ("--sample", str(SAMPLE))
    outcomes = tried(tmp_path, modules, OF_RULES if rules else OF_SERVICE, *options)

    survivors = [it for it in outcomes if not it["killed"]]
    percent = 100 * (1 - len(survivors) / len(outcomes))
    name = "mistakes in the rules" if rules else f"of {SAMPLE} mistakes in the service"
    record_figure(f"{name} noticed", round(percent, 1), "%")
    assert percent >= KILLED_PERCENT_MIN, survivors
    if rules:
        found = Counter((Path(it["module"]).stem, it["change"], it["text"]) for it in survivors)
        assert not found - explained(), "survivors that nobody has explained"


def test_whoever_is_explained_is_still_a_mutant() -> None:
    """So that the documentation does not outlive the code."""
    known = {
        (name, it.change, it.text)
        for name in RULES
        for it in mutants(ROOT / "app" / "points" / f"{name}.py")
    }
    assert set(explained()) <= known


def test_a_mistake_is_made_in_one_place_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        '"""Text."""\n'
        "LIMIT = 5\n\n"
        "def within(points: int, left: int) -> int:\n"
        '    """More text."""\n'
        '    assert points >= 0, "never"\n'
        "    if points > left and not left < 0:\n"
        "        return min(points, left)\n"
        "    return points + LIMIT\n"
    )
    found = [(it.line, it.change) for it in mutants(path)]

    assert found == sorted(found, key=lambda it: it[0])
    assert set(found) == {
        (2, "5 + 1"),
        *((6, change) for change in ("GtE to Gt", "GtE to Lt", "0 + 1", "statement dropped")),
        *((7, change) for change in ("condition negated", "and to or", "not dropped", "0 + 1")),
        *((7, change) for change in ("Gt to GtE", "Gt to LtE", "Lt to LtE", "Lt to GtE")),
        *((8, change) for change in ("returns None", "min to max")),
        *((9, change) for change in ("returns None", "Add to Sub")),
    }
    assert len(found) == 17
