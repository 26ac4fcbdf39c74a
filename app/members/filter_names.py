"""Whether what a filter names is there: codes of the choices, and saved segments."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from app.members import dimensions, filters
from app.members.standing_models import SavedSegment


async def check(
    connection: AsyncConnection, wanted: filters.Filter, *, filled: bool = False
) -> None:
    """That the segments and codes which a filter names are there; with `filled`, which is asked
    of what was written before, that the segments' members were found. Raises FilterInvalid."""
    if not filled:
        await _check_codes(connection, wanted)
    named = filters.saved_segments(wanted)
    if not named:
        return
    wanted_ids = {id for _, id in named}
    rows = await connection.execute(
        select(SavedSegment).where(col(SavedSegment.id).in_(wanted_ids))
    )
    known = {it.id: it for it in rows}
    for path, id in named:
        segment = known.get(id)
        if segment is None or segment.archived_at is not None:
            raise filters.FilterInvalid(path, "names a segment that is not there, or archived.")
        if filled and segment.refreshed_at is None:
            said = "names a segment whose members are being found; try again in some minutes."
            raise filters.FilterInvalid(path, said)


async def _check_codes(connection: AsyncConnection, wanted: filters.Filter) -> None:
    """Raises FilterInvalid."""
    known: dict[str, Collection[str]] = {}
    for path, name, code in filters.codes(wanted):
        if name not in known:
            upper = filters.UPPER_CODES.get(name)
            of_table = filters.CODES.get(name)
            if of_table is not None:
                known[name] = of_table(dimensions.in_force())
            elif upper is not None:
                known[name] = await upper(connection)
        # A part of a region is written after it: CN-31-0115.
        is_part = name == "regions" and any(code.startswith(f"{it}-") for it in known[name])
        if code not in known[name] and not is_part:
            raise filters.FilterInvalid(
                path, f"has {code[:40]!r}; it may have {', '.join(known[name])}."
            )
