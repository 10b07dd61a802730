"""Filters that count from a moment: rows that stand become right as time goes on, by lists as short as can be."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydantic
import pytest
from following import Merchant, agrees, follow
from hypothesis import given, settings
from hypothesis import strategies as st
from pulling import pull, query

from tidegate import catalog, config, sandbox
from tidegate.pull import moving, report, run, scope, shaping
from tidegate.rows import decode
from tidegate.shape import filters
from tidegate.warehouse import duckdb

FILTER: pydantic.TypeAdapter[config.Filter] = pydantic.TypeAdapter(config.Filter)
CHARGES = decode.schema(catalog.load().streams["charges"])
NOON = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
DAY = 86_400


@pytest.fixture(scope="module")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=10) as url:
        yield Merchant(url)


@pytest.fixture
def shop(running: Merchant) -> Merchant:
    running.control("reset", {"counts": {"customers": 40, "charges": 400}, "seed": 5})
    running.later()
    return running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "w.duckdb"


def parsed(**told: Any) -> config.Filter:
    return FILTER.validate_python(told)


def at(shop: Merchant, days: float = 0) -> dt.datetime:
    """So many days after the newest charge was made."""
    newest = max(line["object"]["created"] for line in shop.truth("charges"))
    return dt.datetime.fromtimestamp(newest, dt.UTC) + dt.timedelta(days=days)


def pulled(shop: Merchant, file: Path, where: config.Filter, now: dt.datetime, **more: Any) -> None:
    """One pull of charges, as if it were then."""
    choices = {"charges": scope.Choice(where=where, **more)}
    follow(shop, file, "charges", choices=choices, now=now)


def right(shop: Merchant, file: Path, where: config.Filter, now: dt.datetime) -> list[str]:
    """The rows that stand are those that a pull into an empty warehouse brings; their ids."""
    agrees(shop, file, "charges", choices={"charges": scope.Choice(where=where)}, now=now)
    return [row["id"] for row in query(file, "select id from stripe.charges order by id")]


LAST_YEAR = {"field": "created", "op": "is on or after", "value": "300 days ago"}
LONG_AGO = {"field": "created", "op": "is before", "value": "300 days ago"}
BETWEEN = {"field": "created", "op": "is between", "value": ["400 days ago", "200 days ago"]}


@pytest.mark.parametrize("told", [LAST_YEAR, LONG_AGO, BETWEEN], ids=["younger", "older", "between"])
def test_rows_leave_and_come_while_nobody_changes_them(
    shop: Merchant, file: Path, told: dict[str, Any]
) -> None:
    where = FILTER.validate_python(told)
    before: list[str] = []
    for days in (0, 1, 60, 61):
        now = at(shop, days)
        pulled(shop, file, where, now)
        found = right(shop, file, where, now)
        if days == 60:
            assert set(found) != set(before)
        before = found


def test_a_row_that_leaves_was_not_deleted(shop: Merchant, file: Path) -> None:
    where = parsed(**LAST_YEAR)
    pulled(shop, file, where, at(shop), history=True)
    pulled(shop, file, where, at(shop, 100), history=True)
    ended = "select count(*) as n from stripe.charges_history where _valid_to is not null"
    assert query(file, ended)[0]["n"] > 0
    assert query(file, "select count(*) as n from stripe.charges where _deleted_at is not null") == [{"n": 0}]


def test_only_what_lies_between_the_limits_is_listed(shop: Merchant, file: Path) -> None:
    """A day of four hundred charges in years: one request, and on the same day none."""
    where = parsed(**LAST_YEAR)
    pulled(shop, file, where, at(shop))
    for days, requests in ((1, 1), (1.0001, 0)):
        shop.counted()
        pulled(shop, file, where, at(shop, days))
        assert shop.counted().get("GET /v1/charges", 0) == requests


def test_what_counts_from_another_field_has_the_whole_list_read_once_a_day(
    shop: Merchant, file: Path
) -> None:
    for n, id in enumerate(shop.ids("charges")[:20]):
        due = at(shop, n).strftime("%Y-%m-%d")
        shop.make(f"/v1/charges/{id}", metadata={"due": due})
    shop.later()
    where = parsed(field="metadata.due", op="is before", value="today")
    for days in (0, 5, 12):
        pulled(shop, file, where, at(shop, days))
        assert len(right(shop, file, where, at(shop, days))) == days
    shop.counted()
    pulled(shop, file, where, at(shop, 12))
    assert "GET /v1/charges" not in shop.counted()


def test_a_fixed_date_has_nothing_listed_again(shop: Merchant, file: Path) -> None:
    where = parsed(field="created", op="is after", value="2020-01-01")
    pulled(shop, file, where, at(shop))
    shop.counted()
    pulled(shop, file, where, at(shop, 500))
    assert "GET /v1/charges" not in shop.counted()


def test_a_stream_that_was_pulled_before_moments_were_noted_is_listed_once(
    shop: Merchant, file: Path
) -> None:
    where = parsed(**LAST_YEAR)
    pulled(shop, file, where, at(shop))
    forget(file)
    pulled(shop, file, where, at(shop, 90))
    right(shop, file, where, at(shop, 90))


def forget(file: Path) -> None:
    """What an earlier version left: no moments."""
    warehouse = duckdb.DuckDB(file)
    try:
        [name] = [key for key in warehouse.state("moved") if key.startswith("moved/")]
        warehouse.load([], {name: None})
    finally:
        warehouse.close()


def test_a_list_that_is_read_on_later_has_rows_judged_when_it_began(shop: Merchant, file: Path) -> None:
    """Another filter has the whole list read; what was read before it broke off was asked as of that day."""
    pulled(shop, file, parsed(**LAST_YEAR), at(shop))
    where = parsed(field="created", op="is on or after", value="200 days ago")
    shop.later()
    shop.faults({"kind": "error", "path": "/v1/charges", "skip": 2})
    broken = pull(shop, file, "charges", choices={"charges": scope.Choice(where=where)}, now=at(shop))
    assert broken.status != "ok"
    shop.faults()
    shop.later()
    for days in (60, 61, 62):
        pulled(shop, file, where, at(shop, days))
    right(shop, file, where, at(shop, 62))


def test_all_rows_of_one_pull_are_asked_at_one_moment() -> None:
    where = parsed(field="created", op="is after", value="1 hour ago")
    target = scope.target(
        catalog.load().streams["charges"],
        "acct_1",
        scope.Options(choices={"charges": scope.Choice(where=where)}, now=NOON),
    )
    assert target.shape.moment == int(NOON.timestamp())
    assert target.shape.moving == where
    later = shaping.at(target.shape, NOON + dt.timedelta(hours=3))
    assert later.moment - target.shape.moment == 3 * 3_600
    plain = shaping.shape(target.stream, target.decoder)
    assert shaping.at(plain, NOON) is plain


def test_a_pull_that_goes_on_for_ever_counts_from_the_beginning_of_each_cycle(
    shop: Merchant, file: Path
) -> None:
    where = parsed(**LAST_YEAR)
    options = scope.Options(
        streams=("charges",), choices={"charges": scope.Choice(where=where)}, now=at(shop)
    )
    warehouse = duckdb.DuckDB(file)

    async def cycles() -> None:
        source = shop.source()
        async with scope.connect(source) as stripe:
            own = run.Pull(source, warehouse, options, report.Silent(), stripe, patient=True)
            for days in (0, 40, 80):
                own.options = dataclasses.replace(options, now=at(shop, days))
                assert (await own.once()).status == "ok"

    try:
        asyncio.run(cycles())
    finally:
        warehouse.close()
    right(shop, file, where, at(shop, 80))


def test_the_spans_of_words_are_days_or_moments() -> None:
    def spans(**told: Any) -> list[tuple[int, int]]:
        noon = int(NOON.timestamp())
        return [(low - noon, high - noon) for low, high in moving.spans(parsed(**told), CHARGES, noon)]

    midnight = -12 * 3_600
    assert spans(field="created", op="is after", value="2 days ago") == [
        (midnight - 2 * DAY, midnight - DAY - 1)
    ]
    assert spans(field="created", op="is after", value="90 minutes ago") == [(-5_400, -5_400)]
    assert spans(field="created", op="is one of", value=["today", "2020-01-01", "yesterday"]) == [
        (midnight, midnight + DAY - 1),
        (midnight - DAY, midnight - 1),
    ]
    assert spans(field="description", op="is", value="today") == []


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["is before", "is on or before", "is after", "is on or after", "is", "is not"]),
    st.integers(0, 40),
    st.sampled_from(["days ago", "weeks ago", "months ago", "hours ago"]),
    st.integers(0, 90 * DAY),
    st.lists(st.integers(-500 * DAY, 100 * DAY), min_size=1, max_size=30),
)
def test_a_row_whose_answer_moves_lies_between_the_spans(
    op: str, count: int, unit: str, later: int, created: list[int]
) -> None:
    """Else it would not be listed."""
    if op in ("is", "is not") and unit == "hours ago":
        op = "is after"  # a moment cannot be met
    where = parsed(field="created", op=op, value=f"{count} {unit}")
    noon = int(NOON.timestamp())
    rows = pa.table({"created": pa.array([noon + each for each in created], pa.timestamp("s", "UTC"))})
    rows = rows.cast(pa.schema([CHARGES.field("created")]))
    moments = [dt.datetime.fromtimestamp(noon + each, dt.UTC) for each in (0, later)]
    before, after = (filters.compile(where, CHARGES, now).matches(rows).to_pylist() for now in moments)
    spans = [span for each in (noon, noon + later) for span in moving.spans(where, CHARGES, each)]
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    for at_, was, now in zip(created, before, after, strict=True):
        assert was == now or low <= noon + at_ <= high
