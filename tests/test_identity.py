"""Sign-in tokens: what signs somebody in and what does not."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.adapters import identity, local_issuer
from app.adapters.identity import InvalidToken, Reason, Verifier
from app.adapters.local_issuer import LocalIssuer
from tests.sign_in import (
    AUDIENCE,
    DROP,
    EC_KEY,
    ED_KEY,
    ISSUER,
    NOW,
    OTHER_KEY,
    RSA_KEY,
    WEAK_KEY,
    KeyServer,
    claims,
    refusal,
    segment,
    serving,
    sign,
    trusting,
    trusting_local,
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


def hs256_with_public_key() -> str:
    secret = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    message = segment({"alg": "HS256", "kid": "rsa"}) + "." + segment(claims())
    return message + "." + segment(hmac.new(secret, message.encode(), hashlib.sha256).digest())


def signed_by_a_weak_key() -> str:
    message = segment({"alg": "RS256", "kid": "weak"}) + "." + segment(claims())
    signature = WEAK_KEY.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256())
    return message + "." + segment(signature)


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(RSA_KEY, "RS256", "rsa"), (EC_KEY, "ES256", "ec"), (ED_KEY, "EdDSA", "ed")],
)
async def test_a_good_token_signs_its_subject_in(verifier, key, algorithm, kid):
    proven = await verifier.verify(sign(claims(), key=key, algorithm=algorithm, kid=kid), now=NOW)

    assert proven == identity.Identity(ISSUER, "u1", NOW + timedelta(hours=1))


GOOD: dict[str, Callable[[], str]] = {
    "audience in a list": lambda: sign(claims(aud=["x", AUDIENCE])),
    "second audience": lambda: sign(claims(aud="wellward-console")),
    "expired within the leeway": lambda: sign(claims(NOW - timedelta(seconds=3629))),
    "issued ahead within the leeway": lambda: sign(claims(NOW + timedelta(seconds=30))),
    "fractional seconds": lambda: sign(claims(exp=NOW.timestamp() + 60.5)),
    "a day long": lambda: sign(claims(exp=int(NOW.timestamp()) + 86_400)),
}


@pytest.mark.parametrize("name", GOOD)
async def test_accepts(verifier, name):
    proven = await verifier.verify(GOOD[name](), now=NOW)

    assert (proven.issuer, proven.subject) == (ISSUER, "u1")


BAD: dict[str, Callable[[], str]] = {
    "forged by another key": lambda: sign(claims(), key=OTHER_KEY),
    "alg none": lambda: segment({"alg": "none", "kid": "rsa"}) + "." + segment(claims()) + ".",
    "alg None": lambda: segment({"alg": "None", "kid": "rsa"}) + "." + segment(claims()) + ".",
    "alg missing": lambda: segment({"kid": "rsa"}) + "." + segment(claims()) + ".AAAA",
    "alg of the wrong type": lambda: segment({"alg": [], "kid": "rsa"}) + "." + segment(claims()) + ".AA",
    "HS256 with the public key as secret": hs256_with_public_key,
    "HS256 with a shared key of the set": lambda: sign(
        claims(), key=b"secret-secret-secret-secret-secret", algorithm="HS256", kid="shared"
    ),
    "RS384": lambda: sign(claims(), algorithm="RS384"),
    "PS256": lambda: sign(claims(), algorithm="PS256"),
    "algorithm of another key": lambda: sign(claims(), key=EC_KEY, algorithm="ES256"),
    "key too weak": signed_by_a_weak_key,
    "key for encryption": lambda: sign(claims(), key=OTHER_KEY, kid="encryption"),
    "key whose private part is published": lambda: sign(
        claims(), key=EC_KEY, algorithm="ES256", kid="leaked"
    ),
    "broken key": lambda: sign(claims(), kid="broken"),
    "no kid": lambda: sign(claims(), kid=DROP),
    "empty kid": lambda: sign(claims(), kid=""),
    "unknown critical header": lambda: sign(claims(), crit=["x"], x=1),
    "detached payload": lambda: segment({"alg": "RS256", "kid": "rsa", "b64": False, "crit": ["b64"]}) + "..AAAA",
    "another issuer": lambda: sign(claims(iss="https://evil.example")),
    "issuer with a slash more": lambda: sign(claims(iss=ISSUER + "/")),
    "issuer in a list": lambda: sign(claims(iss=[ISSUER])),
    "another audience": lambda: sign(claims(aud="other")),
    "other audiences": lambda: sign(claims(aud=["other", "wellward"])),
    "audience of the wrong type": lambda: sign(claims(aud={AUDIENCE: 1})),
    **{f"no {name}": lambda name=name: sign(claims(**{name: DROP})) for name in claims()},
    **{f"{name} null": lambda name=name: sign(claims(**{name: None})) for name in claims()},
    "issued in the future": lambda: sign(claims(NOW + timedelta(seconds=31))),
    "not valid yet": lambda: sign(claims(nbf=int(NOW.timestamp()) + 31)),
    "nbf true": lambda: sign(claims(nbf=True)),
    "signed in in the future": lambda: sign(claims(auth_time=int(NOW.timestamp()) + 31)),
    "ends before it begins": lambda: sign(claims(exp=int(NOW.timestamp()) - 1)),
    "ends as it begins": lambda: sign(claims(exp=int(NOW.timestamp()))),
    "lives too long": lambda: sign(claims(exp=int(NOW.timestamp()) + 86_401)),
    "exp a text": lambda: sign(claims(exp=str(int(NOW.timestamp()) + 60))),
    "exp true": lambda: sign(claims(exp=True)),
    "exp infinite": lambda: sign(claims(exp=float("inf"))),
    "exp not a number": lambda: sign(claims(exp=float("nan"))),
    "exp of 400 digits": lambda: sign(claims(exp=10**400, iat=1.5)),
    "iat negative": lambda: sign(claims(iat=-1)),
    "sub empty": lambda: sign(claims(sub="")),
    "sub a number": lambda: sign(claims(sub=1)),
    "sub too long": lambda: sign(claims(sub="x" * 256)),
    "sub with NUL": lambda: sign(claims(sub="u\x001")),
    "sub with half a character": lambda: sign(b'{"sub":"\\ud800",' + json.dumps(claims(sub=DROP)).encode()[1:]),
    "payload not an object": lambda: sign([claims()]),
    "payload too deep": lambda: sign(b"[" * 3000 + b"]" * 3000),
    "header not an object": lambda: segment([1]) + "." + segment(claims()) + ".AAAA",
    "header too deep": lambda: segment(b'{"a":' * 1500) + "." + segment(claims()) + ".AAAA",
    "longer than any token": lambda: sign(claims(x="x" * 8192)),
    "two segments": lambda: sign(claims()).rpartition(".")[0],
    "four segments": lambda: sign(claims()) + ".AAAA",
    "signature cut off": lambda: sign(claims()).rpartition(".")[0] + ".",
    "padding in a segment": lambda: sign(claims()).replace(".", "=.", 1),
    "space around": lambda: " " + sign(claims()),
    "an encrypted token": lambda: segment({"alg": "RSA-OAEP", "enc": "A128GCM", "kid": "rsa"}) + ".AA.AA.AA.AA",
    "empty": lambda: "",
    "dots": lambda: "..",
    "not ASCII": lambda: "令牌",
    "half a character": lambda: "\ud800.\ud800.\ud800",
    "NUL": lambda: "\x00",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_refuses_as_invalid(verifier, name):
    assert await refusal(verifier, BAD[name]()) is Reason.INVALID


async def test_refuses_an_expired_token_as_expired(verifier):
    token = sign(claims(NOW - timedelta(seconds=3630)))

    assert await refusal(verifier, token) is Reason.EXPIRED


async def test_says_expired_only_of_tokens_that_the_issuer_signed(verifier):
    token = sign(claims(NOW - timedelta(hours=2)), key=OTHER_KEY)

    assert await refusal(verifier, token) is Reason.INVALID


@pytest.mark.parametrize(
    "name", ["another issuer", "alg none", "RS384", "no kid", "payload not an object", "empty"]
)
async def test_what_can_never_be_accepted_causes_no_fetch(server, verifier, name):
    await refusal(verifier, BAD[name]())

    assert server.fetches == 0


# --- any input -----------------------------------------------------------------------------

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
LENIENT = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = ["iss", "aud", "sub", "iat", "exp", "nbf", "auth_time", "jti"]


async def outcome(verifier: Verifier, token: str) -> str:
    """`accepted` or `refused`; anything else that is raised fails the test."""
    try:
        await verifier.verify(token, now=NOW)
    except InvalidToken:
        return "refused"
    return "accepted"


@LENIENT
@given(token=st.text() | st.lists(st.binary().map(segment), max_size=5).map(".".join))
async def test_any_text_is_refused_and_nothing_else(local, token):
    assert await outcome(trusting_local(local), token) == "refused"


@LENIENT
@given(header=ANY_JSON, payload=ANY_JSON, signature=st.binary(max_size=80))
async def test_any_unsigned_json_is_refused_and_nothing_else(local, header, payload, signature):
    token = ".".join(map(segment, (header, payload, signature)))

    assert await outcome(trusting_local(local), token) == "refused"


@LENIENT
@given(changes=st.dictionaries(st.sampled_from(NAMES), ANY_JSON, min_size=1))
async def test_any_signed_claims_are_accepted_or_refused_and_nothing_else(local, changes):
    usual = claims(iss=local_issuer.ISSUER, aud=local_issuer.AUDIENCE)
    kid = local.jwks()["keys"][0]["kid"]
    token = sign(usual | changes, key=local._private_key, algorithm="ES256", kid=kid)

    answer = await outcome(trusting_local(local), token)

    if {"iss", "aud", "exp", "iat"} & changes.keys():
        assert answer == "refused"


@LENIENT
@given(place=st.integers(0, 10_000), character=st.characters(max_codepoint=127))
async def test_a_token_with_one_character_changed_is_refused(local, place, character):
    token = local.mint("member:demo", now=NOW)
    place %= len(token)
    changed = token[:place] + character + token[place + 1 :]

    expected = "accepted" if changed == token else "refused"
    assert await outcome(trusting_local(local), changed) == expected
