"""Statements in BigQuery's words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tidegate.adapters import bigquery_wire
from tidegate.warehouse import base, ddl, sql

DIALECT = sql.Dialect("bigquery", "@p{}", bigquery_wire.spelled)

REVISION = base.FENCE
"""The state key of the revision, the claim on a table without a name."""

MOVED = "tidegate: somebody else was faster"
"""What the script of a load says when the revision is not the one that it was decided on."""

IN_PLACE = {("BIGINT", "DECIMAL(38,12)"), ("BIGINT", "DOUBLE")}
"""What ALTER COLUMN ... SET DATA TYPE can do for us.

https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_column_set_data_type_statement
"""

CATALOG = re.compile(r"(?i)`information_schema`\.`(tables|columns)`")


def quoted(*names: str) -> str:
    """A name, or several with a dot between."""
    return sql.quoted(DIALECT, *names)


# Tables


def definition(columns: Mapping[str, str], key: Sequence[str]) -> str:
    """Columns with native types, clustered by the key as far as it can be; upper case is never lower case.

    The last, as a dataset may have another default, under which the rows of two ids would be one's.
    """
    told = ", ".join(f"{quoted(column)} {kind}" for column, kind in columns.items())
    by = [quoted(column) for column in key if columns[column] not in ("JSON", "FLOAT64")][:4]
    return f"({told}) DEFAULT COLLATE ''" + (f" CLUSTER BY {', '.join(by)}" if by else "")


def widened(
    name: str, columns: Mapping[str, str], wider: Mapping[str, tuple[str, str, str]], key: Sequence[str]
) -> list[str]:
    """Statements that give columns wider types: in place where BigQuery can, else the table is made anew.

    `wider`: by column the type of ours that it has, the one that it gets, and that one as BigQuery's. `key`: by
    what the table is clustered, which must not change.
    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#create_table_statement
    """
    if all((there, kind) in IN_PLACE for there, kind, _ in wider.values()):
        return [
            f"ALTER TABLE {name} ALTER COLUMN {quoted(column)} SET DATA TYPE {native}"
            for column, (_, _, native) in wider.items()
        ]
    values = {each: quoted(each) for each in columns}
    values |= {column: converted(quoted(column), there, kind) for column, (there, kind, _) in wider.items()}
    chosen = ", ".join(f"{value} AS {quoted(each)}" for each, value in values.items())
    natives = {column: native for column, (_, _, native) in wider.items()}
    made = definition({**columns, **natives}, key)
    return [f"CREATE OR REPLACE TABLE {name} {made} AS SELECT {chosen} FROM {name}"]


def catalog(text: str, schemas: Mapping[str, Mapping[str, ddl.Columns]]) -> tuple[str, list[Any]]:
    """A query of `information_schema`, BigQuery has one per dataset, over what there is; and its parameters."""
    found = [
        (schema, table, column, kind)
        for schema, tables in schemas.items()
        for table, columns in tables.items()
        for column, kind in columns.items()
    ]
    names = ("table_schema", "table_name", "column_name", "data_type")
    arrays = [pa.array([row[i] for row in found], pa.string()) for i in range(len(names))]
    rows = {"columns": pa.table(dict(zip(names, arrays, strict=True)))}
    rows["tables"] = rows["columns"].select(names[:2]).group_by(names[:2], use_threads=False).aggregate([])
    asked = {kind.lower() for kind in CATALOG.findall(text)}
    told = CATALOG.sub(lambda each: f"(SELECT * FROM UNNEST(@catalog_{each[1].lower()}))", text)
    return told, [bigquery_wire.structs(f"catalog_{kind}", rows[kind]) for kind in sorted(asked)]


# State


STEPS = ("revision", "locked", "unlocked")
"""The parameters of a script that changes tables alone: the revision before, meanwhile and afterwards."""


def number(revision: str) -> int:
    """The number of a revision; after it may stand the job that nobody may interrupt."""
    return int(revision.partition(" ")[0] or 0)


def alone(name: str, statements: Sequence[str]) -> str:
    """A script of statements that belong into no transaction, while which no load commits.

    A load commits only at the revision that it knows, and nobody takes one for known whose job still runs.
    """
    known, locked, unlocked = STEPS
    script = (
        "BEGIN TRANSACTION",
        unmoved(name, known),
        put(name, _revision(locked)),
        "COMMIT TRANSACTION",
        *statements,
        put(name, _revision(unlocked)),
    )
    return ";\n".join(script) + ";"


def _revision(parameter: str) -> str:
    return f"(SELECT '{REVISION}' AS `key`, @{parameter} AS `value`)"


def unmoved(name: str, parameter: str) -> str:
    """Stop unless the revision is the one known."""
    return (
        f"ASSERT IFNULL((SELECT MAX(`value`) FROM {name} WHERE `key` = '{REVISION}'), '') = @{parameter} "
        f"AS '{MOVED}'"
    )


def put(name: str, source: str) -> str:
    """Write the texts of `source` under their keys, NULL removes."""
    return (
        f"MERGE INTO {name} AS t USING {source} AS k ON t.`key` = k.`key` "
        "WHEN MATCHED AND k.`value` IS NULL THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET `value` = k.`value`, `updated_at` = CURRENT_TIMESTAMP() "
        "WHEN NOT MATCHED AND k.`value` IS NOT NULL THEN "
        "INSERT (`key`, `value`, `updated_at`) VALUES (k.`key`, k.`value`, CURRENT_TIMESTAMP())"
    )


# Values


def json_of(text: str) -> str:
    """SQL for text as JSON, kept as a JSON string where BigQuery's JSON could not hold it exactly."""
    odd = r"""r'^\s*"[{\[\\"0-9-]'"""
    return (
        f"CASE WHEN {text} IS NULL THEN NULL WHEN REGEXP_CONTAINS({text}, {odd}) THEN TO_JSON(TRIM({text})) "
        f"ELSE IFNULL(SAFE.PARSE_JSON({text}), TO_JSON(TRIM({text}))) END"
    )


def converted(column: str, there: str, kind: str) -> str:
    """SQL for what a column holds, in a wider type."""
    if kind == "JSON":
        text = f"CAST({column} AS STRING)" if there == "DECIMAL(38,12)" else f"TO_JSON_STRING({column})"
        return f"IF({column} IS NULL, NULL, {json_of(text)})"
    if kind in ("DOUBLE", "DECIMAL(38,12)"):
        return f"CAST({column} AS {'FLOAT64' if kind == 'DOUBLE' else 'BIGNUMERIC'})"
    if there == "TIMESTAMP WITH TIME ZONE":  # else in the time zone that the project or the dataset has
        return f"STRING({column}, 'UTC')"
    if there == "JSON":
        begins = r"""r'^[{\["0-9-]'"""
        return (
            f"CASE WHEN {column} IS NULL THEN NULL WHEN JSON_TYPE({column}) = 'string' AND "
            f"REGEXP_CONTAINS(JSON_VALUE({column}, '$'), {begins}) THEN JSON_VALUE({column}, '$') "
            f"ELSE TO_JSON_STRING({column}) END"
        )
    return f"CAST({column} AS STRING)"
