"""A token issuer for development, with a key of its own under the data directory.

Its tokens pass through the same verifier as everybody else's; only its keys need no network.
"""

import base64
import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from app.adapters.key_files import write_once
from app.config import Mode, Settings
from app.errors import ConfigurationError

ISSUER = "https://wellward-local.invalid"  # a name that can never be anybody's address
AUDIENCE = "wellward"
ALGORITHM = "ES256"
LIFETIME = timedelta(hours=12)
KEY_PATH = Path("local-issuer") / "key.pem"


class LocalIssuer:
    """Mints tokens, and is the source of the keys that prove them."""

    def __init__(self, data_dir: Path) -> None:
        """Makes the key pair on first use. Raises ConfigurationError when it cannot be had."""
        self._private_key = _load_or_create(data_dir / KEY_PATH)
        public_jwk = ECAlgorithm.to_jwk(self._private_key.public_key(), as_dict=True)
        self._kid = _thumbprint(public_jwk)
        self._jwk = public_jwk | {"kid": self._kid, "alg": ALGORITHM, "use": "sig"}
        self._public_key = jwt.PyJWK(self._jwk)

    def mint(self, subject: str, *, now: datetime, lifetime: timedelta = LIFETIME) -> str:
        """A token for `member:LOGIN` or `staff:LOGIN`, good from `now` for `lifetime`."""
        assert subject.startswith(("member:", "staff:")), "the subject names no role"
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
        }
        return jwt.encode(claims, self._private_key, ALGORITHM, headers={"kid": self._kid})

    def jwks(self) -> dict[str, Any]:
        """The public key as a JWK set (RFC 7517)."""
        return {"keys": [dict(self._jwk)]}

    async def key(self, kid: str, *, now: datetime) -> jwt.PyJWK | None:
        """See identity.KeySource; this one never changes, whatever `now` is."""
        return self._public_key if kid == self._kid else None

    async def close(self) -> None:
        """Holds nothing open."""


def open_local_issuer(settings: Settings) -> LocalIssuer:
    """The issuer behind `wellward token`: development on the embedded database only.

    Raises ConfigurationError.
    """
    if settings.mode is Mode.PRODUCTION:
        raise ConfigurationError(
            "The local token issuer is for development: sign in through WELLWARD_OIDC_ISSUERS or "
            "WELLWARD_FIREBASE_PROJECT_ID, or run with WELLWARD_MODE=development."
        )
    if not settings.embedded:
        raise ConfigurationError(
            "Tokens are minted for the embedded database only: unset WELLWARD_DATABASE_URL."
        )
    return LocalIssuer(settings.data_dir)


def _load_or_create(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        if not path.exists():
            _create(path)
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigurationError(
            f"The local issuer's key {path} cannot be used: {error.strerror}."
        ) from error
    except ValueError:
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigurationError(
            f"{path} holds no P-256 private key: delete it to get a new one "
            "(tokens minted so far stop working)."
        )
    return key


def _create(path: Path) -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_once(path, pem)


def _thumbprint(jwk: dict[str, Any]) -> str:
    """The key's id: the JWK thumbprint of RFC 7638, base64url."""
    required = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    digest = hashlib.sha256(orjson.dumps(required, option=orjson.OPT_SORT_KEYS)).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
