"""Answering questionnaires: lock the member, look, decide, write."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.measurements import service as measurements
from app.measurements.rules import Channel, Method, Reading
from app.members import requests
from app.members import service as members
from app.members.models import ConsentRecord, Member
from app.members.rules import ConsentPurpose, ConsentState, Sex
from app.records import published, rules
from app.records.forms import Alert, Answers, Questionnaire
from app.records.models import QuestionnaireResponse
from app.texts import Text
from app.worklist import programme
from app.worklist.rules import WorklistItemKind

SUBJECT = "questionnaire_response"
"""Of worklist items."""


class ConsentMissing(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.CONSENT_MISSING,
            Text(
                zh="需要会员同意使用健康数据；可在设置中同意。",
                en="This needs the member's consent to the use of health data. Settings change it.",
            ),
        )


class VersionOutdated(UserError):
    def __init__(self, *, current: str) -> None:
        super().__init__(
            ErrorCode.VERSION_OUTDATED,
            Text(
                zh=f"问卷已更新到版本 {current}，请重新打开后再填写。",
                en=f"Version {current} of this questionnaire is in force; load it and ask again.",
            ),
            field="version",
        )


class AnswerInvalid(UserError):
    def __init__(self, fault: rules.Fault) -> None:
        super().__init__(ErrorCode.ANSWER_INVALID, fault.text, field=fault.field)


class Answered(NamedTuple):
    response: QuestionnaireResponse
    replayed: bool


async def answer(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    code: str,
    version: str,
    given: Sequence[rules.Given],
    answered_by: UUID,
    now: datetime,
) -> Answered:
    """Keep all answers to a questionnaire; earlier ones stay, and are no longer in force.

    Scores that the catalogue has a code for become readings too, and an answer that calls for
    somebody opens a worklist item. Raises NotFound, VersionOutdated, AnswerInvalid,
    ConsentMissing, RequestReused.
    """
    member = await members.lock(session, member_id)
    response_id = new_id(now)
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="answerQuestionnaire",
        values={
            "code": code,
            "version": version,
            "answers": [[it.key, list(it.values)] for it in given],
        },
        result=response_id,
        now=now,
    )
    if earlier is not None:
        found = await session.get(QuestionnaireResponse, (member_id, earlier))
        assert found is not None
        return Answered(found, replayed=True)
    form = published.in_force().get(code)
    if form is None:
        raise NotFound(field="code")
    if version != form.version:
        raise VersionOutdated(current=form.version)
    today = civil_time.local_date(now, civil_time.zone(member.time_zone))
    answers = rules.check(form, given, today=today)
    if isinstance(answers, rules.Fault):
        raise AnswerInvalid(answers)
    await require_consent(session, member_id)
    scored = rules.scores(form, answers, lower_limits=member.sex != Sex.MALE)
    response = QuestionnaireResponse(
        member_id=member_id,
        id=response_id,
        code=code,
        version=version,
        place=await _places(session, member_id, code) + 1,
        answers={key: list(values) for key, values in answers.items()},
        scores={it.code: [rules.plain(it.value), it.band] for it in scored},
        answered_at=now,
        answered_by=answered_by,
    )
    session.add(response)
    await session.flush()
    await _record(session, member, form, answers, scored, answered_by, now)
    for alert in rules.alerts(form, answers):
        await _call(session, response, alert, now)
    return Answered(response, replayed=False)


def alerts(response: QuestionnaireResponse) -> Sequence[Alert]:
    """What these answers call for; told with the answer, and again when it is replayed."""
    form = published.every()[response.code, response.version]
    return rules.alerts(form, response.answers)


async def require_consent(session: AsyncSession, member_id: UUID) -> None:
    """Raises ConsentMissing."""
    state = (
        await session.exec(
            select(ConsentRecord.state)
            .where(
                ConsentRecord.member_id == member_id,
                ConsentRecord.purpose == ConsentPurpose.HEALTH_DATA,
            )
            .order_by(col(ConsentRecord.version).desc())
            .limit(1)
        )
    ).one_or_none()
    if state != ConsentState.GRANTED:
        raise ConsentMissing


async def _places(session: AsyncSession, member_id: UUID, code: str) -> int:
    """How often the member, who is locked, has answered it before."""
    newest = (
        await session.exec(
            select(QuestionnaireResponse.place)
            .where(QuestionnaireResponse.member_id == member_id, QuestionnaireResponse.code == code)
            .order_by(col(QuestionnaireResponse.place).desc())
            .limit(1)
        )
    ).one_or_none()
    return newest or 0


async def _record(
    session: AsyncSession,
    member: Member,
    form: Questionnaire,
    answers: Answers,
    scored: Sequence[rules.Scored],
    answered_by: UUID,
    now: datetime,
) -> None:
    readings = [
        Reading(
            code,
            value,
            unit,
            now,
            Method.SELF_REPORTED,
            source_id=f"questionnaire:{form.code}",
        )
        for code, value, unit in _measured(form, answers, scored)
    ]
    if not readings:
        return
    kept = await measurements.record(
        session,
        member_id=member.member_id,
        time_zone=member.time_zone,
        readings=readings,
        now=now,
        channel=Channel.APP,
        recorded_by=answered_by,
    )
    assert not kept.rejected, "the ranges of questionnaires lie within those of the catalogue"


def _measured(
    form: Questionnaire, answers: Answers, scored: Sequence[rules.Scored]
) -> list[tuple[str, Decimal, str]]:
    """(code, value, UCUM unit) of scores and answers that are readings too."""
    values = {it.code: it.value for it in scored}
    found = [
        (score.measure, values[score.code], score.unit)
        for score in form.scores
        if score.measure is not None
    ]
    for item in form.items:
        if item.measure is not None and item.unit is not None and item.key in answers:
            found.append((item.measure, Decimal(answers[item.key][0]), item.unit))
    return found


async def _call(
    session: AsyncSession, response: QuestionnaireResponse, alert: Alert, now: datetime
) -> None:
    """Have somebody look: what the answer was stands in the response, not in the reason."""
    task = programme.Task(
        kind=WorklistItemKind.ALERT,
        cause_key=f"questionnaire:{response.id}:{alert.when.key}",
        reason=alert.reason.text,
        priority=alert.priority,
        due_at=now + timedelta(hours=alert.due_hours),
        subject_kind=SUBJECT,
        subject_id=response.id,
    )
    await programme.open_item(session, member_id=response.member_id, task=task, now=now)
