"""The DuckDB file: whose turn it is, waiting for it, and opening it for one call.

DuckDB's file lock shuts out every other process, readers too, so the file is attached only while a call runs. Our
own statements run on an engine that lives on and may open this one file (starting one costs 25 ms, attaching 1 ms);
SQL of the user's runs on an engine of its own that may open nothing more.

The file must not be opened with `duckdb.connect` in this process while a call runs: POSIX drops a process's locks
on a file when the process closes that file anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import glob
import logging
import os
import random
import re
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import duckdb

from tidegate import errors
from tidegate.warehouse import base, ddl, faults, files

log = logging.getLogger(__name__)

T = TypeVar("T")

ROW_GROUP = 10_240
"""Rows per row group, a multiple of 2,048. With 122,880, commits rewrite large groups over and over: measured
15,000 rows/CPU-s in loads of 10,000 charges, against 50,000."""

DELETES = 256 * 1024
"""Bytes that DuckDB keeps in memory for each row group in which a transaction deletes, until it commits."""

GENEROUS = 8
"""When a call needs more memory than it was given, it is tried once more with this many times as much."""

VACUUM_TASKS = 4
"""Row groups merged at most per commit, so that cleaning up after many updates never holds the file for long."""

RENEWED = 200
"""Calls after which another engine is started: each leaves some 10 kB behind in it (measured with DuckDB 2.0.0)."""

WHOSE = re.compile(r"\d+(-[0-9a-f]{8})?")
"""How a folder that DuckDB spills into is called after the file."""

CHECKPOINT = "1MB"
"""A larger commit goes straight into the file instead of through the write-ahead log first."""


def _own() -> str:
    """What this process calls what it spills: in a container the next process has the same number."""
    return _named(os.getpid())


@functools.cache
def _named(process: int) -> str:
    return f"{process}-{secrets.token_hex(4)}"


@dataclass(slots=True)
class Session:
    """The file while it is open: a connection, and the name that DuckDB knows the file by."""

    connection: duckdb.DuckDBPyConnection
    database: str
    memory_limit: int
    _deletes: int = 0

    def room(self, groups: int) -> None:
        """Make room in memory for deletes in so many row groups, until the session ends."""
        self._deletes += groups * DELETES
        needed = self.memory_limit // 2 + self._deletes
        if needed > self.memory_limit:
            self.connection.execute(f"SET memory_limit = '{needed}B'")


@dataclass(slots=True)
class _Turn:
    """Whose turn it is in this process; DuckDB opens a file once per process."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    owner: int = 0


_turns: dict[str, _Turn] = {}
_turns_lock = threading.Lock()


class File:
    """One DuckDB file, closed between calls.

    `reserved` are names in lower case that the file must not go by inside DuckDB; `wait` is how many seconds a call
    waits while somebody else holds it, `memory_limit` is in bytes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        reserved: tuple[str, ...],
        wait: float,
        memory_limit: int,
        threads: int,
    ) -> None:
        self.path = os.path.realpath(path)
        self.stem = os.path.basename(self.path).split(".")[0]
        self.wait = wait
        self.memory_limit = memory_limit
        self.threads = threads
        self._reserved = (*reserved, "memory", "")
        self._engine: duckdb.DuckDBPyConnection | None = None
        self._calls = 0
        with _turns_lock:
            self._turn = _turns.setdefault(self.path, _Turn())

    @property
    def ambiguous(self) -> bool:
        """Is the file named like a schema? Then `stripe.charges` means nothing to who opens it."""
        return self.stem.lower() in self._reserved

    def exists(self) -> bool:
        """Is there a file yet?"""
        return os.path.exists(self.path)

    @contextlib.contextmanager
    def _alone(self, wait: float | None) -> Iterator[float]:
        """Wait for this process's turn; yields the moment when waiting for the file itself ends."""
        wait = self.wait if wait is None else wait
        deadline = time.monotonic() + wait
        if self._turn.owner == threading.get_ident():
            raise errors.WarehouseBusy(
                f"{self.path} is still being read by this same thread; finish or close that read first."
            )
        if not self._turn.lock.acquire(timeout=max(wait, 0.0)):
            raise errors.WarehouseBusy(
                f"{self.path} is held by another thread of this process ({os.getpid()}); let it finish first."
            )
        self._turn.owner = threading.get_ident()
        try:
            yield deadline
        finally:
            self._turn.owner = 0
            self._turn.lock.release()

    def write(self, work: Callable[[Session], T], wait: float | None = None) -> T:
        """Do something to the file, once more with more memory where it takes more than it was given.

        `work` must be such that a half that was done before an error may be done again.
        """
        try:
            with self.writing(wait) as session:
                return work(session)
        except faults.TooLittleMemory:
            log.info("%s: trying again with %s times the memory", self.path, GENEROUS)
            with self.writing(wait, self.memory_limit * GENEROUS) as session:
                return work(session)

    @contextlib.contextmanager
    def writing(self, wait: float | None = None, memory_limit: int | None = None) -> Iterator[Session]:
        """Open the file for writing, made if it is not there; nobody else has it meanwhile."""
        with self._alone(wait) as deadline:
            if not self.exists():
                self.create(self.path)
            limit = self.memory_limit if memory_limit is None else memory_limit
            with self._opened(deadline, limit, write=True) as session:
                self._sweep_temporary()
                yield session

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """Open the file for reading; others may read too."""
        with self._alone(None) as deadline, self._opened(deadline, self.memory_limit, write=False) as session:
            yield session

    @contextlib.contextmanager
    def lent(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file for reading on an engine that SQL of the user's may run on; it reaches nothing else."""
        with self._alone(None) as deadline:
            engine = self._new_engine(for_user=True)
            try:
                self._attach(engine, deadline, write=False)
                with faults.explained(self.path):
                    _lock_down(engine)
                yield engine
            finally:
                engine.close()

    def close(self) -> None:
        """Let go of the engine; the file is not held between calls anyway."""
        if self._turn.owner == threading.get_ident():
            self._drop_engine()  # this thread still reads, on an engine of the read's own
            return
        with self._alone(None):
            self._drop_engine()

    @contextlib.contextmanager
    def _opened(self, deadline: float, memory_limit: int, *, write: bool) -> Iterator[Session]:
        if self._engine is None:
            self._engine, self._calls = self._new_engine(for_user=False), 0
        try:
            database = self._attach(self._engine, deadline, write=write)
            with faults.explained(self.path):
                self._engine.execute(f"SET memory_limit = '{memory_limit}B'")
                yield Session(self._engine, database, memory_limit)
                self._engine.execute("USE memory")
                self._engine.execute(f"DETACH {base.quoted(database)}")
            self._calls += 1
            if self._calls >= RENEWED:
                self._drop_engine()
        except BaseException:
            # Closing the engine lets go of the file whatever state it was left in.
            self._drop_engine()
            raise

    def _new_engine(self, *, for_user: bool) -> duckdb.DuckDBPyConnection:
        engine = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": f"{self.memory_limit}B",
                "threads": self.threads,
                "temp_directory": f"{self.path}.{_own()}.tmp",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_persistent_secrets": False,
                "python_enable_replacements": False,
                "max_vacuum_tasks": VACUUM_TASKS,
                "checkpoint_threshold": CHECKPOINT,
            },
        )
        try:
            engine.execute("SET GLOBAL TimeZone = 'UTC'")
            if not for_user:
                endings = ("", ".wal", ".wal.checkpoint", ".wal.recovery")
                paths = ", ".join(ddl.literal(self.path + ending) for ending in endings)
                engine.execute(f"SET allowed_paths = [{paths}]")
                # DuckDB lets nobody switch this on again; the configuration stays open for `Session.room`.
                engine.execute("SET enable_external_access = false")
        except BaseException:
            engine.close()
            raise
        return engine

    def _attach(self, engine: duckdb.DuckDBPyConnection, deadline: float, *, write: bool) -> str:
        """Open the file, waiting until the deadline while somebody else holds it; returns its name there."""
        self.look()
        alias = ""
        if self.ambiguous:
            alias = f"AS {next(name for name in ('tidegate', 'tidegate_file') if name not in self._reserved)}"
        options = f"TYPE duckdb, ROW_GROUP_SIZE {ROW_GROUP}" + ("" if write else ", READ_ONLY")
        pause, told = 0.005, False
        while True:
            try:
                engine.execute(f"ATTACH {ddl.literal(self.path)} {alias} ({options})")
                break
            except (duckdb.Error, OSError) as error:
                left = deadline - time.monotonic()
                if not faults.locked(error) or left <= 0:
                    raise faults.explain(error, self.path) from None
                if not told and pause > 0.1:
                    log.warning(
                        "%s is held by %s; waiting up to %.0f s", self.path, faults.holder(error), left
                    )
                    told = True
            time.sleep(min(pause, left))
            pause = min(pause * random.uniform(1.5, 2.0), 0.25)
        with faults.explained(self.path):
            ((database,),) = engine.execute(
                "SELECT database_name FROM duckdb_databases() WHERE path IS NOT NULL"
            ).fetchall()
            engine.execute(f"USE {base.quoted(database)}")
        return str(database)

    def look(self) -> None:
        """Find out what is wrong with the path, without opening the file."""
        with faults.explained(self.path):
            if os.path.isdir(self.path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISDIR(os.stat(os.path.dirname(self.path)).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def create(self, path: str) -> None:
        """Make an empty database that appears whole.

        A kill while DuckDB writes the first headers would leave a file that it never opens again.
        """
        self.look()
        draft = f"{path}.{os.getpid()}-{os.urandom(6).hex()}.new"
        with faults.explained(path):
            engine = duckdb.connect(":memory:")
            try:
                engine.execute(f"ATTACH {ddl.literal(draft)} AS draft (TYPE duckdb)")
                engine.execute("DETACH draft")
                with contextlib.suppress(FileExistsError):
                    files.place(Path(draft), Path(path))
                files.sync(Path(path).parent)
            finally:
                engine.close()
                files.remove(Path(draft))

    def _drop_engine(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _sweep_temporary(self) -> None:
        """Remove what killed processes left; whoever holds the file for writing is alone with it."""
        name = os.path.basename(self.path)
        folder = Path(os.path.dirname(self.path))
        for spilled in folder.glob(f"{glob.escape(name)}.*.tmp"):
            whose = spilled.name[len(name) + 1 : -4]
            if whose != _own() and WHOSE.fullmatch(whose):
                shutil.rmtree(spilled, ignore_errors=True)
        for draft in folder.glob(f"{glob.escape(name)}.*-*.new*"):
            pid = draft.name[len(name) + 1 :].partition("-")[0]
            if pid.isdigit() and not files.alive(int(pid)):
                files.remove(draft)


@contextlib.contextmanager
def transaction(session: Session) -> Iterator[None]:
    """All of the block is committed, or nothing."""
    session.connection.begin()
    try:
        yield
    except BaseException:
        with contextlib.suppress(duckdb.Error):
            session.connection.rollback()
        raise
    session.connection.commit()


def _lock_down(engine: duckdb.DuckDBPyConnection) -> None:
    """From here on the engine opens no file but those already allowed, and nothing changes that."""
    engine.execute("SET enable_external_access = false")
    engine.execute("SET lock_configuration = true")
