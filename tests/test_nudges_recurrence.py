"""On which days a rule recurs; dateutil is the second opinion."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import islice
from time import process_time
from unittest.mock import patch

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from app.nudges.rules import InvalidRecurrence, next_local_date, parse_recurrence

START = date(2026, 1, 1)  # A Thursday.


def fired(text: str, *, starts_on: date = START, ends_on: date | None = None) -> Iterator[date]:
    rule, after = parse_recurrence(text), None
    while True:
        day = next_local_date(rule, starts_on=starts_on, ends_on=ends_on, after=after)
        if day is None:
            return
        yield day
        after = day


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FREQ=DAILY", "01-01 01-02 01-03"),
        ("freq=daily;interval=2", "01-01 01-03 01-05"),
        ("RRULE:FREQ=DAILY;COUNT=2", "01-01 01-02"),
        ("FREQ=DAILY;UNTIL=20260102", "01-01 01-02"),
        ("FREQ=DAILY;UNTIL=20260102T160000Z", "01-01 01-02"),
        ("FREQ=DAILY;BYDAY=SA,SU;COUNT=3", "01-03 01-04 01-10"),
        ("FREQ=WEEKLY", "01-01 01-08 01-15"),
        ("FREQ=WEEKLY;BYDAY=MO,TH", "01-01 01-05 01-08"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", "01-12 01-26 02-09"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=SU;WKST=SU", "01-11 01-25 02-08"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=SU;WKST=MO", "01-04 01-18 02-01"),
        ("FREQ=MONTHLY", "01-01 02-01 03-01"),
        ("FREQ=MONTHLY;BYMONTHDAY=31", "01-31 03-31 05-31"),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", "01-31 02-28 03-31"),
        ("FREQ=MONTHLY;BYDAY=1MO,-1FR", "01-05 01-30 02-02"),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "01-30 02-27 03-31"),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "02-13 03-13 11-13"),
        ("FREQ=YEARLY;BYMONTH=3,9;BYDAY=1SU;COUNT=2", "03-01 09-06"),
        ("FREQ=YEARLY;BYWEEKNO=20", "05-14"),
        ("FREQ=YEARLY;BYWEEKNO=-1", "12-31"),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO;WKST=MO", "05-11"),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO;WKST=SU", "05-18"),
        ("FREQ=YEARLY;BYYEARDAY=100,-1;COUNT=2", "04-10 12-31"),
    ],
)
def test_recurs_on_these_days(text: str, expected: str) -> None:
    wanted = [date.fromisoformat(f"2026-{day}") for day in expected.split()]
    assert list(islice(fired(text), len(wanted))) == wanted


@pytest.mark.parametrize("text", ["FREQ=DAILY;COUNT=2", "FREQ=DAILY;UNTIL=20260102"])
def test_ends_where_it_says(text: str) -> None:
    assert list(fired(text)) == [date(2026, 1, 1), date(2026, 1, 2)]
    assert list(fired(text, ends_on=date(2026, 1, 1))) == [date(2026, 1, 1)]
    assert list(fired(text, ends_on=date(2025, 12, 31))) == []


@pytest.mark.parametrize(
    "text",
    [
        *[
            ";",
            "FREQ",
            "FREQ=",
            "FREQ=HOURLY",
            "FREQ=MINUTELY",
            "FREQ=SECONDLY",
            "FREQ=FOO",
            "INTERVAL=2",
        ],
        *["FREQ=DAILY;", "FREQ=DAILY;FREQ=DAILY", "FREQ=DAILY;X=1", "FREQ=DAILY;BYHOUR=8"],
        *["FREQ=DAILY;BYMINUTE=0", "FREQ=DAILY;BYSECOND=0", "FREQ=DAILY;BYEASTER=0"],
        *["FREQ=DAILY;INTERVAL=0", "FREQ=DAILY;INTERVAL=-1", "FREQ=DAILY;INTERVAL=3651"],
        *["FREQ=YEARLY;INTERVAL=11", "FREQ=DAILY;INTERVAL=1,2", "FREQ=DAILY;COUNT=0"],
        *["FREQ=DAILY;COUNT=2;UNTIL=20270101", "FREQ=DAILY;COUNT=99999"],
        *["FREQ=DAILY;UNTIL=20260230", "FREQ=DAILY;UNTIL=tomorrow", "FREQ=DAILY;UNTIL=00000101"],
        *["FREQ=WEEKLY;BYDAY=XX", "FREQ=WEEKLY;BYDAY=1MO", "FREQ=MONTHLY;BYDAY=0MO"],
        *["FREQ=MONTHLY;BYDAY=54MO", "FREQ=WEEKLY;BYMONTHDAY=1", "FREQ=MONTHLY;BYMONTHDAY=0"],
        *["FREQ=MONTHLY;BYMONTHDAY=32", "FREQ=MONTHLY;BYMONTHDAY=１", "FREQ=MONTHLY;BYWEEKNO=1"],
        *["FREQ=YEARLY;BYWEEKNO=20;BYDAY=1MO", "FREQ=DAILY;BYSETPOS=1", "FREQ=YEARLY;BYMONTH=13"],
        *["FREQ=YEARLY;BYMONTH=-1", "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=367", "FREQ=WEEKLY;WKST=1"],
        *("", "FREQ =DAILY", "FREQ=DAILY\0", "FREQ=DAILY\nEXDATE:20260101"),
        "DTSTART:20260101T000000\nRRULE:FREQ=DAILY",
        "FREQ=DAILY;BYMONTH=" + ",".join(["1"] * 100),
    ],
)
def test_refuses_what_is_no_daily_or_rarer_rule(text: str) -> None:
    with pytest.raises(InvalidRecurrence) as refused:
        parse_recurrence(text)
    assert refused.value.reason.zh
    assert refused.value.reason.en.endswith(".")


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;INTERVAL=12;BYMONTH=2",
        "FREQ=YEARLY;BYWEEKNO=1;BYMONTH=7",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=1",
        "FREQ=WEEKLY;BYDAY=MO;BYSETPOS=2",
        "FREQ=YEARLY;BYDAY=MO;BYSETPOS=60",
        "FREQ=DAILY;UNTIL=20251231",
        "FREQ=MONTHLY;BYDAY=6MO",
    ],
)
def test_a_rule_that_never_fires_is_found_out_at_once(text: str) -> None:
    begun = process_time()
    assert list(fired(text)) == []
    assert process_time() - begun < 1


@pytest.mark.parametrize("start", [date.min, date(1899, 12, 31), date(9999, 12, 31), date.max])
def test_a_start_outside_the_centuries_never_fires(start: date) -> None:
    for frequency in ("DAILY", "WEEKLY", "MONTHLY", "YEARLY"):
        rule = parse_recurrence(f"FREQ={frequency}")
        assert next_local_date(rule, starts_on=start, ends_on=None) is None


def test_a_rule_begun_long_ago_answers_at_once() -> None:
    rule = parse_recurrence("FREQ=DAILY;INTERVAL=3")
    begun = process_time()
    for _ in range(1000):
        day = next_local_date(rule, starts_on=date(1900, 1, 1), ends_on=None, after=START)
    assert day == date(1900, 1, 1) + timedelta(days=15341 * 3) == date(2026, 1, 3)
    assert process_time() - begun < 1


@st.composite
def rules(draw: st.DrawFn) -> str:
    frequency = draw(st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]))
    largest = {"DAILY": 40, "WEEKLY": 6, "MONTHLY": 14, "YEARLY": 4}[frequency]
    parts = [f"FREQ={frequency}", f"INTERVAL={draw(st.integers(1, largest))}"]

    def numbers(name: str, low: int, high: int) -> None:
        values = draw(st.lists(st.integers(low, high).filter(bool), max_size=3, unique=True))
        if values:
            parts.append(f"{name}=" + ",".join(map(str, values)))

    numbers("BYMONTH", 1, 12)
    if frequency != "WEEKLY":
        numbers("BYMONTHDAY", -31, 31)
    names = draw(st.lists(st.sampled_from(["MO", "TU", "WE", "SA", "SU"]), max_size=3, unique=True))
    ordinal = False
    if names:
        # Where ordinals and plain days are mixed, dateutil takes both to be demanded at once.
        ordinal = frequency in ("MONTHLY", "YEARLY") and draw(st.booleans())
        prefixes = [draw(st.integers(-5, 5).filter(bool)) if ordinal else "" for _ in names]
        parts.append("BYDAY=" + ",".join(f"{n}{d}" for n, d in zip(prefixes, names, strict=True)))
    if frequency == "YEARLY" and names and not ordinal:
        # Weeks counted from the end are unfinished in dateutil.
        numbers("BYWEEKNO", 1, 53)
    if frequency == "YEARLY" and draw(st.booleans()):
        numbers("BYYEARDAY", -366, 366)
    # dateutil cuts the first week at the start before it counts positions; and picks from the
    # default day, which RFC 5545 does not allow.
    if frequency in ("MONTHLY", "YEARLY") and ("BYMONTHDAY" in str(parts) or names):
        numbers("BYSETPOS", -4, 4)
    parts.append(f"WKST={draw(st.sampled_from(['MO', 'SU']))}")
    end = draw(st.sampled_from(["", "COUNT=7", "UNTIL=20270704"]))
    return ";".join(parts + ([end] if end else []))


@settings(max_examples=250, deadline=None)
@given(rules(), st.dates(date(2026, 1, 1), date(2028, 12, 31)))
def test_agrees_with_dateutil(text: str, starts_on: date) -> None:
    # dateutil searches to the last year there is, for minutes if nothing ever matches.
    with patch("datetime.MAXYEAR", 2034):
        found = rrulestr(text, dtstart=datetime.combine(starts_on, time.min))
        expected = [moment.date() for moment in islice(found, 40) if moment.year < 2033]
    ends_on = date(2032, 12, 31)
    assert list(islice(fired(text, starts_on=starts_on, ends_on=ends_on), 40)) == expected
