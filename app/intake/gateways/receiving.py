"""What a gateway sends: stored at once and read by a job, so that it has its answer in time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import DateTime, LargeBinary, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.graphql.ids import Kind as IdKind
from app.graphql.ids import parse
from app.intake.gateways.events import Event, Kind
from app.intake.gateways.signatures import Gateway
from app.intake.models import LinkState
from app.jobs import queue
from app.measurements import devices_connections
from app.measurements.devices_rules import DeviceKind

JOB = "intake.gateway_event"
KEPT = timedelta(days=30)
"""How long it is known that an event came; gateways give up sending it after days."""
SAID_AGAIN = timedelta(hours=1)
"""When the same text without a number is no second attempt any more, once another was sent."""

_MEMBER = text(
    "select member_id from gateway_users where gateway = :gateway and user_id = :user_id"
)
_LINK_USER = text("""
insert into gateway_users as u (gateway, user_id, member_id, linked_at)
select :gateway, :user_id, m.member_id, :now from members m
where m.member_id = :member_id and m.erased_at is null
on conflict (gateway, user_id) do update set linked_at = u.linked_at
returning member_id
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("now", type_=DateTime(timezone=True)))
# Gateways count in seconds: of two changes in one, the member's wish to stop is what counts.
_SET_LINK = text("""
insert into gateway_links as l (member_id, gateway, user_id, provider, state, changed_at)
values (:member_id, :gateway, :user_id, :provider, :state, :at)
on conflict (member_id, gateway, user_id, provider) do update
set state = excluded.state, changed_at = excluded.changed_at
where l.changed_at < excluded.changed_at or (l.changed_at = excluded.changed_at
  and l.state = 'CONNECTED' and excluded.state = 'DISCONNECTED')
returning state
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("at", type_=DateTime(timezone=True)))
# A provider that nobody has disconnected may send.
_STATE = text("""
select coalesce((select l.state from gateway_links l where l.member_id = :member_id
  and l.gateway = :gateway and l.user_id = :user_id and l.provider = :provider), 'CONNECTED')
""").bindparams(bindparam("member_id", type_=Uuid))
_CONSENTS = text("""
select count(*) from (select distinct on (c.purpose) c.state from consents c
  where c.member_id = :member_id and c.purpose in ('HEALTH_DATA', 'DEVICE_DATA')
  order by c.purpose, c.version desc) latest
where latest.state = 'GRANTED'
""").bindparams(bindparam("member_id", type_=Uuid))
_OTHERS = text("""
select 1 from gateway_links where member_id = :member_id and gateway = :gateway
and provider = :provider and state = 'CONNECTED' limit 1
""").bindparams(bindparam("member_id", type_=Uuid))
_STORE = text("""
insert into gateway_events (member_id, gateway, id, type, user_id, provider, received_at, body,
  state)
values (:member_id, :gateway, :id, :type, :user_id, :provider, :now, :body, 'WAITING')
on conflict do nothing returning id
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("body", type_=LargeBinary),
)

_SAID = text("""
select count(*) as times, max(e.received_at) as last_at,
  (select split_part(l.id, ':', 1) from gateway_events l where l.member_id = :member_id
    and l.gateway = :gateway and l.user_id = :user_id and l.provider = :provider
    and l.type = :type order by l.received_at desc, l.id desc limit 1) as newest
from gateway_events e where e.member_id = :member_id and e.gateway = :gateway
  and split_part(e.id, ':', 1) = :id
""").bindparams(bindparam("member_id", type_=Uuid))


class Answer(StrEnum):
    """What became of an event; all of these are a success for the gateway."""

    ACCEPTED = "accepted"
    KNOWN = "known"
    IGNORED = "ignored"


class UserUnknown(Exception):
    """No member is linked to this user: it may come later, so the gateway should try again."""


class UserTaken(Exception):
    """The user is another member's: nothing is moved without a person looking at it."""


@dataclass(frozen=True, slots=True)
class Keys:
    """A member's provider at a gateway."""

    member_id: UUID
    event: Event

    def values(self, **further: object) -> dict[str, object]:
        return {
            "member_id": self.member_id,
            "gateway": self.event.gateway.value,
            "user_id": self.event.user_id,
            "provider": self.event.provider,
            **further,
        }


async def receive(session: AsyncSession, event: Event, raw: bytes, *, now: datetime) -> Answer:
    """Raises UserUnknown, UserTaken."""
    if event.kind is Kind.OTHER:
        return Answer.IGNORED
    if event.kind in (Kind.CONNECTED, Kind.MOVED):
        return await _connect(session, event, now)
    member_id = await _member(session, event.gateway, event.user_id)
    if member_id is None:
        raise UserUnknown
    keys = Keys(member_id, event)
    if event.kind is Kind.DISCONNECTED:
        return await _disconnect(session, keys, now)
    if not await is_connected(session, keys) or not await _consents(session, member_id):
        return Answer.IGNORED
    id = await _store(session, keys, raw, event.id, now)
    if id is None and event.gateway is Gateway.TERRA:
        again = await _said_again(session, keys, now)
        id = again and await _store(session, keys, raw, again, now)
    if id is None:
        return Answer.KNOWN
    payload = {"member": str(member_id), "gateway": event.gateway.value, "event": id}
    await queue.enqueue(session, JOB, payload, now=now)
    return Answer.ACCEPTED


async def _store(
    session: AsyncSession, keys: Keys, raw: bytes, id: str, now: datetime
) -> str | None:
    """Its id; None when it is there already."""
    values = keys.values(id=id, type=keys.event.type, now=now, body=raw)
    found: str | None = (await session.execute(_STORE, values)).scalar_one_or_none()
    return found


async def _said_again(session: AsyncSession, keys: Keys, now: datetime) -> str | None:
    """The id of what is said again on purpose, after something else had been said: a total
    that went back. None when it is another attempt to send the same."""
    values = keys.values(id=keys.event.id, type=keys.event.type)
    times, last_at, newest = (await session.execute(_SAID, values)).one()
    if newest == keys.event.id or now - last_at < SAID_AGAIN:
        return None
    return f"{keys.event.id}:{times + 1}"


async def is_connected(session: AsyncSession, keys: Keys) -> bool:
    state = (await session.execute(_STATE, keys.values())).scalar_one()
    return bool(state == LinkState.CONNECTED)


async def _consents(session: AsyncSession, member_id: UUID) -> bool:
    """To the use of health data and of what devices send: without both, nothing is stored."""
    granted = (await session.execute(_CONSENTS, {"member_id": member_id})).scalar_one()
    return bool(granted == 2)


async def link(
    session: AsyncSession, *, gateway: str, user_id: str, member_id: UUID, now: datetime
) -> None:
    """This user of the gateway is this member. Raises UserUnknown when there is no such
    member, UserTaken when the user is another's."""
    found = (
        await session.execute(
            _LINK_USER,
            {"gateway": gateway, "user_id": user_id, "member_id": member_id, "now": now},
        )
    ).scalar_one_or_none()
    if found is None:
        raise UserUnknown
    if found != member_id:
        raise UserTaken


async def _member(session: AsyncSession, gateway: str, user_id: str) -> UUID | None:
    found: UUID | None = (
        await session.execute(_MEMBER, {"gateway": gateway, "user_id": user_id})
    ).scalar_one_or_none()
    return found


async def _connect(session: AsyncSession, event: Event, now: datetime) -> Answer:
    member_id = _referred(event.reference)
    if member_id is None and event.moved_from is not None:
        member_id = await _member(session, event.gateway, event.moved_from)
    if member_id is None:
        member_id = await _member(session, event.gateway, event.user_id)
    if member_id is None:
        raise UserUnknown
    await link(session, gateway=event.gateway, user_id=event.user_id, member_id=member_id, now=now)
    keys = Keys(member_id, event)
    if event.moved_from is not None and event.moved_from != event.user_id:
        old = keys.values(state=LinkState.DISCONNECTED.value, at=event.occurred_at)
        await session.execute(_SET_LINK, old | {"user_id": event.moved_from})
    if not await _set(session, keys, LinkState.CONNECTED):
        return Answer.KNOWN
    await devices_connections.connect(
        session,
        member_id=member_id,
        source_id=event.source_id,
        kind=DeviceKind.GATEWAY,
        now=now,
    )
    return Answer.ACCEPTED


async def _disconnect(session: AsyncSession, keys: Keys, now: datetime) -> Answer:
    if not await _set(session, keys, LinkState.DISCONNECTED):
        return Answer.KNOWN
    if (await session.execute(_OTHERS, keys.values())).one_or_none() is None:
        await devices_connections.deauthorise(
            session, member_id=keys.member_id, source_id=keys.event.source_id, now=now
        )
    return Answer.ACCEPTED


async def _set(session: AsyncSession, keys: Keys, state: LinkState) -> bool:
    """False when something later is known already."""
    values = keys.values(state=state.value, at=keys.event.occurred_at)
    return (await session.execute(_SET_LINK, values)).one_or_none() is not None


def _referred(reference: str | None) -> UUID | None:
    """The member whom we named to the gateway, by global id or UUID."""
    if reference is None:
        return None
    found = parse(reference)
    if found is not None and found.kind is IdKind.MEMBER:
        return found.owner_id
    try:
        return UUID(reference)
    except ValueError:
        return None
