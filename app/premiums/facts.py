"""What the engine is told of one member as of a day: values only, nothing to look up (PRM-19).

The same facts come from the store (`app.premiums.gathering`), from a scenario of a member, from
history in a back-test, and from the JSON that `wellward product price` reads. A missing fact is
None or absent: it never costs anything, unless a product says so (PRM-10).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from app.members.rules import Sex
from app.premiums.rules import Term
from app.risk.rulesets import Tier


class Moment(StrEnum):
    """What a premium is computed for."""

    ENROLMENT = "ENROLMENT"
    RENEWAL = "RENEWAL"
    MID_TERM = "MID_TERM"


class NoData(StrEnum):
    """Why nothing was due or seen in a month: five different facts, never merged (CON-1)."""

    REFUSED = "REFUSED"
    WITHDRAWN = "WITHDRAWN"
    PAUSED = "PAUSED"
    DEVICE_SILENT = "DEVICE_SILENT"
    NOTHING_DUE = "NOTHING_DUE"


@dataclass(frozen=True, slots=True)
class Assessed:
    tier: Tier
    assessed_at: datetime
    assessment_id: str | None = None


@dataclass(frozen=True, slots=True)
class Participated:
    """A closed calendar month: the share of its due tasks that was done, in percent; None when
    it neither counts nor costs, with the reason."""

    month: date
    percent: Decimal | None
    no_data: NoData | None = None


@dataclass(frozen=True, slots=True)
class MonthOfReadings:
    """Trusted readings of one calendar month by their local day."""

    month: date
    readings: int
    days: int
    """On how many different days."""
    total: Decimal
    """Sum of the values, so that averages over several months are exact."""
    first_on: date
    last_on: date


@dataclass(frozen=True, slots=True)
class Series:
    """One code in one context, the oldest month first; months without readings are absent."""

    code: str
    context: str | None
    unit: str
    months: tuple[MonthOfReadings, ...]


@dataclass(frozen=True, slots=True)
class Diagnosed:
    icd10: str
    diagnosed_on: date


class MildChoice(StrEnum):
    PREMIUM = "PREMIUM"
    COVER = "COVER"


@dataclass(frozen=True, slots=True)
class MildCondition:
    """A benefit case (COV-1): when it was triggered, and what its improvement shall bring."""

    code: str
    triggered_on: date
    choice: MildChoice = MildChoice.PREMIUM


@dataclass(frozen=True, slots=True)
class LossRatio:
    """Of the product's whole portfolio in a calendar year, with operating cost."""

    year: int
    percent: Decimal


@dataclass(frozen=True, slots=True)
class Credit:
    """A redeemed premium credit that no term has used yet."""

    redemption_id: str
    amount: int
    """Minor units."""
    redeemed_on: date


@dataclass(frozen=True, slots=True)
class MidTerm:
    """What has become known in a running term, for the rules that act during it."""

    running: Term
    effective_on: date
    """First day of what is priced anew; months that end before it have been seen."""
    series: tuple[Series, ...] = ()
    participation: tuple[Participated, ...] = ()
    """Of the running term: why months have no readings."""


@dataclass(frozen=True, slots=True)
class Facts:
    moment: Moment
    as_of: datetime
    """Everything below is as it was known at this instant."""
    effective_on: date
    """First day of what is priced."""
    age: int
    """Completed years on that day."""
    sex: Sex
    region: str | None = None
    health: frozenset[str] = frozenset()
    """Groups the member is in: `pre_chronic`, `pre_diabetes`, `hypertension`, `diabetes`,
    `mild_condition`; empty without consent."""
    health_at_start: frozenset[str] = frozenset()
    """When the ending term began."""
    tier: Assessed | None = None
    tier_at_start: Assessed | None = None
    """The one that the ending term was priced with."""
    ending: Term | None = None
    """None at enrolment."""
    participation: tuple[Participated, ...] = ()
    """Of the ending term, the oldest first (see `rules.counts_for`)."""
    series: tuple[Series, ...] = ()
    diagnoses: tuple[Diagnosed, ...] = ()
    mild_conditions: tuple[MildCondition, ...] = ()
    level: str | None = None
    """Status level of the points programme."""
    credits: tuple[Credit, ...] = ()
    loss_ratio: LossRatio | None = None
    group_members: int | None = None
    offered: int | None = None
    """Minor units a year, before credits, that the priced term was offered for: it never costs
    more."""
    left_on: date | None = None
    """Last day of a cover that was given up before this one."""
    refuses_upload: bool = False
    """Health data refused or withdrawn now."""
    carried: Mapping[str, Decimal] = field(default_factory=dict)
    """Percentage that each accumulating rule brought into the ending term, by its code: what
    `Priced.carry` said when that term was priced."""
    mid_term: MidTerm | None = None
    """Only at MID_TERM: everything above is then what the running term was priced with."""
