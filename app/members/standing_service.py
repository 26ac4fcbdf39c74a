"""Where members stand, kept up: hundreds at once, lock, look, decide, write.

What a stage rests on comes from upper domains too; the wiring says how to read it.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, DateTime, Integer, TextClause, Uuid, bindparam, text
from sqlalchemy import Text as SqlText
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.db import Database
from app.ids import new_ids
from app.members import lifecycle_rules as lifecycle
from app.members import segment_rules as segments
from app.members.lifecycle_rules import Cover, LifecycleStage

BATCH = 500
OVERLAP = timedelta(minutes=10)
"""Signs of use are read again this far back: a transaction may commit later than its `now`."""
LIFECYCLE_RULES = "1"
_MARK = "members.notice_use"
_INSTANT = DateTime(timezone=True)
_NEVER = datetime.min.replace(tzinfo=UTC)
_log = structlog.get_logger(__name__)


@dataclass
class CoverFacts:
    """How an upper domain says who is covered, as SQL."""

    of_members: str = (
        "select null::uuid as member_id, null::date as started_on, null::boolean as in_force,"
        " null::timestamptz as ends_at where false and :members is not null"
    )
    """One row for each of `:members` who is or was covered: first day, whether it is in force,
    and the end of its term."""
    is_covered: str = "false"
    """Whether the member `s.member_id` has cover in force that begins before `:soon`, a date."""


COVER = CoverFacts()
SIGNS_OF_USE: list[str] = [
    "select owner as member_id, created_at as used_at from requests where created_at > :since"
]
"""Selects of (member_id, used_at) after `:since`; each request that changes something is one.
The wiring adds those of upper domains."""


_MEMBERS = bindparam("members", type_=ARRAY(Uuid))
_LOCK = text("""
select member_id from member_standing where member_id = any(:members)
order by member_id for update
""").bindparams(_MEMBERS)


def _begin() -> TextClause:
    """A row for who has none yet. What they have used before counts: `notice_use` may have read
    it when there was no row to keep it in."""
    signs = " union all ".join(f"({sign})" for sign in SIGNS_OF_USE)
    return text(f"""
    insert into member_standing (member_id, lifecycle, lifecycle_since, last_used_at)
    select m.member_id, 'PROSPECT', m.created_at,
      (select max(u.used_at) from ({signs}) u where u.member_id = m.member_id)
    from members m where m.member_id = any(:members) and m.erased_at is null
    and not exists (select from member_standing s where s.member_id = m.member_id)
    order by m.member_id on conflict do nothing returning member_id
    """).bindparams(_MEMBERS, bindparam("since", _NEVER, type_=_INSTANT))


def _facts() -> TextClause:
    return text(f"""
    select m.member_id, m.birth_date, m.occupation, m.residence, m.time_zone, m.created_at,
      s.segment_rule, s.segment_since, s.lifecycle, s.lifecycle_since, s.last_used_at,
      s.returned_at, c.started_on, c.in_force, c.ends_at,
      (select max(p.ends_on) from pauses p where p.member_id = m.member_id
        and p.starts_on <= p.ends_on) as paused_to,
      exists (select from pauses p where p.member_id = m.member_id and p.ends_on is null
        and p.starts_on <= cast(:now as date) + 1) as is_paused_openly
    from members m join member_standing s using (member_id)
    left join ({COVER.of_members}) c using (member_id)
    where m.member_id = any(:members) and m.erased_at is null
    """).bindparams(_MEMBERS, bindparam("now", type_=_INSTANT))


_UPDATE = text("""
update member_standing s set segment = w.segment, segment_rule = w.segment_rule,
  segment_since = w.segment_since, lifecycle = w.lifecycle, lifecycle_since = w.lifecycle_since,
  returned_at = case when w.lifecycle = 'DORMANT' then s.returned_at end, look_at = w.look_at
from unnest(:members, :segments, :segment_rules, :segments_since, :stages, :stages_since, :look_at)
  as w (member_id, segment, segment_rule, segment_since, lifecycle, lifecycle_since, look_at)
where s.member_id = w.member_id
""").bindparams(
    _MEMBERS,
    *(bindparam(it, type_=ARRAY(SqlText)) for it in ("segments", "segment_rules", "stages")),
    *(bindparam(it, type_=ARRAY(_INSTANT)) for it in ("segments_since", "stages_since", "look_at")),
)
_RECORD = text("""
insert into standing_events (member_id, id, kind, value, reason, rules_version, since, recorded_at)
select w.*, :now from unnest(:members, :ids, :kinds, :values, :reasons, :versions, :since)
  as w (member_id, id, kind, value, reason, rules_version, since)
""").bindparams(
    _MEMBERS,
    bindparam("ids", type_=ARRAY(Uuid)),
    *(bindparam(it, type_=ARRAY(SqlText)) for it in ("kinds", "values", "reasons", "versions")),
    bindparam("since", type_=ARRAY(_INSTANT)),
    bindparam("now", type_=_INSTANT),
)


@dataclass
class _Change:
    member_id: UUID
    kind: str
    value: str | None
    reason: str
    rules_version: str
    since: datetime


@dataclass
class _Step:
    """What becomes of one member."""

    member_id: UUID
    segment: str | None
    segment_rule: str | None
    segment_since: datetime | None
    stage: lifecycle.Stage
    look_at: datetime | None
    changes: list[_Change] = field(default_factory=list)


async def refresh(session: AsyncSession, member_ids: Collection[UUID], *, now: datetime) -> int:
    """Bring the standing of these members up to `now`, in four statements; how many segments
    and stages changed. Those who are erased or unknown are left out."""
    wanted = {"members": sorted(set(member_ids))}
    begun = set((await session.execute(_begin(), wanted)).scalars())
    await session.execute(_LOCK, wanted)
    rows = (await session.execute(_facts(), wanted | {"now": now})).all()
    steps = [step for row in rows if (step := _decide(row, row.member_id in begun, now=now))]
    if not steps:
        return 0
    await session.execute(
        _UPDATE,
        {
            "members": [it.member_id for it in steps],
            "segments": [it.segment for it in steps],
            "segment_rules": [it.segment_rule for it in steps],
            "segments_since": [it.segment_since for it in steps],
            "stages": [it.stage.stage.value for it in steps],
            "stages_since": [it.stage.since for it in steps],
            "look_at": [it.look_at for it in steps],
        },
    )
    changes = [change for step in steps for change in step.changes]
    await _record(session, changes, now=now)
    return len(changes)


async def _record(session: AsyncSession, changes: Sequence[_Change], *, now: datetime) -> None:
    if not changes:
        return
    await session.execute(
        _RECORD,
        {
            "members": [it.member_id for it in changes],
            "ids": new_ids(now, len(changes)),
            "kinds": [it.kind for it in changes],
            "values": [it.value for it in changes],
            "reasons": [it.reason for it in changes],
            "versions": [it.rules_version for it in changes],
            "since": [it.since for it in changes],
            "now": now,
        },
    )


def _decide(row: Any, is_new: bool, *, now: datetime) -> _Step | None:
    try:
        zone = civil_time.zone(row.time_zone)
    except civil_time.UnknownZone:
        # A row that this program cannot read must not stop everybody else's.
        _log.error("member_zone_unknown", member_id=str(row.member_id))
        return None
    known = segments.in_force()
    person = segments.Facts(row.birth_date, row.occupation, row.residence)
    today = civil_time.local_date(now, zone)
    rule = known.rule_of(person, today=today)
    birthday = known.changes_on(person, today=today)
    before = None if is_new else LifecycleStage(row.lifecycle)
    stage = lifecycle.stage(
        _lifecycle_facts(row, zone, now), before=before, since=row.lifecycle_since, now=now
    )
    looks = [stage.look_at, civil_time.start_of_day(birthday, zone) if birthday else None]
    step = _Step(
        row.member_id,
        rule.segment.value if rule else None,
        rule.code if rule else None,
        row.segment_since,
        stage,
        min((it for it in looks if it is not None), default=None),
    )
    if is_new or stage.stage != row.lifecycle:
        step.changes.append(
            _Change(
                row.member_id, "LIFECYCLE", stage.stage, stage.reason, LIFECYCLE_RULES, stage.since
            )
        )
    if step.segment_rule != row.segment_rule:
        step.segment_since = now
        step.changes.append(
            _Change(
                row.member_id,
                "SEGMENT",
                step.segment,
                step.segment_rule or "unknown",
                known.version,
                now,
            )
        )
    return step


def _lifecycle_facts(row: Any, zone: Any, now: datetime) -> lifecycle.Facts:
    cover = None
    if row.started_on is not None:
        # Cover that was cancelled ended when it was seen at the latest.
        ended_at = None if row.in_force else min(row.ends_at, now)
        cover = Cover(civil_time.start_of_day(row.started_on, zone), ended_at)
    paused_until = civil_time.end_of_day(row.paused_to, zone) if row.paused_to else None
    return lifecycle.Facts(
        joined_at=row.created_at,
        cover=cover,
        last_used_at=row.last_used_at,
        returned_at=row.returned_at,
        paused_until=paused_until,
        is_paused_openly=row.is_paused_openly,
    )


# Whom to look at

_UNSEEN = """
select m.member_id from members m
where m.erased_at is null and m.member_id > :after
and not exists (select from member_standing s where s.member_id = m.member_id)
"""
_DUE = "select member_id from member_standing where look_at <= :now and member_id > :after"
_CONTRADICTED = """
select s.member_id from member_standing s where s.member_id > :after
and (s.lifecycle in ('PROSPECT', 'LAPSED')) = ({covered})
"""


async def refresh_due(db: Database, *, now: datetime) -> AsyncIterator[int]:
    """Look at members who are new here, whose time has come, or whose cover began or ended, in
    batches that commit one by one; how many changes each made."""
    soon = (now + timedelta(days=1)).date()
    contradicted = _CONTRADICTED.format(covered=COVER.is_covered)
    for select in (_UNSEEN, _DUE, contradicted):
        after: UUID | None = UUID(int=0)
        while after is not None:
            found = await _some(db, select, {"now": now, "after": after, "soon": soon})
            if found:
                async with db.transaction() as session:
                    yield await refresh(session, found, now=now)
            after = found[-1] if len(found) == BATCH else None


async def _some(db: Database, select: str, values: dict[str, Any]) -> list[UUID]:
    statement = text(f"{select} order by member_id limit :limit").bindparams(
        bindparam("after", type_=Uuid), bindparam("limit", BATCH, type_=Integer)
    )
    if ":now" in select:
        statement = statement.bindparams(bindparam("now", type_=_INSTANT))
    given = {name: value for name, value in values.items() if f":{name}" in select}
    async with db.read() as connection:
        return list((await connection.execute(statement, given)).scalars())


def _noticed() -> TextClause:
    """Whoever is dormant and was used is looked at next."""
    signs = " union all ".join(f"({sign})" for sign in SIGNS_OF_USE)
    return text(f"""
    with used as (
      select member_id, min(used_at) as first, max(used_at) as last from ({signs}) u
      where used_at <= :now group by member_id
    ), locked as (
      select s.member_id from member_standing s join used using (member_id)
      where s.last_used_at is null or s.last_used_at < used.last
      order by s.member_id for update of s
    )
    update member_standing s set last_used_at = used.last,
      returned_at = case when s.lifecycle = 'DORMANT'
        then coalesce(s.returned_at, greatest(used.first, s.lifecycle_since)) end,
      look_at = case when s.lifecycle = 'DORMANT' then :now else s.look_at end
    from used join locked using (member_id) where s.member_id = used.member_id
    """).bindparams(bindparam("since", type_=_INSTANT), bindparam("now", type_=_INSTANT))


_THROUGH = text("select through from standing_marks where job = :job for update")
_ADVANCE = text("""
insert into standing_marks (job, through) values (:job, :now)
on conflict (job) do update set through = excluded.through
""").bindparams(bindparam("now", type_=_INSTANT))


async def notice_use(db: Database, *, now: datetime) -> int:
    """Take over when members used the programme since the last run; of how many it is new."""
    async with db.transaction() as session:
        through = (await session.execute(_THROUGH, {"job": _MARK})).scalar_one_or_none()
        since = through - OVERLAP if through else _NEVER
        noticed = await session.execute(_noticed(), {"since": since, "now": now})
        await session.execute(_ADVANCE, {"job": _MARK, "now": now})
    return int(noticed.rowcount)
