"""Services that a member may use, how much of them is left, and their reservations."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app.graphql import enums
from app.graphql.context import Context
from app.graphql.facets import Profile
from app.graphql.ids import GlobalId, Kind, encode
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.premiums.benefit_terms import QuotaPeriod
from app.services import entitled, granted, households, queries, rules
from app.services.entitled import Entitled
from app.services.queries import Key

enums.register(
    QuotaPeriod,
    {"MONTH": "Calendar month.", "YEAR": "Policy year."},
    name="EntitlementPeriod",
)
enums.register(
    rules.UnavailableReason,
    {
        "NOT_ASSESSED": "It depends on the risk tier, and there is no assessment yet.",
        "NO_OPEN_CASE": "It comes with an open mild-condition benefit only.",
    },
    name="EntitlementUnavailableReason",
)
enums.register(
    granted.Source,
    {"REFERRAL": "Brought enough members who stayed."},
    name="EntitlementSource",
)
enums.register(
    rules.UseState,
    {"EXPIRED": "Not used in time: it went back.", "RELEASED": "Given or taken back."},
    name="EntitlementUseState",
)


@strawberry.type(description="A service of the member's product, or shared by their spouse.")
class Entitlement:
    service: str = strawberry.field(description="The same in every product: `consultation`.")
    label: str
    explanation: str
    example: str | None
    quota: int | None = strawberry.field(description="How often in a period; null for no limit.")
    per: QuotaPeriod | None
    period_starts_on: date
    period_ends_on: date = strawberry.field(description="Last day, in the member's zone.")
    consumed: int
    reserved: int
    left: int | None = strawberry.field(description="Null for no limit.")
    available: bool = strawberry.field(description="Whether one can be reserved now.")
    unavailable_reason: rules.UnavailableReason | None
    reserved_days: int = strawberry.field(
        description="How long a reservation waits for the service."
    )
    discount_percent: Decimal | None = strawberry.field(description="Off what it costs.")
    shared_with_spouse: bool = strawberry.field(description="Of one and the same quota.")
    of_spouse: bool = strawberry.field(description="It is the spouse's quota.")
    source: granted.Source = strawberry.field(description="What the member has it for.")

    @classmethod
    def of(cls, it: Entitled, member_id: UUID, locale: str) -> Self:
        terms, reason = it.entitlement, it.unavailable
        return cls(
            service=terms.service,
            label=terms.label.to(locale),
            explanation=terms.explanation.to(locale),
            example=terms.example.to(locale) if terms.example else None,
            quota=terms.quota.units if terms.quota else None,
            per=terms.quota.per if terms.quota else None,
            period_starts_on=it.period.starts_on,
            period_ends_on=it.period.ends_on,
            consumed=it.counted.consumed,
            reserved=it.counted.reserved,
            left=it.left,
            available=reason is None,
            unavailable_reason=reason,
            reserved_days=terms.reserved_days,
            discount_percent=terms.discount_percent,
            shared_with_spouse=terms.shared_with_spouse,
            of_spouse=it.holder_id != member_id,
            source=it.source,
        )


@strawberry.type(description="One use of a service: reserved, then consumed, or given back.")
class EntitlementUse(Node):
    service: str
    label: str
    state: rules.UseState
    reserved_at: datetime
    expires_at: datetime = strawberry.field(description="Unless it was used by then, it goes back.")
    consumed_at: datetime | None
    ended_at: datetime | None = strawberry.field(
        description="When it was consumed, released or expired; null while reserved."
    )
    note: str | None = strawberry.field(description="Of the employee; null when there is none.")
    of_spouse: bool = strawberry.field(description="It is of the spouse's quota.")

    @classmethod
    def of(cls, row: Any, context: Context) -> Self:
        """From a row of `queries`."""
        return cls(
            id=strawberry.ID(encode(Kind.ENTITLEMENT_USE, row.member_id, row.id)),
            service=row.service,
            label=_label(row, context.locale),
            state=rules.UseState(row.state),
            reserved_at=row.reserved_at,
            expires_at=row.expires_at,
            consumed_at=row.consumed_at,
            ended_at=row.ended_at,
            note=row.note,
            of_spouse=row.holder_id != row.member_id,
        )


def _label(row: Any, locale: str) -> str:
    """As it was when it was reserved; of what is granted as it is now."""
    if row.grant_id is not None:
        known = granted.of(row.service)
        return known.label.to(locale) if known else str(row.service)
    named = next(it for it in row.entitlements if it["service"] == row.service)
    return str(named["label"]["zh" if locale[:2].lower() == "zh" else "en"])


@strawberry.type
class ServicesOfMember:
    """The part of `Member` that is kept here."""

    profile: strawberry.Private[Profile]

    @strawberry.field(
        description="Services of the policy in force, in the order of the product, then those "
        "that the spouse shares, then those that the member has earned."
    )
    async def entitlements(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[Entitlement]:
        size = page_size(first)
        cursor = read_cursor(after, int)
        start = cursor[0] + 1 if cursor else 0
        member_id, locale = self.profile.member_id, info.context.locale
        found = list(enumerate(await load_services(info, member_id)))
        return connection(
            found[start : start + size + 1],
            size=size,
            after=after,
            node=lambda it: Entitlement.of(it[1], member_id, locale),
            key=lambda it: (it[0],),
        )

    @strawberry.field(description="Reservations and what became of them, the newest first.")
    async def entitlement_uses(
        self,
        info: Info,
        state: rules.UseState | None = None,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[EntitlementUse]:
        size = page_size(first)
        cursor: Any = read_cursor(after, datetime.fromisoformat, UUID)
        name = f"services.uses.{state}.{size}.{after}"
        context = info.context
        if name not in context.state:

            async def load(member_ids: list[UUID]) -> list[list[Any]]:
                async with context.db.read() as reading:
                    rows = await queries.of_members(
                        reading, member_ids, state=state, after=cursor, limit=size + 1
                    )
                found: dict[UUID, list[Any]] = {member_id: [] for member_id in member_ids}
                for row in rows:
                    found[row.member_id].append(row)
                return [found[member_id] for member_id in member_ids]

            context.state[name] = DataLoader(load_fn=load)
        rows: Sequence[Any] = await context.state[name].load(self.profile.member_id)
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: EntitlementUse.of(row, context),
            key=lambda row: (row.reserved_at.isoformat(), row.id),
        )


async def load_services(info: Info, member_id: UUID) -> Sequence[Entitled]:
    """Loads of one moment share their statements."""
    name, context = "services.entitled", info.context
    if name not in context.state:

        async def load(member_ids: list[UUID]) -> list[Sequence[Entitled]]:
            async with context.db.read() as reading:
                found = await entitled.services(
                    reading, member_ids, spouses_of=households.spouses_of, now=context.now
                )
            return [found.get(member_id, ()) for member_id in member_ids]

        context.state[name] = DataLoader(load_fn=load, cache=False)
    loaded: Sequence[Entitled] = await context.state[name].load(member_id)
    return loaded


async def load_uses(info: Info, keys: Sequence[Key]) -> Mapping[Key, EntitlementUse]:
    async with info.context.db.read() as reading:
        rows = await queries.by_keys(reading, keys)
    return {(row.member_id, row.id): EntitlementUse.of(row, info.context) for row in rows}


async def _fetch_use(info: Info, id: GlobalId) -> EntitlementUse | None:
    key = (id.owner_id, id.key)
    return (await load_uses(info, [key])).get(key)


NODE_FETCHERS: dict[Kind, Fetch] = {Kind.ENTITLEMENT_USE: _fetch_use}
