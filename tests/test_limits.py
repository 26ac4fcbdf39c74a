"""The limits before and after the parser: exact at n and n + 1, and linear in the text."""

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson
import pytest
from graphql import GraphQLSchema, get_introspection_query, parse

from app.graphql.documents import Documents, InvalidDocument, TrustedDocuments
from app.graphql.limits import LimitExceeded, Limits, check_document
from app.graphql.params import BadRequest, Params, read_json, read_params
from tests.toy_server import schema as toy

SCHEMA: GraphQLSchema = toy._schema


def check(text: str, **limits: int) -> None:
    check_document(SCHEMA, parse(text), replace(Limits(), **limits))


def refused(text: str, **limits: int) -> str:
    with pytest.raises(LimitExceeded) as caught:
        check(text, **limits)
    return str(caught.value)


def nested(depth: int) -> str:
    return "{ task " + "{ next " * (depth - 2) + "{ id }" + " }" * (depth - 1)


def test_depth_is_exact() -> None:
    check(nested(7), depth=7)
    assert "7 deep" in refused(nested(8), depth=7)


def test_depth_counts_through_fragments_but_fragments_add_none() -> None:
    text = "{ task { ...A } } fragment A on Task { next { ...B } } fragment B on Task { id }"
    check(text, depth=3)
    assert "2 deep" in refused(text, depth=2)
    inline = "{ task { ... on Task { ... { ... on Task { id } } } } }"
    check(inline, depth=2)
    assert "1 deep" in refused(inline, depth=1)


def test_aliases_are_exact_and_count_wherever_a_fragment_is_spread() -> None:
    check("{ a: hello b: hello }", aliases=2)
    assert "2 aliases" in refused("{ a: hello b: hello c: hello }", aliases=2)
    spread_twice = "{ task { ...A next { ...A } } } fragment A on Task { x: id y: title }"
    check(spread_twice, aliases=4)
    assert "3 aliases" in refused(spread_twice, aliases=3)


@pytest.mark.parametrize(
    "text",
    [
        "query @skip(if: true) { hello @skip(if: false) }",
        "{ hello @skip(if: true) @include(if: true) }",
        "query($a: Int @a @b) { hello }",
        "{ ...A @skip(if: true) } fragment A on Query @a { hello }",
        "{ ... @skip(if: true) { hello @skip(if: true) } }",
        "{ ...A ...A } fragment A on Query { hello @skip(if: true) }",
    ],
)
def test_directives_are_exact_wherever_they_stand(text: str) -> None:
    check(text, directives=2)
    assert "1 directives" in refused(text, directives=1)


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("{ hello }", 1),
        ("{ hello task { id title } }", 4),
        ("{ task { others(first: 7) { id } } }", 1 + 1 + 7),
        ("{ task { others(first: 0) { id } } }", 1 + 1 + 1),
        ("{ task { others(first: -5) { id } } }", 1 + 1 + 1),
        ("{ task { others { id } } }", 1 + 1 + 20),
        ("{ task { others(first: 100000) { id title } } }", 1 + 1 + 200),
        ("{ task { others(first: 99999999999999999999) { id } } }", 1 + 1 + 100),
        ("query($n: Int = 2) { task { others(first: $n) { id } } }", 1 + 1 + 100),
        ("{ task { plain { id } } }", 1 + 1 + 10),
        ("{ task { page(first: 5) { edges { node { id } } } } }", 1 + 1 + 5 * 3),
        (
            "{task{page(first: 5){...P}}} fragment P on TaskConnection {edges{node{id}}}",
            1 + 1 + 5 * 3,
        ),
        (
            "{ task { others(first: 3) { ...A } ...A } } fragment A on Task { plain { id } }",
            1 + (1 + 3 * 11) + 11,
        ),
        ("mutation { a: rename(title: 1) { id } b: rename(title: 1) { id } }", 4),
        ("{ __schema { types { fields { name } } } }", 4),
    ],
)
def test_the_cost_is_exact(text: str, cost: int) -> None:
    check(text, cost=cost)
    assert f"at most {cost - 1} fields" in refused(text, cost=cost - 1)


def test_unused_fragments_are_held_to_the_limits_too() -> None:
    assert "1 deep" in refused("{ hello } fragment A on Task { next { id } }", depth=1)


def test_every_operation_of_a_document_is_held_to_the_limits() -> None:
    assert "aliases" in refused("query A { hello } query B { x: hello }", aliases=0)


@pytest.mark.parametrize(
    "text",
    [
        "{ ...A } fragment A on Query { ...A }",
        "{ ...A } fragment A on Query { ...B } fragment B on Query { task { ...A } }",
        "{ hello } fragment A on Query { ...A }",
    ],
)
def test_a_fragment_that_spreads_itself_is_refused(text: str) -> None:
    assert "itself" in refused(text)


def test_unknown_fields_fragments_and_types_are_left_to_validation() -> None:
    check("{ nope { nope } ...Nope ... on Nope { x } } fragment F on Nope { y { z } }")


def test_the_introspection_query_of_common_tools_passes() -> None:
    check(get_introspection_query())
    check(
        get_introspection_query(
            specified_by_url=True, directive_is_repeatable=True, input_value_deprecation=True
        )
    )


def spread_bomb(levels: int) -> str:
    text = "{ ...f0 }"
    for level in range(levels):
        text += f" fragment f{level} on Query {{ ...f{level + 1} ...f{level + 1} }}"
    return text + f" fragment f{levels} on Query {{ hello }}"


def field_bomb(levels: int) -> str:
    text = "{ task { ...f0 } }"
    for level in range(levels):
        text += (
            f" fragment f{level} on Task"
            f" {{ next {{ ...f{level + 1} }} next {{ ...f{level + 1} }} }}"
        )
    return text + f" fragment f{levels} on Task {{ id }}"


def list_bomb(levels: int) -> str:
    return "{ task " + "{ plain " * levels + "{ id }" + " }" * (levels + 1)


@pytest.mark.parametrize("bomb", [spread_bomb(90), field_bomb(50), list_bomb(60)])
def test_a_bomb_is_refused_in_milliseconds(bomb: str) -> None:
    documents = Documents(toy, TrustedDocuments(), limits=Limits(), free=True)
    began = time.process_time()
    with pytest.raises(LimitExceeded):
        documents.find(Params(bomb, None, None, {}))
    assert time.process_time() - began < 0.5


def test_the_pass_is_linear_in_nested_spreads() -> None:
    def seconds(levels: int) -> float:
        document = parse(spread_bomb(levels))
        times = []
        for _ in range(5):
            began = time.process_time()
            with pytest.raises(LimitExceeded):
                check_document(SCHEMA, document, Limits())
            times.append(time.process_time() - began)
        return min(times)

    # Four times the text may cost about four times as long; doubling per level would be 2^60.
    assert seconds(80) < 12 * seconds(20) + 0.005


@pytest.mark.parametrize("levels", [10, 12, 13])
def test_what_the_limits_let_through_is_quick_to_validate(levels: int) -> None:
    documents = Documents(toy, TrustedDocuments(), limits=Limits(), free=True)
    for bomb in (spread_bomb(levels), field_bomb(levels)):
        began = time.process_time()
        with suppress(LimitExceeded):
            documents.find(Params(bomb, None, None, {}))
        assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "text",
    [
        "{" + "...{" * 600 + "hello" + "}" * 601,
        "{" + "task{" * 900,
        "{ echo(input: " + "[" * 900 + "]" * 900 + ") }",
        "query($a: " + "[" * 900 + "Int" + "]" * 900 + ") { hello }",
        "".join(
            f"fragment f{n} on Query {{" + "...{" * 90 + f"...f{n + 1}" + "}" * 91 for n in range(7)
        )
        + "fragment f7 on Query { hello } { ...f0 }",
    ],
)
def test_deep_nesting_never_reaches_the_end_of_the_stack(text: str) -> None:
    documents = Documents(toy, TrustedDocuments(), limits=Limits(), free=True)
    with pytest.raises((LimitExceeded, InvalidDocument)):
        documents.find(Params(text, None, None, {}))


def test_tokens_are_exact() -> None:
    documents = Documents(toy, TrustedDocuments(), limits=Limits(tokens=5), free=True)
    documents.find(Params("{ hello hello hello }", None, None, {}))
    with pytest.raises(InvalidDocument, match="more than 5 tokens"):
        documents.find(Params("{ hello hello hello hello }", None, None, {}))


def test_the_text_of_a_document_is_exact_in_bytes() -> None:
    documents = Documents(toy, TrustedDocuments(), limits=Limits(document_bytes=16), free=True)
    documents.find(Params("{ hello }#中二", None, None, {}))
    with pytest.raises(BadRequest, match="16 bytes") as caught:
        documents.find(Params("{ hello } #中二", None, None, {}))
    assert caught.value.status == 413


def levels(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_the_depth_of_the_body_is_exact() -> None:
    limits = Limits(json_depth=9)
    read_json(levels(9), limits)
    with pytest.raises(BadRequest, match="more than 9 levels"):
        read_json(levels(10), limits)


HOSTILE: list[tuple[bytes, str]] = [
    (b"", "not valid JSON"),
    (b"{", "not valid JSON"),
    (b"null", "must be a JSON object"),
    (b"1", "must be a JSON object"),
    (b"true", "must be a JSON object"),
    (b'"x"', "must be a JSON object"),
    (b"[]", "batches"),
    (b'[{"query":"{hello}"}]', "batches"),
    (b"1" * 5000, "not valid JSON"),
    (b'{"query":"{hello}","variables":{"a":%s}}' % (b"9" * 5000), "not valid JSON"),
    (b'{"a":NaN}', "not valid JSON"),
    (b'{"a":Infinity}', "not valid JSON"),
    (b'{"a":1e999}', "not valid JSON"),
    (b"\xff\xfe", "not valid JSON"),
    (b'{"query":"\xff"}', "not valid JSON"),
    (b'{"query":"\\ud800"}', "not valid JSON"),
    (b"\xef\xbb\xbf{}", "not valid JSON"),
    ('{"query":"{hello}"}'.encode("utf-16"), "not valid JSON"),
    (b"[" * 100_000, "not valid JSON"),
    (b'{"a":' * 100_000, "not valid JSON"),
    (b'{"a":' + b"[" * 900 + b"]" * 900 + b"}", "more than 32 levels"),
    (b'{"query":"{hello}","variables":{"a":"x\\u0000y"}}', "U\\+0000"),
    (b'{"variables":{"a\\u0000":1}}', "U\\+0000"),
    (b'{"variables":{"a":[1,{"b":["\\u0000"]}]}}', "U\\+0000"),
]


@pytest.mark.parametrize(("body", "reason"), HOSTILE)
def test_hostile_json_is_refused_with_a_sentence(body: bytes, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason) as caught:
        read_json(body, Limits())
    assert caught.value.status == 400


def test_an_escaped_backslash_before_u0000_is_ordinary_text() -> None:
    assert read_json(b'{"a":"\\\\u0000"}', Limits()) == {"a": "\\u0000"}


BAD_PARAMS: list[tuple[dict[str, Any], str]] = [
    ({}, "`query` is missing"),
    ({"query": None}, "`query` is missing"),
    ({"query": ""}, "`query` is missing"),
    ({"query": 1}, "`query` must be a string"),
    ({"query": ["{hello}"]}, "`query` must be a string"),
    ({"query": "{a}", "variables": []}, "`variables` must be an object"),
    ({"query": "{a}", "variables": "{}"}, "`variables` must be an object"),
    ({"query": "{a}", "variables": False}, "`variables` must be an object"),
    ({"query": "{a}", "operationName": 7}, "`operationName` must be a string"),
    ({"query": "{a}", "extensions": "x"}, "`extensions` must be an object"),
    ({"extensions": {"persistedQuery": "x"}}, "version: 1"),
    ({"extensions": {"persistedQuery": {"version": 2, "sha256Hash": "a" * 64}}}, "version: 1"),
    ({"extensions": {"persistedQuery": {"version": 1}}}, "SHA-256"),
    ({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "zz"}}}, "SHA-256"),
    ({"documentId": 5}, "SHA-256"),
    ({"documentId": "a" * 63}, "SHA-256"),
]


@pytest.mark.parametrize(("body", "reason"), BAD_PARAMS)
def test_wrong_parameters_are_refused_with_a_sentence(body: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        read_params(body)


def test_null_parameters_count_as_absent() -> None:
    body = {"query": "{a}", "variables": None, "operationName": None, "extensions": None}
    assert read_params(orjson.loads(orjson.dumps(body))) == Params("{a}", None, None, {})
