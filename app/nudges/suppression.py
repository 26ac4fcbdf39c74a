"""Why messages went nowhere, for those who look after members and campaigns."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Integer, Row, Text, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.members.directory import GROUNDS
from app.nudges.gate import Refusal


class SuppressionReason(StrEnum):
    CONSENT_NOT_ASKED = "CONSENT_NOT_ASKED"
    CONSENT_REFUSED = "CONSENT_REFUSED"
    CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN"
    OPTED_OUT = "OPTED_OUT"
    PROGRAMME_PAUSED = "PROGRAMME_PAUSED"
    MESSAGES_PAUSED = "MESSAGES_PAUSED"
    QUIET_HOURS = "QUIET_HOURS"
    FREQUENCY_CAP = "FREQUENCY_CAP"
    NO_LONGER_RELEVANT = "NO_LONGER_RELEVANT"
    NO_ADDRESS = "NO_ADDRESS"
    NO_PROVIDER = "NO_PROVIDER"
    EXPIRED = "EXPIRED"

    @classmethod
    def of(cls, reason: str) -> "SuppressionReason":
        """From what a message keeps."""
        return cls.NO_LONGER_RELEVANT if reason == Refusal.NOT_RELEVANT else cls(reason)

    @property
    def kept(self) -> str:
        """As a message keeps it."""
        return Refusal.NOT_RELEVANT if self is SuppressionReason.NO_LONGER_RELEVANT else self.value


_COLUMNS = """messages.member_id, messages.id, messages.topic, messages.suppressed_reason,
       messages.planned_at, messages.local_date, messages.priority, messages.arm, source.name"""
_GROUNDED = f"messages.member_id in ({' union all '.join(GROUNDS)})"


def _statement(condition: str) -> Any:
    return text(f"""
select {_COLUMNS} from messages left join message_sources source on source.id = messages.source_id
where suppressed_reason is not null and {condition}
and (cast(:reasons as text[]) is null or suppressed_reason = any(:reasons))
and (planned_at, messages.id) < (:planned_at, :id)
order by planned_at desc, messages.id desc limit :limit
""").bindparams(
        bindparam("reasons", type_=ARRAY(Text)),
        bindparam("planned_at", type_=DateTime(timezone=True)),
        bindparam("id", type_=Uuid),
        bindparam("limit", type_=Integer),
    )


_OF_ALL = _statement("true")
_OF_SOURCES = _statement("messages.source_id is not null")
_OF_MINE = _statement(_GROUNDED).bindparams(bindparam("staff_id", type_=Uuid))
_OF_MEMBER = _statement("messages.member_id = :member_id").bindparams(
    bindparam("member_id", type_=Uuid)
)
_LAST_ID = UUID(int=2**128 - 1)


async def suppressed(
    reading: AsyncConnection,
    *,
    member_id: UUID | None = None,
    seen_by: UUID | None = None,
    of_sources: bool = False,
    reasons: Sequence[SuppressionReason] | None,
    after: tuple[datetime, UUID] | None,
    now: datetime,
    limit: int,
) -> Sequence[Row[Any]]:
    """Newest first: of one member, of those whom the health manager `seen_by` looks after, of
    policies and campaigns only, or of everybody."""
    planned_at, id = after or (now, _LAST_ID)
    values: dict[str, Any] = {
        "reasons": None if reasons is None else [it.kept for it in reasons],
        "planned_at": planned_at,
        "id": id,
        "limit": limit,
    }
    if member_id is not None:
        return (await reading.execute(_OF_MEMBER, values | {"member_id": member_id})).all()
    if seen_by is not None:
        return (await reading.execute(_OF_MINE, values | {"staff_id": seen_by})).all()
    return (await reading.execute(_OF_SOURCES if of_sources else _OF_ALL, values)).all()
