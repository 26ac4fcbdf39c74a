"""What changed between two product documents, in words and numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from app.premiums.product import Product

_KEYS = ("code", "template", "service", "purpose", "party", "condition")
"""What names an entry of a list, so that its place does not matter."""
_ORDERED = ("rules", "base_premium.by_age")
"""Adjustments compound in their order, and the first row that fits is paid."""
_WORDS = ("label", "explanation", "example")
"""Of an entry that is new or gone only its label is shown."""


@dataclass(frozen=True, slots=True)
class Change:
    path: str
    """As `rules.PRM-6.percent`; entries of lists by their code instead of their place."""
    before: Any
    """None when it is new."""
    after: Any
    """None when it is gone."""

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.path}: new: {_short(self.after)}"
        if self.after is None:
            return f"{self.path}: gone: {_short(self.before)}"
        return f"{self.path}: {_short(self.before)} -> {_short(self.after)}{self._by()}"

    def _by(self) -> str:
        """By how much a number moves; an amount in percent too."""
        before, after = _number(self.before), _number(self.after)
        if before is None or after is None:
            return ""
        moved = f"{after - before:+f}"
        if self.path.endswith((".amount", ".amount_max")) and before:
            share = ((after - before) * 100 / before).quantize(Decimal("0.01"))
            return f" ({moved}, {share:+f} %)"
        return f" ({moved})"


def between(before: Product, after: Product) -> tuple[Change, ...]:
    """In the order of the document. Defaults that neither says are not mentioned."""
    old = before.model_dump(mode="json", exclude_defaults=True)
    new = after.model_dump(mode="json", exclude_defaults=True)
    return tuple(_compared("", old, new))


def _compared(path: str, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    old, new = _by_name(before), _by_name(after)
    if old is None or new is None:
        yield Change(path, before, after)
        return
    for name in [*old, *(it for it in new if it not in old)]:
        below = f"{path}.{name}" if path else name
        yield from _compared(below, old.get(name), new.get(name))
    both = [it for it in old if it in new]
    if path in _ORDERED and both != [it for it in new if it in old]:
        yield Change(f"{path} (order)", ", ".join(old), ", ".join(new))


def _by_name(value: Any) -> Mapping[str, Any] | None:
    """The parts of a mapping, or of a list whose entries have names; None for a plain value."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    named = {_name(entry): entry for entry in value if isinstance(entry, Mapping)}
    return named if len(named) == len(value) > 0 else None


def _name(entry: Mapping[str, Any]) -> str:
    if "measurement" in entry:
        return "/".join(str(entry[it]) for it in ("measurement", "context") if entry.get(it))
    if "age_from" in entry:
        who = [entry["sex"]] if entry.get("sex") else []
        return " ".join([f"{entry['age_from']}-{entry['age_to']}", *who, *entry.get("health", ())])
    return next((str(entry[key]) for key in _KEYS if key in entry), str(entry))


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        said = ", ".join(f"{key} {_short(it)}" for key, it in value.items() if key not in _WORDS)
        return f"{value['label']['en']}: {said}" if "label" in value else said
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    return str(value)


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    try:
        return Decimal(value)
    except InvalidOperation:
        return None
