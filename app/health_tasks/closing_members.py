"""What is known of members whose periods the clock closes, in one statement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ARRAY, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.health_tasks.queries import pauses_of
from app.measurements.devices_links import links_of, links_sql
from app.measurements.devices_rules import Link
from app.members.rules import ConsentState, PausedDays

_MEMBERS = text(f"""
select m.member_id, m.time_zone,
  array(select row(c.state, c.recorded_at) from consents c
    where c.member_id = m.member_id and c.purpose = 'HEALTH_DATA' order by c.version),
  array(select row(c.state, c.recorded_at) from consents c
    where c.member_id = m.member_id and c.purpose = 'DEVICE_DATA' order by c.version),
  {links_sql("m.member_id")},
  array(select row(p.starts_on, p.ends_on) from pauses p where p.member_id = m.member_id),
  (select max(p.month) from participation_months p where p.member_id = m.member_id),
  (select max(coalesce(a.ends_on, 'infinity')) from task_assignments a
    where a.member_id = m.member_id)
from members m where m.member_id = any(:member_ids)
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)))


@dataclass(frozen=True, slots=True)
class Member:
    zone: ZoneInfo
    consents: Sequence[tuple[str, datetime]]
    """To the use of health data, oldest first."""
    device_consents: Sequence[tuple[str, datetime]]
    """To the use of data of devices, oldest first."""
    links: Sequence[Link]
    pauses: Sequence[PausedDays]
    latest_month: date | None
    asked_until: date | None
    """Last day on which anything is asked of the member."""

    def consent_at(self, instant: datetime) -> ConsentState:
        return _in_force(self.consents, instant)

    def device_consent_at(self, instant: datetime) -> ConsentState:
        return _in_force(self.device_consents, instant)


async def load_members(session: AsyncSession, member_ids: Sequence[UUID]) -> Mapping[UUID, Member]:
    found = await session.execute(_MEMBERS, {"member_ids": member_ids})
    return {
        row[0]: Member(
            civil_time.zone(row[1]), row[2], row[3], links_of(row[4]), pauses_of(row[5]), *row[6:]
        )
        for row in found
    }


def _in_force(answers: Sequence[tuple[str, datetime]], instant: datetime) -> ConsentState:
    before = [state for state, recorded_at in answers if recorded_at < instant]
    return ConsentState(before[-1]) if before else ConsentState.NOT_ASKED
