"""A thousand ways to rewrite the ledger: each is found, and the first bad row is named. Whoever
rewrites owns the database: no constraint stops them, and in every other case they know how the
chain is computed."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from app.db import Database
from app.points import roots, rules
from app.points import service as points
from app.points.rules import CauseKind, Transfer
from app.points.verify import BadRow, verify
from tests.factories import NOON, make_member
from tests.figures import record_figure

CASES = 1_000
MEMBERS = 5
MOVES = 14
SHANGHAI = ZoneInfo("Asia/Shanghai")
DAY = date(2026, 3, 2)
TABLES = ("wallets", "points_transfers", "points_lots", "points_holds", "points_hold_lots")
COLUMNS = ", ".join(Transfer._fields)

Chain = list[tuple[Transfer, bytes]]


@dataclass(frozen=True)
class Ledger:
    chains: dict[UUID, Chain]
    """Of each member, as they were written."""
    rooted: dict[UUID, list[int]]
    """Transfers that a root bears witness to."""


@dataclass(frozen=True)
class Tampering:
    """What becomes of one member's chain, and the first row that cannot be as it was."""

    name: str
    chain: Chain
    first_bad: int
    rewritten: bool = False
    """Everything after it is hashed anew, so only a root tells: from the first one on."""


async def live(db: Database, member_id: UUID, dice: Random, part: int) -> None:
    """Earnings, some waiting, and what may follow from them."""
    holds: list[UUID] = []
    async with db.transaction() as session:
        for number in range(part * MOVES, (part + 1) * MOVES):
            key = f"walk-{number}:2026-03-02:0"
            earned = await points.earn(
                session,
                member_id=member_id,
                amount=dice.randint(5, 500),
                cause=points.Cause(CauseKind.CHECK_IN, UUID(int=dice.getrandbits(120)), key),
                rule=points.Rule(UUID(int=dice.getrandbits(120)), f"walk{number}"),
                local_date=DAY,
                expires=rules.expiry(DAY, 12, SHANGHAI),
                now=NOON + timedelta(minutes=number),
                pending=number % 5 == 4,
            )
            match number % 7:
                case 2:
                    hold_id = UUID(int=dice.getrandbits(128))
                    cause = points.Cause(CauseKind.REDEMPTION, hold_id, f"redemption:{hold_id}")
                    await points.hold(
                        session, member_id=member_id, hold_id=hold_id, amount=3,
                        expires_at=NOON + timedelta(days=7), cause=cause, now=NOON,
                    )  # fmt: skip
                    holds.append(hold_id)
                case 3 if holds:
                    await points.capture(
                        session, member_id=member_id, hold_id=holds.pop(), now=NOON, amount=2
                    )
                case 4:
                    await points.settle(
                        session, member_id=member_id, transfer_id=earned.id, now=NOON,
                        accept=bool(dice.randint(0, 1)),
                    ) if number % 5 == 4 else None  # fmt: skip
                case 5:
                    await points.reverse(
                        session, member_id=member_id, transfer_id=earned.id, now=NOON
                    )


@pytest.fixture
async def ledger(db: Database, owner_url: str, tmp_path: Path) -> AsyncIterator[Ledger]:
    dice = Random(7)
    members = [await make_member(db) for _ in range(MEMBERS)]
    rooted: dict[UUID, list[int]] = {member_id: [] for member_id in members}
    for member_id in members:
        async with db.transaction() as session:
            await points.open_wallet(session, member_id)
    for part in range(2):
        for member_id in members:
            await live(db, member_id, dice, part)
        await roots.write_root(db, tmp_path / "roots.jsonl", now=NOON)
        async with db.read() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            for row in await driver.fetch("select member_id, rooted_seq from wallets"):  # type: ignore[union-attr]
                rooted[row[0]].append(row[1])
    owner = await asyncpg.connect(owner_url)
    await disarm(owner)
    chains: dict[UUID, Chain] = {}
    for row in await owner.fetch(f"select {COLUMNS}, hash from points_transfers order by 2, 3"):
        chains.setdefault(row["member_id"], []).append(
            (Transfer._make(tuple(row)[:-1]), row["hash"])
        )
    await owner.close()
    yield Ledger(chains, rooted)


async def disarm(owner: asyncpg.Connection) -> None:
    """Drop every constraint of the ledger, and keep a copy of its rows."""
    for table in TABLES:
        await owner.execute(f"create table kept_{table} as table {table}")
    for kind in ("f", "c", "u", "p"):
        for table in TABLES:
            for (name,) in await owner.fetch(
                "select conname from pg_constraint where conrelid = $1::regclass"
                " and contype = $2::text::\"char\"", table, kind,
            ):  # fmt: skip
                await owner.execute(f'alter table {table} drop constraint "{name}" cascade')


async def restore(owner: asyncpg.Connection) -> None:
    async with owner.transaction():
        for table in TABLES:
            await owner.execute(f"delete from {table}")
            await owner.execute(f"insert into {table} select * from kept_{table}")


# Tampering


def edited(field: str, change: Any) -> Any:
    def tamper(chain: Chain, place: int, dice: Random) -> Tampering:
        transfer, hashed = chain[place]
        value = change(getattr(transfer, field), dice)
        changed = transfer._replace(**{field: value})
        assert changed != transfer
        return Tampering(
            f"edited {field}", [*chain[:place], (changed, hashed), *chain[place + 1 :]], place + 1
        )

    return tamper


def other_uuid(_: Any, dice: Random) -> UUID:
    return UUID(int=dice.getrandbits(128))


def later(day: date | None, dice: Random) -> date:
    return (day or DAY) + timedelta(days=dice.randint(1, 999))


EDITS = {
    "amount": lambda it, dice: it + dice.randint(1, 10**6),
    "balance_after": lambda it, dice: it + dice.randint(1, 10**6),
    "kind": lambda it, dice: "ADJUSTED" if it != "ADJUSTED" else "EARNED",
    "debit": lambda it, dice: "expired" if it != "expired" else "issued",
    "credit": lambda it, dice: "owed" if it != "owed" else "available",
    "cause_id": other_uuid,
    "cause_key": lambda it, dice: f"{it}{dice.choice('0/:')}",
    "rule_version": other_uuid,
    "rule_code": lambda it, dice: f"{it or ''}{dice.choice('x0 ')}",
    "corrects": other_uuid,
    "local_date": later,
    "expires_on": later,
    "posted_at": lambda it, dice: it + timedelta(microseconds=dice.randint(1, 10**9)),
    "id": other_uuid,
    "chain_version": lambda it, dice: it + 1,
    "cause_kind": lambda it, dice: "STAFF",
}


def edited_hash(chain: Chain, place: int, dice: Random) -> Tampering:
    changed = (chain[place][0], dice.randbytes(32))
    return Tampering("edited hash", [*chain[:place], changed, *chain[place + 1 :]], place + 1)


def deleted(chain: Chain, place: int, dice: Random) -> Tampering:
    return Tampering("deleted", [*chain[:place], *chain[place + 1 :]], place + 1)


def renumbered(chain: Chain, first: int, by: int) -> Chain:
    return [
        *chain[:first],
        *((it._replace(seq=it.seq + by), hashed) for it, hashed in chain[first:]),
    ]


def deleted_and_closed(chain: Chain, place: int, dice: Random) -> Tampering:
    left = renumbered([*chain[:place], *chain[place + 1 :]], place, -1)
    return Tampering("deleted, numbers closed", left, place + 1)


def inserted(chain: Chain, place: int, dice: Random) -> Tampering:
    """Another earning, as it would have been written there; those after it move on."""
    before = chain[place - 1] if place else None
    forged = chain[place][0]._replace(
        id=other_uuid(None, dice), cause_key=f"forged:{dice.getrandbits(40)}",
        kind="EARNED", debit="issued", credit="owed", expires_on=None, corrects=None,
        balance_after=before[0].balance_after if before else 0,
    )  # fmt: skip
    hashed = rules.transfer_hash(before[1] if before else b"", forged)
    chain = renumbered(chain, place, 1)
    # It would pay a debt that is not there; when there is one, the next row does not follow.
    return Tampering("inserted", [*chain[:place], (forged, hashed), *chain[place:]], place + 1)


def inserted_at_random(chain: Chain, place: int, dice: Random) -> Tampering:
    forged = chain[place][0]._replace(
        id=other_uuid(None, dice), cause_key=f"forged:{dice.getrandbits(40)}"
    )
    chain = renumbered(chain, place, 1)
    return Tampering(
        "inserted, any hash", [*chain[:place], (forged, dice.randbytes(32)), *chain[place:]],
        place + 1,
    )  # fmt: skip


def swapped(chain: Chain, place: int, dice: Random) -> Tampering:
    other = dice.choice([it for it in range(len(chain)) if it != place])
    first, second = sorted((place, other))
    changed = list(chain)
    changed[first] = (chain[second][0]._replace(seq=first + 1), chain[second][1])
    changed[second] = (chain[first][0]._replace(seq=second + 1), chain[first][1])
    return Tampering("swapped", changed, first + 1)


def cut(chain: Chain, place: int, dice: Random) -> Tampering:
    return Tampering("cut tail", chain[:place], place + 1)


def moved_boundary(left: str, right: str) -> Any:
    """The same characters one after the other, with the boundary between two fields moved."""

    def tamper(chain: Chain, place: int, dice: Random) -> Tampering:
        transfer, hashed = chain[place]
        before, after = getattr(transfer, left) or "", getattr(transfer, right) or ""
        joined = before + after
        at = dice.choice([it for it in range(len(joined) + 1) if it != len(before)])
        changed = transfer._replace(**{left: joined[:at], right: joined[at:]})
        return Tampering(
            f"boundary of {left} and {right}",
            [*chain[:place], (changed, hashed), *chain[place + 1 :]],
            place + 1,
        )

    return tamper


def delimiters(chain: Chain, place: int, dice: Random) -> Tampering:
    """Text that looks like the end of a field, or an absent one."""
    transfer, hashed = chain[place]
    trick = dice.choice(["|", ",", "\x01", "\x1f", "\n", "\\", "''", "\xff\xff", "\u2028", "NULL"])
    changed = transfer._replace(
        rule_code=f"{transfer.rule_code or ''}{trick}", cause_key=f"{trick}{transfer.cause_key}"
    )
    return Tampering(
        "delimiters", [*chain[:place], (changed, hashed), *chain[place + 1 :]], place + 1
    )


def empty_for_absent(chain: Chain, place: int, dice: Random) -> Tampering:
    transfer, hashed = chain[place]
    code = "" if transfer.rule_code is None else None
    changed = transfer._replace(rule_code=code)
    return Tampering(
        "empty for absent", [*chain[:place], (changed, hashed), *chain[place + 1 :]], place + 1
    )


def digits(chain: Chain, place: int, dice: Random) -> Tampering:
    """Amount and balance with a digit moved from one to the other."""
    transfer, hashed = chain[place]
    first, rest = str(transfer.balance_after)[0], str(transfer.balance_after)[1:]
    changed = transfer._replace(
        amount=int(f"{transfer.amount}{first}"), balance_after=int(rest or 0)
    )
    return Tampering(
        "digits moved", [*chain[:place], (changed, hashed), *chain[place + 1 :]], place + 1
    )


KINDS = [
    *(edited(field, change) for field, change in EDITS.items()),
    edited_hash, deleted, deleted_and_closed, inserted, inserted_at_random, swapped, cut,
    moved_boundary("rule_code", "cause_key"), moved_boundary("kind", "debit"),
    moved_boundary("debit", "credit"), delimiters, empty_for_absent, digits,
]  # fmt: skip


def rehashed(found: Tampering) -> Tampering:
    """By somebody who computes the chain anew from the first changed row on."""
    chain = found.chain[: found.first_bad - 1]
    head = chain[-1][1] if chain else b""
    for transfer, _ in found.chain[found.first_bad - 1 :]:
        if transfer.chain_version != rules.CHAIN_VERSION:
            return found
        head = rules.transfer_hash(head, transfer)
        chain.append((transfer, head))
    return Tampering(f"{found.name}, hashed anew", chain, found.first_bad, rewritten=True)


async def write(owner: asyncpg.Connection, member_id: UUID, found: Tampering) -> None:
    names = f"{COLUMNS}, hash"
    places = ", ".join(f"${number}" for number in range(1, len(Transfer._fields) + 2))
    async with owner.transaction():
        await owner.execute("delete from points_transfers where member_id = $1", member_id)
        await owner.executemany(
            f"insert into points_transfers ({names}) values ({places})",
            [(*transfer, hashed) for transfer, hashed in found.chain],
        )
        if found.rewritten:
            await follow(owner, member_id, found.chain)


async def follow(owner: asyncpg.Connection, member_id: UUID, chain: Chain) -> None:
    """Wallet and lots as the rewritten chain wants them, as far as that is possible."""
    await owner.execute(
        "update wallets set seq = $2, head = $3 where member_id = $1",
        member_id, len(chain), chain[-1][1] if chain else b"",
    )  # fmt: skip


async def first_bad(db: Database, path: Path) -> BadRow | None:
    [report] = [report async for report in verify(db, roots_path=path) if report.done]
    return report.first_bad


@pytest.mark.timeout(900)
async def test_every_tampering_is_found_and_its_first_bad_row_named(
    db: Database, owner_url: str, ledger: Ledger, tmp_path: Path
) -> None:
    path = tmp_path / "roots.jsonl"
    dice = Random(2026)
    owner = await asyncpg.connect(owner_url)
    assert await first_bad(db, path) is None
    seen: set[str] = set()
    began = time.perf_counter()
    for case in range(CASES):
        member_id = dice.choice(list(ledger.chains))
        chain = ledger.chains[member_id]
        place = dice.randrange(len(chain))
        found = KINDS[case % len(KINDS)](chain, place, dice)
        if case // len(KINDS) % 2 and (anew := rehashed(found)).chain != chain:
            found = anew
        await write(owner, member_id, found)

        named = await first_bad(db, path)

        told = (case, found.name, place, named)
        assert named is not None, told
        assert named.member_id == member_id, told
        assert_named(found, named, ledger.rooted[member_id], told)
        seen.add(found.name)
        await restore(owner)
    assert await first_bad(db, path) is None
    await owner.close()
    record_figure("tampered ledgers found", f"{CASES} of {CASES}")
    record_figure("ways to tamper", len(seen))
    record_figure("for each", round((time.perf_counter() - began) / CASES * 1000), "ms")


def assert_named(found: Tampering, named: BadRow, rooted: list[int], told: Any) -> None:
    """Exactly the first changed row; of a chain that was hashed anew a row that does not follow
    from the accounts, or what the first root after it says, or the wallet as a whole."""
    if not found.rewritten:
        # A forged row that follows is found by the one after it.
        allowed = {found.first_bad} | ({found.first_bad + 1} if found.name == "inserted" else set())
        assert named.seq in allowed, told
        return
    witness = next((seq for seq in rooted if seq >= found.first_bad), None)
    assert witness is not None, told
    if named.seq is not None:
        assert found.first_bad <= named.seq <= max(witness, found.first_bad), told
