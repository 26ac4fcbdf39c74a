"""When reminders fire: time changes, travel, downtime, quiet hours."""

import os
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.civil_time import at_local_time, day_exists, local_date, zone
from app.members.rules import ConsentState
from app.nudges import gate
from app.nudges.rules import (
    POINTS_EXPIRY,
    Fire,
    ReminderKind,
    Schedule,
    in_quiet_hours,
    lock_screen_text,
    next_fire,
    parse_recurrence,
)
from tests.figures import record_figure
from tests.test_civil_time import NAMES, days, times, zones

START = date(2026, 1, 1)


def daily(at: time, *, set_at: datetime, starts_on: date = date(1980, 1, 1)) -> Schedule:
    return Schedule(
        recurrence=parse_recurrence("FREQ=DAILY"),
        local_time=at,
        starts_on=starts_on,
        ends_on=None,
        set_at=set_at,
    )


def transitions(where: ZoneInfo, first_year: int, last_year: int) -> list[datetime]:
    """The instants at which the offset of the zone changes."""
    moment, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(last_year + 1, 1, 1, tzinfo=UTC)
    found = []
    while moment < end:
        later = moment + timedelta(days=1)
        if moment.astimezone(where).utcoffset() != later.astimezone(where).utcoffset():
            low, high = moment, later
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) / 2
                same = middle.astimezone(where).utcoffset() == low.astimezone(where).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(high.replace(second=0, microsecond=0))
        moment = later
    return found


def by_the_clock(
    schedule: Schedule, where: ZoneInfo, *, begin: datetime, end: datetime, delay: timedelta
) -> list[Fire]:
    """What a worker sends that sleeps until the next firing and wakes `delay` late."""
    now, last_fired, sent = begin, None, []
    while True:
        fire = next_fire(schedule, zone=where, last_fired=last_fired, now=now)
        if fire is None or fire.at >= end:
            return sent
        now, last_fired = max(now, fire.at + delay), fire.local_date
        sent.append(fire)


def assert_once_a_day(where: ZoneInfo, at: time, begin: datetime, end: datetime) -> None:
    for delay in (timedelta(), timedelta(seconds=45)):
        schedule = daily(at, set_at=begin)
        sent = by_the_clock(schedule, where, begin=begin, end=end, delay=delay)
        lived = (local_date(begin, where), local_date(end, where))
        between = [
            day
            for offset in range(1, (lived[1] - lived[0]).days)
            if day_exists(day := lived[0] + timedelta(days=offset), where)
        ]
        dates = [fire.local_date for fire in sent if lived[0] < fire.local_date < lived[1]]
        assert dates == between, (where.key, at, delay)
        # And as the member sees it: on that day, by the member's own calendar.
        assert [local_date(fire.at, where) for fire in sent] == [f.local_date for f in sent]


def test_fires_once_a_local_day_over_every_time_change_to_2030() -> None:
    """Every zone and time change 2026-2030; zones that change alike are tried once."""
    tried: set[tuple[datetime, timedelta | None, timedelta | None]] = set()
    for name in NAMES:
        where = zone(name)
        for turn in transitions(where, 2026, 2030):
            before = (turn - timedelta(minutes=1)).astimezone(where)
            change = (turn, before.utcoffset(), turn.astimezone(where).utcoffset())
            if change in tried:
                continue
            tried.add(change)
            ends_at = (before + timedelta(minutes=1)).time()
            in_turn = (datetime.combine(START, ends_at) + timedelta(minutes=30)).time()
            for at in {ends_at, in_turn, time(0), time(0, 30), time(8), time(23, 59)}:
                begin, end = turn - timedelta(days=2), turn + timedelta(days=2)
                assert_once_a_day(where, at, begin, end)
    record_figure("zones", len(NAMES))
    record_figure("different time changes", len(tried))
    assert len(tried) > 200


@pytest.mark.skipif(not os.environ.get("WELLWARD_PROVE"), reason="minutes; WELLWARD_PROVE=1")
@pytest.mark.parametrize("at", [time(0), time(2, 30), time(8), time(23, 30)])
def test_fires_once_on_every_local_day_of_every_zone_to_2030(at: time) -> None:
    begin, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
    for name in NAMES:
        assert_once_a_day(zone(name), at, begin, end)
    record_figure("zones × local days, at each of four times", len(NAMES) * (end - begin).days)


@pytest.mark.parametrize(
    ("name", "turn"), [("Pacific/Apia", "2011-12-30"), ("Pacific/Kwajalein", "1993-08-21")]
)
def test_a_day_that_the_zone_skips_does_not_fire(name: str, turn: str) -> None:
    middle = datetime.fromisoformat(turn).replace(tzinfo=UTC)
    for at in (time(0), time(8), time(23, 59)):
        begin, end = middle - timedelta(days=4), middle + timedelta(days=4)
        assert_once_a_day(zone(name), at, begin, end)


def test_a_slot_in_the_missing_end_of_a_day_fires_in_its_last_minute() -> None:
    where, day = zone("America/Nuuk"), date(2026, 3, 28)
    schedule = daily(time(23, 30), set_at=datetime(2026, 3, 1, tzinfo=UTC))
    now = datetime(2026, 3, 28, 12, tzinfo=UTC)
    fire = next_fire(schedule, zone=where, last_fired=date(2026, 3, 27), now=now)
    assert fire == Fire(local_date=day, at=datetime(2026, 3, 29, 0, 59, tzinfo=UTC))


TOKYO, HONOLULU = zone("Asia/Tokyo"), zone("Pacific/Honolulu")
EIGHT = daily(time(8), set_at=datetime(2026, 1, 1, tzinfo=UTC))


def test_travelling_west_over_the_date_line_does_not_fire_a_date_twice() -> None:
    first = next_fire(
        EIGHT, zone=TOKYO, last_fired=date(2026, 3, 1), now=datetime(2026, 3, 1, 22, tzinfo=UTC)
    )
    assert first == Fire(date(2026, 3, 2), at_local_time(date(2026, 3, 2), time(8), TOKYO))
    # 2 March has fired; in Honolulu it is still the 1st, and 2 March comes once more.
    for hours in range(40):
        now = datetime(2026, 3, 2, 1, tzinfo=UTC) + timedelta(hours=hours)
        later = next_fire(EIGHT, zone=HONOLULU, last_fired=date(2026, 3, 2), now=now)
        assert later == Fire(date(2026, 3, 3), at_local_time(date(2026, 3, 3), time(8), HONOLULU))


def test_travelling_east_over_the_date_line_skips_the_day_not_lived() -> None:
    # Fired on 1 March in Honolulu; lands in Tokyo on 3 March at 06:00.
    now = at_local_time(date(2026, 3, 3), time(6), TOKYO)
    fire = next_fire(EIGHT, zone=TOKYO, last_fired=date(2026, 3, 1), now=now)
    assert fire == Fire(date(2026, 3, 3), at_local_time(date(2026, 3, 3), time(8), TOKYO))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(zones, st.integers(1, 60)), min_size=1, max_size=8),
    times,
    days.map(lambda day: datetime.combine(day, time(13, 7), tzinfo=UTC)),
)
def test_no_local_date_fires_twice_however_one_travels(
    legs: list[tuple[ZoneInfo, int]], at: time, begin: datetime
) -> None:
    now, last_fired, seen = begin, None, []
    for where, hours in legs:
        until = now + timedelta(hours=hours)
        schedule = daily(at, set_at=begin)
        while True:
            fire = next_fire(schedule, zone=where, last_fired=last_fired, now=now)
            assert fire is not None
            if fire.at >= until:
                break
            now, last_fired = max(now, fire.at), fire.local_date
            seen.append(fire.local_date)
        now = until
    assert seen == sorted(set(seen))


def test_after_a_downtime_only_todays_reminder_is_sent_late() -> None:
    last, shanghai = date(2026, 3, 1), zone("Asia/Shanghai")
    for clock, expected in [("07:59", 5), ("08:00", 5), ("21:00", 5), ("23:59", 5)]:
        now = at_local_time(date(2026, 3, 5), time.fromisoformat(clock), shanghai)
        fire = next_fire(EIGHT, zone=shanghai, last_fired=last, now=now)
        assert fire is not None
        assert fire.local_date == date(2026, 3, expected)
        assert fire.at == at_local_time(date(2026, 3, expected), time(8), shanghai)


def test_a_slot_just_before_midnight_survives_midnight_for_ten_minutes() -> None:
    shanghai = zone("Asia/Shanghai")
    late = daily(time(23, 59), set_at=datetime(2026, 1, 1, tzinfo=UTC))
    midnight = at_local_time(date(2026, 3, 6), time(0), shanghai)
    for minutes, day in [(0, 5), (9, 5), (10, 6), (60, 6)]:
        now = midnight + timedelta(minutes=minutes)
        fire = next_fire(late, zone=shanghai, last_fired=date(2026, 3, 4), now=now)
        assert fire is not None and fire.local_date == date(2026, 3, day)


def test_a_reminder_set_after_its_time_begins_tomorrow() -> None:
    shanghai = zone("Asia/Shanghai")
    now = at_local_time(date(2026, 3, 5), time(10), shanghai)
    schedule = daily(time(8), set_at=now, starts_on=date(2026, 3, 5))
    fire = next_fire(schedule, zone=shanghai, last_fired=None, now=now)
    assert fire is not None and fire.local_date == date(2026, 3, 6)


def test_a_reminder_that_is_over_never_fires() -> None:
    once = Schedule(
        recurrence=parse_recurrence("FREQ=DAILY;COUNT=1"),
        local_time=time(8),
        starts_on=date(2026, 3, 5),
        ends_on=None,
        set_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
    now = datetime(2026, 3, 5, 1, tzinfo=UTC)
    fire = next_fire(once, zone=TOKYO, last_fired=None, now=now)
    assert fire is not None and fire.local_date == date(2026, 3, 5)
    assert next_fire(once, zone=TOKYO, last_fired=date(2026, 3, 5), now=now) is None


@pytest.mark.parametrize(
    ("clock", "start", "end", "quiet"),
    [
        ("22:00", "22:00", "07:00", True),
        ("23:59", "22:00", "07:00", True),
        ("00:00", "22:00", "07:00", True),
        ("06:59", "22:00", "07:00", True),
        ("07:00", "22:00", "07:00", False),
        ("21:59", "22:00", "07:00", False),
        ("12:00", "12:00", "14:00", True),
        ("14:00", "12:00", "14:00", False),
        ("23:00", "12:00", "14:00", False),
        ("12:00", "12:00", "12:00", False),
    ],
)
def test_quiet_hours(clock: str, start: str, end: str, quiet: bool) -> None:
    shanghai = zone("Asia/Shanghai")
    now = at_local_time(START, time.fromisoformat(clock), shanghai)
    hours = {"start": time.fromisoformat(start), "end": time.fromisoformat(end)}
    assert in_quiet_hours(now, shanghai, **hours) is quiet


def test_a_lock_screen_never_tells_a_medicine_from_a_measurement() -> None:
    templates = [f"reminder.{kind}" for kind in ReminderKind]
    assert lock_screen_text("reminder.MEDICATION") == lock_screen_text("reminder.MEASUREMENT")
    for template in (*templates, POINTS_EXPIRY):
        text = lock_screen_text(template)
        assert text.zh and text.en
        assert not any(letter.isdigit() for letter in text.zh + text.en)
        for word in ("药", "血", "测", "医", "medic", "drug", "measure", "blood", "health"):
            assert word not in text.zh and word not in text.en.lower()


@pytest.mark.parametrize(
    ("zone_name", "now", "until"),
    [
        # 01:10 for the second time: it ends in twenty minutes, not tomorrow.
        ("America/New_York", "2026-11-01T06:10+00:00", "2026-11-01T06:30+00:00"),
        ("America/New_York", "2026-11-01T05:10+00:00", "2026-11-01T05:30+00:00"),
        # 01:30 is put forward to 02:00 in Lord Howe, half an hour.
        ("Australia/Lord_Howe", "2026-10-03T14:00+00:00", "2026-10-03T15:00+00:00"),
    ],
)
def test_quiet_hours_end_when_the_clock_says_so(zone_name: str, now: str, until: str) -> None:
    standing = gate.Standing(
        zone(zone_name), "en", ConsentState.GRANTED, quiet_hours=(time(22), time(1, 30))
    )
    at = datetime.fromisoformat(now)
    assert gate.quiet_at(standing, priority=gate.Priority.NORMAL, now=at)
    assert gate.quiet_until(standing, now=at) == datetime.fromisoformat(until)
