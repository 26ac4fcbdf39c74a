"""What others do with policies; each part stands in a file of its own."""

from app.premiums.enrolment import enrol
from app.premiums.projecting import project
from app.premiums.renewal import renew_due
from app.premiums.terms import MINOR_DIGITS, NotEligible

__all__ = ["MINOR_DIGITS", "NotEligible", "enrol", "project", "renew_due"]
