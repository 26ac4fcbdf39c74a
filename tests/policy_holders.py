"""Products and people for tests of policies, and what the clock would do for them."""

from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database
from app.errors import ErrorCode, UserError
from app.measurements import service as measurements
from app.measurements.models import Measurement
from app.premiums import applications, catalogue, policy_jobs, product
from app.premiums.applications import Wanted
from app.premiums.declarations import Declared
from app.premiums.history import Actor
from app.premiums.models import Policy
from app.premiums.product import Product
from app.risk import service as risk
from app.risk.requests import Cause
from tests.factories import NOON, contents, make_member

CARE = "care"
CONFIRMED = {"complete": True, "no_hospital": True}
TODAY = NOON.date()
PLAIN: dict[str, Any] = {"underwriting": None}
"""A product that asks nothing."""


@cache
def care() -> Product:
    return next(it for it in product.shipped() if it.code == "chronic-care")


def variant(code: str = CARE, **blocks: Any) -> Product:
    """The plan for chronic care under another code: `blocks` change or, with None, take away
    parts of the document."""
    document = care().model_dump(mode="json", exclude_defaults=True)
    for name, block in blocks.items():
        if block is None:
            document.pop(name, None)
        elif isinstance(block, dict) and isinstance(document.get(name), dict):
            document[name] = {**document[name], **block}
        else:
            document[name] = block
    return Product.model_validate({"version": "1.0.0", **document, "code": code})


async def publish(db: Database, it: Product) -> UUID:
    async with db.transaction() as session:
        return await catalogue.publish(session, it, now=NOON)


async def do(
    db: Database, service: Callable[..., Awaitable[Any]], /, *, now: datetime = NOON, **given: Any
) -> Any:
    """One call of a service in a transaction of its own, with a new request id if it takes one
    and none is given."""
    code = service.__code__  # type: ignore[attr-defined]
    if "request_id" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        given.setdefault("request_id", uuid4())
    async with db.transaction() as session:
        return await service(session, now=now, **given)


async def refused(
    db: Database, code: ErrorCode, call: Callable[..., Awaitable[Any]], /, *args: Any, **given: Any
) -> UserError:
    """It is refused, and nothing has moved."""
    before = await contents(db)
    with pytest.raises(UserError) as caught:
        await call(*args, **given)
    assert caught.value.code is code, caught.value.text
    assert await contents(db) == before
    return caught.value


async def applied(
    db: Database,
    member: UUID,
    *,
    product_code: str = CARE,
    declared: Declared | None = Declared((), CONFIRMED),  # noqa: B008 - it never changes
    now: datetime = NOON,
    **wanted: Any,
) -> Policy:
    policy: Policy
    policy, _ = await do(
        db,
        applications.apply,
        now=now,
        member_id=member,
        wanted=Wanted(product_code, **wanted),
        declared=declared,
        by=Actor.member(member),
    )
    return policy


async def accepted(db: Database, policy: Policy, *, now: datetime = NOON) -> Policy:
    found: Policy
    found, _ = await do(
        db,
        applications.accept,
        now=now,
        member_id=policy.member_id,
        policy_id=policy.id,
        by=Actor.member(policy.member_id),
    )
    return found


async def insured(
    db: Database,
    *,
    code: str = CARE,
    now: datetime = NOON,
    wanted: dict[str, Any] | None = None,
    **profile: Any,
) -> Policy:
    """Somebody in force since `now` under a product without questions."""
    member = await make_member(db, now=now, **profile)
    policy = await applied(db, member, product_code=code, declared=None, now=now, **(wanted or {}))
    return await accepted(db, policy, now=now)


async def measure(
    db: Database, member: UUID, *readings: tuple[str, str, str], now: datetime = NOON
) -> None:
    """At a clinic, an hour ago."""
    async with db.transaction() as session:
        await measurements.record(
            session,
            member_id=member,
            time_zone="Asia/Shanghai",
            readings=measurements.clinical(
                [(code, Decimal(value), unit) for code, value, unit in readings],
                at=now - timedelta(hours=1),
            ),
            now=now,
        )


async def examined(db: Database, member: UUID, on: date, *, now: datetime = NOON) -> None:
    """A report of an examination came, with a weight in it."""
    async with db.transaction() as session:
        session.add(
            Measurement(
                member_id=member,
                id=uuid4(),
                code="WEIGHT",
                value=Decimal(62),
                unit="kg",
                sent_value="62",
                sent_unit="kg",
                measured_at=datetime.combine(on, NOON.timetz()),
                local_date=on,
                recorded_at=now,
                method="CLINICAL",
                source_id="examination",
                trust="HIGH",
                channel="EXAMINATION",
            )
        )


async def assessed(db: Database, member: UUID, *, now: datetime = NOON) -> None:
    """As the job does it that underwriting has asked for."""
    async with db.transaction() as session:
        await risk.assess(session, member_id=member, cause=Cause.UNDERWRITING, now=now)


async def tick(db: Database, batch: policy_jobs.Batch, *, now: datetime) -> int:
    return await policy_jobs.run(db, batch, now=now)


async def policy_of(db: Database, policy: Policy) -> Policy:
    async with db.transaction() as session:
        return await session.get_one(Policy, (policy.member_id, policy.id))


async def rows(db: Database, statement: str, **given: Any) -> list[tuple[Any, ...]]:
    async with db.read() as connection:
        return [tuple(row) for row in await connection.execute(text(statement), given)]


async def events(db: Database, policy: Policy) -> list[tuple[Any, ...]]:
    """What happened, in order, with the state after it."""
    statement = "select kind, state from policy_events where policy_id = :id order by place"
    return await rows(db, statement, id=policy.id)


async def invoices_of(db: Database, policy: Policy) -> list[tuple[Any, ...]]:
    """(part, amount, state) in the order of their days."""
    statement = (
        "select part, amount, state from invoices where policy_id = :id order by covers_from"
    )
    return await rows(db, statement, id=policy.id)
