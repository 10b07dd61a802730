"""Postgres 12 and newer, over psycopg.

Rows go in by COPY, in the transaction that removes what they replace and that writes the state; an advisory lock of
the schema keeps two writers from deciding at the same time. Text cannot hold NUL characters there, and JSON neither
in its escaped form: they are left out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import psycopg
import pyarrow as pa

from tidegate import config, errors
from tidegate.adapters import postgres_copy, postgres_rows, postgres_wire, tunnel
from tidegate.warehouse import base, ddl, remote, sql, wire

BATCH = 10_000
"""Rows per batch of a query, and of COPY."""

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""Asks for TLS, to which every server has an answer: https://www.postgresql.org/docs/18/protocol-message-formats.html"""

ARRAYS = {
    "BOOLEAN": "boolean[]",
    "BIGINT": "bigint[]",
    "DOUBLE": "double precision[]",
    "DECIMAL(38,12)": "numeric[]",
    "TIMESTAMP WITH TIME ZONE": "timestamptz[]",
    "VARCHAR": "text[]",
}
IDLE = "300s"
"""After so long without a word inside a transaction, its connection ends: a process that was stopped there must not
keep the schema's lock for ever."""
SETTINGS = (
    "SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true), "
    "set_config('extra_float_digits', '1', true)"
)
"""What a transaction sets, so that values come as they are, whatever the role's or the database's defaults."""


class Postgres(remote.Remote):
    """A schema of a Postgres database."""

    kind = "postgres"
    dialect = sql.Dialect("postgres", postgres_wire.PARAMETER)
    types: ClassVar = {
        "BOOLEAN": "boolean",
        "BIGINT": "bigint",
        "DOUBLE": "double precision",
        "DECIMAL(38,12)": "numeric(38,12)",
        "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
        "JSON": "jsonb",
        "VARCHAR": "text",
    }
    nul: ClassVar[str] = ""
    port: ClassVar[int] = 5432
    """The usual one."""
    longest: ClassVar[int] = 63
    """Bytes of a name at most; of a longer one the server silently keeps the beginning."""
    through: tunnel.Tunnel | None = None
    """The way to the server, where it cannot be reached from here."""

    def __init__(self, address: dict[str, Any], schema: str, *, wait: float = 60.0) -> None:
        super().__init__(schema, wait=wait)
        self._address = address
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._user = str(address.get("user") or "")

    def where(self) -> str:
        """The host and the database."""
        host, database = self._address.get("host", "this machine"), self._address.get("dbname")
        return f"{database or 'the database'} on {host}"

    def reach(self) -> str:
        """Open a connection to the server's port, or look for its socket."""
        host = str(self._address.get("host") or "localhost").split(",")[0]
        port = str(self._address.get("port") or self.port).split(",")[0]
        if self.through is not None:
            return self.through.greeted(SSL_REQUEST)
        if host.startswith("/"):
            return f"a socket in {host}"
        return wire.reached(host, int(port))

    def connect(self) -> None:
        """Sign in."""
        if self._connection is not None and not self._connection.closed:
            return
        # Settings go with every transaction: PgBouncer takes none at the start and forgets them after each.
        asked: dict[str, Any] = {"connect_timeout": 10, "application_name": "tidegate"} | self._address
        asked |= {"client_encoding": "UTF8"} | postgres_wire.KEPT_ALIVE | self._routed()
        self._connection = psycopg.connect(**asked, autocommit=True, prepare_threshold=None)
        # Another default would have a load look at the tables before it holds their lock.
        self._connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        for kind in postgres_rows.AS_TEXT:
            self._connection.adapters.register_loader(kind, postgres_wire.Text)

    def disconnect(self) -> None:
        """Drop the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def close(self) -> None:
        """Let go of the connections and of the tunnel."""
        super().close()
        if self.through is not None:
            self.through.close()

    def _routed(self) -> dict[str, Any]:
        """The tunnel's near end as the address; certificates are still compared with the host's name."""
        if self.through is None:
            return {}
        host, port = self.through.open()
        return {"hostaddr": host, "port": port}

    def explain(self, error: Exception) -> errors.TidegateError | None:
        """What an error of psycopg means, and a lost connection where the tunnel knows why."""
        told = self._meaning(error)
        if isinstance(told, errors.WarehouseUnreachable) and self.through is not None:
            return self.through.trouble() or told
        return told

    def _meaning(self, error: Exception) -> errors.TidegateError | None:
        """What an error of psycopg means; its own text may quote values, so only the server's short words pass."""
        if not isinstance(error, psycopg.Error):
            return None
        state, where = error.sqlstate or "", self.where()
        detail = (error.diag.message_primary or "").rstrip(".")
        if state == "42501":
            return errors.WarehouseError(f"{where} forbids it ({detail}); {self._grant(detail)}.")
        told = postgres_wire.FATAL.get(state) or postgres_wire.FATAL.get(state[:2])
        if told is not None:
            kind, text = told
            if state[:2] in ("22", "23"):
                detail = state
            return kind(text.format(where=where, detail=detail))
        if isinstance(error, psycopg.OperationalError) and not state:
            kind, text = postgres_wire.refusal(str(error))
            return kind(text.format(where=where))
        return errors.WarehouseError(f"{where} refused a statement ({state or type(error).__name__}).")

    def _grant(self, detail: str) -> str:
        """What a superuser has to run so that a refused statement goes through."""
        found = re.search(
            r"(permission denied for|must be owner of) (?:materialized )?(\w+)(?: (.+))?$", detail
        )
        user = base.quoted(self._user) if self._user else "THE_USER"
        if found is None:
            return "grant this user what is missing"
        denied, kind, name = found.group(1), found.group(2), base.quoted(found.group(3) or "")
        if self.limit is not None:  # a user's query, which changes nothing
            return f"run `GRANT {f'USAGE ON SCHEMA {name}' if kind == 'schema' else f'SELECT ON {name}'} TO {user}`"
        if denied.startswith("must"):
            if kind == "schema":
                return f"run `ALTER SCHEMA {name} OWNER TO {user}`"
            schema = self.live if kind == "view" else self.schema
            kind = "table" if kind == "relation" else kind  # as old Postgres and Redshift call it
            return f"run `ALTER {kind.upper()} {base.quoted(schema)}.{name} OWNER TO {user}`"
        if kind == "database":
            return f"run `GRANT CREATE ON DATABASE {name} TO {user}`"
        if kind == "schema":
            return f"run `GRANT USAGE, CREATE ON SCHEMA {name} TO {user}`"
        return (
            "run `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "
            f"{base.quoted(self.schema)} TO {user}`"
        )

    def load(
        self,
        loads: Sequence[base.Load],
        state: Mapping[str, str | None],
        fence: base.Fence | None = None,
    ) -> list[base.Loaded]:
        """Merge rows and write state in one transaction; keys lose what no text holds, before they are compared."""
        bare = [
            dataclasses.replace(load, rows=postgres_copy.bare(load.rows, (*load.table.key, "_parent_id")))
            for load in loads
        ]
        return super().load(bare, state, fence)

    def found(self, wanted: Sequence[base.Wanted]) -> list[pa.Table]:
        """What is stored or buried under the keys of several tables, once connected."""
        bare = [
            dataclasses.replace(each, keys=postgres_copy.bare(each.keys, each.table.key)) for each in wanted
        ]
        return super().found(bare)

    def execute(self, text: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement."""
        self._open().execute(*postgres_wire.filled(text, parameters))

    def fetch(
        self, text: str, parameters: Sequence[object] = (), *, stream: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query; `stream` by a cursor of the server's, in a transaction that only reads."""
        connection, query = self._open(), postgres_wire.filled(text, parameters)
        if not stream:
            is_within = connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
            with contextlib.nullcontext() if is_within else connection.transaction():
                if not is_within:
                    connection.execute(SETTINGS)
                found = connection.execute(*query)
                batch = postgres_wire.batch(found.description or [], found.fetchall())
            yield batch
            return
        with self._reading(connection), connection.cursor("tidegate") as cursor:
            cursor.execute(*query)
            rows = cursor.fetchmany(BATCH)
            batch = postgres_wire.batch(cursor.description or [], rows)
            yield batch
            while rows := cursor.fetchmany(BATCH):
                yield postgres_wire.batch(cursor.description or [], rows, batch.schema)

    def ask(self, text: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """The rows of a user's query, by a cursor of the server's in a transaction that only reads."""
        connection = self._open()
        with self._reading(connection):
            if self.limit is not None:
                told = str(max(1, round(self.limit * 1000)))
                connection.execute("SELECT set_config('statement_timeout', %s, true)", [told])
            with connection.cursor("tidegate") as cursor:
                for kind in postgres_rows.AS_TEXT:
                    cursor.adapters.register_loader(kind, postgres_wire.Text)
                cursor.execute(text, list(parameters) or None)
                schema = postgres_rows.schema(cursor.description or [])
                yield postgres_rows.batch(schema, rows := cursor.fetchmany(BATCH))
                while len(rows) == BATCH:
                    yield postgres_rows.batch(schema, rows := cursor.fetchmany(BATCH))

    @contextlib.contextmanager
    def _reading(self, connection: psycopg.Connection[tuple[Any, ...]]) -> Iterator[None]:
        """A transaction that only reads, for as long as that takes."""
        with connection.transaction():
            connection.execute("SET TRANSACTION READ ONLY")
            connection.execute(f"{SETTINGS}, set_config('idle_in_transaction_session_timeout', '0', true)")
            yield

    def interrupt(self) -> None:
        """Ask the server to end the statement that runs."""
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.cancel_safe(timeout=10)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction that holds the schema's lock."""
        connection = self._open()
        with connection.transaction():
            connection.execute(
                f"{SETTINGS}, set_config('lock_timeout', '60s', true), "
                f"set_config('idle_in_transaction_session_timeout', '{IDLE}', true)"
            )
            connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"tidegate/{self.schema}"]
            )
            yield

    def evolving(self) -> contextlib.AbstractContextManager[None]:
        """Tables change in a transaction, too."""
        return self.transaction()

    def existing(self, schema: str) -> dict[str, ddl.Columns]:
        """Every table and view of a schema with its columns."""
        rows = self._open().execute(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) "
            "FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
            "LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
            "WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY c.oid, a.attnum",
            [schema],
        )
        tables: dict[str, ddl.Columns] = {}
        for table, column, kind in rows:
            columns = tables.setdefault(table, {})
            if column is not None:
                columns[column] = kind
        return tables

    def create_schema(self, schema: str) -> None:
        """Make a schema, where there is none; of one that is there Postgres asks for the right to make it, too."""
        self._check_length(schema)
        found = self._open().execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema])
        if found.fetchone() is None:
            super().create_schema(schema)

    def create(self, table: str, columns: ddl.Columns, key: Sequence[str]) -> None:
        """Make a table, with an index of its key."""
        self._check_length(table, *columns)
        told = [f"{self.column(column)} {self.types[kind]}" for column, kind in columns.items()]
        if key:
            told.append(f"PRIMARY KEY ({', '.join(map(self.column, key))})")
        self.execute(f"CREATE TABLE IF NOT EXISTS {self.name(table)} ({', '.join(told)})")
        if not key:
            index = self.column(f"{table}_key")
            self.execute(
                f"CREATE INDEX IF NOT EXISTS {index} ON {self.name(table)} "
                f"({self.column('table_name')}, {self.column('key')})"
            )

    def add(self, table: str, column: str, kind: str) -> None:
        """Add a column."""
        self._check_length(column)
        super().add(table, column, kind)

    def _check_length(self, *names: str) -> None:
        """Raises ConfigError for a name that the server would cut, and take for another of the same beginning."""
        for name in names:
            if len(name.encode()) > self.longest:
                raise errors.ConfigError(
                    f"{self.where()} takes no name of more than {self.longest} bytes; shorten {name}."
                )

    def widen(self, table: str, column: str, _: str, kind: str) -> None:
        """Change a column's type in place."""
        name, native = self.column(column), self.types[kind]
        using = f"to_jsonb({name})" if kind == "JSON" else f"CAST({name} AS {native})"
        self.execute(f"ALTER TABLE {self.name(table)} ALTER COLUMN {name} TYPE {native} USING {using}")

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows by COPY."""
        columns = ", ".join(map(self.column, rows.column_names))
        lower = table.lower()
        there = self._tables[lower] if lower in self._tables else self._there()[lower]
        documents = {column for column, kind in there.items() if kind == "JSON"}
        with (
            self._open().cursor() as cursor,
            cursor.copy(f"COPY {self.name(table)} ({columns}) FROM STDIN") as copy,
        ):
            for batch in rows.to_batches(max_chunksize=BATCH):
                for written in postgres_copy.lines(batch, documents):
                    copy.write(written)

    @contextlib.contextmanager
    def shown(self, rows: pa.Table) -> Iterator[tuple[str, Sequence[object]]]:
        """Rows as arrays that the query unfolds."""
        kinds = [ddl.sql_type(field) for field in rows.schema]
        names = ", ".join(map(self.column, rows.column_names))
        arrays = ", ".join(f"{postgres_wire.PARAMETER}::{ARRAYS[kind]}" for kind in kinds)
        yield (
            f"(SELECT * FROM unnest({arrays}) AS u ({names}))",
            [postgres_copy.array(column) for column in rows.columns],
        )

    def _open(self) -> psycopg.Connection[tuple[Any, ...]]:
        self.connect()
        assert self._connection is not None, "It was just opened."
        return self._connection


def open_warehouse(target: config.Postgres, *, wait: float = 60.0) -> Postgres:
    """The warehouse that a configuration describes; nothing is opened yet."""
    given = {"sslmode": target.sslmode} if target.sslmode is not None else {}
    found = Postgres(postgres_wire.address(target) | given, target.schema_name, wait=wait)
    if target.ssh is not None:
        host, port = (
            str(found._address.get("host") or "localhost"),
            str(found._address.get("port") or found.port),
        )
        if host.startswith("/") or "," in host + port:
            raise errors.ConfigError("`ssh` leads to one server; give its host and its port.")
        found.through = tunnel.Tunnel(target.ssh, host, int(port))
    return found
