"""The FCM provider against the sandbox over real HTTP, and against broken sockets."""

import asyncio
import json
import socket
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import jwt
import pytest
import structlog
from firebase_admin import messaging
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.adapters import fcm
from app.adapters.fcm import AccessTokens, FcmProvider
from app.adapters.fcm_sandbox import PROJECT, write_credentials
from app.adapters.push import PushMessage, PushOutcome, PushProvider, PushResult, TokenBucket
from app.adapters.push_log import LogProvider
from tests.fcm_server import RunningSandbox, running_sandbox

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class WallClock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def push(token: str = "ok:1", message_id: str = "m1") -> PushMessage:
    return PushMessage(
        token=token,
        title="提醒",
        body="You have something to do today.",
        data={"kind": "REMINDER"},
        collapse_key="0197c2a1b2c37d4e8f90a1b2c3d4e5f6",
        message_id=message_id,
        ttl=timedelta(hours=4),
    )


@asynccontextmanager
async def provider_of(
    running: RunningSandbox,
    *,
    base_url: str | None = None,
    concurrency: int = 50,
    timeout_seconds: float = 5,
    wall_clock: Callable[[], float] = time.time,
    bucket: TokenBucket | None = None,
) -> AsyncIterator[FcmProvider]:
    provider = FcmProvider(
        credentials_path=running.credentials,
        base_url=base_url or running.url,
        concurrency=concurrency,
        bucket=bucket or TokenBucket(per_minute=540_000),
        timeout_seconds=timeout_seconds,
        wall_clock=wall_clock,
    )
    try:
        yield provider
    finally:
        await provider.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("prefix", "outcome", "code", "retry_after"),
    [
        ("unreg", PushOutcome.TOKEN_GONE, "UNREGISTERED", None),
        ("invalid", PushOutcome.REJECTED, "INVALID_ARGUMENT", None),
        ("sender", PushOutcome.REJECTED, "SENDER_ID_MISMATCH", None),
        ("quota", PushOutcome.RETRY, "QUOTA_EXCEEDED", timedelta(seconds=7)),
        ("unavail", PushOutcome.RETRY, "UNAVAILABLE", timedelta(seconds=1)),
        ("internal", PushOutcome.RETRY, "INTERNAL", None),
        ("apns", PushOutcome.UNAUTHORISED, "THIRD_PARTY_AUTH_ERROR", None),
        ("html", PushOutcome.UNKNOWN, "HTTP_502", None),
    ],
)
async def test_each_refusal_is_named_after_one_request(
    running: RunningSandbox,
    prefix: str,
    outcome: PushOutcome,
    code: str,
    retry_after: timedelta | None,
) -> None:
    async with provider_of(running) as provider:
        result = await provider.send(push(f"{prefix}:1"))

    assert result == PushResult(outcome, code=code, retry_after=retry_after)
    stats = running.stats()
    assert (stats["requests"], stats.get("accepted", 0)) == (1, 0)


async def test_an_accepted_push_arrives_complete(running: RunningSandbox) -> None:
    clock = WallClock()
    async with provider_of(running, wall_clock=clock) as provider:
        result = await provider.send(push())

    assert result == PushResult(
        PushOutcome.SENT, provider_message_id=f"projects/{PROJECT}/messages/0:1"
    )
    (seen,) = running.messages()
    key = push().collapse_key
    assert seen["message"] == {
        "token": "ok:1",
        "notification": {"title": "提醒", "body": "You have something to do today."},
        "data": {"kind": "REMINDER", "messageId": "m1"},
        "android": {
            "collapse_key": key,
            "priority": "high",
            "ttl": "14400s",
            "notification": {"tag": key},
        },
        "apns": {
            "headers": {
                "apns-collapse-id": key,
                "apns-expiration": str(int(clock.now) + 14400),
                "apns-priority": "10",
            },
            "payload": {"aps": {"sound": "default"}},
        },
        "webpush": {"headers": {"Topic": key, "TTL": "14400", "Urgency": "high"}},
    }
    assert running.stats()["messages"] == [
        {"token": "ok:1", "messageId": "m1", "name": result.provider_message_id}
    ]


@given(
    texts=st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), min_size=1)] * 3),
    data=st.dictionaries(st.sampled_from(["kind", "id"]), st.text('ab药"\\\n\0')),
    seconds=st.integers(1, 28 * 86_400),
)
def test_a_push_is_written_as_the_sdk_writes_it(
    texts: tuple[str, str, str], data: dict[str, str], seconds: int
) -> None:
    token, title, body = texts
    key = push().collapse_key
    message = PushMessage(
        token=token,
        title=title,
        body=body,
        data=data,
        collapse_key=key,
        message_id="m1",
        ttl=timedelta(seconds=seconds),
    )
    theirs = messaging.Message(
        data={**data, "messageId": "m1"},
        notification=messaging.Notification(title=title, body=body),
        android=messaging.AndroidConfig(
            collapse_key=key,
            priority="high",
            ttl=message.ttl,
            notification=messaging.AndroidNotification(tag=key),
        ),
        apns=messaging.APNSConfig(
            headers={
                "apns-collapse-id": key,
                "apns-expiration": str(1_000 + seconds),
                "apns-priority": "10",
            },
            payload=messaging.APNSPayload(aps=messaging.Aps(sound="default")),
        ),
        webpush=messaging.WebpushConfig(
            headers={"Topic": key, "TTL": str(seconds), "Urgency": "high"}
        ),
    )
    # As an argument it is deprecated in favour of installation ids, which no app registers yet.
    theirs.token = token
    ours = fcm.encode(message, wall_clock=lambda: 1_000.0)
    assert json.loads(ours) == {"message": json.loads(str(theirs))}


async def test_a_date_in_retry_after_counts_from_now(running: RunningSandbox) -> None:
    async with provider_of(running) as provider:
        result = await provider.send(push("later:1"))

    assert result.outcome is PushOutcome.RETRY
    assert result.retry_after is not None
    assert timedelta(seconds=25) < result.retry_after <= timedelta(seconds=30)


async def test_trying_again_is_the_callers_choice(running: RunningSandbox) -> None:
    async with provider_of(running) as provider:
        first = await provider.send(push("flaky:1"))
        assert running.stats()["requests"] == 1
        second = await provider.send(push("flaky:1"))

    assert (first.outcome, second.outcome) == (PushOutcome.RETRY, PushOutcome.SENT)
    stats = running.stats()
    assert (stats["requests"], stats["accepted"], stats["duplicates"]) == (2, 1, {})


async def test_what_was_refused_and_arrived_all_the_same_replaces_itself(
    running: RunningSandbox,
) -> None:
    """FCM has answered 503 for pushes that it delivered."""
    async with provider_of(running) as provider:
        outcomes = [(await provider.send(push("twice:1"))).outcome for _ in range(2)]

    assert outcomes == [PushOutcome.RETRY, PushOutcome.SENT]
    assert running.stats()["duplicates"] == {"m1": 2}
    assert running.sandbox.requests_of == {"twice:1": 2}
    shown = {
        (
            seen["message"]["android"]["collapse_key"],
            seen["message"]["android"]["notification"]["tag"],
            seen["message"]["apns"]["headers"]["apns-collapse-id"],
            seen["message"]["webpush"]["headers"]["Topic"],
        )
        for seen in running.messages()
    }
    assert shown == {(push().collapse_key,) * 4}


async def test_the_sandbox_counts_a_push_that_came_twice(running: RunningSandbox) -> None:
    async with provider_of(running) as provider:
        await provider.send(push("ok:1", "twice"))
        await provider.send(push("ok:2", "once"))
        await provider.send(push("ok:3", "once"))  # another phone of the same member
        await provider.send(push("ok:1", "twice"))

    assert running.stats()["duplicates"] == {"twice": 2}


@pytest.mark.parametrize("prefix", ["drop", "reset"])
async def test_an_answer_lost_halfway_is_unknown(running: RunningSandbox, prefix: str) -> None:
    async with provider_of(running) as provider:
        result = await provider.send(push(f"{prefix}:1"))

    assert result == PushResult(PushOutcome.UNKNOWN, code="CONNECTION")
    stats = running.stats()
    assert (stats["requests"], stats["accepted"]) == (1, 1)


async def test_an_answer_that_does_not_come_is_unknown(running: RunningSandbox) -> None:
    async with provider_of(running, timeout_seconds=2) as provider:
        await provider.send(push("ok:0"))  # the access token is there
        result = await provider.send(push("slow:1"))

    assert result == PushResult(PushOutcome.UNKNOWN, code="TIMEOUT")
    assert running.stats()["accepted"] == 2


async def test_fifty_senders_fetch_one_access_token(running: RunningSandbox) -> None:
    clock = WallClock()
    async with provider_of(running, wall_clock=clock) as provider:
        for round_ in range(2):
            results = await asyncio.gather(
                *(provider.send(push(f"ok:{n}", f"{round_}/{n}")) for n in range(50))
            )
            assert {result.outcome for result in results} == {PushOutcome.SENT}
            assert running.stats()["token_requests"] == round_ + 1
            running.sandbox.token_seconds = 36_000
            clock.now += 3_601


async def test_a_working_token_is_used_while_the_next_one_is_fetched(
    running: RunningSandbox,
) -> None:
    clock = WallClock()
    async with provider_of(running, wall_clock=clock) as provider:
        await provider.send(push("ok:0"))
        clock.now += 3_600 - AccessTokens.REFRESH_BEFORE_SECONDS + 5
        running.sandbox.token_seconds = 36_000
        running.sandbox.token_latency_seconds = 1

        assert (await provider.send(push("ok:1"))).outcome is PushOutcome.SENT
        assert running.stats()["tokens_issued"] == 1
        async with asyncio.timeout(10):
            while running.stats()["tokens_issued"] < 2:  # noqa: ASYNC110, in another thread
                await asyncio.sleep(0.05)
        clock.now += 3_600
        assert (await provider.send(push("ok:2"))).outcome is PushOutcome.SENT

    assert running.stats()["token_requests"] == 2


async def test_a_revoked_token_is_replaced_but_not_fetched_for_every_push(
    running: RunningSandbox,
) -> None:
    clock = WallClock()
    async with provider_of(running, wall_clock=clock) as provider:
        await provider.send(push("ok:0"))
        running.sandbox.revoke_tokens()

        results = [await provider.send(push(f"ok:{n}")) for n in range(1, 10)]
        assert results[0] == PushResult(PushOutcome.UNAUTHORISED, code="UNAUTHENTICATED")
        assert set(results[1:]) == {PushResult(PushOutcome.UNAUTHORISED, code="ACCESS_TOKEN")}
        assert running.stats()["token_requests"] == 1

        clock.now += AccessTokens.PAUSE_SECONDS
        assert (await provider.send(push("ok:10"))).outcome is PushOutcome.SENT

    assert running.stats()["token_requests"] == 2


async def test_a_refused_service_account_sends_nothing(
    running: RunningSandbox, tmp_path: Path
) -> None:
    write_credentials(tmp_path / "fcm.json", f"{running.url}/token")  # another key

    async with provider_of(running) as provider:
        with capture_logs() as logs:
            results = await asyncio.gather(*(provider.send(push()) for _ in range(20)))

    assert set(results) == {PushResult(PushOutcome.UNAUTHORISED, code="ACCESS_TOKEN")}
    stats = running.stats()
    assert (stats["token_requests"], stats.get("requests", 0)) == (1, 0)
    assert [line["event"] for line in logs] == ["fcm_access_token_failed"]


async def test_an_unreachable_token_endpoint_leaves_the_push_to_be_tried_again(
    running: RunningSandbox,
) -> None:
    account = json.loads(running.credentials.read_text())
    account["token_uri"] = f"http://127.0.0.1:{_closed_port()}/token"
    running.credentials.write_text(json.dumps(account))

    async with provider_of(running) as provider:
        result = await provider.send(push())

    assert result == PushResult(PushOutcome.RETRY, code="ACCESS_TOKEN")
    assert running.stats().get("requests", 0) == 0


async def test_another_project_is_our_fault_not_the_tokens(running: RunningSandbox) -> None:
    account = json.loads(running.credentials.read_text()) | {"project_id": "other"}
    running.credentials.write_text(json.dumps(account))

    async with provider_of(running) as provider:
        result = await provider.send(push())

    assert result == PushResult(PushOutcome.UNAUTHORISED, code="PERMISSION_DENIED")


async def test_no_more_requests_than_allowed_at_once(running: RunningSandbox) -> None:
    running.sandbox.latency_seconds = 0.5
    # Shorter than the whole takes: a push that waits its turn must not time out.
    async with provider_of(running, concurrency=8, timeout_seconds=2.5) as provider:
        await provider.send(push("ok:first"))
        results = await asyncio.gather(*(provider.send(push(f"ok:{n}")) for n in range(48)))

    assert {result.outcome for result in results} == {PushOutcome.SENT}
    stats = running.stats()
    assert (stats["concurrent_max"], stats["accepted"]) == (8, 49)


# Broken sockets: what the sandbox, a good HTTP server, cannot do.

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(conversation: Conversation) -> AsyncIterator[str]:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await conversation(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    return await reader.readexactly(length)


async def test_a_post_on_a_dropped_connection_is_not_repeated(running: RunningSandbox) -> None:
    """The first request is answered and the connection kept; the second is read and dropped."""
    requests: list[bytes] = []
    connections = 0

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        requests.append(await _read_request(reader))
        body = b'{"name":"projects/p/messages/1"}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        requests.append(await _read_request(reader))

    async with (
        listening(answer_once) as url,
        provider_of(running, base_url=url) as provider,
    ):
        first, second = await provider.send(push()), await provider.send(push())

    assert first.outcome is PushOutcome.SENT
    assert second == PushResult(PushOutcome.UNKNOWN, code="CONNECTION")
    assert (len(requests), connections) == (2, 1)


async def test_a_redirect_is_not_followed(running: RunningSandbox) -> None:
    requests = 0

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await _read_request(reader)
        requests += 1
        writer.write(b"HTTP/1.1 307 X\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with listening(redirect) as url, provider_of(running, base_url=url) as provider:
        result = await provider.send(push())

    assert result == PushResult(PushOutcome.UNAUTHORISED, code="HTTP_307")
    assert requests == 1


async def test_nobody_listening_means_nothing_was_sent(running: RunningSandbox) -> None:
    async with provider_of(running, base_url=f"http://127.0.0.1:{_closed_port()}") as provider:
        result = await provider.send(push())

    assert result == PushResult(PushOutcome.RETRY, code="CONNECTION")


async def test_a_connection_that_is_not_made_in_time_means_nothing_was_sent(
    running: RunningSandbox,
) -> None:
    """A full backlog: the handshake is never answered, so no byte of the request leaves."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [_connecting(full.getsockname()) for _ in range(4)]
        base_url = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with provider_of(running, base_url=base_url, timeout_seconds=0.6) as provider:
            result = await provider.send(push())
        for connection in waiting:
            connection.close()

    assert result == PushResult(PushOutcome.RETRY, code="TIMEOUT")


def _connecting(address: tuple[str, int]) -> socket.socket:
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex(address)
    return connection


def _closed_port() -> int:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port: int = closed.getsockname()[1]
        return port


# Answers that only the real FCM, or something in front of it, gives.


@pytest.mark.parametrize(
    ("status", "answer", "outcome", "code"),
    [
        (200, b"<html>welcome to the guest network", PushOutcome.UNKNOWN, "HTTP_200"),
        (200, b'["name"]', PushOutcome.UNKNOWN, "HTTP_200"),
        (400, b'{"error":{"status":"INVALID_ARGUMENT"}}', PushOutcome.REJECTED, "INVALID_ARGUMENT"),
        (404, b'{"error":{"status":"NOT_FOUND"}}', PushOutcome.UNAUTHORISED, "NOT_FOUND"),
        (404, b"<html>not here", PushOutcome.UNAUTHORISED, "HTTP_404"),
        (413, b"", PushOutcome.REJECTED, "HTTP_413"),
        (500, b"<html>", PushOutcome.UNKNOWN, "HTTP_500"),
        (503, b"<html>", PushOutcome.RETRY, "HTTP_503"),
        (504, b'{"error":{"status":"DEADLINE_EXCEEDED"}}', PushOutcome.UNKNOWN, "HTTP_504"),
        (400, b'{"error":"odd"}', PushOutcome.REJECTED, "HTTP_400"),
        (400, b'{"error":{"details":[1,{"errorCode":[]}]}}', PushOutcome.REJECTED, "HTTP_400"),
        (
            400,
            b'{"error":{"details":{"errorCode":"UNREGISTERED"}}}',
            PushOutcome.REJECTED,
            "HTTP_400",
        ),
    ],
)
def test_only_unregistered_removes_a_token(
    status: int, answer: bytes, outcome: PushOutcome, code: str
) -> None:
    result = fcm.interpret(status, {}, answer, now=NOON)

    assert (result.outcome, result.code) == (outcome, code)


def test_a_full_quota_without_a_time_waits_a_minute() -> None:
    result = fcm.interpret(429, {}, b"", now=NOON)

    assert result == PushResult(
        PushOutcome.RETRY, code="HTTP_429", retry_after=timedelta(minutes=1)
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("120", timedelta(seconds=120)),
        (" 0 ", timedelta(0)),
        ("9" * 400, timedelta(hours=24)),
        (format_datetime(NOON + timedelta(seconds=90), usegmt=True), timedelta(seconds=90)),
        (format_datetime(NOON - timedelta(seconds=90), usegmt=True), timedelta(0)),
        ("Sun, 01 Mar 2026 12:00:05 -0000", timedelta(seconds=5)),
        ("-5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_read_or_ignored(value: str | None, expected: timedelta | None) -> None:
    assert fcm.retry_after(value, now=NOON) == expected


# The rate.


class FakeTime:
    """A monotonic clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("per_minute", [6, 600, 540_000])
async def test_a_minute_never_lets_more_than_the_limit_and_a_seconds_burst_through(
    per_minute: int,
) -> None:
    fake = FakeTime()
    bucket = TokenBucket(per_minute=per_minute, clock=fake.clock, sleep=fake.sleep)
    turns = []
    for _ in range(min(per_minute * 3, 30_000)):
        await bucket.take()
        turns.append(fake.now - 1_000)

    burst = max(1, per_minute // 60)
    assert abs(turns.count(0.0) - burst) <= 1
    expected_end = (len(turns) - burst) * 60 / per_minute
    assert turns[-1] == pytest.approx(expected_end, rel=1e-6, abs=2 * 60 / per_minute)


async def test_an_idle_hour_saves_up_no_more_than_a_burst() -> None:
    fake = FakeTime()
    bucket = TokenBucket(per_minute=600, clock=fake.clock, sleep=fake.sleep)
    await bucket.take()
    fake.now += 3_600
    before = fake.now
    for _ in range(30):
        await bucket.take()

    assert fake.now - before == pytest.approx(2.0)


async def test_senders_share_the_rate(running: RunningSandbox) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(round(seconds, 6))

    bucket = TokenBucket(per_minute=60, clock=lambda: 0.0, sleep=sleep)
    async with provider_of(running, bucket=bucket) as provider:
        await asyncio.gather(*(provider.send(push(f"ok:{n}")) for n in range(5)))

    assert waits == [1, 2, 3, 4]
    assert running.stats()["accepted"] == 5


# The sandbox and the log.


def test_credentials_are_for_their_owner_only(running: RunningSandbox) -> None:
    assert stat.S_IMODE(running.credentials.stat().st_mode) == 0o600


def test_the_sandbox_refuses_forged_grants_and_tokens(running: RunningSandbox) -> None:
    account = json.loads(running.credentials.read_text())
    now = int(time.time())
    claims = {
        "iss": account["client_email"],
        "aud": "https://oauth2.googleapis.com/token",
        "scope": fcm.SCOPE,
        "iat": now,
        "exp": now + 60,
    }
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"

    def ask(assertion: str, grant_type: str = grant) -> tuple[int, str]:
        form = {"grant_type": grant_type, "assertion": assertion}
        answer = httpx.post(f"{running.url}/token", data=form, trust_env=False)
        return answer.status_code, answer.json().get("error", "")

    def signed(**changes: object) -> str:
        return jwt.encode(claims | changes, account["private_key"], algorithm="RS256")

    assert ask(signed()) == (200, "")
    assert ask(signed(exp=now - 1)) == (400, "invalid_grant")
    assert ask(signed(aud="https://elsewhere")) == (400, "invalid_grant")
    assert ask(signed(iss="someone")) == (400, "invalid_grant")
    assert ask(signed(scope="email")) == (400, "invalid_scope")
    assert ask(jwt.encode(claims, None, algorithm="none")) == (400, "invalid_grant")
    assert ask(signed(), "password") == (400, "unsupported_grant_type")

    url = f"{running.url}/v1/projects/{PROJECT}/messages:send"
    forged = httpx.post(url, json={}, headers={"Authorization": "Bearer x"}, trust_env=False)
    assert (forged.status_code, forged.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_the_page_needs_nothing_from_elsewhere(running: RunningSandbox) -> None:
    page = httpx.get(running.url, trust_env=False)

    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text and "https://" not in page.text


async def test_the_log_shows_the_push_and_not_the_token() -> None:
    provider: PushProvider = LogProvider()
    with capture_logs() as logs:
        result = await provider.send(push("a-secret-token"))

    assert result == PushResult(PushOutcome.SENT, provider_message_id="log/m1")
    (line,) = logs
    assert (line["provider"], line["title"], line["message_id"]) == ("log", "提醒", "m1")
    assert "a-secret-token" not in repr(line)


async def test_what_goes_wrong_says_nothing_about_the_member(running: RunningSandbox) -> None:
    message = push("invalid:a-secret-token")
    with structlog.testing.capture_logs() as logs:
        async with provider_of(running) as provider:
            result = await provider.send(message)

    for text in (repr(message), repr(result), repr(logs)):
        assert "a-secret-token" not in text
        assert message.body not in text


@pytest.mark.parametrize("key", ["", "a" * 33, "a.b", "提醒"])
def test_a_collapse_key_fits_every_platform(key: str) -> None:
    with pytest.raises(AssertionError):
        PushMessage(
            token="t",
            title="t",
            body="b",
            data={},
            collapse_key=key,
            message_id="m",
            ttl=timedelta(1),
        )
