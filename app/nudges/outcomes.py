"""Health outcomes of a message as SQL: what members do after they were drawn for it.

Each is asked of everybody who was drawn, of the holdout in the same way: what the message did is
the difference.
"""

# Each holds for the member `a.member_id` between `a.assigned_at` and `:days` days after it.
WITHIN = "{at} > a.assigned_at and {at} <= a.assigned_at + make_interval(days => :days)"

CHECKED_IN = f"""
exists (select from checkins c where c.member_id = a.member_id and c.state <> 'REJECTED'
  and {WITHIN.format(at="c.received_at")})
"""
IN_RANGE_DAYS = 14
# Who has measured, and whose mean of each of these codes is where it should be. The ranges are
# those that a healthy adult keeps to: blood pressure below the pre-chronic range (MEM-1) and not
# low (90/60 mmHg), fasting glucose 3.9 to 6.0 mmol/L (WS/T 781-2021; MEM-1 begins at 6.1).
_RANGES = """('SYSTOLIC_BP', 90, 129), ('DIASTOLIC_BP', 60, 84), ('FASTING_GLUCOSE', 3.9, 6.0),
    ('FASTING_GLUCOSE_METER', 3.9, 6.0)"""
IN_RANGE = f"""
coalesce((select bool_and(m.mean between w.low and w.high)
  from (select code, avg(value) as mean from measurements v
    where v.member_id = a.member_id and v.superseded_at is null and not v.retracted
    and v.code in ('SYSTOLIC_BP', 'DIASTOLIC_BP', 'FASTING_GLUCOSE', 'FASTING_GLUCOSE_METER')
    and {WITHIN.format(at="v.measured_at")} group by code) m
  join (values {_RANGES}) as w (code, low, high) using (code)), false)
"""

# The same of all members of `a` at once, for reports: a subquery for each of a million
# members takes three times as long. `:days` are counted from `a.assigned_at`; `:since`
# and `:until` bound all assignments.
_BOUNDED = f"{WITHIN} and {{at}} > :since and {{at}} <= :until + make_interval(days => :days)"
SETS = f"""
checked as (
  select distinct a.member_id from a join checkins c on c.member_id = a.member_id
   where c.state <> 'REJECTED' and {_BOUNDED.format(at="c.received_at")}),
means as (
  select a.member_id, v.code, avg(v.value) as mean
    from a join measurements v on v.member_id = a.member_id
   where v.superseded_at is null and not v.retracted
     and v.code in ('SYSTOLIC_BP', 'DIASTOLIC_BP', 'FASTING_GLUCOSE', 'FASTING_GLUCOSE_METER')
     and {_BOUNDED.format(at="v.measured_at")}
   group by a.member_id, v.code),
measured as (
  select means.member_id, bool_or(means.code <> 'DIASTOLIC_BP') as has_any,
         bool_and(means.mean between w.low and w.high) as in_range
    from means join (values {_RANGES}) as w (code, low, high) on w.code = means.code
   group by means.member_id)
"""
