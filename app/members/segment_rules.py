"""Which market segment a member is in, and why (MEM-9). The rules are data; no clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import yaml

from app.civil_time import completed_years
from app.members import dimensions
from app.members.rules import SegmentCode, day_of_age
from app.texts import Text


@dataclass(frozen=True, slots=True)
class Facts:
    birth_date: date
    occupation: str | None = None
    residence: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    code: str
    segment: SegmentCode
    reason: Text
    ages: tuple[int, int] | None = None
    """Completed years, both included."""
    groups: frozenset[str] = frozenset()
    residences: frozenset[str] = frozenset()

    def holds(self, facts: Facts, *, today: date) -> bool:
        if self.ages is not None:
            low, high = self.ages
            if not low <= completed_years(facts.birth_date, today) <= high:
                return False
        if self.groups and _group(facts.occupation) not in self.groups:
            return False
        return not self.residences or facts.residence in self.residences


@dataclass(frozen=True, slots=True)
class Rules:
    version: str
    rules: Sequence[Rule]

    def rule_of(self, facts: Facts, *, today: date) -> Rule | None:
        """The first that holds; None when too little is known."""
        return next((rule for rule in self.rules if rule.holds(facts, today=today)), None)

    def reason(self, code: str) -> Text | None:
        """None for a rule of an earlier version."""
        return next((rule.reason for rule in self.rules if rule.code == code), None)

    def changes_on(self, facts: Facts, *, today: date) -> date | None:
        """The next birthday at which some rule may begin or cease to hold."""
        ages = {age for rule in self.rules if rule.ages for age in (rule.ages[0], rule.ages[1] + 1)}
        days = (day_of_age(facts.birth_date, age) for age in ages if age < 150)
        return min((day for day in days if day > today), default=None)


def _group(occupation: str | None) -> str | None:
    found = dimensions.in_force().occupations.get(occupation or "")
    return found.group if found else None


@cache
def in_force() -> Rules:
    text = Path(__file__).with_name("segments.yaml").read_text(encoding="utf-8")
    found = yaml.safe_load(text)
    rules = [
        Rule(
            code=row["code"],
            segment=SegmentCode(row["segment"]),
            reason=Text(zh=row["zh"], en=row["en"]),
            ages=tuple(row["ages"]) if "ages" in row else None,
            groups=frozenset(row.get("groups", ())),
            residences=frozenset(row.get("residences", ())),
        )
        for row in found["rules"]
    ]
    return Rules(found["version"], rules)


UNKNOWN = Text(zh="信息不足，暂未归入任何人群。", en="Too little is known to say.")
FORMER = Text(zh="按先前的规则归入。", en="By a rule that is no longer in force.")


def why(segment: str | None, rule: str) -> Text:
    """The reason for a segment, or for none, in words."""
    if segment is None:
        return UNKNOWN
    return in_force().reason(rule) or FORMER
