"""Before and after a release: shadow runs, drift of the mix, calibration, everybody anew."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlmodel import col

from app.db import Database, StatementCount
from app.ids import new_id
from app.records.models import ConditionVersion
from app.risk import calibration, drift, everybody, rulesets, service, shadow
from app.risk.calibration import Followed
from app.risk.requests import Cause
from app.risk.rulesets import RuleSet, RulesInvalid, RulesUnknown, Tier
from app.risk.tables import RiskAssessment
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    consent,
    contents,
    execute,
    make_member,
    make_staff,
    refused,
)
from tests.risk_people import assess, make_person

FILE = Path(rulesets.__file__).with_name("tiers") / "1.yaml"


def candidate(tmp_path: Path, **changes: Any) -> RuleSet:
    """Version 1 with other parts, as version 2."""
    stored = yaml.safe_load(FILE.read_text("utf-8")) | {"version": "2", "released": False}
    path = tmp_path / "2.yaml"
    path.write_text(yaml.safe_dump(stored | changes, allow_unicode=True), "utf-8")
    return rulesets.read(path)


def without(*codes: str) -> list[Any]:
    rules = yaml.safe_load(FILE.read_text("utf-8"))["rules"]
    return [rule for rule in rules if rule["code"] not in codes]


async def make_three(db: Database, times: int = 1) -> list[UUID]:
    """Low, medium by weight, high by blood pressure; so often."""
    found = []
    for _ in range(times):
        found += [
            await make_person(db),
            await make_person(db, readings={"BMI": 29}, sex="MALE"),
            await make_person(db, readings={"SYSTOLIC_BP": 150}, region="CN-31"),
        ]
    for member_id in found:
        await assess(db, member_id)
    return found


# Shadow


async def test_a_shadow_run_says_who_would_move_and_changes_nobody(
    db: Database, tmp_path: Path
) -> None:
    await make_three(db, 5)
    await make_person(db, consents=False)
    await make_person(db, region="CN-54")  # alone there
    before = await contents(db, "risk_assessments", "risk_profiles", "risk_rechecks")

    new = candidate(tmp_path, rules=without("pre_chronic", "hypertension_expected"))
    runs = [it async for it in shadow.run(db, candidate=new, against=rulesets.in_force(), now=NOON)]

    assert await contents(db, "risk_assessments", "risk_profiles", "risk_rechecks") == before
    done, total, moves = runs[-1]
    assert (done, total) == (17, 17)
    by_segment = {it.segment: it for it in moves}
    assert next(iter(by_segment)) == shadow.ALL
    assert by_segment[shadow.ALL].counts == {
        (Tier.LOW, Tier.LOW): 6, (Tier.MEDIUM, Tier.LOW): 5, (Tier.HIGH, Tier.HIGH): 5,
    }  # fmt: skip
    assert by_segment["sex:MALE"].counts == {(Tier.MEDIUM, Tier.LOW): 5}
    assert by_segment["region:CN-31"].counts == {(Tier.HIGH, Tier.HIGH): 5}
    assert "region:CN-54" not in by_segment
    assert by_segment["age:35-44"].members == 16
    every = by_segment[shadow.ALL]
    assert every.share(worse=True) == 0
    assert every.share(worse=False) == pytest.approx(5 / 16)
    assert every.mix(after=True) == {
        Tier.LOW: pytest.approx(11 / 16), Tier.MEDIUM: 0, Tier.HIGH: pytest.approx(5 / 16),
    }  # fmt: skip
    [kept] = await shadow.kept(db, limit=5)
    assert (kept.rules_version, kept.against_version, kept.members) == ("2", "1", 16)
    assert {it.segment: it.counts for it in kept.moves} == {it.segment: it.counts for it in moves}


async def test_what_was_kept_holds_nothing_about_anybody(db: Database, tmp_path: Path) -> None:
    members = await make_three(db)
    async for _ in shadow.run(
        db, candidate=candidate(tmp_path), against=rulesets.in_force(), now=NOON
    ):
        pass
    [stored] = (await contents(db, "risk_shadow_runs"))["risk_shadow_runs"]
    assert not any(str(it) in stored or it.hex in stored for it in members)


async def test_an_unchanged_rule_set_moves_nobody(db: Database, tmp_path: Path) -> None:
    await make_three(db, 2)
    new = candidate(tmp_path)
    [(_, _, moves)] = [
        it async for it in shadow.run(db, candidate=new, against=rulesets.in_force(), now=NOON)
    ]
    assert moves
    assert all(old == after for it in moves for old, after in it.counts)


async def test_everybody_is_assessed_by_a_new_rule_set(db: Database, tmp_path: Path) -> None:
    low, medium, high = await make_three(db)
    new = candidate(tmp_path, rules=without("pre_chronic", "hypertension_expected"))
    steps = [
        it async for it in everybody.reassess(db, now=NOON + timedelta(1), rule_set=new, size=2)
    ]
    assert [(it.done, it.total) for it in steps] == [(2, 3), (3, 3)]
    last = steps[-1]
    # All are written, since the version is another one; one is in another tier.
    assert (last.assessed, last.changed, last.moved) == (3, 3, 1)
    assert last.last == max(low, medium, high)
    again = [it async for it in everybody.reassess(db, now=NOON + timedelta(2), rule_set=new)]
    assert again[-1].changed == 0
    resumed = [
        it async for it in everybody.reassess(db, now=NOON, rule_set=new, after=steps[0].last)
    ]
    assert resumed[-1].done == 1


async def test_a_batch_takes_the_same_statements_however_large(db: Database) -> None:
    for _ in range(3):
        await make_person(db)

    async def statements(size: int) -> int:
        with StatementCount(db) as count:
            async for _ in everybody.reassess(db, now=NOON, size=size):
                break
        return len(count)

    first = await statements(1)
    assert await statements(3) == first


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": {"findrisc": "9.9"}}, "no model 'findrisc' in version '9.9'"),
        ({"planned_mix": {"LOW": 20, "MEDIUM": 50, "HIGH": 20}}, "the planned mix is 100 %"),
        ({"surprise": 1}, "surprise"),
        ({"rules": [*without(), without()[0]]}, "two rules have one code"),
        ({"rules": [without()[0] | {"when": {"fact": "cvd", "group": "x"}}]}, "exactly one of"),
        ({"version": "3"}, "2.yaml holds version '3'"),
        ({"needed_for_low": ["age", "sbpp"]}, "needed_for_low: facts: no 'sbpp'"),
        ({"planned_mix": {"LOW": 50, "HIGH": 50}}, "the planned mix names each tier"),
        *[
            ({"rules": [without()[0] | {"when": when}]}, f"rules.0.{said}")
            for when, said in (
                ({"fact": "agee"}, "when: fact: no 'agee'"),
                ({"any": [{"fact": "cvd"}, {"fact": "sex"}]}, "when.any.1: fact: no 'sex'"),
                ({"group": "prechronic"}, "when: group: no 'prechronic'"),
                ({"fact": "cvd", "of_men": 3}, "when: of_men and of_women: both or neither"),
                ({"fact": "age", "at_least": 3, "below": 9}, "when: one limit at most"),
                ({"fact": "cvd", "categories": ["high"]}, "when: categories: only of a model"),
                (
                    {"model": "findrisc", "categories": ["modrate"]},
                    "when: categories of findrisc: no 'modrate'",
                ),
                (
                    {"model": "score2", "categories": ["high"]},
                    "when: categories of score2: no 'high'",
                ),
                ({"model": "prevent_base", "below": 3}, "when: "),
                ({"model": "findrsc", "at_least": 3}, "when: models: no 'findrsc'"),
                ({"area": ["BMI"]}, "when: area and classes: both or neither"),
                ({"area": ["BMI"], "classes": ["obeese"]}, "when: classes of BMI: no 'obeese'"),
                ({"count": 2, "of": [{"fact": "cvd"}]}, "when: count: 2 of 1"),
            )
        ],
        (
            {"rules": [without()[0] | {"detail": {"zh": "{sbp}", "en": "{spb}"}}]},
            "rules.0.detail: detail: no 'spb'",
        ),
    ],
)
def test_a_rule_set_that_is_wrong_says_what(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(RulesInvalid, match=r"2\.yaml") as error:
        candidate(tmp_path, **changes)
    assert said in str(error.value)


def test_every_category_that_a_rule_may_name_is_the_models() -> None:
    from app.risk.models.data import published

    for code, table in (
        ("china_par_10y_ascvd", "categories_2019_guideline"), ("findrisc", "categories"),
        ("framingham_hypertension", "tiers_4y"),
    ):  # fmt: skip
        assert {it["label"] for it in published(code)[table]} == rulesets.CATEGORIES[code]


async def test_every_fact_that_is_taken_may_be_named(db: Database) -> None:
    member_id = await make_person(db, readings={"SYSTOLIC_BP": 150, "FASTING_GLUCOSE": 7.4})
    await assess(db, member_id)
    async with db.read() as connection:
        [inputs] = (await connection.execute(select(col(RiskAssessment.inputs)))).scalars()
    words = {name for name, stored in inputs.items() if isinstance(stored[0], str)}
    assert words <= rulesets.WORDS
    assert inputs.keys() - words <= rulesets.FACTS


def test_an_unknown_version_is_named() -> None:
    with pytest.raises(RulesUnknown, match="no rule set '99'"):
        rulesets.of("99")


# Drift


async def test_the_mix_is_compared_with_the_plan(db: Database) -> None:
    await make_three(db)
    unknown = await make_member(db, birth_date=date(2000, 1, 1))
    await assess(db, unknown)
    await make_member(db)
    withdrawn = await make_person(db)
    await assess(db, withdrawn)
    async with db.transaction() as session:
        session.add(consent(withdrawn, "HEALTH_DATA", "WITHDRAWN", version=2))

    found = await drift.mix(db, rulesets.in_force())

    assert (found.members, found.without_tier) == (3, 1)
    assert [found.percent(it) for it in Tier] == [Decimal("33.3")] * 3
    assert [found.drift(it) for it in Tier] == [Decimal("13.3"), Decimal("-16.7"), Decimal("3.3")]
    assert found.largest_drift == Decimal("16.7")


async def test_without_members_there_is_no_drift(db: Database) -> None:
    found = await drift.mix(db, rulesets.in_force())
    assert (found.members, found.largest_drift) == (0, None)
    assert found.percent(Tier.LOW) is None


# Calibration


async def make_followed(
    db: Database,
    expected: float,
    *,
    assessed: datetime,
    ill_on: date | None = None,
    retracted: bool = False,
    icd10: str = "I10",
    results: dict[str, Any] | None = None,
) -> UUID:
    """Somebody whom the hypertension model gave so many percent for one year."""
    member_id = await make_member(db)
    results = results or {"framingham_hypertension": {"outcomes": {"1y": expected}}}
    async with db.transaction() as session:
        session.add(
            RiskAssessment(
                member_id=member_id, id=new_id(assessed), assessed_at=assessed,
                local_date=assessed.date(), rules_version="1", cause=Cause.ENROLMENT, tier="LOW",
                matched=[], inputs={}, classes={"areas": {}, "groups": []}, results=results,
            )
        )  # fmt: skip
        if ill_on is not None:
            session.add(
                ConditionVersion(
                    member_id=member_id, condition_id=new_id(NOON), version=1, icd10=icd10,
                    source="CLINICAL", onset_on=ill_on, retracted=retracted, recorded_at=NOON,
                    recorded_by=member_id,
                )
            )  # fmt: skip
    return member_id


async def test_what_was_expected_stands_beside_what_happened(db: Database) -> None:
    long_ago, lately = NOON - timedelta(days=500), NOON - timedelta(days=100)
    day = long_ago.date()
    for step in range(5):
        await make_followed(db, 1 + step, assessed=long_ago)
        await make_followed(db, 11 + step, assessed=long_ago)
    await make_followed(db, 6, assessed=long_ago, ill_on=day + timedelta(days=364))
    await make_followed(db, 20, assessed=long_ago, ill_on=day + timedelta(days=30))
    await make_followed(db, 30, assessed=long_ago, ill_on=day + timedelta(days=400))  # later
    # Whose year is not over counts neither well nor ill.
    await make_followed(db, 90, assessed=lately)
    await make_followed(db, 90, assessed=lately, ill_on=lately.date() + timedelta(days=9))
    await make_followed(db, 90, assessed=long_ago, ill_on=day - timedelta(days=1))  # ill before
    await make_followed(db, 6, assessed=long_ago, ill_on=day + timedelta(9), retracted=True)
    await make_followed(db, 8, assessed=long_ago, ill_on=day + timedelta(9), icd10="E11")
    withdrawn = await make_followed(db, 90, assessed=long_ago)
    async with db.transaction() as session:
        session.add(consent(withdrawn, "HEALTH_DATA", "WITHDRAWN", version=2))

    found = await calibration.calibrate(
        db, model="framingham_hypertension", years=1, now=NOON, bands=2
    )

    # 1 to 5, 6 twice and 8, of whom one fell ill; 11 to 15, 20 and 30, of whom one did.
    assert found.members == 15
    assert [(it.members, it.happened) for it in found.bands] == [(8, 1), (7, 1)]
    assert [it.expected for it in found.bands] == [pytest.approx(35 / 8), pytest.approx(115 / 7)]
    assert [it.observed for it in found.bands] == [pytest.approx(100 / 8), pytest.approx(100 / 7)]
    assert found.ratio == pytest.approx(2 / 1.5)


@pytest.mark.parametrize(
    ("model", "outcome", "icd10", "counts"),
    [
        ("china_par_10y_ascvd", "10y.ascvd", "I21.9", True),
        ("china_par_10y_ascvd", "10y.ascvd", "I63", True),
        ("china_par_10y_ascvd", "10y.ascvd", "I20.0", False),
        ("china_par_10y_ascvd", "10y.ascvd", "I50", False),
        ("prevent_base", "10y.total_cvd", "I50", True),
        ("prevent_base", "10y.total_cvd", "I20.0", False),
    ],
)
async def test_what_happened_is_the_models_own_outcome(
    db: Database, model: str, outcome: str, icd10: str, counts: bool
) -> None:
    assessed = NOON - timedelta(days=3700)
    for _ in range(5):
        await make_followed(
            db, 5, assessed=assessed, icd10=icd10, results={model: {"outcomes": {outcome: 5}}},
            ill_on=assessed.date() + timedelta(days=800),
        )  # fmt: skip
    found = await calibration.calibrate(db, model=model, years=10, now=NOON)
    assert [it.happened for it in found.bands] == [5 if counts else 0]


async def test_the_first_assessment_counts_and_years_must_be_the_models(db: Database) -> None:
    found = await calibration.calibrate(db, model="framingham_hypertension", years=1, now=NOON)
    assert (found.members, found.ratio, list(found.bands)) == (0, None, [])
    with pytest.raises(calibration.NotComparable, match="framingham_hypertension 4"):
        await calibration.calibrate(db, model="framingham_hypertension", years=3, now=NOON)
    with pytest.raises(calibration.NotComparable):
        await calibration.calibrate(db, model="ncdrs_china", years=10, now=NOON)


@given(
    st.lists(st.builds(Followed, st.floats(0, 100), st.booleans()), max_size=60),
    st.integers(1, 12),
)
def test_bands_hold_everybody_once_from_low_to_high(
    followed: Sequence[Followed], count: int
) -> None:
    bands = calibration.banded(followed, count)
    assert len(bands) == min(count, len(followed) // shadow.SMALL)
    if not bands:
        return
    assert sum(it.members for it in bands) == len(followed)
    assert sum(it.happened for it in bands) == sum(it.happened for it in followed)
    assert all(it.members >= shadow.SMALL for it in bands)
    sizes = {it.members for it in bands}
    assert max(sizes) - min(sizes) <= 1
    means = [it.expected for it in bands]
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(means))


# What actuaries see


async def test_actuaries_see_the_reports_and_nobody_else_does(db: Database, tmp_path: Path) -> None:
    await make_three(db, 2)
    async for _ in shadow.run(
        db, candidate=candidate(tmp_path), against=rulesets.in_force(), now=NOON
    ):
        pass
    query = """{ riskMix { rulesVersion members withoutTier
        tiers { tier members percent plannedPercent drift } }
      riskShadowRuns { rulesVersion againstVersion members segments { segment members worsePercent
        betterPercent moves { before after members } } }
      riskCalibration(model: "framingham_hypertension", years: 1) { members observedToExpected
        bands { members expectedPercent observedPercent events } } }"""
    for step in range(4):
        await make_followed(db, 1 + step, assessed=NOON - timedelta(days=500))
    actuary = as_staff(db, await make_staff(db, "ACTUARY"), "ACTUARY")
    data = await execute(query, context=actuary)
    assert [it["tier"] for it in data["riskMix"]["tiers"]] == ["LOW", "MEDIUM", "HIGH"]
    # Four women, two men, four of one region and two of another are not shown.
    assert {it["segment"]: it["members"] for it in data["riskShadowRuns"][0]["segments"]} == {
        "all": 6, "age:35-44": 6,
    }  # fmt: skip
    assert data["riskCalibration"] == {"members": 0, "observedToExpected": None, "bands": []}

    manager = as_staff(db, await make_staff(db))
    member = as_member(db, await make_member(db))
    for part in ("riskMix { members }", "riskShadowRuns { members }",
                 'riskCalibration(model: "score2", years: 10) { members }'):  # fmt: skip
        assert await refused(f"{{ {part} }}", context=manager) == "FORBIDDEN"
        assert await refused(f"{{ {part} }}", context=member) == "FORBIDDEN"
    wrong = '{ riskCalibration(model: "magic", years: 1) { members } }'
    assert await refused(wrong, context=actuary) == "BAD_REQUEST"


async def test_every_cause_can_be_stored(db: Database) -> None:
    member_id = await make_person(db)
    for cause in Cause:
        async with db.transaction() as session:
            assert await service.assess(session, member_id=member_id, cause=cause, now=NOON)
    [row] = (await contents(db, "risk_assessments"))["risk_assessments"]
    assert json.dumps(row)


# The command line


def wellward(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "risk", *arguments],
        capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False,
        env=os.environ | {"WELLWARD_DATABASE_URL": url, "WELLWARD_MODE": "development"},
    )  # fmt: skip


async def test_the_command_line_assesses_everybody_and_reports(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    for _ in range(6):
        await make_person(db, now=NOON)
    await make_person(db, readings={"SYSTOLIC_BP": 150})

    async def run(*arguments: str) -> str:
        done = await asyncio.to_thread(wellward, database_url, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert (await run("reassess")).startswith("7 members: 7 assessed, 7 changed, ")
    drifted = await run("drift")
    assert "HIGH: " in drifted
    assert "planned 20" in drifted
    assert "all" in await run("shadow", "1")
    assert "0 members" in await run("calibrate", "china_par_10y_ascvd", "--years", "10")
    wrong = await asyncio.to_thread(
        wellward, database_url, "calibrate", "china_par_10y_ascvd", "--years", "3"
    )
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("china_par_10y_ascvd 3: no such probability")
