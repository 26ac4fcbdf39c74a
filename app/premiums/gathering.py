"""Facts of members as they were known at an instant: one statement, however many are asked.

Whoever refused or withdrew the consent to the use of health data has no fact of their health.
What was done of the tasks is no such fact: what was earned stays.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from app import civil_time
from app.db import Database
from app.measurements.kinds import TrustGrade
from app.members.rules import ConsentState, Sex
from app.points import levels
from app.points.programme import programme
from app.premiums.facts import (
    Assessed,
    Credit,
    Diagnosed,
    Facts,
    LossRatio,
    MildChoice,
    MildCondition,
    Moment,
    MonthOfReadings,
    NoData,
    Participated,
    Series,
)
from app.premiums.gathering_sql import ASKED, GATHER, GATHER_ONE, GATHER_ONE_DIRECTLY
from app.premiums.known_health import groups
from app.premiums.pricing_rules import BenefitFromPoints, GroupRule
from app.premiums.product import Product
from app.premiums.rules import Term
from app.records.health import Source
from app.risk.facts import RANKS
from app.risk.rulesets import Tier


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose facts, for what, and as known when."""

    member_id: UUID
    product: Product
    moment: Moment
    as_of: datetime
    effective_on: date
    ending: Term | None = None
    policy_id: UUID | None = None
    """None for a quote of somebody without a policy."""
    number: int = 1
    """Of the premium that is to be priced: later ones of the policy are not known."""


async def gather(reading: Any, asked: Sequence[Asked]) -> list[Facts | None]:
    """In the order of `asked`; None for a member who is unknown. One statement; `reading`
    executes it: a connection or a session, or for one member the database itself."""
    if not asked:
        return []
    found: list[Facts | None] = [None] * len(asked)
    for row in await _rows(reading, asked):
        found[row.place - 1] = _facts(asked[row.place - 1], row)
    return found


async def _rows(reading: Any, asked: Sequence[Asked]) -> Iterable[Any]:
    parameters = _parameters(asked)
    if isinstance(reading, Database):
        return await reading.select(GATHER_ONE_DIRECTLY, parameters)
    found: Iterable[Any] = await reading.execute(
        GATHER_ONE if len(asked) == 1 else GATHER, parameters
    )
    return found


def codes_of(product: Product) -> frozenset[str]:
    """Every code of the measurement catalogue that a rule of the product looks at."""
    return frozenset(
        metric.measurement for rule in product.rules for metric in getattr(rule, "metrics", ())
    )


def _wants_level(product: Product) -> bool:
    return any(isinstance(it, BenefitFromPoints) and it.step_by_level for it in product.rules)


def _parameters(asked: Sequence[Asked]) -> dict[str, Any]:
    columns: Mapping[str, Callable[[Asked], Any]] = {
        "member_id": lambda it: it.member_id,
        "policy_id": lambda it: it.policy_id,
        "as_of": lambda it: it.as_of,
        "number": lambda it: it.number,
        "starts_on": lambda it: it.ending.starts_on if it.ending else None,
        "ends_on": lambda it: it.ending.ends_on if it.ending else None,
        "effective_on": lambda it: it.effective_on,
        "rank": lambda it: RANKS[TrustGrade(it.product.trust_min)],
        "wants_level": lambda it: _wants_level(it.product),
        "wants_group": lambda it: any(isinstance(rule, GroupRule) for rule in it.product.rules),
        "currency": lambda it: it.product.currency,
        "product": lambda it: it.product.code,
    }
    assert columns.keys() == ASKED.keys()
    codes = sorted(frozenset().union(*(codes_of(it.product) for it in asked)))
    if len(asked) == 1:
        return {**{name: value(asked[0]) for name, value in columns.items()}, "codes": codes}
    return {
        **{name: [value(it) for it in asked] for name, value in columns.items()},
        "codes": codes,
    }


def _facts(asked: Asked, row: Any) -> Facts:
    now = _tier(row.assessment_id, row.tier, row.assessed_at)
    start = _tier(row.start_id, row.start_tier, row.start_at)
    diagnosed = row.diagnoses or ()
    icd10 = [code for code, *_ in diagnosed]
    consented = row.health_state == ConsentState.GRANTED
    health_at_start = groups(row.start_classes, row.start_inputs, ())
    if row.ending_facts is not None and consented:
        start = _stored_tier(row.ending_facts)
        health_at_start = frozenset(row.ending_facts.get("health", ()))
    codes = codes_of(asked.product)
    return Facts(
        moment=asked.moment,
        as_of=asked.as_of,
        effective_on=asked.effective_on,
        age=civil_time.completed_years(row.birth_date, asked.effective_on),
        sex=Sex(row.sex),
        region=row.region,
        health=groups(row.classes, row.inputs, icd10) if consented else frozenset(),
        health_at_start=health_at_start if consented else frozenset(),
        tier=now,
        tier_at_start=start if asked.ending else None,
        ending=asked.ending,
        participation=tuple(_month(*it) for it in row.months) if asked.ending else (),
        series=_series(it for it in row.series or () if it[0] in codes) if asked.ending else (),
        diagnoses=tuple(
            Diagnosed(code, on)
            for code, on, source in diagnosed
            if source != Source.DECLARED and on is not None
        ),
        mild_conditions=tuple(
            MildCondition(code, on, MildChoice(choice)) for code, on, choice in row.mild or ()
        ),
        level=_level(asked, row),
        credits=tuple(Credit(str(id), amount, on) for id, amount, on in row.credits),
        loss_ratio=LossRatio(*row.loss_ratio) if row.loss_ratio is not None else None,
        group_members=row.group_members,
        offered=row.offered,
        left_on=row.left_on,
        refuses_upload=row.health_state in (ConsentState.REFUSED, ConsentState.WITHDRAWN),
        carried=_carried(asked, row),
    )


def _tier(id: UUID | None, tier: str | None, at: datetime | None) -> Assessed | None:
    return Assessed(Tier(tier), at, str(id)) if tier is not None and at is not None else None


def _stored_tier(facts: Mapping[str, Any]) -> Assessed | None:
    stored = facts.get("tier")
    if stored is None:
        return None
    at = datetime.fromisoformat(stored["assessed_at"])
    return Assessed(Tier(stored["tier"]), at, stored.get("assessment_id"))


def _carried(asked: Asked, row: Any) -> dict[str, Decimal]:
    """Of the policy's last premium; of another policy's only for who comes back."""
    if row.carry is None or (row.before_policy_id != asked.policy_id and row.left_on is None):
        return {}
    return {code: Decimal(percent) for code, percent in sorted(row.carry.items())}


def _month(
    month: date,
    due: int,
    percent: Decimal | None,
    paused: int,
    silent: int,
    refused: int,
    withdrawn: int,
) -> Participated:
    if due and percent is not None:
        return Participated(month, percent)
    left_out = {
        NoData.WITHDRAWN: withdrawn,
        NoData.REFUSED: refused,
        NoData.PAUSED: paused,
        NoData.DEVICE_SILENT: silent,
    }
    # What left out most; of as many, the one that is named first.
    reason = max(left_out, key=lambda it: left_out[it])
    return Participated(month, None, reason if left_out[reason] else NoData.NOTHING_DUE)


def _series(rows: Iterable[tuple[Any, ...]]) -> tuple[Series, ...]:
    found: dict[tuple[str, str | None, str], list[MonthOfReadings]] = {}
    for code, context, unit, *month in rows:
        found.setdefault((code, context, unit), []).append(MonthOfReadings(*month))
    return tuple(Series(*key, tuple(months)) for key, months in found.items())


def _level(asked: Asked, row: Any) -> str | None:
    if row.earned is None:
        return None
    today = civil_time.local_date(asked.as_of, civil_time.zone(row.time_zone))
    earned = [(date(year, 1, 1), int(points)) for year, points in row.earned]
    return levels.standing(programme().ladder(), earned, today).level.code
