"""Who is in a campaign, and with which arm: set-based, in ranges of members that commit one by
one. A run that is cut short goes on where it stopped; one that is repeated changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import (
    ARRAY,
    Date,
    DateTime,
    Integer,
    Uuid,
    bindparam,
    case,
    column,
    func,
    literal,
    select,
    text,
)
from sqlalchemy import Text as SqlText
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.campaigns import assignment
from app.campaigns.assignment import HOLDOUT, Arm
from app.campaigns.models import Campaign, CampaignMember, CampaignVariant
from app.campaigns.rules import Audience, CampaignState, Timing
from app.db import Database
from app.members import filters, ranges, segments
from app.members.models import Member
from app.nudges import rules as reminders
from app.nudges.recurrence import parse_recurrence

RANGE = 50_000
"""Members that one transaction looks at."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Slot:
    """When the members of a zone get a message, and which of their days it is."""

    local_date: date
    at: datetime


async def lock_running(session: AsyncSession, campaign_id: UUID) -> Campaign | None:
    """The campaign, locked against a pause; None unless it runs."""
    found = await session.get(Campaign, campaign_id, with_for_update=True, populate_existing=True)
    return found if found is not None and found.state == CampaignState.RUNNING else None


async def weights(session: AsyncSession, campaign_id: UUID) -> Mapping[str, int]:
    statement = select(col(CampaignVariant.key), col(CampaignVariant.weight)).where(
        col(CampaignVariant.campaign_id) == campaign_id
    )
    return {key: weight for key, weight in await session.execute(statement)}


async def arms(session: AsyncSession, campaign: Campaign) -> Sequence[Arm]:
    return assignment.arms(
        await weights(session, campaign.id), holdout_percent=campaign.holdout_percent
    )


_SIZE = text("select count(*) from campaign_members where campaign_id = :id").bindparams(
    bindparam("id", type_=Uuid)
)


async def zones(session: AsyncSession) -> Sequence[str]:
    """Of all members; what this program does not know is left out."""
    found = await ranges.zones(session)
    known = [name for name in found if name in civil_time.zone_names()]
    if len(known) < len(found):
        _log.error("member_zone_unknown", zones=sorted(set(found) - set(known)))
    return known


async def assign(db: Database, campaign_id: UUID, *, now: datetime) -> int:
    """Go through the members from where it stopped; how many were assigned."""
    assigned, more = 0, True
    while more:
        async with db.transaction() as session:
            campaign = await lock_running(session, campaign_id)
            if campaign is None or campaign.assigned_upto is None:
                return assigned
            upto = await ranges.upto(session, campaign.assigned_upto, RANGE)
            if upto is not None:
                assigned += await _assign_range(session, campaign, upto, now=now)
            else:
                size = (await session.execute(_SIZE, {"id": campaign_id})).scalar_one()
                hides = await segments.asks_of_health(await session.connection(), campaign.filter)
                campaign.audience_size = segments.coarse(size) if hides else size
                campaign.assigned_at = now
            campaign.assigned_upto = upto
            more = upto is not None
    return assigned


def assign_anew(campaign: Campaign) -> None:
    """Look for whom a live audience has gained since. The campaign is locked."""
    if campaign.audience == Audience.LIVE and campaign.assigned_upto is None:
        campaign.assigned_upto = ranges.FIRST


async def _assign_range(
    session: AsyncSession, campaign: Campaign, upto: UUID, *, now: datetime
) -> int:
    assert campaign.started_at is not None
    # A frozen audience is whoever there was at the start, however late a range is looked at.
    frozen = campaign.audience == Audience.FROZEN
    shared = await arms(session, campaign)
    wanted = [
        col(Member.erased_at).is_(None),
        col(Member.member_id) > campaign.assigned_upto,
        col(Member.member_id) <= upto,
        filters.condition(campaign.filter, now=campaign.started_at if frozen else now),
    ]
    if frozen:
        wanted.append(col(Member.created_at) <= campaign.started_at)
    found = (
        select(
            col(Member.member_id),
            col(Member.time_zone),
            filters.drawn(campaign.id.bytes).label("drawn"),
        )
        .where(*wanted)
        .cte("found")
    )
    arm = case(*((found.c.drawn < it.end, literal(it.key, SqlText)) for it in shared))
    assigned = select(found.c.member_id, found.c.time_zone, arm.label("arm")).subquery("assigned")
    zone = _zones_table(await _slots(session, campaign, now=now))
    is_told = assigned.c.arm != HOLDOUT
    rows = select(
        assigned.c.member_id,
        literal(campaign.id, Uuid),
        assigned.c.arm,
        literal(max(now, campaign.starts_at), DateTime(timezone=True)),
        literal(0, Integer),
        case((is_told, zone.c.local_date)),
        case((is_told, zone.c.at)),
    ).select_from(assigned.outerjoin(zone, zone.c.name == assigned.c.time_zone))
    names = ["member_id", "campaign_id", "arm", "assigned_at", "step", "local_date", "next_at"]
    statement = insert(CampaignMember).from_select(names, rows).on_conflict_do_nothing()
    done = await session.execute(statement)
    return int(done.rowcount)  # type: ignore[attr-defined]


Zoned = Sequence[tuple[str, Slot]]


async def _slots(session: AsyncSession, campaign: Campaign, *, now: datetime) -> Zoned:
    slots = {zone: first_slot(campaign, zone, now=now) for zone in await zones(session)}
    return [(zone, slot) for zone, slot in slots.items() if slot is not None]


def _zones_table(known: Zoned) -> Any:
    """Zones with their slots, as a table of a statement."""
    instant = DateTime(timezone=True)
    return (
        func.unnest(
            bindparam("zone_names", [zone for zone, _ in known], ARRAY(SqlText)),
            bindparam("zone_dates", [slot.local_date for _, slot in known], ARRAY(Date)),
            bindparam("zone_instants", [slot.at for _, slot in known], ARRAY(instant)),
        )
        .table_valued(
            column("name", SqlText),
            column("local_date", Date),
            column("at", instant),
            name="zone",
        )
        .render_derived()
    )


def first_slot(campaign: Campaign, zone: str, *, now: datetime) -> Slot | None:
    """When the members of a zone get the first message; None when there is no time left."""
    place = civil_time.zone(zone)
    earliest = max(campaign.starts_at, now)
    if campaign.timing == Timing.AT_ONCE:
        return Slot(civil_time.local_date(earliest, place), earliest)
    return _fire(campaign, zone, after=None, now=earliest)


def next_slot(campaign: Campaign, zone: str, *, last: date, now: datetime) -> Slot | None:
    """When what recurs comes again, after the local day `last`."""
    return _fire(campaign, zone, after=last, now=now)


def _fire(campaign: Campaign, zone: str, *, after: date | None, now: datetime) -> Slot | None:
    place = civil_time.zone(zone)
    assert campaign.local_time is not None
    starts_on = civil_time.local_date(campaign.starts_at, place)
    rule = campaign.recurrence or "FREQ=DAILY"
    schedule = reminders.Schedule(
        recurrence=parse_recurrence(rule),
        local_time=campaign.local_time,
        starts_on=starts_on,
        ends_on=civil_time.local_date(campaign.ends_at, place) if campaign.ends_at else None,
        set_at=max(campaign.starts_at, campaign.started_at or campaign.starts_at),
    )
    fire = reminders.next_fire(schedule, zone=place, last_fired=after, now=now)
    if fire is None or (campaign.ends_at is not None and fire.at >= campaign.ends_at):
        return None
    return Slot(fire.local_date, fire.at)
