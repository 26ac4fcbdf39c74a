"""Services that a member has earned, whatever their product: what they are, as data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path

import yaml

from app.premiums import rules as terms
from app.premiums.benefit_terms import Entitlement


class Source(StrEnum):
    PRODUCT = "PRODUCT"
    REFERRAL = "REFERRAL"
    """Brought enough members who stayed (REF-1)."""


@dataclass(frozen=True, slots=True)
class Granted:
    entitlement: Entitlement
    months: int | None
    """None: as long as it is not taken back."""

    def ends_on(self, starts_on: date) -> date | None:
        """The last day."""
        if self.months is None:
            return None
        return terms.add_months(starts_on, self.months) - timedelta(days=1)


@cache
def in_force() -> Mapping[Source, Sequence[Granted]]:
    content = Path(__file__).with_name("granted.yaml").read_text(encoding="utf-8")
    found = {
        Source(source): [
            Granted(Entitlement.model_validate(row["entitlement"]), row.get("months"))
            for row in rows
        ]
        for source, rows in yaml.safe_load(content).items()
    }
    names = [it.entitlement.service for rows in found.values() for it in rows]
    assert len(set(names)) == len(names), "a service twice"
    return found


def entitlements() -> Iterator[Entitlement]:
    """In the order in which they are shown."""
    for rows in in_force().values():
        yield from (it.entitlement for it in rows)


def of(service: str) -> Entitlement | None:
    """None for one that is granted no more."""
    return next((it for it in entitlements() if it.service == service), None)
