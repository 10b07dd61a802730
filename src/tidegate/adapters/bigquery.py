"""BigQuery, over its REST API.

What a load changes goes to BigQuery in one script with one transaction. Many rows are first brought near by load
jobs, as Parquet into stage tables that expire by themselves; few rows travel as parameters of the script. An entry
of the state, the revision, is raised by every commit and checked in it: what was decided on an older one is decided
again. Rows are never streamed, as BigQuery cannot change them for a while then.

BigQuery's JSON holds integers of 64 bits and doubles. A document with a number that is neither is kept as a JSON
string of its text, see `bigquery_wire.unwrapped`. Names hold letters, digits and underscores, see
`bigquery_wire.spelled`.

Tested against a stand-in that speaks the REST API to Google's own client, never against Google's servers.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import google.cloud.bigquery as bigquery  # noqa: PLR0402  # `from google.cloud` does not say what is missing
import pyarrow as pa
from google.api_core import exceptions

from tidegate import errors
from tidegate.adapters import bigquery_scripts, bigquery_sql, bigquery_stage, bigquery_wire
from tidegate.config import warehouses
from tidegate.warehouse import base, ddl, desk, ledger, staging


@dataclass(frozen=True, slots=True)
class _Near(desk.Change):
    """A change whose rows are in BigQuery already; a stage is "" where the rows travel as parameters."""

    gone_stage: str
    rows_stage: str


class BigQuery(bigquery_scripts.Scripts):
    """A dataset of a project."""

    kind = "bigquery"
    types: ClassVar = {
        "BOOLEAN": "BOOL",
        "BIGINT": "INT64",
        "DOUBLE": "FLOAT64",
        "DECIMAL(38,12)": "BIGNUMERIC(38, 12)",
        "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
        "JSON": "JSON",
        "VARCHAR": "STRING",
    }

    def __init__(self, target: bigquery_wire.Target, schema: str, *, wait: float = 60.0) -> None:
        super().__init__(target, schema, wait=wait)
        self._listed: dict[str, dict[str, ddl.Columns]] = {}
        self._absent: set[str] = set()
        """Datasets that do not exist."""
        self._claims: list[tuple[str, str]] | None = None
        """The claims with the revision, as they were when this attempt began."""
        self._added: dict[str, list[str]] = {}
        """Columns that are to be added with the next statement, by table."""
        self._wider: dict[str, dict[str, tuple[str, str]]] = {}
        """Columns that are to become wider with the next statement, by table, with both types."""

    def _forget(self) -> None:
        super()._forget()
        self._listed, self._absent, self._claims = {}, set(), None
        self._added, self._wider = {}, {}

    def execute(self, text: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement once the tables are as they shall be, or note it for the script of the transaction."""
        if self._script is None:
            self._flush()
        super().execute(text, parameters)
        if self._script is None:
            self._listed, self._absent = {}, set()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is executed inside becomes one script with one transaction, run at the end."""
        with super().transaction():
            yield
        self._claims = None

    # Tables

    def name(self, table: str, schema: str = "") -> str:
        """A table with its dataset and project."""
        return f"`{self._target.project}`.{super().name(table, schema)}"

    def _dataset(self, schema: str) -> str:
        return f"`{self._target.project}`.{bigquery_sql.quoted(schema)}"

    def existing(self, schema: str) -> dict[str, ddl.Columns]:
        """Every table and view of a dataset with its columns, but for stage tables."""
        hidden = bigquery_stage.PREFIX
        return {name: columns for name, columns in self._every(schema).items() if not name.startswith(hidden)}

    def _every(self, schema: str) -> dict[str, ddl.Columns]:
        """Stage tables too; asked for once until something is executed."""
        if schema in self._listed:
            return self._listed[schema]
        try:
            rows = self._rows(
                "SELECT table_name, column_name, data_type "
                f"FROM {self._dataset(schema)}.INFORMATION_SCHEMA.COLUMNS ORDER BY table_name, ordinal_position"
            )
        except exceptions.NotFound as error:
            if "Dataset" not in str(error.message):
                raise
            self._absent.add(schema)
            rows = []
        found = self._listed[schema] = dict[str, ddl.Columns]()
        for table, column, kind in rows:
            found.setdefault(bigquery_wire.unspelled(table), {})[bigquery_wire.unspelled(column)] = kind
        return found

    def canonical(self, native: str) -> str:
        """The type of ours that holds what a column of a native type holds."""
        return super().canonical(native.replace(",", ", ").replace("  ", " "))

    def create_schema(self, schema: str) -> None:
        """Make a dataset, where there is none: who may not make one is refused even where it is there."""
        self._every(schema)
        if schema not in self._absent:
            return
        place = self._target.location
        options = f" OPTIONS (location = {json.dumps(place)})" if place else ""
        self.execute(f"CREATE SCHEMA IF NOT EXISTS {self._dataset(schema)}{options}")

    def create(self, table: str, columns: ddl.Columns, key: Sequence[str]) -> None:
        """Make a table, clustered by its key; that of the state with the revision in it."""
        natives = {column: self.types[kind] for column, kind in columns.items()}
        text = f"CREATE TABLE IF NOT EXISTS {self.name(table)} {bigquery_sql.definition(natives, key)}"
        if table == base.STATE:
            text += f" AS SELECT '{bigquery_sql.REVISION}', '0 ', CURRENT_TIMESTAMP()"
        self.execute(text)

    @contextlib.contextmanager
    def evolving(self) -> Iterator[None]:
        """Columns are added, and become wider, all at once."""
        yield
        self._flush()

    def add(self, table: str, column: str, kind: str) -> None:
        """Add a column, in one statement with others: BigQuery takes five changes of a table in ten seconds."""
        self._added.setdefault(table, []).append(f"{self.column(column)} {self.types[kind]}")

    def widen(self, table: str, column: str, there: str, kind: str) -> None:
        """Change a column's type, in one statement with others."""
        wider = self._wider.setdefault(table, {})
        wider[column] = (wider.get(column, (there, kind))[0], kind)

    def beyond_double(self, table: str, column: str) -> bool:
        """Does a column of integers hold one that has no exact double?"""
        self._flush()
        self._claimed()  # what is found holds as long as nobody commits
        return super().beyond_double(table, column)

    def _flush(self) -> None:
        added, self._added = self._added, {}
        wider, self._wider = self._wider, {}
        for table, columns in added.items():
            told = ", ".join(f"ADD COLUMN IF NOT EXISTS {column}" for column in columns)
            self.execute(f"ALTER TABLE {self.name(table)} {told}")
        for table, kinds in wider.items():
            self._widen(table, kinds)

    def _widen(self, table: str, kinds: Mapping[str, tuple[str, str]]) -> None:
        """Change the types of columns in a script, while whose job runs nobody else commits.

        The script raises the revision first, and says in it which job it is. Killed anywhere inside, the tables are
        as before or as wanted, and the revision tells of a job that is over.
        """
        revision = self._revision()
        self._listed = {}
        spelled = self._spelled.get(table.lower(), table)
        columns = self.existing(self.schema).get(spelled, {})
        if any(self.canonical(columns.get(column, "")) != there for column, (there, _) in kinds.items()):
            raise errors.WarehouseBusy(f"Somebody else changed the table {table} of {self.where()}.")
        key = self._rows(
            f"SELECT column_name FROM {self._dataset(self.schema)}.INFORMATION_SCHEMA.COLUMNS "
            "WHERE table_name = @p0 AND clustering_ordinal_position IS NOT NULL "
            "ORDER BY clustering_ordinal_position",
            [bigquery_wire.spelled(spelled)],
        )
        wanted = {column: (there, kind, self.types[kind]) for column, (there, kind) in kinds.items()}
        clustered = [bigquery_wire.unspelled(column) for (column,) in key]
        changes = bigquery_sql.widened(self.name(table), columns, wanted, clustered)
        job, number = f"tidegate_{uuid.uuid4().hex}", bigquery_sql.number(revision)
        steps = (revision, f"{number + 1} {job} {self._location or ''}", f"{number + 2} ")
        named = [
            bigquery.ScalarQueryParameter(name, "STRING", step)
            for name, step in zip(bigquery_sql.STEPS, steps, strict=True)
        ]
        self._run_as(job, bigquery_sql.alone(self.name(base.STATE), changes), named)
        self._listed = {}
        self._claims = [
            (key, steps[-1] if key == bigquery_sql.REVISION else value) for key, value in self._claimed()
        ]

    # Rows

    @contextlib.contextmanager
    def uploaded(self, changes: Sequence[desk.Change]) -> Iterator[Sequence[desk.Change]]:
        """Many rows go into stage tables by load jobs, all at the same time."""
        self._sweep()
        with contextlib.ExitStack() as stack:
            stages = bigquery_stage.Stages(stack, self._open(), self._place())
            near = [
                _Near(each.table, each.gone, each.rows, stages.near(each.gone), stages.near(each.rows))
                for each in changes
            ]
            stages.finish()
            yield near

    def commit(self, changes: Sequence[desk.Change], state: Mapping[str, str | None]) -> None:
        """Apply changes and write state, if they were decided on what is there."""
        if not changes and not state:
            return
        for each in changes:
            gone, rows = (each.gone_stage, each.rows_stage) if isinstance(each, _Near) else ("", "")
            if each.gone.num_rows:
                self._remove(each.table, each.gone, gone)
            if each.rows.num_rows:
                self._add_rows(each.table, each.rows, rows)
        self._put(state)

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows."""
        with self._near(rows) as stage:
            self._add_rows(table, rows, stage)

    def remove(self, table: str, keys: pa.Table) -> None:
        """Remove all rows under keys."""
        self._remove(table, keys, "")

    def _remove(self, table: str, keys: pa.Table, stage: str) -> None:
        source, parameters = self._source(keys, stage)
        self.execute(
            f"DELETE FROM {self.name(table)} AS t "
            f"WHERE EXISTS (SELECT 1 FROM {source} AS k WHERE {self._same(keys.column_names)})",
            parameters,
        )

    def _add_rows(self, table: str, rows: pa.Table, stage: str) -> None:
        named = {name.lower(): columns for name, columns in self.existing(self.schema).items()}
        natives = {column.lower(): kind for column, kind in named[table.lower()].items()}
        for column, kind in self._tables.get(table.lower(), {}).items():
            if self.canonical(natives.get(column.lower(), "")) != kind:  # the rows are of another type
                raise errors.WarehouseBusy(f"Somebody else changed the table {table} of {self.where()}.")
        names = ", ".join(map(self.column, rows.column_names))
        values = ", ".join(
            self._written(f"k.{self.column(column)}", natives[column.lower()]) for column in rows.column_names
        )
        source, parameters = self._source(rows, stage)
        self.execute(
            f"INSERT INTO {self.name(table)} ({names}) SELECT {values} FROM {source} AS k", parameters
        )

    def _written(self, value: str, native: str) -> str:
        """A value as it travelled, in a column's type."""
        if self.canonical(native) == "JSON":
            return bigquery_sql.json_of(value)
        if self.canonical(native) == "VARCHAR" and native != "STRING":
            return f"CAST({value} AS {native})"
        return value

    @contextlib.contextmanager
    def shown(self, rows: pa.Table) -> Iterator[tuple[str, Sequence[object]]]:
        """Few rows as a parameter, many in a stage table."""
        with self._near(rows) as stage:
            yield self._source(rows, stage)

    @contextlib.contextmanager
    def _near(self, rows: pa.Table) -> Iterator[str]:
        """The stage table that holds rows while the block runs, "" where they travel as a parameter."""
        with contextlib.ExitStack() as stack:
            stages = bigquery_stage.Stages(stack, self._open(), self._place())
            stage = stages.near(rows)
            stages.finish()
            yield stage

    def _source(self, rows: pa.Table, stage: str) -> tuple[str, list[object]]:
        """What to write after FROM, and its parameters."""
        if stage:
            return self.name(stage), []
        name = f"k{len(self._parameters)}"
        return f"UNNEST(@{name})", [bigquery_wire.structs(name, rows)]

    def _sweep(self) -> None:
        """Drop the stage tables that killed loads left behind."""
        tables = self._every(self.schema)
        for table in bigquery_stage.abandoned(tables):
            bigquery_stage.drop(self._open(), f"{self._place()}.{table}")
            del tables[table]

    def _place(self) -> str:
        """The dataset of the tables, as the API names it."""
        return f"{self._target.project}.{bigquery_wire.spelled(self.schema)}"

    # State

    def _load(
        self, staged: Sequence[staging.Staged], state: Mapping[str, str | None], fence: base.Fence | None
    ) -> list[base.Loaded]:
        with contextlib.suppress(exceptions.NotFound):  # the first load ever
            self._claimed()  # before the tables are looked at: who changes them raises the revision
        return super()._load(staged, state, fence)

    def _tokens(self) -> dict[str, tuple[int, str]]:
        return ledger.tokens((key, value) for key, value in self._claimed() if key != bigquery_sql.REVISION)

    def _revision(self) -> str:
        return next((value for key, value in self._claimed() if key == bigquery_sql.REVISION), "")

    def _claimed(self) -> list[tuple[str, str]]:
        """All claims and the revision, read once per attempt: what is decided later is decided on no older rows.

        Raises WarehouseBusy while somebody changes the types of columns.
        """
        if self._claims is None:
            key = self.column("key")
            text = (
                f"SELECT {key}, {self.column('value')} FROM {self.name(base.STATE)} "
                f"WHERE STARTS_WITH({key}, @p0)"
            )
            claims = self._rows(text, [base.FENCE])
            revision = next((value for key, value in claims if key == bigquery_sql.REVISION), "")
            _, job, location = [*revision.split(" "), "", ""][:3]
            if job and not self._is_over(job, location):
                raise errors.WarehouseBusy(
                    f"The job {job} gives columns of {self.where()} wider types; wait until it is done."
                )
            self._claims = claims
        return self._claims

    def _decided(
        self, staged: Sequence[staging.Staged], there: dict[str, ddl.Columns]
    ) -> tuple[list[base.Loaded], list[desk.Change]]:
        self._claimed()
        return super()._decided(staged, there)

    def _put(self, state: Mapping[str, str | None]) -> None:
        """Write texts under their keys, None removes; and raise the revision, which must be the one known."""
        revision = self._revision()
        following = f"{bigquery_sql.number(revision) + 1} "
        written = dict(state.items()) | {bigquery_sql.REVISION: following}
        rows = pa.table(
            {"key": pa.array(written, pa.string()), "value": pa.array(written.values(), pa.string())}
        )
        source, parameters = self._source(rows, "")
        name, known = self.name(base.STATE), bigquery_sql.STEPS[0]
        assert self._script is not None, "State is written in a transaction."
        self._script.insert(0, bigquery_sql.unmoved(name, known))
        self._parameters.append(bigquery.ScalarQueryParameter(known, "STRING", revision))
        self.execute(bigquery_sql.put(name, source), parameters)

    def _check_sign_in(self) -> str:
        self._run("SELECT 1 AS `one`")
        return f"signed in to {self.where()}"


def open_warehouse(target: warehouses.BigQuery, *, wait: float = 60.0) -> BigQuery:
    """The warehouse that a configuration describes; nothing is opened yet."""
    secret = target.credentials
    return BigQuery(
        bigquery_wire.Target(
            project=target.project_name,
            location=target.place,
            api_base=target.base or bigquery_wire.API,
            credentials=None if secret is None else secret.get_secret_value(),
        ),
        target.schema_name,
        wait=wait,
    )
