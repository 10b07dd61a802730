"""Secrets, encrypted from the first write: what the configuration names as `${secret:NAME}`.

The key stands in TIDEGATE_SECRET_KEY, or in a file beside the database that only its owner may read. Several keys,
comma separated, the newest first: what older ones wrote is still read, and `rotate` writes it anew. The file is
read at every use, so that who runs on while it is rotated reads and writes with the new key.
Encryption: Fernet (AES-128-CBC with HMAC-SHA256) of the package `cryptography`.
"""

from __future__ import annotations

import contextlib
import os
import secrets as random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate import errors
from tidegate.store import database, objects

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

VARIABLE = "TIDEGATE_SECRET_KEY"
SUFFIX = ".key"

Beside = Callable[[database.Session, int], None]
"""What is done in the transaction of a rotation, of so many secrets."""


class Vault:
    """The secrets of a database, and the keys that open them."""

    def __init__(self, store: database.Database, keys: str | Callable[[], str]) -> None:
        self._store = store
        self._keys = keys if callable(keys) else lambda: keys
        _fernet(self._keys())

    def put(self, name: str, value: str) -> None:
        """Keep a secret under a name, in place of what was there; whoever runs notices."""

        def work(session: database.Session) -> None:
            self.keep(session, name, value)
            objects.bump(session)

        self._store.transact(work)

    def keep(self, session: database.Session, name: str, value: str) -> None:
        """The same inside of a transaction, which counts the change itself."""
        keys = ""
        while keys != self._keys():  # or else it was rotated meanwhile
            keys = self._keys()
            session.execute(
                "INSERT INTO secrets (name, value, changed_at) VALUES (:name, :value, {now}) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at",
                {"name": name, "value": _fernet(keys).encrypt(value.encode()).decode()},
            )

    def get(self, name: str) -> str | None:
        """A secret, or None; raises StoreError where no key opens it."""
        row = self._store.one("SELECT value FROM secrets WHERE name = :name", {"name": name})
        return None if row is None else self._opened(name, row["value"])

    def held(self, session: database.Session, name: str) -> str | None:
        """The same inside of a transaction."""
        row = session.one("SELECT value FROM secrets WHERE name = :name", {"name": name})
        return None if row is None else self._opened(name, row["value"])

    def names(self) -> dict[str, float]:
        """The names of all secrets, and when each was changed."""
        return names(self._store)

    def remove(self, name: str) -> bool:
        """Forget a secret; was it there?"""

        def work(session: database.Session) -> bool:
            there = session.execute("DELETE FROM secrets WHERE name = :name RETURNING name", {"name": name})
            if there:
                objects.bump(session)
            return bool(there)

        return self._store.transact(work)

    def rotate(self, beside: Beside | None = None) -> int:
        """Encrypt every secret with the newest key, all or none; says how many.

        One that is set meanwhile stays as it was set. `beside` is called in the same transaction.
        """
        fernet = _fernet(self._keys())
        rows = self._store.execute("SELECT name, value FROM secrets ORDER BY name")
        fresh = [
            {**row, "fresh": fernet.encrypt(self._opened(row["name"], row["value"]).encode()).decode()}
            for row in rows
        ]

        def work(session: database.Session) -> int:
            session.each("UPDATE secrets SET value = :fresh WHERE name = :name AND value = :value", fresh)
            if beside is not None:
                beside(session, len(fresh))
            return len(fresh)

        return self._store.transact(work)

    def _opened(self, name: str, value: str) -> str:
        from cryptography.fernet import InvalidToken

        try:
            return _fernet(self._keys()).decrypt(value.encode()).decode()
        except InvalidToken:
            raise errors.StoreError(
                f"The secret {name} was written with another key; give that key too in {VARIABLE}, after a "
                "comma, or set the secret again."
            ) from None


def names(store: database.Database) -> dict[str, float]:
    """The names of all secrets, and when each was changed; no key is needed for that."""
    rows = store.execute("SELECT name, changed_at FROM secrets ORDER BY name")
    return {row["name"]: row["changed_at"] for row in rows}


def vault(store: database.Database, environ: Mapping[str, str] | None = None) -> Vault:
    """The secrets of a database, with the key of the environment, or that of a file beside a SQLite one.

    Makes the file where there is none. Raises ConfigError where Postgres has no key, or a key is none.
    """
    environ = os.environ if environ is None else environ
    if keys := environ.get(VARIABLE, "").strip():
        return Vault(store, keys)
    if not isinstance(store, database.SQLite):
        raise errors.ConfigError(
            f"Secrets in Postgres need a key that all workers know: set {VARIABLE} to what `tidegate secret key` "
            "prints."
        )
    file = Path(store.place + SUFFIX)
    return Vault(store, lambda: _key_of(file))


def rotate(
    store: database.Database, environ: Mapping[str, str] | None = None, beside: Beside | None = None
) -> int:
    """Encrypt every secret with the newest key of the environment, or with a new one in the file; says how many.

    Killed anywhere, all secrets can be read, and to call it again ends it: until the last secret is written anew,
    the file holds the new key and the old ones. `beside` is called in the transaction that writes them all.
    """
    found = vault(store, environ)
    if not isinstance(store, database.SQLite) or (os.environ if environ is None else environ).get(VARIABLE):
        return found.rotate(beside)
    file = Path(store.place + SUFFIX)
    new = new_key()
    _replace(file, f"{new},{_key_of(file)}")
    count = found.rotate(beside)
    _replace(file, new)
    return count


def new_key() -> str:
    """A new key."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def _key_of(file: Path) -> str:
    """The keys in a file, which is made where it is not there; two that make it at once agree."""
    with contextlib.suppress(FileNotFoundError):
        return _read(file)
    scratch = _written(file, new_key())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(scratch, file)
    finally:
        scratch.unlink()
    return _read(file)


def _read(file: Path) -> str:
    try:
        keys = file.read_text(encoding="ascii").strip()
        _fernet(keys)
    except (errors.ConfigError, UnicodeDecodeError):
        raise errors.ConfigError(
            f"{file} holds no key; bring it back from a backup, or remove it and set every secret again."
        ) from None
    except PermissionError:
        raise errors.ConfigError(f"{file} cannot be read; only its owner may, as whom to run this.") from None
    return keys


def _replace(file: Path, keys: str) -> None:
    os.replace(_written(file, keys), file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _written(file: Path, keys: str) -> Path:
    """A file beside it, on the disk, that only its owner may read."""
    scratch = file.with_name(f"{file.name}.{random.token_hex(4)}")
    descriptor = os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as written:
        written.write(keys + "\n")
        written.flush()
        os.fsync(written.fileno())
    return scratch


def _fernet(keys: str) -> MultiFernet:
    from cryptography.fernet import Fernet, MultiFernet

    try:
        return MultiFernet([Fernet(key.strip().encode()) for key in keys.split(",") if key.strip()])
    except ValueError:
        raise errors.ConfigError(f"{VARIABLE} is no key; `tidegate secret key` prints one to use.") from None
