"""What SQL expressions give for the rows of a table: all of them in one pass of DuckDB, in UTC.

    with computed.Engine("pipeline eu") as engine:
        domain = engine.expression("split_part(email, '@', 2)", schema, "domain")
        [answer] = engine.answers([domain], table)

They run in a process of their own, which does nothing else, is killed when it takes too long, and cannot take more
memory than it is given: DuckDB's own limits end neither a long computation over one row nor what texts take. Where
an expression fails on a row it gives null, and the row is told. A row over which it takes far too long, or too much
memory, is looked for and told, too; where there are many of them, it is the expression that is wrong.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from tidegate import errors
from tidegate.shape import bounded, documents, frames, wire_sql
from tidegate.warehouse import ddl

FAILS = "its SQL fails on this row; TRY(...) around it gives null instead"

SECONDS = 60.0
"""How long the expressions of a mapping may take over one batch of rows, where nothing else is said."""

_SHARE = 10
"""What a part of a batch may take of its time, once the whole took too long: one of so many parts of it."""
_PARTS = 16
"""Into so many parts rows are taken that do not go together."""
_STARTING = 60.0
"""Seconds that the process may take to begin, on a machine that is very busy."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the expressions of one mapping may use."""

    seconds: float = SECONDS
    """For one batch of rows."""
    memory: int = 1024
    """Megabytes."""
    restarts: int = 20
    """How often their process may be started anew."""


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that was checked, with the columns that it may name; `is_json`: it gives JSON."""

    name: str
    """Of the property that it makes."""
    sql: str
    is_json: bool
    columns: frozenset[str]
    type: pa.DataType


@dataclass(frozen=True, slots=True)
class Answer:
    """What an expression gives for each row, null where it fails, and why it does on which rows."""

    values: pa.ChunkedArray
    failed: Mapping[int, str]


class TooMuch(errors.TidegateError):
    """It is the expression `name` that takes too long, or too much memory: it does so over too many rows."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class _Ended(Exception):
    """The process is no more: what it did, such as `took longer than 60 s`."""


class Engine:
    """The process in which expressions run, started when it is first needed; may be used from any thread.

    It ends with the block, with `close`, or when nobody has the engine any more.
    """

    def __init__(self, named: str, limits: Limits | None = None) -> None:
        self.named = named
        """Whose expressions they are, for errors: `pipeline eu`."""
        self.limits = limits or Limits()
        self.restarts = 0
        """How often its process had to be started anew."""
        self._alone = threading.RLock()
        self._children: list[bounded.Child] = []
        """The process, if there is one."""
        weakref.finalize(self, _end, self._children)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process; it would be started again."""
        with self._alone:
            _end(self._children)

    def expression(self, text: str, schema: pa.Schema, name: str) -> Expression:
        """Make an expression ready for rows of a schema; raises ConfigError, as the rest of a sentence."""
        with self._alone:
            asked = wire_sql.packed(schema.empty_table(), wire_sql.EXPRESSION, text.encode())
            try:
                answer, told = self._asked(asked, self.limits.seconds)
            except _Ended as end:
                raise errors.ConfigError(f"its SQL {end} before it saw a row; make it simpler") from None
        made = msgspec.json.decode(told[wire_sql.MADE], type=wire_sql.Made)
        kind = answer.schema.field(0).type.field(0).type
        return Expression(name, made.sql, made.is_json, frozenset(made.columns), kind)

    def answers(self, asked: Sequence[Expression], table: pa.Table, schema: pa.Schema) -> list[Answer]:
        """What each expression gives for the rows of a table that has the columns of the schema.

        Raises TooMuch where it is an expression that takes too long, or too much memory, and TidegateError where
        no process can be had.
        """
        if not asked:
            return []
        seen = [field for field in schema if any(field.name in each.columns for each in asked)]
        columns = [_readable(table.column(each.name), is_json=ddl.is_json(each)) for each in seen]
        rows = pa.table(
            columns,
            schema=pa.schema([each.with_type(c.type) for each, c in zip(seen, columns, strict=True)]),
        )
        with self._alone:
            return _Pass(self, rows).answers(asked)

    def ask(self, asked: Sequence[Expression], rows: pa.Table, seconds: float) -> list[Answer]:
        """One question, with a limit of its own; raises _Ended when the process did not live to answer it."""
        texts = msgspec.json.encode([each.sql for each in asked])
        found, _ = self._asked(wire_sql.packed(rows, wire_sql.ASKED, texts), seconds)
        return [
            Answer(
                pc.struct_field(each, 0), dict.fromkeys(pc.indices_nonzero(each.is_null()).to_pylist(), FAILS)
            )
            for each in found.columns
        ]

    def _asked(self, question: bytes, seconds: float) -> tuple[pa.Table, dict[bytes, bytes]]:
        child = self.started()
        child.feed(frames.RECORDS, question)
        parts: list[bytes] = []
        try:
            while True:
                for frame in child.exchange(seconds):
                    if frame.kind == frames.REFUSED:
                        raise errors.ConfigError(frames.said(frame.body)[0])
                    parts.append(frame.body)
                    if frame.number == 1:
                        return wire_sql.unpacked(b"".join(parts))
        except bounded.Stopped as stopped:
            self.restarts += 1
            raise _Ended(self._ending(child, stopped, seconds)) from None
        except errors.ConfigError:
            raise
        except BaseException:
            _end(self._children)
            raise

    def started(self) -> bounded.Child:
        """The process, started if there is none."""
        if self._children and not self._children[0].is_alive:  # somebody else ended it
            _end(self._children)
        if not self._children:
            self._start()
        return self._children[0]

    def _start(self) -> None:
        settings = {"timeout": max(self.limits.seconds, _STARTING), "memory": self.limits.memory}
        try:
            child = bounded.Child("sql", settings)
        except OSError as reason:
            raise errors.TidegateError(
                f"No process could be started for the SQL of the {self.named}: {reason.strerror}; see that there "
                "are memory, processes and open files left, and run again."
            ) from None
        self._children.append(child)
        try:
            while not child.exchange(_STARTING):
                pass
        except bounded.Stopped as stopped:
            status, words = child.ending() if stopped.kind == "ended" else (0, "")
            last = words.strip().rpartition("\n")[2]
            _end(self._children)
            raise errors.TidegateError(
                f"The process for the SQL of the {self.named} did not begin "
                f"({last or _ended(status) or f'it said nothing for {_STARTING:g} s'}); see that the machine has "
                "memory left, and run again."
            ) from None

    def _ending(self, child: bounded.Child, stopped: bounded.Stopped, seconds: float) -> str:
        status, words = child.ending() if stopped.kind == "ended" else (0, "")
        _end(self._children)
        if stopped.kind == "late" or status == -signal.SIGALRM:
            return f"took longer than {seconds:g} s"
        if status == frames.OUT_OF_MEMORY or "bad_alloc" in words:
            return f"took more than {self.limits.memory:,} MB of memory"
        return f"ended its process ({_ended(status) or 'it said what is no answer'})"


class _Pass:
    """The answers for one batch of rows: in one go, or by looking for the rows with which that cannot be."""

    def __init__(self, engine: Engine, rows: pa.Table) -> None:
        self._engine, self._rows = engine, rows
        self._spent = 0.0
        """Seconds that were spent on looking for rows."""

    def answers(self, asked: Sequence[Expression]) -> list[Answer]:
        """What each expression gives for the rows."""
        limits = self._engine.limits
        try:
            return self._engine.ask(asked, self._rows, limits.seconds)
        except _Ended as end:
            if len(asked) == 1:
                return [self._in_parts(asked[0], self._rows, end)]
        return [self._of(each, self._rows) for each in asked]

    def _of(self, asked: Expression, rows: pa.Table) -> Answer:
        self._engine.started()
        begun = time.monotonic()
        try:
            [answer] = self._engine.ask([asked], rows, self._engine.limits.seconds / _SHARE)
        except _Ended as end:
            self._spent += time.monotonic() - begun
            return self._in_parts(asked, rows, end)
        self._spent += time.monotonic() - begun
        return answer

    def _in_parts(self, asked: Expression, rows: pa.Table, end: _Ended) -> Answer:
        """What was too much at once, in parts, down to the rows that are too much by themselves."""
        engine, count = self._engine, rows.num_rows
        if self._spent > engine.limits.seconds or engine.restarts > engine.limits.restarts:
            raise TooMuch(
                f"The {engine.named} cannot make {asked.name}: its SQL {end} over "
                f"{f'{count:,} rows' if count > 1 else 'a row'}, and over too many others; make it simpler, or "
                "write a function.",
                asked.name,
            )
        if count <= 1:
            failed = dict.fromkeys(range(count), f"its SQL {end} on this row")
            return Answer(pa.chunked_array([pa.nulls(count, asked.type)]), failed)
        size = -(-count // _PARTS)
        chunks: list[pa.Array] = []
        failed = {}
        for first in range(0, count, size):
            part = self._of(asked, rows.slice(first, size))
            chunks += part.values.cast(asked.type).chunks
            failed |= {first + row: why for row, why in part.failed.items()}
        return Answer(pa.chunked_array(chunks, asked.type), failed)


def _end(children: list[bounded.Child]) -> None:
    while children:
        children.pop().close()


def _ended(status: int) -> str:
    """How a process ended, in words; nothing where it did not end by itself."""
    if status >= 0:
        return f"exit status {status}" if status else ""
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"


def _readable(column: pa.ChunkedArray, *, is_json: bool) -> pa.ChunkedArray:
    return documents.mended(column) if is_json else column
