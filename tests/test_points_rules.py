"""What may move where, how wallets follow, when points expire, and the hash chain."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.points import rules, service
from app.points.rules import Account, Balances, CauseKind, Route, Transfer, TransferKind

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MEMBER = UUID(int=1)

routes = st.sampled_from(sorted({route for found in rules.ROUTES.values() for route in found}))
instants = st.integers(0, 2**52).map(lambda since: EPOCH + timedelta(microseconds=since))
days = st.dates(date(1900, 1, 1), date(2200, 1, 1))
numbers = st.integers(0, 2**63 - 1)
codes = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)
transfers = st.builds(
    Transfer,
    chain_version=st.just(rules.CHAIN_VERSION),
    member_id=st.uuids(),
    seq=numbers,
    id=st.uuids(),
    kind=st.sampled_from(TransferKind),
    debit=st.sampled_from(Account),
    credit=st.sampled_from(Account),
    amount=numbers,
    balance_after=numbers,
    cause_kind=st.none() | st.sampled_from(CauseKind),
    cause_id=st.none() | st.uuids(),
    cause_key=codes,
    rule_version=st.none() | st.uuids(),
    rule_code=st.none() | codes,
    corrects=st.none() | st.uuids(),
    local_date=days,
    posted_at=instants,
    expires_on=st.none() | days,
)


def state(**balances: int) -> service.WalletState:
    return service.WalletState(MEMBER, Balances(**balances), version=4, seq=0, head=b"")


def plan(wallet: service.WalletState, amount: int, *, pending: bool = False) -> service.Earning:
    return service.plan_earning(
        wallet,
        ids=(UUID(int=10), UUID(int=11)),
        amount=amount,
        cause=service.Cause(CauseKind.CHECK_IN, UUID(int=2), "walk:2026-03-01:0"),
        rule=service.Rule(UUID(int=3), "walk"),
        local_date=date(2026, 3, 1),
        expires=rules.expiry(date(2026, 3, 1), 12, SHANGHAI),
        now=NOW,
        pending=pending,
    )


@given(st.lists(st.tuples(routes, st.integers(1, 50)), max_size=60))
def test_the_accounts_always_add_up(moves: list[tuple[Route, int]]) -> None:
    balances, sums = Balances(), Counter[str]()
    for route, amount in moves:
        try:
            balances = rules.apply(balances, route, amount)
        except AssertionError:
            continue
        sums[route.debit] -= amount
        sums[route.credit] += amount

    assert balances[:3] == (sums["pending"], sums["available"], sums["held"])
    assert balances.owed == -sums["owed"]
    house = sums["redeemed"] + sums["expired"] + sums["reversed"]
    assert -sums["issued"] == sum(balances[:3]) - balances.owed + house
    assert balances.earned_total == -sums["issued"] - sums["pending"] - sums["reversed"]
    assert min(balances) >= 0


def test_a_wallet_is_never_overdrawn() -> None:
    with pytest.raises(AssertionError, match="overdraws"):
        rules.apply(Balances(available=4, earned_total=4), Route("available", "redeemed"), 5)


@given(routes, st.integers(1, 10))
def test_an_entry_shows_the_change_of_available_and_pending(route: Route, amount: int) -> None:
    before = Balances(100, 100, 100, 100, 1000, 100, 100)
    after = rules.apply(before, route, amount)
    assert after.shown - before.shown == amount * rules.entry_sign(route)
    assert (route in rules.entry_routes(rules.entry_sign(route))) is True


def test_moves_inside_the_statement_are_no_entries() -> None:
    assert rules.entry_sign(Route("available", "pending")) == 0
    assert rules.entry_sign(Route("pending", "available")) == 0
    assert rules.entry_sign(Route("held", "redeemed")) == 0
    assert rules.entry_sign(Route("available", "held")) == -1
    assert rules.entry_sign(Route("issued", "pending")) == 1


def test_an_earning_pays_debts_first() -> None:
    earning = plan(state(owed=3, available=2, earned_total=2), 10)

    assert [(t.seq, t.credit, t.amount, t.balance_after) for t in earning.transfers] == [
        (1, "owed", 3, 2),
        (2, "available", 7, 9),
    ]
    assert [t.cause_key for t in earning.transfers] == [
        "walk:2026-03-01:0",
        "walk:2026-03-01:0/2",
    ]
    assert [t.expires_on for t in earning.transfers] == [None, date(2027, 3, 1)]
    assert earning.wallet.balances == Balances(available=9, earned_total=12)
    assert (earning.wallet.seq, earning.wallet.version) == (2, 5)


def test_a_pending_earning_pays_no_debt_and_is_not_earned_yet() -> None:
    earning = plan(state(owed=3), 10, pending=True)
    assert earning.wallet.balances == Balances(pending=10, owed=3)
    assert [t.credit for t in earning.transfers] == ["pending"]


def test_nothing_earned_only_raises_the_version() -> None:
    before = state(available=2)._replace(seq=7, head=b"h" * 32)
    earning = plan(before, 0)
    assert earning.transfers == ()
    assert earning.wallet == before._replace(version=5)


@given(st.integers(0, 1000), st.integers(0, 1000), st.booleans())
def test_an_earning_credits_exactly_its_amount(owed: int, amount: int, pending: bool) -> None:
    before = Balances(owed=owed)
    moves = list(rules.earning(before, amount, pending=pending))
    assert sum(points for _, points in moves) == amount
    assert all(points > 0 for _, points in moves)
    assert {route for route, _ in moves} <= rules.ROUTES[TransferKind.EARNED]


@pytest.mark.parametrize(
    ("earned_on", "months", "last"),
    [
        (date(2026, 3, 1), 12, date(2027, 3, 1)),
        (date(2026, 1, 31), 1, date(2026, 2, 28)),
        (date(2027, 12, 31), 2, date(2028, 2, 29)),
        (date(2028, 2, 29), 12, date(2029, 2, 28)),
    ],
)
def test_points_can_be_spent_through_the_same_day_of_the_last_month(
    earned_on: date, months: int, last: date
) -> None:
    assert rules.expiry(earned_on, months, SHANGHAI).on == last


def test_points_expire_at_the_local_midnight_after_their_last_day() -> None:
    found = rules.expiry(date(2026, 3, 1), 12, SHANGHAI)
    assert found.at == datetime(2027, 3, 1, 16, tzinfo=UTC)
    # Cairo's clocks go forward at midnight: the day after begins at 01:00.
    cairo = rules.expiry(date(2025, 4, 23), 12, ZoneInfo("Africa/Cairo"))
    assert (cairo.on, cairo.at) == (date(2026, 4, 23), datetime(2026, 4, 23, 22, tzinfo=UTC))


@given(transfers, st.data())
def test_every_field_changes_the_hash(transfer: Transfer, data: st.DataObject) -> None:
    other = data.draw(transfers)
    for name in Transfer._fields:
        changed = transfer._replace(**{name: getattr(other, name)})
        same = rules.transfer_hash(b"", changed) == rules.transfer_hash(b"", transfer)
        assert same == (changed == transfer)


@given(transfers)
def test_the_previous_head_changes_the_hash(transfer: Transfer) -> None:
    heads = [rules.transfer_hash(head, transfer) for head in (b"", b"\0" * 32, b"\1" * 32)]
    assert len(set(heads)) == 3


def test_the_hash_never_changes() -> None:
    """Stored chains depend on it. A new way of hashing is a new `chain_version`."""
    [transfer] = plan(state(), 5).transfers
    assert rules.transfer_hash(b"", transfer).hex() == (
        "69b7a6f3acd603ae70951468b3d0b0cd3b4d1961929232d97e2951aa3567635a"
    )
    # With whatever may be absent, and parts of a second.
    whole = transfer._replace(
        rule_code="walk", corrects=UUID(int=7), posted_at=NOW + timedelta(microseconds=123_456)
    )
    assert None not in whole
    assert rules.transfer_hash(b"\1" * 32, whole).hex() == (
        "3a45f8018a67a1869a9fcf501927716701264a8bc20afdec63bedfb7052d33d4"
    )


async def test_python_and_sql_agree_on_every_hash(owner_url: str) -> None:
    connection = await asyncpg.connect(owner_url)
    places = ", ".join(f"${place}" for place in range(1, len(Transfer._fields) + 2))
    statement = await connection.prepare(f"select wellward_transfer_hash({places})")
    names = ["previous", *Transfer._fields]
    drawn: list[tuple[bytes, Transfer]] = []

    @settings(max_examples=150, suppress_health_check=list(HealthCheck), database=None)
    @given(st.binary(min_size=32, max_size=32) | st.just(b""), transfers)
    def collect(head: bytes, transfer: Transfer) -> None:
        drawn.append((head, transfer))

    collect()
    assert len(drawn) >= 100 and len(names) == 19
    for head, transfer in drawn:
        found = await statement.fetchval(head, *transfer)
        assert found == rules.transfer_hash(head, transfer), transfer
    await connection.close()


def test_hashes_follow_one_another() -> None:
    earning = plan(state(owed=3), 10)
    heads = [b""]
    for transfer in earning.transfers:
        heads.append(rules.transfer_hash(heads[-1], transfer))
    assert earning.wallet.head == heads[-1]
    assert list(earning.hashes) == heads[1:]
    assert all(before != after for before, after in pairwise(heads))
    assert timedelta(0) == earning.transfers[0].posted_at - NOW
