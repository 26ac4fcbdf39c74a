"""One effect a request, whatever the client retries."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import RequestReused
from app.members.models import Request

_REQUESTS: Any = Request.__table__  # type: ignore[attr-defined]
_CLAIM = insert(_REQUESTS).on_conflict_do_nothing().returning(_REQUESTS.c.result)


def input_hash(values: Mapping[str, Any]) -> bytes:
    """SHA-256 of the input in one spelling; equal inputs have equal hashes."""
    return sha256(orjson.dumps(values, default=str, option=orjson.OPT_SORT_KEYS)).digest()


async def claim(
    session: AsyncSession,
    *,
    owner: UUID,
    request_id: UUID,
    operation: str,
    values: Mapping[str, Any],
    result: UUID,
    now: datetime,
) -> UUID | None:
    """None when the request is new; otherwise the key of what it did the first time.

    Of two identical requests at once, the second waits here until the first has committed
    and then finds its row; a refusal rolls the row back with the rest.
    Raises RequestReused when the id was used with another operation or input.
    """
    hashed = input_hash(values)
    row = {
        "owner": owner,
        "request_id": request_id,
        "operation": operation,
        "input_hash": hashed,
        "result": result,
        "created_at": now,
    }
    claimed = (await session.execute(_CLAIM, row)).scalar_one_or_none()
    if claimed is not None:
        return None
    earlier = (
        await session.exec(
            select(Request).where(Request.owner == owner, Request.request_id == request_id)
        )
    ).one()
    if (earlier.operation, earlier.input_hash) != (operation, hashed):
        raise RequestReused
    return earlier.result
