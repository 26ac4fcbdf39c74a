"""What a plan keeps, what it hands over, and the executor as graphql-core's `executor_class`."""

from itertools import product
from typing import Any

import pytest
from graphql import (
    DocumentNode,
    ExperimentalIncrementalExecutionResults,
    GraphQLResolveInfo,
    OperationDefinitionNode,
    build_schema,
    default_field_resolver,
    execute,
    execute_sync,
    parse,
)

from app.graphql.executor import CoercionFailed, Plan
from app.graphql.executor import execute as run
from app.graphql.executor.dropin import PLANS_MAX, CompiledExecutor
from app.graphql.executor.plan import VARIANTS_MAX

SCHEMA = build_schema(
    """
    type Query { name: String  number(by: Int! = 2, at: [Int]): Int  other: Query }
    """
)
ROOT: dict[str, Any] = {"name": "root", "other": {"name": "other"}}


def operation(document: DocumentNode) -> OperationDefinitionNode:
    found = document.definitions[0]
    assert isinstance(found, OperationDefinitionNode)
    return found


def plan(text: str) -> Plan:
    document = parse(text)
    return Plan(SCHEMA, document, operation(document))


async def test_functions_are_kept_for_the_conditions_that_came_last() -> None:
    names = "abcdefg"
    declared = ", ".join(f"${name}: Boolean!" for name in names)
    fields = " ".join(f"{name}: name @include(if: ${name})" for name in names)
    made = plan(f"query ({declared}) {{ name {fields} }}")
    assert 2 ** len(names) > VARIANTS_MAX
    for values in product((True, False), repeat=len(names)):
        asked = dict(zip(names, values, strict=True))
        found = await run(made, variables=asked, root=ROOT)
        wanted = [name for name, value in asked.items() if value]
        assert list(found.data or ()) == ["name", *wanted]
    assert len(made._writers) == VARIANTS_MAX
    kept = next(reversed(made._writers.values()))
    await run(made, variables=dict.fromkeys(names, False), root=ROOT)
    assert next(reversed(made._writers.values())) is kept


async def test_a_condition_that_is_null_is_an_error_where_it_stands() -> None:
    made = plan("query ($a: Boolean) { name other { name @skip(if: $a) } }")
    found = await run(made, variables={"a": None}, root=ROOT)
    theirs: Any = execute(SCHEMA, made.document, ROOT, variable_values={"a": None})
    assert (found.data, found.errors) == (theirs.data, theirs.errors)
    assert found.data == {"name": "root", "other": None} and found.errors


async def test_what_comes_in_parts_is_handed_over() -> None:
    made = plan("{ name other { ... @defer { name } } }")
    assert made.unsupported == "@defer delivers an answer in parts"
    found: Any = await run(made, variables={}, root=ROOT)
    assert isinstance(found, ExperimentalIncrementalExecutionResults)
    assert found.initial_result.data == {"name": "root", "other": {}}

    by_variable = plan("query ($a: Boolean!) { name other { ... @defer(if: $a) { name } } }")
    assert by_variable.unsupported is None
    found = await run(by_variable, variables={"a": True}, root=ROOT)
    assert isinstance(found, ExperimentalIncrementalExecutionResults)
    found = await run(by_variable, variables={"a": False}, root=ROOT)
    assert found.data == {"name": "root", "other": {"name": "other"}}


async def test_variables_that_do_not_fit_run_nothing() -> None:
    made = plan("query ($by: Int!) { number(by: $by) }")

    def fails(_info: GraphQLResolveInfo[Any], **_given: Any) -> int:
        raise AssertionError("it was run")

    with pytest.raises(CoercionFailed, match=r"\$by"):
        await run(made, variables={"by": "two"}, root={"number": fails})


async def test_a_default_that_can_be_changed_is_made_anew() -> None:
    made = plan("query ($at: [Int] = [1]) { number(at: $at) other { number(at: [1]) } }")
    seen: list[list[int]] = []

    def spoils(_info: GraphQLResolveInfo[Any], at: list[int], by: int) -> int:
        seen.append(list(at))
        at.append(by)
        return len(at)

    for _ in range(2):
        found = await run(made, variables={}, root={"number": spoils, "other": {"number": spoils}})
        assert found.data == {"number": 2, "other": {"number": 2}}
    assert seen == [[1]] * 4


def test_as_executor_class_plans_are_kept_for_a_document() -> None:
    CompiledExecutor.plans.clear()
    document = parse("query A { name } query B { other { name } }")
    for _ in range(2):
        for name in ("A", "B"):
            found = execute_sync(
                SCHEMA, document, ROOT, operation_name=name, executor_class=CompiledExecutor
            )
            assert found == execute_sync(SCHEMA, document, ROOT, operation_name=name)
    assert len(CompiledExecutor.plans) == 2
    # Another resolver is another plan.
    shouting = execute_sync(
        SCHEMA,
        document,
        ROOT,
        operation_name="A",
        field_resolver=lambda source, info: default_field_resolver(source, info).upper(),
        executor_class=CompiledExecutor,
    )
    assert shouting.data == {"name": "ROOT"} and len(CompiledExecutor.plans) == 3

    for _ in range(PLANS_MAX):
        execute_sync(SCHEMA, parse("{ name }"), ROOT, executor_class=CompiledExecutor)
    assert len(CompiledExecutor.plans) == PLANS_MAX
    CompiledExecutor.plans.clear()


@pytest.mark.parametrize("name", ["C", None])
def test_as_executor_class_graphql_core_says_that_there_is_no_such_operation(
    name: str | None,
) -> None:
    document = parse("query A { name } query B { name }")
    found = execute_sync(SCHEMA, document, operation_name=name, executor_class=CompiledExecutor)
    assert found == execute_sync(SCHEMA, document, operation_name=name)
    assert found.errors
