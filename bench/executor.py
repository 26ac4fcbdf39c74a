"""`python -m bench.executor`: what executing Home costs without the database, by our plans and by
graphql-core; and that every trusted document is compiled.

The member is read once; from then on the loader of members gives that object. So what is timed is
the coercion of variables, the resolvers with Strawberry's layers around them, and the answer, up
to the dictionary that is written as JSON. Both executors get a document that is parsed and
validated. Windows of the two alternate; the figure is the median of their ratios.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any
from uuid import UUID

import orjson
import typer
from rich.console import Console
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app import main as product
from app.config import Settings
from app.db import Database
from app.demo import bulk
from app.events import Events
from app.graphql import executor
from app.graphql.context import Context, Viewer
from app.graphql.documents import Operation, TrustedDocuments, prepare
from app.graphql.limits import Limits
from app.schema import FACETS, schema
from bench import servers
from bench.ledger_report import Figure, table

ROOT = Path(__file__).resolve().parent.parent


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Windows of each executor.")] = 9,
    seconds: Annotated[float, typer.Option(min=0.05, help="Length of one window.")] = 0.5,
    output: Annotated[Path, typer.Option(help="Where the figures go.")] = ROOT
    / "var"
    / "bench-executor.json",
) -> None:
    """The executor alone. Exit code 1 when the floor is missed or a document is not compiled."""
    left_over = not_compiled()
    figures = asyncio.run(_measure(rounds, seconds))
    Console(width=120).print(table(figures))
    output.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "at": datetime.fromtimestamp(time.time(), UTC),
        "load_before": os.getloadavg()[1],
        "cpus": os.cpu_count(),
        "figures": [
            {"name": it.name, "value": it.value, "unit": it.unit, "kept": it.kept} for it in figures
        ],
        "not_compiled": left_over,
    }
    output.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    for line in left_over:
        Console(stderr=True).print(f"not compiled: {line}")
    if left_over or any(it.kept is False for it in figures):
        raise typer.Exit(1)


def not_compiled() -> list[str]:
    """Trusted documents that graphql-core would run, each with the reason."""
    documents = TrustedDocuments.load(product.OPERATIONS).by_id.values()
    prepared = [prepare(schema, it, Limits()) for it in documents]
    return [f"{it.name}: {it.plan.unsupported}" for it in prepared if it.plan.unsupported]


async def _measure(rounds: int, seconds: float) -> list[Figure]:
    now = datetime.fromtimestamp(time.time(), UTC)
    with servers.database() as place:
        made = await servers.load_members(place, members=32, days=30, now=now)
        db = place.open(Settings())
        try:
            return await _windows(db, made[0], now, rounds, seconds)
        finally:
            await db.close()


async def _windows(
    db: Database, member: bulk.BulkMember, now: datetime, rounds: int, seconds: float
) -> list[Figure]:
    documents = TrustedDocuments.load(product.OPERATIONS).by_id.values()
    home = prepare(schema, next(it for it in documents if it.name == "Home"), Limits())
    members = _Remembered()
    viewer = Viewer(member_id=member.member_id, locale="en")

    def context() -> Context:
        return Context(
            db=db,
            now=now,
            viewer=viewer,
            events=Events("postgresql:///"),
            decide_access=_nobody_else,
            members=members,
        )

    ours, theirs = by_plan(home, context), by_graphql_core(home, context)
    assert (await ours()).data == (await theirs()).data
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(rounds):
        pair = (("ours", ours), ("theirs", theirs))
        for name, run in pair[:: 1 if number % 2 else -1]:
            times[name].append(await _time(run, seconds))
    ratios = [theirs / ours for ours, theirs in zip(times["ours"], times["theirs"], strict=True)]
    spread = f"{min(ratios):.1f}–{max(ratios):.1f} in {rounds} pairs of windows"
    return [
        Figure("Home by our plan", median(times["ours"]) * 1e6, "µs"),
        Figure("Home by graphql-core", median(times["theirs"]) * 1e6, "µs"),
        Figure("executor alone, graphql-core ÷ ours", median(ratios), "", spread),
    ]


class _Remembered:
    """Loads a member once."""

    def __init__(self) -> None:
        self._member: Any = None

    async def load_one(self, info: Any, member_id: UUID) -> Any:
        if self._member is None:
            self._member = await FACETS.load_one(info, member_id)
        return self._member

    async def load(self, info: Any, member_id: UUID) -> Any:
        return await self.load_one(info, member_id)

    async def load_fields(self, info: Any, member_id: UUID, names: frozenset[str]) -> Any:
        return await self.load_one(info, member_id)


async def _nobody_else(_context: Context, _member_id: UUID) -> bool:
    return False


def by_plan(asked: Operation, make: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    async def run() -> Any:
        return await executor.execute(asked.plan, variables={}, context=make())

    return run


def by_graphql_core(asked: Operation, make: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    async def run() -> Any:
        built: Any = StrawberryGraphQLCoreExecutionContext.build(
            schema._schema,
            asked.document,
            context_value=make(),
            raw_variable_values={},
            operation_name=asked.name,
            is_awaitable=optimized_is_awaitable,  # type: ignore[arg-type]
            operation_extensions=None,
        )
        return await built.execute_operation()

    return run


async def _time(run: Callable[[], Awaitable[Any]], seconds: float) -> float:
    """CPU seconds of one execution."""
    count = 0
    began = time.process_time()
    while time.process_time() - began < seconds:
        for _ in range(20):
            await run()
        count += 20
    return (time.process_time() - began) / count


if __name__ == "__main__":
    typer.run(main)
