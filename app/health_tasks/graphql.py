"""Tasks and check-ins as members see them."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Self
from uuid import UUID

import strawberry
from graphql import GraphQLError

from app import civil_time
from app.graphql import enums, plans
from app.graphql.executor import Rows
from app.graphql.facets import Facet, Profile, Reading
from app.graphql.ids import GlobalId, Kind, encode
from app.graphql.node import Fetch, Info
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.health_tasks import check_ins, day, queries, rules
from app.health_tasks.caps import OF_FAMILY
from app.health_tasks.templates import published
from app.points.graphql import CauseType, Key, PointsCause
from app.points.rules import CauseKind
from app.worklist.subjects import WorklistSubject

enums.register(rules.TaskKind, name="HealthTaskKind")
enums.register(
    rules.TaskState,
    {
        "IN_REVIEW": "A check-in waits for a decision.",
        "MISSED": "The period ended and nothing was done.",
        "DEVICE_SILENT": "Nothing arrived from the device; that is not the same as nothing done.",
    },
    name="HealthTaskState",
    description="The five kinds of no data are kept apart.",
)
enums.register(rules.CheckInState, {"IN_REVIEW": "Its points are pending until somebody decides."})
enums.register(
    rules.Verification,
    {"DEVICE": "Completed by readings alone; the app shows no tick."},
    description="What a check-in needs besides the tick.",
)

_KINDS = enums.by_value(rules.TaskKind)
_VERIFICATIONS = enums.by_value(rules.Verification)
_STATES = enums.by_value(rules.CheckInState)
_REASONS = enums.by_value(rules.Reason)


@strawberry.type
class CheckIn(PointsCause):
    state: rules.CheckInState
    occurred_at: datetime
    local_date: date = strawberry.field(
        description="The member's local day, fixed when it arrived."
    )
    value: Decimal | None = strawberry.field(
        description="In the task's unit; null for a plain tick."
    )
    points_awarded: int
    reason: strawberry.Private[rules.Reason]
    locale: strawberry.Private[str]
    note: strawberry.Private[str | None]

    @strawberry.field(description="Why this many points, or why none or not yet.")
    def explanation(self) -> str:
        text = rules.explanation(self.reason, points=self.points_awarded, note=self.note)
        return text.to(self.locale)

    @classmethod
    def of_row(cls, row: tuple[Any, ...], locale: str) -> Self:
        """Of a tuple as `day.CHECK_IN`."""
        id, state, occurred_at, local_date, value, points, reason, note = row
        return cls(
            id=id,
            state=rules.CheckInState(state),
            occurred_at=occurred_at,
            local_date=local_date,
            value=None if value is None else Decimal(value),
            points_awarded=int(points),
            reason=rules.Reason(reason),
            locale=locale,
            note=note,
        )

    @classmethod
    def of(cls, member_id: UUID, found: queries.LatestCheckIn, locale: str) -> Self:
        return cls(
            id=strawberry.ID(encode(Kind.CHECK_IN, member_id, found.id)),
            state=_STATES[found.state],
            occurred_at=found.occurred_at,
            local_date=found.local_date,
            value=found.value,
            points_awarded=found.points_awarded,
            reason=_REASONS[found.reason_code],
            locale=locale,
            note=found.decision_note,
        )


@strawberry.type(
    description="One task in one period. Tomorrow's has another id, so that progress never "
    "leaks from one day into the next."
)
class HealthTask(WorklistSubject):
    title: str
    kind: rules.TaskKind
    verification: rules.Verification
    unit: str = strawberry.field(description="UCUM: `{steps}`, `min`.")
    target: Decimal = strawberry.field(description="In `unit`.")
    done: Decimal = strawberry.field(description="In `unit`; may exceed `target`.")
    points: int = strawberry.field(description="What finishing it pays.")
    state: rules.TaskState
    starts_on: date = strawberry.field(description="First and last local day of its period.")
    ends_on: date
    due_at: datetime = strawberry.field(description="End of its period; later needs evidence.")
    latest_check_in: CheckIn | None = strawberry.field(description="By `occurredAt`.")

    @classmethod
    def of(cls, member_id: UUID, task: queries.TaskView, locale: str) -> Self:
        assignment, latest = task.assignment, task.latest
        starts_on = task.span.starts_on
        return cls(
            id=strawberry.ID(encode(Kind.TASK, member_id, assignment.id, starts_on)),
            title=assignment.title_zh if locale[:2] == "zh" else assignment.title_en,
            kind=_KINDS[assignment.kind],
            verification=_VERIFICATIONS[assignment.verification],
            unit=assignment.unit,
            target=task.target,
            done=task.done,
            points=assignment.points,
            state=task.state,
            starts_on=starts_on,
            ends_on=task.span.ends_on,
            due_at=task.due_at,
            latest_check_in=CheckIn.of(member_id, latest, locale) if latest else None,
        )


class DayTasks(Rows):
    """The tasks of a day, as `day.TASK`."""

    layout = day.TASK

    def __init__(self, rows: list[tuple[Any, ...]], locale: str) -> None:
        self.rows = rows
        self._locale = locale

    def first(self, count: int) -> "DayTasks":
        return DayTasks(self.rows[:count], self._locale)

    def made(self, row: tuple[Any, ...]) -> HealthTask:
        found = dict(zip(self.layout.attributes, row, strict=True))
        del found[None]
        latest = found["latest_check_in"]
        return HealthTask(
            **found
            | {
                "kind": rules.TaskKind(found["kind"]),
                "verification": rules.Verification(found["verification"]),
                "state": rules.TaskState(found["state"]),
                "latest_check_in": latest and CheckIn.of_row(latest, self._locale),
            }
        )


plans.LISTED[HealthTask] = DayTasks


@strawberry.type
class TasksOfMember:
    """The fields of `Member` that are kept here."""

    profile: strawberry.Private[Profile]
    day_tasks: strawberry.Private[DayTasks]

    @strawberry.field(
        description="What is to be done today, most urgent first. A plain list because a day "
        "is short; `first` is at most 100."
    )
    def tasks_today(self, first: int | None = PAGE) -> list[HealthTask]:
        return self.day_tasks.first(page_size(first))  # type: ignore[return-value]

    @strawberry.field(
        description="Tasks whose period touches these local days, both included; so that an "
        "offline phone knows tomorrow's ids. At most 14 days ahead."
    )
    async def tasks(
        self,
        info: Info,
        from_date: date,
        to_date: date,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[HealthTask]:
        context = info.context
        member_id = self.profile.member_id
        zone = civil_time.zone(self.profile.time_zone)
        days = _days(from_date, to_date, today=civil_time.local_date(context.now, zone))
        size = page_size(first)
        async with context.db.read() as reading:
            rows = await queries.tasks(
                reading,
                member_id=member_id,
                days=days,
                after=read_cursor(after, date.fromisoformat, UUID),  # type: ignore[arg-type]
                limit=size + 1,
                now=context.now,
                own=context.is_own(member_id),
            )
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda task: HealthTask.of(member_id, task, context.locale),
            key=lambda task: (task.span.starts_on, task.assignment.id),
        )


def _days(from_date: date, to_date: date, *, today: date) -> rules.Span:
    """The days asked for. Raises GraphQLError naming the argument at fault."""
    last = today + timedelta(days=queries.AHEAD_MAX_DAYS)
    fault = None
    if to_date > last:
        fault = f"`toDate` is {to_date}; it must be at most {last}, 14 days ahead."
    elif from_date > to_date:
        fault = f"`fromDate` is {from_date}; it must be at most `toDate`, {to_date}."
    if fault is not None:
        raise GraphQLError(fault, extensions={"code": "BAD_REQUEST"})
    return rules.Span(from_date, to_date)


def _today(value: Any, reading: Reading) -> DayTasks:
    profile, locale = reading.profile, reading.locale
    found = day.today(
        value,
        owner=reading.owner,
        zone=civil_time.zone(profile.time_zone),
        day=reading.today,
        own=reading.own,
        in_chinese=locale[:2] == "zh",
    )
    return DayTasks(found, locale)


FACETS = (Facet(field="tasksToday", attribute="day_tasks", sql=day.TODAY, read=_today),)


async def _fetch_task(info: Info, id: GlobalId) -> HealthTask | None:
    member_id, assignment_id, starts_on = id.parts
    assert isinstance(member_id, UUID) and isinstance(assignment_id, UUID)
    assert isinstance(starts_on, date)
    async with info.context.db.read() as reading:
        task = await queries.task(
            reading,
            member_id=member_id,
            assignment_id=assignment_id,
            starts_on=starts_on,
            now=info.context.now,
            own=info.context.is_own(member_id),
        )
    return HealthTask.of(member_id, task, info.context.locale) if task else None


async def _load_check_ins(info: Info, keys: Sequence[Key]) -> Mapping[Key, CheckIn]:
    async with info.context.db.read() as reading:
        found = await check_ins.find(reading, keys, is_own=info.context.is_own)
    locale = info.context.locale
    return {key: CheckIn.of(key[0], check_in, locale) for key, check_in in found.items()}


async def _fetch_check_in(info: Info, id: GlobalId) -> CheckIn | None:
    key = (id.owner_id, id.key)
    return (await _load_check_ins(info, [key])).get(key)


@lru_cache(maxsize=256)
def title_of_rule(code: str, locale: str) -> str | None:
    """Of the task that a rule of this code pays for."""
    done = code.rpartition(OF_FAMILY)[2]
    titles = [template.title for template in published().values() if template.code == done]
    if not titles:
        return None
    return titles[-1].zh if locale[:2] == "zh" else titles[-1].en


CAUSES: dict[str, CauseType] = {
    CauseKind.CHECK_IN: CauseType(Kind.CHECK_IN, CheckIn, _load_check_ins)
}
"""For the points' `CAUSE_TYPES`."""


NODE_FETCHERS: dict[Kind, Fetch] = {
    Kind.TASK: _fetch_task,
    Kind.CHECK_IN: _fetch_check_in,
}
