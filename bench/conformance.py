"""`python -m bench.conformance`: graphql-core's own tests of its executor, run by ours.

The tests are those of the installed version, from its source distribution: a file that is given,
or what pip finds. Nothing of them is kept in the repository. `conformance.yaml` names the tests
that are left out and says why; a test that graphql-core's executor runs counts as left out.
"""

import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import yaml
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = Path(__file__).with_name("conformance.yaml")
LEFT_OUT_MAX = 0.05
"""Of the tests that execute something."""
PLUGINS = ("pytest-describe==3.2.0",)
"""How the tests are written; installed beside them, not with us."""
REPORT = "WELLWARD_CONFORMANCE_REPORT"
"""Names the file that the plugin writes."""
NOT_RUN = 77
"""Exit code when the tests cannot be had."""


class NotToBeHad(Exception):
    """Neither given nor found by pip."""


@dataclass(frozen=True, slots=True)
class Found:
    """How the tests fared, by their names."""

    compiled: Sequence[str]
    """Passed, and every operation in them ran on a plan."""
    without: Sequence[str]
    """Passed, and run no operation through what is replaced."""
    left_out: Mapping[str, str]
    """With the reason."""
    experimental: Sequence[str]
    """Of incremental delivery, which is no part of the language; handed over."""
    failed: Sequence[str]
    unexplained: Mapping[str, Sequence[str]]
    """Handed over, and named nowhere."""

    @property
    def share(self) -> float:
        executing = len(self.compiled) + len(self.left_out)
        return len(self.left_out) / executing if executing else 1.0

    @property
    def kept(self) -> bool:
        return not self.failed and not self.unexplained and self.share <= LEFT_OUT_MAX


def main(
    sdist: Annotated[
        Path | None, typer.Option(help="graphql-core's source distribution; else pip gets it.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where the tests are put.")] = ROOT
    / "var"
    / "conformance",
    output: Annotated[Path, typer.Option(help="Where the figures go.")] = ROOT
    / "var"
    / "conformance.json",
) -> None:
    """Exit code 1 when a test fails, 77 when the tests cannot be had."""
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False, soft_wrap=True)
    try:
        tests = _tests(sdist or _download(folder), folder)
        _install_plugins(folder)
    except NotToBeHad as error:
        console.print(f"NOT RUN: {error}", markup=False)
        raise typer.Exit(NOT_RUN) from None
    found = judge(_run(tests, folder), yaml.safe_load(LEFT_OUT.read_text("utf-8")))
    _tell(found, console)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(orjson.dumps(summary(found), option=orjson.OPT_INDENT_2))
    if not found.kept:
        raise typer.Exit(1)


def summary(found: Found) -> dict[str, Any]:
    return {
        "graphql_core": version("graphql-core"),
        "compiled": len(found.compiled),
        "without": len(found.without),
        "left_out": dict(found.left_out),
        "share_left_out": found.share,
        "experimental": len(found.experimental),
        "failed": list(found.failed),
        "unexplained": {name: list(why) for name, why in found.unexplained.items()},
        "kept": found.kept,
    }


def judge(tests: Mapping[str, Mapping[str, Any]], known: Mapping[str, Any]) -> Found:
    """`tests` as the plugin tells them, `known` as `conformance.yaml` has it."""
    compiled: list[str] = []
    without: list[str] = []
    experimental: list[str] = []
    failed: list[str] = []
    left_out: dict[str, str] = {}
    unexplained: dict[str, list[str]] = {}
    for name, test in tests.items():
        handed_over = [why for why in test.get("ran", ()) if why != "compiled"]
        reason = known["left_out"].get(name)
        if name.startswith(tuple(known["experimental"])) and (handed_over or not test.get("ran")):
            # Its failure is still a failure: graphql-core runs it, unchanged.
            (experimental if test["outcome"] == "passed" else failed).append(name)
        elif reason is not None:
            left_out[name] = reason
        elif test["outcome"] != "passed":
            failed.append(name)
        elif handed_over:
            unexplained[name] = handed_over
        else:
            (compiled if test.get("ran") else without).append(name)
    return Found(compiled, without, left_out, experimental, failed, unexplained)


def _tell(found: Found, console: Console) -> None:
    console.print(
        f"graphql-core {version('graphql-core')}, tests/execution: {len(found.compiled)} pass on"
        f" plans, {len(found.left_out)} are left out ({found.share:.1%}, at most"
        f" {LEFT_OUT_MAX:.0%}), {len(found.failed)} fail. Beside them {len(found.without)} run no"
        f" operation, and {len(found.experimental)} are of incremental delivery (experimental),"
        " which is handed over.",
        markup=False,
    )
    for name, reason in found.left_out.items():
        console.print(f"left out  {name}: {reason}", markup=False)
    for name in found.failed:
        console.print(f"FAILED    {name}", markup=False)
    for name, why in found.unexplained.items():
        console.print(f"NOT NAMED {name}: handed over, {', '.join(why)}", markup=False)


def _download(folder: Path) -> Path:
    """Raises NotToBeHad."""
    wanted = f"graphql-core=={version('graphql-core')}"
    _pip("download", "--no-deps", "--no-binary", "graphql-core", "-d", str(folder), wanted)
    found = sorted(folder.glob(f"graphql_core-{version('graphql-core')}.tar.gz"))
    if not found:
        raise NotToBeHad(f"pip found no source distribution of {wanted}.")
    return found[-1]


def _install_plugins(folder: Path) -> None:
    """Raises NotToBeHad."""
    target = folder / "plugins"
    if not target.exists():
        _pip("install", "--no-deps", "--target", str(target), *PLUGINS)


def _pip(*arguments: str) -> None:
    """Raises NotToBeHad."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise NotToBeHad(f"pip could not get it ({last}). Give a file with --sdist.")


def _tests(sdist: Path, folder: Path) -> Path:
    """The folder that has the tests. Raises NotToBeHad."""
    if not sdist.is_file():
        raise NotToBeHad(f"{sdist} is no file.")
    try:
        with tarfile.open(sdist) as archive:
            wanted = [it for it in archive.getmembers() if "/tests/" in it.name and it.isfile()]
            archive.extractall(folder, wanted, filter="data")
    except tarfile.TarError:
        raise NotToBeHad(f"{sdist} is no archive.") from None
    named = f"graphql_core-{version('graphql-core')}"
    if not (folder / named / "tests" / "execution").is_dir():
        raise NotToBeHad(f"{sdist.name} does not hold the tests of {named}.")
    return folder / named


def _run(tests: Path, folder: Path) -> dict[str, dict[str, Any]]:
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    paths = [str(ROOT), str(folder / "plugins")]
    command = [
        sys.executable, "-m", "pytest", "tests/execution", "-p", "bench.conformance_plugin",
        "-c", os.devnull, "--rootdir", ".", "-q", "-p", "no:cacheprovider",
        "-o", "asyncio_mode=strict", "-o", "python_classes=PyTest*",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), REPORT: str(report)}
    subprocess.run(command, check=False, cwd=tests, env=environment)
    found: dict[str, dict[str, Any]] = orjson.loads(report.read_bytes())
    return found


if __name__ == "__main__":
    typer.run(main)
