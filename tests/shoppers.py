"""Members with points, rewards to spend them on, and what is true after every redemption."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from sqlalchemy import text

from app.adapters.sealing import Sealer
from app.config import Settings
from app.db import Database
from app.events import Events
from app.graphql.context import Context
from app.graphql.ids import Kind, encode
from app.jobs import queue
from app.points import rules as points_rules
from app.points import service as points
from app.rewards import catalogue, codes, jobs
from app.rewards.service import FULFIL_JOB
from app.rewards.terms import DataReward
from tests.factories import NOON, as_member, execute, make_member, operation

SEALER = Sealer([bytes(range(32))])
REDEEM = operation("RedeemReward")
CANCEL = operation("CancelRedemption")
SHOW = operation("Redemption")


def terms(**changes: Any) -> dict[str, Any]:
    """Of a gift that an employee hands out."""
    return {
        "kind": "GIFT",
        "fulfilment": "MANUAL",
        "title": {"zh": "跳绳", "en": "Skipping rope"},
        "description": {"zh": "一根跳绳。", "en": "A rope to skip with."},
        "price": 100,
        **changes,
    }


VOUCHER = {"kind": "VOUCHER", "fulfilment": "VOUCHER_CODE"}
UPLIFT = {
    "kind": "COVER_UPLIFT",
    "fulfilment": "BENEFIT",
    "cover_uplift_percent": Decimal(5),
}
CREDIT = {
    "kind": "PREMIUM_CREDIT",
    "fulfilment": "BENEFIT",
    "premium_credit": {"amount": 10_000, "currency": "CNY"},
}


async def make_reward(
    db: Database,
    *,
    code: str | None = None,
    stock: int | None = None,
    version: int = 1,
    voucher_codes: int = 0,
    now: datetime = NOON,
    **changes: Any,
) -> UUID:
    """A reward of `terms`, with as many codes to give as `voucher_codes`."""
    wanted = terms(**changes)
    of_codes = wanted["fulfilment"] == "VOUCHER_CODE"
    code = code or f"r-{uuid4().hex[:12]}"
    given = DataReward.model_validate(
        {"code": code, "version": version, "stock": 0 if of_codes else stock, "terms": wanted}
    )
    async with db.transaction() as session:
        await catalogue.load_rewards(session, rewards=[given], now=now)
    if voucher_codes:
        await import_codes(db, code, [f"{code}-{number}" for number in range(voucher_codes)])
    [row] = await rows(db, "select id from rewards where code = :code", code=code)
    reward_id: UUID = row.id
    return reward_id


async def import_codes(
    db: Database, reward: str, given: list[str], *, sealer: Sealer = SEALER
) -> codes.Report:
    lines = list(enumerate(given, start=1))
    imported = codes.import_codes(db, sealer, reward_code=reward, codes=lines, now=NOON)
    reports = [report async for report in imported]
    return reports[-1]


async def make_shopper(db: Database, balance: int = 100, **options: Any) -> UUID:
    """A member with a wallet and so many points."""
    member_id = await make_member(db, **options)
    async with db.transaction() as session:
        await points.open_wallet(session, member_id)
    if balance:
        await give(db, member_id, balance)
    return member_id


async def give(db: Database, member_id: UUID, amount: int, *, now: datetime = NOON) -> None:
    day = date(2026, 3, 2)
    async with db.transaction() as session:
        await points.earn(
            session,
            member_id=member_id,
            amount=amount,
            cause=points.Cause(points_rules.CauseKind.CHECK_IN, uuid4(), f"test:{uuid4()}"),
            rule=points.Rule(None, "test"),
            local_date=day,
            expires=points_rules.expiry(day, 12, ZoneInfo("Asia/Shanghai")),
            now=now,
        )


def context_of(db: Database, member_id: UUID, **options: Any) -> Context:
    """`as_member`, with the key that opens voucher codes."""
    context = as_member(db, member_id, **options)
    context.sealer = SEALER
    return context


async def redeem(
    db: Database,
    member_id: UUID,
    reward_id: UUID,
    *,
    request_id: UUID | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The result of the mutation, as the phone sees it."""
    sent = {
        "requestId": str(request_id or uuid4()),
        "rewardId": encode(Kind.REWARD, reward_id),
    }
    context = context_of(db, member_id, **options)
    found: dict[str, Any] = (await execute(REDEEM, {"input": sent}, context=context))[
        "redeemReward"
    ]
    return found


async def cancel(
    db: Database,
    redemption_id: str,
    context: Context,
    *,
    request_id: UUID | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    sent = {
        "requestId": str(request_id or uuid4()),
        "redemptionId": redemption_id,
        "reason": reason,
    }
    found: dict[str, Any] = (await execute(CANCEL, {"input": sent}, context=context))[
        "cancelRedemption"
    ]
    return found


async def show(context: Context, redemption_id: str) -> Any:
    return (await execute(SHOW, {"id": redemption_id}, context=context))["node"]


def job_context(db: Database, *, now: datetime = NOON) -> queue.JobContext:
    return queue.JobContext(
        db, lambda: now, Events("postgresql:///"), None, Settings(_env_file=None)
    )


async def fulfil_due(db: Database, *, now: datetime = NOON) -> int:
    """Run the jobs that fulfil what was redeemed."""
    assert jobs
    return await queue.run_due(db, job_context(db, now=now), [FULFIL_JOB])


async def rows(db: Database, sql: str, **parameters: Any) -> list[Any]:
    async with db.read() as connection:
        return list((await connection.execute(text(sql), parameters)).all())


async def one(db: Database, sql: str, **parameters: Any) -> Any:
    [row] = await rows(db, sql, **parameters)
    return row


async def wallet(db: Database, member_id: UUID) -> tuple[int, int, int]:
    """Available, held, spent."""
    sql = "select available, held, spent from wallets where member_id = :member_id"
    return tuple(await one(db, sql, member_id=member_id))


async def stock(db: Database, reward_id: UUID) -> int | None:
    found: int | None = (await one(db, "select stock from rewards where id = :id", id=reward_id))[0]
    return found


async def states(db: Database) -> dict[str, int]:
    return dict(
        tuple(row) for row in await rows(db, "select state, count(*) from redemptions group by 1")
    )


async def assert_sound(db: Database) -> None:
    """Every redemption and its hold agree, every wallet adds up, every code went out once."""
    astray = await rows(
        db,
        """select d.id, d.state, h.state, d.points, h.captured, h.released
             from redemptions d left join points_holds h using (member_id, id)
            where (d.state, h.state) not in (
              ('RESERVED', 'HELD'), ('FULFILLED', 'CAPTURED'),
              ('CANCELLED', 'RELEASED'), ('EXPIRED', 'TIMED_OUT'), ('REVERSED', 'CAPTURED'))
            or h.state is null or h.amount <> d.points""",
    )
    assert astray == []
    unbalanced = await rows(
        db,
        """select w.* from wallets w where w.held <> (
             select coalesce(sum(points), 0) from redemptions d
              where d.member_id = w.member_id and d.state = 'RESERVED')
           or w.spent <> (
             select coalesce(sum(points), 0) from redemptions d
              where d.member_id = w.member_id and d.state = 'FULFILLED')
           or w.available <> (
             select coalesce(sum(remaining), 0) from points_lots l where l.member_id = w.member_id)
        """,
    )
    assert unbalanced == []
    [(given, distinct)] = await rows(
        db,
        """select count(*), count(distinct code_id) from redemptions where code_id is not null""",
    )
    assert given == distinct
    assert await rows(
        db,
        """select count(*) from redemptions d join voucher_codes c on c.id = d.code_id
            where c.redemption_id = d.id and c.member_id = d.member_id and c.sealed = d.code_sealed
        """,
    ) == [(given,)]
