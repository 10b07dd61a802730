"""When a flow runs next: pure functions of a schedule and a moment.

Moments are unix seconds of the database's clock, and every tick is a whole second. Nothing is remembered
between two calls, and nothing is read but the time zones of the machine: whoever asks about the same moment is
told the same tick. A clock that was set back makes earlier ticks come again; so who fires ticks asks about the
later of its clock and the tick it fired last. Unix time has no leap seconds, and nothing here has.

A schedule that goes by a zone's wall clock is *frequent*, or it names *single times*. What happens on the days
of 23 and 25 hours follows from that, for cron lines and anchored intervals alike:

- An interval of up to an hour, and a cron line whose minute or hour begins with `*`, are frequent. They tick
  whenever the clock shows one of their times: an hour that is skipped has no ticks, one that comes twice has
  them twice, so that ticks go on in real time.
- Longer intervals and other cron lines name single times, and each of these ticks once: one that is skipped in
  the first moment after the gap, together with whatever else is due then, and one that comes twice the first
  time.

This is what Debian's cron(8) does, here for changes of the clock of any size. An interval without an anchor
knows no wall clock: it is real time, counted from the flow's first start.
"""

from __future__ import annotations

import bisect
import calendar
import datetime as dt
import itertools
import math
import zoneinfo
from collections.abc import Callable, Iterator

import cronsim

from tidegate import config, errors
from tidegate.config import values

MOST = 1_000
"""Beyond this, `between` does not count."""
FREQUENT = dt.timedelta(hours=1)
"""The longest anchored interval that ticks whenever the clock shows one of its times."""
ANCHOR_DAY = dt.datetime(2001, 1, 1)
"""A Monday, from whose anchor intervals are counted in both directions, every day of the clock having 24 hours."""

_EPOCH = dt.datetime(1970, 1, 1)
_SECOND = dt.timedelta(seconds=1)
_DAY = 86_400

Later = Callable[[int], int | None]
"""The first matching time after one, both in seconds of the wall clock since 1970; None when there is none."""


def following(schedule: values.Schedule, after: float, since: float | None = None) -> float | None:
    """The first tick after a moment; None for a schedule that no clock drives: manual, continuous, after others.

    `since` is the flow's first start, from which an interval without an anchor counts; without it the moment
    itself is taken for that. It gives the phase only, and ticks are counted back from it too: a clock that was
    set back delays nothing by more than one interval. Raises ConfigError where this machine does not know the
    time zone.
    """
    moment = math.floor(after)
    match schedule:
        case config.Every(anchor=None):
            start = moment if since is None else math.floor(since)
            tick: int | None = _later_in_steps(start, schedule.every)(moment)
        case config.Every(anchor=dt.time() as anchor):
            later = _later_in_steps(_wall(dt.datetime.combine(ANCHOR_DAY, anchor)), schedule.every)
            tick = _by_clock(later, schedule.every <= FREQUENT, schedule.timezone, moment)
        case config.Cron():
            frequent = any(field.startswith("*") for field in schedule.cron.split()[:2])
            tick = _by_clock(_later_by_cron(schedule.cron), frequent, schedule.timezone, moment)
        case _:
            return None
    return None if tick is None else float(tick)


def between(schedule: values.Schedule, low: float, high: float, since: float | None = None) -> int:
    """How many ticks lie after one moment and not after another; MOST stands for as many or more."""
    since = low if since is None else since
    return sum(1 for _ in itertools.islice(_until(schedule, low, high, since), MOST))


def words(schedule: values.Schedule) -> str:
    """A schedule as people say it: `every 6 hours from 02:00 Europe/Berlin`."""
    match schedule:
        case config.Every():
            return _interval(schedule)
        case config.Cron():
            return _cron(schedule)
        case config.After():
            *others, last = schedule.after
            return f"after {', '.join(others)} or {last}" if others else f"after {last}"
        case word:
            return str(word)


def _until(schedule: values.Schedule, low: float, high: float, since: float) -> Iterator[float]:
    tick = following(schedule, low, since)
    while tick is not None and tick <= high:
        yield tick
        tick = following(schedule, tick, since)


def _later_in_steps(start: int, every: dt.timedelta) -> Callable[[int], int]:
    pace = every // _SECOND
    return lambda second: start + ((second - start) // pace + 1) * pace


def _later_by_cron(line: str) -> Later:
    def later(second: int) -> int | None:
        found = next(cronsim.CronSim(line, _EPOCH + second * _SECOND), None)
        return None if found is None else _wall(found)

    return later


def _by_clock(later: Later, frequent: bool, timezone: str, moment: int) -> int | None:
    try:
        zone = zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise errors.ConfigError(
            f"this machine does not know the time zone {timezone}; install the package tzdata"
        ) from None
    return (_shown if frequent else _reached)(later, zone, moment)


def _shown(later: Later, zone: zoneinfo.ZoneInfo, moment: int) -> int | None:
    """The first moment after one at which the clock shows a matching time."""
    first = moment + 1
    while True:
        offset = _offset(zone, first)
        wall = later(first + offset - 1)
        if wall is None:
            return None
        changed = _change(zone, first, wall - offset)
        if changed is None:
            return wall - offset
        first = changed


def _reached(later: Later, zone: zoneinfo.ZoneInfo, moment: int) -> int | None:
    """The first moment after one at which the clock shows, or has jumped over, a matching time it never showed yet.

    What lies between the two readings of a clock that is set back has been shown before, and is passed over.
    """
    wall = later(moment + _offset(zone, moment))
    while wall is not None:
        tick = _first(zone, wall)
        if tick > moment:
            return tick
        wall = later(wall)
    return None


def _first(zone: zoneinfo.ZoneInfo, wall: int) -> int:
    """The moment from which a zone's clock shows a time or a later one."""
    naive = _EPOCH + wall * _SECOND
    # PEP 495: of a time in a gap, fold=0 gives a moment after the gap, fold=1 one before it.
    high = wall - (naive.replace(tzinfo=zone, fold=0).utcoffset() or dt.timedelta()) // _SECOND
    low = wall - (naive.replace(tzinfo=zone, fold=1).utcoffset() or dt.timedelta()) // _SECOND
    if high + _offset(zone, high) == wall:
        return high
    span = range(low, high + 1)
    return span[bisect.bisect_left(span, wall, key=lambda second: second + _offset(zone, second))]


def _change(zone: zoneinfo.ZoneInfo, low: int, high: int) -> int | None:
    """The first moment up to `high` at which a zone's offset is another than at `low`.

    No zone changes twice within a day; the shortest time between two changes is Africa/Freetown's in 1939,
    four days.
    """
    offset = _offset(zone, low)
    while low < high:
        step = min(low + _DAY, high)
        if _offset(zone, step) != offset:
            span = range(low, step + 1)
            return span[bisect.bisect_left(span, True, key=lambda second: _offset(zone, second) != offset)]
        low = step
    return None


def _offset(zone: zoneinfo.ZoneInfo, moment: int) -> int:
    offset = dt.datetime.fromtimestamp(moment, zone).utcoffset()
    return (offset or dt.timedelta()) // _SECOND


def _wall(naive: dt.datetime) -> int:
    return (naive - _EPOCH) // _SECOND


_UNITS = (("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def _interval(schedule: config.Every) -> str:
    pace = schedule.every // _SECOND
    unit, size = next((unit, size) for unit, size in _UNITS if pace % size == 0)
    every = f"every {unit}" if pace == size else f"every {pace // size} {unit}s"
    if schedule.anchor is None:
        return every
    start = f"{schedule.anchor:%H:%M} {schedule.timezone}"
    if pace == _DAY:
        return f"daily at {start}"
    return f"{every} from {calendar.day_name[0]} {start}" if unit == "week" else f"{every} from {start}"


def _cron(schedule: config.Cron) -> str:
    minute, hour, day, month, weekday = schedule.cron.split()
    zone = schedule.timezone
    pace = minute.removeprefix("*/")
    if (
        (hour, day, month, weekday) == ("*",) * 4
        and pace.isdecimal()
        and pace != minute
        and not 60 % int(pace)
    ):
        return _interval(config.Every(every=dt.timedelta(minutes=int(pace)), anchor=dt.time(), timezone=zone))
    if month == "*" and minute.isdecimal() and (hour.isdecimal() or hour == "*"):
        days = _days(day, weekday)
        if hour == "*" and days == "daily":
            return f"hourly at :{int(minute):02} {zone}"
        if hour != "*" and days:
            return f"{days} at {int(hour):02}:{int(minute):02} {zone}"
    return f"cron {schedule.cron} {zone}"


def _days(day: str, weekday: str) -> str:
    """The days of a cron line, or nothing when they are not said in a word."""
    if weekday == "*":
        return "daily" if day == "*" else f"monthly on day {int(day)}" if day.isdecimal() else ""
    if day != "*":
        return ""
    if weekday.upper() in ("1-5", "MON-FRI"):
        return "Monday to Friday"
    names = [name.upper() for name in calendar.day_abbr]
    known = {str(n + 1): n for n in range(7)} | {"0": 6} | {name: n for n, name in enumerate(names)}
    if all(each in known for each in weekday.upper().split(",")):
        chosen = sorted({known[each] for each in weekday.upper().split(",")})
        return " and ".join(f"{calendar.day_name[n]}s" for n in chosen) if len(chosen) <= 2 else ""
    return ""
