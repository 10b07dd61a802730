"""The DuckDB in memory that reads and writes a lake's files, and what a query sees of them.

A query sees the tables as views, as they stood when it began, and opens no file but theirs.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence

import duckdb
import sqlglot
from sqlglot import exp

from tidegate import temporary
from tidegate.adapters import lake_files, storage
from tidegate.warehouse import base, ddl

MEMORY = 512 * 1024 * 1024
"""Bytes that reading and writing files may take; more goes to disk."""

THREADS = min(4, os.cpu_count() or 1)


def opened(place: storage.Storage) -> duckdb.DuckDBPyConnection:
    """A new DuckDB that reaches the files."""
    engine = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{MEMORY}B",
            "threads": THREADS,
            "temp_directory": str(temporary.spilling() / uuid.uuid4().hex),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
            "preserve_insertion_order": False,
        },
    )
    try:
        engine.execute("SET GLOBAL TimeZone = 'UTC'")
        place.show(engine)
    except BaseException:
        engine.close()
        raise
    return engine


def show(
    engine: duckdb.DuckDBPyConnection,
    schema: str,
    live: str,
    tables: Sequence[lake_files.Table],
    hidden: str,
) -> None:
    """Make views of tables, and let the engine open nothing but their files from here on.

    State under keys that begin with `hidden` is not shown.
    """
    for name in (schema, live):
        engine.execute(f"CREATE SCHEMA IF NOT EXISTS {base.quoted(name)}")
    for table in tables:
        query, lower = lake_files.shown(table), table.name.lower()
        if lower == base.STATE:
            query += f" WHERE NOT starts_with(key, {ddl.literal(hidden)})"
        view = f"{base.quoted(schema)}.{base.quoted(table.name)}"
        engine.execute(f"CREATE OR REPLACE VIEW {view} AS {query}")
        if lower not in (base.STATE, base.TOMBSTONES) and "_deleted_at" in table.columns:
            engine.execute(
                f"CREATE OR REPLACE VIEW {base.quoted(live)}.{base.quoted(table.name)} AS "
                f"SELECT * FROM {view} WHERE _deleted_at IS NULL"
            )
    paths = ", ".join(ddl.literal(file.path) for table in tables for file in table.files)
    engine.execute(f"SET allowed_paths = [{paths}]")
    engine.execute("SET enable_external_access = false")
    engine.execute("SET lock_configuration = true")


def named(sql: str, names: Sequence[str]) -> list[str]:
    """Which of the tables a query names; all, where it asks which there are."""
    try:
        found = [
            table for tree in sqlglot.parse(sql, read="duckdb") if tree for table in tree.find_all(exp.Table)
        ]
    except sqlglot.errors.ParseError:
        return list(names)
    if any(table.db.lower() == "information_schema" or not table.name for table in found):
        return list(names)
    wanted = {table.name.lower() for table in found}
    return [name for name in names if name in wanted or "duckdb_" in sql]
