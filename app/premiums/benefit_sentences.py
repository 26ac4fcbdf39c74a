"""Benefits in words for the member."""

from datetime import date
from decimal import Decimal
from typing import Any

from app.premiums import money
from app.premiums.benefit_rules import CaseState, ClosedBecause, CostFault, CoverReason
from app.premiums.benefit_terms import ComplicationCover, MildConditionKind
from app.texts import Text

_DRUGS = {
    MildConditionKind.FASTING_GLUCOSE: Text(zh="降糖药", en="drugs that lower the glucose"),
    MildConditionKind.GRADE_1_HYPERTENSION: Text(
        zh="降压药", en="drugs that lower the blood pressure"
    ),
}


def percent(number: Decimal) -> str:
    return f"{number.normalize():f}"


def case(row: Any, *, waiting_days: int) -> Text:
    """What a case brings; `row` has the columns of `mild_condition_cases`."""
    if row.state == CaseState.NOT_COVERED:
        return Text(
            zh=f"这是在投保后 {waiting_days} 天的等待期内发现的，到 {row.closes_on} 为止不报销药费。"
            "请看医生。",
            en=f"This was found within the waiting period of {waiting_days} days after enrolment: "
            f"no drug is paid until {row.closes_on}. Please see a doctor.",
        )
    drugs = _DRUGS[MildConditionKind(row.condition)]
    share, most = percent(row.share_percent), money.text(row.limit_amount, row.currency)
    used = money.text(row.used, row.currency)
    left = money.text(row.limit_amount - row.used, row.currency)
    if row.state == CaseState.OPEN:
        return Text(
            zh=f"{row.triggered_on} 至 {row.closes_on} 购买的{drugs.zh}报销 {share}%，"
            f"最多 {most}。已报销 {used}，还可报销 {left}。",
            en=f"{share} % of {drugs.en}, bought from {row.triggered_on} to {row.closes_on}, is "
            f"paid, at most {most}. Paid so far: {used}; left: {left}.",
        )
    ended = _ENDED[ClosedBecause(row.closed_reason)]
    if row.closes_on < row.triggered_on:
        return Text(
            zh=f"{ended.zh}：保单自始无效，不报销药费。",
            en=f"{ended.en}: it is as if the policy had never been, and no drug is paid.",
        )
    return Text(
        zh=f"{ended.zh}（{row.closes_on}）。此前购买的{drugs.zh}仍可报销；已报销 {used}，"
        f"最多 {most}。",
        en=f"{ended.en} ({row.closes_on}). What was bought before can still be paid: {drugs.en}. "
        f"Paid so far: {used} of at most {most}.",
    )


_ENDED = {
    ClosedBecause.TIME_OVER: Text(zh="报销期已结束", en="The months are over"),
    ClosedBecause.READING_CORRECTED: Text(
        zh="触发的读数已更正，报销期已结束", en="The reading was corrected, and the case has ended"
    ),
    ClosedBecause.POLICY_ENDED: Text(
        zh="保单已终止，报销期已结束", en="The policy has ended, and the case with it"
    ),
}


def cost(row: Any, share: int, *, limit: int, currency: str) -> Text:
    """What is paid of a cost, and why; `row` has the columns of `benefit_costs`, `share` is what
    would be paid without the limit."""
    if row.reversed_at is not None:
        return Text(zh="已撤销，不再报销。", en="It was reversed: nothing is paid.")
    if row.fault is not None:
        return _FAULTS[CostFault(row.fault)]
    paid, most = money.text(row.paid, currency), money.text(limit, currency)
    if row.paid == share:
        return Text(zh=f"报销 {paid}。", en=f"{paid} is paid.")
    return Text(
        zh=f"报销 {paid}：已达到上限 {most}。",
        en=f"{paid} is paid: the limit of {most} is reached.",
    )


_FAULTS = {
    CostFault.DRUG_NOT_COVERED: Text(
        zh="不报销：不属于该情况的降糖药或降压药。",
        en="Nothing is paid: it does not lower the glucose or blood pressure of this case.",
    ),
    CostFault.OUTSIDE_PERIOD: Text(
        zh="不报销：购药日期不在报销期内。", en="Nothing is paid: it was bought outside the period."
    ),
}


def complication(
    cover: ComplicationCover, reason: CoverReason, insured: int, good: int, until: date | None
) -> Text:
    if reason is CoverReason.GOOD_MEMBER:
        return Text(
            zh=f"你已投保 {insured} 个月，其中 {good} 个月完成良好：保障至 {until}。",
            en=f"You have been insured for {insured} months and done well in {good} of them: "
            f"covered until {until}.",
        )
    if reason is CoverReason.NOT_INSURED_LONG_ENOUGH:
        return Text(
            zh=f"需投保满 {cover.insured_months_min} 个月；目前 {insured} 个月。",
            en=f"It takes {cover.insured_months_min} months of insurance; so far {insured}.",
        )
    if reason is CoverReason.TOO_FEW_GOOD_MONTHS:
        share = percent(cover.month_counts_from_percent)
        return Text(
            zh=f"最近 {cover.window_months} 个月中需有 {cover.good_months_min} 个月完成至少 "
            f"{share}% 的任务；目前 {good} 个月。",
            en=f"It takes {cover.good_months_min} of the last {cover.window_months} months with at "
            f"least {share} % of the tasks done; so far {good}.",
        )
    return Text(
        zh="记录中已有该并发症，因此不在此项保障范围内。",
        en="The complication is on record already, so this cover does not hold for it.",
    )
