"""Photos as they are kept: proven to be JPEG, PNG or WebP, without what the camera wrote beside
the picture. Pure; nothing is decoded, so that a hostile file meets no decoder of ours.

What is kept of a file is rebuilt from the parts that show the picture. EXIF (with its place and
device), XMP, comments, thumbnails, colour profiles and whatever hides behind the end are left
out; of EXIF only how the picture is turned comes back.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

SIDE_MAX = 12_000
PIXELS_MAX = 50_000_000
PARTS_MAX = 2_000
"""Segments or chunks: of a photo there are some dozens, of a large PNG some hundreds."""


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

_SOI, _EOI, _SOS, _APP1, _APP14 = 0xD8, 0xD9, 0xDA, 0xE1, 0xEE
_DHT, _DAC, _DQT, _DRI = 0xC4, 0xCC, 0xDB, 0xDD
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}
_ORIENTATION_TAG = 0x0112
_NO_FILL = re.compile(rb"[^\xff]")
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
"""Neither stuffing nor a restart."""
_Tables = dict[tuple[int, int], bytes]
"""By marker and the place that they fill."""


def _jpeg(content: bytes) -> Image:
    frame: bytes | None = None
    exif: bytes | None = None
    kept: list[bytes] = []
    given: _Tables = {}
    in_force: _Tables = {(_DRI, 0): b"\0\0"}
    for marker, payload, entropy in _segments(content):
        if marker in _FRAMES:
            if frame is not None or len(payload) < 6 or len(payload) != 6 + 3 * payload[5]:
                raise ImageInvalid("a JPEG with no frame of its own")
            frame, size = _segment(marker, payload), payload[1:5]
        elif marker == _SOS:
            if frame is None or not payload or len(payload) != 4 + 2 * payload[0]:
                raise ImageInvalid("a JPEG with a scan of nothing")
            # Only what a scan needs, each table once: nothing hides in tables that are
            # replaced unread, repeated or left over.
            changed = {key: it for key, it in given.items() if in_force.get(key) != it}
            kept += [_segment(key[0], changed[key]) for key in sorted(changed, reverse=True)]
            kept += [_segment(marker, payload) + entropy]
            in_force |= changed
            given = {}
        elif marker == _APP1 and exif is None and payload.startswith(b"Exif\0\0"):
            exif = payload[6:]
        else:
            given |= _tables(marker, payload)
    if frame is None or not kept:
        raise ImageInvalid("a JPEG without a picture")
    orientation = _orientation(exif or b"")
    head = b"" if orientation == 1 else _segment(_APP1, _turned(orientation))
    whole = b"\xff\xd8" + head + frame + b"".join(kept) + b"\xff\xd9"
    return Image(MediaType.JPEG, int.from_bytes(size[2:]), int.from_bytes(size[:2]), whole)


def _tables(marker: int, payload: bytes) -> _Tables:
    """What pictures are decoded with; none for what is no table. Raises ImageInvalid."""
    found: _Tables = {}
    place = 0
    if marker == _APP14:
        # It says how the colours are coded; pictures are wrong without it.
        if payload.startswith(b"Adobe") and len(payload) >= 12:
            found[marker, 0] = b"Adobe\0d\0\0\0\0" + payload[11:12]
    elif marker == _DRI:
        found[marker, 0] = _slice(payload, 0, 2)
    elif marker in (_DHT, _DAC, _DQT):
        while place < len(payload):
            slot = payload[place]
            if slot & 0xEC:
                raise ImageInvalid("a JPEG table where none belongs")
            if marker == _DQT:
                length = 1 + 64 * (1 + (slot >> 4))
            elif marker == _DHT:
                length = 17 + sum(_slice(payload, place + 1, 16))
            else:
                length = 2
            # A quantization table fills its place whatever its precision.
            key = slot & 0x0F if marker == _DQT else slot
            found[marker, key] = _slice(payload, place, length)
            place += length
    return found


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2) + payload


def _segments(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, payload and what follows a scan's header, up to the end of the picture."""
    place = 2
    for _ in range(PARTS_MAX):
        if _slice(content, place, 1) != b"\xff":
            raise ImageInvalid("a JPEG with bytes between its segments")
        named = _NO_FILL.search(content, place)
        if named is None:
            raise ImageInvalid("it ends too early")
        place, marker = named.end(), content[named.start()]
        if marker == _EOI:
            return
        if marker in (0x00, 0x01, _SOI) or 0xD0 <= marker <= 0xD7:
            raise ImageInvalid("a JPEG with a marker where none belongs")
        length = int.from_bytes(_slice(content, place, 2))
        if length < 2:
            raise ImageInvalid("a JPEG segment shorter than its length")
        payload = _slice(content, place + 2, length - 2)
        place += length
        end = place
        if marker == _SOS:
            following = _NEXT_MARKER.search(content, place)
            if following is None:
                raise ImageInvalid("a JPEG without an end")
            end = following.start()
        yield marker, payload, content[place:end]
        place = end
    raise ImageInvalid("a JPEG of too many segments")


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
_PNG_LENGTHS = {
    b"PLTE": 768,
    b"tRNS": 256,
    b"gAMA": 4,
    b"cHRM": 32,
    b"sRGB": 1,
    b"sBIT": 4,
    b"bKGD": 6,
    b"IEND": 0,
}
"""The chunks that show the picture and come once, with the most bytes that each has."""
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bits that each type of colour has."""


def _png(content: bytes) -> Image:
    kept = [_PNG_SIGNATURE]
    size: tuple[int, int] | None = None
    pixels = False
    once: set[bytes] = set()
    for kind, payload, chunk in _chunks(content):
        if (kind == b"IHDR") != (size is None):
            raise ImageInvalid("a PNG that does not begin with one header")
        if kind == b"IHDR":
            size = _png_size(payload)
        elif kind == b"IDAT":
            pixels = pixels or bool(payload)
        elif kind in _PNG_LENGTHS:
            if kind in once or len(payload) > _PNG_LENGTHS[kind]:
                raise ImageInvalid("a PNG chunk that comes twice or is too long")
            once.add(kind)
        elif kind[:1].isupper():
            raise ImageInvalid("a PNG with a critical chunk that nobody knows")
        else:
            continue
        kept.append(chunk)
    if size is None or not pixels:
        raise ImageInvalid("a PNG without a picture")
    return Image(MediaType.PNG, *size, b"".join(kept))


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, payload and the whole, up to the one that ends the picture."""
    place = len(_PNG_SIGNATURE)
    for _ in range(PARTS_MAX):
        length = int.from_bytes(_slice(content, place, 4))
        chunk = _slice(content, place, length + 12)
        place += length + 12
        if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
            raise ImageInvalid("a PNG chunk with a wrong checksum")
        yield chunk[4:8], chunk[8:-4], chunk
        if chunk[4:8] == b"IEND":
            return
    raise ImageInvalid("a PNG of too many chunks")


def _png_size(header: bytes) -> tuple[int, int]:
    if len(header) != 13:
        raise ImageInvalid("a PNG with another header")
    depth, colour, compression, filtering, interlace = header[8:]
    if depth not in _PNG_DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise ImageInvalid("a PNG of a coding that there is none of")
    return int.from_bytes(header[:4]), int.from_bytes(header[4:8])


# WebP (RFC 9649)

_ALPHA, _ANIMATION = 0x10, 0x02
_WEBP_KEPT = (b"VP8X", b"ALPH", b"VP8 ", b"VP8L")
"""In their order."""


def _webp(content: bytes) -> Image:
    end = int.from_bytes(content[4:8], "little") + 8
    if end > len(content):
        raise ImageInvalid("it ends too early")
    content = content[:end]
    found: dict[bytes, bytes] = {}
    place = 12
    for _ in range(PARTS_MAX):
        if place >= end:
            break
        kind = _slice(content, place, 4)
        length = int.from_bytes(_slice(content, place + 4, 4), "little")
        if kind in _WEBP_KEPT:
            if kind in found:
                raise ImageInvalid("a WebP with one thing twice")
            found[kind] = _slice(content, place + 8, length)
        place += 8 + length + length % 2
    else:
        raise ImageInvalid("a WebP of too many chunks")
    if (b"VP8 " in found) == (b"VP8L" in found):
        raise ImageInvalid("a WebP with no picture or two")
    picture = _lossy(found[b"VP8 "]) if b"VP8 " in found else _lossless(found[b"VP8L"])
    canvas = found.get(b"VP8X")
    if canvas is not None:
        if _canvas(canvas) != picture:
            raise ImageInvalid("a WebP without a picture of its size")
        found[b"VP8X"] = bytes((canvas[0] & _ALPHA,)) + b"\0\0\0" + canvas[4:10]
    if canvas is None or not canvas[0] & _ALPHA or b"VP8L" in found:
        found.pop(b"ALPH", None)  # nothing shows it
    body = b"WEBP" + b"".join(_webp_chunk(it, found[it]) for it in _WEBP_KEPT if it in found)
    return Image(MediaType.WEBP, *picture, b"RIFF" + len(body).to_bytes(4, "little") + body)


def _webp_chunk(kind: bytes, payload: bytes) -> bytes:
    return kind + len(payload).to_bytes(4, "little") + payload + b"\0" * (len(payload) % 2)


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
