"""Reminders, messages, preferences and installations as members see them."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Self
from uuid import UUID

import orjson
import strawberry

from app.graphql import enums
from app.graphql.facets import Facet, Profile, Reading
from app.graphql.ids import GlobalId, Kind, encode, tails
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.graphql.scalars import instant_text
from app.nudges import devices, gate, inbox, queries, rules
from app.nudges.preferences import Preferences

strawberry.enum(rules.ReminderKind)
enums.register(
    gate.Topic,
    {"SERVICE_NOTICE": "Contract and safety: bypasses caps, never consent."},
    name="MessageTopic",
)
strawberry.enum(gate.Channel, name="MessageChannel")
strawberry.enum(devices.Platform)
strawberry.enum(devices.PushService, name="PushProvider")
strawberry.enum(inbox.EngagementKind)

_REMINDER_KINDS = enums.by_value(rules.ReminderKind)
_TOPICS = enums.by_value(gate.Topic)


@strawberry.type
class Reminder(Node):
    title: str
    kind: rules.ReminderKind
    local_time: time
    recurrence: str = strawberry.field(description="RFC 5545 RRULE without DTSTART: `FREQ=DAILY`.")
    starts_on: date
    ends_on: date | None
    next_fire_at: datetime | None = strawberry.field(
        description="Null when it will not fire again."
    )

    @classmethod
    def of(cls, member_id: UUID, row: Any) -> Self:
        """From the columns `queries.REMINDER`."""
        id, title, kind, local_time, recurrence, starts_on, ends_on, next_at = row
        return cls(
            id=strawberry.ID(encode(Kind.REMINDER, member_id, id)),
            title=title,
            kind=_REMINDER_KINDS[kind],
            local_time=local_time,
            recurrence=recurrence,
            starts_on=starts_on,
            ends_on=ends_on,
            next_fire_at=next_at,
        )

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """From a `Reminder` or a row with its columns."""
        columns = queries.REMINDER.split(", ")
        return cls.of(row.member_id, [getattr(row, column) for column in columns])


@strawberry.type
class MessageAction:
    label: str
    url: str = strawberry.field(description="A link into the app or https.")


@strawberry.type
class Message(Node):
    topic: gate.Topic
    title: str
    body: str
    sent_at: datetime
    read_at: datetime | None = strawberry.field(
        description="Null until opened (`recordEngagement`, kind OPENED)."
    )
    action: MessageAction | None

    @classmethod
    def of(cls, member_id: UUID, row: Any) -> Self:
        """From the columns `queries.MESSAGE`."""
        id, topic, title, body, sent_at, read_at, label, url = row
        return cls(
            id=strawberry.ID(encode(Kind.MESSAGE, member_id, id)),
            topic=_TOPICS[topic],
            title=title,
            body=body,
            sent_at=sent_at,
            read_at=read_at,
            action=MessageAction(label=label, url=url) if label and url else None,
        )


@strawberry.type(
    description="From `start` until before `end` in the member's time zone, over midnight when "
    "`end` is earlier."
)
class QuietHours:
    start: time
    end: time


@strawberry.type
class TopicPreference:
    topic: gate.Topic
    channels: list[gate.Channel] = strawberry.field(description="Empty: never.")


@strawberry.type(description="One per member.")
class NotificationPreferences(Node):
    quiet_hours: QuietHours | None = strawberry.field(description="Null when there are none.")
    topics: list[TopicPreference]
    paused_until: datetime | None = strawberry.field(
        description="No message before then; null when not paused."
    )

    @classmethod
    def of(cls, member_id: UUID, found: Preferences, *, now: datetime) -> Self:
        """All topics, in the order of the enum, with the channels that they come by."""
        quiet = found.quiet_hours
        return cls(
            id=strawberry.ID(encode(Kind.PREFERENCES, member_id)),
            quiet_hours=QuietHours(start=quiet[0], end=quiet[1]) if quiet else None,
            topics=[
                TopicPreference(topic=topic, channels=_channels(topic, found.topics))
                for topic in gate.Topic
            ],
            paused_until=found.paused_at(now),
        )


@strawberry.type(description="One installation of the app or the site; not a measuring device.")
class Installation(Node):
    platform: devices.Platform
    registered_at: datetime

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """From an `Installation` or a row with its columns."""
        return cls(
            id=strawberry.ID(encode(Kind.INSTALLATION, row.member_id, row.id)),
            platform=devices.Platform(row.platform),
            registered_at=row.registered_at,
        )


@strawberry.type
class MemberNudges:
    """The part of `Member` that is kept here."""

    profile: strawberry.Private[Profile]
    notification_preferences: NotificationPreferences
    next_reminder: Reminder | None = strawberry.field(
        description="The reminder that fires next; null when none will."
    )
    unread_count: int = strawberry.field(description="Messages in the inbox that were not opened.")

    @strawberry.field
    async def reminders(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[Reminder]:
        member_id, size = self.profile.member_id, page_size(first)
        cursor = read_cursor(after, UUID)
        async with info.context.db.read() as reading:
            rows = await queries.reminders(
                reading, member_id, after=cursor[0] if cursor else None, limit=size + 1
            )
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: Reminder.of(member_id, row),
            key=lambda row: (row[0],),
        )

    @strawberry.field
    async def inbox(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[Message]:
        member_id, size = self.profile.member_id, page_size(first)
        cursor: Any = read_cursor(after, instant, UUID)
        rows = await queries.inbox(info.context.db, member_id, after=cursor, limit=size + 1)
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: Message.of(member_id, row),
            key=lambda row: (row["sent_at"].isoformat(), row["id"]),
        )


def _channels(topic: gate.Topic, chosen: Mapping[str, Any]) -> list[gate.Channel]:
    """SMS and e-mail too: what a member is shown and saves as it is must change nothing."""
    return [channel for channel in gate.Channel if gate.comes_by(topic, channel, chosen)]


def instant(text: str) -> datetime:
    """Raises ValueError, and OverflowError at the ends of the calendar."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("no instant")
    return found.astimezone(UTC)


def _read_next(texts: Any, reading: Reading) -> Reminder | None:
    """From `queries.NEXT_REMINDER`; days and instants stay as they were written."""
    if texts is None:
        return None
    made: Any = object.__new__(Reminder)  # its constructor would take three times as long
    (
        key, made.title, kind, local_time, made.recurrence, made.starts_on, made.ends_on, next_at,
    ) = texts  # fmt: skip
    made.id = reading.owner.head(Kind.REMINDER) + tails(key)[0]
    made.kind = _REMINDER_KINDS[kind]
    made.local_time = time.fromisoformat(local_time)
    made.next_fire_at = instant_text(next_at)
    return made  # type: ignore[no-any-return]


def _read_preferences(row: Any, reading: Reading) -> NotificationPreferences:
    found = Preferences(quiet_hours=None, topics={}, paused_until=None)
    if row is not None:
        start, end, topics, paused_until = row
        quiet_hours = None if start is None else (start, end)
        found = Preferences(quiet_hours, orjson.loads(topics), paused_until)
    return NotificationPreferences.of(reading.profile.member_id, found, now=reading.now)


FACETS = (
    Facet(
        field="notificationPreferences",
        attribute="notification_preferences",
        sql=queries.PREFERENCES,
        read=_read_preferences,
    ),
    Facet(
        field="nextReminder",
        attribute="next_reminder",
        sql=queries.NEXT_REMINDER,
        read=_read_next,
    ),
    Facet(
        field="unreadCount",
        attribute="unread_count",
        sql=queries.UNREAD_COUNT,
        read=lambda count, _: count,
    ),
)


async def _fetch_reminder(info: Info, id: GlobalId) -> Reminder | None:
    async with info.context.db.read() as reading:
        row = await queries.reminder(reading, id.owner_id, id.key)
    return Reminder.of(id.owner_id, row) if row else None


async def _fetch_message(info: Info, id: GlobalId) -> Message | None:
    async with info.context.db.read() as reading:
        row = await queries.message(reading, id.owner_id, id.key)
    return Message.of(id.owner_id, row) if row else None


async def _fetch_preferences(info: Info, id: GlobalId) -> NotificationPreferences | None:
    member = await info.context.members.load_fields(
        info, id.owner_id, frozenset({"notificationPreferences"})
    )
    return member.notification_preferences if member else None


async def _fetch_installation(info: Info, id: GlobalId) -> Installation | None:
    async with info.context.db.read() as reading:
        row = await queries.installation(reading, id.owner_id, id.key)
    return Installation.from_row(row) if row else None


NODE_FETCHERS: dict[Kind, Fetch] = {
    Kind.REMINDER: _fetch_reminder,
    Kind.MESSAGE: _fetch_message,
    Kind.PREFERENCES: _fetch_preferences,
    Kind.INSTALLATION: _fetch_installation,
}
