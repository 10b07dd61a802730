"""Snowflake, over its own connector.

Tables and columns have the names that unquoted SQL finds: lower case here is upper case there. What a load decides
is brought near before its transaction (`snowflake_session`), because DDL would commit it: few rows travel as one
JSON parameter, more as a Parquet file that is put to the stage of a table of its own and copied into it.

Never run against Snowflake itself: the tests drive its connector against fakesnow, see docs/warehouse-snowflake.md.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from tidegate import errors, temporary
from tidegate.adapters import snowflake_rows, snowflake_session, snowflake_wire
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base, ddl, desk, own, sql, staging

INLINE = 512 * 1024
"""Bytes of rows that travel with the statement; more go through a file."""

LOAD = "_tidegate_load_"
"""What the names of tables begin with that hold rows near, between upload and commit; seconds since 1970 follow."""

LEFT_BEHIND = 6 * 3600
"""Seconds after which such a table must be that of a load that was killed."""

WIDER = "_tidegate_wider_"
"""What the names of columns begin with that are about to take the place of narrower ones."""


@dataclass(frozen=True, slots=True)
class Near(desk.Change):
    """A change whose keys or rows stand in tables of their own; no name where they travel with the statement."""

    gone_at: str = ""
    rows_at: str = ""


class Snowflake(snowflake_session.Session):
    """A schema of a Snowflake database; `address` are parameters of the connector."""

    types: ClassVar = snowflake_rows.TYPES | {"VARCHAR": snowflake_rows.TEXT}

    def __init__(self, address: dict[str, Any], schema: str, *, wait: float = 60.0) -> None:
        super().__init__(address, schema, wait=wait)
        self._old: list[str] = []
        """Tables that loads left behind, as far as they were seen."""
        self._wider: set[tuple[str, str]] = set()
        """Columns, by their table, that were about to be widened."""

    def existing(self, schema: str) -> dict[str, ddl.Columns]:
        """Every table and view of a schema with its columns, but for those on their way."""
        rows = self._rows(
            "SELECT table_name, column_name, data_type, numeric_precision, numeric_scale "
            f"FROM {self._database()}.information_schema.columns WHERE table_schema = ? "
            "ORDER BY table_name, ordinal_position",
            [snowflake_rows.folded(schema)],
        )
        tables: dict[str, ddl.Columns] = {}
        for table, column, kind, precision, scale in rows:
            native = f"NUMBER({precision},{scale})" if kind == "NUMBER" else kind
            tables.setdefault(snowflake_rows.unfolded(table), {})[snowflake_rows.unfolded(column)] = native
        if schema != self.schema:
            return tables
        self._old = [name for name in tables if _is_left_behind(name)]
        self._wider = {
            (table, column.removeprefix(WIDER))
            for table, columns in tables.items()
            for column in columns
            if column.startswith(WIDER)
        }
        return {
            table: {column: kind for column, kind in columns.items() if not column.startswith(WIDER)}
            for table, columns in tables.items()
            if not table.startswith(LOAD)
        }

    def canonical(self, native: str) -> str:
        """The type of ours; whole numbers of every size count as BIGINT."""
        return snowflake_rows.canonical(native)

    def name(self, table: str, schema: str = "") -> str:
        """A table with its database, so that it does not matter which the session uses."""
        return f"{self._database()}.{super().name(table, schema)}"

    def create_schema(self, schema: str) -> None:
        """Make a schema, where there is none; only then the right to make one is needed."""
        found = self._rows(
            f"SELECT schema_name FROM {self._database()}.information_schema.schemata WHERE schema_name = ?",
            [snowflake_rows.folded(schema)],
        )
        if not found:
            self.execute(f"CREATE SCHEMA IF NOT EXISTS {self._database()}.{sql.quoted(self.dialect, schema)}")

    def create(self, table: str, columns: ddl.Columns, key: Sequence[str]) -> None:
        """Make a table, where there is none; that of the state with the row that transactions lock."""
        super().create(table, columns, key)
        if table == base.STATE:
            self._lay_lock()

    def show_live(self, table: str) -> None:
        """Make the view of a table without its tombstones anew, for all who could read the old one."""
        self.execute(
            f"CREATE OR REPLACE VIEW {self.name(table, self.live)} COPY GRANTS AS SELECT * FROM {self.name(table)} "
            f"WHERE {self.column('_deleted_at')} IS NULL"
        )

    def add(self, table: str, column: str, kind: str) -> None:
        """Add a column, or finish widening it where that was killed before its last step."""
        if (self._spelled.get(table, table), column) in self._wider:
            self._rename(table, WIDER + column, column)
            raise errors.WarehouseBusy(f"{column} of {table} in {self.where()} was just being widened.")
        super().add(table, column, kind)

    def widen(self, table: str, column: str, there: str, kind: str) -> None:
        """Fill a wider column, which then takes the place of the narrow one; see `add` for a kill between.

        https://docs.snowflake.com/en/sql-reference/sql/alter-table-column changes no type in place.
        """
        name, wider, full = self.column(column), self.column(WIDER + column), self.name(table)
        if (self._spelled.get(table, table), column) in self._wider:
            self.execute(f"ALTER TABLE {full} DROP COLUMN {wider}")
        self.execute(f"ALTER TABLE {full} ADD COLUMN {wider} {self.types[kind]}")
        self.execute(
            f"UPDATE {full} SET {wider} = {snowflake_rows.widened(name, there, kind)} WHERE {name} IS NOT NULL"
        )
        # Whoever took the table over meanwhile may write the narrow column still, or have begun to widen it anew.
        if self._rows(
            f"SELECT 1 AS {self.column('one')} FROM {full} WHERE {name} IS NOT NULL AND {wider} IS NULL LIMIT 1"
        ):
            raise errors.WarehouseBusy(
                f"Rows of {table} in {self.where()} were written while {column} was widened."
            )
        self.execute(f"ALTER TABLE {full} DROP COLUMN {name}")
        self._rename(table, WIDER + column, column)

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows that travel with the statement."""
        if _is_much(rows) and rows.num_rows > 1:
            half = rows.num_rows // 2
            self.append(table, rows.slice(0, half))
            self.append(table, rows.slice(half))
            return
        kinds = self._kinds(table, rows)
        source = snowflake_rows.inline(rows.column_names, kinds)
        self._insert(table, rows, source, [snowflake_rows.spelled(rows, kinds)])

    @contextlib.contextmanager
    def shown(self, rows: pa.Table) -> Iterator[tuple[str, Sequence[object]]]:
        """Rows as a JSON parameter that the query unfolds, or, of many, as a table of their own."""
        kinds = [ddl.sql_type(field) for field in rows.schema]
        if _is_much(rows) and not self._is_inside:
            with self._standing(rows, kinds) as table:
                yield f"({snowflake_rows.chosen(table, rows.column_names, kinds)})", []
        else:
            source = snowflake_rows.inline(rows.column_names, kinds)
            yield f"({source})", [snowflake_rows.spelled(rows, kinds)]

    def _load(
        self, staged: Sequence[staging.Staged], state: Mapping[str, str | None], fence: base.Fence | None
    ) -> list[base.Loaded]:
        self.settle()
        return super()._load(staged, state, fence)

    @contextlib.contextmanager
    def uploaded(self, changes: Sequence[desk.Change]) -> Iterator[Sequence[desk.Change]]:
        """Bring what is too much for a statement into tables of its own, which go when the block ends."""
        with contextlib.ExitStack() as stack:
            near: list[desk.Change] = []
            for change in changes:
                gone = rows = ""
                if _is_much(change.gone):
                    kinds = [ddl.sql_type(field) for field in change.gone.schema]
                    gone = stack.enter_context(self._standing(change.gone, kinds))
                if _is_much(change.rows):
                    kinds = self._kinds(change.table, change.rows)
                    rows = stack.enter_context(self._standing(change.rows, kinds))
                near.append(Near(change.table, change.gone, change.rows, gone, rows))
            yield near

    def change(self, change: desk.Change) -> None:
        """Remove keys and add rows, from where they stand."""
        near = change if isinstance(change, Near) else Near(change.table, change.gone, change.rows)
        if near.gone_at:
            names = near.gone.column_names
            kinds = [ddl.sql_type(field) for field in near.gone.schema]
            source = snowflake_rows.chosen(near.gone_at, names, kinds)
            self.execute(
                f"DELETE FROM {self.name(near.table)} AS t USING ({source}) AS k WHERE {self._same(names)}"
            )
        elif near.gone.num_rows:
            self.remove(near.table, near.gone)
        if near.rows_at:
            kinds = self._kinds(near.table, near.rows)
            source = snowflake_rows.chosen(near.rows_at, near.rows.column_names, kinds)
            self._insert(near.table, near.rows, source)
        elif near.rows.num_rows:
            self.append(near.table, near.rows)

    # Rows on their way

    def _insert(self, table: str, rows: pa.Table, source: str, parameters: Sequence[object] = ()) -> None:
        names = ", ".join(map(self.column, rows.column_names))
        self.execute(f"INSERT INTO {self.name(table)} ({names}) {source}", parameters)

    def _rename(self, table: str, column: str, to: str) -> None:
        self.execute(
            f"ALTER TABLE {self.name(table)} RENAME COLUMN {self.column(column)} TO {self.column(to)}"
        )

    def _kinds(self, table: str, rows: pa.Table) -> list[str]:
        """The types of ours that columns of rows have in their table."""
        if table == base.STATE:
            return [own.STATE[column] for column in rows.column_names]
        there = {name.lower(): kind for name, kind in self._tables.get(table.lower(), {}).items()}
        return [there.get(column.lower(), "VARCHAR") for column in rows.column_names]

    @contextlib.contextmanager
    def _standing(self, rows: pa.Table, kinds: Sequence[str]) -> Iterator[str]:
        """A table that holds rows, JSON as text, while the block runs; its stage goes with it."""
        for old in self._old:
            self.execute(f"DROP TABLE IF EXISTS {self.name(old)}")
        self._old = []
        plain = f"{LOAD}{int(time.time())}_{random.randrange(16**8):08x}"
        name = self.name(plain)
        native = [self.types["VARCHAR" if kind == "JSON" else kind] for kind in kinds]
        columns = ", ".join(f"C{i} {kind}" for i, kind in enumerate(native))
        self.execute(f"CREATE TRANSIENT TABLE {name} ({columns})")
        try:
            schema = sql.quoted(self.dialect, self.schema)
            stage = snowflake_rows.text(f"@{self._database()}.{schema}.%{snowflake_rows.folded(plain)}")
            with temporary.folder("snowflake") as folder:
                path = folder / "rows.parquet"
                snowflake_rows.write(rows, kinds, path)
                source = snowflake_rows.text(f"file://{path.as_posix()}")
                self.execute(f"PUT {source} {stage} AUTO_COMPRESS = FALSE")
            self.execute(
                f"COPY INTO {name} FROM {stage} FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE "
                "NULL_IF = ()) MATCH_BY_COLUMN_NAME = CASE_SENSITIVE"
            )
            yield name
        except BaseException as error:
            if not snowflake_wire.is_lost(error):  # else a later load finds the table
                self._tidy(f"DROP TABLE IF EXISTS {name}")
            raise
        self._tidy(f"DROP TABLE IF EXISTS {name}")


def open_warehouse(target: kinds.Snowflake, *, wait: float = 60.0) -> Snowflake:
    """The warehouse that a configuration describes; nothing is opened yet."""
    return Snowflake(snowflake_wire.address(target), target.schema_name, wait=wait)


def _is_much(rows: pa.Table) -> bool:
    return bool(rows.nbytes > INLINE)


def _is_left_behind(name: str) -> bool:
    """Is a table one that a load brought rows near in, so long ago that nobody waits for it?"""
    since = name.removeprefix(LOAD).partition("_")[0]
    return name.startswith(LOAD) and since.isdigit() and int(since) < time.time() - LEFT_BEHIND
