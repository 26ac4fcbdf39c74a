"""What a campaign may be, and what may become of it. No I/O, no clock."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from app.campaigns.assignment import HOLDOUT
from app.nudges import forbidden
from app.nudges.forbidden import Forbidden
from app.nudges.readable import is_readable
from app.texts import Text

NAME_MAX = 80
VARIANTS_MAX = 20
STEPS_MAX = 10
WEIGHT_MAX = 10_000
WAIT_MAX_HOURS = 24 * 90
HOLDOUT_MAX = Decimal(50)
GOAL_DAYS_MAX = 365
TITLE_MAX = 80
BODY_MAX = 1000
KEY_MAX = 20
LOCALES = ("zh-CN", "en")


class CampaignState(StrEnum):
    DRAFT = "DRAFT"
    IN_REVIEW = "IN_REVIEW"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    DONE = "DONE"


class CampaignChannel(StrEnum):
    PUSH = "PUSH"
    IN_APP = "IN_APP"
    SMS = "SMS"
    EMAIL = "EMAIL"
    BROADCAST = "BROADCAST"
    PHONE_CALL = "PHONE_CALL"
    HOME_VISIT = "HOME_VISIT"


BY_PEOPLE = frozenset(
    {CampaignChannel.BROADCAST, CampaignChannel.PHONE_CALL, CampaignChannel.HOME_VISIT}
)
"""Channels by which colleagues say it, from their worklists."""


class Audience(StrEnum):
    FROZEN = "FROZEN"
    """Whoever the filter finds at the start."""
    LIVE = "LIVE"
    """Whoever it finds while the campaign runs."""


class Timing(StrEnum):
    AT_ONCE = "AT_ONCE"
    LOCAL_TIME = "LOCAL_TIME"
    """Once, at a time of the member's day."""
    RECURRING = "RECURRING"


class Goal(StrEnum):
    """What counts as a conversion, of the holdout as well."""

    CHECK_IN = "CHECK_IN"
    ENROL = "ENROL"
    REDEEM = "REDEEM"
    USE = "USE"
    """Anything that the member does, but look at messages."""


class Exit(StrEnum):
    CONVERTED = "CONVERTED"
    CLICKED = "CLICKED"
    OPENED = "OPENED"


class Action(StrEnum):
    EDIT = "EDIT"
    SUBMIT = "SUBMIT"
    START = "START"
    RESUME = "RESUME"
    PAUSE = "PAUSE"
    CANCEL = "CANCEL"
    END = "END"


_ALLOWED: Mapping[Action, tuple[Collection[CampaignState], CampaignState]] = {
    Action.EDIT: ({CampaignState.DRAFT, CampaignState.IN_REVIEW}, CampaignState.DRAFT),
    Action.SUBMIT: ({CampaignState.DRAFT}, CampaignState.IN_REVIEW),
    Action.START: ({CampaignState.DRAFT, CampaignState.IN_REVIEW}, CampaignState.RUNNING),
    Action.RESUME: ({CampaignState.PAUSED}, CampaignState.RUNNING),
    Action.PAUSE: ({CampaignState.RUNNING}, CampaignState.PAUSED),
    Action.CANCEL: (
        {
            CampaignState.DRAFT,
            CampaignState.IN_REVIEW,
            CampaignState.RUNNING,
            CampaignState.PAUSED,
        },
        CampaignState.DONE,
    ),
    Action.END: ({CampaignState.RUNNING, CampaignState.PAUSED}, CampaignState.DONE),
}


def after(state: CampaignState, action: Action) -> CampaignState | None:
    """The state after an action; None when it cannot be done."""
    allowed, follows = _ALLOWED[action]
    return follows if state in allowed else None


@dataclass(frozen=True, slots=True)
class Variant:
    key: str
    locale: str
    title: str
    body: str
    weight: int = 1
    step: int = 0
    action_label: str | None = None
    action_url: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """After the one before."""

    wait_hours: int
    exits: Collection[Exit]


@dataclass(frozen=True, slots=True)
class Fault:
    field: str
    text: Text


def variants_fault(variants: Sequence[Variant], *, steps: int) -> Fault | None:
    """What is wrong with the variants of a campaign of so many steps; None when nothing is."""
    if not 1 <= len(variants) <= VARIANTS_MAX * steps:
        most = VARIANTS_MAX * steps
        return _fault("variants", f"须有 1 至 {most} 个版本", f"there must be 1 to {most}")
    for place, variant in enumerate(variants):
        said = _variant_fault(variant, steps=steps)
        if said is not None:
            return Fault(f"variants.{place}", said)
    places = [(it.step, it.key, it.locale) for it in variants]
    if len(set(places)) < len(places):
        return _fault(
            "variants",
            "同一步、同一组、同一语言只能有一个",
            "each step, key and locale is there once",
        )
    weights: dict[str, set[int]] = {}
    for it in variants:
        weights.setdefault(it.key, set()).add(it.weight)
    if any(len(found) > 1 for found in weights.values()):
        return _fault("variants", "同一组的权重必须相同", "variants of one key have one weight")
    # Arms that not everybody can read would compare people and not messages.
    locales = {it.locale for it in variants}
    wanted = {(step, key, locale) for step in range(steps) for key in weights for locale in locales}
    missing = sorted(wanted - set(places))
    if missing:
        step, key, locale = missing[0]
        return _fault(
            "variants",
            f"第 {step + 1} 步的 {key} 缺少 {locale}",
            f"step {step} of {key} has no {locale}, as others do",
        )
    return None


def _variant_fault(it: Variant, *, steps: int) -> Text | None:
    key = it.key
    if not 1 <= len(key) <= KEY_MAX or not (key.isascii() and key.replace("-", "").isalnum()):
        return Text(
            zh=f"组名须为 1 至 {KEY_MAX} 个字母、数字或连字符",
            en=f"a key has 1 to {KEY_MAX} letters, digits and hyphens",
        )
    if key == HOLDOUT:
        return Text(zh="holdout 是保留名", en="`holdout` is the name of the holdout")
    if it.locale not in LOCALES:
        return Text(
            zh=f"语言须为 {'、'.join(LOCALES)}", en=f"the locale is one of {', '.join(LOCALES)}"
        )
    for text, most, zh, en in (
        (it.title, TITLE_MAX, "标题", "title"),
        (it.body, BODY_MAX, "正文", "body"),
    ):
        if not text.strip() or len(text) > most or "\0" in text:
            return Text(
                zh=f"{zh}须为 1 至 {most} 个字符", en=f"the {en} has 1 to {most} characters"
            )
        wrong = _words_fault(text, one_line=en == "title")
        if wrong is not None:
            return Text(zh=f"{zh}{wrong.zh}", en=f"the {en} {wrong.en}")
    if not 1 <= it.weight <= WEIGHT_MAX:
        return Text(zh=f"权重须为 1 至 {WEIGHT_MAX}", en=f"a weight is 1 to {WEIGHT_MAX}")
    if not 0 <= it.step < steps:
        return Text(zh=f"没有第 {it.step} 步", en=f"there is no step {it.step}")
    return _action_fault(it)


def _words_fault(text: str, *, one_line: bool) -> Text | None:
    """As of every wording that employees publish; a number to call may stand in a campaign."""
    if not is_readable(text if one_line else " ".join(text.splitlines())):
        return Text(
            zh="须为可读的文字" + ("，且只有一行" if one_line else ""),
            en="is text that can be read" + (", on one line" if one_line else ""),
        )
    for kind in forbidden.found_in(text, but=(Forbidden.NUMBER,)):
        what = forbidden.WHAT[kind]
        return Text(zh=f"不能包含：{what.zh}", en=f"must not hold {what.en}")
    return None


def _action_fault(it: Variant) -> Text | None:
    if (it.action_label is None) != (it.action_url is None):
        return Text(zh="按钮须同时有文字和链接", en="an action has a label and a link")
    if it.action_url is None or it.action_label is None:
        return None
    if not it.action_url.startswith(("wellward://", "https://")) or len(it.action_url) > 500:
        return Text(
            zh="链接须以 wellward:// 或 https:// 开头",
            en="a link begins with wellward:// or https://",
        )
    if "\0" in it.action_url:
        return Text(zh="链接含无效字符", en="a link is a text")
    if not 1 <= len(it.action_label.strip()) <= 20 or "\0" in it.action_label:
        return Text(zh="按钮文字须为 1 至 20 个字符", en="a label has 1 to 20 characters")
    return None


def steps_fault(steps: Sequence[Step]) -> Fault | None:
    if len(steps) > STEPS_MAX - 1:
        return _fault("steps", f"最多 {STEPS_MAX} 步", f"there are at most {STEPS_MAX} steps")
    for place, step in enumerate(steps):
        if not 1 <= step.wait_hours <= WAIT_MAX_HOURS:
            return _fault(
                f"steps.{place}.waitHours",
                f"须为 1 至 {WAIT_MAX_HOURS}",
                f"must be 1 to {WAIT_MAX_HOURS}",
            )
    return None


def period_fault(
    starts_at: datetime, ends_at: datetime | None, *, recurs: bool, now: datetime
) -> Fault | None:
    if ends_at is not None and (ends_at <= starts_at or ends_at <= now):
        return _fault("endsAt", "须晚于开始时间和现在", "must be after the start and after now")
    if recurs and ends_at is None:
        return _fault("endsAt", "重复发送的活动须有结束时间", "what recurs has an end")
    return None


def _fault(field: str, zh: str, en: str) -> Fault:
    return Fault(field, Text(zh=zh, en=en))


def variant_for(variants: Sequence[Variant], *, arm: str, step: int, locale: str) -> Variant | None:
    """What a member of the arm reads: in their language when there is one in it."""
    found = [it for it in variants if (it.key, it.step) == (arm, step)]
    wanted = "zh-CN" if locale[:2].lower() == "zh" else "en"
    return next((it for it in found if it.locale == wanted), found[0] if found else None)
