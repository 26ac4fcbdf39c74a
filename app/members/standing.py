"""Where a member stands, as fields of `Member`: market segment and stage of the lifecycle."""

from datetime import datetime
from typing import Any

import strawberry

from app.graphql.facets import Facet, Reading
from app.members import dimensions
from app.members import segment_rules as segments
from app.members.enums import LifecycleStage, SegmentCode
from app.texts import Text


@strawberry.type
class SegmentAssignment:
    code: SegmentCode
    reason: str = strawberry.field(description="Why this member is in it, in words.")
    since: datetime


@strawberry.type
class Lifecycle:
    stage: LifecycleStage
    since: datetime


@strawberry.type(description="A code of `profileOptions`, with its name.")
class ProfileChoice:
    code: str
    name: str

    @classmethod
    def of(cls, choice: dimensions.Choice, locale: str) -> "ProfileChoice":
        return cls(code=choice.code, name=choice.name.to(locale))


@strawberry.type(description="What a member has told of their life; null is not known.")
class MemberDimensions:
    occupation: ProfileChoice | None
    residence: ProfileChoice | None
    income_band: ProfileChoice | None
    region: ProfileChoice | None


@strawberry.type
class MemberStanding:
    """The part of `Member` that is kept here."""

    segment: SegmentAssignment | None = strawberry.field(
        description="The market segment; null while too little is known."
    )
    lifecycle: Lifecycle | None = strawberry.field(
        description="Null for some minutes after the member was made."
    )
    dimensions: MemberDimensions


def _segment(row: Any, reading: Reading) -> SegmentAssignment | None:
    if row is None or row[0] is None:
        return None
    reason = segments.why(row[0], row[1])
    return SegmentAssignment(
        code=SegmentCode(row[0]), reason=reason.to(reading.locale), since=row[2]
    )


def _lifecycle(row: Any, _: Reading) -> Lifecycle | None:
    return Lifecycle(stage=LifecycleStage(row[0]), since=row[1]) if row is not None else None


def _dimensions(row: Any, reading: Reading) -> MemberDimensions:
    known = dimensions.in_force()

    def named(choices: Any, code: str | None) -> ProfileChoice | None:
        if code is None:
            return None
        choice = choices.get(code) or dimensions.Choice(code, Text(zh=code, en=code))
        return ProfileChoice.of(choice, reading.locale)

    return MemberDimensions(
        occupation=named(known.occupations, row[0]),
        residence=named(known.residences, row[1]),
        income_band=named(known.income_bands, row[2]),
        region=named(known.regions, row[3]),
    )


SEGMENT = """
(select row(s.segment, s.segment_rule, s.segment_since) from member_standing s
 where s.member_id = members.member_id)
"""
LIFECYCLE = """
(select row(s.lifecycle, s.lifecycle_since) from member_standing s
 where s.member_id = members.member_id)
"""
DIMENSIONS = """
(select row(members.occupation, members.residence, members.income_band, members.region))
"""
FACETS = (
    Facet(field="segment", attribute="segment", sql=SEGMENT, read=_segment),
    Facet(field="lifecycle", attribute="lifecycle", sql=LIFECYCLE, read=_lifecycle),
    Facet(field="dimensions", attribute="dimensions", sql=DIMENSIONS, read=_dimensions),
)
