"""Members of whom each shows what one rule of a product does to a premium.

Their first term began on the first day of a month, thirteen months ago, so that it has been
renewed. What is measured comes twice a month from the clinic; only who shows participation does
anything from day to day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from zlib import crc32

from app.demo.population import Participant, Person

MONTHS = 13
_DAYS = (5, 20)
"""Of a month: a rule asks for two days (PRM-18)."""
_UNITS = {
    "SYSTOLIC_BP": "mm[Hg]",
    "DIASTOLIC_BP": "mm[Hg]",
    "FASTING_GLUCOSE": "mmol/L",
    "BMI": "kg/m2",
}
Values = Mapping[str, str]
"""Code to value in the canonical unit."""


@dataclass(frozen=True, slots=True)
class Story:
    """What happens, by the month of the first term, from 0."""

    login: str
    product: str
    age: int
    start: Values
    """At the clinic before the cover begins."""
    months: Mapping[int, Values] = field(default_factory=dict)
    region: str = "CN-51"
    works_until: int = 0
    """The month until before which all daily tasks are done."""
    redeems_in: int | None = None
    """The month in which points buy a premium credit."""
    diagnosed: tuple[int, str] | None = None
    """Month and ICD-10."""
    leaves_in: int | None = None
    """The month in which the cover is given up; a new one begins two months later."""


def _pressure(systolic: int, diastolic: int) -> dict[str, str]:
    return {"SYSTOLIC_BP": str(systolic), "DIASTOLIC_BP": str(diastolic)}


_SOUND = {**_pressure(118, 76), "BMI": "23", "FASTING_GLUCOSE": "5.2"}
_RAISED = {**_pressure(136, 84), "BMI": "25", "FASTING_GLUCOSE": "5.4"}
_HIGH = {**_pressure(156, 96), "BMI": "26", "FASTING_GLUCOSE": "5.6"}
STORIES: Sequence[Story] = (
    Story(
        "rule-year", "chronic-care", 40, _RAISED,
        {0: _pressure(136, 84), 11: _pressure(129, 80)}, region="CN-44",
    ),
    Story(
        "rule-high", "chronic-care", 50, _HIGH,
        {9: _pressure(156, 96), 11: _pressure(148, 92)},
    ),
    Story(
        "rule-worse", "chronic-care", 45, _SOUND,
        {0: {"FASTING_GLUCOSE": "5.2"}, 11: {"FASTING_GLUCOSE": "7.4"}}, diagnosed=(8, "I10"),
    ),
    Story(
        "rule-mild", "chronic-care", 48, _SOUND,
        {2: {"FASTING_GLUCOSE": "7.4"}, 5: {"FASTING_GLUCOSE": "6.6"}},
    ),
    Story(
        "rule-points", "chronic-care", 30, {**_SOUND, "FASTING_GLUCOSE": "6.5"},
        {7: {"FASTING_GLUCOSE": "5.3"}}, works_until=9, redeems_in=10,
    ),
    Story("rule-back", "chronic-care", 35, _SOUND, {0: _pressure(118, 76)}, leaves_in=6),
    Story(
        "rule-discount", "chronic-care-discount-only", 40, _RAISED,
        {0: _pressure(136, 84), 11: _pressure(129, 80)},
    ),
    Story("rule-pool", "inclusive", 52, _RAISED, region="CN-31"),
)  # fmt: skip


def begins_on(today: date) -> date:
    """First day of cover."""
    month = today.year * 12 + today.month - 1 - MONTHS
    return date(month // 12, month % 12 + 1, 1)


def month_of(day: date, first: date) -> int:
    """Of the first term, from 0."""
    return (day.year - first.year) * 12 + day.month - first.month


def readings(story: Story, day: date, first: date) -> list[tuple[str, Decimal, str]]:
    """What the clinic measures on a day: code, value, UCUM unit."""
    if day == first - timedelta(days=1):
        found = story.start
    elif day >= first and day.day in _DAYS:
        found = story.months.get(month_of(day, first), {})
    else:
        return []
    return [(code, Decimal(value), _UNITS[code]) for code, value in found.items()]


def person(story: Story, name: str, today: date) -> Person:
    """Somebody of that age when the cover begins."""
    born = begins_on(today).replace(year=begins_on(today).year - story.age) - timedelta(days=100)
    return Person(
        login=story.login,
        display_name=name,
        phone=f"+86139{crc32(story.login.encode()) % 10**8:08d}",
        sex="FEMALE",
        birth_date=born,
        time_zone="Asia/Shanghai",
        locale="zh-CN",
        region=story.region,
        adherence=1.0,
        occupation="retired" if story.age >= 60 else "office",
        residence="URBAN",
        income_band="from_8000",
        participant=Participant("FEMALE", story.age, smokes=False, readings=()),
    )
