"""Every table, with the class that decides its keys, and those that are append-only."""

from collections.abc import Mapping

from sqlmodel import SQLModel

from app.campaigns import models as campaigns
from app.campaigns import referral_models as referrals
from app.checkins import models as checkins
from app.checkins import recording_models as recordings
from app.columns import TableClass
from app.demo import models as demo
from app.health_tasks import models as health_tasks
from app.intake import models as intake
from app.jobs import models as jobs
from app.measurements import alerts_models as alerts
from app.measurements import devices_models as devices
from app.measurements import models as measurements
from app.members import contact_models as contacts
from app.members import households_models as households
from app.members import models as members
from app.members import standing_models as standing
from app.nudges import link_models as links
from app.nudges import models as nudges
from app.nudges import plan_models as plans
from app.points import models as points
from app.premiums import benefit_models as benefits
from app.premiums import invoice_models as invoices
from app.premiums import models as premiums
from app.premiums import policy_models as policies
from app.premiums import portfolio_models as portfolio
from app.premiums import premium_models as priced
from app.records import models as records
from app.rewards import models as rewards
from app.risk import tables as risk
from app.services import models as services
from app.worklist import models as worklist

__all__ = ["APPEND_ONLY", "TABLE_CLASSES", "metadata"]

metadata = SQLModel.metadata
_OWNED = TableClass.MEMBER_OWNED
_REFERENCE = TableClass.REFERENCE
_DIRECTORY = TableClass.DIRECTORY
_INFRASTRUCTURE = TableClass.INFRASTRUCTURE

TABLE_CLASSES: Mapping[str, TableClass] = {
    members.Member.__tablename__: _OWNED,
    members.MemberSignIn.__tablename__: _DIRECTORY,
    members.Employee.__tablename__: _REFERENCE,
    members.StaffSignIn.__tablename__: _DIRECTORY,
    members.ClinicKey.__tablename__: _DIRECTORY,
    members.CareAssignment.__tablename__: _OWNED,
    members.Guardianship.__tablename__: _OWNED,
    households.HouseholdMember.__tablename__: _OWNED,
    households.HouseholdInvitation.__tablename__: _DIRECTORY,
    members.ConsentRecord.__tablename__: _OWNED,
    members.Pause.__tablename__: _OWNED,
    contacts.ContactChallenge.__tablename__: _OWNED,
    members.Request.__tablename__: _OWNED,
    members.AuditRead.__tablename__: _OWNED,
    standing.MemberStanding.__tablename__: _OWNED,
    standing.StandingEvent.__tablename__: _OWNED,
    standing.StandingMark.__tablename__: _INFRASTRUCTURE,
    standing.SavedSegment.__tablename__: _REFERENCE,
    standing.SegmentMembership.__tablename__: _OWNED,
    jobs.ClockSlot.__tablename__: _INFRASTRUCTURE,
    health_tasks.TaskTemplate.__tablename__: _REFERENCE,
    health_tasks.TaskAssignment.__tablename__: _OWNED,
    health_tasks.Task.__tablename__: _OWNED,
    health_tasks.CheckIn.__tablename__: _OWNED,
    health_tasks.ParticipationMonth.__tablename__: _OWNED,
    health_tasks.ParticipationRestatement.__tablename__: _OWNED,
    checkins.Photo.__tablename__: _OWNED,
    checkins.PhotoHash.__tablename__: _DIRECTORY,
    checkins.DeviceOwner.__tablename__: _DIRECTORY,
    checkins.CheckInEvidence.__tablename__: _OWNED,
    points.Wallet.__tablename__: _OWNED,
    points.PointsTransfer.__tablename__: _OWNED,
    points.PointsLot.__tablename__: _OWNED,
    points.PointsDecision.__tablename__: _OWNED,
    points.PointsHold.__tablename__: _OWNED,
    points.PointsHoldLot.__tablename__: _OWNED,
    points.PointsExpiryNotice.__tablename__: _OWNED,
    rewards.Reward.__tablename__: _REFERENCE,
    rewards.RewardVersion.__tablename__: _REFERENCE,
    rewards.RewardEvent.__tablename__: _REFERENCE,
    rewards.Redemption.__tablename__: _OWNED,
    rewards.VoucherCode.__tablename__: _DIRECTORY,
    rewards.PendingBenefit.__tablename__: _OWNED,
    premiums.ProductVersion.__tablename__: _REFERENCE,
    premiums.Policy.__tablename__: _OWNED,
    premiums.PolicyTerm.__tablename__: _OWNED,
    premiums.PremiumProjection.__tablename__: _OWNED,
    policies.PolicyEvent.__tablename__: _OWNED,
    policies.Underwriting.__tablename__: _OWNED,
    policies.RenewalOffer.__tablename__: _OWNED,
    policies.Rescission.__tablename__: _OWNED,
    policies.Clawback.__tablename__: _OWNED,
    policies.InsuredGroup.__tablename__: _REFERENCE,
    invoices.Invoice.__tablename__: _OWNED,
    invoices.Payment.__tablename__: _OWNED,
    invoices.Refund.__tablename__: _OWNED,
    invoices.PaymentOrder.__tablename__: _OWNED,
    premiums.ProjectionMark.__tablename__: _INFRASTRUCTURE,
    priced.Premium.__tablename__: _OWNED,
    priced.PremiumCreditUse.__tablename__: _OWNED,
    priced.RecalculationMark.__tablename__: _OWNED,
    portfolio.PortfolioProposal.__tablename__: _REFERENCE,
    portfolio.LossRatio.__tablename__: _REFERENCE,
    portfolio.PreventionSpending.__tablename__: _REFERENCE,
    benefits.MildConditionCase.__tablename__: _OWNED,
    benefits.MildConditionChoice.__tablename__: _OWNED,
    benefits.BenefitCost.__tablename__: _OWNED,
    benefits.BenefitMovement.__tablename__: _OWNED,
    benefits.CoverUplift.__tablename__: _OWNED,
    benefits.ComplicationDecision.__tablename__: _OWNED,
    benefits.BenefitCheck.__tablename__: _OWNED,
    services.EntitlementQuota.__tablename__: _OWNED,
    services.EntitlementUse.__tablename__: _OWNED,
    services.EntitlementGrant.__tablename__: _OWNED,
    services.GrantQuota.__tablename__: _OWNED,
    nudges.Reminder.__tablename__: _OWNED,
    nudges.MedicationReminder.__tablename__: _OWNED,
    nudges.Message.__tablename__: _OWNED,
    nudges.PushDelivery.__tablename__: _OWNED,
    nudges.PushBatch.__tablename__: _INFRASTRUCTURE,
    nudges.Installation.__tablename__: _OWNED,
    nudges.PushToken.__tablename__: _DIRECTORY,
    nudges.NotificationPreference.__tablename__: _OWNED,
    nudges.Engagement.__tablename__: _OWNED,
    links.MessageLink.__tablename__: _DIRECTORY,
    plans.MessageSource.__tablename__: _REFERENCE,
    plans.PlannedMessage.__tablename__: _OWNED,
    plans.MessageCount.__tablename__: _OWNED,
    plans.MemberRhythm.__tablename__: _OWNED,
    plans.MessageTemplate.__tablename__: _REFERENCE,
    plans.NudgeRun.__tablename__: _INFRASTRUCTURE,
    campaigns.Campaign.__tablename__: _REFERENCE,
    campaigns.CampaignVariant.__tablename__: _REFERENCE,
    campaigns.CampaignStep.__tablename__: _REFERENCE,
    campaigns.CampaignEvent.__tablename__: _REFERENCE,
    campaigns.CampaignMember.__tablename__: _OWNED,
    referrals.ReferralCode.__tablename__: _DIRECTORY,
    referrals.ReferralDevice.__tablename__: _DIRECTORY,
    referrals.Referral.__tablename__: _OWNED,
    referrals.ReferralBenefit.__tablename__: _OWNED,
    referrals.ClaimStory.__tablename__: _OWNED,
    measurements.Measurement.__tablename__: _OWNED,
    measurements.MeasurementStream.__tablename__: _OWNED,
    measurements.DailyTotal.__tablename__: _OWNED,
    measurements.DailyTotalDay.__tablename__: _OWNED,
    recordings.Recording.__tablename__: _OWNED,
    devices.Device.__tablename__: _DIRECTORY,
    devices.DeviceLoan.__tablename__: _OWNED,
    devices.Connection.__tablename__: _OWNED,
    devices.DeviceSilence.__tablename__: _OWNED,
    alerts.Alert.__tablename__: _OWNED,
    alerts.TrendCheck.__tablename__: _OWNED,
    records.QuestionnaireVersion.__tablename__: _REFERENCE,
    records.QuestionnaireResponse.__tablename__: _OWNED,
    records.ConditionVersion.__tablename__: _OWNED,
    records.MedicationVersion.__tablename__: _OWNED,
    risk.RiskAssessment.__tablename__: _OWNED,
    risk.RiskProfile.__tablename__: _OWNED,
    risk.RiskRecheck.__tablename__: _OWNED,
    risk.RiskShadowRun.__tablename__: _INFRASTRUCTURE,
    worklist.WorklistItem.__tablename__: _OWNED,
    worklist.WorklistEvent.__tablename__: _OWNED,
    worklist.Review.__tablename__: _OWNED,
    worklist.ReviewEvent.__tablename__: _OWNED,
    intake.GatewayUser.__tablename__: _DIRECTORY,
    intake.GatewayLink.__tablename__: _OWNED,
    intake.GatewayEvent.__tablename__: _OWNED,
    demo.SeedRun.__tablename__: _INFRASTRUCTURE,
}

APPEND_ONLY: frozenset[str] = frozenset(
    {
        "consents",
        "audit_reads",
        "benefit_movements",
        "campaign_events",
        "check_in_evidence",
        "complication_decisions",
        "conditions",
        "loss_ratios",
        "medications",
        "mild_condition_choices",
        "participation_restatements",
        "payments",
        "message_templates",
        "points_decisions",
        "points_transfers",
        "policy_events",
        "premium_credit_uses",
        "premiums",
        "prevention_spendings",
        "product_versions",
        "questionnaire_responses",
        "questionnaires",
        "review_events",
        "reward_events",
        "reward_versions",
        "risk_assessments",
        "standing_events",
        "worklist_events",
    }
)
"""The application role may insert and read these, never update, delete or truncate."""
