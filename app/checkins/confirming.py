"""The mutation `confirmMeasurement`: an extreme reading was right, or was wrong."""

from typing import Annotated
from uuid import UUID

import strawberry

from app.checkins import recording
from app.checkins.advancing import advance
from app.checkins.recording_graphql import load_alerts
from app.errors import NotFound
from app.events import Event
from app.graphql.errors import UserError
from app.graphql.ids import Kind, decode, encode
from app.graphql.node import Info
from app.measurements import alerts_confirming, queries
from app.measurements.alerts_graphql import Alert
from app.measurements.graphql import Measurement
from app.members import requests
from app.points.graphql import PointsAccount, load_account


@strawberry.input
class ConfirmMeasurementInput:
    request_id: UUID
    measurement_id: strawberry.ID
    is_right: bool = strawberry.field(
        description="False takes the reading back, and the other half of a blood pressure with "
        "it: it counts for nothing any more."
    )


@strawberry.type
class ConfirmMeasurementPayload:
    replayed: bool
    measurement: Measurement = strawberry.field(
        description="As it is now; what was taken back, as it was."
    )
    alerts: list[Alert] = strawberry.field(description="Those that the reading had raised.")
    points: PointsAccount


ConfirmMeasurementResult = Annotated[
    ConfirmMeasurementPayload | UserError, strawberry.union("ConfirmMeasurementResult")
]


@strawberry.type
class ConfirmingMutation:
    @strawberry.mutation(
        description="Codes: NOT_FOUND, STATE_INVALID, NOT_ELIGIBLE, CONSENT_MISSING, "
        "REQUEST_REUSED."
    )
    async def confirm_measurement(
        self, info: Info, input: ConfirmMeasurementInput
    ) -> ConfirmMeasurementResult:
        context = info.context
        member_id = context.member_id
        named = decode(input.measurement_id, Kind.MEASUREMENT, field="measurementId")
        if named.owner_id != member_id:
            raise NotFound(field="measurementId")
        done = await _confirm(info, input, member_id, named.key)
        if done is not None:
            reading_id, alert_ids = done.reading_id, done.alert_ids
            context.events.publish(Event(member_id, "points", _points_id(member_id)))
        else:
            reading_id, alert_ids = named.key, ()
        async with context.db.read() as reading:
            row = await queries.measurement(reading, member_id, reading_id, consented_only=False)
        assert row is not None, "a reading is never deleted while its member is here"
        return ConfirmMeasurementPayload(
            replayed=done is None,
            measurement=Measurement.from_row(row),
            alerts=await load_alerts(info, member_id, alert_ids),
            points=await load_account(info, member_id),
        )


def _points_id(member_id: UUID) -> str:
    return encode(Kind.POINTS_ACCOUNT, member_id)


async def _confirm(
    info: Info, input: ConfirmMeasurementInput, member_id: UUID, reading_id: UUID
) -> alerts_confirming.Confirmed | None:
    """None when this request was answered before. Tasks and points follow the data."""
    context = info.context
    acted_by = context.viewer.member_id or member_id
    async with context.db.transaction() as session:
        earlier = await requests.claim(
            session,
            owner=member_id,
            request_id=input.request_id,
            operation="confirmMeasurement",
            values={"measurementId": reading_id, "isRight": input.is_right},
            result=reading_id,
            now=context.now,
        )
        if earlier is not None:
            return None
        if input.is_right:  # what is wrong may be taken back without the consent
            await recording.look(session, member_id, context.now)
        done = await alerts_confirming.confirm(
            session,
            member_id=member_id,
            reading_id=reading_id,
            is_right=input.is_right,
            acted_by=acted_by,
            now=context.now,
        )
        await advance(
            session,
            member_id=member_id,
            touched=set(done.days),
            request_id=input.request_id,
            acted_by=acted_by,
            now=context.now,
        )
    return done
