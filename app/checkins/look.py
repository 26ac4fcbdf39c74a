"""The first statement of a check-in: all that its decision needs."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from app import civil_time
from app.checkins import statements
from app.errors import NotFound, RequestReused, UserError
from app.health_tasks import caps, queries, rules
from app.health_tasks.kinds import task_kind, task_state
from app.health_tasks.queries import Assignment, LatestCheckIn, Standing, Stored, TaskView
from app.points import rules as points_rules
from app.points import service as points
from app.points.caps import Cap
from app.points.tally import Entry, Tally

_WALLET_WIDTH = len(points.WALLET_COLUMNS.split(", "))
_TASK = slice(-len(Stored._fields), None)
_ASSIGNMENT = slice(_TASK.start - len(Assignment._fields), _TASK.start)
_LIMITS = slice(_ASSIGNMENT.start - len(caps.Limits._fields), _ASSIGNMENT.start)
"""Places in a row of `statements.look`."""


class Facts(NamedTuple):
    """What `look` found of a task that is the member's."""

    row: Any
    """Of `statements.look`, for what is used once."""
    wallet: points.WalletState
    standing: Standing
    check_ins: list[LatestCheckIn]
    """Of the task's period."""
    assignment: Assignment
    span: rules.Span
    stored: Stored | None
    """The task's row, when there is one already."""
    day: date
    """The member's local day of the check-in."""
    tally: Tally | None
    later: Sequence[Entry]
    """What counts towards caps and is not in the tally."""
    earlier: Sequence[caps.Earned] | None
    """All that counts on a day of which the tally says nothing."""

    @property
    def target(self) -> Decimal:
        return self.stored.target if self.stored else self.assignment.target_in(self.span)

    @property
    def latest(self) -> LatestCheckIn | None:
        found = self.row["latest_check_in_id"]
        return self.find(found) if found is not None else None

    def find(self, check_in_id: UUID) -> LatestCheckIn:
        return next(known for known in self.check_ins if known.id == check_in_id)

    def in_slot(self, day: date, slot: int) -> LatestCheckIn:
        return next(
            known for known in self.check_ins if (known.local_date, known.slot) == (day, slot)
        )

    def counted(self) -> list[rules.Counted]:
        return [
            rules.Counted(
                known.local_date,
                known.value,
                found[-1],
                known.slot,
                known.occurred_at,
                known.state,
            )
            for known, found in zip(self.check_ins, self.row["check_ins"], strict=True)
        ]

    def task(self) -> rules.TaskFacts:
        """The task as the rules take it."""
        assignment = self.assignment
        return rules.TaskFacts(
            kind=task_kind(assignment.kind),
            span=self.span,
            state=task_state(self.stored.state) if self.stored else rules.TaskState.OPEN,
            target=self.target,
            unit=assignment.unit,
            value_min=assignment.value_min,
            value_max=assignment.value_max,
            per_day=assignment.per_day,
            # An appeal may have given some of them already.
            points=max(0, assignment.points - (self.row["paid"] or 0)),
            late_data_days=assignment.late_data_days,
            check_ins=self.counted(),
            paused_days=rules.paused_days(self.standing.pauses, self.span),
        )

    def caps(self) -> Sequence[Cap]:
        """Those that the assignment promises, as they stand on the day."""
        limits = caps.Limits._make(self.row[_LIMITS])
        balances = self.wallet.balances
        ever = balances.earned_total + balances.pending
        if self.earlier is not None:
            return caps.caps(limits, self.earlier, day=self.day, earned_ever=ever)
        ours = caps.family(self.row["rule_code"])
        sums = self.tally.of(self.day) if self.tally else {}
        return caps.caps(
            limits,
            [(day, caps.family(code) == ours, points) for day, code, points in self.later],
            day=self.day,
            earned_ever=ever,
            tallied=[(caps.family(code) == ours, it) for code, it in sums.items()],
        )

    def view(self, stored: Stored | None, latest: LatestCheckIn | None) -> TaskView:
        """The task as the member sees it, in this state."""
        return queries.view(self.assignment, self.span, (stored, latest), self.standing)

    def balances(self, earned: points.Earning | None) -> points_rules.Balances:
        """The member's points as they are, or as they are after an earning."""
        return (earned.wallet if earned else self.wallet).balances


FetchRow = Callable[..., Awaitable[Any]]
"""Sends SQL with its arguments: the first row, or None."""


async def look(
    fetch_row: FetchRow,
    *,
    member_id: UUID,
    request_id: UUID,
    assignment_id: UUID,
    starts_on: date,
    occurred_at: datetime,
    photo_id: UUID | None,
    installation_id: UUID | None,
    has_evidence: bool,
    now: datetime,
) -> Facts:
    """Raises NotFound when the member has no such task, or RequestReused."""
    # Nobody was ever given an id further ahead, and calendars end.
    if starts_on > now.date() + timedelta(days=queries.AHEAD_MAX_DAYS + 1):
        raise NotFound(field="taskId")
    parameters = {
        "member_id": member_id,
        "assignment_id": assignment_id,
        "starts_on": starts_on,
        "occurred_at": occurred_at,
        "request_id": request_id,
        "photo_id": photo_id,
        "installation_id": installation_id,
        "now": now,
    }
    statement = statements.look(has_evidence=has_evidence)
    row = await fetch_row(statement.sql, *statement.arguments(parameters))
    if row is None:
        raise NotFound(field="taskId")
    assignment = Assignment._make(row[_ASSIGNMENT])
    span = assignment.span_of(starts_on) if assignment.id is not None else None
    if span is None or span.starts_on != starts_on:
        raise _unknown(row)
    zone = civil_time.zone(row["time_zone"])
    standing = Standing(
        consent=queries.consent_of(row["consent"]),
        pauses=queries.pauses_of(row["pauses"]),
        today=civil_time.local_date(now, zone),
        zone=zone,
    )
    day = civil_time.local_date(occurred_at, zone)
    tally = Tally.read(row["tally"]) if row["tally"] is not None else None
    return Facts(
        row=row,
        wallet=points.WalletState.of(member_id, row[:_WALLET_WIDTH]),
        standing=standing,
        check_ins=[LatestCheckIn._make(found[:-1]) for found in row["check_ins"]],
        assignment=assignment,
        span=span,
        stored=None if row[_TASK][0] is None else Stored._make(row[_TASK]),
        day=day,
        tally=tally,
        later=row["later"],
        earlier=await _earlier(fetch_row, parameters | {"local_date": day})
        if tally and day < tally.on
        else None,
    )


async def _earlier(fetch_row: FetchRow, parameters: Mapping[str, Any]) -> Sequence[caps.Earned]:
    row = await fetch_row(statements.EARLIER.sql, *statements.EARLIER.arguments(parameters))
    return list(caps.earned(*row))


def _unknown(row: Any) -> UserError:
    """Of an id that was used for something else, that is what to say first."""
    return NotFound(field="taskId") if row["result"] is None else RequestReused()
