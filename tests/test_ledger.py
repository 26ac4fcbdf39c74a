"""The ledger on a real database: earning once, and finding out whoever rewrites it."""

import asyncio
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.ids import new_id
from app.points import roots, rules, service
from app.points.models import ROUTE_ALLOWED
from app.points.rules import ROUTES, Account, Balances, CauseKind, Transfer, TransferKind
from app.points.verify import BadRow, VerifyReport, verify
from tests.factories import NOON, make_member

SHANGHAI = ZoneInfo("Asia/Shanghai")
DAY = date(2026, 3, 2)
EXPIRES = rules.expiry(DAY, 12, SHANGHAI)
RULE = service.Rule(UUID(int=7), "gone")


async def make_wallet(db: Database) -> UUID:
    member_id = await make_member(db)
    async with db.transaction() as session:
        await service.open_wallet(session, member_id)
    return member_id


async def earn(
    db: Database, member_id: UUID, amount: int = 10, *, key: str = "walk:0", **options: Any
) -> Transfer:
    cause = service.Cause(CauseKind.CHECK_IN, UUID(int=9), key)
    async with db.transaction() as session:
        return await service.earn(
            session,
            member_id=member_id,
            amount=amount,
            cause=cause,
            rule=RULE,
            local_date=DAY,
            expires=options.pop("expires", EXPIRES),
            now=options.pop("now", NOON),
            **options,
        )


async def earn_many(db: Database, member_id: UUID, count: int) -> None:
    for number in range(count):
        await earn(db, member_id, number + 1, key=f"walk:{number}")


async def one(db: Database, statement: str, **parameters: Any) -> Any:
    async with db.read() as connection:
        return (await connection.execute(text(statement), parameters)).one()


async def check(db: Database, path: Path | None = None, **options: Any) -> VerifyReport:
    reports = [report async for report in verify(db, roots_path=path, **options)]
    assert [report.done for report in reports] == [False] * (len(reports) - 1) + [True]
    return reports[-1]


async def state(db: Database, member_id: UUID) -> tuple[int, int, int, int, int]:
    """Available, earned ever, sequence, number of transfers, number of lots."""
    return tuple(
        await one(
            db,
            """select available, earned_total, seq,
                 (select count(*) from points_transfers t where t.member_id = w.member_id),
                 (select count(*) from points_lots l where l.member_id = w.member_id)
               from wallets w where member_id = :member_id""",
            member_id=member_id,
        )
    )


# Earning


async def test_an_earning_is_a_transfer_a_lot_and_a_balance(db: Database) -> None:
    member_id = await make_wallet(db)

    transfer = await earn(db, member_id, 10)

    assert await state(db, member_id) == (10, 10, 1, 1, 1)
    lot = await one(db, "select * from points_lots")
    assert (lot.id, lot.earned_seq) == (transfer.id, 1)
    assert (lot.amount, lot.remaining, lot.pending, lot.held) == (10, 10, 0, 0)
    assert (lot.expires_on, lot.expires_at) == (date(2027, 3, 2), EXPIRES.at)
    head, hash = await one(db, "select head, hash from wallets join points_transfers using (seq)")
    assert head == hash == rules.transfer_hash(b"", transfer)
    assert (await check(db)).first_bad is None


async def test_a_cause_counts_once_whatever_is_asked_later(db: Database) -> None:
    member_id = await make_wallet(db)
    first = await earn(db, member_id, 10)

    assert await earn(db, member_id, 99, now=NOON + timedelta(days=1)) == first
    assert await state(db, member_id) == (10, 10, 1, 1, 1)


async def test_thirty_two_at_once_all_count_and_one_cause_counts_once(db: Database) -> None:
    member_id = await make_wallet(db)
    keys = [f"walk:{number}" for number in range(16)] + ["same"] * 16

    transfers = await asyncio.gather(*(earn(db, member_id, 10, key=key) for key in keys))

    assert await state(db, member_id) == (170, 170, 17, 17, 17)
    assert len({transfer.id for transfer in transfers[16:]}) == 1
    assert {transfer.seq for transfer in transfers} == set(range(1, 18))
    assert (await check(db)).first_bad is None


async def test_two_members_do_not_share_a_cause(db: Database) -> None:
    members = [await make_wallet(db), await make_wallet(db)]
    for member_id in members:
        await earn(db, member_id, 10)
    assert [await state(db, member_id) for member_id in members] == [(10, 10, 1, 1, 1)] * 2


async def test_pending_points_wait(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, pending=True)

    assert await state(db, member_id) == (0, 0, 1, 1, 1)
    row = await one(db, "select w.pending, l.pending, l.remaining from wallets w, points_lots l")
    assert tuple(row) == (10, 10, 0)
    assert (await check(db)).first_bad is None


async def test_a_debt_is_paid_first(db: Database, owner_url: str) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10)
    await post(owner_url, member_id, TransferKind.REDEEMED, "available", "redeemed", 10)
    await post(owner_url, member_id, TransferKind.REVERSED, "owed", "reversed", 4)

    await earn(db, member_id, 10, key="walk:1")

    assert await state(db, member_id) == (6, 16, 5, 5, 2)
    assert (await one(db, "select owed from wallets")).owed == 0
    rows = await one(
        db,
        """select array_agg(row(debit, credit, amount, balance_after, cause_key) order by seq)
             from points_transfers where seq > 3""",
    )
    assert rows[0] == [
        ("issued", "owed", 4, 0, "walk:1"),
        ("issued", "available", 6, 6, "walk:1/2"),
    ]
    assert (await check(db)).first_bad is None


async def test_a_wallet_that_was_written_meanwhile_is_not_written(db: Database) -> None:
    """What the check-in relies on: from an old version nothing at all is written."""
    member_id = await make_wallet(db)
    row = await one(db, f"select {service.WALLET_COLUMNS} from wallets")
    earning = service.plan_earning(
        service.WalletState.of(member_id, row),
        ids=(new_id(NOON), new_id(NOON)),
        amount=5,
        cause=service.Cause(CauseKind.CHECK_IN, UUID(int=9), "late"),
        rule=RULE,
        local_date=DAY,
        expires=EXPIRES,
        now=NOON,
    )
    await earn(db, member_id, 10)

    statement = text(f"with {service.EARNING_CTES} select count(*) from earned_wallet")
    async with db.write() as connection:
        written = (await connection.execute(statement, earning.parameters)).scalar_one()

    assert written == 0
    assert await state(db, member_id) == (10, 10, 1, 1, 1)


async def test_opening_a_wallet_twice_changes_nothing(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10)
    async with db.transaction() as session:
        await service.open_wallet(session, member_id)
    assert await state(db, member_id) == (10, 10, 1, 1, 1)


# What the database refuses


@pytest.mark.parametrize(
    "statement",
    [
        "update points_transfers set amount = 1",
        "delete from points_transfers",
        "truncate points_transfers",
    ],
)
async def test_the_application_cannot_rewrite_transfers(
    db: Database, database_url: str, statement: str
) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10)
    connection = await asyncpg.connect(database_url)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement)
    await connection.close()
    assert await state(db, member_id) == (10, 10, 1, 1, 1)


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"amount": 0}, "amount_positive"),
        ({"amount": -1}, "amount_positive"),
        ({"credit": "issued"}, "accounts_differ"),
        ({"credit": "redeemed", "expires_on": None}, "route_allowed"),
        ({"kind": "GIFT"}, "route_allowed"),
        ({"cause_kind": "MOON"}, "cause_kind_known"),
        ({"cause_kind": None}, "cause_complete"),
        ({"expires_on": None}, "expires_when_earned"),
        ({"balance_after": -1}, "balance_not_negative"),
        ({"hash": b"short"}, "hash_is_sha256"),
        ({"cause_key": "walk:0"}, "cause_key"),
        ({"seq": 1}, "pkey"),
        ({"corrects": UUID(int=404)}, "corrects"),
    ],
)
async def test_the_database_refuses_transfers_that_cannot_be(
    db: Database, owner_url: str, change: dict[str, Any], constraint: str
) -> None:
    member_id = await make_wallet(db)
    first = await earn(db, member_id, 10)
    values = {**first._asdict(), "seq": 2, "id": UUID(int=8), "cause_key": "other"}
    values |= {"hash": b"h" * 32, **change}
    names = ", ".join(values)
    places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
    connection = await asyncpg.connect(owner_url)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=constraint):
        await connection.execute(
            f"insert into points_transfers ({names}) values ({places})", *values.values()
        )
    await connection.close()


async def test_the_database_allows_the_same_routes(db: Database) -> None:
    async with db.read() as connection:
        found = await connection.execute(
            text(
                "select kind, debit, credit from unnest(cast(:kinds as text[])) as kind,"
                " unnest(cast(:accounts as text[])) as debit,"
                " unnest(cast(:accounts as text[])) as credit"
                f" where {ROUTE_ALLOWED}"
            ),
            {"kinds": ["GIFT", *TransferKind], "accounts": ["moon", *Account]},
        )
        allowed = {tuple(row) for row in found}
    assert allowed == {(kind, *route) for kind, routes in ROUTES.items() for route in routes}


async def test_no_balance_goes_below_zero(db: Database, owner_url: str) -> None:
    await make_wallet(db)
    connection = await asyncpg.connect(owner_url)
    for name in Balances._fields:
        with pytest.raises(asyncpg.CheckViolationError, match="balances_not_negative"):
            await connection.execute(f"update wallets set {name} = -1")
    await connection.close()


# Verification


async def post(
    owner_url: str,
    member_id: UUID,
    kind: TransferKind,
    debit: str,
    credit: str,
    amount: int,
    *,
    corrects: UUID | None = None,
) -> None:
    """Write any transfer and its balances; of the lots only what is redeemed from one."""
    connection = await asyncpg.connect(owner_url)
    async with connection.transaction():
        row = await connection.fetchrow(
            f"select {service.WALLET_COLUMNS} from wallets where member_id = $1", member_id
        )
        wallet = service.WalletState.of(member_id, tuple(row))
        balances = rules.apply(wallet.balances, rules.Route(debit, credit), amount)
        transfer = Transfer(
            chain_version=1,
            member_id=member_id,
            seq=wallet.seq + 1,
            id=new_id(NOON),
            kind=kind,
            debit=debit,
            credit=credit,
            amount=amount,
            balance_after=balances.shown,
            cause_kind=None,
            cause_id=None,
            cause_key=f"test:{wallet.seq + 1}",
            rule_version=None,
            rule_code=None,
            corrects=corrects,
            local_date=DAY,
            posted_at=NOON,
            expires_on=None,
        )
        head = rules.transfer_hash(wallet.head, transfer)
        values = (*transfer, head)
        names = ", ".join((*Transfer._fields, "hash"))
        places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
        await connection.execute(
            f"insert into points_transfers ({names}) values ({places})", *values
        )
        await connection.execute(
            """update wallets set pending = $2, available = $3, held = $4, owed = $5,
                 earned_total = $6, spent = $7, expired = $8, seq = $9, head = $10,
                 version = version + 1
               where member_id = $1""",
            member_id, *balances, transfer.seq, head,
        )  # fmt: skip
        if (debit, credit) == ("available", "redeemed"):
            await connection.execute(
                "update points_lots set remaining = remaining - $2, used = $2 where member_id = $1",
                member_id, amount,
            )  # fmt: skip
    await connection.close()


REWRITE = """
do $$
declare t points_transfers; previous bytea := ''; balance bigint := 0;
begin
  for t in select * from points_transfers order by seq loop
    balance := balance + t.amount;
    previous := wellward_transfer_hash(previous, t.chain_version, t.member_id, t.seq, t.id,
      t.kind, t.debit, t.credit, t.amount, balance, t.cause_kind, t.cause_id, t.cause_key,
      t.rule_version, t.rule_code, t.corrects, t.local_date, t.posted_at, t.expires_on);
    update points_transfers set hash = previous, balance_after = balance where seq = t.seq;
  end loop;
  update wallets set head = previous, available = balance, earned_total = balance;
  update points_lots l set amount = x.amount, remaining = x.amount
    from points_transfers x where x.id = l.id;
end $$
"""
"""Somebody with the owner's rights who knows how the chain is computed."""

CUT = """
delete from points_lots where earned_seq >= 7;
delete from points_transfers where seq >= 7;
update wallets set seq = 6, rooted_seq = 0, available = 21, earned_total = 21,
  head = (select hash from points_transfers where seq = 6)
"""

TAMPERING = {
    "edited amount": ("update points_transfers set amount = 400 where seq = 4", 4, "hash"),
    "edited day": (
        "update points_transfers set local_date = '2020-01-01' where seq = 4",
        4,
        "hash",
    ),
    "edited rule": ("update points_transfers set rule_code = 'run' where seq = 4", 4, "hash"),
    "edited hash": ("update points_transfers set hash = sha256('') where seq = 4", 4, "hash"),
    "deleted row": (
        "delete from points_lots where earned_seq = 4;delete from points_transfers where seq = 4",
        4,
        "missing",
    ),
    "deleted row, numbers closed": (
        (
            "delete from points_lots where earned_seq = 4;"
            "delete from points_transfers where seq = 4;"
            "update points_transfers set seq = seq - 1 where seq > 4"
        ),
        4,
        "hash",
    ),
    "swapped rows": (
        (
            "update points_transfers set seq = 100 where seq = 4;"
            "update points_transfers set seq = 4 where seq = 5;"
            "update points_transfers set seq = 5 where seq = 100"
        ),
        4,
        "hash",
    ),
    "cut tail": (
        "delete from points_lots where earned_seq >= 9;delete from points_transfers where seq >= 9",
        9,
        "missing",
    ),
    "edited balance": ("update wallets set available = 999", None, "wallet's available"),
    "edited status": ("update wallets set earned_total = 999", None, "wallet's earned_total"),
    "edited debt": ("update wallets set owed = 5", None, "wallet's owed"),
    "edited head": ("update wallets set head = sha256('')", None, "wallet's head"),
    "edited tally": ("update wallets set tally = '{}'", None, "wallet's tally"),
    "tally of transfers to come": ("update wallets set tally_seq = 99", None, "wallet's tally"),
    "tally of transfers that it lacks": (
        "update wallets set tally_seq = 4",
        None,
        "wallet's tally",
    ),
    "wallet set back": ("update wallets set seq = 3", 4, "ends with transfer 3"),
    "lot spent": ("update points_lots set remaining = 1 where earned_seq = 4", 4, "its lot"),
    "lot spent again": (
        "update points_lots set remaining = 1, used = amount - 1 where earned_seq = 4",
        None,
        "lots",
    ),
    "lot moved": (
        "update points_lots set remaining = remaining - 1, pending = 1 where earned_seq = 4",
        None,
        "lots",
    ),
    "lot of another day": (
        "update points_lots set expires_on = '2040-01-01' where earned_seq = 4",
        4,
        "its lot",
    ),
    "lot that lasts": (
        "update points_lots set expires_at = '2040-01-01' where earned_seq = 4",
        4,
        "its lot",
    ),
    "lot that ends at no midnight": (
        "update points_lots set expires_at = expires_at + interval '8h 20min' where earned_seq = 4",
        4,
        "its lot does not end with its last day",
    ),
    "lot of another amount": (
        "update points_lots set amount = 900 where earned_seq = 4",
        4,
        "its lot",
    ),
    "deleted lot": ("delete from points_lots where earned_seq = 4", 4, "its lot is missing"),
    "deleted wallet": (
        (
            "alter table points_transfers drop constraint points_transfers_member_id_fkey;"
            "delete from wallets"
        ),
        1,
        "wallet is missing",
    ),
}


@pytest.mark.parametrize("name", TAMPERING)
async def test_tampering_is_found_and_named(db: Database, owner_url: str, name: str) -> None:
    statement, seq, reason = TAMPERING[name]
    member_id = await make_wallet(db)
    await earn_many(db, member_id, 10)
    assert (await check(db)).first_bad is None

    await execute(owner_url, statement)

    found = (await check(db)).first_bad
    assert found is not None
    assert (found.member_id, found.seq) == (member_id, seq), found
    assert reason in found.reason


async def test_the_first_bad_row_is_named_among_many_members(db: Database, owner_url: str) -> None:
    members = sorted([await make_wallet(db) for _ in range(5)])
    for member_id in members:
        await earn_many(db, member_id, 3)
    clean = await check(db)
    assert (clean.members, clean.members_total, clean.transfers) == (5, 5, 15)
    for member_id, seq in ((members[3], 1), (members[1], 2)):
        await execute(
            owner_url,
            f"update points_transfers set amount = 77 where seq = {seq}"
            f" and member_id = '{member_id}'",
        )
    found = (await check(db)).first_bad
    assert found is not None
    assert (found.member_id, found.seq) == (members[1], 2)


async def test_a_tail_that_is_cut_with_its_wallet_shows_from_the_next_root_on(
    db: Database, owner_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "roots.jsonl"
    member_id = await make_wallet(db)
    await earn_many(db, member_id, 10)
    await roots.write_root(db, path, now=NOON)
    assert (await check(db, path)).first_bad is None

    await execute(owner_url, CUT)

    assert (await check(db)).first_bad is None, "the database alone cannot tell"
    found = (await check(db, path)).first_bad
    assert found == BadRow(member_id, 7, "it is missing, says a root")


async def test_a_history_rewritten_as_a_whole_shows_from_the_next_root_on(
    db: Database, owner_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "roots.jsonl"
    member_id = await make_wallet(db)
    await earn_many(db, member_id, 3)
    await roots.write_root(db, path, now=NOON)
    await earn_many(db, member_id, 5)
    await roots.write_root(db, path, now=NOON)

    await execute(owner_url, "update points_transfers set amount = 500 where seq = 2;")
    await execute(owner_url, REWRITE)

    assert (await check(db)).first_bad is None, "the database alone cannot tell"
    found = (await check(db, path)).first_bad
    assert found == BadRow(member_id, 3, "its hash is another one, says a root")


async def test_since_leaves_out_members_at_rest(db: Database, owner_url: str) -> None:
    old, new = await make_wallet(db), await make_wallet(db)
    await earn(db, old)
    await earn(db, new, now=NOON + timedelta(days=2))
    since = NOON + timedelta(days=1)
    assert (await check(db, since=since)).transfers == 1
    await execute(owner_url, f"update points_transfers set amount = 77 where member_id = '{old}'")
    assert (await check(db, since=since)).first_bad is None
    assert (await check(db)).first_bad is not None


async def test_verifying_sees_one_moment_while_others_earn(db: Database, tmp_path: Path) -> None:
    path = tmp_path / "roots.jsonl"
    members = [await make_wallet(db) for _ in range(4)]
    for member_id in members:
        await earn_many(db, member_id, 4)
    reports = verify(db, roots_path=path)
    await anext(reports)

    for member_id in members:
        await earn(db, member_id, key="meanwhile")
    await roots.write_root(db, path, now=NOON)

    last = [report async for report in reports][-1]
    assert (last.first_bad, last.transfers) == (None, 16)


# Roots


async def test_verifying_may_be_stopped_half_way(db: Database) -> None:
    await earn_many(db, await make_wallet(db), 5)
    reports = verify(db, roots_path=None)
    while (await anext(reports)).transfers == 0:
        pass
    await reports.aclose()
    assert tuple(await one(db, "select count(*) from points_transfers")) == (5,)


async def test_a_root_holds_what_changed_and_nothing_twice(db: Database, tmp_path: Path) -> None:
    path = tmp_path / "new" / "roots.jsonl"
    first, second = sorted([await make_wallet(db), await make_wallet(db)])
    await earn_many(db, first, 3)

    written = [await roots.write_root(db, path, now=NOON)]
    written.append(await roots.write_root(db, path, now=NOON))
    await earn(db, first, key="more")
    await earn(db, second)
    written.append(await roots.write_root(db, path, now=NOON))

    assert written == [1, 0, 2]
    lines = [roots.read_line(line) for line in path.read_bytes().splitlines()]
    witnesses = [line for line in lines if isinstance(line, roots.Witness)]
    assert [(line.member_id, line.seq) for line in witnesses] == [
        (first, 3),
        (first, 4),
        (second, 1),
    ]
    found = [line for line in lines if isinstance(line, roots.Root)]
    assert [root.members for root in found] == [1, 2]
    assert (found[0].previous, found[1].previous) == ("", found[0].root)
    report = await check(db, path)
    assert (report.first_bad, report.roots) == (None, 2)


async def test_a_root_over_nothing_new_reads_and_writes_nothing_again(
    db: Database, tmp_path: Path
) -> None:
    path = tmp_path / "roots.jsonl"
    await earn(db, await make_wallet(db))
    await roots.write_root(db, path, now=NOON)
    written = path.read_bytes()

    with StatementCount(db) as count:
        assert await roots.write_root(db, path, now=NOON) == 0

    assert len(count) == 1  # what has changed?
    assert path.read_bytes() == written


async def test_two_writers_at_once_leave_a_good_file(db: Database, tmp_path: Path) -> None:
    path = tmp_path / "roots.jsonl"
    for _ in range(3):
        await earn(db, await make_wallet(db))
    await asyncio.gather(*(roots.write_root(db, path, now=NOON) for _ in range(8)))
    report = await check(db, path)
    assert (report.first_bad, report.roots) == (None, 1)


async def test_a_writer_that_was_killed_leaves_a_good_file(db: Database, tmp_path: Path) -> None:
    path = tmp_path / "roots.jsonl"
    member_id = await make_wallet(db)
    await earn(db, member_id)
    await roots.write_root(db, path, now=NOON)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        async with db.transaction() as session:
            await session.execute(text("update wallets set rooted_seq = 0"))
        assert await roots.write_root(db, path, now=NOON) == 1
        report = await check(db, path)
        assert report.first_bad is None, (end, report.first_bad)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda lines: [*lines[:1], lines[1].replace(b'"seq":2', b'"seq":1'), *lines[2:]], "root"),
        (lambda lines: [*lines[:1], *lines[2:]], "line 2"),
        (lambda lines: lines[3:], "line 3"),
        (lambda lines: [*lines[:2], b"nonsense", *lines[2:]], "line 3"),
        (lambda lines: [], "has none"),
    ],
    ids=["edited", "line removed", "root removed", "nonsense", "emptied"],
)
async def test_a_damaged_file_of_roots_is_named(
    db: Database, tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], reason: str
) -> None:
    path = tmp_path / "roots.jsonl"
    member_id = await make_wallet(db)
    await earn_many(db, member_id, 2)
    await roots.write_root(db, path, now=NOON)
    await earn(db, member_id, key="more")
    await roots.write_root(db, path, now=NOON)

    path.write_bytes(b"".join(line + b"\n" for line in damage(path.read_bytes().splitlines())))

    found = (await check(db, path)).first_bad
    assert found is not None
    assert reason in str(found)


def test_the_merkle_root_depends_on_every_leaf_and_their_order() -> None:
    def root(leaves: list[bytes]) -> bytes:
        tree = roots.MerkleTree()
        for leaf in leaves:
            tree.add(leaf)
        return tree.root()

    leaves = [bytes([number]) * 32 for number in range(13)]
    seen = {root(leaves[:count]) for count in range(1, 14)}
    for place in range(13):
        changed = list(leaves)
        changed[place] = b"\xff" * 32
        seen.add(root(changed))
    seen.add(root(leaves[::-1]))
    assert len(seen) == 13 + 13 + 1


async def execute(owner_url: str, statement: str) -> None:
    connection = await asyncpg.connect(owner_url)
    await connection.execute(statement)
    await connection.close()
