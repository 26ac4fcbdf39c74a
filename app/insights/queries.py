"""Reads what an explanation is made of: five statements at most, whatever is asked about.

The first finds what the question is about: an earning, redemption or expiry (by its first
transfer), a task in a period, a redemption. The others read those, each once.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, Date, DateTime, Integer, String, TextClause, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app import civil_time
from app.health_tasks import queries, rules
from app.health_tasks.caps import LIMIT_COLUMNS, Limits
from app.health_tasks.queries import Assignment, Standing, Stored
from app.health_tasks.service import cause_key
from app.insights import readings
from app.insights.facts import (
    CheckInFact,
    Facts,
    LedgerFacts,
    LotFact,
    RedemptionFacts,
    ReviewFact,
    TakenFact,
    TaskFacts,
    TransferFact,
)
from app.points.expiry import last_day
from app.points.rules import CauseKind
from app.texts import Text

CHECK_INS_MAX = 10
TRANSFERS_MAX = 50
LOTS_MAX = 10
REVIEWS_MAX = 10
_TYPES: dict[str, Any] = {
    "member_id": Uuid(),
    "id": Uuid(),
    "assignment_id": Uuid(),
    "starts_on": Date(),
    "now": DateTime(timezone=True),
    "check_in_id": Uuid(),
    "cause_keys": ARRAY(String()),
}


class Anchor(NamedTuple):
    """What a question is about; what there is none of is None."""

    root_id: UUID | None = None
    """First transfer of the earning, redemption or expiry."""
    assignment_id: UUID | None = None
    starts_on: date | None = None
    redemption_id: UUID | None = None
    check_in_id: UUID | None = None


def _typed(sql: str) -> TextClause:
    names = [name for name in _TYPES if f":{name}" in sql]
    return text(sql).bindparams(*(bindparam(name, type_=_TYPES[name]) for name in names))


# An entry is about the transfer that it corrects, and the second part of an earning that paid
# a debt about the first part, whose key is the plain one.
_OF_ENTRY = _typed(f"""
with recursive above as (
  select t.id, t.corrects, t.cause_key, 1 as depth from points_transfers t
  where t.member_id = :member_id and t.id = :id
  union all
  select t.id, t.corrects, t.cause_key, above.depth + 1 from above
  join points_transfers t on t.member_id = :member_id and t.id = above.corrects
  where above.depth < 10),
root as (
  select r.id, r.cause_kind, r.cause_id from (select * from above order by depth desc limit 1) top
  join points_transfers r on r.member_id = :member_id
    and r.cause_key = regexp_replace(top.cause_key, '/[0-9]+$', ''))
select root.id, c.assignment_id, c.starts_on,
  case when root.cause_kind = '{CauseKind.REDEMPTION}' then root.cause_id end, c.id
from root left join checkins c on c.member_id = :member_id and c.id = root.cause_id
  and root.cause_kind = '{CauseKind.CHECK_IN}'
""")
_OF_CHECK_IN = _typed("""
select c.assignment_id, c.starts_on from checkins c
where c.member_id = :member_id and c.id = :id
""")
_TRANSFER = f"""t.id, t.seq, t.kind, t.debit, t.credit, t.amount, t.posted_at,
  {last_day("t.expires_on")}, case when t.kind = 'EXPIRED' then {last_day("t.local_date")}
    else t.local_date end, t.cause_kind, t.cause_id, t.corrects, t.rule_code"""
# What a task pays is one earning, or several when the earlier ones were refused.
_LEDGER = _typed(f"""
with recursive root as (
  select t.id, t.cause_key, t.kind, t.local_date from points_transfers t
  where t.member_id = :member_id and t.id = :id
  union
  select t.id, t.cause_key, t.kind, t.local_date from points_transfers t
  where t.member_id = :member_id and t.cause_key = any(:cause_keys)),
story as (
  select t.* from root join points_transfers t on t.member_id = :member_id
    and t.cause_key in (root.cause_key, root.cause_key || '/2')
  union
  select t.* from story join points_transfers t on t.member_id = :member_id
    and t.corrects = story.id)
select
  array(select row({_TRANSFER}, v.code, v.version) from story t
    left join product_versions v on v.id = t.rule_version order by t.seq limit {TRANSFERS_MAX}),
  array(select row(l.id, coalesce(l.origin_id, l.id), l.expires_on, l.is_grace, l.remaining,
      l.pending, l.held, l.used, l.expired, l.reversed)
    from root join points_lots l on l.member_id = :member_id and case root.kind
      when 'EXPIRED' then l.expires_on = root.local_date and l.expired > 0
      else coalesce(l.origin_id, l.id) = root.id end
    order by l.expires_on, l.earned_seq limit {LOTS_MAX}),
  array(select row(coalesce(l.origin_id, l.id), o.local_date, l.expires_on, p.amount, p.captured,
      p.released, p.returned, o.rule_code)
    from root join points_hold_lots p on p.member_id = :member_id and p.hold_id = root.id
    join points_lots l on l.member_id = p.member_id and l.id = p.lot_id
    join points_transfers o on o.member_id = l.member_id and o.id = coalesce(l.origin_id, l.id)
    order by l.expires_on, l.earned_seq limit {LOTS_MAX})
""")
_TASK = _typed(f"""
select members.time_zone, {queries.CONSENT},
  array(select row(p.starts_on, p.ends_on) from pauses p where p.member_id = members.member_id),
  row({queries.ASSIGNMENT_COLUMNS}), row({queries.TASK_COLUMNS}), row({LIMIT_COLUMNS}),
  t.points_awarded, t.capped_by, t.revision, t.completed_at, v.code, v.version, a.data_code,
  array(select row(c.id, c.occurred_at, c.local_date, c.value, c.state, c.points_awarded,
      c.reason_code, c.decision_note, c.slot)
    from checkins c where c.member_id = members.member_id and c.assignment_id = a.id
    and c.starts_on = :starts_on
    order by (c.id = cast(:check_in_id as uuid)) desc nulls last, c.points_awarded > 0 desc,
      c.occurred_at desc limit {CHECK_INS_MAX}),
  (select count(*) from checkins c where c.member_id = members.member_id
    and c.assignment_id = a.id and c.starts_on = :starts_on)
from members
join task_assignments a on a.member_id = members.member_id and a.id = :assignment_id
left join tasks t on t.member_id = a.member_id and t.assignment_id = a.id
  and t.starts_on = :starts_on
left join product_versions v on v.id = a.product_version_id
where members.member_id = :member_id
""")
_REDEMPTION = _typed("""
select d.id, v.definition #>> '{title,zh}', v.definition #>> '{title,en}', d.points, d.state,
  d.reserved_at, d.expires_at, d.ended_at
from redemptions d
join reward_versions v on v.reward_id = d.reward_id and v.version = d.reward_version
where d.member_id = :member_id and d.id = :id
""")


_REVIEWS = text("""
select r.id, r.kind, r.state, r.findings, r.points, r.opened_at, r.due_at,
  coalesce(r.second_at, r.decided_at),
  case when r.state in ('ACCEPTED', 'REJECTED') then r.reason end,
  r.subject_id is not distinct from r.check_in_id
from reviews r where r.member_id = :member_id
and (r.check_in_id = any(:ids) or r.subject_id = any(:ids))
order by r.opened_at, r.id limit :limit
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("limit", type_=Integer),
)


async def of_entry(connection: AsyncConnection, member_id: UUID, id: UUID) -> Anchor | None:
    row = await _one(connection, _OF_ENTRY, member_id=member_id, id=id)
    return Anchor(*row) if row is not None else None


async def of_check_in(connection: AsyncConnection, member_id: UUID, id: UUID) -> Anchor | None:
    row = await _one(connection, _OF_CHECK_IN, member_id=member_id, id=id)
    return Anchor(None, row[0], row[1], None, id) if row is not None else None


async def gather(
    connection: AsyncConnection, member_id: UUID, anchor: Anchor, *, now: datetime
) -> Facts:
    """Everything about what a question is about."""
    task = redemption = None
    if anchor.assignment_id is not None and anchor.starts_on is not None:
        task = await _task(
            connection, member_id, anchor.assignment_id, anchor.starts_on, anchor.check_in_id, now
        )
    if anchor.redemption_id is not None:
        redemption = await _redemption(connection, member_id, anchor.redemption_id)
    keys = []
    if task is not None:
        revisions = range(task.revision + 1)
        keys = [cause_key(task.assignment_id, task.starts_on, it) for it in revisions]
    ledger = await _ledger(connection, member_id, anchor.root_id or anchor.redemption_id, keys)
    reviews = await _reviews(connection, member_id, ledger, task)
    data = await readings.find(connection, member_id, task) if task else ()
    return Facts(ledger, task, redemption, data, reviews)


async def _reviews(
    connection: AsyncConnection,
    member_id: UUID,
    ledger: LedgerFacts | None,
    task: TaskFacts | None,
) -> Sequence[ReviewFact]:
    ids = [it.id for it in (task.check_ins if task else ())]
    ids += [it.id for it in (ledger.transfers if ledger else ())]
    if not ids:
        return ()
    wanted = {"member_id": member_id, "ids": ids, "limit": REVIEWS_MAX}
    return [ReviewFact(*row) for row in await connection.execute(_REVIEWS, wanted)]


async def _ledger(
    connection: AsyncConnection, member_id: UUID, root_id: UUID | None, keys: Sequence[str]
) -> LedgerFacts | None:
    wanted = {"member_id": member_id, "id": root_id, "cause_keys": keys}
    transfers, lots, taken = (await connection.execute(_LEDGER, wanted)).one()
    if not transfers:
        return None
    return LedgerFacts(
        transfers=[TransferFact(*row) for row in transfers],
        lots=[LotFact(*row) for row in lots],
        taken=[TakenFact(*row) for row in taken],
    )


async def _task(
    connection: AsyncConnection,
    member_id: UUID,
    assignment_id: UUID,
    starts_on: date,
    check_in_id: UUID | None,
    now: datetime,
) -> TaskFacts | None:
    """None when the member has no such task, or it has no period that begins on that day."""
    # Nobody was ever given an id further ahead, and calendars end.
    if starts_on > now.date() + timedelta(days=queries.AHEAD_MAX_DAYS + 1):
        return None
    row = await _one(
        connection,
        _TASK,
        member_id=member_id,
        assignment_id=assignment_id,
        starts_on=starts_on,
        check_in_id=check_in_id,
    )
    if row is None:
        return None
    (zone_name, consent, pauses, assigned, found, limits, awarded, capped_by, revision,
     completed_at, product, version, data_code, check_ins, count) = row  # fmt: skip
    assignment = Assignment._make(assigned)
    stored = Stored._make(found) if found[0] is not None else None
    span = rules.Span(starts_on, stored.ends_on) if stored else assignment.span_of(starts_on)
    if span is None or span.starts_on != starts_on:
        return None
    zone = civil_time.zone(zone_name)
    today = civil_time.local_date(now, zone)
    standing = Standing(queries.consent_of(consent), queries.pauses_of(pauses), today, zone)
    view = queries.view(assignment, span, (stored, None), standing)
    return TaskFacts(
        assignment_id=assignment.id,
        starts_on=starts_on,
        ends_on=span.ends_on,
        title=Text(zh=assignment.title_zh, en=assignment.title_en),
        kind=rules.TaskKind(assignment.kind),
        unit=assignment.unit,
        target=view.target,
        done=view.done,
        points=assignment.points,
        points_awarded=awarded or 0,
        capped_by=capped_by,
        revision=revision or 0,
        state=view.state,
        limits=Limits._make(limits),
        consent=standing.consent,
        today=today,
        closed_at=stored.closed_at if stored else None,
        completed_at=completed_at,
        rule_version=f"{product} {version}" if product else None,
        data_code=data_code,
        check_ins=_ordered(CheckInFact(*found) for found in check_ins),
        check_ins_count=count,
    )


def _ordered(check_ins: Any) -> Sequence[CheckInFact]:
    return sorted(check_ins, key=lambda it: (it.occurred_at, it.id), reverse=True)


async def _redemption(
    connection: AsyncConnection, member_id: UUID, id: UUID
) -> RedemptionFacts | None:
    row = await _one(connection, _REDEMPTION, member_id=member_id, id=id)
    if row is None:
        return None
    found, zh, en, points, state, reserved_at, expires_at, ended_at = row
    return RedemptionFacts(
        found, Text(zh=zh, en=en), points, state, reserved_at, expires_at, ended_at
    )


async def _one(connection: AsyncConnection, statement: TextClause, **parameters: Any) -> Any:
    return (await connection.execute(statement, parameters)).one_or_none()
