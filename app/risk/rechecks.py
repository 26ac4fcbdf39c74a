"""Who comes to be of high risk, or is so when underwriting asks, measures again (RSK-8): proposed
here, made a task above."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ARRAY, Date, DateTime, String, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.ids import new_id
from app.measurements.kinds import TRUSTED
from app.records.clinical import Reading
from app.risk.facts import Facts
from app.risk.rulesets import Recheck, Tier
from app.worklist import programme


class RecheckKind(StrEnum):
    BLOOD_PRESSURE = "BLOOD_PRESSURE"
    GLUCOSE = "GLUCOSE"


CODES = {
    RecheckKind.BLOOD_PRESSURE: ("SYSTOLIC_BP",),
    RecheckKind.GLUCOSE: ("FASTING_GLUCOSE",),
}
"""What settles each: the same that completes its task (`recheck-...` of the templates)."""


@dataclass(frozen=True, slots=True)
class Case:
    facts: Facts
    assessment_id: UUID
    tier: Tier | None
    before: Tier | None
    asked: bool = False
    """By underwriting: it matters that they are of high risk, not since when."""


_PROPOSE = text("""
insert into risk_rechecks (member_id, id, kind, assessment_id, proposed_at, proposed_on)
select it.member_id, it.id, it.kind, it.assessment_id, :now, it.proposed_on
from unnest(:member_ids, :ids, :kinds, :assessment_ids, :days)
  as it (member_id, id, kind, assessment_id, proposed_on)
on conflict do nothing
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("kinds", type_=ARRAY(String)),
    bindparam("assessment_ids", type_=ARRAY(Uuid)),
    bindparam("days", type_=ARRAY(Date)),
    bindparam("now", type_=DateTime(timezone=True)),
)
_SETTLE = text("""
update risk_rechecks r set settled_at = :now
from unnest(:member_ids, :kinds, :instants) as it (member_id, kind, measured_at)
where r.member_id = it.member_id and r.kind = it.kind and r.settled_at is null
and r.proposed_at < it.measured_at
returning r.member_id, r.id
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("kinds", type_=ARRAY(String)),
    bindparam("instants", type_=ARRAY(DateTime(timezone=True))),
    bindparam("now", type_=DateTime(timezone=True)),
)


def cause_key(recheck_id: UUID) -> str:
    """Of the worklist item, where there is one."""
    return f"recheck:{recheck_id}"


async def follow(
    session: AsyncSession, cases: Sequence[Case], terms: Recheck, *, now: datetime
) -> None:
    """Settle what was measured since, and propose what should be measured again."""
    connection = await session.connection()
    settled = [
        (case.facts.member_id, kind.value, reading.measured_at)
        for case in cases
        for kind in RecheckKind
        if (reading := measured(case.facts, kind)) is not None
    ]
    if settled:
        member_ids, kinds, instants = (list(it) for it in zip(*settled, strict=True))
        done = await connection.execute(
            _SETTLE, {"member_ids": member_ids, "kinds": kinds, "instants": instants, "now": now}
        )
        causes = [(member_id, cause_key(id)) for member_id, id in done]
        await programme.settle_items(session, causes=causes, now=now)
    proposed = [(case, kind) for case in cases for kind in wanted(case, terms)]
    if proposed:
        await connection.execute(
            _PROPOSE,
            {
                "member_ids": [case.facts.member_id for case, _ in proposed],
                "ids": [new_id(now) for _ in proposed],
                "kinds": [kind.value for _, kind in proposed],
                "assessment_ids": [case.assessment_id for case, _ in proposed],
                "days": [case.facts.today for case, _ in proposed],
                "now": now,
            },
        )


def wanted(case: Case, terms: Recheck) -> list[RecheckKind]:
    """Of who has just come to be of high risk, or is asked: what was not measured lately."""
    if case.tier is not Tier.HIGH or (case.before is Tier.HIGH and not case.asked):
        return []
    fresh = case.facts.today - timedelta(days=terms.fresh_days)
    found = {kind: measured(case.facts, kind) for kind in RecheckKind}
    return [kind for kind, it in found.items() if it is None or it.local_date <= fresh]


def measured(facts: Facts, kind: RecheckKind) -> Reading | None:
    """The last time that it was measured by a named device or somebody of the profession."""
    found = [it for it in facts.readings if it.code in CODES[kind] and it.trust in TRUSTED]
    return max(found, key=lambda it: it.measured_at, default=None)
