"""The words of a premium's lines, and why a rule made none: in Chinese and English, with the
member's own numbers. What is not known is told apart: refused, withdrawn, paused, a silent
device, nothing due, too few readings (CON-1).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal

from app.premiums import money, windows, wording
from app.premiums.documents import Words
from app.premiums.facts import Credit, Diagnosed, NoData, Participated
from app.premiums.pricing_rules import ParticipationRule
from app.premiums.wording import capital, change, counted, number
from app.risk.rulesets import Tier

SILENT = Words.model_construct(zh="", en="")
"""Of a line that nobody will read."""
BOUNDS = Words(zh="调整的上下限", en="Limit of all adjustments")
OFFER = Words(zh="续保报价", en="As offered")
LEVEL = Words(zh="会员等级", en="Status level")
LEFT = Words(zh="退出日期", en="Last day of the earlier cover")


def plain(text: str) -> Words:
    return Words(zh=text, en=text)


def no_assessment(*, refuses: bool) -> Words:
    if refuses:
        return Words(
            zh="你没有授权使用健康数据，因此没有评估，保费不因此改变。",
            en="You have not allowed the use of health data: there is no assessment, and it "
            "costs you nothing.",
        )
    return Words(
        zh="还没有健康风险评估，保费不因此改变。",
        en="You have not been assessed yet, and it costs you nothing.",
    )


def no_assessment_at_start() -> Words:
    return Words(
        zh="本期开始时没有健康风险评估，无法比较。",
        en="There was no assessment when the term began, so there is nothing to compare with.",
    )


# ── Windows ──────────────────────────────────────────────────────────────────────────────────


def missed(it: windows.Missed, demand: windows.Demand, silent: Sequence[NoData]) -> Words:
    """Why averages did not show what a rule asks about."""
    zh, en = wording.quantity(it.metric.measurement, it.context or it.metric.context)
    if it.miss <= windows.Miss.TOO_FEW_AT_END:
        return _too_few(it, demand, silent, zh, en)
    assert it.start is not None and it.end is not None
    unit = wording.unit(it.metric.unit)
    before, after = number(it.start.exact), number(it.end.exact)
    if it.miss is windows.Miss.BROKEN:
        assert it.worse is not None
        month_zh, month_en = wording.month(it.worse)
        return Words(
            zh=f"{zh}的平均值从{before}到{after} {unit}，但{month_zh}比开始时差，改善没有连续。",
            en=f"The average of {en} went from {before} to {after} {unit}, but {month_en} was "
            "worse than the beginning, so the improvement was not continuous.",
        )
    by = number(abs(it.metric.by))
    verb_zh, verb_en = ("下降", "fall") if it.metric.by < 0 else ("上升", "rise")
    return Words(
        zh=f"{zh}的平均值从{before}到{after} {unit}，没有{verb_zh}{by} {unit}或更多。",
        en=f"The average of {en} went from {before} to {after} {unit}; it did not {verb_en} by "
        f"{by} {unit} or more.",
    )


def _too_few(
    it: windows.Missed, demand: windows.Demand, silent: Sequence[NoData], zh: str, en: str
) -> Words:
    at_end = it.miss is windows.Miss.TOO_FEW_AT_END
    when_zh, when_en = wording.months(it.window.end if at_end else it.window.start)
    known = it.end if at_end else it.start
    readings, days = (known.readings, known.days) if known else (0, 0)
    why_zh, why_en = "", ""
    if silent:
        why = wording.together(wording.NO_DATA[it] for it in silent)
        why_zh, why_en = f"（{why[0]}）", f" ({why[1]})"
    return Words(
        zh=f"{when_zh}的{zh}有{readings}次可信的测量，在{days}天{why_zh}；"
        f"需要{demand.days_min}天里至少{demand.readings_min}次。",
        en=f"{when_en} has {counted(readings, 'trusted reading')} of {en} on "
        f"{counted(days, 'day')}{why_en}; "
        f"at least {demand.readings_min} on {counted(demand.days_min, 'day')} are needed.",
    )


def not_enough_months(have: int, need: int) -> Words:
    return Words(
        zh=f"本期只有{have}个完整的月，需要{need}个月。",
        en=f"This term has {counted(have, 'whole month')}; {need} are needed.",
    )


def no_term_yet() -> Words:
    return Words(zh="这是第一期保障。", en="This is the first term.")


def level_name(code: str) -> Words:
    zh, en = wording.level(code)
    return Words(zh=zh, en=en)


def other_tier(of: Tier, needed: Iterable[Tier]) -> Words:
    needed_zh, needed_en = wording.tiers(needed)
    have_zh, have_en = wording.tier(of)
    return Words(
        zh=f"适用于开始时为{needed_zh}的会员；你当时为{have_zh}。",
        en=f"It is for members who began as {needed_en}; you were {have_en}.",
    )


# ── Adjustments ──────────────────────────────────────────────────────────────────────────────


def improved(moved: Sequence[windows.Moved], percent: Decimal, *, before: Decimal) -> Words:
    zh, en = wording.all_averages(moved)
    change_zh, change_en = change(percent)
    so_far_zh = f"，连同以前累积的{number(abs(before))}%" if before else ""
    so_far_en = f", with the {number(abs(before))} % of earlier terms" if before else ""
    return Words(
        zh=f"{zh}{so_far_zh}：保费{change_zh}。", en=f"{capital(en)}{so_far_en}: {change_en}."
    )


def kept(carried: Decimal, reason: Words) -> Words:
    zh, en = change(carried)
    return Words(
        zh=f"保留以前累积的：保费{zh}。本期没有变化：{reason.zh}",
        en=f"What earlier terms have brought stays: {en}. This term adds nothing: {reason.en}",
    )


def removed_by(code: str, carried: Decimal) -> Words:
    if carried == 0:
        return Words(
            zh=f"本期有指标变差（{code}），没有改善优惠。",
            en=f"Something got worse in this term ({code}), so there is no discount for "
            "improvement.",
        )
    size = number(abs(carried))
    return Words(
        zh=f"本期有指标变差（{code}），以前累积的{size}%优惠已取消。",
        en=f"Something got worse in this term ({code}): the accumulated discount of {size} % "
        "is lost.",
    )


def worsened(
    moved: Sequence[windows.Moved],
    diagnoses: Sequence[Diagnosed],
    percent: Decimal,
    removed: Iterable[tuple[str, Decimal]],
) -> Words:
    parts = [wording.averages(it) for it in moved]
    parts += [
        (
            f"{it.diagnosed_on}新诊断{wording.diagnosis(it.icd10)[0]}",
            f"{wording.diagnosis(it.icd10)[1]} was newly diagnosed on {it.diagnosed_on}",
        )
        for it in diagnoses
    ]
    zh, en = "；".join(it for it, _ in parts), "; ".join(it for _, it in parts)
    change_zh, change_en = change(percent)
    lost = [(code, number(abs(carried))) for code, carried in removed]
    lost_zh = "".join(f"，取消累积的{size}%优惠（{code}）" for code, size in lost)
    lost_en = "".join(f", the accumulated {size} % ({code}) is lost" for code, size in lost)
    return Words(zh=f"{zh}{lost_zh}：保费{change_zh}。", en=f"{capital(en)}{lost_en}: {change_en}.")


def surcharge_taken_away(carried: Decimal) -> Words:
    size = number(carried)
    return Words(
        zh=f"指标已改善，以前的{size}%加费取消。",
        en=f"Your readings have improved: the earlier surcharge of {size} % is taken away.",
    )


def no_new_diagnosis() -> Words:
    return Words(zh="本期没有新的诊断。", en="Nothing was newly diagnosed in this term.")


def participation(months: int, rule: ParticipationRule, percent: Decimal) -> Words:
    zh, en = change(percent)
    each, from_percent = number(abs(rule.percent_per_month)), number(rule.month_counts_from_percent)
    return Words(
        zh=f"{months}个月完成了至少{from_percent}%的任务，每月{each}%：保费{zh}。",
        en=f"{counted(months, 'month')} with at least {from_percent} % of the tasks done, {each} % each: "
        f"{en}.",
    )


def no_months(known: Sequence[Participated], from_percent: Decimal, *, has_term: bool) -> Words:
    if not has_term:
        return no_term_yet()
    silent_zh, silent_en = wording.silences(known)
    return Words(
        zh=f"本期没有完成至少{number(from_percent)}%任务的月{silent_zh}。",
        en=f"In no month of this term {number(from_percent)} % of the tasks were done{silent_en}.",
    )


def too_few_months(
    have: int, need: int, known: Sequence[Participated], from_percent: Decimal
) -> Words:
    silent_zh, silent_en = wording.silences(known)
    return Words(
        zh=f"{have}个月完成了至少{number(from_percent)}%的任务，需要{need}个月{silent_zh}。",
        en=f"{counted(have, 'month')} with at least {number(from_percent)} % of the tasks done; {need} "
        f"are needed{silent_en}.",
    )


def tier_changed(before: Tier, now: Tier, months: int, percent: Decimal) -> Words:
    (before_zh, before_en), (now_zh, now_en) = wording.tier(before), wording.tier(now)
    zh, en = change(percent)
    return Words(
        zh=f"你参与了{months}个月，从{before_zh}降为{now_zh}：保费{zh}。",
        en=f"You took part in {counted(months, 'month')} and went from {before_en} to {now_en}: {en}.",
    )


def tier_not_lower(before: Tier, now: Tier) -> Words:
    (before_zh, before_en), (now_zh, now_en) = wording.tier(before), wording.tier(now)
    return Words(
        zh=f"风险等级没有降低：开始时{before_zh}，现在{now_zh}。",
        en=f"The tier is not lower: {before_en} at the beginning, {now_en} now.",
    )


def other_health(needed: Iterable[str]) -> Words:
    zh, en = wording.groups(needed)
    return Words(
        zh=f"适用于本期开始时属于以下人群的会员：{zh}。",
        en=f"It is for members who were in one of these groups when the term began: {en}.",
    )


def mild_premium(moved: Sequence[windows.Moved], percent: Decimal) -> Words:
    zh, en = wording.all_averages(moved)
    change_zh, change_en = change(percent)
    return Words(
        zh=f"轻症干预后改善：{zh}，保费{change_zh}。",
        en=f"Your mild condition improved: {en}. The premium is {change_en}.",
    )


def mild_cover(moved: Sequence[windows.Moved], uplift: Decimal) -> Words:
    zh, en = wording.all_averages(moved)
    return Words(
        zh=f"轻症干预后改善：{zh}。你选择了保额提高{number(uplift)}%，保费不变。",
        en=f"Your mild condition improved: {en}. As you chose, your cover rises by "
        f"{number(uplift)} % and the premium stays.",
    )


def no_mild_condition() -> Words:
    return Words(zh="本期没有轻症干预。", en="There is no mild condition to judge in this term.")


def mild_condition_not_over(months: int) -> Words:
    return Words(
        zh=f"{months}个月的轻症干预没有在本期结束。",
        en=f"No {counted(months, 'month')} of treating a mild condition ended in this term.",
    )


def level(name: str | None, before: Decimal | None, step: Decimal, percent: Decimal) -> Words:
    zh, en = change(percent)
    if before is None:
        return Words(zh=f"第一期的起始调整：保费{zh}。", en=f"The first term begins with {en}.")
    size = f"{'+' if step > 0 else '-' if step < 0 else ''}{number(abs(step))}"
    name_zh, name_en = wording.level(name) if name else ("未知", "not known")
    return Words(
        zh=f"你的等级是{name_zh}，在上期{number(before)}%的基础上变动{size}个百分点：保费{zh}。",
        en=f"Your level is {name_en}: {size} percentage points on the "
        f"{number(before)} % of the last term, {en}.",
    )


def left(on: date, carried: Mapping[str, Decimal]) -> Words:
    lost = wording.together(
        (f"{number(abs(it))}%（{code}）", f"{number(abs(it))} % ({code})")
        for code, it in sorted(carried.items())
    )
    return Words(
        zh=f"你的保障在{on}终止过，以前累积的不再保留{'：' + lost[0] if carried else ''}。",
        en=f"Your earlier cover ended on {on}; what had been accumulated is lost"
        f"{': ' + lost[1] if carried else ''}.",
    )


def never_left() -> Words:
    return Words(zh="你没有中断过保障。", en="You have not left.")


# ── Bounds, fee, credits ─────────────────────────────────────────────────────────────────────


def bounded(adjusted: int, limit: int, percent: Decimal, currency: str) -> Words:
    sum_is, limit_is = money.text(adjusted, currency), money.text(limit, currency)
    zh, en = change(percent)
    return Words(
        zh=f"各项调整合计{sum_is}，超出限度（保费{zh}，即{limit_is}），以限度为准。",
        en=f"All adjustments together are {sum_is}; the limit is {en}, {limit_is}.",
    )


def offered(now: int, offered: int, currency: str) -> Words:
    now_is, offer_is = money.text(now, currency), money.text(offered, currency)
    return Words(
        zh=f"续保时按 {offer_is} 向你报价；之后的情况算得 {now_is}，仍按报价收取。",
        en=f"This term was offered to you for {offer_is}. What has come since makes {now_is}; you "
        "pay what was offered.",
    )


def stripped(code: str, percent: Decimal) -> Words:
    zh, en = change(percent)
    return Words(
        zh=f"因没有参与（{code}），这项优惠（{zh}）本期不适用。",
        en=f"Because of not taking part ({code}) this discount ({en}) does not hold in this term.",
    )


def fee(months: Sequence[date], percent: Decimal) -> Words:
    size = number(percent)
    if not months:
        return Words(
            zh=f"你没有授权使用健康数据：按条款加收{size}%。",
            en=f"The use of health data is refused: the terms ask for {size} %.",
        )
    first, last = wording.month(months[0]), wording.month(months[-1])
    return Words(
        zh=f"{first[0]}至{last[0]}连续{len(months)}个月没有完成任何到期的任务：按条款加收{size}%。",
        en=f"From {first[1]} to {last[1]}, {len(months)} months in a row, nothing that was due "
        f"was done: the terms ask for {size} %.",
    )


def no_absence(months: int) -> Words:
    return Words(
        zh=f"没有连续{months}个月不参与。",
        en=f"There were not {months} months without taking part.",
    )


def credit(it: Credit, used: int, currency: str) -> Words:
    rest = it.amount - used
    paid, left_over = money.text(used, currency), money.text(rest, currency)
    return Words(
        zh=f"{it.redeemed_on}兑换的保费抵扣{paid}" + (f"，还剩{left_over}。" if rest else "。"),
        en=f"Premium credit redeemed on {it.redeemed_on}: {paid}"
        + (f"; {left_over} are left." if rest else "."),
    )


def nothing_due() -> Words:
    return Words(
        zh="没有需要支付的保费，抵扣留到以后。",
        en="Nothing is left to be paid; the credit stays.",
    )


def no_credit() -> Words:
    return Words(zh="没有兑换的保费抵扣。", en="No premium credit has been redeemed.")


def on_day(day: date) -> Words:
    return plain(day.isoformat())
