"""Numbers and years as files write them, within what anybody may have meant."""

import re
from decimal import Decimal

from app.intake.report import Reason

_NUMBER = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,6})?", re.ASCII)
_DIGITS_MAX = 9
"""Before the point: as many as our tables keep. Beyond it, arithmetic fails before a judgement."""
_DIGITS_MIN = -30
YEARS = range(1900, 2201)
"""Of instants and days; all of our arithmetic stays within the calendar around these."""


def number_fault(text: str) -> Reason | None:
    """Why it is no decimal number that somebody may have meant."""
    if _NUMBER.fullmatch(text) is None:
        return Reason.VALUE_UNREADABLE
    value = Decimal(text)
    if value and not _DIGITS_MIN <= value.adjusted() < _DIGITS_MAX:
        return Reason.VALUE_OUT_OF_RANGE
    return None


def read_number(text: str) -> Decimal | None:
    return None if number_fault(text) is not None else Decimal(text)
