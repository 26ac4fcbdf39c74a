"""Tokens, keys and a key server for the sign-in tests; everything real but the issuer's name."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from app.adapters import identity, local_issuer
from app.adapters.identity import InvalidToken, Issuer, Reason, RemoteKeys, Verifier

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
ISSUER, AUDIENCE = "https://id.example", "wellward-app"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
DROP = object()


def jwk(key: Any, kid: str) -> dict[str, Any]:
    for kind, algorithm in (
        (rsa.RSAPrivateKey, RSAAlgorithm),
        (ec.EllipticCurvePrivateKey, ECAlgorithm),
        (ed25519.Ed25519PrivateKey, OKPAlgorithm),
    ):
        if isinstance(key, kind):
            return algorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid, "use": "sig"}
    raise AssertionError("no such kind of key")


KEYS = [
    jwk(RSA_KEY, "rsa"),
    jwk(EC_KEY, "ec"),
    jwk(ED_KEY, "ed"),
    jwk(WEAK_KEY, "weak"),
    jwk(OTHER_KEY, "encryption") | {"use": "enc"},
    {
        "kty": "oct",
        "kid": "shared",
        "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA",
        "alg": "HS256",
    },
    ECAlgorithm.to_jwk(EC_KEY, as_dict=True) | {"kid": "leaked"},  # with its private part
    {"kty": "RSA", "kid": "broken", "n": 7, "e": "AQAB"},
    "not a key",
]


def claims(at: datetime = NOW, **changes: Any) -> dict[str, Any]:
    seconds = int(at.timestamp())
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "iat": seconds, "exp": seconds + 3600}
    return {name: value for name, value in (usual | changes).items() if value is not DROP}


def sign(
    payload: Any, *, key: Any = RSA_KEY, algorithm: str = "RS256", kid: Any = "rsa", **header: Any
) -> str:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    headers = {"kid": kid, **header}
    return jwt.api_jws.encode(
        body, key, algorithm, headers={k: v for k, v in headers.items() if v is not DROP}
    )


def segment(value: Any) -> str:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


class KeyServer:
    """A real JWKS endpoint on loopback whose moods a test sets."""

    def __init__(self) -> None:
        self.fetches = 0
        self.document: Any = {"keys": KEYS}
        self.status = 200
        self.open = asyncio.Event()
        self.open.set()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.fetches += 1
        await self.open.wait()
        headers = {"Location": "/jwks"} if self.status == 302 else {}
        return web.Response(status=self.status, text=json.dumps(self.document), headers=headers)


@asynccontextmanager
async def serving() -> AsyncIterator[KeyServer]:
    server = KeyServer()
    application = web.Application()
    application.router.add_get("/jwks", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    try:
        yield server
    finally:
        server.open.set()
        await runner.cleanup()


def trusting(server: KeyServer, *, timeout_seconds: float = 5) -> Verifier:
    keys = RemoteKeys(server.url, timeout_seconds=timeout_seconds)
    return Verifier([Issuer(ISSUER, frozenset({AUDIENCE, "wellward-console"}), keys)])


async def refusal(verifier: Verifier, token: str, *, now: datetime = NOW) -> Reason:
    with pytest.raises(InvalidToken) as caught:
        await verifier.verify(token, now=now)
    assert str(caught.value) == caught.value.reason.value
    assert caught.value.__cause__ is None
    return caught.value.reason


def trusting_local(keys: identity.KeySource) -> Verifier:
    return Verifier([Issuer(local_issuer.ISSUER, frozenset({local_issuer.AUDIENCE}), keys)])


async def until(fact: Callable[[], bool]) -> None:
    for _ in range(1000):
        if fact():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen within five seconds")
