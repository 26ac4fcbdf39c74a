"""Policies, wordings and suppressed messages as employees see them."""

from collections.abc import Sequence
from datetime import date, datetime, time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Self

import strawberry

from app.graphql.node import Info
from app.members.enums import SegmentCode
from app.nudges import gate, policies, rules, wording_rules
from app.nudges.suppression import SuppressionReason
from app.nudges.wording_rules import Wording
from app.nudges.wordings import Key, Version

if TYPE_CHECKING:
    from app.schema import Member

LazyMember = Annotated["Member", strawberry.lazy("app.schema")]

strawberry.enum(SuppressionReason)
strawberry.enum(policies.TriggerKind, name="NudgeTriggerKind")
strawberry.enum(gate.Priority, name="MessagePriority")


@strawberry.enum
class NudgePolicyState(StrEnum):
    ACTIVE = "ACTIVE"
    HALTED = "HALTED"


@strawberry.type(description="A message that went nowhere. Its words are not shown.")
class SuppressedMessage:
    topic: gate.Topic
    priority: gate.Priority
    reason: SuppressionReason
    planned_at: datetime
    local_date: date
    source: str | None = strawberry.field(
        description="The policy or campaign that wanted it; null for a reminder or notice."
    )
    arm: str | None
    row: strawberry.Private[Any]
    shows_member: strawberry.Private[bool]

    @strawberry.field(description="Null for a campaign manager, who sees no members.")
    async def member(self, info: Info) -> LazyMember | None:
        if not self.shows_member:
            return None
        return await info.context.members.load(info, self.row.member_id)  # type: ignore[no-any-return]

    @classmethod
    def of(cls, row: Any, *, shows_member: bool) -> Self:
        return cls(
            topic=gate.Topic(row.topic),
            priority=gate.Priority(row.priority),
            reason=SuppressionReason.of(row.suppressed_reason),
            planned_at=row.planned_at,
            local_date=row.local_date,
            source=row.name,
            arm=row.arm,
            row=row,
            shows_member=shows_member,
        )


@strawberry.type
class NudgeArm:
    key: str
    weight: int = strawberry.field(description="Relative to the other arms.")


@strawberry.type(description="When it is asked whom it concerns, by the member's clock.")
class NudgeTrigger:
    kind: policies.TriggerKind
    fact: str
    at: time | None = strawberry.field(description="Of a THRESHOLD, and of no other.")
    not_before: time | None
    not_after: time | None
    days: list[str] = strawberry.field(description="MO to SU.")


@strawberry.type(description="Who is told what, and when; always with a holdout.")
class NudgePolicy:
    code: str
    topic: gate.Topic
    priority: gate.Priority
    channels: list[gate.Channel]
    trigger: NudgeTrigger
    arms: list[NudgeArm]
    holdout_percent: int
    cooldown_days: int
    valid_minutes: int
    state: NudgePolicyState = strawberry.field(description="HALTED, nothing of it leaves.")
    planned_last_week: int = strawberry.field(
        description="Members that were to be told or held out, in the last seven days."
    )

    @classmethod
    def of(cls, it: policies.Policy, *, state: str, planned: int) -> Self:
        trigger = it.trigger
        return cls(
            code=it.code,
            topic=it.topic,
            priority=it.priority,
            channels=list(it.channels),
            trigger=NudgeTrigger(
                kind=trigger.kind,
                fact=trigger.fact,
                at=trigger.at,
                not_before=trigger.floor,
                not_after=trigger.ceiling,
                days=list(trigger.days),
            ),
            arms=[NudgeArm(key=key, weight=weight) for key, weight in it.arms.items()],
            holdout_percent=it.holdout,
            cooldown_days=it.cooldown,
            valid_minutes=it.valid,
            state=NudgePolicyState(state),
            planned_last_week=planned,
        )


@strawberry.type(description="What a policy says, in one arm, segment and language.")
class MessageWording:
    code: str
    arm: str
    segment: SegmentCode | None = strawberry.field(
        description="Null: of everybody without a wording of their own."
    )
    locale: str
    version: int = strawberry.field(description="0: the one that ships.")
    title: str
    body: str
    values: list[str] = strawberry.field(description="That it may name, as `{{ days }}`.")

    @classmethod
    def of(cls, key: Key, found: Version, values: Sequence[str]) -> Self:
        return cls(
            code=key.code,
            arm=key.arm,
            segment=SegmentCode(key.segment) if key.segment else None,
            locale=key.locale,
            version=found.version,
            title=found.wording.title,
            body=found.wording.body,
            values=list(values),
        )


@strawberry.type
class WordingFault:
    field: str
    message: str


@strawberry.type(description="What a member would read.")
class MessagePreview:
    title: str | None = strawberry.field(description="Null while the wording has faults.")
    body: str | None
    lock_screen: str = strawberry.field(description="What the phone shows before it is unlocked.")
    faults: list[WordingFault]
    is_sample: bool = strawberry.field(
        description="With made-up values: the policy does not concern the member now."
    )

    @classmethod
    def of(
        cls,
        shown: Wording | None,
        faults: Sequence[wording_rules.Fault],
        *,
        template: str,
        locale: str,
        said_in: str,
        is_sample: bool,
    ) -> Self:
        return cls(
            title=shown.title if shown else None,
            body=shown.body if shown else None,
            lock_screen=rules.lock_screen_text(template).to(locale),
            faults=[WordingFault(field=it.field, message=it.text.to(said_in)) for it in faults],
            is_sample=is_sample,
        )
