"""Databricks SQL with Unity Catalog, over the Statement Execution and the Files API.

Rows go as Parquet into a volume of the schema (few rows as one JSON parameter), and then by ONE MERGE per table
into Delta tables: what goes and what comes, atomic per table. Delta has no transaction over several tables, so the
state is written last: a kill between leaves rows that the state does not tell of, which the next load finds and
writes again. Every key of a MERGE first removes all that stands under it, so that a statement that went on after
its connection was lost doubles nothing when the load is done again; of two at the same moment Delta refuses one,
since the tables are Serializable. A MERGE looks at the load's fence itself: one that gets its turn when somebody
else has claimed the tables does nothing.

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
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet
import urllib3

from tidegate import config, errors
from tidegate.adapters import databricks_wire, databricks_words
from tidegate.adapters.databricks_wire import Refused
from tidegate.warehouse import base, ddl, desk, remote, sql, staging, wire

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


@dataclass(frozen=True, slots=True)
class Near(desk.Change):
    """A change whose rows the warehouse can read already: what to write after USING, and its parameters."""

    source: str
    parameters: Sequence[object]


class Databricks(remote.Remote):
    """A schema of a Unity catalog."""

    kind = "databricks"
    dialect = sql.Dialect("databricks", ":p{}", fold=databricks_words.folded)
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
        self._fence: base.Fence | None = None
        """The fence of the load that is being written."""

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
        """Run a statement, whose number is known at once, so that it can be asked for and cancelled."""
        self._open().run(text, parameters, wait="0s")

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
            [databricks_words.folded(schema).lower()],
        )
        tables: dict[str, ddl.Columns] = {}
        for table, column, kind, comment in rows:
            if table == base.STATE and "COLLATE" in kind.upper() and "UTF8_BINARY" not in kind.upper():
                # Every table of ours then has it, and takes cus_a for cus_A.
                raise errors.ConfigError(
                    f"By the default collation of the schema {schema} of {self.where()} different keys are equal; "
                    f"run ALTER SCHEMA {sql.quoted(self.dialect, schema)} DEFAULT COLLATION UTF8_BINARY, and drop "
                    f"the table {base.STATE} there."
                )
            told = " COMMENT 'JSON'" if comment == "JSON" else ""
            tables.setdefault(databricks_words.unfolded(table), {})[databricks_words.unfolded(column)] = (
                kind.upper() + told
            )
        return tables

    def create_schema(self, schema: str) -> None:
        """Make a schema, where there is none: to ask for one that is there takes the right to make it, too."""
        there = self._rows(
            f"SELECT 1 AS {self.column('one')} FROM {self._catalog()}.information_schema.schemata "
            "WHERE schema_name = :p0",
            [databricks_words.folded(schema).lower()],
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
            f"{databricks_words.wider(self.column(c), there, self.types[kind])} AS {self.column(c)}"
            if c == column
            else self.column(c)
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
            source, parameters = self._fenced(near.source, near.parameters)
            if key:
                text = (
                    f"MERGE INTO {self.name(near.table)} AS t USING {source} AS k "
                    f"ON k.{gone} AND {self._same(key)} WHEN MATCHED THEN DELETE"
                )
                if rows:
                    names = ", ".join(map(self.column, rows))
                    values = ", ".join(f"k.{self.column(column)}" for column in rows)
                    text += f" WHEN NOT MATCHED AND NOT k.{gone} THEN INSERT ({names}) VALUES ({values})"
            else:
                names = ", ".join(map(self.column, rows))
                text = f"INSERT INTO {self.name(near.table)} ({names}) SELECT {names} FROM {source} AS k"
            self.execute(text, parameters)

    @contextlib.contextmanager
    def shown(self, rows: pa.Table) -> Iterator[tuple[str, Sequence[object]]]:
        """Few rows as a parameter, many as a file."""
        with contextlib.ExitStack() as files:
            yield self._source(rows, files)

    def _load(
        self, staged: Sequence[staging.Staged], state: Mapping[str, str | None], fence: base.Fence | None
    ) -> list[base.Loaded]:
        self._fence = fence
        try:
            done = super()._load(staged, state, fence)
            self._hold(fence)  # a statement that came after a later claim did nothing
        finally:
            self._fence = None
        return done

    def _fenced(self, source: str, parameters: Sequence[object]) -> tuple[str, Sequence[object]]:
        """The rows of a source if the load's fence still holds when they are read, else none."""
        if self._fence is None:
            return source, parameters
        tokens = self._fence.tokens
        claims = pa.table(
            {
                "key": pa.array([base.FENCE + table for table in tokens], pa.string()),
                "value": pa.array(
                    [f"{token} {self._fence.writer}" for token in tokens.values()], pa.string()
                ),
            }
        )
        held, claimed = self._few(claims, len(parameters))
        key, count = self.column("key"), self.column("n")
        holds = (
            f"SELECT count(DISTINCT t.{key}) AS {count} FROM {self.name(base.STATE)} AS t "
            f"JOIN {held} AS k ON {self._same(claims.column_names)}"
        )
        text = f"(SELECT s.* FROM {source} AS s CROSS JOIN ({holds}) AS h WHERE h.{count} = {len(tokens)})"
        return text, (*parameters, *claimed)

    # Rows on their way

    def _near(self, change: desk.Change, files: contextlib.ExitStack) -> Near:
        """The keys that go, with those of the rows that come, and the rows, as one source."""
        gone, rows = change.gone, change.rows
        if gone.column_names and rows.num_rows:
            keys = [
                part.select(gone.column_names).cast(databricks_words.keys(rows, gone))
                for part in (gone, rows)
            ]
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
        if rows.nbytes <= SMALL:
            return self._few(rows)
        names = map(self.column, rows.column_names)
        told = ", ".join(
            f"{number} AS {name}" for number, name in zip(databricks_words.numbered(rows), names, strict=True)
        )
        return f"(SELECT {told} FROM parquet.`{self._upload(rows, files)}`)", ()

    def _few(self, rows: pa.Table, parameter: int = 0) -> tuple[str, Sequence[object]]:
        """Rows as the parameter of a number; text that could not be read would be an error, not no rows."""
        numbered = databricks_words.numbered(rows)
        kinds = [self.types[ddl.sql_type(field)].partition(" ")[0] for field in rows.schema]
        names = [self.column(name) for name in rows.column_names]
        texts = [databricks_words.texts(column) for column in rows.columns]
        given = json.dumps([dict(zip(numbered, each, strict=True)) for each in zip(*texts, strict=True)])
        shape = ",".join(f"{number}:string" for number in numbered)
        told = ", ".join(
            f"CAST(r.{number} AS {kind}) AS {name}"
            for number, kind, name in zip(numbered, kinds, names, strict=True)
        )
        parsed = f"from_json({self._parameter(parameter)}, 'array<struct<{shape}>>', map('mode', 'FAILFAST'))"
        exploded = f"SELECT explode({parsed}) AS r"
        return f"(SELECT {told} FROM ({exploded}))", [given]

    def _upload(self, rows: pa.Table, files: contextlib.ExitStack) -> str:
        """Put rows into a file of the volume, and say where."""
        folder = f"/Volumes/{self._address.catalog}/{databricks_words.folded(self.schema).lower()}/{VOLUME}"
        path = f"{folder}/{uuid.uuid4()}.parquet"
        buffer = io.BytesIO()
        pa.parquet.write_table(
            rows.rename_columns(databricks_words.numbered(rows)),
            buffer,
            compression="zstd",
            coerce_timestamps="us",
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


def open_warehouse(target: config.Databricks, *, wait: float = 60.0) -> Databricks:
    """The warehouse that a configuration describes; nothing is opened yet."""
    return Databricks(databricks_wire.address(target), target.schema_name, wait=wait)
