"""`wellward ledger` as it is typed: what it prints, and how it exits."""

import json
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from app.db import Database
from app.points import export as exporting
from app.points.export import COLUMNS, Format, export
from tests.factories import NOON
from tests.points_ledger import earn, make_wallet
from tests.processes import command

DAY = timedelta(days=1)


async def make_two(db: Database) -> tuple[UUID, UUID]:
    """Who has been at rest since NOON, and who has earned the day after."""
    at_rest, active = await make_wallet(db), await make_wallet(db)
    for key in ("a", "b", "c"):
        await earn(db, at_rest, key=key)
        await earn(db, active, key=key, now=NOON + DAY)
    return at_rest, active


async def test_verify_since_a_day_leaves_out_who_has_been_at_rest(
    db: Database, database_url: str, owner_url: str, tmp_path: Path
) -> None:
    at_rest, _ = await make_two(db)
    at = {
        "WELLWARD_DATABASE_URL": database_url,
        "WELLWARD_LEDGER_ROOTS_PATH": str(tmp_path / "roots.jsonl"),
    }
    connection = await asyncpg.connect(owner_url)
    await connection.execute("update wallets set available = 999 where member_id = $1", at_rest)
    await connection.close()

    since = ("ledger", "verify", "--since", "2026-03-03")
    assert (await command(*since, **at))[:2] == (0, "Sound: 1 members, 3 transfers, 0 roots.\n")
    code, said, _ = await command("ledger", "verify", "--since", "2026-03-02", **at)
    assert (code, said) == (
        1,
        f"NOT SOUND: member {at_rest}: the wallet's available differs from its transfers\n",
    )
    code, _, complained = await command("ledger", "verify", "--since", "yesterday", **at)
    assert code == 2
    assert "--since" in complained


async def test_an_export_is_whole_in_any_number_of_chunks(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_two(db)
    whole = {format: [it async for it in export(db, format)] for format in Format}
    monkeypatch.setattr(exporting, "ROWS_A_CHUNK", 4)
    parts = {format: [it async for it in export(db, format)] for format in Format}

    for format in Format:
        assert [(done, total) for _, done, total in parts[format]] == [(0, 6), (4, 6), (6, 6)]
        texts = ["".join(text for text, _, _ in it[format]) for it in (whole, parts)]
        assert texts[0] == texts[1]


async def test_an_export_as_json_to_a_file_and_to_standard_output(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    members = await make_two(db)
    at = {"WELLWARD_DATABASE_URL": database_url}
    file = tmp_path / "transfers.jsonl"

    code, said, _ = await command("ledger", "export", str(file), **at)
    assert (code, said) == (0, "")
    code, printed, _ = await command("ledger", "export", "--format", "jsonl", **at)
    assert (code, printed) == (0, file.read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [tuple(row) for row in rows] == [COLUMNS] * 6
    assert [(row["member_id"], row["seq"]) for row in rows] == [
        (str(member_id), seq) for member_id in sorted(members) for seq in (1, 2, 3)
    ]
    code, newer, _ = await command("ledger", "export", "--since", "2026-03-03", **at)
    assert code == 0
    assert newer.splitlines() == [
        line for line in printed.splitlines() if json.loads(line)["member_id"] == str(members[1])
    ]
