"""A draft over the portfolio's history: what it would have charged for every term that began in
a period, against what was charged. Stores nothing.

Facts are gathered anew for the instant at which each term was priced, since the draft may look
at what the product in force did not; what a term carries on comes from the draft's own price of
the term before. Members are taken in batches, by several processes if asked; memory holds a few
batches, and cut short nothing is left behind.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from uuid import UUID

from app.db import Database
from app.premiums import backtest_batch
from app.premiums import backtest_history as history
from app.premiums.backtest_claims import Claim, Claims, Rejected
from app.premiums.backtest_history import Period
from app.premiums.backtest_tally import Tally
from app.premiums.product import Product

BATCH = 200
"""Members."""


@dataclass(frozen=True, slots=True)
class Progress:
    done: int
    total: int
    """Members."""
    tally: Tally
    terms_without_premium: int = 0
    rejected: Sequence[Rejected] = ()


async def run(
    db: Database,
    draft: Product,
    period: Period,
    *,
    claims: Claims | None = None,
    processes: int = 1,
    prepared_statements: bool = True,
) -> AsyncIterator[Progress]:
    """Everybody with a term in the period; yields after each batch, the last has all of it.
    `prepared_statements` as for `Database.open`, in the further processes."""
    of_members = claims.of_members if claims is not None else {}
    async with db.read() as reading:
        total = await history.members(reading, period)
        lost = await history.terms_without_premium(reading, period)
    tally, done = Tally(), 0
    workers = _Workers(processes, prepared_statements)
    async for part, size in _parts(db, draft, period, of_members, workers):
        tally.merge(part)
        done += size
        yield Progress(done, max(total, done), tally, lost)
    rejected = [*_nobodys(of_members, tally)] if claims is not None else []
    yield Progress(done, max(total, done), tally.settled(), lost, rejected)


def _nobodys(left: Mapping[UUID, list[Claim]], tally: Tally) -> Iterator[Rejected]:
    lines = {claim.line for found in left.values() for claim in found} | tally.claim_lines
    for line in sorted(lines):
        yield Rejected(line, "no term of the period holds this member and day")


async def _batches(
    db: Database, period: Period, claims: dict[UUID, list[Claim]]
) -> AsyncIterator[tuple[list[UUID], dict[UUID, list[Claim]]]]:
    """Members, with their claims: what stays in `claims` is of nobody."""
    after = history.FIRST
    while True:
        async with db.read() as reading:
            member_ids = await history.page(reading, period, after=after, size=BATCH)
        if not member_ids:
            return
        yield member_ids, {id: claims.pop(id) for id in member_ids if id in claims}
        after = member_ids[-1]


async def _parts(
    db: Database,
    draft: Product,
    period: Period,
    claims: dict[UUID, list[Claim]],
    workers: "_Workers",
) -> AsyncIterator[tuple[Tally, int]]:
    if workers.processes == 1:
        async for member_ids, of_members in _batches(db, period, claims):
            async with db.read() as reading:
                part = await backtest_batch.price(reading, draft, period, member_ids, of_members)
            yield part, len(member_ids)
        return
    url = db.reader.url.render_as_string(hide_password=False)
    pool = ProcessPoolExecutor(
        workers.processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(url, workers.prepared_statements, draft.model_dump_json(), period),
    )
    try:
        async for found in _spread(pool, db, period, claims, workers.processes):
            yield found
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


async def _spread(
    pool: ProcessPoolExecutor,
    db: Database,
    period: Period,
    claims: dict[UUID, list[Claim]],
    processes: int,
) -> AsyncIterator[tuple[Tally, int]]:
    """No more batches at a time than keep the processes busy."""
    loop = asyncio.get_running_loop()
    under_way: dict[asyncio.Future[Tally], int] = {}
    async for member_ids, of_members in _batches(db, period, claims):
        under_way[loop.run_in_executor(pool, _price, member_ids, of_members)] = len(member_ids)
        if len(under_way) >= 2 * processes:
            for found in await _ended(under_way):
                yield found
    while under_way:
        for found in await _ended(under_way):
            yield found


async def _ended(under_way: dict[asyncio.Future[Tally], int]) -> list[tuple[Tally, int]]:
    """What has come to its end; at least one."""
    ended, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    return [(it.result(), under_way.pop(it)) for it in ended]


# One process of several


@dataclass(frozen=True, slots=True)
class _Workers:
    processes: int
    prepared_statements: bool


@dataclass(slots=True)
class _Worker:
    runner: asyncio.Runner
    db: Database
    draft: Product
    period: Period

    async def price(self, member_ids: Sequence[UUID], claims: dict[UUID, list[Claim]]) -> Tally:
        async with self.db.read() as reading:
            return await backtest_batch.price(reading, self.draft, self.period, member_ids, claims)


_worker: _Worker | None = None


def _begin(url: str, prepared_statements: bool, draft: str, period: Period) -> None:
    """What each process does first."""
    global _worker
    # The parent alone decides when it is over; without it there is nothing to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    runner = asyncio.Runner()
    db = Database.open(
        url.replace("+asyncpg", ""), pool_size=1, prepared_statements=prepared_statements
    )
    _worker = _Worker(runner, db, Product.model_validate_json(draft), period)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _price(member_ids: Sequence[UUID], claims: dict[UUID, list[Claim]]) -> Tally:
    assert _worker is not None
    return _worker.runner.run(_worker.price(member_ids, claims))
