"""Conditions and medications: codes, periods and who may change what. No I/O, no clock."""

import re
from collections.abc import Sequence
from datetime import date, time
from enum import StrEnum

LABEL_LENGTH_MAX = 200
DOSE_LENGTH_MAX = 200
NAME_LENGTH_MAX = 60
"""A reminder's title has room for it."""
TIMES_MAX = 8
# ICD-10 and its national editions: I10, E11.9, U07.1, M1A.0110 (US), I10.X00X002 (China).
_ICD10 = re.compile(r"[A-Z][0-9][0-9A-Z](\.[0-9A-Z]{1,4}(X[0-9]{3})?)?", re.ASCII)
# A, A10, A10B, A10BA, A10BA02.
_ATC = re.compile(r"[ABCDGHJLMNPRSV]([0-9]{2}([A-Z]([A-Z]([0-9]{2})?)?)?)?", re.ASCII)


class Source(StrEnum):
    """Where a condition or medication is known from."""

    DECLARED = "DECLARED"
    """Said by the member, or by who acts for them."""
    CLINICAL = "CLINICAL"
    """Recorded by an employee."""
    IMPORTED = "IMPORTED"
    """Out of another system's records."""


def icd10(text: str) -> str | None:
    """The code in one spelling, in capitals; None when it has not the form of one."""
    found = text.strip().upper()
    return found if _ICD10.fullmatch(found) else None


def atc(text: str) -> str | None:
    """The code in one spelling, in capitals; None when it has not the form of one."""
    found = text.strip().upper()
    return found if _ATC.fullmatch(found) else None


def period_fault(onset_on: date | None, abated_on: date | None, *, today: date) -> str | None:
    """Which end of a condition is impossible: `onsetOn`, `abatedOn`, or None."""
    if onset_on is not None and not date(1900, 1, 1) <= onset_on <= today:
        return "onsetOn"
    if abated_on is not None and not (onset_on or date(1900, 1, 1)) <= abated_on <= today:
        return "abatedOn"
    return None


def daily(times: Sequence[time]) -> list[str] | None:
    """`HH:MM` in order; None when one is there twice or there are too many."""
    found = sorted({at.isoformat("minutes") for at in times})
    return found if len(found) == len(times) <= TIMES_MAX else None


def may_change(recorded: Source, *, by: Source) -> bool:
    """An employee changes anything, another system what it imported before, and the member what
    they have declared."""
    return by is Source.CLINICAL or by is recorded
