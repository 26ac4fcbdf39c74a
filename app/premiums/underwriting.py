"""Underwriting: looks at applications whenever something has come, and lets people decide."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Integer, Uuid, bindparam, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, UserError
from app.members import requests
from app.members.models import Member
from app.premiums import enrolment, history, terms, underwriting_rules
from app.premiums.history import Actor
from app.premiums.lifecycle import PolicyEventKind
from app.premiums.models import Policy
from app.premiums.policy_models import Underwriting
from app.premiums.product import Product
from app.premiums.terms import NotEligible
from app.premiums.underwriting_rules import Judged, Known, Verdict, WaitsFor
from app.risk import rulesets
from app.risk.rechecks import CODES
from app.risk.rulesets import Tier
from app.texts import Text
from app.worklist import programme
from app.worklist.rules import REASON_LENGTH_MAX, WorklistItemKind, is_sayable
from app.worklist.service import TextInvalid

LOOK_AGAIN = timedelta(minutes=10)
"""How often a waiting application is looked at though nothing was assessed."""
SUBJECT = "POLICY"
"""A worklist item's `subject_kind`."""
_PRIORITY = 65
_DECIDE_WITHIN = timedelta(days=3)

_MEASURED = " and ".join(
    f"""exists (select from measurements r where r.member_id = m.member_id
      and r.code in ({", ".join(repr(code) for code in codes)}) and r.superseded_at is null
      and r.trust in ('HIGH', 'MEDIUM')
      and r.measured_at > :now - make_interval(days => :fresh_days))"""
    for codes in CODES.values()
)
# What is known of applicants, in one statement for all of them.
_KNOWN = text(f"""
select p.id, m.time_zone, c.consented, coalesce(k.checked_at >= p.created_at, false) as assessed,
  case when c.consented then k.tier end as tier,
  case when c.consented then k.assessment_id end as assessment_id,
  exists (select from risk_rechecks r where r.member_id = m.member_id and r.settled_at is null)
    or not ({_MEASURED}) as to_measure,
  (select max(r.local_date) from measurements r where r.member_id = m.member_id
    and r.channel = 'EXAMINATION' and r.superseded_at is null) as examined_on,
  case when c.consented then array(
    select x.icd10 from (select distinct on (d.condition_id) d.* from conditions d
      where d.member_id = m.member_id order by d.condition_id, d.version desc) x
    where not x.retracted and x.abated_on is null) else array[]::text[] end as conditions
from policies p join members m using (member_id)
left join risk_profiles k using (member_id)
cross join lateral (select coalesce((select a.state = 'GRANTED' from consents a
  where a.member_id = m.member_id and a.purpose = 'HEALTH_DATA'
  order by a.version desc limit 1), false) as consented) c
where p.member_id = any(:member_ids) and p.id = any(:ids)
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("fresh_days", type_=Integer),
)
_WAITING = text("""
select p.id from policies p join underwritings u on u.member_id = p.member_id
  and u.policy_id = p.id
left join risk_profiles k on k.member_id = p.member_id
where p.state = 'APPLIED' and p.due_at > :now
and (u.looked_at <= :before or k.checked_at > u.looked_at)
order by u.looked_at limit :limit for update of p skip locked
""").bindparams(
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("before", type_=DateTime(timezone=True)),
    bindparam("limit", type_=Integer),
)


class RecheckMissing(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.EVIDENCE_MISSING,
            Text(
                zh="高风险申请人须先完成复查，之后才能承保。",
                en="Who is of high risk is measured again first; then it can be accepted.",
            ),
            field="decision",
        )


async def look_at_waiting(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """Look at applications for which something may have come; how many. Safe to run twice or
    in parallel: one that another run holds is skipped."""
    parameters = {"now": now, "before": now - LOOK_AGAIN, "limit": limit}
    ids = list((await session.execute(_WAITING, parameters)).scalars())
    if not ids:
        return 0
    found = await session.exec(
        select(Policy).where(col(Policy.id).in_(ids)).execution_options(populate_existing=True)
    )
    policies = found.all()
    await look(session, policies, now=now)
    return len(policies)


async def look(session: AsyncSession, policies: Sequence[Policy], *, now: datetime) -> None:
    """Judge locked policies that have been applied for, each with its row of `underwritings`."""
    versions = await terms.versions_of(session, policies)
    sheets = await _sheets(session, policies)
    known = await _known(session, policies, sheets, now=now)
    referred = []
    for policy in policies:
        product, sheet = versions[policy.product_version_id], sheets[policy.id]
        judged = underwriting_rules.judge(known[policy.id], product.underwriting)
        if judged.verdict is Verdict.WAIT:
            _set_deadline(policy, product, sheet, judged, now)
        sheet.looked_at = now
        sheet.waits_for = [it.value for it in judged.waits_for]
        sheet.findings = [it.value for it in judged.findings]
        if judged.verdict is Verdict.REFER:
            history.record(session, policy, PolicyEventKind.REFERRED, now=now)
            referred.append((policy, judged))
        elif judged.verdict is not Verdict.WAIT:
            accept = judged.verdict is Verdict.ACCEPT
            await _settle(session, policy, product, sheet, accept=accept, now=now)
    await programme.open_items(
        session,
        tasks=[(it.member_id, _item(it, judged, now)) for it, judged in referred],
        now=now,
    )


def _set_deadline(
    policy: Policy, product: Product, sheet: Underwriting, judged: Judged, now: datetime
) -> None:
    """Who is to measure again has the product's days for it, from when that was found; an
    application that waits for nothing but other things stays open as long as any."""
    asked, asks = (WaitsFor.RECHECK in it for it in (sheet.waits_for, judged.waits_for))
    terms_of = product.underwriting
    if asked == asks or terms_of is None:
        return
    policy.due_at = policy.created_at + timedelta(days=terms_of.open_days)
    if asks and terms_of.recheck is not None:
        policy.due_at = min(policy.due_at, now + timedelta(days=terms_of.recheck.days))


def _item(policy: Policy, judged: Judged, now: datetime) -> programme.Task:
    """Without what was found: the list shows no health data."""
    return programme.Task(
        kind=WorklistItemKind.UNDERWRITING,
        cause_key=cause_key(policy.id),
        reason=Text(zh="投保申请待核保。", en="An application waits for a decision."),
        priority=_PRIORITY,
        due_at=now + _DECIDE_WITHIN,
        subject_kind=SUBJECT,
        subject_id=policy.id,
    )


def cause_key(policy_id: UUID) -> str:
    return f"underwriting:{policy_id}"


async def decide(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    policy_id: UUID,
    accept: bool,
    reason: str,
    now: datetime,
) -> tuple[Policy, bool]:
    """What an employee says about an application that was referred, or that still waits. The
    policy, and whether this request was answered before.

    Raises NotFound, TextInvalid, PolicyStateInvalid, RecheckMissing, NotEligible, RequestReused.
    """
    policy = await history.lock(session, member_id, policy_id)
    values = {"memberId": member_id, "policyId": policy_id, "accept": accept, "reason": reason}
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="decideUnderwriting",
        values=values,
        result=policy_id,
        now=now,
    )
    if earlier is not None:
        return policy, True
    if not is_sayable(reason, length_max=REASON_LENGTH_MAX):
        raise TextInvalid(field="reason", length_max=REASON_LENGTH_MAX)
    kind = PolicyEventKind.OFFERED if accept else PolicyEventKind.DECLINED
    history.check(policy, kind)
    product = (await terms.versions_of(session, [policy]))[policy.product_version_id]
    sheets = await _sheets(session, [policy])
    known = await _known(session, [policy], sheets, now=now)
    if accept and not underwriting_rules.may_be_accepted(known[policy_id], product.underwriting):
        raise RecheckMissing
    sheet = sheets[policy_id]
    sheet.decided_by, sheet.reason, sheet.waits_for = staff_id, reason.strip(), []
    await _settle(session, policy, product, sheet, accept=accept, by=Actor.staff(staff_id), now=now)
    return policy, False


async def _settle(
    session: AsyncSession,
    policy: Policy,
    product: Product,
    sheet: Underwriting,
    *,
    accept: bool,
    by: Actor = history.PROGRAMME,
    now: datetime,
) -> None:
    """Offer the cover at a price, or decline it. Raises NotEligible (a person decided)."""
    sheet.decided_at, sheet.decision = now, "ACCEPT" if accept else "DECLINE"
    await programme.settle_item(
        session, member_id=policy.member_id, cause_key=cause_key(policy.id), now=now
    )
    if not accept:
        history.record(session, policy, PolicyEventKind.DECLINED, by=by, now=now)
        await session.flush()
        return
    member = await session.get_one(Member, policy.member_id)
    today = civil_time.local_date(now, civil_time.zone(member.time_zone))
    policy.started_on = max(policy.started_on, today)
    try:
        enrolment.check_age(member, product, policy.started_on)
    except NotEligible:
        # A birthday while it was waited: whoever asks is told, the clock declines.
        if by != history.PROGRAMME:
            raise
        sheet.decision = "DECLINE"
        history.record(session, policy, PolicyEventKind.DECLINED, by=by, now=now)
        await session.flush()
        return
    days = product.underwriting.offer_days if product.underwriting else OFFER_DAYS
    history.record(session, policy, PolicyEventKind.OFFERED, by=by, now=now)
    policy.due_at = now + timedelta(days=days)
    await session.flush()
    await enrolment.price_first(session, policy, product, now=now)


OFFER_DAYS = 14
"""How long an offer stands of a product that says nothing of underwriting."""


async def _sheets(session: AsyncSession, policies: Sequence[Policy]) -> Mapping[UUID, Underwriting]:
    found = await session.exec(
        select(Underwriting)
        .where(
            col(Underwriting.member_id).in_([it.member_id for it in policies]),
            col(Underwriting.policy_id).in_([it.id for it in policies]),
        )
        .execution_options(populate_existing=True)
    )
    return {it.policy_id: it for it in found}


async def _known(
    session: AsyncSession,
    policies: Sequence[Policy],
    sheets: Mapping[UUID, Underwriting],
    *,
    now: datetime,
) -> Mapping[UUID, Known]:
    parameters: dict[str, Any] = {
        "member_ids": [it.member_id for it in policies],
        "ids": [it.id for it in policies],
        "now": now,
        "fresh_days": rulesets.in_force().recheck.fresh_days,
    }
    found = {}
    for row in await session.execute(_KNOWN, parameters):
        sheet = sheets[row.id]
        sheet.tier, sheet.assessment_id = row.tier, row.assessment_id
        found[row.id] = Known(
            today=civil_time.local_date(now, civil_time.zone(row.time_zone)),
            declared=sheet.declared_at is not None,
            confirmed=sheet.answers,
            conditions={*sheet.conditions, *row.conditions},
            consented=row.consented,
            assessed=row.assessed,
            tier=Tier(row.tier) if row.tier is not None else None,
            to_measure=row.to_measure,
            examined_on=row.examined_on,
        )
    return found
