"""Whether a lake's folder or bucket can do what a lake needs, and what is wrong when something fails there."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection

import duckdb

from tidegate import errors
from tidegate.adapters import lake_engine, lake_files, storage, storage_faults
from tidegate.warehouse import ddl, faults

CHECK = "_tidegate_check_"
"""How the names of scratch files begin."""

_GONE = re.compile(r"No files found|No such file or directory|NO_SUCH_KEY|[Pp]ath does not exist")


def write(place: storage.Storage, root: str, conditions: Collection[str]) -> str:
    """Write a scratch file, read it, and see that the storage heeds conditions; all is removed again."""
    path, small = (f"{root}/{CHECK}{lake_files.fresh()}" for _ in range(2))
    is_new = isinstance(place, storage.Local) and not os.path.isdir(root)
    place.folder(root)
    engine = lake_engine.opened(place)
    try:
        lake_files.save(engine, "SELECT 42 AS answer", path)
        found = engine.execute(f"SELECT answer FROM read_parquet({ddl.literal(path)})").fetchall()
        if found != [(42,)]:
            raise errors.WarehouseError(f"a scratch file under {root} did not keep its row")
        for condition in conditions:
            _heeds(place, small, condition)
    finally:
        engine.close()
        place.remove([path, small, f"{small}.lock"])
        if is_new:
            with contextlib.suppress(OSError):
                os.rmdir(root)
    return "a scratch file was written, read and removed"


def _heeds(place: storage.Storage, path: str, condition: str) -> None:
    """Raise ConfigError where a second writer would replace what a first one wrote, unseen."""
    there = place.get(path)
    first = None if there is None else there.tag
    place.exchange(path, condition.encode(), first)
    with contextlib.suppress(storage.Changed):
        place.exchange(path, b"by somebody else", first)
        raise errors.ConfigError(
            f"{place.root} ignores conditional writes ({condition}), so that of two writers one would undo the "
            "other's; update what serves the bucket, or use another one."
        )


def told(
    error: Exception, where: str, own: Callable[[Exception], errors.TidegateError | None]
) -> errors.TidegateError | None:
    """What an error of the storage, of the format's library (`own`) or of DuckDB means; None where nobody knows."""
    known = storage_faults.explain(error, where) or own(error)
    if known is not None:
        return known
    if not isinstance(error, duckdb.Error | OSError):
        return None
    known = storage_faults.told(str(error), where)
    if known is None and (
        isinstance(error, FileNotFoundError)
        or (isinstance(error, duckdb.IOException) and _GONE.search(str(error)))
    ):
        # A path holds no values of rows.
        named = re.search(re.escape(where) + r"[\w/~.-]*", str(error))
        gone = where if named is None else named.group()
        known = errors.WarehouseError(
            f"A file that a table needs is gone from {gone}; see whether the folder or bucket is still whole, "
            "and remove tables that lost files, so that they are pulled again."
        )
    return known or faults.explain(error, where)
