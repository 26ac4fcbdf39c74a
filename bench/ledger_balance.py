"""How long the balance takes, in a small ledger and in a large one: the answer to a query, and
its one statement alone."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from statistics import median
from uuid import UUID

from app.db import Database
from app.events import Events
from app.graphql.context import Context, Viewer
from app.members.sign_in import decide_access
from app.schema import FACETS, schema
from bench.ledger_report import Figure

QUERY = "{ me { points { available pending held nextExpiry { amount expiresOn } } } }"
BATCHES = 32
BATCH = 100
WARM_UP = 10
"""Batches after which the server has kept its plans."""
_QUIET = 4
"""One batch of so many is counted."""


Ask = Callable[[Context], Awaitable[int]]


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
    answers = await _latencies(pair, now, _answer)
    statements = await _latencies(pair, now, _statement)
    [cold] = await _latencies([everybody], now, _answer)
    asked = f", {len(everybody.members):,} members ask"
    compared = f"{large.transfers:,} against {small.transfers:,}, medians"
    return [
        *_figures("balance", answers[0], small),
        *_figures("balance", answers[1], large),
        *_figures("balance", cold, everybody, asked),
        Figure(
            "balance latency, many ÷ few transfers",
            median(answers[1]) / median(answers[0]), "", compared,
        ),
        *_figures("statement of a balance", statements[0], small),
        *_figures("statement of a balance", statements[1], large),
        Figure(
            "statement of a balance, many ÷ few", median(statements[1]) / median(statements[0]),
            "", compared,
        ),
    ]  # fmt: skip


def _figures(name: str, taken: Sequence[float], of: Ledger, remark: str = "") -> list[Figure]:
    remark = f"{of.transfers:,} transfers{remark}"
    return [
        Figure(f"{name}, median", median(taken), "ms", remark),
        Figure(f"{name}, 99th percentile", taken[int(len(taken) * 0.99)], "ms", remark),
    ]


async def _latencies(ledgers: Sequence[Ledger], now: datetime, ask: Ask) -> list[list[float]]:
    """Milliseconds, sorted, of each ledger; a batch of each in turn, since the machine may be
    busy with something else. Those batches count in which it was least so."""
    dice = Random(1)
    batches: list[list[list[float]]] = [[] for _ in ledgers]
    for number in range(WARM_UP + BATCHES):
        for found, ledger in zip(batches, ledgers, strict=True):
            asking = [_context(ledger.db, dice.choice(ledger.members), now) for _ in range(BATCH)]
            taken = [await _timed(ask, context) for context in asking]
            if number >= WARM_UP:
                found.append(taken)
    quiet = [sorted(found, key=median)[: BATCHES // _QUIET] for found in batches]
    return [sorted(it for batch in found for it in batch) for found in quiet]


def _context(db: Database, member_id: UUID, now: datetime) -> Context:
    return Context(
        db=db,
        now=now,
        viewer=Viewer(member_id=member_id),
        events=Events("postgresql:///"),
        decide_access=decide_access,
        members=FACETS,
    )


async def _timed(ask: Ask, context: Context) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    available = await ask(context)
    spent = (time.perf_counter() - began) * 1000
    assert available > 0
    return spent


async def _answer(context: Context) -> int:
    found = await schema.execute(QUERY, context_value=context)
    assert found.data is not None, found.errors
    available: int = found.data["me"]["points"]["available"]
    return available


async def _statement(context: Context) -> int:
    member_id = context.member_id
    found = await FACETS.load_many(context, [member_id], frozenset({"points"}))
    available: int = found[member_id].points.available
    return available
