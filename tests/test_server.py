"""What surrounds GraphQL: probes, metrics, logs, headers, CORS, pages, shutdown."""

import io
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import structlog

from app.config import Mode
from app.observability import bind_request_id, configure_logging
from tests.toy_server import SECRET, Toy, calls, make_serving, run_toy

HELLO = "query Hello($name: String!) { hello(name: $name) }"
JSON_TYPE = {"content-type": "application/json"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Hello.graphql").write_text(HELLO)
    (tmp_path / "Broken.graphql").write_text("query Broken { broken }")
    return tmp_path


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the process writes, as in production."""
    stream = io.StringIO()
    configure_logging("DEBUG", messages=False, stream=stream)
    yield stream
    configure_logging("WARNING", messages=True)


def lines(log: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_the_probes(folder: Path) -> None:
    with run_toy(make_serving(folder=folder)) as toy:
        assert httpx.get(f"{toy.base}/healthz").json() == {"status": "ok"}
        response = httpx.get(f"{toy.base}/readyz")
        assert (response.status_code, response.json()) == (200, {"status": "ok", "database": "ok"})
        toy.ready["database"] = False
        response = httpx.get(f"{toy.base}/readyz")
        assert response.status_code == 503
        assert response.json() == {"status": "unavailable", "database": "failed"}
        assert SECRET not in response.text
        assert httpx.get(f"{toy.base}/healthz").status_code == 200
        assert httpx.post(f"{toy.base}/healthz").status_code == 405


def test_metrics_count_by_the_names_of_trusted_documents_only(folder: Path) -> None:
    with run_toy(make_serving(folder=folder)) as toy:
        before = samples(toy)
        for _ in range(3):
            send(toy, HELLO, name="x")
        send(toy, "query Broken { broken }")
        for name in ("Made", "Up", "By", "Anybody"):
            send(toy, f"query {name} {{ hello }}")
        httpx.post(toy.url, content=b"null", headers=JSON_TYPE)
        after = samples(toy)

    def grew(sample: str) -> float:
        return after.get(sample, 0) - before.get(sample, 0)

    assert grew('wellward_requests_total{operation="Hello",outcome="ok"}') == 3
    assert grew('wellward_requests_total{operation="Broken",outcome="errors"}') == 1
    assert grew('wellward_requests_total{operation="other",outcome="ok"}') == 4
    assert grew('wellward_requests_total{operation="other",outcome="refused"}') == 1
    assert grew('wellward_request_seconds_count{operation="Hello"}') == 3
    assert grew("wellward_internal_errors_total") == 1
    assert not any("Anybody" in sample for sample in after)


def samples(toy: Toy) -> dict[str, float]:
    text = httpx.get(f"{toy.base}/metrics").text
    found = re.findall(r"^([a-z_]+(?:\{.*\})?) ([0-9.e+-]+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def send(
    toy: Toy, query: str, headers: dict[str, str] | None = None, **variables: str
) -> httpx.Response:
    body = {"query": query, "variables": variables}
    return httpx.post(toy.url, json=body, headers=headers)


def test_the_log_is_json_and_holds_no_variable_query_string_or_token(
    folder: Path, log: io.StringIO
) -> None:
    with run_toy(make_serving(folder=folder)) as toy:
        headers = {"authorization": "Bearer good", "x-request-id": "trace-0001"}
        send(toy, HELLO, headers, name="Li Na 182/95")
        httpx.get(f"{toy.base}/healthz?secret=mmHg")
        httpx.get(f"{toy.base}/nowhere?secret=mmHg")
    requests = {line["path"]: line for line in lines(log) if line["event"] == "request"}
    graphql = requests["/graphql"]
    assert graphql["request_id"] == "trace-0001"
    assert (graphql["method"], graphql["status"], graphql["operation"], graphql["outcome"]) == (
        "POST",
        200,
        "Hello",
        "ok",
    )
    assert isinstance(graphql["ms"], float) and graphql["level"] == "info"
    assert requests["/healthz"]["level"] == "debug"
    assert requests["/nowhere"]["status"] == 404
    for leak in ("Li Na", "182/95", "mmHg", "Bearer", "good", "secret="):
        assert leak not in log.getvalue()


def test_a_masked_error_is_logged_with_its_stack_and_without_values(
    folder: Path, log: io.StringIO
) -> None:
    with run_toy(make_serving(folder=folder)) as toy:
        response = send(toy, "query Broken { broken }")
        logging.getLogger("third.party").error("it broke", exc_info=ValueError(SECRET))
    correlation_id = response.json()["errors"][0]["extensions"]["correlationId"]
    [line] = [line for line in lines(log) if line["event"] == "internal_error"]
    assert line["correlation_id"] == line["request_id"] == correlation_id
    assert line["path"] == "broken"
    [error] = line["exception"]  # type: ignore[misc]
    assert error["type"] == "builtins.ValueError"
    assert re.search(r"toy_server\.py:\d+ broken$", error["frames"][-1])
    assert SECRET not in log.getvalue() and "mmHg" not in log.getvalue()
    assert any(line["event"] == "it broke" for line in lines(log))


def test_development_logs_the_messages_of_exceptions() -> None:
    stream = io.StringIO()
    configure_logging("INFO", messages=True, stream=stream)
    try:
        bind_request_id("trace-0002")
        try:
            try:
                raise KeyError("inner")
            except KeyError as inner:
                raise ValueError("outer") from inner
        except ValueError as error:
            structlog.get_logger("x").error("broke", exc_info=error, access_token="t0p")
        [line] = lines(stream)
        assert [one["message"] for one in line["exception"]] == ["outer", "'inner'"]  # type: ignore[attr-defined]
        assert line["access_token"] == "[removed]" and line["request_id"] == "trace-0002"
    finally:
        bind_request_id("")
        configure_logging("WARNING", messages=True)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("trace-0001", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("short", False),
        ('inject"quote-12345', False),
        ("", False),
    ],
)
def test_a_sane_request_id_is_kept(sent: str, kept: bool) -> None:
    with run_toy(make_serving()) as toy:
        found = send(toy, "{ hello }", {"x-request-id": sent}).headers["x-request-id"]
    assert (found == sent) == kept
    assert re.fullmatch(r"[A-Za-z0-9._-]{8,64}", found)


def test_security_headers_stand_on_every_answer() -> None:
    with run_toy(make_serving(free=False), mode=Mode.PRODUCTION) as toy:
        for response in (
            send(toy, "{ hello }"),
            httpx.get(f"{toy.base}/nowhere"),
            httpx.get(f"{toy.base}/healthz"),
        ):
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["x-frame-options"] == "DENY"
            assert response.headers["cache-control"] == "no-store"
            assert "default-src 'none'" in response.headers["content-security-policy"]
            assert "max-age" in response.headers["strict-transport-security"]
            assert response.headers["x-request-id"]
            assert "access-control-allow-origin" not in response.headers


def test_cors_is_off_unless_an_origin_is_named() -> None:
    preflight = {
        "origin": "https://console.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-acting-for",
    }
    with run_toy(make_serving()) as toy:
        response = httpx.options(toy.url, headers=preflight)
        assert response.status_code == 405
        assert "access-control-allow-origin" not in response.headers
    with run_toy(make_serving(), cors_origins=["https://console.example"]) as toy:
        response = httpx.options(toy.url, headers=preflight)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://console.example"
        other = httpx.options(toy.url, headers={**preflight, "origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        answer = send(toy, "{ hello }", {"origin": "https://console.example"})
        assert answer.headers["access-control-allow-origin"] == "https://console.example"


def test_the_pages_exist_in_development_only() -> None:
    with run_toy(make_serving()) as toy:
        page = httpx.get(f"{toy.base}/graphiql")
        assert page.status_code == 200 and "text/html" in page.headers["content-type"]
        nonce = re.search(r"script-src 'nonce-([^']+)'", page.headers["content-security-policy"])
        assert nonce is not None and f'<script nonce="{nonce[1]}">' in page.text
        assert not re.search(r"(src|href)=.?(https?:)?//", page.text)
        assert "type Query" in httpx.get(f"{toy.base}/schema.graphql").text
    with run_toy(make_serving(free=False), mode=Mode.PRODUCTION) as toy:
        assert httpx.get(f"{toy.base}/graphiql").status_code == 404
        assert httpx.get(f"{toy.base}/schema.graphql").status_code == 404


def test_stopping_lets_requests_finish() -> None:
    before = calls["slow_finished"]
    answers: list[httpx.Response] = []
    with run_toy(make_serving()) as toy:
        thread = threading.Thread(target=lambda: answers.append(send(toy, "{ slow(seconds: 1) }")))
        thread.start()
        time.sleep(0.4)
        toy.server.should_exit = True
        thread.join(timeout=10)
    assert [answer.json() for answer in answers] == [{"data": {"slow": "done"}}]
    assert calls["slow_finished"] == before + 1
