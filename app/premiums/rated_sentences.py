"""The words of the rated base: loss ratio, group, region, tier, and the way back to base."""

from collections.abc import Sequence
from decimal import Decimal

from app.premiums import windows, wording
from app.premiums.documents import Words
from app.premiums.facts import LossRatio
from app.premiums.pricing_rules import LossRatioRule
from app.premiums.wording import capital, change, number
from app.risk.rulesets import Tier

GROUP = Words(zh="团体人数", en="Size of the group")
REGION = Words(zh="地区", en="Region")


def people(count: int) -> Words:
    return Words(zh=f"{count}人", en=f"{count} people")


def loss_ratio(known: LossRatio, limit: Decimal, percent: Decimal, *, above: bool) -> Words:
    zh, en = change(percent)
    return Words(
        zh=f"{known.year}年全部保单的赔付率（含运营成本）是{number(known.percent)}%，"
        f"{'高于' if above else '低于'}{number(limit)}%，今年的基础保费{zh}。",
        en=f"In {known.year} the loss ratio of all policies, with operating cost, was "
        f"{number(known.percent)} %, {'above' if above else 'below'} {number(limit)} %: "
        f"the table is {en}.",
    )


def loss_ratio_between(known: LossRatio, rule: LossRatioRule) -> Words:
    low, high = number(rule.below_percent), number(rule.above_percent)
    return Words(
        zh=f"{known.year}年的赔付率是{number(known.percent)}%，在{low}%到{high}%之间，保费表不变。",
        en=f"The loss ratio of {known.year} was {number(known.percent)} %, between {low} % and "
        f"{high} %: the table stays as it is.",
    )


def no_loss_ratio() -> Words:
    return Words(
        zh="还没有公布上一年的赔付率。", en="No loss ratio of the last year is published yet."
    )


def group(members: int, size: int, percent: Decimal) -> Words:
    zh, en = change(percent)
    return Words(
        zh=f"你的团体有{members}名被保险人，达到{size}人，保费{zh}。",
        en=f"Your group has {members} insured members, at least {size}: {en}.",
    )


def group_too_small(members: int, least: int) -> Words:
    return Words(
        zh=f"你的团体有{members}名被保险人，{least}人起有团体价。",
        en=f"Your group has {members} insured members; group prices begin at {least}.",
    )


def no_group() -> Words:
    return Words(zh="你是个人投保。", en="You are not insured through a group.")


def region(where: str, code: str, percent: Decimal) -> Words:
    zh, en = change(percent)
    within = "" if where == code else f"（属于{code}）"
    within_en = "" if where == code else f", part of {code}"
    return Words(
        zh=f"你所在的地区是{where}{within}，保费{zh}。",
        en=f"You live in {where}{within_en}: {en}.",
    )


def other_region(where: str) -> Words:
    return Words(
        zh=f"你所在的地区{where}没有地区加减费。", en=f"There is no regional change for {where}."
    )


def no_region() -> Words:
    return Words(zh="不知道你所在的地区。", en="Your region is not known.")


def tier(of: Tier, multiplier: Decimal) -> Words:
    zh, en = wording.tier(of)
    size = format(multiplier.normalize(), "f")
    return Words(
        zh=f"你的健康风险评估为{zh}，保费乘以{size}。",
        en=f"You were assessed as {en}: the premium is multiplied by {size}.",
    )


def returned(moved: Sequence[windows.Moved], loading: Decimal) -> Words:
    zh, en = wording.all_averages(moved)
    size = number(loading)
    return Words(
        zh=f"{zh}：取消{size}%的风险加费，回到基础保费。",
        en=f"{capital(en)}: the loading of {size} % for your tier is taken away, and you are "
        "back at the base premium.",
    )


def no_loading() -> Words:
    return Words(zh="没有可以取消的风险加费。", en="There is no loading to take away.")
