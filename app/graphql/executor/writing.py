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

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from graphql import (
    GraphQLError,
    GraphQLObjectType,
    GraphQLOutputType,
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

from . import slots
from .arguments import arguments
from .dialect import CLASS, Attribute, Default, Layout, Property, Reading
from .places import Later, Place
from .slots import Complete, Field, Slot

if TYPE_CHECKING:
    from .plan import Plan


class Writer:
    """The functions of one operation, for one answer to each of its `@skip` and `@include`."""

    def __init__(self, plan: "Plan", conditions: VariableValues) -> None:
        self.plan = plan
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
            kind = self.plan.root_type
            assert kind is not None
            grouped = collect_fields(
                self.plan.schema,
                self.plan.fragments,
                self._conditions,
                kind,
                self.plan.operation,
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
            return self._object(kind, self._grouped(kind, details))

        return Later(make)

    def _fields(
        self, kind: GraphQLObjectType, grouped: GroupedFieldSet
    ) -> Iterable[tuple[Field, "Place"]]:
        for key, details in grouped.items():
            definition = self.plan.schema.get_field(kind, details[0].node.name.value)
            if definition is not None:
                raises = self.raises(definition.type)
                field = Field(key, kind, definition, details, raises=raises)
                field.resolver = self.plan.dialect.resolver(kind, definition)
                field.arguments = arguments(definition, details[0])
                place = Place(self, field.kind, field)
                field.complete = place.complete
                yield field, place

    def raises(self, kind: GraphQLOutputType) -> bool:
        return self.plan.error_propagation and is_non_null_type(kind)

    def _object(self, kind: GraphQLObjectType, grouped: GroupedFieldSet) -> Complete:
        lines = Lines()
        found: list[str] = []
        with_default = False
        for number, (field, place) in enumerate(self._fields(kind, grouped)):
            var, key = f"v{number}", field.key
            reading = self._reading(kind, field)
            if field.name == "__typename" and self.plan.dialect.middleware is None:
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

    def items(self, place: "Place", slot: Slot) -> Complete:
        """For the items of a list."""
        lines = Lines()
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

    def rows(
        self, kind: GraphQLObjectType, details: FieldDetailsList, layout: Layout
    ) -> Complete | None:
        """For a list of `Rows`; None when more is asked for than its tuples hold. Nothing in it can
        fail or be awaited, so there are no paths."""
        lines = Lines()
        names = self._unpacked(layout)
        try:
            made = self._row(kind, details, layout, names, lines)
        except (GraphQLError, RecursionError, _NotThere):
            return None
        head = ["found = []", "add = found.append", f"for {_tuple(layout, names)} in items.rows:"]
        body = [*lines.indented(), f"    add({made})"]
        return self._function("r", "items", [*head, *body, "return found"])

    def _unpacked(self, layout: Layout) -> dict[str, str]:
        """A variable for each attribute."""
        return {it: self.name("a", None) for it in layout.attributes if it is not None}

    def _row(
        self,
        kind: GraphQLObjectType,
        details: FieldDetailsList,
        layout: Layout,
        names: Mapping[str, str],
        lines: "Lines",
    ) -> str:
        """The object that is made of a tuple, once it is unpacked; `lines` make what is nested in
        it. Raises _NotThere."""
        found: list[str] = []
        for field, place in self._fields(kind, self._grouped(kind, details)):
            if field.name == "__typename" and self.plan.dialect.middleware is None:
                found.append(f"{field.key!r}: {kind.name!r}")
                continue
            reading = self._reading(kind, field)
            if not isinstance(reading, Attribute) or reading.name not in names:
                raise _NotThere
            var = names[reading.name]
            nested = layout.nested.get(reading.name)
            if nested is not None:
                var = self._nested(var, place, field.details, nested, lines)
            found.append(f"{field.key!r}: {var}")
        return f"{{{', '.join(found)}}}"

    def _nested(
        self, row: str, place: Place, details: FieldDetailsList, layout: Layout, lines: "Lines"
    ) -> str:
        """What is made of a tuple in another one, or of None."""
        if not place.object_types or (
            None not in place.object_types and CLASS not in layout.attributes
        ):
            raise _NotThere
        names, var = self._unpacked(layout), self.name("v", None)
        lines.add(f"{var} = None")
        lines.add(f"if {row} is not None:")
        with lines:
            lines.add(f"{_tuple(layout, names)} = {row}")
            for python_class, kind in place.object_types.items():
                inner = Lines()
                made = self._row(kind, details, layout, names, inner)
                test = (
                    "True"
                    if python_class is None
                    else f"{names[CLASS]} is {self.name('c', python_class)}"
                )
                lines.add(f"if {test}:")
                with lines:
                    lines.extend(inner)
                    lines.add(f"{var} = {made}")
        return var

    def _grouped(self, kind: GraphQLObjectType, details: FieldDetailsList) -> GroupedFieldSet:
        """Raises GraphQLError, RecursionError."""
        plan = self.plan
        return collect_subfields(
            plan.schema, plan.fragments, self._conditions, plan.operation, kind, details
        ).grouped_field_set

    def _reading(self, kind: GraphQLObjectType, field: Field) -> Reading | None:
        if field.definition.args or field.nodes[0].arguments:
            return None
        return self.plan.dialect.reading(kind, field.definition)

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
        code = compile("\n".join(lines), f"<plan of {self.plan.title}>", "exec")
        exec(code, self.names)  # noqa: S102 - see the top of the module
        made: Complete = self.names[name]
        return made


def _tuple(layout: Layout, names: Mapping[str, str]) -> str:
    read = [names[it] if it is not None else "_" for it in layout.attributes]
    return f"({', '.join(read)},)"


class _NotThere(Exception):
    """Of what a document asks for, something is not in the tuple."""


class Lines:
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

    def extend(self, lines: "Lines") -> None:
        for line in lines._lines:
            self.add(line)

    def indented(self, depth: int = 1) -> list[str]:
        return ["    " * depth + line for line in self._lines]
