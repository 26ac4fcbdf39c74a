"""`me`, consents and pauses."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Self
from uuid import UUID

import strawberry
from sqlalchemy import Uuid, bindparam, select, text
from sqlmodel import col

from app.errors import NotFound, Unauthenticated
from app.graphql.errors import UserError
from app.graphql.facets import Facet, Reading
from app.graphql.ids import GlobalId, Kind, decode, encode, parse
from app.graphql.node import Fetch, Info, Node, Person
from app.members import enums, rules, service
from app.members.models import Pause as PauseRow

if TYPE_CHECKING:
    from app.schema import Member

LazyMember = Annotated["Member", strawberry.lazy("app.schema")]

_PURPOSE_KEYS = {
    purpose: UUID(int=place) for place, purpose in enumerate(enums.ConsentPurpose, start=1)
}


@strawberry.type
class Consent(Node):
    purpose: rules.ConsentPurpose
    state: rules.ConsentState
    text_version: str | None = strawberry.field(
        description="Version of the text that was answered; null when never asked."
    )
    changed_at: datetime | None = strawberry.field(description="Null when never asked.")


@strawberry.type
class Pause(Node):
    reason: rules.PauseReason
    starts_on: date = strawberry.field(description="First paused day.")
    ends_on: date | None = strawberry.field(
        description="Last paused day; null until the member resumes."
    )

    @classmethod
    def of(cls, member_id: UUID, id: UUID, reason: str, starts: date, ends: date | None) -> Self:
        return cls(
            id=strawberry.ID(encode(Kind.PAUSE, member_id, id)),
            reason=rules.PauseReason(reason),
            starts_on=starts,
            ends_on=ends,
        )

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """From a `Pause` or a row with its columns."""
        return cls.of(row.member_id, row.id, row.reason, row.starts_on, row.ends_on)


@strawberry.type
class MemberProfile(Person):
    """The part of `Member` that is kept here."""

    birth_date: date
    sex: rules.Sex
    time_zone: str = strawberry.field(
        description="IANA name. It decides the local day of whatever arrives from now on."
    )
    locale: str = strawberry.field(description="BCP 47: `zh-CN`.")
    today: date = strawberry.field(description="The member's local day now, by the server's clock.")
    pause: Pause | None = strawberry.field(
        description="The running pause: streaks, penalties and nudges are stopped. "
        "Null when there is none."
    )
    pauses: list[Pause] = strawberry.field(
        description="The running pause and those that begin later, in order."
    )
    consents: list[Consent] = strawberry.field(description="One per purpose, always all of them.")


@strawberry.type
class StaffProfile(Person):
    """The part of `Staff` that is kept here."""

    roles: list[rules.StaffRole]


def consents_of(member_id: UUID, rows: Sequence[Any]) -> list[Consent]:
    """One per purpose, from (purpose, state, text version, instant) of those answered."""
    answered = {row[0]: row for row in rows}
    found = []
    for purpose, key in _PURPOSE_KEYS.items():
        row = answered.get(purpose)
        found.append(
            Consent(
                id=strawberry.ID(encode(Kind.CONSENT, member_id, key)),
                purpose=purpose,
                state=rules.ConsentState(row[1]) if row else rules.ConsentState.NOT_ASKED,
                text_version=row[2] if row else None,
                changed_at=row[3] if row else None,
            )
        )
    return found


def _pauses(rows: Sequence[Any], reading: Reading) -> list[Pause]:
    """Those that are not over, in order."""
    if not rows:
        return []
    day = reading.today
    return [
        Pause.of(reading.profile.member_id, id, reason, starts_on, ends_on)
        for id, reason, starts_on, ends_on in sorted(rows, key=lambda row: row[2])
        if not rules.is_over(rules.PausedDays(starts_on, ends_on), today=day)
    ]


def _pause_today(rows: Sequence[Any], reading: Reading) -> Pause | None:
    if not rows:
        return None
    day = reading.today
    return next((found for found in _pauses(rows, reading) if found.starts_on <= day), None)


def _profile(name: str, read: Any = None) -> Facet:
    """A field that comes with every member."""
    attribute = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    reader = read or (lambda _, reading: getattr(reading.profile, attribute))
    return Facet(field=name, attribute=attribute, sql=None, read=reader)


PAUSES = """
array(select row(p.id, p.reason, p.starts_on, p.ends_on) from pauses p
  where p.member_id = members.member_id
  and (p.ends_on is null or p.ends_on >= (:now)::date - 1))
"""
CONSENTS = """
array(select row(c.purpose, c.state, c.text_version, c.recorded_at) from consents c
  where c.member_id = members.member_id and not exists (select from consents later
    where later.member_id = c.member_id and later.purpose = c.purpose
    and later.version > c.version))
"""
_CONSENTS_OF = text(
    f"select {CONSENTS} from members where members.member_id = :member_id"
).bindparams(bindparam("member_id", type_=Uuid))

FACETS = (
    _profile("id", lambda _, reading: reading.owner.head(Kind.MEMBER)),
    _profile("displayName"),
    _profile("birthDate"),
    _profile("sex", lambda _, reading: rules.Sex(reading.profile.sex)),
    _profile("timeZone"),
    _profile("locale"),
    _profile("today", lambda _, reading: reading.today),
    Facet(field="pause", attribute="pause", sql=PAUSES, read=_pause_today),
    Facet(field="pauses", attribute="pauses", sql=PAUSES, read=_pauses),
    Facet(
        field="consents",
        attribute="consents",
        sql=CONSENTS,
        read=lambda rows, reading: consents_of(reading.profile.member_id, rows),
    ),
)


@strawberry.input
class SetConsentInput:
    request_id: UUID
    purpose: rules.ConsentPurpose
    granted: bool = strawberry.field(
        description="False is a refusal when nothing was granted before, otherwise a withdrawal."
    )
    text_version: str = strawberry.field(description="Version of the text the member saw.")


@strawberry.type
class SetConsentPayload:
    replayed: bool
    consents: list[Consent] = strawberry.field(description="One per purpose, always all of them.")


@strawberry.input
class PauseProgrammeInput:
    request_id: UUID
    reason: rules.PauseReason
    starts_on: date = strawberry.field(description="First paused day; not before today.")
    ends_on: date | None = strawberry.field(
        default=None, description="Last paused day; leave out to pause until resumed."
    )


@strawberry.type
class PauseProgrammePayload:
    replayed: bool
    pause: Pause


@strawberry.input
class ResumeProgrammeInput:
    request_id: UUID
    pause_id: strawberry.ID


@strawberry.type
class ResumeProgrammePayload:
    replayed: bool
    pause: Pause = strawberry.field(description="The pause as it ended.")
    member_id: strawberry.Private[UUID]

    @strawberry.field
    async def member(self, info: Info) -> LazyMember:
        return await info.context.members.load(info, self.member_id)  # type: ignore[no-any-return]


SetConsentResult = Annotated[SetConsentPayload | UserError, strawberry.union("SetConsentResult")]
PauseProgrammeResult = Annotated[
    PauseProgrammePayload | UserError, strawberry.union("PauseProgrammeResult")
]
ResumeProgrammeResult = Annotated[
    ResumeProgrammePayload | UserError, strawberry.union("ResumeProgrammeResult")
]


@strawberry.type
class MembersMutation:
    @strawberry.mutation(description="Codes: VERSION_OUTDATED, REQUEST_REUSED.")
    async def set_consent(self, info: Info, input: SetConsentInput) -> SetConsentResult:
        context = info.context
        member_id = context.member_id
        async with context.db.transaction() as session:
            replayed = await service.set_consent(
                session,
                member_id=member_id,
                request_id=input.request_id,
                purpose=input.purpose,
                granted=input.granted,
                text_version=input.text_version,
                recorded_by=context.viewer.member_id or member_id,
                now=context.now,
            )
            rows = await session.execute(_CONSENTS_OF, {"member_id": member_id})
            consents = consents_of(member_id, rows.scalar_one())
        return SetConsentPayload(replayed=replayed, consents=consents)

    @strawberry.mutation(description="Codes: ALREADY_PAUSED, PERIOD_INVALID, REQUEST_REUSED.")
    async def pause_programme(self, info: Info, input: PauseProgrammeInput) -> PauseProgrammeResult:
        context = info.context
        async with context.db.transaction() as session:
            pause, replayed = await service.pause(
                session,
                member_id=context.member_id,
                request_id=input.request_id,
                reason=input.reason,
                days=rules.PausedDays(input.starts_on, input.ends_on),
                now=context.now,
            )
        return PauseProgrammePayload(replayed=replayed, pause=Pause.from_row(pause))

    @strawberry.mutation(
        description="Ends the running pause today, or takes back one that has not begun. "
        "Codes: NOT_FOUND, REQUEST_REUSED."
    )
    async def resume_programme(
        self, info: Info, input: ResumeProgrammeInput
    ) -> ResumeProgrammeResult:
        context = info.context
        member_id = context.member_id
        named = decode(input.pause_id, Kind.PAUSE, field="pauseId")
        if named.owner_id != member_id:
            raise NotFound(field="pauseId")
        async with context.db.transaction() as session:
            pause, replayed = await service.resume(
                session,
                member_id=member_id,
                request_id=input.request_id,
                pause_id=named.key,
                now=context.now,
            )
        return ResumeProgrammePayload(
            replayed=replayed, pause=Pause.from_row(pause), member_id=member_id
        )


@strawberry.type
class MembersQuery:
    @strawberry.field(description="The signed-in member, or the child a guardian acts for.")
    async def me(self, info: Info) -> LazyMember:
        found = await info.context.members.load_one(info, info.context.member_id)
        if found is None:
            raise Unauthenticated
        return found  # type: ignore[no-any-return]

    @strawberry.field(description="One member's page. Staff only; each read is audited.")
    async def member(self, info: Info, id: strawberry.ID) -> LazyMember | None:
        context = info.context
        _ = context.staff_id
        named = parse(id)
        if named is None or named.kind is not Kind.MEMBER:
            return None
        if not await context.may_see(named.owner_id):
            return None
        return await context.members.load_one(info, named.owner_id)  # type: ignore[no-any-return]


async def _fetch_member(info: Info, id: GlobalId) -> Any:
    return await info.context.members.load(info, id.owner_id)


async def _fetch_pause(info: Info, id: GlobalId) -> Pause | None:
    async with info.context.db.read() as connection:
        found = (
            await connection.execute(
                select(PauseRow).where(
                    col(PauseRow.member_id) == id.owner_id, col(PauseRow.id) == id.key
                )
            )
        ).first()
    return Pause.from_row(found) if found else None


async def _fetch_consent(info: Info, id: GlobalId) -> Consent | None:
    async with info.context.db.read() as connection:
        rows = (
            await connection.execute(_CONSENTS_OF, {"member_id": id.owner_id})
        ).scalar_one_or_none()
    wanted = encode(id.kind, *id.parts)
    found = consents_of(id.owner_id, rows or ())
    return next((consent for consent in found if consent.id == wanted), None)


NODE_FETCHERS: dict[Kind, Fetch] = {
    Kind.MEMBER: _fetch_member,
    Kind.PAUSE: _fetch_pause,
    Kind.CONSENT: _fetch_consent,
}
