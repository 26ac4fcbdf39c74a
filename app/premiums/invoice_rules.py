"""Instalments of a term's premium, and what of one is not used. No I/O; integer minor units."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from app.premiums.rules import Term, add_months

MONTHS_A_YEAR = 12


class InvoiceState(StrEnum):
    SCHEDULED = "SCHEDULED"
    """Not issued yet."""
    ISSUED = "ISSUED"
    PAID = "PAID"
    SUSPENDED = "SUSPENDED"
    """The cover has lapsed; a reinstatement asks for it again."""
    VOID = "VOID"
    """Nothing is to be paid."""


class PaymentOutcome(StrEnum):
    PAID = "PAID"
    FAILED = "FAILED"
    UNMATCHED = "UNMATCHED"
    """Money came that the invoice did not ask for."""
    REFUNDED = "REFUNDED"
    REFUND_FAILED = "REFUND_FAILED"


@dataclass(frozen=True, slots=True)
class Instalment:
    part: int
    """From 1."""
    parts: int
    covers: Term
    amount: int


def of_term(yearly: int, months: int) -> int:
    """What a term of so many months costs, of a year's premium; rounded half up."""
    return (yearly * months * 2 + MONTHS_A_YEAR) // (2 * MONTHS_A_YEAR)


def split(amount: int, parts: int) -> list[int]:
    """Equal parts that sum to the amount; what is left over is spread over the first ones."""
    each, rest = divmod(amount, parts)
    return [each + (place < rest) for place in range(parts)]


def instalments(amount: int, term: Term, *, months: int, monthly: bool) -> Sequence[Instalment]:
    """Of a term of so many months: one for all of it, or one a month."""
    parts = months if monthly else 1
    begins = [add_months(term.starts_on, place) for place in range(parts)]
    ends = [*(day - timedelta(days=1) for day in begins[1:]), term.ends_on]
    return [
        Instalment(place + 1, parts, Term(begins[place], ends[place]), part)
        for place, part in enumerate(split(amount, parts))
    ]


def unused(amount: int, covers: Term, *, last_day: date) -> int:
    """What of an instalment pays for days after the last day of cover; by days, rounded half
    up, in the member's favour."""
    days = (covers.ends_on - covers.starts_on).days + 1
    after = min(days, max(0, (covers.ends_on - last_day).days))
    return (amount * after * 2 + days) // (2 * days)
