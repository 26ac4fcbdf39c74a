"""Asks members to do tasks, and moves their open periods with them when they travel."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ARRAY, Date, DateTime, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.health_tasks import rules
from app.health_tasks.caps import NO_LIMITS, Limits
from app.health_tasks.models import ParticipationMonth, Task, TaskAssignment, TaskTemplate
from app.health_tasks.templates import Template
from app.ids import new_id
from app.members.models import Member


class TemplateUnknown(LookupError):
    """No such template version is published."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a product version asks for and pays."""

    template: str
    version: int
    points: int
    limits: Limits = NO_LIMITS
    expires_after_months: int | None = None
    """Of its points; None is as all points of the product."""
    rule_code: str | None = None
    """None is the template's."""


@dataclass(frozen=True, slots=True)
class Replacing:
    """An assignment that takes the place of another."""

    id: UUID
    """The new one's."""
    replaces: UUID
    offered_by: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class Month:
    """A civil month in a zone."""

    first: date
    closes_at: datetime

    @classmethod
    def of(cls, day: date, zone: ZoneInfo) -> "Month":
        first = day.replace(day=1)
        return cls(first, civil_time.start_of_day(_next_month(first), zone))

    def following(self, zone: ZoneInfo) -> "Month":
        return Month.of(_next_month(self.first), zone)


async def assign(
    session: AsyncSession,
    *,
    member: Member,
    tasks: Sequence[Promise],
    product_version_id: UUID,
    expires_after_months: int,
    late_data_days: int,
    starts_on: date,
    now: datetime,
    second_person_above: int | None = None,
    replacing: Replacing | None = None,
) -> list[TaskAssignment]:
    """Ask a member, who has a wallet, to do these tasks from local day `starts_on` on; opens
    the first period of each. One that replaces another comes alone. Raises TemplateUnknown."""
    assert replacing is None or len(tasks) == 1
    known = await _templates(session, tasks)
    zone = civil_time.zone(member.time_zone)
    assignments = []
    for promise in tasks:
        template = known.get((promise.template, promise.version))
        if template is None:
            raise TemplateUnknown(f"{promise.template!r} version {promise.version}")
        assignment = _assignment(
            template,
            member_id=member.member_id,
            promise=promise,
            product_version_id=product_version_id,
            expires_after_months=expires_after_months,
            late_data_days=late_data_days,
            second_person_above=second_person_above,
            starts_on=starts_on,
            now=now,
        )
        if replacing is not None:
            assignment.id, assignment.replaces = replacing.id, replacing.replaces
            assignment.offered_by = replacing.offered_by
            assignment.offer_reason = replacing.reason
        assignments.append(assignment)
    session.add_all(assignments)
    await session.flush()
    session.add_all(_first_task(assignment, zone) for assignment in assignments)
    await session.flush()
    month = Month.of(starts_on, zone)
    row = month_row(member.member_id, month, now=now)
    await session.execute(insert(ParticipationMonth).values(row).on_conflict_do_nothing())
    return assignments


_LOCK_WALLET = text(
    "update wallets set version = version + 1 where member_id = :member_id"
).bindparams(bindparam("member_id", type_=Uuid))
_MOVE_TASKS = text("""
update tasks t set starts_at = moved.starts_at, due_at = moved.due_at
from unnest(:assignment_ids, :starts_on, :starts_at, :due_at)
  as moved (assignment_id, starts_on, starts_at, due_at)
where t.member_id = :member_id and t.assignment_id = moved.assignment_id
  and t.starts_on = moved.starts_on
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("assignment_ids", type_=ARRAY(Uuid)),
    bindparam("starts_on", type_=ARRAY(Date)),
    bindparam("starts_at", type_=ARRAY(DateTime(timezone=True))),
    bindparam("due_at", type_=ARRAY(DateTime(timezone=True))),
)


async def lock_wallet(session: AsyncSession, member_id: UUID) -> None:
    """Whoever has decided a check-in on what is about to change decides it again."""
    await session.execute(_LOCK_WALLET, {"member_id": member_id})


async def rezone(session: AsyncSession, *, member_id: UUID, zone: ZoneInfo, now: datetime) -> None:
    """Move the instants of a member's open periods to another zone. The civil days stay: what
    the clock has closed is not opened again, and a check-in for it still counts."""
    await lock_wallet(session, member_id)
    open_tasks = (
        await session.exec(
            select(col(Task.assignment_id), col(Task.starts_on), col(Task.ends_on)).where(
                Task.member_id == member_id, col(Task.closed_at).is_(None)
            )
        )
    ).all()
    await session.execute(
        _MOVE_TASKS,
        {
            "member_id": member_id,
            "assignment_ids": [row[0] for row in open_tasks],
            "starts_on": [row[1] for row in open_tasks],
            "starts_at": [civil_time.start_of_day(row[1], zone) for row in open_tasks],
            "due_at": [civil_time.end_of_day(row[2], zone) for row in open_tasks],
        },
    )
    open_months = await session.exec(
        select(ParticipationMonth).where(
            ParticipationMonth.member_id == member_id,
            col(ParticipationMonth.closed_at).is_(None),
        )
    )
    for month in open_months:
        month.closes_at = Month.of(month.month, zone).closes_at
        month.changed_at = now
    await session.flush()


def cause_key(assignment_id: UUID, starts_on: date, revision: int = 0) -> str:
    """Of what a task pays, once a period: revision 0. When that was refused, and the task is
    done after all, the next revision pays."""
    return f"{assignment_id}:{starts_on}:{revision}"


def month_row(member_id: UUID, month: Month, *, now: datetime) -> dict[str, Any]:
    """An open month, as a row to insert."""
    return {
        "member_id": member_id,
        "month": month.first,
        "due": 0,
        "done": 0,
        "percent": None,
        "paused": 0,
        "closes_at": month.closes_at,
        "closed_at": None,
        "changed_at": now,
    }


async def _templates(
    session: AsyncSession, tasks: Sequence[Promise]
) -> dict[tuple[str, int], Template]:
    codes = [promise.template for promise in tasks]
    rows = await session.exec(select(TaskTemplate).where(col(TaskTemplate.code).in_(codes)))
    return {(row.code, row.version): Template.model_validate(row.definition) for row in rows}


def _assignment(
    template: Template,
    *,
    member_id: UUID,
    promise: Promise,
    product_version_id: UUID,
    expires_after_months: int,
    late_data_days: int,
    second_person_above: int | None,
    starts_on: date,
    now: datetime,
) -> TaskAssignment:
    limits, data = promise.limits, template.data
    ends_on = None
    if template.within_days is not None:
        ends_on = starts_on + timedelta(days=template.within_days - 1)
    return TaskAssignment(
        member_id=member_id,
        id=new_id(now),
        template_code=template.code,
        template_version=template.version,
        title_zh=template.title.zh,
        title_en=template.title.en,
        kind=template.kind,
        period=template.period,
        target=template.target,
        unit=template.unit,
        per_day=template.per_day,
        value_min=template.value.minimum,
        value_max=template.value.maximum,
        verification=template.verification,
        data_code=data.code if data else None,
        data_at_least=data.at_least if data else None,
        data_at_most=data.at_most if data else None,
        data_self_reported=data is not None and data.self_reported,
        points=promise.points,
        points_per_day_max=limits.per_day,
        points_per_month_max=limits.per_month,
        points_per_year_max=limits.per_year,
        points_per_member_max=limits.per_member,
        points_of_rule_max=limits.of_rule,
        points_of_rule_per=limits.rule_period,
        expires_after_months=promise.expires_after_months or expires_after_months,
        late_data_days=late_data_days,
        second_person_above=second_person_above,
        product_version_id=product_version_id,
        rule_code=promise.rule_code or template.code,
        starts_on=starts_on,
        ends_on=ends_on,
        created_at=now,
    )


def _first_task(assignment: TaskAssignment, zone: ZoneInfo) -> Task:
    period = rules.Period(assignment.period)
    span = rules.period_of(
        period,
        assignment.starts_on,
        assigned_from=assignment.starts_on,
        assigned_to=assignment.ends_on,
    )
    assert span is not None
    return Task(
        member_id=assignment.member_id,
        assignment_id=assignment.id,
        starts_on=span.starts_on,
        ends_on=span.ends_on,
        starts_at=civil_time.start_of_day(span.starts_on, zone),
        due_at=civil_time.end_of_day(span.ends_on, zone),
        target=rules.target_in(assignment.target, period, span),
        done=Decimal(0),
        points=assignment.points,
        state=rules.TaskState.OPEN,
        points_awarded=0,
        participated=False,
    )


def _next_month(first: date) -> date:
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1)
