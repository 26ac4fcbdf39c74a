"""Which services a member may use now, of their own policy or of their spouse's."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Date, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.premiums import catalogue
from app.premiums import rules as terms
from app.premiums.benefit_terms import Entitlement
from app.services import granted, rules
from app.services.granted import Source
from app.services.rules import Counted, Holder

Reader = AsyncConnection | AsyncSession
SpousesOf = Callable[[Reader, Mapping[UUID, date]], Awaitable[Mapping[UUID, UUID]]]
"""Members with their local day, to the spouses of those who have one."""


_HELD = text("""
select m.member_id, m.time_zone, c.id as policy_id, c.started_on, v.id as version_id, v.definition,
  (select p.tier from risk_profiles p where p.member_id = m.member_id) as tier,
  coalesce((select s.state = 'GRANTED' from consents s where s.member_id = m.member_id
    and s.purpose = 'HEALTH_DATA' order by s.version desc limit 1), false) as consented,
  exists (select from mild_condition_cases k where k.member_id = m.member_id
    and k.policy_id = c.id and k.state = 'OPEN') as has_open_case,
  array(select row(q.service, q.starts_on, q.reserved, q.consumed) from entitlement_quotas q
    where q.member_id = c.member_id and q.policy_id = c.id and q.ends_on >= :since) as counted,
  array(select row(g.id, g.service, g.source, g.starts_on, g.ends_on) from entitlement_grants g
    where g.member_id = m.member_id and g.revoked_at is null) as granted,
  array(select row(q.grant_id, q.starts_on, q.reserved, q.consumed) from entitlement_grant_quotas q
    where q.member_id = m.member_id and q.ends_on >= :since) as grants_counted
from unnest(:member_ids) as w (member_id)
join members m on m.member_id = w.member_id
left join policies c on c.member_id = m.member_id and c.state = 'IN_FORCE'
left join product_versions v on v.id = c.product_version_id
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("since", type_=Date))


@dataclass(frozen=True, slots=True)
class Entitled:
    """One service that a member has, in the period that runs."""

    entitlement: Entitlement
    holder_id: UUID
    """The member, or the spouse who shares theirs."""
    policy_id: UUID | None
    version_id: UUID | None
    period: terms.Term
    counted: Counted
    holder: Holder
    consented: bool
    """Whether the holder allows the use of health data."""
    grant_id: UUID | None = None
    """Of what was granted; there is no policy then."""
    source: Source = Source.PRODUCT

    @property
    def left(self) -> int | None:
        return rules.units_left(self.entitlement, self.counted)

    @property
    def unavailable(self) -> rules.UnavailableReason | None:
        return rules.unavailable(self.entitlement, self.holder, self.counted)


async def services(
    reading: Reader, member_ids: Sequence[UUID], *, spouses_of: SpousesOf, now: datetime
) -> Mapping[UUID, Sequence[Entitled]]:
    """Of each member, in the order of the product, then what was granted: a constant number of
    statements. A spouse's shared service is left out where the member has it themselves."""
    rows = {row.member_id: row for row in await _rows(reading, member_ids, now=now)}
    today = {id: _today(row, now) for id, row in rows.items()}
    spouses = await spouses_of(reading, today)
    missing = [id for id in set(spouses.values()) if id not in rows]
    held = {**rows}
    if missing:
        held |= {row.member_id: row for row in await _rows(reading, missing, now=now)}
    found: dict[UUID, Sequence[Entitled]] = {}
    for member_id, row in rows.items():
        own = _of(row, now)
        known = {it.entitlement.service for it in own}
        spouse = held.get(spouses[member_id]) if member_id in spouses else None
        shared = [
            it
            for it in (_of(spouse, now) if spouse is not None else ())
            if it.entitlement.shared_with_spouse and it.entitlement.service not in known
        ]
        found[member_id] = [*own, *shared, *_granted(row, now)]
    return found


def _granted(row: Any, now: datetime) -> list[Entitled]:
    today = _today(row, now)
    counted = {(it[0], it[1]): Counted(it[2], it[3]) for it in row.grants_counted}
    held = {it[1]: it for it in row.granted}
    made = []
    for entitlement in granted.entitlements():
        if entitlement.service not in held:
            continue
        grant_id, _, source, starts_on, ends_on = held[entitlement.service]
        if ends_on is not None and ends_on < today:
            continue
        period = rules.period(entitlement, today, policy_started_on=starts_on)
        if ends_on is not None:
            period = terms.Term(period.starts_on, min(period.ends_on, ends_on))
        made.append(
            Entitled(
                entitlement=entitlement,
                holder_id=row.member_id,
                policy_id=None,
                version_id=None,
                period=period,
                counted=counted.get((grant_id, period.starts_on), Counted()),
                holder=Holder(row.tier, row.has_open_case),
                consented=row.consented,
                grant_id=grant_id,
                source=Source(source),
            )
        )
    return made


def _of(row: Any, now: datetime) -> list[Entitled]:
    if row.policy_id is None:
        return []
    product = catalogue.definition(row.version_id, row.definition)
    counted = {(it[0], it[1]): Counted(it[2], it[3]) for it in row.counted}
    holder = Holder(row.tier, row.has_open_case)
    made = []
    for entitlement in product.entitlements:
        period = rules.period(entitlement, _today(row, now), policy_started_on=row.started_on)
        made.append(
            Entitled(
                entitlement=entitlement,
                holder_id=row.member_id,
                policy_id=row.policy_id,
                version_id=row.version_id,
                period=period,
                counted=counted.get((entitlement.service, period.starts_on), Counted()),
                holder=holder,
                consented=row.consented,
            )
        )
    return made


async def _rows(reading: Reader, member_ids: Sequence[UUID], *, now: datetime) -> Sequence[Any]:
    # A day less: a local day may begin before that of UTC.
    since = now.date() - timedelta(days=1)
    wanted = {"member_ids": list(member_ids), "since": since}
    rows: Sequence[Any] = (await reading.execute(_HELD, wanted)).all()
    return rows


def _today(row: Any, now: datetime) -> date:
    return civil_time.local_date(now, civil_time.zone(row.time_zone))
