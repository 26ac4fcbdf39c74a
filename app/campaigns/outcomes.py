"""What members do after they were assigned, as SQL: goals, health outcomes, signs of attention.

Each is asked of everybody who was assigned, of the holdout in the same way, from the assignment
on (or from the campaign's start, when that is later) and for so many days: what a message did is
the difference.
"""

from collections.abc import Mapping

from app.campaigns.funnel import COVERED
from app.campaigns.rules import Exit, Goal
from app.nudges.outcomes import CHECKED_IN, IN_RANGE_DAYS, WITHIN
from app.nudges.outcomes import IN_RANGE as _IN_RANGE

__all__ = ["CHECKED_IN", "IN_RANGE", "IN_RANGE_DAYS"]

# Readings of who consents to the use of their health data.
IN_RANGE = f"""
({_IN_RANGE}) and coalesce((select c.state = 'GRANTED' from consents c
  where c.member_id = a.member_id and c.purpose = 'HEALTH_DATA'
  order by c.version desc limit 1), false)
"""
GOALS: Mapping[Goal, str] = {
    Goal.CHECK_IN: CHECKED_IN,
    Goal.ENROL: f"""
exists (select from policies p where p.member_id = a.member_id and {COVERED}
  and {WITHIN.format(at="p.created_at")})
""",
    Goal.REDEEM: f"""
exists (select from redemptions r where r.member_id = a.member_id
  and {WITHIN.format(at="r.reserved_at")})
""",
    # The holdout has no message to look at.
    Goal.USE: f"""
exists (select from requests r where r.owner = a.member_id
  and r.operation <> 'recordEngagement' and {WITHIN.format(at="r.created_at")})
""",
}
# A message of the campaign that the member has opened or clicked.
_TOUCHED = """
exists (select from messages m join engagements e on e.member_id = m.member_id
  and e.message_id = m.id where m.member_id = a.member_id and m.source_id = a.campaign_id
  and e.kind in ({kinds}))
"""
OPENED = _TOUCHED.format(kinds="'OPENED', 'CLICKED'")
CLICKED = _TOUCHED.format(kinds="'CLICKED'")


def exits(kinds: list[str], goal: Goal) -> str:
    """Whether a member `a` has left before the next step, as SQL with `:days`."""
    known = {Exit.CONVERTED: GOALS[goal], Exit.CLICKED: CLICKED, Exit.OPENED: OPENED}
    return " or ".join(f"({known[Exit(kind)]})" for kind in kinds) or "false"
