"""Photos as they are kept: the picture and nothing beside it."""

import random

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


INVALID = {
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
