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

    @classmethod
    def of_cap(cls, kind: CapKind) -> "Reason":
        return cls(f"CAPPED_{kind}")


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


def explanation(reason: Reason, *, points: int) -> Text:
    """Why a check-in earned `points`, in words."""
    match reason:
        case Reason.COUNTED:
            return Text(
                zh="已记录。任务完成时发放积分。",
                en="Counted. The points come when the task is done.",
            )
        case Reason.COUNTED_WHILE_PAUSED:
            return Text(
                zh="已记录。暂停期间的打卡不计入连续天数和参与率。",
                en="Counted. While you are paused it adds to no streak and no participation.",
            )
        case Reason.SETTLED_AT_END:
            return Text(
                zh="已记录。这项任务在周期结束时结算积分。",
                en="Counted. This task pays when its period is over.",
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
