"""The programme's rules about points, from `programme.yaml`, validated when first read."""

from functools import cache
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.points.levels import Level
from app.texts import Text

_FILE = Path(__file__).with_name("programme.yaml")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Name(_Strict):
    zh: str = Field(min_length=1, max_length=20)
    en: str = Field(min_length=1, max_length=20)


class _Level(_Strict):
    code: str = Field(pattern=r"^[a-z][a-z0-9-]{1,39}$")
    from_: int = Field(alias="from", ge=0)
    name: _Name


class Programme(_Strict):
    grace_days: int = Field(ge=0, le=366)
    notice_days: tuple[int, ...] = Field(min_length=1)
    levels: tuple[_Level, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        starts = [level.from_ for level in self.levels]
        if starts[0] != 0 or sorted(set(starts)) != starts:
            raise ValueError("levels begin at 0 and rise")
        if len({level.code for level in self.levels}) != len(self.levels):
            raise ValueError("two levels have one code")
        days = list(self.notice_days)
        if days[-1] <= 0 or sorted(set(days), reverse=True) != days:
            raise ValueError("notices come one after the other, before the last day")
        return self

    def ladder(self) -> tuple[Level, ...]:
        """The lowest level first."""
        return tuple(
            Level(level.code, level.from_, Text(zh=level.name.zh, en=level.name.en))
            for level in self.levels
        )


@cache
def programme() -> Programme:
    """Raises pydantic's ValidationError for a file that makes no sense."""
    return Programme.model_validate(yaml.safe_load(_FILE.read_text(encoding="utf-8")))
