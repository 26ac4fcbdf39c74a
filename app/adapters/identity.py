"""Who is asking: one verifier of sign-in tokens for every issuer.

Firebase, any OpenID Connect provider and the local issuer differ only in where their public
keys come from. No token, and no part of one, ever reaches a log or an error text.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import aiohttp
import jwt
import orjson
import structlog
from jwt.types import Options

from app.adapters import local_issuer
from app.config import Mode, Settings
from app.errors import ConfigurationError

log = structlog.get_logger(__name__)

ALGORITHMS = ("RS256", "ES256", "EdDSA")
LEEWAY = timedelta(seconds=30)
LIFETIME_MAX = timedelta(hours=24)
KEY_ASKED_AGAIN = timedelta(seconds=30)
"""How long a key that its issuer has withdrawn is still good once we know of it."""
REMEMBERED_MAX = 10_000
TOKEN_CHARS_MAX = 8_192
SUBJECT_CHARS_MAX = 255
SECONDS_MAX = 253_402_300_799  # the end of the year 9999, the last that a datetime can hold

# A busy server fetches keys ahead of time, so nobody waits; an idle one must ask before it
# trusts keys of yesterday again.
REFRESH_AFTER = timedelta(minutes=30)
KEYS_FRESH_FOR = timedelta(hours=1)
REFRESH_PAUSE = timedelta(minutes=1)
FIRST_FETCH_PAUSE = timedelta(seconds=5)
FETCH_TIMEOUT_SECONDS = 5.0
JWKS_BYTES_MAX = 262_144

EMULATOR_VARIABLE = "FIREBASE_AUTH_EMULATOR_HOST"
FIREBASE_ISSUER = "https://securetoken.google.com/{project}"
FIREBASE_JWKS_URL = (
    "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
)


class Reason(StrEnum):
    """Why a token was refused, in a word that the client may see."""

    INVALID = "invalid"
    EXPIRED = "expired"
    UNAVAILABLE = "unavailable"  # the issuer's keys cannot be had now; the token may be good


class InvalidToken(Exception):
    """The token signs nobody in. Its text is the reason and nothing else."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Identity:
    """A proven sign-in. A subject means something only together with its issuer."""

    issuer: str
    subject: str
    expires_at: datetime


class KeySource(Protocol):
    """The public keys of one issuer."""

    async def key(self, kid: str, *, now: datetime) -> jwt.PyJWK | None:
        """The key of that id; None when the issuer has none.

        Raises InvalidToken (`unavailable`) when that cannot be known at present.
        """

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Issuer:
    name: str
    audiences: frozenset[str]
    keys: KeySource


class Verifier:
    """Proves tokens against the issuers it was given, and trusts no other."""

    def __init__(self, issuers: Iterable[Issuer]) -> None:
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._verified = _VerifiedTokens()

    async def verify(self, token: str, *, now: datetime) -> Identity:
        """Who the token signs in at `now`. Raises InvalidToken and nothing else."""
        if len(token) > TOKEN_CHARS_MAX or not token.isascii():
            raise InvalidToken(Reason.INVALID)
        digest = hashlib.sha256(token.encode("ascii")).digest()
        known = self._verified.find(digest, now=now)
        if known is not None and _within(KEY_ASKED_AGAIN, known.asked_at, now):
            return known.identity

        issuer, kid = self._claimed_origin(token)
        key = await issuer.keys.key(kid, now=now)
        if key is None:
            self._verified.forget(digest)
            raise InvalidToken(Reason.INVALID)
        if known is not None and key is known.key:
            identity = known.identity  # What it proved once, it proves until the token ends.
        else:
            identity = _identity(_proven_claims(token, key=key, issuer=issuer), now=now)
        self._verified.remember(digest, _Proof(identity, key, asked_at=now))
        return identity

    async def close(self) -> None:
        for issuer in self._issuers.values():
            await issuer.keys.close()

    def _claimed_origin(self, token: str) -> tuple[Issuer, str]:
        """Issuer and key id as the unproven token states them: good for choosing a key only.
        Whatever could never be accepted is refused here, before any fetch."""
        try:
            unproven = jwt.decode_complete(token, options={"verify_signature": False})
        except jwt.PyJWTError:
            raise InvalidToken(Reason.INVALID) from None
        kid = unproven["header"].get("kid")
        name = unproven["payload"].get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None or not kid or unproven["header"].get("alg") not in ALGORITHMS:
            raise InvalidToken(Reason.INVALID)
        return issuer, kid


# PyJWT would compare the times with the system clock; `_identity` compares them with `now`.
_OPTIONS: Options = {
    "require": ["exp", "iat", "sub", "iss", "aud"],
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "enforce_minimum_key_length": True,
}


def _proven_claims(token: str, *, key: jwt.PyJWK, issuer: Issuer) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            audience=issuer.audiences,
            issuer=issuer.name,
            options=_OPTIONS,
        )
    except jwt.PyJWTError:
        # Not chained: the library's texts may quote the token.
        raise InvalidToken(Reason.INVALID) from None


def _identity(claims: Mapping[str, Any], *, now: datetime) -> Identity:
    at, leeway = now.timestamp(), LEEWAY.total_seconds()
    issued, expires = _seconds(claims["iat"]), _seconds(claims["exp"])
    for start in ("iat", "nbf", "auth_time"):
        if start in claims and _seconds(claims[start]) > at + leeway:
            raise InvalidToken(Reason.INVALID)
    if not 0 < expires - issued <= LIFETIME_MAX.total_seconds():
        raise InvalidToken(Reason.INVALID)
    if expires <= at - leeway:
        raise InvalidToken(Reason.EXPIRED)
    subject = claims["sub"]
    # Unprintable characters could not be stored (NUL) or compared safely.
    if not 0 < len(subject) <= SUBJECT_CHARS_MAX or not subject.isprintable():
        raise InvalidToken(Reason.INVALID)
    return Identity(
        issuer=claims["iss"],
        subject=subject,
        expires_at=datetime.fromtimestamp(expires, UTC),
    )


def _seconds(value: object) -> float:
    """A NumericDate of RFC 7519, in seconds since 1970. Raises InvalidToken."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidToken(Reason.INVALID)
    if not 0 <= value <= SECONDS_MAX:  # false for NaN too
        raise InvalidToken(Reason.INVALID)
    return float(value)


class _Proof(NamedTuple):
    """What a token has proven, by which key, and when the issuer's keys were last asked for it."""

    identity: Identity
    key: jwt.PyJWK
    asked_at: datetime


class _VerifiedTokens:
    """Proofs until their tokens end, by the digest of the token: a phone sends the same one
    again and again. Bounded in number, least recently used go first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, _Proof] = OrderedDict()

    def find(self, digest: bytes, *, now: datetime) -> _Proof | None:
        proof = self._entries.get(digest)
        if proof is None:
            return None
        if now >= proof.identity.expires_at:
            self.forget(digest)
            return None
        self._entries.move_to_end(digest)
        return proof

    def remember(self, digest: bytes, proof: _Proof) -> None:
        self._entries[digest] = proof
        if len(self._entries) > REMEMBERED_MAX:
            self._entries.popitem(last=False)

    def forget(self, digest: bytes) -> None:
        self._entries.pop(digest, None)


def _within(period: timedelta, since: datetime | None, now: datetime) -> bool:
    """Whether less than `period` separates the two, in either direction: a clock that was set
    back must not stretch a period for as long as it was wrong."""
    return since is not None and abs(now - since) < period


class RemoteKeys:
    """The keys behind a JWKS URL: cached, fetched once for all who wait, kept in an outage."""

    def __init__(self, url: str, *, timeout_seconds: float = FETCH_TIMEOUT_SECONDS) -> None:
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at: datetime | None = None
        self._attempted_at: datetime | None = None
        self._reachable = True
        self._fetch: asyncio.Task[None] | None = None

    async def key(self, kid: str, *, now: datetime) -> jwt.PyJWK | None:
        """See KeySource. Never waits longer than the timeout; waits for nothing when the key
        is known and fresh, or known and the last fetch failed."""
        known = kid in self._keys
        if not known or not _within(REFRESH_AFTER, self._fetched_at, now):
            self._begin_fetch(now)
        stale = self._reachable and not _within(KEYS_FRESH_FOR, self._fetched_at, now)
        if self._fetch is not None and (stale or not known):
            # Shielded: one caller who gives up must not cancel it for the others.
            await asyncio.shield(self._fetch)
        found = self._keys.get(kid)
        if found is None and not self._reachable:
            raise InvalidToken(Reason.UNAVAILABLE)
        return found

    async def close(self) -> None:
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)

    def _begin_fetch(self, now: datetime) -> None:
        """Unless one is under way or was tried too recently: invented key ids must not turn
        us into a load on the issuer."""
        pause = REFRESH_PAUSE if self._keys else FIRST_FETCH_PAUSE
        if self._fetch is None and not _within(pause, self._attempted_at, now):
            self._attempted_at = now
            self._fetch = asyncio.create_task(self._replace_keys(now))

    async def _replace_keys(self, now: datetime) -> None:
        try:
            keys = usable_keys(await self._download())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self._reachable = False
            log.warning("sign_in_keys_unavailable", url=self._url, error=type(error).__name__)
        else:
            self._keys, self._fetched_at, self._reachable = keys, now, True
        finally:
            self._fetch = None

    async def _download(self) -> bytes:
        async with (
            aiohttp.ClientSession(timeout=self._timeout) as session,
            session.get(self._url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise ValueError("the key set is not there")
            body = bytearray()
            async for chunk in response.content.iter_chunked(16_384):
                body += chunk
                if len(body) > JWKS_BYTES_MAX:
                    raise ValueError("the key set is too large")
            return bytes(body)


def usable_keys(document: bytes) -> dict[str, jwt.PyJWK]:
    """The signature keys of a JWK set by their id; others in it are left out.

    Raises ValueError when it is not a key set or holds no usable key.
    """
    entries = orjson.loads(document)
    entries = entries.get("keys") if isinstance(entries, dict) else None
    keys: dict[str, jwt.PyJWK] = {}
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or "d" in entry:
            continue
        try:
            key = jwt.PyJWK(entry)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):  # what PyJWT lets out
            continue
        if key.algorithm_name in ALGORITHMS and isinstance(key.key_id, str) and key.key_id:
            keys[key.key_id] = key
    if not keys:
        raise ValueError("the key set holds no usable key")
    return keys


def refuse_emulator(settings: Settings, environ: Mapping[str, str]) -> None:
    """Raises ConfigurationError in production when Firebase's auth emulator is switched on."""
    if settings.mode is Mode.PRODUCTION and environ.get(EMULATOR_VARIABLE):
        raise ConfigurationError(
            f"{EMULATOR_VARIABLE} is set, and with it unsigned sign-in tokens pass: "
            "unset it, or run with WELLWARD_MODE=development."
        )


def open_verifier(settings: Settings, environ: Mapping[str, str]) -> Verifier:
    """The verifier that the settings describe; in development it trusts the local issuer too.

    Raises ConfigurationError.
    """
    refuse_emulator(settings, environ)
    issuers = _remote_issuers(settings)
    if settings.mode is Mode.DEVELOPMENT:
        local = local_issuer.LocalIssuer(settings.data_dir)
        audiences = frozenset({local_issuer.AUDIENCE})
        issuers.append(Issuer(local_issuer.ISSUER, audiences, local))
    if not issuers:
        log.warning("nobody_can_sign_in", hint="set WELLWARD_FIREBASE_PROJECT_ID or _OIDC_ISSUERS")
    return Verifier(issuers)


def _remote_issuers(settings: Settings) -> list[Issuer]:
    """One for each name; a second entry of the same name adds its audience (app, console)."""
    entries = [_parse_entry(entry) for entry in settings.oidc_issuers]
    if settings.firebase_project_id:
        project = settings.firebase_project_id
        entries.append((FIREBASE_ISSUER.format(project=project), project, FIREBASE_JWKS_URL))

    audiences: dict[str, set[str]] = {}
    urls: dict[str, str] = {}
    for name, audience, url in entries:
        if urls.setdefault(name, url) != url:
            raise ConfigurationError(f"The issuer {name} is given two different JWKS URLs.")
        audiences.setdefault(name, set()).add(audience)
    return [Issuer(name, frozenset(audiences[name]), RemoteKeys(url)) for name, url in urls.items()]


def _parse_entry(entry: str) -> tuple[str, str, str]:
    """Issuer, audience and JWKS URL of a line in WELLWARD_OIDC_ISSUERS."""
    parts = [part.strip() for part in entry.split("|")]
    if len(parts) != 3 or not all(parts):
        raise ConfigurationError(
            f"WELLWARD_OIDC_ISSUERS: {entry!r} is not of the form issuer|audience|jwks-url."
        )
    name, audience, url = parts
    if name == local_issuer.ISSUER:
        raise ConfigurationError(
            f"WELLWARD_OIDC_ISSUERS: {name} is the local issuer of development, not a provider."
        )
    if not _is_safe(url):
        raise ConfigurationError(
            f"WELLWARD_OIDC_ISSUERS: the JWKS URL {url!r} must begin with https:// "
            "(http:// only for this machine)."
        )
    return name, audience, url


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    return bool(parts.hostname) and (parts.scheme == "https" or local)
