"""Tasks that items of the worklist are about: of many members, in one statement."""

from collections.abc import Mapping, Sequence

from sqlalchemy import ARRAY, Date, Uuid, bindparam, text

from app import civil_time
from app.graphql.node import Info
from app.health_tasks import queries, rules
from app.health_tasks.graphql import HealthTask
from app.health_tasks.queries import Assignment
from app.members.rules import shows_health
from app.worklist.subjects import SubjectKey, WorklistSubject

SUBJECT_KIND = "TASK"
"""The item's `subject_id` is the assignment, `subject_on` the first day of the period."""

_TASKS = text(f"""
select t.member_id, members.time_zone, {queries.CONSENT},
  array(select row(p.starts_on, p.ends_on) from pauses p where p.member_id = members.member_id),
  row({queries.ASSIGNMENT_COLUMNS}), row({queries.TASK_COLUMNS}),
  case when c.id is not null then row({queries.CHECK_IN_COLUMNS}) end
from unnest(:member_ids, :ids, :starts) as wanted (member_id, id, starts_on)
join members on members.member_id = wanted.member_id
join task_assignments a on a.member_id = wanted.member_id and a.id = wanted.id
join tasks t on t.member_id = a.member_id and t.assignment_id = a.id
  and t.starts_on = wanted.starts_on
left join checkins c on c.member_id = t.member_id and c.id = t.latest_check_in_id
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("starts", type_=ARRAY(Date)),
)


async def load(info: Info, keys: Sequence[SubjectKey]) -> Mapping[SubjectKey, WorklistSubject]:
    """Tasks as they stand; one without a row is left out, and one that the viewer may not see
    now."""
    member_ids, ids, starts = zip(*keys, strict=True)
    parameters = {"member_ids": list(member_ids), "ids": list(ids), "starts": list(starts)}
    async with info.context.db.read() as reading:
        rows = (await reading.execute(_TASKS, parameters)).all()
    found: dict[SubjectKey, WorklistSubject] = {}
    for member_id, zone_name, answer, pauses, assigned, stored, checked_in in rows:
        consent = queries.consent_of(answer)
        if not shows_health(consent, own=info.context.is_own(member_id)):
            continue
        assignment, task = Assignment._make(assigned), queries.Stored._make(stored)
        zone = civil_time.zone(zone_name)
        view = queries.view(
            assignment,
            rules.Span(task.starts_on, task.ends_on),
            (task, queries.LatestCheckIn._make(checked_in) if checked_in else None),
            queries.Standing(
                consent,
                queries.pauses_of(pauses),
                civil_time.local_date(info.context.now, zone),
                zone,
            ),
        )
        key = SubjectKey(member_id, assignment.id, task.starts_on)
        found[key] = HealthTask.of(member_id, view, info.context.locale)
    return found
