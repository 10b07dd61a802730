"""What is new, changed or gone in a stream since a pipeline read it.

Every row of the stream is held against the progress of the pipeline (`records.progress`): a row that was never
read, that was written since, or that was read for another filter, mapping or function, is read now, whenever its
version came. No position in the stream is kept that a late row could lie before.

Where stream and model share a warehouse, the warehouse compares. Else the narrow columns of both are compared here,
on a DuckDB in a temporary file. Either way what is found goes to a temporary file first: no warehouse is read while
it is written, how much there is is known before anything is done, and memory is bounded.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tidegate import errors, temporary
from tidegate.customers import names, records, spooling
from tidegate.shape import pushdown
from tidegate.warehouse import base, ddl, remote

SHARE = 10
"""Where more than one row in so many changed, the whole stream is read, else the changed rows by their keys."""

MEMORY = "256MB"
"""What comparing takes; more goes to disk."""

KINDS = ("duckdb", "postgres")
"""Types of warehouses that are asked for what a filter may hold: in those that has been tried on whole models."""

_MOVED, _MAY = "_tidegate_moved", "_tidegate_may"
"""What stands for the SQL of `moved` in a query, and the column in which a row says whether it holds for it."""

_NARROW = ("_account_id", "source_id", "_version", "_synced_at")


@dataclass(frozen=True, slots=True)
class Stream:
    """The table of a stream in its warehouse; `columns` are those that are read, with their types there."""

    warehouse: base.Warehouse
    table: base.Table
    columns: pa.Schema


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Whose progress counts: the pipeline, its shape (see `records.Batch`), and its accounts, all when None."""

    name: str
    shape: str
    accounts: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a pipeline has to read, and how much that is.

    `known` counts the rows that the pipeline brought into the model and that it has seen as they are. The files are
    there while the block of `changes` runs.
    """

    count: int
    gone_count: int
    known: int
    _rows: Path
    _gone: Path

    def rows(self) -> Iterator[pa.Table]:
        """Rows to be read, with the stream's columns after `_account_id`, `source_id`, `_version`, `_synced_at`."""
        return spooling.spooled(self._rows)

    def gone(self) -> Iterator[pa.Table]:
        """Keys (`records.GONE`) of rows that the stream does not have any more."""
        return spooling.spooled(self._gone)


def stream(warehouse: base.Warehouse, table: base.Table) -> Stream:
    """A stream as it is stored, with those of its columns that were pulled.

    Raises ConfigError where it was not pulled at all: an absent table must not look like one that lost all rows.
    """
    there = {column.lower() for column in warehouse.columns(table.name)}
    if not there:
        raise errors.ConfigError(
            f"There is no table {warehouse.schema}.{table.name} for the pipeline to read; pull the stream "
            f"{table.name} into that warehouse first."
        )
    told = [field for field in table.schema if field.name.lower() in there]
    keys = pa.schema([table.schema.field(column) for column in table.key]).empty_table()
    stored = warehouse.find(table, keys, [field.name for field in told]).schema
    return Stream(
        warehouse, table, pa.schema([field.with_type(stored.field(field.name).type) for field in told])
    )


@contextlib.contextmanager
def changes(
    source: Stream,
    model: base.Warehouse,
    named: names.Names,
    pipeline: Pipeline,
    *,
    beside: bool,
    everything: bool = False,
    moved: pushdown.Pushed | None = None,
) -> Iterator[Changes]:
    """What changed for a pipeline; `beside`: the stream is in the model's own warehouse, maybe another schema.

    `everything`: all live rows of the stream, changed or not. `moved`, for a warehouse of the KINDS, says of a
    filter whose answer changes by itself which rows it may hold for now: those come, too, and all that were not
    filtered out the last time. The tables of the model must be prepared.
    """
    with temporary.folder("changes") as folder:
        compare = _Beside if beside else _Apart
        yield compare(source, model, named, pipeline, everything, folder, moved).found()


def sample(source: Stream, limit: int, accounts: Sequence[str] | None = None) -> pa.Table:
    """Some live rows of a stream, the newest versions first, as `Changes.rows` has them."""
    compare = _Beside(source, source.warehouse, names.Names(), Pipeline("", "", accounts), True, Path())
    return compare.newest(limit)


def chosen(source: Stream, ids: Sequence[str], accounts: Sequence[str] | None = None) -> pa.Table:
    """The live rows of a stream with these ids (`source_id`), in the order of the ids."""
    compare = _Beside(source, source.warehouse, names.Names(), Pipeline("", "", accounts), True, Path())
    return compare.chosen(ids)


def as_read(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """Rows of a stream that come from elsewhere than its table, as `Changes.rows` has them."""
    ids = pc.binary_join_element_wise(*(rows[each] for each in key[1:]), "/")
    own = pa.schema(
        [
            *(records.SEEN.field(name) for name in _NARROW),
            *(field for field in rows.schema if field.name not in _NARROW),
        ]
    )
    return spooling.typed(rows.append_column("source_id", ids), own)


class _Comparison(abc.ABC):
    """A stream and the progress of a pipeline, wherever they are."""

    def __init__(
        self,
        source: Stream,
        model: base.Warehouse,
        named: names.Names,
        pipeline: Pipeline,
        everything: bool,
        folder: Path,
        moved: pushdown.Pushed | None = None,
    ) -> None:
        self.source, self.model, self.pipeline, self.everything = source, model, pipeline, everything
        self.folder, self.moved = folder, moved
        self.progress = records.progress(named).name
        self.id = " || '/' || ".join(f"s.{base.quoted(column)}" for column in source.table.key[1:])
        own = [f"s._account_id AS _account_id, {self.id} AS source_id, s._version AS _version"]
        own.append("s._synced_at AS _synced_at")
        self.narrow = ", ".join(own)
        self.schema = pa.schema(
            [
                *(records.SEEN.field(name) for name in _NARROW),
                *(f for f in source.columns if f.name not in _NARROW),
            ]
        )
        wide = [
            f"s.{base.quoted(name)} AS {base.quoted(name)}"
            for name in self.schema.names
            if name not in _NARROW
        ]
        self.wide = ", ".join([self.narrow, *wide])

    def found(self) -> Changes:
        """Compare, and write what is found to files."""
        rows, gone = self.folder / "rows", self.folder / "gone"
        found = spooling.spool(rows, self.schema, self.rows())
        lost = spooling.spool(gone, records.GONE, self.gone())
        matched = (
            f"SELECT count(*) AS n FROM {place(self.model, self.progress)} WHERE pipeline = ? AND outcome = ?"
        )
        known = _number(self.model.read(matched, [self.pipeline.name, "matched"]))
        return Changes(found, lost, known, rows, gone)

    @abc.abstractmethod
    def rows(self) -> Iterator[pa.RecordBatch]:
        """The rows to be read, in the columns of `schema`."""

    @abc.abstractmethod
    def gone(self) -> Iterator[pa.RecordBatch]:
        """The keys that are gone."""

    def live(self) -> tuple[str, list[object]]:
        """The condition for rows of the stream that the pipeline is about, and its parameters."""
        accounts = self.pipeline.accounts
        if accounts is None:
            return "s._deleted_at IS NULL", []
        marks = ", ".join("?" * len(accounts)) or "NULL"
        return f"s._deleted_at IS NULL AND s._account_id IN ({marks})", list(accounts)

    def differs(self) -> tuple[str, list[object]]:
        """The condition for a row `s` that must be read, where `p` is the progress."""
        if self.everything:
            return "1 = 1", []
        # A second write within the second of a version is seen by its moment.
        moved = "" if self.moved is None else f" OR p.outcome <> 'filtered' OR s.{_MAY} = 1"
        return (
            "(p.source_id IS NULL OR p.shape <> ? OR coalesce(p._version, -1) <> coalesce(s._version, -1) "
            f"OR p._synced_at <> s._synced_at OR (p._synced_at IS NULL AND s._synced_at IS NOT NULL){moved})"
        ), [self.pipeline.shape]

    def rows_of_stream(self) -> tuple[str, list[object]]:
        """The stream in a query for `asked`, and its parameters; with `moved` each row tells it as _MAY."""
        stream = place(self.source.warehouse, self.source.table.name)
        if self.moved is None:
            return stream, []
        may = f"CASE WHEN {base.quoted(_MOVED)} THEN 1 ELSE 0 END AS {_MAY}"
        return f"(SELECT s.*, {may} FROM {stream} AS s)", list(self.moved.parameters)

    def asked(self, query: str, parameters: Sequence[object]) -> Iterator[pa.RecordBatch]:
        """The rows of a query of ours, in which the quoted name _MOVED stands for what `moved` says."""
        warehouse = self.source.warehouse
        if self.moved is None:
            return warehouse.read(query, parameters)
        if isinstance(warehouse, remote.Remote):
            return warehouse.read_with({_MOVED: self.moved.sql}, query, parameters)
        return warehouse.read(query.replace(base.quoted(_MOVED), self.moved.sql), parameters)


class _Beside(_Comparison):
    """Both in one warehouse, which compares."""

    def rows(self) -> Iterator[pa.RecordBatch]:
        live, accounts = self.live()
        differs, shape = self.differs()
        stream, moved = self.rows_of_stream()
        return self.asked(
            f"SELECT {self.wide} FROM {stream} AS s LEFT JOIN {self._progress()} AS p "
            f"ON p.pipeline = ? AND p._account_id = s._account_id AND p.source_id = {self.id} "
            f"WHERE {live} AND {differs}",
            [*moved, self.pipeline.name, *accounts, *shape],
        )

    def gone(self) -> Iterator[pa.RecordBatch]:
        live, accounts = self.live()
        return self.source.warehouse.read(
            f"SELECT p._account_id AS _account_id, p.source_id AS source_id FROM {self._progress()} AS p "
            f"LEFT JOIN {self._stream()} AS s ON s._account_id = p._account_id AND {self.id} = p.source_id "
            f"AND {live} WHERE p.pipeline = ? AND s._account_id IS NULL",
            [*accounts, self.pipeline.name],
        )

    def newest(self, limit: int) -> pa.Table:
        """Some live rows, the newest versions first."""
        return self._few(f"ORDER BY s._version DESC, {self.id} LIMIT {int(limit)}", [])

    def chosen(self, ids: Sequence[str]) -> pa.Table:
        """The live rows with these ids."""
        marks = ", ".join("?" * len(ids)) or "NULL"
        found = self._few(f"AND {self.id} IN ({marks})", list(ids))
        place = {id: number for number, id in enumerate(ids)}
        order = sorted(range(found.num_rows), key=lambda row: place[found["source_id"][row].as_py()])
        return found.take(pa.array(order, pa.int64()))

    def _few(self, rest: str, parameters: Sequence[object]) -> pa.Table:
        live, accounts = self.live()
        query = f"SELECT {self.wide} FROM {self._stream()} AS s WHERE {live} {rest}"
        batches = self.source.warehouse.read(query, [*accounts, *parameters])
        found = [spooling.typed(each, self.schema) for each in batches]
        return pa.concat_tables([self.schema.empty_table(), *found])

    def _stream(self) -> str:
        return place(self.source.warehouse, self.source.table.name)

    def _progress(self) -> str:
        return place(self.source.warehouse, self.progress, self.model.schema)


class _Apart(_Comparison):
    """Each in a warehouse of its own; their narrow columns are compared here."""

    def found(self) -> Changes:
        import duckdb

        settings: dict[str, Any] = {"memory_limit": MEMORY, "threads": 1}
        settings["temp_directory"] = str(self.folder / "spill")
        self.local = duckdb.connect(str(self.folder / "compared.duckdb"), config=settings)
        try:
            self.local.execute("SET TimeZone = 'UTC'")
            self._gather()
            return super().found()
        finally:
            self.local.close()

    def _gather(self) -> None:
        """Bring the narrow columns here: `s` of the stream, `p` of the progress, `c` what must be read."""
        live, accounts = self.live()
        keys = self.source.table.key[1:]
        own = pa.schema([*(self.schema.field(name) for name in _NARROW), *map(self._key, keys)])
        told = ", ".join(f"s.{base.quoted(key)} AS {base.quoted(_KEY + key)}" for key in keys)
        if self.moved is not None:
            own = own.append(pa.field(_MAY, pa.int64()))
            told += f", s.{_MAY} AS {_MAY}"
        stream, moved = self.rows_of_stream()
        query = f"SELECT {self.narrow}, {told} FROM {stream} AS s WHERE {live}"
        self._bring("s", own, self.asked(query, [*moved, *accounts]))
        seen = pa.schema(
            [*(records.SEEN.field(name) for name in (*_NARROW, "outcome")), pa.field("shape", pa.string())]
        )
        told = ", ".join(f"p.{name} AS {name}" for name in seen.names)
        query = f"SELECT {told} FROM {place(self.model, self.progress)} AS p WHERE p.pipeline = ?"
        self._bring("p", seen, self.model.read(query, [self.pipeline.name]))
        differs, shape = self.differs()
        self.local.execute(
            "CREATE TABLE c AS SELECT s.* FROM s LEFT JOIN p USING (_account_id, source_id) WHERE " + differs,
            shape,
        )

    def _key(self, column: str) -> pa.Field:
        return pa.field(_KEY + column, self.source.table.schema.field(column).type)

    def _bring(self, name: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        kinds = ", ".join(f"{base.quoted(field.name)} {ddl.sql_type(field)}" for field in schema)
        self.local.execute(f"CREATE TABLE {name} ({kinds})")
        for batch in batches:
            self.local.register("_batch", spooling.typed(batch, schema))
            self.local.execute(f"INSERT INTO {name} SELECT * FROM _batch")
            self.local.unregister("_batch")

    def rows(self) -> Iterator[pa.RecordBatch]:
        ((changed, every),) = self.local.sql(
            "SELECT (SELECT count(*) FROM c), (SELECT count(*) FROM s)"
        ).fetchall()
        return self._all_read() if changed * SHARE > every else self._looked_up()

    def _all_read(self) -> Iterator[pa.RecordBatch]:
        """The whole stream, without what did not change."""
        live, accounts = self.live()
        stream = place(self.source.warehouse, self.source.table.name)
        query = f"SELECT {self.wide} FROM {stream} AS s WHERE {live}"
        for batch in self.source.warehouse.read(query, accounts):
            rows = spooling.typed(batch, self.schema)
            self.local.register(
                "_batch", rows.select(_NARROW[:2]).append_column("n", pa.arange(0, rows.num_rows))
            )
            wanted = self.local.sql(
                "SELECT n FROM _batch SEMI JOIN c USING (_account_id, source_id)"
            ).to_arrow_table()
            self.local.unregister("_batch")
            yield from rows.take(wanted["n"]).to_batches()

    def _looked_up(self) -> Iterator[pa.RecordBatch]:
        """The changed rows by their keys; one that went away in between is left to the next time."""
        table, wanted = self.source.table, [f.name for f in self.source.columns]
        keys = self.source.table.key[1:]
        chosen = ", ".join(
            ["_account_id", *(f"{base.quoted(_KEY + key)} AS {base.quoted(key)}" for key in keys)]
        )
        for batch in self.local.sql(f"SELECT {chosen} FROM c").to_arrow_reader(spooling.BATCH // 2):
            found = self.source.warehouse.find(table, spooling.typed(batch, table.schema), wanted)
            live = found.filter(pc.and_(found["_stored"], pc.is_null(found["_deleted_at"])))
            ids = pc.binary_join_element_wise(*(live[key] for key in keys), "/")
            yield from spooling.typed(live.append_column("source_id", ids), self.schema).to_batches()

    def gone(self) -> Iterator[pa.RecordBatch]:
        return iter(
            self.local.sql(
                "SELECT _account_id, source_id FROM p ANTI JOIN s USING (_account_id, source_id)"
            ).to_arrow_reader(spooling.BATCH)
        )


_KEY = "_key_"
"""What stands before the key's columns beside the narrow ones."""


def place(warehouse: base.Warehouse, table: str, schema: str = "") -> str:
    """A table in a query of `Warehouse.read`; in a DuckDB file with its database: a schema may have its name."""
    parts = [schema or warehouse.schema, table]
    if warehouse.kind == "duckdb":
        batches = list(warehouse.read("SELECT current_database() AS name"))
        parts.insert(0, batches[0].column(0)[0].as_py())
    return ".".join(map(base.quoted, parts))


def _number(batches: Iterator[pa.RecordBatch]) -> int:
    return int(next(row for batch in batches for row in batch.column(0).to_pylist()))
