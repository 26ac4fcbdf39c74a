"""Leaves of an answer, for `plain.py`: from a value of the ordinary class to what is written."""

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as DriverUUID
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
from graphql.pyutils import Undefined
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema_converter import CustomGraphQLEnumType

Complete = Callable[[Any], Any]
"""From a value to its part of the answer. Raises Unusual, or whatever reading raises."""

_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1
_SCALAR_CLASSES = frozenset(
    {str, int, float, bool, date, datetime, time, Decimal, UUID, DriverUUID}
)
"""Whose values are nothing special: the usual ones need no closer look."""


class Unusual(Exception):
    """A value that graphql-core must deal with."""


class NotPlain(Exception):
    """The selection holds more than look-ups."""


UNUSUAL = Unusual()
"""Raised as it is: it carries nothing, and only the nearest caller sees it."""


def leaf(kind: GraphQLLeafType) -> Complete:
    if kind in (GraphQLString, GraphQLID):
        return _exactly(str)
    if kind is GraphQLBoolean:
        return _exactly(bool)
    if kind is GraphQLInt:
        return _int
    if kind is GraphQLFloat:
        return _float
    if isinstance(kind, GraphQLEnumType):
        return _enum(kind)
    return _scalar(kind)


def _exactly(wanted: type) -> Complete:
    def exactly(value: Any) -> Any:
        if value.__class__ is not wanted:
            raise UNUSUAL
        return value

    return exactly


def _int(value: Any) -> int:
    if value.__class__ is not int or not _INT_MIN <= value <= _INT_MAX:
        raise UNUSUAL
    return value


def _float(value: Any) -> float:
    if value.__class__ is not float or not isfinite(value):
        raise UNUSUAL
    return value


def _enum(kind: GraphQLEnumType) -> Complete:
    if not isinstance(kind, CustomGraphQLEnumType) or not issubclass(kind.wrapped_cls, Enum):
        raise NotPlain
    wanted = kind.wrapped_cls
    names = {value: kind.coerce_output_value(value) for value in wanted}

    def name(value: Any) -> str:
        # A member, and not a text that equals one.
        if value.__class__ is not wanted:
            raise UNUSUAL
        return names[value]

    return name


def _is_special(value: Any) -> bool:
    if value is None or value is Undefined:
        return True
    return isinstance(value, Exception) or optimized_is_awaitable(value)


def _scalar(kind: GraphQLScalarType) -> Complete:
    write = kind.coerce_output_value

    def scalar(value: Any) -> Any:
        if value.__class__ not in _SCALAR_CLASSES and _is_special(value):
            raise UNUSUAL
        written = write(value)
        if written is None or written is Undefined:
            raise UNUSUAL
        return written

    return scalar
