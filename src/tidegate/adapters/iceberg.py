"""Apache Iceberg: tables of a namespace, in a catalog that pyiceberg speaks to.

The catalog is a SQLite file in the folder, unless another is configured. Each table of a load is one snapshot that
takes files away and adds others, and the state the last one; see `lake_tables`. The catalog refuses a commit on a
table that changed meanwhile, so that of two writers one is told to begin again. JSON is text: Iceberg has no type
for it that others read. A column that becomes wider than Iceberg's own promotions allow is a new column of the same
name, and the table is written anew.

Run with catalogs in SQLite and Postgres, on local disks and on moto's S3 over HTTP, read back by pyiceberg itself;
never against a REST catalog, the real S3, Spark or Trino.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import pyarrow as pa
import pyiceberg.catalog
import pyiceberg.exceptions
import pyiceberg.io.pyarrow
from pyiceberg import manifest, table
from pyiceberg.catalog import rest, sql

from tidegate import errors
from tidegate.adapters import (
    iceberg_trouble,
    iceberg_types,
    lake,
    lake_files,
    lake_tables,
    storage,
    storage_s3,
)
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base, desk

LOAD = "tidegate.load"
"""The entry of a snapshot's summary that says which load wrote it."""

TAKEN_BACK = "tidegate.taken_back"
"""The entry of a snapshot's summary that took back the load before it."""

PROPERTIES = {
    "format-version": "2",
    "commit.retry.num-retries": "0",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
}

REFUSED = r"[#?%]"
"""What pyiceberg 0.12 takes for parts of a URL, where it stands in a local path."""

SNAPSHOTS = 100
"""Once a table has more, those older than `GRACE` go."""

GRACE = dt.timedelta(hours=1)

LEFTOVER = dt.timedelta(days=3)
"""How old a file is that no writer, whoever that is, can be about to name any more."""

ENDINGS = (".parquet", ".avro", ".metadata.json")
"""How the files end that a table is made of; statistics and what else others keep there stays."""


class Iceberg(lake_tables.Tables):
    """A namespace of an Iceberg catalog."""

    kind: ClassVar[str] = "iceberg"

    def __init__(
        self,
        place: storage.Storage,
        schema: str,
        catalog: str | None,
        token: str | None,
        *,
        wait: float = 60.0,
    ) -> None:
        super().__init__(place, schema, wait=wait)
        storage.check_name(place, REFUSED, "pyiceberg")
        if catalog is None and not isinstance(place, storage.Local):
            raise errors.ConfigError(
                "Iceberg tables in a bucket need a `catalog` outside of it: the https:// address of a REST "
                "catalog, or an SQLAlchemy URL such as sqlite:////srv/catalog.db."
            )
        self._uri, self._token = catalog, token
        self._catalog: pyiceberg.catalog.MetastoreCatalog | rest.RestCatalog | None = None
        self._open: dict[str, table.Table] = {}
        self._spelled: dict[str, str] | None = None
        self._seen: dict[str, lake_files.Table] = {}
        self._files: dict[str, dict[str, manifest.DataFile]] = {}

    def refresh(self) -> None:
        """Forget which tables there are."""
        super().refresh()
        self._spelled = None

    def forget(self) -> None:
        """Let go of the catalog."""
        super().forget()
        catalog, self._catalog = self._catalog, None
        if catalog is not None:
            catalog.close()
        self._open, self._spelled, self._seen, self._files = {}, None, {}, {}

    def names(self) -> list[str]:
        """The tables of the namespace."""
        return list(self._names())

    def _names(self) -> dict[str, str]:
        if self._spelled is None:
            self._spelled = {}
            catalog = self._connected(create=False)
            if catalog is not None:
                with contextlib.suppress(pyiceberg.exceptions.NoSuchNamespaceError):
                    names = [each[-1] for each in catalog.list_tables((self.schema,))]
                    self._spelled = {name.lower(): name for name in names}
        return self._spelled

    def latest(self, name: str) -> lake_files.Table | None:
        """A table as the catalog has it now."""
        catalog = self._connected(create=False)
        if catalog is None or name not in self._names():
            return None
        try:
            opened = self._open[name] = catalog.load_table((self.schema, self._names()[name]))
        except pyiceberg.exceptions.NoSuchTableError:
            return None
        return self._table(name, opened, opened.current_snapshot())

    def unfinished(self, name: str, cut: str) -> str | None:
        """The version before the last load that came after `cut`; `cut` itself where that was taken back.

        The latter happens to a load that was still being finished, and to tables that others rolled back.
        """
        opened, last = self._open[name], cut.partition(".")[0]
        is_known = last not in ("", "0") and opened.snapshot_by_id(int(last)) is not None
        before, is_undone, snapshot = None, False, opened.current_snapshot()
        while snapshot is not None:
            if str(snapshot.snapshot_id) == last:
                return last if is_undone else before
            parent = snapshot.parent_snapshot_id
            marks = snapshot.summary.additional_properties if snapshot.summary is not None else {}
            if TAKEN_BACK in marks:
                if not is_known:
                    return before
                is_undone = True
            elif LOAD in marks and before is None:
                before = str(parent or 0)
            snapshot = opened.snapshot_by_id(parent) if parent is not None else None
        if is_known:
            return last
        if before == "0" and last not in ("", "0"):
            raise self._lost(name)
        return before

    def earlier(self, name: str, version: str) -> lake_files.Table:
        """A table at a snapshot."""
        opened = self._open[name]
        snapshot = opened.snapshot_by_id(int(version)) if version != "0" else None
        if snapshot is None and version != "0":
            raise self._lost(name)
        return self._table(name, opened, snapshot)

    def _lost(self, name: str) -> errors.WarehouseCorrupt:
        return errors.WarehouseCorrupt(
            f"The last load of {self._names()[name]} in {self.where()} was not finished, and somebody expired the "
            "snapshot before it; drop the table and pull it again."
        )

    def restore(self, name: str, version: str) -> None:
        """Make a table what it was."""
        opened = self._open[name]
        if version != "0":
            opened.manage_snapshots().set_current_snapshot(int(version)).commit()
            return
        found = self._table(name, opened, opened.current_snapshot())
        with opened.transaction() as transaction:
            self._exchange(transaction, name, found.files, (), {TAKEN_BACK: version})

    def apply(self, known: lake_files.Table, change: desk.Change, load: str) -> str:
        """One snapshot without the files that held touched keys, and with new ones."""
        name = known.name.lower()
        opened = self._opened(known)
        engine = self.own_engine()
        steps = lake_files.planned(known, lake_files.touched(engine, known, change.gone), change.rows)
        with lake_files.drafts(self.storage) as drafts:
            files = [*lake_files.written(engine, known, steps, change.gone, self._data(opened), drafts)]
        with opened.transaction() as transaction:
            old = [file for step in steps for file in step.of]
            self._exchange(transaction, name, old, files, {LOAD: load})
        return _version(opened.metadata, opened.current_snapshot())

    def write_texts(self, known: lake_files.Table, rows: pa.Table) -> None:
        """Exchange the state's file."""
        opened = self._opened(known)
        steps = [lake_files.Step((), rows)]
        with lake_files.drafts(self.storage) as drafts:
            folder, none = self._data(opened), rows.slice(0, 0)
            files = [*lake_files.written(self.own_engine(), known, steps, none, folder, drafts)]
        try:
            with opened.transaction() as transaction:
                self._exchange(transaction, base.STATE, known.files, files, {})
        except pyiceberg.exceptions.CommitFailedException:
            raise storage.Changed(known.name) from None

    def evolve(self, evolutions: Sequence[lake.Evolution]) -> None:
        """Make tables, add columns; see the module on wider ones."""
        catalog = self._connected(create=True)
        assert catalog is not None, "It was just made."
        catalog.create_namespace_if_not_exists((self.schema,))
        for each in evolutions:
            name = each.name.lower()
            known = self.table(name) if each.before is not None else None
            if known is None:
                catalog.create_table_if_not_exists(
                    (self.schema, each.name),
                    iceberg_types.shape(each.after),
                    location=f"{self._location()}/{storage.encoded(each.name)}",
                    properties=PROPERTIES,
                )
                continue
            self.settle([name])
            known = self.table(name)
            assert known is not None, "It was there a moment ago."
            wider = [column for column, kind in known.columns.items() if each.after[column] != kind]
            opened = self._opened(known)
            with opened.transaction() as transaction:
                with transaction.update_schema(allow_incompatible_changes=True) as update:
                    for column in wider:
                        update.delete_column((column,))
                    for column, kind in each.after.items():
                        if column in wider or column not in known.columns:
                            update.add_column(
                                (column,),
                                iceberg_types.TYPES[kind],
                                iceberg_types.note(kind),
                            )
                if wider:
                    ids = iceberg_types.ids(transaction.table_metadata.schema())
                    after = lake_files.Table(each.name, each.after, {}, (), "", ids, True)
                    files = [
                        lake_files.save(
                            self.own_engine(),
                            lake_files.widened(known, after, [file.path]),
                            f"{self._data(opened)}/{lake_files.fresh()}",
                            ids,
                        )
                        for file in known.files
                    ]
                    self._exchange(transaction, name, known.files, files, {})
        self.refresh()

    def explain(self, error: Exception) -> errors.TidegateError | None:
        """What an error of pyiceberg or its catalog means."""
        return iceberg_trouble.explain(error, self.where())

    # Tables

    def _connected(self, *, create: bool) -> pyiceberg.catalog.MetastoreCatalog | rest.RestCatalog | None:
        """The catalog; None where it is a file that does not exist yet."""
        if self._catalog is None:
            properties = {"warehouse": self.storage.root, **self._options()}
            uri = self._uri
            if uri is not None and uri.startswith(("http://", "https://")):
                if self._token is not None:
                    properties["token"] = self._token
                self._catalog = rest.RestCatalog("tidegate", uri=uri, **properties)
                return self._catalog
            if uri is None:
                path = f"{self.storage.root}/catalog.db"
                if not create and not os.path.exists(path):
                    return None
                self.storage.folder(self.storage.root)
                uri = f"sqlite:///{path}"
            try:
                self._catalog = sql.SqlCatalog("tidegate", uri=uri, **properties)
            except ModuleNotFoundError as error:
                raise errors.ConfigError(
                    f"The driver of the catalog's database is not installed ({error.name}); install it, or name "
                    "another one in the URL, as in postgresql+psycopg://."
                ) from None
        return self._catalog

    def _options(self) -> dict[str, str]:
        if not isinstance(self.storage, storage_s3.S3):
            return {}
        names = {
            "endpoint": "s3.endpoint",
            "region": "s3.region",
            "key": "s3.access-key-id",
            "secret": "s3.secret-access-key",
            "token": "s3.session-token",
        }
        return {names[name]: value for name, value in self.storage.credentials().items()}

    def _location(self) -> str:
        return f"file://{self.root}" if isinstance(self.storage, storage.Local) else self.root

    def _opened(self, known: lake_files.Table) -> table.Table:
        """The table to be written, if it is still as it was read."""
        opened = self._open[known.name.lower()]
        if _version(opened.metadata, opened.current_snapshot()) != known.at:
            raise storage.Changed(known.name)
        return opened

    def _table(self, name: str, opened: table.Table, snapshot: Any) -> lake_files.Table:
        version = _version(opened.metadata, snapshot)
        known = self._seen.get(name)
        if known is not None and known.at == version:
            return known
        columns, native = {}, {}
        for field in opened.schema().fields:
            native[field.name] = str(field.field_type)
            columns[field.name] = iceberg_types.ours(field)
        files, found = [], {}
        if snapshot is not None:
            for task in opened.scan(snapshot_id=snapshot.snapshot_id).plan_files():
                if task.delete_files:
                    raise errors.WarehouseError(
                        f"{self._names()[name]} in {self.where()} has delete files, which somebody else wrote; run "
                        "`rewrite_data_files` on it there."
                    )
                path = iceberg_types.plain(task.file.file_path)
                files.append(lake_files.File(path, task.file.record_count, task.file.file_size_in_bytes))
                found[path] = task.file
        self._files[name] = found
        self._seen[name] = lake_files.Table(
            self._names()[name],
            columns,
            native,
            tuple(files),
            version,
            iceberg_types.ids(opened.schema()),
            True,
        )
        return self._seen[name]

    def _data(self, opened: table.Table) -> str:
        """The folder of a table's files, which is made."""
        folder = f"{iceberg_types.plain(opened.location())}/data"
        self.storage.folder(folder)
        return folder

    def _exchange(
        self,
        transaction: table.Transaction,
        name: str,
        old: Iterable[lake_files.File],
        new: Sequence[lake_files.File],
        marks: dict[str, str],
    ) -> None:
        """Take files away and add others, in one snapshot."""
        self.storage.seal([file.path for file in new])
        with transaction.update_snapshot(snapshot_properties=marks).overwrite() as update:
            for file in old:
                update.delete_data_file(self._files[name][file.path])
            for file in new:
                update.append_data_file(iceberg_types.data_file(transaction, file, self.storage))

    def tidy(self, name: str, _: str) -> None:
        """Forget old snapshots once there are many, and remove files of ours that none needs."""
        opened = self._open[name]
        if len(opened.metadata.snapshots) <= SNAPSHOTS:
            return
        opened.maintenance.expire_snapshots().older_than(dt.datetime.now(dt.UTC) - GRACE).commit()
        needed = {iceberg_types.plain(path) for path in iceberg_types.needed(opened)}
        limit = dt.datetime.now(dt.UTC) - LEFTOVER
        self.storage.remove(
            [
                each.path
                for each in self.storage.listed(iceberg_types.plain(opened.location()))
                if each.path not in needed and each.written < limit and each.path.endswith(ENDINGS)
            ]
        )


def open_warehouse(target: kinds.Iceberg, *, wait: float = 60.0) -> Iceberg:
    """The warehouse that a configuration describes; nothing is opened yet."""
    return Iceberg(
        storage_s3.at(target.folder, target.s3),
        target.schema_name,
        target.catalog.get_secret_value() if target.catalog is not None else None,
        target.token.get_secret_value() if target.token is not None else None,
        wait=wait,
    )


def _version(metadata: Any, snapshot: Any) -> str:
    """The snapshot and the schema."""
    return f"{snapshot.snapshot_id if snapshot is not None else 0}.{metadata.current_schema_id}"
