"""A local Stripe as tests see it, pulls of it, and the tables that they leave."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tidegate.pull import report, run, scope
from tidegate.sandbox import serving
from tidegate.warehouse import duckdb

KEY = serving.KEY


@dataclass(frozen=True)
class Stripe:
    """The sandbox as a test sees it: where it is, and how to make trouble."""

    url: str

    def control(self, name: str, body: object | None = None) -> Any:
        """Call the control API; without a body, ask."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_sandbox/{name}", data=data)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def truth(self, stream: str) -> list[dict[str, Any]]:
        """Every object of a stream: `{"parent": id or None, "object": {...}}`."""
        with urllib.request.urlopen(f"{self.url}/_sandbox/truth/{stream}", timeout=60) as answer:
            return [json.loads(line) for line in answer]

    def faults(self, *faults: dict[str, object]) -> None:
        """Replace the faults in force."""
        self.control("faults", {"faults": faults})

    def requests(self) -> int:
        """List and other requests since the last reset."""
        return int(self.control("stats")["requests"])

    def source(self, key: str = KEY, **more: Any) -> scope.Source:
        """This Stripe as a pull's source, without limits."""
        return scope.Source(key, self.url, **{"rate_limit": "off", "budget": 1.0, **more})


def pull(
    stripe: Stripe,
    file: Path,
    *streams: str,
    key: str = KEY,
    screen: report.Screen | None = None,
    wait: float = 60.0,
    **options: Any,
) -> report.Result:
    """Pull streams (all by default) into a DuckDB file."""
    source = stripe.source(key, **options.pop("source", {}))
    chosen = scope.Options(streams=streams or ("*",), **options)
    warehouse = duckdb.DuckDB(file, wait=wait)
    try:
        return asyncio.run(run.pull(source, warehouse, chosen, screen or report.Silent()))
    finally:
        warehouse.close()


def query(file: Path, sql: str) -> list[dict[str, Any]]:
    """Rows of a query."""
    warehouse = duckdb.DuckDB(file)
    try:
        return pa.Table.from_batches(list(warehouse.read(sql))).to_pylist()
    except ValueError:
        return []
    finally:
        warehouse.close()


def tables(file: Path) -> dict[str, list[str]]:
    """Every stream's table as sorted JSON rows, without what differs from pull to pull."""
    names = [
        row["table_name"]
        for row in query(
            file,
            "select table_name from duckdb_tables() where schema_name = 'stripe' "
            "and not starts_with(table_name, '_tidegate') order by 1",
        )
    ]
    texts = (
        f"select '{name}' as name, t::json as row from (select * exclude (_version, _synced_at) "
        f'from stripe."{name}") t'
        for name in names
    )
    found: dict[str, list[str]] = {name: [] for name in names}
    for row in query(file, " union all ".join(texts)) if names else ():
        found[row["name"]].append(row["row"])
    return {name: sorted(rows) for name, rows in found.items()}
