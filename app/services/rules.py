"""Who may use which service, how often, and until when. No I/O, no clock."""

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from app.premiums import rules as terms
from app.premiums.benefit_terms import Entitlement, QuotaPeriod

NOTE_LENGTH_MAX = 500


class UseState(StrEnum):
    RESERVED = "RESERVED"
    CONSUMED = "CONSUMED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
    """Nobody came in time: the unit went back."""


class UnavailableReason(StrEnum):
    NOT_ASSESSED = "NOT_ASSESSED"
    """The service is for some risk tiers, and the member has none."""
    OTHER_TIER = "OTHER_TIER"
    NO_OPEN_CASE = "NO_OPEN_CASE"
    """It comes with an open mild-condition benefit only."""
    QUOTA_USED = "QUOTA_USED"


@dataclass(frozen=True, slots=True)
class Holder:
    """What decides about the services of whoever holds a policy."""

    tier: str | None
    has_open_case: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """Units of one service in one period."""

    reserved: int = 0
    consumed: int = 0


def period(entitlement: Entitlement, day: date, *, policy_started_on: date) -> terms.Term:
    """The period of a service that `day`, in the member's zone, lies in. What has no quota is
    counted by policy year."""
    quota = entitlement.quota
    if quota is not None and quota.per is QuotaPeriod.MONTH:
        first = day.replace(day=1)
        return terms.Term(first, terms.add_months(first, 1) - timedelta(days=1))
    year = max(0, day.year - policy_started_on.year)
    # The anniversary of this year may still be ahead.
    found = terms.term(policy_started_on, year, months=12)
    if day < found.starts_on and year > 0:
        found = terms.term(policy_started_on, year - 1, months=12)
    return found


def unavailable(
    entitlement: Entitlement, holder: Holder, counted: Counted
) -> UnavailableReason | None:
    """Why no unit can be reserved; None when one can."""
    if entitlement.tiers:
        if holder.tier is None:
            return UnavailableReason.NOT_ASSESSED
        if holder.tier not in entitlement.tiers:
            return UnavailableReason.OTHER_TIER
    if entitlement.needs == "mild_condition" and not holder.has_open_case:
        return UnavailableReason.NO_OPEN_CASE
    left = units_left(entitlement, counted)
    if left is not None and left <= 0:
        return UnavailableReason.QUOTA_USED
    return None


def units_left(entitlement: Entitlement, counted: Counted) -> int | None:
    """Never below zero, also when a new version of the product allows less; None without a
    quota."""
    if entitlement.quota is None:
        return None
    return max(0, entitlement.quota.units - counted.reserved - counted.consumed)


def reserve(counted: Counted) -> Counted:
    return Counted(counted.reserved + 1, counted.consumed)


def consume(counted: Counted) -> Counted:
    """A reserved unit is used."""
    assert counted.reserved > 0
    return Counted(counted.reserved - 1, counted.consumed + 1)


def give_back(counted: Counted, state: UseState) -> Counted:
    """A unit that was reserved, or consumed by mistake, can be used again."""
    if state is UseState.CONSUMED:
        assert counted.consumed > 0
        return Counted(counted.reserved, counted.consumed - 1)
    assert state is UseState.RESERVED and counted.reserved > 0
    return Counted(counted.reserved - 1, counted.consumed)


def may_release(state: UseState, *, by_staff: bool) -> bool:
    """What was consumed only an employee takes back."""
    return state is UseState.RESERVED or (by_staff and state is UseState.CONSUMED)
