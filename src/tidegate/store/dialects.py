"""SQL that is written once, as SQLite and as Postgres take it, and what an error of either means for the work.

What stands for what is told in `database`. For migrations `{serial}` is a key that counts up by itself, `{json}`
the type of a text whose fields `->>` tells, `{moment TEXT}` what ISO 8601 says in unix seconds.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from tidegate import errors

NOW = "((julianday('now') - 2440587.5) * 86400.0)"
"""SQLite's clock in milliseconds; its `unixepoch('subsec')` is younger than what Debian 12 ships."""

_REFUSED = re.compile(r"authentication failed|no password supplied|does not exist|pg_hba|not permitted", re.I)
"""What libpq says of a server that answered and let nobody in: then there is no SQLSTATE."""
_CROWDED = re.compile(r"too many (connections|clients)|remaining connection slots", re.I)
_NAMED = re.compile(r"'[^']*'|(?<!:):(?P<name>[a-z_]+)")
"""A parameter; or a text in quotes, in which there are none."""

_MOMENT = re.compile(r"\{moment ([^{}]*)\}")


def sqlite(text: str) -> str:
    """A statement as SQLite takes it."""
    text = text.replace("{now}", NOW).replace("{lock}", "").replace("{json}", "TEXT")
    text = _MOMENT.sub(r"((julianday(\1) - 2440587.5) * 86400.0)", text)
    return text.replace("{serial}", "INTEGER PRIMARY KEY AUTOINCREMENT")


def sqlite_error(error: sqlite3.Error, place: str) -> errors.TidegateError:
    """What to raise for an error of SQLite; StoreUnreachable where the work shall be done again."""
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


def postgres(text: str) -> str:
    """A statement as psycopg takes it."""
    text = text.replace("%", "%%")
    text = _NAMED.sub(lambda found: f"%({found['name']})s" if found["name"] else found[0], text)
    text = text.replace("{now}", "CAST(extract(epoch FROM clock_timestamp()) AS double precision)")
    text = text.replace("{lock}", "FOR UPDATE").replace("{json}", "jsonb")
    text = _MOMENT.sub(r"CAST(extract(epoch FROM CAST(\1 AS timestamptz)) AS double precision)", text)
    return text.replace("{serial}", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY")


def postgres_error(error: Any, place: str) -> errors.TidegateError:
    """What to raise for an error of psycopg; StoreUnreachable where the work shall be done again."""
    psycopg = driver()
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


def driver() -> Any:
    """The package psycopg, which only Postgres needs; raises ConfigError where it is not installed."""
    try:
        import psycopg
        import psycopg.rows
    except ImportError:
        raise errors.ConfigError(
            "`database` is Postgres, whose driver is not installed; pip install 'tidegate[postgres]'"
        ) from None
    return psycopg
