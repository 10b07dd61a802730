"""Where rows land: one protocol (`base`), one module per warehouse, and the way from a URL to one."""

from __future__ import annotations

import importlib
import urllib.parse

from tidegate import config, errors
from tidegate.warehouse import base

FILES = (".duckdb", ".db")
"""Endings that make a bare path a DuckDB file."""


ADAPTERS = {
    "bigquery": "bigquery",
    "clickhouse": "clickhouse",
    "databricks": "databricks",
    "delta": "delta",
    "iceberg": "iceberg",
    "motherduck": "motherduck",
    "mysql": "mysql",
    "parquet": "parquet",
    "postgres": "postgres",
    "redshift": "redshift",
    "snowflake": "snowflake",
    "sqlserver": "sqlserver",
    "synapse": "synapse",
}
"""Module by type of warehouse, each with a function `open_warehouse`; imported when it is needed."""


def named(url: str) -> str:
    """A warehouse's URL as it may be shown: without user, password and parameters."""
    if url.lower().startswith("md:"):
        return url.partition("?")[0]
    scheme, found, rest = url.partition("://")
    if not found or scheme.lower() == "duckdb":
        return url
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def open_url(url: str, schema: str = "stripe", *, wait: float = 60.0) -> base.Warehouse:
    """The warehouse behind a URL, or behind the bare path of a DuckDB file; nothing is opened yet.

    As in SQLAlchemy, `duckdb:///file.duckdb` is relative and `duckdb:////srv/file.duckdb` absolute. Raises
    ConfigError for anything else; a URL may hold a password, so only its scheme is ever repeated.
    """
    if url.lower().startswith("md:"):
        return open_warehouse(config.warehouse(url, schema), wait=wait)
    if "://" not in url:
        if url.lower().endswith(FILES):
            return _duckdb(url, schema, wait)
        raise errors.ConfigError(
            f"{url!r} is no warehouse; write duckdb:///FILE, a path that ends in .duckdb, or the URL of another: "
            "postgresql://USER@HOST/DATABASE."
        )
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    if scheme != "duckdb":
        return open_warehouse(config.warehouse(url, schema), wait=wait)
    path, _, query = rest.partition("?")
    if query:
        raise errors.ConfigError("A duckdb:/// URL takes no parameters; remove everything from the '?' on.")
    path = urllib.parse.unquote(path.removeprefix("/"))
    if not rest.startswith("/") or not path or path == ":memory:":
        raise errors.ConfigError(
            "A warehouse needs a file; write duckdb:///FILE, with four slashes for an absolute path."
        )
    return _duckdb(path, schema, wait)


def open_warehouse(target: config.Warehouse, *, wait: float = 60.0) -> base.Warehouse:
    """The warehouse that a configuration describes; nothing is opened yet."""
    if isinstance(target, config.DuckDB):
        return _duckdb(target.file, target.schema_name, wait)
    module = ADAPTERS.get(target.type)
    if module is None:
        raise errors.ConfigError(f"{target.type} can be read by models, but not pulled into.")
    try:
        adapter = importlib.import_module(f"tidegate.adapters.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tidegate"):
            raise
        raise errors.ConfigError(
            f"The driver for {target.type} is not installed; run `pip install 'tidegate[{target.type}]'`."
        ) from None
    opened: base.Warehouse = adapter.open_warehouse(target, wait=wait)
    return opened


def _duckdb(path: str, schema: str, wait: float) -> base.Warehouse:
    from tidegate.warehouse import duckdb  # takes 60 ms, which `--help` should not

    return duckdb.DuckDB(path, schema, wait=wait)
