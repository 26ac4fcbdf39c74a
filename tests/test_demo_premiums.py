"""The demo's members show every rule: what they try out is what is billed, and it is kept so.

The whole population takes a minute or two; here a few of its stories, day by day.
"""

import os
from datetime import UTC, date, datetime

import pytest
from rich.console import Console
from sqlalchemy import text

from app.config import Settings
from app.db import Database
from app.demo import making, stories
from app.premiums import recompute
from tests.factories import as_member, execute, operation

PROVE = os.environ.get("WELLWARD_PROVE") == "1"
NOW = datetime(2026, 11, 22, 4, tzinfo=UTC)
EXPECTED: dict[str, set[str]] = {
    "rule-year": {"PRM-12", "PRM-1", "PRM-6"},
    "rule-high": {"PRM-1", "PRM-3"},
    "rule-worse": {"PRM-1", "PRM-8"},
    "rule-mild": {"PRM-5"},
    "rule-points": {"PRM-4", "PTS-4"},
    "rule-back": {"PRM-9"},
    "rule-discount": {"PRM-6"},
    "rule-pool": {"PRM-14"},  # pool-rated: nothing of one person moves it
}
"""Rules with a line in some premium of the member."""


def test_a_story_is_measured_twice_in_its_months():
    story = next(it for it in stories.STORIES if it.login == "rule-year")
    first = stories.begins_on(NOW.date())
    assert first == date(2025, 10, 1)
    assert {code for code, _, _ in stories.readings(story, date(2025, 9, 30), first)} == {
        "SYSTOLIC_BP",
        "DIASTOLIC_BP",
        "BMI",
        "FASTING_GLUCOSE",
    }
    assert [str(it[1]) for it in stories.readings(story, date(2026, 9, 20), first)] == ["129", "80"]
    assert stories.readings(story, date(2026, 9, 21), first) == []
    assert stories.readings(story, date(2026, 5, 20), first) == []


def test_every_rule_has_somebody_who_shows_it():
    assert {it.login for it in stories.STORIES} == EXPECTED.keys()


@pytest.mark.skipif(not PROVE, reason="minutes; WELLWARD_PROVE=1")
async def test_what_members_try_out_is_what_is_billed(db: Database, monkeypatch):
    monkeypatch.setattr(making, "OTHERS", 3)
    monkeypatch.setattr(making, "_register_phones", _no_phones)
    settings = Settings()
    await making.make_demo_once(db, settings, now=NOW, console=Console(quiet=True))
    found = await recompute.recompute(db)
    assert [str(it) for it in found.differences] == []
    async with db.read() as reading:
        members = (
            await reading.execute(
                text("select s.login, s.member_id from member_sign_ins s order by 1")
            )
        ).all()
        shown = (
            await reading.execute(
                text(
                    "select s.login, l ->> 'rule' from premiums p"
                    " join member_sign_ins s using (member_id),"
                    " jsonb_array_elements(p.lines) l"
                )
            )
        ).all()
    group = f"colleague{making.COLLEAGUES}"  # the tenth makes it a group of ten
    for login, rules in (EXPECTED | {group: {"PRM-13"}}).items():
        assert rules <= {rule for name, rule in shown if name == login}, login
    for _, member_id in members:
        context = as_member(db, member_id, now=NOW)
        policy = (await execute(operation("Premium"), context=context))["me"]["policy"]
        if policy is None:
            continue
        empty: dict[str, dict[str, str]] = {"scenario": {}}
        tried = (await execute(operation("SimulatePremium"), empty, context=context))["me"]
        assert tried["policy"]["simulate"]["total"] == policy["renewal"]["total"]
        assert len(tried["policy"]["simulate"]["lines"]) == len(policy["renewal"]["lines"])


async def _no_phones(*_: object) -> None:
    """Nothing of a premium."""
