"""The wire of MySQL and MariaDB: pymysql's connection, rows out as Arrow, rows in as text.

Values travel as text both ways, and Arrow itself writes and parses it, so that no row becomes a Python object on
its way in. Uploads come from memory: a server that asks for a file of this machine gets none.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import itertools
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pymysql
from pymysql import converters
from pymysql.constants import CLIENT, CR, FIELD_TYPE, FLAG

from tidegate.warehouse import base

PARAMETER = "\0"
"""What stands for a parameter until its value does: no name and no text of ours can hold it."""

BATCH = 10_000
"""Rows per batch of a query, at most."""

BYTES = 16 * 1024 * 1024
"""Bytes per batch, in about."""

PIECE = 1024 * 1024
"""Bytes per packet of an upload."""

HANDSHAKE = 15.0
"""Seconds that a server may take to greet and to sign us in."""

INTEGERS = {FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.LONG, FIELD_TYPE.INT24, FIELD_TYPE.YEAR}

ARROW: dict[int, pa.DataType] = {
    **dict.fromkeys(INTEGERS, pa.int64()),
    FIELD_TYPE.LONGLONG: pa.int64(),
    FIELD_TYPE.FLOAT: pa.float64(),
    FIELD_TYPE.DOUBLE: pa.float64(),
    FIELD_TYPE.DATE: pa.date32(),
    FIELD_TYPE.NEWDATE: pa.date32(),
    FIELD_TYPE.DATETIME: pa.timestamp("us", "UTC"),
    FIELD_TYPE.TIMESTAMP: pa.timestamp("us", "UTC"),
}
"""Types of columns by their numbers; decimals and booleans need a second look, all others come as text."""


class Connection(pymysql.connections.Connection):  # type: ignore[misc]  # pymysql has no types
    """A connection whose uploads come from memory, and whose long results can be given up."""

    is_held = False
    """Whether a lock or a transaction hangs on it, so that no other will do."""
    _begins = False
    """Whether the next packet is the first of an answer, the only one that may ask for a file."""

    def __init__(self, **told: Any) -> None:
        self._upload: Iterable[memoryview] | None = None
        encoders = {kind: how for kind, how in converters.conversions.items() if type(kind) is not int}
        super().__init__(
            **told,
            conv=encoders,
            charset="utf8mb4",
            autocommit=True,
            client_flag=CLIENT.LOCAL_FILES,
            read_timeout=HANDSHAKE,
            defer_connect=True,
        )

    def sign_in(self, opened: socket.socket) -> None:
        """Sign in over a socket; queries may then take as long as the server lives."""
        self.connect(opened)
        self._read_timeout = None

    def answer(self, text: str) -> Sequence[Sequence[str | None]]:
        """The rows of a small query, as texts."""
        self.query(text)
        rows: Sequence[Sequence[str | None]] = self._result.rows
        return rows

    def upload(self, table: str, columns: str, rows: pa.Table) -> None:
        """Add rows by LOAD DATA LOCAL."""
        text = (
            f"LOAD DATA LOCAL INFILE 'tidegate' INTO TABLE {table} CHARACTER SET utf8mb4 "
            f"FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({columns})"
        )
        count, warnings = self.send(text, lines(rows))
        if warnings or count != rows.num_rows:
            # LOCAL makes warnings of all errors, and rows that it drops.
            [(_, code, what)] = self.answer("SHOW WARNINGS LIMIT 1") or [(None, "1265", "rows were dropped")]
            raise pymysql.err.DataError(int(code or 0), what)

    def insert(self, table: str, columns: str, rows: pa.Table, most: int) -> None:
        """Add rows by INSERTs with at most `most` bytes of values."""
        for piece in tuples(rows, most):
            self.query(f"INSERT INTO {table} ({columns}) VALUES ".encode() + piece)

    def send(self, text: str, data: Iterable[memoryview]) -> tuple[int, int]:
        """Run a LOAD DATA LOCAL whose file is `data`; how many rows came in, and how many warnings there are."""
        self._upload = data
        try:
            count = self.query(text)
        finally:
            self._upload = None
        return int(count), int(self._result.warning_count)

    def rows(self, text: str, *, stream: bool) -> Iterator[pa.RecordBatch]:
        """The rows of a query, one batch at least; `stream`: in bounded memory.

        A stream that is given up takes its connection with it: the server would send all of it first.
        """
        self.query(text, unbuffered=stream)
        result = self._result
        if not stream:
            yield batch(result.fields, result.rows)
            return
        try:
            found, size, sent = list[Sequence[Any]](), 0, False
            while (row := result._read_rowdata_packet_unbuffered()) is not None:
                found.append(row)
                size += sum(len(value) for value in row if value is not None)
                if len(found) == BATCH or size > BYTES:
                    yield batch(result.fields, found)
                    found, size, sent = [], 0, True
            if found or not sent:
                yield batch(result.fields, found)
        finally:
            if result.unbuffered_active:
                result.unbuffered_active, result.connection = False, None
                self.drop()

    def cut(self) -> None:
        """End what another thread waits for; closing alone would wait for that thread. Never raises."""
        with contextlib.suppress(Exception):
            self._sock.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        """Cut the connection; never raises."""
        self.cut()
        with contextlib.suppress(Exception):
            self._force_close()
        self._closed = True

    def _create_ssl_ctx(self, asked: Any) -> ssl.SSLContext:
        # pymysql reads all certificates of the system (35 ms) also where it shall verify nothing.
        return super()._create_ssl_ctx(asked) if asked else _trusting()

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        super()._execute_command(command, sql)
        self._begins = True

    def _read_packet(self, *kind: Any) -> Any:
        # pymysql would open whatever file the server names, and a server that was taken over may name any:
        # https://dev.mysql.com/doc/refman/8.4/en/load-data-local-security.html
        packet, begins, self._begins = super()._read_packet(*kind), self._begins, False
        if not begins or not packet.is_load_local_packet():
            return packet  # a row whose first value is NULL begins with the same byte
        data, self._upload = self._upload, None
        if data is None:
            self.drop()
            raise pymysql.err.OperationalError(
                CR.CR_SERVER_LOST, "the server asked for a file of this machine"
            )
        try:
            for piece in data:
                for start in range(0, len(piece), PIECE):
                    self.write_packet(piece[start : start + PIECE])
        except BaseException:
            self.drop()  # half of a file must not be taken for all of it
            raise
        self.write_packet(b"")
        return super()._read_packet()


@functools.cache
def _trusting() -> ssl.SSLContext:
    """What TLS needs to know where nothing is verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def literal(value: object) -> str:
    """A parameter of a query as SQL text, moments in UTC."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(dt.UTC).replace(tzinfo=None)
        return f"'{value.isoformat(' ', 'microseconds')}'"
    return str(converters.escape_item(value, "utf8mb4"))


def filled(text: str, parameters: Sequence[object]) -> str:
    """A statement with its parameters in their places."""
    if not parameters:
        return text
    pieces = text.split(PARAMETER)
    values = [literal(value) for value in parameters]
    return "".join(itertools.chain(*zip(pieces, [*values, ""], strict=True)))


# Rows out


def batch(fields: Sequence[Any], rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Rows of texts as Arrow, in the types of the columns."""
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(fields)
    arrays = []
    for field, values in zip(fields, columns, strict=True):
        told = pa.array(
            [value.hex() if isinstance(value, bytes) else value for value in values]
            if field.charsetnr == 63
            else values,
            pa.string(),
        )
        kind = _kind(field)
        if pa.types.is_timestamp(kind):
            told = told.cast(pa.timestamp("us"))
        arrays.append(told.cast(kind))
    schema = [
        pa.field(field.name, each.type, metadata=base.JSON if field.type_code == FIELD_TYPE.JSON else None)
        for field, each in zip(fields, arrays, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(schema))


def _kind(field: Any) -> pa.DataType:
    if field.type_code in (FIELD_TYPE.NEWDECIMAL, FIELD_TYPE.DECIMAL):
        is_ours = (
            field.scale <= 12 and field.length - field.scale <= 28
        )  # a sign and a point are counted, too
        return pa.decimal128(38, 12) if is_ours else pa.decimal256(76, max(12, field.scale))
    if field.type_code == FIELD_TYPE.TINY and field.length == 1:
        return pa.bool_()
    if field.type_code == FIELD_TYPE.LONGLONG and field.flags & FLAG.UNSIGNED:
        return pa.uint64()
    return ARROW.get(field.type_code, pa.string())


# Rows in


def lines(rows: pa.Table) -> Iterator[memoryview]:
    """Rows as LOAD DATA reads them: tabs between, a backslash before what would be misread, \\N for NULL."""
    for part in _parts(rows):
        columns = [
            _escaped(column, {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\0": "\\0"}) for column in part.columns
        ]
        joined = pc.binary_join_element_wise(
            *columns, _text("\t"), null_handling="replace", null_replacement="\\N"
        )
        yield _bytes(pc.binary_join_element_wise(joined, _text(""), _text("\n")))


def tuples(rows: pa.Table, most: int) -> Iterator[bytes]:
    """Rows as INSERT reads them after VALUES, cut into pieces of at most `most` bytes, or of a single row.

    All values are in quotes: a column takes them as it takes those of LOAD DATA.
    """
    for part in _parts(rows):
        columns = [_quoted(column) for column in part.columns]
        joined = pc.binary_join_element_wise(
            *columns, _text(", "), null_handling="replace", null_replacement="NULL"
        )
        piece, size = list[bytes](), 0
        for value in pc.cast(joined, pa.large_binary()).to_pylist():
            if piece and size + len(value) + 4 > most:
                yield b", ".join(piece)
                piece, size = [], 0
            piece.append(b"(" + value + b")")
            size += len(value) + 4
        if piece:
            yield b", ".join(piece)


def _parts(rows: pa.Table) -> Iterator[pa.RecordBatch]:
    for part in rows.to_batches(max_chunksize=BATCH):
        yield from _halved(part)


def _halved(part: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if part.num_rows > 1 and part.get_total_buffer_size() > BYTES and part.nbytes > BYTES:
        half = part.num_rows // 2
        yield from _halved(part.slice(0, half))
        yield from _halved(part.slice(half))
    elif part.num_rows:
        yield part


def _escaped(column: pa.Array, escapes: dict[str, str]) -> pa.Array:
    """A column as text, NULL where it is NULL."""
    kind = column.type
    if pa.types.is_boolean(kind):
        return pc.if_else(column, _text("1"), _text("0"))
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us")).cast(pa.large_string())
    text = column.cast(pa.large_string())
    if pa.types.is_string(kind):
        for what, instead in escapes.items():
            if pc.any(pc.match_substring(text, what)).as_py():
                text = pc.replace_substring(text, what, instead)
    return text


def _quoted(column: pa.Array) -> pa.Array:
    text = _escaped(column, {"\\": "\\\\", "'": "\\'", "\0": "\\0"})
    return pc.binary_join_element_wise(_text("'"), text, _text("'"), _text(""))


def _text(value: str) -> pa.Scalar:
    return pa.scalar(value, pa.large_string())


def _bytes(column: pa.Array) -> memoryview:
    """All texts of a column one after the other."""
    _, offsets, data = column.buffers()
    ends = memoryview(offsets).cast("q")
    return memoryview(data)[ends[column.offset] : ends[column.offset + len(column)]]
