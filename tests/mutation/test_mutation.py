"""Would a test notice a mistake in the ledger? `make prove` tries each one in the rules and in
what moves points; here, only that `docs/mutation.md` is about the code as it is."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.database import TestServer
from tests.figures import record_figure
from tests.mutation.__main__ import ROOT, Mutant, percent, tried
from tests.processes import FULL_COUNTS

KILLED_PERCENT_MIN = 90


def explained() -> Counter[tuple[str, str]]:
    """(function, change) of each survivor that the documentation shows as a diff."""
    found: Counter[tuple[str, str]] = Counter()
    page = (ROOT / "docs" / "mutation.md").read_text("utf-8")
    for function, text in re.findall(
        r"^### `(.+?)`\n(.+?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL
    ):
        for block in re.findall(r"^```diff\n(.+?)\n```$", text, re.MULTILINE | re.DOTALL):
            found.update((function, change) for change in block.split("\n\n"))
    return found


@pytest.mark.skipif(not FULL_COUNTS, reason="minutes; WELLWARD_PROVE=1")
@pytest.mark.timeout(3600)
def test_nine_of_ten_mistakes_in_the_rules_are_noticed(tmp_path: Path) -> None:
    mutants = tried("rules", tmp_path)
    record_figure(
        f"of {len(mutants)} mistakes in the rules noticed", round(percent(mutants), 1), "%"
    )
    modules = {it.function.split(".")[0] for it in mutants}
    assert modules == {"rules", "book", "caps", "levels", "moves"}
    for module in modules:
        of_module = [it for it in mutants if it.function.startswith(f"{module}.")]
        assert percent(of_module) >= KILLED_PERCENT_MIN, _survivors(of_module)
    found = Counter((it.function, it.change) for it in _survivors(mutants))
    assert not found - explained(), "survivors that nobody has explained"


@pytest.mark.skipif(not FULL_COUNTS, reason="minutes; WELLWARD_PROVE=1")
@pytest.mark.timeout(3600)
def test_nine_of_ten_mistakes_in_the_service_are_noticed(
    tmp_path: Path, server: TestServer
) -> None:
    mutants = tried("service", tmp_path)
    record_figure(
        f"of {len(mutants)} mistakes in the service noticed", round(percent(mutants), 1), "%"
    )
    assert len(mutants) >= 1000
    assert percent(mutants) >= KILLED_PERCENT_MIN, _survivors(mutants)


def test_whatever_is_explained_is_in_the_code() -> None:
    """So that the explanations do not outlive it."""
    shown = explained()
    assert shown
    for function, change in shown:
        module = function.split(".")[0]
        code = (ROOT / "app" / "points" / f"{module}.py").read_text("utf-8")
        lines = {line.strip() for line in code.splitlines()}
        before = {line[2:] for line in change.splitlines() if line.startswith("- ")}
        assert before and before <= lines, (function, change)
        name = function.split(".")[-1]
        assert re.search(rf"def {name}\b", code), function


def _survivors(mutants: list[Mutant]) -> list[Mutant]:
    return [it for it in mutants if not it.killed]
