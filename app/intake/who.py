"""For whom something is imported: a member, named in one of the ways that staff know."""

from datetime import date
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text

from app.db import Database
from app.graphql.ids import Kind, parse
from app.intake.report import Refused

_COLUMNS = "m.member_id, m.time_zone, m.birth_date, m.sex"
_BY_ID = text(
    f"select {_COLUMNS} from members m where m.member_id = :id and m.erased_at is null"
).bindparams(bindparam("id", type_=Uuid))
_BY_LOGIN = text(
    f"select distinct {_COLUMNS} from member_sign_ins s join members m using (member_id)"
    " where s.login = :login and m.erased_at is null limit 2"
)


class Member(NamedTuple):
    member_id: UUID
    time_zone: str
    birth_date: date
    sex: str


class NoSuchMember(Refused):
    def __init__(self) -> None:
        super().__init__("There is no such member: give a login, a member's id or its UUID.")


async def find(db: Database, named: str) -> Member:
    """By login, global id or UUID. Raises NoSuchMember, Refused when a login is not unique."""
    if not _can_be_kept(named):
        raise NoSuchMember
    id = _id(named)
    async with db.read() as connection:
        if id is not None:
            rows = (await connection.execute(_BY_ID, {"id": id})).all()
        else:
            rows = (await connection.execute(_BY_LOGIN, {"login": named})).all()
    if not rows:
        raise NoSuchMember
    if len(rows) > 1:
        raise Refused("Several members have this login, at different issuers: give the id.")
    return Member(*rows[0])


def _can_be_kept(text: str) -> bool:
    """What PostgreSQL takes for text; a command line may hold any bytes."""
    return "\0" not in text and not any("\ud800" <= it <= "\udfff" for it in text)


def _id(named: str) -> UUID | None:
    found = parse(named)
    if found is not None and found.kind is Kind.MEMBER:
        return found.owner_id
    try:
        return UUID(named)
    except ValueError:
        return None
