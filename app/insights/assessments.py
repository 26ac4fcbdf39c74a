"""Why a risk model says what it says: the result, what moved it, the readings it rests on, and
what the tier made of it."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlmodel import col, select

from app.graphql.ids import GlobalId, Kind
from app.graphql.node import Info
from app.insights.steps import Explained, Step, StepKind, Subject, SubjectKind
from app.measurements.graphql import Measurement
from app.measurements.models import Measurement as MeasurementRow
from app.risk import graphql as risk
from app.risk import rules, rulesets, sentences
from app.risk.chosen import Chosen
from app.risk.inputs import TAKES
from app.risk.models import VERSIONS
from app.risk.models.base import shown_unit
from app.texts import Text

_FACTORS = 6
"""How many are said, the weightiest first."""


async def explain(info: Info, asked: GlobalId) -> Explained | None:
    """None when there is no such assessment, or it is not the viewer's to see."""
    found = await _fetch(info, asked)
    if found is None:
        return None
    model = VERSIONS[found.model, found.model_version]
    summary = _summary(model.title, found)
    subject = Subject(SubjectKind.ASSESSMENT, asked.key, model=_model(asked))
    first = Step(
        StepKind.ASSESSMENT,
        model.title,
        summary,
        occurred_at=found.assessed_at,
        rule_version=f"{found.model} {found.model_version}",
        subject=subject,
    )
    return Explained(summary, [first, *_factors(found), *_readings(found), *_tier(found)])


def _summary(title: Text, found: Any) -> Text:
    reason = found.result.not_applicable
    if reason is not None:
        return Text(
            zh=f"{title.zh}不适用：{reason.zh}", en=f"{title.en} does not apply. {reason.en}"
        )
    value = sentences.tenth(found.result.value).normalize()
    unit = {"%": " %", "{score}": ""}.get(found.unit, f" {found.unit}")
    near = found.near_limit
    return Text(
        zh=f"{title.zh}：{value:f}{unit}{'，接近分级界限' if near else ''}。",
        en=f"{title.en}: {value:f}{unit}{', near the limit of a category' if near else ''}.",
    )


def _factors(found: Any) -> Iterator[Step]:
    taken = found.row.results[found.model]["inputs"]
    ranked = sorted(found.result.contributions, key=lambda it: -abs(it.value))
    version = (found.model, found.model_version)
    for it in ranked[:_FACTORS]:
        yield Step(
            StepKind.ASSESSMENT,
            sentences.factor(it.factor),
            sentences.contribution(it, version, taken),
        )


def _readings(found: Any) -> Iterator[Step]:
    """Each reading that an input of this model rests on, once."""
    labels = {it.name: it.label for it in VERSIONS[found.model, found.model_version].inputs}
    said: set[UUID] = set()
    for name in found.row.results[found.model]["inputs"]:
        chosen = Chosen.of(found.row.inputs[TAKES[found.model][name].name])
        for id in chosen.readings:
            if id in said or chosen.on is None:
                continue
            said.add(id)
            value = f"{sentences.tenth(float(chosen.value)).normalize():f}{shown_unit(chosen.unit)}"
            yield Step(
                StepKind.READING,
                labels[name],
                Text(
                    zh=f"{value}，测于 {chosen.on.isoformat()}。",
                    en=f"{value}, measured on {chosen.on.isoformat()}.",
                ),
                subject=Subject(SubjectKind.READING, id),
            )


def _tier(found: Any) -> Iterator[Step]:
    """The rules that this model's result has met, in the version that decided."""
    row = found.row
    rule_set = rulesets.of(row.rules_version)
    values = rules.values_of(row.inputs, row.results)
    for code in row.matched:
        rule = rule_set.rule(code)
        if found.model in rule.when.models():
            label, detail = rules.said_of(rule, values)
            yield Step(
                StepKind.ASSESSMENT,
                label,
                detail,
                occurred_at=row.assessed_at,
                rule_version=f"tiers {row.rules_version}",
            )


async def load(info: Info, member_id: UUID, subject: Subject) -> Any:
    assert subject.model is not None
    named = GlobalId(Kind.RISK_ASSESSMENT, (member_id, subject.id, subject.model))
    return await _fetch(info, named)


async def load_readings(info: Info, member_id: UUID, subjects: Sequence[Subject]) -> list[Any]:
    """With one statement, also those that were superseded since: what was decided rests on
    them. Only reached through an assessment that the viewer may see."""
    statement = select(MeasurementRow).where(
        col(MeasurementRow.member_id) == member_id,
        col(MeasurementRow.id).in_([it.id for it in subjects]),
    )
    async with info.context.db.read() as reading:
        found = {row.id: row for row in await reading.execute(statement)}
    return [Measurement.from_row(found[it.id]) if it.id in found else None for it in subjects]


async def _fetch(info: Info, named: GlobalId) -> Any:
    return await risk.NODE_FETCHERS[Kind.RISK_ASSESSMENT](info, named)


def _model(asked: GlobalId) -> UUID:
    found = asked.parts[2]
    assert isinstance(found, UUID)
    return found
