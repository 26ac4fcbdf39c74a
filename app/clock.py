"""The system's clock. Only the edges read it: everything else takes `now` as an argument."""

from datetime import UTC, datetime


def wall_clock() -> datetime:
    """This instant, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - the one place that may
