"""`healthReport` of a member: their month in plain words."""

from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Self
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app.graphql import enums
from app.graphql.facets import Profile
from app.graphql.node import Info
from app.insights import report, report_rules, report_words
from app.measurements.catalogue import MeasurementCode

enums.register(report_rules.Trend, name="ReportTrend")
enums.register(report_rules.PartOfDay)
_SHOWN = Decimal("0.01")


@strawberry.type
class ReportDay:
    date: date
    mean: Decimal = strawberry.field(description="Rounded to two decimals, as all values here.")


@strawberry.type(description="One quantity over the month, in its canonical unit.")
class ReportSummary:
    code: MeasurementCode
    name: str
    unit: str
    n: int
    mean: Decimal
    minimum: Decimal
    maximum: Decimal
    mean_before: Decimal | None = strawberry.field(
        description="Of the month before; null without data."
    )
    trend: report_rules.Trend | None = strawberry.field(
        description="Against the month before; less than 2 % is STEADY."
    )
    regularity_percent: int = strawberry.field(description="Share of the days with data.")
    usual_hour: int | None = strawberry.field(
        description="0 to 23, local: when most readings are taken; null for streams and running "
        "totals."
    )
    text: str
    days: list[ReportDay]

    @classmethod
    def of(cls, found: report_rules.Summary, locale: str) -> Self:
        quantity = found.quantity
        return cls(
            code=MeasurementCode(quantity.code),
            name=quantity.name_zh if locale[:2].lower() == "zh" else quantity.name_en,
            unit=quantity.canonical.ucum,
            n=found.n,
            mean=_shown(found.mean),
            minimum=_shown(found.minimum),
            maximum=_shown(found.maximum),
            mean_before=_shown(found.mean_before) if found.mean_before is not None else None,
            trend=found.trend,
            regularity_percent=found.regularity_percent,
            usual_hour=found.usual_hour,
            text=report_words.said(found).to(locale),
            days=[ReportDay(date=it.day, mean=_shown(it.mean)) for it in found.days],
        )


@strawberry.type(description="Periods that ended in the month; the kinds of no data stay apart.")
class ReportTasks:
    done: int
    missed: int
    paused: int
    device_silent: int
    consent_refused: int
    consent_withdrawn: int
    percent: Decimal | None = strawberry.field(
        description="Done, of those done or missed; null when there were none."
    )
    text: str


@strawberry.type
class ReportAdvice:
    code: str
    text: str


@strawberry.type(description="How the member goes about it.")
class ReportHabits:
    part_of_day: report_rules.PartOfDay | None = strawberry.field(
        description="When most readings are taken."
    )
    favourite_task: str | None = strawberry.field(
        description="The title of the task that was done most often."
    )
    text: str | None = strawberry.field(description="Null when nothing is known.")


@strawberry.type
class HealthReport:
    month: date = strawberry.field(description="Its first day.")
    last_day: date = strawberry.field(description="Of the month, or today.")
    summaries: list[ReportSummary]
    tasks: ReportTasks
    points: int = strawberry.field(
        description="Earned on days of the month, less what was taken back."
    )
    silent_days: int = strawberry.field(
        description="Days on which nothing came from a device; not held against anybody."
    )
    habits: ReportHabits
    advice: list[ReportAdvice]
    member_id: strawberry.Private[UUID]

    @strawberry.field(
        description="Opens the report as a page to print, for a short time, to whoever holds "
        "the link; null where no pages are served."
    )
    def url(self, info: Info) -> str | None:
        context = info.context
        if context.sign_link is None:
            return None
        if context.is_own(self.member_id):
            by = {"locale": context.locale}
        else:
            by = {"by": context.staff_id.hex, "locale": context.locale}
        return context.sign_link(path(self.member_id, self.month), by)

    @classmethod
    def of(cls, found: report.Report, member_id: UUID, locale: str) -> Self:
        tasks = found.tasks
        return cls(
            month=found.month,
            last_day=found.last_day,
            summaries=[ReportSummary.of(it, locale) for it in found.summaries],
            tasks=ReportTasks(
                done=tasks.done,
                missed=tasks.missed,
                paused=tasks.paused,
                device_silent=tasks.device_silent,
                consent_refused=tasks.consent_refused,
                consent_withdrawn=tasks.consent_withdrawn,
                percent=_shown(tasks.percent) if tasks.percent is not None else None,
                text=report_words.tasks(found).to(locale),
            ),
            points=found.points,
            silent_days=found.silent_days,
            habits=_habits(found, locale),
            advice=[ReportAdvice(code=it.code, text=it.text.to(locale)) for it in found.advice],
            member_id=member_id,
        )


@strawberry.type
class ReportsOfMember:
    """The fields of `Member` that are told here."""

    profile: strawberry.Private[Profile]

    @strawberry.field(
        description="The calendar month in which this day lies, up to today; null for one that "
        "has not begun. An employee sees it while the member consents to the use of health data."
    )
    async def health_report(self, info: Info, month: date) -> HealthReport | None:
        member_id = self.profile.member_id
        found = await _load(info, member_id, month.replace(day=1))
        return HealthReport.of(found, member_id, info.context.locale) if found else None


async def _load(info: Info, member_id: UUID, month: date) -> report.Report | None:
    """Loads of one moment, as of a list of members, share their statements."""
    context = info.context
    consented_only = not context.is_own(member_id)
    name = f"insights.report.{month}.{consented_only}"
    if name not in context.state:

        async def load(member_ids: list[UUID]) -> list[report.Report | None]:
            async with context.db.read() as reading:
                found = await report.of_members(
                    reading, member_ids, month, consented_only=consented_only, now=context.now
                )
            return [found.get(member_id) for member_id in member_ids]

        context.state[name] = DataLoader(load_fn=load)
    loaded: report.Report | None = await context.state[name].load(member_id)
    return loaded


def _habits(found: report.Report, locale: str) -> ReportHabits:
    habits = found.habits
    said = [it.to(locale) for it in report_words.habits(found)]
    return ReportHabits(
        part_of_day=habits.part_of_day,
        favourite_task=habits.favourite_task.to(locale) if habits.favourite_task else None,
        text=" ".join(said) or None,
    )


def path(member_id: UUID, month: date) -> str:
    return f"/reports/{member_id.hex}/{month:%Y-%m}"


def _shown(value: Decimal) -> Decimal:
    return value.quantize(_SHOWN, ROUND_HALF_UP)
