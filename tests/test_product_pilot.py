"""A pilot version is for the first members of its regions, and for nobody else (PIL-2)."""

import asyncio
from datetime import date, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db import Database
from app.premiums import catalogue, offering, product
from app.premiums import service as premiums
from tests.factories import NOON, counts, make_member
from tests.product_documents import WORDS, document, parsed

PILOT = {"regions": ["CN-32", "CN-33-01"], "members_max": 2}


async def published(db: Database, version: str, **more) -> UUID:
    async with db.transaction() as session:
        return await catalogue.publish(
            session, parsed(document() | {"version": version} | more), now=NOON
        )


async def versions(db: Database):
    return await published(db, "1.0.0"), await published(db, "1.1.0", pilot=PILOT)


async def offered(db: Database, region: str | None, holds: UUID | None = None) -> str:
    async with db.transaction() as session:
        found = await catalogue.offered(session, "tried", region=region, holds=holds)
    return found.version


async def enrolled(db: Database, region: str | None) -> UUID:
    member = await make_member(db, birth_date=date(1980, 5, 17), region=region)
    async with db.transaction() as session:
        await premiums.enrol(
            session, member_id=member, product_code="tried", starts_on=NOON.date(), now=NOON
        )
    return member


async def held(db: Database) -> list[str]:
    async with db.read() as reading:
        found = await reading.execute(
            text("""select v.version from policies p
                 join product_versions v on v.id = p.product_version_id
                 order by p.created_at, p.id""")
        )
        return list(found.scalars())


@pytest.mark.parametrize(
    ("region", "version"),
    [
        ("CN-32", "1.1.0"),
        ("CN-32-02", "1.1.0"),
        ("CN-33-01", "1.1.0"),
        ("CN-33", "1.0.0"),
        ("CN-3", "1.0.0"),
        ("CN", "1.0.0"),
        (None, "1.0.0"),
    ],
)
async def test_only_its_regions_are_offered_a_pilot(db: Database, region, version):
    await versions(db)
    assert await offered(db, region) == version


async def test_the_last_place_goes_to_one_of_rivals(db: Database):
    await versions(db)
    await asyncio.gather(*(enrolled(db, "CN-32") for _ in range(8)))
    assert sorted(await held(db)) == ["1.0.0"] * 6 + ["1.1.0"] * 2
    assert await offered(db, "CN-32") == "1.0.0"


async def test_whoever_is_in_a_pilot_keeps_it_at_renewal_and_nobody_else_gets_in(db: Database):
    general, pilot = await versions(db)
    assert await offered(db, "CN-32", holds=pilot) == "1.1.0"
    assert await offered(db, None, holds=pilot) == "1.1.0"
    assert await offered(db, "CN-32", holds=general) == "1.0.0"
    another = await published(db, "1.2.0", pilot=PILOT)
    assert await offered(db, "CN-32", holds=pilot) == "1.1.0"
    assert await offered(db, "CN-32", holds=another) == "1.2.0"
    await published(db, "1.3.0")  # the roll-out
    for holds in (general, pilot, another):
        assert await offered(db, "CN-32", holds=holds) == "1.3.0"


async def test_a_place_is_free_again_when_cover_was_never_taken(db: Database):
    await versions(db)
    for _ in range(2):
        await enrolled(db, "CN-32")
    assert await offered(db, "CN-32") == "1.0.0"
    async with db.transaction() as session:
        await session.execute(
            text("""update policies set state = 'CANCELLED' where id =
                 (select id from policies order by id limit 1)""")
        )
    assert await offered(db, "CN-32") == "1.1.0"


async def test_a_product_that_is_only_a_pilot_is_unknown_to_everybody_else(db: Database):
    await published(db, "1.0.0", pilot=PILOT)
    assert await offered(db, "CN-32") == "1.0.0"
    before = await counts(db)
    with pytest.raises(catalogue.ProductUnknown, match="tried"):
        await offered(db, "CN-11")
    assert await counts(db) == before


async def test_versions_are_compared_by_their_numbers(db: Database):
    for version in ("1.9.0", "1.10.0", "1.2.0"):
        await published(db, version)
    assert await offered(db, None) == "1.10.0"


async def test_a_pilot_is_published_for_ever_too(db: Database):
    """A roll-out is a new version, not the same one without its pilot."""
    _, pilot = await versions(db)
    with pytest.raises(catalogue.PublishedVersionChanged, match=r"tried 1\.1\.0"):
        await published(db, "1.1.0")
    async with db.transaction() as session:
        stored = await session.get_one(catalogue.ProductVersion, pilot)
        read = product.Product.model_validate(stored.definition)
    assert read.pilot.members_max == 2


def table(amount: str) -> dict:
    return {"by_age": [{"age_from": 18, "age_to": 65, "amount": amount}]}


async def test_members_in_force_keep_their_version_until_they_renew(db: Database):
    """A new version moves nobody's premium; the next term is offered and priced under it."""
    terms = {
        "label": WORDS,
        "explanation": WORDS,
        "offer_days_before": 30,
        "grace_days": 30,
        "unanswered": "accept",
    }
    await published(db, "1.0.0", renewal=terms)
    member = await enrolled(db, "CN-32")
    await published(db, "1.1.0", renewal=terms, base_premium=table("3300.00"))

    async def held_terms():
        async with db.read() as reading:
            found = await reading.execute(
                text("""select v.version, t.total from policy_terms t
                     join policies p using (member_id)
                     join product_versions v on v.id = p.product_version_id
                     where member_id = :id order by t.starts_on"""),
                {"id": member},
            )
            return [tuple(row) for row in found]

    async with db.transaction() as session:
        await premiums.project(session, member_ids=[member], now=NOON + timedelta(days=100))
    assert await held_terms() == [("1.0.0", 3000_00)]
    async with db.transaction() as session:
        assert await offering.offer_due(session, limit=9, now=NOON + timedelta(days=340)) == 1
    assert await held_terms() == [("1.0.0", 3000_00)]
    async with db.transaction() as session:
        assert await premiums.renew_due(session, limit=9, now=NOON + timedelta(days=366)) == 1
    assert await held_terms() == [("1.1.0", 3000_00), ("1.1.0", 3300_00)]
