"""Trusted documents: ids, both forms, the manifest, and what a request may name."""

import time
from hashlib import sha256
from pathlib import Path

import orjson
import pytest
from graphql import parse, print_ast

from app.graphql.documents import (
    MANIFEST,
    Documents,
    InvalidDocument,
    PersistedQueryNotFound,
    PersistedQueryOnly,
    TrustedDocuments,
    check,
    with_typename,
)
from app.graphql.limits import Limits
from app.graphql.params import BadRequest, Params
from tests.toy_server import schema as toy

OPERATIONS = Path(__file__).parent.parent / "schema" / "operations"

WALK = """# The walk.
query Walk { task { ...T __typename } }
fragment T on Task { id next { title } }
"""
SEVERAL = """
query First { hello task { ...Shared } }
mutation Second { rename(title: "x") { ...Shared ...Own } }
fragment Shared on Task { id }
fragment Own on Task { title }
fragment Unused on Task { title }
"""


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def printed(text: str) -> str:
    return print_ast(parse(text))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Walk.graphql").write_text(WALK)
    (tmp_path / "Several.graphql").write_text(SEVERAL)
    return tmp_path


def make_documents(folder: Path, *, free: bool = False, kept_max: int = 200) -> Documents:
    trusted = TrustedDocuments.load(folder)
    return Documents(toy, trusted, limits=Limits(), free=free, kept_max=kept_max)


def by_id(id: str, name: str | None = None) -> Params:
    return Params(None, id, name, {})


def by_text(text: str, name: str | None = None, id: str | None = None) -> Params:
    return Params(text, id, name, {})


def test_typename_goes_into_every_selection_but_the_root_and_never_twice() -> None:
    text = """
      query Q { task { __typename id next { title ... on Task { id } } ...T } }
      fragment T on Task { id }
    """
    assert print_ast(with_typename(parse(text))) == printed("""
      query Q {
        task { __typename id next { title ... on Task { id __typename } __typename } ...T }
      }
      fragment T on Task { id __typename }
    """)


def test_each_operation_of_a_file_is_its_own_document_with_its_own_fragments(
    folder: Path,
) -> None:
    bodies = {one.body for one in TrustedDocuments.load(folder).by_id.values()}
    first = "query First { hello task { ...Shared } } fragment Shared on Task { id }"
    assert printed(first) in bodies
    assert any("Second" in body and "Own" in body and "First" not in body for body in bodies)
    assert not any("Unused" in body for body in bodies)
    assert len(bodies) == 6


def test_ids_are_the_hashes_of_the_printed_text(folder: Path) -> None:
    for id, one in TrustedDocuments.load(folder).by_id.items():
        assert id == one.id == digest(one.body)
        assert one.body == printed(one.body)


@pytest.mark.parametrize("prefix", ["", "sha256:"])
def test_both_forms_run_by_id(folder: Path, prefix: str) -> None:
    documents = make_documents(folder)
    plain = printed(WALK)
    added = print_ast(with_typename(parse(WALK)))
    for body in (plain, added):
        found = documents.find(by_id(digest(body)))
        assert (found.name, found.trusted) == ("Walk", True)
        assert print_ast(found.document) == body


def test_production_takes_trusted_text_and_nothing_else(folder: Path) -> None:
    documents = make_documents(folder, free=False)
    assert documents.find(by_text(printed(WALK))).trusted
    assert documents.find(by_text(WALK)).trusted
    assert documents.find(by_text(WALK.strip())).trusted
    assert documents.find(by_text(printed(WALK), id=digest(printed(WALK)))).trusted
    for text in ("{ hello }", WALK.replace("title", "id"), "{ __schema { types { name } } }", "{"):
        with pytest.raises(PersistedQueryOnly):
            documents.find(by_text(text))


def test_the_text_of_a_file_with_several_operations_needs_a_name(folder: Path) -> None:
    documents = make_documents(folder)
    assert documents.find(by_text(SEVERAL, "First")).name == "First"
    assert documents.find(by_text(SEVERAL, "Second")).name == "Second"
    with pytest.raises(PersistedQueryOnly):
        documents.find(by_text(SEVERAL))


def test_an_unknown_id_is_not_found(folder: Path) -> None:
    with pytest.raises(PersistedQueryNotFound, match=r"^PersistedQueryNotFound$") as caught:
        make_documents(folder, free=True).find(by_id("0" * 64))
    assert caught.value.code == "PERSISTED_QUERY_NOT_FOUND"


@pytest.mark.parametrize("free", [True, False])
def test_a_text_must_have_the_hash_that_the_request_names(folder: Path, free: bool) -> None:
    with pytest.raises(BadRequest, match="SHA-256"):
        make_documents(folder, free=free).find(by_text("{ hello }", id=digest(printed(WALK))))


def test_another_operation_name_is_refused(folder: Path) -> None:
    documents = make_documents(folder, free=True)
    assert documents.find(by_id(digest(printed(WALK)), "Walk")).name == "Walk"
    for params in (
        by_id(digest(printed(WALK)), "Other"),
        by_text("query A { hello }", "B"),
        by_text("{ hello }", "B"),
        by_text("query A { hello } query B { hello }"),
        by_text("fragment A on Task { id } query A { task { ...A } }", "C"),
    ):
        with pytest.raises(BadRequest, match="operationName"):
            documents.find(params)


def test_a_document_without_an_operation_is_refused(folder: Path) -> None:
    documents = make_documents(folder, free=True)
    with pytest.raises(InvalidDocument):
        documents.find(by_text("type Query { x: Int }"))
    with pytest.raises((InvalidDocument, BadRequest)):
        documents.find(by_text("fragment A on Task { id }"))


def test_a_document_is_parsed_and_validated_once(folder: Path) -> None:
    documents = make_documents(folder, free=True)
    text = "query Free { task { id title } }"
    assert documents.find(by_text(text)).document is documents.find(by_text(text)).document
    id = digest(printed(WALK))
    assert documents.find(by_id(id)) is documents.find(by_id(id))


def test_a_known_document_costs_microseconds(folder: Path) -> None:
    documents = make_documents(folder)
    params = by_id(digest(printed(WALK)))
    documents.find(params)
    began = time.process_time()
    for _ in range(1000):
        documents.find(params)
    assert (time.process_time() - began) / 1000 < 500e-6


def test_only_the_last_free_documents_are_kept(folder: Path) -> None:
    documents = make_documents(folder, free=True, kept_max=2)
    first = documents.find(by_text("{ a: hello }")).document
    second = documents.find(by_text("{ b: hello }")).document
    assert documents.find(by_text("{ a: hello }")).document is first
    documents.find(by_text("{ c: hello }"))
    assert documents.find(by_text("{ a: hello }")).document is first
    assert documents.find(by_text("{ b: hello }")).document is not second


def test_the_manifest_is_apollos(folder: Path) -> None:
    manifest = TrustedDocuments.load(folder).manifest()
    assert manifest["format"] == "apollo-persisted-query-manifest"
    assert manifest["version"] == 1
    assert [one["name"] for one in manifest["operations"]] == sorted(
        2 * ["Walk", "First", "Second"]
    )
    for one in manifest["operations"]:
        assert set(one) == {"id", "name", "type", "body"}
        assert one["id"] == digest(one["body"])
        assert one["type"] == ("mutation" if one["name"] == "Second" else "query")


def test_check_names_what_is_wrong_and_where(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(TrustedDocuments.load(folder).manifest_bytes())
    assert check(toy, folder, Limits()) == []
    (folder / "app" / "Wrong.graphql").write_text("query Wrong { task { nope } }")
    assert check(toy, folder, Limits()) == [
        "app/Wrong.graphql: Cannot query field 'nope' on type 'Task'.",
        f"{MANIFEST} is out of date: run `wellward schema export`",
    ]
    assert "2 deep" in " ".join(check(toy, folder, Limits(depth=2)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{ hello }", "needs a name"),
        ("query {", "Bad.graphql: Syntax Error"),
        ("query Walk { hello }", "Walk is in .* already"),
    ],
)
def test_check_reports_files_that_cannot_be_trusted(folder: Path, text: str, reason: str) -> None:
    (folder / "Bad.graphql").write_text(text)
    problems = check(toy, folder, Limits())
    assert len(problems) == 1
    with pytest.raises(ValueError, match=reason):
        TrustedDocuments.load(folder)


def test_an_invalid_trusted_document_fails_alone(folder: Path) -> None:
    (folder / "Wrong.graphql").write_text("query Wrong { nope }")
    documents = make_documents(folder)
    with pytest.raises(InvalidDocument, match="nope"):
        documents.find(by_id(digest(printed("query Wrong { nope }"))))
    assert documents.find(by_id(digest(printed(WALK)))).name == "Walk"


def test_the_projects_own_documents_load_and_the_manifest_is_up_to_date() -> None:
    trusted = TrustedDocuments.load(OPERATIONS)
    names = {one.name for one in trusted.by_id.values()}
    assert {"Home", "CheckIn", "MemberEvents", "MemberPage", "Worklist"} <= names
    assert (OPERATIONS / MANIFEST).read_bytes() == trusted.manifest_bytes()
    assert orjson.loads((OPERATIONS / MANIFEST).read_bytes()) == trusted.manifest()
