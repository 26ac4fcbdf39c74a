"""A member's records as they are shown, and as risk reads them: what is in force.

Every look-up takes many members and is one statement. `consented_only` leaves out members who
do not consent to the use of health data.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, TextClause, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel.ext.asyncio.session import AsyncSession

from app.records import clinical
from app.records.thresholds import Guidelines

Cursor = tuple[datetime, UUID]
READINGS_MAX = 60
"""Of one code, of the clinic and of others each: a week at home, six times a day, and more."""
_OLDEST_HEIGHT = timedelta(days=36_500)

# No row at all means never asked.
_CONSENTED = """
(not :consented_only or coalesce((select c.state = 'GRANTED' from consents c
  where c.member_id = asked.member_id and c.purpose = 'HEALTH_DATA'
  order by c.version desc limit 1), false))
"""


def _of_members(lateral: str, order: str) -> TextClause:
    return text(f"""
    select found.* from unnest(:member_ids) as asked (member_id)
    cross join lateral ({lateral}) found where {_CONSENTED} order by {order}
    """).bindparams(bindparam("member_ids", type_=ARRAY(Uuid)))


_RESPONSE_PAGE = _of_members(
    """
    select r.* from questionnaire_responses r where r.member_id = asked.member_id
    and (cast(:code as text) is null or r.code = :code)
    and (cast(:at as timestamptz) is null or (r.answered_at, r.id) < (:at, cast(:id as uuid)))
    order by r.answered_at desc, r.id desc limit :limit
    """,
    "found.answered_at desc, found.id desc",
)


def _in_force(table: str, key: str, condition: str) -> TextClause:
    """Versions without a later one, the newest object first."""
    return _of_members(
        f"""
        select v.* from {table} v where v.member_id = asked.member_id and {condition}
        and not exists (select from {table} later where later.member_id = v.member_id
          and later.{key} = v.{key} and later.version > v.version)
        and (cast(:after as uuid) is null or v.{key} < cast(:after as uuid))
        order by v.{key} desc limit :limit
        """,
        f"found.{key} desc",
    )


_CONDITIONS = _in_force("conditions", "condition_id", "not v.retracted")
_MEDICATIONS = _in_force(
    "medications",
    "medication_id",
    "(not :current_only or v.ends_on is null or v.ends_on >= :today)",
)
_ONE_RESPONSE = _of_members(
    "select r.* from questionnaire_responses r where r.member_id = asked.member_id and r.id = :id",
    "found.id",
)
_RESPONSES_BY_ID = text(f"""
select r.* from unnest(:member_ids, cast(:ids as uuid[])) as asked (member_id, id)
join questionnaire_responses r on r.member_id = asked.member_id and r.id = asked.id
where {_CONSENTED}
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)))


def _one(table: str, key: str) -> TextClause:
    return _of_members(
        f"""
        select v.* from {table} v where v.member_id = asked.member_id
        and v.{key} = cast(:id as uuid) order by v.version desc limit 1
        """,
        f"found.{key}",
    )


_ONE_CONDITION = _one("conditions", "condition_id")
_ONE_MEDICATION = _one("medications", "medication_id")
_READINGS = _of_members(
    """
    select m.* from unnest(cast(:codes as text[]), cast(:clinical as boolean[]),
      cast(:at_least as numeric[]), cast(:since as timestamptz[]))
      as wanted (code, clinical, at_least, since)
    cross join lateral (
      select m.* from measurements m where m.member_id = asked.member_id and m.code = wanted.code
      and m.superseded_at is null and m.measured_at >= wanted.since
      and (m.method = 'CLINICAL' and m.trust = 'HIGH') = wanted.clinical
      and (wanted.at_least is null or m.value >= wanted.at_least)
      order by m.measured_at desc limit :limit) m
    """,
    "found.measured_at desc, found.id desc",
)

Reader = AsyncConnection | AsyncSession


async def responses(
    reading: Reader,
    member_ids: Sequence[UUID],
    *,
    code: str | None,
    after: Cursor | None,
    limit: int,
    consented_only: bool,
) -> Sequence[Any]:
    """Newest first, also those that are not in force any more."""
    at, id = after or (None, None)
    wanted = {"member_ids": list(member_ids), "code": code, "at": at, "id": id}
    return await _rows(reading, _RESPONSE_PAGE, wanted, limit=limit, consented_only=consented_only)


async def conditions(
    reading: Reader,
    member_ids: Sequence[UUID],
    *,
    after: UUID | None = None,
    limit: int,
    consented_only: bool,
) -> Sequence[Any]:
    """Those that were not retracted, the newest first; also those that are over."""
    wanted = {"member_ids": list(member_ids), "after": after}
    return await _rows(reading, _CONDITIONS, wanted, limit=limit, consented_only=consented_only)


async def medications(
    reading: Reader,
    member_ids: Sequence[UUID],
    *,
    current_on: date | None,
    after: UUID | None = None,
    limit: int,
    consented_only: bool,
) -> Sequence[Any]:
    """The newest first; with `current_on` those that are not over on that day."""
    wanted = {
        "member_ids": list(member_ids),
        "after": after,
        "current_only": current_on is not None,
        "today": current_on or date.min,
    }
    return await _rows(reading, _MEDICATIONS, wanted, limit=limit, consented_only=consented_only)


async def response(
    reading: Reader, member_id: UUID, id: UUID, *, consented_only: bool
) -> Any | None:
    return await _first(reading, _ONE_RESPONSE, member_id, id, consented_only)


async def responses_by_id(reading: Reader, keys: Sequence[tuple[UUID, UUID]]) -> Sequence[Any]:
    """Those of members who consent to the use of health data."""
    wanted = {"member_ids": [key[0] for key in keys], "ids": [key[1] for key in keys]}
    return await _rows(reading, _RESPONSES_BY_ID, wanted, consented_only=True)


async def condition(
    reading: Reader, member_id: UUID, id: UUID, *, consented_only: bool
) -> Any | None:
    """As it is in force; None once it was retracted."""
    found = await _first(reading, _ONE_CONDITION, member_id, id, consented_only)
    return None if found is not None and found.retracted else found


async def medication(
    reading: Reader, member_id: UUID, id: UUID, *, consented_only: bool
) -> Any | None:
    """As it is in force."""
    return await _first(reading, _ONE_MEDICATION, member_id, id, consented_only)


async def readings(
    reading: Reader,
    member_ids: Sequence[UUID],
    guidelines: Guidelines,
    *,
    consented_only: bool,
    now: datetime,
) -> Sequence[Any]:
    """What the clinical classes may rest on: rows of `measurements` in force, newest first.

    Those of a clinic and others are looked for apart, and so are those in the diabetes range:
    many low readings of a meter must not hide one high value.
    """
    # A day more: a local day may begin before that of UTC.
    since = now - timedelta(days=guidelines.look_back_days_max + 1)
    recent = now - clinical.DIABETES_RANGE_LOOK_BACK - timedelta(days=1)
    wanted: list[tuple[str, bool, Decimal | None, datetime]] = []
    for at_clinic in (True, False):
        for code in clinical.CODES:
            oldest = now - _OLDEST_HEIGHT if code == "HEIGHT" else since
            wanted.append((code, at_clinic, None, oldest))
        for code, limit in clinical.diabetes_limits(guidelines):
            wanted.append((code, at_clinic, limit, recent))
    codes, places, limits, instants = (list(it) for it in zip(*wanted, strict=True))
    parameters = {
        "member_ids": list(member_ids),
        "codes": codes,
        "clinical": places,
        "at_least": limits,
        "since": instants,
    }
    rows = await _rows(
        reading, _READINGS, parameters, limit=READINGS_MAX, consented_only=consented_only
    )
    return list({(row.member_id, row.id): row for row in rows}.values())


async def _rows(
    reading: Reader, statement: TextClause, wanted: dict[str, Any], **more: Any
) -> Sequence[Any]:
    found: Any = await reading.execute(statement, {**wanted, **more})
    rows: Sequence[Any] = found.all()
    return rows


async def _first(
    reading: Reader, statement: TextClause, member_id: UUID, id: UUID, consented_only: bool
) -> Any | None:
    wanted = {"member_ids": [member_id], "id": id}
    rows = await _rows(reading, statement, wanted, consented_only=consented_only)
    return rows[0] if rows else None
