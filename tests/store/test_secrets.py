"""Secrets are never stored as they are, and keys can change."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate import errors
from tidegate.store import database, secrets

FIRST, SECOND = secrets.new_key(), secrets.new_key()


def test_a_secret_comes_back_and_stands_nowhere_as_it_is(store: database.Database) -> None:
    vault = secrets.Vault(store, FIRST)
    vault.put("stripe", "rk_live_geheim ü")
    assert vault.get("stripe") == "rk_live_geheim ü"
    assert vault.get("other") is None
    [row] = store.execute("SELECT * FROM secrets")
    assert "geheim" not in str(row)
    if isinstance(store, database.SQLite):
        for file in Path(store.place).parent.iterdir():
            assert b"geheim" not in file.read_bytes()


def test_a_secret_is_replaced_and_forgotten(store: database.Database) -> None:
    vault = secrets.Vault(store, FIRST)
    vault.put("a", "1")
    vault.put("a", "2")
    assert vault.get("a") == "2"
    assert list(vault.names()) == ["a"]
    assert vault.remove("a")
    assert not vault.remove("a")
    assert vault.get("a") is None


def test_keys_rotate(store: database.Database) -> None:
    secrets.Vault(store, FIRST).put("a", "1")
    both = secrets.Vault(store, f"{SECOND},{FIRST}")
    assert both.get("a") == "1"
    assert both.rotate() == 1
    assert secrets.Vault(store, SECOND).get("a") == "1"
    with pytest.raises(errors.StoreError, match="written with another key"):
        secrets.Vault(store, FIRST).get("a")


def test_all_are_rotated_with_what_is_done_beside_or_none_is(store: database.Database) -> None:
    for name in "ab":
        secrets.Vault(store, FIRST).put(name, "1")

    def killed(session: database.Session, count: int) -> None:
        session.execute("DELETE FROM secrets WHERE name = 'b'")
        assert count == 2
        raise SystemExit

    with pytest.raises(SystemExit):
        secrets.Vault(store, f"{SECOND},{FIRST}").rotate(killed)
    assert [secrets.Vault(store, FIRST).get(name) for name in "ab"] == ["1", "1"]


def test_a_key_that_is_none_is_said_without_it(store: database.Database) -> None:
    with pytest.raises(errors.ConfigError, match="is no key") as caught:
        secrets.vault(store, {secrets.VARIABLE: "geheim"})
    assert "geheim" not in str(caught.value)


def test_beside_a_file_there_is_a_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    store = database.open_database(f"sqlite:///{tmp_path}/t.db")
    found: list[str | None] = []

    def put() -> None:
        secrets.vault(store, {}).put("a", "1")
        found.append(secrets.vault(store, {}).get("a"))

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert found == ["1"] * 8
    assert stat.S_IMODE((tmp_path / "t.db.key").stat().st_mode) == 0o600
    assert {file.name.split("-")[0] for file in tmp_path.iterdir()} == {"t.db", "t.db.key"}


def test_postgres_needs_a_key_that_all_workers_know(store: database.Database) -> None:
    if isinstance(store, database.Postgres):
        with pytest.raises(errors.ConfigError, match="need a key that all workers know"):
            secrets.vault(store, {})
    assert secrets.vault(store, {secrets.VARIABLE: FIRST}).names() == {}


def test_one_that_is_set_while_keys_rotate_stays_as_it_was_set(
    store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = secrets.Vault(store, f"{SECOND},{FIRST}")
    vault.put("a", "old")
    opened = secrets.Vault._opened

    def set_meanwhile(self: secrets.Vault, name: str, value: str) -> str:
        found = opened(self, name, value)
        monkeypatch.undo()
        vault.put("a", "new")
        return found

    monkeypatch.setattr(secrets.Vault, "_opened", set_meanwhile)
    assert vault.rotate() == 1
    assert vault.get("a") == "new"


class TestAKeyBesideAFile:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Iterator[database.Database]:
        opened = database.open_database(f"sqlite:///{tmp_path}/t.db")
        yield opened
        opened.close()

    def test_who_runs_on_while_it_is_changed_reads_and_writes_with_the_new_one(
        self, file: database.Database, tmp_path: Path
    ) -> None:
        before = secrets.vault(file, {})
        before.put("a", "1")
        old = (tmp_path / "t.db.key").read_text()
        assert secrets.rotate(file, {}) == 1
        assert (tmp_path / "t.db.key").read_text() != old
        assert stat.S_IMODE((tmp_path / "t.db.key").stat().st_mode) == 0o600
        assert before.get("a") == "1"
        before.put("b", "2")
        assert secrets.vault(file, {}).get("b") == "2"
        with pytest.raises(errors.StoreError, match="written with another key"):
            secrets.Vault(file, old.strip()).get("a")

    def test_killed_anywhere_all_can_be_read_and_again_ends_it(
        self, file: database.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in "abc":
            secrets.vault(file, {}).put(name, f"{name} 1")
        replace, opened = secrets._replace, secrets.Vault._opened
        for step in range(6):  # the file, three secrets, the file again, and none
            steps = [0]

            def killed(*_: object, steps: list[int] = steps, step: int = step) -> None:
                steps[0] += 1
                if steps[0] > step:
                    raise KeyboardInterrupt

            with monkeypatch.context() as patch:
                patch.setattr(secrets, "_replace", lambda *words: (killed(), replace(*words)))
                patch.setattr(secrets.Vault, "_opened", lambda *words: (killed(), opened(*words))[1])
                if step < 5:
                    with pytest.raises(KeyboardInterrupt):
                        secrets.rotate(file, {})
                else:
                    secrets.rotate(file, {})
            vault = secrets.vault(file, {})
            assert [vault.get(name) for name in "abc"] == ["a 1", "b 1", "c 1"]
        assert "," not in (tmp_path / "t.db.key").read_text()

    @pytest.mark.parametrize("text", ["", "geheim", "gehéim"])
    def test_a_file_that_holds_none_is_named(
        self, file: database.Database, tmp_path: Path, text: str
    ) -> None:
        (tmp_path / "t.db.key").write_text(text, encoding="utf-8")
        with pytest.raises(errors.ConfigError, match=r"t\.db\.key holds no key; bring it back") as caught:
            secrets.vault(file, {})
        assert "geh" not in str(caught.value)
