"""A cover that lapsed is taken up again, within the product's days and the term that it had."""

from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, NotFound, UserError
from app.members import service as members
from app.members.models import Member
from app.premiums import enrolment, history, invoices, terms
from app.premiums.applications import AlreadyInsured, check_not_insured
from app.premiums.history import Actor
from app.premiums.lifecycle import PolicyEventKind
from app.premiums.models import Policy, PolicyTerm
from app.texts import Text
from app.worklist.rules import REASON_LENGTH_MAX, is_sayable
from app.worklist.service import TextInvalid

__all__ = ["AlreadyInsured", "TooLate", "reinstate"]


class TooLate(UserError):
    def __init__(self, days: int) -> None:
        super().__init__(
            ErrorCode.TOO_OLD,
            Text(
                zh=f"只能在失效后 {days} 天内、原保险期间结束前复效，请重新申请。",
                en=f"A cover is taken up again within {days} days and within its term; apply anew.",
            ),
            field="contractId",
        )


async def reinstate(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    policy_id: UUID,
    reason: str,
    now: datetime,
) -> tuple[Policy, bool]:
    """Have a lapsed policy be in force again from today; what was not paid is asked for again.
    The next premium sees that the member had left (PRM-9). The policy, and whether this request
    was answered before.

    Raises NotFound, TextInvalid, PolicyStateInvalid, TooLate, AlreadyInsured, RequestReused.
    """
    if await session.get(Policy, (member_id, policy_id)) is None:
        raise NotFound(field="contractId")
    # First, as an application does it: one of the two finds the other.
    member = await members.lock(session, member_id)
    policy = await history.lock(session, member_id, policy_id)
    values = {"memberId": member_id, "policyId": policy_id, "reason": reason}
    if await history.claim(
        session, staff_id, request_id, "reinstatePolicy", policy_id, values, now
    ):
        return policy, True
    if not is_sayable(reason, length_max=REASON_LENGTH_MAX):
        raise TextInvalid(field="reason", length_max=REASON_LENGTH_MAX)
    history.check(policy, PolicyEventKind.REINSTATED)
    product = (await terms.versions_of(session, [policy]))[policy.product_version_id]
    assert policy.ended_on is not None
    days = product.reinstatement.days if product.reinstatement else 0
    today = civil_time.local_date(now, civil_time.zone(member.time_zone))
    if today > policy.ended_on + timedelta(days=days) or policy.term_ends_at <= now:
        raise TooLate(days)
    await check_not_insured(session, member_id)
    policy.left_on, policy.ended_on = policy.ended_on, await _planned_end(session, policy, member)
    history.record(
        session,
        policy,
        PolicyEventKind.REINSTATED,
        by=Actor.staff(staff_id),
        reason=reason.strip(),
        now=now,
    )
    await invoices.revive(session, policy, product, time_zone=member.time_zone, now=now)
    await session.flush()
    await enrolment.ask_for_tasks(session, policy, product, member, starts_on=today, now=now)
    return policy, False


async def _planned_end(session: AsyncSession, policy: Policy, member: Member) -> date | None:
    """The last day of a cover that the member was going to stop before its term ends: the lapse
    came in between, and nothing later was asked for. None when the whole term is to be."""
    last = await session.exec(
        select(func.max(col(PolicyTerm.ends_on))).where(
            PolicyTerm.member_id == policy.member_id, PolicyTerm.policy_id == policy.id
        )
    )
    zone = civil_time.zone(member.time_zone)
    planned = civil_time.local_date(policy.term_ends_at - timedelta(seconds=1), zone)
    # A day less is no wish: the member may have moved to a zone further west.
    return planned if planned < last.one() - timedelta(days=1) else None
