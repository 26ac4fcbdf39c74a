"""The two statements of a check-in: look, and write what was decided.

Every check-in raises the version of the member's wallet, points or not, and writes only from
the version that it read. So check-ins of one member happen one after the other, and with the
clock that closes periods, without a lock held between the two statements.
"""

from functools import cache
from typing import NamedTuple

from sqlalchemy import Uuid, bindparam, text

from app.db import Statement
from app.health_tasks.caps import (
    COUNTS,
    EARNED_COLUMNS,
    LIMIT_COLUMNS,
    POINTS_COUNTED,
    earned_sql,
)
from app.health_tasks.measured import SLOT as DATA_SLOT
from app.health_tasks.queries import ASSIGNMENT_COLUMNS, CHECK_IN_COLUMNS, CONSENT, TASK_COLUMNS
from app.jobs import queue
from app.points.service import EARNING_CTES, TALLY_SQL, WALLET_COLUMNS
from app.worklist import reviews

LATELY = 20
"""How many of the task's last check-ins are looked at for their cadence."""
_TYPES = {
    "member_id": "uuid",
    "version": "bigint",
    "request_id": "uuid",
    "assignment_id": "uuid",
    "starts_on": "date",
    "occurred_at": "timestamptz",
    "input_hash": "bytea",
    "id": "uuid",
    "ends_on": "date",
    "starts_at": "timestamptz",
    "due_at": "timestamptz",
    "target": "numeric",
    "done": "numeric",
    "points": "integer",
    "state": "text",
    "points_awarded": "integer",
    "capped_by": "text",
    "participated": "boolean",
    "is_latest": "boolean",
    "local_date": "date",
    "slot": "integer",
    "value": "numeric",
    "note": "text",
    "now": "timestamptz",
    "check_in_state": "text",
    "counts": "boolean",
    "reason_code": "text",
    "acted_by": "uuid",
    "job_payload": "text",
    "job_key": "text",
    "photo_id": "uuid",
    "installation_id": "uuid",
    "latitude": "numeric",
    "longitude": "numeric",
    "place_code": "text",
    "device_stale_at": "timestamptz",
}


def _typed(sql: str) -> Statement:
    return Statement(sql, _TYPES)


_SENT_WITH_IT = """(select c.state from consents c
    where c.member_id = members.member_id and c.purpose = 'LOCATION'
    order by c.version desc limit 1) as location_consent,
  ph.id as photo_id, ph.seen_before as photo_seen_before,
  ph.check_in_id as photo_used_by, d.member_id as device_owner, d.seen_at as device_seen_at"""
_NOTHING_SENT = """null as location_consent, null as photo_id, null as photo_seen_before, null as photo_used_by,
  null as device_owner, null as device_seen_at"""
_FIND_SENT = """
left join photos ph on ph.member_id = members.member_id and ph.id = :photo_id
left join device_owners d on d.installation_id = :installation_id"""


@cache
def look(*, has_evidence: bool) -> Statement:
    """One row of a member; what decides about evidence is looked up when some was sent."""
    return _typed(f"""
select {WALLET_COLUMNS}, members.time_zone, {CONSENT} as consent,
  array(select row(p.starts_on, p.ends_on) from pauses p
    where p.member_id = members.member_id
    and (p.ends_on is null or p.ends_on >= :starts_on)) as pauses,
  r.operation, r.input_hash, r.result,
  array(select row({CHECK_IN_COLUMNS}, c.counts) from checkins c
    where c.member_id = members.member_id and c.assignment_id = :assignment_id
    and c.local_date >= :starts_on and c.starts_on = :starts_on) as check_ins,
  a.product_version_id, a.rule_code, a.expires_after_months,
  t.starts_at, t.latest_check_in_id, t.revision, t.points_awarded as paid,
  a.template_code, a.template_version, a.second_person_above,
  array(select (date_part('epoch', c.occurred_at) * 1000000)::bigint from checkins c
    where c.member_id = members.member_id and c.assignment_id = :assignment_id
    and c.slot <> {DATA_SLOT}
    order by c.starts_on desc, c.local_date desc, c.slot desc limit {LATELY}) as lately,
  {_SENT_WITH_IT if has_evidence else _NOTHING_SENT},
  wallets.tally,
  array(select row(x.local_date, x.rule_code, {POINTS_COUNTED}) from points_transfers x
    where x.member_id = members.member_id and x.seq > wallets.tally_seq and {COUNTS}) as later,
  {LIMIT_COLUMNS}, {ASSIGNMENT_COLUMNS}, {TASK_COLUMNS}
from members
join wallets on wallets.member_id = members.member_id
left join task_assignments a
  on a.member_id = members.member_id and a.id = :assignment_id
left join tasks t on t.member_id = members.member_id
  and t.assignment_id = :assignment_id and t.starts_on = :starts_on
left join requests r on r.owner = members.member_id and r.request_id = :request_id
{_FIND_SENT if has_evidence else ""}
where members.member_id = :member_id
""")


EARLIER = _typed(f"""
select {EARNED_COLUMNS} from task_assignments a
cross join {earned_sql(member="a.member_id", day=":local_date")}
where a.member_id = :member_id and a.id = :assignment_id
""")
"""What counts towards the caps of a day of which the wallet's tally says nothing any more. It is
read after `look`; if the wallet has moved between the two, nothing is written."""

LOCK = text("select from wallets where member_id = :member_id for no key update").bindparams(
    bindparam("member_id", type_=Uuid)
)

REMEMBER = _typed("""
insert into requests (owner, request_id, operation, input_hash, result, created_at)
values (:member_id, :request_id, 'checkIn', :input_hash, :id, :now)
on conflict do nothing returning result
""")
"""For a request whose effect was there already; no row means that the id is taken."""

_RAISE_VERSION = f"""
earned_wallet as (
  update wallets set version = version + 1,
    {TALLY_SQL}
  where member_id = :member_id and version = :version
  returning member_id, pending, available, held, earned_total)
"""
_EFFECT = """
checked_task as (
  insert into tasks as t (member_id, assignment_id, starts_on, ends_on, starts_at, due_at, target,
    done, points, state, points_awarded, capped_by, revision, participated, completed_at,
    latest_check_in_id, latest_occurred_at)
  select member_id, :assignment_id, :starts_on, :ends_on, :starts_at, :due_at, :target, :done,
    :points, :state, :points_awarded, :capped_by, 0, :participated,
    case when :state = 'DONE' then :now end, :id, :occurred_at
  from earned_wallet
  on conflict (member_id, assignment_id, starts_on) do update set done = excluded.done,
    state = excluded.state, points_awarded = t.points_awarded + excluded.points_awarded,
    capped_by = coalesce(excluded.capped_by, t.capped_by),
    participated = excluded.participated,
    completed_at = coalesce(t.completed_at, excluded.completed_at),
    latest_check_in_id = case when :is_latest then :id else t.latest_check_in_id end,
    latest_occurred_at = case when :is_latest then :occurred_at else t.latest_occurred_at end),
new_check_in as (
  insert into checkins (member_id, id, assignment_id, starts_on, local_date, slot, value, note,
    occurred_at, received_at, state, counts, points_awarded, reason_code, request_id, acted_by)
  select member_id, :id, :assignment_id, :starts_on, :local_date, :slot, :value, :note,
    :occurred_at, :now, :check_in_state, :counts, :points_awarded, :reason_code, :request_id,
    :acted_by
  from earned_wallet),
remembered as (
  insert into requests (owner, request_id, operation, input_hash, result, created_at)
  select member_id, :request_id, 'checkIn', :input_hash, :id, :now from earned_wallet)
"""
_RESTATE = f"""
restated as ({
    queue.insert_sql(
        "select 'health_tasks.restate_month', :job_payload, :now, 0, :job_key from earned_wallet"
    )
})
"""
_RESULT = "select 1 from earned_wallet"


_EVIDENCE = """
kept_evidence as (
  insert into check_in_evidence (member_id, check_in_id, photo_id, latitude, longitude,
    place_code, installation_id)
  select member_id, :id, :photo_id, :latitude, :longitude, :place_code, :installation_id
  from earned_wallet),
claimed_photo as (
  update photos set check_in_id = :id from earned_wallet
  where photos.member_id = :member_id and photos.id = :photo_id and photos.check_in_id is null)
"""
_DEVICE = """
claimed_device as (
  insert into device_owners (installation_id, member_id, seen_at)
  select :installation_id, :acted_by, :now from earned_wallet
  on conflict (installation_id) do update set member_id = excluded.member_id,
    seen_at = excluded.seen_at
  where device_owners.member_id = excluded.member_id
  or device_owners.seen_at <= :device_stale_at)
"""
_REVIEW = reviews.open_ctes("earned_wallet")


class Parts(NamedTuple):
    """What a check-in writes besides itself. A statement touches only what it must: most
    check-ins bring no evidence, and enqueuing notifies the workers, which every commit of the
    server would wait for."""

    pays: bool = False
    late: bool = False
    """The clock had closed the period."""
    evidence: bool = False
    device: bool = False
    review: bool = False


@cache
def write(parts: Parts) -> Statement:
    """One statement, with one row; no row means that the wallet has another version than the
    one read."""
    chosen = [EARNING_CTES if parts.pays else _RAISE_VERSION, _EFFECT]
    chosen += [
        text
        for wanted, text in (
            (parts.late, _RESTATE),
            (parts.evidence, _EVIDENCE),
            (parts.device, _DEVICE),
            (parts.review, _REVIEW),
        )
        if wanted
    ]
    return _typed(f"with {', '.join(chosen)} {_RESULT}")
