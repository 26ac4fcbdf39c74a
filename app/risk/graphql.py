"""The member's risk: tier, reasons, what each model says and why, and how to contest it."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Self
from uuid import UUID

import strawberry

from app.graphql import enums
from app.graphql.errors import UserError
from app.graphql.facets import Facet, Reading
from app.graphql.ids import GlobalId, Kind, encode
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.risk import contests, loading, queries, rules, rulesets, sentences, service
from app.risk.chosen import Chosen, Provenance
from app.risk.inputs import TAKES
from app.risk.models import LATEST, VERSIONS
from app.risk.models.base import OutcomeKind, Result
from app.risk.queries import Key
from app.risk.rulesets import Tier
from app.worklist import rules as worklist_rules
from app.worklist.rules import ReviewState

enums.register(Tier, name="RiskTier")
enums.register(OutcomeKind, name="RiskOutcome")
enums.register(
    Provenance,
    {
        "PROFILE": "From the member's profile: age, sex, region.",
        "DERIVED": "Computed from other inputs: BMI, eGFR.",
    },
    name="RiskInputProvenance",
)

RiskTier = Tier

_PLACES = {code: UUID(int=place) for place, code in enumerate(LATEST, start=1)}
"""A model's part of a global id. Models are only ever added at the end of the list."""
_CODES = {place: code for code, place in _PLACES.items()}


@strawberry.type(description="A reason in words a member understands.")
class Reason:
    label: str
    detail: str


@strawberry.type
class RiskInput:
    name: str
    value: str = strawberry.field(description="A number or a code, as the model took it.")
    unit: str | None
    measured_on: date | None
    provenance: Provenance


@strawberry.type
class RiskContribution:
    factor: str
    value: Decimal = strawberry.field(
        description="Signed, in the unit of the assessment: how much this factor adds to or takes "
        "from the result. All of them together are the result."
    )
    detail: str


@strawberry.type
class RiskAssessment(Node):
    model: str
    model_version: str
    outcome: OutcomeKind
    horizon_years: int | None = strawberry.field(description="Null for a score without a horizon.")
    value: Decimal | None = strawberry.field(
        description="In `unit`; null when not applicable, never clamped."
    )
    unit: str | None = strawberry.field(description="`%` for a probability, `{score}` for a score.")
    category: str | None = strawberry.field(description="The model's own name for the band.")
    near_limit: bool = strawberry.field(
        description="Within the model's stated accuracy of the limit of a category: it may be "
        "either."
    )
    not_applicable_reason: str | None = strawberry.field(
        description="In words; null when the model applies."
    )
    assessed_at: datetime
    result: strawberry.Private[Result]
    row: strawberry.Private[Any]

    @strawberry.field
    def inputs(self) -> list[RiskInput]:
        taken = self.row.results[self.model]["inputs"]
        units = {it.name: it.unit for it in VERSIONS[self._version].inputs}
        return [
            _input(name, value, units[name], self.row.inputs[TAKES[self.model][name].name])
            for name, value in taken.items()
        ]

    @strawberry.field
    def contributions(self, info: Info) -> list[RiskContribution]:
        taken = self.row.results[self.model]["inputs"]
        locale = info.context.locale
        return [
            RiskContribution(
                factor=sentences.factor(it.factor).to(locale),
                value=value,
                detail=sentences.contribution(it, self._version, taken).to(locale),
            )
            for it, value in zip(
                self.result.contributions, sentences.rounded(self.result), strict=True
            )
        ]

    @property
    def _version(self) -> tuple[str, str]:
        return self.model, self.model_version

    @classmethod
    def of(cls, row: Any, code: str, locale: str) -> Self:
        """One model of a row with the columns of `risk_assessments`."""
        stored = row.results[code]
        result = service.result_of(code, stored)
        model = VERSIONS[code, stored["version"]]
        reason = result.not_applicable
        return cls(
            id=strawberry.ID(encode(Kind.RISK_ASSESSMENT, row.member_id, row.id, _PLACES[code])),
            model=code,
            model_version=model.version,
            outcome=model.outcome,
            horizon_years=model.horizon_years,
            value=Decimal(str(round(result.value, 3))) if result.value is not None else None,
            unit=model.unit if result.value is not None else None,
            category=result.category,
            near_limit=result.near_limit,
            not_applicable_reason=reason.to(locale) if reason is not None else None,
            assessed_at=row.assessed_at,
            result=result,
            row=row,
        )


def _input(name: str, value: Any, unit: str | None, stored: Sequence[Any]) -> RiskInput:
    chosen = Chosen.of(stored)
    return RiskInput(
        name=name,
        value=f"{value:g}" if isinstance(value, int | float) else value,
        unit=unit,
        measured_on=chosen.on,
        provenance=chosen.provenance,
    )


@strawberry.type(description="The member says that their tier is wrong, and somebody answers.")
class RiskContest:
    state: ReviewState
    opened_at: datetime
    due_at: datetime = strawberry.field(description="Until when it is answered.")
    text: str | None = strawberry.field(description="In the member's words.")
    reason: str | None = strawberry.field(description="The answer in words; null until then.")


@strawberry.type(description="What the tier was, from a day on.")
class RiskChange:
    tier: Tier | None
    assessed_at: datetime
    rules_version: str
    reasons: list[Reason]

    @classmethod
    def of(cls, row: Any, locale: str) -> Self:
        return cls(
            tier=Tier(row.tier) if row.tier else None,
            assessed_at=row.assessed_at,
            rules_version=row.rules_version,
            reasons=reasons_of(row, locale),
        )


@strawberry.type(description="One per member.")
class RiskProfile(Node):
    tier: Tier | None = strawberry.field(
        description="Null until first assessed, and while too little is known."
    )
    assessed_at: datetime | None = strawberry.field(description="Null until first assessed.")
    key: strawberry.Private[Key]
    review_id: strawberry.Private[UUID | None]

    @strawberry.field(description="The most telling first.")
    async def reasons(self, info: Info) -> list[Reason]:
        row = await loading.load(info, "assessments", queries.assessments, self.key, self.key)
        return reasons_of(row, info.context.locale) if row is not None else []

    @strawberry.field(description="The latest of each model.")
    async def assessments(self, info: Info) -> list[RiskAssessment]:
        row = await loading.load(info, "assessments", queries.assessments, self.key, self.key)
        if row is None:
            return []
        return [RiskAssessment.of(row, code, info.context.locale) for code in _order(row)]

    @strawberry.field(description="The last time the member contested it; null when never.")
    async def contest(self, info: Info) -> RiskContest | None:
        if self.review_id is None:
            return None
        key = (self.key[0], self.review_id)
        row = await loading.load(info, "contests", queries.contests, key, key[0])
        if row is None:
            return None
        return RiskContest(
            state=ReviewState(row.state),
            opened_at=row.opened_at,
            due_at=row.due_at,
            text=row.text,
            reason=row.reason,
        )

    @strawberry.field(description="Every change of tier or of what it rests on, newest first.")
    async def history(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[RiskChange]:
        size = page_size(first)
        cursor: Any = read_cursor(after, _instant, UUID)
        rows = await loading.history(info, self.key[0], cursor, size + 1)
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: RiskChange.of(row, info.context.locale),
            key=lambda row: (row.assessed_at.isoformat(), row.id),
        )


def reasons_of(row: Any, locale: str) -> list[Reason]:
    """Why a stored assessment came to its tier, in words."""
    rule_set = rulesets.of(row.rules_version)
    if not row.matched:
        if row.tier is None:
            missing = sentences.not_enough(rules.missing_for_low(row.inputs, rule_set))
            return [Reason(label=sentences.NOT_ENOUGH.to(locale), detail=missing.to(locale))]
        return [
            Reason(label=sentences.NONE_MET.to(locale), detail=sentences.NONE_MET_DETAIL.to(locale))
        ]
    values = rules.values_of(row.inputs, row.results)
    said = [rules.said_of(rule_set.rule(code), values) for code in row.matched]
    return [Reason(label=label.to(locale), detail=detail.to(locale)) for label, detail in said]


def _order(row: Any) -> list[str]:
    """As the rule set lists them: jsonb forgets the order."""
    return [code for code in rulesets.of(row.rules_version).models if code in row.results]


def _instant(written: str) -> datetime:
    found = datetime.fromisoformat(written)
    if found.tzinfo is None:
        raise ValueError(written)
    return found.astimezone(UTC)


# The field of Member


@strawberry.type
class RiskOfMember:
    """The field of `Member` that is kept here."""

    risk: RiskProfile | None = strawberry.field(
        description="Null until first assessed. An employee sees it while the member consents to "
        "the use of health data."
    )


_CONSENTED = """coalesce((select c.state = 'GRANTED' from consents c
  where c.member_id = members.member_id and c.purpose = 'HEALTH_DATA'
  order by c.version desc limit 1), false)"""
_PROFILE = f"""
(select row(p.assessment_id, p.tier, p.assessed_at, p.review_id, {_CONSENTED})
  from risk_profiles p where p.member_id = members.member_id and p.assessment_id is not null)
"""


def profile_of(member_id: UUID, row: Any, *, own: bool) -> RiskProfile | None:
    """From (assessment, tier, instant, review, consent); None when there is none, or it is not
    the viewer's to see."""
    if row is None or not (own or row[4]):
        return None
    return RiskProfile(
        id=strawberry.ID(encode(Kind.RISK_PROFILE, member_id)),
        tier=Tier(row[1]) if row[1] else None,
        assessed_at=row[2],
        key=(member_id, row[0]),
        review_id=row[3],
    )


def _read(row: Any, reading: Reading) -> RiskProfile | None:
    return profile_of(reading.profile.member_id, row, own=reading.own)


FACETS = (Facet(field="risk", attribute="risk", sql=_PROFILE, read=_read),)


async def load_profile(info: Info, member_id: UUID) -> RiskProfile | None:
    """For upper domains that have just assessed somebody."""
    found = await info.context.members.load_fields(info, member_id, frozenset({"risk"}))
    return found.risk if found is not None else None


async def _fetch_profile(info: Info, id: GlobalId) -> RiskProfile | None:
    return await load_profile(info, id.owner_id)


async def _fetch_assessment(info: Info, id: GlobalId) -> RiskAssessment | None:
    key = (id.owner_id, id.key)
    code = _CODES.get(id.parts[2]) if isinstance(id.parts[2], UUID) else None
    # Whether health data may be shown is decided as for the profile.
    if code is None or await load_profile(info, id.owner_id) is None:
        return None
    row = await loading.load(info, "assessments", queries.assessments, key, key)
    if row is None or code not in row.results:
        return None
    return RiskAssessment.of(row, code, info.context.locale)


NODE_FETCHERS: dict[Kind, Fetch] = {
    Kind.RISK_PROFILE: _fetch_profile,
    Kind.RISK_ASSESSMENT: _fetch_assessment,
}


# contestRisk


@strawberry.input
class ContestRiskInput:
    request_id: UUID
    text: str = strawberry.field(
        description="What is wrong, in the member's words; at most "
        f"{worklist_rules.REASON_LENGTH_MAX} characters."
    )


@strawberry.type
class ContestRiskPayload:
    replayed: bool
    risk: RiskProfile


ContestRiskResult = Annotated[ContestRiskPayload | UserError, strawberry.union("ContestRiskResult")]


@strawberry.type
class RiskMutation:
    @strawberry.mutation(
        description="Contests one's tier, once for each assessment; somebody answers by the "
        "contest's `dueAt`. When it is accepted, blood pressure and glucose are measured again "
        "and the tier follows from them. Codes: NOT_FOUND, CONSENT_MISSING, LIMIT_REACHED, "
        "VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def contest_risk(self, info: Info, input: ContestRiskInput) -> ContestRiskResult:
        context = info.context
        member_id = context.member_id
        async with context.db.transaction() as session:
            replayed = await contests.contest(
                session,
                member_id=member_id,
                request_id=input.request_id,
                words=input.text,
                now=context.now,
            )
        risk = await load_profile(info, member_id)
        assert risk is not None
        return ContestRiskPayload(replayed=replayed, risk=risk)
