"""What a questionnaire is made of: items, branches, scores, alerts. No I/O, no clock.

A questionnaire is a data file; whatever is wrong in it is found when it is loaded.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Any, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.measurements.alerts_rules import AlertSeverity
from app.measurements.catalogue import quantities
from app.texts import Text

_KEY = r"^[a-z][a-z0-9_]{0,39}$"
_CODE = r"^[a-z][a-z0-9-]{0,39}$"
_VALUE = r"^[a-z0-9][a-z0-9_]{0,39}$"


class QuestionKind(StrEnum):
    BOOLEAN = "BOOLEAN"
    INTEGER = "INTEGER"
    DECIMAL = "DECIMAL"
    TEXT = "TEXT"
    DATE = "DATE"
    SINGLE_CHOICE = "SINGLE_CHOICE"
    MULTIPLE_CHOICE = "MULTIPLE_CHOICE"


CHOICES = frozenset({QuestionKind.SINGLE_CHOICE, QuestionKind.MULTIPLE_CHOICE})
NUMBERS = frozenset({QuestionKind.INTEGER, QuestionKind.DECIMAL})
BOOLEANS = ("true", "false")


class ScoreMethod(StrEnum):
    SUM = "SUM"
    PRODUCT = "PRODUCT"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Words(_Strict):
    """One sentence in both languages of the programme."""

    zh: str = Field(min_length=1, max_length=1000)
    en: str = Field(min_length=1, max_length=1000)

    def to(self, locale: str) -> str:
        return self.text.to(locale)

    @property
    def text(self) -> Text:
        return Text(zh=self.zh, en=self.en)


class Option(_Strict):
    value: str = Field(pattern=_VALUE)
    label: Words
    score: int | None = Field(default=None, ge=0, le=100)
    exclusive: bool = False
    """Of a multiple choice: it stands alone, as "none of these"."""


class Condition(_Strict):
    """Holds when one of the answers to an item is among these."""

    key: str
    any_of: tuple[str, ...] = Field(min_length=1)


class Item(_Strict):
    key: str = Field(pattern=_KEY)
    text: Words
    kind: QuestionKind
    required: bool = True
    """Only when shown."""
    show_when: Condition | None = None
    options: tuple[Option, ...] = ()
    unit: str | None = None
    """UCUM; only with numbers."""
    minimum: Decimal | None = Field(default=None, max_digits=12, decimal_places=3)
    maximum: Decimal | None = Field(default=None, max_digits=12, decimal_places=3)
    length_max: int | None = Field(default=None, ge=1, le=2000)
    measure: str | None = None
    """Code of the catalogue under which a number is also a reading, in `unit`."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        where = f"item {self.key!r}"
        _require(bool(self.options) == (self.kind in CHOICES), f"{where}: options and choices")
        values = [option.value for option in self.options]
        _require(len(values) == len(set(values)), f"{where}: an option is there twice")
        alone = any(option.exclusive for option in self.options)
        several = self.kind is QuestionKind.MULTIPLE_CHOICE
        _require(several or not alone, f"{where}: only a multiple choice has exclusive options")
        is_number = self.kind in NUMBERS
        ends = (self.minimum, self.maximum)
        _require(
            all((end is not None) == is_number for end in ends),
            f"{where}: numbers, and no others, have a minimum and a maximum",
        )
        _require(is_number or self.unit is None, f"{where}: only numbers have a unit")
        if self.minimum is not None and self.maximum is not None:
            _require(self.minimum <= self.maximum, f"{where}: minimum exceeds maximum")
        is_text = self.kind is QuestionKind.TEXT
        _require(is_text == (self.length_max is not None), f"{where}: texts have a length_max")
        if self.measure is not None:
            _check_measure(self.measure, self.unit, where)
        return self

    def option(self, value: str) -> Option | None:
        return next((it for it in self.options if it.value == value), None)

    def can_be(self, value: str) -> bool:
        """Whether an answer to this item can be this value; of texts and days nobody asks."""
        if self.kind is QuestionKind.BOOLEAN:
            return value in BOOLEANS
        if self.kind is QuestionKind.INTEGER:
            return value.isdecimal() and self._holds(Decimal(value))
        return self.option(value) is not None

    def _holds(self, number: Decimal) -> bool:
        assert self.minimum is not None and self.maximum is not None
        return self.minimum <= number <= self.maximum

    @property
    def is_scored(self) -> bool:
        return self.kind in NUMBERS or (
            bool(self.options) and all(option.score is not None for option in self.options)
        )


class Band(_Strict):
    """From `minimum` on, up to the next band."""

    code: str = Field(pattern=_KEY)
    label: Words
    minimum: Decimal
    minimum_female: Decimal | None = None
    """Where it begins lower for women; also for whoever did not say."""


class Score(_Strict):
    """A number out of the answers. What was not shown counts nothing."""

    code: str = Field(pattern=_KEY)
    title: Words
    of: tuple[str, ...] = Field(min_length=1)
    method: ScoreMethod = ScoreMethod.SUM
    factor: Decimal = Decimal(1)
    unit: str = "{score}"
    """UCUM."""
    measure: str | None = None
    """Code of the catalogue under which it is also a reading."""
    bands: tuple[Band, ...] = ()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        where = f"score {self.code!r}"
        if self.measure is not None:
            _check_measure(self.measure, self.unit, where)
        starts = [band.minimum for band in self.bands]
        _require(starts == sorted(set(starts)), f"{where}: bands must rise")
        _require(not starts or starts[0] == 0, f"{where}: the first band begins at 0")
        return self


class Alert(_Strict):
    """What an answer calls for at once."""

    when: Condition
    severity: AlertSeverity
    message: Words
    """For the member: what to do, and where help is."""
    reason: Words
    """For whoever looks after the member; says no health fact."""
    due_hours: int = Field(ge=1, le=168)
    priority: int = Field(ge=0, le=100)


class Questionnaire(_Strict):
    code: str = Field(pattern=_CODE)
    version: str = Field(pattern=r"^[1-9][0-9]{0,3}$")
    title: Words
    source: str = Field(min_length=10)
    """Which instrument it is, and why it may be used."""
    items: tuple[Item, ...] = Field(min_length=1, max_length=60)
    scores: tuple[Score, ...] = ()
    alerts: tuple[Alert, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        known: dict[str, Item] = {}
        for item in self.items:
            _require(item.key not in known, f"item {item.key!r} is there twice")
            if item.show_when is not None:
                _check(item.show_when, known, f"item {item.key!r} is shown by")
            known[item.key] = item
        for alert in self.alerts:
            _check(alert.when, known, "an alert follows")
        for score in self.scores:
            for key in score.of:
                where = f"score {score.code!r} of {key!r}"
                _require(key in known, f"{where}: no such item")
                _require(known[key].is_scored, f"{where}: not every option has a score")
                _require(known[key].required, f"{where}: it must be required")
        codes = [score.code for score in self.scores]
        _require(len(codes) == len(set(codes)), "a score is there twice")
        return self

    def item(self, key: str) -> Item | None:
        return next((item for item in self.items if item.key == key), None)

    @property
    def definition(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @property
    def hash(self) -> bytes:
        """SHA-256 of the definition in one spelling."""
        return sha256(orjson.dumps(self.definition, option=orjson.OPT_SORT_KEYS)).digest()


Answers = Mapping[str, Sequence[str]]
"""Item to its values as they are kept: `36.6`, `2026-03-01`, `true`, or options' values."""


def shown(form: Questionnaire, answers: Answers) -> Iterator[Item]:
    """The items that are asked, given these answers. What hangs on an item that is not shown
    is not shown either, since that one has no answer."""
    asked: set[str] = set()
    for item in form.items:
        condition = item.show_when
        if condition is None or (condition.key in asked and holds(condition, answers)):
            asked.add(item.key)
            yield item


def holds(condition: Condition, answers: Answers) -> bool:
    return any(value in condition.any_of for value in answers.get(condition.key, ()))


def _check(condition: Condition, known: Mapping[str, Item], what: str) -> None:
    item = known.get(condition.key)
    _require(item is not None, f"{what} {condition.key!r}, which is not an earlier item")
    assert item is not None
    for value in condition.any_of:
        _require(item.can_be(value), f"{what} {condition.key!r}, which is never {value!r}")


def _check_measure(code: str, unit: str | None, where: str) -> None:
    quantity = quantities().get(code)
    _require(quantity is not None, f"{where}: {code!r} is not in the catalogue")
    assert quantity is not None
    taken = unit is not None and quantity.unit(unit) is not None
    _require(taken, f"{where}: {code} is not taken in {unit!r}")


def _require(fact: bool, told: str) -> None:
    if not fact:
        raise ValueError(told)
