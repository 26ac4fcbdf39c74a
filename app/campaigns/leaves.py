"""What domains below know of a member, as leaves of a filter.

What tells of somebody's health is asked of those only who consent to its use, as everywhere
(`risk.queries.in_tiers`): a filter must not find out what a page hides.
"""

from typing import Any

from sqlalchemy import and_, case, exists, func, select
from sqlmodel import col

from app.health_tasks.models import Task
from app.measurements import rules as measurements
from app.measurements.catalogue import quantities
from app.measurements.models import Measurement
from app.measurements.queries import consents
from app.members import filters
from app.members.directory import Condition
from app.members.filters import At
from app.members.models import Member
from app.premiums.models import Policy, ProductVersion
from app.risk import queries as risk
from app.risk.rulesets import Tier


def _tiers(value: Any, at: At) -> Condition:
    wanted = [Tier(it) for it in filters.chosen(Tier, value, at)]
    return func.coalesce(risk.in_tiers(Member.member_id, wanted), False)


def _products(value: Any, at: At) -> Condition:
    return exists().where(
        col(Policy.member_id) == Member.member_id,
        col(Policy.state) == "IN_FORCE",
        col(Policy.product_version_id) == ProductVersion.id,
        col(ProductVersion.code).in_(filters.texts(value, at)),
    )


def _participation(value: Any, at: At) -> Condition:
    """Tasks that were due in these days: done of done and missed, as in a month of it."""
    since = at.now - filters.days(value.get("days"), at)
    names = ("minimumPercent", "maximumPercent")
    low, high = filters.ends(value, names, at, within=(0, 100))
    done = func.count().filter(col(Task.state) == "DONE")
    share = (
        select(100 * done / case((func.count() > 0, func.count() * 1.0)))
        .where(
            col(Task.member_id) == Member.member_id,
            col(Task.state).in_(["DONE", "MISSED"]),
            col(Task.due_at) > since,
            col(Task.due_at) <= at.now,
        )
        .scalar_subquery()
    )
    return and_(_agrees(), filters.between(share, low, high))


def _measurement(value: Any, at: At) -> Condition:
    code = value.get("code")
    quantity = quantities().get(str(code))
    if quantity is None:
        raise at.refuse("is no code of the catalogue.", part="code")
    unit = quantity.unit(str(value.get("unit")))
    if unit is None:
        units = ", ".join(it.ucum for it in quantity.units)
        raise at.refuse(f"must be one of {units}.", part="unit")
    since = at.now - filters.days(value.get("days"), at)
    low, high = filters.ends(value, ("minimum", "maximum"), at)
    mean = (
        select(func.avg(col(Measurement.value)))
        .where(
            col(Measurement.member_id) == Member.member_id,
            col(Measurement.code) == quantity.code,
            col(Measurement.superseded_at).is_(None),
            ~col(Measurement.retracted),
            col(Measurement.measured_at) > since,
            col(Measurement.measured_at) <= at.now,
        )
        .scalar_subquery()
    )
    both = (measurements.canonical(it, unit) if it is not None else None for it in (low, high))
    return and_(_agrees(), filters.between(mean, *both))


def _agrees() -> Condition:
    return func.coalesce(consents(Member.member_id), False)


LEAVES = {
    "riskTiers": _tiers,
    "productCodes": _products,
    "participation": _participation,
    "measurement": _measurement,
}
HEALTH = {"riskTiers", "participation", "measurement"}
"""Those that tell of somebody's health."""
