"""Photos as they are kept: proven to be JPEG, PNG or WebP, without what the camera wrote beside
the picture. Pure; nothing is decoded, so that a hostile file meets no decoder of ours.

What is kept of a file is rebuilt from the parts that show the picture. EXIF (with its place and
device), XMP, comments, thumbnails, colour profiles and whatever hides behind the end are left
out; of EXIF only how the picture is turned comes back.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

SIDE_MAX = 12_000
PIXELS_MAX = 50_000_000


class MediaType(StrEnum):
    JPEG = "image/jpeg"
    PNG = "image/png"
    WEBP = "image/webp"


class ImageInvalid(ValueError):
    """It is no whole picture of these types, or has more pixels than a photo has."""


@dataclass(frozen=True, slots=True)
class Image:
    media_type: MediaType
    width: int
    height: int
    content: bytes
    """Equal pictures with other metadata have equal contents."""


def read(content: bytes) -> Image:
    """Raises ImageInvalid."""
    if content.startswith(b"\xff\xd8\xff"):
        found = _jpeg(content)
    elif content.startswith(_PNG_SIGNATURE):
        found = _png(content)
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        found = _webp(content)
    else:
        raise ImageInvalid("neither JPEG nor PNG nor WebP")
    if not (0 < found.width <= SIDE_MAX and 0 < found.height <= SIDE_MAX):
        raise ImageInvalid("a side is empty or too long")
    if found.width * found.height > PIXELS_MAX:
        raise ImageInvalid("too many pixels")
    return found


def _slice(content: bytes, start: int, length: int) -> bytes:
    found = content[start : start + length]
    if len(found) != length:
        raise ImageInvalid("it ends too early")
    return found


# JPEG (ITU-T T.81)

_SOI, _EOI, _SOS, _APP0, _APP1, _APP14 = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})
_ORIENTATION_TAG = 0x0112


def _jpeg(content: bytes) -> Image:
    size: tuple[int, int] | None = None
    kept: list[bytes] = []
    orientation = 1
    scans = 0
    for marker, payload, entropy in _segments(content):
        if marker in _FRAMES:
            if size is not None or len(payload) < 6:
                raise ImageInvalid("a JPEG with no frame of its own")
            size = int.from_bytes(payload[3:5]), int.from_bytes(payload[1:3])
        elif marker == _SOS:
            scans += 1
        elif marker == _APP1 and payload.startswith(b"Exif\0\0"):
            orientation = _orientation(payload[6:])
        # APP14 says how the colours are coded; pictures are wrong without it.
        if marker in _FRAMES | _TABLES | {_SOS, _APP14}:
            kept.append(_segment(marker, payload) + entropy)
    if size is None or scans == 0:
        raise ImageInvalid("a JPEG without a picture")
    head = b"" if orientation == 1 else _segment(_APP1, _turned(orientation))
    whole = b"\xff\xd8" + head + b"".join(kept) + b"\xff\xd9"
    return Image(MediaType.JPEG, *size, whole)


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2) + payload


def _segments(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, payload and what follows a scan's header, up to the end of the picture."""
    place = 2
    while True:
        if _slice(content, place, 1) != b"\xff":
            raise ImageInvalid("a JPEG with bytes between its segments")
        while _slice(content, place, 1) == b"\xff":
            place += 1
        marker = content[place]
        place += 1
        if marker == _EOI:
            return
        if marker in (0x00, 0x01, _SOI) or 0xD0 <= marker <= 0xD7:
            raise ImageInvalid("a JPEG with a marker where none belongs")
        length = int.from_bytes(_slice(content, place, 2))
        if length < 2:
            raise ImageInvalid("a JPEG segment shorter than its length")
        payload = _slice(content, place + 2, length - 2)
        place += length
        end = _end_of_scan(content, place) if marker == _SOS else place
        yield marker, payload, content[place:end]
        place = end


def _end_of_scan(content: bytes, place: int) -> int:
    """Where the next marker is that is neither stuffing nor a restart."""
    while True:
        place = content.find(b"\xff", place)
        if place < 0 or place + 1 >= len(content):
            raise ImageInvalid("a JPEG without an end")
        following = content[place + 1]
        if following != 0x00 and not 0xD0 <= following <= 0xD7:
            return place
        place += 2


def _orientation(tiff: bytes) -> int:
    """1 (upright) to 8; 1 also when it cannot be read."""
    orders: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
    byteorder = orders.get(tiff[:4])
    if byteorder is None:
        return 1
    start = int.from_bytes(tiff[4:8], byteorder)
    for number in range(int.from_bytes(tiff[start : start + 2], byteorder)):
        entry = tiff[start + 2 + number * 12 :][:12]
        if len(entry) < 12:
            break
        if int.from_bytes(entry[:2], byteorder) == _ORIENTATION_TAG:
            found = int.from_bytes(entry[8:10], byteorder)
            return found if 1 <= found <= 8 else 1
    return 1


def _turned(orientation: int) -> bytes:
    """EXIF that says nothing but how the picture is turned."""
    entry = _ORIENTATION_TAG.to_bytes(2) + b"\0\3\0\0\0\1" + orientation.to_bytes(2) + b"\0\0"
    return b"Exif\0\0MM\0*\0\0\0\x08\0\1" + entry + b"\0\0\0\0"


# PNG (ISO/IEC 15948)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD"}
)


def _png(content: bytes) -> Image:
    kept = [_PNG_SIGNATURE]
    size: tuple[int, int] | None = None
    pixels = False
    place = len(_PNG_SIGNATURE)
    while True:
        length = int.from_bytes(_slice(content, place, 4))
        chunk = _slice(content, place, length + 12)
        place += length + 12
        kind, payload = chunk[4:8], chunk[8:-4]
        if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
            raise ImageInvalid("a PNG chunk with a wrong checksum")
        if (kind == b"IHDR") != (size is None):
            raise ImageInvalid("a PNG that does not begin with one header")
        if kind == b"IHDR":
            if length != 13:
                raise ImageInvalid("a PNG with another header")
            size = int.from_bytes(payload[:4]), int.from_bytes(payload[4:8])
        pixels = pixels or (kind == b"IDAT" and length > 0)
        if kind in _PNG_KEPT:
            kept.append(chunk)
        elif kind[:1].isupper():
            raise ImageInvalid("a PNG with a critical chunk that nobody knows")
        if kind == b"IEND":
            break
    if size is None or not pixels:
        raise ImageInvalid("a PNG without a picture")
    return Image(MediaType.PNG, *size, b"".join(kept))


# WebP (RFC 9649)

_ALPHA, _ANIMATION = 0x10, 0x02


def _webp(content: bytes) -> Image:
    end = int.from_bytes(content[4:8], "little") + 8
    if end > len(content):
        raise ImageInvalid("it ends too early")
    kept: list[bytes] = []
    canvas: tuple[int, int] | None = None
    picture: tuple[int, int] | None = None
    place = 12
    while place < end:
        kind = _slice(content, place, 4)
        length = int.from_bytes(_slice(content, place + 4, 4), "little")
        payload = _slice(content[:end], place + 8, length)
        place += 8 + length + length % 2
        if kind == b"VP8X":
            canvas = _canvas(payload)
            payload = bytes((payload[0] & _ALPHA,)) + b"\0\0\0" + payload[4:10]
        elif kind in (b"VP8 ", b"VP8L"):
            if picture is not None:
                raise ImageInvalid("a WebP with two pictures")
            picture = _lossy(payload) if kind == b"VP8 " else _lossless(payload)
        elif kind != b"ALPH":
            continue
        kept.append(kind + len(payload).to_bytes(4, "little") + payload + b"\0" * (length % 2))
    if picture is None or (canvas is not None and canvas != picture):
        raise ImageInvalid("a WebP without a picture of its size")
    body = b"WEBP" + b"".join(kept)
    return Image(MediaType.WEBP, *picture, b"RIFF" + len(body).to_bytes(4, "little") + body)


def _canvas(payload: bytes) -> tuple[int, int]:
    if len(payload) < 10 or payload[0] & _ANIMATION:
        raise ImageInvalid("a WebP that moves, or without its size")
    width, height = (int.from_bytes(payload[start : start + 3], "little") for start in (4, 7))
    return width + 1, height + 1


def _lossy(payload: bytes) -> tuple[int, int]:
    """The first bit of a frame is 0 when it stands by itself."""
    if len(payload) < 10 or payload[0] & 1 or payload[3:6] != b"\x9d\x01\x2a":
        raise ImageInvalid("a WebP without a key frame")
    width, height = (int.from_bytes(payload[start : start + 2], "little") for start in (6, 8))
    return width & 0x3FFF, height & 0x3FFF


def _lossless(payload: bytes) -> tuple[int, int]:
    if len(payload) < 5 or payload[0] != 0x2F:
        raise ImageInvalid("a WebP of another coding")
    bits = int.from_bytes(payload[1:5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
