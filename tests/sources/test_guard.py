"""What passes as one query that only reads, in the words of every database."""

from __future__ import annotations

import pytest

from tidegate import errors
from tidegate.sources import guard


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("SELECT 1", "postgres"),
        ("  -- a comment; with a semicolon\n select 1 ;;\n", "postgres"),
        ("WITH t AS (SELECT 1 AS a) SELECT * FROM t", "tsql"),
        ("(SELECT 1) UNION ALL (SELECT 2)", "postgres"),
        ("VALUES (1), (2)", "postgres"),
        ("FROM items SELECT id", "duckdb"),
        ('SELECT \'DROP TABLE x; DELETE\' AS "update", deleted, "set" FROM t', "postgres"),
        ("SELECT $$; DELETE$$ AS a", "postgres"),
        ("SELECT `insert` FROM t WHERE a = 'it\\'s; x'", "bigquery"),
        ("SELECT [update] FROM [drop] WHERE a = 'EXEC'", "tsql"),
        ("SELECT replace(a, 'x', 'y') FROM t", "mysql"),
        ("SELECT * FROM OPENROWSET(BULK 'https://a/b.parquet', FORMAT = 'PARQUET') AS r", "tsql"),
        ("SELECT a FROM t OPTION (USE HINT ('FORCE_ORDER'), RECOMPILE)", "tsql"),
        ("SELECT TOP 5 a FROM t INNER MERGE JOIN u ON t.a = u.a", "tsql"),
        ("SELECT a FROM t SAMPLE 0.1 FINAL WHERE understood BY nobody HERE", "clickhouse"),
    ],
)
def test_queries_pass_as_they_are_written(text: str, dialect: str) -> None:
    assert guard.one_query(text, dialect).strip() == text.strip().rstrip("; ")


@pytest.mark.parametrize(
    ("text", "dialect", "word"),
    [
        ("delete from t", "postgres", "DELETE"),
        ("TRUNCATE t", "postgres", "TRUNCATE"),
        ("WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM x", "postgres", "INSERT"),
        ("SELECT * INTO more FROM t", "postgres", "INTO"),
        ("EXPLAIN ANALYZE DELETE FROM t", "postgres", "EXPLAIN"),
        ("COPY t TO '/tmp/x'", "duckdb", "COPY"),
        ("ATTACH 'x.duckdb'", "duckdb", "ATTACH"),
        ("PRAGMA database_list", "duckdb", "PRAGMA"),
        ("SET a = 1", "duckdb", "SET"),
        ("SELECT a FROM t INTO OUTFILE '/tmp/x'", "mysql", "INTO"),
        ("CALL p()", "mysql", "CALL"),
        ("REPLACE INTO t VALUES (1)", "mysql", "REPLACE"),
        ("EXEC sp_who", "tsql", "EXEC"),
        ("SELECT 1 AS a DELETE FROM t", "tsql", "DELETE"),
        ("SELECT a FROM t SHUTDOWN", "tsql", "SHUTDOWN"),
        ("SELECT a FROM t EXEC('DROP TABLE t')", "tsql", "EXEC"),
        ("SELECT a FROM t USE master", "tsql", "USE"),
        ("BULK INSERT t FROM 'x'", "tsql", "INSERT"),
        ("SELECT NEXT VALUE FOR dbo.numbers AS n", "tsql", "NEXT"),
        ("SELECT 1 ->> CALL p()", "snowflake", "CALL"),
        ("SHOW TABLES", "snowflake", "SHOW"),
        ("EXPORT DATA OPTIONS (uri = 'gs://x') AS SELECT 1", "bigquery", "EXPORT"),
        ("OPTIMIZE TABLE t", "clickhouse", "OPTIMIZE"),
        ("SELECT (INSERT INTO t", "postgres", "INSERT"),
    ],
)
def test_what_changes_something_is_named(text: str, dialect: str, word: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        guard.one_query(text, dialect)
    assert str(caught.value) == (
        f"A model only reads, and this SQL would do something else ({word}); write a SELECT."
    )


@pytest.mark.parametrize(
    ("text", "dialect", "message"),
    [
        ("", "postgres", "is empty"),
        ("-- nothing", "postgres", "is empty"),
        (" ; ", "postgres", "is empty"),
        ("SELECT 1; SELECT 2", "postgres", "has several statements"),
        ("SELECT 1; -- DROP\n DROP TABLE t", "tsql", "has several statements"),
        ("SELECT 'a", "postgres", "has a quote or a comment that does not end"),
        ("SELECT 1 /*! INTO OUTFILE 'x' */", "mysql", "comments that the server runs"),
        ("SELECT 1 /*M! INTO OUTFILE 'x' */", "mysql", "comments that the server runs"),
    ],
)
def test_what_is_not_one_query_is_refused(text: str, dialect: str, message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        guard.one_query(text, dialect)


@pytest.mark.parametrize(
    ("name", "dialect", "text"),
    [
        ("stripe.items", "postgres", "SELECT * FROM stripe.items"),
        ('"My Schema"."a;b"', "postgres", 'SELECT * FROM "My Schema"."a;b"'),
        ("main.stripe.items", "databricks", "SELECT * FROM main.stripe.items"),
        ("`my-project.stripe.items`", "bigquery", "SELECT * FROM `my-project.stripe.items`"),
        ("[dbo].[user]", "tsql", "SELECT * FROM [dbo].[user]"),
    ],
)
def test_tables_are_read_whole(name: str, dialect: str, text: str) -> None:
    assert guard.table(name, dialect) == text


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a, b", "items; DROP TABLE items", "(SELECT 1)", "f(1)", "a.", "a JOIN b ON true", "'x.csv'"],
)
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(errors.ConfigError, match="is no name of a table"):
        guard.table(name, "duckdb")


def test_names_are_quoted_where_they_need_it() -> None:
    spelled = guard.spelled(["stripe", "Order", "user", "a b", 'q"q'], "postgres", "a")
    assert spelled == 'stripe."Order"."user"."a b"."q""q"'
    assert guard.spelled(["STRIPE", "items", "TABLE"], "snowflake", "A") == 'STRIPE."items"."TABLE"'
