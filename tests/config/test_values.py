"""The notations: durations, dates, rates, percentages, schedules."""

from __future__ import annotations

import math
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config import values

DAY = timedelta(days=1)


def read(kind: Any, value: object) -> Any:
    return pydantic.TypeAdapter(kind).validate_python(value)


def refused(kind: Any, value: object) -> str:
    with pytest.raises(pydantic.ValidationError) as caught:
        read(kind, value)
    return str(caught.value.errors()[0]["msg"]).removeprefix("Value error, ")


@pytest.mark.parametrize(
    ("text", "days"),
    [("7d", 7), ("0d", 0), ("600d", 600), (3, 3), ("14", 14), ("2w", 14), ("48h", 2), ("1 day", 1)],
)
def test_a_lookback_counts_days(text: object, days: int) -> None:
    assert read(values.Lookback, text) == days * DAY


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("90d", 90),
        ("1d", 1),
        (400, 400),
        ("52w", 364),
        ("2y", 730),
        ("1 year", 365),
        ("48h", 2),
        ("9999d", 9999),
    ],
)
def test_an_age_counts_days_weeks_or_years(text: object, days: int) -> None:
    assert read(values.Age, text) == days * DAY


@pytest.mark.parametrize("value", [None, "forever"])
def test_an_age_may_be_for_ever(value: object) -> None:
    assert read(values.Age, value) is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("0d", "one day at least"),
        ("36h", "whole days"),
        ("soon", "90d, 52w, 2y, or forever"),
        (True, "90d, 52w, 2y, or forever"),
        (-1, "90d, 52w, 2y, or forever"),
        (["90d"], "90d, 52w, 2y, or forever"),
    ],
)
def test_an_age_that_cannot_be_is_refused(value: object, says: str) -> None:
    assert says in refused(values.Age, value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("601d", "at most 600d"),
        (601, "at most 600d"),
        ("999999999d", "at most 600d"),
        (10**30, "at most 600d"),
        (-1, "cannot be negative"),
        ("7q", "write a number and a unit"),
        ("-1d", "write a number and a unit"),
        ("90m", "whole days"),
        (True, "write a number of days"),
        (None, "write a number of days"),
        ("", "write a number and a unit"),
    ],
)
def test_a_lookback_that_cannot_be_is_refused(value: object, says: str) -> None:
    assert says in refused(values.Lookback, value)


@given(st.integers(1, 10**6), st.sampled_from(["s", "m", "h", "d", "w"]))
def test_a_duration_is_number_times_unit(number: int, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit]
    assert values.duration(f" {number} {unit} ") == timedelta(seconds=number * seconds)


@pytest.mark.parametrize("text", ["15 minutes", "15 minute", "15min", "15mins", "15M", "15m"])
def test_units_may_be_spelled_out(text: str) -> None:
    assert values.duration(text) == timedelta(minutes=15)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2020-01-31", datetime(2020, 1, 31, tzinfo=UTC)),
        ("2020-01-31T12:00:00", datetime(2020, 1, 31, 12, tzinfo=UTC)),
        ("2020-01-31T12:00:00Z", datetime(2020, 1, 31, 12, tzinfo=UTC)),
        ("2020-01-31 12:00+02:00", datetime(2020, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_a_start_date_is_a_moment_in_utc(text: str, moment: datetime) -> None:
    found = read(values.StartDate, text)
    assert found == moment
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "value", ["31.01.2020", "2020-02-30", "soon", 2020, None, True, "0001-01-01T00:00+14:00"]
)
def test_a_start_date_that_cannot_be_is_refused(value: object) -> None:
    assert "date" in refused(values.StartDate, value)


def test_a_start_date_in_the_future_is_a_mistake() -> None:
    assert "lies in the future" in refused(values.StartDate, "2920-01-01")


@pytest.mark.parametrize(
    ("text", "account", "endpoint"),
    [
        ("100/25", 100, 25),
        (" 100 / 25 ", 100, 25),
        ("50", 50, 50),
        (50, 50, 50),
        ("2.5/1", 2.5, 1),
        ("20/80", 20, 20),
    ],
)
def test_a_rate_limit_is_per_account_and_per_endpoint(text: object, account: float, endpoint: float) -> None:
    assert read(values.Rate, text) == values.RateLimit(account, endpoint)


@pytest.mark.parametrize("text", ["off", "OFF", False])
def test_a_rate_limit_can_be_off(text: object) -> None:
    found = read(values.Rate, text)
    assert math.isinf(found.account)
    assert math.isinf(found.endpoint)
    assert str(found) == "off"


def test_a_rate_limit_is_written_as_it_is_read() -> None:
    assert str(read(values.Rate, "100/25")) == "100/25"


@pytest.mark.parametrize("value", ["0/25", "100/0", "-1/2", "fast", "", "1/2/3", True, None])
def test_a_rate_limit_that_cannot_be_is_refused(value: object) -> None:
    assert "rate limit" in refused(values.Rate, value) or "requests a second" in refused(values.Rate, value)


@pytest.mark.parametrize(("text", "share"), [("20%", 0.2), ("0%", 0.0), ("100 %", 1.0), ("2.5%", 0.025)])
def test_a_percentage_is_a_share(text: str, share: float) -> None:
    assert read(values.Percent, text) == share


@pytest.mark.parametrize("value", ["101%", "20", 20, 0.2, "%", None])
def test_a_percentage_needs_its_sign(value: object) -> None:
    assert "such as 20%" in refused(values.Percent, value)


@pytest.mark.parametrize(
    ("value", "schedule"),
    [
        ("continuous", "continuous"),
        ("manual", "manual"),
        ("off", "manual"),
        ("every 15m", values.Every(every=timedelta(minutes=15))),
        ("Every  2 hours", values.Every(every=timedelta(hours=2))),
        ({"every": "6h", "anchor": "02:00"}, values.Every(every=timedelta(hours=6), anchor=time(2, 0))),
        (
            {"cron": "0 6 * * 1-5", "timezone": "Europe/Berlin"},
            values.Cron(cron="0 6 * * 1-5", timezone="Europe/Berlin"),
        ),
        ({"after": "everything"}, values.After(after=("everything",))),
        ({"after": ["pull:eu", "push:us-2"]}, values.After(after=("pull:eu", "push:us-2"))),
    ],
)
def test_every_form_of_a_schedule_is_understood(value: object, schedule: object) -> None:
    assert read(values.Schedule, value) == schedule


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("hourly", "write continuous, manual, every 15m"),
        ("continous", "did you mean 'continuous'?"),
        ("every", "write continuous"),
        ("every 0m", "every 10s to every 366d"),
        ("every 5s", "every 10s to every 366d"),
        ("every day", "write a number and a unit"),
        ({"every": "6h", "anchor": "26:00"}, "write a time of day"),
        ({"every": "6h", "anchor": 120}, "write a time of day"),
        ({"every": 6}, "write a number and a unit"),
        ({"every": "367d"}, "every 10s to every 366d"),
        ({"every": timedelta(seconds=1)}, "every 10s to every 366d"),
        ({"every": timedelta(minutes=1, microseconds=5)}, "every 10s to every 366d"),
        ({"cron": "0 6 * *"}, "has 5 fields"),
        ({"cron": "60 6 * * *"}, "the minute field"),
        ({"cron": "0 6 0 * *"}, "the day of the month field"),
        ({"cron": "0 6 * 13 *"}, "the month field"),
        ({"cron": "0 6 * * 8"}, "the day of the week field"),
        ({"cron": "0 9-6 * * *"}, "the hour field"),
        ({"cron": "*/0 * * * *"}, "the minute field"),
        ({"cron": "*/ * * * *"}, "the minute field"),
        ({"cron": "٣ 6 * * *"}, "the minute field"),
        ({"cron": "*/٣ 6 * * *"}, "the minute field"),
        ({"cron": "0 6 L * *"}, "the day of the month field"),
        ({"cron": "0 0 30 2 *"}, "no month of this cron line has such a day"),
        ({"cron": "0 0 31 apr,jun */2"}, "no month of this cron line has such a day"),
        ({"cron": "0 6 * * *", "timezone": "Europe/Berln"}, "did you mean 'Europe/Berlin'?"),
        ({"after": []}, "at least 1 item"),
        ({"after": "a b"}, "write the name of a pull, pipeline or push"),
        ({"after": ["a", "model:b"]}, "write the name of a pull, pipeline or push"),
        ({"after": "pull:"}, "write the name of a pull, pipeline or push"),
        ({"after": "a", "every": "6h"}, "Extra inputs"),
        ("after everything", "or {after: NAME}"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(value: object, says: str) -> None:
    assert says in refused(values.Schedule, value)


@pytest.mark.parametrize(
    "line",
    [
        "* * * * *",
        "*/15 * * * *",
        "0 0,12 1-15 jan-mar mon",
        "5-55/10 * * * 7",
        "0 6 * * SUN",
        "0 0 29 2 *",
        "0 0 29 feb */7",
        "0 0 30 2 mon",
        "0 0 31 4-5 *",
    ],
)
def test_cron_lines_of_every_kind_pass(line: str) -> None:
    assert read(values.Schedule, {"cron": line}).cron == line


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("https://api.stripe.com/", "https://api.stripe.com"),
        ("http://127.0.0.1:12111", "http://127.0.0.1:12111"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_api_base_is_scheme_and_host(value: str, url: str) -> None:
    assert read(values.HttpUrl, value) == url


@pytest.mark.parametrize(
    "value",
    [
        "api.stripe.com",
        "ftp://x",
        "https://",
        "https://a/v1",
        "https://u:p@a",
        "https://a?b=c",
        "https://a:99999",
        "",
    ],
)
def test_an_api_base_that_cannot_be_is_refused(value: str) -> None:
    assert refused(values.HttpUrl, value)


def test_a_value_is_never_repeated_in_its_error() -> None:
    for kind in (
        values.Lookback,
        values.StartDate,
        values.Rate,
        values.Percent,
        values.Schedule,
        values.HttpUrl,
    ):
        assert "geheim" not in refused(kind, "geheim")
