"""The statement as the app asks for it: amounts, states, titles, causes, paging."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest
import strawberry
from graphql import OperationDefinitionNode, parse
from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql import executor, plans
from app.graphql.context import Context
from app.graphql.ids import Kind, encode
from app.ids import new_id
from app.points import graphql as points_graphql
from app.points import rules, service, statement
from app.points import titles as titles_of_points
from app.points.rules import CauseKind, TransferKind
from tests.factories import NOON, as_member, as_staff, assign, execute, make_member, make_staff
from tests.test_ledger import SHANGHAI, earn, make_wallet, post

OPERATIONS = Path(__file__).parent.parent / "schema" / "operations" / "app"
HISTORY = (OPERATIONS / "PointsHistory.graphql").read_text()
ACCOUNT = """{ me { points { id available pending held earnedTotal
  nextExpiry { amount expiresOn } } } }"""


async def history(db: Database, member_id: UUID, *, locale: str = "en", **variables: Any) -> Any:
    """By the plan, as it is served."""
    result = await by_plan(HISTORY, variables, as_member(db, member_id, locale=locale))
    assert result.errors is None, result.errors
    return result.data["me"]["points"]


async def by_plan(text: str, variables: dict[str, Any], context: Context) -> Any:
    from app.schema import schema

    document = parse(text)
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    plan = plans.compile(schema, document, operation)
    return await executor.execute(plan, variables=variables, context=context)


async def account(db: Database, member_id: UUID, *, now: datetime = NOON) -> Any:
    return (await execute(ACCOUNT, context=as_member(db, member_id, now=now)))["me"]["points"]


def nodes(points: Any) -> list[Any]:
    return [edge["node"] for edge in points["entries"]["edges"]]


async def insert_earnings(owner_url: str, member_id: UUID, count: int) -> None:
    """`count` earnings of 1, 2, ... points, chained by the database's own function."""
    connection = await asyncpg.connect(owner_url)
    await connection.execute(
        f"""
        do $$
        declare previous bytea := ''; balance bigint := 0;
        begin
          for n in 1..{count} loop
            balance := balance + n;
            previous := wellward_transfer_hash(previous, 1, '{member_id}', n,
              ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, 'EARNED', 'issued',
              'available', n, balance, 'CHECK_IN', '{UUID(int=9)}', 'walk:' || n, null, 'walk',
              null, '2026-03-02', '2026-03-02 04:00+00', '2027-03-02');
            insert into points_transfers (member_id, seq, id, chain_version, kind, debit, credit,
              amount, balance_after, cause_kind, cause_id, cause_key, rule_code, local_date,
              posted_at, expires_on, hash)
            values ('{member_id}', n, ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid,
              1, 'EARNED', 'issued', 'available', n, balance, 'CHECK_IN', '{UUID(int=9)}',
              'walk:' || n, 'walk', '2026-03-02', '2026-03-02 04:00+00', '2027-03-02', previous);
            insert into points_lots (member_id, id, origin_id, earned_seq, is_grace, expires_on,
              expires_at, amount, remaining, pending, held, used, expired, reversed)
            select '{member_id}', t.id, t.id, n, false, '2027-03-02', '2027-03-02 16:00+00', n, n,
              0, 0, 0, 0, 0
            from points_transfers t where t.member_id = '{member_id}' and t.seq = n;
          end loop;
          update wallets set available = balance, earned_total = balance, seq = {count},
            head = previous, version = {count} where member_id = '{member_id}';
        end $$
        """
    )
    await connection.close()


async def test_an_empty_account_is_zero(db: Database) -> None:
    member_id = await make_wallet(db)
    points = await history(db, member_id)
    assert (points["available"], points["pending"]) == (0, 0)
    assert points["entries"] == {
        "edges": [],
        "pageInfo": {"hasNextPage": False, "endCursor": None},
    }
    assert (await account(db, member_id))["nextExpiry"] is None


async def test_a_member_without_a_wallet_has_no_points(db: Database) -> None:
    member_id = await make_member(db)
    found = await account(db, member_id)
    assert (found["available"], found["earnedTotal"], found["nextExpiry"]) == (0, 0, None)


async def test_an_entry_says_what_was_earned(db: Database) -> None:
    member_id = await make_wallet(db)
    transfer = await earn(db, member_id, 10)

    [entry] = nodes(await history(db, member_id))

    check_in = encode(Kind.CHECK_IN, member_id, UUID(int=9))
    assert entry == {
        "id": encode(Kind.POINTS_ENTRY, member_id, transfer.id),
        "kind": "EARNED",
        "state": "POSTED",
        "amount": 10,
        "balanceAfter": 10,
        "postedAt": NOON.isoformat(),
        "expiresOn": "2027-03-02",
        "title": "Points earned",
        "cause": {"__typename": "CheckIn", "id": check_in},
    }


ENTRY = """query ($id: ID!) { node(id: $id) { ... on PointsEntry {
  id kind state amount balanceAfter postedAt expiresOn title } } }"""


async def test_each_line_of_a_page_keeps_its_own(db: Database, owner_url: str) -> None:
    """Decisions, late days and causes are looked up for all of a page at once."""
    member_id, other = await make_wallet(db), await make_wallet(db)
    moments = [NOON + timedelta(microseconds=it) for it in (0, 1, 120, 5_000, 500_000, 999_999)]
    earned = [
        await earn(
            db,
            member_id,
            10 + n,
            key=f"walk:{n}",
            now=now,
            pending=n % 2 == 1,
            expires=rules.expiry(date(2026, 3, n + 1), 12, SHANGHAI),
        )
        for n, now in enumerate(moments)
    ]
    for n, credit in ((1, "available"), (3, "reversed")):
        kind = TransferKind.RELEASED if credit == "available" else TransferKind.REVERSED
        await post(owner_url, member_id, kind, "pending", credit, 10 + n, corrects=earned[n].id)
    await post(owner_url, member_id, TransferKind.HELD, "available", "held", 4)
    await insert_earnings(owner_url, other, 2)
    await announce_late(db, owner_url, member_id, date(2027, 3, 3), date(2027, 3, 20))
    await announce_late(db, owner_url, other, date(2027, 3, 4), date(2027, 3, 21))

    shown = nodes(await history(db, member_id))

    states = [entry["state"] for entry in shown]
    assert states == ["POSTED"] * 2 + [
        "PENDING",
        "POSTED",
        "REJECTED",
        "POSTED",
        "POSTED",
        "POSTED",
    ]
    ends = [None, None, *(f"2027-03-{day:02}" for day in (6, 5, 4, 20, 2, 1))]
    assert [entry["expiresOn"] for entry in shown] == ends
    wanted = [NOON] * 2 + moments[::-1]
    assert orjson.dumps([entry["postedAt"] for entry in shown]) == orjson.dumps(wanted)
    assert [entry["cause"] is None for entry in shown] == [True] * 2 + [False] * 6
    for entry in shown:
        data = await execute(ENTRY, {"id": entry["id"]}, context=as_member(db, member_id))
        assert data["node"] == {key: it for key, it in entry.items() if key != "cause"}


async def announce_late(
    db: Database, owner_url: str, member_id: UUID, day: date, ends_on: date
) -> None:
    connection = await asyncpg.connect(owner_url)
    for days_before, last_day in ((30, None), (7, ends_on - timedelta(days=1)), (1, ends_on)):
        await connection.execute(
            "insert into points_expiry_notices values ($1, $2, $3, 5, 0, $4, $5, $6)",
            *(member_id, day, days_before, NOON, last_day),
            None if last_day is None else NOON + timedelta(days=400),
        )
    await connection.close()


async def test_entries_of_several_members_are_not_mixed_up(db: Database, owner_url: str) -> None:
    """Not even where their ids are the same, which nothing forbids."""
    members = [await make_wallet(db) for _ in range(3)]
    for count, member_id in enumerate(members, start=1):
        await insert_earnings(owner_url, member_id, count)
    keys = [(member_id, UUID(int=2)) for member_id in members]
    await post(
        owner_url, members[1], TransferKind.HELD, "available", "pending", 2, corrects=UUID(int=2)
    )

    found = await statement.some(db, [*keys, (members[0], UUID(int=1))])

    assert {member: lines.seqs for member, lines in found.items()} == {
        members[0]: [1],
        members[1]: [2],
        members[2]: [2],
    }
    assert [lines.decisions for lines in found.values() if lines.decisions] == [{0: "pending"}]
    assert found[members[1]].decisions


async def test_titles_come_from_the_rule_in_the_viewers_language(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10)

    def titles(code: str, locale: str) -> str | None:
        return {("gone", "en"): "Walk", ("gone", "zh-CN"): "散步"}.get((code, locale))

    def wire(*known: Any) -> None:
        monkeypatch.setattr(titles_of_points, "TITLES", list(known))
        points_graphql._lines_in.cache_clear()

    wire(lambda *_: None, titles)
    assert nodes(await history(db, member_id))[0]["title"] == "Walk"
    assert nodes(await history(db, member_id, locale="zh-CN"))[0]["title"] == "散步"
    wire()
    assert nodes(await history(db, member_id, locale="zh-CN"))[0]["title"] == "获得积分"
    points_graphql._lines_in.cache_clear()


async def test_amounts_add_up_and_moves_inside_are_no_entries(db: Database, owner_url: str) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10)
    await earn(db, member_id, 7, key="waits", pending=True)
    for kind, debit, credit, amount in (
        (TransferKind.HELD, "available", "held", 4),
        (TransferKind.REDEEMED, "held", "redeemed", 3),
        (TransferKind.RELEASED, "held", "available", 1),
        (TransferKind.HELD, "available", "pending", 2),
        (TransferKind.RELEASED, "pending", "available", 2),
        (TransferKind.EXPIRED, "available", "expired", 5),
        (TransferKind.REVERSED, "owed", "reversed", 6),
    ):
        await post(owner_url, member_id, kind, debit, credit, amount)

    points = await history(db, member_id)

    found = [(entry["kind"], entry["amount"], entry["balanceAfter"]) for entry in nodes(points)]
    assert found == [
        ("EXPIRED", -5, 9),
        ("RELEASED", 1, 14),
        ("HELD", -4, 13),
        ("EARNED", 7, 17),
        ("EARNED", 10, 10),
    ]
    assert sum(amount for _, amount, _ in found) == points["available"] + points["pending"]
    assert nodes(points)[0]["title"] == "Points expired"
    assert nodes(points)[0]["cause"] is None


@pytest.mark.parametrize(
    ("decisions", "states"),
    [
        ([], ["PENDING"]),
        ([("RELEASED", "pending", "available")], ["POSTED"]),
        ([("REVERSED", "pending", "reversed")], ["POSTED", "REJECTED"]),
        (
            [("RELEASED", "pending", "available"), ("HELD", "available", "pending")],
            ["PENDING"],
        ),
        (
            [
                ("RELEASED", "pending", "available"),
                ("HELD", "available", "pending"),
                ("REVERSED", "pending", "reversed"),
            ],
            ["POSTED", "REJECTED"],
        ),
    ],
)
async def test_the_state_is_that_of_the_last_decision(
    db: Database, owner_url: str, decisions: list[tuple[str, str, str]], states: list[str]
) -> None:
    member_id = await make_wallet(db)
    earned = await earn(db, member_id, 7, pending=True)
    for kind, debit, credit in decisions:
        await post(owner_url, member_id, TransferKind(kind), debit, credit, 7, corrects=earned.id)
    assert [entry["state"] for entry in nodes(await history(db, member_id))] == states


async def test_the_oldest_points_expire_next_and_each_day_is_one_sum(db: Database) -> None:
    member_id = await make_wallet(db)
    for key, day, amount in (
        ("a", date(2026, 3, 2), 5),
        ("b", date(2026, 1, 31), 3),
        ("c", date(2026, 1, 31), 4),
    ):
        expires = rules.expiry(day, 12, SHANGHAI)
        await earn(db, member_id, amount, key=key, expires=expires)

    assert (await account(db, member_id))["nextExpiry"] == {
        "amount": 7,
        "expiresOn": date(2027, 1, 31),
    }
    # What is past its day is not shown, even before the clock has come round to it.
    later = rules.expiry(date(2026, 1, 31), 12, SHANGHAI).at
    assert (await account(db, member_id, now=later - timedelta(seconds=1)))["nextExpiry"] == {
        "amount": 7,
        "expiresOn": date(2027, 1, 31),
    }
    assert (await account(db, member_id, now=later))["nextExpiry"] == {
        "amount": 5,
        "expiresOn": date(2027, 3, 2),
    }


async def test_paging_shows_every_entry_once_newest_first(db: Database, owner_url: str) -> None:
    member_id = await make_wallet(db)
    await insert_earnings(owner_url, member_id, 250)
    amounts: list[int] = []
    after = None
    pages = 0
    while True:
        points = await history(db, member_id, first=60, after=after)
        amounts += [entry["amount"] for entry in nodes(points)]
        pages += 1
        if pages == 2:  # What comes meanwhile is before the first page and moves nothing.
            await earn(db, member_id, 999, key="meanwhile")
        if not points["entries"]["pageInfo"]["hasNextPage"]:
            break
        after = points["entries"]["pageInfo"]["endCursor"]

    assert amounts == list(range(250, 0, -1))
    assert pages == 5


async def test_a_page_is_two_statements_however_long(db: Database, owner_url: str) -> None:
    member_id = await make_wallet(db)
    await insert_earnings(owner_url, member_id, 100)
    counted = []
    for first in (0, 1, 100):
        with StatementCount(db) as statements:
            points = await history(db, member_id, first=first)
        assert len(nodes(points)) == first
        counted.append(len(statements))
    assert counted == [2, 2, 2]


async def test_causes_with_more_than_an_id_are_one_more_statement(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    member_id = await make_wallet(db)
    first = await earn(db, member_id, 10)
    for number in range(5):
        caused_by = service.Cause(CauseKind.TRANSFER, first.id, f"again:{number}")
        async with db.transaction() as session:
            await service.earn(
                session,
                member_id=member_id,
                amount=1,
                cause=caused_by,
                rule=service.Rule(None, "walk"),
                local_date=date(2026, 3, 2),
                expires=rules.expiry(date(2026, 3, 2), 1, SHANGHAI),
                now=NOON,
                kind=TransferKind.ADJUSTED,
                corrects=first.id,
            )
    document = """{ me { points { entries(first: 5) { edges { node {
      kind cause { id ...More } } } } } } }
      fragment More on PointsCause { ... on PointsEntry { amount } }"""
    with StatementCount(db) as statements:
        data = await execute(document, context=as_member(db, member_id))

    found = nodes(data["me"]["points"])
    cause = {"id": encode(Kind.POINTS_ENTRY, member_id, first.id), "amount": 10}
    assert found == [{"kind": "ADJUSTED", "cause": cause}] * 5
    assert len(statements) == 3


@pytest.mark.parametrize("after", ["", "nonsense", "MQ==", "MHww", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5"])
async def test_a_foreign_cursor_is_refused(db: Database, after: str) -> None:
    from app.schema import schema

    member_id = await make_wallet(db)
    result = await schema.execute(HISTORY, {"after": after}, context_value=as_member(db, member_id))
    if after == "MQ==":
        assert result.errors is None  # the number 1, as we write it ourselves
        return
    assert result.errors is not None
    assert [error.extensions for error in result.errors] == [{"code": "BAD_REQUEST"}]


async def test_more_points_than_the_api_can_say_are_an_error_of_the_field(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 2**31)
    document = "{ me { points { entries { edges { node { balanceAfter } } } } } }"
    result = await by_plan(document, {}, as_member(db, member_id))
    assert result.data is None
    assert [error.path[-1] for error in result.errors or [] if error.path] == ["balanceAfter"]


NODE = "query ($id: ID!) { node(id: $id) { __typename id ... on PointsEntry { amount }"
NODE += " ... on PointsAccount { available } } }"


async def test_account_and_entry_can_be_fetched_again_by_their_owner_only(db: Database) -> None:
    member_id, stranger = await make_wallet(db), await make_wallet(db)
    staff_id = await make_staff(db)
    await assign(db, staff_id, member_id)
    transfer = await earn(db, member_id, 10)
    ids = {
        encode(Kind.POINTS_ACCOUNT, member_id): {"__typename": "PointsAccount", "available": 10},
        encode(Kind.POINTS_ENTRY, member_id, transfer.id): {
            "__typename": "PointsEntry",
            "amount": 10,
        },
    }
    for id, expected in ids.items():
        for context in (as_member(db, member_id), as_staff(db, staff_id)):
            data = await execute(NODE, {"id": id}, context=context)
            assert data["node"] == {**expected, "id": id}
        data = await execute(NODE, {"id": id}, context=as_member(db, stranger))
        assert data["node"] is None
    unknown = encode(Kind.POINTS_ENTRY, member_id, new_id(NOON))
    assert (await execute(NODE, {"id": unknown}, context=as_member(db, member_id)))["node"] is None


async def test_a_transfer_that_is_no_entry_is_no_node(db: Database, owner_url: str) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, pending=True)
    await post(owner_url, member_id, TransferKind.RELEASED, "pending", "available", 10)
    async with db.read() as connection:
        id = (
            await connection.execute(text("select id from points_transfers where seq = 2"))
        ).scalar_one()
    entry = encode(Kind.POINTS_ENTRY, member_id, id)
    data = await execute(NODE, {"id": strawberry.ID(entry)}, context=as_member(db, member_id))
    assert data["node"] is None
