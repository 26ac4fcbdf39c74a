"""Leaves of an answer: what must be true of a value so that it is written without a closer look.

A rule is exact or absent: it may only take values for which graphql-core would give the same
output. Every other value, odd or wrong, is completed in graphql-core's own way (`slots.py`).
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLScalarType,
    GraphQLString,
)


class Whole(NamedTuple):
    """An `int` of 32 bits."""


class Finite(NamedTuple):
    """A `float` that is neither infinite nor NaN."""


class Exactly(NamedTuple):
    """A value of one of these very classes; it is written as it is."""

    kinds: frozenset[type]


class Member(NamedTuple):
    """A member of this enum, written by the name that `names` has for its own name."""

    kind: type[Enum]
    names: Mapping[str, str]


class Known(NamedTuple):
    """A text among these, each with what is written for it."""

    texts: Mapping[str, str]


class Written(NamedTuple):
    """A value of one of these classes, of which no object is an exception or can be awaited;
    the function writes it, and what it raises is the field's error."""

    kinds: frozenset[type]
    write: Callable[[Any], Any]
    passed: frozenset[type] = frozenset()
    """Those among the classes whose values are written as they are."""


ORDINARY: frozenset[type] = frozenset(
    {
        str,
        bytes,
        int,
        float,
        bool,
        dict,
        list,
        tuple,
        date,
        datetime,
        time,
        timedelta,
        Decimal,
        UUID,
    }
)
"""Classes of which no object is an exception or can be awaited."""

Rule = Whole | Finite | Exactly | Member | Known | Written

_BUILT_IN: Mapping[str, tuple[GraphQLLeafType, Rule]] = {
    "String": (GraphQLString, Exactly(frozenset({str}))),
    "ID": (GraphQLID, Exactly(frozenset({str}))),
    "Boolean": (GraphQLBoolean, Exactly(frozenset({bool}))),
    "Int": (GraphQLInt, Whole()),
    "Float": (GraphQLFloat, Finite()),
}


def built_in(kind: GraphQLLeafType) -> Rule | None:
    """For the scalars of the specification, enums whose values are texts, and other scalars with
    values of well-known classes."""
    known = _BUILT_IN.get(kind.name)
    if known is not None and known[0] is kind:
        return known[1]
    if type(kind) is GraphQLEnumType:
        written = {it.value: name for name, it in kind.values.items()}
        if all(type(value) is str for value in written):
            return Known({value: kind.coerce_output_value(value) for value in written})
    if type(kind) is GraphQLScalarType:
        return Written(ORDINARY, kind.coerce_output_value)
    return None
