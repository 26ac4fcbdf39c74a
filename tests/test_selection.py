"""What is found of a document's selection, and how often it is looked for."""

from typing import Any

from graphql import FieldNode, FragmentDefinitionNode, OperationDefinitionNode, parse

from app.graphql.selection import Remembered, below


class _Info:
    """The parts of an info that are looked at."""

    def __init__(self, document: str) -> None:
        definitions = parse(document).definitions
        [operation] = [it for it in definitions if isinstance(it, OperationDefinitionNode)]
        self.fragments = {
            it.name.value: it for it in definitions if isinstance(it, FragmentDefinitionNode)
        }
        [field] = operation.selection_set.selections
        assert isinstance(field, FieldNode)
        self.field_nodes = [field]


def _names(document: str) -> list[str]:
    info: Any = _Info(document)
    return sorted(node.name.value for node in below(info.field_nodes, info))


def test_fragments_count_and_are_looked_at_once() -> None:
    assert _names("{ me { a b { c } } }") == ["a", "b"]
    assert _names("{ me { a ... on Node { b ...F } ...F ...F } } fragment F on Node { c d }") == [
        *"abcd"
    ]
    assert _names("{ me }") == []


def test_each_list_of_nodes_is_looked_at_once() -> None:
    first, second = _Info("{ me { a } }"), _Info("{ me { a b } }")
    asked: list[object] = []

    @Remembered
    def count(info: Any) -> int:
        asked.append(info)
        return len(list(below(info.field_nodes, info)))

    infos: tuple[Any, ...] = (first, second, first, second)
    assert [count(info) for info in infos] == [1, 2, 1, 2]
    assert asked == [first, second]
