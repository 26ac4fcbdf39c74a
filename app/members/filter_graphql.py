"""`MemberFilter` as it is sent, and the tree of plain values that it is kept as."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry.utils.str_converters import to_camel_case

from app.graphql.ids import Kind, parse
from app.graphql.scalars import write_decimal
from app.members import filters
from app.members.enums import (
    ConsentPurpose,
    ConsentState,
    LifecycleStage,
    SegmentCode,
    Sex,
)

if TYPE_CHECKING:
    from app.measurements.enums import MeasurementCode
    from app.risk.graphql import RiskTier

LazyTier = Annotated["RiskTier", strawberry.lazy("app.risk.graphql")]
LazyCode = Annotated["MeasurementCode", strawberry.lazy("app.measurements.enums")]


@strawberry.input(description="Completed years on today's date (UTC), both ends included.")
class AgeRangeInput:
    minimum: int | None = None
    maximum: int | None = None


@strawberry.input(description="By the answer in force for this purpose.")
class ConsentFilter:
    purpose: ConsentPurpose
    states: list[ConsentState]


@strawberry.input(
    description="Share of due tasks that were done, of members who consent to the use of their "
    "health data and had any task due."
)
class ParticipationFilter:
    days: int = strawberry.field(description="Counted back from today, 1 to 365.")
    minimum_percent: Decimal | None = None
    maximum_percent: Decimal | None = None


@strawberry.input(
    description="On the average of the last days, of members who consent to the use of their "
    "health data and have a reading."
)
class MeasurementFilter:
    code: LazyCode
    unit: str
    days: int = strawberry.field(description="Counted back from today, 1 to 365.")
    minimum: Decimal | None = None
    maximum: Decimal | None = None


@strawberry.input(
    description="Of everybody a random share, in percent, from `fromPercent` to before "
    "`toPercent`; with one salt always the same members."
)
class RandomShareFilter:
    salt: str = strawberry.field(description="At most 100 characters; another is another draw.")
    from_percent: Decimal = Decimal(0)
    to_percent: Decimal = Decimal(100)


@strawberry.input(
    one_of=True,
    description="Exactly one field: a fact about the member, or a combination of filters. At "
    f"most {filters.DEPTH_MAX} filters inside each other, lists of 1 to {filters.LIST_MAX}, "
    f"{filters.VALUES_MAX} values in all.",
)
class MemberFilter:
    all: list["MemberFilter"] | None = strawberry.UNSET
    any: list["MemberFilter"] | None = strawberry.UNSET
    not_: "MemberFilter | None" = strawberry.field(name="not", default=strawberry.UNSET)
    segments: list[SegmentCode] | None = strawberry.UNSET
    risk_tiers: list[LazyTier] | None = strawberry.UNSET
    lifecycle_stages: list[LifecycleStage] | None = strawberry.UNSET
    sexes: list[Sex] | None = strawberry.UNSET
    age: AgeRangeInput | None = strawberry.UNSET
    regions: list[str] | None = strawberry.field(
        default=strawberry.UNSET,
        description="Codes of `profileOptions`, as `CN-31`; a region holds its parts.",
    )
    income_bands: list[str] | None = strawberry.field(
        default=strawberry.UNSET, description="Codes of `profileOptions`."
    )
    occupations: list[str] | None = strawberry.field(
        default=strawberry.UNSET, description="Codes of `profileOptions`."
    )
    residences: list[str] | None = strawberry.field(
        default=strawberry.UNSET, description="Codes of `profileOptions`."
    )
    product_codes: list[str] | None = strawberry.field(
        default=strawberry.UNSET, description="Of the policy in force."
    )
    consent: ConsentFilter | None = strawberry.UNSET
    inactive_days: int | None = strawberry.field(
        default=strawberry.UNSET, description="No use for at least this many days, 1 to 3650."
    )
    participation: ParticipationFilter | None = strawberry.UNSET
    measurement: MeasurementFilter | None = strawberry.UNSET
    saved_segments: list[strawberry.ID] | None = strawberry.field(
        default=strawberry.UNSET, description="In any of these now."
    )
    random_share: RandomShareFilter | None = strawberry.UNSET


def document_of(wanted: MemberFilter) -> filters.Filter:
    """The filter as plain values, under the names that it was sent with."""
    found: filters.Filter = _plain(wanted)
    return found


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {
            to_camel_case(it.name.rstrip("_")): _of_field(it.name, getattr(value, it.name))
            for it in fields(value)
            if getattr(value, it.name) is not strawberry.UNSET
            and getattr(value, it.name) is not None
        }
    if isinstance(value, list):
        return [_plain(it) for it in value]
    if isinstance(value, Enum):
        return value.value
    return write_decimal(value) if isinstance(value, Decimal) else value


def _of_field(name: str, value: Any) -> Any:
    if name != "saved_segments":
        return _plain(value)
    # What is no saved segment is refused where the filter is read.
    named = [parse(id) for id in value]
    return [str(it.parts[0]) if it and it.kind is Kind.SAVED_SEGMENT else "" for it in named]


def sent_form(document: Mapping[str, Any], *, encode: Any) -> dict[str, Any]:
    """A kept filter as it can be sent again: ids are global once more."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        if name in ("all", "any"):
            found[name] = [sent_form(part, encode=encode) for part in value]
        elif name == "not":
            found[name] = sent_form(value, encode=encode)
        elif name == "savedSegments":
            found[name] = [encode(it) for it in value]
        else:
            found[name] = value
    return found
