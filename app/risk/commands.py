"""`wellward risk`: the models by hand."""

import json
import sys
from typing import Annotated, Any

import typer

from app.risk import reading
from app.risk.models import LATEST
from app.risk.models.base import Input, InputInvalid, Model

LOCALES = ("zh-CN", "en")

commands = typer.Typer()


@commands.command("models")
def models() -> None:
    """The models: what each is about, its inputs and their ranges."""
    for model in LATEST.values():
        horizon = f", {model.horizon_years} years" if model.horizon_years else ""
        sys.stdout.write(
            f"{model.code} {model.version}: {model.title.en}\n"
            f"  {model.outcome}{horizon}; in {model.unit}; {model.source}\n"
        )
        for it in model.inputs:
            sys.stdout.write(f"    {_described(it)}\n")


def _described(it: Input) -> str:
    notes = [it.allowed]
    if it.valid is not None:
        notes.append(f"applicable: {it.valid}")
    if it.excludes is not None:
        notes.append("not applicable when 1")
    if not it.required:
        notes.append("optional")
    return f"{it.name} ({it.label.en}): {'; '.join(notes)}"


@commands.command("score")
def score(
    model: Annotated[str, typer.Argument(help="Code of the model; see `wellward risk models`.")],
    inputs: Annotated[str, typer.Option(help="A JSON object of inputs by name; flags are 0 or 1.")],
    locale: Annotated[str, typer.Option(help="Of the reasons: zh-CN or en.")] = "en",
) -> None:
    """One result as JSON: value, unit, category, notApplicableReason, contributions, outcomes.

    `value` is the main outcome, probabilities are in percent: PREVENT's is the 10-year risk of
    any cardiovascular disease, Framingham hypertension's that within 4 years, a score's its
    points. A model that does not apply has a reason instead of a value. Exit code 2 for an
    input that cannot be meant.
    """
    try:
        if locale not in LOCALES:
            raise InputInvalid("--locale", locale, " or ".join(LOCALES))
        chosen = _model(model)
        found = chosen.score(_object(inputs))
    except InputInvalid as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(2) from None
    printed = reading.result(chosen, found, locale)
    sys.stdout.write(f"{json.dumps(printed, ensure_ascii=False, indent=2)}\n")


def _model(code: str) -> Model:
    if code not in LATEST:
        raise InputInvalid("model", code, ", ".join(LATEST))
    return LATEST[code]


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, object_pairs_hook=_distinct)
    except InputInvalid:
        raise
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputInvalid("--inputs", text[:80], 'a JSON object, as {"age": 50}')
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values for one input nobody knows which is meant. Raises InputInvalid."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InputInvalid(name, value, "given once")
        found[name] = value
    return found
