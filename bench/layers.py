"""`python -m bench.layers`: what each layer around the execution of Home costs.

The application of production is called in this process, with a database and a proven token, but
without a socket. Each layer is then called alone, with what it gets in a request. CPU time of this
process; medians of windows that take turns, so that a busy machine slows all of them alike.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from app import main as product
from app import observability
from app.config import Mode, Settings
from app.graphql.http import GraphQLOverHttp, _check_head, _read_headers, negotiate, read_body
from app.graphql.params import read_json, read_params
from app.graphql.serving import Serving, bearer_token
from app.middleware import Requests, Shortcut
from bench import series, servers, sign_in
from bench.ledger_report import Figure, table

ROOT = Path(__file__).resolve().parent.parent
Call = Callable[[], Awaitable[Any]]


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Windows of each layer.")] = 9,
    seconds: Annotated[float, typer.Option(min=0.05, help="Length of one window.")] = 0.3,
    output: Annotated[Path, typer.Option(help="Where the figures go.")] = ROOT
    / "var"
    / "bench-layers.json",
) -> None:
    """What the layers around the execution of Home cost."""
    with ExitStack() as stack:
        place = stack.enter_context(servers.database())
        now = datetime.fromtimestamp(time.time(), UTC)
        [member, *_] = asyncio.run(servers.load_members(place, members=32, days=30, now=now))
        issuer = stack.enter_context(sign_in.issuing())
        settings = Settings(
            mode=Mode.PRODUCTION, database_url=place.database_url, oidc_issuers=[issuer.setting]
        )
        app = product.create_app(settings)
        # Each line is written at once, as to the standard output, and kept nowhere.
        observability._stream = stack.enter_context(open(os.devnull, "w", buffering=1))
        token = issuer.token(member.subject, now=now)
        figures = asyncio.run(_measure(app, token, rounds, seconds))
    Console(width=120).print(table(figures))
    output.parent.mkdir(parents=True, exist_ok=True)
    found = [{"name": it.name, "value": it.value, "unit": it.unit} for it in figures]
    loads = {"load_before": os.getloadavg()[1], "cpus": os.cpu_count()}
    output.write_bytes(orjson.dumps({**loads, "figures": found}, option=orjson.OPT_INDENT_2))


async def _measure(app: Any, token: str, rounds: int, seconds: float) -> list[Figure]:
    async with app.router.lifespan_context(app):
        calls = await _calls(app, token)
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                times[name].append(await _time(call, seconds / len(calls)))
    found = {name: median(it) * 1e6 for name, it in times.items()}
    # Both are a part of the outermost layer, which cannot be called without them.
    found[_OUTERMOST] -= found["metrics"] + found["log"]
    layers = sum(it for name, it in found.items() if name not in _WHOLE)
    share = layers / found[_WHOLE[0]]
    return [
        *(Figure(name, value, "µs") for name, value in found.items()),
        Figure("layers ÷ whole request", share, "", "aim: at most 0.15"),
    ]


_WHOLE = ("whole request", "execution")
_OUTERMOST = "request id and headers"


async def _calls(app: Any, token: str) -> dict[str, Call]:
    asked = {"version": 1, "sha256Hash": series.document_id("Home")}
    body = orjson.dumps({"operationName": "Home", "extensions": {"persistedQuery": asked}})
    scope = _scope(token, len(body))
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async def whole() -> None:
        sent.clear()
        await app({**scope, "state": {}}, receive, send)

    await whole()
    assert sent[0]["status"] == 200, sent
    assert orjson.loads(sent[1]["body"])["data"]["me"]["tasksToday"], "nothing to show"
    head = [{**message} for message in sent]

    async def nothing(_scope: Any, _receive: Any, send: Any) -> None:
        for message in head:
            await send({**message})

    around = Requests(nothing, graphql_path="/graphql", hsts=True)

    async def outermost() -> None:
        await around({**scope, "state": {}}, receive, send)

    inner = await _inner(_serving(app), scope, receive, token)
    return {_WHOLE[0]: whole, _OUTERMOST: outermost, **_reports(), **inner}


def _reports() -> dict[str, Call]:
    """What the outermost layer does when the answer was sent."""
    line = {
        "method": "POST",
        "path": "/graphql",
        "status": 200,
        "ms": 1.23,
        "operation": "Home",
        "outcome": "ok",
        "request_id": "0" * 32,
    }

    async def metrics() -> None:
        count, latency = observability.of_operation("Home", "ok")
        count.inc()
        latency.observe(0.00123)

    async def log() -> None:
        observability.write_access(logging.INFO, {**line})

    return {"metrics": metrics, "log": log}


async def _inner(
    serving: Serving, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], token: str
) -> dict[str, Call]:
    body = (await receive())["body"]
    viewer = await serving.authenticate(token=token, acting_for=None)
    operation = serving.documents.find(read_params(read_json(body, serving.limits)))

    async def guard() -> None:
        headers = _read_headers(scope)
        _check_head("POST", headers, negotiate(headers["accept"]))
        await read_body(headers, receive, serving.limits.body_bytes)
        serving.documents.find(read_params(read_json(body, serving.limits)))

    async def authentication() -> None:
        await serving.authenticate(token=bearer_token(f"Bearer {token}"), acting_for=None)

    async def execution() -> Any:
        return await serving.run(operation, {}, viewer, "bench-request")

    data = (await execution()).data

    async def json() -> None:
        orjson.dumps({"data": data})

    return {
        "guard: head, body, parameters, document": guard,
        "authentication": authentication,
        "JSON of the answer": json,
        _WHOLE[1]: execution,
    }


def _scope(token: str, length: int) -> dict[str, Any]:
    headers = {
        "host": "127.0.0.1",
        "accept": "application/graphql-response+json, application/json",
        "content-type": "application/json",
        "content-length": str(length),
        "authorization": f"Bearer {token}",
    }
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }


def _serving(app: Any) -> Serving:
    """What the application serves with: it is behind the layers."""
    layer = app.build_middleware_stack()
    while not isinstance(layer, Shortcut):
        layer = getattr(layer, "_app", None) or layer.app
    assert isinstance(layer._to, GraphQLOverHttp)
    return layer._to._serving


async def _time(call: Call, seconds: float) -> float:
    """CPU seconds of one call."""
    count = 0
    began = time.process_time()
    while time.process_time() - began < seconds:
        for _ in range(10):
            await call()
        count += 10
    return (time.process_time() - began) / count


if __name__ == "__main__":
    typer.run(main)
