"""Amazon Redshift, over psycopg; never run against the service, only against a stand-in of its protocol and SQL.

Few rows go in by INSERT, many as files in S3 by COPY, in the transaction that removes what they replace and that
writes the state; a lock on the state's table keeps two writers from deciding at the same time.

JSON is SUPER; see `redshift_rows` for what SUPER does not hold. A column in which a text beyond 65,535 bytes comes
becomes VARBYTE, which is told in the log.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import secrets
import urllib.parse
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, ClassVar, cast

import psycopg
import pyarrow as pa

from tidegate import errors
from tidegate.adapters import postgres, postgres_wire, redshift_wire, storage, storage_faults, storage_s3
from tidegate.adapters import redshift_rows as rows_of
from tidegate.config import warehouses
from tidegate.warehouse import base, ddl, own, remote, sql

PARAMETERS = 30_000
"""In a statement at most; the protocol allows 32,767."""
STATEMENT = 8 * 1024 * 1024
"""Bytes of the values of a statement at most; Redshift allows 16 MB."""
FEW = 500
"""Rows that go in by INSERT although there is a place for files."""
INLINE = 50
"""Rows that a query carries itself; more go to a temporary table."""

_log = logging.getLogger(__name__)


class Redshift(postgres.Postgres):
    """A schema of a Redshift database."""

    kind = "redshift"
    dialect = sql.Dialect("redshift", postgres_wire.PARAMETER)
    types: ClassVar = {
        **postgres.Postgres.types,
        "JSON": "super",
        "VARCHAR": f"character varying({rows_of.VARCHAR})",
    }
    port: ClassVar[int] = 5439
    longest: ClassVar[int] = 127

    def __init__(
        self,
        address: dict[str, Any],
        schema: str,
        *,
        staging: str | None = None,
        s3: warehouses.S3 | None = None,
        role: str | None = None,
        wait: float = 60.0,
    ) -> None:
        super().__init__(address, schema, wait=wait)
        self._staging, self._s3, self._role = staging, s3, role
        self._store: storage.Storage | None = None
        self._numbers = itertools.count(1)
        self._natives: dict[str, ddl.Columns] | None = None
        """The schema's tables as they were last asked for, until one changes."""
        self._is_within = False

    def connect(self) -> None:
        """Sign in; names keep their case from here on."""
        if self._connection is not None and not self._connection.closed:
            return
        asked: dict[str, Any] = {"connect_timeout": 30, "application_name": "tidegate"} | self._address
        asked |= postgres_wire.KEPT_ALIVE
        # Left to itself Redshift calls its encoding UNICODE: https://github.com/psycopg/psycopg/issues/122
        self._connection = psycopg.connect(
            **asked, client_encoding="UTF8", autocommit=True, prepare_threshold=None
        )
        for kind in (rows_of.SUPER, rows_of.VARBYTE, "date", "timestamp", "timestamptz"):
            self._connection.adapters.register_loader(kind, postgres_wire.Text)
        self._connection.execute("SET enable_case_sensitive_identifier TO true")
        self._connection.execute("SET timezone TO 'UTC'")
        self._connection.execute("SET datestyle TO 'ISO'")
        self._connection.execute("SET extra_float_digits TO 2")

    def explain(self, error: Exception) -> errors.TidegateError | None:
        """What an error of psycopg or of S3 means."""
        if isinstance(error, psycopg.Error):
            return redshift_wire.told(error, self.where(), self._staging) or super().explain(error)
        return storage_faults.explain(error, self._staging) if self._staging else None

    def _grant(self, detail: str) -> str:
        if "temporary" in detail:
            user, database = base.quoted(self._user), base.quoted(str(self._address.get("dbname")))
            return f"run `GRANT TEMPORARY ON DATABASE {database} TO {user}`"
        return super()._grant(detail)

    def fetch(
        self, text: str, parameters: Sequence[object] = (), *, stream: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query; `stream` as they arrive, in a transaction that only reads."""
        query, given = postgres_wire.filled(text, rows_of.plain(parameters))
        if stream:
            return self._streamed(query, given, rows_of.batch)
        found = self._open().execute(query, given)
        return iter([rows_of.batch(found.description or [], found.fetchall())])

    def ask(self, text: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """The rows of a user's query, as they arrive, in types that lose nothing."""
        return self._streamed(text, rows_of.plain(parameters) or None, rows_of.exact)

    def _streamed(
        self, text: str, parameters: list[object] | None, made: Callable[..., pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        """Rows as they come over the wire: a cursor would first lay all of them on the leader node."""
        connection = self._open()
        connection.execute("BEGIN READ ONLY")
        try:
            cursor, schema = connection.cursor(), None
            size = postgres.BATCH if psycopg.capabilities.has_stream_chunked() else 1
            rows = cast("Generator[Any]", cursor.stream(text, parameters, size=size))
            with contextlib.closing(rows):
                while chunk := list(itertools.islice(rows, postgres.BATCH)):
                    batch = made(cursor.description or [], chunk, schema)
                    schema = batch.schema
                    yield batch
            if schema is None:  # of no rows psycopg does not tell the columns
                none = connection.execute(
                    f"SELECT * FROM ({text.rstrip().rstrip(';')}\n) AS q LIMIT 0", parameters
                )
                yield made(none.description or [], [])
        finally:
            with contextlib.suppress(psycopg.Error):
                connection.execute("ROLLBACK")

    def execute(self, text: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement."""
        self._open().execute(*postgres_wire.filled(text, rows_of.plain(parameters)))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction that holds the state's table, once there is one."""
        connection = self._open()
        exists = base.STATE in self._tables or base.STATE in self.existing(self.schema)
        with connection.transaction():
            if exists:
                connection.execute(f"LOCK {self.name(base.STATE)}")
            self._is_within = exists
            try:
                yield
            finally:
                self._is_within = False

    def _ready(self) -> dict[str, ddl.Columns]:
        """The tables, once the schema and Tidegate's own tables are there."""
        if base.STATE not in self._tables and base.STATE not in self._there():
            self._check_case()
        there = super()._ready()
        if base.STATE not in there or base.TOMBSTONES not in there:
            # Somebody made them since this transaction began: they are there, and it does not see them.
            raise errors.WarehouseBusy(
                f"Somebody else makes the tables of {self.where()} at the same moment."
            )
        return there

    def _check_case(self) -> None:
        """Raises ConfigError for a database to which two ids that differ in case are one."""
        # https://docs.aws.amazon.com/redshift/latest/dg/r_DB_COLLATION.html
        [(collation,)] = self._open().execute("SELECT db_collation()").fetchall()
        if collation == "case_insensitive":
            raise errors.ConfigError(
                f"{self.where()} takes ids that differ in case for one; make another database for Stripe's rows "
                "(CREATE DATABASE ... COLLATE CASE_SENSITIVE)."
            )

    def existing(self, schema: str) -> dict[str, ddl.Columns]:
        """Every table and view of a schema with its columns."""
        tables = super().existing(schema)
        if schema == self.schema:
            self._natives = tables
        return tables

    def create(self, table: str, columns: ddl.Columns, key: Sequence[str]) -> None:
        """Make a table; Redshift would believe a key and not enforce it, so none is declared."""
        self._check_length(table, *columns)
        self._natives = None
        remote.Remote.create(self, table, columns, key)

    def add(self, table: str, column: str, kind: str) -> None:
        """Add a column."""
        self._natives = None
        super().add(table, column, kind)

    def show_live(self, table: str) -> None:
        """Make the view anew; Redshift replaces none whose columns change."""
        self.hide_live(table)
        super().show_live(table)

    def widen(self, table: str, column: str, there: str, kind: str) -> None:
        """Copy a column into a wider one, which takes its name."""
        name = self.column(column)
        native = self.types[kind]
        if there == "JSON":
            [(size, pieces)] = self._rows(
                f"SELECT max(JSON_SIZE({name})) AS size, count({name}.{self.column(rows_of.PIECES)}) AS pieces "
                f"FROM {self.name(table)}"
            )
            if pieces:
                raise errors.WarehouseError(
                    f"The column {column} of {table} in {self.where()} holds JSON that no SUPER can hold, and "
                    "cannot become text any more; rename the column, so that a new one is made."
                )
            value = f"JSON_SERIALIZE({name})"
            if (size or 0) > rows_of.VARCHAR // 2:
                native, value = rows_of.LONG, f"JSON_SERIALIZE_TO_VARBYTE({name})"
        elif there == "BOOLEAN":
            value = f"CASE WHEN {name} THEN 'true' WHEN NOT {name} THEN 'false' END"
            value = f"JSON_PARSE({value})" if kind == "JSON" else value
        elif kind == "JSON" and there == "TIMESTAMP WITH TIME ZONE":
            value = f"JSON_PARSE('\"' || TO_CHAR({name}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US') || '+00:00\"')"
        elif kind == "JSON":
            value = f"JSON_PARSE(CAST({name} AS VARCHAR))"
        else:
            value = f"CAST({name} AS {native})"
        self._replace_column(table, column, native, value)

    def _replace_column(self, table: str, column: str, native: str, value: str) -> None:
        self._natives = None
        name, new = self.column(column), self.column(f"_tidegate_{secrets.token_hex(4)}")
        self.execute(f"ALTER TABLE {self.name(table)} ADD COLUMN {new} {native}")
        self.execute(f"UPDATE {self.name(table)} SET {new} = {value}")
        self.execute(f"ALTER TABLE {self.name(table)} DROP COLUMN {name}")
        self.execute(f"ALTER TABLE {self.name(table)} RENAME COLUMN {new} TO {name}")

    def remove(self, table: str, keys: pa.Table) -> None:
        """Remove all rows under keys."""
        name = self.name(table)
        with self.shown(keys) as (source, parameters):
            same = " AND ".join(f"{name}.{self.column(c)} = k.{self.column(c)}" for c in keys.column_names)
            self.execute(f"DELETE FROM {name} USING {source} AS k WHERE {same}", parameters)

    @contextlib.contextmanager
    def shown(self, rows: pa.Table) -> Iterator[tuple[str, Sequence[object]]]:
        """Rows in the query itself, or as a temporary table."""
        kinds = {field.name: self.types[ddl.sql_type(field)] for field in rows.schema}
        if rows.num_rows <= INLINE:
            values = [rows_of.written(rows.column(name), kind) for name, kind in kinds.items()]
            other = [f"{postgres_wire.PARAMETER}::{kind}" for kind in kinds.values()]
            first = [f"{each} AS {self.column(name)}" for each, name in zip(other, kinds, strict=True)]
            selects = " UNION ALL SELECT ".join(map(", ".join, [first] + [other] * (rows.num_rows - 1)))
            yield f"(SELECT {selects})", [value for row in zip(*values, strict=True) for value in row]
            return
        name = f"_tidegate_shown_{next(self._numbers)}"
        columns = ", ".join(f"{self.column(column)} {kind}" for column, kind in kinds.items())
        self.execute(f"CREATE TEMP TABLE {name} ({columns})")
        self._fill(name, rows, kinds)
        yield name, ()
        self.execute(f"DROP TABLE {name}")

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows by INSERT or COPY; columns of texts that are too long for them become VARBYTE before."""
        spelled = self._spelled.get(table.lower(), table)
        natives = self._columns(spelled)
        for field in rows.schema:
            native = natives[field.name]
            if not native.startswith("character varying"):
                continue
            if rows_of.longest(rows.column(field.name)) <= rows_of.VARCHAR:
                continue
            _log.warning(
                "The column %s of %s.%s gets a text of more than %s bytes, so it becomes VARBYTE: "
                "FROM_VARBYTE(%s, 'utf8') reads what is short.",
                *(field.name, self.schema, spelled, f"{rows_of.VARCHAR:,}", field.name),
            )
            is_shown = spelled in self.existing(self.live)
            if is_shown:
                self.hide_live(table)
            value = f"TO_VARBYTE({self.column(field.name)}, 'utf8')"
            self._replace_column(table, field.name, rows_of.LONG, value)
            if is_shown:
                self.show_live(table)
            natives = self._columns(spelled)
        self._fill(self.name(table), rows, natives)

    def _columns(self, table: str) -> ddl.Columns:
        """The columns of a table in native types."""
        known = self._natives if self._natives is not None else self.existing(self.schema)
        return known[table] if table in known else self.existing(self.schema)[table]

    def _fill(self, name: str, rows: pa.Table, natives: ddl.Columns) -> None:
        """Put rows into a table whose columns have these types."""
        kinds = [rows_of.kind(natives[column]) for column in rows.column_names]
        columns = ", ".join(map(self.column, rows.column_names))
        if self._staging is not None and self._is_within and rows.num_rows > FEW:
            self._copy(name, columns, kinds, rows, self._folder())
        else:
            self._insert(name, columns, kinds, rows)

    def _insert(self, name: str, columns: str, kinds: Sequence[str], rows: pa.Table) -> None:
        chunk: list[str] = []
        parameters: list[str | None] = []
        size = 0

        def put() -> None:
            nonlocal size
            if chunk:
                self.execute(f"INSERT INTO {name} ({columns}) VALUES {', '.join(chunk)}", parameters)
            chunk.clear()
            parameters.clear()
            size = 0

        for row in rows_of.values(rows, kinds):
            placed = [rows_of.place(kind, value) for kind, value in zip(kinds, row, strict=True)]
            count = sum(len(values) for _, values in placed)
            took = sum(len(value.encode()) for value in row if value is not None)
            if took > STATEMENT:
                raise errors.WarehouseError(
                    f"A row for {self.where()} is longer than the 8 MB that go in at once; exclude its longest "
                    "column. Nothing of this load was written."
                )
            if len(parameters) + count > PARAMETERS or size + took > STATEMENT:
                put()
            chunk.append(f"({', '.join(text for text, _ in placed)})")
            parameters += [value for _, values in placed for value in values]
            size += took
        put()

    def _copy(self, name: str, columns: str, kinds: Sequence[str], rows: pa.Table, folder: str) -> None:
        """Put rows into files, let Redshift read them, and remove them.

        Files that a killed load left in the folder are removed as well: whoever loads holds the lock.
        """
        if self._store is None:
            self._store = storage_s3.at(str(self._staging), self._s3)
        store = self._store
        store.remove([each.path for each in store.listed(folder)])
        null, load = f"~null-{secrets.token_hex(8)}~", f"{folder}/{secrets.token_hex(8)}"
        role = "default" if self._role is None else ddl.literal(self._role)
        place = self._s3.region if self._s3 is not None else None
        region = "" if place is None else f" REGION {ddl.literal(place)}"
        put: list[str] = []
        try:
            for number, packed in enumerate(rows_of.files(kinds, rows_of.values(rows, kinds), null)):
                put.append(f"{load}/{number:06}.csv.gz")
                store.exchange(put[-1], packed, None)
            self.execute(
                f"COPY {name} ({columns}) FROM {ddl.literal(f'{load}/')} IAM_ROLE {role}{region} "
                f"FORMAT AS CSV GZIP NULL AS '{null}' TIMEFORMAT 'auto'"
            )
        except Exception:
            with contextlib.suppress(Exception):  # the next load removes them, and why this one failed counts
                store.remove(put)
            raise
        store.remove(put)

    def _folder(self, use: str = "load") -> str:
        """Where this schema's files lie, told from those of other schemas, databases and clusters."""
        whose = "/".join(str(self._address.get(name)) for name in ("host", "port", "dbname"))
        digest = hashlib.sha256(f"{whose}/{self.schema}".encode()).hexdigest()[:16]
        return f"{str(self._staging).rstrip('/')}/tidegate/{digest}/{use}"

    def _check_write(self) -> str:
        self._check_case()
        done = super()._check_write()
        if self._staging is None:
            return f"{done}; rows go in by INSERT, `staging: s3://...` makes it fast"
        name, rows = f"_tidegate_check_{secrets.token_hex(4)}", pa.table({"key": ["a"], "value": ["b"]})
        kinds = [self.types["VARCHAR"]] * 2
        self.create(name, own.STATE, ("key",))
        try:
            columns = ", ".join(map(self.column, rows.column_names))
            self._copy(self.name(name), columns, kinds, rows, self._folder(name))
        finally:
            self.drop(name)
        return f"{done}; COPY read {self._staging}"


def open_warehouse(target: warehouses.Redshift, *, wait: float = 60.0) -> Redshift:
    """The warehouse that a configuration describes; nothing is opened yet."""
    staging, role, s3 = target.staging, target.iam_role, target.s3
    if target.url is not None:
        parts = urllib.parse.urlsplit(target.url.get_secret_value())
        query = urllib.parse.parse_qsl(parts.query)
        asked = {name: value for name, value in query if name in OPTIONS}
        staging, role = asked.pop("staging", staging), asked.pop("iam_role", role)
        s3 = warehouses.S3.model_validate(asked) if asked else s3
        rest = urllib.parse.urlencode([pair for pair in query if pair[0] not in OPTIONS])
        url = urllib.parse.urlunsplit(parts._replace(query=rest))
        target = target.model_copy(update={"url": type(target.url)(url)})
    if staging is not None and not staging.startswith("s3://"):
        raise errors.ConfigError("`staging` of a redshift warehouse is s3://BUCKET/PREFIX.")
    address: dict[str, Any] = {"port": Redshift.port, "sslmode": "require"} | postgres_wire.address(target)
    if target.sslmode is not None:
        address["sslmode"] = target.sslmode
    return Redshift(address, target.schema_name, staging=staging, s3=s3, role=role, wait=wait)


OPTIONS = ("staging", "iam_role", "endpoint", "region", "key", "secret", "token")
"""What a URL may say after its '?', beside the words of libpq."""
