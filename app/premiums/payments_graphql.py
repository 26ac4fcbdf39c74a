"""What providers and employees have told of a contract's money, for employees."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

import strawberry

from app.graphql import enums
from app.graphql.ids import Kind, encode
from app.graphql.node import Info
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.premiums import contract_queries as queries
from app.premiums import money_graphql
from app.premiums.contract_queries import Key
from app.premiums.invoice_rules import PaymentOutcome
from app.premiums.money_graphql import Money

enums.register(
    PaymentOutcome,
    {
        "UNMATCHED": "Money came that the invoice did not ask for.",
        "REFUNDED": "It was paid back.",
        "REFUND_FAILED": "It could not be paid back.",
    },
    name="PaymentOutcome",
)


@strawberry.type(description="Something that was told of an invoice or a refund.")
class RecordedPayment:
    outcome: PaymentOutcome
    amount: Money
    provider: str = strawberry.field(description="`staff`: an employee.")
    reference: str = strawberry.field(description="The provider's own.")
    failure: str | None = strawberry.field(description="A code; null when it succeeded.")
    happened_at: datetime
    recorded_at: datetime
    invoice_id: strawberry.ID
    refund_id: strawberry.ID | None = strawberry.field(description="Null: of the invoice itself.")

    @classmethod
    def of(cls, row: Any) -> Self:
        refund = row.refund_id
        return cls(
            outcome=PaymentOutcome(row.outcome),
            amount=money_graphql.of(row.amount, row.currency),
            provider=row.provider,
            reference=row.reference,
            failure=row.failure,
            happened_at=row.happened_at,
            recorded_at=row.recorded_at,
            invoice_id=strawberry.ID(encode(Kind.INVOICE, row.member_id, row.invoice_id)),
            refund_id=strawberry.ID(encode(Kind.REFUND, row.member_id, refund)) if refund else None,
        )


@strawberry.type
class PaymentsOfContract:
    """The part of `InsuranceContract` that is kept here."""

    key: strawberry.Private[Key]

    @strawberry.field(description="What was told of its money, the newest first. Null for members.")
    async def payments(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[RecordedPayment] | None:
        if info.context.viewer.staff_id is None:
            return None
        size = page_size(first)
        cursor = read_cursor(after, UUID)
        async with info.context.db.read() as reading:
            rows = await queries.payments(
                reading, self.key, before=cursor[0] if cursor else None, limit=size + 1
            )
        return connection(
            rows, size=size, after=after, node=RecordedPayment.of, key=lambda row: (row.id,)
        )
