"""graphql-transport-ws on a real server, spoken by hand so that wrong messages can be sent."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import websockets
from graphql import parse, print_ast

from app.graphql.limits import Limits
from tests.toy_server import MEMBER, SECRET, Toy, calls, make_serving, run_toy

GOOD = {"type": "connection_init", "payload": {"authorization": "Bearer good"}}
COUNT = "subscription Count($upto: Int!) { count(upto: $upto) }"
ENDLESS = "subscription { tasks { id } }"


@pytest.fixture(scope="module")
def toy() -> Iterator[Toy]:
    serving = make_serving(init_timeout_seconds=3, subscriptions_max=3, timeout_seconds=2)
    with run_toy(serving) as toy:
        yield toy


class Client:
    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def send(self, message: Any) -> None:
        await self.socket.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def receive(self) -> Any:
        return json.loads(await asyncio.wait_for(self.socket.recv(), 30))

    async def subscribe(self, id: str, query: str, **variables: Any) -> None:
        payload = {"query": query, "variables": variables}
        await self.send({"id": id, "type": "subscribe", "payload": payload})

    async def closed(self) -> tuple[int, str]:
        """Code and reason, after whatever else still arrives."""
        while True:
            try:
                await asyncio.wait_for(self.socket.recv(), 30)
            except websockets.ConnectionClosed as closed:
                assert closed.rcvd is not None
                return closed.rcvd.code, closed.rcvd.reason


@asynccontextmanager
async def connect(toy: Toy, *, init: Any = GOOD) -> AsyncIterator[Client]:
    async with websockets.connect(toy.ws_url, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        client = Client(socket)
        if init is not None:
            await client.send(init)
            assert await client.receive() == {"type": "connection_ack"}
        yield client


async def test_a_subscription_streams_and_completes(toy: Toy) -> None:
    async with connect(toy) as client:
        assert client.socket.subprotocol == "graphql-transport-ws"
        await client.subscribe("1", COUNT, upto=3)
        assert [await client.receive() for _ in range(4)] == [
            *({"id": "1", "type": "next", "payload": {"data": {"count": n}}} for n in range(3)),
            {"id": "1", "type": "complete"},
        ]


async def test_queries_and_mutations_run_too_and_know_who_asks(toy: Toy) -> None:
    async with connect(toy) as client:
        await client.subscribe("q", "{ me }")
        data = {"me": str(MEMBER)}
        assert await client.receive() == {"id": "q", "type": "next", "payload": {"data": data}}
        assert await client.receive() == {"id": "q", "type": "complete"}
        await client.subscribe("q", 'mutation { rename(title: "x") { title } }')
        assert (await client.receive())["payload"] == {"data": {"rename": {"title": "x"}}}


async def test_an_id_may_be_used_again_once_it_is_complete(toy: Toy) -> None:
    async with connect(toy) as client:
        for _ in range(20):
            await client.subscribe("same", COUNT, upto=1)
            assert (await client.receive())["type"] == "next"
            assert (await client.receive())["type"] == "complete"


async def test_several_run_at_once_and_one_can_be_stopped(toy: Toy) -> None:
    async with connect(toy) as client:
        await client.subscribe("a", ENDLESS)
        await client.subscribe("b", ENDLESS)
        seen = {(await client.receive())["id"] for _ in range(10)}
        assert seen == {"a", "b"}
        await client.send({"id": "a", "type": "complete"})
        await asyncio.sleep(0.1)
        for _ in range(150):
            last = await client.receive()
        assert last["id"] == "b"


async def test_streams_are_closed_when_the_client_goes_or_stops(toy: Toy) -> None:
    before = calls["streams_open"]
    async with connect(toy) as client:
        await client.subscribe("1", COUNT, upto=10**6)
        await client.subscribe("2", COUNT, upto=10**6)
        await client.receive()
        await client.receive()
        assert calls["streams_open"] == before + 2
        await client.send({"id": "1", "type": "complete"})
        await wait_until(lambda: calls["streams_open"] == before + 1)
    await wait_until(lambda: calls["streams_open"] == before)


async def test_a_stream_in_which_nothing_happens_is_closed_too(toy: Toy) -> None:
    before = calls["streams_open"]
    async with connect(toy) as client:
        await client.subscribe("1", "subscription { idle }")
        await wait_until(lambda: calls["streams_open"] == before + 1)
    await wait_until(lambda: calls["streams_open"] == before)


async def wait_until(true: Any) -> None:
    for _ in range(1500):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen in 30 s")


async def test_ping_is_answered_before_and_after_the_init(toy: Toy) -> None:
    async with connect(toy, init=None) as client:
        await client.send({"type": "ping", "payload": {"a": 1}})
        assert await client.receive() == {"type": "pong"}
        await client.send({"type": "pong"})
        await client.send(GOOD)
        assert await client.receive() == {"type": "connection_ack"}
        await client.send({"type": "ping"})
        assert await client.receive() == {"type": "pong"}


@pytest.mark.parametrize(
    "init",
    [
        {"type": "connection_init"},
        {"type": "connection_init", "payload": None},
        {"type": "connection_init", "payload": {}},
        {"type": "connection_init", "payload": {"authorization": "Bearer forged"}},
        {"type": "connection_init", "payload": {"authorization": "Bearer stranger"}},
        {"type": "connection_init", "payload": {"authorization": "good"}},
        {"type": "connection_init", "payload": {"authorization": None}},
        {
            "type": "connection_init",
            "payload": {"authorization": "Bearer good", "actingFor": str(MEMBER)},
        },
        {"type": "subscribe", "id": "1", "payload": {"query": ENDLESS}},
    ],
)
async def test_4401_before_a_valid_init(toy: Toy, init: Any) -> None:
    async with connect(toy, init=None) as client:
        await client.send(init)
        assert await client.closed() == (4401, "Unauthorized")


async def test_4401_when_the_token_ends(toy: Toy) -> None:
    short = {"type": "connection_init", "payload": {"Authorization": "Bearer short"}}
    before = calls["streams_open"]
    async with connect(toy, init=short) as client:
        await client.subscribe("1", COUNT, upto=10**6)
        assert (await client.receive())["type"] == "next"
        assert await client.closed() == (4401, "The token has expired")
    await wait_until(lambda: calls["streams_open"] == before)


@pytest.mark.parametrize("token", ["down", "crowd"])
async def test_1013_when_the_token_cannot_be_checked(toy: Toy, token: str) -> None:
    down = {"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}
    async with connect(toy, init=None) as client:
        await client.send(down)
        assert (await client.closed())[0] == 1013


async def test_4408_without_an_init_in_time(toy: Toy) -> None:
    async with connect(toy, init=None) as client:
        assert await client.closed() == (4408, "Connection initialisation timeout")


async def test_4409_for_an_id_in_use(toy: Toy) -> None:
    async with connect(toy) as client:
        await client.subscribe("1", ENDLESS)
        await client.subscribe("1", ENDLESS)
        assert await client.closed() == (4409, "Subscriber for 1 already exists")


async def test_4429_for_a_second_init(toy: Toy) -> None:
    async with connect(toy) as client:
        await client.send(GOOD)
        assert await client.closed() == (4429, "Too many initialisation requests")


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "null",
        "1",
        '"x"',
        "[]",
        b"binary",
        "[" * 5000,
        "9" * 5000,
        "{}",
        {"type": "nope"},
        {"type": ["subscribe"]},
        {"type": "connection_ack"},
        {"type": "next", "id": "1"},
        {"type": "subscribe"},
        {"type": "subscribe", "id": "1"},
        {"type": "subscribe", "id": "", "payload": {"query": "{ hello }"}},
        {"type": "subscribe", "id": 7, "payload": {"query": "{ hello }"}},
        {"type": "subscribe", "id": "x" * 129, "payload": {"query": "{ hello }"}},
        {"type": "subscribe", "id": "1", "payload": "x"},
        {"type": "subscribe", "id": "1", "payload": {}},
        {"type": "subscribe", "id": "1", "payload": {"query": 1}},
        {"type": "subscribe", "id": "1", "payload": {"query": "{ hello }", "variables": []}},
        {"type": "complete"},
        {"type": "complete", "id": 5},
        {"type": "pong", "payload": "\0"},
        json.dumps({"type": "pong", "payload": [[]] * 1 + [json.loads("[" * 40 + "]" * 40)]}),
    ],
)
async def test_4400_for_messages_that_are_none(toy: Toy, message: Any) -> None:
    async with connect(toy) as client:
        await client.send(message)
        code, reason = await client.closed()
        assert code == 4400
        assert reason and len(reason.encode()) <= 123


async def test_4400_for_an_init_payload_that_is_no_object(toy: Toy) -> None:
    async with connect(toy, init=None) as client:
        await client.send({"type": "connection_init", "payload": ["Bearer good"]})
        assert (await client.closed())[0] == 4400


async def test_4400_for_a_message_above_the_limit() -> None:
    with run_toy(make_serving(limits=Limits(body_bytes=2048))) as toy:
        async with connect(toy) as client:
            await client.send('{"type":"ping"}'.ljust(2048))
            assert await client.receive() == {"type": "pong"}
            await client.send('{"type":"ping"}'.ljust(2049))
            assert (await client.closed())[0] == 4400


async def test_4406_for_another_subprotocol(toy: Toy) -> None:
    for offered in (None, ["graphql-ws"]):
        async with websockets.connect(toy.ws_url, subprotocols=offered) as socket:  # type: ignore[arg-type]
            assert (await Client(socket).closed())[0] == 4406


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("subscription { nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { a: count(upto: 1) b: count(upto: 1) }", "GRAPHQL_VALIDATION_FAILED"),
        (COUNT, "BAD_USER_INPUT"),
        ("{ task " + "{ next " * 20 + "{ id }" + "}" * 21, "LIMIT_EXCEEDED"),
        ("{" + "hello " * 4000 + "}", "DOCUMENT_TOO_LARGE"),
        ("{ slow(seconds: 60) }", "TIMEOUT"),
    ],
)
async def test_a_refused_operation_ends_alone(toy: Toy, query: str, code: str) -> None:
    async with connect(toy) as client:
        await client.subscribe("1", query)
        answer = await client.receive()
        assert (answer["id"], answer["type"]) == ("1", "error")
        assert answer["payload"][0]["extensions"]["code"] == code
        await client.subscribe("1", "{ hello }")
        assert (await client.receive())["payload"] == {"data": {"hello": "Hello world"}}


async def test_each_event_has_a_context_of_its_own(toy: Toy) -> None:
    async with connect(toy) as client:
        await client.subscribe("1", "subscription { tasks { askedAt } }")
        instants = [(await client.receive())["payload"]["data"]["tasks"] for _ in range(3)]
    assert len({instant["askedAt"] for instant in instants}) == 3


async def test_operations_on_one_connection_are_bounded(toy: Toy) -> None:
    async with connect(toy) as client:
        for id in "abc":
            await client.subscribe(id, ENDLESS)
        await client.subscribe("d", ENDLESS)
        while (answer := await client.receive())["type"] == "next":
            pass
        assert (answer["id"], answer["type"]) == ("d", "error")
        assert answer["payload"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"
        await client.send({"id": "a", "type": "complete"})
        await asyncio.sleep(0.1)
        await client.subscribe("d", ENDLESS)
        while (await client.receive())["id"] != "d":
            pass


async def test_what_breaks_in_a_stream_is_masked(toy: Toy) -> None:
    async with connect(toy) as client:
        await client.subscribe("1", "subscription { breaks }")
        assert (await client.receive())["payload"] == {"data": {"breaks": 1}}
        answer = await client.receive()
        assert answer["type"] == "error"
        assert answer["payload"][0]["message"] == "Internal error"
        assert answer["payload"][0]["extensions"]["code"] == "INTERNAL"
        assert SECRET not in json.dumps(answer)
        await client.subscribe("2", "{ broken }")
        answer = await client.receive()
        assert answer["payload"]["data"] == {"broken": None}
        assert SECRET not in json.dumps(answer)


async def test_production_streams_trusted_documents_only(tmp_path: Path) -> None:
    (tmp_path / "Count.graphql").write_text(COUNT)
    id = sha256(print_ast(parse(COUNT)).encode()).hexdigest()
    with run_toy(make_serving(folder=tmp_path, free=False)) as toy:
        async with connect(toy) as client:
            await client.subscribe("1", ENDLESS)
            answer = await client.receive()
            assert answer["payload"][0]["extensions"]["code"] == "PERSISTED_QUERY_ONLY"
            apollo = {"persistedQuery": {"version": 1, "sha256Hash": id}}
            for named in ({"extensions": apollo}, {"documentId": id}, {"query": COUNT}):
                payload = {**named, "variables": {"upto": 1}}
                await client.send({"id": "1", "type": "subscribe", "payload": payload})
                assert (await client.receive())["payload"] == {"data": {"count": 0}}
                assert (await client.receive())["type"] == "complete"


async def test_stopping_the_server_says_1012_and_closes_the_streams() -> None:
    before = calls["streams_open"]
    with run_toy(make_serving()) as toy:
        async with connect(toy) as client:
            await client.subscribe("1", COUNT, upto=10**6)
            await client.receive()
            toy.server.should_exit = True
            assert (await client.closed())[0] in (1001, 1012)
    assert calls["streams_open"] == before
