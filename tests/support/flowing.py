"""Configurations with flows, for tests of what runs them."""

from __future__ import annotations

from pathlib import Path

KEY = "sk_test_geheim123456789"


def written(folder: Path, url: str, pulls: str, database: str = "") -> Path:
    """A configuration with one connection, two DuckDB files and some pulls."""
    file = folder / "tidegate.yaml"
    file.write_text(
        "stripe:\n"
        f'  acme: {{api_key: {KEY}, api_base: "{url}", rate_limit: "off"}}\n'
        "warehouses:\n"
        "  one: {type: duckdb, path: one.duckdb}\n"
        "  two: {type: duckdb, path: two.duckdb}\n"
        f"pulls:\n{pulls}\n" + (f"database: {database}\n" if database else "")
    )
    return file
