"""What came of a campaign, as types of the API."""

from collections.abc import Mapping
from decimal import Decimal

import strawberry

from app.campaigns import report
from app.campaigns.assignment import HOLDOUT
from app.campaigns.report import Counts, FunnelStage, LiftMetric
from app.members.enums import SegmentCode
from app.nudges.report_graphql import SampleRatio
from app.nudges.suppression import SuppressionReason
from app.statistics import Lift

strawberry.enum(LiftMetric)
strawberry.enum(FunnelStage)


@strawberry.type
class SuppressedCount:
    reason: SuppressionReason
    count: int


@strawberry.type(description="Members of one arm; somebody told twice counts once.")
class CampaignArm:
    key: str
    assigned: int
    sent: int
    suppressed: list[SuppressedCount]
    delivered: int
    opened: int
    clicked: int
    converted: int
    conversion_rate: Decimal = strawberry.field(description="Converted of assigned, in percent.")

    @classmethod
    def of(cls, key: str, it: Counts) -> "CampaignArm":
        converted = it.of_metric[LiftMetric.CONVERSION]
        return cls(
            key=key,
            assigned=it.assigned,
            sent=it.sent,
            suppressed=[
                SuppressedCount(reason=SuppressionReason.of(reason), count=count)
                for reason, count in sorted(it.suppressed.items())
            ],
            delivered=it.delivered,
            opened=it.opened,
            clicked=it.clicked,
            converted=converted,
            conversion_rate=report.percent(converted, it.assigned) or Decimal(0),
        )


@strawberry.type
class CampaignLift:
    metric: LiftMetric
    difference: Decimal = strawberry.field(
        description="In percentage points, with its always-valid 95 % interval: it may be looked "
        "at as often as one likes."
    )
    low: Decimal
    high: Decimal
    is_found: bool = strawberry.field(description="The interval leaves out zero.")

    @classmethod
    def of(cls, metric: LiftMetric, it: Lift) -> "CampaignLift":
        points = (it.difference, it.low, it.high)
        difference, low, high = (round(Decimal(100 * value), 2) for value in points)
        return cls(metric=metric, difference=difference, low=low, high=high, is_found=it.is_found)


def _lifts(found: Mapping[LiftMetric, Lift]) -> list[CampaignLift]:
    return [CampaignLift.of(metric, it) for metric, it in found.items()]


@strawberry.type
class FunnelStep:
    stage: FunnelStage
    count: int
    rate: Decimal | None = strawberry.field(
        description="Of the stage before, in percent; null for the first."
    )
    overall: Decimal | None = strawberry.field(
        description="Of the first stage, in percent; null for the first."
    )

    @classmethod
    def of(cls, it: report.Step) -> "FunnelStep":
        return cls(stage=it.stage, count=it.count, rate=it.rate, overall=it.overall)


@strawberry.type
class ArmLift:
    key: str
    lift: list[CampaignLift]


@strawberry.type(description="The same for one market segment: whom does it help, whom not.")
class SegmentReport:
    segment: SegmentCode | None = strawberry.field(description="Null: in none.")
    arms: list[CampaignArm] = strawberry.field(
        description="Without `suppressed`, which is told for all segments together."
    )
    lift: list[CampaignLift]


@strawberry.type
class CampaignReport:
    arms: list[CampaignArm] = strawberry.field(
        description="Members in each arm, the holdout among them (`holdout`)."
    )
    lift: list[CampaignLift] = strawberry.field(
        description="All other arms against the holdout, one per metric; none without a holdout. "
        "CHECK_INS: checked in within 14 days of the assignment; READINGS_IN_RANGE: the mean of "
        "every code measured in these days is in its range."
    )
    arm_lift: list[ArmLift] = strawberry.field(description="Each arm against the holdout.")
    sample_ratio: SampleRatio
    funnel: list[FunnelStep] = strawberry.field(
        description="A stage that nothing counts is left out: claims, and clicks of an SMS, an "
        "e-mail or a call."
    )
    segments: list[SegmentReport]

    @classmethod
    def of(cls, it: report.Report) -> "CampaignReport":
        told = [counts for key, counts in it.arms.items() if key != HOLDOUT]
        clicked = (sum(arm.clicked for arm in told), sum(arm.enrolled for arm in told))
        funnel = report.of_funnel(
            sum(counts.exposed for counts in told), clicked if it.counts_clicks else None
        )
        return cls(
            arms=[CampaignArm.of(key, counts) for key, counts in it.arms.items()],
            lift=_lifts(it.lifts(it.arms)),
            arm_lift=[
                ArmLift(key=key, lift=_lifts(it.lifts(it.arms, key)))
                for key in it.arms
                if key != HOLDOUT
            ],
            sample_ratio=SampleRatio.of(it.p_value),
            funnel=[FunnelStep.of(step) for step in report.steps(funnel)],
            segments=[
                SegmentReport(
                    segment=SegmentCode(code) if code else None,
                    arms=[CampaignArm.of(key, counts) for key, counts in arms.items()],
                    lift=_lifts(it.lifts(arms)),
                )
                for code, arms in sorted(it.segments.items(), key=lambda item: item[0] or "")
            ],
        )
