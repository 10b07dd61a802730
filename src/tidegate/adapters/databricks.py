"""Databricks SQL with Unity Catalog, over the Statement Execution and the Files API.

Rows go as Parquet into a volume of the schema (few rows as one JSON parameter), and then by ONE MERGE per table
into Delta tables: what goes and what comes, atomic per table. Delta has no transaction over several tables, so the
state is written last: a kill between leaves rows that the state does not tell of, which the next load finds and
writes again. Every key of a MERGE first removes all that stands under it, so that a statement that went on after
its connection was lost doubles nothing when the load is done again; of two at the same moment Delta refuses one,
since the tables are Serializable.

JSON is text: VARIANT holds numbers beyond 38 digits as doubles only, and needs runtime 15.3; `metadata:path` and
`parse_json(metadata)` work on the text. Unity Catalog allows no dot, space or slash in a name: `a.b` is `a%2eb`.

Run against a stand-in of the APIs over DuckDB, which the official driver can use as well; never against the real
service.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import re
import urllib.parse
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet
import urllib3

from tidegate import config, errors
from tidegate.adapters import databricks_wire
from tidegate.adapters.databricks_wire import Refused
from tidegate.warehouse import ddl, desk, remote, sql, wire

GONE = "_tidegate_gone"
VOLUME = "tidegate_stage"
"""The volume for files on their way, in the schema of the tables; Spark ignores what begins with an underscore."""

SMALL = 256 * 1024
"""Bytes of rows that go with the statement instead of by a file; a statement may have 16 MiB."""

LEFT_BEHIND = dt.timedelta(hours=6)
"""The age from which a file in the volume belongs to a load that was killed."""

PROPERTIES = (
    "USING DELTA TBLPROPERTIES ('delta.columnMapping.mode' = 'name', 'delta.enableDeletionVectors' = 'true', "
    "'delta.isolationLevel' = 'Serializable')"
)
"""What every table is told.

A MERGE that adds a key would else not meet one that adds it at the same moment.
https://docs.databricks.com/aws/en/optimizations/isolation-level
"""

FORBIDDEN = re.compile(r"[\x00-\x20./%\x7f]")
"""What Unity Catalog allows in no name, and the sign that stands for it.

https://docs.databricks.com/aws/en/sql/language-manual/sql-ref-names
"""


def folded(name: str) -> str:
    """A name as Unity Catalog can hold it."""
    return FORBIDDEN.sub(lambda found: f"%{ord(found.group()):02x}", name)


def unfolded(name: str) -> str:
    """The name that was folded."""
    return re.sub(r"%([0-9a-f]{2})", lambda found: chr(int(found.group(1), 16)), name)


@dataclass(frozen=True, slots=True)
class Near(desk.Change):
    """A change whose rows the warehouse can read already: what to write after USING, and its parameters."""

    source: str
    parameters: Sequence[object]


class Databricks(remote.Remote):
    """A schema of a Unity catalog."""

    kind = "databricks"
    dialect = sql.Dialect("databricks", ":p{}", fold=folded)
    types: ClassVar = {
        "BOOLEAN": "BOOLEAN",
        "BIGINT": "BIGINT",
        "DOUBLE": "DOUBLE",
        "DECIMAL(38,12)": "DECIMAL(38,12)",
        "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
        "JSON": "STRING COMMENT 'JSON'",
        "VARCHAR": "STRING",
    }
    alone: ClassVar[bool] = False
    whole: ClassVar[bool] = False

    def __init__(self, address: databricks_wire.Address, schema: str, *, wait: float = 60.0) -> None:
        super().__init__(schema, wait=wait)
        self._address = address
        self._connection: databricks_wire.Workspace | None = None
        self._has_swept = False

    def where(self) -> str:
        """The workspace."""
        return f"Databricks ({urllib.parse.urlsplit(self._address.workspace).hostname})"

    def reach(self) -> str:
        """Open a connection to the workspace's port."""
        told = urllib.parse.urlsplit(self._address.workspace)
        return wire.reached(told.hostname or "", told.port or (443 if told.scheme == "https" else 80))

    def connect(self) -> None:
        """Ask who we are, where that was not asked yet."""
        if self._connection is None:
            self._connection = databricks_wire.Workspace(self._address)
            self._rows(f"SELECT current_user() AS {self.column('who')}")

    def disconnect(self) -> None:
        """Drop the connections."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """Cancel the statement that another thread waits for."""
        connection = self._connection
        if connection is not None:
            connection.stop()

    def explain(self, error: Exception) -> errors.TidegateError | None:
        """What an answer means."""
        return databricks_wire.explained(error, self.where())

    def execute(self, text: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement."""
        self._open().run(text, parameters)

    def fetch(
        self, text: str, parameters: Sequence[object] = (), *, stream: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query, chunk by chunk; whether it only reads is the query's matter."""
        del stream  # all of them are
        connection = self._open()
        answer = connection.run(text, parameters)
        schema = databricks_wire.schema(answer)
        for batch in connection.batches(answer):
            arrays = [
                column if column.type == field.type else column.cast(field.type)
                for column, field in zip(batch.columns, schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def ask(self, text: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """The rows of a user's query in the service's own types; one that is interrupted is cancelled at once."""
        connection = self._open()
        answer = connection.run(text, parameters, wait="0s")
        schema = databricks_wire.exact(answer)
        for batch in connection.batches(answer):
            fields = [
                pa.field(
                    field.name, column.type, metadata=field.metadata if column.type == field.type else None
                )
                for field, column in zip(schema, batch.columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(batch.columns, schema=pa.schema(fields))

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """There are none over several tables; each change is one statement."""
        return contextlib.nullcontext()

    def existing(self, schema: str) -> dict[str, ddl.Columns]:
        """Every table and view of a schema with its columns."""
        rows = self._rows(
            "SELECT table_name, column_name, full_data_type, comment "
            f"FROM {self._catalog()}.information_schema.columns "
            "WHERE table_schema = :p0 ORDER BY table_name, ordinal_position",
            [folded(schema).lower()],
        )
        tables: dict[str, ddl.Columns] = {}
        for table, column, kind, comment in rows:
            told = " COMMENT 'JSON'" if comment == "JSON" else ""
            tables.setdefault(unfolded(table), {})[unfolded(column)] = kind.upper() + told
        return tables

    def create_schema(self, schema: str) -> None:
        """Make a schema, where there is none: to ask for one that is there takes the right to make it, too."""
        there = self._rows(
            f"SELECT 1 AS {self.column('one')} FROM {self._catalog()}.information_schema.schemata "
            "WHERE schema_name = :p0",
            [folded(schema).lower()],
        )
        if not there:
            super().create_schema(schema)

    def create(self, table: str, columns: ddl.Columns, _: Sequence[str]) -> None:
        """Make a Delta table."""
        told = ", ".join(f"{self.column(column)} {self.types[kind]}" for column, kind in columns.items())
        self.execute(f"CREATE TABLE IF NOT EXISTS {self.name(table)} ({told}) {PROPERTIES}")

    def widen(self, table: str, column: str, there: str, kind: str) -> None:
        """Replace the table by itself with the wider column, in one statement; then say again which text is JSON.

        Killed between: what was JSON is text from then on, the same to the letter.
        """
        known = self._there()[table.lower()]
        values = ", ".join(
            f"{self._wider(column, there, kind)} AS {self.column(c)}" if c == column else self.column(c)
            for c in known
        )
        self.execute(
            f"CREATE OR REPLACE TABLE {self.name(table)} {PROPERTIES} AS SELECT {values} FROM {self.name(table)}"
        )
        for each, native in (known | {column: kind}).items():
            if native == "JSON":
                self.execute(
                    f"ALTER TABLE {self.name(table)} ALTER COLUMN {self.column(each)} COMMENT 'JSON'"
                )

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows."""
        self.change(desk.Change(table, pa.table({}), rows))

    def remove(self, table: str, keys: pa.Table) -> None:
        """Remove all rows under keys."""
        self.change(desk.Change(table, keys, pa.table({})))

    @contextlib.contextmanager
    def uploaded(self, changes: Sequence[desk.Change]) -> Iterator[Sequence[desk.Change]]:
        """Files for the changes with many rows."""
        with contextlib.ExitStack() as files:
            yield [self._near(change, files) for change in changes]

    def change(self, change: desk.Change) -> None:
        """Remove and add in one MERGE: a key that goes matches what is stored, a row that comes matches nothing."""
        with contextlib.ExitStack() as files:
            near = change if isinstance(change, Near) else self._near(change, files)
            key, gone = near.gone.column_names, self.column(GONE)
            rows = near.rows.column_names if near.rows.num_rows else []
            if not near.source:
                return
            if key:
                text = (
                    f"MERGE INTO {self.name(near.table)} AS t USING {near.source} AS k "
                    f"ON k.{gone} AND {self._same(key)} WHEN MATCHED THEN DELETE"
                )
                if rows:
                    names = ", ".join(map(self.column, rows))
                    values = ", ".join(f"k.{self.column(column)}" for column in rows)
                    text += f" WHEN NOT MATCHED AND NOT k.{gone} THEN INSERT ({names}) VALUES ({values})"
            else:
                names = ", ".join(map(self.column, rows))
                text = f"INSERT INTO {self.name(near.table)} ({names}) SELECT {names} FROM {near.source} AS k"
            self.execute(text, near.parameters)

    @contextlib.contextmanager
    def shown(self, rows: pa.Table) -> Iterator[tuple[str, Sequence[object]]]:
        """Few rows as a parameter, many as a file."""
        with contextlib.ExitStack() as files:
            yield self._source(rows, files)

    # Rows on their way

    def _near(self, change: desk.Change, files: contextlib.ExitStack) -> Near:
        """The keys that go, with those of the rows that come, and the rows, as one source."""
        gone, rows = change.gone, change.rows
        if gone.column_names and rows.num_rows:
            keys = [part.select(gone.column_names).cast(_keys(rows, gone)) for part in (gone, rows)]
            gone = pa.concat_tables(keys).group_by(gone.column_names, use_threads=False).aggregate([])
        parts = [
            part.append_column(GONE, pa.array([is_gone] * part.num_rows, pa.bool_()))
            for part, is_gone in ((gone, True), (rows, False))
            if part.num_rows
        ]
        if not parts:
            return Near(change.table, change.gone, change.rows, "", ())
        source, parameters = self._source(pa.concat_tables(parts, promote_options="default"), files)
        return Near(change.table, change.gone, change.rows, source, parameters)

    def _source(self, rows: pa.Table, files: contextlib.ExitStack) -> tuple[str, Sequence[object]]:
        """What to write after FROM; a file lives until `files` are closed."""
        numbered = _numbered(rows)
        kinds = [self.types[ddl.sql_type(field)].partition(" ")[0] for field in rows.schema]
        names = [self.column(name) for name in rows.column_names]
        if rows.nbytes > SMALL:
            told = ", ".join(f"{number} AS {name}" for number, name in zip(numbered, names, strict=True))
            return f"(SELECT {told} FROM parquet.`{self._upload(rows, files)}`)", ()
        texts = [_texts(column) for column in rows.columns]
        given = json.dumps([dict(zip(numbered, each, strict=True)) for each in zip(*texts, strict=True)])
        shape = ",".join(f"{number}:string" for number in numbered)
        told = ", ".join(
            f"CAST(r.{number} AS {kind}) AS {name}"
            for number, kind, name in zip(numbered, kinds, names, strict=True)
        )
        exploded = f"SELECT explode(from_json(:p0, 'array<struct<{shape}>>')) AS r"
        return f"(SELECT {told} FROM ({exploded}))", [given]

    def _upload(self, rows: pa.Table, files: contextlib.ExitStack) -> str:
        """Put rows into a file of the volume, and say where."""
        folder = f"/Volumes/{self._address.catalog}/{folded(self.schema).lower()}/{VOLUME}"
        path = f"{folder}/{uuid.uuid4()}.parquet"
        buffer = io.BytesIO()
        pa.parquet.write_table(
            rows.rename_columns(_numbered(rows)), buffer, compression="zstd", coerce_timestamps="us"
        )
        connection = self._open()
        try:
            connection.put(path, buffer.getvalue())
        except Refused as error:
            if error.status != 404:
                raise
            self.create_schema(self.schema)
            self.execute(f"CREATE VOLUME IF NOT EXISTS {self.name(VOLUME)}")
            connection.put(path, buffer.getvalue())
        files.callback(self._forget, path)
        if not self._has_swept:
            self._sweep(folder)
            self._has_swept = True
        return path

    def _sweep(self, folder: str) -> None:
        """Delete the files of loads that were killed."""
        oldest = dt.datetime.now(dt.UTC) - LEFT_BEHIND
        for path, written in list(self._open().listed(folder)):
            if path.endswith(".parquet") and written < oldest:
                self._forget(path)

    def _forget(self, path: str) -> None:
        # What is left is swept by a later load.
        with contextlib.suppress(Refused, urllib3.exceptions.HTTPError):
            self._open().delete(path)

    def _open(self) -> databricks_wire.Workspace:
        self.connect()
        assert self._connection is not None, "It was just opened."
        return self._connection

    def _check_write(self) -> str:
        done = super()._check_write()
        with contextlib.ExitStack() as files:
            self._upload(pa.table({"key": ["a"]}), files)
        return f"{done}, and a file in its volume {VOLUME}"

    def _catalog(self) -> str:
        return sql.quoted(self.dialect, self._address.catalog)

    def _wider(self, column: str, there: str, kind: str) -> str:
        """SQL for a value in a wider type; a moment as text, as DuckDB writes it, whatever zone the session has."""
        name = self.column(column)
        if there != "TIMESTAMP WITH TIME ZONE":
            return f"CAST({name} AS {self.types[kind].partition(' ')[0]})"
        moment = f"date_format(to_utc_timestamp({name}, current_timezone()), 'yyyy-MM-dd HH:mm:ss.SSSSSS')"
        text = f"concat(regexp_replace({moment}, '[.]?0+$', ''), '+00')"
        return f"concat('\"', {text}, '\"')" if kind == "JSON" else text


def open_warehouse(target: config.Databricks, *, wait: float = 60.0) -> Databricks:
    """The warehouse that a configuration describes; nothing is opened yet."""
    return Databricks(databricks_wire.address(target), target.schema_name, wait=wait)


def _numbered(rows: pa.Table) -> list[str]:
    return [f"c{number}" for number in range(rows.num_columns)]


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    """Values as texts that CAST takes back."""
    if pa.types.is_timestamp(column.type):
        return [None if v is None else v.astimezone(dt.UTC).isoformat(" ") for v in column.to_pylist()]
    if pa.types.is_boolean(column.type):
        return [None if v is None else str(v).lower() for v in column.to_pylist()]
    if pa.types.is_floating(column.type):
        return [None if v is None else repr(v) for v in column.to_pylist()]
    if pa.types.is_decimal(column.type):
        return [None if v is None else f"{v:f}" for v in column.to_pylist()]
    return [None if v is None else str(v) for v in column.to_pylist()]


def _keys(rows: pa.Table, gone: pa.Table) -> pa.Schema:
    return pa.schema([pa.field(name, rows.schema.field(name).type) for name in gone.column_names])
