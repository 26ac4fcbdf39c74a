"""Relay connections by key: a page costs the same wherever it lies."""

from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

import strawberry
from graphql import GraphQLError

from app.graphql.ids import tail

PAGE = 20
PAGE_MAX = 100
T = TypeVar("T")
Row = TypeVar("Row")


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class Edge(Generic[T]):
    cursor: str
    node: T


@strawberry.type
class Connection(Generic[T]):
    edges: list[Edge[T]]
    page_info: PageInfo


def page_size(first: int | None) -> int:
    """`first` as asked for; the default for null. Raises GraphQLError outside 0 to 100."""
    if first is None:
        return PAGE
    if not 0 <= first <= PAGE_MAX:
        raise GraphQLError(
            f"`first` is {first}; it must be from 0 to {PAGE_MAX}.",
            extensions={"code": "BAD_REQUEST"},
        )
    return first


def write_cursor(*key: object) -> str:
    text = str(key[0]) if len(key) == 1 else "|".join(map(str, key))
    return tail(text.encode())


_number_cursor: Callable[[int], str] = lru_cache(maxsize=16_384)(write_cursor)
"""Members count from 1 each: the same few thousand numbers come again and again."""


def read_cursor(after: str | None, *kinds: Callable[[str], Row]) -> tuple[Row, ...] | None:
    """The key after which the page begins. Raises GraphQLError for a cursor not ours."""
    if after is None:
        return None
    try:
        parts = urlsafe_b64decode(after + "=" * (-len(after) % 4)).decode().split("|")
        if len(parts) != len(kinds):
            raise ValueError(after)
        return tuple(kind(part) for kind, part in zip(kinds, parts, strict=True))
    except (ValueError, ArithmeticError) as error:
        raise GraphQLError(
            "`after` is not a cursor of this list; use one from `pageInfo` or `edges`.",
            extensions={"code": "BAD_REQUEST"},
        ) from error


def connection(
    rows: Sequence[Row],
    *,
    size: int,
    after: str | None,
    node: Callable[[Row], T],
    key: Callable[[Row], tuple[object, ...]],
) -> Connection[T]:
    """A page of `size` out of rows that were read one further, to know whether more come."""
    shown = rows[:size]
    cursors = [write_cursor(*key(row)) for row in shown]
    return _connection(cursors, map(node, shown), after=after, has_next_page=len(rows) > size)


def numbered(
    nodes: Sequence[T], numbers: Sequence[int], *, size: int, after: str | None
) -> Connection[T]:
    """As `connection`, of nodes that are made already; the key of each is its number."""
    return _connection(
        list(map(_number_cursor, numbers[:size])),
        nodes[:size],
        after=after,
        has_next_page=len(nodes) > size,
    )


def _connection(
    cursors: list[str], nodes: Iterable[T], *, after: str | None, has_next_page: bool
) -> Connection[T]:
    edges: list[Edge[T]] = []
    new = object.__new__  # the constructor would take three times as long
    for cursor, node in zip(cursors, nodes, strict=True):
        edge: Edge[T] = new(Edge)
        edge.cursor, edge.node = cursor, node
        edges.append(edge)
    return Connection(
        edges=edges,
        page_info=PageInfo(
            has_next_page=has_next_page,
            has_previous_page=after is not None,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        ),
    )
