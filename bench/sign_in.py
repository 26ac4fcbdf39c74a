"""Signing in as in production: an OpenID Connect issuer of the benchmark's own, on loopback.

The server under test fetches its keys and proves every token; it knows no local issuer.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

ISSUER = "https://id.bench.example"
AUDIENCE = "wellward-bench"
_KEY_ID = "bench"


class Issuer:
    def __init__(self, jwks_url: str, key: rsa.RSAPrivateKey) -> None:
        self.setting = f"{ISSUER}|{AUDIENCE}|{jwks_url}"
        """For WELLWARD_OIDC_ISSUERS."""
        self._key = key
        self._tokens: dict[str, str] = {}

    def token(self, subject: str, *, now: datetime) -> str:
        """Good for twelve hours; the same as before for whoever has one."""
        found = self._tokens.get(subject)
        if found is None:
            found = self._tokens[subject] = self._make(subject, now)
        return found

    def _make(self, subject: str, now: datetime) -> str:
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now,
            "exp": now + timedelta(hours=12),
        }
        return jwt.encode(claims, self._key, "RS256", headers={"kid": _KEY_ID})


@contextmanager
def issuing() -> Iterator[Issuer]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    document = orjson.dumps({"keys": [public | {"kid": _KEY_ID, "use": "sig", "alg": "RS256"}]})

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(document)))
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Issuer(f"http://127.0.0.1:{server.server_port}/jwks", key)
    finally:
        server.shutdown()
        server.server_close()
