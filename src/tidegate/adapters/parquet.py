"""A folder of Parquet files: one folder per table, and one manifest that names the files that count.

`<schema>/manifest.json` is the whole truth: which tables there are, their columns and their files. Files never
change; a load writes new ones and then exchanges the manifest, so that all its tables and its state appear at once,
and whoever reads keeps the files that the manifest named when it began. What is no longer named is removed after
`GRACE`, what killed writers left after `LEFTOVER`.

Run against local disks and against moto's S3 over HTTP; never against the real S3, whose conditional writes
(`If-Match`, `If-None-Match`) a bucket must know: AWS since November 2024, MinIO, Cloudflare R2.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from tidegate import errors
from tidegate.adapters import lake, lake_files, storage, storage_s3
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base, ddl, desk

log = logging.getLogger(__name__)

GRACE = dt.timedelta(hours=1)
"""How long a file stays that the manifest no longer names, for those who still read it."""

LEFTOVER = dt.timedelta(days=1)
"""How old a file is that no writer can be about to name any more."""

FORMAT = 1
"""The version of the manifest's layout."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `manifest.json` says; paths are relative to its folder, tables by their names in lower case."""

    tables: dict[str, lake_files.Table] = field(default_factory=dict)
    superseded: tuple[tuple[str, dt.datetime], ...] = ()
    version: int = 0


class Parquet(lake.Lake):
    """A schema of a folder of Parquet files."""

    kind: ClassVar[str] = "parquet"
    conditions = ("If-None-Match", "If-Match")

    def __init__(self, place: storage.Storage, schema: str, *, wait: float = 60.0) -> None:
        super().__init__(place, schema, wait=wait)
        self.path = f"{self.root}/manifest.json"
        self._tag: str | None = None
        self._manifest = Manifest()
        self._texts: tuple[str, lake.Texts] = ("", {})

    def refresh(self) -> None:
        """Read the manifest."""
        found = self.storage.get(self.path)
        tag = found.tag if found is not None else None
        if found is None or tag != self._tag:
            self._manifest = self._parsed(found.data) if found is not None else Manifest()
        self._tag = tag

    def names(self) -> list[str]:
        """The tables that the manifest names."""
        return list(self._manifest.tables)

    def table(self, name: str) -> lake_files.Table | None:
        """A table as the manifest has it."""
        return self._manifest.tables.get(name)

    def texts(self) -> lake.Texts:
        """The rows of the state's table."""
        table = self.table(base.STATE)
        if table is None:
            return {}
        if self._texts[0] != table.at:
            self._texts = (table.at, self.read_texts(table))
        return self._texts[1]

    def evolve(self, evolutions: Sequence[lake.Evolution]) -> None:
        """Give tables their columns; files whose columns become wider are written anew."""
        tables = dict(self._manifest.tables)
        with lake_files.drafts(self.storage) as new:
            for each in evolutions:
                name = each.name.lower()
                known = tables.get(name)
                bare = lake_files.Table(each.name, each.after, _native(each.after), (), "")
                self.storage.folder(self._folder(bare))
                if known is None:
                    files: tuple[lake_files.File, ...] = (self._empty(bare, new),)
                elif any(each.after[column] != kind for column, kind in known.columns.items()):
                    files = self._widened(known, bare, new)
                else:
                    files = known.files
                tables[name] = lake_files.Table(bare.name, bare.columns, bare.native, files, _at(files))
            self._exchange(tables, new)

    def commit(
        self, changes: Sequence[desk.Change], state: Mapping[str, str | None], fence: base.Fence | None
    ) -> None:
        """Write the files of all changes and of the state, and exchange the manifest."""
        del fence  # it held when the manifest was read, and no other manifest is replaced
        tables = dict(self._manifest.tables)
        with lake_files.drafts(self.storage) as new:
            for change in changes:
                tables[change.table] = self._changed(tables[change.table], change, new)
            if state:
                tables[base.STATE] = self._state(tables[base.STATE], self.changed(state), new)
            self._exchange(tables, new)

    def sweep(self, names: Sequence[str]) -> None:
        """Remove what killed writers left, if it is old enough that they cannot be at work any more."""
        del names
        named = self._named()
        limit = dt.datetime.now(dt.UTC) - LEFTOVER
        self.storage.remove(
            [
                each.path
                for each in self.storage.listed(self.root)
                if each.path not in named and each.written < limit and lake_files.is_ours(each.path)
            ]
        )

    def forget(self) -> None:
        """Let go of the manifest."""
        self._tag, self._manifest, self._texts = None, Manifest(), ("", {})

    # Files

    def _changed(self, table: lake_files.Table, change: desk.Change, new: list[str]) -> lake_files.Table:
        engine = self.own_engine()
        hit = lake_files.touched(engine, table, change.gone)
        steps = lake_files.planned(table, hit, change.rows)
        old = {file.path for step in steps for file in step.of}
        files = [file for file in table.files if file.path not in old]
        files += lake_files.written(engine, table, steps, change.gone, self._folder(table), new)
        if not files:
            files = [self._empty(table, new)]
        return lake_files.Table(table.name, table.columns, table.native, tuple(files), _at(files))

    def _state(self, table: lake_files.Table, texts: lake.Texts, new: list[str]) -> lake_files.Table:
        rows = lake.rows_of(texts)
        bare = lake_files.Table(table.name, table.columns, table.native, (), "")
        steps = [lake_files.Step((), rows)]
        files = [
            *lake_files.written(self.own_engine(), bare, steps, rows.slice(0, 0), self._folder(table), new)
        ]
        files = files or [self._empty(bare, new)]
        self._texts = (_at(files), texts)
        return lake_files.Table(table.name, table.columns, table.native, tuple(files), _at(files))

    def _widened(
        self, before: lake_files.Table, after: lake_files.Table, new: list[str]
    ) -> tuple[lake_files.File, ...]:
        files = []
        for file in before.files:
            query = lake_files.widened(before, after, [file.path])
            files.append(
                lake_files.save(self.own_engine(), query, lake_files.draft(self._folder(after), new))
            )
        return tuple(files)

    def _empty(self, table: lake_files.Table, new: list[str]) -> lake_files.File:
        """A file without rows, so that whoever reads the table finds its columns."""
        return lake_files.save(
            self.own_engine(),
            f"SELECT * FROM {lake_files.source(table, [])}",
            lake_files.draft(self._folder(table), new),
        )

    def _folder(self, table: lake_files.Table) -> str:
        return f"{self.root}/{storage.encoded(table.name)}"

    # The manifest

    def _named(self) -> set[str]:
        """The files that the manifest speaks of."""
        named = {file.path for table in self._manifest.tables.values() for file in table.files}
        return named | {f"{self.root}/{path}" for path, _ in self._manifest.superseded}

    def _exchange(self, tables: dict[str, lake_files.Table], new: list[str]) -> None:
        """Write the manifest, unless somebody else did since it was read; then what nobody reads any more goes."""
        now = dt.datetime.now(dt.UTC)
        kept = {file.path for table in tables.values() for file in table.files}
        gone = [
            (file.path.removeprefix(f"{self.root}/"), now)
            for table in self._manifest.tables.values()
            for file in table.files
            if file.path not in kept
        ]
        over = [f"{self.root}/{path}" for path, since in self._manifest.superseded if since < now - GRACE]
        stay = [(path, since) for path, since in self._manifest.superseded if since >= now - GRACE]
        manifest = Manifest(tables, (*stay, *gone), self._manifest.version + 1)
        self.storage.seal([path for path in new if path in kept])
        try:
            self._tag = self.storage.exchange(self.path, self._spelled(manifest, now), self._tag)
        except storage.Changed:
            written = list(new)
            new.clear()
            self.refresh()
            # Ours may have been there for a moment, and whoever came next has our files in theirs.
            there = self._named()
            new.extend(path for path in written if path not in there)
            raise
        except BaseException:
            new.clear()  # nobody knows whether they are named now
            raise
        new.clear()  # from here on they are named
        self._manifest = manifest
        try:
            self.storage.remove(over)
        except Exception as error:  # the load is committed; `sweep` comes again
            log.warning(
                "%s: files that nobody reads any more stayed (%s)", self.where(), type(error).__name__
            )

    def _spelled(self, manifest: Manifest, now: dt.datetime) -> bytes:
        document = {
            "format": FORMAT,
            "version": manifest.version,
            "written_at": now.isoformat(),
            "tables": {
                table.name: {
                    "columns": table.columns,
                    "files": [
                        {
                            "path": file.path.removeprefix(f"{self.root}/"),
                            "rows": file.rows,
                            "bytes": file.bytes,
                        }
                        for file in table.files
                    ],
                }
                for table in manifest.tables.values()
            },
            "superseded": [{"path": path, "since": since.isoformat()} for path, since in manifest.superseded],
        }
        return json.dumps(document, ensure_ascii=False, indent=1).encode()

    def _parsed(self, data: bytes) -> Manifest:
        try:
            document = json.loads(data)
            if document["format"] > FORMAT:
                raise errors.WarehouseCorrupt(
                    f"{self.path} was written by a newer Tidegate; upgrade the tidegate package."
                )
            tables = {}
            for name, told in document["tables"].items():
                files = tuple(
                    lake_files.File(f"{self.root}/{file['path']}", file["rows"], file["bytes"])
                    for file in told["files"]
                )
                columns = told["columns"]
                tables[name.lower()] = lake_files.Table(name, columns, _native(columns), files, _at(files))
            superseded = tuple(
                (each["path"], dt.datetime.fromisoformat(each["since"])) for each in document["superseded"]
            )
            return Manifest(tables, superseded, document["version"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise errors.WarehouseCorrupt(
                f"{self.path} is no manifest of Tidegate's and was left as it is; restore it from a backup, or "
                "name another folder."
            ) from None


def open_warehouse(target: kinds.Parquet, *, wait: float = 60.0) -> Parquet:
    """The warehouse that a configuration describes; nothing is opened yet."""
    return Parquet(storage_s3.at(target.folder, target.s3), target.schema_name, wait=wait)


def _native(columns: ddl.Columns) -> dict[str, str]:
    """Types as Parquet calls them, in the words of the DuckDB that reads them."""
    return dict(columns)


def _at(files: Sequence[lake_files.File]) -> str:
    return " ".join(file.path for file in files)
