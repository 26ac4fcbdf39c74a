"""Product versions as data: what is accepted, refused, published."""

from copy import deepcopy
from datetime import date, datetime
from decimal import Decimal

import asyncpg
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app import civil_time
from app.db import Database
from app.premiums import catalogue, product, rules
from app.premiums import service as premiums
from tests.factories import NOON, counts, make_member
from tests.tasks_at_work import check_in, rows

STARTER = yaml.safe_load((product.PRODUCTS / "starter.yaml").read_text(encoding="utf-8"))


def changed(path: str, value: object) -> dict:
    document = deepcopy(STARTER)
    *parents, last = path.split(".")
    place = document
    for part in parents:
        place = place[int(part) if part.isdigit() else part]
    place[int(last) if last.isdigit() else last] = value
    return document


def write(tmp_path, document) -> object:
    path = tmp_path / "product.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return path


def test_every_shipped_product_is_valid():
    assert [(it.code, it.version) for it in product.shipped()] == [
        ("chronic-care", "1.0.0"),
        ("chronic-care-discount-only", "1.0.0"),
        ("inclusive", "1.0.0"),
        ("starter", "1.0.0"),
        ("starter", "1.1.0"),
        ("starter", "1.2.0"),
    ]


def test_a_key_that_came_later_does_not_change_what_was_published():
    """Hashes of the published versions, taken when they were published."""
    assert {it.version: it.hash.hex() for it in product.shipped() if it.code == "starter"} == {
        "1.0.0": "233766462b96159dfd131a66843d277bf92115c5811ffe36d94a24803efcc7f0",
        "1.1.0": "4a53085828c8fea90f3d826f8be86ad81d20ed7d2fbef01165f99de6b86cdfc6",
        "1.2.0": "12101d8abb8c3894019e632fd5c3f3d0033303689862e0b1bbd3959ab20fe1b3",
    }


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("surprise", 1, "surprise"),
        ("version", "1.0", "version"),
        ("currency", "yuan", "currency"),
        ("regime", "anything", "regime"),
        ("rules.0.kind", "formula", "rules.0: Input tag 'formula'"),
        ("rules.0.percent_at_most", "10", "percent_at_most 10 must have the sign"),
        ("rules.0.percent_at_most", "-0.5", "percent_at_most -0.5"),
        ("base_premium.by_age.1.age_from", 20, "must begin at 18"),
        ("base_premium.by_age.0.amount", "-1", "base_premium.by_age.0.amount"),
        ("bounds.percent_min", "40", "percent_min must not be above"),
        ("tasks.1.template", "walk", "tasks: a code stands twice"),
        ("points.expire_after_months", 0, "points.expire_after_months"),
        ("caps", {"per_day": -1}, "caps.per_day"),
        ("caps", {"per_week": 1}, "caps.per_week"),
        ("caps", {"per_day": 5, "per_year": 4}, "per_day 5 exceeds per_year 4"),
        ("tasks.1.expire_after_months", 0, "tasks.1.expire_after_months"),
        ("tasks.1.cap", {"points": 5}, "tasks.1.cap.per"),
        ("tasks.1.cap", {"points": 5, "per": "week"}, "tasks.1.cap.per"),
        ("regime", "pool_only", "regime pool_only forbids it: it moves one insured"),
        ("regime", "fixed", "regime fixed forbids it"),
    ],
)
def test_an_impossible_product_is_refused_with_its_path(tmp_path, path, value, words):
    with pytest.raises(product.ProductInvalid, match=words.replace(".", r"\.")):
        product.read(write(tmp_path, changed(path, value)))


def test_a_discount_only_market_refuses_a_surcharge(tmp_path):
    document = changed("rules.0.percent_per_month", "1")
    document["rules"][0]["percent_at_most"] = "10"
    with pytest.raises(product.ProductInvalid, match="discount_only forbids it: it raises"):
        product.read(write(tmp_path, document))
    document["regime"] = "individual"
    assert product.read(write(tmp_path, document)).rules[0].percent_per_month == 1


async def test_a_published_version_never_changes(db: Database, tmp_path):
    same = product.read(product.PRODUCTS / "starter.yaml")
    other = product.read(write(tmp_path, changed("points.expire_after_months", 24)))
    before = await counts(db)
    async with db.transaction() as session:
        first = await catalogue.publish(session, same, now=NOON)
        assert await catalogue.publish(session, same, now=NOON) == first
    with pytest.raises(catalogue.PublishedVersionChanged, match=r"starter 1\.0\.0"):
        async with db.transaction() as session:
            await catalogue.publish(session, other, now=NOON)
    assert await counts(db) == before


async def test_a_stored_version_that_was_edited_is_noticed(db: Database, owner_url: str):
    """At the next start, which publishes what ships. Only the owner of the tables can edit one."""
    same = product.read(product.PRODUCTS / "starter.yaml")
    async with db.transaction() as session:
        await catalogue.publish(session, same, now=NOON)
    owner = await asyncpg.connect(owner_url)
    try:
        await owner.execute(
            "update product_versions set definition = jsonb_set(definition, "
            "'{base_premium,by_age,0,amount}', '\"1.00\"') "
            "where code = 'starter' and version = '1.0.0'"
        )
    finally:
        await owner.close()
    with pytest.raises(catalogue.PublishedVersionChanged, match=r"starter 1\.0\.0"):
        async with db.transaction() as session:
            await catalogue.publish(session, same, now=NOON)


async def test_each_rule_says_how_long_its_points_last(db: Database, tmp_path):
    """To local midnight after so many months: of the rule, else of the product."""
    document = changed("tasks.4.expire_after_months", 3)
    assert document["tasks"][4]["template"] == "article"
    document |= {"code": "short"}
    member = await make_member(db, time_zone="America/New_York")
    async with db.transaction() as session:
        await catalogue.publish(session, product.read(write(tmp_path, document)), now=NOON)
        await premiums.enrol(
            session, member_id=member, product_code="short", starts_on=date(2026, 3, 1), now=NOON
        )
    found = await rows(
        db, "select rule_code, id from task_assignments where member_id = :id", id=member
    )
    assignments = {code: id for code, id in found}
    for code in ("article", "medication"):
        done = await check_in(db, member, assignments[code], date(2026, 3, 1))
        assert done["__typename"] == "CheckInPayload"

    lots = await rows(
        db,
        "select t.rule_code, l.expires_on, l.expires_at from points_lots l"
        " join points_transfers t using (member_id, id) where member_id = :id",
        id=member,
    )

    # At NOON it is the evening of the first of March in New York, where summer time begins later.
    assert sorted(tuple(row) for row in lots) == [
        ("article", date(2026, 6, 1), datetime.fromisoformat("2026-06-02T00:00:00-04:00")),
        ("medication", date(2027, 3, 1), datetime.fromisoformat("2027-03-02T00:00:00-05:00")),
    ]


@pytest.mark.parametrize(
    ("born", "day", "age"),
    [
        (date(1980, 6, 15), date(2026, 6, 14), 45),
        (date(1980, 6, 15), date(2026, 6, 15), 46),
        (date(2004, 2, 29), date(2026, 2, 28), 21),
        (date(2004, 2, 29), date(2026, 3, 1), 22),
    ],
)
def test_completed_years(born, day, age):
    assert civil_time.completed_years(born, day) == age


@pytest.mark.parametrize(
    ("base", "percent", "amount"),
    [
        (300_000, "-1", -3_000),
        (300_000, "-10", -30_000),
        (333, "-1", -3),  # 3.33
        (350, "-1", -4),  # 3.5 rounds away from zero
        (350, "1", 4),
        (349, "1", 3),
        (300_000, "0", 0),
    ],
)
def test_a_line_is_rounded_once_half_up(base, percent, amount):
    assert rules.line(base, Decimal(percent)) == amount


RULE = rules.Participation(Decimal(80), Decimal(-1), Decimal(-10))


@pytest.mark.parametrize(
    ("percents", "discount"),
    [
        ([], "0"),
        (["80"], "-1"),
        (["79.999"], "0"),
        ([None, "100"], "-1"),
        (["100"] * 9, "-9"),
        (["100"] * 10, "-10"),
        (["100"] * 12, "-10"),
    ],
)
def test_each_month_with_enough_done_takes_one_percent_off(percents, discount):
    months = [
        rules.MonthOfParticipation(
            rules.add_months(date(2026, 1, 1), n), None if it is None else Decimal(it)
        )
        for n, it in enumerate(percents)
    ]
    counted = rules.months_counted(months, RULE)
    assert rules.participation_percent(counted, RULE) == Decimal(discount)


@given(
    start=st.dates(date(2020, 1, 1), date(2030, 12, 31)),
    months=st.integers(1, 24),
    number=st.integers(0, 10),
)
def test_terms_follow_one_another_without_gap_or_drift(start, months, number):
    one = rules.term(start, number, months=months)
    following = rules.term(start, number + 1, months=months)
    assert (following.starts_on - one.ends_on).days == 1
    assert one.starts_on <= one.ends_on
    assert one.starts_on == rules.add_months(start, number * months)


@given(
    start=st.dates(date(2020, 1, 1), date(2030, 12, 31)),
    month=st.dates(date(2020, 1, 1), date(2032, 12, 1)).map(lambda day: day.replace(day=1)),
)
def test_a_month_counts_for_exactly_one_term(start, month):
    counted = [n for n in range(-2, 14) if rules.counts_for(month, rules.term(start, n, months=12))]
    assert len(counted) == 1 or month < start.replace(day=1)
