"""Redemptions as members see them. What makes them comes with the rewards."""

from enum import StrEnum

import strawberry

from app.points.graphql import PointsCause
from app.worklist.subjects import WorklistSubject


@strawberry.enum
class RedemptionState(StrEnum):
    RESERVED = "RESERVED"
    FULFILLED = "FULFILLED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


@strawberry.type
class Redemption(PointsCause, WorklistSubject):
    state: RedemptionState
    points: int = strawberry.field(description="What was paid.")
