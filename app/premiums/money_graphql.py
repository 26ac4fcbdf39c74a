"""Money as clients see it."""

from decimal import Decimal

import strawberry

from app.graphql.scalars import FixedDecimal
from app.premiums import money


@strawberry.type
class Money:
    amount: Decimal = strawberry.field(
        description='In major units with the currency\'s own number of decimals: `"2400.00"`.'
    )
    currency: str = strawberry.field(description="ISO 4217: `CNY`.")


def of(minor: int, currency: str) -> Money:
    return Money(amount=FixedDecimal(money.major(minor, currency)), currency=currency)
