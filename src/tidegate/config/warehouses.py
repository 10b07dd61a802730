"""The warehouses a file can name: one class per type, with the fields that type needs to be reached.

`type` may be left out where a `url` says it. Which of them this version has an adapter for is the matter of
`tidegate.warehouse`, not of the file.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from tidegate.config.addresses import S3, Server, Warehouse
from tidegate.config.clouds import BigQuery, Databricks, MotherDuck, Redshift, Snowflake
from tidegate.config.databases import SSH, ClickHouse, EntraID, MySQL, Postgres, SQLServer, Synapse
from tidegate.config.files import (
    Delta,
    DuckDB,
    Elasticsearch,
    GoogleSheets,
    Iceberg,
    Lake,
    Parquet,
)

__all__ = [
    "S3",
    "SCHEMES",
    "SSH",
    "AnyWarehouse",
    "BigQuery",
    "ClickHouse",
    "Databricks",
    "Delta",
    "DuckDB",
    "Elasticsearch",
    "EntraID",
    "GoogleSheets",
    "Iceberg",
    "Lake",
    "MotherDuck",
    "MySQL",
    "Parquet",
    "Postgres",
    "Redshift",
    "SQLServer",
    "Server",
    "Snowflake",
    "Synapse",
    "Warehouse",
    "kind",
]

SCHEMES = {
    "duckdb": "duckdb",
    "postgres": "postgres",
    "postgresql": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "snowflake": "snowflake",
    "bigquery": "bigquery",
    "redshift": "redshift",
    "databricks": "databricks",
    "mssql": "sqlserver",
    "sqlserver": "sqlserver",
    "synapse": "synapse",
    "clickhouse": "clickhouse",
    "md": "motherduck",
    "motherduck": "motherduck",
    "parquet": "parquet",
    "delta": "delta",
    "iceberg": "iceberg",
}
"""The scheme of a URL -> the type of warehouse."""


def kind(data: Any) -> str | None:
    """The type of a warehouse as it is written: by `type`, else by the scheme of its `url`."""
    if isinstance(data, Warehouse):
        return data.type
    if not isinstance(data, dict):
        return None
    if "type" in data:
        return str(data["type"])
    scheme = str(data.get("url", "")).partition(":")[0].lower()
    return SCHEMES.get(scheme.partition("+")[0])


AnyWarehouse = Annotated[
    Annotated[DuckDB, Tag("duckdb")]
    | Annotated[MotherDuck, Tag("motherduck")]
    | Annotated[Postgres, Tag("postgres")]
    | Annotated[MySQL, Tag("mysql")]
    | Annotated[Snowflake, Tag("snowflake")]
    | Annotated[BigQuery, Tag("bigquery")]
    | Annotated[Redshift, Tag("redshift")]
    | Annotated[Databricks, Tag("databricks")]
    | Annotated[SQLServer, Tag("sqlserver")]
    | Annotated[Synapse, Tag("synapse")]
    | Annotated[ClickHouse, Tag("clickhouse")]
    | Annotated[Elasticsearch, Tag("elasticsearch")]
    | Annotated[GoogleSheets, Tag("google_sheets")]
    | Annotated[Parquet, Tag("parquet")]
    | Annotated[Delta, Tag("delta")]
    | Annotated[Iceberg, Tag("iceberg")],
    Discriminator(kind),
]
