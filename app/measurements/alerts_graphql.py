"""A member's alerts, and what an item of the worklist says about them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app.graphql import enums
from app.graphql.facets import Profile
from app.graphql.ids import GlobalId, Kind, encode
from app.graphql.node import Fetch, Info
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.measurements import alerts_queries, alerts_rules
from app.measurements.alerts_opening import SUBJECT_KIND
from app.members.rules import ConsentState, shows_health
from app.texts import Text
from app.worklist.subjects import Load, SubjectKey, WorklistSubject

enums.register(
    alerts_rules.AlertSeverity,
    {
        "INFO": "Worth knowing.",
        "WARNING": "A health manager will look at it.",
        "URGENT": "Seek help now; the text says where.",
    },
)
enums.register(
    alerts_rules.AlertKind,
    {
        "THRESHOLD": "One reading.",
        "TREND": "The last days, against what is usual for the member.",
        "SILENCE": "Nothing has come from a device; it does not say that nothing was done.",
    },
)
enums.register(
    alerts_rules.AlertClosed,
    {
        "NORMAL_AGAIN": "A later reading, or the mean of later ones.",
        "WRONG_READING": "The member says that it was not right.",
        "CONFIRMED": "The member says that it was right, and nothing else was asked.",
        "SYNCED": "The device has sent something.",
        "DISCONNECTED": "Nothing is expected of the device any more.",
        "HANDLED": "An employee has done what was to be done.",
    },
    name="AlertClosedReason",
)


@strawberry.type(description="A rule was met by readings, or by their absence.")
class Alert(WorklistSubject):
    severity: alerts_rules.AlertSeverity
    kind: alerts_rules.AlertKind
    message: str
    opened_at: datetime
    asks_confirmation: bool = strawberry.field(
        description="Whether the member is asked if the reading was right; see "
        "`confirmMeasurement`."
    )
    measurement_id: strawberry.ID | None = strawberry.field(
        description="The reading that raised it; null for trends and silent devices."
    )
    confirmed_at: datetime | None = strawberry.field(
        description="When the member said that the reading was right."
    )
    closed_at: datetime | None = strawberry.field(description="Null while it is open.")
    closed_reason: alerts_rules.AlertClosed | None

    @classmethod
    def of(cls, row: Any, locale: str) -> Self:
        """From an `Alert` of the tables, or a row with its columns."""
        reading = row.measurement_id
        return cls(
            id=strawberry.ID(encode(Kind.ALERT, row.member_id, row.id)),
            severity=alerts_rules.AlertSeverity(row.severity),
            kind=alerts_rules.AlertKind(row.kind),
            message=Text(zh=row.message_zh, en=row.message_en).to(locale),
            opened_at=row.opened_at,
            asks_confirmation=row.asks_confirmation
            and row.confirmed_at is None
            and row.closed_at is None,
            measurement_id=strawberry.ID(encode(Kind.MEASUREMENT, row.member_id, reading))
            if reading
            else None,
            confirmed_at=row.confirmed_at,
            closed_at=row.closed_at,
            closed_reason=alerts_rules.AlertClosed(row.closed_reason)
            if row.closed_reason
            else None,
        )


@strawberry.type
class AlertsOfMember:
    """The fields of `Member` that are kept here."""

    profile: strawberry.Private[Profile]

    @strawberry.field(
        description="Newest first. An employee sees them while the member consents to the use "
        "of health data."
    )
    async def alerts(
        self,
        info: Info,
        open_only: bool = False,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[Alert]:
        size = page_size(first)
        rows = await _load(info, self.profile.member_id, open_only, size, after)
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: Alert.of(row, info.context.locale),
            key=lambda row: (row.opened_at.isoformat(), row.id),
        )


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(text)
    return found.astimezone(UTC)


async def _load(
    info: Info, member_id: UUID, open_only: bool, size: int, after: str | None
) -> list[Any]:
    """A page of one member; loads of one moment, as of a list of members, share one
    statement."""
    consented_only = not info.context.is_own(member_id)
    name = f"alerts.{open_only}.{size}.{after}.{consented_only}"
    state = info.context.state
    if name not in state:
        cursor: Any = read_cursor(after, _instant, UUID)

        async def load(member_ids: list[UUID]) -> list[list[Any]]:
            async with info.context.db.read() as reading:
                rows = await alerts_queries.page(
                    reading,
                    member_ids,
                    open_only=open_only,
                    after=cursor,
                    limit=size + 1,
                    consented_only=consented_only,
                )
            found: dict[UUID, list[Any]] = defaultdict(list)
            for row in rows:
                found[row.member_id].append(row)
            return [found[member_id] for member_id in member_ids]

        state[name] = DataLoader(load_fn=load)
    found: list[Any] = await state[name].load(member_id)
    return found


async def load_alerts(
    info: Info, keys: Sequence[tuple[UUID, UUID]]
) -> Mapping[tuple[UUID, UUID], Alert]:
    """Of (member, id), with one statement; without those that the viewer may not see now."""
    if not keys:
        return {}
    async with info.context.db.read() as reading:
        rows = await alerts_queries.by_key(reading, keys)
    return {
        (row.member_id, row.id): Alert.of(row, info.context.locale)
        for row in rows
        if shows_health(
            ConsentState.GRANTED if row.consented else ConsentState.NOT_ASKED,
            own=info.context.is_own(row.member_id),
        )
    }


async def _load_subjects(
    info: Info, keys: Sequence[SubjectKey]
) -> Mapping[SubjectKey, WorklistSubject]:
    found = await load_alerts(info, [(key.member_id, key.id) for key in keys])
    wanted = {key: found.get((key.member_id, key.id)) for key in keys}
    return {key: alert for key, alert in wanted.items() if alert is not None}


async def _fetch(info: Info, id: GlobalId) -> Alert | None:
    key = (id.owner_id, id.key)
    return (await load_alerts(info, [key])).get(key)


NODE_FETCHERS: dict[Kind, Fetch] = {Kind.ALERT: _fetch}
SUBJECTS: dict[str, Load] = {SUBJECT_KIND: _load_subjects}
