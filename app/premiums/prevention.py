"""What the prevention reserve is spent on (ACT-1): booked, and booked back."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import NotFound
from app.ids import new_id
from app.premiums import portfolio
from app.premiums import portfolio_refusals as refusals
from app.premiums.portfolio_models import PreventionSpending
from app.texts import Text

_FIRST_ZONE = timedelta(hours=14)
"""A day has begun somewhere that much before it does in UTC."""


class Purpose(StrEnum):
    """What the reserve may be spent on (ACT-1), and nothing else."""

    HEALTH_SERVICE = "HEALTH_SERVICE"
    EARLY_INTERVENTION = "EARLY_INTERVENTION"


async def book(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    product_code: str,
    spent_on: date,
    purpose: Purpose,
    amount: Decimal,
    reference: str,
    now: datetime,
) -> tuple[PreventionSpending, bool]:
    """Something paid for from the prevention reserve, in major units. More than the reserve or
    the market's cap is booked all the same, and warned of: it has been spent. With whether this
    request was answered before.

    Raises NotFound, FigureInvalid, RequestReused.
    """
    id = new_id(now)
    given = {
        "productCode": product_code, "spentOn": spent_on, "purpose": purpose, "amount": amount,
        "reference": reference,
    }  # fmt: skip
    earlier = await portfolio.claim(
        session, staff_id, request_id, "bookPreventionSpending", given, id, now
    )
    if earlier is not None:
        return await session.get_one(PreventionSpending, earlier), True
    product = await portfolio.of_code(session, product_code)
    if product.reserve is None:
        raise refusals.FigureInvalid(
            "productCode",
            Text(zh="该产品没有预防金。", en="This product sets nothing aside for prevention."),
        )
    if not date(refusals.YEAR_MIN, 1, 1) <= spent_on <= (now + _FIRST_ZONE).date():
        raise refusals.FigureInvalid(
            "spentOn",
            Text(
                zh=f"须从 {refusals.YEAR_MIN} 年起，不晚于今天。",
                en=f"From {refusals.YEAR_MIN} on, not after today.",
            ),
        )
    refusals.check_reference(reference)
    minor = refusals.minor("amount", amount, product.currency)
    if minor == 0:
        raise refusals.FigureInvalid("amount", Text(zh="必须大于 0。", en="It must be above 0."))
    made = PreventionSpending(
        id=id,
        product_code=product_code,
        year=spent_on.year,
        spent_on=spent_on,
        purpose=purpose.value,
        amount=minor,
        currency=product.currency,
        reference=reference.strip(),
        booked_by=staff_id,
        booked_at=now,
    )
    session.add(made)
    await session.flush()
    return made, False


async def reverse(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    spending_id: UUID,
    reference: str,
    now: datetime,
) -> tuple[PreventionSpending, bool]:
    """Take back what was booked by mistake, in the year of the mistake, once. The entry that
    does it, and whether this request was answered before.

    Raises NotFound, Decided, FigureInvalid, RequestReused.
    """
    id = new_id(now)
    given = {"spendingId": spending_id, "reference": reference}
    earlier = await portfolio.claim(
        session, staff_id, request_id, "reversePreventionSpending", given, id, now
    )
    if earlier is not None:
        return await session.get_one(PreventionSpending, earlier), True
    refusals.check_reference(reference)
    # Nobody may lock rows that nobody may change: rivals wait for each other here.
    await session.execute(portfolio.LOCK, {"key": f"spending {spending_id}"})
    booked = await session.get(PreventionSpending, spending_id)
    if booked is None or booked.reverses is not None:
        raise NotFound(field="spendingId")
    if await is_reversed(session, spending_id):
        raise refusals.Decided("spendingId")
    same = {
        name: getattr(booked, name)
        for name in ("product_code", "year", "spent_on", "purpose", "currency")
    }
    made = PreventionSpending(
        id=id,
        amount=-booked.amount,
        reference=reference.strip(),
        reverses=spending_id,
        booked_by=staff_id,
        booked_at=now,
        **same,
    )
    session.add(made)
    await session.flush()
    return made, False


async def is_reversed(session: AsyncSession, spending_id: UUID) -> bool:
    found = await session.exec(
        select(PreventionSpending.id).where(PreventionSpending.reverses == spending_id)
    )
    return found.first() is not None
