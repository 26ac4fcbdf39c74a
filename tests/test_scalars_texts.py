"""Texts of PostgreSQL pass through as the values would have been written."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest

from app.db import Database
from app.graphql.ids import TAIL_SQL, tail, tails
from app.graphql.scalars import decimal_text, instant_text, instant_texts, write_decimal
from app.ids import new_ids
from tests.factories import NOON

FRACTIONS = (0, 1, 10, 120, 123_000, 123_456, 500_000, 999_999)
YEARS = (2, 999, 1969, 2026, 9998)


async def test_instants(db: Database) -> None:
    instants = [
        datetime(year, 2, 28, 23, 59, 59, tzinfo=UTC) + timedelta(microseconds=fraction)
        for year in YEARS
        for fraction in FRACTIONS
    ]
    rows = await db.fetch("select t::text from unnest($1::timestamptz[]) t", instants)
    assert len(rows) == len(instants)
    for instant, (written,) in zip(instants, rows, strict=True):
        assert orjson.dumps(instant_text(written)) == orjson.dumps(instant)
    joined = ",".join(written for (written,) in rows)
    assert orjson.dumps(instant_texts(joined)) == orjson.dumps(instants)


@pytest.mark.parametrize("kind", ["numeric", "numeric(15, 3)"])
async def test_decimals(db: Database, kind: str) -> None:
    texts = ("0", "-0", "0.000", "1E-7", "12.340", "100", "-15.5", "0.001", "-0.0004", "1E+5")
    numbers = [Decimal(it) for it in (*texts, "999999999999.999")]
    rows = await db.fetch(
        f"select n::{kind}, n::{kind}::text from unnest($1::numeric[]) n", numbers
    )
    assert len(rows) == len(numbers)
    for number, written in rows:
        assert decimal_text(written) == write_decimal(number)


async def test_tails_of_many_are_those_of_each(db: Database) -> None:
    ids = new_ids(NOON, 200)
    sql = f"select string_agg({TAIL_SQL.format('id')}, '') from unnest($1::uuid[]) id"
    [[joined]] = await db.fetch(sql, ids)
    assert tails(joined) == [tail(id.bytes) for id in ids]
    assert tails("==" + joined + "==") == ["", *tails(joined), ""]
