"""The statements of a merge in the words of warehouses that no test can start: they parse and say everything."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from merged import START, model
from sqlglot import errors as sqlglot_errors

from tidegate.adapters import bigquery_sql, databricks, mysql, redshift, snowflake_rows, sqlserver
from tidegate.customers import choosing, finding, merging, names
from tidegate.shape import profile
from tidegate.warehouse import base, sql

DIALECTS: dict[str, sql.Dialect] = {
    "bigquery": bigquery_sql.DIALECT,
    "databricks": databricks.Databricks.dialect,
    "mysql": mysql.MySQL.dialect,
    "redshift": redshift.Redshift.dialect,
    "snowflake": snowflake_rows.DIALECT,
    "sqlserver": sqlserver.SQLServer.dialect,
    "synapse": sqlserver.SQLServer.dialect,
}
TOLD = model(
    "crm",
    email={"type": "string", "primary_source": "web"},
    order="string",
    seen="timestamp",
    score="number",
    spent="decimal",
    visits="integer",
    vip="boolean",
    address="json",
    tags="array",
)


class Written:
    """A script that only writes down what it would run; every count is 1."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def name(self, table: str) -> str:
        return f'"tidegate"."{table}"'

    def has(self, _: str) -> bool:
        return True

    def create(self, _: base.Table) -> None:
        raise AssertionError("A merge makes no table but work tables.")

    def work(self, table: str, columns: Mapping[str, str], key: Sequence[str], /) -> str:
        assert set(key) <= set(columns)
        return self.name(table)

    def works(self, _: str) -> list[str]:
        return []

    def drop(self, table: str) -> None:
        pass

    def append(self, name: str, rows: pa.Table) -> None:
        pass

    def execute(self, text: str) -> None:
        self.texts.append(text)

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        self.texts.append(text)
        if "what" in text:
            return [("changed", 1)]
        return [("p", 1, "[]")] if "told" in text else [(1,)]

    @contextlib.contextmanager
    def transaction(self, fence: base.Fence | None = None) -> Iterator[None]:
        assert fence is None
        yield

    def put(self, state: Mapping[str, str | None]) -> None:
        raise AssertionError(f"A merge writes no state, such as {sorted(state)}.")


def statements(kind: str, everything: bool) -> list[str]:
    """What a merge runs, in our own words."""
    script = Written()
    merging.merge(
        script,
        kind,
        names.Names(),
        profile.of(TOLD),
        START,
        primary_source=TOLD.primary_source,
        everything=everything,
    )
    return script.texts


def test_every_warehouse_that_may_hold_a_model_is_tried_here_or_for_real() -> None:
    assert {*DIALECTS, "duckdb", "motherduck", "postgres"} == choosing.KINDS


@pytest.mark.parametrize("everything", [False, True], ids=["touched", "everything"])
@pytest.mark.parametrize("kind", DIALECTS)
def test_every_statement_is_said_whole_and_understood(kind: str, everything: bool) -> None:
    dialect = DIALECTS[kind]
    texts = statements(kind, everything)
    assert len(texts) > 12
    for text in texts:
        # Where the dialect cannot say something this raises, instead of leaving it out.
        sqlglot.transpile(
            text, read="duckdb", write=dialect.name, unsupported_level=sqlglot_errors.ErrorLevel.RAISE
        )
        said = sql.translated(text, dialect)
        assert sql._MARK not in said
        again = sqlglot.parse_one(said, read=dialect.name, error_level=sqlglot_errors.ErrorLevel.RAISE)
        assert not list(again.find_all(sqlglot.exp.Command))


@pytest.mark.parametrize("kind", DIALECTS)
def test_a_search_is_said_in_every_dialect(kind: str) -> None:
    where = " OR ".join(finding._contains("p.name", text) for text in ("ann", "é ann", "o'neill_50%"))
    said = sql.translated(f"SELECT p.name FROM people AS p WHERE {where}", DIALECTS[kind])
    sqlglot.parse_one(said, read=DIALECTS[kind].name, error_level=sqlglot_errors.ErrorLevel.RAISE)
    assert ("ILIKE" in said) == (kind in ("databricks", "redshift", "snowflake")), said


def test_texts_that_are_hashed_say_every_value() -> None:
    def hashed(kind: str) -> str:
        choice = choosing.Choice(profile.of(TOLD), None, kind)
        return sql.translated(f"SELECT {choice.hash('r')} AS h FROM t AS r", DIALECTS[kind])

    transact = hashed("sqlserver")
    assert "CAST([r].[score] AS VARBINARY)" in transact  # a FLOAT as text has six digits
    assert "HASHBYTES('MD5', [r].[email])" in transact  # texts of two collations cannot be joined
    assert "TO_JSON_STRING(`r`.`tags`)" in hashed("bigquery")  # it casts no JSON
    assert 'JSON_SERIALIZE("r"."tags")' in hashed("redshift")
    assert "CASE WHEN \"r\".\"vip\" THEN '1' ELSE '0' END" in hashed(
        "redshift"
    )  # it casts no booleans to text
    assert 'CONVERT_TIMEZONE(\'UTC\', "R"."SEEN")' in hashed("snowflake")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("bigquery", "PARSE_JSON(MAX(CASE"),
        ("databricks", "MAX(CASE WHEN `b`.`_rank2` = `b`.`_first8` THEN `b`.`tags` END) AS `tags`"),
        ("mysql", "MAX(CASE WHEN `b`.`_rank2` = `b`.`_first8` THEN `b`.`tags` END) AS `tags`"),
        ("redshift", "JSON_PARSE(MAX(CASE"),
        ("snowflake", "PARSE_JSON(MAX(CASE"),
    ],
    ids=lambda each: each.partition("(")[0],
)
def test_documents_are_chosen_as_text_where_they_have_no_order(kind: str, said: str) -> None:
    choice = choosing.Choice(profile.of(TOLD), TOLD.primary_source, kind)
    assert said in sql.translated(choice.chosen("p JOIN r ON r.record = p.record"), DIALECTS[kind])
