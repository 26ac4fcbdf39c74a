"""Yearly figures of a portfolio: two people, immutable once used, exact; the reserve; the page."""

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.db import Database, StatementCount
from app.premiums import backtest, portfolio_reads, portfolio_rules, recompute
from app.premiums.backtest_history import Period
from app.premiums.contract_terms import Reserve
from app.premiums.portfolio_rules import PortfolioWarning
from app.premiums.product import PRODUCTS, read
from app.risk.rulesets import Tier
from tests.factories import as_member, as_staff, contents, execute, make_staff, refused
from tests.policy_holders import rows
from tests.premium_world import BEGIN, START, insured, renew, year_closed

CONSOLE = Path(__file__).parents[1] / "schema" / "operations" / "console"
SHOW = (CONSOLE / "Portfolio.graphql").read_text()
CARE = read(PRODUCTS / "chronic-care-1.0.0.yaml")
NEXT = datetime(2027, 1, 15, tzinfo=UTC)
"""2026 is over."""
FIGURES: dict[str, Any] = {
    "productCode": "chronic-care", "year": 2026, "claims": "2000.00", "cededTierClaims": "500.00",
    "operatingCost": "400.00", "reference": "GL-2026-17",
}  # fmt: skip
SPENDING: dict[str, Any] = {
    "productCode": "chronic-care", "spentOn": "2026-06-01", "purpose": "HEALTH_SERVICE",
    "amount": "100.00", "reference": "INV-1",
}  # fmt: skip


async def ask(
    db: Database, name: str, staff_id: UUID, role: str = "ACTUARY", *, now: datetime = NEXT,
    **given: Any,
) -> dict[str, Any]:  # fmt: skip
    """One mutation of the console, by its document."""
    document = (CONSOLE / f"{name}.graphql").read_text()
    given.setdefault("requestId", str(uuid4()))
    context = as_staff(db, staff_id, role, now=now)
    found = await execute(document, {"input": given}, context=context)
    [answer] = found.values()
    return answer  # type: ignore[no-any-return]


async def show(
    db: Database, year: int | None = None, *, now: datetime = NEXT, role: str = "AUDITOR",
    **given: Any,
) -> dict[str, Any]:  # fmt: skip
    given = {"productCode": "chronic-care", "year": year, **given}
    context = as_staff(db, uuid4(), role, now=now)
    return (await execute(SHOW, given, context=context))["portfolio"]  # type: ignore[no-any-return]


@pytest.fixture
async def people(db: Database) -> tuple[UUID, UUID]:
    return await make_staff(db, "ACTUARY"), await make_staff(db, "ADMIN")


async def proposed(db: Database, staff_id: UUID, **changes: Any) -> str:
    answer = await ask(db, "RecordPortfolioYear", staff_id, **{**FIGURES, **changes})
    assert answer["__typename"] == "PortfolioProposalPayload", answer
    return str(answer["proposal"]["id"])


async def confirmed(db: Database, people: tuple[UUID, UUID], *, now: datetime = NEXT,
                    **changes: Any) -> None:  # fmt: skip
    id = await proposed(db, people[0], **changes)
    answer = await ask(db, "DecidePortfolioYear", people[1], now=now, proposalId=id, confirm=True)
    assert answer["proposal"]["confirmed"] is True, answer


async def assert_refused(db: Database, code: str, field: str | None, name: str, staff_id: UUID,
                         **given: Any) -> None:  # fmt: skip
    before = await contents(db)
    answer = await ask(db, name, staff_id, **given)
    assert (answer.get("code"), answer.get("field")) == (code, field), answer
    assert await contents(db) == before


async def by_owner(url: str, statement: str) -> None:
    import asyncpg

    owner = await asyncpg.connect(url)
    try:
        await owner.execute(statement)
    finally:
        await owner.close()


# Arithmetic


def test_the_planned_mix_gives_1_02():
    multipliers = {Tier.LOW: Decimal("0.8"), Tier.MEDIUM: Decimal(1), Tier.HIGH: Decimal("1.2")}
    planned = {Tier.LOW: Decimal(20), Tier.MEDIUM: Decimal(50), Tier.HIGH: Decimal(30)}
    assert portfolio_rules.mean_multiplier(multipliers, planned) == Decimal("1.020")
    assert portfolio_rules.mean_multiplier(multipliers, {}) is None


@pytest.mark.parametrize(
    ("cost", "ratio", "change"),
    [(121, "121.00", 10), (120, "120.00", 0), (80, "80.00", 0), (79, "79.00", -10)],
)
def test_prm_14_is_strictly_above_and_below(cost: int, ratio: str, change: int):
    percent = portfolio_rules.loss_ratio(100, claims=cost - 10, operating_cost=10)
    assert percent == Decimal(ratio)
    [rule] = [it for it in CARE.rules if it.kind == "loss_ratio"]
    assert portfolio_rules.change_of_table(percent, rule) == change


def test_a_loss_is_divided_without_rest():
    percents = [Decimal(20), Decimal(60), Decimal(20)]
    assert portfolio_rules.divide(100_000_000, percents) == [20_000_000, 60_000_000, 20_000_000]
    for total in (0, 1, 2, 3, 7, 99, 1_000_001):
        parts = portfolio_rules.divide(total, percents)
        assert sum(parts) == total and min(parts) >= 0
        assert parts[0] == total * 20 // 100, "what is left over goes to the largest"
    assert portfolio_rules.divide(1, [Decimal(50), Decimal(50)]) == [1, 0]


def test_cession_before_excess():
    found = portfolio_rules.burden(
        1000, claims=1500, ceded_tier_claims=501, operating_cost=200, cession_percent=Decimal(40)
    )
    assert (found.ceded, found.retained, found.excess) == (200, 1300, 500)
    assert found.ceded + found.retained == 1500
    calm = portfolio_rules.burden(
        1000, claims=500, ceded_tier_claims=0, operating_cost=200, cession_percent=Decimal(0)
    )
    assert (calm.ceded, calm.retained, calm.excess) == (0, 500, 0)


@pytest.mark.parametrize(
    ("percent", "cap", "spent", "expected"),
    [
        ("12", "15", 120, []),
        ("12", "15", 121, [PortfolioWarning.SPENT_ABOVE_RESERVE]),
        ("12", "15", 151, [PortfolioWarning.SPENT_ABOVE_CAP, PortfolioWarning.SPENT_ABOVE_RESERVE]),
        ("9", "15", 0, [PortfolioWarning.RESERVE_OUTSIDE_RANGE]),
        ("14", "13", 0, [PortfolioWarning.RESERVE_ABOVE_CAP]),
    ],
)
def test_the_reserve_is_warned_of(percent: str, cap: str, spent: int, expected: list[Any]):
    words = {"zh": "x", "en": "x"}
    reserve = Reserve.model_validate(
        {"label": words, "explanation": words, "percent": percent, "cap_percent": cap}
    )
    assert portfolio_rules.of_reserve(reserve, premium=1000, spent=spent) == expected


def test_small_cells_are_left_out_with_one_more_that_would_tell():
    assert portfolio_rules.published({"a": 9, "b": 10, "c": 40, "d": 0}) == {
        "a": None, "b": None, "c": 40, "d": 0,
    }  # fmt: skip
    assert portfolio_rules.published({"a": 9, "b": 1, "c": 40}) == {"a": None, "b": None, "c": 40}
    assert portfolio_rules.published({"a": 10, "b": 11}) == {"a": 10, "b": 11}
    assert portfolio_rules.published({"a": 3}) == {"a": None}


# What was earned


async def test_the_years_of_a_term_sum_to_what_it_costs(db: Database, owner_url: str):
    member = await insured(db, tier="HIGH", region="CN-33")
    [(total,)] = await rows(db, "select total from premiums")
    assert total == 396000
    years = [await earned(db, year) for year in (2025, 2026, 2027, 2028)]
    assert years[0] == years[3] == 0 and sum(years) == total
    assert years[1] == total * 306 // 365
    await by_owner(owner_url, "update policy_terms set total = 99999")
    assert sum([await earned(db, year) for year in (2026, 2027)]) == total, "the premium counts"
    assert member


async def test_what_changes_in_a_term_is_earned_from_then_on(db: Database, owner_url: str):
    await insured(db)
    await by_owner(
        owner_url,
        """insert into premiums select member_id, gen_random_uuid(), policy_id, 2, 'MID_TERM',
           product_version_id, as_of, term_starts_on, '2026-07-01', base, rated_base, 0, currency,
           adjustment_percent, cover_uplift_percent, lines, carry, facts, facts_hash
           from premiums""",
    )
    assert (await earned(db, 2026), await earned(db, 2027)) == (300000 * 122 // 365, 0)


async def test_a_cover_earns_until_it_ends(db: Database):
    await insured(db)
    async with db.transaction() as session:
        sql = "update policies set state = 'LAPSED', ended_on = '2026-03-31'"
        await session.execute(text(sql))
    assert (await earned(db, 2026), await earned(db, 2027)) == (300000 * 31 // 365, 0)


async def earned(db: Database, year: int) -> int:
    async with db.read() as reading:
        found = await portfolio_reads.earned(reading, "chronic-care", "CNY", year=year)
    return found.premium


# Recorded and confirmed


async def test_figures_count_once_another_person_confirms(db: Database, people):
    await insured(db, tier="HIGH")
    id = await proposed(db, people[0])
    waiting = await show(db, 2026)
    premium = waiting["proposal"]["premium"]["amount"]
    assert premium == f"{360000 * 306 // 365 / 100:.2f}"
    assert waiting["proposal"]["isMine"] is False and waiting["confirmed"] is None
    assert waiting["warnings"] == ["TIER_MULTIPLIER_DRIFTS", "LOSS_RATIO_MISSING"]
    await assert_refused(db, "SECOND_PERSON_NEEDED", "proposalId", "DecidePortfolioYear", people[0],
                         proposalId=id, confirm=True)  # fmt: skip
    answer = await ask(db, "DecidePortfolioYear", people[1], "ADMIN", proposalId=id, confirm=True)
    assert answer["proposal"]["confirmed"] is True
    found = await show(db)
    assert found["year"] == 2026 and found["proposal"] is None
    expected = (Decimal(240000) / Decimal(premium)).quantize(Decimal("0.01"))
    assert found["confirmed"]["lossRatioPercent"] == str(expected)
    assert found["confirmed"]["nextYearPercent"] == "-10"
    assert found["warnings"] == ["TIER_MULTIPLIER_DRIFTS"]
    assert found["years"] == [found["confirmed"]]
    await assert_refused(db, "ALREADY_DECIDED", "proposalId", "DecidePortfolioYear", people[1],
                         proposalId=id, confirm=False)  # fmt: skip


async def test_anybody_drops_a_proposal_and_another_may_be_made(db: Database, people):
    await insured(db)
    first = await proposed(db, people[0])
    await assert_refused(db, "ALREADY_DECIDED", "year", "RecordPortfolioYear", people[1], **FIGURES)
    answer = await ask(db, "DecidePortfolioYear", people[0], proposalId=first, confirm=False)
    assert answer["proposal"]["confirmed"] is False
    await confirmed(db, people, claims="1000.00")
    await confirmed(db, people, claims="1100.00")
    found = await show(db)
    assert (found["confirmed"]["revision"], found["confirmed"]["claims"]["amount"]) == (
        2,
        "1100.00",
    )
    assert len(found["years"]) == 1


async def test_operating_cost_left_out_is_the_products_percentage(db: Database, people):
    await insured(db)
    await proposed(db, people[0], operatingCost=None)
    [(premium, cost)] = await rows(db, "select premium, operating_cost from portfolio_proposals")
    assert cost == portfolio_rules.share(premium, Decimal(18))


async def test_a_year_that_premiums_rest_on_stays_as_it_is(db: Database, people):
    member = await insured(db, tier="MEDIUM")
    waiting = await proposed(db, people[0])
    await ask(db, "DecidePortfolioYear", people[1], proposalId=waiting, confirm=True)
    late = await proposed(db, people[0], claims="2100.00")
    await year_closed(db, member)
    assert await renew(db) == 1
    await assert_refused(db, "STATE_INVALID", "year", "DecidePortfolioYear", people[1],
                         proposalId=late, confirm=True)  # fmt: skip
    dropped = await ask(db, "DecidePortfolioYear", people[1], proposalId=late, confirm=False)
    assert dropped["__typename"] == "PortfolioProposalPayload"
    await assert_refused(db, "STATE_INVALID", "year", "RecordPortfolioYear", people[0], **FIGURES)


@pytest.mark.parametrize(
    ("claims", "total"), [("2000.00", 300000), ("1600.00", 270000), ("2700.00", 330000)]
)
async def test_next_years_table_moves_by_ten_percent(db: Database, people, claims, total):
    """PRM-14, from the figures of two people to a premium, and to the same in a back-test."""
    member = await insured(db, tier="MEDIUM")
    await confirmed(db, people, claims=claims)
    await year_closed(db, member)
    assert await renew(db) == 1
    assert await rows(db, "select total from premiums order by number") == [(300000,), (total,)]
    assert (await recompute.recompute(db)).differences == []
    period = Period("chronic-care", START, date(2027, 12, 31))
    draft = CARE.model_copy(update={"code": "a-draft"})
    *_, found = [it async for it in backtest.run(db, draft, period)]
    cell = found.tally.cells["year", "2027"]
    assert (cell.charged, cell.draft) == (total, total)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("productCode", "nothing", "NOT_FOUND"),
        ("year", 2027, "IN_FUTURE"),
        ("year", 1999, "VALUE_OUT_OF_RANGE"),
        ("year", 2020, "STATE_INVALID"),
        ("claims", "-1", "VALUE_OUT_OF_RANGE"),
        ("claims", "1.001", "VALUE_OUT_OF_RANGE"),
        ("claims", "100000000000000", "VALUE_OUT_OF_RANGE"),
        ("cededTierClaims", "2000.01", "VALUE_OUT_OF_RANGE"),
        ("cededTierClaims", None, "VALUE_OUT_OF_RANGE"),
        ("operatingCost", "-0.01", "VALUE_OUT_OF_RANGE"),
        ("reference", " ", "VALUE_OUT_OF_RANGE"),
        ("reference", "x" * 61, "VALUE_OUT_OF_RANGE"),
        ("reference", "a\nb", "VALUE_OUT_OF_RANGE"),
    ],
)
async def test_figures_that_cannot_be_are_refused(db: Database, people, field, value, code):
    await insured(db)
    given = {**FIGURES, field: value}
    await assert_refused(db, code, field, "RecordPortfolioYear", people[0], **given)


async def test_a_product_without_cession_takes_no_ceded_claims(db: Database, people):
    await insured(db, "starter")
    given = {**FIGURES, "productCode": "starter"}
    await assert_refused(db, "VALUE_OUT_OF_RANGE", "cededTierClaims", "RecordPortfolioYear",
                         people[0], **given)  # fmt: skip
    without = {**given, "cededTierClaims": None, "operatingCost": None}
    await assert_refused(db, "VALUE_OUT_OF_RANGE", "operatingCost", "RecordPortfolioYear",
                         people[0], **without)  # fmt: skip
    spent = {**SPENDING, "productCode": "starter"}
    await assert_refused(db, "VALUE_OUT_OF_RANGE", "productCode", "BookPreventionSpending",
                         people[0], **spent)  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [("spentOn", "1999-12-31"), ("spentOn", "2027-01-16"), ("amount", "0"), ("amount", "-5"),
     ("amount", "0.001"), ("reference", "")],
)  # fmt: skip
async def test_spendings_that_cannot_be_are_refused(db: Database, people, field, value):
    given = {**SPENDING, field: value}
    await assert_refused(db, "VALUE_OUT_OF_RANGE", field, "BookPreventionSpending", people[0],
                         **given)  # fmt: skip


async def test_spending_is_booked_and_taken_back_once(db: Database, people):
    await insured(db)
    booked = await ask(db, "BookPreventionSpending", people[0], **{**SPENDING, "amount": "400.00"})
    await ask(db, "BookPreventionSpending", people[0],
              now=NEXT + timedelta(minutes=1),
              **{**SPENDING, "purpose": "EARLY_INTERVENTION", "amount": "10.00"})  # fmt: skip
    found = await show(db, 2026)
    reserve = found["reserve"]
    premium = 300000 * 306 // 365
    assert (
        reserve["setAside"]["amount"] == f"{portfolio_rules.share(premium, Decimal(12)) / 100:.2f}"
    )
    assert reserve["spent"]["amount"] == "410.00" and reserve["left"]["amount"].startswith("-")
    assert [it["amount"]["amount"] for it in reserve["byPurpose"]] == ["400.00", "10.00"]
    assert found["warnings"] == ["SPENT_ABOVE_CAP", "SPENT_ABOVE_RESERVE", "LOSS_RATIO_MISSING"]
    id = booked["spending"]["id"]
    taken = {"spendingId": id, "reference": "INV-1 twice"}
    later = NEXT + timedelta(hours=1)
    back = await ask(db, "ReversePreventionSpending", people[1], now=later, **taken)
    assert back["spending"]["amount"]["amount"] == "-400.00"
    assert back["spending"]["reversesId"] == id
    await assert_refused(db, "ALREADY_DECIDED", "spendingId", "ReversePreventionSpending",
                         people[1], **taken)  # fmt: skip
    await assert_refused(db, "NOT_FOUND", "spendingId", "ReversePreventionSpending", people[1],
                         **{**taken, "spendingId": back["spending"]["id"]})  # fmt: skip
    found = await show(db, 2026, first=2)
    assert found["reserve"]["spent"]["amount"] == "10.00"
    page = found["spendings"]
    assert page["pageInfo"]["hasNextPage"] is True
    last = (await show(db, 2026, after=page["pageInfo"]["endCursor"]))["spendings"]
    nodes = [it["node"] for it in [*page["edges"], *last["edges"]]]
    assert [(it["amount"]["amount"], it["isReversed"]) for it in nodes] == [
        ("-400.00", False), ("10.00", False), ("400.00", True),
    ]  # fmt: skip


# Rivals, retries, rights


async def test_the_same_request_eight_times_counts_once(db: Database, people):
    await insured(db)
    for name, given, table in (
        ("RecordPortfolioYear", FIGURES, "portfolio_proposals"),
        ("BookPreventionSpending", SPENDING, "prevention_spendings"),
    ):
        given = {**given, "requestId": str(uuid4())}
        answers = await asyncio.gather(*(ask(db, name, people[0], **given) for _ in range(8)))
        assert sorted(it["replayed"] for it in answers) == [False] + [True] * 7
        assert await rows(db, f"select count(*) from {table}") == [(1,)]
        other = await ask(db, name, people[0], **{**given, "reference": "other"})
        assert other["code"] == "REQUEST_REUSED"
    [(id,)] = await rows(db, "select id from portfolio_proposals")
    waiting = (await show(db, 2026))["proposal"]["id"]
    given = {"requestId": str(uuid4()), "proposalId": waiting, "confirm": True}
    answers = await asyncio.gather(
        *(ask(db, "DecidePortfolioYear", people[1], **given) for _ in range(8))
    )
    assert sorted(it["replayed"] for it in answers) == [False] + [True] * 7
    assert await rows(db, "select count(*), min(proposal_id::text) from loss_ratios") == [
        (1, str(id))
    ]
    spent = (await show(db, 2026))["spendings"]["edges"][0]["node"]["id"]
    given = {"requestId": str(uuid4()), "spendingId": spent, "reference": "back"}
    answers = await asyncio.gather(
        *(ask(db, "ReversePreventionSpending", people[1], **given) for _ in range(8))
    )
    assert sorted(it["replayed"] for it in answers) == [False] + [True] * 7
    assert await rows(db, "select sum(amount)::bigint from prevention_spendings") == [(0,)]


async def test_of_rivals_one_wins(db: Database, people):
    await insured(db)

    async def rivals(call: Callable[[int], Any], code: str) -> None:
        answers = await asyncio.gather(*(call(place) for place in range(6)))
        assert sorted(it.get("code", "") for it in answers) == [""] + [code] * 5

    await rivals(
        lambda place: ask(db, "RecordPortfolioYear", people[place % 2],
                          **{**FIGURES, "claims": str(1000 + place)}),
        "ALREADY_DECIDED",
    )  # fmt: skip
    [(by,)] = await rows(db, "select proposed_by from portfolio_proposals")
    other = next(it for it in people if it != by)
    waiting = (await show(db, 2026))["proposal"]["id"]
    await rivals(
        lambda place: ask(db, "DecidePortfolioYear", other, proposalId=waiting, confirm=True),
        "ALREADY_DECIDED",
    )
    booked = await ask(db, "BookPreventionSpending", people[0], **SPENDING)
    await rivals(
        lambda place: ask(db, "ReversePreventionSpending", people[place % 2],
                          spendingId=booked["spending"]["id"], reference="back"),
        "ALREADY_DECIDED",
    )  # fmt: skip


async def test_who_may_do_what(db: Database, people):
    member = await insured(db)
    id = await proposed(db, people[0])
    inputs = {
        "RecordPortfolioYear": FIGURES,
        "DecidePortfolioYear": {"proposalId": id, "confirm": True},
        "BookPreventionSpending": SPENDING,
        "ReversePreventionSpending": {"spendingId": id, "reference": "x"},
    }
    before = await contents(db)
    for name, given in inputs.items():
        document = (CONSOLE / f"{name}.graphql").read_text()
        sent = {"input": {**given, "requestId": str(uuid4())}}
        for role in ("AUDITOR", "HEALTH_MANAGER", "CAMPAIGN_MANAGER", "CLINIC"):
            context = as_staff(db, people[1], role, now=NEXT)
            assert await refused(document, sent, context=context) == "FORBIDDEN"
        assert await refused(document, sent, context=as_member(db, member)) == "FORBIDDEN"
    for role in ("HEALTH_MANAGER", "CAMPAIGN_MANAGER", "CLINIC"):
        context = as_staff(db, people[1], role, now=NEXT)
        asked = {"productCode": "chronic-care"}
        assert await refused(SHOW, asked, context=context) == "FORBIDDEN"
    assert await refused(SHOW, asked, context=as_member(db, member)) == "FORBIDDEN"
    assert await contents(db) == before


async def test_what_is_confirmed_cannot_be_rewritten(db: Database, people):
    await insured(db)
    await confirmed(db, people)
    await ask(db, "BookPreventionSpending", people[0], **SPENDING)
    for table in ("loss_ratios", "prevention_spendings"):
        for statement in (f"update {table} set claims = 0", f"delete from {table}"):
            with pytest.raises(DBAPIError, match=r"permission denied|does not exist"):
                async with db.transaction() as session:
                    await session.execute(text(statement))


# Shown


async def test_burden_reserve_and_mix_add_up(db: Database, people):
    for tier, count in (("LOW", 2), ("MEDIUM", 5), ("HIGH", 3)):
        for _ in range(count):
            await insured(db, tier=tier)
    await insured(db, tier=None)
    await confirmed(db, people, claims="40000.00", cededTierClaims="10000.01", operatingCost="0.02")
    found = await show(db)
    mix = found["tierMix"]
    assert Decimal(mix["plannedMultiplier"]) == Decimal(mix["actualMultiplier"]) == Decimal("1.02")
    assert Decimal(mix["drift"]) == 0
    assert (mix["low"], mix["medium"], mix["high"], mix["withoutTier"]) == (2, 5, 3, 1)
    burden = found["burden"]
    amounts = {
        name: Decimal(burden[name]["amount"]) for name in ("ceded", "retained", "excessLoss")
    }
    assert amounts["ceded"] == Decimal("4000.00")
    assert amounts["ceded"] + amounts["retained"] == Decimal("40000.00")
    premium = Decimal(found["confirmed"]["premium"]["amount"])
    assert amounts["excessLoss"] == Decimal("36000.00") + Decimal("0.02") - premium > 0
    shares = [Decimal(it["amount"]["amount"]) for it in burden["shares"]]
    assert sum(shares) == amounts["excessLoss"]
    assert [it["party"] for it in burden["shares"]] == ["government", "insurer", "reinsurer"]
    assert found["confirmed"]["nextYearPercent"] == "10"
    assert found["members"] == 11 and found["warnings"] == []


async def test_a_year_that_is_not_over_is_shown_until_today(db: Database):
    await insured(db)
    now = BEGIN + timedelta(days=72)
    found = await show(db, 2026, now=now)
    assert found["premium"]["amount"] == "600.00" and found["confirmed"] is None
    assert "LOSS_RATIO_MISSING" not in found["warnings"]
    context = as_staff(db, uuid4(), "ACTUARY", now=now)
    for asked in ({"productCode": "chronic-care", "year": 2027}, {"productCode": "nothing"}):
        assert await refused(SHOW, asked, context=context) == "VALUE_OUT_OF_RANGE"


async def test_the_number_of_statements_is_constant(db: Database, people):
    async def statements() -> int:
        with StatementCount(db) as count:
            await show(db, 2026)
        return len(count)

    await insured(db)
    one = await statements()
    await confirmed(db, people)
    for place in range(5):
        await insured(db)
        await ask(db, "BookPreventionSpending", people[0], **{**SPENDING, "amount": str(place + 1)})
    assert await statements() == one
    assert date(2026, 3, 1) == START
