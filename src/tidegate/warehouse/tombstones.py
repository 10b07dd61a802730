"""Buried keys: what a warehouse remembers of rows that it does not hold, so that nothing older brings them back.

A grave is one row of `_tidegate_tombstones`: the table in lower case, the key as the JSON array of its values as
text, the version up to which it holds, and when the row was deleted (NULL: it was not, it only left the table).
A live row and a grave of one key exclude each other.

Under the name of a history table stand ends for which there was no version; one key may have several.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import pyarrow as pa

from tidegate.warehouse import base, ddl, staging

KEY = "_tidegate_key"

GRAVES = pa.schema(
    [
        ("key", pa.string()),
        ("version", pa.int64()),
        ("deleted_at", pa.timestamp("us", "UTC")),
        ("synced_at", pa.timestamp("us", "UTC")),
    ]
)


def tables(connection: duckdb.DuckDBPyConnection, name: str) -> set[str]:
    """The tables that have graves, in lower case."""
    return {
        str(table) for (table,) in connection.execute(f"SELECT DISTINCT table_name FROM {name}").fetchall()
    }


def key(values: Iterable[str]) -> str:
    """SQL that makes a grave's key of the key's values."""
    return f"CAST(json_array({', '.join(f'CAST({value} AS VARCHAR)' for value in values)}) AS VARCHAR)"


def bury(place: staging.Place, table: base.Table, graves: pa.Table) -> None:
    """Add graves, of GRAVES's columns; those that they replace are the caller's to remove."""
    if not graves.num_rows:
        return
    connection = place.session.connection
    name = place.name(base.TOMBSTONES)
    if base.TOMBSTONES not in place.there:
        place.there[base.TOMBSTONES] = {
            "table_name": "VARCHAR",
            "key": "VARCHAR",
            "_version": "BIGINT",
            "_deleted_at": "TIMESTAMP WITH TIME ZONE",
            "_synced_at": "TIMESTAMP WITH TIME ZONE",
        }
        columns = ", ".join(f"{column} {kind}" for column, kind in place.there[base.TOMBSTONES].items())
        connection.execute(f"CREATE TABLE {name} ({columns})")
    with place.shown(staging.STAGE, graves):
        connection.execute(
            f"INSERT INTO {name} SELECT {ddl.literal(table.name.lower())}, key, version, deleted_at, synced_at "
            f"FROM {staging.STAGE}"
        )
    place.buried.add(table.name.lower())
