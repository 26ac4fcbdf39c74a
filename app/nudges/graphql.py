"""What members change: reminders, devices, preferences, and what happened to a message."""

from datetime import date, datetime, time
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import strawberry

from app.errors import NotFound, Unauthenticated
from app.graphql.errors import UserError
from app.graphql.ids import Kind, decode, parse
from app.graphql.node import Info
from app.nudges import devices, gate, inbox, preferences, reminders, rules
from app.nudges.types import (
    FACETS,
    NODE_FETCHERS,
    Installation,
    MemberNudges,
    NotificationPreferences,
    Reminder,
)

if TYPE_CHECKING:
    from app.schema import Member

__all__ = ["FACETS", "NODE_FETCHERS", "MemberNudges", "NudgesMutation"]

LazyMember = Annotated["Member", strawberry.lazy("app.schema")]


@strawberry.input
class SetReminderInput:
    request_id: UUID
    reminder_id: strawberry.ID | None = strawberry.field(
        default=None, description="Replaces this one; leave out to create."
    )
    title: str = strawberry.field(
        description="At most 80 characters; it is never put on a lock screen."
    )
    kind: rules.ReminderKind
    local_time: time = strawberry.field(
        description="Wherever the member is: once per local day, over travel and DST."
    )
    recurrence: str = strawberry.field(
        description="RFC 5545 RRULE without DTSTART, daily or rarer."
    )
    starts_on: date
    ends_on: date | None = None


@strawberry.type
class SetReminderPayload:
    replayed: bool
    reminder: Reminder


@strawberry.input
class DeleteReminderInput:
    request_id: UUID
    reminder_id: strawberry.ID


@strawberry.type
class DeleteReminderPayload:
    replayed: bool
    deleted_reminder_id: strawberry.ID
    member_id: strawberry.Private[UUID]

    @strawberry.field
    async def member(self, info: Info) -> LazyMember:
        return await info.context.members.load(info, self.member_id)  # type: ignore[no-any-return]


@strawberry.input
class QuietHoursInput:
    start: time
    end: time


@strawberry.input
class TopicPreferenceInput:
    topic: gate.Topic
    channels: list[gate.Channel]


@strawberry.input
class SetNotificationPreferencesInput:
    quiet_hours: QuietHoursInput | None = strawberry.field(
        default=None, description="Leave out for none."
    )
    topics: list[TopicPreferenceInput] = strawberry.field(
        description="Topics left out get their default channels."
    )
    paused_until: datetime | None = strawberry.field(
        default=None, description="Leave out to end a pause."
    )


@strawberry.type
class SetNotificationPreferencesPayload:
    preferences: NotificationPreferences


@strawberry.input
class RegisterDeviceInput:
    installation_id: UUID = strawberry.field(
        description="Made by the app at first start and kept; it is what makes a second call "
        "harmless."
    )
    platform: devices.Platform
    push_token: str | None = strawberry.field(
        default=None,
        description="Leave out when pushes are not allowed, and at sign-out: the token is "
        "forgotten.",
    )
    push_provider: devices.PushService = devices.PushService.FCM
    app_version: str
    locale: str = strawberry.field(description="BCP 47.")
    time_zone: str = strawberry.field(description="IANA name; becomes the member's.")


@strawberry.type
class RegisterDevicePayload:
    device: Installation


@strawberry.input(description="Names exactly one of `messageId` and `offerId`.")
class EngagementEventInput:
    message_id: strawberry.ID | None = None
    offer_id: strawberry.ID | None = strawberry.field(
        default=None, description="A reward or campaign that was shown outside the inbox."
    )
    kind: inbox.EngagementKind
    occurred_at: datetime


@strawberry.input
class RecordEngagementInput:
    request_id: UUID
    events: list[EngagementEventInput] = strawberry.field(description="1 to 500.")


@strawberry.type
class RecordEngagementPayload:
    replayed: bool
    accepted: int
    member_id: strawberry.Private[UUID]

    @strawberry.field
    async def member(self, info: Info) -> LazyMember:
        return await info.context.members.load(info, self.member_id)  # type: ignore[no-any-return]


SetReminderResult = Annotated[SetReminderPayload | UserError, strawberry.union("SetReminderResult")]
DeleteReminderResult = Annotated[
    DeleteReminderPayload | UserError, strawberry.union("DeleteReminderResult")
]
SetNotificationPreferencesResult = Annotated[
    SetNotificationPreferencesPayload | UserError,
    strawberry.union("SetNotificationPreferencesResult"),
]
RegisterDeviceResult = Annotated[
    RegisterDevicePayload | UserError, strawberry.union("RegisterDeviceResult")
]
RecordEngagementResult = Annotated[
    RecordEngagementPayload | UserError, strawberry.union("RecordEngagementResult")
]


@strawberry.type
class NudgesMutation:
    @strawberry.mutation(
        description="Replaces all preferences, so that sending it twice changes nothing. "
        "Codes: PERIOD_INVALID."
    )
    async def set_notification_preferences(
        self, info: Info, input: SetNotificationPreferencesInput
    ) -> SetNotificationPreferencesResult:
        context = info.context
        member_id, quiet = context.member_id, input.quiet_hours
        async with context.db.transaction() as session:
            found = await preferences.set_preferences(
                session,
                member_id=member_id,
                quiet_hours=(quiet.start, quiet.end) if quiet else None,
                topics=[(wanted.topic, wanted.channels) for wanted in input.topics],
                paused_until=input.paused_until,
                now=context.now,
            )
        return SetNotificationPreferencesPayload(
            preferences=NotificationPreferences.of(member_id, found, now=context.now)
        )

    @strawberry.mutation(
        description="Creates a reminder, or replaces the one named. A request that is sent again "
        "is answered with its reminder as it is now, even one that was deleted since. "
        "Codes: NOT_FOUND, RECURRENCE_INVALID, NEVER_FIRES, LIMIT_REACHED, REQUEST_REUSED."
    )
    async def set_reminder(self, info: Info, input: SetReminderInput) -> SetReminderResult:
        context = info.context
        member_id = context.member_id
        async with context.db.transaction() as session:
            row, replayed = await reminders.set_reminder(
                session,
                member_id=member_id,
                request_id=input.request_id,
                reminder_id=_own_reminder(input.reminder_id, member_id)
                if input.reminder_id is not None
                else None,
                wish=reminders.Wish(
                    title=input.title,
                    kind=input.kind,
                    local_time=input.local_time,
                    recurrence=input.recurrence,
                    starts_on=input.starts_on,
                    ends_on=input.ends_on,
                ),
                now=context.now,
            )
        return SetReminderPayload(replayed=replayed, reminder=Reminder.from_row(row))

    @strawberry.mutation(description="Codes: NOT_FOUND, REQUEST_REUSED.")
    async def delete_reminder(self, info: Info, input: DeleteReminderInput) -> DeleteReminderResult:
        context = info.context
        member_id = context.member_id
        async with context.db.transaction() as session:
            replayed = await reminders.delete_reminder(
                session,
                member_id=member_id,
                request_id=input.request_id,
                reminder_id=_own_reminder(input.reminder_id, member_id),
                now=context.now,
            )
        return DeleteReminderPayload(
            replayed=replayed, deleted_reminder_id=input.reminder_id, member_id=member_id
        )

    @strawberry.mutation(
        description="Creates or refreshes this installation; its push token moves to the "
        "signed-in member. Codes: TIME_ZONE_UNKNOWN, LOCALE_UNKNOWN."
    )
    async def register_device(self, info: Info, input: RegisterDeviceInput) -> RegisterDeviceResult:
        context = info.context
        # The phone is the guardian's, whoever they act for.
        member_id = context.viewer.member_id
        if member_id is None:
            raise Unauthenticated
        async with context.db.transaction() as session:
            row = await devices.register(
                session,
                member_id=member_id,
                device=devices.Device(
                    installation_id=input.installation_id,
                    platform=input.platform,
                    push_token=input.push_token,
                    push_service=input.push_provider,
                    app_version=input.app_version,
                    locale=input.locale,
                    time_zone=input.time_zone,
                ),
                now=context.now,
            )
        context.forget_viewer(member_id)
        return RegisterDevicePayload(device=Installation.from_row(row))

    @strawberry.mutation(
        description="Codes: BATCH_TOO_LARGE, REQUEST_REUSED. Unknown messages are skipped, "
        "not refused."
    )
    async def record_engagement(
        self, info: Info, input: RecordEngagementInput
    ) -> RecordEngagementResult:
        context = info.context
        member_id = context.member_id
        async with context.db.transaction() as session:
            accepted, replayed = await inbox.record(
                session,
                member_id=member_id,
                request_id=input.request_id,
                events=[_event(event, member_id) for event in input.events],
                now=context.now,
            )
        return RecordEngagementPayload(replayed=replayed, accepted=accepted, member_id=member_id)


def _own_reminder(id: strawberry.ID, member_id: UUID) -> UUID:
    """Raises NotFound."""
    named = decode(id, Kind.REMINDER, field="reminderId")
    if named.owner_id != member_id:
        raise NotFound(field="reminderId")
    return named.key


def _event(event: EngagementEventInput, member_id: UUID) -> inbox.Event:
    named = parse(event.message_id) if event.message_id is not None else None
    own = named is not None and named.kind is Kind.MESSAGE and named.owner_id == member_id
    return inbox.Event(
        message=event.message_id,
        offer=event.offer_id,
        message_id=named.key if named is not None and own else None,
        kind=event.kind,
        occurred_at=event.occurred_at,
    )
