"""The mutation `answerQuestionnaire`: answers are kept below, and assessed here."""

from typing import Annotated
from uuid import UUID

import strawberry

from app.graphql.errors import UserError
from app.graphql.node import Info
from app.records import rules, service
from app.records.types import QuestionnaireNotice, QuestionnaireResponse
from app.risk import service as assessing
from app.risk.graphql import RiskProfile, load_profile
from app.risk.requests import Cause


@strawberry.input
class AnswerInput:
    key: str
    values: list[str] = strawberry.field(
        description='One value, or several for a multiple choice: `"true"`, `"36.6"`, '
        '`"2026-03-01"`, or options\' values.'
    )


@strawberry.input
class AnswerQuestionnaireInput:
    request_id: UUID
    code: str
    version: str
    answers: list[AnswerInput]


@strawberry.type
class AnswerQuestionnairePayload:
    replayed: bool
    response: QuestionnaireResponse
    notices: list[QuestionnaireNotice] = strawberry.field(
        description="What these answers call for at once, the most pressing first."
    )
    risk: RiskProfile = strawberry.field(description="Assessed with these answers.")


AnswerQuestionnaireResult = Annotated[
    AnswerQuestionnairePayload | UserError, strawberry.union("AnswerQuestionnaireResult")
]


@strawberry.type
class AnsweringMutation:
    @strawberry.mutation(
        description="Codes: NOT_FOUND, VERSION_OUTDATED, ANSWER_INVALID, CONSENT_MISSING, "
        "REQUEST_REUSED."
    )
    async def answer_questionnaire(
        self, info: Info, input: AnswerQuestionnaireInput
    ) -> AnswerQuestionnaireResult:
        context = info.context
        member_id = context.member_id
        async with context.db.transaction() as session:
            answered = await service.answer(
                session,
                member_id=member_id,
                request_id=input.request_id,
                code=input.code,
                version=input.version,
                given=[rules.Given(it.key, it.values) for it in input.answers],
                answered_by=context.viewer.member_id or member_id,
                now=context.now,
            )
            if not answered.replayed:
                await assessing.assess(
                    session, member_id=member_id, cause=Cause.INPUTS_CHANGED, now=context.now
                )
        risk = await load_profile(info, member_id)
        assert risk is not None  # they consent, so that they were assessed
        return AnswerQuestionnairePayload(
            replayed=answered.replayed,
            response=QuestionnaireResponse.of(answered.response),
            notices=QuestionnaireNotice.of(answered.response, context.locale),
            risk=risk,
        )
