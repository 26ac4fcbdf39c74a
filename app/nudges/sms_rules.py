"""How long an SMS is, in the parts that it is sent and paid for by. No I/O.

3GPP TS 23.038: 160 characters of the GSM alphabet, of which some count twice, or 70 of UCS-2; in
one of several parts 153 or 67, because each says which it is.
"""

import re
import unicodedata

from app.texts import Text

ANSWER_LENGTH_MAX = 40
PARTS_MAX = 7
"""469 characters of Chinese: gateways in China take 500 at most."""
_SINGLE_GSM, _PART_GSM = 160, 153
_SINGLE_UCS2, _PART_UCS2 = 70, 67
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_TWICE = frozenset("^{}\\[~]|€\f")

REFUSAL_HINT = Text(zh="拒收请回复R", en="Reply STOP to opt out")
"""Advertising says how it is refused: in China by these words, which its operators ask for."""


def parts(text: str) -> int:
    """How many parts an SMS of this text has; an empty one has one."""
    if all(it in _GSM or it in _GSM_TWICE for it in text):
        sizes = [2 if it in _GSM_TWICE else 1 for it in text]
        return _parts(sizes, _SINGLE_GSM, _PART_GSM)
    sizes = [2 if ord(it) > 0xFFFF else 1 for it in text]
    return _parts(sizes, _SINGLE_UCS2, _PART_UCS2)


def _parts(sizes: list[int], single: int, part: int) -> int:
    """A sign that counts twice is not parted."""
    if sum(sizes) <= single:
        return 1
    count, filled = 1, 0
    for size in sizes:
        if filled + size > part:
            count, filled = count + 1, 0
        filled += size
    return count


def fitted(before: str, words: str, after: str, *, parts_max: int = PARTS_MAX) -> str:
    """`words` as they are, or cut so that the whole text has at most `parts_max` parts: what
    stands before and after, as the link, stays."""
    if parts(f"{before}{words}{after}") <= parts_max:
        return words
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if parts(f"{before}{_cut(words, middle)}{after}") <= parts_max:
            low = middle
        else:
            high = middle - 1
    return _cut(words, low)


def _cut(words: str, length: int) -> str:
    """Three points are in both alphabets, an ellipsis is not."""
    return f"{words[:length].rstrip()}..."


# What members answer when they want no more: the words of Chinese operators and of the
# American ones (CTIA).
_REFUSAL = re.compile(
    r"r|t|td|tdhf|n|退订|拒收|取消|不要|停止"
    r"|stop|stopall|unsubscribe|cancel|end|quit|optout|revoke"
)


def is_refusal(answer: str) -> bool:
    """Whether an answer to an SMS says that no more is wanted: one of the words alone, in any
    width and case."""
    if len(answer) > ANSWER_LENGTH_MAX:
        return False
    normal = unicodedata.normalize("NFKC", answer).casefold()
    return _REFUSAL.fullmatch(re.sub(r"[\W_]+", "", normal)) is not None
