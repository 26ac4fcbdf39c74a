"""What a policy's planned message says, to those for whom it is still true."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import structlog
from jinja2 import TemplateError
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.nudges import asking, policies, sources, wording_rules, wordings
from app.nudges.sources import Cause, Content

_log = structlog.get_logger(__name__)
_ZONES = text(
    "select member_id, time_zone from members where member_id = any(cast(:ids as uuid[]))"
)


async def prepare(
    session: AsyncSession, source_id: UUID, due: Sequence[sources.Due], now: datetime
) -> Mapping[Cause, Content]:
    """As `sources.Prepare`: the fact is asked again."""
    policy = policies.in_force().get(source_id)
    if policy is None:
        return {}
    held = await asking.look(
        session, policy, [(it.member_id, it.local_date) for it in due], now=now
    )
    known = await wordings.in_force(session, policy.wording)
    prefix = asking.prefix(policy)
    found: dict[Cause, Content] = {}
    for it in due:
        fact = held.get((it.member_id, it.cause_key.removeprefix(prefix)))
        if fact is None:
            continue
        wording = wordings.choose(
            known, code=policy.wording, arm=it.arm, segment=fact.segment, locale=fact.locale
        )
        if wording is None:
            # An arm that was taken out since it was drawn.
            _log.error("wording_missing", code=policy.wording, arm=it.arm)
            continue
        try:
            said = wording_rules.render(wording, fact.values)
        except (TemplateError, TypeError):
            # Published before it was checked as it is now, or of another fact.
            _log.error("wording_broken", code=policy.wording, arm=it.arm)
            continue
        found[it.cause] = Content(
            topic=policy.topic,
            template=policy.wording,
            title=said.title,
            body=said.body,
            channels=policy.channels,
            priority=policy.priority,
        )
    return found


async def remaining(
    session: AsyncSession, source_id: UUID, causes: Sequence[Cause], now: datetime
) -> set[Cause]:
    """As `sources.Remaining`: of those for whom the fact still holds on their present day."""
    policy = policies.in_force().get(source_id)
    if policy is None:
        return set()
    asked = []
    members = sorted({member_id for member_id, _ in causes})
    for member_id, name in await session.execute(_ZONES, {"ids": members}):
        try:
            zone = civil_time.zone(name)
        except civil_time.UnknownZone:
            # The gate leaves them out as well: nobody else's message waits for them.
            continue
        asked.append((member_id, civil_time.local_date(now, zone)))
    held = await asking.look(session, policy, asked, now=now)
    holds = {member_id for member_id, _ in held}
    return {cause for cause in causes if cause[0] in holds}


sources.register(policies.KIND, prepare, remaining)
