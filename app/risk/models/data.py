"""`coefficients.json`: the published numbers, each family with its citation and ranges."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("coefficients.json")


@cache
def published(family: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _all()[family]
    return found


@cache
def _all() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return found
