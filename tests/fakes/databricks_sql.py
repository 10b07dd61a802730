"""Databricks' SQL as DuckDB's, for the stand-in of a workspace.

sqlglot does most of it. What it does not know is said here: files in volumes, comments of columns, properties of
tables, Unity Catalog's information schema with its names in lower case, and what it refuses.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable

import sqlglot
from sqlglot import exp

# What cannot be parsed is NULL without the mode, and so no rows.
EXPLODED = re.compile(r"explode\(from_json\(:(\w+), 'array<struct<([^>]*)>>', map\('mode', 'FAILFAST'\)\)\)")
ZONE = "America/New_York"
"""The time zone of every session, since an administrator may have set one."""
FILE = re.compile(r"parquet\.`(/Volumes/[^`]+)`")
NATIVE = {
    "VARCHAR": "string",
    "BIGINT": "bigint",
    "INTEGER": "int",
    "BOOLEAN": "boolean",
    "DOUBLE": "double",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
}
PROPERTIES = {
    "delta.columnMapping.mode": {"name", "id", "none"},
    "delta.enableDeletionVectors": {"true", "false"},
    "delta.isolationLevel": {"Serializable", "WriteSerializable"},
}
PREPARED = (
    f"""CREATE VIEW main.unity_columns AS
    SELECT lower(schema_name) AS table_schema, lower(table_name) AS table_name,
    column_name, column_index AS ordinal_position, comment,
    coalesce(map {NATIVE}[data_type], lower(data_type)) AS full_data_type
    FROM duckdb_columns() WHERE NOT internal AND schema_name <> 'main'""",
    """CREATE VIEW main.unity_tables AS SELECT 'main' AS table_catalog, lower(table_schema) AS table_schema,
    lower(table_name) AS table_name, table_type FROM information_schema.tables WHERE table_schema <> 'main'""",
    """CREATE VIEW main.unity_schemata AS SELECT lower(schema_name) AS schema_name FROM duckdb_schemas()
    WHERE database_name = current_database() AND NOT internal""",
    f"SET TimeZone = '{ZONE}'",
    "CREATE MACRO pmod(a, b) AS ((a % b) + b) % b",
)
"""What a new DuckDB is told, so that it knows what a Unity catalog knows."""


class Refused(Exception):
    """A statement that failed, or a request that was refused."""

    def __init__(self, code: str, text: str, status: int = 200) -> None:
        super().__init__(text)
        self.code, self.status = code, status


def translated(text: str, user: str, file: Callable[[str], str]) -> list[str]:
    """A statement of Databricks as DuckDB's; `file` says where a file of a volume is kept."""
    if found := re.match(r"ALTER TABLE (\S.*) ALTER COLUMN (`(?:[^`]|``)+`) COMMENT 'JSON'$", text):
        return [f"COMMENT ON COLUMN {_names(found[1])}.{_names(found[2])} IS 'JSON'"]
    shapes: list[str] = []

    def unfolded(found: re.Match[str]) -> str:
        shape = {each.partition(":")[0]: "VARCHAR" for each in found[2].split(",")}
        shapes.append(f"unnest(from_json(${found[1]}, '{json.dumps([shape])}'))")
        return f"tidegate_exploded({len(shapes) - 1})"

    text = EXPLODED.sub(unfolded, text)
    files = FILE.findall(text)
    text = FILE.sub(lambda found: f"tidegate_file({files.index(found[1])})", text)
    duck, *others = _translated(text, user)
    duck = re.sub(
        r"TIDEGATE_EXPLODED\((\d+)\)", lambda found: shapes[int(found[1])], duck, flags=re.IGNORECASE
    )
    duck = re.sub(
        r"TIDEGATE_FILE\((\d+)\)",
        lambda found: f"read_parquet('{file(files[int(found[1])])}')",
        duck,
        flags=re.IGNORECASE,
    )
    return [duck, *others]


@functools.lru_cache(maxsize=2048)
def _translated(text: str, user: str) -> list[str]:
    [tree] = sqlglot.parse(text, read="databricks")
    assert tree is not None
    comments: list[str] = []
    for table in tree.find_all(exp.Table):
        if table.catalog:
            if table.catalog != "main":
                raise Refused(
                    "BAD_REQUEST", f"[NO_SUCH_CATALOG_EXCEPTION] Catalog '{table.catalog}' was not found."
                )
            table.set("catalog", None)
        if table.db == "information_schema":
            table.replace(exp.to_table(f"main.unity_{table.name}"))
        elif re.search(r"[\x00-\x20./\x7f]", table.name) and not isinstance(table.this, exp.Func):
            raise Refused("BAD_REQUEST", f"[INVALID_NAME] {table.name}")
    if isinstance(tree, exp.Create):
        comments = _created(tree)
    if isinstance(tree, exp.Alter):
        comments = _altered(tree)
    for call in list(tree.find_all(exp.Anonymous, exp.CurrentUser)):
        if isinstance(call, exp.CurrentUser) or call.name == "current_user":
            call.replace(exp.Literal.string(user))
    return [tree.sql(dialect="duckdb"), *comments]


def _names(text: str) -> str:
    return sqlglot.parse_one(text, read="databricks", into=exp.Table).sql(dialect="duckdb")


def _created(tree: exp.Create) -> list[str]:
    """Take out of a CREATE what DuckDB has not; comments become statements of their own."""
    properties = tree.args.get("properties")
    for each in properties.expressions if properties else []:
        if type(each) is exp.Property and each.args["value"].name not in PROPERTIES.get(each.name, ()):
            raise Refused("BAD_REQUEST", f"[DELTA_UNKNOWN_CONFIGURATION] {each.name}")
    tree.set("properties", None)
    comments = []
    if isinstance(tree.this, exp.Schema):
        table = tree.this.this
        for column in tree.this.expressions:
            comments += _commented(table, column)
    return comments


def _altered(tree: exp.Alter) -> list[str]:
    return [
        told
        for each in tree.args["actions"]
        if isinstance(each, exp.ColumnDef)
        for told in _commented(tree.this, each)
    ]


def _commented(table: exp.Expression, column: exp.ColumnDef) -> list[str]:
    kept, told = [], []
    for each in column.args.get("constraints") or []:
        if isinstance(each.kind, exp.CommentColumnConstraint):
            name = f"{table.sql(dialect='duckdb')}.{column.this.sql(dialect='duckdb')}"
            told.append(f"COMMENT ON COLUMN {name} IS {each.kind.this.sql(dialect='duckdb')}")
        else:
            kept.append(each)
    column.set("constraints", kept)
    return told
