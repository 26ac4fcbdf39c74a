"""Published product versions: stored once, never changed, parsed once."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Integer, cast, func
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.ids import new_id
from app.premiums import regime
from app.premiums.models import ProductVersion
from app.premiums.product import Product


class PublishedVersionChanged(ValueError):
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
    if stored.hash != product.hash:
        raise PublishedVersionChanged(product.code, product.version)
    return stored.id


async def latest(session: AsyncSession, code: str) -> ProductVersion:
    """The highest version, which new members get. Raises ProductUnknown."""
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
    if unknown:
        rows = await reading.execute(
            select(ProductVersion.id, ProductVersion.definition).where(
                col(ProductVersion.id).in_(unknown)
            )
        )
        for id, document in rows:
            definition(id, document)
    return {id: _parsed[id] for id in wanted}


_NUMBERS = ARRAY(Integer)

_parsed: dict[UUID, Product] = {}


def definition(id: UUID, document: dict[str, object]) -> Product:
    """The product of a stored version; parsed once, since it never changes."""
    if id not in _parsed:
        _parsed[id] = Product.model_validate(document)
    return _parsed[id]
