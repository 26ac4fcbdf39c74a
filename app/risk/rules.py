"""From what is known to results, tier and reasons. No I/O, no clock."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.risk.chosen import Taken
from app.risk.inputs import taken_by
from app.risk.models import VERSIONS
from app.risk.models.base import InputInvalid, Result
from app.risk.rulesets import Condition, Rule, RuleSet, Tier
from app.risk.sentences import tenth
from app.texts import Text


@dataclass(frozen=True, slots=True)
class Scored:
    """One model's result, and the inputs as it took them."""

    version: str
    inputs: Mapping[str, float | int | str]
    result: Result


@dataclass(frozen=True, slots=True)
class Judged:
    """What an assessment finds."""

    tier: Tier | None
    """None when no rule is met and too little is known to say that the risk is low."""
    matched: tuple[Rule, ...]
    """The worst first, then in the order of the file."""
    results: Mapping[str, Scored]


def judge(taken: Taken, rules: RuleSet) -> Judged:
    """Every model of the rule set, and what follows from them."""
    results = {
        model: score(model, version, taken_by(model, taken.inputs))
        for model, version in rules.models.items()
    }
    return decide(taken, results, rules)


def decide(taken: Taken, results: Mapping[str, Scored], rules: RuleSet) -> Judged:
    """The tier is the worst of all rules that are met."""
    known = _Known(taken, results)
    met = [rule for rule in rules.rules if known.meets(rule.when)]
    matched = tuple(sorted(met, key=lambda rule: -rule.tier.rank))
    return Judged(_tier(matched, taken, rules), matched, results)


def score(model: str, version: str, inputs: Mapping[str, float | int | str]) -> Scored:
    """With any version that was ever released. An input that cannot be meant is a reason, not
    a failure: nobody's assessment waits for it."""
    found = VERSIONS[model, version]
    try:
        result = found.score(inputs)
    except InputInvalid as error:
        label = found.by_name[error.field].label
        reason = Text(
            zh=f"{label.zh}的数值不可能，请核对。",
            en=f"The value of {label.en} cannot be right; please check it.",
        )
        result = Result(None, found.unit, not_applicable=reason)
    return Scored(version, inputs, result)


def _tier(matched: Sequence[Rule], taken: Taken, rules: RuleSet) -> Tier | None:
    if matched:
        return matched[0].tier
    enough = all(name in taken.inputs for name in rules.needed_for_low)
    return Tier.LOW if enough else None


def missing_for_low(names: Iterable[str], rules: RuleSet) -> list[str]:
    """What would have to be known before somebody may be called of low risk."""
    known = set(names)
    return [name for name in rules.needed_for_low if name not in known]


class _Known:
    def __init__(self, taken: Taken, results: Mapping[str, Scored]) -> None:
        self._taken = taken
        self._results = results

    def meets(self, condition: Condition) -> bool:
        if condition.all is not None:
            return all(self.meets(it) for it in condition.all)
        if condition.any is not None:
            return any(self.meets(it) for it in condition.any)
        if condition.none is not None:
            return not any(self.meets(it) for it in condition.none)
        if condition.count is not None:
            return sum(self.meets(it) for it in condition.of) >= condition.count
        if condition.group is not None:
            return condition.group in self._taken.groups
        if condition.area is not None:
            return any(self._taken.areas.get(area) in condition.classes for area in condition.area)
        if condition.model is not None:
            return self._expected(condition)
        return self._fact(condition)

    def _expected(self, condition: Condition) -> bool:
        scored = self._results.get(condition.model or "")
        if scored is None or scored.result.value is None:
            return False
        if condition.categories:
            return scored.result.category in condition.categories
        return scored.result.value >= float(condition.at_least or 0)

    def _fact(self, condition: Condition) -> bool:
        chosen = self._taken.inputs.get(condition.fact or "")
        if chosen is None or isinstance(chosen.value, str):
            return False
        value = chosen.value
        if condition.at_least is not None:
            return value >= float(condition.at_least)
        if condition.below is not None:
            return value < float(condition.below)
        if condition.of_men is not None and condition.of_women is not None:
            sex = self._taken.inputs.get("sex")
            # Of who did not say: the higher limit, so that nobody is blamed for it.
            of_women = sex is not None and sex.value == "female"
            return value > float(condition.of_women if of_women else condition.of_men)
        return bool(value)


def said_of(rule: Rule, values: Mapping[str, str]) -> tuple[Text, Text]:
    """Label and detail of a rule that is met, with the values filled in."""
    filled = _Filled(values)
    detail = rule.detail
    return rule.label.text, Text(zh=detail.zh.format_map(filled), en=detail.en.format_map(filled))


class _Filled(dict[str, str]):
    """What is not known is a dash."""

    def __missing__(self, key: str) -> str:
        return "-"


def values_of(inputs: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, str]:
    """What the details of rules may name: stored inputs and stored results."""
    found = {name: _plain(stored[0]) for name, stored in inputs.items()}
    for model, stored in results.items():
        if stored["value"] is not None:
            unit = VERSIONS[model, stored["version"]].unit
            shown = _plain(stored["value"])
            found[model] = f"{shown} %" if unit == "%" else shown
    return found


def _plain(value: Any) -> str:
    """Rounded to a tenth: averages are long."""
    if not isinstance(value, int | float):
        return str(value)
    return f"{tenth(value).normalize():f}"
