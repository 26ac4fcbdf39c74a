"""What one request may use. `now` is read once, at the edge, and passed down."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from app.adapters.sealing import Sealer
from app.db import Database
from app.errors import Forbidden, Unauthenticated
from app.events import Events


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks. Nobody signed in: all fields empty. One person may be both."""

    member_id: UUID | None = None
    staff_id: UUID | None = None
    roles: frozenset[str] = frozenset()
    acting_for: UUID | None = None
    """The child a guardian acts for; the wiring has checked the guardianship."""
    known: bool = True
    """False for a good token of somebody who is neither member nor employee."""
    locale: str = "zh-CN"
    expires_at: datetime | None = None
    """When the token ends; a subscription is closed then."""


ANONYMOUS = Viewer()


class MemberLoader(Protocol):
    """Loads `Member` objects with the facets that a field selects (see `facets.py`)."""

    async def load(self, info: Any, member_id: UUID) -> Any: ...

    async def load_one(self, info: Any, member_id: UUID) -> Any: ...

    async def load_fields(self, info: Any, member_id: UUID, names: frozenset[str]) -> Any: ...


DecideAccess = Callable[["Context", UUID], Coroutine[Any, Any, bool]]
"""Whether the viewer may see this member's data; given by the wiring."""

SignLink = Callable[[str, Mapping[str, str]], str]
"""A same-origin link that opens a path with these parameters, for a short time."""

Record = Callable[["Context", list[UUID]], Coroutine[Any, Any, None]]
"""Writes down that the viewer reads these members' data."""


@dataclass(slots=True)
class Context:
    db: Database
    now: datetime
    viewer: Viewer
    events: Events
    decide_access: DecideAccess
    members: MemberLoader
    forget_viewer: Callable[[UUID], None] = lambda _: None
    """Called with a member whose locale has changed, so that the next answer is in it."""
    request_id: str = ""
    operation: str = ""
    sign_link: SignLink | None = None
    """Makes links to what is no part of the API; None where nothing is served."""
    sealer: Sealer | None = None
    """Opens what is kept sealed; None where no key is configured."""
    state: dict[str, Any] = field(default_factory=dict)
    """What parts of one request share, as loaders; keyed by module name."""
    _access: dict[UUID, asyncio.Future[bool]] = field(default_factory=dict)

    @property
    def locale(self) -> str:
        return self.viewer.locale

    @property
    def member_id(self) -> UUID:
        """The member that `me` is. Raises Unauthenticated, or Forbidden for an employee."""
        found = self.viewer.acting_for or self.viewer.member_id
        if found is not None:
            return found
        if self.viewer.staff_id is not None:
            raise Forbidden("You are signed in as an employee; this is for members.")
        raise self._nobody()

    @property
    def staff_id(self) -> UUID:
        """The employee that `staff` is. Raises Unauthenticated, or Forbidden for a member."""
        if self.viewer.staff_id is None:
            raise self._nobody() if self.viewer.member_id is None else Forbidden()
        return self.viewer.staff_id

    def _nobody(self) -> Unauthenticated:
        if self.viewer.known:
            return Unauthenticated()
        return Unauthenticated("This sign-in belongs to no member and no employee.")

    def require_role(self, *roles: str) -> UUID:
        """The employee, who has one of `roles`. Raises Unauthenticated, Forbidden."""
        staff_id = self.staff_id
        if not self.viewer.roles.intersection(roles):
            raise Forbidden
        return staff_id

    def is_own(self, member_id: UUID) -> bool:
        """Whether the viewer is this member, or the guardian who acts for them."""
        return member_id == (self.viewer.acting_for or self.viewer.member_id)

    async def may_see(self, member_id: UUID) -> bool:
        """Whether this member's data is the viewer's to see: decided once a request and
        member, for every path that leads there."""
        if self.is_own(member_id):
            return True
        deciding = self._access.get(member_id)
        if deciding is None:
            # Kept before it is awaited: sibling fields ask at the same time.
            deciding = asyncio.ensure_future(self.decide_access(self, member_id))
            self._access[member_id] = deciding
        return await deciding

    async def grant(self, member_ids: Iterable[UUID], record: Record) -> None:
        """A statement has already decided: it found only members that are the viewer's to
        see. Those that this request has not read yet are recorded first, with one call of
        `record`; when that fails, so does the read."""
        own = self.viewer.acting_for or self.viewer.member_id
        wanted = [member_id for member_id in dict.fromkeys(member_ids) if member_id != own]
        await self._read([id for id in wanted if id not in self._access], record)
        # Refused a moment ago and found now: the statement is the later word.
        await self._read([id for id in wanted if not await self._access[id]], record)

    async def _read(self, member_ids: list[UUID], record: Record) -> None:
        if not member_ids:
            return
        recording = asyncio.ensure_future(self._recorded(member_ids, record))
        # Kept before it is awaited: sibling fields ask at the same time.
        self._access.update(dict.fromkeys(member_ids, recording))
        await recording

    async def _recorded(self, member_ids: list[UUID], record: Record) -> bool:
        await record(self, member_ids)
        return True
