"""`wellward risk` where it needs the database: assess all, look at a rule set in shadow, drift,
calibration."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.clock import wall_clock
from app.config import Settings
from app.db import Database
from app.place import Place
from app.progress import bar
from app.risk import calibration, drift, everybody, rulesets, shadow
from app.risk.rulesets import RuleSet, Tier

commands = typer.Typer()
_console = Console(stderr=True)


def _open() -> Database:
    place = Place.of(Settings()).start()
    return place.open(Settings())


@commands.command("reassess")
def reassess() -> None:
    """Assess everybody who consents by the rule set in force, as after a release."""
    report = asyncio.run(_reassess(_open(), wall_clock()))
    sys.stdout.write(
        f"{report.done} members: {report.assessed} assessed, {report.changed} changed, "
        f"{report.moved} in another tier than before.\n"
    )


async def _reassess(db: Database, now: datetime) -> everybody.Progress:
    progress = everybody.Progress(0, 0)
    try:
        with bar(_console, "Members") as shown:
            async for progress in everybody.reassess(db, now=now):
                shown(progress.done, progress.total)
    finally:
        await db.close()
    return progress


@commands.command("shadow")
def run_shadow(
    candidate: Annotated[str, typer.Argument(help="A version, or a file with a rule set.")],
) -> None:
    """How tiers would move under another rule set, by segment. Nothing about anybody changes."""
    path = Path(candidate)
    rule_set = rulesets.read(path) if path.suffix == ".yaml" else rulesets.of(candidate)
    moves = asyncio.run(_shadow(_open(), rule_set, wall_clock()))
    shown = Console(width=120)
    shown.print(_table(moves, rule_set))


async def _shadow(db: Database, rule_set: RuleSet, now: datetime) -> Sequence[shadow.Moves]:
    found: Sequence[shadow.Moves] = ()
    try:
        with bar(_console, "Members") as progress:
            async for done, total, moves in shadow.run(
                db, candidate=rule_set, against=rulesets.in_force(), now=now
            ):
                progress(done, total)
                found = moves
    finally:
        await db.close()
    return found


def _table(moves: Sequence[shadow.Moves], rule_set: RuleSet) -> Table:
    table = Table(title=f"Tiers under {rule_set.version}, against {rulesets.in_force().version}")
    for name in ("segment", "members", "worse", "better", "low", "medium", "high"):
        table.add_column(name, justify="left" if name == "segment" else "right")
    for it in moves:
        before, after = it.mix(after=False), it.mix(after=True)
        tiers = [f"{before[tier]:.0%} > {after[tier]:.0%}" for tier in Tier]
        worse, better = it.share(worse=True), it.share(worse=False)
        table.add_row(it.segment, str(it.members), f"{worse:.1%}", f"{better:.1%}", *tiers)
    return table


@commands.command("drift")
def show_drift() -> None:
    """The mix of tiers now against the planned one."""
    found = asyncio.run(_drift(_open()))
    for tier in Tier:
        percent, off = found.percent(tier), found.drift(tier)
        shown = f"{percent} % ({off:+} points)" if percent is not None else "-"
        planned = f"planned {found.planned[tier]} %"
        sys.stdout.write(f"{tier}: {found.counts.get(tier, 0)} members, {shown}, {planned}\n")
    sys.stdout.write(f"Without a tier, too little is known: {found.without_tier}\n")


async def _drift(db: Database) -> drift.Mix:
    try:
        return await drift.mix(db, rulesets.in_force())
    finally:
        await db.close()


@commands.command("calibrate")
def calibrate(
    model: Annotated[str, typer.Argument(help="Code of a model that gives a probability.")],
    years: Annotated[int, typer.Option(help="The horizon.")],
) -> None:
    """What a model expected against what happened, of members who were followed for so long."""
    try:
        calibration.outcome_of(model, years)
    except calibration.NotComparable as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(2) from None
    found = asyncio.run(_calibrate(_open(), model, years, wall_clock()))
    table = Table(title=f"{model}, {years} years: {found.members} members")
    for name in ("members", "expected %", "observed %", "events"):
        table.add_column(name, justify="right")
    for it in found.bands:
        table.add_row(str(it.members), f"{it.expected:.2f}", f"{it.observed:.2f}", str(it.happened))
    Console(width=100).print(table)
    if found.ratio is not None:
        sys.stdout.write(f"Observed to expected: {found.ratio:.2f}\n")


async def _calibrate(
    db: Database, model: str, years: int, now: datetime
) -> calibration.Calibration:
    try:
        return await calibration.calibrate(db, model=model, years=years, now=now)
    finally:
        await db.close()
