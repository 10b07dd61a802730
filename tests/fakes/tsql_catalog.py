"""What a database of the stand-in knows: schemas, tables, columns, keys, and who may do what with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import tsql_types as types
import tsql_words as words
from sqlglot import exp

Trouble = types.Trouble

CATALOG = """
CREATE SCHEMA sys;
CREATE SCHEMA hidden;
CREATE SEQUENCE hidden.ids START 1000;
CREATE TABLE hidden.grants (login VARCHAR, privilege VARCHAR, area VARCHAR);
CREATE TABLE hidden.objects (object_id INTEGER, schema_id INTEGER, name VARCHAR, type VARCHAR);
CREATE TABLE hidden.columns (object_id INTEGER, column_id INTEGER, name VARCHAR, user_type_id INTEGER,
    max_length INTEGER, precision INTEGER, scale INTEGER, collation_name VARCHAR, is_nullable BOOLEAN);
CREATE TABLE hidden.keys (object_id INTEGER, column_name VARCHAR);
CREATE TABLE sys.schemas (schema_id INTEGER, name VARCHAR, owner VARCHAR);
CREATE TABLE sys.types (user_type_id INTEGER, name VARCHAR);
CREATE TABLE sys.pdw_column_distribution_properties (object_id INTEGER, column_id INTEGER,
    distribution_ordinal INTEGER);
INSERT INTO sys.schemas VALUES (1, 'dbo', 'dbo'), (4, 'sys', 'dbo');
CREATE SCHEMA dbo;
INSERT INTO sys.types VALUES (56, 'int'), (127, 'bigint'), (62, 'float'), (104, 'bit'), (106, 'decimal'),
    (43, 'datetimeoffset'), (42, 'datetime2'), (40, 'date'), (231, 'nvarchar'), (167, 'varchar');
CREATE VIEW sys.objects AS SELECT o.* FROM hidden.objects AS o JOIN sys.schemas AS s USING (schema_id)
    WHERE getvariable('login') IN ('sa', s.owner) OR EXISTS (SELECT 1 FROM hidden.grants AS g
    WHERE g.login = getvariable('login') AND g.area IN ('', lower(s.name)) AND g.privilege NOT LIKE 'CREATE%');
CREATE VIEW sys.columns AS SELECT c.* FROM hidden.columns AS c SEMI JOIN sys.objects USING (object_id);
CREATE VIEW sys.information_schema_tables AS SELECT current_database() AS table_catalog, s.name AS table_schema,
    o.name AS table_name FROM sys.objects AS o JOIN sys.schemas AS s USING (schema_id);
CREATE VIEW sys.information_schema_columns AS SELECT t.table_catalog, t.table_schema, t.table_name,
    c.name AS column_name FROM sys.information_schema_tables AS t JOIN sys.schemas AS s ON s.name = t.table_schema
    JOIN sys.objects AS o ON o.schema_id = s.schema_id AND o.name = t.table_name
    JOIN sys.columns AS c ON c.object_id = o.object_id;
"""
"""`hidden` holds all there is; `sys` shows what a user owns or was granted something of, as SQL Server does."""

LONGEST_KEY = 900
"""Bytes of an entry of a clustered index."""

LONGEST_NAME = 128


@dataclass(slots=True)
class Versions:
    """How often the definitions of a database may have changed."""

    number: int = 1


class Catalog:
    """A database as one user sees it."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        database: str,
        user: str,
        versions: Versions,
        *,
        synapse: bool,
    ) -> None:
        self.cursor, self.database, self.user, self.synapse = cursor, database, user, synapse
        self._versions, self._version = versions, 0
        self._known: dict[tuple[object, ...], Any] = {}
        self._is_dirty = False
        cursor.execute(f"SET VARIABLE login = {exp.Literal.string(user).sql('duckdb')}")

    def changed(self) -> None:
        """Note that definitions changed."""
        self._versions.number += 1
        self._is_dirty = True

    def settle(self) -> None:
        """Note that a transaction ended: what it defined is seen by others now, or never was."""
        if self._is_dirty:
            self._versions.number += 1
            self._is_dirty = False

    def _asked(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query of `hidden`, which stay the same until something is defined."""
        if self._version != self._versions.number:
            self._version = self._versions.number
            self._known.clear()
        if (text, *values) not in self._known:
            self._known[text, *values] = self.cursor.execute(text, values).fetchall()
        return self._known[text, *values]

    # Definitions

    def define(self, tree: exp.Expression, spoken: words.Spoken, text: str) -> None:
        """CREATE, ALTER and DROP, of whatever there is."""
        self.changed()
        try:
            self._define(tree, spoken, text)
        finally:
            self.changed()

    def _define(self, tree: exp.Expression, spoken: words.Spoken, text: str) -> None:
        for name in tree.find_all(exp.Identifier):
            if len(name.name) > LONGEST_NAME:
                raise Trouble(
                    103, f"The identifier that starts with '{name.name[:LONGEST_NAME]}' is too long."
                )
        kind = str(tree.args.get("kind", "")).upper()
        if isinstance(tree, exp.Create) and kind == "SCHEMA":
            self._create_schema(tree.this.db or tree.this.name)
            return
        if isinstance(tree, exp.Drop):
            self._drop(tree, kind)
            return
        schema, name = words.two(tree.find(exp.Table))
        if isinstance(tree, exp.Alter):
            self._may_alter(schema, name)
            self._alter(tree, schema, name)
        elif kind == "INDEX":
            schema, name = words.two(tree.this.args["table"])
            self._may_alter(schema, name)
            self.object(schema, name)
        else:
            self._may_create(f"CREATE {kind}", schema)
            if kind == "VIEW":
                self._create_view(tree, spoken, schema, name)
            else:
                self._create_table(tree, spoken, schema, name, text)

    def _create_schema(self, name: str) -> None:
        self._may_create("CREATE SCHEMA")
        if self.cursor.execute("SELECT 1 FROM sys.schemas WHERE lower(name) = lower(?)", [name]).fetchall():
            raise Trouble(2714, f"There is already an object named '{name}' in the database.")
        self.cursor.execute(f"CREATE SCHEMA {words.quoted(name)}")
        self.cursor.execute("INSERT INTO sys.schemas VALUES (nextval('hidden.ids'), ?, ?)", [name, self.user])

    def _create_view(self, tree: exp.Expression, spoken: words.Spoken, schema: str, name: str) -> None:
        if self.synapse and tree.args.get("replace"):
            raise Trouble(103010, "Parse error: Incorrect syntax near 'OR'.")
        if self._find(schema, name) is not None and not tree.args.get("replace"):
            raise Trouble(2714, f"There is already an object named '{name}' in the database.")
        for table in tree.expression.find_all(exp.Table):
            self.may("SELECT", *words.two(table))
        self.cursor.execute(spoken.sql)
        described = self.cursor.execute(f"DESCRIBE {words.quoted(schema)}.{words.quoted(name)}").fetchall()
        columns = [(each[0], *types.numbers(types.typed(each[1])), None, True) for each in described]
        self._enter(schema, name, "V", columns, [])

    def _create_table(
        self, tree: exp.Expression, spoken: words.Spoken, schema: str, name: str, text: str
    ) -> None:
        if self._find(schema, name) is not None:
            raise Trouble(2714, f"There is already an object named '{name}' in the database.")
        if tree.args.get("expression") is not None:
            self._create_as(tree, spoken, schema, name, text)
            return
        columns, keys = [], list[str]()
        for each in tree.this.expressions:
            if isinstance(each, exp.ColumnDef):
                columns.append(types.column(each))
                if any(isinstance(one.kind, exp.PrimaryKeyColumnConstraint) for one in each.constraints):
                    keys.append(each.name)
            else:
                keys += types.primary(each)
        if self.synapse:
            self._may_be_kept(columns, text)
            if keys and "NOT ENFORCED" not in text.upper():
                raise Trouble(104467, "Enforced unique constraints are not supported.")
            keys = []
        unknown = set(map(str.lower, keys)) - {column[0].lower() for column in columns}
        if unknown:
            raise Trouble(1911, f"Column name '{unknown.pop()}' does not exist in the target table or view.")
        columns = [(*column[:6], column[6] and column[0] not in keys) for column in columns]
        for column in columns:
            if column[0] in keys and column[1] == types.NVARCHAR and column[2] < 0:
                raise Trouble(
                    1919, f"Column '{column[0]}' is of a type that is invalid for use as a key column."
                )
        told = ", ".join(f"{words.quoted(column[0])} {types.duck(column)}" for column in columns)
        self.cursor.execute(f"CREATE TABLE {words.quoted(schema)}.{words.quoted(name)} ({told})")
        self._enter(schema, name, "U", columns, keys)
        self._spread(schema, name, text)

    def _create_as(
        self, tree: exp.Expression, spoken: words.Spoken, schema: str, name: str, text: str
    ) -> None:
        if not self.synapse:
            raise Trouble(156, "Incorrect syntax near the keyword 'AS'.", 15)
        source = words.two(tree.expression.find(exp.Table))
        self.may("SELECT", *source)
        there = {column[0].lower(): column for column in self.columns(*source)}
        columns = []
        for each in tree.expression.selects:
            inner = each.unalias()
            collation = None
            if isinstance(inner, exp.Collate):
                collation, inner = inner.expression.name, inner.this
            if isinstance(inner, exp.Column):
                columns.append((each.alias_or_name, *there[inner.name.lower()][1:]))
            else:
                columns.append((each.alias_or_name, *types.numbers(inner.to), collation, True))
        self._may_be_kept(columns, text)
        self.cursor.execute(spoken.sql)
        self._enter(schema, name, "U", columns, [])
        self._spread(schema, name, text)

    def _may_be_kept(self, columns: Sequence[tuple[Any, ...]], text: str) -> None:
        """Refuse long texts in a columnstore, which is what a pool makes of a table unless it is told."""
        if "HEAP" not in text.upper():
            for column in columns:
                if column[1] in (types.NVARCHAR, types.VARCHAR) and column[2] < 0:
                    raise Trouble(
                        35343,
                        f"The statement failed. Column '{column[0]}' has a data type that cannot participate in a "
                        "columnstore index.",
                    )

    def _spread(self, schema: str, name: str, text: str) -> None:
        """Note the column by which a table of a pool is distributed."""
        found = re.search(r"DISTRIBUTION = HASH\(\[(.+?)\]\)[,)]", text)
        if found is None:
            return
        by = found[1].replace("]]", "]")
        for column, number, size, *_ in self.columns(schema, name):
            if column.lower() == by.lower() and number == types.NVARCHAR and size < 0:
                raise Trouble(104426, f"The column {by} has a type that no table can be distributed by.")
        rows = self.cursor.execute(
            "INSERT INTO sys.pdw_column_distribution_properties SELECT object_id, column_id, 1 FROM hidden.columns "
            "WHERE object_id = ? AND lower(name) = lower(?) RETURNING 1",
            [self.object(schema, name), by],
        ).fetchall()
        if not rows:
            raise Trouble(104424, "The distribution column is none of the table's.")

    def rename(self, schema: str, name: str, new: str) -> None:
        """Give a table another name."""
        self._may_alter(schema, name)
        number = self.object(schema, name)
        self.changed()
        if self._find(schema, new) is not None:
            raise Trouble(15335, f"Error: The new name '{new}' is already in use.", 11)
        self.cursor.execute(
            f"ALTER TABLE {words.quoted(schema)}.{words.quoted(name)} RENAME TO {words.quoted(new)}"
        )
        self.cursor.execute("UPDATE hidden.objects SET name = ? WHERE object_id = ?", [new, number])
        self.changed()

    def _drop(self, tree: exp.Drop, kind: str) -> None:
        if self.synapse and kind == "TABLE" and tree.args.get("exists"):
            raise Trouble(103010, "Parse error: Incorrect syntax near 'IF'.")
        for table in tree.args.get("tables") or [tree.this]:
            schema, name = words.two(table)
            if self._find(schema, name) is None:
                if tree.args.get("exists"):
                    continue
                raise Trouble(
                    3701, f"Cannot drop the {kind.lower()} '{name}', because it does not exist.", 11
                )
            self._may_alter(schema, name)
            number = self.object(schema, name)
            self.cursor.execute(f"DROP {kind} {words.quoted(schema)}.{words.quoted(name)}")
            self._forget(number)

    def _alter(self, tree: exp.Alter, schema: str, name: str) -> None:
        number = self.object(schema, name)
        columns = {column[0].lower(): column for column in self.columns(schema, name)}
        table = f"{words.quoted(schema)}.{words.quoted(name)}"
        for action in tree.args["actions"]:
            if isinstance(action, exp.ColumnDef):
                column = types.column(action)
                if column[0].lower() in columns:
                    raise Trouble(
                        2705, f"Column names must be unique; '{column[0]}' is there more than once."
                    )
                self.cursor.execute(
                    f"ALTER TABLE {table} ADD COLUMN {words.quoted(column[0])} {types.duck(column)}"
                )
                self._enter_columns(number, [column])
            elif isinstance(action, exp.AlterColumn):
                self._alter_column(action, number, table, columns[action.this.name.lower()])
            elif isinstance(action, exp.Drop):
                named = action.find(exp.Column, exp.Identifier)
                assert named is not None
                column = columns[named.name.lower()][0]
                self.cursor.execute(f"ALTER TABLE {table} DROP COLUMN {words.quoted(column)}")
                self.cursor.execute(
                    "DELETE FROM hidden.columns WHERE object_id = ? AND name = ?", [number, column]
                )
            else:
                raise Trouble(102, "Incorrect syntax near 'ALTER'.", 15)

    def _alter_column(self, action: exp.AlterColumn, number: int, table: str, old: tuple[Any, ...]) -> None:
        if self.synapse:
            raise Trouble(104413, "ALTER TABLE ALTER COLUMN to another type is not what this pool does.")
        collation = action.args.get("collate")
        new = (old[0], *types.numbers(action.args["dtype"]), collation.name if collation else None, True)
        name, kind = words.quoted(old[0]), types.duck(new)
        value = name
        if old[1] == types.BIT:
            value = f"CAST({value} AS INTEGER)"
        elif old[1] == types.FLOAT and new[1] == types.NVARCHAR:
            value = f"printf('%g', {value})"  # what a plain conversion leaves of it
        if types.duck(old) != kind:
            self.cursor.execute(
                f"ALTER TABLE {table} ALTER COLUMN {name} TYPE {kind} USING CAST({value} AS {kind})"
            )
        self.cursor.execute(
            "UPDATE hidden.columns SET user_type_id = ?, max_length = ?, precision = ?, scale = ?, "
            "collation_name = ? WHERE object_id = ? AND name = ?",
            [*new[1:6], number, old[0]],
        )

    def _enter(
        self, schema: str, name: str, kind: str, columns: Sequence[tuple[Any, ...]], keys: Sequence[str]
    ) -> None:
        there = self._find(schema, name)
        if there is not None:
            self._forget(there)
        [(number,)] = self.cursor.execute("SELECT nextval('hidden.ids')").fetchall()
        self.cursor.execute(
            "INSERT INTO hidden.objects SELECT ?, schema_id, ?, ? FROM sys.schemas WHERE lower(name) = lower(?)",
            [number, name, kind, schema],
        )
        self._enter_columns(number, columns)
        for key in keys:
            self.cursor.execute("INSERT INTO hidden.keys VALUES (?, ?)", [number, key])
        self.changed()

    def _enter_columns(self, number: int, columns: Sequence[tuple[Any, ...]]) -> None:
        for column in columns:
            self.cursor.execute(
                "INSERT INTO hidden.columns SELECT ?, nextval('hidden.ids'), ?, ?, ?, ?, ?, ?, ?",
                [number, *column],
            )

    def _forget(self, number: int) -> None:
        for each in ("objects", "columns", "keys"):
            self.cursor.execute(f"DELETE FROM hidden.{each} WHERE object_id = ?", [number])

    # What is there

    def _find(self, schema: str, name: str) -> int | None:
        rows = self._asked(
            "SELECT o.object_id FROM hidden.objects AS o JOIN sys.schemas AS s USING (schema_id) "
            "WHERE lower(s.name) = lower(?) AND lower(o.name) = lower(?)",
            schema,
            name,
        )
        return rows[0][0] if rows else None

    def has(self, schema: str, name: str) -> bool:
        """Is there a table or view of this name?"""
        return self._find(schema, name) is not None

    def object(self, schema: str, name: str) -> int:
        """The number of a table or view."""
        found = self._find(schema, name)
        if found is None:
            raise Trouble(208, f"Invalid object name '{schema}.{name}'.")
        return found

    def columns(self, schema: str, name: str) -> list[tuple[Any, ...]]:
        """Name, type, bytes, precision, scale, collation, nullable."""
        return self._asked(
            "SELECT name, user_type_id, max_length, precision, scale, collation_name, is_nullable "
            "FROM hidden.columns WHERE object_id = ? ORDER BY column_id",
            self._find(schema, name),
        )

    def check(self, schema: str, name: str) -> None:
        """Refuse texts and keys that are too long, missing values, and keys that stand there twice."""
        keys = [
            key
            for (key,) in self._asked(
                "SELECT column_name FROM hidden.keys WHERE object_id = ?", self.object(schema, name)
            )
        ]
        table, where = (
            f"{words.quoted(schema)}.{words.quoted(name)}",
            f"table '{self.database}.{schema}.{name}'",
        )
        wrong = []
        for column, number, length, *_, nullable in self.columns(schema, name):
            quoted = words.quoted(column)
            if number == types.NVARCHAR and length > 0:
                told = f"String or binary data would be truncated in {where}, column '{column}'. Truncated value: '"
                wrong.append((2628, told, f"length({quoted}) > {length // 2}"))
            if not nullable:
                told = f"Cannot insert the value NULL into column '{column}', {where}; column does not allow nulls."
                wrong.append((515, told, f"{quoted} IS NULL"))
        if keys:
            size = " + ".join(f"2 * length(CAST({words.quoted(key)} AS VARCHAR))" for key in keys)
            told = f"Operation failed. The index entry exceeds the maximum length of {LONGEST_KEY} bytes."
            wrong.append((1946, told, f"{size} > {LONGEST_KEY}"))
        if wrong:
            checks = ", ".join(f"coalesce(bool_or({check}), false)" for *_, check in wrong)
            [row] = self.cursor.execute(f"SELECT {checks} FROM {table}").fetchall()
            for (number, text, _), failed in zip(wrong, row, strict=True):
                if failed:
                    raise Trouble(number, text)
        if keys:
            names = ", ".join(f"rtrim(CAST({words.quoted(key)} AS VARCHAR), ' ')" for key in keys)
            [(rows, distinct)] = self.cursor.execute(
                f"SELECT count(*), count(DISTINCT ({names})) FROM {table}"
            ).fetchall()
            if rows != distinct:
                raise Trouble(
                    2627,
                    f"Violation of PRIMARY KEY constraint. Cannot insert duplicate key in '{schema}.{name}'.",
                    14,
                )

    # Who may

    def _granted(self, privilege: str, schema: str = "") -> bool:
        found = self.cursor.execute(
            "SELECT 1 FROM hidden.grants WHERE login = ? AND privilege IN (?, 'CONTROL') AND area IN ('', ?)",
            [self.user, privilege, schema.lower()],
        )
        return self.user == "sa" or bool(found.fetchall())

    def _owns(self, schema: str) -> bool:
        if self.user == "sa":
            return True
        owners = self.cursor.execute("SELECT owner FROM sys.schemas WHERE lower(name) = lower(?)", [schema])
        return owners.fetchall() == [(self.user,)]

    def may(self, privilege: str, schema: str, name: str) -> None:
        """Refuse who may not read or change a table."""
        if schema.lower() in ("sys", "information_schema") or name.startswith("_openjson_"):
            return
        self.object(schema, name)
        if not self._owns(schema) and not self._granted(privilege, schema):
            raise Trouble(
                229,
                f"The {privilege} permission was denied on the object '{name}', database '{self.database}', "
                f"schema '{schema}'.",
                14,
            )

    def _may_create(self, privilege: str, schema: str | None = None) -> None:
        if not self._granted(privilege):
            raise Trouble(262, f"{privilege} permission denied in database '{self.database}'.", 14)
        if schema is not None:
            known = self.cursor.execute("SELECT 1 FROM sys.schemas WHERE lower(name) = lower(?)", [schema])
            if not known.fetchall() or not (self._owns(schema) or self._granted("ALTER", schema)):
                raise Trouble(
                    2760,
                    f'The specified schema name "{schema}" either does not exist or you do not have permission to '
                    "use it.",
                )

    def _may_alter(self, schema: str, name: str) -> None:
        if not self._owns(schema) and not self._granted("ALTER", schema):
            raise Trouble(
                1088,
                f'Cannot find the object "{name}" because it does not exist or you do not have permissions.',
            )
