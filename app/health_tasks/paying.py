"""What tasks pay when their period closes: as much as the caps leave, once."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Date, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.health_tasks import caps
from app.health_tasks.sentences import Reason
from app.health_tasks.service import cause_key
from app.points import rules as points_rules
from app.points import service as points
from app.points.caps import within

_EARNED = text(f"""
select wanted.place, w.earned_total + w.pending,
  {caps.EARNED_COLUMNS}, {caps.LIMIT_COLUMNS}
from unnest(:member_ids, :assignment_ids, :days)
  with ordinality as wanted (member_id, assignment_id, day, place)
join wallets w on w.member_id = wanted.member_id
join task_assignments a on a.member_id = wanted.member_id and a.id = wanted.assignment_id
cross join {caps.earned_sql(member="w.member_id", day="wanted.day")}
order by wanted.place
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("assignment_ids", type_=ARRAY(Uuid)),
    bindparam("days", type_=ARRAY(Date)),
)

_TELL = text("""
update checkins set points_awarded = :points, reason_code = :reason
where member_id = :member_id and id = :id
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))


@dataclass(frozen=True, slots=True)
class Payment:
    member_id: UUID
    assignment_id: UUID
    starts_on: date
    ends_on: date
    """The points are those of the last local day of the period."""
    check_in_id: UUID
    rule: points.Rule
    expires: points_rules.Expiry
    row: dict[str, Any]
    """The task's, as it will be stored."""

    @property
    def points(self) -> int:
        return int(self.row["points_awarded"])


async def cap(session: AsyncSession, payments: Sequence[Payment]) -> None:
    """Reduce what is paid to what the caps leave; the wallets are locked. Of a member's
    payments the earlier ones count towards the caps of those after them."""
    if not payments:
        return
    wanted = {
        "member_ids": [payment.member_id for payment in payments],
        "assignment_ids": [payment.assignment_id for payment in payments],
        "days": [payment.ends_on for payment in payments],
    }
    before: dict[UUID, list[Payment]] = defaultdict(list)
    for place, ever, days, by_rule, counted, *limits in await session.execute(_EARNED, wanted):
        payment = payments[place - 1]
        paid = before[payment.member_id]
        earned = [*caps.earned(days, by_rule, counted)]
        earned += [_earned(it, payment.rule) for it in paid]
        in_force = caps.caps(
            caps.Limits._make(limits),
            earned,
            day=payment.ends_on,
            earned_ever=ever + sum(it.points for it in paid),
        )
        allowed = within(payment.points, in_force)
        payment.row["points_awarded"] = allowed.points
        payment.row["capped_by"] = allowed.cap.kind if allowed.cap else None
        paid.append(payment)


def _earned(payment: Payment, rule: points.Rule) -> caps.Earned:
    return payment.ends_on, payment.rule.code == rule.code, payment.points


async def pay(session: AsyncSession, payment: Payment, *, now: datetime) -> None:
    """Post what a task earns at the end of its period, once however often it is settled."""
    capped_by = payment.row.get("capped_by")
    reason = Reason.of_cap(capped_by) if capped_by else Reason.COMPLETED
    # The check-in that the entry names is asked why; it says what was paid in the end.
    told = {"points": payment.points, "reason": reason}
    await session.execute(_TELL, told | {"member_id": payment.member_id, "id": payment.check_in_id})
    if payment.points == 0:
        return
    await points.earn(
        session,
        member_id=payment.member_id,
        amount=payment.points,
        cause=points.Cause(
            points_rules.CauseKind.CHECK_IN,
            payment.check_in_id,
            cause_key(payment.assignment_id, payment.starts_on),
        ),
        rule=payment.rule,
        local_date=payment.ends_on,
        expires=payment.expires,
        now=now,
    )
