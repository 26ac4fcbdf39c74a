"""What a client selects below a field, fragments included. A directive or a type condition may
leave some of it unused: it counts all the same."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from graphql import FieldNode, FragmentSpreadNode, GraphQLResolveInfo, SelectionSetNode

T = TypeVar("T")
_KNOWN_MAX = 1024


def below(nodes: Iterable[FieldNode], info: GraphQLResolveInfo[Any]) -> Iterator[FieldNode]:
    """The fields directly below these; a fragment that is spread twice is looked at once."""
    seen: set[str] = set()
    pending: list[SelectionSetNode | None] = [node.selection_set for node in nodes]
    while pending:
        selections = pending.pop()
        for selection in selections.selections if selections is not None else ():
            if isinstance(selection, FieldNode):
                yield selection
            elif not isinstance(selection, FragmentSpreadNode):
                pending.append(selection.selection_set)  # type: ignore[attr-defined]
            elif selection.name.value not in seen:
                seen.add(selection.name.value)
                pending.append(info.fragments[selection.name.value].selection_set)


class Remembered(Generic[T]):
    """What is found out from the selection of a field, once for each document."""

    def __init__(self, find: Callable[[GraphQLResolveInfo[Any]], T]) -> None:
        self._find = find
        self._known: dict[int, tuple[list[FieldNode], T]] = {}

    def __call__(self, info: GraphQLResolveInfo[Any]) -> T:
        nodes = info.field_nodes
        # A plan gives each execution the same list. It is kept, so its identity stays its own.
        known = self._known.get(id(nodes))
        if known is None:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            known = self._known[id(nodes)] = nodes, self._find(info)
        return known[1]
