"""One way to run SQL in the metadata database, be it a SQLite file or Postgres.

SQL is written once: parameters are `:name`, `{now}` is the database's own clock in unix seconds, with a fraction.
No other clock is ever compared with what stands in it, so that machines whose clocks differ agree. A condition that
an index is to serve says `(SELECT {now})`: a clock that goes on while rows are looked at serves none.

`{lock}` at the end of a SELECT keeps others from changing its rows until the transaction ends.
Who locks rows of several tables locks those of `ticks` before those of `runs`.

Whatever is done may be done again: a connection that is lost, also while it commits, is opened anew and the work
is repeated. So work must leave the same when it is repeated: ids are made before it, not inside.
"""

from __future__ import annotations

import abc
import contextlib
import importlib.resources
import os
import re
import sqlite3
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tidegate import errors

T = TypeVar("T")

Row = dict[str, Any]
Parameters = Mapping[str, object]

PATIENCE = 60.0
"""Seconds for which a database that went away is waited for."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
LOCKED = 30.0
"""Seconds for which a SQLite file that another process writes to is waited for."""
NOW = "((julianday('now') - 2440587.5) * 86400.0)"
"""SQLite's clock in milliseconds; its `unixepoch('subsec')` is younger than what Debian 12 ships."""
HELD = 30
"""Seconds after which Postgres ends a transaction whose process does nothing, so that it holds up nobody else."""
QUEUED = 20
"""Seconds for which Postgres has a statement wait for another's rows; then the whole work is done again."""
TURN = 7_364_201_933
"""The advisory lock of those who migrate; any number that nobody else uses."""

_REFUSED = re.compile(r"authentication failed|no password supplied|does not exist|pg_hba|not permitted", re.I)
"""What libpq says of a server that answered and let nobody in: then there is no SQLSTATE."""
_CROWDED = re.compile(r"too many (connections|clients)|remaining connection slots", re.I)
_NAMED = re.compile(r"'[^']*'|(?<!:):(?P<name>[a-z_]+)")
"""A parameter; or a text in quotes, in which there are none."""


class Session(abc.ABC):
    """A transaction under way."""

    @abc.abstractmethod
    def execute(self, text: str, parameters: Parameters | None = None) -> list[Row]:
        """Run one statement; the rows it returns, by column."""

    @abc.abstractmethod
    def each(self, text: str, rows: Iterable[Parameters]) -> int:
        """Run one statement for each of many rows; returns how many rows it changed."""

    def one(self, text: str, parameters: Parameters | None = None) -> Row | None:
        """The first row, or None."""
        return next(iter(self.execute(text, parameters)), None)

    def now(self) -> float:
        """The database's clock, unix seconds."""
        row = self.one("SELECT {now} AS now")
        assert row is not None, "A SELECT without FROM has a row."
        return float(row["now"])


class Database(abc.ABC):
    """The metadata database; may be used by several threads, which take turns."""

    place: str
    """What to call it in a sentence; without a password."""
    kind: str

    def __init__(self, place: str, *, wait: float = PATIENCE) -> None:
        self.place, self.wait = place, wait
        self._lock = threading.RLock()
        self._busy = False

    def transact(self, work: Callable[[Session], T]) -> T:
        """Do work in one transaction, again where the connection was lost.

        Raises StoreUnreachable after `wait` seconds without a connection.
        """
        deadline, pause = time.monotonic() + self.wait, FIRST_PAUSE
        while True:
            with self._lock:
                assert not self._busy, "A transaction has no other inside of it."
                self._busy = True
                try:
                    with self._transaction() as session:
                        return work(session)
                except errors.StoreUnreachable:
                    self._drop()
                    if time.monotonic() + pause > deadline:
                        raise
                finally:
                    self._busy = False
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def execute(self, text: str, parameters: Parameters | None = None) -> list[Row]:
        """Run one statement in a transaction of its own."""
        return self.transact(lambda session: session.execute(text, parameters))

    def one(self, text: str, parameters: Parameters | None = None) -> Row | None:
        """The first row of a statement, or None."""
        return self.transact(lambda session: session.one(text, parameters))

    def now(self) -> float:
        """The database's clock, unix seconds."""
        return self.transact(lambda session: session.now())

    def migrate(self) -> int:
        """Bring the tables up to date and return their number; several may call this at once.

        Each numbered file is one transaction. Raises StoreError for a database of a newer Tidegate.
        """
        steps = migrations()

        def begin(session: Session) -> int:
            self._alone(session)
            session.execute(
                "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL)"
            )
            row = session.one("SELECT coalesce(max(number), 0) AS last FROM migrations")
            assert row is not None, "An aggregate has a row."
            return int(row["last"])

        done = self.transact(begin)
        if done > len(steps):
            raise errors.StoreError(
                f"{self.place} was written by a newer Tidegate (its tables are at {done}, this one knows "
                f"{len(steps)}); install that version again."
            )
        for number, (name, text) in enumerate(steps, 1):

            def step(session: Session, number: int = number, name: str = name, text: str = text) -> None:
                self._alone(session)
                row = session.one("SELECT coalesce(max(number), 0) AS last FROM migrations")
                if row is not None and row["last"] >= number:
                    return
                for statement in statements(text):
                    session.execute(statement)
                session.execute(
                    "INSERT INTO migrations (number, name) VALUES (:number, :name)",
                    {"number": number, "name": name},
                )

            if number > done:
                self.transact(step)
        return len(steps)

    def close(self) -> None:
        """Let go of it; idempotent."""
        with self._lock:
            self._drop()

    @abc.abstractmethod
    def _transaction(self) -> contextlib.AbstractContextManager[Session]:
        """A transaction; raises StoreUnreachable where there is no connection, or where it was lost."""

    @abc.abstractmethod
    def _drop(self) -> None:
        """Drop the connection, whatever its state; never raises."""

    @abc.abstractmethod
    def _alone(self, session: Session) -> None:
        """Keep others who migrate out until the transaction ends."""


class SQLite(Database):
    """A file, which several processes of one machine may use."""

    kind = "sqlite"

    def __init__(self, path: Path, *, wait: float = PATIENCE) -> None:
        super().__init__(str(path), wait=wait)
        self._path = path
        self._connection: sqlite3.Connection | None = None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Session]:
        connection = self._open()
        with self._explained():
            connection.execute("BEGIN IMMEDIATE")
        try:
            yield _SQLiteSession(connection, self._explained)
            with self._explained():
                connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if connection.in_transaction:
                self._drop()
            raise

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        if not self._path.parent.is_dir():
            raise errors.ConfigError(f"{self._path.parent} does not exist; make it, or change `database`.")
        with self._explained():
            if not self._path.exists():
                # Nobody else may read it: who may call, whom to tell.
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            connection = sqlite3.connect(
                self._path, timeout=LOCKED, isolation_level=None, check_same_thread=False
            )
            try:
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
            except BaseException:
                connection.close()
                raise
        self._connection = connection
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _alone(self, session: Session) -> None:
        """A transaction of SQLite keeps all others out from its beginning."""

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _sqlite_error(error, self.place) from None


class _SQLiteSession(Session):
    def __init__(
        self, connection: sqlite3.Connection, explained: Callable[[], contextlib.AbstractContextManager[None]]
    ) -> None:
        self._connection, self._explained = connection, explained

    def execute(self, text: str, parameters: Parameters | None = None) -> list[Row]:
        with self._explained():
            cursor = self._connection.execute(_sqlite(text), dict(parameters or {}))
            return [dict(row) for row in cursor.fetchall()]

    def each(self, text: str, rows: Iterable[Parameters]) -> int:
        with self._explained():
            return max(0, self._connection.executemany(_sqlite(text), map(dict, rows)).rowcount)


def _sqlite(text: str) -> str:
    text = text.replace("{now}", NOW).replace("{lock}", "")
    return text.replace("{serial}", "INTEGER PRIMARY KEY AUTOINCREMENT")


def _sqlite_error(error: sqlite3.Error, place: str) -> errors.TidegateError:
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return errors.StoreUnreachable(f"{place} is being written to by another process; try again.")
    if code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return errors.StoreError(
            f"{place} is no SQLite database, or a damaged one; name another file under `database`."
        )
    if code.startswith("SQLITE_FULL"):
        return errors.StoreError(f"The disk of {place} is full; free some space and start again.")
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR")):
        return errors.StoreError(
            f"{place} cannot be opened for writing; look at its folder, permissions and disk."
        )
    if code.startswith("SQLITE_CONSTRAINT"):
        return errors.StoreConflict(f"{place} holds something already that excludes this ({code}).")
    return errors.StoreError(f"{place} refused a statement ({code or type(error).__name__}: {error}).")


class Postgres(Database):
    """A Postgres database, for workers on several machines."""

    kind = "postgres"

    def __init__(self, url: str, *, wait: float = PATIENCE) -> None:
        parts = urllib.parse.urlsplit(url)
        super().__init__(
            f"Postgres at {parts.hostname or 'the local socket'}{parts.path}".rstrip("/"), wait=wait
        )
        self._url = url
        self._connection: Any = None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Session]:
        with self._explained():
            connection = self._open()
            connection.execute(
                f"BEGIN; SET LOCAL idle_in_transaction_session_timeout = '{HELD}s'; "
                f"SET LOCAL lock_timeout = '{QUEUED}s'"
            )
        try:
            yield _PostgresSession(connection, self._explained)
            with self._explained():
                connection.execute("COMMIT")
        except BaseException:
            try:
                connection.execute("ROLLBACK")
            except Exception:
                self._drop()
            raise

    def _open(self) -> Any:
        if self._connection is None:
            psycopg = _psycopg()
            self._connection = psycopg.connect(
                self._url,
                row_factory=psycopg.rows.dict_row,
                autocommit=True,
                # A pool such as PgBouncer may give every transaction another session.
                prepare_threshold=None,
                connect_timeout=10,
                application_name="tidegate",
                # A server that vanished without a word is given up within half a minute.
                keepalives_idle=15,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=30_000,
            )
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def _alone(self, session: Session) -> None:
        session.execute("SELECT pg_advisory_xact_lock(:turn)", {"turn": TURN})

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        psycopg = _psycopg()
        try:
            yield
        except psycopg.Error as error:
            raise _postgres_error(error, self.place) from None


class _PostgresSession(Session):
    def __init__(
        self, connection: Any, explained: Callable[[], contextlib.AbstractContextManager[None]]
    ) -> None:
        self._connection, self._explained = connection, explained

    def execute(self, text: str, parameters: Parameters | None = None) -> list[Row]:
        with self._explained():
            cursor = self._connection.execute(_postgres(text), dict(parameters or {}))
            return cursor.fetchall() if cursor.description else []

    def each(self, text: str, rows: Iterable[Parameters]) -> int:
        with self._explained(), self._connection.cursor() as cursor:
            cursor.executemany(_postgres(text), list(map(dict, rows)))
            return max(0, int(cursor.rowcount))


def _postgres(text: str) -> str:
    text = text.replace("%", "%%")
    text = _NAMED.sub(lambda found: f"%({found['name']})s" if found["name"] else found[0], text)
    text = text.replace("{now}", "CAST(extract(epoch FROM clock_timestamp()) AS double precision)")
    text = text.replace("{lock}", "FOR UPDATE")
    return text.replace("{serial}", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY")


def _postgres_error(error: Any, place: str) -> errors.TidegateError:
    psycopg = _psycopg()
    state = getattr(error, "sqlstate", None) or ""
    if state[:2] == "28" or state == "3D000" or (not state and _REFUSED.search(str(error))):
        return errors.ConfigError(
            f"{place} let nobody in: look at the user, the password and the database in `database`."
        )
    if state == "42501":
        return errors.StoreError(
            f"{place} does not let this user make tables; GRANT CREATE, USAGE ON SCHEMA public to it."
        )
    if state == "53300" or (not state and _CROWDED.search(str(error))):
        return errors.StoreUnreachable(
            f"{place} has no connection left; raise its max_connections, or start fewer workers."
        )
    if state[:2] == "53":
        return errors.StoreError(f"{place} is out of space, memory or connections ({state}).")
    if state[:2] == "23":
        return errors.StoreConflict(f"{place} holds something already that excludes this ({state}).")
    # 40 and 55P03: two transactions met; 25P03: this process was stopped inside of one; 25006: it is a copy
    # that only reads, for now; 57P0x and 08: shut down, restarting, cut off; none: the connection is gone.
    passing = state[:2] in ("40", "08") or state.startswith("57P0") or state in ("25006", "25P03", "55P03")
    if passing or (not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)):
        return errors.StoreUnreachable(f"{place} cannot be reached; look at the server and the network.")
    return errors.StoreError(f"{place} refused a statement ({state or type(error).__name__}).")


def _psycopg() -> Any:
    try:
        import psycopg
        import psycopg.rows
    except ImportError:
        raise errors.ConfigError(
            "`database` is Postgres, whose driver is not installed; pip install 'tidegate[postgres]'"
        ) from None
    return psycopg


def open_database(url: str, *, wait: float = PATIENCE) -> Database:
    """The database behind `sqlite:///FILE` or `postgresql://...`, its tables brought up to date."""
    scheme, _, rest = url.partition("://")
    database: Database
    if scheme == "sqlite":
        database = SQLite(Path(rest.removeprefix("/")))
    else:
        database = Postgres(url)
    database.wait = wait
    try:
        database.migrate()
    except BaseException:
        database.close()
        raise
    return database


def migrations() -> list[tuple[str, str]]:
    """The numbered files in their order: name and SQL."""
    folder = importlib.resources.files("tidegate.store") / "migrations"
    found = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    for number, name in enumerate(found, 1):
        assert int(name[:4]) == number, f"{name} is out of the order of the migrations."
    return [(name, (folder / name).read_text(encoding="utf-8")) for name in found]


def statements(text: str) -> list[str]:
    """The statements of a migration: each ends with a semicolon at the end of a line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [each.strip() for each in re.split(r";\s*$", "\n".join(lines), flags=re.M) if each.strip()]
