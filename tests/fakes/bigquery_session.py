"""One query job of the stand-in in `bigquery_api`: a script of BigQuery's, statement by statement."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

import bigquery_grammar as grammar
import bigquery_values as values
import duckdb
from bigquery_values import Refused
from sqlglot import exp


@dataclass
class Answer:
    """What a query ended with."""

    schema: list[dict[str, Any]]
    rows: list[Any]
    affected: int | None = None


class Service(Protocol):
    """What a job needs of all that is around it."""

    collated: set[tuple[str, str]]

    def allowed(self, permission: str, thing: str) -> None:
        """Refuse what is forbidden."""

    def dataset(self, project: str, dataset: str) -> None:
        """Raise where there is no such dataset."""

    def expire(self, project: str, dataset: str, name: str) -> None:
        """Drop a table whose time is over."""

    def replaced(self) -> None:
        """Let others work."""


CLUSTERS = "memory.main.clusters"
"""By what each table is clustered."""


def clusters(tree: exp.Expression) -> list[str]:
    """The columns by which a statement clusters its table."""
    return [each.name for found in tree.find_all(exp.ClusterProperty) for each in found.expressions]


class Session:
    """A query job: its statements, one after the other."""

    def __init__(
        self,
        service: Service,
        project: str,
        cursor: duckdb.DuckDBPyConnection,
        parameters: list[dict[str, Any]],
    ) -> None:
        self.service, self.project, self.cursor = service, project, cursor
        self.parameters: dict[str, tuple[dict[str, Any], Any]] = {
            each["name"]: (each["parameterType"], each.get("parameterValue", {})) for each in parameters
        }
        self.kinds = tuple((name, kind["type"]) for name, (kind, _) in self.parameters.items())
        self.shown: set[str] = set()
        self.in_transaction = False

    def run(self, script: str) -> Answer:
        """Run a script; its last statement's rows are its answer. A transaction that nobody ends is rolled back."""
        answer = Answer([], [])
        try:
            for text in grammar.statements(script.replace(f"`{self.project}`.", "")):
                answer = self.statement(text)
        finally:
            if self.in_transaction:
                self.cursor.execute("ROLLBACK")
        return answer

    def statement(self, text: str) -> Answer:
        """Run one statement."""
        if re.match(r"(?i)ASSERT\s", text):
            condition, says = grammar.asserted(text)
            if self.sql(condition).rows[0]["f"][0]["v"] != "true":
                raise Refused(400, "invalidQuery", says)
            return Answer([], [])
        found = re.fullmatch(r"(?i)(BEGIN|COMMIT|ROLLBACK)\s+TRANSACTION", text)
        if found is None:
            return self.sql(text)
        begins = found.group(1).upper() == "BEGIN"
        if begins == self.in_transaction:
            raise Refused(400, "invalidQuery", f"Transaction control statement {text} is not possible here")
        self.cursor.execute(text)
        self.in_transaction = begins
        return Answer([], [])

    def sql(self, text: str) -> Answer:
        """Run a statement of SQL."""
        said = grammar.said(text, self.kinds)
        self.check(said)
        for name in said.arrays:
            if name not in self.shown:
                self.cursor.register(f"parameter_{name}", values.rows(*self.parameters[name]))
                self.shown.add(name)
        used = {name: self.scalar(name) for name in said.scalars} or None
        *before, last = (each.replace(grammar.PROJECT, self.project) for each in said.texts)
        try:
            for each in before:
                self.cursor.execute(each)
            if isinstance(said.tree, exp.Query):
                relation = self.cursor.sql(last, params=used)
                kinds = [str(each) for each in relation.types]
                return Answer(*values.answered(relation.to_arrow_table(), kinds))
            if isinstance(said.tree, exp.Create):
                self.create(said.tree, last, used)
                return Answer([], [])
            if isinstance(said.tree, exp.Insert):
                self.check_insert(last, used)
            rows = self.cursor.execute(last, used).fetchall()
        except duckdb.Error as error:
            raise self.explained(error, said.tree) from None
        changes = rows and isinstance(said.tree, (exp.Insert, exp.Delete, exp.Merge, exp.Update))
        return Answer([], [], rows[0][0] if changes else None)

    def create(self, tree: exp.Create, text: str, used: dict[str, Any] | None) -> None:
        """Make a dataset, a view or a table; one that is replaced by a query is there until its rows are read."""
        table = tree.find(exp.Table)
        assert table is not None, "DDL names something."
        collation = tree.find(exp.CollateProperty)
        if tree.args.get("kind") == "SCHEMA":
            self.cursor.execute(text)
            if collation is not None and collation.name:
                self.service.collated.add((self.project, table.db or table.name))
            return
        place = (self.project, table.db, table.name)
        there = "SELECT 1 FROM duckdb_tables() WHERE (database_name, schema_name, table_name) = (?, ?, ?)"
        is_new = tree.args.get("replace") or not self.cursor.execute(there, place).fetchall()
        if collation is None and (self.project, table.db) in self.service.collated:
            text = re.sub(r'(?<=" )TEXT(?=[,)])', "TEXT COLLATE NOCASE", text)
        query = re.fullmatch(r"(?s)(CREATE OR REPLACE TABLE .*?) AS (SELECT .*)", text)
        if query is None:
            self.cursor.execute(text, used)
        else:
            self.cursor.execute(f"CREATE OR REPLACE TEMP TABLE made AS {query.group(2)}", used)
            self.service.replaced()
            self.cursor.execute(f"{query.group(1)} AS FROM temp.made")
        if tree.args.get("kind") == "TABLE" and is_new:
            self.cursor.execute(f"DELETE FROM {CLUSTERS} WHERE (project, dataset, name) = (?, ?, ?)", place)
            self.cursor.execute(f"INSERT INTO {CLUSTERS} VALUES (?, ?, ?, ?)", [*place, clusters(tree)])

    def scalar(self, name: str) -> Any:
        """The value of a parameter."""
        kind, value = self.parameters[name]
        return values.scalar(values.wire(kind["type"]), value.get("value"))

    def explained(self, error: duckdb.Error, tree: exp.Expression) -> Refused:
        """An error of DuckDB's in BigQuery's words."""
        text = str(error)
        schema = re.search(r"(?i)schema (?:with name )?\"?([\w]+)\"? does not exist", text)
        if schema:
            return Refused(
                404,
                "notFound",
                f"Not found: Dataset {self.project}:{schema.group(1)} was not found in location US",
            )
        found = re.search(r"Table with name (\S+) does not exist", text)
        if found:
            table = next((each for each in tree.find_all(exp.Table) if each.name == found.group(1)), None)
            dataset = table.db if table is not None else ""
            self.service.dataset(self.project, dataset)
            return Refused(
                404,
                "notFound",
                f"Not found: Table {self.project}:{dataset}.{found.group(1)} was not found in location US",
            )
        if isinstance(error, duckdb.TransactionException):
            return Refused(
                400, "invalidQuery", "Transaction is aborted due to concurrent update against table"
            )
        column = re.search(r'Referenced column "([^"]+)" not found', text)
        if column:
            return Refused(400, "invalidQuery", f"Unrecognized name: {column.group(1)} at [1:8]")
        return Refused(400, "invalidQuery", text)

    # What BigQuery refuses

    def check(self, said: grammar.Said) -> None:
        """What may be refused before a statement runs."""
        tree = said.tree
        if isinstance(tree, (exp.Create, exp.Alter, exp.Drop)):
            self.check_ddl(tree)
        elif not isinstance(tree, exp.Query):
            target = tree.this.find(exp.Table) if not isinstance(tree.this, exp.Table) else tree.this
            self.service.allowed(
                "bigquery.tables.updateData", f"Table {self.project}:{target.db}.{target.name}"
            )
        for dataset in said.listed:
            self.service.dataset(self.project, dataset)
            self.service.allowed("bigquery.tables.get", f"Dataset {self.project}:{dataset}")
        for dataset, name in said.read:
            self.service.allowed("bigquery.tables.getData", f"Table {self.project}:{dataset}.{name}")
            self.service.expire(self.project, dataset, name)

    def check_ddl(self, tree: exp.Expression) -> None:
        """Names, types and places."""
        if self.in_transaction:
            raise Refused(400, "invalidQuery", "DDL statements are not supported in a transaction")
        table = tree.find(exp.Table)
        assert table is not None, "DDL names something."
        if tree.args.get("kind") == "SCHEMA":
            self.service.allowed("bigquery.datasets.create", f"Project {self.project}")
            dataset = table.db or table.name
            if not values.DATASET.fullmatch(dataset):
                raise Refused(400, "invalid", f'Invalid dataset ID "{dataset}".')
            return
        self.service.dataset(self.project, table.db)
        permission = "create" if isinstance(tree, exp.Create) else "update"
        self.service.allowed(f"bigquery.tables.{permission}", f"Dataset {self.project}:{table.db}")
        if not values.TABLE.fullmatch(table.name):
            raise Refused(400, "invalid", f'Invalid table ID "{table.name}".')
        for column in tree.find_all(exp.ColumnDef):
            values.check_column(column.name)
        self.check_clusters(tree)
        self.check_replaced(tree, table)
        if isinstance(tree, exp.Alter):
            for change in tree.find_all(exp.AlterColumn):
                self.check_type(table, change)

    def check_insert(self, text: str, used: dict[str, Any] | None) -> None:
        """A value is only put into a column whose type holds all values of its own."""
        found = re.match(r"(?s)INSERT INTO (\S+) \((.*?)\) (SELECT .*)", text)
        if found is None:
            return
        table, names, query = found.groups()
        there = self.cursor.sql(f"SELECT {names} FROM {table} LIMIT 0")
        given = self.cursor.sql(query, params=used)
        for column, wanted, kind in zip(
            there.columns, map(str, there.types), map(str, given.types), strict=True
        ):
            kind = {"INTEGER": "BIGINT"}.get(kind, kind)
            if kind not in (wanted, '"NULL"') and wanted not in values.WIDER.get(kind, set()):
                raise Refused(
                    400,
                    "invalidQuery",
                    f"Query column {column} has type {kind} which cannot be inserted into column {column}, which "
                    f"has type {wanted} at [1:1]",
                )

    def check_clusters(self, tree: exp.Expression) -> None:
        """Four columns at most, whose values have an order."""
        kinds = {column.name: column.kind.sql("bigquery") for column in tree.find_all(exp.ColumnDef)}
        for cluster in tree.find_all(exp.ClusterProperty):
            names = [each.name for each in cluster.expressions]
            odd = [name for name in names if kinds.get(name) in (None, "JSON", "FLOAT64")]
            if odd or len(names) > 4:
                raise Refused(
                    400, "invalidQuery", f"CLUSTER BY expression must be groupable, {odd or names} is not"
                )

    def check_replaced(self, tree: exp.Expression, table: exp.Table) -> None:
        """A table is only replaced by one that is clustered alike."""
        if (
            not isinstance(tree, exp.Create)
            or tree.args.get("kind") != "TABLE"
            or not tree.args.get("replace")
        ):
            return
        found = self.cursor.execute(
            f"SELECT columns FROM {CLUSTERS} WHERE (project, dataset, name) = (?, ?, ?)",
            (self.project, table.db, table.name),
        ).fetchone()
        if found is not None and found[0] != clusters(tree):
            raise Refused(
                400,
                "invalid",
                "Cannot replace a table with a different partitioning spec. Instead, DROP the table, and then "
                f"recreate it. New partitioning spec is clustering({','.join(clusters(tree))}) and existing "
                f"spec is clustering({','.join(found[0])})",
            )

    def check_type(self, table: exp.Table, change: exp.AlterColumn) -> None:
        """Only some types become others."""
        found = self.cursor.execute(
            "SELECT data_type FROM duckdb_columns() WHERE database_name = ? AND schema_name = ? AND table_name = ? "
            "AND lower(column_name) = lower(?)",
            [self.project, table.db, table.name, change.this.name],
        ).fetchone()
        wanted = change.args["dtype"].sql("duckdb").replace(", ", ",")
        wanted = {"TEXT": "VARCHAR"}.get(wanted, wanted)
        if found is None or wanted not in values.WIDER.get(found[0], set()):
            raise Refused(
                400,
                "invalidQuery",
                f"ALTER TABLE ALTER COLUMN SET DATA TYPE requires that the existing column type ({found}) is "
                f"assignable to the new type ({wanted})",
            )
