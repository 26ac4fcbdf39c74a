"""Expired points that are given back may pay a debt."""

from app import migration_steps as steps

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_ROUTES = (
    "EARNED issued available",
    "EARNED issued owed",
    "EARNED issued pending",
    "HELD available held",
    "HELD available pending",
    "RELEASED held available",
    "RELEASED held owed",
    "RELEASED pending available",
    "RELEASED pending owed",
    "REDEEMED available redeemed",
    "REDEEMED held redeemed",
    "EXPIRED available expired",
    "EXPIRED held expired",
    "EXPIRED pending expired",
    "REVERSED available reversed",
    "REVERSED held reversed",
    "REVERSED owed reversed",
    "REVERSED pending reversed",
    "REVERSED redeemed available",
    "REVERSED redeemed owed",
    "RESTATED available reversed",
    "RESTATED held reversed",
    "RESTATED issued available",
    "RESTATED issued owed",
    "RESTATED issued pending",
    "RESTATED owed reversed",
    "RESTATED pending reversed",
    "ADJUSTED available reversed",
    "ADJUSTED expired available",
    "ADJUSTED expired owed",
    "ADJUSTED held reversed",
    "ADJUSTED issued available",
    "ADJUSTED issued owed",
    "ADJUSTED issued pending",
    "ADJUSTED owed reversed",
    "ADJUSTED pending reversed",
)


def upgrade() -> None:
    with steps.live():
        routes = ", ".join(f"'{route}'" for route in _ROUTES)
        steps.check(
            "points_transfers",
            "route_allowed",
            f"kind || ' ' || debit || ' ' || credit in ({routes})",
        )
