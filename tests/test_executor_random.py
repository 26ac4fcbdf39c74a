"""Random schemas, data and documents: our executor and graphql-core's say the same, with the
errors in the same order. 2,000 cases; with WELLWARD_PROVE=1 there are 20,000."""

import asyncio
import re
from random import Random
from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse

from app.graphql import executor
from tests.figures import record_figure
from tests.processes import FULL_COUNTS
from tests.random_documents import Asked, document
from tests.random_graphql import World, core_world, root
from tests.random_strawberry import strawberry_world

CASES = 20_000 if FULL_COUNTS else 2_000
A_WORLD = 40
"""Cases that share a schema."""
_ADDRESS = re.compile("0x[0-9a-f]+")


def told(result: Any) -> tuple[str, list[str]]:
    errors = [f"{it.formatted} {it.original_error!r}" for it in result.errors or ()]
    return _ADDRESS.sub("", repr(result.data)), [_ADDRESS.sub("", it) for it in errors]


async def compare(seed: int, number: int, world: World) -> Any:
    """One case: what ours says, after it was found to be what graphql-core says."""
    rng = Random(f"{seed} {number}")
    has_mutation = world.schema.mutation_type is not None
    asked = document(rng, world.schema, mutation=has_mutation and rng.random() < 0.2)
    parsed = parse(asked.text)
    node = next(it for it in parsed.definitions if isinstance(it, OperationDefinitionNode))
    kind, names = world.schema.get_root_type(node.operation), re.findall(r"\w+", asked.text)
    data_seed, context = rng.random(), {"sees": rng.random() < 0.7}

    def source() -> Any:
        return root(Random(data_seed), world, kind, names)

    theirs = await graphql_core(world, parsed, asked, source(), context)
    plan = world.compile(parsed, node)
    assert plan.unsupported is None
    for _ in range(2):  # The second time everything is compiled.
        ours = await by_plan(plan, asked, source(), context)
        assert ours == theirs, f"case {number} of the schema with seed {seed}: {asked}"
    return ours


async def by_plan(plan: executor.Plan, asked: Asked, source: Any, context: Any) -> Any:
    try:
        return told(
            await executor.execute(plan, variables=asked.variables, context=context, root=source)
        )
    except executor.CoercionFailed as error:
        return [it.formatted for it in error.errors]


async def graphql_core(world: World, parsed: Any, asked: Asked, source: Any, context: Any) -> Any:
    built: Any = world.executor_class.build(
        world.schema, parsed, source, context, raw_variable_values=asked.variables
    )
    if isinstance(built, list):
        return [it.formatted for it in built]
    result = built.execute_operation()
    return told(await result if built.is_awaitable(result) else result)


@pytest.mark.parametrize("make", [core_world, strawberry_world])
def test_both_say_the_same(make: Any) -> None:
    counts = {"cases": 0, "with data": 0, "with errors": 0, "refused": 0}

    async def run() -> None:
        for seed in range(CASES // 2 // A_WORLD):
            world = make(Random(seed))
            for number in range(A_WORLD):
                said = await compare(seed, number, world)
                counts["cases"] += 1
                if isinstance(said, list):
                    counts["refused"] += 1
                else:
                    counts["with data"] += said[0] != "None"
                    counts["with errors"] += bool(said[1])

    asyncio.run(run())
    for name, count in counts.items():
        record_figure(f"{make.__name__}, {name}", count)
    # Else nothing would have been compared.
    assert counts["cases"] == CASES // 2
    assert counts["with data"] > counts["cases"] / 2
    assert counts["with errors"] > counts["cases"] / 5
    assert counts["refused"] < counts["cases"] / 5
    print(counts)
