"""Columns that say what they hold.

Every column carries a class in its metadata: redaction, export, erasure and field
encryption follow it, and a test fails on a column without one.
"""

from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    Numeric,
    Text,
    Time,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

# Set before any table is defined, so that every constraint has one predictable name.
SQLModel.metadata.naming_convention = {
    "ix": "%(table_name)s_%(column_0_N_name)s",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}


class Holds(StrEnum):
    """What a column holds, for redaction, export and erasure."""

    IDENTITY = "identity"
    """Who somebody is: names, birth dates, contacts, sign-in subjects."""
    HEALTH = "health"
    FREE_TEXT = "free_text"
    """Written by a person; may hold anything."""
    SECRET = "secret"
    NONE = "none"


class TableClass(StrEnum):
    """Where a table's rows live; `app/tables.py` names the class of each."""

    MEMBER_OWNED = "member_owned"
    """Primary key, unique indexes and foreign keys begin with the member's id."""
    REFERENCE = "reference"
    DIRECTORY = "directory"
    """A global key that leads to a member or an employee."""
    INFRASTRUCTURE = "infrastructure"


QUANTITY = Numeric(12, 3)

_TYPES: Mapping[Any, Any] = {
    UUID: Uuid,
    str: Text,
    int: Integer,
    bool: Boolean,
    date: Date,
    datetime: DateTime(timezone=True),
    time: Time,
    Decimal: QUANTITY,
    bytes: LargeBinary,
    dict: JSONB,
    list: ARRAY(Text),
}


def column(
    kind: Any,
    holds: Holds = Holds.NONE,
    *,
    null: bool = False,
    key: bool = False,
    big: bool = False,
    older_rows: str | None = None,
    **options: Any,
) -> Any:
    """One column of type `kind` (a Python type), not null unless said.

    `key` puts it into the primary key; `big` makes an integer 64 bits wide.
    `older_rows` is the default in the database, as SQL, of a column that the release before did
    not know and goes on writing rows without. `options` are those of SQLModel's `Field`.
    """
    if null:
        options.setdefault("default", None)
    extra = {"info": {"class": holds}, **options.pop("sa_column_kwargs", {})}
    if older_rows is not None:
        extra["server_default"] = text(older_rows)
    return Field(
        sa_type=BigInteger if big else _TYPES[kind],
        nullable=null,
        primary_key=key,
        sa_column_kwargs=extra,
        **options,
    )
