"""Cases of the mild-condition benefit and their costs, as clients see them."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import strawberry

from app import civil_time
from app.graphql import enums
from app.graphql.context import Context
from app.graphql.ids import GlobalId, Kind, encode
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.premiums import benefit_queries as queries
from app.premiums import benefit_rules as benefits
from app.premiums import benefit_sentences as sentences
from app.premiums import money_graphql, rules
from app.premiums.benefit_loading import load_rows
from app.premiums.benefit_queries import Key
from app.premiums.benefit_terms import MildConditionKind
from app.premiums.facts import MildChoice
from app.premiums.mild_conditions import SUBJECT
from app.premiums.money_graphql import Money
from app.records import clinical, thresholds
from app.records.thresholds import Area, Band, Level
from app.worklist.subjects import Load, SubjectKey, WorklistSubject

enums.register(
    MildConditionKind,
    {
        "FASTING_GLUCOSE": "7.0 to below 11.1 mmol/L: the range of diabetes.",
        "GRADE_1_HYPERTENSION": "At a clinic.",
    },
    description="What triggers the benefit; it is no diagnosis.",
)
enums.register(
    benefits.CaseState,
    {"NOT_COVERED": "It was found within the waiting period."},
    name="MildConditionCaseState",
)
enums.register(
    benefits.CostFault,
    {
        "DRUG_NOT_COVERED": "It does not lower the glucose or blood pressure of this case.",
        "OUTSIDE_PERIOD": "It was bought before the case began, or after it ended.",
    },
    name="BenefitCostFault",
)
enums.register(MildChoice, name="MildConditionReward")


@strawberry.type(description="What a member paid for a drug, and what is paid of it.")
class BenefitCost(Node):
    drug: str = strawberry.field(description="ATC code.")
    bought_on: date
    amount: Money = strawberry.field(description="What the member paid.")
    paid: Money = strawberry.field(description="What is paid of it now.")
    fault: benefits.CostFault | None = strawberry.field(
        description="Why it does not count; null when it does."
    )
    explanation: str = strawberry.field(description="The decision in words.")
    note: str | None
    recorded_at: datetime
    reversed_at: datetime | None
    reversal_reason: str | None

    @classmethod
    def of(cls, row: Any, context: Context) -> Self:
        """From a row of `queries.costs`."""
        share = rules.line(row.amount, row.share_percent)
        words = sentences.cost(row, share, limit=row.limit_amount, currency=row.currency)
        return cls(
            id=strawberry.ID(encode(Kind.BENEFIT_COST, row.member_id, row.id)),
            drug=row.drug,
            bought_on=row.bought_on,
            amount=money_graphql.of(row.amount, row.currency),
            paid=money_graphql.of(row.paid, row.currency),
            fault=benefits.CostFault(row.fault) if row.fault is not None else None,
            explanation=words.to(context.locale),
            note=row.note,
            recorded_at=row.recorded_at,
            reversed_at=row.reversed_at,
            reversal_reason=row.reversal_reason,
        )


@strawberry.type(description="A mild condition that was found, and how much of its drugs is paid.")
class MildConditionCase(WorklistSubject):
    condition: MildConditionKind
    state: benefits.CaseState
    clinical_class: str = strawberry.field(
        description="What the guideline calls it, whatever the product does: `diabetes_range`."
    )
    clinical_label: str = strawberry.field(description="The class in words.")
    diabetes_range: bool = strawberry.field(
        description="A reading in the range of diabetes: a clinician has to look at it."
    )
    advice: str | None = strawberry.field(description="What to do about it, in words.")
    triggered_on: date = strawberry.field(description="Local day of the reading.")
    ends_on: date = strawberry.field(description="Last day on which a drug may be bought.")
    days_left: int = strawberry.field(description="Today included; 0 when it is over.")
    share_percent: Decimal
    limit: Money = strawberry.field(description="Of all that is paid in this case.")
    used: Money
    remaining: Money
    choice: MildChoice = strawberry.field(
        description="What an improvement shall bring: a lower premium unless chosen otherwise."
    )
    explanation: str = strawberry.field(description="What it brings, in words.")
    row: strawberry.Private[Any]

    @strawberry.field(description="What was recorded, the newest first.")
    async def costs(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[BenefitCost]:
        size = page_size(first)
        cursor = read_cursor(after, int)

        async def load(reading: Any, keys: Sequence[Key], open_to: Sequence[UUID]) -> Sequence[Any]:
            before = cursor[0] if cursor else None
            return await queries.costs(
                reading, keys, open_to=open_to, before=before, limit=size + 1
            )

        key = (self.row.member_id, self.row.id)
        rows = await load_rows(info, f"costs.{size}.{after}", key, load, "case_id")
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: BenefitCost.of(row, info.context),
            key=lambda row: (row.place,),
        )

    @classmethod
    def of(cls, row: Any, context: Context) -> Self:
        """From a row of `queries.cases`."""
        kind = MildConditionKind(row.condition)
        level = _clinical(kind, row.clinical_class)
        advice = clinical.SEE_A_DOCTOR if row.diabetes_range else level.advice
        is_open = row.state == benefits.CaseState.OPEN
        today = civil_time.local_date(context.now, civil_time.zone(row.time_zone))
        days = max(0, (row.closes_on - today).days + 1) if is_open else 0
        words = sentences.case(row, waiting_days=row.waiting_days)
        remaining = row.limit_amount - row.used
        covered = row.state != benefits.CaseState.NOT_COVERED
        return cls(
            id=strawberry.ID(encode(Kind.MILD_CONDITION_CASE, row.member_id, row.id)),
            condition=kind,
            state=benefits.CaseState(row.state),
            clinical_class=row.clinical_class,
            clinical_label=level.label.to(context.locale),
            diabetes_range=row.diabetes_range,
            advice=advice.to(context.locale) if advice is not None else None,
            triggered_on=row.triggered_on,
            ends_on=row.closes_on,
            days_left=days,
            share_percent=row.share_percent,
            limit=money_graphql.of(row.limit_amount if covered else 0, row.currency),
            used=money_graphql.of(row.used, row.currency),
            remaining=money_graphql.of(remaining if covered else 0, row.currency),
            choice=MildChoice(row.choice or MildChoice.PREMIUM),
            explanation=words.to(context.locale),
            row=row,
        )


def _clinical(kind: MildConditionKind, code: str) -> Band | Level:
    """The guideline's class by its code."""
    guidelines = thresholds.guidelines()
    known: Sequence[Band | Level]
    if kind is MildConditionKind.GRADE_1_HYPERTENSION:
        known = guidelines.pressure[Area.BLOOD_PRESSURE_OFFICE].levels
    else:
        bands = guidelines.values[Area.FASTING_GLUCOSE].bands
        known = [it for of_sex in bands.values() for it in of_sex]
    return next(it for it in known if it.code == code)


async def _load_cases(info: Info, keys: Sequence[Key]) -> Mapping[Key, MildConditionCase]:
    context = info.context
    open_to = [member_id for member_id, _ in keys if context.is_own(member_id)]
    async with context.db.read() as reading:
        rows = await queries.cases_by_key(reading, keys, open_to=open_to)
    return {(row.member_id, row.id): MildConditionCase.of(row, context) for row in rows}


async def load_case(info: Info, member_id: UUID, case_id: UUID) -> MildConditionCase:
    """One that was written a moment ago, by somebody who may see it."""
    async with info.context.db.read() as reading:
        rows = await queries.cases_by_key(reading, [(member_id, case_id)], open_to=[member_id])
    return MildConditionCase.of(rows[0], info.context)


async def load_cost(info: Info, member_id: UUID, cost_id: UUID) -> BenefitCost:
    """As `load_case`."""
    async with info.context.db.read() as reading:
        rows = await queries.costs_by_key(reading, [(member_id, cost_id)], open_to=[member_id])
    return BenefitCost.of(rows[0], info.context)


async def _load_subjects(
    info: Info, keys: Sequence[SubjectKey]
) -> Mapping[SubjectKey, WorklistSubject]:
    found = await _load_cases(info, [(key.member_id, key.id) for key in keys])
    return {key: found[key.member_id, key.id] for key in keys if (key.member_id, key.id) in found}


async def _fetch_case(info: Info, id: GlobalId) -> MildConditionCase | None:
    key = (id.owner_id, id.key)
    return (await _load_cases(info, [key])).get(key)


async def _fetch_cost(info: Info, id: GlobalId) -> BenefitCost | None:
    open_to = [id.owner_id] if info.context.is_own(id.owner_id) else []
    async with info.context.db.read() as reading:
        rows = await queries.costs_by_key(reading, [(id.owner_id, id.key)], open_to=open_to)
    return BenefitCost.of(rows[0], info.context) if rows else None


SUBJECTS: dict[str, Load] = {SUBJECT: _load_subjects}
NODE_FETCHERS: dict[Kind, Fetch] = {
    Kind.MILD_CONDITION_CASE: _fetch_case,
    Kind.BENEFIT_COST: _fetch_cost,
}
