"""The ledger lives random lives and agrees with the oracle after every step."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app import civil_time
from app.adapters.embedded_postgres import APP_ROLE
from app.db import Database
from app.points import caps, service
from app.points.reconcile import reconcile
from app.points.verify import verify
from tests.database import TestServer
from tests.factories import NOON, make_member
from tests.ledger_machine import Subject, new_hold, run_step
from tests.ledger_oracle import Op, Oracle
from tests.processes import FULL_COUNTS

RUNS, STEPS = (200, 50) if FULL_COUNTS else (60, 30)
ZONES = ("Asia/Shanghai", "America/New_York", "Africa/Cairo")
DAY_CAP = 60
OF_EARNING = ("settle", "reverse", "restate")


class LedgerMachine(RuleBasedStateMachine):
    """One member's life; `db` and `loop` are of the whole test.

    What is drawn never depends on what happened, only on what was asked for: which of two
    actors is first is up to the database, and another time it is the other one.
    """

    db: Database
    loop: asyncio.AbstractEventLoop
    steps = 0
    """Of all lives, those in which somebody did something."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOON
        self.keys: list[int] = []
        self.waited: list[int] = []
        self.holds: list[Op] = []
        self.past: list[Op] = []

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    @initialize(zone=st.sampled_from(ZONES))
    def begin(self, zone: str) -> None:
        async def make() -> UUID:
            member_id = await make_member(self.db, time_zone=zone)
            async with self.db.transaction() as session:
                await service.open_wallet(session, member_id)
            return member_id

        self.zone = civil_time.zone(zone)
        self.subject = Subject(self.db, self.run(make()), self.zone)
        self.oracles = [Oracle(self.zone)]
        self.seen = self.run(self.subject.look())
        today = civil_time.local_date(self.now, self.zone)
        for days in (1, 40, 5):
            self.keys.append(len(self.keys))
            on = today + timedelta(days=days)
            self.do(Op("earn", self.now, key=self.keys[-1], amount=10, expires_on=on))

    @property
    def oracle(self) -> Oracle:
        """They all say the same of what can be seen."""
        return self.oracles[0]

    def do(self, *asked: Op) -> None:
        ops = [op for op in asked if self.makes_sense(op)]
        self.oracles, self.seen = self.run(run_step(self.subject, self.oracles, self.seen, ops))
        self.past += asked
        type(self).steps += 1

    def makes_sense(self, op: Op) -> bool:
        """A cap may leave nothing of an earning: then there is nothing to ask for, nor about."""
        if op.name == "earn":
            return op.amount > 0
        return op.name not in OF_EARNING or op.key in self.oracle.issued

    # What somebody may ask for

    def earn_op(self, data: st.DataObject) -> Op:
        key = len(self.keys)
        self.keys.append(key)
        pending = data.draw(st.booleans(), "pending")
        if pending:
            self.waited.append(key)
        today = civil_time.local_date(self.now, self.zone)
        return Op(
            "earn",
            self.now,
            key=key,
            amount=data.draw(st.integers(1, 20), "amount"),
            pending=pending,
            expires_on=today + timedelta(days=data.draw(st.sampled_from([0, 1, 5, 40]), "days")),
        )

    def hold_op(self, data: st.DataObject, name: str) -> Op:
        percent = data.draw(st.integers(0, 105), "percent of what is available")
        hours = data.draw(st.sampled_from([1, 24, 24 * 45]), "hours")
        op = Op(
            name,
            self.now,
            hold=new_hold(self.now),
            amount=max(1, self.oracle.balances["available"] * percent // 100),
            until=self.now + timedelta(hours=hours),
        )
        self.holds.append(op)
        return op

    def resolve_op(self, data: st.DataObject) -> Op:
        made = data.draw(st.sampled_from(self.holds), "hold")
        over = made.name == "hold" and made.until <= self.now
        names = ["capture", "release"] + ["time_out"] * over
        percent = data.draw(st.sampled_from([1, 30, 60, 100, 100]), "percent captured")
        amount = max(1, made.amount * percent // 100)
        name = data.draw(st.sampled_from(names), "how")
        return Op(name, self.now, hold=made.hold, amount=amount)

    def correct_op(self, data: st.DataObject) -> Op:
        key = data.draw(st.sampled_from(self.keys), "earning")
        today = civil_time.local_date(self.now, self.zone)
        return Op(
            data.draw(st.sampled_from(["reverse", "restate", "restate"]), "how"),
            self.now,
            key=key,
            amount=data.draw(st.integers(0, 25), "amount now"),
            expires_on=today + timedelta(days=data.draw(st.sampled_from([1, 30]), "days")),
        )

    def settle_op(self, data: st.DataObject) -> Op:
        key = data.draw(st.sampled_from(self.waited), "earning")
        return Op("settle", self.now, key=key, accept=data.draw(st.booleans(), "accept"))

    def any_op(self, data: st.DataObject) -> Op:
        ways: list[Any] = [lambda: self.hold_op(data, "spend"), lambda: Op("expire", self.now)]
        if self.holds:
            ways += [lambda: self.resolve_op(data)] * 2
        if self.keys:
            ways.append(lambda: self.correct_op(data))
        if self.waited:
            ways.append(lambda: self.settle_op(data))
        found: Op = data.draw(st.sampled_from(ways), "way")()
        return found

    # Steps

    @rule(data=st.data())
    def earn(self, data: st.DataObject) -> None:
        self.do(self.earn_op(data))

    @rule(data=st.data())
    def earn_up_to_the_cap(self, data: st.DataObject) -> None:
        op = self.earn_op(data)
        earned = self.oracle.issued.total()
        allowed = caps.within(op.amount, [caps.Cap(caps.CapKind.DAY, DAY_CAP, earned)])
        assert allowed.points == max(0, min(op.amount, DAY_CAP - earned))
        self.do(replace(op, amount=allowed.points))

    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        self.do(self.hold_op(data, "hold"))

    @rule(data=st.data())
    def spend(self, data: st.DataObject) -> None:
        self.do(self.hold_op(data, "spend"))

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def resolve(self, data: st.DataObject) -> None:
        self.do(self.resolve_op(data))

    @precondition(lambda self: self.waited)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        self.do(self.settle_op(data))

    @precondition(lambda self: self.keys)
    @rule(data=st.data())
    def correct(self, data: st.DataObject) -> None:
        self.do(self.correct_op(data))

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def refund(self, data: st.DataObject) -> None:
        hold = data.draw(st.sampled_from(self.holds), "hold").hold
        if self.oracle.holds.get(hold, ("", 0))[0] == "CAPTURED":
            self.do(Op("refund", self.now, hold=hold))

    @rule()
    def expire(self) -> None:
        """Both by the clock, in this order, which announces in several statements: nobody else
        acts between them here."""
        self.do(Op("announce", self.now))
        self.do(Op("expire", self.now))

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        """What was asked for before, once more, later."""
        self.do(data.draw(st.sampled_from(self.past), "what"))

    @rule(data=st.data())
    def together(self, data: st.DataObject) -> None:
        """Two actors at the same time."""
        self.do(self.any_op(data), self.any_op(data))

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def twice_at_once(self, data: st.DataObject) -> None:
        op = self.any_op(data)
        self.do(op, op)

    @rule(hours=st.sampled_from([1, 12, 24, 24 * 6, 24 * 35]))
    def time_goes_by(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "seen"):
            assert all(self.seen.equals(oracle) for oracle in self.oracles)


@dataclass
class LastIsFirst(Subject):
    """Of two actors the second one always gets there before the first."""

    second: asyncio.Event = field(default_factory=asyncio.Event)

    async def do(self, op: Op) -> bool:
        if op.key == 1:
            await self.second.wait()
        done = await super().do(op)
        self.second.set()
        return done


async def test_what_only_shows_later_is_left_open_until_then(db: Database) -> None:
    """Two redemptions of half each look the same in either order; a refund tells them apart."""
    member_id = await make_member(db, time_zone="Asia/Shanghai")
    async with db.transaction() as session:
        await service.open_wallet(session, member_id)
    zone = civil_time.zone("Asia/Shanghai")
    subject = LastIsFirst(db, member_id, zone)
    oracles, seen = [Oracle(zone)], await subject.look()
    today = civil_time.local_date(NOON, zone)
    for key, days in ((2, 1), (3, 9)):
        last = today + timedelta(days=days)
        earn = Op("earn", NOON, key=key, amount=5, expires_on=last)
        oracles, seen = await run_step(subject, oracles, seen, [earn])
    subject.second.clear()

    first, second = (Op("spend", NOON, key=key, hold=new_hold(NOON), amount=5) for key in (1, 2))
    oracles, seen = await run_step(subject, oracles, seen, [first, second])
    assert len(oracles) == 2

    oracles, seen = await run_step(
        subject, oracles, seen, [Op("refund", NOON, key=2, hold=first.hold)]
    )
    assert [oracle.lots_left[1][1] for oracle in oracles] == [5]


@pytest.fixture
def machine(server: TestServer) -> Iterator[type[LedgerMachine]]:
    """One database for all runs, and a loop that outlives each."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        name = loop.run_until_complete(server.clone())
        db = Database.open(server.url(name, APP_ROLE))
        LedgerMachine.db, LedgerMachine.loop = db, loop
        yield LedgerMachine
        loop.run_until_complete(db.close())
        loop.run_until_complete(server.drop(name))


@pytest.mark.timeout(3600 if FULL_COUNTS else 300)
def test_the_ledger_agrees_with_the_oracle_whatever_happens(machine: type[LedgerMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert machine.steps >= RUNS * STEPS // 2
    machine.loop.run_until_complete(_whole_ledger_is_sound(machine.db))


async def _whole_ledger_is_sound(db: Database) -> None:
    """All lives that were lived: every hash, and every row rebuilt from the transfers."""
    async for report in verify(db, roots_path=None):
        assert report.first_bad is None
    async for rebuilt in reconcile(db):
        assert rebuilt.first == ()
    assert rebuilt.members == report.members >= RUNS
    assert rebuilt.transfers == report.transfers
