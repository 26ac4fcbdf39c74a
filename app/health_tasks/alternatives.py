"""Another task in place of one that a member cannot do, at the same reward (TSK-8)."""

from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, NotFound, UserError
from app.health_tasks import rules, service
from app.health_tasks.caps import Limits
from app.health_tasks.models import CheckIn, Task, TaskAssignment
from app.health_tasks.templates import Template, published
from app.ids import new_id
from app.members import requests
from app.members.models import Member
from app.texts import Text

REASON_LENGTH_MAX = 500
_DAY = timedelta(days=1)


class NotReplaceable(UserError):
    """Only what runs and is not done can be replaced, and once."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="只能替换正在进行且未完成的任务。",
                en="Only a task that runs and is not done can be replaced, and only once.",
            ),
            field="taskId",
        )


class NotAlternative(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.NOT_ELIGIBLE,
            Text(
                zh="替代任务须周期相同、能由会员自行打卡，且会员尚未有这项任务。",
                en="An alternative has the same period, is ticked by the member, and is not "
                "asked of them already.",
            ),
            field="templateCode",
        )


class ReasonInvalid(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"请填写 1 至 {REASON_LENGTH_MAX} 个字符。",
                en=f"Write something, at most {REASON_LENGTH_MAX} characters.",
            ),
            field="reason",
        )


class Replaced(NamedTuple):
    assignment_id: UUID
    """The new one."""
    starts_on: date
    """First day of its first period."""
    replayed: bool


async def offer(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    assignment_id: UUID,
    starts_on: date,
    template_code: str,
    reason: str,
    now: datetime,
) -> Replaced:
    """Replace the task of the running period, or what follows it: when something was done in
    this period already, the other task begins with the next one.

    Raises NotFound, NotReplaceable, NotAlternative, ReasonInvalid, RequestReused.
    """
    await service.lock_wallet(session, member_id)
    new_key = new_id(now)
    values = {"memberId": member_id, "assignmentId": assignment_id, "startsOn": starts_on}
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="offerAlternativeTask",
        values={**values, "template": template_code, "reason": reason},
        result=new_key,
        now=now,
    )
    if earlier is not None:
        made = await session.get_one(TaskAssignment, (member_id, earlier))
        return Replaced(made.id, made.starts_on, replayed=True)
    if not reason.strip() or len(reason) > REASON_LENGTH_MAX or "\0" in reason:
        raise ReasonInvalid
    member = await session.get(Member, member_id)
    old = await session.get(TaskAssignment, (member_id, assignment_id), with_for_update=True)
    if member is None or old is None:
        raise NotFound(field="taskId")
    today = civil_time.local_date(now, civil_time.zone(member.time_zone))
    span = _span(old, starts_on)
    if span is None:
        raise NotFound(field="taskId")
    if old.ended_at is not None or today not in span:
        raise NotReplaceable
    template = await _alternative(session, old, template_code, today)
    begins = await _make_room(session, old, span, today)
    old.ends_on, old.ended_at = begins - _DAY, now
    await session.flush()
    [made] = await service.assign(
        session,
        member=member,
        tasks=[_promise(old, template)],
        product_version_id=old.product_version_id,
        expires_after_months=old.expires_after_months,
        late_data_days=old.late_data_days,
        second_person_above=old.second_person_above,
        starts_on=begins,
        now=now,
        replacing=service.Replacing(new_key, old.id, staff_id, reason.strip()),
    )
    return Replaced(made.id, made.starts_on, replayed=False)


def _span(old: TaskAssignment, starts_on: date) -> rules.Span | None:
    """The period that begins on this day."""
    found = rules.period_of(
        rules.Period(old.period), starts_on, assigned_from=old.starts_on, assigned_to=old.ends_on
    )
    return found if found is not None and found.starts_on == starts_on else None


async def _alternative(
    session: AsyncSession, old: TaskAssignment, code: str, today: date
) -> Template:
    """The newest version. Raises NotFound, NotAlternative."""
    versions = [it for it in published().values() if it.code == code]
    if not versions:
        raise NotFound(field="templateCode")
    template = max(versions, key=lambda it: it.version)
    asked = await session.exec(
        select(TaskAssignment).where(
            TaskAssignment.member_id == old.member_id,
            TaskAssignment.template_code == code,
            col(TaskAssignment.ended_at).is_(None),
        )
    )
    is_asked = any(it.ends_on is None or it.ends_on >= today for it in asked)
    ticked = template.verification not in (rules.Verification.DEVICE, rules.Verification.FACE)
    if template.period != old.period or is_asked or not ticked:
        raise NotAlternative
    return template


async def _make_room(
    session: AsyncSession, old: TaskAssignment, span: rules.Span, today: date
) -> date:
    """The first day of the other task. Raises NotReplaceable."""
    task = await session.get(Task, (old.member_id, old.id, span.starts_on))
    used = await session.exec(
        select(col(CheckIn.id))
        .where(
            CheckIn.member_id == old.member_id,
            CheckIn.assignment_id == old.id,
            CheckIn.starts_on == span.starts_on,
        )
        .limit(1)
    )
    is_once = old.period == rules.Period.ONCE
    if used.one_or_none() is not None:
        if is_once:
            raise NotReplaceable
        return span.ends_on + _DAY
    if task is not None:
        await session.delete(task)
        await session.flush()
    return today if is_once else span.starts_on


def _promise(old: TaskAssignment, template: Template) -> service.Promise:
    """The same reward, within the same caps."""
    limits = Limits(
        per_day=old.points_per_day_max,
        per_month=old.points_per_month_max,
        per_year=old.points_per_year_max,
        per_member=old.points_per_member_max,
        of_rule=old.points_of_rule_max,
        rule_period=old.points_of_rule_per,
    )
    return service.Promise(template.code, template.version, old.points, limits)
