"""A push's own copy of the objects that it writes to, kept by the code that pulls, also where nobody pulls them.

A copy is a DuckDB file in the state folder, one for each connection, mode, account and kind of object. It is
brought up to date before a push is planned: from the second time on that takes a request or two when nothing
changed. A key that may not read events lists all objects each time. It is a copy and nothing more: one that is
damaged, of another account, another Stripe or an older making is removed and made anew, and one whose making was
cut short is gone on with.

What has no list of its own, but one for each of many others, comes with those: of tax ids the customers are listed
with theirs, and those of whom more is to be had are asked for it; later on events tell. Items of subscriptions are
in their subscriptions, first ten and then asked for. Meter events cannot be listed: `push.targets.Nothing`.

`caught_up_since` is the moment up to which it has everything, by Stripe's clock; what happened since, `push.watch`
tells whoever creates. Whoever wants objects as they are in this moment asks Stripe for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import json
import logging
import math
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from tidegate import catalog, errors
from tidegate.catalog import writes
from tidegate.engine import stopping
from tidegate.pull import report, run, scope, tail
from tidegate.push import compare, forms, targets
from tidegate.rows import decode
from tidegate.stripe import client
from tidegate.warehouse import base, ddl, duckdb

FEW = 1_000
"""Objects that are looked up by one query."""
VERSION = "1"
"""Of how a mirror is made; raised, all of them are made anew."""
MARK = "mirror"
"""State key of what a mirror is of."""
log = logging.getLogger(__name__)


class Objects:
    """A `push.targets.Mirror` over the table of a stream; used from one thread at a time."""

    def __init__(
        self, warehouse: base.Warehouse, stream: catalog.Stream, of: writes.Object, caught_up_since: float
    ) -> None:
        self._warehouse, self._stream, self._of = warehouse, stream, of
        self.caught_up_since = caught_up_since
        self._types = {field.name: field.type for field in decode.fields(stream)}
        self._table = f"{base.quoted(warehouse.schema)}.{base.quoted(stream.name)}"

    def rows(self, fields: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """All objects, deleted ones too: see `push.targets.Mirror`.

        Raises StripeError where objects do not show the metadata that is asked for: then none is proven absent.
        """
        if any(field.startswith("metadata.") for field in fields):
            sql = f"SELECT count(*) FROM {self._table} WHERE metadata IS NULL AND _deleted_at IS NULL"
            if any(batch[0][0].as_py() for batch in self._warehouse.read(sql)):
                raise errors.StripeError(
                    f"Stripe shows no metadata of some {self._stream.name}, so that none is proven absent; use a "
                    "key that may read it, or match another field."
                )
        shown = ", ".join(f"{self._text(field)} AS value_{n}" for n, field in enumerate(fields))
        created = "epoch(created)::BIGINT" if "created" in self._types else "0::BIGINT"
        yield from self._warehouse.read(
            f"SELECT id, coalesce({created}, 0) AS created, _deleted_at IS NOT NULL AS gone, {shown} "
            f"FROM {self._table}"
        )

    def objects(self, ids: Sequence[str]) -> Mapping[str, compare.Live]:
        """Those of these that live, as Stripe answers them."""
        found: dict[str, compare.Live] = {}
        wanted = list(dict.fromkeys(ids))
        for start in range(0, len(wanted), FEW):
            some = wanted[start : start + FEW]
            marks = ", ".join("?" * len(some))
            sql = f"SELECT * FROM {self._table} WHERE id IN ({marks}) AND _deleted_at IS NULL"
            for batch in self._warehouse.read(sql, some):
                found |= {row["id"]: self._object(row) for row in batch.to_pylist()}
        return found

    def find_op(self, operation: str) -> str | None:
        """The object that an operation made."""
        if "metadata" not in self._types:
            return None
        mark = self._text(f"metadata.{targets.MARK}")
        sql = f"SELECT id FROM {self._table} WHERE {mark} = ? AND _deleted_at IS NULL"
        return next(
            (id for batch in self._warehouse.read(sql, [operation]) for id in batch[0].to_pylist()), None
        )

    def _text(self, field: str) -> str:
        """SQL for a field as text, as rows of a model are compared with it."""
        name, *inner = forms.steps(self._of, field)
        if name not in self._types:
            raise errors.ConfigError(
                f"The objects of {self._stream.name} do not show {field}; match something else."
            )
        if not inner:
            return f"CAST({base.quoted(name)} AS VARCHAR)"
        path = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in inner)
        return f"json_extract_string({base.quoted(name)}, {ddl.literal(path)})"

    def _object(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row as the object that it came from; what is empty at Stripe is None."""
        found: dict[str, Any] = json.loads(row.get("_extra") or "{}", parse_float=Decimal)
        for name, kind in self._types.items():
            value = row.get(name)
            if value is not None and kind == "json":
                value = json.loads(value, parse_float=Decimal)
            elif value is not None and kind == "timestamp":
                value = int(value.timestamp())
            found.setdefault(name, value)
        return found


@contextlib.asynccontextmanager
async def kept(
    folder: Path,
    name: str,
    source: scope.Source,
    of: writes.Object,
    listener: client.Listener | None = None,
    *,
    account: str = "",
    said: Callable[[str], object] = log.info,
) -> AsyncIterator[targets.Mirror]:
    """Bring the mirror of a kind of object up to date; it can be read while the block lasts.

    `source` names one account: the key's own, or a connected one; `account` is its id, where that is known already.
    `name` stands for the connection. Of all processes of this machine one at a time has a mirror. `said` hears why
    one is made anew. Raises what kept a mirror from being whole: then nothing is proven absent, and nothing may be
    created.
    """
    stream = catalog.load().streams.get(of.stream)
    if stream is None:
        yield targets.Nothing()
        return
    path = _path(folder, name, source, of)
    await asyncio.to_thread(path.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
    async with stopping.turn(path.parent, f"{path.name}.turn"):
        mark = _mark(source, of, account)
        warehouse = await asyncio.to_thread(_opened, path, mark, said)
        try:
            try:
                since = await _current(source, warehouse, stream, listener)
            except errors.WarehouseError as error:
                if not _ruined(error):
                    raise
                warehouse = await asyncio.to_thread(_anew, warehouse, path, mark, said, "it is damaged")
                since = await _current(source, warehouse, stream, listener)
            try:
                yield Objects(warehouse, stream, of, since)
            except errors.WarehouseError as error:
                if _ruined(error):
                    await asyncio.to_thread(_removed, warehouse, path)  # so that the next one is made anew
                raise
        finally:
            await asyncio.to_thread(warehouse.close)


def glimpse(
    folder: Path, name: str, source: scope.Source, of: writes.Object, ids: Sequence[str]
) -> Mapping[str, compare.Live]:
    """Some objects as the last run left them, for a person to look at; none while a run has the mirror. Blocks."""
    stream, path = catalog.load().streams.get(of.stream), _path(folder, name, source, of)
    if stream is None or not path.exists():
        return {}
    warehouse = duckdb.DuckDB(path, wait=0.0)
    try:
        return Objects(warehouse, stream, of, 0.0).objects(ids)
    except errors.WarehouseError:
        return {}
    finally:
        warehouse.close()


def _path(folder: Path, name: str, source: scope.Source, of: writes.Object) -> Path:
    account = source.accounts[0].replace("/", "-") if isinstance(source.accounts, tuple) else "own"
    mode = client.mode(source.api_key)
    return folder / "mirrors" / re.sub(r"[^\w.-]", "_", f"{name}-{mode}-{account}-{of.name}.duckdb")


def _mark(source: scope.Source, of: writes.Object, account: str) -> dict[str, str]:
    """What a mirror is of, and how it is made: with another of these it is made anew."""
    found = {
        "version": VERSION,
        "api": source.api_base,
        "mode": client.mode(source.api_key),
        "object": of.name,
    }
    return {**found, "account": account} if account else found


def _opened(path: Path, mark: Mapping[str, str], said: Callable[[str], object]) -> duckdb.DuckDB:
    """The file of a mirror, marked; another one where what is there is something else, or damaged. Blocks."""
    warehouse, why = duckdb.DuckDB(path), ""
    try:
        there = _read(warehouse) if path.exists() else None
        others = [name for name in mark if there and there.get(name, mark[name]) != mark[name]]
        if others:
            why = f"it is of another {' and another '.join(others)}"
        elif there is None or not mark.items() <= there.items():
            warehouse.load([], {MARK: json.dumps({**(there or {}), **mark})})
    except errors.WarehouseError as error:
        if not _ruined(error):
            warehouse.close()
            raise
        why = "it is damaged"
    return _anew(warehouse, path, mark, said, why) if why else warehouse


def _anew(
    warehouse: duckdb.DuckDB, path: Path, mark: Mapping[str, str], said: Callable[[str], object], why: str
) -> duckdb.DuckDB:
    """An empty mirror in the place of one that is of no use."""
    _removed(warehouse, path)
    said(f"the copy of what Stripe has is made anew, since {why} ({path})")
    warehouse = duckdb.DuckDB(path)
    warehouse.load([], {MARK: json.dumps(mark)})
    return warehouse


def _removed(warehouse: duckdb.DuckDB, path: Path) -> None:
    """Remove a mirror, and before it what stands beside it: DuckDB would take an old log for that of a new file."""
    warehouse.close()
    for each in path.parent.glob(f"{glob.escape(path.name)}.*"):
        if each.is_dir():
            shutil.rmtree(each)
        elif each.name != f"{path.name}.turn.lock":
            each.unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _read(warehouse: duckdb.DuckDB) -> dict[str, str]:
    """What a mirror says that it is of; of an older making where it says nothing that can be understood."""
    try:
        found = json.loads(warehouse.state(MARK).get(MARK, ""))
    except json.JSONDecodeError:
        return {"version": ""}
    return found if isinstance(found, dict) else {"version": ""}


def _ruined(error: errors.WarehouseError) -> bool:
    """Is a file of no use any more? Not where it is busy, or the disk is full."""
    return type(error) in (errors.WarehouseCorrupt, errors.WarehouseError)


async def _current(
    source: scope.Source, warehouse: base.Warehouse, stream: catalog.Stream, listener: client.Listener | None
) -> float:
    """Bring all objects of a stream up to date; since when it surely has them, by Stripe's clock."""
    async with scope.connect(source, listener) as stripe:
        has_events = await _hears(stripe)
        begun = math.floor(stripe.clock.now())
    options = scope.Options(streams=(stream.name,), full_refresh=not has_events, settled=True)
    result = await run.pull(source, warehouse, options, report.Silent(), listener=listener)
    if result.end is not None:
        raise result.end
    for outcome in result.outcomes:
        if outcome.status != "ok":
            raise errors.StripeError(
                f"Not all {stream.name} can be read, so that none is proven absent: {outcome.error}"
            )
    if not has_events:
        return float(begun)  # all of them were listed since then
    accounts = {outcome.account for outcome in result.outcomes}
    saved = await asyncio.to_thread(warehouse.state, "tail/")
    places = [place for each in accounts if (place := tail.place(saved, each)) is not None]
    return float(min(places, default=0))


async def _hears(stripe: client.Client) -> bool:
    """May the key read events?"""
    try:
        await stripe.get("/v1/events", {"limit": 1})
    except (errors.PermissionMissing, errors.NotEnabled):
        return False
    return True
