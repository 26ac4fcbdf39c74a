"""What happens to a member of a story on a day, through the services that everybody uses."""

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from sqlmodel import select

from app.db import Database
from app.demo import stories
from app.measurements import service as measurements
from app.premiums import cancellation, history, payments
from app.premiums import service as premiums
from app.premiums.invoice_models import Invoice
from app.premiums.invoice_rules import InvoiceState
from app.premiums.models import Policy
from app.premiums.rules import add_months
from app.records import keeping
from app.records.health import Source
from app.records.keeping import Author, ConditionWish
from app.rewards import service as rewards
from app.rewards.models import Reward

if TYPE_CHECKING:
    from app.demo.history import Life

_NAMESPACE = UUID("0c3f2b4e-6d8e-4f29-8a53-6f0f8d7d2b11")
_PAYING_DAYS = (2, 9, 16, 23)
_CREDIT = "premium-credit-100"


def works(life: "Life", day: date) -> bool:
    """Whether they do their daily tasks on this day."""
    assert life.story is not None and life.begins_on is not None
    if day < life.begins_on:
        return False
    return stories.month_of(day, life.begins_on) < life.story.works_until


async def live(db: Database, life: "Life", day: date, *, manager_id: UUID, now: datetime) -> None:
    """Readings of the clinic, then what the story says of the day."""
    story, first, member_id = life.story, life.begins_on, life.member_id
    assert story is not None and first is not None and member_id is not None
    await pay(db, member_id, day, now=now)
    if measured := stories.readings(story, day, first):
        async with db.transaction() as session:
            await measurements.record(
                session,
                member_id=member_id,
                time_zone=life.person.time_zone,
                readings=measurements.clinical(measured, at=now),
                now=now,
            )
    if day == first:
        await _enrol(db, member_id, story.product, starts_on=first, now=now)
    if story.diagnosed and day == add_months(first, story.diagnosed[0]):
        async with db.transaction() as session:
            await keeping.set_condition(
                session,
                member_id=member_id,
                author=Author(manager_id, Source.CLINICAL),
                request_id=_request(story, "condition"),
                condition_id=None,
                wish=ConditionWish(
                    icd10=story.diagnosed[1], label=None, onset_on=day, abated_on=None
                ),
                now=now,
            )
    if story.redeems_in is not None and day == add_months(first, story.redeems_in):
        async with db.transaction() as session:
            reward = (await session.exec(select(Reward).where(Reward.code == _CREDIT))).one()
            await rewards.redeem(
                session,
                member_id=member_id,
                request_id=_request(story, "credit"),
                reward_id=reward.id,
                now=now,
            )
    if story.leaves_in is not None:
        await _leave_and_return(db, story, member_id, day, first, now=now)


async def pay(db: Database, member_id: UUID, day: date, *, now: datetime) -> None:
    """What has been asked for, on some days of a month, as the bank tells it."""
    if day.day not in _PAYING_DAYS:
        return
    async with db.transaction() as session:
        asked = await session.exec(
            select(Invoice).where(
                Invoice.member_id == member_id, Invoice.state == InvoiceState.ISSUED
            )
        )
        for invoice in asked.all():
            told = payments.Told(
                provider="demo",
                reference=str(invoice.id),
                amount=invoice.amount,
                currency=invoice.currency,
                failure=None,
                happened_at=now,
            )
            await payments.record(
                session, member_id=member_id, invoice_id=invoice.id, told=told, now=now
            )


async def _leave_and_return(
    db: Database, story: stories.Story, member_id: UUID, day: date, first: date, *, now: datetime
) -> None:
    assert story.leaves_in is not None
    if day == add_months(first, story.leaves_in):
        async with db.transaction() as session:
            policy = (
                await session.exec(
                    select(Policy).where(Policy.member_id == member_id, Policy.state == "IN_FORCE")
                )
            ).one()
            await cancellation.cancel(
                session,
                member_id=member_id,
                request_id=_request(story, "cancel"),
                policy_id=policy.id,
                by=history.Actor.member(member_id),
                now=now,
            )
    if day == add_months(first, story.leaves_in + 2):
        await _enrol(db, member_id, story.product, starts_on=day + timedelta(days=1), now=now)


async def _enrol(
    db: Database, member_id: UUID, product: str, *, starts_on: date, now: datetime
) -> None:
    async with db.transaction() as session:
        await premiums.enrol(
            session, member_id=member_id, product_code=product, starts_on=starts_on, now=now
        )


def _request(story: stories.Story, what: str) -> UUID:
    return uuid5(_NAMESPACE, f"{story.login}:{what}")
