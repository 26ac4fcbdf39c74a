"""The life of a policy: its states, and which event leads from which to which. No I/O."""

from collections.abc import Iterable, Mapping
from enum import StrEnum


class PolicyState(StrEnum):
    APPLIED = "APPLIED"
    """Underwriting has begun, and waits for what it needs."""
    REFERRED = "REFERRED"
    """An employee decides."""
    OFFERED = "OFFERED"
    ACCEPTED = "ACCEPTED"
    """The cover begins on a later day."""
    IN_FORCE = "IN_FORCE"
    GRACE = "GRACE"
    """In force, with an invoice that is overdue."""
    LAPSED = "LAPSED"
    """Not paid until the end of the grace period."""
    CANCELLED = "CANCELLED"
    """By the member."""
    ENDED = "ENDED"
    """Not renewed."""
    RESCINDED = "RESCINDED"
    """Never was, because something was concealed."""
    DECLINED = "DECLINED"
    """By the insurer."""
    WITHDRAWN = "WITHDRAWN"
    """By the applicant."""
    EXPIRED = "EXPIRED"
    """An application that was not completed, or an offer that nobody answered, in time."""


class PolicyEventKind(StrEnum):
    APPLIED = "APPLIED"
    ENROLLED = "ENROLLED"
    """Applied, offered, accepted and begun in one."""
    DECLARED = "DECLARED"
    REFERRED = "REFERRED"
    OFFERED = "OFFERED"
    DECLINED = "DECLINED"
    WITHDRAWN = "WITHDRAWN"
    EXPIRED = "EXPIRED"
    ACCEPTED = "ACCEPTED"
    BEGAN = "BEGAN"
    RENEWAL_OFFERED = "RENEWAL_OFFERED"
    RENEWAL_ACCEPTED = "RENEWAL_ACCEPTED"
    RENEWAL_DECLINED = "RENEWAL_DECLINED"
    RENEWED = "RENEWED"
    ENDED = "ENDED"
    OVERDUE = "OVERDUE"
    REMINDED = "REMINDED"
    """Of what is overdue."""
    SETTLED = "SETTLED"
    """What was overdue is paid."""
    LAPSED = "LAPSED"
    CANCELLATION_PLANNED = "CANCELLATION_PLANNED"
    """The cover ends with the month that is paid."""
    CANCELLED = "CANCELLED"
    RESCISSION_PROPOSED = "RESCISSION_PROPOSED"
    RESCISSION_DROPPED = "RESCISSION_DROPPED"
    RESCINDED = "RESCINDED"
    REINSTATED = "REINSTATED"
    PAYMENT_CHANGED = "PAYMENT_CHANGED"
    """How often, or by whom, is paid."""


_S, _E = PolicyState, PolicyEventKind
Transitions = Mapping[tuple[PolicyState | None, PolicyEventKind], PolicyState]


def _stays(events: Iterable[PolicyEventKind], states: Iterable[PolicyState]) -> Transitions:
    return {(state, event): state for state in states for event in events}


def _leads(event: PolicyEventKind, to: PolicyState, *states: PolicyState) -> Transitions:
    return {(state, event): to for state in states}


TRANSITIONS: Transitions = {
    (None, _E.APPLIED): _S.APPLIED,
    (None, _E.ENROLLED): _S.IN_FORCE,
    **_stays((_E.DECLARED,), (_S.APPLIED, _S.REFERRED)),
    **_leads(_E.REFERRED, _S.REFERRED, _S.APPLIED),
    **_leads(_E.OFFERED, _S.OFFERED, _S.APPLIED, _S.REFERRED),
    **_leads(_E.DECLINED, _S.DECLINED, _S.APPLIED, _S.REFERRED),
    **_leads(_E.WITHDRAWN, _S.WITHDRAWN, _S.APPLIED, _S.REFERRED, _S.OFFERED, _S.ACCEPTED),
    **_leads(_E.EXPIRED, _S.EXPIRED, _S.APPLIED, _S.REFERRED, _S.OFFERED),
    **_leads(_E.ACCEPTED, _S.ACCEPTED, _S.OFFERED),
    **_leads(_E.BEGAN, _S.IN_FORCE, _S.ACCEPTED),
    **_stays(
        (
            _E.RENEWAL_OFFERED,
            _E.RENEWAL_ACCEPTED,
            _E.RENEWAL_DECLINED,
            _E.RENEWED,
            _E.CANCELLATION_PLANNED,
        ),
        (_S.IN_FORCE, _S.GRACE),
    ),
    **_leads(_E.ENDED, _S.ENDED, _S.IN_FORCE, _S.GRACE),
    **_leads(_E.OVERDUE, _S.GRACE, _S.IN_FORCE),
    **_stays((_E.REMINDED,), (_S.GRACE,)),
    **_leads(_E.SETTLED, _S.IN_FORCE, _S.GRACE),
    **_leads(_E.LAPSED, _S.LAPSED, _S.GRACE),
    **_leads(_E.CANCELLED, _S.CANCELLED, _S.IN_FORCE, _S.GRACE),
    **_stays(
        (_E.RESCISSION_PROPOSED, _E.RESCISSION_DROPPED),
        (_S.IN_FORCE, _S.GRACE, _S.LAPSED, _S.CANCELLED, _S.ENDED),
    ),
    **_leads(_E.RESCINDED, _S.RESCINDED, _S.IN_FORCE, _S.GRACE, _S.LAPSED, _S.CANCELLED, _S.ENDED),
    **_leads(_E.REINSTATED, _S.IN_FORCE, _S.LAPSED),
    **_stays(
        (_E.PAYMENT_CHANGED,),
        (_S.APPLIED, _S.REFERRED, _S.OFFERED, _S.ACCEPTED, _S.IN_FORCE, _S.GRACE),
    ),
}
"""What may happen in each state; None is before there is a policy. Whatever is not here is
refused."""

OPEN = frozenset({_S.APPLIED, _S.REFERRED, _S.OFFERED, _S.ACCEPTED})
"""Not in force yet, and may come to be."""
COVERED = frozenset({_S.IN_FORCE, _S.GRACE})
OVER = frozenset(_S) - OPEN - COVERED

STORED_STATES = tuple(state for state in _S if state is not _S.GRACE)
"""A row in grace is stored as IN_FORCE with the end of its grace, so that whoever asks for
covered members need not know of payment."""


def after(state: PolicyState | None, event: PolicyEventKind) -> PolicyState | None:
    """The state that an event leads to; None when it may not happen."""
    return TRANSITIONS.get((state, event))
