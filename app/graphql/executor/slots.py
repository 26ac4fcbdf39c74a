"""Values completed in graphql-core's own way: the slow half of a plan.

The written functions (`writing.py`) take the ordinary values and leave all others here: nulls
where none may be, exceptions, values to await, values of unknown classes. Each function does what
the method of graphql-core's `Executor` does that its docstring names, in the same order, and with
as many turns of the event loop, so that errors of fields that run at the same time come in the
same order too. What depends on the document alone is decided when the plan is made.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from graphql import (
    FieldNode,
    GraphQLAbstractType,
    GraphQLError,
    GraphQLField,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLOutputType,
    located_error,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.executor import (
    collect_iterator_awaitables,
    invalid_return_type_error,
)
from graphql.pyutils import Undefined, gather_with_cancel, inspect, is_iterable

from .dialect import Instances, Possible, Resolver, Rows
from .paths import Link, as_list, of_field

if TYPE_CHECKING:
    from .run import Run

Complete = Callable[[Any, Link, "Run"], Any]
"""From a value to its part of the answer, or to something to await for it."""
NEVER_AWAITED = frozenset({dict, list, str, int, float, bool, type(None)})
"""Classes of which no object can be awaited."""
Pending = list[tuple[Any, Awaitable[Any]]]
"""Keys of an object or indices of a list, each with what is still to be awaited."""


class Slot:
    """A place in the answer that holds a value: a field, or the items of a list."""

    __slots__ = ("complete", "nodes", "raises")

    def __init__(self, nodes: list[FieldNode], *, raises: bool) -> None:
        self.nodes = nodes
        self.raises = raises
        """Whether an error is the error of what is around: the type is non-null."""
        self.complete: Complete

    def finish(self, value: Any, link: Link, run: "Run") -> Any:
        """Complete what was read. The second half of `execute_field`; for an item
        `complete_list_item_value`, whose errors the caller gives to `failed`."""
        if value.__class__ not in NEVER_AWAITED and run.is_awaitable(value):
            return self.awaited(value, link, run)
        completed = self.complete(value, link, run)
        if completed.__class__ not in NEVER_AWAITED and run.is_awaitable(completed):
            return self.later(completed, link, run)
        return completed

    async def awaited(self, value: Awaitable[Any], link: Link, run: "Run") -> Any:
        """`complete_awaitable_value`, `complete_awaitable_list_item_value`."""
        try:
            found = await run.awaiting(value)
            completed = self.complete(found, link, run)
            if completed.__class__ not in NEVER_AWAITED and run.is_awaitable(completed):
                completed = await completed
        except Exception as error:  # noqa: BLE001 - located and reported
            self.failed(error, link, run)
            return None
        return completed

    async def later(self, completed: Awaitable[Any], link: Link, run: "Run") -> Any:
        """`await_completed` in `execute_field` and `complete_list_item_value`."""
        try:
            return await completed
        except Exception as error:  # noqa: BLE001 - located and reported
            self.failed(error, link, run)
            return None

    def failed(self, error: Exception, link: Link, run: "Run") -> None:
        """`handle_field_error`."""
        located = located_error(error, self.nodes, as_list(link))
        if self.raises:
            raise located
        run.collected_errors.add(located, link)  # type: ignore[arg-type]


class Field(Slot):
    """A field of an object type, as a document asks for it."""

    __slots__ = ("arguments", "definition", "details", "key", "kind", "name", "parent", "resolver")

    def __init__(
        self,
        key: str,
        parent: GraphQLObjectType,
        definition: GraphQLField,
        details: FieldDetailsList,
        *,
        raises: bool,
    ) -> None:
        super().__init__([it.node for it in details], raises=raises)
        self.key = key
        self.name = self.nodes[0].name.value
        self.parent = parent
        self.definition = definition
        self.details = details
        self.kind: GraphQLOutputType = definition.type
        self.resolver: Resolver
        self.arguments: Callable[[Run], dict[str, Any]] | None = None

    def execute(self, source: Any, link: Link, run: "Run") -> Any:
        """`execute_field`; `link` is that of the object."""
        link = (link, self.key, self.parent.name)
        call, takes_info = self.resolver
        try:
            if self.arguments is None:
                value = call(source, run.info(self, link)) if takes_info else call(source)
            elif takes_info:
                value = call(source, run.info(self, link), **self.arguments(run))
            else:
                value = call(source, **self.arguments(run))
            return self.finish(value, link, run)
        except Exception as error:  # noqa: BLE001 - located and reported
            return self.failed(error, link, run)

    def called(self, value: Any, link: Link, run: "Run") -> Any:
        """The second half of `default_field_resolver`, then `finish`."""
        if callable(value):
            value = value(run.info(self, link))
        return self.finish(value, link, run)


# What the written functions call.


def note(pending: Pending | None, key: Any, value: Awaitable[Any]) -> Pending:
    if pending is None:
        return [(key, value)]
    pending.append((key, value))
    return pending


async def gathered(found: Any, pending: Pending) -> Any:
    """An object or a list, once what is missing has come. From `execute_fields` and
    `complete_iterable_value`."""
    if len(pending) == 1:
        key, value = pending[0]
        found[key] = await value
        return found
    values = await gather_with_cancel(*(value for _, value in pending))
    for (key, _), value in zip(pending, values, strict=True):
        found[key] = value
    return found


def left_behind(pending: Pending | None, run: "Run", items: Any = ()) -> None:
    """An error ends an object or a list: nobody waits for the rest of it."""
    waiting = [value for _, value in pending or ()]
    waiting += collect_iterator_awaitables(iter(items), run.is_awaitable)
    if waiting:
        run.settle_in_background(waiting)


def no_leaf(kind: GraphQLLeafType, value: Any, written: Any) -> TypeError:
    return TypeError(
        f"Expected `{inspect(kind)}.coerce_output_value({inspect(value)})`"
        f" to return non-nullable value, returned: {inspect(written)}"
    )


# Makers of `complete`, by kind of type.


def non_null(inner: Complete, field: Field) -> Complete:
    message = f"Cannot return null for non-nullable field {field.parent}.{field.name}."

    def complete(value: Any, link: Link, run: "Run") -> Any:
        completed = inner(value, link, run)
        if completed is None:
            raise TypeError(message)
        return completed

    return complete


def nullable(inner: Complete) -> Complete:
    """The beginning of `complete_value`."""

    def complete(value: Any, link: Link, run: "Run") -> Any:
        if isinstance(value, Exception):
            raise value
        if value is None or value is Undefined:
            return None
        return inner(value, link, run)

    return complete


def leaf(kind: GraphQLLeafType) -> Complete:
    def complete(value: Any, _link: Link, _run: "Run") -> Any:
        written = kind.coerce_output_value(value)
        if written is Undefined or written is None:
            raise no_leaf(kind, value, written)
        return written

    return complete


def listed(
    each: Complete,
    slot: Slot,
    field: Field,
    rows: tuple[type[Rows], Complete] | None,
) -> Complete:
    """`complete_list_value`; `each` is the written function for the items, `rows` that for a list
    of this class."""
    known, of_rows = rows or (None, each)
    message = f"Expected Iterable, but did not find one for field '{field.parent}.{field.name}'."

    def complete(value: Any, link: Link, run: "Run") -> Any:
        if value.__class__ is list:
            return each(value, link, run)
        if value.__class__ is known:
            return of_rows(value, link, run)
        if run.is_async_iterable(value):
            return _async_items(slot, run.cancellable_iterable(value).__aiter__(), link, run)
        if not is_iterable(value):
            raise GraphQLError(message)
        return each(value, link, run)

    return complete


async def _async_items(slot: Slot, items: AsyncIterator[Any], link: Link, run: "Run") -> list[Any]:
    """`complete_async_iterator_value`."""
    found: list[Any] = []
    pending: Pending = []
    try:
        while True:
            try:
                item = await anext(items)
            except StopAsyncIteration:
                break
            except Exception as error:
                raise located_error(error, slot.nodes, as_list(link)) from error
            index = len(found)
            place = (link, index, None)
            try:
                completed = slot.finish(item, place, run)
            except Exception as error:  # noqa: BLE001 - located and reported
                completed = slot.failed(error, place, run)  # type: ignore[func-returns-value]
            found.append(completed)
            if run.is_awaitable(completed):
                pending.append((index, completed))
    except Exception:
        close = getattr(items, "aclose", None)
        if close is not None:
            with suppress(Exception):
                await close()
        left_behind(pending, run)
        raise
    return await gathered(found, pending) if pending else found


def object_of(
    kind: GraphQLObjectType, select: Complete, field: Field, instances: Instances | None
) -> Complete:
    """`complete_object_value`."""
    classes = frozenset(instances.classes) if instances is not None else frozenset()
    unless = instances.unless if instances is not None else None

    def complete(value: Any, link: Link, run: "Run") -> Any:
        if kind.is_type_of is None:
            return select(value, link, run)
        if value.__class__ in classes and (unless is None or not hasattr(value, unless)):
            return select(value, link, run)
        found = kind.is_type_of(value, run.info(field, of_field(link)))
        if run.is_awaitable(found):
            return later(value, found, link, run)
        if not found:
            raise invalid_return_type_error(kind, value, field.details)
        return select(value, link, run)

    async def later(value: Any, found: Awaitable[bool], link: Link, run: "Run") -> Any:
        if not await run.awaiting(found):
            raise invalid_return_type_error(kind, value, field.details)
        selected = select(value, link, run)
        return await selected if run.is_awaitable(selected) else selected

    return complete


def abstract(
    kind: GraphQLAbstractType,
    of_type: Callable[[GraphQLObjectType], Complete],
    field: Field,
    by_class: Mapping[type, Complete],
    possible: Possible | None,
) -> Complete:
    """`complete_abstract_value`; `of_type` gives `complete` for an object type,
    `by_class` what is right for every object of a class."""
    unless = possible.unless if possible is not None else None

    def chosen(name: Any, value: Any, link: Link, run: "Run") -> Any:
        found = run.ensure_valid_runtime_type(
            name, kind, field.details, run.info(field, of_field(link)), value
        )
        return of_type(found)(value, link, run)

    def complete(value: Any, link: Link, run: "Run") -> Any:
        known = by_class.get(value.__class__)
        if known is not None and (unless is None or not hasattr(value, unless)):
            return known(value, link, run)
        resolve = kind.resolve_type or run.type_resolver
        name = resolve(value, run.info(field, of_field(link)), kind)
        if run.is_awaitable(name):
            return later(value, name, link, run)
        return chosen(name, value, link, run)

    async def later(value: Any, name: Awaitable[Any], link: Link, run: "Run") -> Any:
        completed = chosen(await run.awaiting(name), value, link, run)
        return await completed if run.is_awaitable(completed) else completed

    return complete


def serially(fields: Sequence[Field]) -> Complete:
    """`execute_fields_serially`."""

    def execute(source: Any, link: Link, run: "Run") -> Any:
        found: dict[str, Any] = {}
        for at, field in enumerate(fields):
            value = one(field, source, link, run)
            if run.is_awaitable(value):
                return rest(found, at, value, source, link, run)
            found[field.key] = value
        return found

    async def rest(
        found: dict[str, Any], at: int, value: Any, source: Any, link: Link, run: "Run"
    ) -> dict[str, Any]:
        found[fields[at].key] = await value
        for field in fields[at + 1 :]:
            value = one(field, source, link, run)
            found[field.key] = await value if run.is_awaitable(value) else value
        return found

    def one(field: Field, source: Any, link: Link, run: "Run") -> Any:
        if run.abort_signal is not None and run.abort_signal.aborted:
            raise run.abort_error()
        return field.execute(source, link, run)

    return execute
