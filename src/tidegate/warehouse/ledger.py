"""State and fences in DuckDB: texts by key, in a table beside the rows, committed with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import duckdb
import pyarrow as pa

from tidegate import errors
from tidegate.warehouse import base, staging

DEFINITION = "(key VARCHAR, value VARCHAR, updated_at TIMESTAMP WITH TIME ZONE)"


def read(connection: duckdb.DuckDBPyConnection, name: str, prefixes: Sequence[str]) -> dict[str, str]:
    """The state under any of the prefixes, all without one; `name` is the table, as SQL names it."""
    rows = connection.execute(
        f"SELECT key, value FROM {name} "
        "WHERE EXISTS (SELECT 1 FROM unnest($1) AS p(prefix) WHERE starts_with(key, prefix)) "
        "AND NOT starts_with(key, $2) ORDER BY key",
        [list(prefixes) or [""], base.FENCE],
    ).fetchall()
    return dict(rows)


def put(connection: duckdb.DuckDBPyConnection, name: str, state: Mapping[str, str | None]) -> None:
    """Write texts under their keys, None removes."""
    if not state:
        return
    rows = pa.table({"key": pa.array(state, pa.string()), "value": pa.array(state.values(), pa.string())})
    connection.register(staging.STAGE, rows)
    connection.execute(f"DELETE FROM {name} WHERE key IN (SELECT key FROM {staging.STAGE})")
    connection.execute(
        f"INSERT INTO {name} SELECT key, value, now() FROM {staging.STAGE} WHERE value IS NOT NULL"
    )
    connection.unregister(staging.STAGE)


def claim(
    connection: duckdb.DuckDBPyConnection, name: str, writer: str, tables: Sequence[str]
) -> dict[str, int]:
    """Raise the token of every table by one, and note who holds it."""
    tokens, state = raised(held(connection, name), writer, tables)
    put(connection, name, state)
    return tokens


def hold(fence: base.Fence, held: Mapping[str, tuple[int, str]], where: str) -> None:
    """Raise Fenced unless the fence is still the last claim on all of its tables."""
    for table, token in fence.tokens.items():
        last, writer = held.get(table, (0, ""))
        if last != token:
            taken = f"was taken over by {writer}" if writer else "lost its claim (was it replaced?)"
            raise errors.Fenced(
                f"{table} in {where} {taken}, so {fence.writer} stops here; what it committed stays. Let one run "
                "at a time write there: wait until the other is done, then run this again."
            )


def tokens(rows: Iterable[tuple[str, str]]) -> dict[str, tuple[int, str]]:
    """By table, the token and the writer of the last claim; from the keys and texts of the state."""
    found = {}
    for key, value in rows:
        token, _, writer = value.partition(" ")
        found[key.removeprefix(base.FENCE)] = (int(token), writer)
    return found


def held(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, tuple[int, str]]:
    """The last claims."""
    return tokens(
        connection.execute(
            f"SELECT key, value FROM {name} WHERE starts_with(key, ?)", [base.FENCE]
        ).fetchall()
    )


def raised(
    held: Mapping[str, tuple[int, str]], writer: str, tables: Sequence[str], step: int = 1
) -> tuple[dict[str, int], dict[str, str]]:
    """The next token of each table, and the state that tells of it."""
    tokens = {table: held.get(table, (0, ""))[0] + step for table in tables}
    return tokens, {base.FENCE + table: f"{token} {writer}" for table, token in tokens.items()}
