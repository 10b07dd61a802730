"""`tidegate schema`: the shape of the configuration file, or of a stream's table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts

from tidegate import catalog, config, errors
from tidegate.cli import connect, output
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
    config_file: Annotated[Path | None, cyclopts.Parameter(name=["--config", "-c"])] = None,
    pull: str | None = None,
    to: Literal["arrow", "duckdb"] = "duckdb",
    as_json: Annotated[bool, cyclopts.Parameter(name="--json")] = False,
) -> int:
    """Print the JSON Schema of tidegate.yaml, or a stream's columns.

    Parameters
    ----------
    stream
        A stream, to print its columns; without one, the JSON Schema is printed.
    config_file
        The configuration whose derived columns are shown too; tidegate.yaml
        by default, where there is one.
    pull
        Only the derived columns of this pull; of all pulls by default.
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
    columns = described(streams[stream], to, _derived(streams[stream], config_file, pull))
    if as_json:
        output.print_json(
            {"stream": stream, "key": ["_account_id", *streams[stream].key], "columns": columns}
        )
    else:
        _table(streams[stream], columns)
    return 0


def described(
    stream: catalog.Stream, to: str, derived: Sequence[tuple[pa.Field, str]] = ()
) -> list[dict[str, object]]:
    """Name, type, nullability and documentation of every column, in the table's order.

    `derived` are columns that come after Stripe's own, with what they are.
    """
    fields = {field.name: field for field in stream.fields}
    key = {"_account_id", "_version", "_synced_at", *stream.key}
    given = decode.Decoder(stream).schema
    place = given.get_field_index("_extra")
    docs = {name: field.doc for name, field in fields.items()} | _OWN
    columns = [(each, docs.get(each.name, "")) for each in given]
    return [
        {
            "name": column.name,
            "type": duckdb_type(column) if to == "duckdb" else _arrow_type(column),
            "nullable": column.name not in key,
            "references": list(fields[column.name].expands) if column.name in fields else [],
            "doc": doc,
        }
        for column, doc in [*columns[:place], *derived, *columns[place:]]
    ]


def _derived(
    stream: catalog.Stream, config_file: Path | None, pull: str | None
) -> list[tuple[pa.Field, str]]:
    """The derived columns of a stream, of one pull or of all.

    A file that was not asked for, and cannot be read, has none, which is said.
    """
    asked = config_file is not None or pull is not None
    if not asked and not Path(config.DEFAULT_FILE).exists():
        return []
    try:
        file = connect.configuration(config_file)
        if pull is not None and pull not in file.pulls:
            near = output.suggestion(pull, file.pulls)
            raise errors.ConfigError(f"there is no pull {pull!r} in the configuration{near or ''}")
        names = [pull] if pull is not None else list(file.pulls)
        return [found for name in names for found in _derived_by(stream, name, file.pulls[name])]
    except errors.ConfigError as error:
        if asked:
            raise
        output.say(f"without the derived columns of {config.DEFAULT_FILE}, which cannot be read: {error}")
        return []


def _derived_by(stream: catalog.Stream, name: str, pull: config.Pull) -> list[tuple[pa.Field, str]]:
    from tidegate.pull import settings

    if not pull.takes(stream.name, default=stream.default):
        return []
    return [
        (column, f"Derived by the pull {name}: {settings.origin(told)}.")
        for column, told in settings.derived_columns(pull, stream, name)
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
