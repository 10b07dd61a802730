"""The loading report: for each stream and account what became of the rows that were read, to the row."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import datetime as dt
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import servers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pulling import Stripe, pull, query

from tidegate import catalog, sandbox
from tidegate import warehouse as warehouses
from tidegate.pull import load, report, run, scope
from tidegate.rows import arrow
from tidegate.stripe import happenings
from tidegate.warehouse import base, duckdb

STREAM = catalog.load().streams["customers"]
ONE, TWO = "acct_1", "acct_2"
PLAIN = scope.Options()
HISTORY = scope.Options(choices={"customers": scope.Choice(history=True)})


def targets(options: scope.Options = PLAIN) -> dict[str, load.Target]:
    """Where customers of two accounts go."""
    first = scope.target(STREAM, ONE, options)
    return {ONE: first, TWO: scope.of(TWO, first)}


def told(to: load.Target, version: int, *ids: str, name: str = "", payload: bool = False) -> load.Piece:
    """Customers as an answer of 1,000 bytes has them."""
    objects = [json.dumps({"id": id, "object": "customer", "name": name or id}).encode() for id in ids]
    return load.Piece(to, arrow.Part(to.decoder.objects(objects), version), 1_000, payload=payload)


def over(to: load.Target, version: int, *ids: str) -> load.Piece:
    """States that are over."""
    piece = told(to, version, *ids, payload=True)
    return load.Piece(to, piece.part, piece.weight, payload=True, past=True)


def loaded(warehouse: base.Warehouse, *batches: Sequence[load.Cargo]) -> None:
    """Commit batches one after the other."""

    async def go() -> None:
        loader = load.Loader(warehouse)
        for batch in batches:
            loader.add(batch)
            await loader.flush()
        await loader.finish()

    asyncio.run(go())


def figures(to: load.Target) -> tuple[int, int, int, int]:
    """Read, inserted, updated, unchanged."""
    found = to.outcome
    assert found.written == found.inserted + found.updated
    return found.read, found.inserted, found.updated, found.unchanged


def span(to: load.Target) -> tuple[int | None, int | None]:
    return to.outcome.from_version, to.outcome.to_version


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[duckdb.DuckDB]:
    made = duckdb.DuckDB(tmp_path / "w.duckdb", wait=60)
    yield made
    made.close()


# What became of the rows


def test_rows_are_inserted_then_updated_and_older_ones_change_nothing(warehouse: duckdb.DuckDB) -> None:
    to = targets()[ONE]
    loaded(
        warehouse,
        [told(to, 100, "cus_1", "cus_2", "cus_3")],
        [told(to, 110, "cus_1", "cus_4")],
        [told(to, 90, "cus_1", "cus_2")],
    )
    assert figures(to) == (7, 4, 1, 2)
    assert span(to) == (100, 110)
    assert to.outcome.bytes == 3_000


def test_a_row_that_comes_twice_in_one_batch_is_written_once(warehouse: duckdb.DuckDB) -> None:
    to = targets()[ONE]
    loaded(warehouse, [told(to, 100, "cus_1"), told(to, 100, "cus_1", "cus_2")])
    assert figures(to) == (3, 2, 0, 1)


def test_a_payload_of_the_second_in_which_a_row_was_read_changes_nothing(warehouse: duckdb.DuckDB) -> None:
    to = targets()[ONE]
    loaded(warehouse, [told(to, 100, "cus_1")], [told(to, 100, "cus_1", name="Ada", payload=True)])
    assert figures(to) == (2, 1, 0, 1)


def test_two_accounts_in_one_load_are_told_apart(warehouse: duckdb.DuckDB) -> None:
    both = targets()
    loaded(warehouse, [told(both[ONE], 100, "cus_1", "cus_2"), told(both[TWO], 105, "cus_1")])
    assert (figures(both[ONE]), figures(both[TWO])) == ((2, 2, 0, 0), (1, 1, 0, 0))
    assert (span(both[ONE]), span(both[TWO])) == ((100, 100), (105, 105))
    loaded(warehouse, [told(both[ONE], 90, "cus_1"), told(both[TWO], 90, "cus_1")])
    assert (figures(both[ONE]), figures(both[TWO])) == ((3, 2, 0, 1), (2, 1, 0, 1))
    assert (span(both[ONE]), span(both[TWO])) == ((100, 100), (105, 105))


def test_deletions_are_no_writes_but_have_versions(warehouse: duckdb.DuckDB) -> None:
    to = targets()[ONE]
    loaded(
        warehouse,
        [told(to, 100, "cus_1", "cus_2")],
        [load.Gone(to, [("cus_1",)], 200)],
        [load.Gone(to, [("cus_1",)], 300)],
    )
    assert figures(to) == (2, 2, 0, 0)
    assert (to.outcome.deleted, span(to)) == (1, (100, 200))


def test_nothing_written_has_no_versions(warehouse: duckdb.DuckDB) -> None:
    first, second = targets()[ONE], targets()[ONE]
    loaded(warehouse, [told(first, 100, "cus_1")])
    loaded(warehouse, [told(second, 99, "cus_1")])
    assert (figures(second), span(second)) == ((1, 0, 0, 1), (None, None))


def test_versions_of_a_history_are_counted_beside_the_rows(warehouse: duckdb.DuckDB) -> None:
    to = targets(HISTORY)[ONE]
    loaded(
        warehouse,
        [told(to, 100, "cus_1", name="Ada"), told(to, 100, "cus_2")],
        [told(to, 110, "cus_1", name="Ada"), told(to, 110, "cus_2", name="Bob")],
        [over(to, 90, "cus_2")],
    )
    assert figures(to) == (5, 2, 2, 1)
    stored = query(
        Path(warehouse.path), "select id, epoch(_valid_from) as since from stripe.customers_history"
    )
    assert to.outcome.versions == len(stored) + 1 == 4, "the version of 90 took the place of that of 100"
    assert span(to) == (90, 110)


HOLDER = """
import duckdb, sys
with duckdb.connect(sys.argv[1]) as connection:
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextlib.contextmanager
def holding(file: Path) -> Iterator[None]:
    """Somebody else has the file open."""
    command = [sys.executable, "-c", HOLDER, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield
        finally:
            holder.communicate("go\n")


def test_rows_that_wait_on_disk_count_as_inserted(warehouse: duckdb.DuckDB) -> None:
    to = targets(HISTORY)[ONE]
    warehouse.prepare([to.table])

    async def go() -> None:
        loader = load.Loader(warehouse)
        with holding(Path(warehouse.path)):
            loader.add([told(to, 100, "cus_1", "cus_2")])
            await loader.flush()
            assert loader.waiting == 1
        await loader.finish()

    asyncio.run(go())
    assert figures(to) == (2, 2, 0, 0)
    assert (to.outcome.versions, span(to)) == (2, (100, 100))
    assert len(query(Path(warehouse.path), "select id from stripe.customers")) == 2


Answer = tuple[str, int, list[int]]
"""An account, a version, and the customers in it."""
answers = st.tuples(st.sampled_from([ONE, TWO]), st.integers(1, 9), st.lists(st.integers(1, 5), max_size=4))
runs = st.lists(st.lists(answers, max_size=4), max_size=6)


@settings(max_examples=60, deadline=None)
@given(runs, st.sampled_from([PLAIN, HISTORY]))
@example([[(ONE, 5, [1, 2]), (TWO, 5, [1])], [(ONE, 4, [1, 3]), (TWO, 6, [1, 2])]], PLAIN)
def test_whatever_comes_every_row_that_was_read_is_accounted_for(
    batches: list[list[Answer]], options: scope.Options
) -> None:
    both = targets(options)
    stored: dict[tuple[str, int], int] = {}
    inserted = updated = 0
    read: collections.Counter[str] = collections.Counter()
    for batch in batches:
        newest: dict[tuple[str, int], int] = {}
        for account, version, customers in batch:
            read[account] += len(customers)
            for each in customers:
                newest[account, each] = max(version, newest.get((account, each), 0))
        passed = {key: version for key, version in newest.items() if version >= stored.get(key, 0)}
        updated += len(passed.keys() & stored.keys())
        inserted += len(passed.keys() - stored.keys())
        stored |= passed
    with tempfile.TemporaryDirectory() as folder:
        warehouse = duckdb.DuckDB(Path(folder) / "w.duckdb")
        cargo = [[told(both[a], v, *map("cus_{}".format, ids)) for a, v, ids in each] for each in batches]
        loaded(warehouse, *cargo)
        warehouse.close()
    sums = [sum(each) for each in zip(*map(figures, both.values()), strict=True)]
    assert sums == [sum(read.values()), inserted, updated, sum(read.values()) - inserted - updated]
    for account, to in both.items():
        assert figures(to)[0] == sum(figures(to)[1:]) == read[account]


# A pull's report, in JSON and beside the data


@pytest.fixture(scope="module")
def shop() -> Iterator[Stripe]:
    with sandbox.process(objects=2_000) as url:
        yield Stripe(url)


FIELDS = (
    "rows_read",
    "rows_inserted",
    "rows_updated",
    "rows_unchanged",
    "bytes",
    "from_version",
    "to_version",
)


def test_a_pull_leaves_its_loading_report_beside_the_data(shop: Stripe, tmp_path: Path) -> None:
    began = int(dt.datetime.now(dt.UTC).timestamp())
    result = pull(shop, tmp_path / "w.duckdb", "charges", "invoices", "invoice_line_items")
    again = pull(shop, tmp_path / "w.duckdb", "charges", "invoices", "invoice_line_items", full_refresh=True)
    for found, kind in ((result, "inserted"), (again, "updated")):
        streams: Any = found.as_json()["streams"]
        assert {each["stream"] for each in streams} == {"charges", "invoices", "invoice_line_items"}
        for each in streams:
            assert each["read"] == each["written"] == each[kind] == len(shop.truth(each["stream"]))
            assert each["inserted"] + each["updated"] == each["written"]
            assert each["bytes"] > 100 * each["read"]
            assert began - 60 <= each["from_version"] <= each["to_version"]
        noted = query(
            tmp_path / "w.duckdb",
            f"select stream, {', '.join(FIELDS)} from stripe._tidegate_runs where run_id = '{found.run_id}'",
        )
        assert {row["stream"]: tuple(row[name] for name in FIELDS) for row in noted} == {
            each["stream"]: tuple(each[name.removeprefix("rows_")] for name in FIELDS) for each in streams
        }


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_the_runs_of_an_older_version_get_the_new_columns(kind: str, tmp_path: Path) -> None:
    url = f"duckdb:///{tmp_path}/w.duckdb" if kind == "duckdb" else servers.new_postgres()
    former = pa.schema(list(report.RUNS.schema)[:11])
    old = base.Table(report.RUNS.name, former, report.RUNS.key, "")
    outcome = report.Outcome("charges", ONE, read=7)
    outcome.wrote(4, 2, 1)
    outcome.spans(100, 200)
    began = dt.datetime.now(dt.UTC)
    warehouse = warehouses.open_url(url)
    try:
        warehouse.prepare([old])
        rows = report.rows("run_1", began, began, [outcome]).select(former.names)
        warehouse.load([base.Load(old, rows)], {})
        report.note(warehouse, "run_2", began, [outcome])
        found = warehouse.read(
            "select run_id, rows_written, rows_inserted, rows_updated, rows_unchanged, from_version, to_version "
            "from stripe._tidegate_runs order by run_id"
        )
        assert [tuple(row.values()) for batch in found for row in batch.to_pylist()] == [
            ("run_1", 6, None, None, None, None, None),
            ("run_2", 6, 4, 2, 1, 100, 200),
        ]
    finally:
        warehouse.close()


# Lines of the extraction log


@pytest.mark.parametrize(
    ("happening", "expected"),
    [
        (
            happenings.Happening("page", "GET /v1/charges", ONE, count=12, bytes=3_400_000, seconds=6.0),
            report.Line("GET /v1/charges: 12 answers, 3.4 MB, 0.50 s each", "info", "charges", ONE),
        ),
        (
            happenings.Happening("refused", "GET /v1/disputes", status=403, reason="rak_dispute_read"),
            report.Line(
                "GET /v1/disputes: refused, status 403, the key lacks rak_dispute_read",
                "warning",
                "disputes",
                "",
            ),
        ),
        (
            happenings.Happening(
                "refused", "GET /v1/charges/{charge}", count=3, status=404, reason="resource_missing"
            ),
            report.Line(
                "GET /v1/charges/{charge}: refused, status 404 resource_missing, 3 times",
                "info",
                "charges",
                "",
            ),
        ),
        (
            happenings.Happening("slow", "GET /v1/customers/{customer}/sources", seconds=41.0),
            report.Line("GET /v1/customers/{customer}/sources: 41 s until an answer came", "warning", "", ""),
        ),
    ],
    ids=["answers", "permission", "gone", "slow, and of several streams"],
)
def test_a_happening_is_a_line_of_its_stream(happening: happenings.Happening, expected: report.Line) -> None:
    assert report.line(happening) == expected


def test_a_pull_tells_its_listener_and_no_id_is_in_it(shop: Stripe, tmp_path: Path) -> None:
    shop.faults({"kind": "limit", "path": "/v1/charges", "times": 1})
    heard: list[happenings.Happening] = []
    warehouse = duckdb.DuckDB(tmp_path / "w.duckdb")
    chosen = scope.Options(streams=("charges", "invoices", "invoice_line_items"))
    try:
        result = asyncio.run(
            run.pull(shop.source(), warehouse, chosen, report.Silent(), listener=heard.append)
        )
    finally:
        warehouse.close()
        shop.faults()
    assert result.status == "ok"
    lines = [report.line(each) for each in heard]
    assert sum(each.count for each in heard if each.kind == "page") == result.tally.requests - 1
    assert [each.stream for each, one in zip(lines, heard, strict=True) if one.kind == "limited"] == [
        "charges"
    ]
    assert {"charges", "invoices"} <= {each.stream for each in lines}
    ids = [row["object"]["id"] for row in shop.truth("charges")]
    assert not [line for line in lines for id in ids if id in line.text]
