"""When ticks fall: intervals, anchors and cron lines, on ordinary days and where a zone's clock jumps."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import re
import zoneinfo
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cronsim
import pydantic
import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tidegate import config, errors
from tidegate.config import values
from tidegate.engine import schedules

DAY = 86_400
ZONES = sorted(zoneinfo.available_timezones())


def schedule(written: object) -> Any:
    return pydantic.TypeAdapter(values.Schedule).validate_python(written)


def cron(line: str, timezone: str = "UTC") -> config.Cron:
    return config.Cron(cron=line, timezone=timezone)


def anchored(every: str, anchor: str, timezone: str = "UTC") -> config.Every:
    return config.Every.model_validate({"every": every, "anchor": anchor, "timezone": timezone})


def at(text: str, timezone: str = "UTC") -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(timezone)).timestamp()


def ticks(of: values.Schedule, low: float, high: float, since: float | None = None) -> Iterator[float]:
    tick = schedules.following(of, low, since)
    while tick is not None and tick <= high:
        yield tick
        tick = schedules.following(of, tick, since)


def shown(of: config.Cron | config.Every, low: str, high: str) -> list[str]:
    """The ticks after one time of the schedule's zone and up to another, as its clock shows them."""
    zone = zoneinfo.ZoneInfo(of.timezone)
    found = ticks(of, at(low, of.timezone), at(high, of.timezone))
    return [f"{dt.datetime.fromtimestamp(tick, zone):%d. %H:%M %z}" for tick in found]


# Ordinary days


@pytest.mark.parametrize("word", ["manual", "off", "continuous", {"after": "everything"}])
def test_what_no_clock_drives_has_no_ticks(word: object) -> None:
    assert schedules.following(schedule(word), 1_000.0, 500.0) is None
    assert schedules.between(schedule(word), 0.0, 1e9, 0.0) == 0


def test_an_interval_counts_from_the_first_start_however_late_its_ticks_were() -> None:
    every = schedule("every 15m")
    assert schedules.following(every, 1_000.0, since=1_000.0) == 1_900.0
    assert schedules.following(every, 1_907.3, since=1_000.0) == 2_800.0
    assert schedules.following(every, 100_000.0, since=1_000.0) == 100_000.0 + 900.0


def test_ticks_are_whole_seconds_and_strictly_later() -> None:
    every = schedule("every 10s")
    assert schedules.following(every, 1_000.9, since=1_000.7) == 1_010.0
    assert schedules.following(every, 1_009.999_999, since=1_000.7) == 1_010.0
    assert schedules.following(every, 1_010.0, since=1_000.7) == 1_020.0


def test_without_a_first_start_the_moment_itself_is_taken_for_it() -> None:
    assert schedules.following(schedule("every 1h"), 1_000.0) == 4_600.0


def test_a_clock_set_back_before_the_first_start_delays_by_one_interval_at_most() -> None:
    assert schedules.following(schedule("every 15m"), -100_000.0, since=1_000.0) == -99_800.0


def test_a_clock_set_back_makes_the_same_ticks_come_again() -> None:
    daily = anchored("1d", "02:00")
    assert schedules.following(daily, at("2026-05-02T01:59:59")) == at("2026-05-02T02:00")
    assert schedules.following(daily, at("2026-05-02T02:00:01")) == at("2026-05-03T02:00")
    assert schedules.following(daily, at("2026-05-02T01:59:59")) == at("2026-05-02T02:00")


def test_a_second_that_was_leapt_over_moves_nothing() -> None:
    # 2016-12-31 ended with 23:59:60, which unix time does not count.
    assert list(ticks(anchored("6h", "00:00"), at("2016-12-31T18:00"), at("2017-01-01T06:00"))) == [
        at("2017-01-01T00:00"),
        at("2017-01-01T06:00"),
    ]


def test_an_anchor_is_a_time_of_day_of_the_zone() -> None:
    assert shown(anchored("6h", "02:00", "Europe/Berlin"), "2026-07-01T00:00", "2026-07-02T02:00") == [
        "01. 02:00 +0200",
        "01. 08:00 +0200",
        "01. 14:00 +0200",
        "01. 20:00 +0200",
        "02. 02:00 +0200",
    ]


def test_an_interval_that_does_not_divide_a_day_counts_on_over_midnight() -> None:
    assert shown(anchored("7h", "02:00"), "2001-01-01T00:00", "2001-01-02T08:00") == [
        "01. 02:00 +0000",
        "01. 09:00 +0000",
        "01. 16:00 +0000",
        "01. 23:00 +0000",
        "02. 06:00 +0000",
    ]
    assert shown(anchored("7h", "02:00"), "2000-12-31T00:00", "2001-01-01T02:00") == [
        "31. 05:00 +0000",
        "31. 12:00 +0000",
        "31. 19:00 +0000",
        "01. 02:00 +0000",
    ]


def test_an_interval_of_weeks_falls_on_mondays() -> None:
    weekly, found = anchored("2w", "06:30", "Asia/Tokyo"), []
    for tick in itertools.islice(ticks(weekly, at("2026-01-01T00:00"), at("2027-01-01T00:00")), 3):
        found.append(f"{dt.datetime.fromtimestamp(tick, zoneinfo.ZoneInfo('Asia/Tokyo')):%a %d %b %H:%M}")
    assert found == ["Mon 12 Jan 06:30", "Mon 26 Jan 06:30", "Mon 09 Feb 06:30"]


def test_an_interval_of_seconds_may_have_an_anchor() -> None:
    start = at("2026-05-01T02:00")
    assert list(ticks(anchored("90s", "02:00"), start, start + 200)) == [start + 90, start + 180]


@pytest.mark.parametrize(
    ("line", "days"),
    [
        ("0 6 * * *", ["01. 06:00 +0000", "02. 06:00 +0000", "03. 06:00 +0000"]),
        ("30 */12 * * *", [f"0{day}. {hour}:30 +0000" for day in (1, 2, 3) for hour in ("00", "12")]),
        ("0 6 * * MON", []),
        ("0 6 * * 5-6", ["01. 06:00 +0000", "02. 06:00 +0000"]),
        ("0 6 2 * *", ["02. 06:00 +0000"]),
        ("0 6 2 * 7", ["02. 06:00 +0000", "03. 06:00 +0000"]),
        ("0 6 */2 * 7", ["03. 06:00 +0000"]),
        ("0 6 * jun-dec *", []),
    ],
)
def test_a_cron_line_means_what_it_means_to_cron(line: str, days: list[str]) -> None:
    assert shown(cron(line), "2026-05-01T00:00", "2026-05-03T23:59") == days


def test_a_leap_day_comes_every_four_years_and_not_in_2100() -> None:
    leap = cron("0 0 29 2 *", "Asia/Kolkata")
    assert shown(leap, "2026-01-01T00:00", "2029-01-01T00:00") == ["29. 00:00 +0530"]
    assert schedules.following(leap, at("2096-03-01T00:00", "Asia/Kolkata")) == at(
        "2104-02-29T00:00", "Asia/Kolkata"
    )


@pytest.mark.parametrize("line", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "* * 30 2 */2"])
def test_a_cron_line_that_never_runs_is_refused_and_has_no_ticks(line: str) -> None:
    with pytest.raises(pydantic.ValidationError, match="would never run"):
        cron(line)


# Days of 23 and 25 hours


@pytest.mark.parametrize(
    ("of", "spring", "autumn"),
    [
        (
            anchored("6h", "02:00", "Europe/Berlin"),
            ["03:00 +0200", "08:00 +0200", "14:00 +0200", "20:00 +0200"],
            ["02:00 +0200", "08:00 +0100", "14:00 +0100", "20:00 +0100"],
        ),
        (anchored("1d", "02:30", "Europe/Berlin"), ["03:00 +0200"], ["02:30 +0200"]),
        (cron("15,45 2 * * *", "Europe/Berlin"), ["03:00 +0200"], ["02:15 +0200", "02:45 +0200"]),
        (cron("30 2 * * *", "Europe/Berlin"), ["03:00 +0200"], ["02:30 +0200"]),
        (
            cron("15,45 1-3 * * *", "Europe/Berlin"),
            ["01:15 +0100", "01:45 +0100", "03:00 +0200", "03:15 +0200", "03:45 +0200"],
            [
                "01:15 +0200",
                "01:45 +0200",
                "02:15 +0200",
                "02:45 +0200",
                "03:15 +0100",
                "03:45 +0100",
            ],
        ),
        (
            cron("*/30 2 * * *", "Europe/Berlin"),
            [],
            ["02:00 +0200", "02:30 +0200", "02:00 +0100", "02:30 +0100"],
        ),
        (
            cron("30 */2 * * *", "Europe/Berlin"),
            ["00:30 +0100", *(f"{hour:02}:30 +0200" for hour in range(4, 24, 2))],
            [
                "00:30 +0200",
                "02:30 +0200",
                "02:30 +0100",
                *(f"{hour:02}:30 +0100" for hour in range(4, 24, 2)),
            ],
        ),
    ],
    ids=["6h", "1d", "15,45 2", "30 2", "15,45 1-3", "*/30 2", "30 */2"],
)
def test_where_the_clock_jumps_an_hour(
    of: config.Cron | config.Every, spring: list[str], autumn: list[str]
) -> None:
    assert shown(of, "2026-03-28T23:59", "2026-03-29T23:59") == [f"29. {time}" for time in spring]
    assert shown(of, "2026-10-24T23:59", "2026-10-25T23:59") == [f"25. {time}" for time in autumn]


@pytest.mark.parametrize("every", ["15m", "20m", "30m", "1h"])
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_an_interval_of_up_to_an_hour_goes_on_in_real_time(every: str, day: str) -> None:
    of = anchored(every, "02:05", "Europe/Berlin")
    found = list(ticks(of, at(f"{day}T00:00", of.timezone), at(f"{day}T12:00", of.timezone)))
    pace = of.every.total_seconds()
    assert len(found) > 10
    assert {later - tick for tick, later in itertools.pairwise(found)} == {pace}


def test_an_hourly_cron_line_runs_once_in_each_of_25_hours() -> None:
    of = cron("5 * * * *", "America/New_York")
    found = list(ticks(of, at("2026-11-01T00:00", of.timezone), at("2026-11-02T00:00", of.timezone)))
    assert len(found) == 25
    assert {later - tick for tick, later in itertools.pairwise(found)} == {3600}


def test_a_moment_in_the_second_of_two_hours_has_the_next_days_tick() -> None:
    of = cron("30 2 * * *", "Europe/Berlin")
    second = at("2026-10-25T02:00", of.timezone) + 3600
    assert schedules.following(of, second) == at("2026-10-26T02:30", of.timezone)


def test_a_line_for_one_day_of_the_year_has_its_repeated_hour_too() -> None:
    of = cron("*/30 2 25 10 *", "Europe/Berlin")
    assert shown(of, "2026-10-24T00:00", "2027-10-26T00:00") == [
        "25. 02:00 +0200",
        "25. 02:30 +0200",
        "25. 02:00 +0100",
        "25. 02:30 +0100",
        "25. 02:00 +0200",
        "25. 02:30 +0200",
    ]


def test_lord_howe_moves_its_clock_by_half_an_hour() -> None:
    zone = "Australia/Lord_Howe"
    assert shown(cron("*/15 2 * * *", zone), "2026-04-05T00:00", "2026-04-05T12:00") == [
        "05. 02:00 +1030",
        "05. 02:15 +1030",
        "05. 02:30 +1030",
        "05. 02:45 +1030",
    ]
    assert shown(anchored("15m", "00:00", zone), "2026-04-05T01:20", "2026-04-05T02:10") == [
        "05. 01:30 +1100",
        "05. 01:45 +1100",
        "05. 01:30 +1030",
        "05. 01:45 +1030",
        "05. 02:00 +1030",
    ]
    assert shown(cron("15 2 * * *", zone), "2026-10-03T12:00", "2026-10-05T12:00") == [
        "04. 02:30 +1100",
        "05. 02:15 +1100",
    ]


def test_samoa_skipped_a_day_of_which_all_comes_in_one_tick() -> None:
    zone = "Pacific/Apia"
    assert shown(cron("0 6 30 12 *", zone), "2011-12-29T12:00", "2012-01-05T00:00") == ["31. 00:00 +1400"]
    assert shown(anchored("6h", "02:00", zone), "2011-12-29T12:00", "2011-12-31T09:00") == [
        "29. 14:00 -1000",
        "29. 20:00 -1000",
        "31. 00:00 +1400",
        "31. 02:00 +1400",
        "31. 08:00 +1400",
    ]
    assert shown(anchored("1h", "00:30", zone), "2011-12-29T22:00", "2011-12-31T02:00") == [
        "29. 22:30 -1000",
        "29. 23:30 -1000",
        "31. 00:30 +1400",
        "31. 01:30 +1400",
    ]


def test_a_midnight_that_does_not_exist_comes_an_hour_later() -> None:
    daily = cron("0 0 * * *", "America/Sao_Paulo")
    assert shown(daily, "2018-11-03T12:00", "2018-11-05T12:00") == ["04. 01:00 -0200", "05. 00:00 -0200"]
    assert shown(cron("*/20 */2 4 11 *", "America/Sao_Paulo"), "2018-11-03T12:00", "2018-11-04T03:00") == [
        "04. 02:00 -0200",
        "04. 02:20 -0200",
        "04. 02:40 -0200",
    ]


def test_a_gap_may_end_at_an_odd_second() -> None:
    # Monrovia went from 0:44:30 behind UTC to UTC on 7 January 1972: 00:00:00 became 00:44:30.
    (tick, *_) = ticks(cron("15 0 7 1 *", "Africa/Monrovia"), at("1972-01-06T00:00"), at("1972-02-01T00:00"))
    assert (
        dt.datetime.fromtimestamp(tick, zoneinfo.ZoneInfo("Africa/Monrovia")).isoformat()
        == "1972-01-07T00:44:30+00:00"
    )


# Any zone, any schedule: a clock that is watched minute by minute


def offset(zone: str, moment: int) -> int:
    found = dt.datetime.fromtimestamp(moment, zoneinfo.ZoneInfo(zone)).utcoffset()
    assert found is not None
    return int(found.total_seconds())


def watched(zone: str, low: int, high: int) -> Iterator[tuple[int, int]]:
    """Moments and what the clock then shows, in seconds: every full minute, and every second around a jump."""
    moment, now = low, offset(zone, low)
    while moment <= high:
        yield moment, moment + now
        step = 60 - (moment + now) % 60
        if offset(zone, moment + step) == now:
            moment += step
        else:
            moment += 1
            now = offset(zone, moment)


def model(matches: Callable[[int], bool], frequent: bool, zone: str, low: int, high: int) -> list[int]:
    """What the documentation says, by watching the clock from two days before."""
    found = []
    latest = low - 2 * DAY + offset(zone, low - 2 * DAY)
    for moment, wall in watched(zone, low - 2 * DAY, high):
        fresh = range(latest // 60 * 60 + 60, wall + 1, 60)
        hit = (wall % 60 == 0 and matches(wall)) if frequent else any(matches(each) for each in fresh)
        latest = max(latest, wall)
        if hit and moment > low:
            found.append(moment)
    return found


@functools.cache
def jumps(zone: str) -> tuple[int, ...]:
    """Moments near which the clock of a zone is changed, to three days."""
    days = range(int(at("1890-01-01")), int(at("2037-12-31")), 3 * DAY)
    found = itertools.pairwise((day, offset(zone, day)) for day in days)
    return tuple(day for (day, before), (_, after) in found if before != after)


@st.composite
def places(draw: st.DrawFn) -> tuple[str, int]:
    """A zone, and a moment that is mostly within days of a change of its clock."""
    zone = draw(st.sampled_from(ZONES))
    moment = draw(st.sampled_from(jumps(zone) or (0,)) | st.integers(0, 2_000_000_000))
    return zone, moment + draw(st.integers(-2 * DAY, 4 * DAY))


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> tuple[str, frozenset[int]]:
    """A field of a cron line, and the numbers it means."""
    kind = draw(st.sampled_from(["*", "*/n", "a", "a-b", "a,b"]))
    a, b = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
    n = draw(st.integers(1, high))
    return {
        "*": ("*", frozenset(range(low, high + 1))),
        "*/n": (f"*/{n}", frozenset(range(low, high + 1, n))),
        "a": (f"{a}", frozenset({a})),
        "a-b": (f"{a}-{b}", frozenset(range(a, b + 1))),
        "a,b": (f"{b},{a}", frozenset({a, b})),
    }[kind]


def day_fields(low: int, high: int) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    """Mostly every day, so that most lines have ticks within a week."""
    return st.just(("*", frozenset(range(low, high + 1)))) | fields(low, high)


@settings(max_examples=100, deadline=None)
@given(places(), fields(0, 59), fields(0, 23), day_fields(1, 31), st.just("*"), day_fields(0, 6))
@example(
    ("Australia/Lord_Howe", int(at("2026-04-04T12:00"))),
    ("*/15", frozenset(range(0, 60, 15))),
    ("2", frozenset({2})),
    ("*", frozenset(range(1, 32))),
    "*",
    ("*", frozenset(range(7))),
)
def test_cron_lines_tick_as_a_watched_clock_would(
    place: tuple[str, int],
    minute: tuple[str, frozenset[int]],
    hour: tuple[str, frozenset[int]],
    day: tuple[str, frozenset[int]],
    month: str,
    weekday: tuple[str, frozenset[int]],
) -> None:
    zone, low = place
    either = not (day[0].startswith("*") or weekday[0].startswith("*"))

    def matches(wall: int) -> bool:
        time = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=wall)
        days = (time.day in day[1], time.isoweekday() % 7 in weekday[1])
        return time.minute in minute[1] and time.hour in hour[1] and (any(days) if either else all(days))

    of = cron(f"{minute[0]} {hour[0]} {day[0]} {month} {weekday[0]}", zone)
    frequent = minute[0].startswith("*") or hour[0].startswith("*")
    assert list(ticks(of, low, low + 3 * DAY)) == model(matches, frequent, zone, low, low + 3 * DAY)


@settings(max_examples=100, deadline=None)
@given(
    places(), st.integers(1, 3000) | st.sampled_from([15, 60, 360, 720, 1440, 10_080]), st.integers(0, 1439)
)
@example(("Europe/Berlin", int(at("2026-10-24T12:00"))), 60, 30)
@example(("Europe/Berlin", int(at("2026-03-28T12:00"))), 61, 120)
@example(("America/Juneau", int(at("1867-10-17T00:00"))), 360, 0)
def test_anchored_intervals_tick_as_a_watched_clock_would(
    place: tuple[str, int], minutes: int, anchor: int
) -> None:
    zone, low = place
    start = int(at("2001-01-01")) + anchor * 60
    of = anchored(f"{minutes}m", f"{anchor // 60}:{anchor % 60:02}", zone)
    wanted = model(lambda wall: (wall - start) % (minutes * 60) == 0, minutes <= 60, zone, low, low + 3 * DAY)
    assert list(ticks(of, low, low + 3 * DAY)) == wanted


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Pacific/Auckland", "Europe/Dublin"]),
    st.sampled_from(
        ["30 2 * * *", "0 0,6,12 * * *", "0 */6 * * *", "*/10 * * * *", "15 1-3 * * *", "5 * * * 0"]
    ),
    st.integers(int(at("2010-01-01")), int(at("2037-01-01"))),
)
def test_where_clocks_jump_an_hour_ticks_are_those_of_debians_cron(zone: str, line: str, low: int) -> None:
    start = dt.datetime.fromtimestamp(low, zoneinfo.ZoneInfo(zone))
    # Started within the second of two hours, cronsim begins with ticks of the first.
    assume(start.fold == 0)
    theirs = [each.timestamp() for each in itertools.islice(cronsim.CronSim(line, start), 400)]
    assert list(ticks(cron(line, zone), low, theirs[-1])) == theirs


# What holds for all of them


def schedules_of_every_kind() -> st.SearchStrategy[Any]:
    zones = st.sampled_from(ZONES)
    pace = st.integers(10, 86_400 * 40).map(lambda seconds: f"{seconds}s")
    line = st.builds(
        lambda minute, hour, day: f"{minute[0]} {hour[0]} {day[0]} * *",
        fields(0, 59),
        fields(0, 23),
        day_fields(1, 28),
    )
    time = st.times().map(lambda each: f"{each:%H:%M}")
    return (
        st.builds(lambda every: schedule(f"every {every}"), pace)
        | st.builds(anchored, pace, time, zones)
        | st.builds(cron, line, zones)
    )


MOMENTS = st.floats(0, 2_000_000_000) | st.integers(0, 2_000_000_000).map(float)


@settings(max_examples=200, deadline=None)
@given(schedules_of_every_kind(), MOMENTS, MOMENTS, st.floats(0, 3 * DAY))
def test_whoever_asks_between_two_ticks_is_told_the_second(
    of: Any, after: float, since: float, later: float
) -> None:
    first = schedules.following(of, after, since)
    assert first is not None
    assert first > after
    assert first == int(first)
    second = schedules.following(of, first, since)
    assert second is not None
    assert second > first

    moment = max(after, min(after + later, first - 0.001))
    assert schedules.following(of, moment, since) == first
    assert schedules.following(of, min(first + later, second - 0.001), since) == second


@settings(max_examples=200, deadline=None)
@given(schedules_of_every_kind(), MOMENTS, st.floats(0, 30 * DAY), MOMENTS)
def test_a_later_moment_never_has_an_earlier_tick(of: Any, after: float, later: float, since: float) -> None:
    first, second = schedules.following(of, after, since), schedules.following(of, after + later, since)
    assert first is not None
    assert second is not None
    assert first <= second


@settings(max_examples=200, deadline=None)
@given(st.integers(10, 366 * DAY), st.floats(0, 4e9), st.floats(0, 4e9))
def test_an_interval_never_drifts(seconds: int, after: float, since: float) -> None:
    tick = schedules.following(schedule(f"every {seconds}s"), after, since)
    assert tick is not None
    assert (tick - int(since)) % seconds == 0
    assert 0 < tick - after <= seconds


# Missed ticks


@settings(max_examples=100, deadline=None)
@given(schedules_of_every_kind(), MOMENTS, st.floats(0, 4 * DAY), st.floats(0, 4 * DAY), MOMENTS)
def test_missed_ticks_are_counted(of: Any, low: float, first: float, second: float, since: float) -> None:
    middle, high = low + first, low + first + second
    counted = len(list(itertools.islice(ticks(of, low, high, since), schedules.MOST)))
    assert schedules.between(of, low, high, since) == counted
    if counted < schedules.MOST:
        parts = (schedules.between(of, low, middle, since), schedules.between(of, middle, high, since))
        assert sum(parts) == counted


def test_a_tick_is_missed_when_it_has_come_and_not_before() -> None:
    daily = cron("0 6 * * *")
    noon = at("2026-05-01T12:00")
    assert schedules.between(daily, noon, at("2026-05-02T05:59:59")) == 0
    assert schedules.between(daily, noon, at("2026-05-02T06:00")) == 1
    assert schedules.between(daily, at("2026-05-02T06:00"), at("2026-05-03T05:00")) == 0
    assert schedules.between(daily, noon, at("2026-04-01T00:00")) == 0


def test_nobody_counts_the_minutes_of_years() -> None:
    assert schedules.between(cron("* * * * *", "Europe/Berlin"), 0.0, 2e9) == schedules.MOST
    assert schedules.between(schedule("every 10s"), 0.0, 2e9) == schedules.MOST


# In words


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("off", "manual"),
        ("continuous", "continuous"),
        ("every 15m", "every 15 minutes"),
        ("every 60m", "every hour"),
        ("every 90s", "every 90 seconds"),
        ("every 24h", "every day"),
        (
            {"every": "6h", "anchor": "02:00", "timezone": "Europe/Berlin"},
            "every 6 hours from 02:00 Europe/Berlin",
        ),
        ({"every": "1d", "anchor": "2:00"}, "daily at 02:00 UTC"),
        ({"every": "14d", "anchor": "02:00"}, "every 2 weeks from Monday 02:00 UTC"),
        ({"every": "10d", "anchor": "02:00"}, "every 10 days from 02:00 UTC"),
        ({"cron": "0 6 * * *"}, "daily at 06:00 UTC"),
        (
            {"cron": "5 16 * * 1-5", "timezone": "America/New_York"},
            "Monday to Friday at 16:05 America/New_York",
        ),
        ({"cron": "0 6 * * 0"}, "Sundays at 06:00 UTC"),
        ({"cron": "0 6 * * thu,1"}, "Mondays and Thursdays at 06:00 UTC"),
        ({"cron": "0 6 1 * *"}, "monthly on day 1 at 06:00 UTC"),
        ({"cron": "5 * * * *"}, "hourly at :05 UTC"),
        ({"cron": "*/15 * * * *"}, "every 15 minutes from 00:00 UTC"),
        ({"cron": "*/7 * * * *"}, "cron */7 * * * * UTC"),
        ({"cron": "* * * * *"}, "cron * * * * * UTC"),
        ({"cron": "0 6 1 1 *", "timezone": "Asia/Tokyo"}, "cron 0 6 1 1 * Asia/Tokyo"),
        ({"cron": "0 6 1 * 1"}, "cron 0 6 1 * 1 UTC"),
        ({"cron": "0 */6 * * *"}, "cron 0 */6 * * * UTC"),
        ({"after": "everything"}, "after everything"),
        ({"after": ["a", "pull:b", "c"]}, "after a, pull:b or c"),
    ],
)
def test_a_schedule_is_said_in_words(written: object, words: str) -> None:
    assert schedules.words(schedule(written)) == words


def test_every_notation_on_the_page_of_schedules_is_understood() -> None:
    page = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text(encoding="utf-8")
    of_clocks = page.partition("## Begun from outside")[0]
    written = re.findall(r"^\| `([^`]+)`(?:, `([^`]+)`)? \|", of_clocks, re.MULTILINE)
    notations = {each for row in written for each in row if each}
    assert {"manual", "off", "every 15m", '{cron: "30 2 * * *"}'} <= notations
    for each in notations:
        assert schedules.words(schedule(yaml.safe_load(each) if each != "off" else each))


def test_a_machine_without_the_zone_says_what_to_install() -> None:
    of = config.Cron.model_construct(cron="0 6 * * *", timezone="Nowhere/At_All")
    with pytest.raises(errors.ConfigError, match="does not know the time zone Nowhere/At_All; install"):
        schedules.following(of, 0.0)
