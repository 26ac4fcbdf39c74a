"""The lifecycle of a member (LIF-1): prospect, new, active, dormant, lapsed. No I/O, no clock.

                 cover begins            7 days            1 year without use
    PROSPECT ------------------> NEW ------------> ACTIVE ------------------> DORMANT
                                  ^                  ^                           |
                                  | cover            +----- used again ----------+
                                  | begins again
    LAPSED -----------------------+        NEW, ACTIVE, DORMANT -- cover ended --> LAPSED

Windows are exact whenever they are looked at: who is looked at late is dormant since the
moment at which the year was over.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from dateutil.relativedelta import relativedelta

NEW_FOR = timedelta(days=7)
"""LIF-2: what greets new members reaches them within this time."""
DORMANT_AFTER = relativedelta(years=1)
"""LIF-1: no use for one year; from 29 February it is over on the 28th."""


class LifecycleStage(StrEnum):
    PROSPECT = "PROSPECT"
    NEW = "NEW"
    ACTIVE = "ACTIVE"
    DORMANT = "DORMANT"
    LAPSED = "LAPSED"


@dataclass(frozen=True, slots=True)
class Cover:
    """From `begins_at`; `ended_at` when there is none any more."""

    begins_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    joined_at: datetime
    cover: Cover | None = None
    """In force, else the last one; None when there never was one."""
    last_used_at: datetime | None = None
    returned_at: datetime | None = None
    """The first use since the member went dormant."""
    paused_until: datetime | None = None
    """When the last pause ends or ended; pauses are no idleness (CON-2)."""
    is_paused_openly: bool = False
    """A pause runs that has no end yet."""


@dataclass(frozen=True, slots=True)
class Stage:
    stage: LifecycleStage
    since: datetime
    reason: str
    look_at: datetime | None
    """When time alone changes it next."""


def stage(facts: Facts, *, before: LifecycleStage | None, since: datetime, now: datetime) -> Stage:
    """Where a member stands at `now`, who stood in `before` since `since`."""
    cover = facts.cover
    if cover is None or cover.begins_at > now:
        # Whose first cover begins later is a prospect until then.
        look_at = cover.begins_at if cover else None
        return Stage(LifecycleStage.PROSPECT, facts.joined_at, "no_cover_yet", look_at)
    if cover.ended_at is not None and cover.ended_at <= now:
        ended_at = since if before is LifecycleStage.LAPSED else cover.ended_at
        return Stage(LifecycleStage.LAPSED, ended_at, "cover_ended", None)
    found = _covered(facts, cover, before=before, since=since, now=now)
    if cover.ended_at is None:
        return found
    look_at = min(found.look_at or cover.ended_at, cover.ended_at)
    return Stage(found.stage, found.since, found.reason, look_at)


def _covered(
    facts: Facts, cover: Cover, *, before: LifecycleStage | None, since: datetime, now: datetime
) -> Stage:
    new_until = cover.begins_at + NEW_FOR
    if now < new_until:
        return Stage(LifecycleStage.NEW, cover.begins_at, "cover_began", new_until)
    last = max(it for it in (cover.begins_at, facts.last_used_at, facts.paused_until) if it)
    dormant_from = last + DORMANT_AFTER
    if now >= dormant_from and not facts.is_paused_openly:
        return Stage(LifecycleStage.DORMANT, dormant_from, "no_use_for_a_year", None)
    look_at = None if facts.is_paused_openly else dormant_from
    if before is LifecycleStage.DORMANT:
        returned = facts.returned_at or facts.last_used_at or now
        return Stage(LifecycleStage.ACTIVE, max(returned, since), "used_again", look_at)
    if before is LifecycleStage.ACTIVE and since >= new_until:
        return Stage(LifecycleStage.ACTIVE, since, "new_no_more", look_at)
    return Stage(LifecycleStage.ACTIVE, new_until, "new_no_more", look_at)
