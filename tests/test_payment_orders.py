"""What the provider is told, over real HTTP: each order once in effect, whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from app import main, worker
from app.adapters.payment_http import HttpProvider, interpret
from app.adapters.payment_sandbox import NAME, PATH, PaymentSandbox, new_secret
from app.adapters.payments import ByHand, OrderOutcome, OrderResult
from app.config import Settings
from app.db import Database
from app.errors import ConfigurationError, ErrorCode
from app.events import Events
from app.graphql.ids import Kind, encode
from app.jobs.queue import JobContext
from app.payments import read_secrets
from app.premiums import cancellation, collecting, payment_orders, payments, reinstatement, telling
from app.premiums.contract_terms import Frequency
from app.premiums.history import Actor
from app.premiums.models import Policy
from app.premiums.payment_orders import Told
from app.premiums.telling import LEASE
from tests.factories import NOON, contents, make_staff
from tests.job_worker import eventually
from tests.policy_holders import PLAIN, do, insured, publish, refused, rows, tick, variant
from tests.test_policies_money import DUE
from tests.toy_server import run_app

SECRET = new_secret()
DAY = timedelta(days=1)


class World:
    """A worker's part of it with a clock that is moved by hand, and the provider."""

    def __init__(self, db: Database, settings: Settings, box: PaymentSandbox) -> None:
        self.db, self.box, self.now = db, box, NOON
        name, url = settings.payment_provider, settings.payment_url
        assert name is not None and url is not None
        key = read_secrets(settings)[name][0]
        self.provider = HttpProvider(name, url, key, timeout_seconds=30)
        self.context = JobContext(
            db, lambda: self.now, Events("postgresql://unused"), None, settings, self.provider
        )

    async def tell(self, later: timedelta = timedelta()) -> int:
        self.now += later
        return await telling.tell_due(self.context)


@pytest.fixture
def box() -> PaymentSandbox:
    [key] = read_secrets(settings_of("http://127.0.0.1:9"))[NAME]
    return PaymentSandbox(key, slow_seconds=600)


def settings_of(url: str, **more: Any) -> Settings:
    given = {"payment_provider": NAME, "payment_url": url, "payment_secrets": {NAME: [SECRET]}}
    return Settings(**{**given, **more})


@pytest.fixture
async def world(db: Database, box: PaymentSandbox) -> AsyncIterator[World]:
    await publish(db, variant(**PLAIN))
    with run_app(box.app()) as site:
        made = World(db, settings_of(f"{site.base}{PATH}"), box)
        try:
            yield made
        finally:
            await made.provider.close()


async def orders(db: Database) -> list[tuple[Any, ...]]:
    return await rows(
        db, "select kind, number, state, attempts from payment_orders order by made_at, number"
    )


async def paid(db: Database, policy: Policy, provider: str, *, now: datetime = NOON) -> UUID:
    """Its first open invoice; its id."""
    [(id, amount), *_] = await rows(
        db,
        "select id, amount from invoices where policy_id = :id and state = 'ISSUED' order by part",
        id=policy.id,
    )
    told = payments.Told(provider, uuid4().hex, amount, "CNY", now)
    await do(db, payments.record, member_id=policy.member_id, invoice_id=id, told=told, now=now)
    return id


async def cancelled(db: Database, policy: Policy, *, now: datetime) -> None:
    await do(
        db,
        cancellation.cancel,
        member_id=policy.member_id,
        policy_id=policy.id,
        by=Actor.member(policy.member_id),
        now=now,
    )


async def test_an_invoice_is_told_once_however_many_look(world: World, db: Database):
    policy = await insured(db)
    told = await asyncio.gather(*(world.tell() for _ in range(8)))
    assert sum(told) == world.box.requests == 1
    [(id, amount, due)] = await rows(db, "select id, amount, due_at from invoices")
    invoice = encode(Kind.INVOICE, policy.member_id, id)
    assert world.box.orders == {
        invoice: {
            "type": "invoice.issued",
            "id": invoice,
            "invoice": invoice,
            "amount": amount,
            "currency": "CNY",
            "payer": "MEMBER",
            "due_at": due.isoformat(),
        }
    }
    assert await orders(db) == [("COLLECT", 1, "TOLD", 1)]
    assert await world.tell(DAY) == 0


async def test_months_are_told_when_they_are_issued(world: World, db: Database):
    await insured(db, wanted={"frequency": Frequency.MONTHLY})
    assert await world.tell() == 1
    world.now = NOON + 32 * DAY
    await tick(db, collecting.issue_due, now=world.now)
    assert await world.tell() == 1
    assert len(world.box.collecting()) == 2


@pytest.mark.parametrize(
    ("fault", "code", "pause"),
    [
        ("quota", "TOO_MANY_REQUESTS", timedelta(seconds=10)),
        ("unavail", "UNAVAILABLE", timedelta(seconds=10)),
        ("html", "HTTP_502", timedelta(seconds=10)),
        ("drop", "CONNECTION", timedelta(seconds=10)),
    ],
)
async def test_what_was_not_answered_is_told_again_later(
    world: World, db: Database, fault: str, code: str, pause: timedelta
):
    await insured(db)
    world.box.faults.append(fault)
    assert await world.tell() == 1
    [(found, next_at)] = await rows(db, "select code, next_at from payment_orders")
    assert (found, next_at >= world.now + pause) == (code, True)
    assert await world.tell(next_at - world.now - timedelta(microseconds=1)) == 0
    assert await world.tell(timedelta(microseconds=1)) == 1
    assert (world.box.requests, len(world.box.orders)) == (2, 1), "one request an attempt"
    assert await orders(db) == [("COLLECT", 1, "TOLD", 2)]


async def test_what_is_refused_is_for_an_employee_and_said_once(world: World, db: Database):
    await insured(db)
    world.box.faults.append("refuse")
    assert await world.tell() == 1
    assert await world.tell(DAY) == 0
    assert await orders(db) == [("COLLECT", 1, "REFUSED", 1)]
    assert await rows(db, "select code from payment_orders") == [("MANDATE_MISSING",)]
    assert await rows(db, "select kind from worklist_items") == [("PAYMENT",)]


async def test_a_provider_that_is_away_for_long_is_said_once(world: World, db: Database):
    await insured(db)
    attempts = telling.ATTEMPTS_BEFORE_ITEM + 2
    world.box.faults.extend(["unavail"] * attempts)
    for _ in range(attempts):
        assert await world.tell(timedelta(hours=2)) == 1
    assert await rows(db, "select kind from worklist_items") == [("PAYMENT",)]
    assert await world.tell(timedelta(hours=2)) == 1
    assert len(world.box.orders) == 1


async def test_a_wrong_secret_moves_nothing_and_waits(world: World, db: Database):
    await insured(db)
    wrong = HttpProvider(NAME, world.provider._url, b"x" * 32, timeout_seconds=30)
    context = JobContext(
        db, lambda: world.now, world.context.events, None, world.context.settings, wrong
    )
    try:
        assert await telling.tell_due(context) == 1
    finally:
        await wrong.close()
    assert await rows(db, "select code, state from payment_orders") == [
        ("SIGNATURE_INVALID", "WAITING")
    ]
    assert world.box.orders == {}
    assert await world.tell(telling.UNAUTHORISED_PAUSE) == 1


async def test_a_worker_that_dies_before_the_answer_has_told_once_in_effect(
    world: World, db: Database
):
    await insured(db)
    world.box.faults.append("slow")
    dying = asyncio.create_task(world.tell())

    async def has_come() -> bool:
        return len(world.box.orders) == 1

    await eventually(has_come)
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    world.box.slow_seconds = 0
    assert await orders(db) == [("COLLECT", 1, "WAITING", 1)], "taken, and nothing written"
    assert await world.tell(LEASE - timedelta(seconds=1)) == 0, "somebody may still be at it"
    assert await world.tell(timedelta(seconds=1)) == 1
    assert (world.box.requests, len(world.box.orders)) == (2, 1), "under the same key"
    assert await orders(db) == [("COLLECT", 1, "TOLD", 2)]


async def test_an_answer_after_the_lease_changes_nothing(world: World, db: Database):
    await insured(db)
    await telling._make_orders(world.context, world.provider)
    [lost] = await telling._take(world.context, world.provider)
    world.now += LEASE
    [taken] = await telling._take(world.context, world.provider)
    async with db.transaction() as session:
        late = OrderResult(OrderOutcome.REFUSED, "LATE")
        await telling.record(session, lost, late, now=world.now)
    assert await orders(db) == [("COLLECT", 1, "WAITING", 2)]
    async with db.transaction() as session:
        done = OrderResult(OrderOutcome.TAKEN, "TAKEN")
        await telling.record(session, taken, done, now=world.now)
    assert await orders(db) == [("COLLECT", 1, "TOLD", 2)]


async def test_what_is_not_to_be_collected_any_more_is_withdrawn(world: World, db: Database):
    policy = await insured(db)
    await world.tell()
    await cancelled(db, policy, now=NOON)
    assert await world.tell() == 1
    assert world.box.collecting() == {}
    assert await orders(db) == [("COLLECT", 1, "TOLD", 1), ("STOP", 2, "TOLD", 1)]


async def test_what_came_and_went_untold_is_never_told(world: World, db: Database):
    policy = await insured(db)
    await telling._make_orders(world.context, world.provider)
    await cancelled(db, policy, now=NOON)
    assert await world.tell() == 0
    assert await orders(db) == [("COLLECT", 1, "DROPPED", 0)]


async def test_a_withdrawal_waits_for_the_order_that_it_follows(world: World, db: Database):
    policy = await insured(db)
    world.box.faults.append("unavail")
    await world.tell()
    await cancelled(db, policy, now=NOON)
    assert await world.tell() == 0
    assert await world.tell(timedelta(minutes=1)) == 2
    assert world.box.collecting() == {}
    assert [it["type"] for it in world.box.orders.values()] == [
        "invoice.issued", "invoice.withdrawn",
    ]  # fmt: skip


async def test_who_has_paid_otherwise_is_not_collected_from(world: World, db: Database):
    by_hand, by_provider = await insured(db), await insured(db)
    await world.tell()
    await paid(db, by_hand, payments.BY_HAND)
    await paid(db, by_provider, NAME)
    assert await world.tell() == 1
    assert [it["type"] for it in world.box.orders.values()].count("invoice.withdrawn") == 1


async def test_a_lapse_withdraws_and_a_reinstatement_asks_again(world: World, db: Database):
    policy, staff = await insured(db), await make_staff(db)
    await world.tell()
    world.now = DUE + 30 * DAY
    await tick(db, collecting.dun_due, now=DUE)
    await tick(db, collecting.lapse_due, now=world.now)
    await world.tell()
    assert world.box.collecting() == {}
    await do(
        db, reinstatement.reinstate, staff_id=staff, member_id=policy.member_id,
        policy_id=policy.id, reason="Paid.", now=world.now,
    )  # fmt: skip
    await world.tell()
    assert len(world.box.collecting()) == 1
    assert [it[:2] for it in await orders(db)] == [("COLLECT", 1), ("STOP", 2), ("COLLECT", 3)]


async def refund_owed(world: World, provider: str) -> tuple[Policy, UUID, int]:
    policy = await insured(world.db)
    await world.tell()
    await paid(world.db, policy, provider)
    await cancelled(world.db, policy, now=NOON + DAY)
    world.now = NOON + DAY
    [(id, amount)] = await rows(world.db, "select id, amount from refunds")
    return policy, id, amount


async def test_the_provider_pays_back_what_it_has_collected(world: World, db: Database):
    policy, id, amount = await refund_owed(world, NAME)
    assert await world.tell() == 1
    order = world.box.orders[encode(Kind.REFUND, policy.member_id, id)]
    assert (order["type"], order["amount"]) == ("refund.requested", amount)
    staff = await make_staff(db)
    given = {
        "staff_id": staff, "member_id": policy.member_id, "refund_id": id, "reference": "wire",
    }  # fmt: skip
    await refused(db, ErrorCode.ALREADY_DECIDED, do, db, payments.record_refund, **given)
    assert await world.tell(DAY) == 0


async def test_an_employee_pays_back_what_an_employee_took_in(world: World, db: Database):
    policy, id, _ = await refund_owed(world, payments.BY_HAND)
    assert await world.tell() == 1, "the withdrawal of the invoice"
    staff = await make_staff(db)
    await do(
        db, payments.record_refund, staff_id=staff, member_id=policy.member_id, refund_id=id,
        reference="wire", now=world.now,
    )  # fmt: skip
    assert await world.tell(DAY) == 0
    assert [it[0] for it in await orders(db)] == ["COLLECT", "STOP"]


async def test_without_a_provider_nothing_is_told_and_nothing_is_left(db: Database):
    await publish(db, variant(**PLAIN))
    await insured(db)
    nobody = JobContext(db, lambda: NOON, Events("postgresql://unused"), None, Settings(), None)
    before = await contents(db)
    assert await telling.tell_due(nobody) == 0
    assert await contents(db) == before, "whoever comes later still finds it"
    by_hand = JobContext(db, lambda: NOON, Events("postgresql://x"), None, Settings(), ByHand())
    assert await telling.tell_due(by_hand) == 0
    assert await orders(db) == []
    assert await rows(db, "select count(*) from invoices where asks_at is not null") == [(0,)]


@pytest.fixture
def both(
    db: Database, database_url: str, tmp_path: Path
) -> Iterator[tuple[Settings, PaymentSandbox]]:
    """The provider, and our web server that it tells."""
    settings = settings_of("http://127.0.0.1:9", data_dir=tmp_path, database_url=database_url)
    [key] = read_secrets(settings)[NAME]
    with run_app(main.create_app(settings)) as site:
        box = PaymentSandbox(key, webhook=f"{site.base}/payments/{NAME}/events")
        with run_app(box.app()) as provider:
            yield settings.model_copy(update={"payment_url": f"{provider.base}{PATH}"}), box


async def test_what_is_told_is_paid_and_what_is_owed_is_paid_back(
    db: Database, both: tuple[Settings, PaymentSandbox]
):
    settings, box = both
    await publish(db, variant(**PLAIN))
    policy = await insured(db)
    world = World(db, settings, box)

    async def is_paid() -> bool:
        return await rows(db, "select state from invoices") == [("PAID",)]

    async def is_back() -> bool:
        return await rows(db, "select paid_at is not null from refunds") == [(True,)]

    try:
        assert await world.tell() == 1
        await eventually(is_paid)
        await cancelled(db, policy, now=NOON)
        assert await world.tell() == 1
        await eventually(is_back)
    finally:
        await world.provider.close()
    outcomes = await rows(db, "select outcome, provider from payments order by recorded_at")
    assert outcomes == [("PAID", NAME), ("REFUNDED", NAME)]
    assert len(box.orders) == 2


def test_the_next_order_is_what_the_provider_does_not_know():
    def follows(state: str, collects: int | None, paid_by: str | None = None, amount: int = 100):
        found = payment_orders.next_order(
            state=state, amount=amount, paid_by=paid_by, provider="p", told=Told(1, collects)
        )
        return found.name if found else None

    assert follows("ISSUED", None) == "COLLECT"
    assert follows("ISSUED", 100) is None
    assert follows("ISSUED", 120) == "COLLECT", "less, since the cover ends before"
    assert follows("PAID", 100, "p") is None
    assert follows("PAID", 100, "staff") == "STOP"
    assert follows("PAID", None, "staff") is None
    for state in ("VOID", "SUSPENDED"):
        assert (follows(state, 100), follows(state, None)) == ("STOP", None)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "taken"), (202, "taken"), (302, "unauthorised"), (401, "unauthorised"),
        (404, "unauthorised"), (408, "retry"), (409, "refused"), (422, "refused"),
        (429, "retry"), (500, "unknown"), (503, "retry"), (504, "unknown"),
    ],
)  # fmt: skip
def test_every_answer_means_something(status: int, outcome: str):
    found = interpret(status, {"Retry-After": "90"}, b"<html>", now=NOON)
    assert (found.outcome.value, found.code) == (outcome, f"HTTP_{status}")
    if outcome in ("retry", "unknown"):
        assert found.retry_after == timedelta(seconds=90)
        assert telling.pause(found, attempts=1) == timedelta(seconds=90)
    assert telling.pause(OrderResult(OrderOutcome.RETRY, "X"), attempts=99) >= telling.BACKOFF_MAX


@pytest.mark.parametrize(
    "wrong",
    [
        {"payment_url": None},
        {"payment_provider": None},
        {"payment_provider": "other"},
        {"payment_url": "http://pay.example/orders"},
        {"payment_url": "pay.example"},
    ],
)
def test_a_provider_that_cannot_be_told_is_refused_at_the_start(wrong):
    with pytest.raises(ConfigurationError):
        settings_of(**{"url": "https://pay.example/orders", **wrong})


async def test_the_worker_tells_whom_the_settings_name():
    assert worker.payment_provider(Settings()).collects is False
    made = worker.payment_provider(settings_of("https://pay.example/orders"))
    assert (made.name, made.collects) == (NAME, True)
    await made.close()
