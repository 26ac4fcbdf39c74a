"""The health report as a page to print: no scripts, nothing from elsewhere, all text escaped."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from html import escape

from app.insights import report_words
from app.insights.report import Report
from app.insights.report_rules import Day, Summary, tenth
from app.texts import Text

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'sha256-{style}'; sandbox; frame-ancestors 'none'"
)
STYLE = """
body { font: 16px/1.5 sans-serif; margin: 2rem auto; max-width: 44rem; color: #1b1b1b; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 1.5rem 0 0.25rem; }
p { margin: 0.25rem 0; } svg { width: 100%; height: auto; }
.grid { stroke: #d0d0d0; } .line { fill: none; stroke: #1769aa; stroke-width: 2; }
.dot { fill: #1769aa; } text { font-size: 12px; fill: #555; }
@media print { body { margin: 0; } section { break-inside: avoid; } }
"""
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 160, 52, 12, 12, 24
_TITLE = Text(zh="健康报告", en="Health report")
_DOCTOR = Text(zh="有空腹血糖在糖尿病范围内。请去看医生。", en="A fasting glucose is in the range of diabetes. Please see a doctor.")  # fmt: skip
_HEADINGS = {
    "advice": Text(zh="建议", en="Advice"),
    "tasks": Text(zh="任务与积分", en="Tasks and points"),
    "classes": Text(zh="分级", en="Classes"),
    "none": Text(zh="这个月还没有数据。", en="There are no data of this month yet."),
    "print": Text(
        zh="本报告不能代替医生的诊断。", en="This report does not replace a doctor's diagnosis."
    ),
}


def page(report: Report, locale: str) -> str:
    """One HTML document."""
    language = "zh-CN" if locale[:2].lower() == "zh" else "en"
    title = f"{_TITLE.to(locale)} {report.month:%Y-%m}"
    body = "\n".join(_body(report, title, locale))
    return (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _body(report: Report, title: str, locale: str) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    yield f"<p>{escape(report.name)} · {report.month} – {report.last_day}</p>"
    if report.see_a_doctor:
        yield _said(_DOCTOR, locale)
    if report.advice:
        yield _section("advice", locale, (it.text for it in report.advice))
    silence = report_words.silence(report)
    words = [
        report_words.tasks(report),
        report_words.points(report),
        *report_words.habits(report),
    ]
    yield _section("tasks", locale, [*words, *([silence] if silence else [])])
    for summary in report.summaries:
        yield _summary(summary, report, locale)
    if not report.summaries:
        yield _said(_HEADINGS["none"], locale)
    if report.classes:
        yield _section(
            "classes",
            locale,
            (
                Text(
                    zh=f"{it.thresholds.title.zh}：{it.band.label.zh}",
                    en=f"{it.thresholds.title.en}: {it.band.label.en}",
                )
                for it in report.classes
            ),
        )
    yield _said(_HEADINGS["print"], locale)


def _section(name: str, locale: str, said: Iterable[Text]) -> str:
    lines = "".join(_said(text, locale) for text in said)
    return f"<section><h2>{escape(_HEADINGS[name].to(locale))}</h2>{lines}</section>"


def _said(text: Text, locale: str) -> str:
    return f"<p>{escape(text.to(locale))}</p>"


def _summary(summary: Summary, report: Report, locale: str) -> str:
    quantity = summary.quantity
    name = Text(zh=quantity.name_zh, en=quantity.name_en)
    words = report_words.said(summary)
    chart = _chart(summary, report, f"{name.to(locale)}. {words.to(locale)}")
    return f"<section><h2>{escape(name.to(locale))}</h2>{_said(words, locale)}{chart}</section>"


def _chart(summary: Summary, report: Report, label: str) -> str:
    """A line through the means of the days; a gap where there are no data."""
    low, high = _range([day.mean for day in summary.days])
    span = max((report.last_day - report.month).days, 1)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(day: Day) -> tuple[str, str]:
        x = _LEFT + Decimal((day.day - report.month).days) * width / span
        y = _TOP + (high - day.mean) * height / (high - low)
        return f"{x:.1f}", f"{y:.1f}"

    lines = [
        f'<polyline class="line" points="{" ".join(",".join(place(day)) for day in run)}"/>'
        for run in _runs(summary.days)
        if len(run) > 1
    ]
    dots = [
        '<circle class="dot" cx="{}" cy="{}" r="2.5"/>'.format(*place(day)) for day in summary.days
    ]
    axes = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{escape(tenth(value))}</text>'
        for y, value in ((_TOP, high), (_HEIGHT - _BOTTOM, low))
    )
    ends = (
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{report.month:%m-%d}</text>'
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">'
        f"{report.last_day:%m-%d}</text>"
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{axes}{ends}{''.join(lines)}{''.join(dots)}</svg>"
    )


def _range(values: Sequence[Decimal]) -> tuple[Decimal, Decimal]:
    low, high = min(values), max(values)
    margin = (high - low) / 10 or abs(high) / 10 or Decimal(1)
    return max(low - margin, Decimal(0)) if low >= 0 else low - margin, high + margin


def _runs(days: Sequence[Day]) -> Iterator[Sequence[Day]]:
    """Days that follow each other."""
    run: list[Day] = []
    for day in days:
        if run and (day.day - run[-1].day).days > 1:
            yield run
            run = []
        run.append(day)
    yield run
