"""Questionnaires, answers, conditions, medications and clinical classes, as they are shown.

An employee sees them while the member consents to the use of health data.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Self
from uuid import UUID

import strawberry

from app.graphql import enums
from app.graphql.ids import Kind, encode
from app.graphql.node import Info, Node
from app.measurements.alerts_rules import AlertSeverity
from app.measurements.graphql import Measurement
from app.records import forms, published, service, thresholds
from app.records.clinical import Found
from app.records.health import Source
from app.worklist.subjects import WorklistSubject

enums.register(
    Source,
    {
        "DECLARED": "Said by the member, or by who acts for them.",
        "CLINICAL": "Recorded by an employee.",
        "IMPORTED": "Out of another system's records.",
    },
    name="RecordSource",
)
enums.register(
    thresholds.Area,
    {
        "FASTING_GLUCOSE_SELF_MEASURED": "Blood of a finger, or said by the member: it screens "
        "and diagnoses nothing.",
    },
    name="ClinicalArea",
)
enums.register(forms.QuestionKind)
_SHOWN = Decimal("0.01")


# Questionnaires


@strawberry.type
class QuestionOption:
    value: str
    label: str


@strawberry.type
class QuestionCondition:
    key: str = strawberry.field(description="An earlier item of this questionnaire.")
    any_of: list[str] = strawberry.field(description="Show when one of its answers is among these.")


@strawberry.type
class QuestionnaireItem:
    key: str
    text: str
    kind: forms.QuestionKind
    required: bool = strawberry.field(description="Only when shown.")
    show_when: QuestionCondition | None = strawberry.field(
        description="Ask only then; null means always."
    )
    options: list[QuestionOption] = strawberry.field(description="Empty unless `kind` is a choice.")
    unit: str | None = strawberry.field(description="UCUM; only with numbers.")
    minimum: Decimal | None
    maximum: Decimal | None

    @classmethod
    def of(cls, item: forms.Item, locale: str) -> Self:
        condition = item.show_when
        return cls(
            key=item.key,
            text=item.text.to(locale),
            kind=item.kind,
            required=item.required,
            show_when=QuestionCondition(key=condition.key, any_of=list(condition.any_of))
            if condition
            else None,
            options=[
                QuestionOption(value=it.value, label=it.label.to(locale)) for it in item.options
            ],
            unit=item.unit,
            minimum=item.minimum,
            maximum=item.maximum,
        )


@strawberry.type
class Questionnaire:
    code: str
    version: str
    title: str
    items: list[QuestionnaireItem] = strawberry.field(description="In the order of asking.")

    @classmethod
    def of(cls, form: forms.Questionnaire, locale: str) -> Self:
        return cls(
            code=form.code,
            version=form.version,
            title=form.title.to(locale),
            items=[QuestionnaireItem.of(item, locale) for item in form.items],
        )


@strawberry.type
class QuestionnaireAnswer:
    key: str
    text: str = strawberry.field(description="The question.")
    values: list[str]
    shown: str = strawberry.field(description="The answer in words.")


@strawberry.type
class QuestionnaireScore:
    code: str
    title: str
    value: Decimal
    unit: str = strawberry.field(description="UCUM.")
    band: str | None = strawberry.field(description="Null where the score has no bands.")
    band_label: str | None


@strawberry.type(description="All answers at one time; never edited.")
class QuestionnaireResponse(WorklistSubject):
    answered_at: datetime
    row: strawberry.Private[Any]

    @strawberry.field
    def code(self) -> str:
        return self.row.code  # type: ignore[no-any-return]

    @strawberry.field(description="Of the questionnaire.")
    def version(self) -> str:
        return self.row.version  # type: ignore[no-any-return]

    @strawberry.field
    def title(self, info: Info) -> str:
        return self._form.title.to(info.context.locale)

    @strawberry.field(description="In the order of asking.")
    def answers(self, info: Info) -> list[QuestionnaireAnswer]:
        locale = info.context.locale
        return [
            QuestionnaireAnswer(
                key=item.key,
                text=item.text.to(locale),
                values=list(self.row.answers[item.key]),
                shown=_said(item, self.row.answers[item.key], locale),
            )
            for item in self._form.items
            if item.key in self.row.answers
        ]

    @strawberry.field
    def scores(self, info: Info) -> list[QuestionnaireScore]:
        locale = info.context.locale
        found = []
        for score in self._form.scores:
            value, band = self.row.scores[score.code]
            label = next((it.label.to(locale) for it in score.bands if it.code == band), None)
            found.append(
                QuestionnaireScore(
                    code=score.code,
                    title=score.title.to(locale),
                    value=Decimal(value),
                    unit=score.unit,
                    band=band,
                    band_label=label,
                )
            )
        return found

    @property
    def _form(self) -> forms.Questionnaire:
        return published.every()[self.row.code, self.row.version]

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a `QuestionnaireResponse` of the tables, or a row with its columns."""
        return cls(
            id=strawberry.ID(encode(Kind.QUESTIONNAIRE_RESPONSE, row.member_id, row.id)),
            answered_at=row.answered_at,
            row=row,
        )


_MOST_PRESSING_FIRST = list(reversed(AlertSeverity))


@strawberry.type(description="What an answer calls for at once.")
class QuestionnaireNotice:
    severity: AlertSeverity
    message: str = strawberry.field(description="What to do, and where help is.")

    @classmethod
    def of(cls, row: Any, locale: str) -> list[Self]:
        """Of a response."""
        found = [
            cls(severity=alert.severity, message=alert.message.to(locale))
            for alert in service.alerts(row)
        ]
        return sorted(found, key=lambda it: _MOST_PRESSING_FIRST.index(it.severity))


def _said(item: forms.Item, values: Sequence[str], locale: str) -> str:
    if item.kind is forms.QuestionKind.BOOLEAN:
        yes = values[0] == "true"
        return ("是" if yes else "否") if locale[:2].lower() == "zh" else ("Yes" if yes else "No")
    options = [item.option(value) for value in values]
    labels = [option.label.to(locale) for option in options if option is not None]
    unit = f" {item.unit.strip('{}')}" if item.unit else ""
    return ", ".join(labels) if labels else f"{values[0]}{unit}"


# Conditions and medications


@strawberry.type(description="A diagnosis, as the newest version has it; versions stay.")
class Condition(Node):
    icd10: str
    label: str | None = strawberry.field(description="In the words of whoever recorded it.")
    source: Source
    onset_on: date | None = strawberry.field(description="First day; null when nobody knows.")
    abated_on: date | None = strawberry.field(description="Last day; null while it goes on.")
    version: int = strawberry.field(description="1 when it was first recorded.")
    recorded_at: datetime = strawberry.field(description="When this version was.")

    @classmethod
    def of(cls, row: Any) -> Self:
        return cls(
            id=strawberry.ID(encode(Kind.CONDITION, row.member_id, row.condition_id)),
            icd10=row.icd10,
            label=row.label,
            source=Source(row.source),
            onset_on=row.onset_on,
            abated_on=row.abated_on,
            version=row.version,
            recorded_at=row.recorded_at,
        )


@strawberry.type(description="What somebody takes, as the newest version has it; versions stay.")
class Medication(Node):
    name: str
    atc: str | None = strawberry.field(description="WHO ATC code.")
    dose: str = strawberry.field(description="How much, in words.")
    times: list[time] = strawberry.field(
        description="When in the member's local day; empty: when needed."
    )
    remind: bool = strawberry.field(description="Whether each time has a daily reminder.")
    source: Source
    starts_on: date
    ends_on: date | None = strawberry.field(description="Last day; null while it goes on.")
    version: int = strawberry.field(description="1 when it was first recorded.")
    recorded_at: datetime = strawberry.field(description="When this version was.")

    @classmethod
    def of(cls, row: Any) -> Self:
        return cls(
            id=strawberry.ID(encode(Kind.MEDICATION, row.member_id, row.medication_id)),
            name=row.name,
            atc=row.atc,
            dose=row.dose,
            times=[time.fromisoformat(it) for it in row.times],
            remind=row.remind,
            source=Source(row.source),
            starts_on=row.starts_on,
            ends_on=row.ends_on,
            version=row.version,
            recorded_at=row.recorded_at,
        )


# Clinical classes


@strawberry.type(description="A named, versioned table of a guideline.")
class ThresholdSet:
    code: str
    version: int
    source: str


@strawberry.type
class ClinicalValue:
    quantity: str = strawberry.field(description="Code of the catalogue, or NON_HDL.")
    value: Decimal = strawberry.field(description="Rounded to two decimals; compared exactly.")


@strawberry.type(
    description="What a guideline calls a member's readings. It is no diagnosis, and whatever "
    "lies in the diabetes range is said apart."
)
class ClinicalClass:
    area: thresholds.Area
    title: str
    code: str
    label: str
    also: str | None = strawberry.field(
        description="What is said besides: isolated systolic hypertension."
    )
    advice: str | None
    diabetes_range: bool = strawberry.field(description="See a doctor.")
    diagnostic: bool = strawberry.field(
        description="Whether a diagnosis may rest on such readings; blood of a finger, readings "
        "at home and what members say screen only."
    )
    confirmed: bool = strawberry.field(
        description="Whether there are as many readings as the guideline asks for."
    )
    averaged: bool
    values: list[ClinicalValue]
    as_of: date = strawberry.field(description="The member's local day of the newest reading.")
    readings: list[Measurement] = strawberry.field(description="What it rests on, newest first.")
    thresholds: ThresholdSet

    @classmethod
    def of(cls, found: Found, rows: Mapping[UUID, Any], locale: str) -> Self:
        table = found.thresholds
        return cls(
            area=found.area,
            title=table.title.to(locale),
            code=found.band.code,
            label=found.band.label.to(locale),
            also=found.also.label.to(locale) if found.also else None,
            advice=found.band.advice.to(locale) if found.band.advice else None,
            diabetes_range=found.diabetes_range,
            diagnostic=found.diagnostic,
            confirmed=found.confirmed,
            averaged=found.averaged,
            values=[
                ClinicalValue(quantity=name, value=value.quantize(_SHOWN, rounding=ROUND_HALF_UP))
                for name, value in found.values.items()
            ],
            as_of=found.as_of,
            readings=[Measurement.from_row(rows[it.id]) for it in found.readings],
            thresholds=ThresholdSet(code=table.code, version=table.version, source=table.source),
        )


@strawberry.type(description="A reading of the last year lies in the diabetes range.")
class DiabetesRange:
    message: str = strawberry.field(description="What to do.")
    diagnostic: bool = strawberry.field(
        description="Whether one of them may found a diagnosis; blood of a finger may not."
    )
    confirmed: bool = strawberry.field(
        description="Whether two such readings agree, of different days or different kinds."
    )
    readings: list[Measurement] = strawberry.field(description="At most 10, newest first.")


@strawberry.type(description="Members whom the product treats alike; no diagnosis.")
class ProductGroup:
    code: str
    version: int
    title: str
    source: str
