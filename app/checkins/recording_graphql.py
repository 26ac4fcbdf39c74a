"""The mutations `recordMeasurements` and `recordDailyTotals`."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import strawberry

from app.checkins import recording
from app.checkins.recording import Recorded, Sender
from app.errors import ErrorCode
from app.events import Event
from app.graphql.errors import UserError
from app.graphql.flat_inputs import flat, holding, rows
from app.graphql.ids import Kind, encode
from app.graphql.node import Info
from app.health_tasks import queries
from app.health_tasks.graphql import HealthTask
from app.measurements import alerts_graphql
from app.measurements.alerts_graphql import Alert
from app.measurements.enums import Context as MeasurementContext
from app.measurements.enums import MeasurementCode, Method
from app.measurements.rules import SOURCE_LENGTH_MAX, Reading, as_reading
from app.measurements.totals_graphql import DailyTotal
from app.measurements.totals_rules import SentInterval, Total
from app.points.graphql import PointsAccount, load_account

_APP = "What sends it, as its bundle id."


@rows
@strawberry.input
class MeasurementInput:
    code: MeasurementCode
    value: Decimal
    unit: str = strawberry.field(description="UCUM, any unit the code accepts: `mmol/L`, `mg/dL`.")
    measured_at: datetime = strawberry.field(description="At most 30 days ago.")
    source_id: str | None = strawberry.field(
        default=None,
        description="What measured it, as the phone names it: bundle id, serial number. Part of "
        "what makes a reading a duplicate.",
    )
    method: Method
    context: MeasurementContext | None = None
    continuous: bool | None = strawberry.field(
        default=None,
        description="One of a sensor's stream, as of a glucose sensor: kept as aggregates of 15 "
        "minutes. Null: heart rate, its variability and oxygen saturation that are sensed without "
        "a context are, others are not.",
    )
    confirmed: bool = strawberry.field(
        default=False, description="The member has looked at an extreme value and stands by it."
    )


@holding(measurements=MeasurementInput)
@strawberry.input
class RecordMeasurementsInput:
    request_id: UUID
    measurements: list[MeasurementInput] = strawberry.field(
        description="1 to 1000. Readings of one instant and source belong together: systolic and "
        "diastolic are sent as two."
    )
    app: str | None = strawberry.field(default=None, description=_APP)


@flat
@strawberry.input
class IntervalInput:
    start_at: datetime
    end_at: datetime
    value: Decimal


@holding(intervals=IntervalInput)
@strawberry.input
class DailyTotalInput:
    code: MeasurementCode
    local_date: date = strawberry.field(
        description="The local day as the phone lived it; at most 30 days ago."
    )
    value: Decimal = strawberry.field(
        description="Running total of the day: it replaces what the same source sent before."
    )
    unit: str
    source_id: str = strawberry.field(description="What counted, as the phone names it.")
    method: Method = Method.SENSED
    intervals: list[IntervalInput] | None = strawberry.field(
        default=None,
        description="At most 288, not overlapping, adding up to at most `value`. With them several "
        "devices are merged by interval union.",
    )


@strawberry.input
class RecordDailyTotalsInput:
    request_id: UUID
    totals: list[DailyTotalInput] = strawberry.field(
        description="1 to 100; the body is at most 1 MB."
    )
    app: str | None = strawberry.field(default=None, description=_APP)


@strawberry.type
class RejectedItem:
    index: int = strawberry.field(description="Place in the list that was sent, from 0.")
    code: ErrorCode
    message: str


@strawberry.type(description="Kept, but so unusual that the member is asked to look again.")
class ItemToConfirm:
    index: int = strawberry.field(description="Place in the list that was sent, from 0.")
    message: str


@strawberry.type
class RecordMeasurementsPayload:
    replayed: bool
    accepted: int = strawberry.field(description="How many were new and kept.")
    duplicates: int = strawberry.field(description="How many were known already; not an error.")
    rejected: list[RejectedItem]
    to_confirm: list[ItemToConfirm] = strawberry.field(
        description="Send these again with `confirmed` once the member has measured again."
    )
    alerts: list[Alert]
    tasks_advanced: list[HealthTask]
    points: PointsAccount


@strawberry.type
class RecordDailyTotalsPayload:
    replayed: bool
    accepted: int
    rejected: list[RejectedItem]
    days: list[DailyTotal] = strawberry.field(
        description="Every day that was touched, as it stands now."
    )
    tasks_advanced: list[HealthTask]
    points: PointsAccount


RecordMeasurementsResult = Annotated[
    RecordMeasurementsPayload | UserError, strawberry.union("RecordMeasurementsResult")
]
RecordDailyTotalsResult = Annotated[
    RecordDailyTotalsPayload | UserError, strawberry.union("RecordDailyTotalsResult")
]


@strawberry.type
class RecordingMutation:
    @strawberry.mutation(
        description="Codes: BATCH_TOO_LARGE, CONSENT_MISSING, REQUEST_REUSED. A bad reading is "
        "rejected on its own; one that says something else than before at the same instant and "
        "source replaces it."
    )
    async def record_measurements(
        self, info: Info, input: RecordMeasurementsInput
    ) -> RecordMeasurementsResult:
        context = info.context
        sender = _sender(info, input.app)
        async with context.db.transaction() as session:
            done = await recording.record_measurements(
                session,
                sender=sender,
                request_id=input.request_id,
                readings=_readings(input.measurements, sender.app),
                now=context.now,
            )
        shared = await _shown(info, sender.member_id, done)
        return RecordMeasurementsPayload(
            duplicates=done.duplicates,
            to_confirm=[
                ItemToConfirm(index=at, message=recording.confirmation(code).to(context.locale))
                for at, code in done.to_confirm
            ],
            alerts=await load_alerts(info, sender.member_id, done.alerts),
            **shared,
        )

    @strawberry.mutation(
        description="Codes: BATCH_TOO_LARGE, CONSENT_MISSING, REQUEST_REUSED. A bad total is "
        "rejected on its own."
    )
    async def record_daily_totals(
        self, info: Info, input: RecordDailyTotalsInput
    ) -> RecordDailyTotalsResult:
        context = info.context
        sender = _sender(info, input.app)
        async with context.db.transaction() as session:
            done, days = await recording.record_daily_totals(
                session,
                sender=sender,
                request_id=input.request_id,
                sent=[_total(it) for it in input.totals],
                now=context.now,
            )
        shared = await _shown(info, sender.member_id, done)
        return RecordDailyTotalsPayload(
            days=[DailyTotal.of(sender.member_id, day) for day in days], **shared
        )


def _sender(info: Info, app: str | None) -> Sender:
    member_id = info.context.member_id
    acted_by = info.context.viewer.member_id or member_id
    return Sender(member_id, acted_by, app=app[:SOURCE_LENGTH_MAX] if app else None)


def _readings(sent: Iterable[Any], app: str | None) -> list[Reading]:
    """Of rows of `MeasurementInput`."""
    return [
        as_reading(
            (
                code, value, unit, measured_at, method, source_id or "", context, app, continuous,
                confirmed,
            )
        )
        for code, value, unit, measured_at, source_id, method, context, continuous, confirmed in sent
    ]  # fmt: skip


def _total(sent: DailyTotalInput) -> Total:
    return Total(
        code=sent.code,
        local_date=sent.local_date,
        value=sent.value,
        unit=sent.unit,
        source_id=sent.source_id,
        method=sent.method,
        intervals=[SentInterval(it.start_at, it.end_at, it.value) for it in sent.intervals or ()],
    )


async def _shown(info: Info, member_id: UUID, done: Recorded) -> dict[str, Any]:
    """After the commit: what both payloads share, with tasks and balances as they are now."""
    context = info.context
    tasks: Sequence[queries.TaskView] = ()
    if done.tasks:
        async with context.db.read() as reading:
            tasks = await queries.tasks_of_keys(
                reading,
                member_id=member_id,
                keys=done.tasks,
                now=context.now,
                own=context.is_own(member_id),
            )
    shown = [HealthTask.of(member_id, task, context.locale) for task in tasks]
    if not done.replayed:
        publish(info, member_id, [task.id for task in shown], done)
    return {
        "replayed": done.replayed,
        "accepted": done.accepted,
        "rejected": rejected_items(done, context.locale),
        "tasks_advanced": shown,
        "points": await load_account(info, member_id),
    }


def publish(info: Info, member_id: UUID, task_ids: Sequence[str], done: Recorded) -> None:
    """Tell whoever has the app open."""
    events = [Event(member_id, "task", id) for id in task_ids]
    if done.points_moved:
        events.append(Event(member_id, "points", encode(Kind.POINTS_ACCOUNT, member_id)))
    if events:
        info.context.events.publish(*events)


def rejected_items(done: Recorded, locale: str) -> list[RejectedItem]:
    return [
        RejectedItem(index=at, code=it.code, message=it.text.to(locale)) for at, it in done.rejected
    ]


async def load_alerts(info: Info, member_id: UUID, ids: Sequence[UUID]) -> list[Alert]:
    found = await alerts_graphql.load_alerts(info, [(member_id, id) for id in ids])
    return [found[member_id, id] for id in ids if (member_id, id) in found]
