"""Opens an export, plain or zipped, without ever writing a file or reading without a bound."""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.intake.report import Refused

SIZE_MAX = 16 * 2**30
RATIO_MAX = 200
"""Unpacked to packed. Exports reach 40; what consists of nothing but repetition reaches 1,000."""
DIRECTORY_MAX = 32 * 2**20
"""An archive's list of files, which is read into memory."""
_END = struct.Struct("<4s4H2LH")
_HEAD = 4_096
CHUNK = 256 * 1024


@contextmanager
def open_xml(path: Path, root: bytes) -> Iterator[tuple[IO[bytes], int]]:
    """The XML file of that root element, with its size in bytes: `path` itself, or the one of
    an archive, under whatever name a phone gave it in its language.

    Raises Refused.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if file.read(4) != b"PK\x03\x04":
                file.seek(0)
                yield file, size
                return
            _check_directory(file, size)
            with zipfile.ZipFile(file) as archive:
                found = _find(archive, root)
                with archive.open(found) as unpacked:
                    yield _Bounded(unpacked, found.file_size), found.file_size  # type: ignore[misc]
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror or error}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise Refused(f"{path.name} is damaged: it cannot be unpacked.") from error


def _check_directory(file: IO[bytes], size: int) -> None:
    """Raises Refused before a list of files without bound is read."""
    file.seek(max(0, size - _END.size - 65_535))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise Refused("The archive is damaged: it has no end.")
    directory_bytes = _END.unpack_from(tail, at)[5]
    if directory_bytes > DIRECTORY_MAX:
        raise Refused("The archive lists more files than any export.")
    file.seek(0)


def _find(archive: zipfile.ZipFile, root: bytes) -> zipfile.ZipInfo:
    """The largest that begins as it should. Names mean nothing: they are never used as paths."""
    candidates = [it for it in archive.infolist() if it.filename.lower().endswith(".xml")]
    for found in sorted(candidates, key=lambda it: it.file_size, reverse=True)[:20]:
        if found.flag_bits & 1:
            raise Refused("The archive is encrypted; unpack it first.")
        if found.file_size > SIZE_MAX or found.file_size > RATIO_MAX * max(found.compress_size, 64):
            raise Refused("The archive holds a file that unpacks to far more than an export does.")
        with archive.open(found) as file:
            head = file.read(_HEAD)
        if b"<" + root in head or b"<!DOCTYPE " + root in head:
            return found
    raise Refused(f"The archive holds no file whose root is {root.decode()}.")


class _Bounded:
    """No more bytes than the archive has said that the file holds."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int) -> bytes:
        found = self._file.read(min(size, self._left + 1))
        self._left -= len(found)
        if self._left < 0:
            raise Refused("The archive unpacks to more than it says.")
        return found
