"""What happens to a policy: one event at a time, each allowed by the table of `lifecycle`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.members import requests
from app.premiums import lifecycle
from app.premiums.lifecycle import PolicyEventKind, PolicyState
from app.premiums.models import Policy
from app.premiums.policy_models import PolicyEvent
from app.texts import Text


class PolicyStateInvalid(UserError):
    """What was asked for may not happen in the state that the policy is in."""

    def __init__(self, state: PolicyState | None) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh=f"保单目前的状态为 {state}，不能这样操作。",
                en=f"The policy is {state} now, which does not allow this.",
            ),
            field="contractId",
        )


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it; without an id the programme itself, by the clock."""

    kind: str = "PROGRAMME"
    id: UUID | None = None

    @classmethod
    def member(cls, id: UUID) -> Self:
        """The member, or the guardian who acts for them."""
        return cls("MEMBER", id)

    @classmethod
    def staff(cls, id: UUID) -> Self:
        return cls("STAFF", id)


PROGRAMME = Actor()


def state_of(policy: Policy) -> PolicyState:
    if policy.grace_ends_at is not None:
        return PolicyState.GRACE
    return PolicyState(policy.state)


async def lock(session: AsyncSession, member_id: UUID, policy_id: UUID) -> Policy:
    """A policy as it is now; whatever happens to it happens one after the other.
    Raises NotFound."""
    found = (
        await session.exec(
            select(Policy)
            .where(Policy.member_id == member_id, Policy.id == policy_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    ).one_or_none()
    if found is None:
        raise NotFound(field="contractId")
    return found


def check(policy: Policy, kind: PolicyEventKind) -> PolicyState:
    """The state that it would lead to. Raises PolicyStateInvalid."""
    before = state_of(policy)
    state = lifecycle.after(before, kind)
    if state is None:
        raise PolicyStateInvalid(before)
    return state


def record(
    session: AsyncSession,
    policy: Policy,
    kind: PolicyEventKind,
    *,
    by: Actor = PROGRAMME,
    reason: str | None = None,
    now: datetime,
) -> None:
    """Have it happen to a locked policy. Into GRACE: its end is set by the caller before.
    Raises PolicyStateInvalid."""
    entering_grace = kind is PolicyEventKind.OVERDUE
    before = PolicyState.IN_FORCE if entering_grace else state_of(policy)
    state = lifecycle.after(before, kind)
    if state is None:
        raise PolicyStateInvalid(before)
    if state is PolicyState.GRACE:
        assert policy.grace_ends_at is not None
        policy.state = PolicyState.IN_FORCE
    else:
        policy.state, policy.grace_ends_at = state, None
    if state not in lifecycle.OPEN:
        policy.due_at = None
    _append(session, policy, kind, state, by, reason, now)


def begin(
    session: AsyncSession, policy: Policy, kind: PolicyEventKind, *, by: Actor, now: datetime
) -> None:
    """The first event of a new policy, which is stored already."""
    state = lifecycle.after(None, kind)
    assert state is not None and policy.state == state
    _append(session, policy, kind, state, by, None, now)


def _append(
    session: AsyncSession,
    policy: Policy,
    kind: PolicyEventKind,
    state: PolicyState,
    by: Actor,
    reason: str | None,
    now: datetime,
) -> None:
    policy.events += 1
    session.add(
        PolicyEvent(
            member_id=policy.member_id,
            id=new_id(now),
            policy_id=policy.id,
            place=policy.events,
            kind=kind,
            state=state,
            actor=by.kind,
            actor_id=by.id,
            reason=reason,
            at=now,
        )
    )


async def claim(
    session: AsyncSession,
    owner: UUID,
    request_id: UUID,
    operation: str,
    policy_id: UUID,
    values: Mapping[str, Any],
    now: datetime,
) -> bool:
    """Whether this request was answered before. Raises RequestReused."""
    earlier = await requests.claim(
        session,
        owner=owner,
        request_id=request_id,
        operation=operation,
        values=values,
        result=policy_id,
        now=now,
    )
    return earlier is not None
