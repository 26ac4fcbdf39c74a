"""What is known of members, read in batches: a constant number of statements."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, DateTime, Integer, Numeric, String, Uuid, bindparam, text

from app import civil_time
from app.measurements.kinds import TrustGrade
from app.members.rules import ConsentPurpose, ConsentState, Sex
from app.records import clinical as clinical_rules
from app.records import thresholds
from app.records.clinical import CODES as CLASSED
from app.records.clinical import (
    DIABETES_RANGE_LOOK_BACK,
    DIASTOLIC,
    FASTING,
    SYSTOLIC,
    Reading,
    of_row,
)
from app.records.thresholds import Area
from app.risk.rulesets import RuleSet

CODES = (*CLASSED, "CREATININE", "EGFR_CKDEPI2021")
"""Codes of the catalogue that an assessment may use."""
_A_DAY = timedelta(days=1)
_OTHERS_MAX = 5
"""Of each code: the newest that is trusted counts."""
RANK = "case {}.trust when 'HIGH' then 3 when 'MEDIUM' then 2 when 'LOW' then 1 else 0 end"
RANKS = {
    TrustGrade.UNVERIFIED: 0,
    TrustGrade.LOW: 1,
    TrustGrade.MEDIUM: 2,
    TrustGrade.HIGH: 3,
}


class _Wanted(NamedTuple):
    """The newest readings of one code; what nobody vouches for pushes none of them out."""

    code: str
    clinical: bool | None
    """None: of the clinic and of others alike."""
    rank: int
    """The least trust."""
    least: Decimal | None
    """The least value."""
    since: datetime


class Answered(NamedTuple):
    """A questionnaire as it was last answered."""

    on: date
    answers: Mapping[str, Sequence[str]]
    scores: Mapping[str, Sequence[Any]]


class Coded(NamedTuple):
    """A condition (ICD-10) or medication (ATC), of now or of the past."""

    code: str
    source: str
    on: date
    present: bool
    """Whether it goes on."""


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
        return civil_time.completed_years(self.birth_date, self.today)


_IDS = bindparam("member_ids", type_=ARRAY(Uuid))
_MEMBERS = text(f"""
select m.member_id, m.birth_date, m.sex, m.region, m.time_zone,
  coalesce((select c.state = '{ConsentState.GRANTED}' from consents c
    where c.member_id = m.member_id and c.purpose = '{ConsentPurpose.HEALTH_DATA}'
    order by c.version desc limit 1), false)
from members m where m.member_id = any(:member_ids) and m.erased_at is null
""").bindparams(_IDS)
_COLUMNS = """r.member_id, r.id, r.code, r.value, r.measured_at, r.local_date, r.source_id,
    r.method, r.trust"""
_AT_CLINIC = "({0}.method = 'CLINICAL' and {0}.trust = 'HIGH')"
_READINGS = text(f"""
select it.* from unnest(:member_ids) as asked (member_id)
cross join unnest(:codes, :clinical, :ranks, :least, :since)
  as wanted (code, clinical, rank, least, since)
cross join lateral (select {_COLUMNS}
  from measurements r where r.member_id = asked.member_id and r.code = wanted.code
  and r.superseded_at is null and r.measured_at > wanted.since
  and {RANK.format("r")} >= wanted.rank
  and (wanted.clinical is null or {_AT_CLINIC.format("r")} = wanted.clinical)
  and (wanted.least is null or r.value >= wanted.least)
  order by r.measured_at desc limit {_OTHERS_MAX}) it
""").bindparams(
    _IDS,
    bindparam("codes", type_=ARRAY(String)),
    bindparam("clinical", type_=ARRAY(Boolean)),
    bindparam("ranks", type_=ARRAY(Integer)),
    bindparam("least", type_=ARRAY(Numeric)),
    bindparam("since", type_=ARRAY(DateTime(timezone=True))),
)
# However often somebody measures: all of the days that are averaged, up to the last day of which
# both numbers are there.
_PRESSURES = text(f"""
select it.* from unnest(:member_ids) as asked (member_id)
cross join unnest(:clinical, :days) as wanted (clinical, days)
cross join lateral (select s.local_date, s.measured_at
  from measurements s join measurements d on d.member_id = s.member_id
    and d.code = '{DIASTOLIC}' and d.measured_at = s.measured_at
    and d.source_id = s.source_id and d.method = s.method
  where s.member_id = asked.member_id and s.code = '{SYSTOLIC}'
  and s.superseded_at is null and d.superseded_at is null and s.measured_at > :since
  and {RANK.format("s")} >= :systolic and {RANK.format("d")} >= :diastolic
  and {_AT_CLINIC.format("s")} = wanted.clinical
  order by s.measured_at desc limit 1) last
cross join lateral (select {_COLUMNS}
  from measurements r, unnest(array['{SYSTOLIC}', '{DIASTOLIC}'], array[:systolic, :diastolic])
    as of_pair (code, rank)
  where r.member_id = asked.member_id and r.code = of_pair.code and r.superseded_at is null
  and r.measured_at > :since and {RANK.format("r")} >= of_pair.rank
  and {_AT_CLINIC.format("r")} = wanted.clinical
  and r.local_date between last.local_date - (wanted.days - 1) and last.local_date
  and r.measured_at > last.measured_at - make_interval(days => wanted.days + 1)) it
""").bindparams(
    _IDS,
    bindparam("clinical", type_=ARRAY(Boolean)),
    bindparam("days", type_=ARRAY(Integer)),
    bindparam("systolic", type_=Integer),
    bindparam("diastolic", type_=Integer),
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


async def load(
    reading: Any, member_ids: Sequence[UUID], rule_sets: Sequence[RuleSet], *, now: datetime
) -> dict[UUID, Facts]:
    """By member, all that any of the rule sets may take; who is erased or unknown is left out.
    `reading` executes statements: a connection, or the session that has locked the profiles."""
    ids = {"member_ids": list(member_ids)}
    found: dict[UUID, Facts] = {}
    zones: dict[UUID, str] = {}
    for member_id, birth_date, sex, region, zone, consented in await reading.execute(_MEMBERS, ids):
        zones[member_id] = zone
        today = civil_time.local_date(now, civil_time.zone(zone))
        found[member_id] = Facts(member_id, birth_date, Sex(sex), region, today, consented)
    await _readings(reading, found, ids, rule_sets, now)
    for member_id, code, answered_at, answers, scores in await reading.execute(_ANSWERS, ids):
        if member_id in found:
            on = _local(answered_at, zones[member_id])
            found[member_id].answers[code] = Answered(on, answers, scores)
    for member_id, code, source, at, abated_on, retracted in await reading.execute(
        _CONDITIONS, ids
    ):
        if member_id in found and not retracted:
            present = abated_on is None or abated_on > found[member_id].today
            coded = Coded(code, source, _local(at, zones[member_id]), present)
            found[member_id].conditions.append(coded)
    for member_id, code, source, at, starts_on, ends_on in await reading.execute(_MEDICATIONS, ids):
        if member_id in found and starts_on <= (today := found[member_id].today):
            present = ends_on is None or ends_on >= today
            coded = Coded(code, source, _local(at, zones[member_id]), present)
            found[member_id].medications.append(coded)
    return found


async def _readings(
    reading: Any,
    found: Mapping[UUID, Facts],
    ids: Mapping[str, Any],
    rule_sets: Sequence[RuleSet],
    now: datetime,
) -> None:
    wanted = dict.fromkeys(it for rules in rule_sets for it in _wanted(rules, now))
    codes, clinical, ranks, least, since = (list(it) for it in zip(*wanted, strict=True))
    of_codes = {
        "codes": codes, "clinical": clinical, "ranks": ranks, "least": least, "since": since
    }  # fmt: skip
    rows = [*await reading.execute(_READINGS, {**ids, **of_codes})]
    pressures = thresholds.guidelines().pressure
    for rules in rule_sets:
        of_days = {
            "clinical": [area is Area.BLOOD_PRESSURE_OFFICE for area in pressures],
            "days": [it.days_measured for it in pressures.values()],
            "systolic": RANKS[rules.minimum_trust.of(SYSTOLIC)],
            "diastolic": RANKS[rules.minimum_trust.of(DIASTOLIC)],
            "since": _since(rules, SYSTOLIC, now),
        }
        rows += await reading.execute(_PRESSURES, {**ids, **of_days})
    by_member: dict[UUID, dict[UUID, Reading]] = defaultdict(dict)
    for row in rows:
        by_member[row.member_id][row.id] = of_row(row)
    for member_id, readings in by_member.items():
        if member_id in found:
            found[member_id].readings = list(readings.values())


def _wanted(rules: RuleSet, now: datetime) -> Iterator[_Wanted]:
    """Fasting glucose of the clinic is another quantity than that of others; what lies in the
    diabetes range counts whatever came after it."""
    for code in CODES:
        if code in (SYSTOLIC, DIASTOLIC):
            continue
        rank, since = RANKS[rules.minimum_trust.of(code)], _since(rules, code, now)
        for clinical in (True, False) if code == FASTING else (None,):
            yield _Wanted(code, clinical, rank, None, since)
    for code, least in clinical_rules.diabetes_limits(thresholds.guidelines()):
        yield _Wanted(code, True, 0, least, now - DIABETES_RANGE_LOOK_BACK - _A_DAY)


def _since(rules: RuleSet, code: str, now: datetime) -> datetime:
    """A day more: days are the member's own."""
    return now - rules.look_back.of(code) - _A_DAY


def _local(at: datetime, zone: str) -> date:
    return civil_time.local_date(at, civil_time.zone(zone))
