"""What each warehouse is told of a filter, what is left to the stage, and that no literal becomes SQL."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pydantic
import pytest
import sqlglot

from tidegate import config, errors
from tidegate.adapters import bigquery_sql, databricks_words, snowflake_rows, sqlserver_words
from tidegate.shape import pushdown
from tidegate.warehouse import sql

FILTER: pydantic.TypeAdapter[config.Filter] = pydantic.TypeAdapter(config.Filter)
NOW = dt.datetime(2024, 3, 31, 1, 30, tzinfo=dt.UTC)
COLUMNS = {
    "name": "VARCHAR",
    "amount": "BIGINT",
    "rate": "DECIMAL(38,12)",
    "percent": "DOUBLE",
    "live": "BOOLEAN",
    "created": "TIMESTAMP WITH TIME ZONE",
    "metadata": "JSON",
    "place": "GEOMETRY",
}
DIALECTS = {
    "duckdb": sql.Dialect("duckdb"),
    "postgres": sql.Dialect("postgres", "\0"),
    "mysql": sql.Dialect("mysql", "\0"),
    "redshift": sql.Dialect("redshift", "\0"),
    "snowflake": snowflake_rows.DIALECT,
    "bigquery": bigquery_sql.DIALECT,
    "databricks": sql.Dialect("databricks", ":p{}", fold=databricks_words.folded),
    "tsql": sql.Dialect("tsql", "?", finish=sqlserver_words.spoken),
    "clickhouse": sql.Dialect("clickhouse", "{{p{}:Tidegate}}"),
}
UNSAID = pushdown.Pushed("1 = 1", (), False)


def where(field: str, op: str, value: object = None, **more: object) -> dict[str, Any]:
    """One condition."""
    return {"field": field, "op": op, **({} if value is None else {"value": value}), **more}


def said(tree: dict[str, Any], dialect: str = "duckdb", **more: int) -> pushdown.Pushed:
    """What a warehouse is told."""
    return pushdown.split(FILTER.validate_python(tree), COLUMNS, DIALECTS[dialect], NOW, **more)


AMOUNT, NAME, LIVE = where("amount", ">", 5), where("name", "is", "a"), where("live", "is true")
DATE = where("name", "is before", "2024-01-01")
"""No warehouse reads ISO text as the stage does."""


def test_a_condition_is_sql_with_parameters() -> None:
    assert said(NAME) == pushdown.Pushed('"name" = ?', ("a",), True)
    assert said(LIVE) == pushdown.Pushed('"live" = TRUE', (), True)
    assert said(where("created", "is on or after", "30 days ago")) == pushdown.Pushed(
        '"created" >= CAST(? AS TIMESTAMP WITH TIME ZONE)', ("2024-03-01 00:00:00.000000+00:00",), True
    )


def test_names_and_parameters_are_those_of_the_warehouse() -> None:
    assert said(NAME, "snowflake").sql == '"NAME" = ?'
    tree = {"all": [AMOUNT, NAME]}
    assert said(tree, "bigquery").sql == "(`amount` >= @p0 AND `name` = @p1)"
    assert said(tree, "bigquery").parameters == (6, "a")
    assert said(tree, "databricks", first=3).sql.count(":p3") == 1
    assert said(tree, "databricks", first=3).sql.count(":p4") == 1


@pytest.mark.parametrize(
    ("asked", "expected", "parameters"),
    [
        (where("amount", "<", 2.5), '"amount" <= ?', (2,)),
        (where("amount", "<=", "2.5"), '"amount" <= ?', (2,)),
        (where("amount", "<", 2), '"amount" <= ?', (1,)),
        (where("amount", ">", -2.5), '"amount" >= ?', (-2,)),
        (where("amount", ">=", -2.5), '"amount" >= ?', (-2,)),
        (where("amount", "is", 2.5), "1 = 0", ()),
        (where("amount", "is", 10**20), "1 = 0", ()),
        (where("amount", ">", -(10**20)), 'NOT "amount" IS NULL', ()),
        (where("amount", "is between", [0.5, 3]), '("amount" >= ? AND "amount" <= ?)', (1, 3)),
        (where("amount", "is one of", [1, 2.5, 3]), '"amount" IN (?, ?)', (1, 3)),
        (where("amount", "is before", "1970-01-02"), '"amount" <= ?', (86_399,)),
        (where("amount", "is on or before", "1970-01-01"), '"amount" <= ?', (86_399,)),
        (where("amount", "is after", "1970-01-01T00:00:00.5Z"), '"amount" >= ?', (1,)),
    ],
)
def test_whole_numbers_are_compared_with_whole_numbers(
    asked: dict[str, Any], expected: str, parameters: tuple[int, ...]
) -> None:
    assert said(asked) == pushdown.Pushed(expected, parameters, True)


def test_what_cannot_be_said_is_left_out_of_all_and_takes_any_with_it() -> None:
    assert said(DATE) == UNSAID
    assert said({"all": [AMOUNT, DATE]}) == pushdown.Pushed('"amount" >= ?', (6,), False)
    assert said({"any": [AMOUNT, DATE]}) == UNSAID
    assert said({"all": [DATE, DATE]}) == UNSAID
    tree = {"any": [{"all": [AMOUNT, DATE]}, NAME]}
    assert said(tree) == pushdown.Pushed('("amount" >= ? OR "name" = ?)', (6, "a"), False)
    assert said({"all": [{"any": [AMOUNT, DATE]}, NAME]}) == pushdown.Pushed('"name" = ?', ("a",), False)


def test_groups_are_in_parentheses_so_that_more_may_stand_beside_them() -> None:
    assert said({"any": [AMOUNT, NAME]}).sql == '("amount" >= ? OR "name" = ?)'
    assert said({"all": [AMOUNT, {"any": [NAME, LIVE]}]}).sql == (
        '("amount" >= ? AND ("name" = ? OR "live" = TRUE))'
    )


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_negative_condition_holds_where_nothing_is_known(dialect: str) -> None:
    """`NOT x = y` would not, and T-SQL has no value that is true or false."""
    pushed = said(where("amount", "is not", 5), dialect)
    assert pushed.exact
    assert pushed.sql.startswith("CASE WHEN ")
    assert pushed.sql.endswith(" THEN 0 ELSE 1 END = 1")


def test_the_opposite_of_what_is_only_nearly_said_is_not_said() -> None:
    """Redshift may take "a" and "a " for one: more rows are equal there, and so fewer are not."""
    assert said(NAME, "redshift") == pushdown.Pushed('"name" = \0', ("a",), False)
    assert said(where("name", "is not", "a"), "redshift") == UNSAID
    for op in ("is empty", "is not empty"):  # either way with those of blanks
        assert not said(where("name", op), "redshift").exact
        assert said(where("name", op), "redshift").sql.endswith(' OR "name" = \0)')
    # Of a list DuckDB cannot tell whether it has the word; text that has it is surely no answer.
    pushed = said(where("metadata.k", "does not contain", "de"))
    assert not pushed.exact
    assert pushed.sql.startswith("CASE WHEN ")
    assert "ARRAY" not in pushed.sql.partition("CONTAINS")[0].partition("JSON_TYPE")[0]


PLAIN = [
    (where("name", "is", "a"), "all but redshift"),
    (where("name", "<", "a"), "all but redshift tsql"),
    (where("name", "contains", "a"), "duckdb postgres mysql"),
    (where("name", "starts with", "a"), "duckdb postgres mysql"),
    (where("name", "is", "a", ignore_case=True), "duckdb"),
    (where("name", "is before", "2024-01-01"), ""),
    (where("amount", "is not one of", [1, 2]), "all"),
    (where("amount", "is after", "yesterday"), "all"),
    (where("rate", "is between", ["0.1", 5]), "all"),
    (where("percent", ">", 0.1), "all but redshift bigquery clickhouse"),
    (where("live", "is not", True), "all"),
    (where("created", "is", "today"), "all"),
    (where("created", "is before", "0500-01-01"), "all but clickhouse mysql"),
    (where("created", "is after", 10**11 * 9), ""),
    (where("created", "is null"), "all"),
    (where("metadata", "exists"), "duckdb postgres mysql"),
    (where("metadata.plan", "is not", "pro"), "duckdb postgres"),
    (where("metadata.plan", "is empty"), "duckdb postgres"),
    (where("metadata.seats", ">=", 5), "postgres"),
    (where("metadata.tags", "contains", "de"), "postgres"),
    (where("metadata.since", "is after", "yesterday"), ""),
    (where("metadata.plan", "is", "PRO", ignore_case=True), "duckdb"),
]


@pytest.mark.parametrize(
    ("asked", "exact"), PLAIN, ids=[f"{each['field']} {each['op']}" for each, _ in PLAIN]
)
def test_which_warehouse_says_what_exactly(asked: dict[str, Any], exact: str) -> None:
    named, _, but = exact.partition(" but ")
    expected = set(DIALECTS) - set(but.split()) if named == "all" else set(exact.split())
    assert {dialect for dialect in DIALECTS if said(asked, dialect).exact} == expected


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_sql_is_a_condition_that_the_dialect_can_be_read_with(dialect: str) -> None:
    for asked, _ in PLAIN:
        text = said(asked, dialect).sql.replace("\0", "?").replace("{p0:Tidegate}", "?")
        sqlglot.parse_one(f"SELECT 1 FROM t WHERE {text}", read=DIALECTS[dialect].name)


HOSTILE = "'; DROP TABLE x; -- \\' \" \0 TIDEGATE_PUSHED_0_ ? %s @p0"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("op", ["is", "is not", "is one of", "contains", "starts with", "<", "is between"])
def test_a_literal_is_never_sql(dialect: str, op: str) -> None:
    value: Any = {"is one of": [HOSTILE, "a"], "is between": [HOSTILE, "z"]}.get(op, HOSTILE)
    field = 'metadata."' + HOSTILE.replace('"', '""') + '"'
    for name in ("name", "metadata.k", field):
        pushed = said(where(name, op, value), dialect)
        assert "DROP" not in pushed.sql
        assert "TIDEGATE_PUSHED" not in pushed.sql


def test_a_column_is_quoted() -> None:
    columns = {'na"me': "VARCHAR"}
    condition = FILTER.validate_python(where('na"me', "is", "a"))
    assert pushdown.split(condition, columns, DIALECTS["duckdb"]).sql == '"na""me" = ?'


def test_nul_is_in_no_text_of_postgres() -> None:
    assert said(where("name", "contains", "a\0"), "postgres") == pushdown.Pushed("1 = 0", (), True)
    assert said(where("name", "is one of", ["a\0", "b"]), "postgres").parameters == ("b",)
    assert said(where("name", "<", "a\0"), "postgres") == UNSAID
    assert said(where("metadata.k", "is", "a\0"), "postgres") == UNSAID
    assert said(where('metadata."a\0"', "exists"), "postgres") == UNSAID


@pytest.mark.parametrize(
    ("op", "value", "exact"),
    [
        ("is", "pro", True), ("is", "12345", True), ("is", "1.10", False), ("is", "-0", False), ("is", "", True),
        ("is", "{}", True), ("is one of", ["pro", "1.10"], False), ("is not", "1.10", False),
        ("starts with", "1", False), ("starts with", "", True), ("ends with", "e5", False),
        ("ends with", "e5x", True), ("<", "a", True), ("<", "5", False), (">=", "", True), ("<", "#", True),
    ],
)  # fmt: skip
def test_duckdb_is_sure_where_it_does_not_matter_how_a_number_is_written(
    op: str, value: object, exact: bool
) -> None:
    """It reads 1.10 as a double, and shows 1.1."""
    assert said(where("metadata.k", op, value)).exact == exact
    assert said(where("metadata.k", op, value), "postgres").exact


def test_a_path_that_means_something_else_there_is_not_followed() -> None:
    assert said(where("metadata.k", "exists"), "postgres").exact
    for name in ("-1", "+1", " 1", "0000000001"):
        pushed = pushdown.split(
            FILTER.validate_python(where(f'address."{name}"', "exists")),
            {"address": "JSON"},
            DIALECTS["postgres"],
        )
        assert pushed == UNSAID  # Postgres takes these for places in a list
    deep = FILTER.validate_python(where("address.a.b.c.d", "exists"))
    assert pushdown.split(deep, {"address": "JSON"}, DIALECTS["duckdb"]) == UNSAID
    assert pushdown.split(deep, {"address": "JSON"}, DIALECTS["postgres"]).exact


def test_more_literals_than_a_warehouse_takes_stay_with_the_stage() -> None:
    many = where("amount", "is one of", list(range(pushdown.MOST + 1)))
    assert said(many) == UNSAID
    assert said({"all": [many, NAME]}) == pushdown.Pushed('"name" = ?', ("a",), False)
    most = where("amount", "is one of", list(range(pushdown.MOST)))
    assert len(said(most).parameters) == pushdown.MOST


def test_many_conditions() -> None:
    pushed = said({"any": [where("amount", "is", n) for n in range(300)]})
    assert pushed.exact
    assert pushed.parameters == tuple(range(300))


def test_a_column_of_a_type_that_is_not_ours_stays_with_the_stage() -> None:
    assert said(where("place", "is", 5)) == UNSAID
    assert said({"all": [where("place", "is null"), AMOUNT]}).sql == '"amount" >= ?'


def test_a_filter_that_cannot_be_asked_is_refused_as_the_stage_refuses_it() -> None:
    with pytest.raises(errors.ConfigError, match="names nmae, which is not there; did you mean name"):
        said(where("nmae", "is", "x"))
    with pytest.raises(errors.ConfigError, match="cannot ask `is` of amount: the value must be a number"):
        said(where("amount", "is", "many"))


def test_without_a_moment_relative_dates_count_from_now() -> None:
    condition = FILTER.validate_python(where("created", "is after", "now"))
    before = dt.datetime.now(dt.UTC)
    pushed = pushdown.split(condition, COLUMNS, DIALECTS["duckdb"])
    told = dt.datetime.fromisoformat(str(pushed.parameters[0]))
    assert before <= told <= dt.datetime.now(dt.UTC)
