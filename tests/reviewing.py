"""Check-ins that somebody looks at, and how employees decide about them."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from app.db import Database
from app.graphql.ids import Kind, encode
from app.points.reconcile import reconcile
from app.points.verify import verify
from tests.factories import NOON, as_member, as_staff, execute, operation
from tests.tasks_at_work import rows

APPEAL = operation("AppealEntry")
APPEAL_CHECK_IN = operation("AppealCheckIn")
DECIDE = operation("DecideReview", "console")


async def verified_by(db: Database, member_id: UUID, verification: str, **changes: Any) -> None:
    """Every task of the member needs this; `changes` are other columns of the assignments."""
    values = {"verification": verification, **changes}
    async with db.transaction() as session:
        await session.execute(
            text(
                f"update task_assignments set {', '.join(f'{name} = :{name}' for name in values)}"
                " where member_id = :member_id"
            ),
            {"member_id": member_id, **values},
        )


async def review_of(db: Database, member_id: UUID, *, kind: str = "CHECK_IN") -> str:
    """The id of the member's newest review."""
    found = await rows(
        db,
        "select id from reviews where member_id = :member_id and kind = :kind order by id desc",
        member_id=member_id,
        kind=kind,
    )
    return encode(Kind.REVIEW, member_id, found[0][0])


async def decide(
    db: Database,
    staff_id: UUID,
    review_id: str,
    decision: str = "ACCEPT",
    *,
    reason: str = "Seen.",
    request_id: UUID | None = None,
    now: datetime = NOON,
    roles: tuple[str, ...] = (),
    **changes: Any,
) -> dict[str, Any]:
    sent = {
        "requestId": str(request_id or uuid4()),
        "reviewId": review_id,
        "decision": decision,
        "reason": reason,
        **changes,
    }
    context = as_staff(db, staff_id, *roles, now=now)
    result: dict[str, Any] = (await execute(DECIDE, {"input": sent}, context=context))[
        "decideReview"
    ]
    return result


async def appeal(
    db: Database,
    member_id: UUID,
    entry_id: UUID | str,
    *,
    text: str = "I did it.",
    request_id: UUID | None = None,
    now: datetime = NOON,
) -> dict[str, Any]:
    named = entry_id if isinstance(entry_id, str) else entry(member_id, entry_id)
    sent = {"requestId": str(request_id or uuid4()), "entryId": named, "text": text}
    context = as_member(db, member_id, now=now)
    result: dict[str, Any] = (await execute(APPEAL, {"input": sent}, context=context))[
        "appealEntry"
    ]
    return result


async def appeal_check_in(
    db: Database,
    member_id: UUID,
    check_in_id: UUID | str,
    *,
    text: str = "I did it.",
    request_id: UUID | None = None,
    now: datetime = NOON,
) -> dict[str, Any]:
    named = (
        check_in_id
        if isinstance(check_in_id, str)
        else encode(Kind.CHECK_IN, member_id, check_in_id)
    )
    sent = {"requestId": str(request_id or uuid4()), "checkInId": named, "text": text}
    context = as_member(db, member_id, now=now)
    result: dict[str, Any] = (await execute(APPEAL_CHECK_IN, {"input": sent}, context=context))[
        "appealCheckIn"
    ]
    return result


def entry(member_id: UUID, transfer_id: UUID) -> str:
    return encode(Kind.POINTS_ENTRY, member_id, transfer_id)


async def balances(db: Database, member_id: UUID) -> tuple[int, int]:
    """Available and pending."""
    [row] = await rows(
        db, "select available, pending from wallets where member_id = :id", id=member_id
    )
    return tuple(row)


async def standing(db: Database, member_id: UUID) -> list[tuple[str, int, int]]:
    """State, points and progress of each task that a check-in touched."""
    found = await rows(
        db,
        "select state, points_awarded, done::int from tasks where member_id = :id"
        " and latest_check_in_id is not null order by starts_on, assignment_id",
        id=member_id,
    )
    return [tuple(row) for row in found]


async def check_ins(db: Database, member_id: UUID) -> list[tuple[str, int, str]]:
    """State, points and reason of each check-in, the oldest first."""
    found = await rows(
        db,
        "select state, points_awarded, reason_code from checkins where member_id = :id"
        " order by occurred_at, id",
        id=member_id,
    )
    return [tuple(row) for row in found]


# A sum that an employee named may come on top of what the task promises.
_PAID_TOO_MUCH = """
with issued as (
  select x.member_id, x.id, x.amount, t.assignment_id, t.starts_on, a.points
  from tasks t join task_assignments a on a.member_id = t.member_id and a.id = t.assignment_id
  join points_transfers x on x.member_id = t.member_id and x.debit = 'issued'
    and starts_with(x.cause_key, t.assignment_id || ':' || t.starts_on || ':')),
paid as (
  select assignment_id, starts_on, points, sum(amount - coalesce((
    select sum(s.amount) from points_transfers s where s.member_id = issued.member_id
    and s.corrects = issued.id and s.credit = 'reversed'), 0)) as paid
  from issued group by assignment_id, starts_on, points)
select * from paid where paid < 0 or paid > points and not exists (
  select from checkins c join reviews r on r.member_id = c.member_id and r.check_in_id = c.id
  where (c.assignment_id, c.starts_on) = (paid.assignment_id, paid.starts_on)
  and r.kind = 'APPEAL' and r.state = 'ACCEPTED' and r.cause_key <> 'appeal:' || c.id)
"""
_WAITS_FOR_NOBODY = """
select x.member_id, x.amount from points_transfers x
where x.credit = 'pending' and x.cause_kind = 'CHECK_IN' and not exists (
  select from points_transfers s where s.member_id = x.member_id
  and s.corrects = coalesce(x.corrects, x.id) and s.kind in ('RELEASED', 'REVERSED'))
and not exists (
  select from checkins mine join checkins c using (member_id, assignment_id, starts_on)
  join reviews r on r.member_id = c.member_id and r.check_in_id = c.id
  where mine.member_id = x.member_id and mine.id = x.cause_id and r.kind = 'CHECK_IN'
  and r.state in ('OPEN', 'AWAITING_SECOND_PERSON'))
"""


async def assert_sound(db: Database) -> None:
    """The ledger verifies, and wallets and lots follow from it; no task paid more than its
    points, and no points wait without a review that is open."""
    *_, report = [found async for found in verify(db, roots_path=None)]
    assert report.first_bad is None, report.first_bad
    *_, compared = [found async for found in reconcile(db)]
    assert compared.done and compared.differences == 0, compared.first
    assert await rows(db, _PAID_TOO_MUCH) == []
    assert await rows(db, _WAITS_FOR_NOBODY) == []
