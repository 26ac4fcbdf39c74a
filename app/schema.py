"""Composes the domains into one schema. Wiring only."""

from typing import Any

import strawberry
from strawberry.schema.config import StrawberryConfig

from app import live
from app.campaigns import facts as _facts  # noqa: F401 - what domains know of members
from app.campaigns import funnel_graphql
from app.campaigns import graphql as campaigns
from app.campaigns import mutations as campaign_mutations
from app.campaigns import referral_graphql as referrals
from app.checkins import (
    clinic_graphql,
    confirming,
    recording_graphql,
    review_mutations,
    review_types,
)
from app.checkins import graphql as checkins
from app.graphql.errors import UserErrorHandler
from app.graphql.facets import Facets
from app.graphql.ids import Kind
from app.graphql.node import Fetch, Info, Node, fetch_node
from app.graphql.scalars import SCALARS
from app.health_tasks import graphql as health_tasks
from app.health_tasks import mutations as task_mutations
from app.health_tasks import recounting
from app.health_tasks import subjects as task_subjects
from app.insights import graphql as insights
from app.insights import report_graphql as reports
from app.measurements import alerts_graphql as alerts
from app.measurements import (
    alerts_opening,
    latest_graphql,
    quarters_graphql,
    series_graphql,
    totals_graphql,
)
from app.measurements import devices_graphql as devices
from app.measurements import graphql as measurements
from app.members import (
    console,
    contact_graphql,
    directory,
    history_graphql,
    households_graphql,
    profile_graphql,
    segments_graphql,
    standing,
)
from app.members import graphql as members
from app.members import service as members_service
from app.nudges import console as nudges_console
from app.nudges import graphql as nudges
from app.nudges import medication_mutations, opting_out
from app.nudges import report_graphql as nudges_report
from app.points import graphql as points
from app.points import staff as points_staff
from app.points import titles as points_titles
from app.premiums import (
    benefit_mutations,
    contract_mutations,
    contract_staff,
    groups_graphql,
    household_mutations,
    mild_conditions,
    mild_conditions_graphql,
    portfolio_graphql,
    portfolio_mutations,
)
from app.premiums import console as premiums_console
from app.premiums import contracts_graphql as contracts
from app.premiums import graphql as premiums
from app.premiums import terms_graphql as product_terms
from app.records import graphql as records
from app.records import mutations as records_mutations
from app.rewards import console as rewards_console
from app.rewards import graphql as rewards
from app.rewards import mutations as rewards_mutations
from app.risk import answering
from app.risk import console as risk_console
from app.risk import graphql as risk
from app.risk import queries as risk_queries
from app.risk import requests as risk_requests
from app.services import graphql as services
from app.services import mutations as services_mutations
from app.worklist import graphql as worklist
from app.worklist import mutations as worklist_mutations
from app.worklist import queries as worklist_queries
from app.worklist import service as worklist_service
from app.worklist import subjects


@strawberry.type
class Member(
    members.MemberProfile,
    console.MemberContact,
    standing.MemberStanding,
    history_graphql.StandingOfMember,
    segments_graphql.SavedSegmentsOfMember,
    households_graphql.HouseholdOfMember,
    risk.RiskOfMember,
    records.RecordsOfMember,
    measurements.MeasurementsOfMember,
    latest_graphql.LatestOfMember,
    alerts.AlertsOfMember,
    devices.DevicesOfMember,
    totals_graphql.DailyTotalsOfMember,
    series_graphql.SeriesOfMember,
    quarters_graphql.QuartersOfMember,
    health_tasks.TasksOfMember,
    points.MemberPoints,
    rewards.MemberRedemptions,
    premiums.MemberPremium,
    contracts.ContractsOfMember,
    services.ServicesOfMember,
    nudges.MemberNudges,
    reports.ReportsOfMember,
):
    pass


@strawberry.type
class Staff(members.StaffProfile, worklist.StaffWorklist):
    pass


@strawberry.type
class Query(
    members.MembersQuery,
    console.ConsoleQuery,
    profile_graphql.ProfileQuery,
    segments_graphql.SegmentsQuery,
    records.RecordsQuery,
    devices.DevicesQuery,
    task_mutations.HealthTasksQuery,
    rewards.RewardsQuery,
    rewards_console.CatalogueQuery,
    points_staff.PointsQuery,
    risk_console.RiskConsoleQuery,
    premiums_console.PremiumsQuery,
    groups_graphql.GroupsQuery,
    portfolio_graphql.PortfolioQuery,
    product_terms.TermsQuery,
    insights.InsightsQuery,
    nudges_console.NudgesConsoleQuery,
    nudges_report.NudgeReportQuery,
    campaigns.CampaignsQuery,
    funnel_graphql.FunnelQuery,
    referrals.ReferralQuery,
):
    @strawberry.field(
        description="Any object by its id. Null when it does not exist or is not yours; "
        "the two look the same."
    )
    async def node(self, info: Info, id: strawberry.ID) -> Node | None:
        return await fetch_node(info, id, NODE_FETCHERS)  # type: ignore[no-any-return]


@strawberry.type
class Mutation(
    members.MembersMutation,
    household_mutations.HouseholdsMutation,
    profile_graphql.ProfileMutation,
    contact_graphql.ContactMutation,
    segments_graphql.SegmentsMutation,
    checkins.CheckInsMutation,
    recording_graphql.RecordingMutation,
    devices.DevicesMutation,
    confirming.ConfirmingMutation,
    clinic_graphql.ClinicMutation,
    review_mutations.ReviewsMutation,
    task_mutations.HealthTasksMutation,
    records_mutations.RecordsMutation,
    answering.AnsweringMutation,
    medication_mutations.MedicationsMutation,
    risk.RiskMutation,
    rewards_mutations.RewardsMutation,
    rewards_console.CatalogueMutation,
    contract_mutations.ContractsMutation,
    contract_staff.ContractsStaffMutation,
    groups_graphql.GroupsMutation,
    benefit_mutations.BenefitsMutation,
    portfolio_mutations.PortfolioMutation,
    services_mutations.ServicesMutation,
    nudges.NudgesMutation,
    nudges_console.NudgesConsoleMutation,
    campaign_mutations.CampaignsMutation,
    referrals.ReferralMutation,
    worklist_mutations.WorklistMutation,
):
    pass


FACETS = Facets(
    Member,
    [
        *members.FACETS,
        *console.FACETS,
        *standing.FACETS,
        *risk.FACETS,
        *health_tasks.FACETS,
        *points.FACETS,
        *premiums.FACETS,
        *nudges.FACETS,
    ],
)

NODE_FETCHERS: dict[Kind, Fetch] = {
    **members.NODE_FETCHERS,
    **console.NODE_FETCHERS,
    **segments_graphql.NODE_FETCHERS,
    **worklist.NODE_FETCHERS,
    **records.NODE_FETCHERS,
    **measurements.NODE_FETCHERS,
    **alerts.NODE_FETCHERS,
    **devices.NODE_FETCHERS,
    **totals_graphql.NODE_FETCHERS,
    **risk.NODE_FETCHERS,
    **health_tasks.NODE_FETCHERS,
    **review_types.NODE_FETCHERS,
    **points.NODE_FETCHERS,
    **rewards.NODE_FETCHERS,
    **premiums.NODE_FETCHERS,
    **contracts.NODE_FETCHERS,
    **mild_conditions_graphql.NODE_FETCHERS,
    **services.NODE_FETCHERS,
    **nudges.NODE_FETCHERS,
    **campaigns.NODE_FETCHERS,
    **referrals.NODE_FETCHERS,
}


points.CAUSE_TYPES |= health_tasks.CAUSES | rewards.CAUSES
worklist_service.ON_DONE.append(alerts_opening.close_handled)
members_service.ON_RESUME.append(recounting.recount_streaks)
members_service.ON_CONSENT.append(opting_out.after_consent)
members_service.ON_PAUSE.append(opting_out.wait)
subjects.SUBJECT_TYPES |= (
    rewards.SUBJECTS
    | review_types.SUBJECTS
    | alerts.SUBJECTS
    | records.SUBJECTS
    | mild_conditions_graphql.SUBJECTS
)
directory.GROUNDS.append(worklist_queries.HANDED_OVER)
subjects.SUBJECT_TYPES |= contracts.SUBJECTS
subjects.SUBJECT_TYPES[task_subjects.SUBJECT_KIND] = task_subjects.load
points_titles.TITLES.append(health_tasks.title_of_rule)
risk_requests.follow_recordings()
mild_conditions.follow_recordings()
directory.UPPER_CONDITIONS["risk_tiers"] = risk_queries.in_tiers


def build(**options: Any) -> strawberry.Schema:
    """The whole schema; `options` go to `strawberry.Schema`."""
    return strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=live.Subscription,
        config=StrawberryConfig(scalar_map=SCALARS),
        exception_handlers=[UserErrorHandler()],
        types=[rewards.Redemption, contracts.InsuranceContract, review_types.Review, alerts.Alert],
        **options,
    )


schema = build()
