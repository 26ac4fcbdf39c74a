"""Writes the Python of a plan: for each selection on an object type one function from the object
to its part of the answer, and for each list one from the list to its items.

A written function reads the fields in order and takes what is ordinary at once: a `str` for a
`String`, an object of the one class its type has. Everything else it hands to the field's `finish`
(`slots.py`), which also says what went wrong and where. So nothing is read twice, and no error is
made here. As an example, for `{ text box { id } }`:

    def o7(source, path, run):
        pending = None
        try:
            try:
                v0 = source.text
                if v0.__class__ is str: pass
                else:
                    v0 = f8(v0, (path, 'text', 'Box'), run)
                    if is_awaitable(v0): pending = note(pending, 'text', v0)
            except Exception as error:
                v0 = e9(error, (path, 'text', 'Box'), run)
            ...
        except Exception:
            left_behind(pending, run)
            raise
        found = {'text': v0, 'box': v1}
        return found if pending is None else gathered(found, pending)

Only names that GraphQL or Python took as identifiers come into the source, everything else is a
global of the functions. A function is written when it is first called, so what is never asked for
(an object type of a union) costs nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from graphql import (
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLUnionType,
    is_non_null_type,
)
from graphql.execution.collect_fields import (
    FieldDetailsList,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues
from graphql.pyutils import Undefined

from . import leaves, slots
from .dialect import Attribute, Default, Instances, Possible, Property, Reading
from .inputs import arguments
from .leaves import Rule
from .paths import Link
from .slots import Complete, Field, Slot

if TYPE_CHECKING:
    from .plan import Plan
    from .run import Run

_FLOAT_MAX = 1.7976931348623157e308


class Writer:
    """The functions of one operation, for one answer to each of its `@skip` and `@include`."""

    def __init__(self, plan: "Plan", conditions: VariableValues) -> None:
        self._plan = plan
        self._conditions = conditions
        self._count = 0
        self.names: dict[str, Any] = {
            "Mapping": Mapping,
            "Undefined": Undefined,
            "never_awaited": slots.NEVER_AWAITED,
            "note": slots.note,
            "gathered": slots.gathered,
            "left_behind": slots.left_behind,
        }
        """The globals of the functions."""
        self._roots: dict[bool, Complete] = {}

    def root(self, serially: bool) -> Complete:
        """Raises GraphQLError, RecursionError."""
        made = self._roots.get(serially)
        if made is None:
            kind = self._plan.root_type
            assert kind is not None
            grouped = collect_fields(
                self._plan.schema,
                self._plan.fragments,
                self._conditions,
                kind,
                self._plan.operation,
            ).grouped_field_set
            if serially:
                made = slots.serially([field for field, _ in self._fields(kind, grouped)])
            else:
                made = self._object(kind, grouped)
            self._roots[serially] = made
        return made

    def name(self, prefix: str, value: Any) -> str:
        """A new global."""
        self._count += 1
        name = f"{prefix}{self._count}"
        self.names[name] = value
        return name

    def selection(self, kind: GraphQLObjectType, details: FieldDetailsList) -> "Later":
        def make() -> Complete:
            plan = self._plan
            grouped = collect_subfields(
                plan.schema, plan.fragments, self._conditions, plan.operation, kind, details
            ).grouped_field_set
            return self._object(kind, grouped)

        return Later(make)

    def _fields(
        self, kind: GraphQLObjectType, grouped: GroupedFieldSet
    ) -> Iterable[tuple[Field, "_Place"]]:
        for key, details in grouped.items():
            definition = self._plan.schema.get_field(kind, details[0].node.name.value)
            if definition is not None:
                raises = self._raises(definition.type)
                field = Field(key, kind, definition, details, raises=raises)
                field.resolver = self._plan.dialect.resolver(kind, definition)
                field.arguments = arguments(definition, field.nodes[0])
                place = _Place(self, field.kind, field)
                field.complete = place.complete
                yield field, place

    def _raises(self, kind: GraphQLOutputType) -> bool:
        return self._plan.error_propagation and is_non_null_type(kind)

    def _object(self, kind: GraphQLObjectType, grouped: GroupedFieldSet) -> Complete:
        lines = _Lines()
        found: list[str] = []
        with_default = False
        for number, (field, place) in enumerate(self._fields(kind, grouped)):
            var, key = f"v{number}", field.key
            reading = self._reading(kind, field)
            if field.name == "__typename" and self._plan.dialect.middleware is None:
                found.append(f"{key!r}: {kind.name!r}")
                continue
            found.append(f"{key!r}: {var}")
            if reading is None:
                run_field = self.name("x", field.execute)
                lines.add(f"{var} = {run_field}(source, path, run)")
                lines.add(f"if {var}.__class__ not in never_awaited and run.is_awaitable({var}):")
                lines.add(f"    pending = note(pending, {key!r}, {var})")
                continue
            with_default = with_default or isinstance(reading, Default)
            slow = field.called if isinstance(reading, Default) else field.finish
            lines.add("try:")
            with lines:
                lines.add(f"{var} = {self._read(reading, field.name)}")
                link = f"(path, {key!r}, {kind.name!r})"
                place.write(lines, var, link, repr(key), field, slow)
            lines.add("except Exception as error:")
            lines.add(f"    {var} = {self.name('e', field.failed)}(error, {link}, run)")
        if not lines:
            lines.add("pass")
        head = ["pending = None"]
        if with_default:
            head.append("mapped = source.__class__ is dict or isinstance(source, Mapping)")
        return self._function(
            "o",
            "source",
            [
                *head,
                "try:",
                *lines.indented(),
                "except Exception:",
                "    left_behind(pending, run)",
                "    raise",
                f"found = {{{', '.join(found)}}}",
                "return found if pending is None else gathered(found, pending)",
            ],
        )

    def items(self, place: "_Place", slot: Slot) -> Complete:
        """For the items of a list."""
        lines = _Lines()
        lines.add("try:")
        link = "(path, index, None)"
        with lines:
            place.write(lines, "v", link, "index", slot, slot.finish)
        lines.add("except Exception as error:")
        lines.add(f"    v = {self.name('e', slot.failed)}(error, {link}, run)")
        lines.add("add(v)")
        return self._function(
            "l",
            "items",
            [
                "pending = None",
                "found = []",
                "add = found.append",
                "items = iter(items)",
                "try:",
                "    for index, v in enumerate(items):",
                *lines.indented(2),
                "except Exception:",
                "    left_behind(pending, run, items)",
                "    raise",
                "return found if pending is None else gathered(found, pending)",
            ],
        )

    def _reading(self, kind: GraphQLObjectType, field: Field) -> Reading | None:
        if field.definition.args or field.nodes[0].arguments:
            return None
        return self._plan.dialect.reading(kind, field.definition)

    def _read(self, reading: Reading, name: str) -> str:
        if isinstance(reading, Attribute):
            assert reading.name.isidentifier()
            return f"source.{reading.name}"
        if isinstance(reading, Property):
            return f"{self.name('p', reading.function)}(source)"
        return f"source.get({name!r}) if mapped else getattr(source, {name!r}, None)"

    def _function(self, prefix: str, argument: str, body: list[str]) -> Complete:
        name = self.name(prefix, None)
        lines = [f"def {name}({argument}, path, run):", *(f"    {line}" for line in body)]
        code = compile("\n".join(lines), f"<plan of {self._plan.title}>", "exec")
        exec(code, self.names)  # noqa: S102 - see the top of the module
        made: Complete = self.names[name]
        return made


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


class _Place:
    """How values of one type are completed at one place: by what is written where they are read
    (`write`), and by a function (`complete`)."""

    def __init__(self, writer: Writer, kind: GraphQLOutputType, field: Field) -> None:
        self._writer = writer
        self._field = field
        self._required = isinstance(kind, GraphQLNonNull)
        bare: Any = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
        self._kind = bare
        dialect = writer._plan.dialect
        self._rule: Rule | None = None
        self._instances: Instances | None = None
        self._possible: Possible | None = None
        self._by_class: dict[type, Complete] = {}
        self._select: Later | None = None
        self._items: Complete | None = None
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

    def _listed(self, kind: GraphQLList[Any]) -> Complete:
        writer, field = self._writer, self._field
        slot = Slot(field.nodes, raises=writer._raises(kind.of_type))
        place = _Place(writer, kind.of_type, field)
        slot.complete = place.complete
        self._items = Later(lambda: writer.items(place, slot))
        return slots.listed(self._items, slot, field)

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

        dialect = writer._plan.dialect
        self._possible = dialect.possible(writer._plan.schema, kind)
        if self._possible is not None:
            for python_class, of in self._possible.types.items():
                selection(of).put(self._by_class, python_class)
        return slots.abstract(kind, complete, field, self._by_class, self._possible)

    def write(
        self, lines: "_Lines", var: str, link: str, key: str, slot: Slot, slow: Complete
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
        self, var: str, link: str, key: str, slot: Slot, lines: "_Lines"
    ) -> tuple[str | None, list[str]]:
        """When a value is ordinary, and what becomes of it."""
        name = self._writer.name
        if self._items is not None:
            function = self._put("l", self._items)
            return f"{var}.__class__ is list", self._called(
                function, var, link, key, slot, "list"
            )
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
    if len(classes) == 1:
        return f"{var}.__class__ is {name('c', classes[0])}"
    return f"{var}.__class__ in {name('c', frozenset(classes))}"


def _unless(var: str, attribute: str | None) -> str:
    return "" if attribute is None else f" and {attribute!r} not in {var}.__dict__"


def _leaf(
    rule: Rule | None, var: str, kind: Any, name: Callable[[str, Any], str]
) -> tuple[str | None, list[str]]:
    match rule:
        case leaves.Exactly(kind=python_class):
            return _is_one_of(var, (python_class,), name), []
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
        case leaves.Written(kinds=kinds, write=write):
            wrong = name("w", lambda value, written: slots.no_leaf(kind, value, written))
            return f"{var}.__class__ in {name('c', kinds)}", [
                f"w = {name('w', write)}({var})",
                "if w is None or w is Undefined:",
                f"    raise {wrong}({var}, w)",
                f"{var} = w",
            ]
        case _:
            return None, []


class _Lines:
    """Source that is being written."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1

    def add(self, line: str) -> None:
        self._lines.append("    " * self._depth + line)

    def indented(self, depth: int = 1) -> list[str]:
        return ["    " * depth + line for line in self._lines]
