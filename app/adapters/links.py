"""Links that open something for a short time, to whoever holds them: signed, same-origin."""

import hashlib
import hmac
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import urlencode

from app.adapters.key_files import write_once
from app.config import Settings
from app.errors import ConfigurationError

_KEY_BYTES = 32
_KEY_NAME = ".link-key"


class Links:
    """The signature covers the path, every parameter and the end."""

    def __init__(self, key: bytes, *, lifetime: timedelta) -> None:
        assert len(key) == _KEY_BYTES
        self._key = key
        self._lifetime = lifetime

    def sign(self, path: str, parameters: Mapping[str, str], *, now: datetime) -> str:
        sent = {**parameters, "expires": str(int((now + self._lifetime).timestamp()))}
        return f"{path}?{urlencode({**sent, 'signature': self._signature(path, sent)})}"

    def is_open(self, path: str, parameters: Mapping[str, str], *, now: datetime) -> bool:
        """Whether a link with these parameters is ours and its time is not over."""
        sent = {name: value for name, value in parameters.items() if name != "signature"}
        signature, expires = parameters.get("signature", ""), sent.get("expires", "")
        if not hmac.compare_digest(signature.encode(), self._signature(path, sent).encode()):
            return False
        return now.timestamp() < int(expires)

    def _signature(self, path: str, parameters: Mapping[str, str]) -> str:
        signed = f"{path}?{urlencode(sorted(parameters.items()))}"
        return hmac.new(self._key, signed.encode(), hashlib.sha256).hexdigest()


def open_links(settings: Settings, *, lifetime: timedelta) -> Links:
    """With the key that lies beside what the links open, so that replicas have the same.

    Raises ConfigurationError.
    """
    path = settings.storage_path / _KEY_NAME
    try:
        if not path.exists():
            write_once(path, os.urandom(_KEY_BYTES))
        key = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"The storage {path.parent} cannot be used: {error.strerror}."
        ) from (error)
    if len(key) != _KEY_BYTES:
        raise ConfigurationError(f"{path} holds no key of {_KEY_BYTES} bytes: remove it.")
    return Links(key, lifetime=lifetime)
