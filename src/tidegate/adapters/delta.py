"""Delta Lake: a folder per table under `<path>/<schema>/`, written by delta-rs.

Each table of a load is one commit (files that go and files that come, see `delta_log`), and the state the last one;
see `lake_tables`. Commits expect the version that they were decided on, so that of two writers one is told to begin
again. JSON is text: Delta has no type for it that others read.

Run against local disks and against moto's S3 over HTTP, read back by delta-rs itself; never against the real S3,
nor by Spark or Databricks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import deltalake
import deltalake.exceptions
import pyarrow as pa

from tidegate import errors
from tidegate.adapters import delta_log, lake, lake_files, lake_tables, storage, storage_faults, storage_s3
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base, ddl, desk

LOAD = "tidegate.load"
"""The entry of a commit that says which load wrote it."""

TAKEN_BACK = "tidegate.taken_back"
"""The entry of a commit that took back the load before it."""

TYPES = {
    "BOOLEAN": "boolean",
    "BIGINT": "long",
    "DOUBLE": "double",
    "DECIMAL(38,12)": "decimal(38,12)",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    "JSON": "string",
    "VARCHAR": "string",
}
WIDER = {"integer": "BIGINT", "short": "BIGINT", "byte": "BIGINT", "float": "DOUBLE", "date": "VARCHAR"}

TIDIED = 100
"""Each so many versions, the log is summed up and old files are removed."""

KEPT = 7 * 24
"""Hours for which the files of an older version stay."""

REFUSED = r"[\[\]\\^|\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}"
"""What delta-rs 1.6 takes in no local path; on some of it, it panics."""

FILE = {"delta.targetFileSize": str(lake_files.TARGET)}
"""How large delta-rs makes files, when it writes a table anew."""


class Delta(lake_tables.Tables):
    """A schema of a folder of Delta tables."""

    kind: ClassVar[str] = "delta"
    conditions = ("If-None-Match",)

    def __init__(self, place: storage.Storage, schema: str, *, wait: float = 60.0) -> None:
        super().__init__(place, schema, wait=wait)
        storage.check_name(place, REFUSED, "delta-rs")
        self._open: dict[str, deltalake.DeltaTable] = {}
        self._spelled: dict[str, str] | None = None
        self._seen: dict[str, lake_files.Table] = {}

    def refresh(self) -> None:
        """Forget which tables there are."""
        super().refresh()
        self._spelled = None

    def forget(self) -> None:
        """Let go of the tables."""
        super().forget()
        self._open, self._spelled, self._seen = {}, None, {}

    def names(self) -> list[str]:
        """The folders of the schema."""
        return list(self._names())

    def _names(self) -> dict[str, str]:
        if self._spelled is None:
            found = [storage.decoded(folder) for folder in self.storage.folders(self.root)]
            self._spelled = {name.lower(): name for name in found}
        return self._spelled

    def latest(self, name: str) -> lake_files.Table | None:
        """A table as its log has it now."""
        if name not in self._names():
            return None
        table = self._open.get(name)
        try:
            if table is None:
                table = self._open[name] = deltalake.DeltaTable(
                    self._uri(name), storage_options=self._options()
                )
            else:
                table.update_incremental()
        except deltalake.exceptions.TableNotFoundError:
            return None  # a folder without a log: somebody was killed while making it
        known = self._seen.get(name)
        if known is None or known.at != str(table.version()):
            known = self._seen[name] = self._table(name, table)
        return known

    def unfinished(self, name: str, cut: str) -> str | None:
        """The version before the last load that came after `cut`."""
        table, last = self._open[name], int(cut or -1)
        limit = max(table.version() - last, 0)
        found = None
        for commit in table.history(limit) if limit else []:
            if commit["version"] <= last:
                break
            # A load counts that was taken back while it was being finished after all, or by others.
            is_undone = commit.get("operation") == "RESTORE" and int(commit.get(TAKEN_BACK, -2)) < last
            if LOAD in commit or is_undone:
                found = str(commit["version"] - 1)
            elif TAKEN_BACK in commit:
                break
        return found

    def earlier(self, name: str, version: str) -> lake_files.Table:
        """A table at a version."""
        table = deltalake.DeltaTable(self._uri(name), version=int(version), storage_options=self._options())
        return self._table(name, table)

    def restore(self, name: str, version: str) -> None:
        """Make a table what it was."""
        try:
            self._open[name].restore(int(version), commit_properties=_properties({TAKEN_BACK: version}))
        except deltalake.exceptions.CommitFailedError:
            raise
        except deltalake.exceptions.DeltaError as error:
            if not re.search("missing file", str(error)):
                raise
            raise errors.WarehouseCorrupt(
                f"The last load of {self._names()[name]} in {self.where()} was not finished, and somebody removed "
                "files of the version before it; drop the table and pull it again."
            ) from None

    def apply(self, table: lake_files.Table, change: desk.Change, load: str) -> str:
        """One commit without the files that held touched keys, and with new ones."""
        hit = lake_files.touched(self.own_engine(), table, change.gone)
        steps = lake_files.planned(table, hit, change.rows)
        old = [file for step in steps for file in step.of]
        return self._commit(table, old, steps, change.gone, {LOAD: load})

    def write_texts(self, table: lake_files.Table, rows: pa.Table) -> None:
        """Exchange the state's file."""
        self._commit(table, table.files, [lake_files.Step((), rows)], rows.slice(0, 0), {})

    def _commit(
        self,
        table: lake_files.Table,
        old: Sequence[lake_files.File],
        steps: Sequence[lake_files.Step],
        gone: pa.Table,
        marks: dict[str, str],
    ) -> str:
        """Make the next version, with the files of a plan in the place of old ones; raises storage.Changed."""
        opened, root = self._opened(table), self._path(table.name.lower())
        delta_log.check(opened, f"{table.name} in {self.where()}")
        with lake_files.drafts(self.storage) as drafts:
            files = [*lake_files.written(self.own_engine(), table, steps, gone, root, drafts)]
        version = int(table.at) + 1
        delta_log.commit(self.storage, table, root, version, old, files, marks)
        opened.update_incremental()
        return str(version)

    def evolve(self, evolutions: Sequence[lake.Evolution]) -> None:
        """Make tables, add columns; a wider column is the table written anew, in one commit."""
        for each in evolutions:
            name = each.name.lower()
            bare = lake_files.Table(each.name, each.after, {}, (), "", None, True)
            known = self.table(name) if each.before is not None else None
            if known is None:
                self._names().setdefault(name, each.name)
                self.storage.folder(self._path(name))
                deltalake.DeltaTable.create(
                    self._uri(name),
                    _schema(each.after),
                    mode="ignore",
                    configuration=dict(FILE),
                    storage_options=self._options(),
                )
                continue
            self.settle([name])
            known = self.table(name)
            assert known is not None, "It was there a moment ago."
            if any(each.after[column] != kind for column, kind in known.columns.items()):
                reader = self.own_engine().sql(lake_files.widened(known, bare)).to_arrow_reader(lake.BATCH)
                deltalake.write_deltalake(
                    self._opened(known),
                    pa.RecordBatchReader.from_batches(
                        _schema(each.after), (_cast(batch, each.after) for batch in reader)
                    ),
                    mode="overwrite",
                    schema_mode="overwrite",
                    commit_properties=_properties(),
                )
            else:
                added = {column: kind for column, kind in each.after.items() if column not in known.columns}
                fields = deltalake.Schema.from_arrow(_schema(added)).fields
                self._opened(known).alter.add_columns(fields, commit_properties=_properties())
        self.refresh()

    def explain(self, error: Exception) -> errors.TidegateError | None:
        """What an error of delta-rs means; its text may quote values, so only its kind passes."""
        text, where = str(error), self.where()
        if isinstance(error, deltalake.exceptions.DeltaError | OSError):
            known = storage_faults.told(text, where)
            if known is not None:
                return known
        if isinstance(error, deltalake.exceptions.CommitFailedError):
            return errors.WarehouseBusy(f"Somebody else changed a table of {where} at the same moment.")
        if isinstance(error, deltalake.exceptions.DeltaProtocolError):
            return errors.WarehouseError(
                f"A table of {where} uses features of Delta that delta-rs lacks; see which with DESCRIBE DETAIL."
            )
        if isinstance(error, deltalake.exceptions.DeltaError):
            full = re.search(r"No space left on device|os error 28|Disk quota exceeded", text)
            if full is not None:
                return errors.WarehouseFull(
                    f"The disk (or quota) under {where} is full; what was committed before is intact, so make room "
                    "and run this again."
                )
            if re.search(r"Permission denied|os error 13", text):
                return errors.ConfigError(
                    f"This user may not write {where}; change its permissions or choose another path."
                )
            return errors.WarehouseError(
                f"delta-rs failed on {where} ({type(error).__name__}); run it again."
            )
        return None

    # Tables

    def _path(self, name: str) -> str:
        return f"{self.root}/{storage.encoded(self._names()[name])}"

    def _uri(self, name: str) -> str:
        """The folder of a table, as delta-rs takes it, whatever it is called."""
        path = self._path(name)
        return Path(path).as_uri() if isinstance(self.storage, storage.Local) else path

    def _opened(self, table: lake_files.Table) -> deltalake.DeltaTable:
        """The table to be written, if it is still as it was read; raises WarehouseBusy."""
        opened = self._open[table.name.lower()]
        if str(opened.version()) != table.at:
            raise storage.Changed(table.name)
        return opened

    def _table(self, name: str, table: deltalake.DeltaTable) -> lake_files.Table:
        native, columns = {}, {}
        for field in json.loads(table.schema().to_json())["fields"]:
            kind = field["type"] if isinstance(field["type"], str) else "string"
            native[field["name"]] = kind
            columns[field["name"]] = _ours(kind, field["metadata"])
        features = table.protocol().reader_features or []
        if "deletionVectors" in features and pa.table(table.deletion_vectors().read_all()).num_rows:
            raise errors.WarehouseError(
                f"{self._names()[name]} in {self.where()} has deletion vectors, which only some tools read; run "
                "REORG TABLE ... APPLY (PURGE) and switch them off."
            )
        root = self._path(name)
        actions = pa.table(table.get_add_actions(flatten=True)).select(["path", "size_bytes", "num_records"])
        files = tuple(
            lake_files.File(
                f"{root}/{path}" if "://" not in path else path, 1 if rows is None else rows, size
            )
            for path, size, rows in zip(*(column.to_pylist() for column in actions.columns), strict=True)
        )
        spelled = self._names()[name]
        return lake_files.Table(spelled, columns, native, files, str(table.version()), None, True)

    def tidy(self, name: str, before: str) -> None:
        """Now and then, sum up the log, and remove files that no version of the last week needs."""
        opened = self._open[name]
        if opened.version() // TIDIED != int(before) // TIDIED:
            opened.create_checkpoint()
            opened.cleanup_metadata()
            # Also what killed writers left, which no version names.
            opened.vacuum(KEPT, dry_run=False, full=True, commit_properties=_properties())

    def _options(self) -> dict[str, str] | None:
        if not isinstance(self.storage, storage_s3.S3):
            return None
        found = self.storage.credentials()
        names = {
            "endpoint": "AWS_ENDPOINT_URL",
            "region": "AWS_REGION",
            "key": "AWS_ACCESS_KEY_ID",
            "secret": "AWS_SECRET_ACCESS_KEY",
            "token": "AWS_SESSION_TOKEN",
        }
        options = {names[name]: value for name, value in found.items()} | {"conditional_put": "etag"}
        if found.get("endpoint", "").startswith("http://"):
            options["AWS_ALLOW_HTTP"] = "true"
        return options


def open_warehouse(target: kinds.Delta, *, wait: float = 60.0) -> Delta:
    """The warehouse that a configuration describes; nothing is opened yet."""
    return Delta(storage_s3.at(target.folder, target.s3), target.schema_name, wait=wait)


def _properties(told: dict[str, str] | None = None) -> deltalake.CommitProperties:
    """Of a commit that must be the very next one."""
    return deltalake.CommitProperties(custom_metadata=told, max_commit_retries=0)


def _ours(kind: str, metadata: dict[str, Any]) -> str:
    if kind == "string" and metadata.get("tidegate") == "json":
        return "JSON"
    if kind.replace(" ", "") == "decimal(38,12)":
        return "DECIMAL(38,12)"
    known = {native: ours for ours, native in TYPES.items() if ours != "JSON"}
    return known.get(kind) or WIDER.get(kind, "VARCHAR")


def _schema(columns: ddl.Columns) -> pa.Schema:
    return pa.schema(
        [
            pa.field(name, ddl.ARROW[kind], metadata=base.JSON if kind == "JSON" else None)
            for name, kind in columns.items()
        ]
    )


def _cast(batch: pa.RecordBatch, columns: ddl.Columns) -> pa.RecordBatch:
    arrays = []
    for array, kind in zip(batch.columns, columns.values(), strict=True):
        plain = array.storage if isinstance(array.type, pa.BaseExtensionType) else array
        arrays.append(plain.cast(ddl.ARROW[kind]))
    return pa.record_batch(arrays, schema=_schema(columns))
