"""Trusted documents, and the free ones of development: parsed and validated once each.

A trusted document is one operation of a file in `schema/operations/`, with the fragments it
uses. Its id is the SHA-256 of the printed text. Each is known in two forms: as written, and
with `__typename` added to every selection, as client code generators send it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import strawberry
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    NameNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    Visitor,
    parse,
    print_ast,
    specified_rules,
    visit,
)
from graphql.utilities import separate_operations
from strawberry.schema.schema import validate_document

from app.errors import RequestFailed
from app.graphql.executor import Plan
from app.graphql.limits import LimitExceeded, Limits, check_document
from app.graphql.params import BadRequest, Params
from app.graphql.plans import compile

MANIFEST = "persisted-query-manifest.json"


class PersistedQueryNotFound(RequestFailed):
    code = "PERSISTED_QUERY_NOT_FOUND"

    def __init__(self) -> None:
        # Apollo's clients look for exactly this text.
        super().__init__("PersistedQueryNotFound")


class PersistedQueryOnly(RequestFailed):
    code = "PERSISTED_QUERY_ONLY"

    def __init__(self) -> None:
        super().__init__("This server runs trusted documents only; send the id of one.")


class InvalidDocument(RequestFailed):
    """The document does not parse or does not validate; `errors` say where."""

    def __init__(self, errors: list[GraphQLError], *, code: str) -> None:
        super().__init__(errors[0].message)
        self.errors = errors
        self.code = code


@dataclass(frozen=True, slots=True)
class Operation:
    """What is left to run: a valid document and which of its operations."""

    document: DocumentNode
    node: OperationDefinitionNode
    name: str | None
    trusted: bool
    plan: Plan

    @property
    def type(self) -> OperationType:
        return self.node.operation


@dataclass(slots=True)
class TrustedDocument:
    """One operation of `schema/operations/`, in one of its two forms."""

    id: str
    name: str
    body: str
    file: str
    type: OperationType
    operation: Operation | None = None
    """Once it was needed and found valid."""


@dataclass(slots=True)
class TrustedDocuments:
    """All of them, by id; `sources` finds one by the text of its file as it stands."""

    by_id: dict[str, TrustedDocument] = field(default_factory=dict)
    sources: dict[tuple[str, str | None], TrustedDocument] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "TrustedDocuments":
        """Raises ValueError for a file that is no GraphQL, an operation without a name, or a
        name used twice."""
        found = cls()
        files: dict[str, str] = {}
        for path in sorted(folder.rglob("*.graphql")):
            text = path.read_text("utf-8")
            documents = list(_read_file(path, text, folder))
            for document in documents:
                if files.setdefault(document.name, document.file) != document.file:
                    raise ValueError(
                        f"{document.file}: {document.name} is in {files[document.name]} already"
                    )
                found.by_id.setdefault(document.id, document)
            found._note_source(text, documents)
        return found

    def _note_source(self, text: str, documents: list[TrustedDocument]) -> None:
        """Several operations in one text are told apart by `operationName`."""
        names = {document.name for document in documents}
        for digest in (_digest(text), _digest(text.strip())):
            for document in documents:
                self.sources.setdefault((digest, document.name), document)
                if len(names) == 1:
                    self.sources.setdefault((digest, None), document)

    def manifest(self) -> dict[str, Any]:
        """Apollo's persisted-query manifest, ordered so that a change shows as a small diff."""
        documents = sorted(self.by_id.values(), key=lambda found: (found.name, len(found.body)))
        return {
            "format": "apollo-persisted-query-manifest",
            "version": 1,
            "operations": [
                {"id": one.id, "name": one.name, "type": one.type.value, "body": one.body}
                for one in documents
            ],
        }

    def manifest_bytes(self) -> bytes:
        return orjson.dumps(self.manifest(), option=orjson.OPT_INDENT_2) + b"\n"


class Documents:
    """Turns the parameters of a request into an operation that is ready to run."""

    def __init__(
        self,
        schema: strawberry.Schema,
        trusted: TrustedDocuments,
        *,
        limits: Limits,
        free: bool,
        kept_max: int = 200,
    ) -> None:
        """`free` also accepts documents that are not trusted (development); the last
        `kept_max` of them stay compiled."""
        self._schema = schema
        self._trusted = trusted
        self._limits = limits
        self._free = free
        self._kept_max = kept_max
        self._kept: OrderedDict[str, list[Operation]] = OrderedDict()

    def find(self, params: Params) -> Operation:
        """Raises PersistedQueryNotFound, PersistedQueryOnly, LimitExceeded, InvalidDocument,
        BadRequest."""
        if params.query is None:
            assert params.document_id is not None
            trusted = self._trusted.by_id.get(params.document_id)
            if trusted is None:
                raise PersistedQueryNotFound
            return self._open(trusted, params.operation_name)
        if len(params.query.encode()) > self._limits.document_bytes:
            raise BadRequest(
                f"`query` is larger than {self._limits.document_bytes} bytes.",
                code="DOCUMENT_TOO_LARGE",
                status=413,
            )
        digest = _digest(params.query)
        if params.document_id not in (None, digest):
            raise BadRequest("`query` does not have the SHA-256 that the request names.")
        trusted = self._trusted.by_id.get(digest) or self._trusted.sources.get(
            (digest, params.operation_name)
        )
        if trusted is not None:
            return self._open(trusted, params.operation_name)
        if not self._free:
            raise PersistedQueryOnly
        return _choose(self._keep(digest, params.query), params.operation_name)

    def _open(self, trusted: TrustedDocument, operation_name: str | None) -> Operation:
        if operation_name not in (None, trusted.name):
            raise _unknown_operation()
        if trusted.operation is None:
            trusted.operation = prepare(self._schema, trusted, self._limits)
        return trusted.operation

    def _keep(self, digest: str, text: str) -> list[Operation]:
        kept = self._kept.get(digest)
        if kept is not None:
            self._kept.move_to_end(digest)
            return kept
        document = _validated(self._schema, text, self._limits)
        kept = self._kept[digest] = [
            _operation(self._schema, document, node, trusted=False)
            for node in _operations(document)
        ]
        if len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)
        return kept


def prepare(schema: strawberry.Schema, trusted: TrustedDocument, limits: Limits) -> Operation:
    """Raises LimitExceeded, InvalidDocument."""
    document = _validated(schema, trusted.body, limits)
    return _operation(schema, document, next(_operations(document)), trusted=True)


def check(schema: strawberry.Schema, folder: Path, limits: Limits) -> list[str]:
    """What is wrong with the trusted documents, a sentence each; empty when all is well."""
    try:
        trusted = TrustedDocuments.load(folder)
    except ValueError as error:
        return [str(error)]
    problems = []
    for document in trusted.by_id.values():
        try:
            prepare(schema, document, limits)
        except InvalidDocument as error:
            problems += [f"{document.file}: {found.message}" for found in error.errors]
        except LimitExceeded as error:
            problems.append(f"{document.file}: {error}")
    manifest = folder / MANIFEST
    if not manifest.exists() or manifest.read_bytes() != trusted.manifest_bytes():
        problems.append(f"{MANIFEST} is out of date: run `wellward schema export`")
    # Both forms of a document say the same.
    return list(dict.fromkeys(problems))


def with_typename(document: DocumentNode) -> DocumentNode:
    """As Apollo's tools do it: `__typename` last in every selection but the operation's own,
    and not where it stands already."""
    return visit(document, _AddTypename())  # type: ignore[no-any-return]


class _AddTypename(Visitor):
    def enter_selection_set(
        self, node: SelectionSetNode, _key: Any, parent: Any, *_: Any
    ) -> SelectionSetNode | None:
        if isinstance(parent, OperationDefinitionNode):
            return None
        if any(
            isinstance(selection, FieldNode) and selection.name.value.startswith("__")
            for selection in node.selections
        ):
            return None
        typename = FieldNode(name=NameNode(value="__typename"))
        return SelectionSetNode(selections=(*node.selections, typename))


def _read_file(path: Path, text: str, folder: Path) -> Iterator[TrustedDocument]:
    file = str(path.relative_to(folder))
    try:
        document = parse(text)
    except GraphQLError as error:
        raise ValueError(f"{file}: {error.message}") from None
    if any(operation.name is None for operation in _operations(document)):
        raise ValueError(f"{file}: every operation needs a name")
    for name, single in separate_operations(document).items():
        for form in (single, with_typename(single)):
            body = print_ast(_sorted(form))
            kind = next(_operations(form)).operation
            yield TrustedDocument(id=_digest(body), name=name, body=body, file=file, type=kind)


def _sorted(document: DocumentNode) -> DocumentNode:
    """The operation, then its fragments by name, as Apollo's manifest has them."""

    def order(definition: Any) -> tuple[bool, str]:
        return isinstance(definition, FragmentDefinitionNode), definition.name.value

    return DocumentNode(definitions=tuple(sorted(document.definitions, key=order)))


def _validated(schema: strawberry.Schema, text: str, limits: Limits) -> DocumentNode:
    """Raises LimitExceeded, InvalidDocument."""
    try:
        document = parse(text, max_tokens=limits.tokens)
    except GraphQLError as error:
        raise InvalidDocument([error], code="GRAPHQL_PARSE_FAILED") from None
    # Before validation, which is not linear in nested spreads.
    check_document(schema._schema, document, limits)
    errors = validate_document(schema._schema, document, tuple(specified_rules))
    if errors:
        raise InvalidDocument(errors, code="GRAPHQL_VALIDATION_FAILED")
    return document


def _operation(
    schema: strawberry.Schema,
    document: DocumentNode,
    node: OperationDefinitionNode,
    *,
    trusted: bool,
) -> Operation:
    name = node.name.value if node.name else None
    return Operation(document, node, name, trusted, compile(schema, document, node))


def _choose(operations: list[Operation], name: str | None) -> Operation:
    if name is None and len(operations) == 1:
        return operations[0]
    for operation in operations:
        if name is not None and operation.name == name:
            return operation
    raise _unknown_operation()


def _unknown_operation() -> BadRequest:
    return BadRequest("`operationName` must name one of the document's operations.")


def _operations(document: DocumentNode) -> Iterator[OperationDefinitionNode]:
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            yield definition


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
