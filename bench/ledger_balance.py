"""How long `me.points` takes, in a small ledger and in a large one."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from statistics import median
from uuid import UUID

from app.db import Database
from app.events import Events
from app.graphql.context import Context, Viewer
from app.members.sign_in import decide_access
from app.schema import FACETS
from bench.ledger_report import Figure

BATCHES = 60
BATCH = 100
WARM_UP = 10
"""Batches after which the server has kept its plans."""
_QUIET = 4
"""One batch of so many is counted."""


@dataclass(frozen=True, slots=True)
class Ledger:
    db: Database
    members: Sequence[UUID]
    """Those who ask."""
    transfers: int
    """Of everybody."""


async def balance(pair: Sequence[Ledger], everybody: Ledger, now: datetime) -> list[Figure]:
    """Of a small and a large ledger, of which equally many members ask, in turn; and of the
    large one when anybody may ask, so that the server has to fetch most of what it reads."""
    small, large = pair
    few, many = await _latencies([small, large], now)
    [cold] = await _latencies([everybody], now)

    def at(taken: Sequence[float], share: float, ledger: Ledger, remark: str = "") -> Figure:
        name = "balance, median" if share == 0.5 else "balance, 99th percentile"
        value = taken[int(len(taken) * share)]
        return Figure(name, value, "ms", f"{ledger.transfers:,} transfers{remark}")

    asked = f", {len(everybody.members):,} members ask"
    return [
        at(few, 0.5, small), at(few, 0.99, small), at(many, 0.5, large), at(many, 0.99, large),
        at(cold, 0.5, everybody, asked), at(cold, 0.99, everybody, asked),
        Figure(
            "balance latency, many ÷ few transfers", median(many) / median(few), "",
            f"{large.transfers:,} against {small.transfers:,}, medians",
        ),
    ]  # fmt: skip


async def _latencies(ledgers: Sequence[Ledger], now: datetime) -> list[list[float]]:
    """Milliseconds, sorted, of each ledger; a batch of each in turn, since the machine may be
    busy with something else. Those batches count in which it was least so."""
    dice = Random(1)
    batches: list[list[list[float]]] = [[] for _ in ledgers]
    for number in range(WARM_UP + BATCHES):
        for found, ledger in zip(batches, ledgers, strict=True):
            taken = [await _one(ledger.db, dice.choice(ledger.members), now) for _ in range(BATCH)]
            if number >= WARM_UP:
                found.append(taken)
    quiet = [sorted(found, key=median)[: BATCHES // _QUIET] for found in batches]
    return [sorted(it for batch in found for it in batch) for found in quiet]


async def _one(db: Database, member_id: UUID, now: datetime) -> float:
    context = Context(
        db=db,
        now=now,
        viewer=Viewer(member_id=member_id),
        events=Events("postgresql:///"),
        decide_access=decide_access,
        members=FACETS,
    )
    began = time.perf_counter()
    found = await FACETS.load_many(context, [member_id], frozenset({"points"}))
    spent = (time.perf_counter() - began) * 1000
    assert found[member_id].points.available > 0
    return spent
