"""What employees do about nudges: look at what was held back, halt a policy, change what it says
and see how a member would read it."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, NotFound
from app.errors import UserError as Refusal
from app.graphql.errors import UserError
from app.graphql.ids import Kind, parse
from app.graphql.node import Info
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.members import requests, rules
from app.members.enums import SegmentCode
from app.members.models import Member
from app.members.rules import StaffRole
from app.members.sign_in import audit
from app.nudges import asking, policies, sources, suppression, wording_rules, wordings
from app.nudges.console_types import (
    MessagePreview,
    MessageWording,
    NudgePolicy,
    SuppressedMessage,
)
from app.nudges.suppression import SuppressionReason
from app.nudges.types import instant
from app.nudges.wording_rules import Wording
from app.texts import Text

KEEPING = (StaffRole.CAMPAIGN_MANAGER, StaffRole.ADMIN)
"""Roles that halt policies and change wordings."""
LOOKING = (*KEEPING, StaffRole.HEALTH_MANAGER, StaffRole.AUDITOR)


class AlreadySo(Refusal):
    def __init__(self, state: str) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(zh=f"该策略已是 {state} 状态。", en=f"This policy is {state} already."),
            field="code",
        )


@strawberry.input
class SetNudgePolicyHaltedInput:
    request_id: UUID
    code: str
    halted: bool = strawberry.field(
        description="True: nothing of it leaves. False: what is still worth sending goes out."
    )


@strawberry.type
class SetNudgePolicyHaltedPayload:
    replayed: bool
    policy: NudgePolicy


@strawberry.input(description="A wording; the policy says which arms there are.")
class PublishMessageWordingInput:
    request_id: UUID
    code: str
    arm: str
    segment: SegmentCode | None = None
    locale: str = strawberry.field(description="zh-CN or en.")
    version: int = strawberry.field(description="That was opened to be changed; 0 for none.")
    title: str = strawberry.field(description="At most 80 characters.")
    body: str = strawberry.field(
        description="At most 1000 characters, 300 when shown: text, `{{ value }}`, `{% if %}`."
    )


@strawberry.type
class PublishMessageWordingPayload:
    replayed: bool
    wording: MessageWording


@strawberry.input
class PreviewMessageInput:
    code: str
    arm: str
    segment: SegmentCode | None = None
    locale: str
    title: str | None = strawberry.field(default=None, description="Left out: what is in force.")
    body: str | None = None
    member_id: strawberry.ID | None = strawberry.field(
        default=None, description="With this member's values; made-up ones when left out."
    )


SetNudgePolicyHaltedResult = Annotated[
    SetNudgePolicyHaltedPayload | UserError, strawberry.union("SetNudgePolicyHaltedResult")
]
PublishMessageWordingResult = Annotated[
    PublishMessageWordingPayload | UserError, strawberry.union("PublishMessageWordingResult")
]

_STATES = text("select id, state from message_sources where id = any(cast(:ids as uuid[]))")
_PLANNED = text("""
select source_id, sum(planned)::bigint from nudge_runs
where planned_for > :since group by source_id
""")


@strawberry.type
class NudgesConsoleQuery:
    @strawberry.field(
        description="Messages that went nowhere, newest first: of the members that a health "
        "manager looks after, of everybody for administrators and auditors, of policies and "
        "campaigns for campaign managers."
    )
    async def suppressed_messages(
        self,
        info: Info,
        member_id: strawberry.ID | None = None,
        reasons: list[SuppressionReason] | None = None,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[SuppressedMessage]:
        context = info.context
        staff_id = context.require_role(*LOOKING)
        size = page_size(first)
        cursor: Any = read_cursor(after, instant, UUID)
        roles = context.viewer.roles
        sees_all = rules.sees_all(roles)
        shows_member = rules.may_see(roles, assigned=True)
        named = _member(member_id)
        rows: Sequence[Any] = ()
        if member_id is None or (named is not None and await context.may_see(named)):
            async with context.db.read() as reading:
                rows = await suppression.suppressed(
                    reading,
                    member_id=named,
                    seen_by=staff_id if shows_member and not sees_all else None,
                    of_sources=not shows_member,
                    reasons=reasons,
                    after=cursor,
                    now=context.now,
                    limit=size + 1,
                )
        if shows_member:
            await context.grant((row.member_id for row in rows[:size]), audit)
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: SuppressedMessage.of(row, shows_member=shows_member),
            key=lambda row: (row.planned_at.isoformat(), row.id),
        )

    @strawberry.field(description="Every nudge policy, as it ships. Staff only.")
    async def nudge_policies(self, info: Info) -> list[NudgePolicy]:
        context = info.context
        _ = context.require_role(*LOOKING, StaffRole.ACTUARY)
        async with context.db.transaction() as session:
            return await _policies(session, policies.in_force().values(), now=context.now)

    @strawberry.field(description="What a policy says, in all arms and languages. Staff only.")
    async def message_wordings(self, info: Info, code: str) -> list[MessageWording]:
        context = info.context
        _ = context.require_role(*LOOKING)
        policy = wordings.policy_of(code)
        if policy is None:
            return []
        async with context.db.transaction() as session:
            found = await wordings.in_force(session, code)
        ordered = sorted(found.items(), key=lambda it: (it[0].arm, it[0].segment, it[0].locale))
        return [MessageWording.of(key, it, list(policy.fact.values)) for key, it in ordered]

    @strawberry.field(
        description="How a wording reads, with its faults; nothing is kept. Staff only. Null when "
        "there is no such wording, or the member is not yours to see."
    )
    async def preview_message(
        self, info: Info, input: PreviewMessageInput
    ) -> MessagePreview | None:
        context = info.context
        _ = context.require_role(*LOOKING)
        member_id = _member(input.member_id)
        if member_id is not None and not await context.may_see(member_id):
            return None
        if member_id is None and input.member_id is not None:
            return None
        async with context.db.transaction() as session:
            return await _preview(session, input, member_id, info)


@strawberry.type
class NudgesConsoleMutation:
    @strawberry.mutation(
        description="From then on at most what is on its way leaves. Campaign managers and "
        "administrators. Codes: NOT_FOUND, STATE_INVALID, REQUEST_REUSED."
    )
    async def set_nudge_policy_halted(
        self, info: Info, input: SetNudgePolicyHaltedInput
    ) -> SetNudgePolicyHaltedResult:
        context = info.context
        staff_id = context.require_role(*KEEPING)
        policy = policies.of_code(input.code)
        if policy is None:
            raise NotFound(field="code")
        async with context.db.transaction() as session:
            await sources.add(
                session, policy.id, kind=policies.KIND, name=policy.code, now=context.now
            )
            earlier = await requests.claim(
                session,
                owner=staff_id,
                request_id=input.request_id,
                operation="setNudgePolicyHalted",
                values={"code": input.code, "halted": input.halted},
                result=policy.id,
                now=context.now,
            )
            move = sources.halt if input.halted else sources.resume
            if earlier is None and not await move(session, policy.id, now=context.now):
                raise AlreadySo("HALTED" if input.halted else "ACTIVE")
            (shown,) = await _policies(session, [policy], now=context.now)
        return SetNudgePolicyHaltedPayload(replayed=earlier is not None, policy=shown)

    @strawberry.mutation(
        description="Publishes the next version of a wording; what is planned already says it, "
        "too. Campaign managers and administrators. Codes: NOT_FOUND, VALUE_OUT_OF_RANGE, "
        "VERSION_OUTDATED, REQUEST_REUSED."
    )
    async def publish_message_wording(
        self, info: Info, input: PublishMessageWordingInput
    ) -> PublishMessageWordingResult:
        context = info.context
        staff_id = context.require_role(*KEEPING)
        key = _key(input)
        async with context.db.transaction() as session:
            found, replayed = await wordings.publish(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                key=key,
                wording=Wording(input.title, input.body),
                version=input.version,
                now=context.now,
            )
        policy = wordings.policy_of(key.code)
        assert policy is not None
        wording = MessageWording.of(key, found, list(policy.fact.values))
        return PublishMessageWordingPayload(replayed=replayed, wording=wording)


def _member(id: str | None) -> UUID | None:
    named = parse(id) if id is not None else None
    return named.owner_id if named is not None and named.kind is Kind.MEMBER else None


def _key(input: PublishMessageWordingInput | PreviewMessageInput) -> wordings.Key:
    segment = input.segment.value if input.segment else ""
    return wordings.Key(input.code, input.arm, segment, input.locale)


async def _policies(session: AsyncSession, wanted: Any, *, now: Any) -> list[NudgePolicy]:
    known = list(wanted)
    ids = {"ids": [it.id for it in known]}
    states: Mapping[UUID, str] = {id: state for id, state in await session.execute(_STATES, ids)}
    since = {"since": now - timedelta(days=7)}
    planned: Mapping[UUID, int] = {
        id: count for id, count in await session.execute(_PLANNED, since)
    }
    return [
        NudgePolicy.of(it, state=states.get(it.id, sources.ACTIVE), planned=planned.get(it.id, 0))
        for it in known
    ]


async def _preview(
    session: AsyncSession, input: PreviewMessageInput, member_id: UUID | None, info: Info
) -> MessagePreview | None:
    context = info.context
    policy, key = wordings.policy_of(input.code), _key(input)
    if policy is None or input.locale not in wordings.LOCALES:
        return None
    known = await wordings.in_force(session, input.code)
    in_force = known.get(key)
    if in_force is None and (input.title is None or input.body is None):
        return None
    kept = in_force.wording if in_force else Wording("", "")
    wording = Wording(
        kept.title if input.title is None else input.title,
        kept.body if input.body is None else input.body,
    )
    values, is_sample = policy.fact.samples, True
    if member_id is not None:
        member = await session.get(Member, member_id)
        assert member is not None
        today = civil_time.local_date(context.now, civil_time.zone(member.time_zone))
        held = await asking.look(session, policy, [(member_id, today)], now=context.now)
        if held:
            (found,) = held.values()
            values, is_sample = dict(found.values), False
    faults = wording_rules.faults(wording, locale=input.locale, samples=policy.fact.samples)
    return MessagePreview.of(
        None if faults else wording_rules.render(wording, values),
        faults,
        template=policy.wording,
        locale=input.locale,
        said_in=context.locale,
        is_sample=is_sample,
    )
