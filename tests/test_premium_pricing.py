"""Terms are priced by the engine and kept with what they rest on; any past one again."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.db import Database, StatementCount
from app.premiums import backfill, catalogue, jobs, product, recalculating, recompute
from app.premiums.product import PRODUCTS
from tests.factories import consent
from tests.premium_world import (
    BEGIN,
    END,
    START,
    assessed,
    closed,
    diagnosed,
    insured,
    renew,
    two_readings,
    year_closed,
)

LAST = date(2027, 2, 1)


async def premiums(db: Database, member: UUID) -> list:
    async with db.read() as reading:
        statement = text("select * from premiums where member_id = :member order by number")
        return list((await reading.execute(statement, {"member": member})).all())


async def verified(db: Database, member: UUID | None = None) -> int:
    """Every premium recomputes, from what was kept and from what was known; how many."""
    found = await recompute.recompute(db, member_id=member)
    assert [str(it) for it in found.differences] == []
    return found.premiums


async def by_owner(owner_url: str, statement: str, *arguments: object) -> None:
    """What the application's role may not do."""
    owner = await asyncpg.connect(owner_url)
    try:
        await owner.execute(statement, *arguments)
    finally:
        await owner.close()


def amounts(row) -> dict[str, int]:
    return {line["rule"]: line["amount"] for line in row.lines}


async def test_enrolment_keeps_the_premium_with_its_facts(db: Database):
    member = await insured(db, tier="HIGH")
    [row] = await premiums(db, member)
    assert (row.number, row.moment, row.base, row.total) == (1, "ENROLMENT", 300000, 360000)
    assert (row.term_starts_on, row.effective_on, row.as_of) == (START, START, BEGIN)
    assert amounts(row) == {"PRM-1": 60000}
    [line] = row.lines
    assert line["evidence"][0]["kind"] == "Tier" and line["evidence"][0]["tier"] == "HIGH"
    assert row.facts["tier"]["tier"] == "HIGH"
    async with db.read() as reading:
        terms = (await reading.execute(text("select base, total from policy_terms"))).all()
    assert [tuple(it) for it in terms] == [(300000, 360000)]
    assert await verified(db, member) == 1


async def test_premiums_and_published_versions_can_only_be_added(db: Database):
    await insured(db)
    for statement in (
        "update premiums set total = 1",
        "delete from premiums",
        "update product_versions set version = '9.9.9'",
        "delete from product_versions",
    ):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with db.transaction() as session:
                await session.execute(text(statement))


async def test_better_words_for_a_line_are_no_other_premium(db: Database, owner_url: str):
    member = await insured(db, tier="HIGH")
    put = "update premiums set lines = jsonb_set(lines, $1, $2)"
    await by_owner(owner_url, put, ["0", "explanation"], '{"zh": "旧", "en": "old"}')
    assert await verified(db, member) == 1
    await by_owner(owner_url, put, ["0", "percent"], '"21"')
    found = await recompute.recompute(db, member_id=member)
    assert [list(it.paths) for it in found.differences] == [["lines.0.percent"]]


async def test_high_risk_that_falls_to_medium_is_base_next_year(db: Database):
    """PRM-2: 3600 and then 3000."""
    member = await insured(db, tier="HIGH")
    await assessed(db, member, "MEDIUM", at=BEGIN + timedelta(days=200))
    await year_closed(db, member)
    assert await renew(db) == 1
    first, second = await premiums(db, member)
    assert (first.total, second.total) == (360000, 300000)
    assert (second.number, second.moment, second.term_starts_on) == (2, "RENEWAL", date(2027, 3, 1))
    assert await verified(db) == 2


async def test_a_year_of_improvement_is_carried_on_until_it_worsens(db: Database):
    member = await insured(db, tier="MEDIUM")
    await two_readings(db, member, "SYSTOLIC_BP", "148", START)
    await two_readings(db, member, "SYSTOLIC_BP", "141", LAST)
    await year_closed(db, member)
    assert await renew(db) == 1
    _, second = await premiums(db, member)
    assert amounts(second)["PRM-6"] == -15000
    assert second.carry["PRM-6"] == "-5"

    await diagnosed(db, member, "I10", date(2027, 9, 1), at=datetime(2027, 9, 2, tzinfo=UTC))
    after = datetime(2028, 2, 29, 16, tzinfo=UTC)
    assert await renew(db, now=after) == 1
    *_, third = await premiums(db, member)
    # 51 by then and with hypertension: 3150 in the table (PRM-11).
    assert (third.base, amounts(third)["PRM-8"]) == (315000, 15750)
    assert (third.total, third.carry["PRM-6"]) == (330750, "0")
    assert await verified(db) == 3


async def test_withdrawn_consent_is_never_dearer(db: Database):
    member = await insured(db, tier="HIGH")
    await year_closed(db, member)
    async with db.transaction() as session:
        now = END - timedelta(days=1)
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2, now=now))
    await renew(db)
    *_, second = await premiums(db, member)
    assert (second.total, second.lines) == (300000, [])
    assert second.facts.get("tier") is None and second.facts["refuses_upload"]
    assert await verified(db) == 2


# Past premiums


async def test_what_is_not_as_it_was_stored_is_named_by_its_place(db: Database, owner_url: str):
    member = await insured(db, tier="HIGH")
    other = await insured(db, tier="LOW")
    await by_owner(owner_url, "update premiums set total = total - 1 where member_id = $1", member)
    found = await recompute.recompute(db)
    assert found.premiums == 2
    [difference] = found.differences
    assert (difference.member_id, difference.check, list(difference.paths)) == (
        member, "stored facts", ["total"],
    )  # fmt: skip
    assert (await recompute.recompute(db, member_id=other)).differences == []


async def test_a_fact_that_is_not_what_was_known_then_is_named(db: Database, owner_url: str):
    member = await insured(db, tier="HIGH")
    await by_owner(owner_url, "update risk_assessments set tier = 'LOW'")
    found = await recompute.recompute(db, member_id=member)
    assert [(it.check, list(it.paths)) for it in found.differences] == [
        ("known then", ["facts.tier.tier"])
    ]


async def test_publishing_a_version_changes_no_past_premium(db: Database):
    member = await insured(db, tier="HIGH")
    before = await premiums(db, member)
    care = product.read(PRODUCTS / "chronic-care-1.0.0.yaml")
    rows = tuple(it.model_copy(update={"amount": it.amount * 2}) for it in care.base_premium.by_age)
    dearer = care.model_copy(
        update={
            "version": "9.0.0",
            "base_premium": care.base_premium.model_copy(update={"by_age": rows}),
        }
    )
    async with db.transaction() as session:
        await catalogue.publish(session, dearer, now=BEGIN + timedelta(days=10))
    assert await premiums(db, member) == before
    assert await verified(db) == 1
    newcomer = await insured(db, tier="HIGH", at=BEGIN + timedelta(days=20))
    assert [it.base for it in await premiums(db, newcomer)] == [600000]
    with pytest.raises(catalogue.PublishedVersionChanged):
        async with db.transaction() as session:
            changed = dearer.model_copy(update={"version": "1.0.0"})
            await catalogue.publish(session, changed, now=BEGIN)
    assert await verified(db) == 2


async def test_terms_of_before_are_kept_with_what_was_paid(db: Database, owner_url: str):
    member = await insured(db, "starter", tier=None)
    await year_closed(db, member, "90")
    await renew(db)
    before = [(it.base, it.total, it.term_starts_on) for it in await premiums(db, member)]
    assert [total for _, total, _ in before] == [300000, 270000]
    # As the release before left them.
    await by_owner(owner_url, "delete from premiums")
    found = await asyncio.gather(*(backfill.keep_past(db, now=END) for _ in range(3)))
    assert (sum(it.kept for it in found), sum(it.unlike for it in found)) == (2, 0)
    again = await premiums(db, member)
    assert [(it.base, it.total, it.term_starts_on) for it in again] == before
    assert [it.number for it in again] == [1, 2]
    assert await backfill.keep_past(db, now=END) == backfill.Backfilled(0, 0)
    assert await verified(db) == 2


async def test_a_term_that_facts_do_not_explain_any_more_keeps_its_headline(
    db: Database, owner_url: str
):
    member = await insured(db, "starter", tier=None)
    await year_closed(db, member, "90")
    await renew(db)
    await by_owner(owner_url, "delete from premiums")
    await by_owner(owner_url, "update policy_terms set total = 285000 where total = 270000")
    assert await backfill.keep_past(db, now=END) == backfill.Backfilled(kept=1, unlike=1)
    assert [it.total for it in await premiums(db, member)] == [300000]


# Jobs


class Killed(BaseException):
    """As the end of a process: nobody goes on."""


async def test_renewals_cut_short_go_on_where_they_stopped(db: Database, monkeypatch):
    members = [await insured(db) for _ in range(5)]
    for member in members:
        await year_closed(db, member)
    monkeypatch.setattr(jobs, "BATCH", 2)
    real, calls = jobs.service.renew_due, 0

    async def dies_in_the_second_batch(session, **arguments):
        nonlocal calls
        renewed = await real(session, **arguments)
        calls += 1
        if calls == 2:
            raise Killed
        return renewed

    monkeypatch.setattr(jobs.service, "renew_due", dies_in_the_second_batch)
    with pytest.raises(Killed):
        await renew(db)
    assert sum([len(await premiums(db, it)) == 2 for it in members]) == 2
    rest = await asyncio.gather(*(renew(db) for _ in range(3)))
    assert sum(rest) == 3
    assert [len(await premiums(db, it)) for it in members] == [2] * 5
    assert await verified(db) == 10


async def broken_facts(db: Database, owner_url: str, member: UUID) -> None:
    """Nothing that follows can be gathered for them: what was stored cannot be read."""
    statement = """update premiums set facts = jsonb_set(facts, '{tier}',
        '{"tier": "UNKNOWN", "assessed_at": "never", "assessment_id": "x"}') where member_id = $1"""
    await by_owner(owner_url, statement, member)


async def test_one_member_who_cannot_be_renewed_stops_nobody(
    db: Database, owner_url: str, monkeypatch, caplog
):
    members = [await insured(db) for _ in range(4)]
    for member in members:
        await year_closed(db, member)
    broken = members[1]
    await broken_facts(db, owner_url, broken)
    monkeypatch.setattr(jobs, "BATCH", 2)
    with pytest.raises(ValueError):
        await renew(db)
    assert [len(await premiums(db, it)) for it in members] == [2, 1, 2, 2]
    assert "UNKNOWN" not in caplog.text and "never" not in caplog.text
    with pytest.raises(ValueError):
        await renew(db)
    assert [len(await premiums(db, it)) for it in members] == [2, 1, 2, 2]


async def test_one_member_who_cannot_be_recalculated_stops_nobody(
    db: Database, owner_url: str, monkeypatch
):
    members = [await insured(db) for _ in range(4)]
    for member in members:
        await year_closed(db, member)
    await broken_facts(db, owner_url, members[2])
    monkeypatch.setattr(recalculating, "BATCH", 3)
    april = datetime(2026, 4, 2, tzinfo=UTC)
    with pytest.raises(ValueError):
        await recalculating.recalculate(db, now=april)
    months = "select count(*) from premium_recalculations where month = '2026-03-01'"
    async with db.read() as reading:
        assert (await reading.execute(text(months))).scalar_one() == 3
    with pytest.raises(ValueError):  # theirs is tried again, nobody else's
        await recalculating.recalculate(db, now=april)
    await by_owner(owner_url, "update premiums set facts = jsonb_set(facts, '{tier}', 'null')")
    assert await recalculating.recalculate(db, now=april) == 1


async def test_one_projection_that_fails_stops_nobody_and_is_not_tried_each_minute(
    db: Database, owner_url: str
):
    members = [await insured(db) for _ in range(3)]
    await jobs.refresh_projections(db, now=BEGIN + timedelta(hours=1))
    await broken_facts(db, owner_url, members[0])
    later = BEGIN + timedelta(days=40)
    for member in members:
        await closed(db, member, START, "95", at=later)
    later += timedelta(hours=1)
    with pytest.raises(ValueError):
        await jobs.refresh_projections(db, now=later)
    async with db.read() as reading:
        rows = await reading.execute(
            text("select member_id from premium_projections where as_of = :now"), {"now": later}
        )
        assert set(rows.scalars()) == set(members[1:])
    assert await jobs.refresh_projections(db, now=later + timedelta(hours=1)) == 0


async def test_one_past_that_cannot_be_kept_stops_nobody(db: Database, owner_url: str, monkeypatch):
    members = [await insured(db) for _ in range(3)]
    await by_owner(owner_url, "delete from premiums")
    real = backfill.pricing.known

    def fails(due, facts):
        if due.member_id == members[1]:
            raise ValueError("unreadable")
        return real(due, facts)

    monkeypatch.setattr(backfill.pricing, "known", fails)
    done = await backfill.keep_past(db, now=BEGIN + timedelta(days=1))
    assert (done.kept, done.unlike) == (2, 0)
    assert [len(await premiums(db, it)) for it in members] == [1, 0, 1]


async def test_statements_of_a_batch_do_not_grow_with_it(db: Database):
    counts = []
    for size in (1, 6):
        members = [await insured(db, birth_date=date(1975, 5, 17)) for _ in range(size)]
        for member in members:
            await year_closed(db, member)
        await jobs.refresh_projections(db, now=END - timedelta(days=1))
        async with db.transaction() as session:
            with StatementCount(db) as sent:
                await jobs.service.project(session, member_ids=members, now=END)
        counts.append(len(sent))
    assert counts[0] == counts[1] <= 5


async def test_every_month_each_policy_is_recalculated_once(db: Database):
    member = await insured(db, tier="HIGH")
    await closed(db, member, START, "90", at=datetime(2026, 4, 1, tzinfo=UTC))
    april = datetime(2026, 4, 1, 13, tzinfo=UTC)
    assert recalculating.over(april) == date(2026, 3, 1)
    assert recalculating.over(april - timedelta(hours=2)) == date(2026, 2, 1)
    done = await asyncio.gather(*(recalculating.recalculate(db, now=april) for _ in range(3)))
    assert sum(done) == 1
    assert await recalculating.recalculate(db, now=april + timedelta(days=20)) == 0
    assert len(await premiums(db, member)) == 1  # nothing acts during this product's term


async def test_a_month_that_is_not_closed_waits(db: Database):
    await insured(db)  # its first month is open, and closes in April
    assert await recalculating.recalculate(db, now=datetime(2026, 4, 2, tzinfo=UTC)) == 0


async def test_a_new_tier_moves_the_projection(db: Database):
    member = await insured(db, tier="HIGH")
    await jobs.refresh_projections(db, now=BEGIN)
    later = BEGIN + timedelta(days=60)
    await assessed(db, member, "LOW", at=later)
    assert await jobs.refresh_projections(db, now=later) >= 1
    async with db.read() as reading:
        row = (await reading.execute(text("select * from premium_projections"))).one()
    assert (row.adjustment_percent, row.projected_adjustment_percent) == (20, -20)


async def test_who_is_too_old_for_another_term_has_no_projection(db: Database):
    member = await insured(db, birth_date=date(1950, 5, 17), tier=None)  # 75, 76 by then
    await jobs.refresh_projections(db, now=BEGIN)
    async with db.read() as reading:
        row = (await reading.execute(text("select * from premium_projections"))).one()
    assert (row.member_id, row.projected_adjustment_percent) == (member, None)
