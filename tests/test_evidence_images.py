"""Photos as they are kept: the picture and nothing beside it."""

import contextlib
import random
import time

import pytest

from app.checkins import images
from app.checkins.images import ImageInvalid, MediaType
from tests.images import JPEG, LOSSLESS, MAKER, SIZE, WEBP, chunk, png

NOTED = png(text=MAKER + b" 31.2304 121.4737")
KINDS = {
    "JPEG": (JPEG, MediaType.JPEG),
    "PNG": (NOTED, MediaType.PNG),
    "WebP": (WEBP, MediaType.WEBP),
    "lossless WebP": (LOSSLESS, MediaType.WEBP),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_is_kept_and_nothing_beside_it(kind: str) -> None:
    sent, media_type = KINDS[kind]
    assert MAKER in sent

    found = images.read(sent + b"<script>hidden</script>")

    assert (found.media_type, (found.width, found.height)) == (media_type, SIZE)
    assert MAKER not in found.content and b"hidden" not in found.content
    assert images.read(found.content) == found


def test_a_jpeg_stays_turned_as_it_was() -> None:
    found = images.read(JPEG).content
    assert found[2:4] == b"\xff\xe1", "the first segment is EXIF of ours"
    exif = found[6:38]
    assert exif.startswith(b"Exif\0\0MM\0*")
    # One entry: the orientation (0x0112), a short, once, 6.
    assert exif[14:28] == b"\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0"
    assert found.count(b"Exif") == 1


def test_other_metadata_make_no_other_picture() -> None:
    assert images.read(NOTED).content == images.read(png()).content == png()
    assert images.read(png(shade=1)).content != png()


def large(width: int, height: int) -> bytes:
    """Says that it is so large; nothing is decoded."""
    header = width.to_bytes(4) + height.to_bytes(4) + b"\x08\0\0\0\0"
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")


def segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2) + payload


def headed(header: bytes) -> bytes:
    """A PNG with these last five bytes of its header."""
    return png()[:8] + chunk(b"IHDR", png()[16:24] + header) + png()[33:]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + len(it).to_bytes(4, "little") + it + b"\0" * (len(it) % 2) for kind, it in chunks
    )
    return b"RIFF" + len(body).to_bytes(4, "little") + body


SCAN = JPEG.index(b"\xff\xda")
"""Where the scan of `JPEG` begins: what stands before it is a place for tables."""
FRAME = WEBP[38 : 38 + 0x2E]
CANVAS = WEBP[20:30]
CODED = b"Adobe\0d\0\0\0\0\1"


def before_scan(*segments: bytes) -> bytes:
    return JPEG[:SCAN] + b"".join(segments) + JPEG[SCAN:]


INVALID = {
    "a JPEG table cut short": before_scan(segment(0xDB, b"\0" + b"x" * 63)),
    "a JPEG table in no place": before_scan(segment(0xDB, b"\4" + b"x" * 64)),
    "a JPEG scan of nothing": JPEG[:-2] + segment(0xDA, b"") + JPEG[-2:],
    "a PNG with an end that says more": png()[:-12] + chunk(b"IEND", b"hidden"),
    "a PNG of no depth": headed(b"\xff\0\0\0\0"),
    "a PNG of no colours": headed(b"\x08\1\0\0\0"),
    "a PNG with two gammas": png()[:33] + chunk(b"gAMA", b"\0\0\0\1") * 2 + png()[33:],
    "a WebP with two canvases": riff((b"VP8X", CANVAS), (b"VP8X", CANVAS), (b"VP8 ", FRAME)),
    "a WebP with two pictures": riff((b"VP8 ", FRAME), (b"VP8 ", FRAME)),
    "nothing": b"",
    "text": b"just some words",
    "a page": b"<!doctype html><img src=x>",
    "a GIF": b"GIF89a\1\0\1\0\0\0\0;",
    "a name without a picture": b"\xff\xd8\xff",
    "a JPEG cut short": JPEG[:-2],
    "a JPEG of tables only": JPEG[: JPEG.index(b"\xff\xc0")] + b"\xff\xd9",
    "a PNG cut short": png()[:-12],
    "a PNG with a wrong sum": png()[:-1] + b"\0",
    "a PNG without pixels": b"\x89PNG\r\n\x1a\n" + png()[8:33] + chunk(b"IEND", b""),
    "a PNG with an unknown critical chunk": png()[:-12] + chunk(b"WXYZ", b"") + png()[-12:],
    "a WebP cut short": WEBP[:-4],
    "a WebP that moves": WEBP[:20] + bytes((WEBP[20] | 2,)) + WEBP[21:],
    "no height": large(10, 0),
    "too long": large(images.SIDE_MAX + 1, 1),
    "too many pixels": large(10_000, 5_001),
}


HIDING = {
    "behind the colours": (segment(0xEE, CODED + b"hidden"), segment(0xEE, CODED)),
    "in colours of another": (segment(0xEE, b"hidden"), b""),
    "in colours said before": (segment(0xEE, CODED[:-1] + b"\2") + segment(0xEE, CODED),
                               segment(0xEE, CODED)),
    "in restarts that never come": (segment(0xDD, b"\0\0"), b""),
    "in a table replaced unread": (
        segment(0xDB, b"\2" + b"hidden--" * 8) + segment(0xDB, b"\2" + b"x" * 64),
        segment(0xDB, b"\2" + b"x" * 64),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HIDING)
def test_a_jpeg_hides_nothing_in_its_tables(case: str) -> None:
    hiding, plain = HIDING[case]
    found = images.read(before_scan(hiding)).content
    assert b"hidden" not in found
    assert found == images.read(before_scan(plain)).content


def test_tables_after_the_last_scan_are_left_out() -> None:
    left_over = segment(0xC4, b"") + segment(0xDB, b"\3" + b"hidden--" * 8)
    assert images.read(JPEG[:-2] + left_over + JPEG[-2:]) == images.read(JPEG)


def test_a_canvas_of_odd_length_leaves_the_chunks_where_they_belong() -> None:
    found = images.read(riff((b"VP8X", CANVAS + b"x"), (b"VP8 ", FRAME))).content
    assert found == images.read(WEBP).content
    assert len(found) == int.from_bytes(found[4:8], "little") + 8


def many(part: bytes) -> int:
    return 4_800_000 // len(part)


SLOW = {
    "tiny segments": b"\xff\xd8" + segment(0xDD, b"") * many(b"1234") + JPEG[2:],
    "tiny scans": JPEG[:-2] + segment(0xDA, b"") * many(b"1234") + JPEG[-2:],
    "tiny chunks": png()[:33] + chunk(b"tEXt", b"") * many(b"123456789012") + png()[33:],
    "tiny chunks of a WebP": riff(*[(b"junk", b"")] * many(b"12345678"), (b"VP8 ", FRAME)),
    "long fill": b"\xff\xd8" + b"\xff" * 4_800_000 + JPEG[2:],
    "stuffing": JPEG[:-2] + b"\xff\0" * 2_400_000 + JPEG[-2:],
}


@pytest.mark.parametrize("case", SLOW)
def test_no_file_keeps_a_processor_busy(case: str) -> None:
    """Of the size of a photo; a good one takes some hundredths of a second."""
    began = time.thread_time()
    with contextlib.suppress(ImageInvalid):
        images.read(SLOW[case])
    assert time.thread_time() - began < 0.5


@pytest.mark.parametrize("case", INVALID)
def test_what_is_no_picture_is_refused(case: str) -> None:
    with pytest.raises(ImageInvalid):
        images.read(INVALID[case])


def test_the_largest_picture_is_taken() -> None:
    assert images.read(large(10_000, 5_000)).width == 10_000


def test_a_damaged_file_is_refused_or_is_a_picture_still() -> None:
    rng = random.Random(7)
    taken = 0
    for _ in range(4_000):
        damaged = bytearray(rng.choice([JPEG, NOTED, WEBP, LOSSLESS]))
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if rng.random() < 0.3:
            del damaged[rng.randrange(len(damaged)) :]
        try:
            found = images.read(bytes(damaged))
        except ImageInvalid:
            continue
        taken += 1
        assert images.read(found.content) == found
    assert taken > 100
