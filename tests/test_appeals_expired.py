"""A contested expiry: the points that were earned once come back, and are not earned again."""

from datetime import timedelta
from uuid import UUID

from app.db import Database
from app.points import expiry, service
from tests.factories import NOON
from tests.points_ledger import balances, do, earn, make_wallet, moved, sound, spend
from tests.reviewing import appeal, decide
from tests.tasks_at_work import rows
from tests.worklist import manager_of

THEN = NOON + timedelta(days=4)


async def make_expired(db: Database, amount: int) -> tuple[UUID, UUID, UUID]:
    """Member, their manager, and the entry that took all they had."""
    member_id = await make_wallet(db)
    await earn(db, member_id, amount, expires_on=THEN.date() - timedelta(days=2))
    await expiry.announce(db, now=THEN)
    while await expiry.expire_due(db, now=THEN) is not None:
        pass
    [(entry,)] = await rows(db, "select id from points_transfers where kind = 'EXPIRED'")
    return member_id, await manager_of(db, member_id), entry


async def test_what_has_expired_comes_back_and_was_earned_once(db: Database) -> None:
    member_id, manager, entry = await make_expired(db, 1000)
    sent = await appeal(db, member_id, entry, now=THEN)
    review = sent["review"]["id"]
    colleague = await manager_of(db, member_id)
    for staff in (manager, colleague):
        answer = await decide(db, staff, review, now=THEN)
    assert answer["review"]["state"] == "ACCEPTED"

    assert await balances(db, member_id) == {"available": 1000, "earned_total": 1000}
    assert (await moved(db, member_id))[-1] == ("ADJUSTED", "expired", "available", 1000)
    # They can be spent for a year from the decision on.
    await spend(db, member_id, 400, now=THEN + timedelta(days=360))
    assert await sound(db)


async def test_what_is_given_beyond_them_is_earned(db: Database) -> None:
    member_id, manager, entry = await make_expired(db, 10)
    sent = await appeal(db, member_id, entry, now=THEN)
    await decide(db, manager, sent["review"]["id"], points=15, now=THEN)

    assert await balances(db, member_id) == {"available": 15, "earned_total": 15}
    assert (await moved(db, member_id))[-2:] == [
        ("ADJUSTED", "expired", "available", 10),
        ("ADJUSTED", "issued", "available", 5),
    ]
    # What was earned by it can be taken back as any earning.
    [(given,)] = await rows(
        db, "select id from points_transfers where kind = 'ADJUSTED' and debit = 'issued'"
    )
    await do(db, service.reverse, member_id=member_id, transfer_id=given, now=THEN)
    assert await balances(db, member_id) == {"available": 10, "earned_total": 10}
    assert await sound(db)
