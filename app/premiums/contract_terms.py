"""What a product says besides its price and its benefits: who is taken, how a cover renews and
ends, who pays, and what becomes of the money. Parts of a product document; whatever is left out
is not part of the product.
"""

from collections import Counter
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from app.members.rules import ConsentPurpose
from app.premiums.benefit_terms import Icd10
from app.premiums.documents import Clause, Code, Months, Region, Share, Strict, Words
from app.risk.rulesets import Tier

Days = Annotated[int, Field(ge=1, le=366)]
_Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")]


class Declaration(Strict):
    """COV-13: what is concealed rescinds the cover."""

    code: _Key
    text: Words
    """A statement that the applicant confirms; about one who does not an employee decides."""


class Recheck(Strict):
    """RSK-8: measured anew before underwriting, within so many days."""

    tiers: tuple[Tier, ...] = Field(min_length=1)
    days: Days


class Referred(Strict):
    """About whom an employee decides, whatever their conditions."""

    tiers: tuple[Tier, ...] = ()


class Underwriting(Clause):
    """COV-6: conditions that are accepted as they are, and those that are not insured; a person
    decides about every other. A code holds its parts; the most exact one counts."""

    accepted: tuple[Icd10, ...] = ()
    declined: tuple[Icd10, ...] = ()
    recheck: Recheck | None = None
    referred: Referred = Referred()
    offer_days: Days = 14
    """How long an offer stands."""
    open_days: Days = 60
    """After so many an application that nobody completes is over."""
    examination_report_months: Months | None = None
    """COV-5: how old the report of an examination may be, at renewal and for a claim."""
    declarations: tuple[Declaration, ...] = ()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        both = sorted(set(self.accepted) & set(self.declined))
        if both:
            raise ValueError(f"{', '.join(both)} is accepted and declined")
        codes = [it.code for it in self.declarations]
        if len(set(codes)) < len(codes):
            raise ValueError("declarations: a code stands twice")
        return self


class Unanswered(StrEnum):
    ACCEPT = "accept"
    """The next term begins as offered."""
    DECLINE = "decline"


class Renewal(Clause):
    offer_days_before: Days
    grace_days: Annotated[int, Field(ge=0, le=366)]
    """How long after its due day an invoice may stay unpaid before the cover lapses."""
    unanswered: Unanswered


class Cancellation(Clause):
    """COV-7: within so many days of the first day of cover the premium is paid back."""

    days: Days
    claws_back_points: bool


class Reinstatement(Clause):
    """A cover that lapsed can be taken up again within so many days."""

    days: Days


class Frequency(StrEnum):
    ANNUAL = "annual"
    MONTHLY = "monthly"


class Payer(StrEnum):
    MEMBER = "member"
    EMPLOYER = "employer"
    GOVERNMENT = "government"
    """For the poor (COV-13)."""


class Payment(Clause):
    frequencies: tuple[Frequency, ...] = Field(min_length=1)
    payers: tuple[Payer, ...] = Field(min_length=1)
    due_days: Days = 14
    """From the day an invoice is issued."""
    reminder_days: tuple[Days, ...] = (3, 10)
    """After the due day."""
    stop_any_time: bool = False
    """PRM-15: whoever pays monthly may end the cover at the end of a paid month."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name, values in (("frequencies", self.frequencies), ("payers", self.payers)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: one stands twice")
        if self.stop_any_time and Frequency.MONTHLY not in self.frequencies:
            raise ValueError("stop_any_time needs the frequency monthly")
        if list(self.reminder_days) != sorted(set(self.reminder_days)):
            raise ValueError("reminder_days: each later than the one before")
        return self


class HouseholdTerms(Clause):
    """MEM-10: who lives together and shares what the product shares."""

    members_max: Annotated[int, Field(ge=2, le=20)]


class GroupTerms(Clause):
    """PRM-13: what makes a group, and who may pay for its members."""

    members_min: Annotated[int, Field(ge=2, le=1_000_000)]
    payers: tuple[Payer, ...] = Field(min_length=1)


class ConsentNeeded(Strict):
    purpose: ConsentPurpose
    explanation: Words
    """What for. Without it the clauses that need it bring nothing; it costs nothing."""


class Reserve(Clause):
    """ACT-1: of premium, for health services and early intervention only."""

    percent: Share = Field(gt=0)
    cap_percent: Share
    """The most that the market allows."""


class Cession(Clause):
    """ACT-2: the part of these tiers' liability that somebody else carries."""

    tiers: tuple[Tier, ...] = Field(min_length=1)
    percent: Share = Field(gt=0)
    to: Words


class RiskShare(Strict):
    """COV-12: a party's part of excess loss."""

    party: _Key
    name: Words
    percent: Share = Field(gt=0)


class RiskShares(Clause):
    parties: tuple[RiskShare, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _everything_is_carried_once(self) -> Self:
        twice = [
            party for party, times in Counter(it.party for it in self.parties).items() if times > 1
        ]
        if twice:
            raise ValueError(f"parties: {', '.join(twice)} stands twice")
        total = sum(it.percent for it in self.parties)
        if total != 100:
            raise ValueError(f"parties: the percentages sum to {total}, not to 100")
        return self


class Pilot(Strict):
    """PIL-2: the version is for the first so many members of these regions; for everybody else
    the newest version without a pilot stays on offer. A roll-out is a version without it."""

    regions: tuple[Region, ...] = Field(min_length=1)
    members_max: Annotated[int, Field(ge=1, le=1_000_000)]


class Keywords(Strict):
    zh: tuple[str, ...] = Field(min_length=1)
    en: tuple[str, ...] = Field(min_length=1)


class GlossaryTerm(Clause):
    """TRU-2: a word of the clauses, and what it means."""

    code: Code
    keywords: Keywords
