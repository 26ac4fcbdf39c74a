"""Enums of the API; whoever uses one in a type takes it from here, where it is registered."""

import strawberry

from app.graphql import enums
from app.members.lifecycle_rules import LifecycleStage
from app.members.rules import (
    ConsentPurpose,
    ConsentState,
    PauseReason,
    SegmentCode,
    Sex,
    StaffRole,
)

__all__ = [
    "ConsentPurpose",
    "ConsentState",
    "LifecycleStage",
    "PauseReason",
    "SegmentCode",
    "Sex",
    "StaffRole",
]

strawberry.enum(Sex)
strawberry.enum(ConsentPurpose)
strawberry.enum(
    ConsentState, description="Refused and withdrawn are different facts and are never merged."
)
strawberry.enum(PauseReason)
strawberry.enum(StaffRole)
enums.register(
    SegmentCode,
    {
        "NEW_CITIZEN": "Riders, couriers, ride-hailing drivers.",
        "CHILD": "A guardian acts for them.",
    },
)
enums.register(LifecycleStage, {"DORMANT": "No use for one year."})
