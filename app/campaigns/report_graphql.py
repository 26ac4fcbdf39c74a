"""What came of a campaign, as types of the API."""

from collections.abc import Mapping
from decimal import Decimal

import strawberry

from app.campaigns import funnel
from app.campaigns.assignment import HOLDOUT
from app.campaigns.funnel import FunnelStage
from app.campaigns.report import Counts, LiftMetric, Report
from app.graphql import enums
from app.members.enums import SegmentCode
from app.nudges.report_graphql import SampleRatio
from app.nudges.suppression import SuppressionReason
from app.statistics import Lift

strawberry.enum(LiftMetric)
enums.register(
    FunnelStage,
    {
        "EXPOSURE": "Seen, as the app says; of an SMS, an e-mail or what colleagues say: arrived.",
        "CLICK": "Followed its link or button. Left out where there is nothing to click: the next "
        "stage begins at the exposure then.",
        "ENROL": f"A cover that came about, applied for within {funnel.ENROL_DAYS} days of the first "
        "click.",
        "CLAIM": "A cost that a benefit of this cover counts, recorded within "
        f"{funnel.CLAIM_DAYS} days of the enrolment. Left out where fewer than {funnel.TELLS_FROM} "
        "enrolled, for those who do not see every member.",
    },
    description="Each a part of the one before; a member counts once a campaign.",
)


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
            conversion_rate=funnel.percent(converted, it.assigned) or Decimal(0),
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
    def of(cls, it: funnel.Step) -> "FunnelStep":
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
        "every code measured in these days is in its range; told of ten members or more on each "
        "side, to those who do not see every member."
    )
    arm_lift: list[ArmLift] = strawberry.field(description="Each arm against the holdout.")
    sample_ratio: SampleRatio
    funnel: list[FunnelStep] = strawberry.field(
        description="As `Query.funnel`, of all arms but the holdout."
    )
    segments: list[SegmentReport]

    @classmethod
    def of(cls, it: Report, *, sees_all: bool) -> "CampaignReport":
        def lifts(arms: Mapping[str, Counts], key: str | None = None) -> list[CampaignLift]:
            return _lifts(it.lifts(arms, key, sees_all=sees_all))

        return cls(
            arms=[CampaignArm.of(key, counts) for key, counts in it.arms.items()],
            lift=lifts(it.arms),
            arm_lift=[
                ArmLift(key=key, lift=lifts(it.arms, key)) for key in it.arms if key != HOLDOUT
            ],
            sample_ratio=SampleRatio.of(it.p_value),
            funnel=[FunnelStep.of(step) for step in funnel.steps(it.tally(), sees_all=sees_all)],
            segments=[
                SegmentReport(
                    segment=SegmentCode(code) if code else None,
                    arms=[CampaignArm.of(key, counts) for key, counts in arms.items()],
                    lift=lifts(arms),
                )
                for code, arms in sorted(it.segments.items(), key=lambda item: item[0] or "")
            ],
        )
