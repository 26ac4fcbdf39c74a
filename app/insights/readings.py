"""What a task's check-ins rest on where nobody ticked: readings, and totals of days."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from sqlalchemy import ARRAY, Date, Integer, Text, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app import texts
from app.health_tasks.measured import SLOT
from app.insights import sentences
from app.insights.facts import DataFact, TaskFacts
from app.insights.steps import Step, StepKind, Subject, SubjectKind
from app.measurements.catalogue import quantities

DATA_MAX = 20
_DATA = text("""
(select true, d.id, d.code, d.local_date, d.value, d.unit, d.changed_at,
  array(select row(t.source_id, t.value) from daily_totals t where t.member_id = d.member_id
    and t.code = d.code and t.local_date = d.local_date and t.superseded_at is null
    order by t.source_id)
from daily_total_days d where d.member_id = :member_id and d.code = :code
and d.local_date = any(:days) order by d.local_date desc limit :limit)
union all
(select false, m.id, m.code, m.local_date, m.value, m.unit, m.measured_at,
  array[row(m.source_id, m.value)]
from measurements m where m.member_id = :member_id and m.code = :code
-- A local day lies within these instants, in every zone.
and m.measured_at >= :first - interval '1 day' and m.measured_at < :last + interval '2 days'
and m.local_date = any(:days) and m.superseded_at is null
order by m.measured_at desc limit :limit)
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("code", type_=Text),
    bindparam("days", type_=ARRAY(Date)),
    bindparam("first", type_=Date),
    bindparam("last", type_=Date),
    bindparam("limit", type_=Integer),
)


async def find(connection: AsyncConnection, member_id: UUID, task: TaskFacts) -> Sequence[DataFact]:
    """Of the days on which data made a check-in; the latest first, not all of many."""
    days = sorted({it.local_date for it in task.check_ins if it.slot == SLOT})
    if not days:
        return ()
    wanted = {
        "member_id": member_id,
        "code": task.data_code,
        "days": days,
        "first": days[0],
        "last": days[-1],
        "limit": DATA_MAX,
    }
    return [DataFact(*row) for row in await connection.execute(_DATA, wanted)]


def data_steps(data: Sequence[DataFact]) -> Iterator[Step]:
    """One for each; a total says what each of several sources counted."""
    for it in data:
        quantity = quantities()[it.code]
        name = texts.Text(zh=quantity.name_zh, en=quantity.name_en)
        amount = sentences.amount_of(it.value, it.unit)
        if it.is_total:
            yield Step(
                StepKind.DAILY_TOTAL,
                name,
                sentences.total(it.local_date, amount, it.sources),
                it.at,
                subject=Subject(SubjectKind.DAILY_TOTAL, it.id),
            )
        else:
            yield Step(
                StepKind.READING,
                name,
                sentences.reading(it.local_date, amount),
                it.at,
                subject=Subject(SubjectKind.READING, it.id),
            )
