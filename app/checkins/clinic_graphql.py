"""The mutation `recordClinicalMeasurements`: what employees and partner clinics measured."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import strawberry
from sqlalchemy import Uuid, bindparam, text

from app.checkins import recording
from app.checkins.recording import Sender
from app.checkins.recording_graphql import RejectedItem, publish, rejected_items
from app.errors import NotFound
from app.graphql.errors import UserError
from app.graphql.ids import Kind, decode, encode
from app.graphql.node import Info
from app.measurements import queries
from app.measurements.enums import Context as MeasurementContext
from app.measurements.enums import MeasurementCode, Method
from app.measurements.graphql import Measurement
from app.measurements.kinds import Channel
from app.measurements.rules import Reading
from app.members.rules import StaffRole
from app.members.sign_in import audit

_MAY = (StaffRole.HEALTH_MANAGER, StaffRole.ADMIN, StaffRole.CLINIC)
_EXISTS = text(
    "select 1 from members where member_id = :member_id and erased_at is null"
).bindparams(bindparam("member_id", type_=Uuid))


@strawberry.input
class ClinicalMeasurementInput:
    code: MeasurementCode
    value: Decimal
    unit: str = strawberry.field(description="UCUM, any unit the code accepts: `mmol/L`, `mg/dL`.")
    measured_at: datetime
    device_id: str | None = strawberry.field(
        default=None, description="What measured it, as its serial number."
    )
    context: MeasurementContext | None = None
    confirmed: bool = strawberry.field(
        default=False, description="An extreme value that was measured again."
    )


@strawberry.input
class RecordClinicalMeasurementsInput:
    request_id: UUID
    member_id: strawberry.ID
    measurements: list[ClinicalMeasurementInput] = strawberry.field(
        description="1 to 1000. Systolic and diastolic of one instant and device belong together."
    )


@strawberry.type
class RecordClinicalMeasurementsPayload:
    replayed: bool
    accepted: int = strawberry.field(description="How many were new and kept.")
    duplicates: int
    rejected: list[RejectedItem]
    measurements: list[Measurement] = strawberry.field(description="What was new, as it is kept.")


RecordClinicalMeasurementsResult = Annotated[
    RecordClinicalMeasurementsPayload | UserError,
    strawberry.union("RecordClinicalMeasurementsResult"),
]


@strawberry.type
class ClinicMutation:
    @strawberry.mutation(
        description="By a health manager of the member, or by a partner clinic with its key; "
        "audited. Codes: NOT_FOUND, BATCH_TOO_LARGE, CONSENT_MISSING, REQUEST_REUSED. A bad "
        "reading is rejected on its own."
    )
    async def record_clinical_measurements(
        self, info: Info, input: RecordClinicalMeasurementsInput
    ) -> RecordClinicalMeasurementsResult:
        context = info.context
        member_id, sender = await _sender(info, input.member_id)
        async with context.db.transaction() as session:
            done = await recording.record_measurements(
                session,
                sender=sender,
                request_id=input.request_id,
                readings=[_reading(it, sender) for it in input.measurements],
                now=context.now,
                owner=sender.acted_by,
                operation="recordClinicalMeasurements",
            )
        if not done.replayed:
            tasks = [encode(Kind.TASK, member_id, *key) for key in done.tasks]
            publish(info, member_id, tasks, done)
        async with context.db.read() as reading:
            rows = await queries.measurements(reading, member_id, done.readings)
        return RecordClinicalMeasurementsPayload(
            replayed=done.replayed,
            accepted=done.accepted,
            duplicates=done.duplicates,
            rejected=rejected_items(done, context.locale),
            measurements=[Measurement.from_row(row) for row in rows],
        )


async def _sender(info: Info, id: str) -> tuple[UUID, Sender]:
    """The member, and who records: an employee who may see them, or a clinic, which gets the
    member's id from the member; that they do is written down. Raises NotFound, Unauthenticated,
    Forbidden."""
    context = info.context
    staff_id = context.require_role(*_MAY)
    member_id = decode(id, Kind.MEMBER, field="memberId").owner_id
    if context.viewer.roles & {StaffRole.HEALTH_MANAGER, StaffRole.ADMIN}:
        if not await context.may_see(member_id) or context.is_own(member_id):
            raise NotFound(field="memberId")
        return member_id, Sender(member_id, staff_id, Channel.STAFF)
    async with context.db.read() as reading:
        if await reading.scalar(_EXISTS, {"member_id": member_id}) is None:
            raise NotFound(field="memberId")
    await audit(context, [member_id])
    return member_id, Sender(member_id, staff_id, Channel.CLINIC)


def _reading(sent: ClinicalMeasurementInput, sender: Sender) -> Reading:
    """A source of its own, so that nobody else's readings are taken for the same."""
    source = f"{sender.channel.value.lower()}:{sender.acted_by}"
    return Reading(
        code=sent.code,
        value=sent.value,
        unit=sent.unit,
        measured_at=sent.measured_at,
        method=Method.CLINICAL,
        source_id=f"{source}:{sent.device_id}" if sent.device_id else source,
        context=sent.context,
        confirmed=sent.confirmed,
    )
