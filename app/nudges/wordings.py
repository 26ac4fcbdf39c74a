"""Wordings in force: those that ship, and the newer versions that employees have published."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.members import requests
from app.members.rules import SegmentCode
from app.nudges import policies, wording_rules
from app.nudges.plan_models import MessageTemplate
from app.nudges.policies import Policy
from app.nudges.wording_rules import Wording
from app.texts import Text

LOCALES = ("zh-CN", "en")


@dataclass(frozen=True, slots=True)
class Key:
    code: str
    arm: str
    segment: str
    """Empty: of everybody without a wording of their own."""
    locale: str


@dataclass(frozen=True, slots=True)
class Version:
    wording: Wording
    version: int
    """0: the one that ships."""


class WordingInvalid(UserError):
    """Names the first fault, and what is allowed."""

    def __init__(self, fault: wording_rules.Fault) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"文案无效：{fault.text.zh}。", en=f"This wording is invalid: {fault.text.en}."
            ),
            field=fault.field,
        )


class VersionOutdated(UserError):
    def __init__(self, *, sent: int, current: int) -> None:
        super().__init__(
            ErrorCode.VERSION_OUTDATED,
            Text(
                zh=f"版本 {sent} 已不是最新，现为 {current}，请重新打开后再修改。",
                en=f"Version {sent} is not the newest any more, {current} is; open it again.",
            ),
            field="version",
        )


@cache
def shipped() -> Mapping[Key, Wording]:
    rows = yaml.safe_load(Path(__file__).with_name("wordings.yaml").read_text("utf-8"))
    found: dict[Key, Wording] = {}
    for row in rows:
        for locale in LOCALES:
            key = Key(row["code"], row["arm"], row.get("segment", ""), locale)
            assert key not in found, key
            found[key] = Wording(**row[locale])
    return found


def policy_of(code: str) -> Policy | None:
    """The policy that says it."""
    return next((it for it in policies.in_force().values() if it.wording == code), None)


_PUBLISHED = text("""
select distinct on (arm, segment, locale) code, arm, segment, locale, version, title, body
from message_templates where code = :code
order by arm, segment, locale, version desc
""")


async def in_force(session: AsyncSession, code: str) -> Mapping[Key, Version]:
    """All wordings of a code."""
    found = {key: Version(it, 0) for key, it in shipped().items() if key.code == code}
    connection = await session.connection()
    for row in await connection.execute(_PUBLISHED, {"code": code}):
        key = Key(row.code, row.arm, row.segment, row.locale)
        found[key] = Version(Wording(row.title, row.body), row.version)
    return found


def choose(
    known: Mapping[Key, Version], *, code: str, arm: str, segment: str | None, locale: str
) -> Wording | None:
    """In the member's language, else in Chinese; of their segment, else of everybody. None when
    nothing was ever written for the arm."""
    spoken = "en" if locale.lower().startswith("en") else "zh-CN"
    for language in (spoken, *LOCALES):
        for group in (segment or "", ""):
            found = known.get(Key(code, arm, group, language))
            if found is not None:
                return found.wording
    return None


async def publish(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    key: Key,
    wording: Wording,
    version: int,
    now: datetime,
) -> tuple[Version, bool]:
    """Publish the next version, in place of `version`; it, and whether this request was
    answered before. What is planned already says it, too.

    Raises NotFound, WordingInvalid, VersionOutdated, RequestReused.
    """
    policy = policy_of(key.code)
    if policy is None:
        raise NotFound(field="code")
    if key.arm not in policy.arms:
        raise NotFound(field="arm")
    if key.segment and key.segment not in SegmentCode.__members__:
        raise NotFound(field="segment")
    if key.locale not in LOCALES:
        raise NotFound(field="locale")
    values: dict[str, Any] = {
        "key": [key.code, key.arm, key.segment, key.locale],
        "wording": [wording.title, wording.body],
        "version": version,
    }
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="publishMessageWording",
        values=values,
        result=new_id(now),
        now=now,
    )
    await _lock(session, key)
    known = (await in_force(session, key.code)).get(key)
    if earlier is not None:
        assert known is not None
        return known, True
    current = known.version if known else 0
    if current != version:
        raise VersionOutdated(sent=version, current=current)
    wrong = wording_rules.faults(wording, locale=key.locale, samples=policy.fact.samples)
    if wrong:
        raise WordingInvalid(wrong[0])
    session.add(
        MessageTemplate(
            code=key.code,
            arm=key.arm,
            segment=key.segment,
            locale=key.locale,
            version=current + 1,
            title=wording.title.strip(),
            body=wording.body.strip(),
            published_by=staff_id,
            published_at=now,
        )
    )
    await session.flush()
    return Version(Wording(wording.title.strip(), wording.body.strip()), current + 1), False


_LOCK = text("select pg_advisory_xact_lock(hashtextextended(:name, 0))")


async def _lock(session: AsyncSession, key: Key) -> None:
    """A version that is not there yet cannot be locked: its name is."""
    name = f"wording {key.code} {key.arm} {key.segment} {key.locale}"
    await session.execute(_LOCK, {"name": name})
