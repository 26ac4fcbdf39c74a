"""GraphQL over HTTP, on a real server: statuses, media types, hostile bodies, masking."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import parse, print_ast

from app.config import Mode
from app.graphql.http import LARGE_BYTES, Deadline, is_utf8_json, negotiate
from app.graphql.limits import Limits
from tests.figures import record_figure
from tests.toy_server import MEMBER, SECRET, Toy, make_serving, run_toy

AUDIT = Path(__file__).parent / "graphql_http_audit"
GRAPHQL_JSON = "application/graphql-response+json"
UTF8_JSON = "application/json; charset=utf-8"
TRUSTED = "query Greet($name: String!) { hello(name: $name) }"


@pytest.fixture(scope="module")
def toy() -> Iterator[Toy]:
    with run_toy(make_serving()) as toy:
        yield toy


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    """Production: trusted documents only."""
    folder = tmp_path_factory.mktemp("operations")
    (folder / "Greet.graphql").write_text(TRUSTED)
    (folder / "Count.graphql").write_text("subscription Count { count(upto: 1) }")
    with run_toy(make_serving(folder=folder, free=False), mode=Mode.PRODUCTION) as toy:
        yield toy


def post(toy: Toy, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(
        toy.url, content=content, headers={"content-type": "application/json", **given}
    )


def code(response: httpx.Response) -> str:
    errors = response.json()["errors"]
    assert len(errors) == 1
    assert errors[0]["message"]
    return str(errors[0]["extensions"]["code"])


def test_answers_a_query(toy: Toy) -> None:
    response = post(toy, {"query": TRUSTED, "variables": {"name": "丽"}})
    assert (response.status_code, response.json()) == (200, {"data": {"hello": "Hello 丽"}})
    assert response.headers["content-type"] == UTF8_JSON


def test_writes_datetimes_and_days(toy: Toy) -> None:
    assert post(toy, {"query": "{ instant day }"}).json()["data"] == {
        "instant": "2026-03-01T07:30:00+00:00",
        "day": "2026-03-01",
    }


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "BAD_REQUEST"),
        (b"null", 400, "BAD_REQUEST"),
        (b"1", 400, "BAD_REQUEST"),
        (b'"x"', 400, "BAD_REQUEST"),
        (b"[]", 400, "BAD_REQUEST"),
        (b'[{"query":"{hello}"}]', 400, "BAD_REQUEST"),
        (b"[" * 200_000, 400, "BAD_REQUEST"),
        (
            b'{"query":"{hello}","variables":{"a":' + b"[" * 500 + b"]" * 500 + b"}}",
            400,
            "BAD_REQUEST",
        ),
        (b"9" * 5000, 400, "BAD_REQUEST"),
        (b'{"query":"{hello}","variables":{"name":' + b"9" * 5000 + b"}}", 400, "BAD_REQUEST"),
        (b'{"query":"{hello}","x":-0.0e-99999}', 200, ""),
        (b"\xff\xfe{}", 400, "BAD_REQUEST"),
        (b'{"query":"\xc3\x28"}', 400, "BAD_REQUEST"),
        (b'{"query":"{hello}","variables":{"name":"\\ud800"}}', 400, "BAD_REQUEST"),
        (b'{"query":"{hello}","variables":{"name":"\\u0000"}}', 400, "BAD_REQUEST"),
        (b'{"query":"{hello(name: \\"\\\\u0000\\")}"}', 400, "BAD_REQUEST"),
        (b"{}", 400, "BAD_REQUEST"),
        (b'{"query":null}', 400, "BAD_REQUEST"),
        (b'{"query":{"a":1}}', 400, "BAD_REQUEST"),
        (b'{"query":"{hello}","variables":"x"}', 400, "BAD_REQUEST"),
        (b'{"query":"{hello}","variables":[]}', 400, "BAD_REQUEST"),
        (b'{"query":"{hello}","operationName":1}', 400, "BAD_REQUEST"),
        (b'{"query":"query A{hello}","operationName":"B"}', 400, "BAD_REQUEST"),
        (b'{"query":"subscription{count(upto:1)}"}', 400, "BAD_REQUEST"),
        (b'{"query":"#' + b"x" * 10_000_000 + b'"}', 413, "BODY_TOO_LARGE"),
        (b'{"query":"#' + b"x" * 900_000 + b'"}', 413, "DOCUMENT_TOO_LARGE"),
        (b'{"documentId":"' + b"0" * 64 + b'"}', 200, "PERSISTED_QUERY_NOT_FOUND"),
        (b'{"query":"{"}', 200, "GRAPHQL_PARSE_FAILED"),
        (b'{"query":"{nope}"}', 200, "GRAPHQL_VALIDATION_FAILED"),
        (b'{"query":"query($n:String!){hello(name:$n)}"}', 200, "BAD_USER_INPUT"),
        (b'{"query":"{hello}","variables":{"unused":1}}', 200, ""),
        (b'{"query":"{' + b"hello " * 3000 + b'}"}', 413, "DOCUMENT_TOO_LARGE"),
        (b'{"query":"{' + b"a " * 3000 + b'}"}', 200, "GRAPHQL_PARSE_FAILED"),
        (b'{"query":"{' + b"...{" * 900 + b'"}', 200, "GRAPHQL_PARSE_FAILED"),
        (b'{"query":"{task' + b"{next" * 20 + b"{id}" + b"}" * 21 + b'"}', 200, "LIMIT_EXCEEDED"),
    ],
)
def test_hostile_bodies_have_exact_answers(toy: Toy, body: bytes, status: int, reason: str) -> None:
    response = post(toy, body)
    assert response.status_code == status
    assert response.headers["content-type"] == UTF8_JSON
    if reason:
        assert code(response) == reason
        assert "data" not in response.json()
    else:
        assert "errors" not in response.json()
    assert "Traceback" not in response.text and ".py" not in response.text
    assert len(response.content) < 2000


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"query": "{"}, 400),
        ({"query": "{ nope }"}, 400),
        ({"query": "query($n: String!) { hello(name: $n) }"}, 400),
        ({"documentId": "0" * 64}, 400),
        ({"query": "{ a: hello " + "b: hello " * 40 + "}"}, 400),
        ({"query": "{ missing }"}, 200),
        ({"query": "{ broken }"}, 200),
        ({"query": "{ hello }"}, 200),
    ],
)
def test_the_graphql_media_type_tells_request_errors_by_status(
    toy: Toy, body: Any, status: int
) -> None:
    response = post(toy, body, accept=GRAPHQL_JSON)
    assert response.status_code == status
    assert response.headers["content-type"] == f"{GRAPHQL_JSON}; charset=utf-8"
    assert ("data" in response.json()) == (status == 200)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_there_is_only_post(toy: Toy, method: str) -> None:
    response = httpx.request(method, toy.url + "?query={hello}")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ('Application/JSON;charset="UTF-8"', 200),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=latin-1", 415),
        ("text/plain", 415),
        ("application/graphql", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
    ],
)
def test_takes_json_in_utf8_only(toy: Toy, content_type: str, status: int) -> None:
    response = post(toy, {"query": "{ hello }"}, content_type=content_type)
    assert response.status_code == status
    assert is_utf8_json(content_type) == (status == 200)


def test_a_missing_content_type_and_a_compressed_body_are_refused(toy: Toy) -> None:
    assert httpx.post(toy.url, content=b'{"query":"{hello}"}').status_code == 415
    response = post(toy, {"query": "{ hello }"}, content_encoding="gzip")
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/json", "application/json"),
        (GRAPHQL_JSON, GRAPHQL_JSON),
        (f"application/json, {GRAPHQL_JSON}", GRAPHQL_JSON),
        (f"application/json, {GRAPHQL_JSON};q=0.9", "application/json"),
        (f"{GRAPHQL_JSON}; charset=utf-8, */*;q=0.1", GRAPHQL_JSON),
        (f"{GRAPHQL_JSON};q=0, application/json;q=0.1", "application/json"),
        ("text/html", None),
        ("application/json;q=0", None),
        ("application/json;q=x", None),
        ("text/html, */*;q=0.1", "application/json"),
    ],
)
def test_negotiates_the_media_type(toy: Toy, accept: str, expected: str | None) -> None:
    assert negotiate(accept) == expected
    response = post(toy, {"query": "{ hello }"}, accept=accept)
    if expected is None:
        assert (response.status_code, code(response)) == (406, "NOT_ACCEPTABLE")
    else:
        assert response.status_code == 200
        assert response.headers["content-type"] == f"{expected}; charset=utf-8"


def test_nobody_signed_in_is_anonymous(toy: Toy) -> None:
    assert post(toy, {"query": "{ hello }"}).json() == {"data": {"hello": "Hello world"}}
    response = post(toy, {"query": "{ me }"})
    assert response.status_code == 200
    assert code(response) == "UNAUTHENTICATED"
    assert response.json()["data"] is None


def test_a_good_token_signs_in(toy: Toy) -> None:
    response = post(toy, {"query": "{ me }"}, authorization="Bearer good")
    assert response.json() == {"data": {"me": str(MEMBER)}}


@pytest.mark.parametrize(
    "authorization",
    ["Bearer forged", "Bearer", "Basic Z29vZA==", "good", "Bearer good good", ""],
)
@pytest.mark.parametrize("accept", ["application/json", GRAPHQL_JSON])
def test_a_bad_token_is_401(toy: Toy, authorization: str, accept: str) -> None:
    response = post(toy, {"query": "{ hello }"}, authorization=authorization, accept=accept)
    assert (response.status_code, code(response)) == (401, "UNAUTHENTICATED")
    assert response.headers["www-authenticate"].startswith('Bearer error="invalid_token"')
    assert "data" not in response.json()
    assert "forged" not in response.text


def test_keys_that_cannot_be_fetched_are_not_the_members_fault(toy: Toy) -> None:
    response = post(toy, {"query": "{ hello }"}, authorization="Bearer down")
    assert (response.status_code, code(response)) == (503, "UNAVAILABLE")
    assert response.headers["retry-after"] == "5"


def test_acting_for_somebody_elses_child_is_refused(toy: Toy) -> None:
    response = post(toy, {"query": "{ me }"}, authorization="Bearer good", x_acting_for=str(MEMBER))
    assert (response.status_code, code(response)) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    "selection",
    ["broken", "unwritable", "missing", "stranger { name }", "person { name }", "people { name }"],
)
def test_what_nobody_expected_is_masked(toy: Toy, selection: str) -> None:
    field = selection.split()[0]
    response = post(toy, {"query": f"{{ {selection} hello }}"}, x_request_id="trace-me-12345")
    assert response.status_code == 200
    error = response.json()["errors"][0]
    assert error["message"] == "Internal error"
    assert error["path"] == [field]
    assert error["extensions"] == {"code": "INTERNAL", "correlationId": "trace-me-12345"}
    for leak in (SECRET, "mmHg", "ValueError", "Traceback", ".py", "Cannot return null"):
        assert leak not in response.text
    data = response.json()["data"]
    assert data == (None if field == "missing" else {field: None, "hello": "Hello world"})


def test_an_argument_that_does_not_fit_at_run_time_is_the_clients(toy: Toy) -> None:
    query = "query($n: Int = 5) { task { others(first: $n) { id } } }"
    response = post(toy, {"query": query, "variables": {"n": None}})
    assert code(response) == "BAD_USER_INPUT"
    assert response.json()["errors"][0]["path"] == ["task", "others"]


def test_an_error_with_a_code_is_meant_for_the_client(toy: Toy) -> None:
    response = post(toy, {"query": "{ coded }"})
    assert code(response) == "BAD_REQUEST"
    assert response.json()["errors"][0]["message"] == "Too many."


def test_a_wrong_variable_says_where_and_is_not_masked(toy: Toy) -> None:
    body = {
        "query": "query($input: EchoInput!) { echo(input: $input) }",
        "variables": {"input": {"text": "x", "number": 1e25, "unknown": 1}},
    }
    errors = post(toy, body).json()["errors"]
    assert [error["extensions"]["code"] for error in errors] == ["BAD_USER_INPUT"] * 2
    assert ".number" in errors[0]["message"] and "unknown" in errors[1]["message"]


def test_the_body_may_be_exactly_as_large_as_the_limit() -> None:
    with run_toy(make_serving(limits=Limits(body_bytes=2048))) as toy:
        body = b'{"query":"{hello}"}'
        assert post(toy, body.ljust(2048)).status_code == 200
        assert code(post(toy, body.ljust(2049))) == "BODY_TOO_LARGE"

        def chunks(size: int) -> Iterator[bytes]:
            yield body
            yield b" " * (size - len(body))

        headers = {"content-type": "application/json"}
        assert httpx.post(toy.url, content=chunks(2048), headers=headers).status_code == 200
        assert httpx.post(toy.url, content=chunks(2049), headers=headers).status_code == 413


def test_a_large_request_waits_for_its_turn_and_a_small_one_does_not() -> None:
    large = {"query": TRUSTED, "variables": {"name": "x" * LARGE_BYTES}}
    small = {"query": TRUSTED, "variables": {"name": "x"}}
    with run_toy(make_serving(large_at_once=0, large_wait_seconds=0.01)) as toy:
        refused = post(toy, large)
        assert (refused.status_code, code(refused)) == (503, "BUSY")
        assert refused.headers["retry-after"] == "1"
        assert (
            post(toy, large, authorization="Bearer nobody").status_code == 401
        )  # and took no place
        assert post(toy, small).json() == {"data": {"hello": "Hello x"}}
    with run_toy(make_serving(large_at_once=1)) as toy, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: post(toy, large).status_code, range(8)))
    assert answers == [200] * 8


def test_a_slow_request_is_given_up() -> None:
    with run_toy(make_serving(timeout_seconds=2)) as toy:
        response = post(toy, {"query": "{ slow(seconds: 30) }"})
        assert (response.status_code, code(response)) == (503, "TIMEOUT")
        assert post(toy, {"query": "{ hello }"}).status_code == 200


async def test_a_deadline_ends_what_takes_longer_and_nothing_else() -> None:
    with Deadline(30):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), Deadline(0):
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None and not task.cancelling()
    with pytest.raises(ValueError), Deadline(0):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError from None
    assert not task.cancelling()


async def test_a_deadline_leaves_the_cancellation_of_others_alone() -> None:
    async def work() -> None:
        with Deadline(30):
            started.set()
            await asyncio.Event().wait()

    started = asyncio.Event()
    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_fifty_at_once_are_all_answered(toy: Toy) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(
            pool.map(
                lambda n: post(toy, {"query": TRUSTED, "variables": {"name": str(n)}}), range(50)
            )
        )
    assert [answer.json()["data"]["hello"] for answer in answers] == [
        f"Hello {n}" for n in range(50)
    ]


def test_production_runs_trusted_documents_by_id_and_refuses_others(strict: Toy) -> None:
    id = sha256(print_ast(parse(TRUSTED)).encode()).hexdigest()
    variables = {"name": "you"}
    expected = {"data": {"hello": "Hello you"}}
    apollo = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": id}}}
    assert post(strict, {**apollo, "variables": variables}).json() == expected
    assert post(strict, {"documentId": id, "variables": variables}).json() == expected
    assert post(strict, {"documentId": f"sha256:{id}", "variables": variables}).json() == expected
    assert post(strict, {"query": TRUSTED, "variables": variables}).json() == expected
    for query in ("{ hello }", "{ __schema { types { name } } }", "{ __typename }"):
        assert code(post(strict, {"query": query})) == "PERSISTED_QUERY_ONLY"
        assert post(strict, {"query": query}, accept=GRAPHQL_JSON).status_code == 400
    assert code(post(strict, {"documentId": "f" * 64})) == "PERSISTED_QUERY_NOT_FOUND"


def test_the_suite_of_graphql_http_passes(toy: Toy) -> None:
    """Every MUST and SHOULD; MAY audits that want a GET are answered 405 on purpose."""
    results = _audit(toy.url)
    record_figure("audits", len(results))
    assert len(results) > 50
    failed = {
        result["name"]: result["reason"]
        for result in results
        if result["status"] != "ok" and not re.match(r"MAY\b", result["name"])
    }
    assert failed == {}
    may = [result["name"] for result in results if result["status"] != "ok"]
    record_figure("MUST and SHOULD not passed", len(failed))
    record_figure("MAY not passed (there is no GET)", len(may))
    assert all("GET" in name for name in may), may


def _audit(url: str) -> list[dict[str, Any]]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node is not installed")
    home = AUDIT.parent.parent / "var" / "graphql_http_audit"
    home.mkdir(parents=True, exist_ok=True)
    for file in ("package.json", "audit.mjs"):
        shutil.copy(AUDIT / file, home / file)
    if not (home / "node_modules" / "graphql-http").exists():
        install = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
        installed = subprocess.run(install, cwd=home, capture_output=True, timeout=120, check=False)
        if installed.returncode != 0:
            pytest.skip("the npm package graphql-http cannot be had here")
    ran = subprocess.run(
        [node, "audit.mjs", url], cwd=home, capture_output=True, text=True, timeout=60, check=True
    )
    return [json.loads(line) for line in ran.stdout.splitlines()]
