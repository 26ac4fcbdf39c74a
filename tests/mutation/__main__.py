"""`python -m tests.mutation rules`: which mistakes in the code does no test notice?

mutmut makes them, one at a time in a copy of the files, and runs the tests that come through
the place. `rules.cfg` and `service.cfg` say what is mutated and what has to notice.
"""

import os
import shutil
import subprocess
import sys
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests import database
from tests.figures import VARIABLE

ROOT = Path(__file__).resolve().parents[2]
_FILES = ("app", "migrations", "schema", "tests", "alembic.ini", "pyproject.toml")


@dataclass(frozen=True, slots=True)
class Mutant:
    function: str
    """With its module: `book.Book.follow`."""
    change: str
    """Lines of a diff: those that were, after a minus, and those that are."""
    status: str

    @property
    def killed(self) -> bool:
        """A test failed, or went on without end."""
        return self.status in ("killed", "timeout")


def main(
    part: Annotated[str, typer.Argument(help="rules or service")] = "rules",
    only: Annotated[str, typer.Option(help="Mutants whose name matches, as mutmut has it.")] = "",
) -> None:
    """Try the mutants, in `var/mutation`, and tell those that survived."""
    database.begin_run()
    with database.server_of_this_run():
        found = tried(part, ROOT / "var" / "mutation" / part, only=only)
    database.end_run()
    console = Console(highlight=False, markup=False)
    for mutant in found:
        if not mutant.killed:
            console.print(f"{mutant.function} ({mutant.status})\n{mutant.change}\n", soft_wrap=True)
    console.print(f"{percent(found):.1f} % of {len(found)} noticed")


def percent(mutants: list[Mutant]) -> float:
    return 100 * sum(it.killed for it in mutants) / len(mutants)


def tried(part: str, folder: Path, *, only: str = "") -> list[Mutant]:
    """Every mutant that was tried, in the order of the code. Raises CalledProcessError when
    the tests fail without any mistake."""
    shutil.rmtree(folder, ignore_errors=True)
    copy = folder / "mutants"  # there before the interpreter starts that looks into it
    copy.mkdir(parents=True)
    for name in _FILES:
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "tests" / "mutation" / f"{part}.cfg", folder / "setup.cfg")
    # Of the full counts each mutant would take minutes. The tests are those of the copy.
    dropped = ("WELLWARD_PROVE", VARIABLE)
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    environment["PYTHONPATH"] = str(copy)
    mutmut = Path(sys.executable).with_name("mutmut")
    output = folder / "output.log"
    with output.open("wb") as log:
        command = [str(mutmut), "run", *([only] if only else [])]
        subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, check=True)
    results = subprocess.run(
        [str(mutmut), "results", "--all", "true"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    with chdir(folder):
        from mutmut.mutation.diff_apply import get_diff_for_mutant  # looks for setup.cfg

        found = []
        for line in results.stdout.splitlines():
            name, status = line.strip().split(": ")
            if status == "not checked":
                continue
            change = "" if status == "killed" else get_diff_for_mutant(name, path=_path(name))
            found.append(Mutant(_function(name), _lines(change), status))
    return found


def _path(name: str) -> Path:
    return Path(*name.rpartition(".")[0].split(".")).with_suffix(".py")


def _function(name: str) -> str:
    """`app.points.book.xǁBookǁfollow__mutmut_3` is of `book.Book.follow`."""
    module, _, function = name.rpartition("__mutmut_")[0].rpartition(".")
    parts = [part for part in function.removeprefix("x").split("ǁ") if part]
    if len(parts) == 1:
        parts[0] = parts[0].removeprefix("_")
    return ".".join([module.rpartition(".")[2], *parts])


def _lines(diff: str) -> str:
    """Its changed lines, without indentation."""
    lines = diff.splitlines()[2:]
    return "\n".join(f"{it[0]} {it[1:].strip()}" for it in lines if it[:1] in ("-", "+"))


if __name__ == "__main__":
    typer.run(main)
