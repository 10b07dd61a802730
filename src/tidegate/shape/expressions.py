"""The user's SQL inside of ours: one expression over one row, which DuckDB's own parser takes apart before it runs.

What reads other rows, other tables or anything outside, and what answers differently each time, is refused by its
grammar. The engine that runs it must open no file and no address besides, whatever it is told; `engine` is one.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from tidegate import errors

if TYPE_CHECKING:
    import duckdb

MEMORY = "512MB"
"""What the expressions of one process may take."""

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

LARGEST = 1_000
"""How many times as much an expression may make of a value by numbers in it: DuckDB bounds no list and no text."""

SIZED = {"repeat": 1, "lpad": 1, "rpad": 1, "list_resize": 1, "array_resize": 1, "bitstring": 1, "bar": 3}
"""Functions that make as much as a number says, and the place of that number."""

SPANS = frozenset(("range", "generate_series"))
"""Functions that make as much as lies between numbers."""

FORMATS = frozenset(("format", "printf"))
_WIDE = re.compile(r"\d{4}|\*|\{[^}]*\{")
"""A field of a format that is wide, or as wide as a value says."""


@functools.cache
def engine() -> duckdb.DuckDBPyConnection:
    """A DuckDB of this process that opens no file and no address; every use takes a cursor of its own."""
    import duckdb

    opened = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": MEMORY,
            "threads": 1,
            # Idle for half a second each gives memory back, for which jemalloc wants some: where the process has no
            # more, that ends it with SIGSEGV. They read files, and here are none.
            "async_threads": 0,
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_persistent_secrets": False,
            "python_enable_replacements": False,
        },
    )
    opened.execute("SET GLOBAL TimeZone = 'UTC'")
    opened.execute("SET enable_external_access = false")
    opened.execute("SET lock_configuration = true")
    return opened


def check(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Raises ConfigError, as the rest of a sentence, unless the text is one expression over a row's columns."""
    made = 1
    for part in _parts(_parsed(connection, text)):
        why = FORBIDDEN.get(part["class"]) or _called(connection, part)
        if why:
            raise errors.ConfigError(f"{why}, and only the columns of its own row can be used")
        made *= _size(part)
        if made > LARGEST:
            raise errors.ConfigError(
                f"it may make too much of a value ({part['function_name']}); write plain numbers there, "
                f"at most {LARGEST:,}"
            )


def names(connection: duckdb.DuckDBPyConnection, text: str) -> frozenset[str]:
    """Every name that may be a column's in an expression that was checked, in lower case."""
    return frozenset(
        str(name).lower()
        for part in _parts(_parsed(connection, text))
        if part["class"] == "COLUMN_REF"
        for name in part["column_names"]
    )


def kind(connection: duckdb.DuckDBPyConnection, expression: str, rows: str) -> str:
    """The DuckDB type of an expression over a query's columns; raises ConfigError, as the rest of a sentence."""
    with _faults():
        [found] = connection.execute(f"DESCRIBE SELECT (\n{expression}\n) AS it FROM {rows}").fetchall()
    return str(found[1])


def fails(connection: duckdb.DuckDBPyConnection, expression: str, rows: str) -> bool:
    """Does the expression fail on some row?"""
    import duckdb

    try:
        connection.execute(f"SELECT count((\n{expression}\n)) FROM {rows}").fetchall()
    except duckdb.Error:
        return True
    return False


def _parsed(connection: duckdb.DuckDBPyConnection, text: str) -> Any:
    """The tree of one expression."""
    with _faults():
        [(told,)] = connection.execute("SELECT json_serialize_sql($1)", [f"SELECT (\n{text}\n)"]).fetchall()
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
    root = node["select_list"][0]
    if root.get("function_name") == "row" and not root["arguments"]:
        raise errors.ConfigError("it is no SQL expression: it is empty")
    return root


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


def _called(connection: duckdb.DuckDBPyConnection, part: dict[str, Any]) -> str:
    """Why a function cannot be called, if it cannot."""
    name = str(part.get("function_name") or "").lower()
    if part["class"] != "FUNCTION" or name in CLOCKS:
        return ""
    if name == "unnest":
        return "it makes several rows (unnest)"
    kinds = _functions(connection).get(name, frozenset())
    if "aggregate" in kinds:
        return f"it adds up rows ({name})"
    if "volatile" in kinds:
        return f"it has another value each time ({name}), so that every row would change in every run"
    return f"it asks about the engine ({name})" if "session" in kinds else ""


def _size(part: dict[str, Any]) -> int:
    """How many times as much a function may make; more than the largest where no plain number says so."""
    name = str(part.get("function_name") or "").lower()
    if part["class"] != "FUNCTION" or name not in SPANS | FORMATS | SIZED.keys():
        return 1
    given = [each["expression"].get("literal") for each in part["arguments"]]
    if name in FORMATS:
        text = given[0]["text"] if given and given[0] and given[0]["kind"] == "STRING" else "*"
        return LARGEST + 1 if _WIDE.search(text) else 1
    if name in SIZED:
        place = SIZED[name] - bool(part["schema"])  # of `name.lpad(9)` the parser takes `name` for a schema
        given = given[place : place + 1]
    if any(each is None or each["kind"] != "INTEGER" for each in given):
        return LARGEST + 1
    return max(1, sum(abs(int(each["text"])) for each in given))


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
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        first = str(error).strip().splitlines()[0].partition("Error: ")
        raise errors.ConfigError(
            f"it is no SQL that works here: {(first[2] or first[0]).rstrip('.!')}"
        ) from None
