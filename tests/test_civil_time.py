"""Zones, civil days and wall-clock times, where calendars are strange."""

import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.civil_time import (
    UnknownZone,
    at_local_time,
    day_exists,
    end_of_day,
    is_locale,
    local_date,
    start_of_day,
    zone,
)

NAMES = sorted(zoneinfo.available_timezones() - {"localtime", "posixrules", "Factory"})
zones = st.sampled_from(NAMES).map(zone)
days = st.dates(date(1980, 1, 1), date(2060, 12, 31))
times = st.times().map(lambda at: at.replace(second=0, microsecond=0))


@pytest.mark.parametrize(
    "name",
    [
        *[
            ".",
            "..",
            "../UTC",
            "Asia/../UTC",
            "/etc/passwd",
            "/usr/share/zoneinfo/UTC",
            "zone.tab",
            "tzdata.zi",
        ],
        *[
            "localtime",
            "posixrules",
            "Factory",
            "Europe",
            "utc",
            "asia/shanghai",
            "right/UTC",
            "Mars/Olympus",
        ],
        *("", "UTC\0", "UTC ", " UTC", "GMT+99", "北京", "\ud800", "x" * 10_000),
    ],
)
def test_refuses_what_is_no_iana_zone(name: str) -> None:
    with pytest.raises(UnknownZone):
        zone(name)


def test_knows_every_iana_zone() -> None:
    assert {zone(name).key for name in NAMES} == set(NAMES)
    assert zone("Asia/Shanghai").key == "Asia/Shanghai"


@pytest.mark.parametrize(
    ("name", "day", "starts", "ends"),
    [
        ("Asia/Shanghai", "2026-03-01", "2026-02-28T16:00", "2026-03-01T16:00"),
        # 23 and 25 hours.
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00", "2026-10-25T23:00"),
        # Midnight does not exist: the day starts at 01:00.
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00", "2018-11-05T02:00"),
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00", "2026-04-24T21:00"),
        ("Asia/Beirut", "2026-03-29", "2026-03-28T22:00", "2026-03-29T21:00"),
        # The day ends at 23:00.
        ("America/Nuuk", "2026-03-28", "2026-03-28T02:00", "2026-03-29T01:00"),
        # The last hour of the day comes twice.
        ("Africa/Cairo", "2026-10-29", "2026-10-28T21:00", "2026-10-29T22:00"),
        # Midnight comes twice, on the same day.
        ("America/Havana", "2026-11-01", "2026-11-01T04:00", "2026-11-02T05:00"),
        # At 00:01 back to 23:01 of the day before: the day before is over the second time.
        ("America/St_Johns", "2010-11-06", "2010-11-06T02:30", "2010-11-07T03:30"),
        # No such day: it starts when it ends.
        ("Pacific/Apia", "2011-12-29", "2011-12-29T10:00", "2011-12-30T10:00"),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00", "2011-12-30T10:00"),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00", "2011-12-31T10:00"),
        ("Pacific/Kwajalein", "1993-08-21", "1993-08-21T12:00", "1993-08-21T12:00"),
    ],
)
def test_a_day_starts_and_ends(name: str, day: str, starts: str, ends: str) -> None:
    where, when = zone(name), date.fromisoformat(day)
    assert start_of_day(when, where) == datetime.fromisoformat(starts).replace(tzinfo=UTC)
    assert end_of_day(when, where) == datetime.fromisoformat(ends).replace(tzinfo=UTC)
    assert day_exists(when, where) == (starts != ends)


@pytest.mark.parametrize(
    ("name", "day", "at", "instant"),
    [
        ("Asia/Shanghai", "2026-03-01", "07:30", "2026-02-28T23:30"),
        # In the gap from 02:00 to 03:00: where the gap ends.
        ("Europe/Berlin", "2026-03-29", "01:59", "2026-03-29T00:59"),
        ("Europe/Berlin", "2026-03-29", "02:00", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-03-29", "02:30", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-03-29", "03:00", "2026-03-29T01:00"),
        # Twice: the first one.
        ("Europe/Berlin", "2026-10-25", "02:30", "2026-10-25T00:30"),
        # Half an hour.
        ("Australia/Lord_Howe", "2026-10-04", "02:15", "2026-10-03T15:30"),
        ("Africa/Cairo", "2026-04-24", "00:00", "2026-04-23T22:00"),
        ("Pacific/Apia", "2011-12-30", "08:00", "2011-12-30T10:00"),
    ],
)
def test_a_wall_clock_time_is_one_instant(name: str, day: str, at: str, instant: str) -> None:
    found = at_local_time(date.fromisoformat(day), time.fromisoformat(at), zone(name))
    assert found == datetime.fromisoformat(instant).replace(tzinfo=UTC)


@settings(max_examples=400, deadline=None)
@given(zones, days)
def test_days_follow_each_other_without_hole_or_overlap(where: ZoneInfo, day: date) -> None:
    starts, ends = start_of_day(day, where), end_of_day(day, where)
    assert starts <= ends <= starts + timedelta(hours=27)
    if day_exists(day, where):
        assert local_date(starts, where) == day
        assert local_date(starts - timedelta(seconds=1), where) < day
    assert local_date(ends, where) > day


@settings(max_examples=400, deadline=None)
@given(zones, days, times, times)
def test_a_later_time_is_never_an_earlier_instant(
    where: ZoneInfo, day: date, one: time, other: time
) -> None:
    first, second = sorted((one, other))
    instant = at_local_time(day, first, where)
    assert instant <= at_local_time(day, second, where)
    local = instant.astimezone(where)
    assert (local.date(), local.time()) >= (day, first)
    if local.time() != first:  # In a gap: just before, the clock was earlier than asked for.
        before = (instant - timedelta(seconds=1)).astimezone(where).replace(tzinfo=None)
        assert before < datetime.combine(day, first)


@pytest.mark.parametrize(
    "tag",
    ["zh-CN", "en", "zh-Hans-CN", "de-CH-1996", "en-US-u-ca-gregory", "es-419", "zh-cmn-Hans-CN"],
)
def test_accepts_the_shape_of_a_locale(tag: str) -> None:
    assert is_locale(tag)


@pytest.mark.parametrize(
    "tag",
    [
        *["e", "zh_CN", "zh-", "-zh", "zh-CN-", "toolonglanguage", "中文", "en-x"],
        "en-abcdefgh-abcdefgh-abcdefgh-abcdefgh",
        *("", "zh-CN\n", "en US", "a" * 100_000),
    ],
)
def test_refuses_what_has_not_the_shape_of_a_locale(tag: str) -> None:
    assert not is_locale(tag)
