"""Product documents as YAML, so that nothing is taken for something else.

Plain words are read as YAML 1.2 does: in 1.1 `0100` is 64, `12:30` is 750 and `no` is false. A
number with decimals stays text, since it is read exactly. A key given twice is an error: nobody
knows which value is meant. Size is limited, that of aliases (`*name`) written out as well.
"""

import re
from pathlib import Path
from typing import Any

import yaml

BYTES_MAX = 1_000_000
"""The largest document that ships has 30,000."""
_NODES_MAX = 100_000
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""No database column holds a NUL, and nobody sees the others."""


class NotYaml(ValueError):
    """The message says why, and where."""


def text_of(path: Path) -> str:
    """Raises NotYaml, OSError."""
    with path.open("rb") as file:
        found = file.read(BYTES_MAX + 1)
    if len(found) > BYTES_MAX:
        raise NotYaml(f"more than {BYTES_MAX} bytes")
    try:
        return found.decode()
    except UnicodeDecodeError as error:
        raise NotYaml(f"not UTF-8: {error.reason}") from error


def load(text: str) -> Any:
    """Mappings, lists, texts, whole numbers, true, false and None. Raises NotYaml."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _size(node, {}) > _NODES_MAX:
                raise NotYaml(f"more than {_NODES_MAX} values, aliases written out")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise NotYaml(f"not a YAML document: {where}{error.problem}") from error
    except yaml.YAMLError as error:
        raise NotYaml(f"not a YAML document: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise NotYaml("not a product document: too deep") from error


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # none of YAML 1.1


for _kind, _form, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false", list("tf")),
    # Longer ones stay text, which says by itself that it is too long.
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,17})", list("-+0123456789")),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_form})\Z"), _first
    )


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        name = str(loader.construct_object(key, deep=True))
        if name in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {name!r} stands twice", key.start_mark
            )
        seen.add(name)
    return loader.construct_mapping(node, deep=True)


def _readable(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    found = str(loader.construct_scalar(node))
    if not found.strip() or _CONTROL.search(found):
        raise yaml.constructor.ConstructorError(
            None, None, "a text must say something, without control characters", node.start_mark
        )
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG, _readable)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values there are when each alias is written out."""
    if id(node) not in known:
        known[id(node)] = 0  # what contains itself is refused when it is constructed
        parts = node.value if not isinstance(node, yaml.ScalarNode) else []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]
