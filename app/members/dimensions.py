"""What a member's profile is chosen from, as data (MEM-8)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from app.texts import Text


@dataclass(frozen=True, slots=True)
class Choice:
    code: str
    name: Text
    group: str | None = None
    """Of an occupation."""


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Each by code, in the order in which they are shown."""

    occupations: Mapping[str, Choice]
    residences: Mapping[str, Choice]
    income_bands: Mapping[str, Choice]
    regions: Mapping[str, Choice]


@cache
def in_force() -> Dimensions:
    text = Path(__file__).with_name("dimensions.yaml").read_text(encoding="utf-8")
    found = yaml.safe_load(text)
    return Dimensions(**{name: _choices(rows) for name, rows in found.items()})


def _choices(rows: list[dict[str, Any]]) -> Mapping[str, Choice]:
    choices = {
        row["code"]: Choice(row["code"], Text(zh=row["zh"], en=row["en"]), row.get("group"))
        for row in rows
    }
    assert len(choices) == len(rows), "a code twice"
    assert all(isinstance(code, str) for code in choices), "YAML reads 3000_5000 as a number"
    return choices
