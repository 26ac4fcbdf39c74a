"""The rules of `devices.yaml`, validated when first read."""

from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.measurements.catalogue import quantities
from app.measurements.devices_rules import DeviceKind
from app.texts import Text

_FILE = Path(__file__).with_name("devices.yaml")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Name(_Strict):
    zh: str = Field(min_length=1, max_length=20)
    en: str = Field(min_length=1, max_length=40)


class _Kind(_Strict):
    silent_after_days: int = Field(ge=1, le=366)
    name: _Name
    codes: tuple[str, ...]


class _File(_Strict):
    kinds: dict[DeviceKind, _Kind]
    models: dict[str, int]

    @model_validator(mode="after")
    def _complete(self) -> "_File":
        if set(self.kinds) != set(DeviceKind):
            raise ValueError("every kind has its rule")
        if not {code for kind in self.kinds.values() for code in kind.codes} <= set(quantities()):
            raise ValueError("a code is not in the catalogue")
        return self


@cache
def _file() -> _File:
    """Raises pydantic's ValidationError for a file that makes no sense."""
    return _File.model_validate(yaml.safe_load(_FILE.read_text(encoding="utf-8")))


def silent_after_days(kind: DeviceKind, model: str = "") -> int:
    return _file().models.get(model, _file().kinds[kind].silent_after_days)


def name(kind: DeviceKind) -> Text:
    found = _file().kinds[kind].name
    return Text(zh=found.zh, en=found.en)


def measures(kind: DeviceKind) -> frozenset[str]:
    """What a kind of device is there to measure; empty: anything."""
    return frozenset(_file().kinds[kind].codes)
