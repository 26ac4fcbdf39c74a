"""Compiles operations of our schema for the executor."""

from functools import lru_cache
from typing import Any

import strawberry
from asyncpg.pgproto.pgproto import UUID as DriverUUID
from graphql import DocumentNode, OperationDefinitionNode

from app.graphql import flat_inputs, scalars
from app.graphql.executor import Plan, Rows
from app.graphql.executor.strawberry import StrawberryDialect

LISTED: dict[Any, type[Rows]] = {}
"""Lists whose objects are made only when they are needed, by the class of these (of a generic
class by it and what it is one of); a domain adds its own beside the class."""


def compile(
    schema: strawberry.Schema, document: DocumentNode, operation: OperationDefinitionNode
) -> Plan:
    """For an operation of a valid document."""
    return Plan(schema._schema, document, operation, _dialect(schema))


def check_schema(schema: strawberry.Schema) -> None:
    """Fails when the schema has what is not run: extensions of its own, say."""
    _dialect(schema)


@lru_cache(maxsize=8)
def _dialect(schema: strawberry.Schema) -> StrawberryDialect:
    return StrawberryDialect(
        schema=schema,
        passed=scalars.PASSED,
        ordinary=frozenset({DriverUUID}),
        listed=LISTED,
        input_lists=flat_inputs.input_list,
    )
