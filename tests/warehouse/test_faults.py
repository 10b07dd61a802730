"""What the system says, as sentences to act on; never a value of a row, never a key."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import duckdb
import pytest

from tidegate import errors
from tidegate.warehouse import faults


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errors.WarehouseFull, "is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), errors.WarehouseFull, "is full"),
        (
            duckdb.IOException('Could not write file "/w": No space left on device'),
            errors.WarehouseFull,
            "is full",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied"),
            errors.ConfigError,
            "may not write /srv/w.duckdb",
        ),
        (
            duckdb.IOException('Cannot open file "/srv/w.duckdb": Permission denied'),
            errors.ConfigError,
            "permissions",
        ),
        (duckdb.IOException('Cannot open file "/w": Read-only file system'), errors.ConfigError, "read-only"),
        (OSError(errno.EIO, "Input/output error"), errors.WarehouseError, "Input/output error"),
        (
            duckdb.IOException(
                "Trying to read a database file with version number 200, but we can only read 68"
            ),
            errors.WarehouseCorrupt,
            "newer DuckDB .*upgrade",
        ),
        (
            duckdb.Error("Corrupt database file: computed checksum 1 does not match stored checksum 2"),
            errors.WarehouseCorrupt,
            "is damaged",
        ),
        (
            duckdb.TransactionException(
                "Failed to commit: Out of Memory Error: failed to pin block of size 256 KiB"
            ),
            faults.TooLittleMemory,
            "more memory",
        ),
        (duckdb.OutOfMemoryException("could not allocate block"), faults.TooLittleMemory, "more memory"),
        (
            duckdb.CatalogException(
                "Catalog Error: Table with name x does not exist!\nDid you mean y?\n\nLINE 1"
            ),
            errors.WarehouseError,
            r"Table with name x does not exist! Did you mean y\?$",
        ),
        (duckdb.InternalException("surprise"), errors.WarehouseError, "'Internal'"),
    ],
)
def test_errors_become_sentences(error: Exception, kind: type[errors.TidegateError], says: str) -> None:
    explained = faults.explain(error, "/srv/w.duckdb")
    assert type(explained) is kind
    with pytest.raises(kind, match=says):
        raise explained


@pytest.mark.parametrize("kind", [duckdb.ConversionException, duckdb.InvalidInputException, duckdb.DataError])
def test_values_are_never_repeated(kind: type[duckdb.Error]) -> None:
    said = str(faults.explain(kind("Could not convert string 'jenny@example.com' to INT64"), "/srv/w.duckdb"))
    assert "jenny" not in said
    assert "/srv/w.duckdb" in said


def lock_error(pid: int) -> duckdb.IOException:
    return duckdb.IOException(
        f'IO Error: Could not set lock on file "/w": Conflicting lock is held in /usr/bin/python3 (PID {pid}). See'
    )


def test_the_holder_is_shown_by_what_it_runs_and_not_by_what_it_was_told() -> None:
    words = ["worker", "sk_live_1234", "--password", "hunter2"]
    code = "import sys; print('here', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"here\n"  # until then it has no command line to show
        shown = faults.holder(lock_error(child.pid))
        child.stdin.close()
    assert shown == f"process {child.pid} ({os.path.basename(sys.executable)})"


def test_a_holder_that_is_gone_is_shown_by_its_program() -> None:
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    assert faults.holder(lock_error(int(child.stdout))) == f"process {int(child.stdout)} (python3)"


def test_a_holder_that_nobody_names() -> None:
    assert (
        faults.holder(duckdb.IOException('Could not set lock on file "/w": Resource unavailable'))
        == "another process"
    )
