"""What is known of members, read in batches: a constant number of statements."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, DateTime, Integer, String, Uuid, bindparam, text

from app import civil_time
from app.measurements.kinds import Method, TrustGrade
from app.members.rules import ConsentPurpose, ConsentState, Sex
from app.records.clinical import CODES as CLASSED
from app.records.clinical import Reading, completed_years

CODES = (*CLASSED, "CREATININE", "EGFR_CKDEPI2021")
"""Codes of the catalogue that an assessment may use."""
_AVERAGED = ("SYSTOLIC_BP", "DIASTOLIC_BP", "FASTING_GLUCOSE")
_AVERAGED_MAX = 40
"""Of a clinic and of others each, the newest: a week at home, five times a day."""
_OTHERS_MAX = 5
"""Of the other codes: the newest that is trusted counts."""
_WANTED: Sequence[tuple[str, bool | None, int]] = [
    *((code, at_clinic, _AVERAGED_MAX) for code in _AVERAGED for at_clinic in (True, False)),
    *((code, None, _OTHERS_MAX) for code in CODES if code not in _AVERAGED),
]
LOOK_BACK = timedelta(days=3650)
"""Older readings are never used; a height lasts longest."""


class Answered(NamedTuple):
    """A questionnaire as it was last answered."""

    on: date
    answers: Mapping[str, Sequence[str]]
    scores: Mapping[str, Sequence[Any]]


class Coded(NamedTuple):
    """A condition (ICD-10) or medication (ATC) that goes on."""

    code: str
    source: str
    on: date


@dataclass(slots=True)
class Facts:
    """All that is known of one member at one moment."""

    member_id: UUID
    birth_date: date
    sex: Sex
    region: str | None
    today: date
    """The member's local day."""
    consented: bool
    readings: list[Reading] = field(default_factory=list)
    answers: dict[str, Answered] = field(default_factory=dict)
    conditions: list[Coded] = field(default_factory=list)
    medications: list[Coded] = field(default_factory=list)

    @property
    def age(self) -> int:
        """In completed years."""
        return completed_years(self.birth_date, today=self.today)


_IDS = bindparam("member_ids", type_=ARRAY(Uuid))
_MEMBERS = text(f"""
select m.member_id, m.birth_date, m.sex, m.region, m.time_zone,
  coalesce((select c.state = '{ConsentState.GRANTED}' from consents c
    where c.member_id = m.member_id and c.purpose = '{ConsentPurpose.HEALTH_DATA}'
    order by c.version desc limit 1), false)
from members m where m.member_id = any(:member_ids) and m.erased_at is null
""").bindparams(_IDS)
_READINGS = text("""
select it.* from unnest(:member_ids) as asked (member_id)
cross join unnest(:codes, :clinical, :most) as wanted (code, clinical, most)
cross join lateral (select r.member_id, r.id, r.code, r.value, r.measured_at, r.local_date,
    r.source_id, r.method, r.trust
  from measurements r where r.member_id = asked.member_id and r.code = wanted.code
  and r.superseded_at is null and r.measured_at > :since
  and (wanted.clinical is null or (r.method = 'CLINICAL') = wanted.clinical)
  order by r.measured_at desc limit wanted.most) it
""").bindparams(
    _IDS,
    bindparam("codes", type_=ARRAY(String)),
    bindparam("clinical", type_=ARRAY(Boolean)),
    bindparam("most", type_=ARRAY(Integer)),
    bindparam("since", type_=DateTime(timezone=True)),
)
_ANSWERS = text("""
select distinct on (q.member_id, q.code) q.member_id, q.code, q.answered_at, q.answers, q.scores
from questionnaire_responses q where q.member_id = any(:member_ids)
order by q.member_id, q.code, q.place desc
""").bindparams(_IDS)
_CONDITIONS = text("""
select c.member_id, c.icd10, c.source, c.recorded_at, c.abated_on, c.retracted from (
  select distinct on (c.member_id, c.condition_id) c.* from conditions c
  where c.member_id = any(:member_ids)
  order by c.member_id, c.condition_id, c.version desc) c
""").bindparams(_IDS)
_MEDICATIONS = text("""
select m.member_id, m.atc, m.source, m.recorded_at, m.starts_on, m.ends_on from (
  select distinct on (m.member_id, m.medication_id) m.* from medications m
  where m.member_id = any(:member_ids)
  order by m.member_id, m.medication_id, m.version desc) m
where m.atc is not null
""").bindparams(_IDS)


async def load(reading: Any, member_ids: Sequence[UUID], *, now: datetime) -> dict[UUID, Facts]:
    """By member; who is erased or unknown is left out. `reading` executes statements: a
    connection, or the session that has locked the profiles."""
    ids = {"member_ids": list(member_ids)}
    found: dict[UUID, Facts] = {}
    zones: dict[UUID, str] = {}
    for member_id, birth_date, sex, region, zone, consented in await reading.execute(_MEMBERS, ids):
        zones[member_id] = zone
        today = civil_time.local_date(now, civil_time.zone(zone))
        found[member_id] = Facts(member_id, birth_date, Sex(sex), region, today, consented)
    await _readings(reading, found, ids, now)
    for member_id, code, answered_at, answers, scores in await reading.execute(_ANSWERS, ids):
        if member_id in found:
            on = _local(answered_at, zones[member_id])
            found[member_id].answers[code] = Answered(on, answers, scores)
    for member_id, code, source, at, abated_on, retracted in await reading.execute(
        _CONDITIONS, ids
    ):
        if member_id in found and not retracted and abated_on is None:
            found[member_id].conditions.append(Coded(code, source, _local(at, zones[member_id])))
    for member_id, code, source, at, starts_on, ends_on in await reading.execute(_MEDICATIONS, ids):
        if member_id not in found:
            continue
        today = found[member_id].today
        if starts_on <= today and (ends_on is None or ends_on >= today):
            found[member_id].medications.append(Coded(code, source, _local(at, zones[member_id])))
    return found


async def _readings(
    reading: Any, found: Mapping[UUID, Facts], ids: Mapping[str, Any], now: datetime
) -> None:
    codes, places, most = (list(it) for it in zip(*_WANTED, strict=True))
    wanted = {"codes": codes, "clinical": places, "most": most, "since": now - LOOK_BACK}
    rows = await reading.execute(_READINGS, {**ids, **wanted})
    by_member: dict[UUID, list[Reading]] = defaultdict(list)
    for member_id, id, code, value, measured_at, local_date, source_id, method, trust in rows:
        by_member[member_id].append(
            Reading(
                id, code, value, measured_at, local_date, source_id, Method(method),
                TrustGrade(trust),
            )
        )  # fmt: skip
    for member_id, readings in by_member.items():
        if member_id in found:
            found[member_id].readings = readings


def _local(at: datetime, zone: str) -> date:
    return civil_time.local_date(at, civil_time.zone(zone))
