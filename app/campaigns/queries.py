"""Campaigns as they are shown."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from app.campaigns.models import Campaign, CampaignEvent, CampaignStep, CampaignVariant
from app.premiums.models import ProductVersion
from app.texts import Text


async def one(connection: AsyncConnection, campaign_id: UUID) -> Any:
    """The row, or None."""
    statement = select(Campaign).where(col(Campaign.id) == campaign_id)
    return (await connection.execute(statement)).one_or_none()


async def some(connection: AsyncConnection, ids: Sequence[UUID]) -> Mapping[UUID, Any]:
    """The rows that there are, by id."""
    statement = select(Campaign).where(col(Campaign.id).in_(ids))
    return {row.id: row for row in await connection.execute(statement)}


async def page(
    connection: AsyncConnection,
    *,
    states: Sequence[str] | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Any]:
    """Rows with the columns of `campaigns`, the newest first."""
    key = tuple_(col(Campaign.created_at), col(Campaign.id))
    statement = select(Campaign)
    if states is not None:
        statement = statement.where(col(Campaign.state).in_(states))
    if after is not None:
        statement = statement.where(key < tuple_(*after))
    order = (col(Campaign.created_at).desc(), col(Campaign.id).desc())
    return (await connection.execute(statement.order_by(*order).limit(limit))).all()


async def parts(
    connection: AsyncConnection, campaign_ids: Iterable[UUID]
) -> Mapping[UUID, tuple[Sequence[Any], Sequence[Any], Sequence[Any]]]:
    """Variants, steps and events of each campaign, in order; with three statements."""
    ids = list(campaign_ids)
    found: dict[UUID, tuple[list[Any], list[Any], list[Any]]] = {id: ([], [], []) for id in ids}
    tables: Sequence[tuple[Any, Sequence[str]]] = (
        (CampaignVariant, ("step", "key", "locale")),
        (CampaignStep, ("step",)),
        (CampaignEvent, ("place",)),
    )
    for place, (table, order) in enumerate(tables):
        statement = (
            select(table)
            .where(col(table.campaign_id).in_(ids))
            .order_by(*(col(getattr(table, name)) for name in order))
        )
        for row in await connection.execute(statement):
            found[row.campaign_id][place].append(row)
    return found


async def products(connection: AsyncConnection) -> Sequence[tuple[str, Text]]:
    """(code, name) of each product, by its latest version."""
    name = col(ProductVersion.definition)["name"]
    statement = (
        select(col(ProductVersion.code), name["zh"].astext, name["en"].astext)
        .ext(distinct_on(col(ProductVersion.code)))
        .order_by(col(ProductVersion.code), col(ProductVersion.published_at).desc())
    )
    rows = await connection.execute(statement)
    return [(code, Text(zh=zh or code, en=en or code)) for code, zh, en in rows]
