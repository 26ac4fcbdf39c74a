"""Secrets at rest: AES-256-GCM under a key that the database never sees.

Several keys may be known: the first seals, each opens what it has sealed, so that a key can
be followed by another. Nothing that was sealed ever reaches a log or an error text.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.adapters.key_files import write_once
from app.config import Settings
from app.errors import ConfigurationError

KEY_BYTES = 32
KEY_PATH = Path("vouchers") / "key"
_NONCE_BYTES = 12


class Sealed(NamedTuple):
    key_id: str
    box: bytes
    """Nonce, ciphertext and tag."""


class SealBroken(Exception):
    """Not what was sealed, not in this place, or under a key that is not known."""


class Sealer:
    def __init__(self, keys: Sequence[bytes]) -> None:
        """Each of 32 bytes, the one that seals first."""
        assert keys and all(len(key) == KEY_BYTES for key in keys)
        self._keys = {_derive(key, b"id")[:8].hex(): key for key in keys}
        self._newest = next(iter(self._keys))

    def seal(self, text: str, *, place: bytes) -> Sealed:
        """`place` says where it is kept: elsewhere it cannot be opened."""
        nonce = os.urandom(_NONCE_BYTES)
        box = AESGCM(self._keys[self._newest]).encrypt(nonce, text.encode(), place)
        return Sealed(self._newest, nonce + box)

    def open(self, sealed: Sealed, *, place: bytes) -> str:
        """Raises SealBroken."""
        key = self._keys.get(sealed.key_id)
        if key is None:
            raise SealBroken(f"there is no key {sealed.key_id}")
        nonce, box = sealed.box[:_NONCE_BYTES], sealed.box[_NONCE_BYTES:]
        try:
            return AESGCM(key).decrypt(nonce, box, place).decode()
        except InvalidTag:
            raise SealBroken("it is not what was sealed here") from None

    def fingerprints(self, text: str) -> list[bytes]:
        """By which equal secrets are known to be equal, one of each key, the newest first.
        Without the key nobody can find the text by trying."""
        return [
            hmac.digest(_derive(key, b"fingerprint"), text.encode(), "sha256")
            for key in self._keys.values()
        ]


def open_sealer(settings: Settings) -> Sealer | None:
    """With the keys of the settings, or embedded mode's own; None without either.

    Raises ConfigurationError.
    """
    if settings.voucher_key is not None:
        return Sealer([_parse(it) for it in settings.voucher_key.get_secret_value().split(",")])
    if settings.embedded:
        return Sealer([_load_or_create(settings.data_dir / KEY_PATH)])
    return None


def _derive(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, b"wellward sealing " + purpose, hashlib.sha256)


def _parse(text: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            "WELLWARD_VOUCHER_KEY: each key is 32 random bytes in base64, as of "
            "`openssl rand -base64 32`."
        )
    return key


def _load_or_create(path: Path) -> bytes:
    try:
        if not path.exists():
            write_once(path, os.urandom(KEY_BYTES))
        key = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"The voucher key {path} cannot be used: {error.strerror}."
        ) from error
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"{path} holds no key of {KEY_BYTES} bytes: put the right one there; without it the "
            "codes that it sealed cannot be shown."
        )
    return key
