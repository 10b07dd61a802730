"""The metadata database: one SQL for both, migrations, threads, connections that go away."""

from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tidegate import errors
from tidegate.store import database

Opened = Callable[[], database.Database]


def count(store: database.Database) -> int:
    row = store.one("SELECT count(*) AS n FROM secrets")
    assert row is not None
    return int(row["n"])


def put(session: database.Session, name: str, value: str = "x") -> None:
    session.execute(
        "INSERT INTO secrets (name, value, changed_at) VALUES (:name, :value, {now}) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        {"name": name, "value": value},
    )


def test_rows_come_by_column(store: database.Database) -> None:
    store.transact(lambda session: put(session, "a:b % {now}", "100 %"))
    [row] = store.execute("SELECT name, value FROM secrets WHERE name LIKE :like", {"like": "a:%"})
    assert row == {"name": "a:b % {now}", "value": "100 %"}


def test_what_stands_in_quotes_is_no_parameter(store: database.Database) -> None:
    row = store.one(
        "SELECT 'pull:a' AS quoted, 'it''s 5 % :b' AS doubled, CAST(:a AS text) AS given", {"a": "x"}
    )
    assert row == {"quoted": "pull:a", "doubled": "it's 5 % :b", "given": "x"}


def test_one_statement_for_many_rows_says_how_many_it_changed(store: database.Database) -> None:
    text = (
        "INSERT INTO secrets (name, value, changed_at) VALUES (:name, 'x', {now}) "
        "ON CONFLICT (name) DO NOTHING"
    )
    rows = [{"name": f"{n % 300}"} for n in range(1000)]
    assert store.transact(lambda session: session.each(text, rows)) == 300
    assert store.transact(lambda session: session.each(text, iter(rows))) == 0
    assert count(store) == 300


def test_work_has_no_other_work_inside(store: database.Database) -> None:
    with pytest.raises(AssertionError, match="no other inside"):
        store.transact(lambda _: store.now())
    assert store.now() > 0


def test_its_clock_is_the_unix_time(store: database.Database) -> None:
    before = time.time()
    assert before - 60 < store.now() < time.time() + 60


def test_a_transaction_is_all_or_nothing(store: database.Database) -> None:
    def work(session: database.Session) -> None:
        put(session, "a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.transact(work)
    assert count(store) == 0


def test_what_is_there_already_is_a_conflict(store: database.Database) -> None:
    text = "INSERT INTO secrets (name, value, changed_at) VALUES ('a', 'x', 0)"
    store.execute(text)
    with pytest.raises(errors.StoreConflict):
        store.execute(text)
    assert count(store) == 1


def test_migrating_again_changes_nothing(store: database.Database, opened: Opened) -> None:
    store.transact(lambda session: put(session, "a"))
    assert opened().migrate() == len(database.migrations())
    assert count(store) == 1


def test_many_that_begin_at_once_make_the_tables_once(opened: Opened) -> None:
    failed: list[Exception] = []

    def begin() -> None:
        try:
            opened().now()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(opened().execute("SELECT number FROM migrations")) == len(database.migrations())


def test_a_database_of_a_newer_version_is_left_alone(store: database.Database, opened: Opened) -> None:
    store.execute("INSERT INTO migrations (number, name) VALUES (9999, 'later')")
    with pytest.raises(errors.StoreError, match="written by a newer Tidegate"):
        opened()


def test_threads_take_turns(store: database.Database) -> None:
    store.transact(lambda session: put(session, "n", "0"))

    def add(session: database.Session) -> None:
        row = session.one("SELECT value FROM secrets WHERE name = 'n'")
        assert row is not None
        put(session, "n", str(int(row["value"]) + 1))

    def work() -> None:
        for _ in range(25):
            store.transact(add)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.one("SELECT value FROM secrets") == {"value": "100"}


def test_the_migrations_are_numbered_without_a_gap() -> None:
    assert [int(name[:4]) for name, _ in database.migrations()] == [*range(1, len(database.migrations()) + 1)]
    for _, text in database.migrations():
        assert database.statements(text)


WRITER = """
import sys
from tidegate.store import database
store = database.open_database(sys.argv[1])
number = 0
while True:
    def work(session):
        for name in ("a", "b"):
            session.execute(
                "INSERT INTO secrets (name, value, changed_at) VALUES (:name, :value, 0) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                {"name": name, "value": str(number)},
            )
    store.transact(work)
    print(number, flush=True)
    number += 1
"""


def test_killed_at_any_moment_it_keeps_what_was_told_and_nothing_half(url: str, opened: Opened) -> None:
    for turn in range(5):
        child = subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(3 + 7 * turn):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        told = [int(line) for line in child.stdout.read().split("\n")[:-1]]
        child.stdout.close()
        child.wait()
        store = opened()
        values = {row["value"] for row in store.execute("SELECT value FROM secrets")}
        assert len(values) == 1
        assert not told or int(values.pop()) >= told[-1]
        store.close()


class TestSQLite:
    def test_nobody_else_may_read_the_file(self, tmp_path: Path) -> None:
        database.open_database(f"sqlite:///{tmp_path}/t.db").close()
        assert stat.S_IMODE((tmp_path / "t.db").stat().st_mode) == 0o600

    def test_a_folder_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(errors.ConfigError, match="nowhere does not exist"):
            database.open_database(f"sqlite:///{tmp_path}/nowhere/t.db")

    def test_a_file_of_another_kind_is_no_database(self, tmp_path: Path) -> None:
        (tmp_path / "t.db").write_text("This is a letter, not a database. " * 100)
        with pytest.raises(errors.StoreError, match="no SQLite database"):
            database.open_database(f"sqlite:///{tmp_path}/t.db")
        assert (tmp_path / "t.db").read_text().startswith("This is a letter")

    def test_who_is_held_up_for_long_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database, "LOCKED", 0.05)
        store = database.open_database(f"sqlite:///{tmp_path}/t.db", wait=0.2)
        other = sqlite3.connect(tmp_path / "t.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.StoreUnreachable, match="written to by another process"):
            store.now()
        other.execute("ROLLBACK")
        other.close()
        assert store.now() > 0
        store.close()

    def test_the_path_may_hold_anything(self, tmp_path: Path) -> None:
        folder = tmp_path / "a b%20ü?"
        folder.mkdir()
        database.open_database(f"sqlite:///{folder}/t.db").close()
        assert (folder / "t.db").exists()


class TestPostgres:
    @pytest.fixture
    def url(self) -> str:
        import servers

        return servers.new_postgres()

    def test_a_lost_connection_is_opened_again(self, store: database.Database, url: str) -> None:
        store.transact(lambda session: put(session, "a"))
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'tidegate' AND datname = current_database()"
            )
        assert count(store) == 1

    def test_work_whose_connection_is_lost_is_done_again(self, store: database.Database, url: str) -> None:
        turns = []

        def work(session: database.Session) -> None:
            put(session, "a")
            turns.append(1)
            if len(turns) == 1:
                with psycopg.connect(url, autocommit=True) as other:
                    other.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE application_name = 'tidegate' AND datname = current_database()"
                    )
            put(session, "b")

        store.transact(work)
        assert len(turns) == 2
        assert count(store) == 2

    def test_nobody_waits_while_somebody_else_waits_for_the_server(self, store: database.Database) -> None:
        """A thread that tries again lets the others have their turn."""
        turns: list[int] = []

        def lost(session: database.Session) -> None:
            session.one("SELECT 1 AS one")
            turns.append(1)
            if len(turns) < 3:
                raise errors.StoreUnreachable("away")

        threads = [threading.Thread(target=store.transact, args=[lost])]
        threads += [threading.Thread(target=store.now) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(turns) == 3

    def test_no_transaction_is_left_open(self, store: database.Database, url: str) -> None:
        def fail(session: database.Session) -> None:
            session.one("SELECT 1 AS one")
            raise ZeroDivisionError

        store.now()
        with pytest.raises(ZeroDivisionError):
            store.transact(fail)
        with pytest.raises(errors.StoreError):
            store.execute("SELECT nonsense")
        with psycopg.connect(url, autocommit=True) as other:
            states = other.execute(
                "SELECT state FROM pg_stat_activity WHERE application_name = 'tidegate' "
                "AND datname = current_database()"
            ).fetchall()
        assert states == [("idle",)]

    def test_a_server_that_is_not_there_is_said(self) -> None:
        with pytest.raises(errors.StoreUnreachable, match=r"Postgres at 127\.0\.0\.1/x cannot be reached"):
            database.open_database("postgresql://u:geheim@127.0.0.1:1/x", wait=0.1)

    def test_a_refused_sign_in_is_a_sentence_without_the_password(self, url: str) -> None:
        wrong = url.replace("postgres:@", "nobody:geheim@")
        assert wrong != url
        with pytest.raises(errors.ConfigError, match="let nobody in") as caught:
            database.open_database(wrong, wait=0.1)
        assert "geheim" not in str(caught.value)
