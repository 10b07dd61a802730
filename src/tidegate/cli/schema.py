"""`tidegate schema`: the shape of the configuration file, or of a stream's table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts

from tidegate import catalog, config, errors
from tidegate.cli import output
from tidegate.rows import decode

if TYPE_CHECKING:
    import pyarrow as pa

_OWN = {
    "_account_id": "The Stripe account the row belongs to.",
    "_parent_id": "The parent's id.",
    "_parent_type": "The parent's object type.",
    "_extra": "Fields that the catalog does not know, and values that do not fit their column.",
    "_version": "Stripe's clock when the request that returned the row was sent; unix seconds.",
    "_synced_at": "When the row was written.",
    "_deleted_at": "When Stripe deleted the object; null while it exists.",
}


def schema(
    stream: str | None = None,
    /,
    *,
    to: Literal["arrow", "duckdb"] = "duckdb",
    as_json: Annotated[bool, cyclopts.Parameter(name="--json")] = False,
) -> int:
    """Print the JSON Schema of tidegate.yaml, or a stream's columns.

    Parameters
    ----------
    stream
        A stream, to print its columns; without one, the JSON Schema is printed.
    to
        Whose types to show.
    as_json
        Print a stream's columns as JSON.
    """
    if stream is None:
        output.print_json(config.json_schema(), pretty=True)
        return 0
    streams = catalog.load().streams
    if stream not in streams:
        near = output.suggestion(stream, streams)
        raise errors.ConfigError(f"Stripe has no stream {stream}{near or '; `tidegate streams` lists them'}")
    columns = described(streams[stream], to)
    if as_json:
        output.print_json(
            {"stream": stream, "key": ["_account_id", *streams[stream].key], "columns": columns}
        )
    else:
        _table(streams[stream], columns)
    return 0


def described(stream: catalog.Stream, to: str) -> list[dict[str, object]]:
    """Name, type, nullability and documentation of every column, in the table's order."""
    fields = {field.name: field for field in stream.fields}
    key = {"_account_id", "_version", "_synced_at", *stream.key}
    return [
        {
            "name": column.name,
            "type": duckdb_type(column) if to == "duckdb" else _arrow_type(column),
            "nullable": column.name not in key,
            "references": list(fields[column.name].expands) if column.name in fields else [],
            "doc": fields[column.name].doc if column.name in fields else _OWN.get(column.name, ""),
        }
        for column in decode.Decoder(stream).schema
    ]


def duckdb_type(column: pa.Field) -> str:
    """The DuckDB type of an Arrow column."""
    if _is_json(column):
        return "JSON"
    names = {
        "string": "VARCHAR",
        "int64": "BIGINT",
        "double": "DOUBLE",
        "bool": "BOOLEAN",
        "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE",
    }
    return names.get(str(column.type), str(column.type).upper().replace("128", "").replace(" ", ""))


def _arrow_type(column: pa.Field) -> str:
    return "json" if _is_json(column) else str(column.type)


def _is_json(column: pa.Field) -> bool:
    return (column.metadata or {}).get(b"tidegate") == b"json"


def _table(stream: catalog.Stream, columns: list[dict[str, object]]) -> None:
    from rich import box, table, text

    grid = table.Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    grid.add_column("column", no_wrap=True)
    grid.add_column("type", no_wrap=True)
    grid.add_column("what it is")
    for column in columns:
        cells = (column["name"], column["type"], column["doc"])
        grid.add_row(*(text.Text(str(cell)) for cell in cells))
    out = output.console()
    out.print(grid)
    out.print(f"key: _account_id, {', '.join(stream.key)}", style="dim", markup=False)
