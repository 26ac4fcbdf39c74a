"""The pure rules of policies: what may follow what, instalments, underwriting."""

from datetime import date
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.premiums import invoice_rules, lifecycle, rules
from app.premiums.contract_terms import Underwriting
from app.premiums.lifecycle import PolicyEventKind, PolicyState
from app.premiums.underwriting_rules import Finding, Known, Verdict, WaitsFor, judge
from app.risk.rulesets import Tier

EVENTS = st.lists(st.sampled_from(PolicyEventKind), max_size=40)
WORDS = {"zh": "条款", "en": "clause"}


# States


@given(EVENTS)
def test_whatever_is_tried_in_whatever_order_a_policy_lives_one_life(tried: list[PolicyEventKind]):
    state, history = None, []
    for event in tried:
        following = lifecycle.after(state, event)
        if following is not None:
            state = following
            history.append(event)
    if not history:
        return
    assert history[0] in (PolicyEventKind.APPLIED, PolicyEventKind.ENROLLED)
    once = (PolicyEventKind.APPLIED, PolicyEventKind.ENROLLED, PolicyEventKind.BEGAN)
    assert all(history.count(event) <= 1 for event in once)
    began = {PolicyEventKind.BEGAN, PolicyEventKind.ENROLLED}
    for place, event in enumerate(history):
        before = set(history[:place])
        if event in (PolicyEventKind.RENEWED, PolicyEventKind.OVERDUE, PolicyEventKind.CANCELLED):
            assert began & before, "only what has begun goes on, is overdue or stops"
        if event is PolicyEventKind.BEGAN:
            assert {PolicyEventKind.OFFERED, PolicyEventKind.ACCEPTED} <= before
        if event is PolicyEventKind.LAPSED:
            assert PolicyEventKind.OVERDUE in before
        if event is PolicyEventKind.REINSTATED:
            assert history[place - 1] in (
                PolicyEventKind.LAPSED,
                PolicyEventKind.RESCISSION_PROPOSED,
                PolicyEventKind.RESCISSION_DROPPED,
            )
    finals = (PolicyState.RESCINDED, PolicyState.DECLINED, PolicyState.WITHDRAWN)
    if state in (*finals, PolicyState.EXPIRED):
        assert all(lifecycle.after(state, event) is None for event in PolicyEventKind)


def test_every_state_can_be_reached_and_every_event_can_happen():
    reached = set(lifecycle.TRANSITIONS.values())
    assert reached == set(PolicyState)
    assert {event for _, event in lifecycle.TRANSITIONS} == set(PolicyEventKind)
    assert PolicyState.GRACE not in lifecycle.STORED_STATES


# Instalments


@given(
    st.integers(min_value=0, max_value=10**12),
    st.dates(min_value=date(2020, 1, 1), max_value=date(2060, 1, 1)),
    st.integers(min_value=1, max_value=60),
    st.booleans(),
)
def test_instalments_sum_to_the_premium_and_cover_each_day_once(amount, first, months, monthly):
    term = rules.term(first, 0, months=months)
    parts = invoice_rules.instalments(amount, term, months=months, monthly=monthly)
    assert sum(it.amount for it in parts) == amount
    assert max(it.amount for it in parts) - min(it.amount for it in parts) <= 1
    assert len(parts) == (months if monthly else 1)
    assert (parts[0].covers.starts_on, parts[-1].covers.ends_on) == (term.starts_on, term.ends_on)
    for earlier, later in pairwise(parts):
        assert rules.add_days(earlier.covers.ends_on, 1) == later.covers.starts_on
        assert earlier.covers.starts_on <= earlier.covers.ends_on


@given(st.integers(min_value=0, max_value=10**9), st.integers(-400, 800))
def test_what_is_unused_shrinks_by_the_day_from_all_to_nothing(amount, offset):
    covers = rules.term(date(2026, 3, 2), 0, months=12)
    last = rules.add_days(covers.starts_on, offset)
    unused = invoice_rules.unused(amount, covers, last_day=last)
    later = invoice_rules.unused(amount, covers, last_day=rules.add_days(last, 1))
    assert 0 <= later <= unused <= amount
    if last < covers.starts_on:
        assert unused == amount
    if last >= covers.ends_on:
        assert unused == 0


@pytest.mark.parametrize(
    ("yearly", "months", "amount"), [(300_000, 12, 300_000), (300_001, 6, 150_001), (5, 3, 1)]
)
def test_a_shorter_term_costs_its_share_rounded_half_up(yearly, months, amount):
    assert invoice_rules.of_term(yearly, months) == amount


# Underwriting

TERMS = Underwriting.model_validate(
    {
        "label": WORDS,
        "explanation": WORDS,
        "accepted": ["I10", "E11", "I63.9"],
        "declined": ["I63", "N18.5"],
        "recheck": {"tiers": ["HIGH"], "days": 14},
        "referred": {"tiers": ["HIGH"]},
        "examination_report_months": 6,
        "declarations": [{"code": "complete", "text": WORDS}],
    }
)


def known(**differently: Any) -> Known:
    return Known(
        **{
            "today": date(2026, 8, 31),
            "declared": True,
            "confirmed": {"complete": True},
            "conditions": (),
            "consented": True,
            "assessed": True,
            "tier": Tier.LOW,
            "to_measure": True,
            "examined_on": date(2026, 2, 28),
            **differently,
        }
    )


@pytest.mark.parametrize(
    ("what", "verdict", "why"),
    [
        ({}, Verdict.ACCEPT, ()),
        ({"conditions": ["I10", "E11.9"]}, Verdict.ACCEPT, ()),
        ({"conditions": ["I63.9"]}, Verdict.ACCEPT, ()),
        ({"conditions": ["I63.1"]}, Verdict.DECLINE, (Finding.CONDITION_DECLINED,)),
        # Declined at once, whatever else is missing.
        ({"conditions": ["N18.5"], "assessed": False}, Verdict.DECLINE,
         (Finding.CONDITION_DECLINED,)),
        ({"conditions": ["N18"]}, Verdict.REFER, (Finding.CONDITION_UNKNOWN,)),
        ({"conditions": ["C50"]}, Verdict.REFER, (Finding.CONDITION_UNKNOWN,)),
        ({"confirmed": {"complete": False}}, Verdict.REFER, (Finding.NOT_CONFIRMED,)),
        ({"tier": Tier.HIGH, "to_measure": False}, Verdict.REFER, (Finding.TIER,)),
        ({"tier": Tier.HIGH}, Verdict.WAIT, (WaitsFor.RECHECK,)),
        ({"tier": None}, Verdict.ACCEPT, ()),
        ({"declared": False, "confirmed": {}}, Verdict.WAIT, (WaitsFor.DECLARATIONS,)),
        ({"assessed": False, "tier": None}, Verdict.WAIT, (WaitsFor.ASSESSMENT,)),
        # Consent is free: without it nothing is waited for, and a person decides.
        ({"assessed": False, "consented": False, "tier": None}, Verdict.REFER,
         (Finding.NOT_ASSESSED,)),
        ({"examined_on": date(2026, 2, 27)}, Verdict.WAIT, (WaitsFor.EXAMINATION_REPORT,)),
        ({"examined_on": None}, Verdict.WAIT, (WaitsFor.EXAMINATION_REPORT,)),
    ],
)  # fmt: skip
def test_underwriting_waits_refers_accepts_or_declines(what, verdict, why):
    judged = judge(known(**what), TERMS)
    assert (judged.verdict, judged.waits_for + judged.findings) == (verdict, why)


def test_a_product_that_says_nothing_takes_everybody():
    assert judge(known(declared=False, assessed=False), None).verdict is Verdict.ACCEPT
