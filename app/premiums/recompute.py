"""Any past premium again, to the cent (PRM-19): from what was kept, and from what was known.

Two checks of each stored premium. The stored version prices the stored facts: base, lines,
total and carry must be those that were stored. And the facts are gathered again as they were
known then: they must be the stored ones. What differs is named by its place, never its value.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, Uuid, bindparam, text

from app.db import Database
from app.premiums import catalogue, engine, facts_json, pricing, stored_lines
from app.premiums.facts import Facts, Moment
from app.premiums.pricing import Due
from app.premiums.product import Product
from app.premiums.rules import Term

BATCH = 500
_COLUMNS = """p.member_id, p.id, p.policy_id, p.number, p.moment, p.product_version_id, p.as_of,
  p.term_starts_on, p.effective_on, p.base, p.rated_base, p.total, p.currency,
  p.adjustment_percent, p.cover_uplift_percent, p.lines, p.carry, p.facts, p.facts_hash"""
_PAGE = text(f"""
select {_COLUMNS} from premiums p where (p.member_id, p.id) > (:after_member, :after_id)
and (cast(:member_id as uuid) is null or p.member_id = :member_id)
order by p.member_id, p.id limit :size
""").bindparams(
    bindparam("after_member", type_=Uuid),
    bindparam("after_id", type_=Uuid),
    bindparam("member_id", type_=Uuid),
    bindparam("size", type_=Integer),
)
_COUNT = text("""
select count(*) from premiums p
where cast(:member_id as uuid) is null or p.member_id = :member_id
""").bindparams(bindparam("member_id", type_=Uuid))
_FIRST = UUID(int=0)
_WORDS = frozenset({"label", "explanation", "detail"})
"""Of lines: they may be put better by a later release, which changes no premium."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not as it was stored."""

    member_id: UUID
    policy_id: UUID
    number: int
    check: str
    """`stored facts` or `known then`."""
    paths: Sequence[str]
    """Places that differ: `total`, `lines.2.amount`, `facts.participation.3.percent`."""

    def __str__(self) -> str:
        what = ", ".join(self.paths[:5]) + (", ..." if len(self.paths) > 5 else "")
        return f"member {self.member_id}, premium {self.number} ({self.check}): {what}"


@dataclass(frozen=True, slots=True)
class Recomputed:
    premiums: int
    differences: Sequence[Difference]


async def recompute(
    db: Database,
    *,
    member_id: UUID | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Recomputed:
    """Every stored premium, or those of one member. Nothing is changed."""
    async with db.read() as reading:
        total = (await reading.execute(_COUNT, {"member_id": member_id})).scalar_one()
    found: list[Difference] = []
    done = 0
    progress(done, total)
    async for rows in _pages(db, member_id):
        async with db.read() as reading:
            found += await _compare(reading, rows)
        done += len(rows)
        progress(done, max(total, done))
    return Recomputed(done, found)


async def _pages(db: Database, member_id: UUID | None) -> AsyncIterator[Sequence[Any]]:
    after = (_FIRST, _FIRST)
    while True:
        page = {
            "after_member": after[0],
            "after_id": after[1],
            "member_id": member_id,
            "size": BATCH,
        }
        async with db.read() as reading:
            rows = (await reading.execute(_PAGE, page)).all()
        if not rows:
            return
        yield rows
        after = (rows[-1].member_id, rows[-1].id)


async def _compare(reading: Any, rows: Sequence[Any]) -> list[Difference]:
    versions = await catalogue.products(reading, {row.product_version_id for row in rows})
    stored = [pricing.read_facts(row.facts) for row in rows]
    products = [versions[row.product_version_id] for row in rows]
    found = []
    for row, facts, product in zip(rows, stored, products, strict=True):
        paths = list(_priced_again(row, facts, product))
        found += [_difference(row, "stored facts", paths)] if paths else []
    known = await _known_then(reading, rows, stored, products)
    for row, facts, again in zip(rows, stored, known, strict=True):
        paths = list(_differing(facts_json.document(facts), _document(again), "facts"))
        found += [_difference(row, "known then", paths)] if paths else []
    return found


def _priced_again(row: Any, facts: Facts, product: Product) -> Iterator[str]:
    """Places in which a stored premium is not what the engine says of its facts."""
    try:
        priced = engine.price(product, facts)
    except engine.NoPremium:
        yield "base"
        return
    again = {
        "base": priced.base,
        "rated_base": priced.rated_base,
        "total": priced.total,
        "currency": priced.currency,
        "adjustment_percent": priced.adjustment_percent,
        "cover_uplift_percent": priced.cover_uplift_percent,
    }
    yield from (name for name, value in again.items() if getattr(row, name) != value)
    yield from _differing(row.lines, stored_lines.documents(priced.lines), "lines")
    carry = {code: facts_json.number(it) for code, it in priced.carry.items()}
    yield from _differing(row.carry, carry, "carry")
    if row.facts_hash != pricing.facts_hash(product, facts):
        yield "facts_hash"


async def _known_then(
    reading: Any, rows: Sequence[Any], stored: Sequence[Facts], products: Sequence[Product]
) -> list[Facts | None]:
    """What is gathered today for the instant of each. Each has an instant of its own."""
    return await pricing.gathered_again(
        reading,
        [
            (_due(row, facts, product), row.as_of)
            for row, facts, product in zip(rows, stored, products, strict=True)
        ],
    )


def _due(row: Any, facts: Facts, product: Product) -> Due:
    moment = Moment(row.moment)
    term = facts.mid_term.running if facts.mid_term is not None else None
    return Due(
        member_id=row.member_id,
        policy_id=row.policy_id,
        version_id=row.product_version_id,
        product=product,
        moment=moment,
        number=row.number,
        term=term or Term(row.term_starts_on, row.term_starts_on),
        ending=facts.ending if moment is not Moment.MID_TERM else None,
        effective_on=row.effective_on,
    )


def _document(facts: Facts | None) -> Any:
    return facts_json.document(facts) if facts is not None else None


def _differing(before: Any, after: Any, path: str) -> Iterator[str]:
    """Places in which two plain documents differ, other than in words."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted((before.keys() | after.keys()) - _WORDS):
            yield from _differing(before.get(name), after.get(name), f"{path}.{name}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differing(one, other, f"{path}.{place}")
    elif before != after:
        yield path


def _difference(row: Any, check: str, paths: Sequence[str]) -> Difference:
    return Difference(row.member_id, row.policy_id, row.number, check, paths)
