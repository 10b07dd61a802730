"""The types of T-SQL: how they are declared, what DuckDB has for them, and how they go over the wire."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import tds_tokens as tokens
from sqlglot import exp

INT, BIGINT, FLOAT, BIT, DECIMAL, DATETIMEOFFSET = 56, 127, 62, 104, 106, 43
DATETIME2, DATE, NVARCHAR, VARCHAR = 42, 40, 231, 167
TYPES = {
    "INT": (INT, "INTEGER"),
    "BIGINT": (BIGINT, "BIGINT"),
    "DOUBLE": (FLOAT, "DOUBLE"),
    "FLOAT": (FLOAT, "DOUBLE"),
    "BIT": (BIT, "BOOLEAN"),
    "BOOLEAN": (BIT, "BOOLEAN"),
    "DECIMAL": (DECIMAL, "DECIMAL"),
    "TIMESTAMPTZ": (DATETIMEOFFSET, "TIMESTAMPTZ"),
    "DATETIME2": (DATETIME2, "TIMESTAMP"),
    "TIMESTAMP": (DATETIME2, "TIMESTAMP"),
    "DATE": (DATE, "DATE"),
    "NVARCHAR": (NVARCHAR, "VARCHAR"),
    "VARCHAR": (VARCHAR, "VARCHAR"),
}
"""sqlglot's type -> SQL Server's number and DuckDB's type."""

ARROW = {
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMPTZ": pa.timestamp("us", "UTC"),
    "TIMESTAMP": pa.timestamp("us"),
    "DATE": pa.date32(),
    "VARCHAR": pa.string(),
}


class Trouble(Exception):
    """An error, in SQL Server's own number and words."""

    def __init__(self, number: int, text: str, severity: int = 16) -> None:
        super().__init__(text)
        self.number, self.text, self.severity = number, text, severity


def numbers(kind: exp.DataType) -> tuple[int, int, int, int]:
    """Number, bytes, precision and scale of a type."""
    name = kind.this.value if hasattr(kind.this, "value") else str(kind.this)
    if name == "TEXT":  # sqlglot's own, where a function wants a text
        return NVARCHAR, -1, 0, 0
    if name not in TYPES:
        raise Trouble(2715, f"Cannot find data type {name}.")
    number = TYPES[name][0]
    told = [each.name for each in kind.expressions]
    if number in (NVARCHAR, VARCHAR):
        if told in (["MAX"], ["max"]):
            return number, -1, 0, 0
        characters = int(told[0]) if told else 1
        if characters > (4000 if number == NVARCHAR else 8000):
            raise Trouble(131, f"The size ({characters}) given exceeds the maximum allowed.", 15)
        return number, characters * (2 if number == NVARCHAR else 1), 0, 0
    if number == DECIMAL:
        return number, 17, int(told[0]) if told else 18, int(told[1]) if len(told) > 1 else 0
    if number in (DATETIME2, DATETIMEOFFSET):
        return number, 10, 0, int(told[0]) if told else 7
    return number, 8, 0, 0


def typed(kind: str) -> exp.DataType:
    """A column of DuckDB's as T-SQL would declare it."""
    if kind == "VARCHAR":
        return exp.DataType.build("NVARCHAR(MAX)", dialect="tsql")
    if kind.startswith("TIMESTAMP WITH"):
        return exp.DataType.build("DATETIMEOFFSET(6)", dialect="tsql")
    names = {"DOUBLE": "FLOAT", "BOOLEAN": "BIT", "INTEGER": "INT", "TIMESTAMP": "DATETIME2(6)"}
    return exp.DataType.build(names.get(kind, kind), dialect="tsql")


def column(definition: exp.ColumnDef) -> tuple[Any, ...]:
    collation = definition.find(exp.CollateColumnConstraint)
    null = definition.find(exp.NotNullColumnConstraint)
    nullable = null is None or bool(null.args.get("allow_null"))
    told = numbers(definition.args["kind"])
    name = None if told[0] not in (NVARCHAR, VARCHAR) else "SQL_Latin1_General_CP1_CI_AS"
    return definition.name, *told, collation.this.name if collation else name, nullable


def primary(constraint: exp.Expression) -> list[str]:
    """The columns of a PRIMARY KEY."""
    if not re.search(r"PRIMARY KEY", constraint.sql("tsql"), re.IGNORECASE):
        raise Trouble(102, "Incorrect syntax near the constraint.", 15)
    own = constraint.this if isinstance(constraint, exp.Constraint) else None
    return [
        each.name
        for each in constraint.find_all(exp.Identifier)
        if each is not own and not isinstance(each.parent, exp.Constraint)
    ]


def duck(column: Sequence[Any]) -> str:
    """DuckDB's type of a column."""
    number, _, precision, scale = column[1:5]
    kind = next(duck for each, duck in TYPES.values() if each == number)
    return f"DECIMAL({precision},{scale})" if kind == "DECIMAL" else kind


def arrow(kind: str) -> pa.DataType:
    if kind.startswith("DECIMAL"):
        precision, scale = map(int, re.findall(r"\d+", kind))
        return pa.decimal128(precision, scale)
    return ARROW[kind]


def declared(column: Sequence[Any]) -> tokens.Type:
    _, number, size, precision, scale, *_ = column
    if number == NVARCHAR:
        return tokens.nvarchar(size // 2)
    if number == DECIMAL:
        return tokens.decimal(precision, scale)
    if number == DATETIMEOFFSET:
        return tokens.Type(0x2B, scale=scale)
    return {INT: tokens.INT, BIGINT: tokens.BIGINT, FLOAT: tokens.FLOAT, BIT: tokens.BIT, DATE: tokens.DATE}[
        number
    ]


def result(kind: str) -> tokens.Type:
    """The type of a column of a result."""
    if kind.startswith("DECIMAL"):
        return tokens.decimal(*map(int, re.findall(r"\d+", kind)))
    known = {
        "INTEGER": tokens.INT,
        "BIGINT": tokens.BIGINT,
        "HUGEINT": tokens.BIGINT,
        "DOUBLE": tokens.FLOAT,
        "BOOLEAN": tokens.BIT,
        "DATE": tokens.DATE,
        "TIMESTAMP": tokens.DATETIME2,
        "TIMESTAMP WITH TIME ZONE": tokens.MOMENT,
        "VARCHAR": tokens.TEXT,
        '"NULL"': tokens.INT,
        "NULL": tokens.INT,
    }
    return known[kind]


def unfolded(document: str, columns: Sequence[tuple[str, tuple[int, int, int, int], str]]) -> pa.Table:
    """The rows of a JSON document, as OPENJSON makes them; a text that is too long is none."""
    try:
        rows = json.loads(document, parse_float=str, parse_constant=_refused)
    except ValueError:
        raise Trouble(13609, "JSON text is not properly formatted.") from None
    arrays = []
    for _, numbered, path in columns:
        kind, size = duck(("", *numbered)), numbered[1] // 2 if numbered[0] == NVARCHAR else -1
        found = re.fullmatch(r"\$\[(\d+)\]", path)
        step: Any = int(found[1]) if found else path.removeprefix("$.").strip('"')
        values = [row[step] if found else row.get(step) for row in rows]
        told = [None if value is None else _valued(value, kind) for value in values]
        if size > 0:
            told = [None if value is None or len(str(value)) > size else value for value in told]
        arrays.append(pa.array(told, arrow(kind)))
    return pa.table(arrays, names=[name for name, *_ in columns])


def _refused(constant: str) -> object:
    raise ValueError(constant)


def _valued(value: Any, kind: str) -> object:
    if kind == "VARCHAR":
        return value if isinstance(value, str) else json.dumps(value)
    if kind in ("BIGINT", "INTEGER"):
        return int(value)
    if kind == "DOUBLE":
        return float(value)
    if kind == "BOOLEAN":
        return bool(value)
    if kind.startswith("DECIMAL"):
        return Decimal(str(value))
    moment = dt.datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
