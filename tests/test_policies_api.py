"""Contracts through the API: by the documents that clients send, seen by who may see them."""

from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.premiums import underwriting
from app.premiums.contract_terms import Frequency
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    counts,
    execute,
    guard,
    make_member,
    make_staff,
    operation,
)
from tests.policy_holders import (
    CARE,
    PLAIN,
    assessed,
    insured,
    publish,
    rows,
    tick,
    variant,
)

DAY = timedelta(days=1)


async def send(name_: str, context, side: str = "app", /, **given: Any) -> dict[str, Any]:
    """One document with one input; its only field."""
    sent = {"input": {"requestId": str(uuid4()), **given}}
    answer = await execute(operation(name_, side), sent, context=context)
    [found] = answer.values()
    return found


@pytest.fixture(autouse=True)
async def products(db: Database) -> None:
    await publish(db, variant(**PLAIN))


async def test_a_member_applies_accepts_sees_and_cancels(db: Database):
    member = await make_member(db)
    me = as_member(db, member)
    request = str(uuid4())
    first, again = [
        await send("ApplyForPolicy", me, productCode=CARE, requestId=request, frequency="MONTHLY")
        for _ in range(2)
    ]
    assert (first["replayed"], again["replayed"]) == (False, True)
    contract = first["contract"]
    assert contract == again["contract"]
    assert (contract["state"], contract["frequency"]) == ("OFFERED", "MONTHLY")
    assert contract["term"]["total"]["currency"] == "CNY"
    id = contract["id"]
    accepted = await send("AcceptOffer", me, contractId=id)
    assert accepted["contract"]["state"] == "IN_FORCE"
    refusal = await send("AcceptOffer", me, contractId=id)
    assert (refusal["code"], refusal["field"]) == ("STATE_INVALID", "contractId")
    frequency = await send("SetPaymentFrequency", me, contractId=id, frequency="ANNUAL")
    assert frequency["contract"]["frequency"] == "ANNUAL"
    listed = await execute(operation("Contracts"), {"first": 1}, context=me)
    [edge] = listed["me"]["contracts"]["edges"]
    assert edge["node"]["id"] == id
    page = await execute(operation("Contract"), {"id": id, "first": 5}, context=me)
    shown = page["node"]
    assert [it["node"]["part"] for it in shown["invoices"]["edges"]] == [1, 2, 3, 4, 5]
    more = await execute(
        operation("Contract"),
        {"id": id, "after": shown["invoices"]["pageInfo"]["endCursor"]},
        context=me,
    )
    assert len(more["node"]["invoices"]["edges"]) == 7
    kinds = [it["node"]["kind"] for it in shown["history"]["edges"]]
    assert kinds == ["PAYMENT_CHANGED", "BEGAN", "ACCEPTED", "OFFERED", "APPLIED"]
    cancelled = await send("CancelPolicy", me, contractId=id)
    assert cancelled["contract"]["state"] == "CANCELLED"
    policy = await execute("{ me { policy { id contract { id } } } }", context=me)
    assert policy == {"me": {"policy": None}}


async def test_a_guardian_insures_a_child_and_nobody_else_does(db: Database):
    await publish(db, variant("young", **PLAIN, eligibility={"age_from": 0, "age_to": 65},
                              base_premium={"by_age": [
                                  {"age_from": 0, "age_to": 65, "amount": "900.00"}]}))  # fmt: skip
    child = await make_member(db, birth_date=date(2018, 4, 1))
    guardian, stranger = await make_member(db), await make_member(db)
    await guard(db, child_id=child, guardian_id=guardian)
    acting = as_member(db, guardian, acting_for=child)
    made = await send("ApplyForPolicy", acting, productCode="young")
    id = made["contract"]["id"]
    await send("AcceptOffer", acting, contractId=id)
    who = await rows(db, "select member_id, actor_id from policy_events where actor = 'MEMBER'")
    assert set(who) == {(child, guardian)}
    for context in (as_member(db, guardian), as_member(db, stranger)):
        assert (await send("CancelPolicy", context, contractId=id))["code"] == "NOT_FOUND"


async def test_staff_decide_record_and_reinstate_only_for_their_members(db: Database):
    await publish(db, variant("asks", underwriting={"examination_report_months": None}))
    member, manager, other = await make_member(db), await make_staff(db), await make_staff(db)
    await assign(db, manager, member)
    me, theirs = as_member(db, member), as_staff(db, manager)
    declared = {
        "conditions": ["C50"],
        "answers": [
            {"code": "complete", "confirmed": True},
            {"code": "no_hospital", "confirmed": True},
        ],
    }
    made = await send("ApplyForPolicy", me, productCode="asks", declared=declared)
    id = made["contract"]["id"]
    assert made["contract"]["underwriting"]["waitsFor"] == ["ASSESSMENT"]
    await assessed(db, member)
    await tick(db, underwriting.look_at_waiting, now=NOON + timedelta(minutes=11))
    page = await execute(
        operation("MemberContracts", "console"),
        {"id": encode(Kind.MEMBER, member)},
        context=theirs,
    )
    [edge] = page["member"]["contracts"]["edges"]
    assert edge["node"]["underwriting"]["conditions"] == ["C50"]
    assert edge["node"]["underwriting"]["findings"] == ["CONDITION_UNKNOWN"]
    listed = await execute(
        """{ staff { worklist { edges { node { kind subject {
          ... on InsuranceContract { id state } } } } } } }""",
        context=theirs,
    )
    [item] = [it["node"] for it in listed["staff"]["worklist"]["edges"]]
    assert item == {"kind": "UNDERWRITING", "subject": {"id": id, "state": "REFERRED"}}
    before = await counts(db)
    answer = {"contractId": id, "accept": True, "reason": "Treated long ago."}
    for context in (me, as_staff(db, other)):
        refusal = await send("DecideUnderwriting", context, "console", **answer)
        assert refusal["code"] == "NOT_FOUND"
    assert await counts(db) == before
    decided = await send("DecideUnderwriting", theirs, "console", **answer)
    assert decided["contract"]["state"] == "OFFERED"
    payer = await send("SetPolicyPayer", theirs, "console", contractId=id, payer="GOVERNMENT")
    assert payer["contract"]["payer"] == "GOVERNMENT"
    await send("AcceptOffer", me, contractId=id)
    page = await execute(operation("MemberContract", "console"), {"id": id}, context=theirs)
    [invoice] = [it["node"] for it in page["node"]["invoices"]["edges"]]
    paid = {
        "invoiceId": invoice["id"],
        "reference": "wire 1",
        "amount": invoice["amount"]["amount"],
        "happenedAt": NOON.isoformat(),
    }
    for wrong, code in (
        ({"amount": "0.001"}, "VALUE_OUT_OF_RANGE"),
        ({"amount": "-5"}, "VALUE_OUT_OF_RANGE"),
        ({"happenedAt": (NOON + DAY).isoformat()}, "IN_FUTURE"),
    ):
        refusal = await send("RecordPayment", theirs, "console", **{**paid, **wrong})
        assert refusal["code"] == code
    recorded = await send("RecordPayment", theirs, "console", **paid)
    assert recorded["invoice"]["state"] == "PAID"
    await send("CancelPolicy", me, contractId=id)
    page = await execute(operation("MemberContract", "console"), {"id": id}, context=theirs)
    [refund] = [it["node"] for it in page["node"]["refunds"]["edges"]]
    back = await send("RecordRefund", theirs, "console", refundId=refund["id"], reference="w 2")
    assert back["refund"]["paidAt"] == NOON


async def test_a_proposed_rescission_is_not_told_to_the_member_before_it_is_confirmed(db: Database):
    policy = await insured(db)
    first, second = await make_staff(db), await make_staff(db)
    for staff in (first, second):
        await assign(db, staff, policy.member_id)
    id = encode(Kind.CONTRACT, policy.member_id, policy.id)
    me = as_member(db, policy.member_id)
    proposed = await send(
        "ProposeRescission", as_staff(db, first), "console", contractId=id,
        reason="Concealed.", refunds=True,
    )  # fmt: skip
    assert proposed["contract"]["rescissionProposed"] is True
    page = await execute(operation("Contract"), {"id": id}, context=me)
    assert page["node"]["history"]["edges"][0]["node"]["kind"] == "BEGAN"
    own = await execute("{ me { contracts { edges { node { rescissionProposed } } } } }",
                        context=me)  # fmt: skip
    assert own["me"]["contracts"]["edges"][0]["node"]["rescissionProposed"] is False
    alone = await send(
        "DecideRescission", as_staff(db, first), "console", contractId=id, confirm=True
    )
    assert alone["code"] == "SECOND_PERSON_NEEDED"
    done = await send(
        "DecideRescission", as_staff(db, second), "console", contractId=id, confirm=True
    )
    assert done["contract"]["state"] == "RESCINDED"
    page = await execute(operation("Contract"), {"id": id}, context=me)
    newest = page["node"]["history"]["edges"][0]["node"]
    assert (newest["kind"], newest["reason"]) == ("RESCINDED", "Concealed.")


async def test_lists_cost_the_same_number_of_statements_however_long(db: Database):
    policy = await insured(db, wanted={"frequency": Frequency.MONTHLY})
    me = as_member(db, policy.member_id)
    id = encode(Kind.CONTRACT, policy.member_id, policy.id)
    counted = []
    for first in (1, 12):
        with StatementCount(db) as found:
            await execute(operation("Contract"), {"id": id, "first": first}, context=me)
        counted.append(len(found))
    assert counted[0] == counted[1] <= 5
    again = as_member(db, policy.member_id)
    with StatementCount(db) as found:
        await execute(operation("Contracts"), context=again)
    assert len(found) <= 3
