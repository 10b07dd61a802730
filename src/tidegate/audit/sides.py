"""Two readings of one table laid side by side: what Stripe lists, and what the warehouse holds.

Each row is reduced to its key, version, creation time, amounts and a fingerprint of its content. A small table is
compared in memory; a large one is first dealt into files by a hash of the key, the same way on both sides, so that
memory stays bounded and no warehouse has to sort, whatever its collation.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tidegate import catalog
from tidegate.pull import shaping
from tidegate.warehouse import base

RESIDENT = 100_000
"""Rows of one side that are kept in memory; beyond, they are dealt into files."""
BUCKETS = 64
"""Files that a large side is dealt into."""

STEP = 1_000
"""Rows that are reduced at once: their content stands in memory several times meanwhile."""

KEY, VERSION, PRINT, CREATED = "_key", "_version", "_print", "_created"

BESIDE = frozenset({"_account_id", "_version", "_synced_at", "_deleted_at"})
"""Columns that say nothing of the object itself."""
FRESH_LINKS = frozenset({"hosted_invoice_url", "invoice_pdf", "pdf", "receipt_url"})
"""Addresses that Stripe signs anew in every answer: https://docs.stripe.com/api/invoices/object."""
COUNTDOWNS = {"events": frozenset({"pending_webhooks"})}
"""Counters that go down by themselves, in rows that nobody reads again."""

_AMOUNT = re.compile(r"(amount|net|fee|total|subtotal|balance)(_\w+)?|\w+_amount")
_PARTED = b"\x00"
_MONEY = pa.decimal128(19, 0)


@dataclass(frozen=True, slots=True)
class Measure:
    """What is compared of a stream's rows: the columns of its content, and those that are summed up."""

    key: tuple[str, ...]
    content: tuple[str, ...]
    created: str
    """When a row was created; empty where its table does not tell."""
    amounts: dict[str, str]
    """Column of an amount in minor units -> column of its currency."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that has to be read."""
        named = (*self.key, VERSION, *self.content, *filter(None, [self.created]))
        return tuple(dict.fromkeys((*named, *self.amounts, *self.amounts.values())))

    @property
    def schema(self) -> pa.Schema:
        """What is kept of each row."""
        return pa.schema(
            [
                pa.field(KEY, pa.binary()),
                pa.field(VERSION, pa.int64()),
                pa.field(PRINT, pa.string()),
                pa.field(CREATED, pa.int64()),
                *(pa.field(name, pa.int64()) for name in self.amounts),
                *(pa.field(name, pa.string()) for name in dict.fromkeys(self.amounts.values())),
            ]
        )


def measure(stream: catalog.Stream, shape: shaping.Shape) -> Measure:
    """What can be compared of a stream as it is wanted."""
    names, readable = shape.table.schema.names, shape.readable
    left_out = BESIDE | FRESH_LINKS | COUNTDOWNS.get(stream.name, frozenset())
    created = stream.created_field if stream.created_field in readable else ""
    amounts = {}
    for field in stream.fields:
        if field.type != "integer" or not _AMOUNT.fullmatch(field.name) or field.name not in readable:
            continue
        of_its_own = field.name.removesuffix("amount") + "currency"
        currency = of_its_own if of_its_own in names else "currency"
        if currency in readable and currency != field.name:
            amounts[field.name] = currency
    kept = tuple(name for name in names if name not in left_out)
    return Measure(tuple(shape.table.key[1:]), kept, created, amounts)


def reduced(rows: pa.RecordBatch | pa.Table, wanted: Measure) -> pa.Table:
    """Rows as they are compared; a column that is not there counts as NULL."""
    found = pa.table(
        {name: plain(column) for name, column in zip(rows.schema.names, rows.columns, strict=True)}
    )

    def column(name: str, kind: pa.DataType) -> pa.ChunkedArray:
        if name not in found.schema.names:
            return pa.chunked_array([pa.nulls(found.num_rows, kind)])
        return found[name].cast(kind)

    keys = [column(name, pa.string()).cast(pa.binary()) for name in wanted.key]
    key = keys[0] if len(keys) == 1 else pc.binary_join_element_wise(*keys, _PARTED)
    content = [name for name in wanted.content if name in found.schema.names]
    made = [key, column(VERSION, pa.int64()), shaping.fingerprints(found.select(content))]
    made.append(
        _seconds(found[wanted.created]) if wanted.created in found.schema.names else column("", pa.int64())
    )
    made += [column(name, pa.int64()) for name in wanted.amounts]
    made += [column(name, pa.string()) for name in dict.fromkeys(wanted.amounts.values())]
    # A copy: one column of a warehouse's batch would keep all the others in memory.
    return pa.table(made, schema=wanted.schema).take(pa.arange(0, found.num_rows))


def plain(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without what only its warehouse knows of it: JSON is text, and text is of one kind."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    chunks = [chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk for chunk in chunks]
    kind = chunks[0].type if chunks else getattr(column.type, "storage_type", column.type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        chunks, kind = [chunk.cast(pa.string()) for chunk in chunks], pa.string()
    return pa.chunked_array(chunks, kind)


def keys(table: base.Table, account: str, found: Iterable[bytes]) -> pa.Table:
    """Keys as `Warehouse.find` takes them."""
    parts = [each.split(_PARTED) for each in found]
    columns = [[part[i].decode() for part in parts] for i in range(len(table.key) - 1)]
    text = [pa.array(values, pa.string()) for values in ([account] * len(parts), *columns)]
    return pa.table(text, names=list(table.key))


def name(key: bytes) -> str:
    """A key as people read it."""
    return key.replace(_PARTED, b" ").decode()


class Side:
    """One reading of a table, in memory or dealt into files of a folder."""

    def __init__(self, schema: pa.Schema, folder: Path, name: str) -> None:
        self.rows = 0
        self.dealt = False
        self._schema, self._folder, self._name = schema, folder, name
        self._held: list[pa.Table] = []
        self._files: list[pa.ipc.RecordBatchStreamWriter] = []

    def add(self, rows: pa.Table) -> None:
        """Take more rows."""
        self.rows += rows.num_rows
        if self.dealt:
            self._deal(rows)
            return
        self._held.append(rows)
        if self.rows > RESIDENT:
            self.spill()

    def spill(self) -> None:
        """Deal all rows into files, those to come too; idempotent."""
        if self.dealt:
            return
        self.dealt = True
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._files = [pa.ipc.new_stream(str(self._path(i)), self._schema) for i in range(BUCKETS)]
        held, self._held = self._held, []
        for rows in held:
            self._deal(rows)

    def parts(self) -> Iterator[pa.Table]:
        """The rows, in as many parts as there are files; each file goes once it was read. Only once."""
        if not self.dealt:
            yield pa.concat_tables([self._schema.empty_table(), *self._held])
            return
        for i, file in enumerate(self._files):
            file.close()
            with pa.ipc.open_stream(str(self._path(i))) as reader:
                rows = reader.read_all()
            self._path(i).unlink()
            yield rows

    def close(self) -> None:
        """Let go of the files; whoever owns the folder removes them."""
        for file in self._files:
            file.close()

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{self._name}-{bucket}"

    def _deal(self, rows: pa.Table) -> None:
        buckets = pa.array([zlib.crc32(key) % BUCKETS for key in rows[KEY].to_pylist()], pa.int64())
        order = pc.sort_indices(buckets)
        ordered, start = rows.take(order), 0
        for bucket, same in itertools.groupby(buckets.take(order).to_pylist()):
            count = sum(1 for _ in same)
            self._files[bucket].write_table(ordered.slice(start, count))
            start += count


@dataclass(frozen=True, slots=True)
class Met:
    """A part of both sides: rows of one side only, and pairs of rows with the same key, in the same order."""

    missing: pa.Table
    """Listed by Stripe, not here."""
    extra: pa.Table
    """Here, not listed by Stripe."""
    there: pa.Table
    """The pairs, as Stripe lists them."""
    here: pa.Table
    """The pairs, as they are here."""
    doubled: frozenset[bytes]
    """Keys of several rows here."""

    def doubtful(self, now: int) -> pa.Array:
        """The numbers of the pairs to look at: other fingerprints, doubled, or a version later than `now`."""
        doubt = pc.not_equal(self.there[PRINT], self.here[PRINT])
        late = pc.fill_null(pc.greater(self.here[VERSION], now), False)
        twice = pc.is_in(self.there[KEY], value_set=pa.array(sorted(self.doubled), pa.binary()))
        return pc.indices_nonzero(pc.or_(pc.or_(doubt, late), twice))


def meet(there: Side, here: Side) -> Iterator[Met]:
    """Both sides, part by part."""
    if there.dealt or here.dealt:
        there.spill()
        here.spill()
    for listed, stored in zip(there.parts(), here.parts(), strict=True):
        yield _met(listed, stored)


def _met(listed: pa.Table, stored: pa.Table) -> Met:
    doubled: frozenset[bytes] = frozenset()
    if len(pc.unique(stored[KEY])) < stored.num_rows:
        counts = stored.group_by([KEY]).aggregate([([], "count_all")])
        doubled = frozenset(counts.filter(pc.greater(counts["count_all"], 1))[KEY].to_pylist())
    known = stored[KEY].combine_chunks() if stored.num_rows else pa.array([], pa.binary())
    places = pc.index_in(listed[KEY], value_set=known)
    paired = pc.is_valid(places)
    listed_keys = listed[KEY].combine_chunks() if listed.num_rows else pa.array([], pa.binary())
    return Met(
        missing=listed.filter(pc.invert(paired)),
        extra=stored.filter(pc.invert(pc.is_in(stored[KEY], value_set=listed_keys))),
        there=listed.filter(paired),
        here=stored.take(places.filter(paired)),
        doubled=doubled,
    )


@dataclass(frozen=True, slots=True)
class Total:
    """Rows of one month with their sums, by currency and column; no month where the rows do not tell."""

    month: str
    rows: int
    sums: dict[str, dict[str, int]]


def totals(rows: pa.Table, wanted: Measure, months: Sequence[str] | None = None) -> list[Total]:
    """Rows counted and summed up by the month of their creation, or by the months that are given."""
    if not rows.num_rows:
        return []
    column = pa.array(list(map(month, rows[CREATED].to_pylist())) if months is None else months, pa.string())
    dated = rows.append_column("_month", column)
    counts = dated.group_by(["_month"]).aggregate([([], "count_all")])
    found = {row["_month"]: Total(row["_month"], row["count_all"], {}) for row in counts.to_pylist()}
    for currency in dict.fromkeys(wanted.amounts.values()):
        mine = [amount for amount, other in wanted.amounts.items() if other == currency]
        # Sums of 64 bits would wrap around in silence.
        money = pa.table(
            [dated["_month"], dated[currency], *(dated[amount].cast(_MONEY) for amount in mine)],
            names=["_month", "_currency", *mine],
        )
        summed = money.group_by(["_month", "_currency"]).aggregate([(amount, "sum") for amount in mine])
        for row in summed.to_pylist():
            if row["_currency"] is not None:
                into = found[row["_month"]].sums.setdefault(row["_currency"], {})
                into.update(
                    {each: int(row[f"{each}_sum"]) for each in mine if row[f"{each}_sum"] is not None}
                )
    return list(found.values())


def month(created: int | None) -> str:
    """The month of a moment, UTC: `2026-03`; empty for none."""
    return "" if created is None else _month(created // 86_400)


@functools.lru_cache(maxsize=16_384)
def _month(day: int) -> str:
    return f"{dt.date(1970, 1, 1) + dt.timedelta(day):%Y-%m}"


def columns(warehouse: base.Warehouse) -> dict[str, frozenset[str]]:
    """The columns of every table there is, all names in lower case."""
    found: dict[str, set[str]] = {}
    batches = warehouse.read(
        "select lower(table_name) as name, lower(column_name) as col from information_schema.columns "
        "where lower(table_schema) = ?",
        (warehouse.schema.lower(),),
    )
    for batch in batches:
        for row in batch.to_pylist():
            found.setdefault(row["name"], set()).add(row["col"])
    return {name: frozenset(names) for name, names in found.items()}


@dataclass(frozen=True, slots=True)
class Extent:
    """The live rows of a stream's table, and the newest version, up to a moment, of all its rows."""

    rows: int = 0
    newest: int = 0


def extents(
    warehouse: base.Warehouse,
    tables: Mapping[str, str],
    account: str,
    there: Mapping[str, frozenset[str]],
    until: int,
) -> dict[str, Extent]:
    """By stream, how much there is of an account; `tables` are table names by stream. One query for all."""
    named = {stream: table for stream, table in tables.items() if table.lower() in there}
    selects = [
        "select ? as stream, count(*) - count(_deleted_at) as live, max(case when _version <= ? then _version end) "
        f"as newest from {base.quoted(warehouse.schema)}.{base.quoted(table)} where _account_id = ?"
        for table in named.values()
    ]
    given = [value for stream in named for value in (stream, until, account)]
    batches = warehouse.read(" union all ".join(selects), given) if selects else []
    rows = (row for batch in batches for row in batch.to_pylist())
    return {row["stream"]: Extent(row["live"], row["newest"] or 0) for row in rows}


def read(
    warehouse: base.Warehouse,
    table: str,
    account: str,
    wanted: Measure,
    there: Collection[str],
    into: Side,
) -> None:
    """Bring the live rows of an account's table into a side; `there` are the table's columns in lower case."""
    chosen = ", ".join(base.quoted(name) for name in wanted.columns if name.lower() in there)
    batches = warehouse.read(
        f"select {chosen} from {base.quoted(warehouse.schema)}.{base.quoted(table)} "
        "where _account_id = ? and _deleted_at is null",
        (account,),
    )
    for batch in batches:
        for start in range(0, batch.num_rows, STEP):
            into.add(reduced(batch.slice(start, STEP), wanted))


def _seconds(moments: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole unix seconds."""
    return pc.divide(moments.cast(pa.timestamp("us", "UTC")).cast(pa.int64()), 1_000_000)
