"""What an expression may be, and what its engine reaches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tidegate import errors
from tidegate.shape import expressions


@pytest.fixture
def session() -> Iterator[duckdb.DuckDBPyConnection]:
    with expressions.engine().cursor() as cursor:
        yield cursor


ROWS = "(SELECT 7 AS n, 'a b' AS note) AS record"


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("upper(note) -- loud", "VARCHAR"),
        ("n + 1", "INTEGER"),
        ("CASE WHEN n > 1 THEN [note] END", "VARCHAR[]"),
        ("n BETWEEN 1 AND 9", "BOOLEAN"),
        ("now() - INTERVAL 1 DAY", "TIMESTAMP WITH TIME ZONE"),
        ("lpad(note, 10, ' ') || note.rpad(3, '.')", "VARCHAR"),
        ("list_transform(range(1, 100), lambda e: e * n)", "BIGINT[]"),
        ("printf('%05.2f', n)", "VARCHAR"),
        ("format('{:>12}', note)", "VARCHAR"),
        ("repeat(note, 1000)", "VARCHAR"),
    ],
)
def test_an_expression_over_a_row_has_a_type(session: duckdb.DuckDBPyConnection, sql: str, kind: str) -> None:
    expressions.check(session, sql)
    assert expressions.kind(session, sql, ROWS) == kind


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        (
            "(SELECT n)",
            "it reads rows by a query of its own, and only the columns of its own row can be used",
        ),
        ("n IN (FROM other)", "it reads rows by a query of its own"),
        ("sum(n)", "it adds up rows (sum)"),
        ("lag(n) OVER ()", "it looks at other rows"),
        ("unnest([n])", "it makes several rows (unnest)"),
        ("*", "it names all columns at once"),
        ("$1", "it has a parameter"),
        ("#1", "it counts columns instead of naming them"),
        (
            "random() > 0.5",
            "it has another value each time (random), so that every row would change in every run",
        ),
        ("nextval('s')", "it has another value each time (nextval)"),
        ("current_database()", "it asks about the engine (current_database)"),
        ("1; SELECT 2", "it is no SQL expression: "),
        ("1); DROP TABLE x; SELECT (1", "it is more than one expression"),
        ("1), (2", "it is more than one expression"),
        ("1) WHERE (true", "it is more than one expression"),
        ("note ||", "it is no SQL expression: "),
        ("-- nothing", "it is no SQL expression: it is empty"),
    ],
)
def test_what_is_no_expression_over_a_row(session: duckdb.DuckDBPyConnection, sql: str, why: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        expressions.check(session, sql)
    assert str(caught.value).startswith(why)


@pytest.mark.parametrize(
    "sql",
    [
        "repeat(note, 1001)",
        "repeat(note, n)",
        "note.repeat(2000)",
        "repeat(repeat(note, 100), 100)",
        "list_transform(range(500), lambda e: range(500))",
        "range(n)",
        "range(-600, 600)",
        "generate_series(1, 1e9::BIGINT)",
        "lpad(note, n * 1000, ' ')",
        "list_resize([1], 100000)",
        "printf('%100000d', n)",
        "printf('%*d', n, n)",
        "format('{:{}}', note, n)",
        "format(note, n)",
    ],
)
def test_an_expression_makes_no_endless_values(session: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(
        errors.ConfigError, match=r"it may make too much of a value \(\w+\); write plain numbers"
    ):
        expressions.check(session, sql)


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("upper(Note)", {"note"}),
        ("record.n + n", {"record", "n"}),
        ("list_transform([1], lambda e: e + n)", {"e", "n"}),
        ("'note'", set()),
        ('"odd name"', {"odd name"}),
    ],
)
def test_the_names_in_an_expression(session: duckdb.DuckDBPyConnection, sql: str, names: set[str]) -> None:
    assert expressions.names(session, sql) == names


def test_a_name_that_is_not_there_is_told(session: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        expressions.kind(session, "upper(nope)", ROWS)
    assert (
        str(caught.value) == 'it is no SQL that works here: Referenced column "nope" not found in FROM clause'
    )


def test_an_expression_that_fails_on_some_row(session: duckdb.DuckDBPyConnection) -> None:
    assert expressions.fails(session, "note::INTEGER", ROWS)
    assert not expressions.fails(session, "TRY_CAST(note AS INTEGER)", ROWS)


@pytest.mark.parametrize(
    "statement",
    [
        "FROM read_csv('{file}')",
        "FROM '{file}'",
        "ATTACH '{file}.duckdb'",
        "COPY (SELECT 1) TO '{file}.out'",
        "SET enable_external_access = true",
        "SET memory_limit = '1TB'",
        "SET GLOBAL TimeZone = 'Europe/Berlin'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT getenv('HOME')",
        "FROM session_rows",
    ],
)
def test_the_engine_reaches_nothing(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, statement: str
) -> None:
    session_rows = [1]  # a name of Python's that no query finds
    file = tmp_path / "some.csv"
    file.write_text("a\n1\n")
    with pytest.raises(duckdb.Error):
        session.execute(statement.format(file=file))
    assert session_rows == [1]
    assert sorted(tmp_path.iterdir()) == [file]


def test_times_are_in_utc(session: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT strftime('2024-07-01T12:00:00+02:00'::TIMESTAMPTZ, '%H:%M')"
    assert session.execute(sql).fetchall() == [("10:00",)]


def test_no_thread_wants_memory_while_an_expression_has_all_of_it(session: duckdb.DuckDBPyConnection) -> None:
    threads = "SELECT current_setting('threads') + current_setting('async_threads')"
    assert session.sql(threads).fetchall() == [(1,)]
