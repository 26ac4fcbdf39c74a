"""Small real pictures, with what a camera writes beside them: maker, place, how it was turned."""

import zlib
from base64 import b64decode

JPEG = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/4QB2RXhpZgAATU0AKgAAAAgAAwEPAAIAAAAFAAAAMgESAAMAAAABAAYAAIgl"
    "AAQAAAABAAAAOAAAAABBQ01FAAAAAgABAAIAAAACTgAAAAACAAUAAAADAAAAVgAAAAAAAAAfAAAAAQAAAAwAAAAB"
    "AAAABQAAAAH//gALQUNNRSBub3Rl/9sAQwAoHB4jHhkoIyEjLSsoMDxkQTw3Nzx7WF1JZJGAmZaPgIyKoLTmw6Cq"
    "2q2KjMj/y9ru9f///5vB////+v/m/f/4/9sAQwErLS08NTx2QUF2+KWMpfj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4"
    "+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4/8AAEQgADAAQAwEiAAIRAQMRAf/EABQAAQAAAAAAAAAAAAAAAAAA"
    "AAT/xAAZEAACAwEAAAAAAAAAAAAAAAAAAgNRYQT/xAAVAQEBAAAAAAAAAAAAAAAAAAAAA//EABgRAAMBAQAAAAAA"
    "AAAAAAAAAAABAwIR/9oADAMBAAIRAxEAPwAKQYJTnwRGi0JjRaILXRGzP//Z"
)
WEBP = b64decode(
    "UklGRtYAAABXRUJQVlA4WAoAAAAMAAAADwAACwAAVlA4IC4AAACwAQCdASoQAAwAB0CWJbACdAEJEmmQAP7kEEOG"
    "Kbd0llph0+I4CN9++/UuDAAARVhJRm4AAABNTQAqAAAACAADAQ8AAgAAAAUAAAAyARIAAwAAAAEABgAAiCUABAAA"
    "AAEAAAA4AAAAAEFDTUUAAAACAAEAAgAAAAJOAAAAAAIABQAAAAMAAABWAAAAAAAAAB8AAAABAAAADAAAAAEAAAAF"
    "AAAAAVhNUCALAAAAPHg+QUNNRTwveD4A"
)
LOSSLESS = b64decode(
    "UklGRrYAAABXRUJQVlA4WAoAAAAIAAAADwAACwAAVlA4TCIAAAAvD8ACALkyRPQ/dlH/6H+ASNumIu7f7tjxQExA"
    "TABcB+s/RVhJRm4AAABNTQAqAAAACAADAQ8AAgAAAAUAAAAyARIAAwAAAAEABgAAiCUABAAAAAEAAAA4AAAAAEFD"
    "TUUAAAACAAEAAgAAAAJOAAAAAAIABQAAAAMAAABWAAAAAAAAAB8AAAABAAAADAAAAAEAAAAFAAAAAQ=="
)
SIZE = (16, 12)
MAKER = b"ACME"
"""In the metadata of each of the pictures above."""


def png(width: int = 16, height: int = 12, *, shade: int = 128, text: bytes = b"") -> bytes:
    """A grey picture; other shades are other pictures."""
    rows = b"".join(b"\0" + bytes((shade,)) * width for _ in range(height))
    header = width.to_bytes(4) + height.to_bytes(4) + b"\x08\0\0\0\0"
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tEXt", b"Comment\0" + text) if text else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def chunk(kind: bytes, payload: bytes) -> bytes:
    checksum = zlib.crc32(kind + payload)
    return len(payload).to_bytes(4) + kind + payload + checksum.to_bytes(4)
