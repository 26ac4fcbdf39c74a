"""Why a line of a premium is what it is: the rule, then the assessment, months, readings, or
redeemed credit that it rests on, as they were known when it was priced."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text

from app.graphql.ids import GlobalId
from app.graphql.node import Info
from app.insights import sentences
from app.insights.steps import Explained, Step, StepKind, Subject, SubjectKind
from app.measurements import known
from app.measurements.catalogue import quantities
from app.measurements.kinds import TrustGrade
from app.members.rules import ConsentState, shows_health
from app.premiums import catalogue, money, pricing, renewal_reads, stored_lines
from app.premiums.documents import Words
from app.premiums.facts import Facts
from app.premiums.premium_types import PremiumLine, line_id
from app.premiums.product import Product
from app.premiums.quote import (
    DiagnosisEvidence,
    Line,
    LossRatioEvidence,
    ParticipationEvidence,
    ProfileEvidence,
    ReadingsEvidence,
    Section,
    TierEvidence,
)
from app.risk import loading, queries, rules, rulesets
from app.risk.chosen import Chosen
from app.risk.facts import RANKS
from app.texts import Text

READINGS_MAX = 10
"""Of each end of a window, and of an assessment."""
_PREMIUM = text("""
select p.product_version_id, p.as_of, p.lines, p.facts, p.currency from premiums p
where p.member_id = :member_id and p.id = :id
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))
_HEALTH = text("""
select c.state from consents c where c.member_id = :member_id and c.purpose = 'HEALTH_DATA'
order by c.version desc limit 1
""").bindparams(bindparam("member_id", type_=Uuid))
_ASSESSMENT = Text(zh="健康风险评估", en="Assessment of your health risk")
_MONTH = Text(zh="当月参与", en="Month of participation")
_DIAGNOSIS = Text(zh="诊断", en="Diagnosis")
_LOSS_RATIO = Text(zh="全体成员的赔付率", en="Loss ratio of all members")
_CREDIT = Text(zh="兑换的保费抵扣金", en="Redeemed premium credit")


@dataclass(frozen=True, slots=True)
class Found:
    """A line, stored or of the renewal as things stand."""

    of: UUID
    place: int
    line: Line
    product: Product
    facts: Facts
    as_of: datetime

    @property
    def rule_version(self) -> str:
        return f"{self.product.code} {self.product.version}"


async def explain(info: Info, asked: GlobalId) -> Explained | None:
    """None when there is no such line, or it is not the viewer's to see."""
    found = await find(info, asked.owner_id, asked.key, _place(asked))
    if found is None:
        return None
    line, currency = found.line, found.product.currency
    said = Text(
        zh=f"{line.label.zh}（{money.text(line.amount, currency)}）。{line.explanation.zh}",
        en=f"{line.label.en} ({money.text(line.amount, currency)}). {line.explanation.en}",
    )
    first = Step(
        StepKind.PREMIUM,
        _text(line.label),
        _text(line.explanation),
        occurred_at=found.as_of,
        rule_version=found.rule_version,
        subject=Subject(SubjectKind.PREMIUM_LINE, found.of, model=UUID(int=found.place + 1)),
    )
    steps = [first]
    for evidence in line.evidence:
        steps += await _steps(info, asked.owner_id, found, evidence)
    if line.section is Section.CREDIT:
        steps += _credits(found)
    return Explained(said, steps)


async def load(info: Info, member_id: UUID, subject: Subject) -> PremiumLine | None:
    """The line itself, as the API shows it."""
    assert subject.model is not None
    found = await find(info, member_id, subject.id, subject.model.int - 1)
    if found is None:
        return None
    return PremiumLine.of(
        found.line,
        found.product.currency,
        locale=info.context.locale,
        why_id=line_id(member_id, found.of, found.place),
    )


async def find(info: Info, member_id: UUID, of: UUID, place: int) -> Found | None:
    """Once a request: of a stored premium, or of a policy's next term as things stand now."""
    state = info.context.state
    name = f"insights.premium_lines.{member_id}.{of}.{place}"
    if name not in state:
        state[name] = await _find(info, member_id, of, place)
    found: Found | None = state[name]
    return found


async def _find(info: Info, member_id: UUID, of: UUID, place: int) -> Found | None:
    context = info.context
    async with context.db.read() as reading:
        health = (await reading.execute(_HEALTH, {"member_id": member_id})).scalar_one_or_none()
        consent = ConsentState(health or ConsentState.NOT_ASKED)
        if not shows_health(consent, own=context.is_own(member_id)):
            return None
        key = {"member_id": member_id, "id": of}
        row = (await reading.execute(_PREMIUM, key)).one_or_none()
        if row is not None:
            products = await catalogue.products(reading, [row.product_version_id])
            lines: Sequence[Line] = stored_lines.read(row.lines)
            facts, as_of = pricing.read_facts(row.facts), row.as_of
            product = products[row.product_version_id]
    if row is None:
        renewal = await renewal_reads.renewal(context, member_id)
        if renewal is None or renewal.due.policy_id != of:
            return None
        lines, facts, as_of = renewal.priced.lines, renewal.facts, renewal.facts.as_of
        product = renewal.due.product
    if not 0 <= place < len(lines):
        return None
    return Found(of, place, lines[place], product, facts, as_of)


def _place(asked: GlobalId) -> int:
    part = asked.parts[2]
    assert isinstance(part, UUID)
    return part.int - 1


def _text(words: Words) -> Text:
    return Text(zh=words.zh, en=words.en)


async def _steps(info: Info, member_id: UUID, found: Found, evidence: Any) -> list[Step]:
    match evidence:
        case TierEvidence():
            return await _of_tier(info, member_id, evidence)
        case ReadingsEvidence():
            return await _of_readings(info, member_id, found, evidence)
        case ParticipationEvidence():
            return list(_of_months(found, evidence))
        case DiagnosisEvidence():
            day = evidence.diagnosed_on.isoformat()
            said = Text(
                zh=f"{evidence.icd10}，诊断于 {day}。", en=f"{evidence.icd10}, diagnosed on {day}."
            )
            return [Step(StepKind.ASSESSMENT, _DIAGNOSIS, said)]
        case ProfileEvidence():
            return [Step(StepKind.PREMIUM, _text(evidence.label), _text(evidence.detail))]
        case LossRatioEvidence():
            percent = sentences.plain(evidence.loss_ratio_percent)
            said = Text(
                zh=f"{evidence.year} 年含运营成本为 {percent}%。",
                en=f"{percent} % in {evidence.year}, with operating cost.",
            )
            return [Step(StepKind.PREMIUM, _LOSS_RATIO, said)]
    return []


# What a line rests on


async def _of_tier(info: Info, member_id: UUID, evidence: TierEvidence) -> list[Step]:
    """The assessment, the rules of the tier that it met, and the readings that they rest on."""
    names = {"LOW": ("低", "low"), "MEDIUM": ("中", "medium"), "HIGH": ("高", "high")}
    zh, en = names[evidence.tier.value]
    day = evidence.assessed_at.date().isoformat()
    first = Step(
        StepKind.ASSESSMENT,
        _ASSESSMENT,
        Text(zh=f"{zh}风险，评估于 {day}。", en=f"At {en} risk, assessed on {day}."),
        occurred_at=evidence.assessed_at,
    )
    if evidence.assessment_id is None:
        return [first]
    key = (member_id, UUID(evidence.assessment_id))
    row = await loading.load(info, "assessments", queries.assessments, key, key)
    return [first, *(_of_assessment(row) if row is not None else ())]


def _of_assessment(row: Any) -> Iterator[Step]:
    rule_set = rulesets.of(row.rules_version)
    values = rules.values_of(row.inputs, row.results)
    for code in row.matched:
        label, detail = rules.said_of(rule_set.rule(code), values)
        yield Step(
            StepKind.ASSESSMENT,
            label,
            detail,
            occurred_at=row.assessed_at,
            rule_version=f"tiers {row.rules_version}",
        )
    ids = dict.fromkeys(id for it in row.inputs.values() for id in Chosen.of(it).readings)
    for id in list(ids)[:READINGS_MAX]:
        yield Step(
            StepKind.READING,
            Text(zh="一次读数", en="A reading"),
            Text(zh="评估所依据的读数。", en="The assessment rests on it."),
            subject=Subject(SubjectKind.READING, id),
        )


async def _of_readings(
    info: Info, member_id: UUID, found: Found, evidence: ReadingsEvidence
) -> list[Step]:
    """The averages at both ends, each with its readings as they were known then."""
    async with info.context.db.read() as reading:
        by_member = await known.readings(
            reading,
            [member_id],
            [evidence.code],
            since=_noon(evidence.from_first) - timedelta(days=2),
            until=_noon(evidence.to_last) + timedelta(days=2),
            as_of=found.as_of,
        )
    least = RANKS[TrustGrade(found.product.trust_min)]
    counted = [
        it
        for it in by_member.get(member_id, ())
        if it.context == evidence.context
        and it.confirmed is not False
        and RANKS[TrustGrade(it.trust)] >= least
    ]
    steps: list[Step] = []
    for average, first, last, zh, en in (
        (evidence.from_average, evidence.from_first, evidence.from_last, "开始时", "At the start"),
        (evidence.to_average, evidence.to_first, evidence.to_last, "结束时", "At the end"),
    ):
        own = [it for it in counted if first <= it.local_date <= last]
        steps.append(_average(evidence, average, (first, last), len(own), Text(zh=zh, en=en)))
        steps += [_reading(it) for it in own[:READINGS_MAX]]
    return steps


def _average(
    evidence: ReadingsEvidence, value: Decimal, days: tuple[date, date], count: int, end: Text
) -> Step:
    quantity = quantities()[evidence.code]
    shown, span = sentences.plain(value), f"{days[0].isoformat()} - {days[1].isoformat()}"
    return Step(
        StepKind.READING,
        Text(zh=f"{quantity.name_zh}，{end.zh}", en=f"{quantity.name_en}, {end.en.lower()}"),
        Text(
            zh=f"{span} 的 {count} 次读数平均为 {shown} {evidence.unit}。",
            en=f"{shown} {evidence.unit} on average of {count} readings, {span}.",
        ),
    )


def _reading(it: known.KnownReading) -> Step:
    quantity = quantities()[it.code]
    value, day = f"{sentences.plain(it.value)} {it.unit}", it.local_date.isoformat()
    return Step(
        StepKind.READING,
        Text(zh=quantity.name_zh, en=quantity.name_en),
        Text(zh=f"{value}，测于 {day}。", en=f"{value}, measured on {day}."),
        occurred_at=it.measured_at,
        subject=Subject(SubjectKind.READING, it.id),
    )


def _of_months(found: Found, evidence: ParticipationEvidence) -> Iterator[Step]:
    shares = {it.month: it.percent for it in found.facts.participation}
    for month in evidence.months:
        share = shares.get(month)
        name = f"{month.year}-{month.month:02d}"
        done = sentences.plain(share) if share is not None else "-"
        yield Step(
            StepKind.TASK,
            _MONTH,
            Text(
                zh=f"{name}：完成了 {done}% 的到期任务。",
                en=f"{name}: {done} % of the due tasks done.",
            ),
        )


def _credits(found: Found) -> Iterator[Step]:
    for it in found.facts.credits:
        amount = money.text(it.amount, found.product.currency)
        day = it.redeemed_on.isoformat()
        yield Step(
            StepKind.POINTS,
            _CREDIT,
            Text(zh=f"{amount}，兑换于 {day}。", en=f"{amount}, redeemed on {day}."),
            subject=Subject(SubjectKind.REDEMPTION, UUID(it.redemption_id)),
        )


def _noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)
