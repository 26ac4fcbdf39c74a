"""What is written where a value is read, and what completes it when it is not ordinary."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from graphql import (
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLUnionType,
)

from . import leaves, slots
from .dialect import Instances, Possible, Rows
from .leaves import Rule
from .paths import Link
from .slots import Complete, Field, Slot

if TYPE_CHECKING:
    from .run import Run
    from .writing import Lines, Writer

_FLOAT_MAX = 1.7976931348623157e308


class Later:
    """A function that is made when it is first called; whoever put it somewhere has it itself
    from then on."""

    def __init__(self, make: Callable[[], Complete]) -> None:
        self._make = make
        self._made: Complete | None = None
        self._places: list[tuple[dict[Any, Any], Any]] = []

    def put(self, where: dict[Any, Any], key: Any) -> None:
        where[key] = self._made or self
        self._places.append((where, key))

    def __call__(self, value: Any, link: Link, run: "Run") -> Any:
        made = self._made
        if made is None:
            made = self._made = self._make()
            for where, key in self._places:
                where[key] = made
        return made(value, link, run)


class Place:
    """How values of one type are completed at one place: by what is written where they are read
    (`write`), and by a function (`complete`)."""

    def __init__(self, writer: "Writer", kind: GraphQLOutputType, field: Field) -> None:
        self._writer = writer
        self._field = field
        self._required = isinstance(kind, GraphQLNonNull)
        bare: Any = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
        self._kind = bare
        dialect = writer.plan.dialect
        self._rule: Rule | None = None
        self._instances: Instances | None = None
        self._possible: Possible | None = None
        self._by_class: dict[type, Complete] = {}
        self._select: Later | None = None
        self._items: Later | None = None
        if isinstance(bare, GraphQLList):
            inner = self._listed(bare)
        elif isinstance(bare, GraphQLObjectType):
            self._instances = dialect.instances(bare)
            self._select = writer.selection(bare, field.details)
            inner = slots.object_of(bare, self._select, field, self._instances)
        elif isinstance(bare, GraphQLInterfaceType | GraphQLUnionType):
            inner = self._abstract(bare)
        else:
            self._rule = dialect.leaf(bare)
            inner = slots.leaf(bare)
        nullable = slots.nullable(inner)
        self.complete = slots.non_null(nullable, field) if self._required else nullable

    @property
    def object_types(self) -> Mapping[Any, GraphQLObjectType]:
        """Of a place for objects, by their class where that decides; of one type by None."""
        if isinstance(self._kind, GraphQLObjectType):
            return {None: self._kind}
        return {} if self._possible is None else self._possible.types

    def _listed(self, kind: GraphQLList[Any]) -> Complete:
        writer, field = self._writer, self._field
        slot = Slot(field.nodes, raises=writer.raises(kind.of_type))
        place = Place(writer, kind.of_type, field)
        slot.complete = place.complete
        self._items = Later(lambda: writer.items(place, slot))
        return slots.listed(self._items, slot, field, self._rows(kind.of_type, self._items))

    def _rows(self, kind: GraphQLOutputType, items: Later) -> tuple[type[Rows], Later] | None:
        bare: Any = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
        if not isinstance(bare, GraphQLObjectType):
            return None
        known = self._writer.plan.dialect.rows(bare)
        if known is None:
            return None
        writer, details = self._writer, self._field.details
        return known, Later(lambda: writer.rows(bare, details, known.layout) or items)

    def _abstract(self, kind: GraphQLInterfaceType | GraphQLUnionType) -> Complete:
        writer, field = self._writer, self._field
        selections: dict[GraphQLObjectType, Later] = {}
        completes: dict[GraphQLObjectType, Complete] = {}

        def selection(of: GraphQLObjectType) -> Later:
            if of not in selections:
                selections[of] = writer.selection(of, field.details)
            return selections[of]

        def complete(of: GraphQLObjectType) -> Complete:
            if of not in completes:
                completes[of] = slots.object_of(of, selection(of), field, None)
            return completes[of]

        dialect = writer.plan.dialect
        self._possible = dialect.possible(writer.plan.schema, kind)
        if self._possible is not None:
            for python_class, of in self._possible.types.items():
                selection(of).put(self._by_class, python_class)
        return slots.abstract(kind, complete, field, self._by_class, self._possible)

    def write(
        self, lines: "Lines", var: str, link: str, key: str, slot: Slot, slow: Complete
    ) -> None:
        """`var` becomes its part of the answer."""
        test, then = self._taken(var, link, key, slot, lines)
        if test is not None:
            lines.add(f"if {test}:")
            with lines:
                for line in then or ["pass"]:
                    lines.add(line)
            lines.add("else:" if self._required else f"elif {var} is not None:")
        elif not self._required:
            lines.add(f"if {var} is not None:")
        else:
            lines.add("if True:")
        with lines:
            lines.add(f"{var} = {self._writer.name('f', slow)}({var}, {link}, run)")
            lines.add(f"if {var}.__class__ not in never_awaited and run.is_awaitable({var}):")
            lines.add(f"    pending = note(pending, {key}, {var})")

    def _taken(
        self, var: str, link: str, key: str, slot: Slot, lines: "Lines"
    ) -> tuple[str | None, list[str]]:
        """When a value is ordinary, and what becomes of it."""
        name = self._writer.name
        if self._items is not None:
            function = self._put("l", self._items)
            return f"{var}.__class__ is list", self._called(function, var, link, key, slot, "list")
        if self._select is not None and self._instances is not None:
            test = _is_one_of(var, self._instances.classes, name)
            test += _unless(var, self._instances.unless)
            function = self._put("o", self._select)
            return test, self._called(function, var, link, key, slot, "dict")
        if self._possible is not None:
            lines.add(f"of = {name('m', self._by_class)}.get({var}.__class__)")
            test = "of is not None" + _unless(var, self._possible.unless)
            return test, self._called("of", var, link, key, slot, "dict")
        return _leaf(self._rule, var, self._kind, name)

    def _put(self, prefix: str, function: Later) -> str:
        name = self._writer.name(prefix, None)
        function.put(self._writer.names, name)
        return name

    def _called(
        self, function: str, var: str, link: str, key: str, slot: Slot, made: str
    ) -> list[str]:
        later = self._writer.name("a", slot.later)
        return [
            f"{var} = {function}({var}, {link}, run)",
            f"if {var}.__class__ is not {made}:",
            f"    {var} = {later}({var}, {link}, run)",
            f"    pending = note(pending, {key}, {var})",
        ]


def _is_one_of(var: str, classes: tuple[type, ...], name: Callable[[str, Any], str]) -> str:
    if len(classes) <= 2:
        tests = [f"{var}.__class__ is {name('c', it)}" for it in classes]
        return tests[0] if len(tests) == 1 else f"({' or '.join(tests)})"
    return f"{var}.__class__ in {name('c', frozenset(classes))}"


def _unless(var: str, attribute: str | None) -> str:
    return "" if attribute is None else f" and not hasattr({var}, {attribute!r})"


def _leaf(
    rule: Rule | None, var: str, kind: Any, name: Callable[[str, Any], str]
) -> tuple[str | None, list[str]]:
    match rule:
        case leaves.Exactly(kinds=kinds):
            return _is_one_of(var, tuple(kinds), name), []
        case leaves.Whole():
            return f"{var}.__class__ is int and -2147483648 <= {var} <= 2147483647", []
        case leaves.Finite():
            return f"{var}.__class__ is float and {-_FLOAT_MAX!r} <= {var} <= {_FLOAT_MAX!r}", []
        case leaves.Member(kind=python_class, names=names):
            test = _is_one_of(var, (python_class,), name)
            return test, [f"{var} = {name('n', names)}[{var}._name_]"]
        case leaves.Known(texts=texts):
            known = name("n", texts)
            return f"{var}.__class__ is str and {var} in {known}", [f"{var} = {known}[{var}]"]
        case leaves.Written(kinds=kinds, write=write, passed=passed):
            wrong = name("w", lambda value, written: slots.no_leaf(kind, value, written))
            test = f"{var}.__class__ in {name('c', kinds)}"
            then = [
                f"w = {name('w', write)}({var})",
                "if w is None or w is Undefined:",
                f"    raise {wrong}({var}, w)",
                f"{var} = w",
            ]
            if passed:
                unless = _is_one_of(var, tuple(passed), name)
                test = f"{unless} or {test}"
                then = [f"if not {unless}:", *(f"    {line}" for line in then)]
            return test, then
        case _:
            return None, []
