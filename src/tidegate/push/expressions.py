"""The user's SQL inside of ours: one expression over one row, which DuckDB's own parser takes apart before it runs.

What reads other rows, other tables or anything outside, and what answers differently each time, is refused by its
grammar. The engine of a workbook opens no file and no address besides, whatever it is told.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import duckdb
import msgspec

from tidegate import errors
from tidegate.push import workbook

FORBIDDEN = {
    "SUBQUERY": "it reads rows by a query of its own",
    "WINDOW": "it looks at other rows",
    "STAR": "it names all columns at once",
    "PARAMETER": "it has a parameter",
    "POSITIONAL_REFERENCE": "it counts columns instead of naming them",
    "DEFAULT": "it asks for a default value",
}
"""Classes of DuckDB's expressions that are none over the columns of one row."""

CLOCKS = frozenset((
    "now", "today", "current_date", "get_current_time", "get_current_timestamp", "current_timestamp",
    "current_time", "localtime", "localtimestamp", "transaction_timestamp",
))  # fmt: skip
"""Functions of the time, the same for all rows of one query."""


def check(book: workbook.Workbook, text: str) -> None:
    """Raises ConfigError, as the rest of a sentence, unless the text is one expression over a row's columns."""
    with _faults():
        [(told,)] = book.connection.execute(
            "SELECT json_serialize_sql($1)", [f"SELECT (\n{text}\n)"]
        ).fetchall()
    found = msgspec.json.decode(told)
    if found["error"] and found["error_type"] != "parser":
        raise errors.ConfigError("it is more than one expression")  # another statement than SELECT
    if found["error"]:
        raise errors.ConfigError(f"it is no SQL expression: {found['error_message']}")
    node = found["statements"][0]["node"] if len(found["statements"]) == 1 else {}
    plain = (
        node.get("type") == "SELECT_NODE"
        and len(node["select_list"]) == 1
        and not node["select_list"][0]["alias"]
        and node["from_table"]["type"] == "EMPTY"
        and not any(node[part] for part in ("modifiers", "where_clause", "having", "qualify", "sample"))
        and not node["group_expressions"]
        and not node["cte_map"]["map"]
    )
    if not plain:
        raise errors.ConfigError("it is more than one expression")
    for part in _parts(node["select_list"][0]):
        why = FORBIDDEN.get(part["class"]) or _called(book, part)
        if why:
            raise errors.ConfigError(f"{why}, and only the columns of its own row can be used")


def kind(book: workbook.Workbook, expression: str, rows: str) -> str:
    """The DuckDB type of an expression over a query's columns; raises ConfigError, as the rest of a sentence."""
    with _faults():
        [found] = book.connection.execute(
            f"DESCRIBE SELECT (\n{expression}\n) AS it FROM ({rows})"
        ).fetchall()
    return str(found[1])


def fails(book: workbook.Workbook, expression: str, rows: str) -> bool:
    """Does the expression fail on some row?"""
    try:
        book.connection.execute(f"SELECT count((\n{expression}\n)) FROM ({rows})").fetchall()
    except duckdb.Error:
        return True
    return False


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every expression in a tree, the outer ones first."""
    if isinstance(node, list):
        for each in node:
            yield from _parts(each)
    elif isinstance(node, dict):
        if isinstance(node.get("class"), str):
            yield node
        for each in node.values():
            yield from _parts(each)


def _called(book: workbook.Workbook, part: dict[str, Any]) -> str:
    """Why a function cannot be called, if it cannot."""
    name = str(part.get("function_name") or "").lower()
    if part["class"] != "FUNCTION" or name in CLOCKS:
        return ""
    if name == "unnest":
        return "it makes several rows (unnest)"
    kinds = _functions(book.connection).get(name, frozenset())
    if "aggregate" in kinds:
        return f"it adds up rows ({name})"
    if "volatile" in kinds:
        return f"it has another value each time ({name}), so that every row would be sent in every run"
    return f"it asks about the engine ({name})" if "session" in kinds else ""


_STABILITY = {"VOLATILE": "volatile", "CONSISTENT_WITHIN_QUERY": "session"}
_known: dict[str, frozenset[str]] = {}


def _functions(connection: duckdb.DuckDBPyConnection) -> dict[str, frozenset[str]]:
    """What is special about functions, by name; asked of DuckDB once in a process."""
    if not _known:
        found: dict[str, set[str]] = {}
        for name, type, stability in connection.execute(
            "SELECT lower(function_name), function_type, stability FROM duckdb_functions()"
        ).fetchall():
            special = "aggregate" if type == "aggregate" else _STABILITY.get(stability, "")
            found.setdefault(name, set()).update({special} - {""})
        _known.update({name: frozenset(special) for name, special in found.items()})
    return _known


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Turn what DuckDB says about a text that it does not understand into the rest of a sentence.

    Before anything runs it quotes names and SQL, never rows.
    """
    try:
        yield
    except duckdb.Error as error:
        first = str(error).strip().splitlines()[0].partition("Error: ")
        raise errors.ConfigError(
            f"it is no SQL that works here: {(first[2] or first[0]).rstrip('.!')}"
        ) from None
