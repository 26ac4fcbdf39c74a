"""What counts as conforming, and that tests which cannot be had are said to be so."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from rich.console import Console

from bench import conformance, promises, prove
from bench.conformance import LEFT_OUT_MAX, NOT_RUN, judge

KNOWN = {"experimental": ["parts/"], "left_out": {"a.py::known": "for a reason"}}


def told(outcome: str, *ran: str) -> dict[str, Any]:
    return {"outcome": outcome, "ran": list(ran)}


def test_tests_are_told_apart_by_what_ran_them() -> None:
    many = {f"a.py::{number}": told("passed", "compiled") for number in range(19)}
    found = judge(
        many
        | {
            "a.py::known": told("passed", "@defer"),
            "a.py::nothing": told("passed"),
            "parts/a.py::handed": told("passed", "@defer"),
            "parts/a.py::nothing": told("passed"),
        },
        KNOWN,
    )
    assert len(found.compiled) == 19
    assert (found.left_out, found.without) == ({"a.py::known": "for a reason"}, ["a.py::nothing"])
    assert found.experimental == ["parts/a.py::handed", "parts/a.py::nothing"]
    assert found.share == pytest.approx(1 / 20) and found.kept


@pytest.mark.parametrize(
    "broken",
    [
        {"a.py::other": told("failed", "compiled")},
        {"parts/a.py::other": told("failed", "@defer")},
        # Handed over, and nobody has said why that may be.
        {"a.py::other": told("passed", "compiled", "@defer")},
        # One of two is more than may be left out.
        {"a.py::known": told("passed", "@defer")},
    ],
)
def test_one_that_fails_or_is_not_named_breaks_it(broken: dict[str, Any]) -> None:
    good = {"a.py::good": told("passed", "compiled")}
    assert judge(good, KNOWN).kept
    assert not judge(good | broken, KNOWN).kept


def test_what_is_left_out_has_a_reason_each() -> None:
    known = yaml.safe_load(conformance.LEFT_OUT.read_text("utf-8"))
    assert all(isinstance(reason, str) and reason for reason in known["left_out"].values())
    assert LEFT_OUT_MAX == 0.05


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_tests_that_cannot_be_had_are_not_run(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sdist = tmp_path / "graphql_core.tar.gz"
    if content is not None:
        sdist.write_bytes(content)
    with pytest.raises(typer.Exit) as ended:
        conformance.main(sdist=sdist, folder=tmp_path / "tests", output=tmp_path / "figures.json")
    assert ended.value.exit_code == NOT_RUN
    assert "NOT RUN: graphql_core.tar.gz" in capsys.readouterr().out.replace(f"{tmp_path}/", "")
    assert not (tmp_path / "figures.json").exists()


def test_a_promise_that_could_not_be_tried_is_neither_kept_nor_broken(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    log.write_text("...\nNOT RUN: pip could not get it.\n")
    passed, remark, figures = prove._of_conformance(tmp_path, NOT_RUN, log)
    assert (passed, remark, figures) == (False, "NOT RUN: pip could not get it.", ())

    promise = next(it for it in promises.PROMISES if isinstance(it.by, promises.Conformance))
    shown = prove.Shown(promise.text, promise.shown, False, remark, (), 1.0, str(log), skipped=True)
    console = Console(width=160, record=True, file=StringIO())
    console.print(prove.table([shown]))
    assert "not run" in console.export_text()
