"""Readings as the parameters of one statement: what is sent is what the server reads."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.db import Database
from app.measurements import readings_sent
from app.measurements.facts import NewReading
from app.measurements.rules import ReadingKind

COLUMNS = readings_sent.COLUMNS
_SELECT = text(f"select {', '.join(COLUMNS)} from {readings_sent.rows(*COLUMNS)} order by id")
VALUES: dict[str, list[Any]] = {
    "value": [Decimal(it) for it in ("1E-7", "12.340", "-0", "5", "123456789012345.1234567891")],
    "sent_value": ["1", "1E-7", "-0"],
    "source_id": ["", "x\x1fy", 'a,b"{}', "\\N", "NULL", "."],
    "app": [None, "", "NULL", "é😀"],
    "context": [None, "FASTING"],
    "confirmed": [None, True, False],
    "supersedes": [None, UUID(int=2**127 + 7)],
}


async def test_any_readings_arrive_as_they_are(db: Database) -> None:
    random = Random(3)

    def reading(number: int) -> NewReading:
        chosen = {name: random.choice(choices) for name, choices in VALUES.items()}
        kind = ReadingKind(
            code=random.choice(["A", "B"]),
            unit="mm[Hg]",
            sent_unit="kPa",
            method="SELF",
            trust="LOW",
            **{name: chosen.pop(name) for name in ("source_id", "app", "context")},
        )
        return NewReading(
            id=UUID(int=number),
            code=kind.code,
            local_date=date(2026, 1, 1) + timedelta(days=random.randint(-9000, 3)),
            kind=kind,
            measured_at=datetime(2026, 1, 1, tzinfo=UTC)
            + timedelta(microseconds=random.randint(-(10**15), 10**14)),
            **chosen,
        )

    async with db.read() as connection:
        for count in [1] * 20 + [2] * 20 + [60] * 5:
            sent = [reading(number) for number in range(count)]
            found = await connection.execute(_SELECT, readings_sent.parameters(sent, COLUMNS))
            flat = ({**it._asdict(), **it.kind._asdict()} for it in sent)
            assert [tuple(row) for row in found] == [
                tuple(it[name] for name in COLUMNS) for it in flat
            ]
