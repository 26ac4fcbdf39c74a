"""Relay connections by key: a page costs the same wherever it lies."""

from base64 import urlsafe_b64decode
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

import strawberry
from graphql import GraphQLError

from app.graphql.executor import Layout, Rows
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
    edges: list[Edge[T]] = []
    for row in rows[:size]:
        edge: Edge[T] = object.__new__(Edge)  # its constructor would take three times as long
        edge.cursor, edge.node = write_cursor(*key(row)), node(row)
        edges.append(edge)
    cursors = [edge.cursor for edge in edges]
    return _connection(edges, cursors, after=after, has_next_page=len(rows) > size)


class EdgeRows(Rows, Generic[T]):
    """Edges as `edges_of` says; a list of nodes that come as tuples has a class of its own."""

    def node(self, row: tuple[Any, ...]) -> T:
        """The node that its tuple stands for."""
        raise NotImplementedError

    def made(self, row: tuple[Any, ...]) -> Edge[T]:
        cursor, node = row
        return Edge(cursor=cursor, node=self.node(node))


def edges_of(node: Layout) -> Layout:
    return Layout(("cursor", "node"), {"node": node})


def numbered(
    rows: Callable[[list[tuple[Any, ...]]], EdgeRows[T]],
    nodes: Sequence[Any],
    numbers: Sequence[int],
    *,
    size: int,
    after: str | None,
) -> Connection[T]:
    """As `connection`, of nodes that are tuples; the key of each is its number."""
    cursors = list(map(_number_cursor, numbers[:size]))
    edges: Any = rows(list(zip(cursors, nodes[:size], strict=True)))
    return _connection(edges, cursors, after=after, has_next_page=len(nodes) > size)


def _connection(
    edges: list[Edge[T]], cursors: list[str], *, after: str | None, has_next_page: bool
) -> Connection[T]:
    return Connection(
        edges=edges,
        page_info=PageInfo(
            has_next_page=has_next_page,
            has_previous_page=after is not None,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        ),
    )
