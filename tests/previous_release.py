"""Rows as the release of migration 0008 wrote them: with its columns, in its statements' order.

It could earn, and nothing else: what else moves points here was moved by hand, as its ledger
allowed it.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from app.civil_time import end_of_day
from app.ids import new_id
from app.points import rules
from app.points.rules import Balances, Route, Transfer
from tests.factories import NOON
from tests.points_ledger import SHANGHAI

LAST_DAY = date(2027, 3, 2)
_WALLET = ("pending", "available", "held", "owed", "earned_total")


@dataclass(frozen=True, slots=True)
class Post:
    kind: str
    debit: str
    credit: str
    amount: int
    key: str
    corrects: str | None = None
    """The key of another."""


PLAIN = (Post("EARNED", "issued", "available", 10, "walk:0"),)
WAITS = (Post("EARNED", "issued", "pending", 7, "walk:0"),)
REVERSED_INTO_DEBT = (
    Post("EARNED", "issued", "available", 10, "walk:0"),
    Post("REVERSED", "available", "reversed", 4, "reversal:walk", corrects="walk:0"),
    Post("REVERSED", "owed", "reversed", 6, "reversal:walk/2", corrects="walk:0"),
    Post("EARNED", "issued", "owed", 6, "swim:0"),
    Post("EARNED", "issued", "available", 14, "swim:0/2"),
)
ADJUSTED = (
    Post("EARNED", "issued", "available", 10, "walk:0"),
    Post("ADJUSTED", "issued", "available", 5, "walk:1", corrects="walk:0"),
    Post("REVERSED", "available", "reversed", 12, "reversal:walk", corrects="walk:0"),
)
REFUSED = (
    Post("EARNED", "issued", "pending", 9, "walk:0"),
    Post("REVERSED", "pending", "reversed", 9, "settlement:walk", corrects="walk:0"),
)


async def insert(connection: asyncpg.Connection, table: str, **values: Any) -> None:
    places = ", ".join(f"${place + 1}" for place in range(len(values)))
    await connection.execute(
        f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", *values.values()
    )


async def member(connection: asyncpg.Connection) -> UUID:
    member_id = new_id(NOON)
    await insert(
        connection,
        "members",
        member_id=member_id,
        display_name="王芳",
        birth_date=date(1975, 5, 17),
        sex="FEMALE",
        time_zone="Asia/Shanghai",
        locale="en",
        created_at=NOON,
    )
    empty = dict.fromkeys((*_WALLET, "version", "seq", "rooted_seq"), 0)
    await insert(connection, "wallets", member_id=member_id, **empty, head=b"")
    return member_id


async def post(
    connection: asyncpg.Connection, member_id: UUID, posts: tuple[Post, ...]
) -> dict[str, UUID]:
    """The ids of the transfers, by their keys. The member had none."""
    ids: dict[str, UUID] = {}
    balances, head = Balances(), b""
    for seq, it in enumerate(posts, start=1):
        route = Route(it.debit, it.credit)
        balances = rules.apply(balances, route, it.amount)
        gives_lot = it.debit == "issued" and it.credit != "owed"
        transfer = Transfer(
            chain_version=1,
            member_id=member_id,
            seq=seq,
            id=new_id(NOON),
            kind=it.kind,
            debit=it.debit,
            credit=it.credit,
            amount=it.amount,
            balance_after=balances.shown,
            cause_kind="CHECK_IN",
            cause_id=UUID(int=9),
            cause_key=it.key,
            rule_version=None,
            rule_code="walk",
            corrects=ids[it.corrects] if it.corrects else None,
            local_date=date(2026, 3, 2),
            posted_at=NOON,
            expires_on=LAST_DAY if gives_lot else None,
        )
        ids[it.key] = transfer.id
        head = rules.transfer_hash(head, transfer)
        await insert(connection, "points_transfers", **transfer._asdict(), hash=head)
        if gives_lot:
            await _lot(connection, transfer)
        elif it.debit in ("pending", "available"):
            await _take(connection, member_id, it)
    await connection.execute(
        """UPDATE wallets SET (pending, available, held, owed, earned_total, version, seq, head)
             = ($2, $3, $4, $5, $6, $7, $7, $8) WHERE member_id = $1""",
        member_id,
        *balances[:5],
        len(posts),
        head,
    )
    return ids


async def _lot(connection: asyncpg.Connection, transfer: Transfer) -> None:
    waits = transfer.credit == "pending"
    await insert(
        connection,
        "points_lots",
        member_id=transfer.member_id,
        id=transfer.id,
        earned_seq=transfer.seq,
        expires_on=LAST_DAY,
        expires_at=end_of_day(LAST_DAY, SHANGHAI),
        amount=transfer.amount,
        remaining=0 if waits else transfer.amount,
        pending=transfer.amount if waits else 0,
        held=0,
    )


async def _take(connection: asyncpg.Connection, member_id: UUID, it: Post) -> None:
    part = "pending" if it.debit == "pending" else "remaining"
    await connection.execute(
        f"""UPDATE points_lots l SET {part} = {part} - o.taken FROM (
              SELECT id, least({part}, greatest(0, $2
                - (sum({part}) OVER (ORDER BY earned_seq) - {part}))) AS taken
                FROM points_lots WHERE member_id = $1) o
             WHERE l.member_id = $1 AND l.id = o.id""",
        member_id,
        it.amount,
    )


async def reading(
    connection: asyncpg.Connection, member_id: UUID, value: Decimal, *, at: datetime = NOON
) -> None:
    """Of an examination."""
    await insert(
        connection,
        "measurements",
        member_id=member_id,
        id=new_id(at),
        code="body-weight",
        value=value,
        unit="kg",
        sent_value=value,
        sent_unit="kg",
        measured_at=at,
        local_date=date(2026, 3, 2),
        recorded_at=at,
        method="CLINICAL",
        source_id="examination",
        trust="HIGH",
    )


async def paid_task(connection: asyncpg.Connection, member_id: UUID) -> None:
    """An assignment, its task, and the check-in that completed it."""
    assignment_id, day = new_id(NOON), date(2026, 3, 2)
    await insert(
        connection,
        "task_assignments",
        member_id=member_id,
        id=assignment_id,
        template_code="walk",
        template_version=1,
        title_zh="散步",
        title_en="Walk",
        kind="tick",
        period="day",
        target=Decimal(1),
        unit="1",
        per_day=1,
        value_min=Decimal(0),
        value_max=Decimal(1),
        verification="none",
        points=10,
        expires_after_months=12,
        late_data_days=3,
        product_version_id=UUID(int=7),
        rule_code="walk",
        starts_on=day,
        created_at=NOON,
    )
    check_in_id = new_id(NOON)
    await insert(
        connection,
        "tasks",
        member_id=member_id,
        assignment_id=assignment_id,
        starts_on=day,
        ends_on=day,
        starts_at=NOON - timedelta(hours=12),
        due_at=NOON + timedelta(hours=12),
        target=Decimal(1),
        done=Decimal(1),
        points=10,
        state="DONE",
        points_awarded=10,
        participated=True,
        completed_at=NOON,
        latest_check_in_id=check_in_id,
        latest_occurred_at=NOON,
    )
    await insert(
        connection,
        "checkins",
        member_id=member_id,
        id=check_in_id,
        assignment_id=assignment_id,
        starts_on=day,
        local_date=day,
        slot=0,
        occurred_at=NOON,
        received_at=NOON,
        state="ACCEPTED",
        counts=True,
        points_awarded=10,
        reason_code="COUNTED",
        request_id=new_id(NOON),
        acted_by=member_id,
    )
