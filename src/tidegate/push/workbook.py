"""Everything that one planning works with: a DuckDB file in the state folder, which goes when its run is over.

A workbook is only ever read by the process that made it: one that a killed process left is removed, never opened,
so that half a snapshot cannot be taken for a whole one. Its DuckDB opens no other file and no address, which also
holds for the SQL that a configuration brings along.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from tidegate import errors
from tidegate.push import canonical
from tidegate.warehouse import base, ddl, faults, files

MEMORY = 192 * 1024 * 1024
"""Bytes that DuckDB may take; more goes to disk."""

THREADS = 2
BATCH = 10_000
"""Rows that are read from a workbook at a time."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class Workbook:
    """An open workbook; one thread at a time."""

    path: str
    connection: duckdb.DuckDBPyConnection

    def execute(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> None:
        """Run a statement; raises WarehouseError and its kinds, which quote no row."""
        with faults.explained(self.path):
            self.connection.execute(sql, parameters)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """The few rows of a query."""
        with faults.explained(self.path):
            found: list[tuple[object, ...]] = self.connection.execute(sql, parameters).fetchall()
            return found

    def count(self, sql: str) -> int:
        """The one number that a query answers with."""
        [(found,)] = self.rows(sql)
        assert isinstance(found, int), "A count is a whole number."
        return found

    def batches(self, sql: str, size: int = BATCH) -> Iterator[pa.RecordBatch]:
        """The rows of a query, in bounded memory; other statements may run meanwhile."""
        with faults.explained(self.path), self.connection.cursor() as session:
            session.execute("USE workbook")
            yield from session.sql(sql).to_arrow_reader(size)

    @contextlib.contextmanager
    def shown(self, name: str, rows: pa.Table | pa.RecordBatch) -> Iterator[None]:
        """Let SQL see Arrow rows under a name while the block runs.

        In a transaction their memory is kept until its end: for more than a few use `insert`.
        """
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        self.connection.register(name, table)
        try:
            yield
        finally:
            with contextlib.suppress(duckdb.Error):  # in a transaction that failed this fails, too
                self.connection.unregister(name)

    def relation(self, rows: pa.Table | pa.RecordBatch, *projections: str) -> duckdb.DuckDBPyRelation:
        """Arrow rows as SQL sees them, through one projection after the other."""
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        with faults.explained(self.path):
            found = self.connection.from_arrow(table)
            for projection in projections:
                found = found.project(projection)
            return found

    def insert(self, table: str, rows: pa.Table | pa.RecordBatch, *projections: str) -> None:
        """Add Arrow rows to a table, column by column in their order."""
        with faults.explained(self.path):
            self.relation(rows, *projections).insert_into(table)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block is there afterwards, or nothing of it."""
        self.connection.begin()
        try:
            yield
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                self.connection.rollback()
            raise
        with faults.explained(self.path):
            self.connection.commit()


@contextlib.contextmanager
def opened(state: Path, push: str, run: str, *, memory: int = MEMORY) -> Iterator[Workbook]:
    """A new workbook for a run of a push, removed at the end of the block, with all that killed runs left.

    Its folder is this user's alone: rows of a model are somebody's names and addresses.

    Raises StoreConflict while another process of this machine works on the same run.
    """
    assert all(map(_NAME.fullmatch, (push, run))), "Names of pushes and ids of runs are names of files."
    folder = state / "push" / push
    path = folder / f"{run}.duckdb"
    with faults.explained(str(path)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = _taken(folder / f"{run}.lock")
    if own is None:
        raise errors.StoreConflict(
            f"Another process works on the run {run} of {push}; wait until it has ended."
        )
    try:
        _clear(folder, run)
        _sweep(folder, run)
        engine = _engine(path, memory)
        try:
            yield Workbook(str(path), engine)
        finally:
            engine.close()
    finally:
        _clear(folder, run)
        files.remove(folder / f"{run}.lock")
        os.close(own)


def clear(state: Path) -> None:
    """Remove what killed runs left, of all pushes; what somebody works on stays."""
    if (state / "push").is_dir():
        for folder in sorted((state / "push").iterdir()):
            _sweep(folder, "")


@contextlib.contextmanager
def in_memory() -> Iterator[Workbook]:
    """A workbook for a few rows, which needs no folder."""
    engine = _engine(None, MEMORY)
    try:
        yield Workbook("the preview", engine)
    finally:
        engine.close()


def _engine(path: Path | None, memory: int) -> duckdb.DuckDBPyConnection:
    spilled = f"{path}.tmp" if path else ""
    engine = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{memory}B",
            "threads": THREADS,
            "temp_directory": spilled,
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_persistent_secrets": False,
            "python_enable_replacements": False,
        },
    )
    try:
        with faults.explained(str(path)):
            engine.execute("SET GLOBAL TimeZone = 'UTC'")
            if path is not None:
                allowed = ", ".join(ddl.literal(f"{path}{ending}") for ending in ("", *_BESIDE))
                engine.execute(f"SET allowed_paths = [{allowed}]")
            engine.execute("SET enable_external_access = false")
            engine.execute("SET lock_configuration = true")
            engine.execute(f"ATTACH {ddl.literal(str(path) if path else ':memory:')} AS workbook")
            engine.execute("USE workbook")
            for macro in canonical.MACROS:
                engine.execute(macro)
    except BaseException:
        engine.close()
        raise
    return engine


_BESIDE = (".wal", ".wal.checkpoint", ".wal.recovery")


def _taken(lock: Path) -> int | None:
    """The lock, held until it is closed or the process ends; None while somebody else holds it."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(lock)):
                return handle
        os.close(handle)  # its holder removed it meanwhile: what is locked has no name any more


def _sweep(folder: Path, own: str) -> None:
    """Remove what runs left that nobody works on any more."""
    runs = {file.name.partition(".duckdb")[0].removesuffix(".lock") for file in folder.iterdir()}
    for run in runs - {own}:
        held = _taken(folder / f"{run}.lock")
        if held is not None:
            _clear(folder, run)
            files.remove(folder / f"{run}.lock")
            os.close(held)


def _clear(folder: Path, run: str) -> None:
    """Remove the files of a run, but not its lock."""
    for ending in ("", *_BESIDE):
        files.remove(folder / f"{run}.duckdb{ending}")
    shutil.rmtree(folder / f"{run}.duckdb.tmp", ignore_errors=True)


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return base.quoted(name)
