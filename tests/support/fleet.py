"""The warehouses that tests run against; one more adapter is one more line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import servers

LAKES = ("parquet", "delta", "iceberg")
"""Files in a folder: nothing has to be started for them."""

SERVERS: dict[str, Callable[[], str]] = {
    "postgres": servers.new_postgres,
    "mysql": servers.new_mariadb,
    "redshift": servers.new_redshift,
    "snowflake": servers.new_snowflake,
    "bigquery": servers.new_bigquery,
    "databricks": servers.new_databricks,
    "sqlserver": servers.new_sqlserver,
    "synapse": servers.new_synapse,
    "clickhouse": servers.new_clickhouse,
}
"""What makes the URL of a new, empty warehouse, by adapter."""

NAMES = ("duckdb", "motherduck", *LAKES, *SERVERS)


def url(adapter: str, folder: Path, number: int) -> str:
    """The URL of a warehouse that does not exist yet; `folder` and `number` are its own."""
    if adapter in SERVERS:
        return SERVERS[adapter]()
    if adapter in LAKES:
        return f"{adapter}+file:///{folder}/lake{number}"
    if adapter == "motherduck":
        return f"motherduck+file://{folder}/service{number}.duckdb"
    return f"duckdb:///{folder}/warehouse{number}.duckdb"
