"""Nudge policies: data, checked when they are read. No I/O but the file, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self
from uuid import NAMESPACE_URL, UUID, uuid5

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.members.buckets import SIZE
from app.members.rules import ConsentPurpose
from app.nudges.facts import DAY, FACTS, Fact
from app.nudges.gate import Channel, Priority, Topic

KIND = "NUDGE"
"""Of a policy as a source of messages."""
HOLDOUT = "holdout"
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_NAMESPACE = uuid5(NAMESPACE_URL, "https://wellward.example/nudges")


class TriggerKind(StrEnum):
    THRESHOLD = "THRESHOLD"
    SCHEDULE = "SCHEDULE"
    INACTIVITY = "INACTIVITY"
    EVENT = "EVENT"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Trigger(_Strict):
    kind: TriggerKind
    fact: str
    parameters: Mapping[str, int] = Field({}, alias="with")
    at: time | None = None
    floor: time | None = Field(None, alias="from")
    ceiling: time | None = Field(None, alias="until")
    days: Sequence[str] = _WEEKDAYS

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.kind is TriggerKind.THRESHOLD:
            if self.at is None or self.floor is not None or self.ceiling is not None:
                raise ValueError("a THRESHOLD has `at`, and neither `from` nor `until`")
        elif self.at is not None or self.floor is None or self.ceiling is None:
            raise ValueError(f"{self.kind} has `from` and `until`, and no `at`")
        elif self.floor >= self.ceiling:
            raise ValueError("`from` is before `until`")
        if any(it.minute % 15 or it.second for it in (self.at, self.floor, self.ceiling) if it):
            raise ValueError("times are quarters of an hour")
        if not self.days or not set(self.days) <= set(_WEEKDAYS):
            raise ValueError(f"days are of {', '.join(_WEEKDAYS)}")
        return self

    @model_validator(mode="after")
    def _asks_what_there_is(self) -> Self:
        if self.fact not in FACTS:
            raise ValueError(f"no fact {self.fact!r}; there are {', '.join(FACTS)}")
        wanted = FACTS[self.fact].parameters
        if self.parameters.keys() != wanted.keys():
            raise ValueError(f"{self.fact} takes {', '.join(wanted) or 'nothing'}")
        for name, (least, most) in wanted.items():
            if not least <= self.parameters[name] <= most:
                raise ValueError(f"{name} is from {least} to {most}")
        return self

    def hours(self) -> Sequence[time]:
        """When it is asked, by the member's clock."""
        if self.at is not None:
            return [self.at]
        assert self.floor is not None and self.ceiling is not None
        if self.kind is not TriggerKind.EVENT:
            return [self.floor]
        each = range(self.floor.hour, self.ceiling.hour + 1)
        hours = [self.floor.replace(hour=hour) for hour in each]
        return [hour for hour in hours if hour <= self.ceiling]

    def is_on(self, day: date) -> bool:
        return _WEEKDAYS[day.weekday()] in self.days


class Policy(_Strict):
    code: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,39}$")]
    topic: Topic
    priority: Priority
    trigger: Trigger
    channels: Annotated[Sequence[Channel], Field(min_length=1)] = (Channel.PUSH, Channel.IN_APP)
    needs: Sequence[ConsentPurpose] = ()
    arms: Annotated[Mapping[str, Annotated[int, Field(ge=1, le=1000)]], Field(min_length=1)]
    holdout: Annotated[int, Field(ge=1, le=50)]
    cooldown: Annotated[int, Field(ge=0, le=366)]
    valid: Annotated[int, Field(ge=15, le=7 * 1440)]

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if HOLDOUT in self.arms:
            raise ValueError(f"no arm is called {HOLDOUT}")
        if self.priority in (Priority.CRITICAL, Priority.OWN):
            raise ValueError("a nudge is neither CRITICAL nor the member's OWN")
        if self.cooldown and self.fact.period != DAY:
            raise ValueError(f"{self.trigger.fact} has an occasion of its own: a cooldown of 0")
        return self

    @property
    def id(self) -> UUID:
        return uuid5(_NAMESPACE, self.code)

    @property
    def wording(self) -> str:
        return f"nudge.{self.code}"

    @property
    def fact(self) -> Fact:
        return FACTS[self.trigger.fact]

    @property
    def sends_at_once(self) -> bool:
        return self.trigger.kind in (TriggerKind.THRESHOLD, TriggerKind.EVENT)

    def draw(self) -> "Draw":
        """The holdout first, then the arms by their weights."""
        names = [HOLDOUT, *self.arms]
        held = Decimal(self.holdout) / 100
        total = sum(self.arms.values())
        chances = [held, *((1 - held) * weight / total for weight in self.arms.values())]
        ends = [int(sum(chances[: place + 1]) * SIZE) for place in range(len(chances) - 1)]
        return Draw(names, [round(it, 9) for it in chances], ends)


@dataclass(frozen=True, slots=True)
class Draw:
    """Which arm a bucket leads to: the place of the bucket among `ends`."""

    arms: Sequence[str]
    propensities: Sequence[Decimal]
    ends: Sequence[int]
    """Of each arm but the last, the first bucket that is not its own."""


class _File(_Strict):
    version: str
    policies: Sequence[Policy]

    @model_validator(mode="after")
    def _codes_differ(self) -> Self:
        codes = [policy.code for policy in self.policies]
        if len(set(codes)) != len(codes):
            raise ValueError("two policies have the same code")
        return self


@cache
def in_force() -> Mapping[UUID, Policy]:
    """By id. Raises pydantic.ValidationError."""
    return read(yaml.safe_load(Path(__file__).with_name("policies.yaml").read_text("utf-8")))


def of_code(code: str) -> Policy | None:
    return next((it for it in in_force().values() if it.code == code), None)


def read(document: Any) -> Mapping[UUID, Policy]:
    """Raises pydantic.ValidationError."""
    found = _File.model_validate(document).policies
    return {policy.id: policy for policy in found}
