"""MySQL's columns: names, types and collations, and how a column takes a wider type."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set

from tidegate.warehouse import ddl

TYPES = {
    "BOOLEAN": "tinyint(1)",
    "BIGINT": "bigint",
    "DOUBLE": "double",
    "DECIMAL(38,12)": "decimal(38,12)",
    "TIMESTAMP WITH TIME ZONE": "datetime(6)",
    "JSON": "json",
    "VARCHAR": "longtext",
}

WIDENING = "_tidegate_widening"
"""The column that holds a wider column's values until it takes its place."""

INDEX = 3072
"""Bytes that an index of InnoDB may span: https://dev.mysql.com/doc/refman/8.4/en/innodb-limits.html"""

_ODD = re.compile(r"[\0\U00010000-\U0010ffff]| \Z|&(?=#x)")
_EVEN = re.compile(r"&#x([0-9a-f]+);")


def folded(name: str) -> str:
    """A name as MySQL can store it: characters that it takes in no name are written as HTML writes them.

    Those are NUL, all beyond the Basic Multilingual Plane and a space at the end.
    https://dev.mysql.com/doc/refman/8.4/en/identifiers.html
    """
    return _ODD.sub(lambda odd: f"&#x{ord(odd.group()):x};", name)


def unfolded(name: str) -> str:
    """The name that `folded` wrote."""
    return _EVEN.sub(lambda code: chr(int(code[1], 16)), name)


def collation(is_mariadb: bool) -> str:
    """By bytes, trailing spaces included; the two servers have different names for it."""
    return "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"


def longest(parts: int) -> int:
    """Characters that each of the texts in an index of so many columns may have."""
    return INDEX // 4 // parts


def native(kind: str, collation: str, parts: int = 0) -> str:
    """A type as a column's definition writes it; `parts` is the number of columns of the key that it is in."""
    told = TYPES[kind]
    if kind == "VARCHAR":
        told = f"varchar({longest(parts)})" if parts else told
        told += f" CHARACTER SET utf8mb4 COLLATE {collation}"
    return told + (" NOT NULL" if parts else "")


def created(what: str, told: Sequence[str], collation: str) -> str:
    """The statement that makes a table; `what` it is, and what is told between its parentheses."""
    return (
        f"CREATE {what} ({', '.join(told)}) ENGINE=InnoDB ROW_FORMAT=DYNAMIC "
        f"DEFAULT CHARACTER SET utf8mb4 COLLATE {collation}"
    )


def tables(
    rows: Iterable[tuple[str, str, str, str]], checked: Set[tuple[str, str]]
) -> tuple[dict[str, ddl.Columns], dict[str, set[str]]]:
    """Tables with their columns, and by their names in lower case the columns of their keys.

    From rows of table, column, type and kind of index, and from MariaDB's checks: table and clause.
    """
    found: dict[str, ddl.Columns] = {}
    keys: dict[str, set[str]] = {}
    for table, column, kind, index in rows:
        name, plain = unfolded(table), unfolded(column)
        # MariaDB's JSON is a text that is checked: https://mariadb.com/kb/en/json-data-type/
        clause = "json_valid(`" + column.replace("`", "``") + "`)"
        is_json = kind == "longtext" and (table, clause) in checked
        found.setdefault(name, {})[plain] = "json" if is_json else kind
        keys.setdefault(name.lower(), set())
        if index == "PRI":
            keys[name.lower()].add(plain)
    return found, keys


def widened(column: str, there: str, kind: str) -> str | None:
    """SQL for a column's values in a wider type; None where changing the type says the same."""
    moment = f"TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM DATE_FORMAT({column}, '%Y-%m-%d %H:%i:%s.%f')))"
    truth = f"IF({column}, 'true', 'false')"
    if kind == "JSON":
        quoted = f"CONCAT('\"', {moment}, '+00\"')"
        return {"BOOLEAN": truth, "TIMESTAMP WITH TIME ZONE": quoted}.get(there, f"CAST({column} AS CHAR)")
    if kind == "VARCHAR":
        return {"BOOLEAN": truth, "TIMESTAMP WITH TIME ZONE": f"CONCAT({moment}, '+00')"}.get(there)
    return None
