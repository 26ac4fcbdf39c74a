"""What a request that recorded something did, for when it is sent again."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlmodel import SQLModel

from app.columns import Holds, column


class Recording(SQLModel, table=True):
    """Written with the effect. What is shown of tasks and points is as it stands now."""

    __tablename__ = "recordings"

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    recorded_at: datetime = column(datetime)
    outcome: dict[str, Any] = column(dict, Holds.HEALTH)
    """Counts, what was rejected and why, and the keys of alerts, tasks and days."""
