"""Cases of the mild-condition benefit (COV-1): opened by what is recorded, closed by the clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import Text as TextType
from sqlalchemy import Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.jobs import queue
from app.measurements.facts import ON_RECORDED, Touched
from app.measurements.kinds import Method
from app.members import service as members
from app.members.models import ConsentRecord, Member
from app.members.rules import ConsentPurpose, ConsentState, Sex
from app.premiums import benefit_rules as benefits
from app.premiums import catalogue, money, rules
from app.premiums.benefit_models import MildConditionCase
from app.premiums.benefit_rules import CaseState, ClosedBecause, Trigger
from app.premiums.benefit_terms import MildConditionBenefit
from app.premiums.models import Policy, PolicyTerm, ProductVersion
from app.premiums.product import Product
from app.records import clinical, queries, thresholds
from app.records.clinical import FASTING, Person
from app.texts import Text
from app.worklist import programme as worklist
from app.worklist.rules import WorklistItemKind

JOB = "premiums.look_for_mild_conditions"
DEBOUNCE = timedelta(seconds=30)
"""An examination is many readings: they are looked at once, together."""
SUBJECT = "MILD_CONDITION_CASE"
"""A worklist item's `subject_kind`."""
_CODES = frozenset({FASTING, clinical.SYSTOLIC, clinical.DIASTOLIC})
_PRIORITY = 70
_DUE = timedelta(days=3)
_IN_FORCE = text("""
select id::text from measurements where member_id = :member_id
and id::text = any(:ids) and superseded_at is null
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("ids", type_=ARRAY(TextType)))


class CaseNotCovered(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="该情况在等待期内发现，不在保障范围内。",
                en="This was found within the waiting period and is not covered.",
            ),
            field="caseId",
        )


@dataclass(frozen=True, slots=True)
class Insured:
    """A member with the policy in force, which is locked."""

    member: Member
    policy: Policy
    product: Product
    term: PolicyTerm
    today: date
    """The member's local day."""


# What is recorded


async def recorded(session: AsyncSession, member_id: UUID, touched: Touched, now: datetime) -> None:
    """Follows what was measured (see `measurements.facts.ON_RECORDED`). Only what a clinic or a
    laboratory measured can trigger, or be corrected: nothing else costs anything here."""
    if any(it.code in _CODES and it.method == Method.CLINICAL for it in touched.readings):
        await look_later(session, member_id, now=now)


async def consented(session: AsyncSession, answered: ConsentRecord, now: datetime) -> None:
    """Follows an answer about a consent: what was measured meanwhile was not looked at."""
    if (answered.purpose, answered.state) == (ConsentPurpose.HEALTH_DATA, ConsentState.GRANTED):
        await look_later(session, answered.member_id, now=now)


async def look_later(session: AsyncSession, member_id: UUID, *, now: datetime) -> None:
    await queue.enqueue(
        session,
        JOB,
        {"member_id": str(member_id)},
        now=now,
        run_at=now + DEBOUNCE,
        dedupe_key=f"{JOB}:{member_id}",
    )


def follow_recordings() -> None:
    """Have every recording and every consent looked at; the wiring of each process calls it."""
    if recorded not in ON_RECORDED:
        ON_RECORDED.append(recorded)
    if consented not in members.ON_CONSENT:
        members.ON_CONSENT.append(consented)


async def look(session: AsyncSession, *, member_id: UUID, now: datetime) -> list[MildConditionCase]:
    """Open the cases that a member's readings trigger now; those that are new. Without the
    consent to health data nothing is looked at, and what is open stays as it is."""
    insured = await lock_insured(session, member_id, now=now)
    terms = insured.product.benefits if insured else None
    if insured is None or terms is None or terms.mild_condition is None:
        return []
    guidelines = thresholds.guidelines()
    rows = await queries.readings(session, [member_id], guidelines, consented_only=True, now=now)
    if not rows and not await consents(session, member_id):
        return []
    member = insured.member
    age = civil_time.completed_years(member.birth_date, insured.today)
    found = clinical.classes(
        [clinical.of_row(row) for row in rows],
        Person(Sex(member.sex), age),
        guidelines,
        today=insured.today,
    )
    group = next(it for it in thresholds.groups() if it.code == benefits.MILD_CONDITION)
    triggers = {it.condition.value: it for it in benefits.triggers(found, group)}
    earlier = await _newest(session, member_id)
    await _correct(session, earlier, triggers, now=now)
    opened = []
    for condition, trigger in triggers.items():
        case = _case(insured, terms.mild_condition, trigger, earlier.get(condition), now=now)
        if case is not None and await _add(session, case):
            opened.append(case)
            await worklist.open_item(session, member_id=member_id, task=_task(case, now), now=now)
    return opened


async def consents(session: AsyncSession, member_id: UUID) -> bool:
    """Whether the use of health data is allowed."""
    newest = await session.exec(
        select(ConsentRecord.state)
        .where(
            ConsentRecord.member_id == member_id,
            ConsentRecord.purpose == ConsentPurpose.HEALTH_DATA,
        )
        .order_by(col(ConsentRecord.version).desc())
        .limit(1)
    )
    return newest.one_or_none() == ConsentState.GRANTED


async def lock_insured(session: AsyncSession, member_id: UUID, *, now: datetime) -> Insured | None:
    """None without a policy in force."""
    policy = (
        await session.exec(
            select(Policy)
            .where(Policy.member_id == member_id, Policy.state == "IN_FORCE")
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    ).one_or_none()
    if policy is None:
        return None
    member = await session.get_one(Member, member_id)
    today = civil_time.local_date(now, civil_time.zone(member.time_zone))
    return Insured(
        member,
        policy,
        await product_of(session, policy.product_version_id),
        await running_term(session, policy, today=today),
        today,
    )


async def product_of(session: AsyncSession, version_id: UUID) -> Product:
    version = await session.get_one(ProductVersion, version_id)
    return catalogue.definition(version.id, version.definition)


async def running_term(session: AsyncSession, policy: Policy, *, today: date) -> PolicyTerm:
    """The one that has begun last; before that the first one."""
    terms = (
        await session.exec(
            select(PolicyTerm)
            .where(PolicyTerm.member_id == policy.member_id, PolicyTerm.policy_id == policy.id)
            .order_by(col(PolicyTerm.starts_on))
        )
    ).all()
    begun = [term for term in terms if term.starts_on <= today]
    return begun[-1] if begun else terms[0]


async def _newest(session: AsyncSession, member_id: UUID) -> Mapping[str, MildConditionCase]:
    """The newest case of each condition, locked."""
    cases = await session.exec(
        select(MildConditionCase)
        .where(MildConditionCase.member_id == member_id)
        .order_by(col(MildConditionCase.triggered_on), col(MildConditionCase.id))
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return {case.condition: case for case in cases}


async def _correct(
    session: AsyncSession,
    cases: Mapping[str, MildConditionCase],
    triggers: Mapping[str, Trigger],
    *,
    now: datetime,
) -> None:
    """A case whose readings were all corrected since is closed, unless the corrected ones say
    the same; what has been paid stays paid."""
    for condition, case in cases.items():
        if case.closed_at is not None:
            continue
        wanted = {"member_id": case.member_id, "ids": case.readings}
        if (await session.execute(_IN_FORCE, wanted)).first() is not None:
            continue
        trigger = triggers.get(condition)
        if trigger is not None and trigger.on <= case.closes_on:
            case.readings = list(trigger.readings)
        else:
            await close(session, case, ClosedBecause.READING_CORRECTED, now=now)


def _case(
    insured: Insured,
    terms: MildConditionBenefit,
    trigger: Trigger,
    earlier: MildConditionCase | None,
    *,
    now: datetime,
) -> MildConditionCase | None:
    policy, product = insured.policy, insured.product
    assert product.benefits is not None
    opening = benefits.opening(
        trigger,
        terms,
        policy_started_on=policy.started_on,
        waiting_days=product.benefits.waiting_days,
        term=rules.Term(insured.term.starts_on, insured.term.ends_on),
        earlier=benefits.Earlier(
            earlier.triggered_on, earlier.closes_on, earlier.closed_at is not None
        )
        if earlier is not None and earlier.closed_reason != ClosedBecause.READING_CORRECTED
        else None,
    )
    if opening is None:
        return None
    zone = civil_time.zone(insured.member.time_zone)
    return MildConditionCase(
        member_id=policy.member_id,
        id=new_id(now),
        policy_id=policy.id,
        product_version_id=policy.product_version_id,
        condition=trigger.condition.value,
        clinical_class=trigger.clinical_class,
        diabetes_range=trigger.diabetes_range,
        readings=list(trigger.readings),
        triggered_on=trigger.on,
        closes_on=opening.closes_on,
        closes_at=civil_time.end_of_day(opening.closes_on, zone),
        state=opening.state.value,
        opened_at=now,
        share_percent=terms.share_percent,
        limit_amount=money.minor(terms.amount_max, product.currency),
        currency=product.currency,
    )


async def _add(session: AsyncSession, case: MildConditionCase) -> bool:
    made = insert(MildConditionCase).values(**case.model_dump()).on_conflict_do_nothing()
    added = await session.execute(made.returning(col(MildConditionCase.id)))
    return added.scalar_one_or_none() is not None


def _task(case: MildConditionCase, now: datetime) -> worklist.Task:
    """Says no health fact: what it is about stands in the case."""
    covered = case.state == CaseState.OPEN
    return worklist.Task(
        kind=WorklistItemKind.FOLLOW_UP,
        cause_key=cause_key(case.id),
        reason=Text(
            zh="轻症保障已触发：请安排会员看医生，由医生复查并确认",
            en="A mild-condition benefit was triggered: have a clinician see the member to repeat "
            "and confirm it",
        )
        if covered
        else Text(
            zh="等待期内发现的情况：请安排会员看医生，由医生复查并确认",
            en="Something was found within the waiting period: have a clinician see the member to "
            "repeat and confirm it",
        ),
        priority=_PRIORITY,
        due_at=now + _DUE,
        subject_kind=SUBJECT,
        subject_id=case.id,
    )


def cause_key(case_id: UUID) -> str:
    return f"mild_condition:{case_id}"


# The end of a case


async def close(
    session: AsyncSession, case: MildConditionCase, because: ClosedBecause, *, now: datetime
) -> None:
    """The case is locked and not closed. What ends it before its time ends its days too: today,
    or on the policy's last day."""
    member = await session.get_one(Member, case.member_id)
    zone = civil_time.zone(member.time_zone)
    last = case.closes_on
    if because is ClosedBecause.READING_CORRECTED:
        last = civil_time.local_date(now, zone)
    elif because is ClosedBecause.POLICY_ENDED:
        policy = await session.get_one(Policy, (case.member_id, case.policy_id))
        last = policy.ended_on or civil_time.local_date(now, zone)
    if last < case.closes_on:
        case.closes_on = last
        case.closes_at = civil_time.end_of_day(last, zone)
    case.closed_at = now
    case.closed_reason = because.value
    if case.state == CaseState.OPEN:
        case.state = CaseState.CLOSED.value


async def close_over(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """Close up to `limit` cases whose months are over, or whose policy is not in force any
    more; how many. One that another run holds is skipped."""
    in_force = (
        select(Policy.id)
        .where(
            Policy.member_id == MildConditionCase.member_id,
            Policy.id == MildConditionCase.policy_id,
            Policy.state == "IN_FORCE",
        )
        .exists()
    )
    due = (
        await session.exec(
            select(MildConditionCase)
            .where(
                col(MildConditionCase.closed_at).is_(None),
                (col(MildConditionCase.closes_at) <= now) | ~in_force,
            )
            .order_by(col(MildConditionCase.closes_at))
            .limit(limit)
            .with_for_update(skip_locked=True, of=MildConditionCase)
        )
    ).all()
    for case in due:
        over = case.closes_at <= now
        because = ClosedBecause.TIME_OVER if over else ClosedBecause.POLICY_ENDED
        await close(session, case, because, now=now)
    return len(due)


async def lock(session: AsyncSession, member_id: UUID, case_id: UUID) -> MildConditionCase:
    """Raises NotFound."""
    found = (
        await session.exec(
            select(MildConditionCase)
            .where(MildConditionCase.member_id == member_id, MildConditionCase.id == case_id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    ).one_or_none()
    if found is None:
        raise NotFound(field="caseId")
    return found
