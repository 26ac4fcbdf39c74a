"""Assessing members: lock their profiles, look at all that is known, judge, write.

In batches with a constant number of statements, so that one member and a hundred thousand go
the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, Date, DateTime, String, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.ids import new_id
from app.risk import facts as known
from app.risk import rechecks, rules, rulesets
from app.risk.chosen import Chosen, Taken
from app.risk.facts import Facts
from app.risk.inputs import choose
from app.risk.models.base import Result
from app.risk.requests import Cause
from app.risk.rules import Judged
from app.risk.rulesets import RuleSet, Tier


@dataclass(frozen=True, slots=True)
class Assessed:
    """What became of one member."""

    member_id: UUID
    assessment_id: UUID
    tier: Tier | None
    before: Tier | None
    changed: bool
    """Whether anything differs from the assessment before; if not, that one stands."""


_IDS = bindparam("member_ids", type_=ARRAY(Uuid))
_MAKE = text("""
insert into risk_profiles (member_id, contests)
select m.member_id, 0 from members m
where m.member_id = any(:member_ids) and m.erased_at is null order by m.member_id
on conflict do nothing
""").bindparams(_IDS)
_LOCK = text("""
select 1 from risk_profiles where member_id = any(:member_ids) order by member_id for update
""").bindparams(_IDS)
# A statement of its own after the lock: one that had waited for the lock would see the new
# profile beside the assessments of before.
_LATEST = text("""
select p.member_id, p.assessment_id, p.tier, a.rules_version, a.inputs, a.classes, a.results
from risk_profiles p
left join risk_assessments a on a.member_id = p.member_id and a.id = p.assessment_id
where p.member_id = any(:member_ids)
""").bindparams(_IDS)
_INSERT = text("""
insert into risk_assessments (member_id, id, assessed_at, local_date, rules_version, cause, tier,
  matched, inputs, classes, results)
select it.member_id, it.id, :now, it.local_date, :rules_version, :cause, it.tier,
  array(select jsonb_array_elements_text(cast(it.matched as jsonb))),
  cast(it.inputs as jsonb), cast(it.classes as jsonb), cast(it.results as jsonb)
from unnest(:member_ids, :ids, :local_dates, :tiers, :matched, :inputs, :classes, :results)
  as it (member_id, id, local_date, tier, matched, inputs, classes, results)
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("local_dates", type_=ARRAY(Date)),
    *(bindparam(it, type_=ARRAY(String)) for it in
      ("tiers", "matched", "inputs", "classes", "results")),
    *(bindparam(it, type_=String) for it in ("rules_version", "cause")),
    bindparam("now", type_=DateTime(timezone=True)),
)  # fmt: skip
_CURRENT = text("""
update risk_profiles p set assessment_id = it.id, tier = it.tier, assessed_at = :now
from unnest(:member_ids, :ids, :tiers) as it (member_id, id, tier)
where p.member_id = it.member_id
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("tiers", type_=ARRAY(String)),
    bindparam("now", type_=DateTime(timezone=True)),
)
_CHECKED = text(
    "update risk_profiles set checked_at = :now where member_id = any(:member_ids)"
).bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("now", type_=DateTime(timezone=True))
)


async def assess(
    session: AsyncSession, *, member_id: UUID, cause: Cause, now: datetime
) -> Assessed | None:
    """One member; None who does not consent to the use of health data, or is unknown."""
    found = await assess_many(session, [member_id], cause=cause, now=now)
    return found[0] if found else None


async def assess_many(
    session: AsyncSession,
    member_ids: Sequence[UUID],
    *,
    cause: Cause,
    now: datetime,
    rule_set: RuleSet | None = None,
) -> list[Assessed]:
    """Those of them who consent to the use of health data. An assessment is written where it
    differs from the one before. Safe to run twice and in parallel: profiles are locked in
    order before anything is looked at."""
    rule_set = rule_set or rulesets.in_force()
    ids = {"member_ids": sorted(set(member_ids))}
    connection = await session.connection()
    await connection.execute(_MAKE, ids)
    await connection.execute(_LOCK, ids)
    latest = {row.member_id: row for row in await connection.execute(_LATEST, ids)}
    everybody = await known.load(connection, ids["member_ids"], [rule_set], now=now)
    consenting = [it for it in everybody.values() if it.consented]
    made = [_Made(it, rule_set, latest[it.member_id], now) for it in consenting]
    changed = [it for it in made if it.differs]
    if changed:
        await connection.execute(
            _INSERT,
            {
                "now": now,
                "rules_version": rule_set.version,
                "cause": cause.value,
                "local_dates": [it.facts.today for it in changed],
                "matched": [orjson.dumps(it.matched).decode() for it in changed],
                "inputs": [orjson.dumps(it.inputs).decode() for it in changed],
                "classes": [orjson.dumps(it.classes).decode() for it in changed],
                "results": [orjson.dumps(it.results).decode() for it in changed],
                **_current(changed),
            },
        )
        await connection.execute(_CURRENT, {"now": now, **_current(changed)})
    if made:
        checked = [it.facts.member_id for it in made]
        await connection.execute(_CHECKED, {"member_ids": checked, "now": now})
    await rechecks.follow(
        session,
        [
            rechecks.Case(
                it.facts,
                it.assessment_id,
                it.judged.tier,
                it.before,
                asked=cause is Cause.UNDERWRITING,
            )
            for it in made
        ],
        rule_set.recheck,
        now=now,
    )
    return [it.assessed for it in made]


def _current(changed: "Sequence[_Made]") -> dict[str, Any]:
    return {
        "member_ids": [it.facts.member_id for it in changed],
        "ids": [it.assessment_id for it in changed],
        "tiers": [it.judged.tier.value if it.judged.tier else None for it in changed],
    }


class _Made:
    """One member's new assessment beside the one that stands."""

    def __init__(self, facts: Facts, rule_set: RuleSet, latest: Any, now: datetime) -> None:
        self.facts = facts
        taken = choose(facts, rule_set)
        self.judged = rules.judge(taken, rule_set)
        self.inputs = {name: it.stored() for name, it in taken.inputs.items()}
        self.classes = {"areas": dict(taken.areas), "groups": list(taken.groups)}
        self.results = stored_results(self.judged)
        self.matched = [rule.code for rule in self.judged.matched]
        self.before = Tier(latest.tier) if latest.tier else None
        self.differs = latest.assessment_id is None or (
            (latest.rules_version, latest.inputs, latest.classes, latest.results)
            != (rule_set.version, self.inputs, self.classes, self.results)
        )
        self.assessment_id = new_id(now) if self.differs else latest.assessment_id

    @property
    def assessed(self) -> Assessed:
        return Assessed(
            self.facts.member_id, self.assessment_id, self.judged.tier, self.before, self.differs
        )


def stored_results(judged: Judged) -> dict[str, Any]:
    """By model, as it is kept."""
    return {
        model: {
            "version": scored.version,
            "inputs": dict(scored.inputs),
            **_stored(scored.result),
        }
        for model, scored in judged.results.items()
    }


def _stored(result: Result) -> dict[str, Any]:
    return {
        "value": result.value,
        "category": result.category,
        "near_limit": result.near_limit,
        "outcomes": {it.name: it.value for it in result.outcomes},
    }


def recompute(row: Any) -> tuple[Tier | None, list[str], dict[str, Any]]:
    """Tier, rules met and results of a stored assessment, from its stored inputs, by the
    versions that it names: equal to what was stored, always. Raises RulesUnknown."""
    taken = Taken(
        inputs={name: Chosen.of(stored) for name, stored in row.inputs.items()},
        areas=row.classes["areas"],
        groups=tuple(row.classes["groups"]),
    )
    results = {
        model: rules.score(model, stored["version"], stored["inputs"])
        for model, stored in row.results.items()
    }
    judged = rules.decide(taken, results, rulesets.of(row.rules_version))
    return judged.tier, [it.code for it in judged.matched], stored_results(judged)


def result_of(model: str, stored: Mapping[str, Any]) -> Result:
    """The whole result of a model, with its shares and reasons in words, from what is kept."""
    return rules.score(model, stored["version"], stored["inputs"]).result
