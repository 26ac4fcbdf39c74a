"""The routes that points may take, in a function: a check with all of them is read anew, from
its text, by each statement that writes a transfer."""

from app import migration_steps as steps

revision = "0070"
down_revision = "0064"
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
    routes = ", ".join(f"'{route}'" for route in _ROUTES)
    with steps.live():
        steps.run(f"""
create or replace function wellward_route_allowed(kind text, debit text, credit text)
returns boolean language plpgsql immutable parallel safe as $$
begin
  return kind || ' ' || debit || ' ' || credit in ({routes});
end $$
""")
        steps.check(
            "points_transfers", "route_allowed", "wellward_route_allowed(kind, debit, credit)"
        )
