"""`why`: one answer from points down to what they rest on, or why there are none."""

from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry

from app.graphql import enums
from app.graphql.ids import GlobalId, Kind, parse
from app.graphql.node import Info
from app.insights import assessments, premium_lines, queries, rules, subjects
from app.insights.queries import Anchor
from app.insights.steps import Explained, Step, StepKind, Subject, SubjectKind
from app.members.rules import shows_health

enums.register(StepKind, name="ExplanationStepKind")


@strawberry.type
class ExplanationStep:
    kind: StepKind
    title: str
    detail: str
    occurred_at: datetime | None
    rule_version: str | None = strawberry.field(
        description="Version of the rule that decided; null when none did."
    )
    about: strawberry.Private[Subject | None]
    member_id: strawberry.Private[UUID]

    @strawberry.field(
        description="Null when it is not the asker's to see, or is not stored.",
    )
    async def subject(self, info: Info) -> subjects.ExplanationSubject | None:
        if self.about is None:
            return None
        found: Any = await subjects.load(info, self.member_id, self.about)
        return found  # type: ignore[no-any-return]

    @classmethod
    def of(cls, member_id: UUID, step: Step, locale: str) -> "ExplanationStep":
        return cls(
            kind=step.kind,
            title=step.title.to(locale),
            detail=step.detail.to(locale),
            occurred_at=step.occurred_at,
            rule_version=step.rule_version,
            about=step.subject,
            member_id=member_id,
        )


@strawberry.type
class Explanation:
    summary: str = strawberry.field(description="The answer in one or two sentences.")
    steps: list[ExplanationStep] = strawberry.field(
        description="From what was asked about, down to the readings."
    )


@strawberry.type
class InsightsQuery:
    @strawberry.field(
        description="Why something is as it is, or why it did not happen, in plain words. Takes "
        "the id of a PointsEntry, CheckIn, HealthTask, RiskAssessment or Redemption, or the "
        "`whyId` of a PremiumLine; null for any other, and for what does not exist or is not "
        "yours."
    )
    async def why(self, info: Info, id: strawberry.ID) -> Explanation | None:
        asked = parse(id)
        if asked is None or asked.kind not in (*_SUBJECTS, *_APART):
            return None
        context = info.context
        # Decided before anything is read, on the member that the id carries.
        if not await context.may_see(asked.owner_id):
            return None
        if asked.kind in _APART:
            return _said(info, asked.owner_id, await _APART[asked.kind](info, asked))
        subject = _subject(asked)
        async with context.db.read() as reading:
            anchor = await _anchor(reading, asked)
            if anchor is None:
                return None
            facts = await queries.gather(reading, asked.owner_id, anchor, now=context.now)
        if facts.task is not None and not shows_health(
            facts.task.consent, own=context.is_own(asked.owner_id)
        ):
            return None
        explained = rules.explain(facts, subject)
        return _said(info, asked.owner_id, explained)


def _said(info: Info, member_id: UUID, explained: Explained | None) -> Explanation | None:
    if explained is None:
        return None
    locale = info.context.locale
    return Explanation(
        summary=explained.summary.to(locale),
        steps=[ExplanationStep.of(member_id, step, locale) for step in explained.steps],
    )


_SUBJECTS = {
    Kind.POINTS_ENTRY: SubjectKind.ENTRY,
    Kind.CHECK_IN: SubjectKind.CHECK_IN,
    Kind.TASK: SubjectKind.TASK,
    Kind.REDEMPTION: SubjectKind.REDEMPTION,
}


_APART = {
    Kind.RISK_ASSESSMENT: assessments.explain,
    Kind.PREMIUM_LINE: premium_lines.explain,
}


def _subject(asked: GlobalId) -> Subject:
    starts_on: Any = asked.parts[2] if asked.kind is Kind.TASK else None
    return Subject(_SUBJECTS[asked.kind], asked.key, starts_on)


async def _anchor(reading: Any, asked: GlobalId) -> Anchor | None:
    match asked.kind:
        case Kind.POINTS_ENTRY:
            return await queries.of_entry(reading, asked.owner_id, asked.key)
        case Kind.CHECK_IN:
            return await queries.of_check_in(reading, asked.owner_id, asked.key)
        case Kind.REDEMPTION:
            return Anchor(redemption_id=asked.key)
        case _:
            return Anchor(assignment_id=asked.key, starts_on=_subject(asked).starts_on)
