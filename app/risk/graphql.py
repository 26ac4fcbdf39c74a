"""The member's risk. Nobody is assessed yet: `risk` is null until the models are in."""

from datetime import datetime
from enum import StrEnum

import strawberry

from app.graphql.facets import Facet
from app.graphql.node import Node


@strawberry.enum
class RiskTier(StrEnum):
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


@strawberry.type(description="A reason in words a member understands.")
class Reason:
    label: str
    detail: str


@strawberry.type(description="One per member.")
class RiskProfile(Node):
    tier: RiskTier | None = strawberry.field(description="Null until first assessed.")
    assessed_at: datetime | None = strawberry.field(description="Null until first assessed.")
    reasons: list[Reason]


@strawberry.type
class RiskOfMember:
    """The field of `Member` that is kept here."""

    risk: RiskProfile | None = strawberry.field(description="Null until first assessed.")


FACETS = (Facet(field="risk", attribute="risk", sql=None, read=lambda _, reading: None),)
