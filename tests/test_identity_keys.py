"""Where the keys of sign-in tokens come from, what that costs the issuer, what is remembered."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.adapters import identity
from app.adapters.identity import Reason, Verifier
from app.adapters.local_issuer import LocalIssuer
from tests.sign_in import (
    EC_KEY,
    ED_KEY,
    KEYS,
    NOW,
    RSA_KEY,
    KeyServer,
    claims,
    jwk,
    refusal,
    serving,
    sign,
    trusting,
    trusting_local,
    until,
)


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    async with serving() as running:
        yield running


@pytest.fixture
async def verifier(server: KeyServer) -> AsyncIterator[Verifier]:
    made = trusting(server)
    yield made
    await made.close()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIssuer]:
    yield LocalIssuer(tmp_path_factory.mktemp("data"))


class CountingKeys:
    """A key source that counts: each call is one token proven anew."""

    def __init__(self, issuer: LocalIssuer) -> None:
        self.issuer = issuer
        self.calls = 0

    async def key(self, kid: str, *, now: datetime) -> jwt.PyJWK | None:
        self.calls += 1
        return await self.issuer.key(kid, now=now)

    async def close(self) -> None: ...


@pytest.fixture
def counting(local: LocalIssuer) -> CountingKeys:
    return CountingKeys(local)


async def test_many_at_once_share_one_fetch(server, verifier):
    server.open.clear()
    tokens = [sign(claims(sub=f"u{n}"), key=EC_KEY, algorithm="ES256", kid="ec") for n in range(50)]
    waiting = [asyncio.create_task(verifier.verify(token, now=NOW)) for token in tokens]
    await asyncio.sleep(0.05)
    waiting[0].cancel()  # one caller gives up; the others still get their keys
    server.open.set()

    proven = await asyncio.gather(*waiting[1:])

    assert [one.subject for one in proven] == [f"u{n}" for n in range(1, 50)]
    assert server.fetches == 1


async def test_unknown_key_ids_cost_one_fetch_a_minute(server, verifier):
    await verifier.verify(sign(claims()), now=NOW)
    for second in range(180):
        now = NOW + timedelta(seconds=second)
        token = sign(claims(), key=EC_KEY, algorithm="ES256", kid=f"invented-{second}")
        assert await refusal(verifier, token, now=now) is Reason.INVALID

    assert server.fetches == 3  # at 0 (the first), 60 and 120 seconds


async def test_a_rotated_key_is_found_and_the_old_one_forgotten(server, verifier):
    new = ec.generate_private_key(ec.SECP256R1())
    await verifier.verify(sign(claims()), now=NOW)
    server.document = {"keys": [jwk(new, "new")]}
    later = NOW + timedelta(minutes=2)

    token = sign(claims(later), key=new, algorithm="ES256", kid="new")
    assert (await verifier.verify(token, now=later)).subject == "u1"

    assert await refusal(verifier, sign(claims(sub="u2")), now=later) is Reason.INVALID
    assert server.fetches == 2


async def test_keys_are_fetched_ahead_without_anybody_waiting(server, verifier):
    await verifier.verify(sign(claims()), now=NOW)
    server.open.clear()
    later = NOW + timedelta(minutes=31)

    await asyncio.wait_for(verifier.verify(sign(claims(later)), now=later), 4)

    await until(lambda: server.fetches == 2)


async def test_an_idle_server_asks_before_it_trusts_old_keys_again(server, verifier):
    await verifier.verify(sign(claims()), now=NOW)
    server.document = {"keys": [jwk(EC_KEY, "ec")]}
    later = NOW + timedelta(hours=1)

    assert await refusal(verifier, sign(claims(later)), now=later) is Reason.INVALID


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (503, {"keys": KEYS}),
        (302, {"keys": KEYS}),
        (200, {"keys": []}),
        (200, {"keys": None}),
        (200, []),
        (200, {"keys": [{"kty": "oct", "kid": "rsa", "k": "AAAA"}]}),
        (200, {"keys": KEYS, "padding": "x" * identity.JWKS_BYTES_MAX}),
    ],
)
async def test_known_keys_are_kept_while_the_endpoint_is_down(server, verifier, status, document):
    await verifier.verify(sign(claims()), now=NOW)
    server.status, server.document = status, document
    for hours in range(1, 6):
        later = NOW + timedelta(hours=hours)
        while server.fetches < 1 + hours:  # ECDSA signs differently each time: nothing is cached
            token = sign(claims(later), key=EC_KEY, algorithm="ES256", kid="ec")
            assert (await verifier.verify(token, now=later)).subject == "u1"
            await asyncio.sleep(0)
    assert server.fetches == 6

    unknown = sign(claims(later), kid="new")
    assert await refusal(verifier, unknown, now=later) is Reason.UNAVAILABLE

    server.status, server.document = 200, {"keys": KEYS}
    later += timedelta(minutes=1)
    assert await refusal(verifier, unknown, now=later) is Reason.INVALID


async def test_a_hanging_endpoint_is_given_up_and_tried_again_soon(server):
    verifier = trusting(server, timeout_seconds=1.5)
    server.open.clear()

    assert await refusal(verifier, sign(claims())) is Reason.UNAVAILABLE
    assert await refusal(verifier, sign(claims())) is Reason.UNAVAILABLE
    assert server.fetches == 1

    server.open.set()
    later = NOW + timedelta(seconds=5)
    assert (await verifier.verify(sign(claims()), now=later)).subject == "u1"


async def test_in_an_outage_nobody_with_a_known_key_waits(server, verifier):
    await verifier.verify(sign(claims()), now=NOW)
    server.status = 503
    later = NOW + timedelta(hours=2)
    await verifier.verify(sign(claims(later)), now=later)
    server.open.clear()  # from here on the endpoint only hangs
    later += timedelta(minutes=1)

    proven = await asyncio.wait_for(verifier.verify(sign(claims(later)), now=later), 4)

    assert proven.subject == "u1"
    await until(lambda: server.fetches == 3)


async def test_a_slow_fetch_is_not_begun_twice(server, verifier):
    server.open.clear()
    later = NOW + identity.FIRST_FETCH_PAUSE
    waiting = [
        asyncio.create_task(verifier.verify(sign(claims()), now=now)) for now in (NOW, later)
    ]
    await until(lambda: server.fetches == 1)
    await asyncio.sleep(0.05)
    server.open.set()

    assert [one.subject for one in await asyncio.gather(*waiting)] == ["u1", "u1"]
    assert server.fetches == 1


async def test_a_closed_port_is_unavailable_not_invalid():
    async with serving() as server:
        verifier = trusting(server)

    assert await refusal(verifier, sign(claims())) is Reason.UNAVAILABLE


async def test_a_clock_set_back_does_not_stop_fetches(server, verifier):
    await verifier.verify(sign(claims()), now=NOW)
    earlier = NOW - timedelta(hours=2)

    token = sign(claims(earlier), kid="new")
    assert await refusal(verifier, token, now=earlier) is Reason.INVALID

    assert server.fetches == 2


async def test_closing_ends_a_fetch_under_way(server):
    verifier = trusting(server)
    server.open.clear()
    waiting = asyncio.create_task(verifier.verify(sign(claims()), now=NOW))
    await until(lambda: server.fetches == 1)

    await verifier.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_for_a_remembered_token_the_key_is_asked_each_half_minute(local, counting):
    verifier, token = trusting_local(counting), local.mint("member:demo", now=NOW)

    for seconds in range(0, 601, 10):
        await verifier.verify(token, now=NOW + timedelta(seconds=seconds))

    assert counting.calls == 21  # at 0, 30, 60 ... 600 seconds


async def test_a_withdrawn_key_ends_what_it_signed_half_a_minute_later(server, verifier):
    token = sign(claims())
    await verifier.verify(token, now=NOW)
    server.document = {"keys": [jwk(ec.generate_private_key(ec.SECP256R1()), "new")]}
    later = NOW + timedelta(minutes=31)

    # The keys are fetched because of this very request, which does not wait for them.
    assert (await verifier.verify(token, now=later)).subject == "u1"
    await until(lambda: server.fetches == 2)

    assert await refusal(verifier, token, now=later + timedelta(seconds=30)) is Reason.INVALID
    assert await refusal(verifier, token, now=later + timedelta(seconds=31)) is Reason.INVALID


async def test_another_key_of_the_same_id_proves_nothing_of_the_first(server, verifier):
    token = sign(claims())
    await verifier.verify(token, now=NOW)
    kid = jwt.get_unverified_header(token)["kid"]
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    server.document = {"keys": [jwk(other, kid)]}
    later = NOW + timedelta(minutes=31)

    await verifier.verify(token, now=later)
    await until(lambda: server.fetches == 2)

    assert await refusal(verifier, token, now=later + timedelta(seconds=30)) is Reason.INVALID


async def test_a_remembered_token_ends_when_it_expires(local, counting):
    verifier = trusting_local(counting)
    token = local.mint("member:demo", now=NOW, lifetime=timedelta(seconds=60))
    await verifier.verify(token, now=NOW)

    assert await refusal(verifier, token, now=NOW + timedelta(seconds=90)) is Reason.EXPIRED
    assert await refusal(verifier, token, now=NOW + timedelta(days=1)) is Reason.EXPIRED


async def test_remembers_a_bounded_number_and_forgets_the_least_used(local, counting, monkeypatch):
    monkeypatch.setattr(identity, "REMEMBERED_MAX", 3)
    verifier = trusting_local(counting)
    a, b, c, d = (local.mint(f"member:{name}", now=NOW) for name in "abcd")
    for token in (a, b, c, a, d):  # d pushes out b
        await verifier.verify(token, now=NOW)
    assert counting.calls == 4

    for token in (a, c, d):
        await verifier.verify(token, now=NOW)
    assert counting.calls == 4
    await verifier.verify(b, now=NOW)
    assert counting.calls == 5


async def test_a_refused_token_is_not_remembered_as_good(local, counting):
    verifier = trusting_local(counting)
    token = local.mint("member:demo", now=NOW + timedelta(minutes=1))

    assert await refusal(verifier, token) is Reason.INVALID
    proven = await verifier.verify(token, now=NOW + timedelta(minutes=1))
    assert proven.subject == "member:demo"


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
LENIENT = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@LENIENT
@given(document=st.binary() | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_any_document_is_a_key_set_or_a_value_error(document):
    with pytest.raises(ValueError):
        identity.usable_keys(document)


@LENIENT
@given(
    changes=st.dictionaries(
        st.sampled_from(["kty", "kid", "alg", "use", "n", "e", "crv", "x", "y", "d"]),
        ANY_JSON | st.sampled_from(["RSA", "EC", "OKP", "oct", "RS256", "P-384", "AQAB"]),
        min_size=1,
    ),
    key=st.sampled_from([RSA_KEY, EC_KEY, ED_KEY]),
)
def test_a_strange_key_does_not_spoil_the_others(changes, key):
    document = json.dumps({"keys": [jwk(key, "strange") | changes, jwk(RSA_KEY, "good")]})

    found = identity.usable_keys(document.encode())

    assert found["good"].algorithm_name == "RS256"
