"""Reconciliation finds every row that does not follow from the transfers; export writes them."""

import csv
import io
import json
from uuid import UUID

import asyncpg
import pytest

from app.db import Database
from app.points import service
from app.points.export import COLUMNS, Format, export
from app.points.reconcile import reconcile
from tests.factories import NOON
from tests.points_ledger import do, earn, hold, make_wallet, restate, sound, spend
from tests.processes import command


async def busy(db: Database) -> UUID:
    """A member to whom everything has happened."""
    member_id = await make_wallet(db)
    first = await earn(db, member_id, 10, key="a")
    await earn(db, member_id, 20, key="b")
    await spend(db, member_id, 12)
    await do(db, service.reverse, member_id=member_id, transfer_id=first.id)
    held = await hold(db, member_id, 4)
    await do(db, service.capture, member_id=member_id, hold_id=held, amount=3)
    await hold(db, member_id, 2)
    await restate(db, member_id, 25, key="b")
    await earn(db, member_id, 6, key="c", pending=True)
    return member_id


CHANGED = {
    "spent": ("update wallets set spent = spent + 1", "the wallet's spent is"),
    "expired": ("update wallets set expired = 5", "the wallet's expired is 5"),
    "lots swapped": (
        (
            "update points_lots set remaining = remaining - 1, used = used + 1"
            " where remaining > 0 and earned_seq = (select max(earned_seq) from points_lots"
            " where remaining > 0);"
            "update points_lots set remaining = remaining + 1, used = used - 1"
            " where id = (select id from points_lots where used > 0 order by earned_seq limit 1)"
        ),
        "lot ",
    ),
    "origin": ("update points_lots set origin_id = gen_random_uuid()", "origin_id is"),
    "grace": ("update points_lots set is_grace = true", "is_grace is True"),
    "hold resolved": (
        (
            "update points_holds set state = 'RELEASED', released = amount, resolved_at = created_at"
            " where state = 'HELD'"
        ),
        "state is RELEASED",
    ),
    "hold made at another instant": (
        (
            "update points_holds set created_at = created_at - interval '1 second'"
            " where state = 'HELD'"
        ),
        "created_at is",
    ),
    "hold resolved at another instant": (
        (
            "update points_holds set resolved_at = resolved_at + interval '1 microsecond'"
            " where released > 0"
        ),
        "resolved_at is",
    ),
    "hold captured by more": (
        (
            "update points_holds set captured = captured + 1, released = released - 1"
            " where released > 0"
        ),
        "captured is",
    ),
    "part": ("update points_hold_lots set released = 1 where captured + released < amount", "part"),
    "notice": (
        (
            "insert into points_expiry_notices (member_id, expires_on, days_before, amount, revision,"
            " announced_at) select member_id, '2040-01-01', 7, 1, 0, now() from wallets"
        ),
        "notice for 2040-01-01",
    ),
    "notice of more": (
        (
            "insert into points_expiry_notices (member_id, expires_on, days_before, amount, revision,"
            " announced_at) select member_id, '2027-03-02', 7, 1000, 0, now() from wallets"
        ),
        "notice for 2027-03-02",
    ),
    "part gone": ("delete from points_hold_lots where captured > 0", "is missing"),
    "hold gone": (
        "delete from points_hold_lots; delete from points_holds where state = 'HELD'",
        "is missing",
    ),
}


@pytest.mark.parametrize("what", CHANGED)
async def test_a_changed_row_is_named(db: Database, owner_url: str, what: str) -> None:
    member_id = await busy(db)
    assert await sound(db)
    statements, said = CHANGED[what]
    connection = await asyncpg.connect(owner_url)
    await connection.execute(statements)
    await connection.close()
    untouched = await busy(db)

    reports = [report async for report in reconcile(db)]

    [difference] = reports[-1].first
    assert (reports[-1].differences, reports[-1].members, reports[-1].done) == (1, 2, True)
    assert difference.member_id == member_id != untouched
    assert said in difference.what


async def test_progress_reaches_the_end(db: Database) -> None:
    for _ in range(3):
        await busy(db)
    reports = [report async for report in reconcile(db)]
    assert [report.members for report in reports] == [0, 3, 3]
    assert reports[-1].transfers == 30
    assert [report.done for report in reports] == [False, False, True]


async def test_an_export_has_every_transfer_as_it_stands(db: Database) -> None:
    members = sorted([await busy(db), await busy(db)])
    texts = {}
    for format in Format:
        chunks = [chunk async for chunk in export(db, format)]
        assert chunks[-1][1:] == (20, 20)
        texts[format] = "".join(text for text, _, _ in chunks)

    objects = [json.loads(line) for line in texts[Format.JSONL].splitlines()]
    rows = list(csv.DictReader(io.StringIO(texts[Format.CSV])))
    assert [(it["member_id"], it["seq"]) for it in objects] == [
        (str(member_id), seq) for member_id in members for seq in range(1, 11)
    ]
    for found, row in zip(objects, rows, strict=True):
        assert tuple(found) == tuple(row) == COLUMNS
        assert (row["hash"], int(row["amount"])) == (found["hash"], found["amount"])
        assert len(bytes.fromhex(found["hash"])) == 32
        assert (row["corrects"] or None) == found["corrects"]


async def test_an_export_since_a_moment_leaves_out_what_is_older(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 1, key="a")
    later = NOON.replace(hour=9)
    await earn(db, member_id, 2, key="b", now=later)
    chunks = [chunk async for chunk in export(db, Format.JSONL, since=later)]
    assert [json.loads(text)["amount"] for text, _, _ in chunks if text] == [2]


async def test_the_commands(db: Database, database_url: str, owner_url: str) -> None:
    member_id = await busy(db)
    at = {"WELLWARD_DATABASE_URL": database_url}

    code, said, _ = await command("ledger", "reconcile", **at)
    assert (code, said) == (0, "Reconciled: 1 members, 10 transfers.\n")
    code, said, _ = await command("ledger", "export", "--format", "csv", **at)
    assert (code, len(said.splitlines())) == (0, 11)
    connection = await asyncpg.connect(owner_url)
    await connection.execute("update wallets set spent = 99")
    await connection.close()
    code, said, _ = await command("ledger", "reconcile", **at)
    assert code == 1
    assert said.splitlines() == [
        f"DIFFERS: member {member_id}: the wallet's spent is 99, by its transfers 15",
        "1 of 1 members differ.",
    ]
