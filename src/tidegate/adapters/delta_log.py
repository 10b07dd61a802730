"""Commits of Delta Lake, written by ourselves: files that go, files that come.

delta-rs can exchange some rows of a table by MERGE alone, which reads the whole table and holds much of it in
memory. Knowing which files hold the rows, a commit is a few lines of JSON under the next free number.
https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import deltalake

from tidegate import errors
from tidegate.adapters import lake_files, storage
from tidegate.warehouse import own

FEATURES = {"appendOnly", "invariants", "timestampNtz"}
"""Features of writers that ask nothing of a commit which exchanges files."""

LONG = 64
"""Characters of a text that is told as the least or the greatest of a file."""


def commit(
    place: storage.Storage,
    table: lake_files.Table,
    root: str,
    version: int,
    old: Sequence[lake_files.File],
    new: Sequence[lake_files.File],
    marks: Mapping[str, str],
) -> None:
    """Make a version of the table at `root`; raises storage.Changed where there is one already.

    Killed inside: the version is there, whole, or not.
    """
    now = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
    actions: list[dict[str, Any]] = [
        {
            "commitInfo": {
                "timestamp": now,
                "operation": "WRITE",
                "operationParameters": {"mode": "Append" if not old else "Overwrite"},
                "engineInfo": "tidegate",
                **marks,
            }
        }
    ]
    for file in old:
        removed = {"deletionTimestamp": now, "dataChange": True, "extendedFileMetadata": True}
        actions.append({"remove": {"path": _within(root, file), **removed, **_sized(file)}})
    for file in new:
        added = {"modificationTime": now, "dataChange": True, "stats": json.dumps(_told(table, file))}
        actions.append({"add": {"path": _within(root, file), **_sized(file), **added}})
    place.seal([file.path for file in new])
    data = "".join(json.dumps(action, ensure_ascii=False) + "\n" for action in actions)
    place.create(f"{root}/_delta_log/{version:020}.json", data.encode())


def check(table: deltalake.DeltaTable, where: str) -> None:
    """Raise WarehouseError unless a table is one that such a commit leaves right."""
    protocol, metadata = table.protocol(), table.metadata()
    features = set(protocol.writer_features or [])
    if not features and protocol.min_writer_version > 2:
        features = {f"those of writers of version {protocol.min_writer_version}"}
    if metadata.configuration.get("delta.appendOnly") == "true":
        features.add("rows that stay for ever")
    if metadata.partition_columns:
        features.add("partitions")
    if features - FEATURES:
        raise errors.WarehouseError(
            f"{where} has features that Tidegate does not write ({', '.join(sorted(features - FEATURES))}); "
            "move it away, so that it is made anew, or name another schema."
        )


def _within(root: str, file: lake_files.File) -> str:
    if not file.path.startswith(f"{root}/"):
        raise errors.WarehouseError(
            f"A table of {root} has files that lie elsewhere, as a shallow clone has; name another schema."
        )
    return file.path[len(root) + 1 :]


def _sized(file: lake_files.File) -> dict[str, object]:
    return {"partitionValues": {}, "size": file.bytes}


def _told(table: lake_files.Table, file: lake_files.File) -> dict[str, object]:
    """What readers skip files by."""
    least, most, empty = {}, {}, {}
    for column, kind in table.columns.items():
        found = file.ends.get(column, {})
        if "null_count" in found:
            empty[column] = int(found["null_count"])
        exact = found.get("min_is_exact") == found.get("max_is_exact") == "true" and "min" in found
        if exact and found.get("has_nan", "false") == "false":
            ends = _end(kind, found["min"], up=False), _end(kind, found["max"], up=True)
            if None not in ends:
                least[column], most[column] = ends
    return {"numRecords": file.rows, "minValues": least, "maxValues": most, "nullCount": empty}


def _end(kind: str, text: str, *, up: bool) -> object:
    """The least or the greatest value of a column in JSON; None where it is better left out."""
    if kind == "BIGINT":
        return int(text)
    if kind == "DOUBLE":
        return float(text) if math.isfinite(float(text)) else None
    if kind == own.TIME:
        try:
            moment = dt.datetime.fromisoformat(text).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            return None
        # Milliseconds are what the protocol has here.
        rest = moment.microsecond % 1000
        if up and rest and moment.year < 9999:
            moment += dt.timedelta(microseconds=1000 - rest)
        elif rest:
            moment -= dt.timedelta(microseconds=rest)
            if up:
                return None
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return text if kind == "VARCHAR" and len(text) <= LONG else None
