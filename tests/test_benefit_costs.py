"""Costs of drugs accumulate to the cent, up to the limit of the case (COV-2)."""

import asyncio
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as some
from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.premiums import benefit_rules
from tests.factories import as_member, as_staff, contents, execute, make_staff, operation, refused
from tests.insured import (
    LATER,
    RECORD,
    assert_accumulated,
    cases,
    look,
    make_case,
    make_insured,
    make_manager,
    measured,
    record_cost,
    reverse_cost,
)
from tests.test_mild_conditions import withdraw

LAST = date(2026, 7, 10)


async def make_all(db: Database) -> tuple[UUID, UUID, UUID]:
    """An employee, a member and their open case."""
    member_id, case_id = await make_case(db)
    return await make_manager(db, member_id), member_id, case_id


async def used(db: Database, member_id: UUID) -> int:
    [case] = await cases(db, member_id)
    found: int = case.used
    return found


async def movements(db: Database) -> list[tuple[str, int]]:
    sql = text("select kind, amount from benefit_movements order by at, id")
    async with db.read() as connection:
        return [tuple(it) for it in (await connection.execute(sql)).all()]


async def test_half_is_paid_as_long_as_the_limit_lasts(db: Database) -> None:
    staff, member, case = await make_all(db)
    paid = []
    for amount in ("1200.00", "0.01", "2798.50", "500.00"):
        done = await record_cost(db, staff, member, case, amount)
        paid.append((done["cost"]["paid"]["amount"], done["case"]["remaining"]["amount"]))
    assert paid == [
        ("600.00", "1400.00"),
        ("0.01", "1399.99"),  # half a cent, rounded up once
        ("1399.25", "0.74"),
        ("0.74", "0.00"),
    ]
    nothing = await record_cost(db, staff, member, case, "80.00")
    assert nothing["cost"]["paid"]["amount"] == "0.00"
    assert "the limit of 2,000.00 CNY is reached" in nothing["cost"]["explanation"]
    assert await used(db, member) == 200_000
    assert len(await movements(db)) == 4, "what pays nothing moves nothing"
    await assert_accumulated(db)


@pytest.mark.parametrize(
    ("cost", "fault"),
    [
        ({"drug": "C08CA01"}, "DRUG_NOT_COVERED"),
        ({"drug": "A09AA02"}, "DRUG_NOT_COVERED"),
        ({"bought_on": date(2026, 4, 10)}, "OUTSIDE_PERIOD"),
        ({"bought_on": LAST + timedelta(days=1), "now": LATER + timedelta(days=100)},
         "OUTSIDE_PERIOD"),
    ],
)  # fmt: skip
async def test_what_the_benefit_does_not_pay_is_kept_with_the_reason(
    db: Database, cost: dict[str, Any], fault: str
) -> None:
    staff, member, case = await make_all(db)
    done = await record_cost(db, staff, member, case, **cost)
    assert (done["cost"]["fault"], done["cost"]["paid"]["amount"]) == (fault, "0.00")
    assert done["cost"]["explanation"].startswith("Nothing is paid")
    assert await used(db, member) == 0
    await assert_accumulated(db)


async def test_what_was_bought_in_time_is_paid_however_late_it_comes(db: Database) -> None:
    staff, member, case = await make_all(db)
    late = LATER + timedelta(days=120)
    done = await record_cost(db, staff, member, case, "10.00", bought_on=LAST, now=late)
    assert done["cost"]["paid"]["amount"] == "5.00"


@pytest.mark.parametrize(
    ("cost", "code", "field"),
    [
        ({"amount": "0"}, "VALUE_OUT_OF_RANGE", "amount"),
        ({"amount": "-5"}, "VALUE_OUT_OF_RANGE", "amount"),
        ({"amount": "1.005"}, "VALUE_OUT_OF_RANGE", "amount"),
        ({"amount": "10000000.01"}, "VALUE_OUT_OF_RANGE", "amount"),
        ({"drug": "metformin"}, "CODE_INVALID", "drug"),
        ({"bought_on": date(2026, 4, 12)}, "IN_FUTURE", "boughtOn"),
        ({"note": "  "}, "VALUE_OUT_OF_RANGE", "note"),
        ({"note": "x" * 501}, "VALUE_OUT_OF_RANGE", "note"),
    ],
)
async def test_bad_input_is_refused_and_moves_nothing(
    db: Database, cost: dict[str, Any], code: str, field: str
) -> None:
    staff, member, case = await make_all(db)
    before = await contents(db)
    done = await record_cost(db, staff, member, case, **cost)
    assert (done["code"], done["field"]) == (code, field)
    assert await contents(db) == before | {"audit_reads": (await contents(db))["audit_reads"]}


async def test_without_consent_none_is_recorded_and_one_can_be_reversed(db: Database) -> None:
    staff, member, case = await make_all(db)
    done = await record_cost(db, staff, member, case, "10.00")
    await withdraw(db, member)
    tables = ("mild_condition_cases", "benefit_costs", "benefit_movements", "requests")
    before = await contents(db, *tables)
    assert (await record_cost(db, staff, member, case))["code"] == "CONSENT_MISSING"
    assert await contents(db, *tables) == before
    back = await reverse_cost(db, staff, done["cost"]["id"])
    assert back["cost"]["paid"]["amount"] == "0.00"


async def test_a_case_that_is_not_covered_takes_none(db: Database) -> None:
    member = await make_insured(db)
    early = LATER - timedelta(days=20)
    await measured(db, member, at=early, glucose="7.4")
    await look(db, now=early)
    [case] = await cases(db, member)
    staff = await make_manager(db, member)
    assert (await record_cost(db, staff, member, case.id))["code"] == "STATE_INVALID"
    assert (await contents(db, "benefit_costs"))["benefit_costs"] == []


async def test_only_an_employee_of_the_member_records(db: Database) -> None:
    staff, member, case = await make_all(db)
    stranger = await make_staff(db)
    assert (await record_cost(db, stranger, member, case))["code"] == "NOT_FOUND"
    assert (await record_cost(db, staff, member, uuid4()))["code"] == "NOT_FOUND"
    sent = {
        "requestId": str(uuid4()), "caseId": "x", "drug": "A10BA02", "boughtOn": "2026-04-11",
        "amount": "1.00",
    }  # fmt: skip
    found = await execute(RECORD, {"input": sent}, context=as_member(db, member, now=LATER))
    assert found["recordBenefitCost"]["code"] == "NOT_FOUND"
    auditor = as_staff(db, staff, "AUDITOR", now=LATER)
    done = await record_cost(db, staff, member, case)
    sent["caseId"] = done["case"]["id"]
    assert await refused(RECORD, {"input": sent}, context=auditor) == "FORBIDDEN"


async def test_the_same_cost_eight_times_at_once_is_one(db: Database) -> None:
    staff, member, case = await make_all(db)
    request_id = uuid4()
    done = await asyncio.gather(
        *(record_cost(db, staff, member, case, "9.99", request_id=request_id) for _ in range(8))
    )
    assert Counter(it["replayed"] for it in done) == {False: 1, True: 7}
    assert len({it["cost"]["id"] for it in done}) == 1
    assert await used(db, member) == 500
    again = await record_cost(db, staff, member, case, "9.98", request_id=request_id)
    assert again["code"] == "REQUEST_REUSED"
    await assert_accumulated(db)


async def test_rivals_for_the_last_cent_share_what_is_left(db: Database) -> None:
    staff, member, case = await make_all(db)
    await record_cost(db, staff, member, case, "3999.98")
    done = await asyncio.gather(*(record_cost(db, staff, member, case, "50.00") for _ in range(6)))
    assert Counter(it["cost"]["paid"]["amount"] for it in done) == {"0.01": 1, "0.00": 5}
    assert await used(db, member) == 200_000
    await assert_accumulated(db)


async def test_a_reversal_leaves_its_room_to_those_that_had_reached_the_limit(
    db: Database,
) -> None:
    staff, member, case = await make_all(db)
    first = await record_cost(db, staff, member, case, "3000.00")
    second = await record_cost(db, staff, member, case, "2000.00")
    third = await record_cost(db, staff, member, case, "4000.00")
    assert [it["cost"]["paid"]["amount"] for it in (first, second, third)] == [
        "1500.00", "500.00", "0.00",
    ]  # fmt: skip
    back = await reverse_cost(db, staff, first["cost"]["id"])
    assert back["cost"]["reversalReason"] == "Entered twice."
    assert back["case"]["used"]["amount"] == "2000.00"
    assert sorted(await movements(db)) == sorted(
        [("PAID", 150_000), ("PAID", 50_000), ("REVERSED", -150_000), ("RESTATED", 50_000),
         ("RESTATED", 100_000)]
    )  # fmt: skip
    await assert_accumulated(db)
    assert (await reverse_cost(db, staff, first["cost"]["id"]))["code"] == "STATE_INVALID"


async def test_reversed_eight_times_at_once_it_goes_back_once(db: Database) -> None:
    staff, member, case = await make_all(db)
    done = await record_cost(db, staff, member, case, "100.00")
    cost, request_id = done["cost"]["id"], uuid4()
    same = await asyncio.gather(
        *(reverse_cost(db, staff, cost, request_id=request_id) for _ in range(4)),
        *(reverse_cost(db, staff, cost) for _ in range(4)),
    )
    outcomes = Counter(it.get("code", "done") for it in same)
    assert outcomes in ({"done": 4, "STATE_INVALID": 4}, {"done": 1, "STATE_INVALID": 7})
    assert sorted(await movements(db)) == [("PAID", 5_000), ("REVERSED", -5_000)]
    await assert_accumulated(db)


async def test_refused_reversals_move_nothing(db: Database) -> None:
    staff, member, case = await make_all(db)
    cost = (await record_cost(db, staff, member, case))["cost"]["id"]
    stranger = await make_staff(db)
    tables = ("mild_condition_cases", "benefit_costs", "benefit_movements", "requests")
    before = await contents(db, *tables)
    assert (await reverse_cost(db, staff, cost, reason=" "))["field"] == "reason"
    assert (await reverse_cost(db, stranger, cost))["code"] == "NOT_FOUND"
    assert (await reverse_cost(db, staff, "nothing"))["code"] == "NOT_FOUND"
    assert await contents(db, *tables) == before


async def test_a_case_holds_so_many_costs(db: Database, monkeypatch: Any) -> None:
    monkeypatch.setattr(benefit_rules, "COSTS_MAX", 2)
    staff, member, case = await make_all(db)
    done = [await record_cost(db, staff, member, case, "1.00") for _ in range(3)]
    assert [it.get("code") for it in done] == [None, None, "LIMIT_REACHED"]


async def test_costs_are_paged_and_their_statements_do_not_grow(db: Database) -> None:
    staff, member, case = await make_all(db)
    id = encode(Kind.MILD_CONDITION_CASE, member, case)

    async def page(**sent: Any) -> Any:
        context = as_member(db, member, now=LATER)
        found = await execute(operation("BenefitCase"), {"id": id, **sent}, context=context)
        return found["node"]["costs"]

    await record_cost(db, staff, member, case, "1.00")
    with StatementCount(db) as few:
        await page()
    for amount in ("2.00", "3.00"):
        await record_cost(db, staff, member, case, amount)
    with StatementCount(db) as more:
        await page()
    assert len(few) == len(more) <= 3
    first = await page(first=2)
    assert [it["node"]["amount"]["amount"] for it in first["edges"]] == ["3.00", "2.00"]
    assert first["pageInfo"]["hasNextPage"]
    second = await page(first=2, after=first["pageInfo"]["endCursor"])
    assert [it["node"]["amount"]["amount"] for it in second["edges"]] == ["1.00"]
    assert not second["pageInfo"]["hasNextPage"]


COSTS = some.lists(some.tuples(some.integers(1, 500_000), some.booleans()), max_size=12)


@given(costs=COSTS, share=some.integers(1, 100), limit=some.integers(1, 300_000))
def test_settling_never_exceeds_the_limit_and_wastes_none(
    costs: list[tuple[int, bool]], share: int, limit: int
) -> None:
    given_costs = [benefit_rules.Cost(*it) for it in costs]
    paid = benefit_rules.settle(given_costs, share_percent=Decimal(share), limit=limit)
    full = [
        (it.amount * share * 2 + 100) // 200 if it.pays else 0 for it in given_costs
    ]  # half up, in whole numbers
    assert all(0 <= one <= most for one, most in zip(paid, full, strict=True))
    assert sum(paid) == min(limit, sum(full))
    # The earlier one is served first: nobody is short while a later one gets something.
    short = [index for index, (one, most) in enumerate(zip(paid, full, strict=True)) if one < most]
    assert not short or all(one == 0 for one in paid[short[0] + 1 :])
