"""Codes that are stored, hashed or sent never change: a new meaning is a new code."""

from datetime import UTC, date, datetime
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from app.points.caps import CapKind
from app.points.rules import (
    CHAIN_START,
    ROUTES,
    Account,
    Balances,
    CauseKind,
    HoldState,
    Route,
    Transfer,
    TransferKind,
    apply,
    effect,
    entry_routes,
    expiry,
    transfer_hash,
)

CODES: dict[type[StrEnum], str] = {
    Account: "pending available held owed issued redeemed expired reversed",
    HoldState: "HELD CAPTURED RELEASED TIMED_OUT",
    TransferKind: "EARNED REDEEMED HELD RELEASED EXPIRED REVERSED RESTATED ADJUSTED",
    CauseKind: "CHECK_IN TASK REDEMPTION DAILY_TOTAL TRANSFER STAFF",
    CapKind: "RULE DAY MONTH YEAR MEMBER",
}


@pytest.mark.parametrize("codes", CODES, ids=lambda codes: codes.__name__)
def test_a_code_is_forever(codes: type[StrEnum]) -> None:
    """Others may come at the end."""
    wanted = CODES[codes].split()
    assert [str(code) for code in codes][: len(wanted)] == wanted
    assert all(code.name.lower() == code.lower() for code in codes)


GIVEN = "issued>available issued>owed issued>pending"
TAKEN = "available>reversed held>reversed owed>reversed pending>reversed"
ALLOWED = {
    "EARNED": GIVEN,
    "HELD": "available>held available>pending",
    "RELEASED": "held>available held>owed pending>available pending>owed",
    "REDEEMED": "available>redeemed held>redeemed",
    "EXPIRED": "available>expired held>expired pending>expired",
    "REVERSED": f"{TAKEN} redeemed>available redeemed>owed",
    "RESTATED": f"{GIVEN} {TAKEN}",
    "ADJUSTED": f"{GIVEN} {TAKEN} expired>available expired>owed",
}


def test_what_may_move_where() -> None:
    """A stored transfer must stay allowed, and a constraint of the database says the same."""
    found = {
        kind: {f"{debit}>{credit}" for debit, credit in routes} for kind, routes in ROUTES.items()
    }
    assert found == {kind: set(routes.split()) for kind, routes in ALLOWED.items()}


EFFECTS = {
    # pending, available, held, owed, earned in total, spent, expired
    "issued>pending": (1, 0, 0, 0, 0, 0, 0),
    "issued>available": (0, 1, 0, 0, 1, 0, 0),
    "issued>owed": (0, 0, 0, -1, 1, 0, 0),
    "pending>available": (-1, 1, 0, 0, 1, 0, 0),
    "pending>owed": (-1, 0, 0, -1, 1, 0, 0),
    "pending>reversed": (-1, 0, 0, 0, 0, 0, 0),
    "pending>expired": (-1, 0, 0, 0, 1, 0, 1),
    "available>pending": (1, -1, 0, 0, -1, 0, 0),
    "available>held": (0, -1, 1, 0, 0, 0, 0),
    "available>redeemed": (0, -1, 0, 0, 0, 1, 0),
    "available>expired": (0, -1, 0, 0, 0, 0, 1),
    "available>reversed": (0, -1, 0, 0, -1, 0, 0),
    "held>available": (0, 1, -1, 0, 0, 0, 0),
    "held>owed": (0, 0, -1, -1, 0, 0, 0),
    "held>redeemed": (0, 0, -1, 0, 0, 1, 0),
    "held>expired": (0, 0, -1, 0, 0, 0, 1),
    "held>reversed": (0, 0, -1, 0, -1, 0, 0),
    "owed>reversed": (0, 0, 0, 1, -1, 0, 0),
    "redeemed>available": (0, 1, 0, 0, 0, -1, 0),
    "redeemed>owed": (0, 0, 0, -1, 0, -1, 0),
    "expired>available": (0, 1, 0, 0, 0, 0, -1),
    "expired>owed": (0, 0, 0, -1, 0, 0, -1),
}


def test_what_one_point_changes_on_each_route() -> None:
    routes = {route for found in ROUTES.values() for route in found}
    found = {f"{route.debit}>{route.credit}": tuple(effect(route)) for route in routes}
    assert found == EFFECTS


def test_a_new_wallet_has_nothing() -> None:
    assert Balances() == (0,) * 7


def test_the_entries_of_a_statement_come_in_order() -> None:
    """So that its statement is always the same text, which the server keeps the plan of."""
    routes = {sign: entry_routes(sign) for sign in (1, -1, 0)}
    assert [[f"{debit}>{credit}" for debit, credit in routes[sign]] for sign in (1, -1)] == [
        ["expired>available", "held>available", "issued>available", "issued>pending",
         "redeemed>available"],
        ["available>expired", "available>held", "available>redeemed", "available>reversed",
         "pending>expired", "pending>owed", "pending>reversed"],
    ]  # fmt: skip
    assert sum(map(len, routes.values())) == len(EFFECTS)


def test_our_own_mistakes_are_refused() -> None:
    transfer = Transfer(
        2, UUID(int=1), 1, UUID(int=2), "EARNED", "issued", "available", 1, 1, None, None, "k",
        None, None, None, date(2026, 3, 2), datetime(2026, 3, 2, tzinfo=UTC), None,
    )  # fmt: skip
    with pytest.raises(AssertionError):
        apply(Balances(), Route(Account.ISSUED, Account.AVAILABLE), 0)
    with pytest.raises(AssertionError):
        expiry(date(2026, 3, 2), 0, ZoneInfo("Asia/Shanghai"))
    with pytest.raises(AssertionError):
        transfer_hash(CHAIN_START, transfer)
    assert CHAIN_START == b""
    assert len(transfer_hash(CHAIN_START, transfer._replace(chain_version=1))) == 32
