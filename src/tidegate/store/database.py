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
from tidegate.store import dialects

T = TypeVar("T")

Row = dict[str, Any]
Parameters = Mapping[str, object]

PATIENCE = 60.0
"""Seconds for which a database that went away is waited for."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
LOCKED = 30.0
"""Seconds for which a SQLite file that another process writes to is waited for."""
HELD = 30
"""Seconds after which Postgres ends a transaction whose process does nothing, so that it holds up nobody else."""
QUEUED = 20
"""Seconds for which Postgres has a statement wait for another's rows; then the whole work is done again."""
DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
)
"""A server that answers before its disk has a commit would forget in a crash what was sent to Stripe since."""
TURN = 7_364_201_933
"""The advisory lock of those who migrate; any number that nobody else uses."""


class Session(abc.ABC):
    """A transaction under way."""

    @abc.abstractmethod
    def execute(self, text: str, parameters: Parameters | None = None) -> list[Row]:
        """Run one statement; the rows it returns, by column."""

    @abc.abstractmethod
    def tuples(self, text: str, parameters: Parameters | None = None) -> list[tuple[Any, ...]]:
        """Run one statement; the rows it returns in the order of its columns, for reading many of them."""

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

    def tuples(self, text: str, parameters: Parameters | None = None) -> list[tuple[Any, ...]]:
        """The rows of a statement in the order of its columns."""
        return self.transact(lambda session: session.tuples(text, parameters))

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
            raise dialects.sqlite_error(error, self.place) from None


class _SQLiteSession(Session):
    def __init__(
        self, connection: sqlite3.Connection, explained: Callable[[], contextlib.AbstractContextManager[None]]
    ) -> None:
        self._connection, self._explained = connection, explained

    def execute(self, text: str, parameters: Parameters | None = None) -> list[Row]:
        with self._explained():
            cursor = self._connection.execute(dialects.sqlite(text), dict(parameters or {}))
            return [dict(row) for row in cursor.fetchall()]

    def tuples(self, text: str, parameters: Parameters | None = None) -> list[tuple[Any, ...]]:
        with self._explained(), contextlib.closing(self._connection.cursor()) as cursor:
            cursor.row_factory = None
            return cursor.execute(dialects.sqlite(text), dict(parameters or {})).fetchall()

    def each(self, text: str, rows: Iterable[Parameters]) -> int:
        with self._explained():
            return max(0, self._connection.executemany(dialects.sqlite(text), map(dict, rows)).rowcount)


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
                f"SET LOCAL lock_timeout = '{QUEUED}s'; {DURABLE}"
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
            psycopg = dialects.driver()
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
        psycopg = dialects.driver()
        try:
            yield
        except psycopg.Error as error:
            raise dialects.postgres_error(error, self.place) from None


class _PostgresSession(Session):
    def __init__(
        self, connection: Any, explained: Callable[[], contextlib.AbstractContextManager[None]]
    ) -> None:
        self._connection, self._explained = connection, explained

    def execute(self, text: str, parameters: Parameters | None = None) -> list[Row]:
        with self._explained():
            cursor = self._connection.execute(dialects.postgres(text), dict(parameters or {}))
            return cursor.fetchall() if cursor.description else []

    def tuples(self, text: str, parameters: Parameters | None = None) -> list[tuple[Any, ...]]:
        rows = dialects.driver().rows.tuple_row
        with self._explained(), self._connection.cursor(row_factory=rows, binary=True) as cursor:
            found: list[tuple[Any, ...]] = cursor.execute(
                dialects.postgres(text), dict(parameters or {})
            ).fetchall()
            return found

    def each(self, text: str, rows: Iterable[Parameters]) -> int:
        with self._explained(), self._connection.cursor() as cursor:
            cursor.executemany(dialects.postgres(text), list(map(dict, rows)))
            return max(0, int(cursor.rowcount))


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


def among(values: Iterable[object]) -> tuple[str, dict[str, object]]:
    """What stands after IN for these values, of which there is one at least, and its parameters.

    For some hundred at most: a statement may have 999 parameters in an old SQLite.
    """
    named = {f"among_{''.join(chr(97 + int(digit)) for digit in str(n))}": v for n, v in enumerate(values)}
    return f"({', '.join(f':{name}' for name in named)})", named


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
