"""What members do after they were assigned, as SQL: goals, health outcomes, signs of attention.

Each is asked of everybody who was assigned, of the holdout in the same way, from the assignment
on (or from the campaign's start, when that is later) and for so many days: what a message did is
the difference.
"""

from collections.abc import Mapping

from app.campaigns.rules import Exit, Goal

# Each holds for the member `a.member_id` between `a.assigned_at` and `:days` days after it.
_WITHIN = "{at} > a.assigned_at and {at} <= a.assigned_at + make_interval(days => :days)"

CHECKED_IN = f"""
exists (select from checkins c where c.member_id = a.member_id and c.state <> 'REJECTED'
  and {_WITHIN.format(at="c.received_at")})
"""
GOALS: Mapping[Goal, str] = {
    Goal.CHECK_IN: CHECKED_IN,
    Goal.ENROL: f"""
exists (select from policies p where p.member_id = a.member_id
  and {_WITHIN.format(at="p.created_at")})
""",
    Goal.REDEEM: f"""
exists (select from redemptions r where r.member_id = a.member_id
  and {_WITHIN.format(at="r.reserved_at")})
""",
    # The holdout has no message to look at.
    Goal.USE: f"""
exists (select from requests r where r.owner = a.member_id
  and r.operation <> 'recordEngagement' and {_WITHIN.format(at="r.created_at")})
""",
}
IN_RANGE_DAYS = 14
# Who has measured, and whose mean of each of these codes is where it should be. The ranges are
# those that a healthy adult keeps to: blood pressure below the pre-chronic range (MEM-1) and not
# low (90/60 mmHg), fasting glucose 3.9 to 6.0 mmol/L (WS/T 781-2021; MEM-1 begins at 6.1).
IN_RANGE = f"""
coalesce((select bool_and(m.mean between w.low and w.high)
  from (select code, avg(value) as mean from measurements v
    where v.member_id = a.member_id and v.superseded_at is null and not v.retracted
    and v.code in ('SYSTOLIC_BP', 'DIASTOLIC_BP', 'FASTING_GLUCOSE', 'FASTING_GLUCOSE_METER')
    and {_WITHIN.format(at="v.measured_at")} group by code) m
  join (values ('SYSTOLIC_BP', 90, 129), ('DIASTOLIC_BP', 60, 84), ('FASTING_GLUCOSE', 3.9, 6.0),
    ('FASTING_GLUCOSE_METER', 3.9, 6.0)) as w (code, low, high) using (code)), false)
"""
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
