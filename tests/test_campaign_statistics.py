"""Assignment and the statistics of reports: sizes, alarms, error rates and power, without I/O."""

from itertools import pairwise
from math import isclose, sqrt
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import statistics
from app.campaigns.assignment import HOLDOUT, arm_of, arms
from app.members import buckets
from app.statistics import Share, chi_square_above, lift, sample_ratio
from tests.figures import record_figure
from tests.processes import FULL_COUNTS

CAMPAIGN = UUID("019f2f00-0000-7000-8000-000000000001")
SHARED = arms({"a": 1, "b": 1, "c": 2}, holdout_percent=10)


def people(count: int, seed: int = 7) -> list[UUID]:
    rng = Random(seed)
    return [UUID(int=rng.getrandbits(128)) for _ in range(count)]


def sizes(campaign: UUID, members: list[UUID]) -> list[int]:
    found = dict.fromkeys((it.key for it in SHARED), 0)
    for member in members:
        found[arm_of(campaign, member, SHARED)] += 1
    return list(found.values())


# Assignment


@given(
    st.dictionaries(
        st.text("abcdef", min_size=1, max_size=3), st.integers(1, 10_000), min_size=1, max_size=20
    ),
    st.decimals(0, 50, places=2),
)
def test_every_bucket_belongs_to_one_arm_in_its_share(weights, holdout):
    shared = arms(weights, holdout_percent=holdout)
    assert shared[0].first == 0 and shared[-1].end == buckets.SIZE
    for before, after in pairwise(shared):
        assert before.end == after.first
    total = sum(weights.values())
    for arm in shared:
        wanted = float(holdout) / 100
        if arm.key != HOLDOUT:
            wanted = (1 - wanted) * weights[arm.key] / total
        assert isclose(arm.share, wanted, abs_tol=1e-9)


def test_an_assignment_is_the_same_for_ever():
    """Written down: whoever changes the hash moves members of campaigns that run."""
    members = [UUID(int=number) for number in range(12)]
    found = "".join(arm_of(CAMPAIGN, it, SHARED)[0] for it in members)
    assert found == EXPECTED
    assert "".join(arm_of(CAMPAIGN, it, SHARED)[0] for it in reversed(members)) == EXPECTED[::-1]


EXPECTED = "acbabcaaccba"


def test_arms_have_the_sizes_they_should():
    members = people(1_000_000 if FULL_COUNTS else 50_000)
    p_value = sample_ratio(sizes(CAMPAIGN, members), [it.share for it in SHARED])
    record_figure("assignment", f"{len(members):,} members, chi-square p = {p_value:.3f}")
    assert p_value > 0.001


def test_two_campaigns_draw_independently():
    members = people(20_000)
    other = UUID("019f2f00-0000-7000-8000-000000000002")
    together = sum(
        arm_of(CAMPAIGN, it, SHARED) == HOLDOUT and arm_of(other, it, SHARED) == HOLDOUT
        for it in members
    )
    assert sample_ratio([together, len(members) - together], [0.01, 0.99]) > 0.001


def test_the_alarm_rings_at_one_percent_too_many():
    for members in (people(1_000_000),) if FULL_COUNTS else (people(100_000),):
        fair = sizes(CAMPAIGN, members)
        moved = len(members) // 100
        biased = [fair[0], fair[1] + moved, fair[2], fair[3] - moved]
        shares = [it.share for it in SHARED]
        assert sample_ratio(fair, shares) > statistics.ALARM_BELOW
        assert sample_ratio(biased, shares) < statistics.ALARM_BELOW


def test_the_alarm_rings_by_chance_as_rarely_as_it_says():
    rng = Random(11)
    alarms = 0
    for _ in range(2_000):
        ones = rng.getrandbits(2_000).bit_count()
        alarms += sample_ratio([ones, 2_000 - ones], [0.5, 0.5]) < statistics.ALARM_BELOW
    assert alarms <= 10  # 2 are expected; more than 10 happen once in 100,000 times


def test_a_small_arm_is_asked_exactly():
    """Two of a thousand in an arm that should have a tenth of one happen once in 220 times, and
    chi-square would say once in a thousand million."""
    shares = [1 / 10_001, 10_000 / 10_001]
    assert isclose(sample_ratio([2, 998], shares), 0.0047, rel_tol=0.02)
    assert sample_ratio([1, 999], shares) > 0.09
    assert sample_ratio([0, 1000], shares) == 1
    assert sample_ratio([20, 980], shares) < 1e-12
    three = [shares[0], shares[1] / 2, shares[1] / 2]
    assert sample_ratio([1, 499, 500], three) > 0.1
    assert sample_ratio([1, 399, 600], three) < 1e-6
    # Of 48 a tenth, 24: chi-square alone would count them with the others.
    assert sample_ratio([24, 24, 0], [0.1, 0.45, 0.45]) < statistics.ALARM_BELOW


# Chi-square


@pytest.mark.parametrize(
    ("value", "degrees", "above"),
    [  # NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.4
        (3.841, 1, 0.05), (6.635, 1, 0.01), (10.828, 1, 0.001), (2.706, 1, 0.10),
        (5.991, 2, 0.05), (18.307, 10, 0.05), (29.588, 10, 0.001), (124.342, 100, 0.05),
        (3.940, 10, 0.95), (77.929, 100, 0.95), (0, 3, 1.0),
    ],
)  # fmt: skip
def test_chi_square_is_that_of_the_tables(value, degrees, above):
    assert isclose(chi_square_above(value, degrees), above, rel_tol=2e-3)


@given(st.floats(0.01, 500), st.integers(1, 40))
def test_chi_square_falls_and_stays_a_probability(value, degrees):
    here, there = chi_square_above(value, degrees), chi_square_above(value * 1.01, degrees)
    assert 0 <= there <= here <= 1


def test_an_arm_that_should_not_be_there_is_an_alarm():
    assert sample_ratio([10, 10, 1], [0.5, 0.5, 0.0]) == 0
    assert sample_ratio([10], [1.0]) == 1
    assert sample_ratio([0, 0], [0.5, 0.5]) == 1


# Lift


def binomial(rng: Random, n: int, rate: float) -> int:
    """So many of `n`, by the normal distribution: `n` is in the hundreds."""
    drawn = round(rng.gauss(n * rate, sqrt(n * rate * (1 - rate))))
    return min(max(drawn, 0), n)


def watched(rng: Random, rates: tuple[float, float], *, looks: int, step: int) -> tuple[bool, bool]:
    """Whether a difference was found at any look: by our interval, and by the fixed one that
    holds for one look."""
    treated, held = [0, 0], [0, 0]
    always = fixed = False
    for _ in range(looks):
        treated = [treated[0] + binomial(rng, step, rates[0]), treated[1] + step]
        held = [held[0] + binomial(rng, step, rates[1]), held[1] + step]
        shares = Share(*treated), Share(*held)
        found = lift(*shares)
        assert found is not None
        always = always or found.is_found
        error = sqrt(shares[0].variance + shares[1].variance)
        fixed = fixed or abs(found.difference) > 1.96 * error
    return always, fixed


def test_who_looks_every_day_is_seldom_wrong_when_nothing_differs():
    """At most 5 %, over all looks together; it comes near only after very many."""
    runs, looks = 1_000, 100
    rng = Random(5)
    found = [watched(rng, (0.2, 0.2), looks=looks, step=1_000) for _ in range(runs)]
    always, fixed = (sum(it) for it in zip(*found, strict=True))
    record_figure(
        "A/A",
        f"{runs:,} campaigns, {looks} looks each: {always / runs:.1%} found, with an interval for "
        f"one look {fixed / runs:.0%}",
    )
    assert 0 < always <= 0.05 * runs
    assert fixed > 0.25 * runs, "the simulation must be one that misleads a fixed interval"


@pytest.mark.parametrize(
    ("told", "held", "rate"), [(9_000, 1_000, 0.3), (900, 100, 0.02), (5_000, 5_000, 0.6)]
)
def test_who_watches_one_audience_convert_is_seldom_wrong(told, held, rate):
    """Everybody is there from the first day and converts in the course of time: what grows is
    the share and not the sample."""
    runs, looks = 300, 40
    rng = Random(3)
    hazard = 1 - (1 - rate) ** (1 / looks)
    wrong = 0
    for _ in range(runs):
        done, is_found = [0, 0], False
        for _ in range(looks):
            for place, size in enumerate((told, held)):
                done[place] += binomial(rng, size - done[place], hazard)
            found = lift(Share(done[0], told), Share(done[1], held))
            is_found = is_found or (found is not None and found.is_found)
        wrong += is_found
    assert wrong <= 0.07 * runs  # 5 % promised; the seed is fixed


def test_an_effect_on_check_ins_is_found():
    """Ten percentage points more members who check in, 3,000 in each arm: 9 of 10 times."""
    runs = 60
    rng = Random(6)
    found = sum(watched(rng, (0.45, 0.35), looks=5, step=600)[0] for _ in range(runs))
    record_figure("power", f"35 % to 45 %, 3,000 an arm: found in {found} of {runs}")
    assert found >= 0.9 * runs


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_an_interval_holds_what_was_seen_and_is_the_mirror_of_the_other_way(n, m, p, q):
    here = lift(Share(int(n * p), n), Share(int(m * q), m))
    there = lift(Share(int(m * q), m), Share(int(n * p), n))
    assert here is not None and there is not None
    assert -1 <= here.low <= here.difference <= here.high <= 1
    assert isclose(here.low, -there.high, abs_tol=1e-12)


def test_of_nobody_nothing_is_said_and_of_few_little():
    assert lift(Share(0, 0), Share(1, 10)) is None
    found = lift(Share(3, 3), Share(0, 3))
    assert found is not None and not found.is_found
