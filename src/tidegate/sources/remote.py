"""Databases that are reached by SQL over a wire, on the connections of their adapters.

The SQL is the user's, in the warehouse's own dialect, and goes there as it is written. Every read tells the session
first to change nothing and to end what takes too long, in the words of the server.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

import pyarrow as pa
import sqlglot
from sqlglot import exp

from tidegate import errors
from tidegate.sources import arrow, base, guard, patience
from tidegate.warehouse import base as warehouses
from tidegate.warehouse import remote

SESSION: Mapping[str, Sequence[str]] = {
    # https://docs.aws.amazon.com/redshift/latest/dg/r_statement_timeout.html
    "redshift": ("SET statement_timeout TO {ms}",),
    # MariaDB runs comments that begin with /*M! and none with a version from 50700 to 50799; MySQL the other way
    # round. https://mariadb.com/kb/en/comment-syntax/
    "mysql": (
        "SET SESSION /*M! max_statement_time = {s} *//*!50708 max_execution_time = {ms} */",
        "SET SESSION TRANSACTION READ ONLY",
    ),
    # DuckDB runs in this process, and would read this machine's files as tables.
    # https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
    "motherduck": ("SET enable_external_access = false",),
    # https://docs.snowflake.com/en/sql-reference/parameters#statement-timeout-in-seconds
    "snowflake": ("ALTER SESSION SET STATEMENT_TIMEOUT_IN_SECONDS = {s}",),
}
"""What a session is told before it reads, by kind of warehouse: seconds as {s}, milliseconds as {ms}.

Postgres is told with every transaction. The others have no such statement; there the wait is ended from here, and
what would change something is refused by its grammar alone.
"""

GRACE = 5.0
"""Seconds in which a server that was told the timeout ends a query by itself, before it is interrupted."""

_READ_ONLY = re.compile(r"read.?only|only lets itself be read", re.IGNORECASE)

HIDDEN = frozenset(
    ("information_schema", "pg_catalog", "pg_toast", "sys", "mysql", "performance_schema", "system")
)
"""Schemas of the servers' own."""


class Remote:
    """A database, read only."""

    def __init__(self, warehouse: remote.Remote, *, timeout: float) -> None:
        self.kind = warehouse.kind
        self._warehouse, self._timeout = warehouse, timeout
        self._dialect = warehouse.dialect
        # Behind a pool a session belongs to others, too: there the limit goes with each transaction.
        warehouse.limit = timeout

    def check(self) -> list[warehouses.Check]:
        """Reach, sign in, list, read."""
        own = dict(self._warehouse.steps())
        steps: list[tuple[str, Callable[[], str]]] = [
            (name, step) for name, step in own.items() if name not in ("list", "read", "write")
        ]
        steps += [("list", self._check_list), ("read", self._check_read)]
        return self._warehouse.checked(steps)

    def tables(self) -> list[str]:
        """The tables and views that this user sees, `schema.table`."""
        where = ", ".join(f"'{name}'" for name in sorted(HIDDEN))
        # Of tables without columns there is nothing to read.
        text = (
            "SELECT DISTINCT table_schema AS a, table_name AS b FROM information_schema.columns "
            f"WHERE lower(table_schema) NOT IN ({where})"
        )
        if self._dialect.name == "bigquery":  # each dataset has a catalogue of its own
            schema = exp.to_identifier(self._warehouse.schema, quoted=True).sql(dialect="bigquery")
            name = exp.Literal.string(self._warehouse.schema).sql(dialect="bigquery")
            text = f"SELECT DISTINCT {name} AS a, table_name AS b FROM {schema}.INFORMATION_SCHEMA.COLUMNS"
        elif self._dialect.name == "tsql":
            text = (
                "SELECT s.name AS a, o.name AS b FROM sys.objects AS o "
                "JOIN sys.schemas AS s ON s.schema_id = o.schema_id WHERE o.type IN ('U', 'V')"
            )
        found = pa.Table.from_batches(list(self._rows(text)))
        schemas, names = (column.to_pylist() for column in found.columns)
        return [
            guard.spelled([schema, name], self._dialect.name, self._dialect.fold("a"))
            for schema, name in sorted(zip(schemas, names, strict=True))
        ]

    def columns(self, query: base.Query | str) -> pa.Schema:
        """The columns of a query, which the server plans and does not run."""
        text = self._text(query)
        for attempt in (_without_rows(text, self._dialect.name), text):
            if attempt is not None:
                try:
                    with contextlib.closing(self._rows(attempt)) as batches:
                        return next(batches).schema
                except errors.WarehouseUnreachable:
                    raise
                except errors.WarehouseError:
                    if attempt == text:
                        raise
        raise AssertionError("The query itself is the last attempt.")

    def read(self, query: base.Query | str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """Stream the rows of a query."""
        return self._rows(self._text(query), parameters)

    def close(self) -> None:
        """Let go of the connection."""
        self._warehouse.close()

    def _text(self, query: base.Query | str) -> str:
        query = base.only(query, self.kind, "sql", "table")
        if query.table is not None:
            return guard.table(query.table, self._dialect.name)
        assert query.sql is not None, "One of both is given."
        return guard.one_query(query.sql, self._dialect.name)

    def _rows(self, text: str, parameters: Sequence[object] = ()) -> Generator[pa.RecordBatch, None, None]:
        seconds = max(1, round(self._timeout))
        before = [
            statement.format(s=seconds, ms=max(1, round(self._timeout * 1000)))
            for statement in SESSION.get(self.kind, ())
        ]
        is_told = bool(before) or self.kind == "postgres"
        batches = arrow.common(
            patience.bounded(
                self._warehouse.asked(text, parameters, before=before),
                self._timeout,
                self._warehouse.interrupt,
                self._warehouse.where(),
                grace=GRACE if is_told else 0.0,
            )
        )
        try:
            yield from batches
        except errors.WarehouseError as error:
            where = self._warehouse.where()
            if not _READ_ONLY.search(str(error).replace(where, "")):
                raise
            raise errors.ConfigError(
                f"A model only reads, and {where} refused this query, which would change something; leave out the "
                "function that does."
            ) from None

    def _check_list(self) -> str:
        return f"{len(self.tables())} tables and views can be seen"

    def _check_read(self) -> str:
        for _ in self._rows("SELECT 1 AS one"):
            pass
        return "a query was answered"


def _without_rows(text: str, dialect: str) -> str | None:
    """SQL with the columns of a query and none of its rows; None where the grammar has no way to say so."""
    if dialect != "tsql":
        return f"SELECT * FROM (\n{text}\n) AS q WHERE 1 = 0"
    # T-SQL has neither WITH nor ORDER BY in a subquery.
    try:
        tree = sqlglot.parse_one(text, read=dialect)
    except sqlglot.errors.SqlglotError:
        return None
    if not isinstance(tree, exp.Select) or tree.args.get("limit") or tree.args.get("offset"):
        return None
    return tree.limit(0).sql(dialect=dialect)
