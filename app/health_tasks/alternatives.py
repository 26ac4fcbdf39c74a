"""Another task in place of one that a member cannot do, at the same reward (TSK-8)."""

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Date, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, NotFound, UserError
from app.health_tasks import rules, service
from app.health_tasks.caps import OF_FAMILY, Limits
from app.health_tasks.models import CheckIn, Task, TaskAssignment
from app.health_tasks.queries import CONSENT, consent_of
from app.health_tasks.templates import Template, published
from app.ids import new_id
from app.members import requests
from app.members.models import Member
from app.members.rules import shows_health
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


class Choice(NamedTuple):
    """What may take the place of a task, and from which day on when it were offered now."""

    template: Template
    starts_on: date


_FACTS = text(f"""
select a.period, a.starts_on, a.ends_on, a.ended_at, members.time_zone, {CONSENT} as consent,
  array(select row(o.template_code, o.ends_on) from task_assignments o
    where o.member_id = a.member_id and o.ended_at is null) as asked,
  exists (select from checkins c where c.member_id = a.member_id and c.assignment_id = a.id
    and c.starts_on = :starts_on) as used
from task_assignments a join members using (member_id)
where a.member_id = :member_id and a.id = :assignment_id
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("assignment_id", type_=Uuid),
    bindparam("starts_on", type_=Date),
)


async def choices(
    connection: AsyncConnection,
    *,
    member_id: UUID,
    assignment_id: UUID,
    starts_on: date,
    now: datetime,
) -> list[Choice] | None:
    """What `offer` would accept for the task of this period, in the order of the data file;
    none when it cannot be replaced, None when there is no such task to be seen."""
    keys = {"member_id": member_id, "assignment_id": assignment_id, "starts_on": starts_on}
    row = (await connection.execute(_FACTS, keys)).one_or_none()
    span = _span(row, starts_on) if row is not None else None
    if row is None or span is None or not shows_health(consent_of(row.consent), own=False):
        return None
    today = civil_time.local_date(now, civil_time.zone(row.time_zone))
    begins = _begins(rules.Period(row.period), span, today, used=row.used)
    if not _is_running(row, span, today) or begins is None:
        return []
    asked = {code for code, ends_on in row.asked if ends_on is None or ends_on >= today}
    return [
        Choice(template, begins)
        for template in newest().values()
        if _fits(template, row.period, asked)
    ]


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
    if not _is_running(old, span, today):
        raise NotReplaceable
    template = await _alternative(session, old, template_code, today)
    begins = await _make_room(session, old, span, today)
    # What comes once was not done, and cannot be done for an earlier day any more.
    is_once = old.period == rules.Period.ONCE
    old.ends_on, old.ended_at = (old.starts_on if is_once else begins) - _DAY, now
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


def _span(old: Any, starts_on: date) -> rules.Span | None:
    """The period of an assignment that begins on this day."""
    found = rules.period_of(
        rules.Period(old.period), starts_on, assigned_from=old.starts_on, assigned_to=old.ends_on
    )
    return found if found is not None and found.starts_on == starts_on else None


def _is_running(old: Any, span: rules.Span, today: date) -> bool:
    return old.ended_at is None and today in span


def _begins(period: rules.Period, span: rules.Span, today: date, *, used: bool) -> date | None:
    """The first day of the other task; None when something was done that only comes once."""
    is_once = period is rules.Period.ONCE
    if used:
        return None if is_once else span.ends_on + _DAY
    return today if is_once else span.starts_on


def newest() -> Mapping[str, Template]:
    """The newest version of each template, by code."""
    found: dict[str, Template] = {}
    for template in published().values():
        if template.code not in found or template.version > found[template.code].version:
            found[template.code] = template
    return found


def _fits(template: Template, period: str, asked: Collection[str]) -> bool:
    ticked = template.verification not in (rules.Verification.DEVICE, rules.Verification.FACE)
    return template.period == period and template.code not in asked and ticked


async def _alternative(
    session: AsyncSession, old: TaskAssignment, code: str, today: date
) -> Template:
    """Raises NotFound, NotAlternative."""
    template = newest().get(code)
    if template is None:
        raise NotFound(field="templateCode")
    found = await session.exec(
        select(TaskAssignment.template_code).where(
            TaskAssignment.member_id == old.member_id,
            col(TaskAssignment.ended_at).is_(None),
            col(TaskAssignment.ends_on).is_(None) | (col(TaskAssignment.ends_on) >= today),
        )
    )
    if not _fits(template, old.period, set(found)):
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
    is_used = used.one_or_none() is not None
    begins = _begins(rules.Period(old.period), span, today, used=is_used)
    if begins is None:
        raise NotReplaceable
    if task is not None and not is_used:
        await session.delete(task)
        await session.flush()
    return begins


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
    promised = old.rule_code.partition(OF_FAMILY)[0]
    return service.Promise(
        template.code,
        template.version,
        old.points,
        limits,
        rule_code=f"{promised}{OF_FAMILY}{template.code}",
    )
