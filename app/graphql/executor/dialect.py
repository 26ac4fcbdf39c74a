"""What a schema's library adds to graphql-core: how values are read, and which Python classes
stand for which types.

`Dialect` itself knows graphql-core alone: everything it says holds for any schema. A dialect for
a library (`strawberry.py`) may say more, and then more of a document runs without a closer look
at each value. It must never say what is not always true.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from graphql import (
    GraphQLAbstractType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
)
from graphql.execution import Executor, MiddlewareManager, default_field_resolver
from graphql.execution.executor import default_type_resolver
from graphql.execution.incremental import IncrementalExecutor
from graphql.pyutils import is_awaitable

from . import leaves
from .leaves import Rule
from .paths import Link, as_path

if TYPE_CHECKING:
    from .run import Run
    from .slots import Field


class Attribute(NamedTuple):
    """The field's value is this attribute of its object."""

    name: str


class Property(NamedTuple):
    """The field's value is what the function gives for its object: it needs nothing else."""

    function: Callable[[Any], Any]


class Default(NamedTuple):
    """graphql-core's default: the key of a mapping, else the attribute of that name; what can be
    called is called."""


class Instances(NamedTuple):
    """Classes of which every object is of the type; an object that has the attribute `unless` needs
    a closer look."""

    classes: tuple[type, ...]
    unless: str | None = None


class Possible(NamedTuple):
    """The object types of an interface or union by the class of the value, with `unless` as
    above."""

    types: Mapping[type, GraphQLObjectType]
    unless: str | None = None


CLASS = "__class__"


class Layout(NamedTuple):
    """How a tuple stands for an object of a type: its attribute at each place (None: not for
    fields). What stands there is written into the answer as it is, but for the attributes in
    `nested`: there a tuple of that layout stands for another object, or None for none. Where that
    is of an interface or union, one attribute is `CLASS`: there its class stands."""

    attributes: tuple[str | None, ...]
    nested: Mapping[str, "Layout"] = {}


class Rows:
    """A list of objects that are made only when somebody goes through it. A plan that is asked for
    nothing but attributes of `layout` writes the tuples in `rows` without them."""

    layout: ClassVar[Layout]

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        return map(self.made, self.rows)

    def made(self, row: tuple[Any, ...]) -> Any:
        """The object that the tuple stands for."""
        raise NotImplementedError

    def first(self, count: int) -> Self:
        raise NotImplementedError


class Resolver(NamedTuple):
    """Called with the object, the info if it takes that, and the arguments by name."""

    call: Callable[..., Any]
    takes_info: bool = True


Reading = Attribute | Property | Default


@dataclass(frozen=True)
class Dialect:
    """graphql-core's own."""

    field_resolver: Callable[..., Any] = default_field_resolver
    type_resolver: Callable[..., Any] = default_type_resolver
    middleware: MiddlewareManager | None = None
    executor_class: type[Executor[Any]] = IncrementalExecutor
    """Runs what is not compiled."""

    @property
    def is_awaitable(self) -> Callable[[Any], bool]:
        """Whether a value can be awaited, as graphql-core decides it."""
        return is_awaitable

    def reading(self, parent: GraphQLObjectType, field: GraphQLField) -> Reading | None:
        """How a field without arguments is read; None: by its resolver."""
        usual = self.middleware is None and self.field_resolver is default_field_resolver
        return Default() if usual and field.resolve is None else None

    def resolver(self, parent: GraphQLObjectType, field: GraphQLField) -> Resolver:
        found = field.resolve or self.field_resolver
        if self.middleware is not None:
            found = self.middleware.get_field_resolver(found)
        return Resolver(found)

    def leaf(self, kind: GraphQLLeafType) -> Rule | None:
        return leaves.built_in(kind)

    def instances(self, kind: GraphQLObjectType) -> Instances | None:
        """Without a test of its own a type takes any object; dictionaries are nothing else."""
        return Instances((dict,)) if kind.is_type_of is None else None

    def possible(self, schema: GraphQLSchema, kind: GraphQLAbstractType) -> Possible | None:
        return None

    def rows(self, kind: GraphQLObjectType) -> type[Rows] | None:
        """The class of lists of this type's objects that are made only when they are needed."""
        return None

    def input_list(self, item: GraphQLInputObjectType) -> Callable[[list[Any]], list[Any]] | None:
        """Coerces a list of non-null items at once; raises anything when one is unusual."""
        return None

    def info(self, run: "Run", field: "Field", link: Link) -> GraphQLResolveInfo[Any]:
        path: Any = as_path(link)
        return GraphQLResolveInfo(
            field.name,
            field.nodes,
            field.kind,
            field.parent,
            path,
            run.schema,
            run.fragment_definitions,
            run.root_value,
            run.operation,
            run.variable_values,
            run.context_value,
            run.is_awaitable,
            run.abort_signal,
            run.async_helpers,
        )
