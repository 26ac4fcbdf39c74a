"""The mutation `offerAlternativeTask`, and what it accepts."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Self
from uuid import UUID

import strawberry

from app.errors import NotFound
from app.events import Event
from app.graphql.errors import UserError
from app.graphql.ids import Kind, decode, encode, parse
from app.graphql.node import Info
from app.health_tasks import alternatives, queries, rules
from app.health_tasks.graphql import HealthTask
from app.texts import Text
from app.worklist.graphql import ACTING

_NEXT_PERIOD_DAYS = 31
"""The longest that another task has to wait for its first period."""


@strawberry.input
class OfferAlternativeTaskInput:
    request_id: UUID
    task_id: strawberry.ID = strawberry.field(description="Of the running period.")
    template_code: str = strawberry.field(description="Of the same period: `breathing`.")
    reason: str = strawberry.field(
        description=f"Why; at most {alternatives.REASON_LENGTH_MAX} characters."
    )


@strawberry.type
class OfferAlternativeTaskPayload:
    replayed: bool
    task: HealthTask = strawberry.field(description="The other one, in its first period.")


OfferAlternativeTaskResult = Annotated[
    OfferAlternativeTaskPayload | UserError, strawberry.union("OfferAlternativeTaskResult")
]


@strawberry.type(description="What may take the place of a task, at its reward.")
class AlternativeTask:
    template_code: str = strawberry.field(description="For `offerAlternativeTask`.")
    title: str
    kind: rules.TaskKind
    verification: rules.Verification
    target: Decimal = strawberry.field(description="In `unit`.")
    unit: str = strawberry.field(description="UCUM.")
    starts_on: date = strawberry.field(
        description="First day of its first period, if it were offered now."
    )

    @classmethod
    def of(cls, found: alternatives.Choice, locale: str) -> Self:
        template = found.template
        return cls(
            template_code=template.code,
            title=Text(zh=template.title.zh, en=template.title.en).to(locale),
            kind=template.kind,
            verification=template.verification,
            target=template.target,
            unit=template.unit,
            starts_on=found.starts_on,
        )


@strawberry.type
class HealthTasksQuery:
    @strawberry.field(
        description="What `offerAlternativeTask` accepts for a task now: none when it cannot be "
        "replaced; null for what does not exist or is not yours to see. Staff only."
    )
    async def alternative_tasks(
        self, info: Info, task_id: strawberry.ID
    ) -> list[AlternativeTask] | None:
        context = info.context
        _ = context.require_role(*ACTING)
        named = parse(task_id)
        if named is None or named.kind is not Kind.TASK:
            return None
        if not await context.may_see(named.owner_id):
            return None
        member_id, assignment_id, starts_on = named.parts
        assert isinstance(member_id, UUID) and isinstance(assignment_id, UUID)
        assert isinstance(starts_on, date)
        async with context.db.read() as reading:
            found = await alternatives.choices(
                reading,
                member_id=member_id,
                assignment_id=assignment_id,
                starts_on=starts_on,
                now=context.now,
            )
        if found is None:
            return None
        return [AlternativeTask.of(choice, context.locale) for choice in found]


@strawberry.type
class HealthTasksMutation:
    @strawberry.mutation(
        description="Another task in place of one that the member cannot do, at the same reward: "
        "from this period on when nothing was done in it, else from the next. Staff only. "
        "Codes: NOT_FOUND, STATE_INVALID, NOT_ELIGIBLE, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def offer_alternative_task(
        self, info: Info, input: OfferAlternativeTaskInput
    ) -> OfferAlternativeTaskResult:
        context = info.context
        _ = context.require_role(*ACTING)
        named = decode(input.task_id, Kind.TASK, field="taskId")
        member_id, assignment_id, starts_on = named.parts
        if not await context.may_see(named.owner_id):
            raise NotFound(field="taskId")
        assert isinstance(member_id, UUID) and isinstance(assignment_id, UUID)
        assert isinstance(starts_on, date)
        async with context.db.transaction() as session:
            offered = await alternatives.offer(
                session,
                staff_id=context.staff_id,
                request_id=input.request_id,
                member_id=member_id,
                assignment_id=assignment_id,
                starts_on=starts_on,
                template_code=input.template_code,
                reason=input.reason,
                now=context.now,
            )
            task = await queries.task(
                await session.connection(),
                member_id=member_id,
                assignment_id=offered.assignment_id,
                starts_on=offered.starts_on,
                now=context.now,
                own=False,
                ahead=_NEXT_PERIOD_DAYS,
            )
            if task is None:  # without the member's consent; nothing of it stays
                raise NotFound(field="taskId")
        shown = HealthTask.of(member_id, task, context.locale)
        context.events.publish(
            Event(member_id, "task", encode(Kind.TASK, *named.parts)),
            Event(member_id, "task", shown.id),
        )
        return OfferAlternativeTaskPayload(replayed=offered.replayed, task=shown)
