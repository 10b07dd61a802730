"""Runs of a pipeline in processes that kill themselves at a statement: `piping_child.py`.

For each line on stdin, `Told` as JSON, a child is made that does a run; what is loaded is loaded once. On stdout
there is a line for each: what its run came to, as JSON, or `killed`. A process kills itself: no id of a process is
kept, so none can be another's.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import gc
import itertools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import piped
import psycopg

from tidegate import warehouse
from tidegate.customers import changes, run
from tidegate.store import database
from tidegate.warehouse import duckdb_file

ROWS = 8
"""Rows of a batch, so that a run commits several."""
PIPELINE: dict[str, Any] = {
    "filter": {"field": "address.country", "op": "is", "value": "DE"},
    "map": {
        "customer_id": {"from": "id"},
        "email": {"from": "email"},
        "phone": {"from": "phone"},
        "name": {"from": "name"},
        "balance": {"from": "metadata.balance"},
    },
}


class Told(msgspec.Struct, frozen=True):
    """What such a process is told."""

    folder: str
    url: str
    """Of the warehouse."""
    step: int = 0
    """The statement at which it ends; 0: at none."""
    later: float = 0.0
    """Seconds after that statement began."""
    full: bool = False


class Place(piped.Place):
    """A stream and a model in any warehouse."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.source: Any = warehouse.open_url(url, "stripe")
        self.target: Any = warehouse.open_url(url, "tidegate")
        self.store = database.open_database(f"sqlite:///{folder / 't.db'}")
        self.version = 0


def main() -> None:
    """Make children, one after the other."""
    gc.freeze()
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            os.write(writer, _done(msgspec.json.decode(line, type=Told)))
            atexit._run_exitfuncs()  # as a process does that ends in order
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read().decode()
        _, status = os.waitpid(child, 0)
        died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if died else said, flush=True)


def _done(told: Told) -> bytes:
    """A run, and what it came to."""
    counter = _Counter(told)
    _watch(counter)
    vars(changes)["BATCH"] = ROWS
    with contextlib.closing(Place(Path(told.folder), told.url)) as place:
        result = run.run(place.job(**PIPELINE), place.store, "run", full=told.full, approve=True)
    found = {**dataclasses.asdict(result.funnel), "in_quarantine": result.in_quarantine}
    return msgspec.json.encode({**found, "statements": next(counter.numbers) - 1})


class _Counter:
    """Counts statements and transactions, and ends the process at one of them."""

    def __init__(self, told: Told) -> None:
        self.numbers, self._told = itertools.count(1), told

    def reached(self) -> None:
        """The next one."""
        if next(self.numbers) != self._told.step:
            return
        if self._told.later:
            threading.Timer(self._told.later, _die).start()
        else:
            _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Watched:
    """A connection whose statements are counted."""

    CALLS = frozenset(("execute", "executemany", "begin", "commit", "sql", "register"))

    def __init__(self, inner: Any, counter: _Counter) -> None:
        vars(self).update(inner=inner, counter=counter)

    def __getattr__(self, name: str) -> Any:
        if name in self.CALLS:
            self.counter.reached()
        found = getattr(self.inner, name)
        if name != "cursor":
            return found
        return lambda *given: _Watched(found(*given), self.counter)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)


def _watch(counter: _Counter) -> None:
    """Count what is asked of DuckDB, of Postgres and of the metadata database."""
    engine, opened = duckdb_file.File._new_engine, database.SQLite._open

    def new_engine(file: Any, *, for_user: bool) -> Any:
        return _Watched(engine(file, for_user=for_user), counter)

    def store(of: Any) -> Any:
        if of._connection is None:
            opened(of)
            of._connection = _Watched(of._connection, counter)
        return of._connection

    vars_of: list[tuple[Any, str]] = [
        (psycopg.Cursor, "execute"),
        (psycopg.Cursor, "executemany"),
        (psycopg.ServerCursor, "execute"),
        (psycopg.Transaction, "__exit__"),
    ]
    for owner, name in vars_of:
        setattr(owner, name, _counted(getattr(owner, name), counter))
    copy = psycopg.Cursor.copy

    @contextlib.contextmanager
    def copied(*given: Any, **more: Any) -> Iterator[Any]:
        counter.reached()
        with copy(*given, **more) as found:
            yield found
            counter.reached()

    for owner, name, made in (
        (psycopg.Cursor, "copy", copied),
        (duckdb_file.File, "_new_engine", new_engine),
        (database.SQLite, "_open", store),
    ):
        setattr(owner, name, made)


def _counted(call: Any, counter: _Counter) -> Any:
    def counted(*given: Any, **more: Any) -> Any:
        counter.reached()
        return call(*given, **more)

    return counted


if __name__ == "__main__":
    main()
