"""How each kind of reward reaches its member; run as a job, and again until it succeeds."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.rewards import catalogue, codes, redemptions
from app.rewards.models import PendingBenefit, Redemption
from app.rewards.rules import Fulfilment
from app.rewards.terms import Terms
from app.texts import Text
from app.worklist import programme as worklist
from app.worklist.rules import WorklistItemKind

SUBJECT = "REDEMPTION"
"""A worklist item's `subject_kind`."""
_PRIORITY = 50

Fulfil = Callable[[AsyncSession, Redemption, Terms, datetime], Awaitable[bool]]
"""Whether the member has it now; otherwise somebody else says when they have."""


class NoCodeLeft(Exception):
    """The stock of a reward counts its codes, so this is a mistake of ours or of an operator."""


async def fulfil(
    session: AsyncSession, *, member_id: UUID, redemption_id: UUID, now: datetime
) -> bool:
    """Whether it was fulfilled here and now; a repeat changes nothing. Raises NoCodeLeft."""
    redemption = await redemptions.lock(session, member_id, redemption_id)
    if redemption is None or not redemptions.is_open(redemption, now=now):
        return False
    terms = await catalogue.terms_of(session, redemption.reward_id, redemption.reward_version)
    if not await PORTS[terms.fulfilment](session, redemption, terms, now):
        return False
    await redemptions.fulfil(session, redemption, now=now)
    return True


async def _give_code(
    session: AsyncSession, redemption: Redemption, _terms: Terms, now: datetime
) -> bool:
    given = await codes.take(session, redemption, now=now)
    if given is None:
        raise NoCodeLeft
    redemption.code_id, redemption.code_key_id, redemption.code_sealed = given
    return True


async def _ask_employee(
    session: AsyncSession, redemption: Redemption, terms: Terms, now: datetime
) -> bool:
    name = terms.name
    task = worklist.Task(
        kind=WorklistItemKind.FULFILMENT,
        cause_key=redemptions.worklist_key(redemption.id),
        reason=Text(zh=f"待履行的兑换：{name.zh}", en=f"To be fulfilled: {name.en}"),
        priority=_PRIORITY,
        due_at=redemption.expires_at,
        subject_kind=SUBJECT,
        subject_id=redemption.id,
    )
    await worklist.open_item(session, member_id=redemption.member_id, task=task, now=now)
    return False


async def _grant_benefit(
    session: AsyncSession, redemption: Redemption, terms: Terms, now: datetime
) -> bool:
    credit = terms.premium_credit
    session.add(
        PendingBenefit(
            member_id=redemption.member_id,
            id=redemption.id,
            kind=terms.kind,
            percent=terms.cover_uplift_percent,
            amount=credit.amount if credit else None,
            currency=credit.currency if credit else None,
            granted_at=now,
        )
    )
    return True


PORTS: Mapping[Fulfilment, Fulfil] = {
    Fulfilment.VOUCHER_CODE: _give_code,
    Fulfilment.MANUAL: _ask_employee,
    Fulfilment.BENEFIT: _grant_benefit,
}
