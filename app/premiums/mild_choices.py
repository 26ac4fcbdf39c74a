"""What the improvement of a mild condition shall bring its member (PRM-5)."""

from datetime import datetime
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, UserError
from app.members import requests
from app.members.models import Member
from app.premiums import mild_conditions, windows
from app.premiums.benefit_models import MildConditionCase, MildConditionChoice
from app.premiums.benefit_rules import CaseState
from app.premiums.facts import MildChoice
from app.premiums.mild_conditions import CaseNotCovered
from app.premiums.models import Policy
from app.premiums.pricing_rules import MildConditionImprovement
from app.texts import Text


class ChoiceTooLate(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="判断改善的保险期已经结束，不能再选择。",
                en="The term in which the improvement was judged has ended; there is nothing to "
                "choose any more.",
            ),
            field="caseId",
        )


class NothingToChoose(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.NOT_ELIGIBLE,
            Text(
                zh="你的产品没有这项改善奖励。",
                en="Your product has no reward for this improvement.",
            ),
            field="choice",
        )


async def choose(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    case_id: UUID,
    choice: MildChoice,
    chosen_by: UUID,
    now: datetime,
) -> tuple[MildConditionCase, bool]:
    """What an improvement shall bring (PRM-5), as long as the term has not ended in which the
    months close that it is judged by; the case, and whether this request was answered before.

    Raises NotFound, CaseNotCovered, ChoiceTooLate, NothingToChoose, RequestReused.
    """
    case = await mild_conditions.lock(session, member_id, case_id)
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="chooseMildConditionReward",
        values={"caseId": case_id, "choice": choice},
        result=case_id,
        now=now,
    )
    if earlier is not None:
        return case, True
    if case.state == CaseState.NOT_COVERED:
        raise CaseNotCovered
    policy = await session.get_one(Policy, (member_id, case.policy_id))
    member = await session.get_one(Member, member_id)
    today = civil_time.local_date(now, civil_time.zone(member.time_zone))
    term = await mild_conditions.running_term(session, policy, today=today)
    if policy.state != "IN_FORCE":
        raise ChoiceTooLate
    product = await mild_conditions.product_of(session, policy.product_version_id)
    rule = next((it for it in product.rules if isinstance(it, MildConditionImprovement)), None)
    if rule is None:
        raise NothingToChoose
    window = windows.since(case.triggered_on, months=rule.months, end_months=rule.end_months)
    if window.months[-1] < windows.month_number(term.starts_on):
        raise ChoiceTooLate
    newest = (
        await session.exec(
            select(MildConditionChoice)
            .where(
                MildConditionChoice.member_id == member_id, MildConditionChoice.case_id == case_id
            )
            .order_by(col(MildConditionChoice.place).desc())
            .limit(1)
        )
    ).one_or_none()
    if newest is None or newest.choice != choice:
        session.add(
            MildConditionChoice(
                member_id=member_id,
                case_id=case_id,
                place=newest.place + 1 if newest else 1,
                choice=choice.value,
                chosen_at=now,
                chosen_by=chosen_by,
            )
        )
    return case, False
