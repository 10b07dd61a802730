"""Columns of your own beside Stripe's: each computed from the whole object as it is read, and typed.

    derived = derived.compile(choice.derive, decode.schema(stream), stream="charges")
    derived.arrays(rows)

A value that cannot be made is NULL, counted, and told by `notes`: it keeps no row from its table, and ends no pull.
"""

from __future__ import annotations

import collections
import functools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa

from tidegate import config, errors
from tidegate.config import flows, pipelines
from tidegate.shape import casting, computed, expressions, mapping, profile, targets
from tidegate.warehouse import ddl

UNSEEN = frozenset(("_version", "_synced_at", "_deleted_at"))
"""Columns that differ from reading to reading: nothing is computed from them."""

KINDS = 20
"""Different reasons of one stream that are kept between two notes."""


class Tally:
    """How often a value could not be made, by column and reason; one thread adds, another takes."""

    def __init__(self) -> None:
        self.given_up: dict[str, str] = {}
        """Expressions that are not asked any more, by column, and why."""
        self._lock = threading.Lock()
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()

    def add(self, name: str, why: str, count: int = 1) -> None:
        """Count a reason; beyond KINDS different ones only those that are known."""
        with self._lock:
            if (name, why) in self._counts or len(self._counts) < KINDS:
                self._counts[name, why] += count

    def taken(self) -> list[tuple[tuple[str, str], int]]:
        """What was counted, the most frequent first; counting begins anew."""
        with self._lock:
            found, self._counts = self._counts.most_common(), collections.Counter()
        return found


@dataclass(frozen=True, slots=True)
class _Sql:
    """A column that an expression makes; `asked` is called `charges.net`."""

    name: str
    asked: computed.Expression
    target: targets.Target


@dataclass(frozen=True, slots=True)
class Derived:
    """The derived columns of a stream.

    `schema` is theirs, in the order in which they are written; `columns` are those that they are computed from.
    """

    schema: pa.Schema
    columns: frozenset[str]
    _stream: str
    _seen: pa.Schema
    _plain: mapping.Mapping | None
    _sql: tuple[_Sql, ...]
    _tally: Tally = field(repr=False, compare=False)

    @property
    def names(self) -> frozenset[str]:
        """What they are called."""
        return frozenset(self.schema.names)

    def arrays(self, rows: pa.Table) -> dict[str, pa.ChunkedArray]:
        """The columns for rows that have `columns`; NULL where a value cannot be made, which `notes` tells of."""
        made: dict[str, pa.ChunkedArray] = {}
        if self._plain is not None:
            typed = self._plain.apply(rows)
            for failure in typed.failed:
                self._tally.add(failure.property, failure.why)
            made = {name: typed.rows[name] for name in typed.rows.schema.names}
        return made | self._computed(rows)

    def notes(self) -> list[str]:
        """A sentence for each column and reason for which values are NULL, of what was read since the last call."""
        return [
            f"{self._stream}: {name} is NULL in {count:,} {'row' if count == 1 else 'rows'}: "
            f"{targets.ended(why.replace('the property ', 'the column ', 1))}"
            for (name, why), count in self._tally.taken()
        ]

    def _computed(self, rows: pa.Table) -> dict[str, pa.ChunkedArray]:
        """The columns that expressions make; without those that have proved to take too long or too much."""
        given_up, made = self._tally.given_up, dict[str, pa.ChunkedArray]()
        while asked := [each for each in self._sql if each.name not in given_up]:
            try:
                answers = _engine().answers([each.asked for each in asked], rows, self._seen)
            except computed.TooMuch as error:
                given_up[next(each.name for each in asked if each.asked.name == error.name)] = str(error)
                continue
            made = {each.name: self._typed(each, answer) for each, answer in zip(asked, answers, strict=True)}
            break
        for each in self._sql:
            if each.name not in made:
                self._tally.add(each.name, given_up[each.name], rows.num_rows)
                nulls = pa.nulls(rows.num_rows, targets.ARROW[each.target.type])
                made[each.name] = pa.chunked_array([nulls])
        return made

    def _typed(self, column: _Sql, answer: computed.Answer) -> pa.ChunkedArray:
        """What an expression gives, in the type of its column."""
        for why in answer.failed.values():
            self._tally.add(column.name, why)
        if column.asked.is_json:
            raws = answer.values.cast(pa.binary()).to_pylist()
            found = casting.documents(raws, column.target, checked=False)
        else:
            found = casting.column(answer.values, pa.field(column.name, answer.values.type), column.target)
        for unfit in found.unfit.values():
            self._tally.add(column.name, unfit.sentence(column.name, "its SQL gives"))
        values = found.values
        return values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])


NONE = Derived(pa.schema([]), frozenset(), "", pa.schema([]), None, (), Tally())
"""Of a stream for which nothing is derived."""


def compile(told: Mapping[str, config.Derived], schema: pa.Schema, *, stream: str) -> Derived:
    """Make derived columns ready for rows of a stream's whole schema, or of one that has `columns` at least.

    Raises ConfigError for a name that is taken or none, a field that is not there, a constant that does not fit its
    type, and SQL that is none, has another value each time, or does not tell its type.
    """
    if not told:
        return NONE
    seen = pa.schema([each for each in schema if each.name not in UNSEEN])
    plain: list[profile.Property] = []
    sql: list[_Sql] = []
    for name, each in told.items():
        _check_name(name, stream, schema.names)
        try:
            if each.sql is not None:
                sql.append(_expression(f"{stream}.{name}", each, seen))
            else:
                plain.append(profile.Property(name, targets.Target(_type(each, seen))))
        except errors.ConfigError as error:
            why = targets.ended(f"The stream {stream} cannot make {name}: {error}")
            raise errors.ConfigError(why) from None
    made = None
    if plain:
        fields = {each.name: told[each.name] for each in plain}
        made = mapping.compile(
            fields, _Columns(tuple(plain), ()), seen, named=f"stream {stream}", stream=stream
        )
    kinds = {each.name: each.target for each in plain} | {each.name: each.target for each in sql}
    columns = (frozenset() if made is None else made.columns).union(*(each.asked.columns for each in sql))
    return Derived(
        pa.schema([kinds[name].field(name) for name in told]),
        columns, stream, seen, made, tuple(sql), Tally(),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Columns(profile.Profile):
    """Derived columns as a mapping fills them: a row of which a value cannot be made has NULL there, and stays."""

    def gathered(
        self,
        count: int,
        columns: Mapping[str, casting.Converted],
        origin: str | Mapping[str, str],
        failed: Sequence[profile.Failure] = (),
    ) -> profile.Typed:
        """All rows, and which values of them are NULL for which reason."""
        every = list(failed)
        for name, each in columns.items():
            said = origin if isinstance(origin, str) else origin[name]
            every += [profile.Failure(row, name, why.sentence(name, said)) for row, why in each.unfit.items()]
        rows = pa.table([columns[name].values for name in self.names], schema=self.schema)
        return profile.Typed(rows, pa.repeat(pa.scalar(True), count), tuple(every))


def _check_name(name: str, stream: str, taken: Sequence[str]) -> None:
    """Raises ConfigError for a name that a column of its own cannot have."""
    try:
        flows.column_name(name)
    except ValueError as why:
        raise errors.ConfigError(f"The stream {stream} cannot have the column {name}: {why}.") from None
    if name in map(str.lower, taken):
        raise errors.ConfigError(f"The stream {stream} has a column {name} already; give yours another name.")


@functools.cache
def _engine() -> computed.Engine:
    """The one process of all derived columns; whose expressions take too long is not asked twice."""
    return computed.Engine("pull", computed.Limits(restarts=sys.maxsize))


def _expression(named: str, told: config.Derived, schema: pa.Schema) -> _Sql:
    """An expression with the type that is told, or that it gives."""
    assert told.sql is not None, "The caller has looked."
    asked = _engine().expression(told.sql, schema, named)
    _check_time(told.sql, schema)
    given = "json" if asked.is_json else _held(pa.field(named, asked.type))
    return _Sql(named.rpartition(".")[2], asked, targets.Target(_known(told.type or given)))


def _type(told: config.Derived, schema: pa.Schema) -> pipelines.PropertyType:
    """The type of a constant or of a field; what stands inside JSON is text."""
    if told.type is not None or told.source is None:
        return _known(told.type or _CONSTANTS.get(type(told.value)))
    return _known(_held(schema.field(told.source)) if told.source in schema.names else "string")


def _known(found: pipelines.PropertyType | None) -> pipelines.PropertyType:
    if found is None:
        raise errors.ConfigError("nothing tells what it holds; say its `type`")
    return found


def _held(column: pa.Field) -> pipelines.PropertyType | None:
    """The type that holds what a column does; None where none holds all of it."""
    kind = column.type
    if ddl.is_json(column):
        return "json"
    if pa.types.is_date(kind):
        return "date"
    fits = pa.types.is_decimal128(kind) and kind.scale <= 12 and kind.precision - kind.scale <= targets.DIGITS
    if pa.types.is_decimal(kind):  # more digits than a decimal has are told of value by value
        return "decimal" if fits or kind.scale == 0 else None
    return next((name for name, each in _TYPES.items() if each(kind)), None)


_TYPES: Mapping[pipelines.PropertyType, Callable[[pa.DataType], bool]] = {
    "boolean": pa.types.is_boolean,
    "integer": pa.types.is_integer,
    "number": pa.types.is_floating,
    "timestamp": pa.types.is_timestamp,
    "string": pa.types.is_string,
}
_CONSTANTS: Mapping[type, pipelines.PropertyType] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
}


def _check_time(sql: str, schema: pa.Schema) -> None:
    """Raises ConfigError for an expression that asks what time it is: of a row that stands the answer grows old."""
    with expressions.engine().cursor() as session:
        named = expressions.names(session, sql) - {name.lower() for name in schema.names}
        [(tree,)] = session.execute("SELECT json_serialize_sql($1)", [f"SELECT (\n{sql}\n)"]).fetchall()
    asked = sorted((named & expressions.CLOCKS) | set(_clocks(msgspec.json.decode(tree))))
    if asked:
        raise errors.ConfigError(
            f"its SQL asks for the time ({asked[0]}), and a row is only computed when it is read; ask for it in a "
            "query or a view"
        )


def _clocks(node: Any) -> Iterator[str]:
    """The functions of the time that a tree calls; `age` of one argument counts from today."""
    if isinstance(node, list):
        for each in node:
            yield from _clocks(each)
    elif isinstance(node, dict):
        name = str(node.get("function_name") or "").lower()
        if name in expressions.CLOCKS or (name == "age" and len(node["arguments"]) == 1):
            yield name
        for each in node.values():
            yield from _clocks(each)
