"""What to change, by rules that say on which figures they rest (CMP-5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy.ext.asyncio import AsyncConnection

from app.campaigns import funnel
from app.campaigns.funnel import Dimension, FunnelStage, Step, Wanted
from app.campaigns.rules import CampaignChannel
from app.members.rules import SegmentCode
from app.texts import Text


@dataclass(frozen=True, slots=True)
class Rule:
    code: str
    segments: Sequence[SegmentCode]
    channels: Sequence[CampaignChannel]
    said: Text
    suggests: CampaignChannel | None = None
    click_below: Decimal | None = None
    click_from: Decimal | None = None
    enrol_below: Decimal | None = None

    def holds(self, steps: Sequence[Step]) -> bool:
        click, enrol = _rate(steps, FunnelStage.CLICK), _rate(steps, FunnelStage.ENROL)
        return (
            (self.click_below is None or (click is not None and click < self.click_below))
            and (self.click_from is None or (click is not None and click >= self.click_from))
            and (self.enrol_below is None or (enrol is not None and enrol < self.enrol_below))
        )


@dataclass(frozen=True, slots=True)
class Suggestion:
    rule: Rule
    segment: SegmentCode
    channel: CampaignChannel
    evidence: Sequence[Step]
    since: datetime


def _rate(steps: Sequence[Step], stage: FunnelStage) -> Decimal | None:
    return next((it.rate for it in steps if it.stage is stage), None)


@cache
def in_force() -> tuple[timedelta, int, Sequence[Rule]]:
    """How far back, from how many members who saw something, and the rules."""
    content = Path(__file__).with_name("suggestions.yaml").read_text(encoding="utf-8")
    found = yaml.safe_load(content)
    rules = [_rule(row) for row in found["rules"]]
    return timedelta(days=found["days"]), found["exposed_min"], rules


def _rule(row: dict[str, Any]) -> Rule:
    limits = {
        name: Decimal(row[name])
        for name in ("click_below", "click_from", "enrol_below")
        if name in row
    }
    return Rule(
        code=row["code"],
        segments=[SegmentCode(it) for it in row["segments"]] or list(SegmentCode),
        channels=[CampaignChannel(it) for it in row["channels"]] or list(CampaignChannel),
        said=Text(zh=row["zh"], en=row["en"]),
        suggests=CampaignChannel(row["suggests"]) if row["suggests"] else None,
        **limits,
    )


async def suggest(connection: AsyncConnection, *, now: datetime) -> Sequence[Suggestion]:
    """What the rules say of each channel and segment, with one statement."""
    days, exposed_min, rules = in_force()
    wanted = Wanted(now - days, now)
    by = (Dimension.SEGMENT, Dimension.CHANNEL)
    found = []
    for row in await funnel.table(connection, wanted, by):
        if row.segment is None or row.channel is None or row.steps[0].count < exposed_min:
            continue
        segment, channel = SegmentCode(row.segment), CampaignChannel(row.channel)
        found += [
            Suggestion(rule, segment, channel, row.steps, wanted.since)
            for rule in rules
            if segment in rule.segments and channel in rule.channels and rule.holds(row.steps)
        ]
    return found
