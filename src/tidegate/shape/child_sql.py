"""The process that runs expressions of SQL: `python -I -S -c "... child_sql.main(...)"`.

Questions and answers are in `wire_sql`. The process keeps nothing from one question to the next, so that it can be
ended at any moment. It imports nothing of Tidegate but what stands beside it.
"""

from __future__ import annotations

import mmap
import os
import resource
import signal
from collections.abc import Iterator, Sequence

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.dataset

from tidegate import errors
from tidegate.shape import confined, expressions, frames, wire_sql

JSON = b"tidegate"
"""The key in a field's metadata that says it is JSON."""

_ROW = "record"
"""What an expression may call its row."""
_PART = 8 << 20
"""Bytes of an answer in one frame."""
_GRACE = 10
"""Seconds beyond the time limit after which the process ends itself, should nobody be left to do it."""

_KEPT = frozenset((
    "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "DOUBLE", "VARCHAR",
    "DATE", "JSON",
))  # fmt: skip
"""DuckDB's types whose values are taken as they are, beside its decimals."""

_WORDS = {
    "FLOAT": "CAST(CAST({} AS VARCHAR) AS DOUBLE)",
    "UBIGINT": "CAST({} AS DECIMAL(38, 0))",
    "HUGEINT": "CAST({} AS DECIMAL(38, 0))",
    "UHUGEINT": "CAST({} AS DECIMAL(38, 0))",
    "BIGNUM": "CAST({} AS DECIMAL(38, 0))",
}
"""How a DuckDB type that Arrow or Python has no exact word for becomes one that it has."""

_FULL = (MemoryError, pa.ArrowMemoryError, duckdb.OutOfMemoryException)
_BROKEN = (duckdb.FatalException, duckdb.InternalException)
"""After these DuckDB answers nothing any more."""


def main(inward: int, outward: int, progress: int, parent: int) -> None:
    """Answer what comes through a pipe; the numbers are descriptors, and the parent's id."""
    confined.follow(parent)
    frame = frames.read(inward)
    if frame is None:
        return
    settings = msgspec.json.decode(frame[2])
    pipe = frames.Pipe(outward, settings["key"])
    with mmap.mmap(progress, 8) as shared, memoryview(shared).cast("Q") as begun:
        os.close(progress)
        _warmed()
        confined.bound(settings["memory"], resource.RLIMIT_DATA)
        pipe.write(frames.READY, b"", int(confined.close()))
        number = 0
        while (frame := frames.read(inward)) is not None:
            number += 1
            begun[0] = number
            signal.alarm(int(settings["timeout"]) + _GRACE)
            try:
                answer = _answer(frame[2])
            except errors.ConfigError as error:
                pipe.write(frames.REFUSED, frames.saying(str(error), 0))
                continue
            except _FULL:
                os._exit(frames.OUT_OF_MEMORY)
            finally:
                signal.alarm(0)
            begun[0] = 0
            parts = max(1, -(-len(answer) // _PART))
            for n in range(parts):
                pipe.write(frames.RESULTS, answer[n * _PART : (n + 1) * _PART], parts - n)


def _warmed() -> None:
    """Have DuckDB and Arrow load what they load late."""
    rows = pa.table({"id": [1], "doc": ["{}"]})
    with expressions.engine().cursor() as session:
        _made(session, "now() - INTERVAL 1 DAY", rows.schema)
        _answered(session, ["id + 1", "doc->>'a'"], rows)


def _answer(body: bytes) -> bytes:
    """The answer to a question; raises ConfigError, as the rest of a sentence."""
    table, told = wire_sql.unpacked(body)
    with expressions.engine().cursor() as session:
        if wire_sql.EXPRESSION in told:
            return _made(session, told[wire_sql.EXPRESSION].decode(), table.schema)
        return _answered(session, msgspec.json.decode(told[wire_sql.ASKED], type=list[str]), table)


def _made(session: duckdb.DuckDBPyConnection, text: str, schema: pa.Schema) -> bytes:
    """An expression made ready for rows of a schema: no rows of its type."""
    expressions.check(session, text)
    named = expressions.names(session, text)
    used = [name for name in schema.names if name.lower() in named or _ROW in named]
    seen = pa.schema([schema.field(name) for name in used or schema.names[:1]])
    session.register("given", seen.empty_table())
    kind = expressions.kind(session, text, _rows(seen))
    sql = _shown(f"(\n{text}\n)", kind)
    expressions.kind(session, f"TRY({sql})", _rows(seen))
    made = wire_sql.Made(sql, kind == "JSON" or sql.startswith("to_json("), seen.names)
    answer = _asked(session, [sql], seen.empty_table())
    if answer is None:
        raise errors.ConfigError("its SQL fails before it sees a row")
    return wire_sql.packed(answer, wire_sql.MADE, msgspec.json.encode(made))


def _answered(session: duckdb.DuckDBPyConnection, asked: Sequence[str], rows: pa.Table) -> bytes:
    """For each row what each expression gives, in a struct that is null where it fails."""
    answered = _asked(session, asked, rows)
    if answered is None:  # what TRY does not catch fails a whole query: each by itself, as far as it goes
        found = [pa.chunked_array(list(_one_by_one(session, each, rows))) for each in asked]
        answered = pa.table(found, names=[f"a{n}" for n in range(len(found))])
    return wire_sql.packed(answered, wire_sql.ASKED, b"")


def _asked(session: duckdb.DuckDBPyConnection, asked: Sequence[str], rows: pa.Table) -> pa.Table | None:
    """As `_answered`; None where all of it fails."""
    shown = ", ".join(f"TRY(struct_pack(v := {each})) AS a{n}" for n, each in enumerate(asked))
    session.register("given", rows)
    try:
        return session.sql(f"SELECT {shown} FROM {_rows(rows.schema)}").to_arrow_table()
    except _BROKEN:
        os._exit(frames.OUT_OF_MEMORY)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:
        return None


def _one_by_one(session: duckdb.DuckDBPyConnection, asked: str, rows: pa.Table) -> Iterator[pa.Array]:
    """What an expression gives for rows that do not go together: halves, down to the rows that fail."""
    answered = _asked(session, [asked], rows)
    if answered is not None:
        yield from answered.column(0).chunks
    elif rows.num_rows == 1:
        empty = _asked(session, [asked], rows.slice(0, 0))
        yield pa.nulls(1, pa.struct([("v", pa.null())]) if empty is None else empty.column(0).type)
    else:
        half = rows.num_rows // 2
        yield from _one_by_one(session, asked, rows.slice(0, half))
        yield from _one_by_one(session, asked, rows.slice(half))


def _shown(sql: str, kind: str) -> str:
    """What an expression gives, as Arrow has it exactly; raises ConfigError, as the rest of a sentence."""
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION", "VARIANT")):
        return f"to_json({sql})"
    if kind in _KEPT or kind.startswith("DECIMAL"):
        return sql
    if kind in _WORDS:
        return _WORDS[kind].format(sql)
    if kind.startswith("TIMESTAMP"):
        return f"CAST({sql} AS TIMESTAMP WITH TIME ZONE)"
    if kind in ("BLOB", "GEOMETRY"):
        raise errors.ConfigError("its SQL gives bytes; make them text, such as by hex(...)")
    return f"CAST({sql} AS VARCHAR)"


def _rows(seen: pa.Schema) -> str:
    """The rows that an expression sees: JSON is JSON, everything else as it is."""
    shown = ", ".join(
        f"CAST({name} AS JSON) AS {name}" if field.metadata and JSON in field.metadata else name
        for field in seen
        for name in ['"' + field.name.replace('"', '""') + '"']
    )
    return f"(SELECT {shown} FROM given) AS {_ROW}"
