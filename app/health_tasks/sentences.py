"""What members are told about their check-ins. Sentences name days and numbers, never a
health fact of the member."""

from datetime import date
from decimal import Decimal
from enum import StrEnum

from app.members.rules import ConsentState
from app.points.caps import CapKind
from app.texts import Text

IN_FUTURE = Text(zh="打卡时间不能在将来。", en="A check-in cannot be in the future.")


class Reason(StrEnum):
    """Why a check-in earned this many points, or none."""

    COUNTED = "COUNTED"
    COUNTED_WHILE_PAUSED = "COUNTED_WHILE_PAUSED"
    SETTLED_AT_END = "SETTLED_AT_END"
    COMPLETED = "COMPLETED"
    COMPLETED_LATE = "COMPLETED_LATE"
    CAPPED_RULE = "CAPPED_RULE"
    CAPPED_DAY = "CAPPED_DAY"
    CAPPED_MONTH = "CAPPED_MONTH"
    CAPPED_YEAR = "CAPPED_YEAR"
    CAPPED_MEMBER = "CAPPED_MEMBER"
    ALREADY_COMPLETE = "ALREADY_COMPLETE"
    COMPLETED_IF_ACCEPTED = "COMPLETED_IF_ACCEPTED"
    WAITS_WITH_ANOTHER = "WAITS_WITH_ANOTHER"
    REVIEW_SAME_PHOTO = "REVIEW_SAME_PHOTO"
    REVIEW_SHARED_DEVICE = "REVIEW_SHARED_DEVICE"
    REVIEW_IMPOSSIBLE_RATE = "REVIEW_IMPOSSIBLE_RATE"
    REVIEW_IDENTICAL_CADENCE = "REVIEW_IDENTICAL_CADENCE"
    REVIEW_PLACE_UNSURE = "REVIEW_PLACE_UNSURE"
    REVIEW_LATE = "REVIEW_LATE"
    REVIEW_STAFF = "REVIEW_STAFF"
    ACCEPTED_BY_REVIEW = "ACCEPTED_BY_REVIEW"
    REJECTED_BY_REVIEW = "REJECTED_BY_REVIEW"
    DATA_CHANGED = "DATA_CHANGED"

    @classmethod
    def of_cap(cls, kind: CapKind) -> "Reason":
        return cls(f"CAPPED_{kind}")

    @classmethod
    def of_finding(cls, finding: str) -> "Reason":
        """Why a check-in is looked at."""
        return cls(f"REVIEW_{finding}")


FINDINGS = {
    Reason.REVIEW_SAME_PHOTO: Text(zh="这张照片以前上传过", en="the same photo was sent before"),
    Reason.REVIEW_SHARED_DEVICE: Text(
        zh="打卡来自另一位会员的设备", en="it came from another member's device"
    ),
    Reason.REVIEW_IMPOSSIBLE_RATE: Text(
        zh="短时间内的数值过大", en="it is more than can be done in that time"
    ),
    Reason.REVIEW_IDENTICAL_CADENCE: Text(
        zh="多次打卡间隔完全相同", en="many check-ins came at exactly equal intervals"
    ),
    Reason.REVIEW_PLACE_UNSURE: Text(zh="位置无法确定", en="the phone was not sure of the place"),
    Reason.REVIEW_LATE: Text(zh="在任务周期结束后完成", en="it was done after the task's period"),
    Reason.REVIEW_STAFF: Text(
        zh="这项任务由工作人员确认", en="this task is confirmed by our staff"
    ),
}
"""Why somebody looks at a check-in, as a part of a sentence."""


CAP_NAMES = {
    CapKind.RULE: Text(zh="这项任务的积分上限", en="limit of points of this task"),
    CapKind.DAY: Text(zh="每日积分上限", en="daily limit of points"),
    CapKind.MONTH: Text(zh="每月积分上限", en="monthly limit of points"),
    CapKind.YEAR: Text(zh="每年积分上限", en="yearly limit of points"),
    CapKind.MEMBER: Text(zh="计划内的积分总上限", en="limit of points of the whole programme"),
}


def capped(kind: CapKind, *, points: int) -> Text:
    """Which cap left `points` of what a task pays."""
    name = CAP_NAMES[kind]
    return Text(
        zh=f"任务完成。因{name.zh}，获得 {points} 积分。",
        en=f"Task done. The {name.en} leaves {points} for it.",
    )


def explanation(reason: Reason, *, points: int, note: str | None = None) -> Text:
    """Why a check-in earned `points`, in words; `note` is what a reviewer said."""
    if reason in FINDINGS:
        return in_review(FINDINGS[reason], points=points)
    if reason in _ABOUT_REVIEWS:
        return _about_review(reason, points=points, note=note)
    match reason:
        case Reason.COUNTED:
            return Text(
                zh="已记录。任务完成时发放积分。",
                en="Counted. The points come when the task is done.",
            )
        case Reason.COUNTED_WHILE_PAUSED:
            return Text(
                zh="已记录。如果当天保持暂停，这次打卡不计入连续天数和参与率。",
                en="Counted. If this day stays paused, it adds to no streak and no participation.",
            )
        case Reason.SETTLED_AT_END:
            return Text(
                zh="已记录。这项任务在周期结束时结算积分。",
                en="Counted. This task is settled when its period is over.",
            )
        case Reason.DATA_CHANGED:
            return Text(
                zh="这一天的数据更新后未达到要求，不再计入任务。",
                en="By the data of this day as they are now, it does not count.",
            )
        case Reason.COMPLETED:
            return Text(zh=f"任务完成，获得 {points} 积分。", en=f"Task done: {points} points.")
        case Reason.COMPLETED_LATE:
            return Text(
                zh=f"这次打卡晚到，但属于任务周期内；任务完成，获得 {points} 积分。",
                en=f"It arrived late but was done in time. Task done: {points} points.",
            )
        case Reason.ALREADY_COMPLETE:
            return Text(
                zh="已记录。这项任务在本周期已完成，积分只发放一次。",
                en="Counted. The task was already done in this period, and pays once.",
            )
        case _:
            return capped(CapKind(reason.removeprefix("CAPPED_")), points=points)


_ABOUT_REVIEWS = frozenset(
    {
        Reason.COMPLETED_IF_ACCEPTED,
        Reason.WAITS_WITH_ANOTHER,
        Reason.ACCEPTED_BY_REVIEW,
        Reason.REJECTED_BY_REVIEW,
    }
)


def _about_review(reason: Reason, *, points: int, note: str | None) -> Text:
    match reason:
        case Reason.ACCEPTED_BY_REVIEW:
            return Text(
                zh=_said("审核通过", note, "：", "。")
                + (f" 获得 {points} 积分。" if points else ""),
                en=_said("Accepted", note, ": ", ".") + (f" {points} points." if points else ""),
            )
        case Reason.REJECTED_BY_REVIEW:
            return Text(
                zh=_said("审核未通过", note, "：", "。"), en=_said("Not accepted", note, ": ", ".")
            )
        case Reason.WAITS_WITH_ANOTHER:
            return Text(
                zh="已记录。这项任务的积分待定，此前的打卡正在审核。",
                en="Counted. The points of this task are pending: an earlier check-in is being "
                "looked at.",
            )
        case _:
            return Text(
                zh="已记录。此前的打卡正在审核" + (f"，{points} 积分待定。" if points else "。"),
                en="Counted. An earlier check-in is being looked at"
                + (f": {points} points are pending." if points else "."),
            )


def in_review(why: Text, *, points: int) -> Text:
    return Text(
        zh=f"待审核：{why.zh}。" + (f"{points} 积分待定。" if points else ""),
        en=f"Being looked at: {why.en}." + (f" {points} points are pending." if points else ""),
    )


def _said(what: str, note: str | None, between: str, end: str) -> str:
    return f"{what}{between}{note}" if note else f"{what}{end}"


def overdue(*, ends_on: date) -> Text:
    return Text(
        zh=f"这项任务的周期已于 {ends_on} 结束；补交请附照片，由工作人员审核。",
        en=f"This task's period ended on {ends_on}; with a photo it goes to our staff.",
    )


def too_old(*, late_data_days: int) -> Text:
    return Text(
        zh=f"打卡时间最早为 {late_data_days} 天前。",
        en=f"A check-in is at most {late_data_days} days old.",
    )


def not_begun(*, starts_on: date) -> Text:
    return Text(zh=f"这项任务从 {starts_on} 开始。", en=f"This task begins on {starts_on}.")


def period_over(*, ends_on: date) -> Text:
    return Text(
        zh=f"这项任务的周期已于 {ends_on} 结束。", en=f"This task's period ended on {ends_on}."
    )


def consent_missing(consent: ConsentState) -> Text:
    match consent:
        case ConsentState.REFUSED:
            return Text(
                zh="你拒绝了使用健康数据，因此无法打卡；可在设置中同意。",
                en="You refused the use of health data, which a check-in needs. Settings change it.",
            )
        case ConsentState.WITHDRAWN:
            return Text(
                zh="你撤回了健康数据授权，因此无法打卡；可在设置中重新同意。",
                en="You withdrew the use of health data, which a check-in needs. "
                "Settings change it.",
            )
        case _:
            return Text(
                zh="打卡前请先同意使用健康数据。",
                en="A check-in needs your consent to the use of health data.",
            )


def out_of_range(*, low: Decimal, high: Decimal, unit: str) -> Text:
    """`unit` is UCUM; the braces of an annotation are not shown."""
    shown = unit.strip("{}")
    return Text(
        zh=f"数值必须在 {_plain(low)} 到 {_plain(high)} 之间（{shown}）。",
        en=f"The value must be from {_plain(low)} to {_plain(high)} ({shown}).",
    )


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
