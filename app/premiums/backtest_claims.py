"""Claims for a back-test, from a CSV file: of single members, or sums of a year.

Two formats, told apart by the header (other columns are not allowed):

    member_id,date,amount            a claim of a member, on the day that it is for
    year,amount[,tier][,age]         all claims of the terms that began in a year, or of a group

Amounts are in major units of the draft's currency. A bad row is left out and named by its line;
nothing of its content is said, since it may be about somebody.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from uuid import UUID

from app.errors import ConfigurationError
from app.premiums import money
from app.premiums.backtest_tally import AGE_BANDS, NO_TIER
from app.risk.rulesets import Tier

OF_MEMBERS = ("member_id", "date", "amount")
OF_YEARS = ("year", "amount")
_GROUPS: Mapping[str, Sequence[str]] = {"tier": (*Tier, NO_TIER), "age": AGE_BANDS}
_ROWS_MAX = 5_000_000
_AMOUNT_MAX = Decimal(10) ** 12


class ClaimsUnreadable(ConfigurationError):
    """The file is no such table."""


@dataclass(frozen=True, slots=True)
class Claim:
    line: int
    on: date
    amount: int
    """Minor units."""


@dataclass(frozen=True, slots=True)
class Rejected:
    line: int
    reason: str


@dataclass(slots=True)
class Claims:
    of_members: dict[UUID, list[Claim]] = field(default_factory=lambda: defaultdict(list))
    of_groups: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By dimension and group, of the second format: ("year", "2026"), ("tier", "HIGH")."""
    total: int = 0
    rows: int = 0
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def dimensions(self) -> frozenset[str]:
        """By which the sums are known, of the second format."""
        return frozenset(dimension for dimension, _ in self.of_groups)


class _RowInvalid(ValueError):
    pass


def read(path: Path, currency: str) -> Claims:
    """Raises ClaimsUnreadable, OSError."""
    found = Claims()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [name.strip().lower() for name in next(rows, [])]
            take = _format(path, header)
            for row in rows:
                if row:
                    _take(found, take, dict(zip(header, row, strict=False)), row, header, rows.line_num, currency)  # fmt: skip
    except (UnicodeDecodeError, csv.Error) as error:
        raise ClaimsUnreadable(f"{path}: not a CSV file in UTF-8: {error}") from error
    return found


_Take = Callable[[Claims, Mapping[str, str], int, int], None]


def _format(path: Path, header: Sequence[str]) -> _Take:
    if sorted(header) == sorted(OF_MEMBERS):
        return _of_member
    if set(OF_YEARS) <= set(header) <= {*OF_YEARS, *_GROUPS} and len(set(header)) == len(header):
        return _of_year
    raise ClaimsUnreadable(
        f"{path}: the header must be {','.join(OF_MEMBERS)} or {','.join(OF_YEARS)}[,tier][,age]"
    )


def _take(
    found: Claims,
    take: _Take,
    values: Mapping[str, str],
    row: Sequence[str],
    header: Sequence[str],
    line: int,
    currency: str,
) -> None:
    found.rows += 1
    if found.rows > _ROWS_MAX:
        raise ClaimsUnreadable(f"more than {_ROWS_MAX:,} rows: give sums of years")
    try:
        if len(row) != len(header):
            raise _RowInvalid(f"{len(header)} columns are needed, it has {len(row)}")
        take(found, values, _amount(values["amount"], currency), line)
    except _RowInvalid as error:
        found.rejected.append(Rejected(line, str(error)))


def _of_member(found: Claims, values: Mapping[str, str], amount: int, line: int) -> None:
    try:
        member_id = UUID(values["member_id"].strip())
    except ValueError:
        raise _RowInvalid("member_id: must be a UUID") from None
    try:
        on = date.fromisoformat(values["date"].strip())
    except ValueError:
        raise _RowInvalid("date: must be as 2026-03-31") from None
    found.of_members[member_id].append(Claim(line, on, amount))
    found.total += amount


def _of_year(found: Claims, values: Mapping[str, str], amount: int, _line: int) -> None:
    year = values["year"].strip()
    if not (year.isascii() and year.isdigit() and 2000 <= int(year) <= 2200):
        raise _RowInvalid("year: must be 2000 to 2200")
    groups = list(_named(values))
    found.of_groups["year", str(int(year))] += amount
    for group in groups:
        found.of_groups[group] += amount
    found.total += amount


def _named(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for dimension, allowed in _GROUPS.items():
        if dimension in values:
            group = values[dimension].strip()
            if group not in allowed:
                raise _RowInvalid(f"{dimension}: must be one of {', '.join(allowed)}")
            yield dimension, group


def _amount(text: str, currency: str) -> int:
    try:
        amount = Decimal(text.strip())
        if not (amount.is_finite() and 0 <= amount <= _AMOUNT_MAX):
            raise _RowInvalid("amount: must be 0 or more")
        return money.minor(amount, currency)
    except InvalidOperation:
        raise _RowInvalid("amount: must be a number, as 1234.50") from None
    except _RowInvalid:
        raise
    except ValueError:
        raise _RowInvalid(
            f"amount: at most {money.decimals(currency)} decimals in {currency}"
        ) from None
