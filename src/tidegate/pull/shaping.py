"""From rows as Stripe has them to loads as the table wants them: chosen columns, hashed and derived ones, rows that
belong.

A stream's `Shape` says what its table looks like; `rows`, `past`, `gone` and `swept` turn what was read into loads
for the warehouse. A row that does not match `where` any more leaves the table like a deleted one, but without a
`_deleted_at`; its burial keeps older states of it out.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import functools
import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tidegate import catalog, config, errors
from tidegate.config import conditions
from tidegate.pull import derived as deriving
from tidegate.rows import columns as arrow
from tidegate.rows import decode
from tidegate.shape import filters
from tidegate.warehouse import base

HISTORY = "_history"
"""What the name of a history table ends with."""

_MARK = pa.schema(
    [
        pa.field("_version", pa.int64()),
        pa.field("_deleted_at", arrow.INSTANT),
        pa.field("_synced_at", arrow.INSTANT),
    ]
)
_SPAN = (
    pa.field("_valid_from", arrow.INSTANT),
    pa.field("_valid_to", arrow.INSTANT),
    pa.field("_row_hash", pa.string()),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a stream's table looks like, and which rows belong into it."""

    table: base.Table
    history: base.Table | None
    where: filters.Predicate | None
    hashed: frozenset[str]
    hard: bool
    given: pa.Schema
    """The schema of the rows as they are decoded."""
    expanded: frozenset[str] = frozenset()
    """Columns that Stripe tells only when asked to, wholly or in part: an event's payload lacks them."""
    derived: deriving.Derived = deriving.NONE
    """Columns that are computed from what Stripe says."""
    moving: config.Filter | None = None
    """`where`, if it counts from a moment, so that its answer changes while the rows do not."""
    moment: int = 0
    """The moment from which it counts, unix seconds."""

    @property
    def plain(self) -> bool:
        """Is every row stored just as it is decoded?"""
        return (
            self.where is None
            and not self.hashed
            and not self.derived.schema.names
            and self.table.schema.names == self.given.names
        )

    @property
    def readable(self) -> frozenset[str]:
        """Columns of the table that hold what Stripe says."""
        return frozenset(self.table.schema.names) - self.hashed - self.derived.names

    def judges(self, carried: Collection[str]) -> bool:
        """Can `where` be asked, and be derived what is, of rows that do not tell these columns?"""
        asked = self.derived.columns if self.where is None else self.derived.columns | self.where.columns
        return not asked & set(carried)


def shape(
    stream: catalog.Stream,
    decoder: decode.Decoder,
    *,
    table: str = "",
    columns: frozenset[str] | None = None,
    hashed: Collection[str] = (),
    where: config.Filter | None = None,
    derived: deriving.Derived = deriving.NONE,
    hard: bool = False,
    history: bool = False,
    now: dt.datetime | None = None,
) -> Shape:
    """The shape of a stream's table; the decoder converts what `needed` says.

    `derived` are those of its columns that are kept; relative dates in `where` count from `now`. Raises ConfigError
    for a column that cannot be hashed, and for a filter that cannot be asked.
    """
    now = now or dt.datetime.now(dt.UTC)
    name = table or stream.name
    key = ("_account_id", *stream.key)
    given: pa.Schema = decoder.schema
    for column in sorted(hashed):
        if column.startswith("_") or column in (*key, "created", stream.created_field):
            raise errors.ConfigError(f"{stream.name}.{column} cannot be hashed: Tidegate itself goes by it")
        if column not in {field.name for field in decode.fields(stream)} | derived.names:
            raise errors.ConfigError(
                f"{stream.name}.{column} cannot be hashed: there is no such column; `tidegate schema "
                f"{stream.name}` lists them"
            )
    kept = [
        pa.field(field.name, pa.string()) if field.name in hashed else field
        for field in _with(given, derived.schema)
        if columns is None
        or field.name.startswith("_")
        or field.name in columns
        or field.name in key
        or field.name in derived.names
    ]
    past = [field for field in kept if field.name not in (*stream.expand, "_deleted_at")]
    return Shape(
        base.Table(name, pa.schema(kept), key),
        base.Table(name + HISTORY, pa.schema([*past, *_SPAN]), (*key, "_valid_from"), "")
        if history
        else None,
        None if where is None else _compiled(where, given, derived, now),
        frozenset(hashed) & {field.name for field in kept},
        hard,
        given,
        frozenset(name.partition(".")[0] for name in stream.expand),
        derived,
        where if where is not None and filters.moves(where, given) else None,
        int(now.timestamp()),
    )


def at(shape: Shape, now: dt.datetime) -> Shape:
    """The same, with the relative dates of `where` counted from another moment."""
    if shape.moving is None:
        return shape
    where = filters.compile(shape.moving, shape.given, now)
    return dataclasses.replace(shape, where=where, moment=int(now.timestamp()))


def _compiled(
    where: config.Filter, given: pa.Schema, derived: deriving.Derived, now: dt.datetime
) -> filters.Predicate:
    """The filter; raises ConfigError also where it names a column that does not come from Stripe."""
    for name in sorted(_named(where) & derived.names):
        raise errors.ConfigError(
            f"`where` asks for {name}, which is a derived column; it is asked of what Stripe says, so name what "
            f"{name} is computed from"
        )
    return filters.compile(where, given, now)


def _named(where: config.Filter) -> set[str]:
    """The first step of every field that a filter names."""
    if isinstance(where, conditions.Condition):
        return {where.field.partition(".")[0]}
    parts = where.all if isinstance(where, conditions.All) else where.any
    return set().union(*map(_named, parts))


def _with(given: pa.Schema, derived: pa.Schema) -> list[pa.Field]:
    """The columns of a table in their order: derived ones come after Stripe's own, before those that are ours."""
    place = given.get_field_index("_extra")
    return [*list(given)[:place], *derived, *list(given)[place:]]


def needed(
    stream: catalog.Stream,
    columns: frozenset[str] | None,
    where: config.Filter | None,
    derived: deriving.Derived = deriving.NONE,
) -> frozenset[str] | None:
    """The columns that a decoder must convert, None for all: those that are kept, asked for, or computed from.

    Raises ConfigError for a filter that cannot be asked.
    """
    if columns is None:
        return None
    given = decode.schema(stream)
    asked = (
        frozenset() if where is None else _compiled(where, given, derived, dt.datetime.now(dt.UTC)).columns
    )
    return columns | asked | derived.columns


def hidden(
    stream: catalog.Stream,
    columns: frozenset[str] | None,
    where: config.Filter | None,
    derived: deriving.Derived = deriving.NONE,
) -> frozenset[str]:
    """The columns that are only asked for or computed from, and that must show up nowhere."""
    return (needed(stream, columns, where, derived) or frozenset()) - (columns or frozenset())


def rows(shape: Shape, rows: pa.Table, *, carried: frozenset[str], payload: bool) -> list[base.Load]:
    """Loads for rows that were read, or that a payload told; `carried` columns they do not tell.

    Stubs of deleted objects become tombstones, and rows that `where` does not want leave. What is derived from a
    column that is not told is not told either. Raises ConfigError when `where` asks for such a column.
    """
    untold = carried | shape.expanded if payload else carried
    if shape.derived.columns & untold:
        carried |= shape.derived.names
    if shape.where is not None and shape.where.columns & untold:
        lacking = ", ".join(sorted(shape.where.columns & untold))
        raise errors.ConfigError(
            f"what Stripe says of {shape.table.name} lacks {lacking}, which `where` asks for, so that no row of it "
            "can be judged; take that condition out"
        )
    loads: list[base.Load] = []
    stubs = rows.slice(0, 0)
    if rows["_deleted_at"].null_count < rows.num_rows:
        stubs = rows.filter(pc.is_valid(rows["_deleted_at"]))
        rows = rows.filter(pc.is_null(rows["_deleted_at"]))
    if shape.where is not None and rows.num_rows:
        matches = shape.where.matches(rows)
        loads += _leaving(shape, rows.filter(pc.invert(matches)), strict=payload)
        rows = rows.filter(matches)
    if rows.num_rows:
        fitted = _fitted(shape, rows)
        told = fitted.drop_columns([name for name in carried if name in fitted.schema.names])
        loads.append(base.Load(shape.table, told, "keep" if carried else "replace", strict=payload))
        loads += _versions(shape, _told(shape, fitted, carried), strict=payload)
    if stubs.num_rows:
        marks = stubs.select([*shape.table.key, *_MARK.names])
        loads.append(base.Load(shape.table, marks, "mark", hard=shape.hard, history=shape.history))
    return loads


def past(shape: Shape, rows: pa.Table) -> list[base.Load]:
    """Loads for states that are over, out of payloads: they matter to the history alone."""
    if shape.history is None or not shape.judges(shape.expanded):
        return []
    rows = rows.filter(pc.is_null(rows["_deleted_at"]))
    if shape.where is not None and rows.num_rows:
        rows = rows.filter(shape.where.matches(rows))
    return _versions(shape, _fitted(shape, rows), strict=True) if rows.num_rows else []


def gone(
    shape: Shape, account: str, gone: Sequence[tuple[int, tuple[str, ...]]], now: dt.datetime
) -> list[base.Load]:
    """Loads for deleted rows: since when, and their key behind `_account_id`."""
    marks = _marks(
        shape.table.key, [(account, *key) for _, key in gone], [version for version, _ in gone], now
    )
    return [base.Load(shape.table, marks, "mark", hard=shape.hard, history=shape.history)]


def swept(
    shape: Shape, account: str, swept: Sequence[tuple[str, Sequence[str], int]], now: dt.datetime
) -> list[base.Load]:
    """Loads for parents of which all children are known: the parent, their ids, and when it was so."""
    named = [(parent, id, version) for parent, ids, version in swept for id in ids or (None,)]
    marks = _marks(
        ("_account_id", "_parent_id", shape.table.key[-1]),
        [(account, parent, id) for parent, id, _ in named],
        [version for *_, version in named],
        now,
    )
    return [base.Load(shape.table, marks, "sweep", hard=shape.hard, history=shape.history)]


def again(shape: Shape, fitted: pa.Table) -> list[base.Load]:
    """Loads for rows that were read and have the table's own columns already."""
    return [base.Load(shape.table, fitted), *_versions(shape, fitted, strict=False)]


def _marks(
    key: Sequence[str], keys: Sequence[tuple[str | None, ...]], versions: Sequence[int], now: dt.datetime
) -> pa.Table:
    """Keys with the version at which they are gone, which is also the time of it."""
    version = pa.array(versions, pa.int64())
    made = [pa.array(values, pa.string()) for values in zip(*keys, strict=True)]
    synced = pa.repeat(pa.scalar(now, arrow.INSTANT), len(keys))
    schema = pa.schema([*(pa.field(name, pa.string()) for name in key), *_MARK])
    return pa.table([*made, version, _instants(version), synced], schema=schema)


def _leaving(shape: Shape, rows: pa.Table, *, strict: bool) -> Iterator[base.Load]:
    """Loads for rows that do not belong into the table (any more): they were not deleted.

    A load ends a row's history once, at its newest version; of a row that comes more often, each version has a load
    of its own, the oldest first.
    """
    rows = rows.select([*shape.table.key, *_MARK.names])
    turns = [rows] if rows.num_rows else []
    if shape.history is not None and turns:
        keys = rows.select(shape.table.key)
        if keys.group_by(list(shape.table.key)).aggregate([]).num_rows < rows.num_rows:
            rows = rows.sort_by("_version")
            seen: collections.Counter[tuple[object, ...]] = collections.Counter()
            turn = []
            for key in zip(*(rows[name].to_pylist() for name in shape.table.key), strict=True):
                turn.append(seen[key])
                seen[key] += 1
            turns = [rows.filter(pc.equal(pa.array(turn), n)) for n in range(max(turn) + 1)]
    for some in turns:
        yield base.Load(shape.table, some, "mark", strict=strict, hard=True, history=shape.history)


def _fitted(shape: Shape, rows: pa.Table) -> pa.Table:
    """Rows with the table's own columns, hashed where they are to be."""
    if shape.plain:
        return rows
    derived = shape.derived.arrays(rows)
    made = []
    for field in shape.table.schema:
        column = derived[field.name] if field.name in derived else rows[field.name]
        made.append(_hashed(column) if field.name in shape.hashed else column)
    return pa.table(made, schema=shape.table.schema)


def _told(shape: Shape, fitted: pa.Table, carried: Collection[str]) -> pa.Table:
    """Rows without derived columns that were computed from less than the whole object."""
    return fitted.drop_columns([name for name in shape.derived.schema.names if name in carried])


def _hashed(values: pa.ChunkedArray) -> pa.Array:
    """SHA-256 of each value's text (see `columns.texts`), in hexadecimal; NULL stays NULL."""
    return pa.array(
        [
            None if value is None else hashlib.sha256(value).hexdigest()
            for value in arrow.texts(values).cast(pa.binary()).to_pylist()
        ],
        pa.string(),
    )


def _versions(shape: Shape, fitted: pa.Table, *, strict: bool) -> list[base.Load]:
    """The load of a history, where one is kept: each row is how things stood from its version on."""
    if shape.history is None:
        return []
    names = [name for name in shape.history.schema.names if name in fitted.schema.names]
    content = [
        name for name in names if name == "_extra" or not (name.startswith("_") or name in shape.table.key)
    ]
    made = (
        fitted.select(names)
        .append_column("_valid_from", _instants(fitted["_version"]))
        .append_column("_row_hash", fingerprints(fitted.select(content)))
    )
    return [base.Load(shape.history, made, "history", strict=strict)]


def fingerprints(rows: pa.Table) -> pa.Array:
    """One hash per row over the columns that have a value, so that a new column alone makes no new version.

    Names and values are told apart by bytes that no text has.
    """
    parts = []
    for name in sorted(rows.schema.names):
        if rows[name].null_count < rows.num_rows:
            shown = arrow.texts(rows[name]).cast(pa.binary())
            parts.append(pc.binary_join_element_wise(name.encode(), shown, b"\xfe"))
    if not parts:
        return pa.array([_digest(b"")] * rows.num_rows, pa.string())
    told = functools.reduce(pc.or_, map(pc.is_valid, parts))
    # Rows without any value are left out, since Arrow 26 does so itself with some of them.
    joined = pc.binary_join_element_wise(
        *(part.filter(told) for part in parts), b"\xff", null_handling="skip"
    )
    texts = iter(joined.to_pylist())
    return pa.array([_digest(next(texts) if each else b"") for each in told.to_pylist()], pa.string())


def _digest(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _instants(versions: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return versions.cast(arrow.SECOND).cast(arrow.INSTANT)
