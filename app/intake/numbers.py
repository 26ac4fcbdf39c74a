"""Numbers as files write them."""

import re
from decimal import Decimal

_NUMBER = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?", re.ASCII)


def is_number(text: str) -> bool:
    """Whether it is a decimal number of a length that somebody may have meant."""
    return _NUMBER.fullmatch(text) is not None


def read_number(text: str) -> Decimal | None:
    return Decimal(text) if is_number(text) else None
