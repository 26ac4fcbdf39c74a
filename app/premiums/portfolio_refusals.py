"""What is refused of figures of a portfolio, and why."""

from datetime import datetime, timedelta
from decimal import Decimal

from app.errors import ErrorCode, UserError
from app.premiums import money, portfolio_rules
from app.premiums.product import Product
from app.texts import Text

YEAR_MIN = 2000
REFERENCE_LENGTH_MAX = 60
_AMOUNT_MAX = Decimal(10) ** 13
"""In major units: more than any portfolio."""
_LAST_ZONE = timedelta(hours=12)
"""A day is over everywhere that much after its end in UTC."""


class FigureInvalid(UserError):
    def __init__(self, field: str, said: Text) -> None:
        super().__init__(ErrorCode.VALUE_OUT_OF_RANGE, said, field=field)


class YearNotOver(UserError):
    def __init__(self, year: int) -> None:
        super().__init__(
            ErrorCode.IN_FUTURE,
            Text(zh=f"{year} 年尚未在所有时区结束。", en=f"{year} is not over everywhere yet."),
            field="year",
        )


class YearInUse(UserError):
    """Premiums rest on it: it stays as it is."""

    def __init__(self, year: int) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh=f"{year} 年的赔付率已用于定价，不能再改。",
                en=f"Premiums were priced with the loss ratio of {year}; it stays as it is.",
            ),
            field="year",
        )


class NothingEarned(UserError):
    def __init__(self, year: int) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh=f"该产品在 {year} 年没有保费收入，不存在赔付率。",
                en=f"The product earned no premium in {year}: there is no loss ratio.",
            ),
            field="year",
        )


class AlreadyProposed(UserError):
    def __init__(self, year: int) -> None:
        super().__init__(
            ErrorCode.ALREADY_DECIDED,
            Text(
                zh=f"{year} 年已有待确认的数据，请先由另一位同事确认或撤回。",
                en=f"Figures of {year} wait already; another person confirms or drops them.",
            ),
            field="year",
        )


class Decided(UserError):
    def __init__(self, field: str) -> None:
        super().__init__(
            ErrorCode.ALREADY_DECIDED,
            Text(zh="此事已有决定。", en="This was decided already."),
            field=field,
        )


class AnotherPersonNeeded(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.SECOND_PERSON_NEEDED,
            Text(
                zh="须由另一位同事确认。",
                en="Another person than who recorded them confirms figures.",
            ),
            field="proposalId",
        )


def last_year(now: datetime) -> int:
    """The newest year that is over wherever anybody is."""
    return (now - _LAST_ZONE).year - 1


def check_year(year: int, now: datetime) -> None:
    """Raises FigureInvalid, YearNotOver."""
    if year < YEAR_MIN:
        raise FigureInvalid(
            "year", Text(zh=f"须从 {YEAR_MIN} 年起。", en=f"It must be {YEAR_MIN} or later.")
        )
    if year > last_year(now):
        raise YearNotOver(year)


def check_reference(reference: str) -> None:
    """Of the document in the books. Raises FigureInvalid."""
    said = reference.strip()
    if not (0 < len(said) <= REFERENCE_LENGTH_MAX and said.isprintable()):
        raise FigureInvalid(
            "reference",
            Text(
                zh=f"须为 1 至 {REFERENCE_LENGTH_MAX} 个可见字符。",
                en=f"It is 1 to {REFERENCE_LENGTH_MAX} printable characters.",
            ),
        )


def ceded(product: Product, claims: Decimal, given: Decimal | None) -> int:
    """Claims of the tiers whose liability is ceded, in minor units: asked for only where a
    product cedes. Raises FigureInvalid."""
    if product.cession is None:
        if given is not None:
            raise FigureInvalid(
                "cededTierClaims",
                Text(zh="该产品不分保，请留空。", en="This product cedes nothing: leave it out."),
            )
        return 0
    if given is None:
        tiers = ", ".join(product.cession.tiers)
        raise FigureInvalid(
            "cededTierClaims",
            Text(
                zh=f"该产品分保，请给出等级 {tiers} 的赔付。",
                en=f"This product cedes: give the claims of the tiers {tiers}.",
            ),
        )
    found = minor("cededTierClaims", given, product.currency)
    if given > claims:
        raise FigureInvalid(
            "cededTierClaims", Text(zh="不能大于 claims。", en="It cannot be more than claims.")
        )
    return found


def operating_cost(product: Product, given: Decimal | None, premium: int) -> int:
    """In minor units; left out, the product's percentage of premium. Raises FigureInvalid."""
    if given is not None:
        return minor("operatingCost", given, product.currency)
    if product.operating_cost_percent is None:
        raise FigureInvalid(
            "operatingCost",
            Text(
                zh="产品没有规定运营成本比例，请给出金额。",
                en="The product says no percentage for it: give the amount.",
            ),
        )
    return portfolio_rules.share(premium, product.operating_cost_percent)


def minor(field: str, amount: Decimal, currency: str) -> int:
    """Major units as minor ones. Raises FigureInvalid."""
    decimals = money.decimals(currency)
    if amount.is_finite() and 0 <= amount <= _AMOUNT_MAX:
        try:
            return money.minor(amount, currency)
        except ValueError:
            pass
    raise FigureInvalid(
        field,
        Text(
            zh=f"须为 0 至 {_AMOUNT_MAX:f} {currency}，最多 {decimals} 位小数。",
            en=f"It must be 0 to {_AMOUNT_MAX:f} {currency} with at most {decimals} decimals.",
        ),
    )
