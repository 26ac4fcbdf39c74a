"""Alerts of a recording: raised by readings, closed by later ones. One statement when there is
nothing to do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Integer, Text, Uuid, bindparam, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Statement, fetch
from app.jobs import queue
from app.measurements import alerts_data, alerts_opening, silence
from app.measurements import alerts_rules as rules
from app.measurements.alerts_models import Alert
from app.measurements.alerts_rules import AlertClosed, AlertKind, Kept, Quarter, Raised
from app.measurements.catalogue import quantities
from app.measurements.facts import Touched
from app.measurements.kinds import LIVE, Channel
from app.measurements.streams import SLOT

FRESH = timedelta(hours=48)
"""What was measured longer ago is told by trends, classes and the report, not by an alert; but
what is extreme is still asked about."""
OLD = timedelta(days=365)
"""What was measured longer ago is history, whatever it is."""
TRENDS_AT_HOUR = 20
"""UTC: at night where the members are."""
QUARTER_JOB = "measurements.quarter_over"

_INSTANT = DateTime(timezone=True)
_STANDING = Statement(
    f"""
with marked as (
  insert into trend_checks (member_id, due_at)
  select :member_id, :trends_due_at where :has_trend
  on conflict (member_id) do nothing),
{silence.HEARD}
select a.id, a.rule, a.kind, a.code, a.raised_by_at, a.measurement_id, c.source_id
from alerts a left join connections c on c.member_id = a.member_id and c.id = a.connection_id
where a.member_id = :member_id and a.closed_at is null
""",
    {
        "member_id": "uuid", "now": "timestamptz", "trends_due_at": "timestamptz",
        "source_ids": "text[]", "ids": "uuid[]", "has_trend": "boolean", "app_days": "integer",
    },
)  # fmt: skip
_PROLONG = text("""
update alerts a set raised_by_at = greatest(a.raised_by_at, w.at)
from unnest(:ids, :ats) as w (id, at) where a.member_id = :member_id and a.id = w.id
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("ats", type_=ARRAY(_INSTANT)),
)


_LOCK = text("select from members where member_id = :member_id for no key update").bindparams(
    bindparam("member_id", type_=Uuid)
)
_QUARTER = text("""
select s.code, s.total / s.n, s.starts_at, s.source_id, s.n from measurement_streams s
where s.member_id = :member_id and s.code = any(:codes) and s.starts_at = :starts_at
  and s.n < :enough
  and (select c.state from consents c where c.member_id = s.member_id
    and c.purpose = 'HEALTH_DATA' order by c.version desc limit 1) = 'GRANTED'
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("starts_at", type_=_INSTANT),
    bindparam("enough", type_=Integer),
    bindparam("codes", type_=ARRAY(Text)),
)


@dataclass(frozen=True, slots=True)
class _Open:
    id: UUID
    rule: str
    kind: str
    code: str | None
    raised_by_at: datetime
    measurement_id: UUID | None
    source_id: str | None


async def raise_alerts(
    session: AsyncSession,
    *,
    member_id: UUID,
    touched: Touched,
    now: datetime,
    heard: Iterable[str] = (),
    channel: Channel = Channel.APP,
) -> Sequence[UUID]:
    """The ids of the alerts of a recording, in its transaction; see `raise_for`."""
    quarters = [Quarter(it.code, it.mean, it.starts_at, it.source_id, it.n) for it in touched.slots]
    readings: list[Kept] = [*touched.readings, *quarters]
    found = await raise_for(
        session,
        member_id=member_id,
        readings=readings,
        # A file tells what a device sent once, not that it sends.
        heard=heard if channel in LIVE else (),
        channel=channel,
        now=now,
    )
    return [alert.id for alert in found]


async def raise_for(
    session: AsyncSession,
    *,
    member_id: UUID,
    readings: Sequence[Kept],
    heard: Iterable[str] = (),
    channel: Channel = Channel.APP,
    now: datetime,
) -> list[Alert]:
    """What newly kept readings mean: alerts open or close, and silent devices are heard again.

    To be called in the transaction that keeps the readings, once a request, also without any.
    `readings` are the new ones, in canonical units. `heard` names the sources that have just
    synced. Years of a member's own record may come in a file: what is not fresh in there raises
    nothing. The answer: the open alerts that these
    readings raise, also those that an earlier one had opened.
    """
    in_force = alerts_data.in_force()
    sources = sorted({source_id for source_id in heard if source_id})
    codes = {reading.code for reading in readings}
    found = await fetch(
        session,
        _STANDING,
        {
            "member_id": member_id,
            "now": now,
            "has_trend": any(trend.code in codes for trend in in_force.trends),
            "trends_due_at": trends_due_at(now),
            **silence.parameters(sources, now=now),
        },
    )
    standing = {row["rule"]: _Open(*row) for row in found}
    await _close_what_is_over(session, member_id, standing, readings, sources, now=now)
    since = now - (FRESH if channel is Channel.EXPORT else OLD)
    going_on = [it for it in readings if isinstance(it, Quarter) and not it.may_raise(now=now)]
    if going_on:
        waiting = set(going_on)
        readings = [it for it in readings if not isinstance(it, Quarter) or it not in waiting]
        await _look_again(session, member_id, going_on, now=now)
    raised = [
        it
        for it in rules.raised_by(readings, in_force, fresh_since=now - FRESH)
        if it.reading is not None and it.reading.measured_at > since
    ]
    again = [(it, standing[it.rule]) for it in raised if it.rule in standing]
    new = [(member_id, it) for it in raised if it.rule not in standing]
    known = await _prolong(session, member_id, again)
    return [*known, *await alerts_opening.open_alerts(session, found=new, now=now)]


async def judge_quarter(
    session: AsyncSession, *, member_id: UUID, starts_at: datetime, now: datetime
) -> None:
    """What a quarter of an hour that is over means, where it has too few values to have been
    judged before."""
    await session.execute(_LOCK, {"member_id": member_id})
    values = {
        "member_id": member_id,
        "starts_at": starts_at,
        "enough": rules.ENOUGH,
        "codes": list(quantities()),
    }
    found = await session.execute(_QUARTER, values)
    quarters = [Quarter(*row) for row in found]
    if quarters:
        await raise_for(session, member_id=member_id, readings=quarters, now=now)


async def _look_again(
    session: AsyncSession, member_id: UUID, quarters: Sequence[Quarter], *, now: datetime
) -> None:
    """When they are over, if what there is so far would raise an alert."""
    found = rules.raised_by(quarters, alerts_data.in_force(), fresh_since=now - FRESH)
    for starts_at in sorted({it.reading.measured_at for it in found if it.reading is not None}):
        await queue.enqueue(
            session,
            QUARTER_JOB,
            {"member_id": str(member_id), "starts_at": starts_at.isoformat()},
            now=now,
            run_at=starts_at + SLOT,
            dedupe_key=f"quarter:{member_id}:{starts_at.isoformat()}",
        )


def trends_due_at(now: datetime) -> datetime:
    """Trends are looked at once a day, after the next `TRENDS_AT_HOUR`."""
    due = now.replace(hour=TRENDS_AT_HOUR, minute=0, second=0, microsecond=0)
    return due if due > now else due + timedelta(days=1)


async def _close_what_is_over(
    session: AsyncSession,
    member_id: UUID,
    standing: dict[str, _Open],
    readings: Sequence[Kept],
    sources: Sequence[str],
    *,
    now: datetime,
) -> None:
    """Also takes them out of `standing`."""
    synced = [
        it for it in standing.values() if it.kind == AlertKind.SILENCE and it.source_id in sources
    ]
    normal = [
        it for it in standing.values() if it.kind == AlertKind.THRESHOLD and _clears(it, readings)
    ]
    for over, reason in ((synced, AlertClosed.SYNCED), (normal, AlertClosed.NORMAL_AGAIN)):
        ids = [(member_id, it.id) for it in over]
        await alerts_opening.close(session, alerts=ids, reason=reason, now=now)
        for it in over:
            del standing[it.rule]


def _clears(alert: _Open, readings: Sequence[Kept]) -> bool:
    assert alert.code is not None
    since = alert.raised_by_at
    if alert.measurement_id is None:
        # The quarter that raised it counts too: it may have another mean by now.
        since -= timedelta.resolution
    moment = rules.clearing_moment(
        readings, alert.rule, alert.code, since=since, rules=alerts_data.in_force()
    )
    return moment is not None


async def _prolong(
    session: AsyncSession, member_id: UUID, again: Sequence[tuple[Raised, _Open]]
) -> list[Alert]:
    """What is open already goes on: only what is read after the newest reading can close it."""
    if not again:
        return []
    ids = [known.id for _, known in again]
    ats = [it.reading.measured_at for it, _ in again if it.reading is not None]
    await session.execute(_PROLONG, {"member_id": member_id, "ids": ids, "ats": ats})
    statement = select(Alert).where(Alert.member_id == member_id, col(Alert.id).in_(ids))
    return list((await session.exec(statement)).all())
