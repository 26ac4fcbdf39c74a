"""What a nudge policy did, as types of the API; the sample ratio of campaigns, too."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Self

import strawberry

from app import statistics
from app.errors import RequestFailed
from app.graphql.node import Info
from app.members.rules import StaffRole
from app.nudges import policies, report
from app.nudges.policies import HOLDOUT
from app.nudges.report import Arm, NudgeMetric
from app.statistics import Lift

READING = (
    StaffRole.CAMPAIGN_MANAGER,
    StaffRole.ADMIN,
    StaffRole.HEALTH_MANAGER,
    StaffRole.AUDITOR,
    StaffRole.ACTUARY,
)
DAYS_MAX = 92
DAYS = 28

strawberry.enum(NudgeMetric)


class PeriodInvalid(RequestFailed):
    pass


@strawberry.type
class SampleRatio:
    p_value: Decimal = strawberry.field(description="0 to 1.")
    alarm: bool = strawberry.field(
        description="The arms are not of the sizes they should be: trust no lift."
    )

    @classmethod
    def of(cls, p_value: float) -> Self:
        alarm = p_value < statistics.ALARM_BELOW
        return cls(p_value=round(Decimal(p_value), 6), alarm=alarm)


@strawberry.type
class NudgeOutcome:
    metric: NudgeMetric
    count: int
    rate: Decimal | None = strawberry.field(description="Of those assigned, in percent.")


@strawberry.type(description="Members of one arm; each counts once.")
class NudgeArmReport:
    key: str
    assigned: int
    told: int = strawberry.field(description="Of them, whom a message reached; not the holdout.")
    outcomes: list[NudgeOutcome]

    @classmethod
    def of(cls, key: str, it: Arm) -> Self:
        return cls(
            key=key,
            assigned=it.assigned,
            told=it.told,
            outcomes=[
                NudgeOutcome(metric=metric, count=count, rate=_percent(count, it.assigned))
                for metric, count in it.of_metric.items()
            ],
        )


@strawberry.type
class NudgeLift:
    metric: NudgeMetric
    difference: Decimal = strawberry.field(
        description="In percentage points, with its always-valid 95 % interval: it may be looked "
        "at as often as one likes."
    )
    low: Decimal
    high: Decimal
    is_found: bool = strawberry.field(description="The interval leaves out zero.")


@strawberry.type
class NudgeArmLift:
    key: str
    lift: list[NudgeLift]


@strawberry.type(
    description="What a nudge policy did to health, not to clicks: everybody whom it first wanted "
    "to tell something in this time, against those of them whom it never tells."
)
class NudgeReport:
    code: str
    since: datetime
    until: datetime
    arms: list[NudgeArmReport] = strawberry.field(description="The holdout among them (`holdout`).")
    lift: list[NudgeLift] = strawberry.field(
        description="All other arms against the holdout, one per metric, within 14 days of the "
        "first occasion; empty while one side is. CHECK_INS: checked in; READINGS: measured blood "
        "pressure or glucose; READINGS_IN_RANGE: the mean of every code measured is in its range."
    )
    arm_lift: list[NudgeArmLift] = strawberry.field(description="Each arm against the holdout.")
    sample_ratio: SampleRatio


@strawberry.type
class NudgeReportQuery:
    @strawberry.field(
        description="Null when there is no such policy. The last 28 days when nothing is said, 92 "
        "at most. Staff only."
    )
    async def nudge_report(
        self,
        info: Info,
        code: str,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> NudgeReport | None:
        context = info.context
        _ = context.require_role(*READING)
        until = until or context.now
        since = since or until - timedelta(days=DAYS)
        if not since < until <= since + timedelta(days=DAYS_MAX):
            raise PeriodInvalid(f"`until` must be after `since`, by at most {DAYS_MAX} days.")
        policy = policies.of_code(code)
        if policy is None:
            return None
        async with context.db.transaction() as session:
            reading = await session.connection()
            found = await report.report(reading, policy, since=since, until=until)
        return NudgeReport(
            code=code,
            since=since,
            until=until,
            arms=[NudgeArmReport.of(key, it) for key, it in found.arms.items()],
            lift=_lifts(found.lifts()),
            arm_lift=[
                NudgeArmLift(key=key, lift=_lifts(found.lifts(key)))
                for key in found.arms
                if key != HOLDOUT
            ],
            sample_ratio=SampleRatio.of(found.p_value),
        )


def _lifts(found: Mapping[NudgeMetric, Lift]) -> list[NudgeLift]:
    return [
        NudgeLift(
            metric=metric,
            difference=_points(it.difference),
            low=_points(it.low),
            high=_points(it.high),
            is_found=it.is_found,
        )
        for metric, it in found.items()
    ]


def _points(share: float) -> Decimal:
    return round(Decimal(100 * share), 2)


def _percent(part: int, whole: int) -> Decimal | None:
    return (
        (Decimal(100 * part) / whole).quantize(Decimal("0.01"), "ROUND_HALF_UP") if whole else None
    )
