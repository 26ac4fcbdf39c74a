"""The short path into force: states that the table knows, and no row of underwriting twice."""

import asyncio
from datetime import timedelta

from app.db import Database
from app.errors import ErrorCode
from app.premiums import applications, collecting, enrolment, underwriting
from app.premiums.lifecycle import TRANSITIONS, PolicyEventKind, PolicyState
from tests.factories import NOON, make_member
from tests.policy_holders import (
    CARE,
    PLAIN,
    applied,
    do,
    events,
    publish,
    refused,
    rows,
    tick,
    variant,
)

DAY = timedelta(days=1)
GIVEN = {"product_code": CARE, "starts_on": NOON.date()}


async def test_who_is_taken_without_questions_goes_on_like_everybody(db: Database):
    await publish(db, variant())
    member = await make_member(db)
    policy = await do(db, enrolment.enrol, member_id=member, **GIVEN)
    assert await events(db, policy) == [("ENROLLED", "IN_FORCE")]
    assert await rows(db, "select count(*) from underwritings") == [(0,)]
    # An application beside it is refused, and the clock finds nothing to underwrite.
    await refused(db, ErrorCode.STATE_INVALID, applied, db, member)
    for batch in (underwriting.look_at_waiting, applications.begin_due, applications.close_due):
        assert await tick(db, batch, now=NOON + 100 * DAY) == 0
    late = NOON + 80 * DAY
    await tick(db, collecting.dun_due, now=late)
    await tick(db, collecting.lapse_due, now=late)
    path = [PolicyState(state) for _, state in await events(db, policy)]
    kinds = [PolicyEventKind(kind) for kind, _ in await events(db, policy)]
    before = [None, *path[:-1]]
    assert [TRANSITIONS[it] for it in zip(before, kinds, strict=True)] == path
    assert path[-1] is PolicyState.LAPSED


async def test_applications_at_once_leave_one_with_one_sheet(db: Database):
    await publish(db, variant(**PLAIN))
    member = await make_member(db)
    done = await asyncio.gather(
        *(applied(db, member, declared=None) for _ in range(8)), return_exceptions=True
    )
    assert sum(not isinstance(it, Exception) for it in done) == 1
    assert {type(it) for it in done if isinstance(it, Exception)} == {applications.AlreadyInsured}
    assert await rows(db, "select count(*) from underwritings") == [(1,)]
    assert await rows(db, "select count(*) from policies") == [(1,)]


async def test_nobody_is_taken_twice(db: Database):
    await publish(db, variant(**PLAIN))
    member = await make_member(db)
    await applied(db, member, declared=None)
    await refused(db, ErrorCode.STATE_INVALID, do, db, enrolment.enrol, member_id=member, **GIVEN)
    other = await make_member(db)
    done = await asyncio.gather(
        *(do(db, enrolment.enrol, member_id=other, **GIVEN) for _ in range(8)),
        return_exceptions=True,
    )
    assert sum(not isinstance(it, Exception) for it in done) == 1
    assert await rows(db, "select count(*) from policies where state = 'IN_FORCE'") == [(1,)]
