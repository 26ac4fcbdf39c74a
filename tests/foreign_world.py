"""A member with everything, people around them who must not get it, and how they ask."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlmodel import select

from app.db import Database
from app.graphql import executor, masking
from app.graphql.context import ANONYMOUS, Context, Viewer
from app.graphql.documents import Documents, TrustedDocuments
from app.graphql.ids import Kind, encode
from app.graphql.limits import Limits
from app.graphql.params import Params
from app.measurements import alerts_data, alerts_opening, alerts_rules, devices
from app.measurements import service as measurements
from app.measurements.devices_rules import DeviceKind
from app.members import confirming
from app.members.contact_models import ContactChallenge
from app.members.models import Member
from app.premiums import benefit_costs, catalogue, mild_conditions
from app.premiums import service as premiums
from app.premiums.invoice_models import Invoice, Refund
from app.premiums.models import Policy
from app.premiums.policy_models import RenewalOffer, Underwriting
from app.premiums.product import PRODUCTS, Product, read
from app.schema import schema
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    context,
    execute,
    guard,
    make_member,
    make_message,
    make_staff,
    operation,
)
from tests.reviewing import decide, review_of, verified_by
from tests.schema_walk import Asker, objects
from tests.shoppers import make_reward

SCHEMA = schema._schema
HUGE = 10**9
DOCUMENTS = Documents(
    schema,
    TrustedDocuments(),
    limits=Limits(document_bytes=HUGE, tokens=HUGE, depth=99, aliases=HUGE, cost=HUGE),
    free=True,
)
"""Opens documents that ask for everything; each is validated once."""

MARK = "Xiulan-7193"
"""Part of every text that is written for the foreign member."""
LATER = (NOON + timedelta(days=1)).isoformat()
VALUES = {
    "Member.measurements.code": "SYSTOLIC_BP",
    "Member.measurementSummaries.code": "SYSTOLIC_BP",
    "Member.dailyTotals.code": "STEPS",
    "DailyTotalInput.code": "STEPS",
    "DailyTotalInput.unit": "{steps}",
    "DailyTotalInput.value": "5000",
    "DailyTotalInput.method": "SELF_REPORTED",
    "ClinicalMeasurementInput.value": "120",
    "ClinicalMeasurementInput.unit": "mm[Hg]",
    "PauseProgrammeInput.startsOn": "2026-03-02",
    "DecideReviewInput.points": 5,
    "OfferAlternativeTaskInput.templateCode": "breathing",
    "OpenFollowUpInput.dueAt": LATER,
    "AnswerQuestionnaireInput.code": "smoking",
    "AnswerQuestionnaireInput.version": "1",
    "AnswerQuestionnaireInput.answers": [{"key": "status", "values": ["never"]}],
    "SetConditionInput.icd10": "I10",
    "PreviewMessageInput.code": "nudge.task-due",
    "PreviewMessageInput.arm": "plain",
    "PreviewMessageInput.locale": "en",
    "SetReminderInput.recurrence": "FREQ=DAILY",
    "SnoozeWorklistItemInput.until": LATER,
    "RecordBenefitCostInput.drug": "A10BA02",
    "RecordBenefitCostInput.boughtOn": "2026-03-02",
    "RecordBenefitCostInput.amount": "10.00",
    "ReserveEntitlementInput.service": "consultation",
    "ReserveEntitlementForInput.service": "consultation",
    "Query.portfolio.productCode": "starter",
    "Query.portfolio.year": 2026,
    "Query.quote.productCode": "starter",
    "Query.quote.startsOn": "2026-03-02",
    "Query.quoteFacts.productCode": "starter",
    "Query.quoteFacts.facts": '{"moment": "ENROLMENT", "as_of": "2026-03-01T00:00:00Z",'
    ' "effective_on": "2026-03-02", "age": 50, "sex": "FEMALE"}',
    "Query.explainTerm.term": "participation",
    "ApplyForPolicyInput.productCode": "everything",
    "RecordPaymentInput.amount": "1.00",
    "RecordPaymentInput.happenedAt": NOON.isoformat(),
    "AddInsuredGroupInput.productCode": "everything",
    "AddInsuredGroupInput.people": 20,
    "DeclaredInput.conditions": [],
    "DeclaredInput.answers": [],
    "DecideUnderwritingInput.accept": False,
    "DecideRescissionInput.confirm": False,
    "SubmitClaimStoryInput.consentVersion": "2026-11",
    "SubmitClaimStoryInput.body": "They paid.",
    "RequestContactCodeInput.contact": "EMAIL",
    "VerifyContactInput.contact": "EMAIL",
    "VerifyContactInput.code": "719371",
    "Query.members.search": MARK,
    "Query.riskCalibration.model": "framingham_hypertension",
    "Query.riskCalibration.years": 4,
}
"""What makes a request valid but for the id, by argument or input field."""


@dataclass
class World:
    """Two members with everything, people around them, and ids of what is the foreign one's."""

    foreign: UUID
    ids: dict[str, str]
    viewers: dict[str, Context]
    """Who must not get any of it."""
    rightful: dict[str, Context]
    values: dict[str, Any] = field(default_factory=dict)

    def on(self, db: Database) -> "World":
        """The same on a clone of the database."""

        def moved(people: Mapping[str, Context]) -> dict[str, Context]:
            return {name: context(db, it.viewer) for name, it in people.items()}

        return replace(self, viewers=moved(self.viewers), rightful=moved(self.rightful))


async def ask(
    way: tuple[tuple[str, str], ...],
    *,
    world_values: Mapping[str, Any] = VALUES,
    id_at: tuple[str, ...] = (),
    id: str = "",
    asked_by: Context,
    depth: int = 3,
) -> dict[str, Any]:
    """Data and errors, as the server answers."""
    asker = Asker(SCHEMA, world_values, depth)
    body, sent = asker.ask(way, id_at)
    values = asker.variables(way, sent, id_at, id)
    result = await executor.execute(
        DOCUMENTS.find(Params(body, None, None, {})).plan,
        variables=_with_request_id(values),
        context=_fresh(asked_by),
    )
    errors = masking.formatted(result.errors or (), correlation_id="test")
    return {"data": result.data, "codes": [error["extensions"]["code"] for error in errors]}


def _with_request_id(values: dict[str, Any]) -> dict[str, Any]:
    if "requestId" in values.get("input", {}):
        values["input"]["requestId"] = str(uuid4())
    return values


def _fresh(asked_by: Context) -> Context:
    """A context as a new request has it."""
    return context(asked_by.db, asked_by.viewer)


async def populate(db: Database, member_id: UUID, mark: str) -> dict[str, str]:
    """Give a member one of everything that can be made through the API and by the clock."""
    async with db.transaction() as session:
        await catalogue.publish(session, everything(), now=NOON)
        await premiums.enrol(
            session,
            member_id=member_id,
            product_code="everything",
            starts_on=NOON.date(),
            now=NOON,
        )
        kept = await measurements.record(
            session,
            member_id=member_id,
            time_zone="Asia/Shanghai",
            readings=measurements.clinical(
                [
                    ("SYSTOLIC_BP", Decimal(128), "mm[Hg]"),
                    ("FASTING_GLUCOSE", Decimal("7.4"), "mmol/L"),
                ],
                at=NOON - timedelta(hours=1),
            ),
            now=NOON,
        )
        assert kept.accepted == 2
        rising = alerts_data.in_force().trends[0]
        raised = alerts_rules.worded(rising, mean=Decimal(151), baseline=Decimal(128))
        await alerts_opening.open_alerts(session, found=[(member_id, raised)], now=NOON)
    found = await benefit(db, member_id, mark) | await money(db, member_id)
    await make_message(db, member_id, title=mark)
    await make_message(db, member_id, title=mark, in_inbox=False, suppressed="OPTED_OUT")
    me = as_member(db, member_id)
    values = {
        **VALUES,
        "CheckInInput.note": mark,
        "AppealEntryInput.text": mark,
        "SetConditionInput.label": mark,
        "SetMedicationInput.name": mark,
        "SetReminderInput.title": mark,
        "SubmitClaimStoryInput.title": mark,
        "AddHealthDeviceInput.serial": f"{mark}-cuff",
        "RegisterDeviceInput.installationId": str(uuid4()),
        "RegisterDeviceInput.pushToken": f"{mark}-token",
        "RegisterDeviceInput.locale": "en",
        "RegisterDeviceInput.timeZone": "Asia/Shanghai",
    }

    async def did(name: str, id_at: tuple[str, ...] = (), id: str = "") -> None:
        answer = await ask(
            (("Mutation", name),), world_values=values, id_at=id_at, id=id, asked_by=me
        )
        assert answer["codes"] == [], answer
        assert answer["data"][name]["__typename"].endswith("Payload"), answer
        _keep(found, answer)

    home = await ask((("Query", "me"),), world_values=values, asked_by=me)
    assert home["codes"] == [], home
    tasks = {
        task["HealthTask_title"]: task["HealthTask_id"]
        for task in home["data"]["me"]["Member_tasksToday"]
    }
    for title in ("Move for 30 minutes after a meal", "Read one health article this week"):
        await did("checkIn", ("input", "taskId"), tasks[title])
    contested, contestable = await _earnings(db, member_id)
    await did("appealEntry", ("input", "entryId"), contested)
    reward = encode(Kind.REWARD, await make_reward(db, price=1))
    await did("redeemReward", ("input", "rewardId"), reward)
    await did("submitClaimStory")
    for name in ("addOwnHealthDevice", "setCondition", "setMedication", "answerQuestionnaire"):
        await did(name)
    await did("reserveEntitlement")
    for name in ("recordDailyTotals", "setReminder", "registerDevice", "pauseProgramme"):
        await did(name)
    home = await ask((("Query", "me"),), world_values=values, asked_by=me, depth=5)
    _keep(found, home)
    # The one that was not done yet, so that its owner could check in.
    found["HealthTask"] = tasks["Take today's medication"]
    found["PointsEntry"] = contestable
    return found


def everything() -> Product:
    """The tasks of the first product, with the benefits and services of chronic care."""
    plain = read(PRODUCTS / "starter-1.2.0.yaml").model_dump(mode="json")
    care = read(PRODUCTS / "chronic-care-1.0.0.yaml").model_dump(mode="json")
    improvement = [it for it in care["rules"] if it["kind"] == "mild_condition_improvement"]
    return Product.model_validate(
        {
            **plain,
            "code": "everything",
            "rules": [*plain["rules"], *improvement],
            "benefits": {**care["benefits"], "waiting_days": 0},
            "entitlements": care["entitlements"],
            "payment": care["payment"],
            "reinstatement": care["reinstatement"],
        }
    )


async def benefit(db: Database, member_id: UUID, mark: str) -> dict[str, str]:
    """A case of the mild-condition benefit with a cost; their ids."""
    async with db.transaction() as session:
        [case] = await mild_conditions.look(session, member_id=member_id, now=NOON)
        cost, _ = await benefit_costs.record(
            session,
            staff_id=uuid4(),
            request_id=uuid4(),
            member_id=member_id,
            case_id=case.id,
            bought=benefit_costs.Bought("A10BA02", NOON.date(), Decimal(20), mark),
            now=NOON,
        )
        return {
            "MildConditionCase": encode(Kind.MILD_CONDITION_CASE, member_id, case.id),
            "BenefitCost": encode(Kind.BENEFIT_COST, member_id, cost.id),
        }


async def money(db: Database, member_id: UUID) -> dict[str, str]:
    """The contract with what it was judged by, an offer, and an invoice of which a part is given
    back; their ids."""
    async with db.transaction() as session:
        [policy] = await session.exec(select(Policy).where(Policy.member_id == member_id))
        [invoice] = await session.exec(select(Invoice).where(Invoice.member_id == member_id))
        key = {"member_id": member_id, "policy_id": policy.id}
        sheet = Underwriting(**key, conditions=[], answers={}, waits_for=[], findings=[])
        sheet.decided_at, sheet.decision = NOON, "ACCEPT"
        session.add_all(
            [
                sheet,
                RenewalOffer(
                    **key,
                    starts_on=NOON.date().replace(year=NOON.year + 1),
                    product_version_id=policy.product_version_id,
                    offered_at=NOON,
                ),
                refund := Refund(
                    member_id=member_id,
                    id=uuid4(),
                    invoice_id=invoice.id,
                    amount=1,
                    currency=invoice.currency,
                    owed_at=NOON,
                ),
            ]
        )
        return {
            "InsuranceContract": encode(Kind.CONTRACT, member_id, policy.id),
            "Invoice": encode(Kind.INVOICE, member_id, invoice.id),
            "Refund": encode(Kind.REFUND, member_id, refund.id),
        }


async def reject_one(db: Database, member_id: UUID, manager: UUID) -> str:
    """A check-in that an employee rejects, so that it can be contested."""
    title = "Measure your blood pressure twice this week"
    tasks = "{ me { tasksToday { id title } } }"
    me = as_member(db, member_id)
    found = (await execute(tasks, context=me))["me"]["tasksToday"]
    [task] = [it["id"] for it in found if it["title"] == title]
    await verified_by(db, member_id, "STAFF")
    sent = {"input": {"requestId": str(uuid4()), "taskId": task, "occurredAt": NOON.isoformat()}}
    answer = await execute(operation("CheckIn"), sent, context=me)
    await verified_by(db, member_id, "NONE")
    await decide(db, manager, await review_of(db, member_id), "REJECT")
    id: str = answer["checkIn"]["checkIn"]["id"]
    return id


async def _earnings(db: Database, member_id: UUID) -> list[str]:
    earned = (
        "select id from points_transfers where member_id = :id and kind = 'EARNED' order by seq"
    )
    async with db.read() as connection:
        found = (await connection.execute(text(earned), {"id": member_id})).scalars()
        return [encode(Kind.POINTS_ENTRY, member_id, id) for id in found]


def _keep(found: dict[str, str], answer: Mapping[str, Any]) -> None:
    for type_name, id in objects(answer["data"]):
        found.setdefault(type_name, id)


async def await_code(db: Database, member_id: UUID) -> None:
    """An address that the member has set, and the code that was sent there."""
    address, id = f"{member_id.hex}@example.com", uuid4()
    async with db.transaction() as session:
        (await session.get_one(Member, member_id)).email = address
        session.add(
            ContactChallenge(
                member_id=member_id,
                id=id,
                contact="EMAIL",
                address_hash=confirming.hash_of(address),
                code_hash=confirming.code_hash(id, VALUES["VerifyContactInput.code"]),
                requested_at=NOON - timedelta(minutes=5),
                expires_at=NOON + timedelta(minutes=10),
            )
        )


async def make_world(db: Database) -> World:
    foreign, stranger, guardian, child = [
        await make_member(db, display_name=name, login=name.lower(), phone=phone)
        for name, phone in (
            (MARK, "+86 139 7193 7193"),
            ("Stranger", None),
            ("Guardian", None),
            ("Child", None),
        )
    ]
    manager, elsewhere, former, colleague = [await make_staff(db) for _ in range(4)]
    await assign(db, manager, foreign, stranger)
    await assign(db, elsewhere, stranger)
    await assign(db, former, foreign)
    async with db.write() as connection:
        ended = "update care_assignments set ended_at = :now where staff_id = :former"
        await connection.execute(text(ended), {"now": NOON, "former": former})
    for member_id in (child, foreign):
        await guard(db, child_id=member_id, guardian_id=guardian)
    await populate(db, stranger, "Stranger")
    ids = await populate(db, foreign, MARK)
    await await_code(db, foreign)
    async with db.transaction() as session:
        in_stock, _ = await devices.add(
            session,
            staff_id=manager,
            request_id=uuid4(),
            serial="in-stock",
            kind=DeviceKind.BP_MONITOR,
            model="Cuff",
            now=NOON,
        )
    ids["CheckIn"] = await reject_one(db, foreign, manager)
    values = {
        **VALUES,
        "OpenFollowUpInput.reason": MARK,
        "HandOverWorklistItemInput.toStaffId": encode(Kind.STAFF, colleague),
        "LendHealthDeviceInput.deviceId": encode(Kind.HEALTH_DEVICE, in_stock.id),
    }
    opened = await ask(
        (("Mutation", "openFollowUp"),),
        world_values=values,
        id_at=("input", "memberId"),
        id=ids["Member"],
        asked_by=as_staff(db, manager),
        depth=5,
    )
    _keep(ids, opened)
    both = Viewer(member_id=stranger, staff_id=elsewhere, roles=frozenset({"HEALTH_MANAGER"}))
    return World(
        foreign=foreign,
        ids=ids,
        viewers={
            "another member": as_member(db, stranger),
            "a guardian as themselves": as_member(db, guardian),
            "a guardian for another child": as_member(db, guardian, acting_for=child),
            "a manager of others": as_staff(db, elsewhere),
            "a manager of former times": as_staff(db, former),
            "a manager who is a member": context(db, both),
            "a campaign manager": as_staff(db, await make_staff(db), "CAMPAIGN_MANAGER"),
            "an actuary": as_staff(db, await make_staff(db), "ACTUARY"),
            "nobody": context(db, ANONYMOUS),
        },
        rightful={"owner": as_member(db, foreign), "manager": as_staff(db, manager)},
        values=values,
    )
