"""What every payment provider promises: one attempt a call, and an honest word on how it ended.

A provider collects and pays back by itself and tells by its webhook how that went. It is told
what to do by orders, each with a key: whatever is told twice under one key is done once.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol


class OrderKind(StrEnum):
    """Values are the `type` of the request."""

    COLLECT = "invoice.issued"
    """Collect this amount; of several for one invoice the newest counts."""
    STOP = "invoice.withdrawn"
    """Collect nothing more for it."""
    REFUND = "refund.requested"


@dataclass(frozen=True, slots=True)
class Order:
    """No name, no health fact: ids of the API, and money."""

    key: str
    """The id of its invoice or refund; with `.2` and so on when more is said about it."""
    kind: OrderKind
    invoice: str
    refund: str | None
    amount: int
    """Minor units."""
    currency: str
    payer: str
    """MEMBER, EMPLOYER or GOVERNMENT."""
    due_at: datetime | None
    """Until before then it is paid in time; only of COLLECT."""


class OrderOutcome(StrEnum):
    """How one attempt ended."""

    TAKEN = "taken"
    REFUSED = "refused"
    """The provider will not do this; trying again changes nothing."""
    RETRY = "retry"
    """Not taken; it may be tried again, not before `retry_after`."""
    UNAUTHORISED = "unauthorised"
    """Our set-up is refused (secret, address), not this order."""
    UNKNOWN = "unknown"
    """It may have been taken, and no answer came. Safe to try again, thanks to its key."""


@dataclass(frozen=True, slots=True)
class OrderResult:
    """`code` is the provider's word or ours (`TIMEOUT`); capitals, digits and `_`."""

    outcome: OrderOutcome
    code: str
    retry_after: timedelta | None = None


class PaymentProvider(Protocol):
    @property
    def name(self) -> str:
        """As in the address of its webhook, and in records."""

    @property
    def collects(self) -> bool:
        """Whether there is anybody to tell."""

    async def tell(self, order: Order, *, now: datetime) -> OrderResult:
        """One attempt. Refusals and failures of the network are results, not exceptions."""

    async def close(self) -> None: ...


class ByHand:
    """No provider: employees collect, pay back, and record what happened."""

    name = "staff"
    collects = False

    async def tell(self, order: Order, *, now: datetime) -> OrderResult:
        raise AssertionError("there is nobody to tell")

    async def close(self) -> None:
        """Nothing is open."""


def order_document(order: Order) -> dict[str, object]:
    """The body of a request."""
    document: dict[str, object] = {
        "type": order.kind.value,
        "id": order.key,
        "invoice": order.invoice,
        "amount": order.amount,
        "currency": order.currency,
        "payer": order.payer,
    }
    if order.refund is not None:
        document["refund"] = order.refund
    if order.due_at is not None:
        document["due_at"] = order.due_at.isoformat()
    return document
