"""Enums of the API whose values need a word. The enum itself stays plain Python, so that
rules know nothing of GraphQL."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

import strawberry
from strawberry.types.enum import StrawberryEnumDefinition

E = TypeVar("E", bound=Enum)


def by_value(enum: type[E]) -> Mapping[Any, E]:
    """For rows: to call the enum takes forty times as long."""
    return {member.value: member for member in enum}


def register(
    enum: type[Enum],
    values: Mapping[str, str] | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
) -> None:
    """Make `enum` a type of the API; `values` describes some of its values by name."""
    strawberry.enum(enum, name=name, description=description)
    definition: StrawberryEnumDefinition = enum.__strawberry_definition__  # type: ignore[attr-defined]
    described = dict(values or {})
    for value in definition.values:
        value.description = described.pop(value.name, value.description)
    assert not described, f"{enum.__name__} has no {', '.join(described)}"
