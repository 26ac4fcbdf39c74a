"""Nobody reaches another member's data through any id.

Generated from the composed schema: every argument of type ID, inside inputs too, and `node`
for every type. A new one fails here until the tables below say what goes in.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text

from app.db import Database
from app.graphql import ids as global_ids
from app.graphql.ids import GlobalId, Kind, encode
from app.schema import NODE_FETCHERS
from tests.database import Start, TestServer
from tests.factories import NOON, contents
from tests.foreign_world import MARK, SCHEMA, World, ask, make_world
from tests.schema_walk import Asker, IdArgument, id_arguments, node_types, strings

OWNED = {
    "BenefitCost": Kind.BENEFIT_COST,
    "CheckIn": Kind.CHECK_IN,
    "ClaimStory": Kind.CLAIM_STORY,
    "Condition": Kind.CONDITION,
    "Consent": Kind.CONSENT,
    "DailyTotal": Kind.DAILY_TOTAL,
    "EntitlementUse": Kind.ENTITLEMENT_USE,
    "HealthTask": Kind.TASK,
    "Installation": Kind.INSTALLATION,
    "InsuranceContract": Kind.CONTRACT,
    "Invoice": Kind.INVOICE,
    "Measurement": Kind.MEASUREMENT,
    "Alert": Kind.ALERT,
    "DataSource": Kind.DATA_SOURCE,
    "DeviceLoan": Kind.DEVICE_LOAN,
    "Medication": Kind.MEDICATION,
    "Member": Kind.MEMBER,
    "MildConditionCase": Kind.MILD_CONDITION_CASE,
    "Message": Kind.MESSAGE,
    "NotificationPreferences": Kind.PREFERENCES,
    "Pause": Kind.PAUSE,
    "PointsAccount": Kind.POINTS_ACCOUNT,
    "PointsEntry": Kind.POINTS_ENTRY,
    "Policy": Kind.POLICY,
    "QuestionnaireResponse": Kind.QUESTIONNAIRE_RESPONSE,
    "Redemption": Kind.REDEMPTION,
    "Refund": Kind.REFUND,
    "Reminder": Kind.REMINDER,
    "Review": Kind.REVIEW,
    "RiskAssessment": Kind.RISK_ASSESSMENT,
    "RiskProfile": Kind.RISK_PROFILE,
}
"""Types whose objects are a member's, and which that member gets by `node`."""
STAFF_ONLY = {"WorklistEvent": Kind.WORKLIST_EVENT, "WorklistItem": Kind.WORKLIST_ITEM}
"""Types about a member which only employees get."""
NOT_YET: dict[str, Kind] = {}
"""Types of which there is no object yet, so that `node` knows none."""
NOBODYS = {
    "Campaign": Kind.CAMPAIGN,
    "HealthDevice": Kind.HEALTH_DEVICE,
    "Reward": Kind.REWARD,
    "SavedSegment": Kind.SAVED_SEGMENT,
    "Staff": Kind.STAFF,
}
"""Types of colleagues, of what is published and of the register, whose ids name no member; who
sees a device is tested in `test_devices_api.py`."""

NO_NODES = {Kind.PORTFOLIO_PROPOSAL, Kind.PREVENTION_SPENDING}
"""Kinds of what is nobody's and no Node: their ids go back in arguments of `OF_NOBODY` only."""
ONLY_EXPLAINED = {Kind.PREMIUM_LINE}
"""Kinds of what is a member's and no Node: only `why(id:)` takes them (tests/test_premium_api.py)."""


@dataclass(frozen=True)
class Known:
    """What an argument takes, and who may send it with the id of a member's object."""

    types: tuple[str, ...]
    rightful: str = "owner"
    writes: frozenset[str] = frozenset()
    """Tables that get a row of the sender's own all the same."""
    after: str | None = None
    """A mutation that must have been done with the same id."""
    once: str | None = None
    """The state that the member's policy must be in."""
    says_whose: bool = True
    """Whether the answer holds an id of the member."""


ANY = tuple({**OWNED, **STAFF_ONLY})
CONTRACT = ("InsuranceContract",)
REQUESTS = frozenset({"requests"})
ARGUMENTS = {
    "Query.node(id)": Known(ANY, "manager"),
    "Query.member(id)": Known(("Member",), "manager"),
    "Query.why(id)": Known(
        ("CheckIn", "HealthTask", "PointsEntry", "Redemption", "RiskAssessment"), "manager"
    ),
    "Query.quote(memberId)": Known(("Member",), "manager", says_whose=False),
    "Query.explainTerm(policyId)": Known(("Policy",), "manager", says_whose=False),
    "Query.alternativeTasks(taskId)": Known(("HealthTask",), "manager", says_whose=False),
    "Query.suppressedMessages(memberId)": Known(("Member",), "manager"),
    "Query.previewMessage(input.memberId)": Known(("Member",), "manager", says_whose=False),
    "Staff.worklist(filter.memberId)": Known(("Member",), "manager"),
    "Mutation.checkIn(input.taskId)": Known(("HealthTask",)),
    "Mutation.resumeProgramme(input.pauseId)": Known(("Pause",)),
    "Mutation.setReminder(input.reminderId)": Known(("Reminder",)),
    "Mutation.deleteReminder(input.reminderId)": Known(("Reminder",)),
    # Skipped, not refused; the request of whoever sent it is remembered.
    "Mutation.recordEngagement(input.events.messageId)": Known(("Message",), "owner", REQUESTS),
    # Names what is nobody's, a reward or a campaign; of a member's object it says nothing.
    "Mutation.recordEngagement(input.events.offerId)": Known(ANY, "nobody", REQUESTS),
    "Mutation.appealEntry(input.entryId)": Known(("PointsEntry",)),
    "Mutation.appealCheckIn(input.checkInId)": Known(("CheckIn",)),
    "Mutation.decideReview(input.reviewId)": Known(("Review",), "manager"),
    "Mutation.offerAlternativeTask(input.taskId)": Known(("HealthTask",), "manager"),
    "Mutation.setCondition(input.memberId)": Known(("Member",), "manager"),
    "Mutation.setProfile(input.memberId)": Known(("Member",), "manager"),
    "Mutation.setContact(input.memberId)": Known(("Member",), "manager"),
    "Mutation.requestContactCode(input.memberId)": Known(("Member",), "manager"),
    "Mutation.verifyContact(input.memberId)": Known(("Member",), "manager"),
    "Mutation.withdrawClaimStory(input.storyId)": Known(("ClaimStory",)),
    "Mutation.setCondition(input.conditionId)": Known(("Condition",)),
    "Mutation.retractCondition(input.conditionId)": Known(("Condition",)),
    "Mutation.setMedication(input.memberId)": Known(("Member",), "manager"),
    "Mutation.setMedication(input.medicationId)": Known(("Medication",)),
    "Mutation.stopMedication(input.medicationId)": Known(("Medication",)),
    "Mutation.openFollowUp(input.memberId)": Known(("Member",), "manager"),
    "Mutation.recordClinicalMeasurements(input.memberId)": Known(("Member",), "manager"),
    "Mutation.noteWorklistItem(input.itemId)": Known(("WorklistItem",), "manager"),
    "Mutation.snoozeWorklistItem(input.itemId)": Known(("WorklistItem",), "manager"),
    "Mutation.completeWorklistItem(input.itemId)": Known(("WorklistItem",), "manager"),
    "Mutation.handOverWorklistItem(input.itemId)": Known(("WorklistItem",), "manager"),
    "Mutation.lendHealthDevice(input.memberId)": Known(("Member",), "manager"),
    "Mutation.disconnectDataSource(input.dataSourceId)": Known(("DataSource",)),
    "Mutation.confirmMeasurement(input.measurementId)": Known(("Measurement",)),
    "Mutation.chooseMildConditionReward(input.caseId)": Known(("MildConditionCase",)),
    "Mutation.recordBenefitCost(input.caseId)": Known(("MildConditionCase",), "manager"),
    "Mutation.reverseBenefitCost(input.costId)": Known(("BenefitCost",), "manager"),
    "Mutation.reserveEntitlementFor(input.memberId)": Known(("Member",), "manager"),
    "Mutation.consumeEntitlement(input.useId)": Known(("EntitlementUse",), "manager"),
    "Mutation.releaseEntitlement(input.useId)": Known(("EntitlementUse",)),
    "Mutation.declareForPolicy(input.contractId)": Known(CONTRACT, once="APPLIED"),
    "Mutation.acceptOffer(input.contractId)": Known(CONTRACT, once="OFFERED"),
    "Mutation.withdrawApplication(input.contractId)": Known(CONTRACT, once="OFFERED"),
    "Mutation.answerRenewal(input.contractId)": Known(CONTRACT),
    "Mutation.cancelPolicy(input.contractId)": Known(CONTRACT),
    "Mutation.setPaymentFrequency(input.contractId)": Known(CONTRACT),
    "Mutation.decideUnderwriting(input.contractId)": Known(CONTRACT, "manager", once="REFERRED"),
    "Mutation.setPolicyPayer(input.contractId)": Known(CONTRACT, "manager"),
    "Mutation.proposeRescission(input.contractId)": Known(CONTRACT, "manager"),
    "Mutation.decideRescission(input.contractId)": Known(
        CONTRACT, "manager", after="proposeRescission"
    ),
    "Mutation.reinstatePolicy(input.contractId)": Known(CONTRACT, "manager", once="LAPSED"),
    "Mutation.recordPayment(input.invoiceId)": Known(("Invoice",), "manager"),
    "Mutation.recordRefund(input.refundId)": Known(("Refund",), "manager"),
    "Mutation.cancelRedemption(input.redemptionId)": Known(("Redemption",)),
    "Mutation.fulfilRedemption(input.redemptionId)": Known(("Redemption",), "manager"),
    "Mutation.reverseRedemption(input.redemptionId)": Known(
        ("Redemption",), "manager", after="fulfilRedemption"
    ),
}
OF_NOBODY = {
    "Query.campaign(id)",
    "Query.funnel(filter.campaignIds)",
    "Query.funnelBy(filter.campaignIds)",
    "Query.members(filter.savedSegments)",
    "Query.savedSegment(id)",
    "Query.segmentPreview(filter.savedSegments)",
    "Mutation.archiveSegment(input.segmentId)",
    "Mutation.cancelCampaign(input.campaignId)",
    "Mutation.createCampaign(input.filter.savedSegments)",
    "Mutation.createSegment(input.filter.savedSegments)",
    "Mutation.editCampaign(input.campaignId)",
    "Mutation.editCampaign(input.filter.savedSegments)",
    # For administrators alone, who see every member.
    "Mutation.moderateClaimStory(input.storyId)",
    "Mutation.pauseCampaign(input.campaignId)",
    "Mutation.startCampaign(input.campaignId)",
    "Mutation.submitCampaign(input.campaignId)",
    "Mutation.endDeviceLoan(input.deviceId)",
    "Mutation.lendHealthDevice(input.deviceId)",
    "Mutation.putAwayHealthDevice(input.deviceId)",
    "Mutation.handOverWorklistItem(input.toStaffId)",
    "Mutation.redeemReward(input.rewardId)",
    "Mutation.updateReward(input.rewardId)",
    "Mutation.changeRewardStock(input.rewardId)",
    "Mutation.decidePortfolioYear(input.proposalId)",
    "Mutation.reversePreventionSpending(input.spendingId)",
}
"""Arguments that name what is no member's."""
SUBSCRIPTIONS = {"memberEvents"}
"""Without arguments; `test_member_events.py` shows that they tell of `me` only."""

WAYS = {"Query": (), "Mutation": (), "Staff": (("Query", "staff"),)}
"""How to get from the root to the types whose fields take an id."""


START = Start(make_world)


@pytest_asyncio.fixture
async def database_name(server: TestServer) -> AsyncIterator[str]:
    async with START.clone(server) as name:
        yield name


@pytest.fixture
def world(db: Database) -> World:
    return START.made.on(db)


def assert_nothing_of(foreign: UUID, answer: Mapping[str, Any], asked: str) -> None:
    for found in strings(answer["data"]):
        assert MARK not in found and foreign.hex not in found.replace("-", ""), (asked, answer)
        named = global_ids.parse(found)
        assert named is None or named.owner_id != foreign, (asked, answer)


def of_nobody(id: str) -> str:
    """An id of the same kind that names nothing."""
    named: GlobalId | None = global_ids.parse(id)
    assert named is not None
    return encode(named.kind, *(uuid4() if isinstance(it, UUID) else it for it in named.parts))


def made_up(foreign: UUID) -> dict[str, str]:
    """Ids that the foreign member's objects would have, of types without any."""
    return {name: encode(kind, foreign, uuid4()) for name, kind in NOT_YET.items()}


# The tables above know the whole schema


def test_every_argument_that_takes_an_id_is_known() -> None:
    assert {str(argument) for argument in id_arguments(SCHEMA)} == ARGUMENTS.keys() | OF_NOBODY


def test_every_type_with_an_id_is_known() -> None:
    known = [OWNED, STAFF_ONLY, NOT_YET, NOBODYS]
    assert node_types(SCHEMA) == set().union(*known)
    assert sum(map(len, known)) == len(node_types(SCHEMA))
    kinds = {kind for types in known for kind in types.values()}
    others = NO_NODES | ONLY_EXPLAINED
    assert kinds | others == set(Kind) and not kinds & others
    assert set(NODE_FETCHERS) == kinds - set(NOT_YET.values())


def test_every_subscription_is_known() -> None:
    assert set(SCHEMA.subscription_type.fields) == SUBSCRIPTIONS  # type: ignore[union-attr]
    assert not any(it.args for it in SCHEMA.subscription_type.fields.values())  # type: ignore[union-attr]


# No id of a foreign object leads to it


async def test_the_foreign_member_has_one_of_everything(world: World) -> None:
    assert set(world.ids) - NOBODYS.keys() == set(OWNED) | set(STAFF_ONLY)
    for name, id in world.ids.items():
        named = global_ids.parse(id)
        assert named is not None
        assert named.kind == {**OWNED, **STAFF_ONLY, **NOBODYS}[name]
        assert (named.owner_id == world.foreign) == (name not in NOBODYS)


@pytest.mark.parametrize("argument", list(id_arguments(SCHEMA)), ids=str)
async def test_a_foreign_id_gives_nothing_and_changes_nothing(
    db: Database, world: World, argument: IdArgument
) -> None:
    if str(argument) in OF_NOBODY:
        return
    known = ARGUMENTS[str(argument)]
    way = (*WAYS[argument.type], (argument.type, argument.field))
    every_id = {**world.ids, **made_up(world.foreign)}
    before = await contents(db)
    for who, asked_by in world.viewers.items():
        wanted: Iterable[str] = known.types
        if who in ("another member", "a manager who is a member"):
            wanted = set(every_id) - NOBODYS.keys()
        for name in wanted:
            answers = [
                await ask(
                    way, world_values=world.values, id_at=argument.path, id=id, asked_by=asked_by
                )
                for id in (every_id[name], of_nobody(every_id[name]))
            ]
            asked = f"{who}, {name}"
            # "Not yours" and "does not exist" look the same.
            assert answers[0] == answers[1], asked
            assert set(answers[0]["codes"]) <= {"UNAUTHENTICATED", "FORBIDDEN"}, (asked, answers)
            assert_nothing_of(world.foreign, answers[0], asked)
    after = await contents(db)
    assert {name for name in after if after[name] != before[name]} <= known.writes
    await it_works_for_whoever_may(world, argument, known, way)


async def it_works_for_whoever_may(
    world: World, argument: IdArgument, known: Known, way: tuple[tuple[str, str], ...]
) -> None:
    """Otherwise the refusals above would have had another reason."""
    if known.rightful == "nobody":
        return
    for name in known.types:
        sent: Any = {
            "world_values": world.values,
            "id_at": argument.path,
            "id": world.ids[name],
            "asked_by": world.rightful[known.rightful],
        }
        if known.once is not None:
            await put_policy(world, known.once)
        if known.after is not None:
            await ask((("Mutation", known.after),), **sent)
        answer = await ask(way, **sent)
        found = answer["data"]
        for _, step in way:
            assert found is not None, (name, answer)
            found = found[step]
        found = found[0] if isinstance(found, list) else found
        assert found is not None and found["__typename"] != "UserError", (name, answer)
        if argument.field == "recordEngagement":
            assert found["RecordEngagementPayload_accepted"] == 1
        named = [global_ids.parse(it) for it in strings(found)]
        is_named = any(it is not None and it.owner_id == world.foreign for it in named)
        assert is_named is known.says_whose, answer


async def put_policy(world: World, state: str) -> None:
    """As if its life had gone otherwise."""
    parameters = {"state": state, "now": NOON, "member": world.foreign}
    async with world.rightful["owner"].db.write() as connection:
        for statement in (
            "delete from premium_projections where member_id = :member",
            "delete from refunds where member_id = :member",
            "delete from invoices where member_id = :member",
            "delete from policy_terms where member_id = :member and :state = 'APPLIED'",
            (
                "update policies set state = :state, ended_on = cast(:now as date), "
                "due_at = cast(:now as timestamptz) + interval '1 day' where member_id = :member"
            ),
        ):
            await connection.execute(text(statement), parameters)


async def test_members_get_their_own_by_node_but_nothing_that_is_for_staff(world: World) -> None:
    me = world.rightful["owner"]
    for name, id in {**world.ids, **made_up(world.foreign)}.items():
        answer = await ask((("Query", "node"),), id_at=("id",), id=id, asked_by=me)
        found = answer["data"]["node"]
        if name in OWNED:
            assert answer["codes"] == []
            assert (found["__typename"], found[f"{name}_id"]) == (name, id)
        else:
            assert (found is None) == (name not in ("HealthDevice", "Reward")), name


async def test_no_field_without_an_id_shows_a_foreign_member(world: World) -> None:
    with_id = {argument.field for argument in id_arguments(SCHEMA) if argument.type == "Query"}
    for name in set(Asker(SCHEMA).root("Query").fields) - with_id:
        for who, asked_by in world.viewers.items():
            answer = await ask(
                (("Query", name),), world_values=world.values, asked_by=asked_by, depth=4
            )
            assert set(answer["codes"]) <= {"UNAUTHENTICATED", "FORBIDDEN"}, (who, answer)
            assert_nothing_of(world.foreign, answer, f"{who}, {name}")
    found = await ask(
        (("Query", "members"),), world_values=world.values, asked_by=world.rightful["manager"]
    )
    assert MARK in strings(found["data"]), "the search finds whom one may see"
