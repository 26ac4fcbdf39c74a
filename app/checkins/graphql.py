"""The mutation `checkIn`."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import strawberry

from app.checkins import service
from app.checkins.evidence import Position
from app.checkins.examine import Sent
from app.errors import NotFound
from app.events import Event
from app.graphql.errors import UserError
from app.graphql.flat_inputs import flat, holding
from app.graphql.ids import Kind, decode
from app.graphql.node import Info
from app.health_tasks.graphql import CheckIn, HealthTask
from app.points.graphql import PointsAccount


@flat
@strawberry.input(description="Needs the consent LOCATION; stored coarsened.")
class LocationInput:
    latitude: Decimal = strawberry.field(description="Degrees, WGS 84.")
    longitude: Decimal
    accuracy_metres: Decimal


@holding(location=LocationInput)
@strawberry.input
class EvidenceInput:
    photo_key: str | None = strawberry.field(default=None, description="Key of an uploaded photo.")
    location: LocationInput | None = None


@holding(evidence=EvidenceInput)
@strawberry.input
class CheckInInput:
    request_id: UUID
    task_id: strawberry.ID
    occurred_at: datetime = strawberry.field(
        description="When it was done, not when it is sent; at most 30 days ago."
    )
    value: Decimal | None = strawberry.field(
        default=None,
        description="In the task's unit; leave out for a plain tick, which counts 1.",
    )
    note: str | None = strawberry.field(default=None, description="At most 500 characters.")
    evidence: EvidenceInput | None = None
    installation_id: UUID | None = strawberry.field(
        default=None, description="Made by the app at first start, as in `registerDevice`."
    )


@strawberry.type
class CheckInPayload:
    replayed: bool
    check_in: CheckIn
    task: HealthTask
    points: PointsAccount


CheckInResult = Annotated[CheckInPayload | UserError, strawberry.union("CheckInResult")]


@strawberry.type
class CheckInsMutation:
    @strawberry.mutation(
        description="Codes: NOT_FOUND, TASK_NOT_DUE, IN_FUTURE, TOO_OLD, VALUE_OUT_OF_RANGE, "
        "EVIDENCE_MISSING, CONSENT_MISSING, REQUEST_REUSED."
    )
    async def check_in(self, info: Info, input: CheckInInput) -> CheckInResult:
        context = info.context
        member_id = context.member_id
        done = await service.check_in(
            context.db,
            member_id=member_id,
            acted_by=context.viewer.member_id or member_id,
            sent=_sent(input, member_id),
            now=context.now,
        )
        task = HealthTask.of(member_id, done.task, context.locale)
        account = PointsAccount.after(info, member_id, done.balances)
        if not done.replayed:
            events = [Event(member_id, "task", task.id)]
            if done.check_in.points_awarded:
                events.append(Event(member_id, "points", account.id))
            context.events.publish(*events)
        latest = task.latest_check_in if done.task.latest is done.check_in else None
        return CheckInPayload(
            replayed=done.replayed,
            check_in=latest or CheckIn.of(member_id, done.check_in, context.locale),
            task=task,
            points=account,
        )


def _sent(input: CheckInInput, member_id: UUID) -> service.NewCheckIn:
    """Raises NotFound for an id that is no task of this member."""
    owner, assignment_id, starts_on = decode(input.task_id, Kind.TASK, field="taskId").parts
    if owner != member_id:
        raise NotFound(field="taskId")
    return service.NewCheckIn(
        request_id=input.request_id,
        assignment_id=assignment_id,  # type: ignore[arg-type]
        starts_on=starts_on,  # type: ignore[arg-type]
        occurred_at=input.occurred_at,
        value=input.value,
        note=input.note,
        evidence=_evidence(input.evidence, input.installation_id),
    )


def _evidence(sent: EvidenceInput | None, installation_id: UUID | None) -> Sent:
    place = sent.location if sent else None
    return Sent(
        photo_key=sent.photo_key if sent else None,
        position=Position(place.latitude, place.longitude, place.accuracy_metres)
        if place
        else None,
        installation_id=installation_id,
    )
