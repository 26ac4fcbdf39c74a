"""What makes a check-in be looked at by somebody before its points can be spent. Pure.

An anomaly refuses nothing and takes nothing away: the check-in is accepted, its points are
pending with the reason said, and a review opens. Everything is known when the check-in is
decided, so points that can be spent are never called back by these rules.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from app import civil_time

_HOUR = timedelta(hours=1)


class Finding(StrEnum):
    """Why somebody looks at a check-in, the most telling first."""

    SAME_PHOTO = "SAME_PHOTO"
    SHARED_DEVICE = "SHARED_DEVICE"
    IMPOSSIBLE_RATE = "IMPOSSIBLE_RATE"
    IDENTICAL_CADENCE = "IDENTICAL_CADENCE"
    PLACE_UNSURE = "PLACE_UNSURE"
    LATE = "LATE"
    """Done after the period was over."""
    STAFF = "STAFF"
    """The task is verified by staff, always."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From `checks.yaml`."""

    per_hour_max: Mapping[str, Decimal]
    """Most of a unit (UCUM) that anybody can do in an hour, for hours on end; units left out
    have no such bound."""
    cadence_check_ins: int
    """How many in a row."""
    cadence_tolerance: timedelta


class Done(NamedTuple):
    occurred_at: datetime
    value: Decimal
    """In the task's unit."""


class Facts(NamedTuple):
    new: Done
    unit: str
    day_begins_at: datetime
    """The local day of the new one."""
    of_day: Sequence[Done]
    """Of the same task and local day, in any order."""
    before: Sequence[int]
    """When the same task was done lately, over its periods, in any order: `civil_time.microseconds`."""
    device_of_another: bool
    """The installation belongs to somebody who did not act here."""
    photo_seen_before: bool


def find(facts: Facts, thresholds: Thresholds) -> list[Finding]:
    """In the order of `Finding`."""
    found = []
    if facts.photo_seen_before:
        found.append(Finding.SAME_PHOTO)
    if facts.device_of_another:
        found.append(Finding.SHARED_DEVICE)
    if _is_impossible(facts, thresholds):
        found.append(Finding.IMPOSSIBLE_RATE)
    if _is_mechanical(facts, thresholds):
        found.append(Finding.IDENTICAL_CADENCE)
    return found


def _is_impossible(facts: Facts, thresholds: Thresholds) -> bool:
    """More than can be done since the last check-in that lies an hour back, or since the day
    began. People report in bursts what they did over hours, so bursts count as one."""
    most = thresholds.per_hour_max.get(facts.unit)
    if most is None:
        return False
    until = facts.new.occurred_at
    earlier = [it for it in facts.of_day if it.occurred_at <= until]
    since = max(
        (it.occurred_at for it in earlier if it.occurred_at <= until - _HOUR),
        default=facts.day_begins_at,
    )
    reported = sum((it.value for it in earlier if it.occurred_at > since), facts.new.value)
    hours = Decimal((until - since) // timedelta(seconds=1)) / 3600
    return reported > most * max(hours, Decimal(0))


def _is_mechanical(facts: Facts, thresholds: Thresholds) -> bool:
    """So many in a row, each as long after the one before: no person does that."""
    new = civil_time.microseconds(facts.new.occurred_at)
    instants = sorted({*facts.before, new})
    place = instants.index(new)
    last = instants[max(0, place + 1 - thresholds.cadence_check_ins) : place + 1]
    if len(last) < thresholds.cadence_check_ins:
        return False
    gaps = [later - earlier for earlier, later in pairwise(last)]
    return timedelta(microseconds=max(gaps) - min(gaps)) <= thresholds.cadence_tolerance
