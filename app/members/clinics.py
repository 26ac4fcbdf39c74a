"""Partner clinics: employees of another house, which sign in with a key of their own.

A key is shown once, when it is issued; only the hash of its secret is kept. A clinic may have
several at a time, so that one can take the place of another.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from secrets import token_bytes
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.adapters.identity import InvalidToken, Reason
from app.db import Database
from app.errors import ConfigurationError, Forbidden
from app.graphql.context import Viewer
from app.ids import new_id
from app.members.models import ClinicKey, Employee
from app.members.rules import StaffRole
from app.members.sign_in import REMEMBERED_FOR

PREFIX = "wellward_clinic_"
_KEY = re.compile(PREFIX + r"([0-9a-f]{32})_([A-Za-z0-9_-]{43})")
_REMEMBERED_MAX = 10_000
_FIND = text("""
select k.secret_hash, s.staff_id, s.roles, s.locale from clinic_keys k
join staff s on s.staff_id = k.staff_id and s.active
where k.key_id = :key_id and k.revoked_at is null
""").bindparams(bindparam("key_id", type_=Uuid))
_ALL = text("""
select s.staff_id, s.display_name, k.key_id, k.issued_at, k.revoked_at
from staff s left join clinic_keys k on k.staff_id = s.staff_id
where 'CLINIC' = any(s.roles) order by s.display_name, s.staff_id, k.issued_at, k.key_id
""")


class NoSuchClinic(ConfigurationError):
    pass


class ClinicWithKey(NamedTuple):
    staff_id: UUID
    name: str
    key_id: UUID | None
    """Null for a clinic that never had a key."""
    issued_at: datetime | None
    revoked_at: datetime | None


async def add(session: AsyncSession, *, name: str, locale: str, now: datetime) -> UUID:
    """A new partner clinic, without a key."""
    staff_id = new_id(now)
    roles = [StaffRole.CLINIC.value]
    session.add(
        Employee(
            staff_id=staff_id,
            display_name=name,
            roles=roles,
            locale=locale,
            active=True,
            created_at=now,
        )
    )
    return staff_id


async def issue(session: AsyncSession, *, staff_id: UUID, now: datetime) -> str:
    """A new key, which nobody will see again. Raises NoSuchClinic."""
    found = await session.get(Employee, staff_id)
    if found is None or StaffRole.CLINIC not in found.roles:
        raise NoSuchClinic("There is no clinic of this id; `wellward clinics list` names them.")
    key_id = new_id(now)
    secret = urlsafe_b64encode(token_bytes(32)).rstrip(b"=").decode()
    session.add(
        ClinicKey(key_id=key_id, staff_id=staff_id, secret_hash=_hash(secret), issued_at=now)
    )
    return f"{PREFIX}{key_id.hex}_{secret}"


async def revoke(session: AsyncSession, *, key_id: UUID, now: datetime) -> None:
    """A key that was revoked stays so. Raises NoSuchClinic."""
    found = (
        await session.exec(select(ClinicKey).where(col(ClinicKey.key_id) == key_id))
    ).one_or_none()
    if found is None:
        raise NoSuchClinic("There is no key of this id; `wellward clinics list` names them.")
    found.revoked_at = found.revoked_at or now


async def everyone(db: Database) -> Sequence[ClinicWithKey]:
    async with db.read() as connection:
        return [ClinicWithKey(*row) for row in await connection.execute(_ALL)]


def is_key(token: str) -> bool:
    """Whether it is meant as a clinic's key and not as a sign-in token."""
    return token.startswith(PREFIX)


class ClinicKeys:
    """Whose key it is; remembered for half a minute."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: OrderedDict[bytes, tuple[datetime, Viewer]] = OrderedDict()

    async def viewer(self, token: str, *, acting: bool, now: datetime) -> Viewer:
        """The clinic. Raises InvalidToken, or Forbidden when it would act for a member."""
        if acting:
            raise Forbidden("You do not act for this member.")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and now < known[0]:
            return known[1]
        viewer = await self._find(token)
        self._known[digest] = (now + REMEMBERED_FOR, viewer)
        self._known.move_to_end(digest)
        while len(self._known) > _REMEMBERED_MAX:
            self._known.popitem(last=False)
        return viewer

    async def _find(self, token: str) -> Viewer:
        parts = _KEY.fullmatch(token)
        if parts is None:
            raise InvalidToken(Reason.INVALID)
        async with self._db.read() as connection:
            row = (await connection.execute(_FIND, {"key_id": UUID(parts[1])})).one_or_none()
        if row is None or not hmac.compare_digest(bytes(row.secret_hash), _hash(parts[2])):
            raise InvalidToken(Reason.INVALID)
        return Viewer(staff_id=row.staff_id, roles=frozenset(row.roles), locale=row.locale)


def _hash(secret: str) -> bytes:
    """Of 256 random bits nobody guesses any; a slow hash would protect nothing more."""
    return hashlib.sha256(secret.encode()).digest()
