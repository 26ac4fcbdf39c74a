"""Whether a text of a member's own can be read on one line. No I/O."""

import unicodedata

_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Embeddings, overrides and isolates turn what stands after them. Marks of direction, as Hebrew
# needs them, and the joiners of emoji and Persian turn nothing.
_TURNING = frozenset(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))
# Letters and symbols by their category, blanks by their looks.
_BLANK = frozenset(map(chr, [0x115F, 0x1160, 0x2800, 0x3164, 0xFFA0]))


def is_readable(text: str) -> bool:
    """Whether something can be seen, and nothing controls how the rest is shown."""
    if any(unicodedata.category(it) in _CONTROLS or it in _TURNING for it in text):
        return False
    return any(unicodedata.category(it)[0] in "LNPS" and it not in _BLANK for it in text)
