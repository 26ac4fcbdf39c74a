"""What a reward is, who may have it when, and what may become of a redemption."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

CODE_LENGTH_MAX = 200
NOTE_LENGTH_MAX = 500


class RewardKind(StrEnum):
    EXAMINATION = "EXAMINATION"
    HEALTH_SERVICE = "HEALTH_SERVICE"
    GIFT = "GIFT"
    VOUCHER = "VOUCHER"
    COVER_UPLIFT = "COVER_UPLIFT"
    PREMIUM_CREDIT = "PREMIUM_CREDIT"


BENEFITS = frozenset({RewardKind.COVER_UPLIFT, RewardKind.PREMIUM_CREDIT})
"""Kinds that change what the member's policy gives or costs."""


class Fulfilment(StrEnum):
    VOUCHER_CODE = "VOUCHER_CODE"
    """One of the imported codes, at once."""
    MANUAL = "MANUAL"
    """An employee sees to it."""
    BENEFIT = "BENEFIT"
    """The premium engine applies it."""


class RedemptionState(StrEnum):
    RESERVED = "RESERVED"
    FULFILLED = "FULFILLED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REVERSED = "REVERSED"
    """Was fulfilled, and the points were given back."""


class UnavailableReason(StrEnum):
    INSUFFICIENT_POINTS = "INSUFFICIENT_POINTS"
    OUT_OF_STOCK = "OUT_OF_STOCK"
    LIMIT_REACHED = "LIMIT_REACHED"
    NOT_YET = "NOT_YET"
    ENDED = "ENDED"
    NOT_ELIGIBLE = "NOT_ELIGIBLE"


class RewardEventKind(StrEnum):
    CREATED = "CREATED"
    CHANGED = "CHANGED"
    STOCKED = "STOCKED"
    IMPORTED = "IMPORTED"
    """Voucher codes came in."""


@dataclass(frozen=True, slots=True)
class Window:
    """From `starts_at` until before `ends_at`; None is open."""

    starts_at: datetime | None = None
    ends_at: datetime | None = None

    @property
    def is_empty(self) -> bool:
        return (
            self.starts_at is not None
            and self.ends_at is not None
            and self.starts_at >= self.ends_at
        )

    def has_begun(self, now: datetime) -> bool:
        return self.starts_at is None or self.starts_at <= now

    def is_over(self, now: datetime) -> bool:
        return self.ends_at is not None and self.ends_at <= now

    def holds(self, now: datetime) -> bool:
        return self.has_begun(now) and not self.is_over(now)


@dataclass(frozen=True, slots=True)
class Offer:
    """What decides who may have a reward."""

    price: int
    """In points."""
    stock: int | None
    """None is unlimited."""
    limit_per_member: int | None
    active: Window
    tiers: frozenset[str]
    """Risk tiers it is for; empty is everybody."""
    segments: frozenset[str]
    """Market segments it is for; empty is everybody."""


@dataclass(frozen=True, slots=True)
class Person:
    """What decides which rewards a member may have."""

    available: int
    """Points."""
    redeemed: int
    """Redemptions of this reward that were not cancelled and did not expire; of reversed ones
    those whose code the member was given."""
    tier: str | None
    """None until assessed."""
    segment: str | None


def unavailable(offer: Offer, person: Person | None, *, now: datetime) -> UnavailableReason | None:
    """Why `person` cannot redeem it now, or None. Of several reasons, the one that the member
    can do least about; None as a person is somebody who is no member."""
    if not offer.active.has_begun(now):
        return UnavailableReason.NOT_YET
    if offer.active.is_over(now):
        return UnavailableReason.ENDED
    if person is None or not _is_for(offer, person):
        return UnavailableReason.NOT_ELIGIBLE
    if offer.stock is not None and offer.stock < 1:
        return UnavailableReason.OUT_OF_STOCK
    if offer.limit_per_member is not None and person.redeemed >= offer.limit_per_member:
        return UnavailableReason.LIMIT_REACHED
    if person.available < offer.price:
        return UnavailableReason.INSUFFICIENT_POINTS
    return None


def _is_for(offer: Offer, person: Person) -> bool:
    """Who was not assessed yet is in no tier and no segment."""
    in_tier = not offer.tiers or person.tier in offer.tiers
    in_segment = not offer.segments or person.segment in offer.segments
    return in_tier and in_segment


def is_voucher_code(text: str) -> bool:
    """Whether it can be shown on a line: printable, without spaces at its ends."""
    return 0 < len(text) <= CODE_LENGTH_MAX and text.isprintable() and text == text.strip()


def is_note(text: str) -> bool:
    """Whether it says something, is not too long (in characters) and can be stored."""
    return bool(text.strip()) and len(text) <= NOTE_LENGTH_MAX and "\0" not in text
