"""Where uploaded files are kept: behind a port, so that an object store can take the place of
the directory. Keys are ours, never a client's."""

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

from app.config import Settings

_KEY = re.compile(r"[0-9a-f]{32}")
_DRAFT = ".new-"


class StoragePort(Protocol):
    """Keys are 32 hexadecimal digits, and a key's content never changes."""

    async def put(self, key: str, content: bytes) -> None:
        """Have it kept, as a whole or not at all. Raises OSError."""

    async def get(self, key: str) -> bytes | None:
        """None when there is no such file. Raises OSError."""

    async def delete(self, key: str) -> None:
        """What is not there is deleted already. Raises OSError."""

    def older(self, than: datetime) -> AsyncIterator[Sequence[str]]:
        """Keys put before that time by the clock of the storage, in batches. Raises OSError."""


class DirectoryStorage:
    """Files below one directory, which only their owner can read. Replicas share it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, key: str, content: bytes) -> None:
        await asyncio.to_thread(_write, self._path(key), content)

    async def get(self, key: str) -> bytes | None:
        return await asyncio.to_thread(_read, self._path(key))

    async def delete(self, key: str) -> None:
        with suppress(FileNotFoundError):
            await asyncio.to_thread(os.unlink, self._path(key))

    async def older(self, than: datetime) -> AsyncIterator[Sequence[str]]:
        """Also deletes what writers that died left behind."""
        for number in range(256):
            found = await asyncio.to_thread(_older, self._root / f"{number:02x}", than)
            if found:
                yield found

    def _path(self, key: str) -> Path:
        assert _KEY.fullmatch(key), "a key of somebody else"
        return self._root / key[:2] / key


def open_storage(settings: Settings) -> DirectoryStorage:
    return DirectoryStorage(settings.storage_path)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=_DRAFT)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _older(folder: Path, than: datetime) -> list[str]:
    found: list[str] = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.stat().st_mtime >= than.timestamp():
                    continue
                if entry.name.startswith(_DRAFT):
                    os.unlink(entry.path)
                elif _KEY.fullmatch(entry.name):
                    found.append(entry.name)
    return found
