"""What a member paid for drugs, decided and accumulated (COV-2): lock the case, look, decide,
write. The case's row is the accumulator: whoever moves a cost of it holds its lock."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.members import requests
from app.members.models import Member
from app.premiums import benefit_rules as benefits
from app.premiums import mild_conditions, money
from app.premiums.benefit_models import BenefitCost, BenefitMovement, MildConditionCase
from app.premiums.benefit_rules import CaseState, ClosedBecause, MovementKind
from app.premiums.benefit_terms import MildConditionKind
from app.premiums.mild_conditions import CaseNotCovered
from app.premiums.models import Policy
from app.records import health
from app.records import service as records
from app.texts import Text


class DrugInvalid(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.CODE_INVALID,
            Text(zh="不是 ATC 编码，例如 A10BA02。", en="This is no ATC code, as A10BA02."),
            field="drug",
        )


class AmountInvalid(UserError):
    def __init__(self, *, currency: str) -> None:
        decimals = money.decimals(currency)
        most = money.text(benefits.COST_MINOR_MAX, currency)
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"金额须大于 0、不超过 {most}，且不超过 {decimals} 位小数。",
                en=f"An amount is more than 0, at most {most}, with at most {decimals} decimals.",
            ),
            field="amount",
        )


class BoughtInFuture(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.IN_FUTURE,
            Text(zh="购药日期不能晚于今天。", en="It cannot be bought after today."),
            field="boughtOn",
        )


class TooManyCosts(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.LIMIT_REACHED,
            Text(
                zh=f"一个权益周期最多记录 {benefits.COSTS_MAX} 笔费用。",
                en=f"One case holds at most {benefits.COSTS_MAX} costs.",
            ),
            field="caseId",
        )


class AlreadyReversed(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(zh="这笔费用已经撤销。", en="This cost was reversed already."),
            field="costId",
        )


class WordsInvalid(UserError):
    def __init__(self, *, field: str) -> None:
        most = benefits.NOTE_LENGTH_MAX
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"请填写 1 至 {most} 个字符。",
                en=f"Write something, at most {most} characters.",
            ),
            field=field,
        )


@dataclass(frozen=True, slots=True)
class Bought:
    """As an employee enters it."""

    drug: str
    """ATC code."""
    on: date
    amount: Decimal
    """What the member paid, in major units of the policy's currency."""
    note: str | None = None


async def record(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    case_id: UUID,
    bought: Bought,
    now: datetime,
) -> tuple[BenefitCost, bool]:
    """Keep a cost and pay its share as long as the limit lasts; the cost, and whether this
    request was answered before. One that the benefit does not pay is kept with the reason.

    Raises NotFound, CaseNotCovered, DrugInvalid, AmountInvalid, BoughtInFuture, WordsInvalid,
    TooManyCosts, records.ConsentMissing, RequestReused.
    """
    case = await mild_conditions.lock(session, member_id, case_id)
    cost_id = new_id(now)
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="recordBenefitCost",
        values={
            "caseId": case_id,
            "drug": bought.drug,
            "boughtOn": bought.on,
            "amount": bought.amount,
            "note": bought.note,
        },
        result=cost_id,
        now=now,
    )
    if earlier is not None:
        return await session.get_one(BenefitCost, (member_id, earlier)), True
    if case.state == CaseState.NOT_COVERED:
        raise CaseNotCovered
    drug = health.atc(bought.drug)
    if drug is None:
        raise DrugInvalid
    member = await session.get_one(Member, member_id)
    if bought.on > civil_time.local_date(now, civil_time.zone(member.time_zone)):
        raise BoughtInFuture
    amount = _minor(bought.amount, case.currency)
    if bought.note is not None:
        _check_words(bought.note, field="note")
    await records.require_consent(session, member_id)
    costs = await _costs(session, case)
    if len(costs) >= benefits.COSTS_MAX:
        raise TooManyCosts
    await _close_with_policy(session, case, now=now)
    cost = BenefitCost(
        member_id=member_id,
        id=cost_id,
        case_id=case_id,
        place=len(costs) + 1,
        drug=drug,
        bought_on=bought.on,
        amount=amount,
        fault=await _fault(session, case, drug, bought.on),
        paid=0,
        note=bought.note.strip() if bought.note is not None else None,
        recorded_at=now,
        recorded_by=staff_id,
    )
    session.add(cost)
    await session.flush()
    await _settle(session, case, [*costs, cost], new=cost_id, staff_id=staff_id, now=now)
    return cost, False


async def reverse(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    cost_id: UUID,
    reason: str,
    now: datetime,
) -> tuple[BenefitCost, bool]:
    """Take back what was paid of a cost, once; what that leaves under the limit goes to the
    costs that had reached it, the oldest first. The cost, and whether this request was answered
    before. It works without consent too: a mistake can always be put right.

    Raises NotFound, AlreadyReversed, WordsInvalid, RequestReused.
    """
    named = await session.get(BenefitCost, (member_id, cost_id))
    if named is None:
        raise NotFound(field="costId")
    case = await mild_conditions.lock(session, member_id, named.case_id)
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="reverseBenefitCost",
        values={"costId": cost_id, "reason": reason},
        result=cost_id,
        now=now,
    )
    costs = await _costs(session, case)
    cost = next(it for it in costs if it.id == cost_id)
    if earlier is not None:
        return cost, True
    if cost.reversed_at is not None:
        raise AlreadyReversed
    _check_words(reason, field="reason")
    cost.reversed_at = now
    cost.reversed_by = staff_id
    cost.reversal_reason = reason.strip()
    await _settle(session, case, costs, staff_id=staff_id, now=now)
    return cost, False


async def _costs(session: AsyncSession, case: MildConditionCase) -> list[BenefitCost]:
    """Of a case that is locked, in the order in which they were recorded."""
    found = await session.exec(
        select(BenefitCost)
        .where(BenefitCost.member_id == case.member_id, BenefitCost.case_id == case.id)
        .order_by(col(BenefitCost.place))
        .execution_options(populate_existing=True)
    )
    return list(found)


async def _settle(
    session: AsyncSession,
    case: MildConditionCase,
    costs: list[BenefitCost],
    *,
    staff_id: UUID,
    new: UUID | None = None,
    now: datetime,
) -> None:
    """Have every cost and the accumulator show what is paid, and write down what moved."""
    amounts = benefits.settle(
        [
            benefits.Cost(cost.amount, cost.fault is None and cost.reversed_at is None)
            for cost in costs
        ],
        share_percent=case.share_percent,
        limit=case.limit_amount,
    )
    for cost, amount in zip(costs, amounts, strict=True):
        if amount == cost.paid:
            continue
        kind = MovementKind.RESTATED
        if cost.reversed_at is not None:
            kind = MovementKind.REVERSED
        elif cost.id == new:
            kind = MovementKind.PAID
        session.add(
            BenefitMovement(
                member_id=case.member_id,
                id=new_id(now),
                cost_id=cost.id,
                kind=kind.value,
                amount=amount - cost.paid,
                at=now,
                staff_id=staff_id,
            )
        )
        cost.paid = amount
    case.used = sum(amounts)
    await session.flush()


async def _fault(
    session: AsyncSession, case: MildConditionCase, drug: str, bought_on: date
) -> str | None:
    product = await mild_conditions.product_of(session, case.product_version_id)
    terms = product.benefits.mild_condition if product.benefits else None
    drugs = terms.drugs_of(MildConditionKind(case.condition)) if terms else ()
    fault = benefits.cost_fault(
        drug,
        bought_on,
        drugs=drugs,
        triggered_on=case.triggered_on,
        closes_on=case.closes_on,
    )
    return fault.value if fault is not None else None


async def _close_with_policy(
    session: AsyncSession, case: MildConditionCase, *, now: datetime
) -> None:
    """The clock may not have come by yet."""
    policy = await session.get_one(Policy, (case.member_id, case.policy_id))
    if case.closed_at is None and policy.state != "IN_FORCE":
        await mild_conditions.close(session, case, ClosedBecause.POLICY_ENDED, now=now)


def _minor(amount: Decimal, currency: str) -> int:
    try:
        minor = money.minor(amount, currency) if amount.is_finite() else 0
    except (ValueError, ArithmeticError):
        raise AmountInvalid(currency=currency) from None
    if not 0 < minor <= benefits.COST_MINOR_MAX:
        raise AmountInvalid(currency=currency)
    return minor


def _check_words(text: str, *, field: str) -> None:
    if not text.strip() or len(text) > benefits.NOTE_LENGTH_MAX or "\0" in text:
        raise WordsInvalid(field=field)
