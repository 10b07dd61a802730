"""The values, rows and messages of TDS 7.4, as bytes and back; see [MS-TDS]."""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

COLLATION = bytes.fromhex("0904d00034")
EPOCH = dt.date(1, 1, 1).toordinal()
PLP_NULL, PLP_UNKNOWN = 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFE
VARIABLE = {0x24, 0x26, 0x68, 0x6A, 0x6C, 0x6D, 0x6E, 0x6F}
"""Types whose values carry their length in one byte."""
FIXED = {0x30: 1, 0x32: 1, 0x34: 2, 0x38: 4, 0x3A: 4, 0x3B: 4, 0x3D: 8, 0x3E: 8, 0x7F: 8}


@dataclass(frozen=True, slots=True)
class Type:
    """A TYPE_INFO: the token, and what follows it as far as that token has it."""

    token: int
    size: int = 0
    precision: int = 0
    scale: int = 0

    @property
    def is_long(self) -> bool:
        """Is it sent in chunks?"""
        return self.token in (0xA5, 0xA7, 0xE7) and self.size == 0xFFFF


BIGINT, INT, FLOAT, BIT = Type(0x26, 8), Type(0x26, 4), Type(0x6D, 8), Type(0x68, 1)
TEXT, DATE, DATETIME2, MOMENT = Type(0xE7, 0xFFFF), Type(0x28), Type(0x2A, scale=6), Type(0x2B, scale=6)


def decimal(precision: int, scale: int) -> Type:
    """DECIMAL(precision, scale)."""
    return Type(0x6A, 17, precision, scale)


def nvarchar(characters: int) -> Type:
    """NVARCHAR(n), or NVARCHAR(MAX) where there are none."""
    return Type(0xE7, characters * 2 if characters > 0 else 0xFFFF)


def type_info(kind: Type) -> bytes:
    """TYPE_INFO."""
    if kind.token in (0x26, 0x68, 0x6D):
        return bytes((kind.token, kind.size))
    if kind.token == 0x6A:
        return bytes((kind.token, kind.size, kind.precision, kind.scale))
    if kind.token == 0xE7:
        return struct.pack("<BH", kind.token, kind.size) + COLLATION
    if kind.token in (0x2A, 0x2B):
        return bytes((kind.token, kind.scale))
    return bytes((kind.token,))


def written(kind: Type, value: object) -> bytes:
    """A value in a row."""
    if kind.token == 0xE7:
        if value is None:
            return struct.pack("<Q", PLP_NULL) if kind.is_long else b"\xff\xff"
        data = str(value).encode("utf-16-le", "surrogatepass")
        if not kind.is_long:
            return struct.pack("<H", len(data)) + data
        if not data:
            return struct.pack("<QI", 0, 0)
        return struct.pack("<QI", len(data), len(data)) + data + b"\0\0\0\0"
    if value is None:
        return b"\0"
    if kind.token == 0x26:
        return struct.pack("<Bq" if kind.size == 8 else "<Bi", kind.size, value)
    if kind.token == 0x6D:
        return struct.pack("<Bd", 8, value)
    if kind.token == 0x68:
        return b"\1\1" if value else b"\1\0"
    if kind.token == 0x6A:
        assert isinstance(value, Decimal)
        sign, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)
        whole = int("".join(map(str, digits))) * 10 ** (kind.scale + exponent)
        return b"\x11" + bytes((1 - sign,)) + whole.to_bytes(16, "little")
    if kind.token == 0x28:
        assert isinstance(value, dt.date)
        return b"\3" + (value.toordinal() - EPOCH).to_bytes(3, "little")
    assert isinstance(value, dt.datetime)
    if kind.token == 0x2B:
        value = value.astimezone(dt.UTC)
    micros = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    data = micros.to_bytes(5, "little") + (value.toordinal() - EPOCH).to_bytes(3, "little")
    return b"\x0a" + data + b"\0\0" if kind.token == 0x2B else b"\x08" + data


class Reader:
    """Bytes of a message, from the front to the back."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def take(self, count: int) -> bytes:
        """The next bytes."""
        found = self.data[self.at : self.at + count]
        if len(found) < count:
            raise EOFError("the message ends too early")
        self.at += count
        return found

    def number(self, count: int) -> int:
        """The next bytes as an unsigned number."""
        return int.from_bytes(self.take(count), "little")

    def short_text(self) -> str:
        """B_VARCHAR."""
        return self.take(2 * self.number(1)).decode("utf-16-le")

    def type_info(self) -> Type:
        """TYPE_INFO."""
        token = self.number(1)
        if token in FIXED or token == 0x1F:
            return Type(token)
        if token in (0x24, 0x26, 0x68, 0x6D, 0x6E, 0x6F):
            return Type(token, self.number(1))
        if token in (0x6A, 0x6C):
            return Type(token, self.number(1), self.number(1), self.number(1))
        if token == 0x28:
            return Type(token)
        if token in (0x29, 0x2A, 0x2B):
            return Type(token, scale=self.number(1))
        if token in (0xA7, 0xAF, 0xE7, 0xEF):
            size = self.number(2)
            self.take(5)
            return Type(token, size)
        if token in (0xA5, 0xAD):
            return Type(token, self.number(2))
        raise ValueError(f"a type {token:#x} that nobody sends here")

    def value(self, kind: Type) -> object:
        """A value of a type."""
        if kind.is_long:
            data = self._long()
        elif kind.token in (0xA5, 0xAD, 0xA7, 0xAF, 0xE7, 0xEF):
            size = self.number(2)
            data = None if size == 0xFFFF else self.take(size)
        else:
            size = FIXED[kind.token] if kind.token in FIXED else 0 if kind.token == 0x1F else self.number(1)
            data = self.take(size) if size else None
        return None if data is None else self._parsed(kind, data)

    def _long(self) -> bytes | None:
        total = self.number(8)
        if total == PLP_NULL:
            return None
        parts = []
        while size := self.number(4):
            parts.append(self.take(size))
        data = b"".join(parts)
        if total not in (PLP_UNKNOWN, len(data)):
            raise ValueError("a long value is not as long as it says")
        return data

    def _parsed(self, kind: Type, data: bytes) -> object:
        token = kind.token
        if token in (0xE7, 0xEF):
            return data.decode("utf-16-le", "surrogatepass")
        if token in (0xA7, 0xAF):
            return data.decode("cp1252")
        if token in (0x26, 0x30, 0x34, 0x38, 0x7F):
            return int.from_bytes(data, "little", signed=len(data) > 1)
        if token in (0x68, 0x32):
            return bool(data[0])
        if token in (0x6D, 0x3B, 0x3E):
            return struct.unpack("<d" if len(data) == 8 else "<f", data)[0]
        if token in (0x6A, 0x6C):
            whole = int.from_bytes(data[1:], "little")
            # Not by `scaleb`, which rounds to 28 digits.
            return Decimal((0 if data[0] else 1, tuple(map(int, str(whole))), -kind.scale))
        if token == 0x28:
            return dt.date.fromordinal(int.from_bytes(data, "little") + EPOCH)
        if token in (0x2A, 0x2B):
            zone = 2 if token == 0x2B else 0
            time = data[: len(data) - 3 - zone]
            day = int.from_bytes(data[len(time) : len(time) + 3], "little")
            micros = int.from_bytes(time, "little") * 10**6 // 10**kind.scale
            moment = dt.datetime.fromordinal(day + EPOCH) + dt.timedelta(microseconds=micros)
            return moment.replace(tzinfo=dt.UTC) if zone else moment
        return data


def column_metadata(columns: Sequence[tuple[str, Type]]) -> bytes:
    """COLMETADATA."""
    told = struct.pack("<BH", 0x81, len(columns))
    for name, kind in columns:
        told += struct.pack("<IH", 0, 0x0009) + type_info(kind) + short(name)
    return told


def short(text: str) -> bytes:
    """B_VARCHAR."""
    data = text.encode("utf-16-le")
    return bytes((len(data) // 2,)) + data


def message(number: int, severity: int, text: str, *, state: int = 1) -> bytes:
    """ERROR, or INFO where the severity is no error's."""
    data = text[:2000].encode("utf-16-le", "replace")
    body = struct.pack("<iBBH", number, state, severity, len(data) // 2) + data + short("tds") + short("")
    body += struct.pack("<I", 1)
    return struct.pack("<BH", 0xAA if severity > 10 else 0xAB, len(body)) + body


def done(token: int = 0xFD, status: int = 0, count: int = 0, command: int = 0) -> bytes:
    """DONE (0xFD), DONEPROC (0xFE), DONEINPROC (0xFF)."""
    return struct.pack("<BHHQ", token, status, command, count)


def change(kind: int, new: bytes, old: bytes) -> bytes:
    """ENVCHANGE."""
    return struct.pack("<BHB", 0xE3, 1 + len(new) + len(old), kind) + new + old


RETURNED = struct.pack("<Bi", 0x79, 0)
"""RETURNSTATUS 0."""


def output(ordinal: int, value: int) -> bytes:
    """RETURNVALUE: a whole number of an output parameter."""
    head = struct.pack("<BH", 0xAC, ordinal - 1) + short("") + struct.pack("<BIH", 1, 0, 0)
    return head + type_info(INT) + written(INT, value)
