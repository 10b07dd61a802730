"""A model's rows: taken whole or not at all, each under one spelling of its key."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import modelled
import pyarrow as pa
import pytest
from modelled import batch, column

from tidegate import errors
from tidegate.push import models, workbook

TEN = ("id", *(f"c{n}" for n in range(9)))
UTC = dt.UTC


def keys(*batches: pa.RecordBatch, key: tuple[str, ...] = ("id",)) -> list[str | None]:
    """The key of every row."""
    return list(models.preview(modelled.Rows(*batches), "the query", 1000, key=key).keys)


def why(one: pa.RecordBatch, key: tuple[str, ...] = ("id",)) -> dict[str, int]:
    """Why rows have no usable key."""
    return dict(models.preview(modelled.Rows(one), "the query", 1000, key=key).invalid)


@pytest.mark.parametrize(
    ("values", "type", "expected"),
    [
        ([7, -1], pa.int64(), ["7", "-1"]),
        ([2**64 - 1], pa.uint64(), ["18446744073709551615"]),
        ([1.0, 2.5, -0.0, 1e21, 1e-7], pa.float64(), ["1", "2.5", "0", "1" + "0" * 21, "0.0000001"]),
        ([1.25e20, 123456789012345680.0], pa.float64(), ["125" + "0" * 18, "123456789012345680"]),
        ([0.1, 3.0], pa.float32(), ["0.1", "3"]),
        ([1.5], pa.float16(), ["1.5"]),
        (
            [decimal.Decimal(d) for d in ("1.50", "100", "0.000000000001", "-0")],
            pa.decimal128(38, 12),
            ["1.5", "100", "0.000000000001", "0"],
        ),
        (
            [decimal.Decimal(d) for d in ("1.50", "1E-25", "0", "1" * 40)],
            pa.decimal256(76, 30),
            ["1.5", "0." + "0" * 24 + "1", "0", "1" * 40],
        ),
        ([True, False], pa.bool_(), ["true", "false"]),
        ([dt.date(2024, 1, 31)], pa.date32(), ["2024-01-31"]),
        ([dt.datetime(2024, 1, 31, 12)], pa.timestamp("us"), ["2024-01-31T12:00:00"]),
        ([dt.datetime(2024, 1, 31, 12, tzinfo=UTC)], pa.timestamp("us", "UTC"), ["2024-01-31T12:00:00Z"]),
        ([dt.datetime(2024, 1, 31, 12, 0, 0, 120_000)], pa.timestamp("us"), ["2024-01-31T12:00:00.12"]),
        ([1, 2], pa.timestamp("ns"), ["1970-01-01T00:00:00.000000001", "1970-01-01T00:00:00.000000002"]),
        ([1], pa.timestamp("ns", "UTC"), ["1970-01-01T00:00:00.000000001Z"]),
        ([" a ", "A", "ü", "007", "1.0"], pa.string(), [" a ", "A", "ü", "007", "1.0"]),
        ([str(uuid.UUID(int=1))], pa.string(), ["00000000-0000-0000-0000-000000000001"]),
    ],
    ids=str,
)
def test_a_key_has_one_spelling_whatever_its_type(
    values: list[object], type: pa.DataType, expected: list[str]
) -> None:
    assert keys(column("id", values, type)) == expected


def test_a_key_of_json_has_no_spaces_and_a_json_string_is_its_text() -> None:
    rows = column("id", ['{"b": 1.0, "a": [1, 2]}', '"x"', "12345678901234567890123"], json=True)
    assert keys(rows) == ['{"b":1.0,"a":[1,2]}', "x", "12345678901234567890123"]


def test_several_columns_are_a_json_list_that_no_values_can_forge() -> None:
    rows = batch(tenant=["a", 'a","b', "a"], id=["b", "c", 'b","c'])
    found = keys(rows, key=("tenant", "id"))
    assert found[0] == '["a","b"]'
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("one", "reasons"),
    [
        (column("id", [None, 1], pa.int64()), {"null": 1}),
        (column("id", ["", "  ", "\t\n", "\u00a0\u2003", "x"]), {"blank": 4}),
        (column("id", [float("nan"), float("inf"), float("-inf"), 1.0]), {"number": 3}),
        (column("id", ["a\0b", "\0", "ab"]), {"nul": 2}),
        (column("id", ["ü" * 500, "x" * 501]), {"long": 1}),
        (column("id", ["null", '""', "{}"], json=True), {"null": 1, "blank": 1}),
    ],
    ids=("null", "blank", "not a number", "nul", "long", "json"),
)
def test_a_row_without_a_usable_key_says_why(one: pa.RecordBatch, reasons: dict[str, int]) -> None:
    assert why(one) == reasons
    assert set(reasons) <= set(models.REASONS)
    assert keys(one).count(None) == sum(reasons.values())


def test_one_empty_part_makes_a_key_of_several_columns_unusable() -> None:
    rows = batch(tenant=["a", None, " ", "b"], id=[1, 1, 1, None])
    assert why(rows, key=("tenant", "id")) == {"null": 2, "blank": 1}


def test_a_snapshot_has_all_rows_and_says_what_is_wrong_with_them(tmp_path: Path) -> None:
    rows = batch(id=[1, 2, 2, None, 3, 3, 3], plan=["a", "b", "c", "d", "e", "f", "g"])
    with modelled.book(tmp_path) as book:
        taken = models.snapshot(modelled.Rows(rows, rows.slice(0, 1)), "q", ("id",), book, clock=lambda: 5.0)
        doubled = book.rows("SELECT key, rows FROM doubled ORDER BY key")
    assert (taken.rows, dict(taken.invalid), taken.doubled, taken.taken_at) == (8, {"null": 1}, 7, 5.0)
    assert doubled == [("1", 2), ("2", 2), ("3", 3)]
    assert taken.columns.names == ["id", "plan"]


def test_keys_are_the_same_row_once_they_are_spelled(tmp_path: Path) -> None:
    """1.0 and 1.00 are one customer."""
    rows = column("id", [decimal.Decimal("1.0"), decimal.Decimal("1.00")], pa.decimal128(10, 2))
    with modelled.book(tmp_path) as book:
        assert models.snapshot(modelled.Rows(rows), "q", ("id",), book).doubled == 2


def test_no_rows_are_a_snapshot_too(tmp_path: Path) -> None:
    with modelled.book(tmp_path) as book:
        taken = models.snapshot(modelled.Rows(column("id", [], pa.int64())), "q", ("id",), book)
    assert (taken.rows, dict(taken.invalid), taken.doubled) == (0, {}, 0)
    assert taken.columns.names == ["id"]


def many(count: int, failure: Exception | None = None) -> Iterator[pa.RecordBatch | Exception]:
    for start in range(0, count, 10_000):
        yield batch(id=list(range(start, start + 10_000)))
    if failure is not None:
        yield failure


def test_a_source_that_fails_after_50_000_rows_leaves_nothing(tmp_path: Path) -> None:
    failing = modelled.Rows(*many(50_000, errors.WarehouseUnreachable("The server went away.")))
    with modelled.book(tmp_path) as book:
        with pytest.raises(errors.WarehouseUnreachable, match="went away"):
            models.snapshot(failing, "q", ("id",), book)
        assert failing.closed
        assert book.rows("SELECT table_name FROM duckdb_tables() WHERE NOT internal") == []
        again = models.snapshot(modelled.Rows(*many(20_000)), "q", ("id",), book)
    assert again.rows == 20_000


@pytest.mark.parametrize(
    ("rows", "key", "message"),
    [
        (batch(account_id=[1], plan=["a"]), ("acount_id",), "no column acount_id; did you mean account_id"),
        (batch(id=[1], plan=["a"]), ("id", "tenant"), "no column tenant; it has id, plan"),
        (batch(id=[1], ID=[2]), ("id",), "the columns id and ID, which differ in their case alone"),
        (batch(id=[1], _tidegate_key=["x"]), ("id",), "a column _tidegate_key; names that begin with"),
    ],
    ids=("missing", "one of two", "case", "reserved"),
)
def test_columns_that_cannot_be_used_are_told(
    tmp_path: Path, rows: pa.RecordBatch, key: tuple[str, ...], message: str
) -> None:
    with modelled.book(tmp_path) as book, pytest.raises(errors.ConfigError, match=message):
        models.snapshot(modelled.Rows(rows), "q", key, book)


def test_a_key_finds_its_column_in_another_case() -> None:
    """Snowflake answers in capitals."""
    assert keys(batch(ID=[1]), key=("id",)) == ["1"]


def test_a_preview_reads_no_further_than_it_shows() -> None:
    source = modelled.Rows(*(batch(id=[n, n + 1]) for n in range(0, 100, 2)))
    found = models.preview(source, "q", 3, key=("id",))
    assert found.rows.to_pylist() == [{"id": 0}, {"id": 1}, {"id": 2}]
    assert found.keys == ("0", "1", "2")
    assert (source.given, source.closed) == (2, True)


def test_a_preview_shows_what_is_wrong_with_keys() -> None:
    found = models.preview(modelled.Rows(batch(id=["a", "b", "a", None])), "q", key=("id",))
    assert (found.keys, found.doubled, dict(found.invalid)) == (("a", "b", "a", None), ("a",), {"null": 1})


def test_a_preview_needs_no_key_and_no_rows() -> None:
    found = models.preview(modelled.Rows(column("id", [], pa.int64())), "q")
    assert (found.rows.column_names, found.keys) == (["id"], ())


def test_ten_columns_of_many_rows_stay_out_of_memory(tmp_path: Path) -> None:
    """The workbook holds far more than its DuckDB may take."""
    text = ["x" * 200] * 10_000
    rows = (
        batch(id=list(range(start, start + 10_000)), **dict.fromkeys(TEN[1:], text))
        for start in itertools.count(0, 10_000)
    )
    with workbook.opened(tmp_path, "p", "run_1", memory=48 * 1024 * 1024) as book:
        source = modelled.Rows(*itertools.islice(rows, 20))
        assert models.snapshot(source, "q", ("id",), book).rows == 200_000
        [(held,)] = book.rows("SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory()")
    assert isinstance(held, int)
    assert held <= 48 * 1024 * 1024


KILLED = """
import os, signal, sys
from pathlib import Path
import modelled
from tidegate.push import models

class Dies(modelled.Rows):
    def read(self, query, parameters=()):
        for start in range(0, 50_000, 10_000):
            yield modelled.batch(id=list(range(start, start + 10_000)))
        os.kill(os.getpid(), signal.SIGKILL)

with modelled.book(Path(sys.argv[1]), sys.argv[2]) as book:
    models.snapshot(Dies(), "q", ("id",), book)
"""


def test_a_killed_snapshot_leaves_nothing_that_the_next_run_takes_for_whole(tmp_path: Path) -> None:
    path = os.pathsep.join(sys.path)
    for run in ("run_1", "run_2"):
        child = subprocess.run(
            [sys.executable, "-c", KILLED, tmp_path, run], env={**os.environ, "PYTHONPATH": path}, check=False
        )
        assert child.returncode == -signal.SIGKILL
    left = {file.name for file in (tmp_path / "push" / "p").iterdir()}
    assert "run_2.duckdb" in left
    with modelled.book(tmp_path, "run_2") as book:
        assert book.rows("SELECT table_name FROM duckdb_tables() WHERE NOT internal") == []
        assert {file.name for file in (tmp_path / "push" / "p").iterdir()} <= {
            "run_2.lock",
            "run_2.duckdb",
            "run_2.duckdb.wal",
        }
        assert models.snapshot(modelled.Rows(*many(10_000)), "q", ("id",), book).rows == 10_000
    assert list((tmp_path / "push" / "p").iterdir()) == []


def test_a_run_has_one_workbook_and_leaves_those_of_others_alone(tmp_path: Path) -> None:
    with modelled.book(tmp_path, "run_1") as book:
        models.snapshot(modelled.Rows(batch(id=[1])), "q", ("id",), book)
        with (
            pytest.raises(errors.StoreConflict, match="Another process works on the run run_1 of p"),
            modelled.book(tmp_path, "run_1"),
        ):
            pass
        with modelled.book(tmp_path, "run_2") as other:
            models.snapshot(modelled.Rows(batch(id=[2])), "q", ("id",), other)
        assert book.count("SELECT count(*) FROM source") == 1


def test_nobody_else_can_look_into_a_workbook(tmp_path: Path) -> None:
    with modelled.book(tmp_path) as book:
        assert Path(book.path).parent.stat().st_mode & 0o777 == 0o700
