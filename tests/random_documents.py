"""Random documents for a schema, with variables; see random_graphql.py. Two of three are valid, the
others put a variable that may be null where no null may be."""

import re
from random import Random
from typing import Any, NamedTuple

from graphql import (
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_required_argument,
)


class Asked(NamedTuple):
    text: str
    variables: dict[str, Any]
    kind: str
    """query or mutation"""


VARIABLES = {
    "yes": ("Boolean = true", (True, False)),
    "no": ("Boolean!", (True, False, False)),
    "n": ("Int", (1, None, 2**31 - 1)),
    "m": ("Int = 4", (1, None)),
    "s": ("String", ("text", None)),
    "l": ("[Int]", ([1, None], [], 3, None)),
}
WRONG: tuple[Any, ...] = ("x", 1.5, [None, "x"], {"a": 1}, 2**31, True)
INTROSPECTION = (
    "__schema { queryType { name } types { kind name fields { name args { name defaultValue }"
    " type { kind name ofType { name } } } possibleTypes { name } } }"
)


def document(rng: Random, schema: GraphQLSchema, *, mutation: bool) -> Asked:
    kind = "mutation" if mutation else "query"
    root: Any = schema.mutation_type if mutation else schema.query_type
    made = _Document(rng, schema)
    body = made.selection(root, 3)
    if rng.random() < 0.03 and not mutation:
        body += " " + INTROSPECTION
    fragments = " ".join(made.fragments)
    text = f"{{ {body} }} {fragments}"
    used = {name: it for name, it in VARIABLES.items() if re.search(rf"\${name}\b", text)}
    variables = ", ".join(f"${name}: {kind}" for name, (kind, _) in used.items())
    sent: dict[str, Any] = {}
    for name, (_, values) in used.items():
        if name == "no" or rng.random() < 0.7:
            sent[name] = rng.choice(values)
        if rng.random() < 0.01:
            sent[name] = rng.choice(WRONG)
    return Asked(f"{kind} Asked{f'({variables})' if used else ''} {text}", sent, kind)


class _Document:
    def __init__(self, rng: Random, schema: GraphQLSchema) -> None:
        self.rng = rng
        self.schema = schema
        self.fragments: list[str] = []

    def selection(self, kind: Any, depth: int) -> str:
        rng = self.rng
        return " ".join(self.part(kind, depth) for _ in range(rng.randint(1, 4)))

    def part(self, kind: Any, depth: int) -> str:
        rng = self.rng
        chance = rng.random()
        if chance < 0.08:
            return rng.choice(("__typename", "what: __typename"))
        if chance < 0.2 and depth > 0:
            return self.inline(kind, depth)
        if chance < 0.28 and depth > 0:
            return self.spread(kind, depth)
        if not hasattr(kind, "fields"):
            return self.inline(kind, depth) if depth > 0 else "__typename"
        name = rng.choice(list(kind.fields))
        field = kind.fields[name]
        inner = get_named_type(field.type)
        arguments = self.arguments(field)
        # A key says what it holds, so that fields of one key can be merged.
        alias = f"{kind.name}_{name}_{abs(hash_of(arguments))}: " if arguments else ""
        if not alias and rng.random() < 0.15:
            alias = f"other_{name}: "
        head = f"{alias}{name}{arguments}{self.condition()}"
        if not is_composite_type(inner):
            return head
        if depth == 0:
            return f"{head} {{ __typename }}"
        return f"{head} {{ {self.selection(inner, depth - 1)} }}"

    def condition(self) -> str:
        chance = self.rng.random()
        if chance > 0.12:
            return ""
        name = self.rng.choice(("skip", "include"))
        value = self.rng.choice(("true", "false", "$yes", "$no", "$yes", "$no"))
        return f" @{name}(if: {value})"

    def _condition_type(self, kind: Any) -> Any:
        """Itself, or a type that it may be, or that it is one of."""
        found = [kind]
        if is_abstract_type(kind):
            found += self.schema.get_possible_types(kind)
        found += getattr(kind, "interfaces", ())
        return self.rng.choice(found)

    def inline(self, kind: Any, depth: int) -> str:
        on = self._condition_type(kind)
        named = f" on {on.name}" if on is not kind or self.rng.random() < 0.7 else ""
        return f"...{named}{self.condition()} {{ {self.selection(on, depth - 1)} }}"

    def spread(self, kind: Any, depth: int) -> str:
        on = self._condition_type(kind)
        name = f"F{len(self.fragments)}"
        place = len(self.fragments)
        self.fragments.append("")
        body = self.selection(on, depth - 1)
        self.fragments[place] = f"fragment {name} on {on.name} {{ {body} }}"
        again = f" ...{name}" if self.rng.random() < 0.2 else ""
        return f"...{name}{self.condition()}{again}"

    def arguments(self, field: Any) -> str:
        rng = self.rng
        given = []
        for name, argument in field.args.items():
            if is_required_argument(argument) or rng.random() < 0.7:
                given.append(f"{name}: {self.value(name)}")
        return f"({', '.join(given)})" if given else ""

    def value(self, name: str) -> str:
        values = {
            "n": ("1", "$n", "$m", "null"),
            "d": ("2", "$n", "$m"),
            "s": ('"x"', "$s", "null"),
            "c": ("RED", "DARK", "BLUE"),
            "l": ("[1, 2]", "[$n, 3]", "$l", "4", "[]"),
            "p": ("{x: 1}", "{x: $m, tags: [$s]}", '{x: 2, y: null, tags: "one"}', "{x: $n}"),
            "r": ("1", "$m", "$n"),
            "by": ("2", "$m", "$n"),
        }
        return self.rng.choice(values[name])


def hash_of(text: str) -> int:
    """The same in every process."""
    return sum(ord(letter) * 31**place for place, letter in enumerate(text)) % 10**9
