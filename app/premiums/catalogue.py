"""Published product versions: stored once, never changed, parsed once."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Integer, cast, func, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.errors import Explained
from app.ids import new_id
from app.premiums import documents, regime
from app.premiums.contract_terms import Pilot
from app.premiums.models import ProductVersion
from app.premiums.product import Product


class PublishedVersionChanged(Explained, ValueError):
    """A published product version is never changed: a change is a new version."""

    def __init__(self, code: str, version: str) -> None:
        super().__init__(
            f"product {code} {version} is published and differs from the file: "
            "give the file a new version"
        )


class ProductUnknown(LookupError):
    def __init__(self, code: str) -> None:
        super().__init__(f"there is no product {code!r}")


async def publish(session: AsyncSession, product: Product, *, now: datetime) -> UUID:
    """Store a product version once; its id. Raises PublishedVersionChanged, RegimeForbids."""
    regime.guard(product)
    made = insert(ProductVersion).values(
        id=new_id(now),
        code=product.code,
        version=product.version,
        hash=product.hash,
        definition=product.model_dump(mode="json"),
        published_at=now,
    )
    await session.execute(made.on_conflict_do_nothing(index_elements=["code", "version"]))
    stored = (
        await session.exec(
            select(ProductVersion).where(
                ProductVersion.code == product.code, ProductVersion.version == product.version
            )
        )
    ).one()
    kept = Product.model_validate(stored.definition)
    # What is kept is read as well: nobody has edited it since.
    if stored.hash != product.hash or kept.hash != product.hash:
        raise PublishedVersionChanged(product.code, product.version)
    return stored.id


async def latest(session: AsyncSession, code: str) -> ProductVersion:
    """The highest version, a pilot or not. Raises ProductUnknown."""
    found = (
        await session.exec(
            select(ProductVersion)
            .where(ProductVersion.code == code)
            .order_by(cast(func.string_to_array(ProductVersion.version, "."), _NUMBERS).desc())
            .limit(1)
        )
    ).one_or_none()
    if found is None:
        raise ProductUnknown(code)
    return found


async def products(reading: Any, ids: Iterable[UUID]) -> dict[UUID, Product]:
    """Stored versions by id. What this process has read before is not read again."""
    wanted = set(ids)
    unknown = wanted - _parsed.keys()
    if unknown and isinstance(reading, Database):
        async with reading.read() as connection:
            return await products(connection, wanted)
    if unknown:
        rows = await reading.execute(
            select(ProductVersion.id, ProductVersion.definition).where(
                col(ProductVersion.id).in_(unknown)
            )
        )
        for id, document in rows:
            definition(id, document)
    return {id: _parsed[id] for id in wanted}


async def offered(
    session: AsyncSession, code: str, *, region: str | None, holds: UUID | None = None
) -> ProductVersion:
    """The version that a member of this region is offered: the newest that is for everybody,
    or a newer one whose pilot has a place for them (PIL-2). Who `holds` a version already (at
    renewal) keeps a pilot that they are in, and is asked into no other.

    Of rivals for the last place the second waits for the end of the first one's transaction.
    Raises ProductUnknown.
    """
    newest_first = (
        await session.exec(
            select(ProductVersion)
            .where(ProductVersion.code == code)
            .order_by(cast(func.string_to_array(ProductVersion.version, "."), _NUMBERS).desc())
        )
    ).all()
    for version in newest_first:
        pilot = definition(version.id, version.definition).pilot
        if pilot is None or version.id == holds:
            return version
        in_region = region is not None and any(documents.holds(it, region) for it in pilot.regions)
        if holds is None and in_region and await _has_place(session, version.id, pilot):
            return version
    raise ProductUnknown(code)


async def _has_place(session: AsyncSession, version_id: UUID, pilot: Pilot) -> bool:
    await session.execute(_LOCK_PILOT, {"version": str(version_id)})
    taken: int = (await session.execute(_IN_PILOT, {"version": version_id})).scalar_one()
    return taken < pilot.members_max


_LOCK_PILOT = text("select pg_advisory_xact_lock(hashtextextended('pilot ' || :version, 0))")
_IN_PILOT = text("""
select count(distinct member_id) from policies where product_version_id = :version
and state not in ('DECLINED', 'WITHDRAWN', 'EXPIRED', 'CANCELLED', 'RESCINDED')
""")
"""Whoever is or was covered under it, and whoever is being asked."""

_NUMBERS = ARRAY(Integer)

_parsed: dict[UUID, Product] = {}


def definition(id: UUID, document: dict[str, object]) -> Product:
    """The product of a stored version; parsed once, since it never changes."""
    if id not in _parsed:
        _parsed[id] = Product.model_validate(document)
    return _parsed[id]
