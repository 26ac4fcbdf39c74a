"""What became of a file: counts, and where to look; never what was measured."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from app.errors import ConfigurationError

EXAMPLES_MAX = 5
KINDS_MAX = 500
"""Of what is ignored; what a file calls otherwise after that many is one kind."""


class Refused(ConfigurationError):
    """The whole file is refused and nothing of it was kept. One sentence for the operator."""


class Reason(StrEnum):
    """Why one item was left out."""

    TIME_UNREADABLE = "TIME_UNREADABLE"
    TIME_VAGUE = "TIME_VAGUE"
    """A month or a year is no instant."""
    VALUE_UNREADABLE = "VALUE_UNREADABLE"
    VALUE_INEXACT = "VALUE_INEXACT"
    """`< 5` is no number."""
    VALUE_OUT_OF_RANGE = "VALUE_OUT_OF_RANGE"
    VALUE_MISSING = "VALUE_MISSING"
    UNIT_UNKNOWN = "UNIT_UNKNOWN"
    CODE_UNKNOWN = "CODE_UNKNOWN"
    CONTEXT_INVALID = "CONTEXT_INVALID"
    IN_FUTURE = "IN_FUTURE"
    TOO_OLD = "TOO_OLD"
    PERIOD_INVALID = "PERIOD_INVALID"
    NOT_FINAL = "NOT_FINAL"
    """Preliminary, cancelled or entered in error."""
    INVALID = "INVALID"
    """It breaks the rules of its format."""
    OTHER_SUBJECT = "OTHER_SUBJECT"
    """It is about somebody or something else."""
    MEMBER_UNKNOWN = "MEMBER_UNKNOWN"
    CONSENT_MISSING = "CONSENT_MISSING"
    OTHER = "OTHER"


@dataclass(slots=True)
class Rejected:
    count: int = 0
    examples: list[str] = field(default_factory=list)
    """The first few places: `line 17`, `row 3, 体重`."""


@dataclass(slots=True)
class Kept:
    """How many items of one kind were new, and how many were known before."""

    accepted: int = 0
    known: int = 0


@dataclass(slots=True)
class Report:
    source: str
    dry_run: bool = False
    read: int = 0
    """Items of the file, whatever they are."""
    readings: Kept = field(default_factory=Kept)
    daily_totals: Kept = field(default_factory=Kept)
    """Days of one source and code, each made of many items."""
    conditions: Kept = field(default_factory=Kept)
    repeated: int = 0
    """Items that the file holds more than once."""
    rejected: dict[str, Rejected] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    """By kind: what is not ours to keep, as workouts."""
    notes: list[str] = field(default_factory=list)

    def reject(self, reason: Reason, where: str) -> None:
        found = self.rejected.setdefault(reason.value, Rejected())
        found.count += 1
        if len(found.examples) < EXAMPLES_MAX:
            found.examples.append(where)

    def ignore(self, kind: str) -> None:
        if kind not in self.ignored and len(self.ignored) >= KINDS_MAX:
            kind = "other"
        self.ignored[kind] = self.ignored.get(kind, 0) + 1

    @property
    def rejections(self) -> int:
        return sum(found.count for found in self.rejected.values())

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        found = [f"{self.source}: {self.read} items read{' (dry run)' if self.dry_run else ''}."]
        would = "would be new" if self.dry_run else "new"
        for name, kept in (
            ("readings", self.readings),
            ("daily totals", self.daily_totals),
            ("conditions", self.conditions),
        ):
            if kept.accepted or kept.known:
                found.append(f"{name}: {kept.accepted} {would}, {kept.known} known before.")
        if self.repeated:
            found.append(f"{self.repeated} items are in the file more than once.")
        found += self.notes
        for reason, rejected in sorted(self.rejected.items()):
            places = ", ".join(rejected.examples)
            more = ", ..." if rejected.count > len(rejected.examples) else ""
            found.append(f"rejected, {reason}: {rejected.count} ({places}{more})")
        for kind, count in sorted(self.ignored.items()):
            found.append(f"ignored, {kind}: {count}")
        return found
