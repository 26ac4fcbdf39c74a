"""What no message says, however it is spelt. No I/O."""

import re
import unicodedata
from collections.abc import Collection, Mapping
from enum import StrEnum

from app.texts import Text


class Forbidden(StrEnum):
    LINK = "LINK"
    NUMBER = "NUMBER"
    PROMISE = "PROMISE"
    CASH = "CASH"
    FORMAL = "FORMAL"


# Of a text without what cannot be seen, with narrow letters and digits, in lower case.
_PATTERNS: Mapping[Forbidden, str] = {
    Forbidden.LINK: r"[a-z][a-z0-9+.-]*://|www\.|\b[a-z0-9-]+\.(com|cn|net|org|me|top|xyz|link)\b",
    Forbidden.NUMBER: r"\d{7,}|(?<!\d)1[3-9]\d[ .-]?\d{4}[ .-]?\d{4}(?!\d)"
    r"|(?<!\d)[48]00[ .-]?\d{3}[ .-]?\d{4}(?!\d)|\+\d[\d .-]{6,}\d",
    Forbidden.PROMISE: r"治愈|根治|保证|包治|百分之百|绝对|\bcure[sd]?\b|guarantee|100 ?%",
    Forbidden.CASH: r"返现|现金奖励|\bcash",
    Forbidden.FORMAL: r"您",
}
_COMPILED = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}
WHAT: Mapping[Forbidden, Text] = {
    Forbidden.LINK: Text(zh="链接（请使用操作按钮）", en="a link (use the action)"),
    Forbidden.NUMBER: Text(zh="电话或证件号码", en="a number of a phone or document"),
    Forbidden.PROMISE: Text(zh="疗效或收益的承诺", en="a promise of effect or gain"),
    Forbidden.CASH: Text(zh="现金奖励", en="cash"),
    Forbidden.FORMAL: Text(zh="“您”（统一称“你”）", en="您 (members are addressed as 你)"),
}
_BETWEEN_HAN = re.compile(r"(?<=[\u4e00-\u9fff])\s+(?=[\u4e00-\u9fff])")


def found_in(said: str, *, but: Collection[Forbidden] = ()) -> list[Forbidden]:
    """What of it a text holds, without those of `but`."""
    plain = _plain(said)
    return [kind for kind, it in _COMPILED.items() if kind not in but and it.search(plain)]


def _plain(said: str) -> str:
    seen = [it for it in unicodedata.normalize("NFKC", said) if not _is_hidden(it)]
    return _BETWEEN_HAN.sub("", "".join(seen).lower())


def _is_hidden(character: str) -> bool:
    """Joiners, soft hyphens, marks of direction and variation selectors: nobody sees them."""
    return unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"
