"""Codes that are stored, hashed or sent never change: a new meaning is a new code."""

from enum import StrEnum

import pytest

from app.points.caps import CapKind
from app.points.rules import Account, CauseKind, HoldState, TransferKind

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
