"""Where in the answer a value is: a linked list that costs a tuple, and no more, per step.

graphql-core's `Path` has the same three parts but is a named tuple, whose making costs several
times as much. Resolvers get a real `Path`, made when one asks.
"""

from typing import Any

from graphql.pyutils import Path

Link = tuple[Any, str | int, str | None] | None
"""The step before, the key in the answer or the index in a list, and the name of the object type
that has the field (None for an index). None is the root."""


def as_list(link: Link) -> list[str | int]:
    """The keys from the root on."""
    keys: list[str | int] = []
    while link is not None:
        keys.append(link[1])
        link = link[0]
    keys.reverse()
    return keys


def as_path(link: Link) -> Path | None:
    if link is None:
        return None
    before, key, kind = link
    # The tuple's own constructor is several times as fast as the class's.
    made: Path = _new(Path, (None if before is None else as_path(before), key, kind))
    return made


_new: Any = tuple.__new__


def of_field(link: Link) -> Link:
    """The field that an item of a list, or of lists in it, belongs to."""
    while link is not None and link[1].__class__ is int:
        link = link[0]
    return link
