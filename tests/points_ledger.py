"""A ledger to work on, as plain functions: members with wallets, earnings, holds."""

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import text

from app.civil_time import end_of_day
from app.db import Database
from app.ids import new_id
from app.points import rules, service
from app.points.reconcile import reconcile
from app.points.rules import CauseKind, Transfer
from app.points.verify import verify
from tests.factories import NOON, make_member

SHANGHAI = ZoneInfo("Asia/Shanghai")
TODAY = date(2026, 3, 2)
"""Of NOON, in Shanghai."""


async def make_wallet(db: Database, **options: Any) -> UUID:
    member_id = await make_member(db, **options)
    async with db.transaction() as session:
        await service.open_wallet(session, member_id)
    return member_id


def until(day: date) -> rules.Expiry:
    return rules.Expiry(day, end_of_day(day, SHANGHAI))


async def earn(
    db: Database,
    member_id: UUID,
    amount: int = 10,
    *,
    key: str = "walk",
    on: date = TODAY,
    expires_on: date = date(2027, 3, 2),
    now: datetime = NOON,
    pending: bool = False,
) -> Transfer:
    async with db.transaction() as session:
        return await service.earn(
            session,
            member_id=member_id,
            amount=amount,
            cause=service.Cause(CauseKind.CHECK_IN, UUID(int=9), f"{key}:0"),
            rule=service.Rule(None, "walk"),
            local_date=on,
            expires=until(expires_on),
            now=now,
            pending=pending,
        )


async def restate(
    db: Database,
    member_id: UUID,
    amount_now: int,
    *,
    key: str = "walk",
    expires_on: date = date(2027, 3, 2),
    now: datetime = NOON,
) -> tuple[Transfer, ...]:
    async with db.transaction() as session:
        return await service.restate(
            session,
            member_id=member_id,
            cause=service.Cause(CauseKind.DAILY_TOTAL, UUID(int=9), key),
            amount_now=amount_now,
            rule=service.Rule(None, "walk"),
            local_date=TODAY,
            expires=until(expires_on),
            now=now,
        )


def of_redemption(hold_id: UUID) -> service.Cause:
    return service.Cause(CauseKind.REDEMPTION, hold_id, f"redemption:{hold_id}")


async def hold(
    db: Database, member_id: UUID, amount: int, *, now: datetime = NOON, hours: int = 24
) -> UUID:
    hold_id = new_id(now)
    async with db.transaction() as session:
        await service.hold(
            session,
            member_id=member_id,
            hold_id=hold_id,
            amount=amount,
            expires_at=now + timedelta(hours=hours),
            cause=of_redemption(hold_id),
            now=now,
        )
    return hold_id


async def spend(db: Database, member_id: UUID, amount: int, *, now: datetime = NOON) -> UUID:
    hold_id = new_id(now)
    async with db.transaction() as session:
        await service.spend(
            session,
            member_id=member_id,
            hold_id=hold_id,
            amount=amount,
            cause=of_redemption(hold_id),
            now=now,
        )
    return hold_id


async def do(db: Database, what: Any, /, *, now: datetime = NOON, **arguments: Any) -> Any:
    """One service function in a transaction of its own."""
    async with db.transaction() as session:
        return await what(session, now=now, **arguments)


async def balances(db: Database, member_id: UUID) -> dict[str, int]:
    """Those that are not zero."""
    names = rules.Balances._fields
    async with db.read() as connection:
        row = await connection.execute(
            text(f"select {', '.join(names)} from wallets where member_id = :member_id"),
            {"member_id": member_id},
        )
        return {name: n for name, n in zip(names, row.one(), strict=True) if n}


async def moved(db: Database, member_id: UUID) -> list[tuple[str, str, str, int]]:
    """Kind, debit, credit and amount of every transfer, oldest first."""
    async with db.read() as connection:
        rows = await connection.execute(
            text(
                """select kind, debit, credit, amount from points_transfers
                    where member_id = :member_id order by seq"""
            ),
            {"member_id": member_id},
        )
        return [tuple(row) for row in rows]


async def sound(db: Database) -> bool:
    """Whether the ledger verifies and every row follows from the transfers; says why not."""
    reports = [report async for report in verify(db, roots_path=None)]
    assert reports[-1].first_bad is None
    rebuilt = [report async for report in reconcile(db)]
    assert rebuilt[-1].first == ()
    return True
