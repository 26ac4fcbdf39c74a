"""The sentences of the health report: short ones, in both languages."""

from app.insights.report import Report
from app.insights.report_rules import PartOfDay, Summary, Trend, part_of_day, tenth
from app.texts import Text

_PARTS = {
    PartOfDay.MORNING: Text(zh="早上", en="in the morning"),
    PartOfDay.AFTERNOON: Text(zh="下午", en="in the afternoon"),
    PartOfDay.EVENING: Text(zh="晚上", en="in the evening"),
    PartOfDay.NIGHT: Text(zh="夜里", en="at night"),
}
_TRENDS = {
    Trend.UP: Text(zh="比上个月高", en="higher than last month"),
    Trend.DOWN: Text(zh="比上个月低", en="lower than last month"),
    Trend.STEADY: Text(zh="和上个月差不多", en="about the same as last month"),
}
_UNITS = {"mm[Hg]": "mmHg", "{steps}": "", "Cel": "°C", "{flights}": "", "{score}": ""}


def unit(summary: Summary) -> str:
    """As people write it."""
    ucum = summary.quantity.canonical.ucum
    return _UNITS.get(ucum, ucum)


def said(summary: Summary) -> Text:
    """One quantity in two or three short sentences."""
    mean = f"{tenth(summary.mean)} {unit(summary)}".strip()
    zh, en = f"平均 {mean}", f"On average {mean}"
    if summary.trend is not None:
        zh += f"，{_TRENDS[summary.trend].zh}"
        en += f", {_TRENDS[summary.trend].en}"
    days = len(summary.days)
    zh += f"。有 {days} 天的数据。"
    en += f". Data on {days} {'day' if days == 1 else 'days'}."
    if summary.usual_hour is not None:
        part = _PARTS[part_of_day(summary.usual_hour)]
        zh += f"通常在{part.zh}测量。"
        en += f" Usually {part.en}."
    return Text(zh=zh, en=en)


def tasks(report: Report) -> Text:
    """What became of the tasks; each kind of no data is said by itself."""
    found = report.tasks
    zh, en = (
        f"完成 {found.done} 项，未完成 {found.missed} 项。",
        (f"{found.done} done, {found.missed} not done."),
    )
    for count, its_zh, its_en in (
        (found.device_silent, "项因设备没有同步而不计", "left out because a device did not sync"),
        (found.paused, "项因暂停而不计", "left out because of a pause"),
        (found.consent_refused, "项因未同意使用数据而不计", "left out because you refused consent"),
        (
            found.consent_withdrawn,
            "项因撤回同意而不计",
            "left out because you withdrew consent",
        ),
    ):
        if count:
            zh += f"{count} {its_zh}。"
            en += f" {count} {its_en}."
    return Text(zh=zh, en=en)


def points(report: Report) -> Text:
    return Text(zh=f"获得 {report.points} 积分。", en=f"You earned {report.points} points.")


def habits(report: Report) -> list[Text]:
    """What is usual for the member, where it is known."""
    found, said = report.habits, []
    if found.part_of_day is not None:
        part = _PARTS[found.part_of_day]
        said.append(Text(zh=f"你通常在{part.zh}测量。", en=f"You usually measure {part.en}."))
    if found.favourite_task is not None:
        title = found.favourite_task
        said.append(Text(zh=f"你做得最多的是：{title.zh}。", en=f"What you did most: {title.en}."))
    return said


def silence(report: Report) -> Text | None:
    """None when no device was silent."""
    days = report.silent_days
    if days == 0:
        return None
    return Text(
        zh=f"有 {days} 天设备没有同步。这不算你没有做。",
        en=f"On {days} {'day' if days == 1 else 'days'} a device did not sync. "
        "This is not held against you.",
    )
