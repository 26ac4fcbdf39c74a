"""What actuaries ask before a rule set is released, and after."""

from datetime import datetime
from decimal import Decimal

import strawberry

from app.graphql.node import Info
from app.graphql.paging import page_size
from app.members.rules import StaffRole
from app.risk import calibration, drift, rulesets, shadow
from app.risk.rulesets import Tier

_ROLES = (StaffRole.ACTUARY, StaffRole.ADMIN)
_RUNS = 5


@strawberry.type
class TierShare:
    tier: Tier
    members: int
    percent: Decimal | None = strawberry.field(
        description="Of those who have a tier; null while nobody has."
    )
    planned_percent: Decimal
    drift: Decimal | None = strawberry.field(description="Percentage points above the plan.")


@strawberry.type(description="The mix of tiers now, against the planned one.")
class TierMix:
    rules_version: str
    members: int = strawberry.field(description="With a tier.")
    without_tier: int = strawberry.field(description="Assessed, but too little is known of them.")
    tiers: list[TierShare]


@strawberry.type(description="How many members would go from one tier to another.")
class TierMove:
    before: Tier | None = strawberry.field(description="Null: too little is known for a tier.")
    after: Tier | None
    members: int


@strawberry.type
class SegmentMoves:
    segment: str = strawberry.field(description="`all`, `sex:FEMALE`, `age:45-54`, `region:CN-11`.")
    members: int
    moves: list[TierMove]
    worse_percent: Decimal
    better_percent: Decimal


@strawberry.type(description="A rule set in shadow: nobody's own result is kept.")
class ShadowRun:
    rules_version: str
    against_version: str
    run_at: datetime
    members: int
    segments: list[SegmentMoves]

    @classmethod
    def of(cls, kept: shadow.Kept) -> "ShadowRun":
        return cls(
            rules_version=kept.rules_version,
            against_version=kept.against_version,
            run_at=kept.run_at,
            members=kept.members,
            segments=[_segment(it) for it in kept.moves],
        )


def _segment(it: shadow.Moves) -> SegmentMoves:
    counted = sorted(it.counts.items(), key=lambda item: -item[1])
    return SegmentMoves(
        segment=it.segment,
        members=it.members,
        moves=[TierMove(before=old, after=new, members=n) for (old, new), n in counted],
        worse_percent=_percent(it.share(worse=True)),
        better_percent=_percent(it.share(worse=False)),
    )


def _percent(share: float) -> Decimal:
    return Decimal(str(round(100 * share, 2)))


@strawberry.type
class CalibrationBand:
    members: int
    expected_percent: Decimal = strawberry.field(description="The mean of what was expected.")
    observed_percent: Decimal
    events: int


@strawberry.type(description="What a model expected against what happened.")
class RiskCalibration:
    model: str
    years: int
    members: int = strawberry.field(description="Followed for as long.")
    observed_to_expected: Decimal | None = strawberry.field(
        description="1 is right; more: too few were expected. Null without members."
    )
    bands: list[CalibrationBand] = strawberry.field(description="The lowest expectation first.")


@strawberry.type
class RiskConsoleQuery:
    @strawberry.field(description="Actuaries and administrators.")
    async def risk_mix(self, info: Info) -> TierMix:
        _ = info.context.require_role(*_ROLES)
        rule_set = rulesets.in_force()
        found = await drift.mix(info.context.db, rule_set)
        return TierMix(
            rules_version=rule_set.version,
            members=found.members,
            without_tier=found.without_tier,
            tiers=[
                TierShare(
                    tier=tier,
                    members=found.counts.get(tier, 0),
                    percent=found.percent(tier),
                    planned_percent=found.planned[tier],
                    drift=found.drift(tier),
                )
                for tier in Tier
            ],
        )

    @strawberry.field(
        description="Reports of `wellward risk shadow`, newest first. Actuaries and administrators."
    )
    async def risk_shadow_runs(self, info: Info, first: int | None = _RUNS) -> list[ShadowRun]:
        _ = info.context.require_role(*_ROLES)
        found = await shadow.kept(info.context.db, limit=page_size(first))
        return [ShadowRun.of(it) for it in found]

    @strawberry.field(description="Actuaries and administrators. Codes: BAD_REQUEST.")
    async def risk_calibration(self, info: Info, model: str, years: int) -> RiskCalibration:
        context = info.context
        _ = context.require_role(*_ROLES)
        found = await calibration.calibrate(context.db, model=model, years=years, now=context.now)
        ratio = found.ratio
        return RiskCalibration(
            model=found.model,
            years=found.years,
            members=found.members,
            observed_to_expected=Decimal(str(round(ratio, 3))) if ratio is not None else None,
            bands=[
                CalibrationBand(
                    members=it.members,
                    expected_percent=Decimal(str(round(it.expected, 2))),
                    observed_percent=Decimal(str(round(it.observed, 2))),
                    events=it.happened,
                )
                for it in found.bands
            ],
        )
