"""What members and employees change of medications, and the reminders that follow."""

from datetime import date, time
from typing import Annotated
from uuid import UUID

import strawberry

from app.graphql.errors import UserError
from app.graphql.ids import Kind
from app.graphql.node import Info
from app.nudges import medications
from app.records import health, keeping
from app.records.mutations import author_for
from app.records.types import Medication


@strawberry.input
class SetMedicationInput:
    request_id: UUID
    member_id: strawberry.ID | None = strawberry.field(
        default=None, description="For employees; leave out for `me`."
    )
    medication_id: strawberry.ID | None = strawberry.field(
        default=None, description="Gives this one a new version; leave out to record another."
    )
    name: str = strawberry.field(description=f"At most {health.NAME_LENGTH_MAX} characters.")
    atc: str | None = strawberry.field(default=None, description="WHO ATC code: `A10BA02`.")
    dose: str = strawberry.field(
        description=f"How much, in words; at most {health.DOSE_LENGTH_MAX} characters."
    )
    times: list[time] = strawberry.field(
        description=f"When in the local day, at most {health.TIMES_MAX}; empty: when needed."
    )
    starts_on: date
    ends_on: date | None = strawberry.field(
        default=None, description="Last day; leave out while it goes on."
    )
    remind: bool = strawberry.field(
        default=True, description="Whether each time has a daily reminder."
    )


@strawberry.type
class SetMedicationPayload:
    replayed: bool
    medication: Medication


@strawberry.input
class StopMedicationInput:
    request_id: UUID
    medication_id: strawberry.ID


@strawberry.type
class StopMedicationPayload:
    replayed: bool
    medication: Medication


SetMedicationResult = Annotated[
    SetMedicationPayload | UserError, strawberry.union("SetMedicationResult")
]
StopMedicationResult = Annotated[
    StopMedicationPayload | UserError, strawberry.union("StopMedicationResult")
]


@strawberry.type
class MedicationsMutation:
    @strawberry.mutation(
        description="What a member takes, with a daily reminder for each time; nothing is "
        "edited, the newest version is in force. Codes: NOT_FOUND, STATE_INVALID, CODE_INVALID, "
        "PERIOD_INVALID, VALUE_OUT_OF_RANGE, LIMIT_REACHED, CONSENT_MISSING, REQUEST_REUSED."
    )
    async def set_medication(self, info: Info, input: SetMedicationInput) -> SetMedicationResult:
        context = info.context
        member_id, medication_id, author = await author_for(
            info,
            member_id=input.member_id,
            object_id=input.medication_id,
            kind=Kind.MEDICATION,
            field="medicationId",
        )
        wish = keeping.MedicationWish(
            name=input.name,
            atc=input.atc,
            dose=input.dose,
            times=input.times,
            starts_on=input.starts_on,
            ends_on=input.ends_on,
            remind=input.remind,
        )
        async with context.db.transaction() as session:
            row, replayed = await keeping.set_medication(
                session,
                member_id=member_id,
                author=author,
                request_id=input.request_id,
                medication_id=medication_id,
                wish=wish,
                now=context.now,
            )
            if not replayed:
                await medications.follow(session, row, now=context.now)
        return SetMedicationPayload(replayed=replayed, medication=Medication.of(row))

    @strawberry.mutation(
        description="It is not taken any more, from today on; its reminders end. Codes: "
        "NOT_FOUND, STATE_INVALID, CONSENT_MISSING, REQUEST_REUSED."
    )
    async def stop_medication(self, info: Info, input: StopMedicationInput) -> StopMedicationResult:
        context = info.context
        member_id, medication_id, author = await author_for(
            info,
            member_id=None,
            object_id=input.medication_id,
            kind=Kind.MEDICATION,
            field="medicationId",
        )
        assert medication_id is not None
        async with context.db.transaction() as session:
            row, replayed = await keeping.stop_medication(
                session,
                member_id=member_id,
                author=author,
                request_id=input.request_id,
                medication_id=medication_id,
                now=context.now,
            )
            if not replayed:
                await medications.follow(session, row, now=context.now)
        return StopMedicationPayload(replayed=replayed, medication=Medication.of(row))
