"""Children that are stored while their parent is gone, of which no event told and no list could.

A parent whose list was read anew says which children it has; one that is gone says nothing any more, and where the
parent itself is not stored, its own table cannot tell that it is gone either. Once the lists of all parents were
read, a child that is older than that reading hangs on such a parent: each of these is asked for by its id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tidegate import catalog, errors
from tidegate.pull import load, reading, relist, sweep
from tidegate.stripe import client, pages
from tidegate.warehouse import base

ABREAST = 16
"""Parents asked for side by side."""
CHUNK = 1_000
"""Parents taken from the warehouse at a time."""


async def swept(shared: reading.Reading, stream: catalog.Stream, entry: relist.Entry) -> list[load.Cargo]:
    """What goes of a child stream whose parents' lists were all read since `entry.since`.

    Costs a request per parent whose list was not read again: those that are gone, and those from before the pull's
    start. Raises what Stripe answers to asking by id.
    """
    target, found = shared.targets.get(stream.name), list[load.Cargo]()
    if target is None or shared.warehouse is None or not entry.whole:
        return found
    for above in dict.fromkeys(origin.parents[0].stream for origin in stream.origins if origin.parents):
        parent, after = shared.streams[above], ""
        if parent.retrieve.count("{") != 1:
            continue  # nobody can be asked
        while ids := await asyncio.to_thread(
            _unread, shared.warehouse, target, parent.object, entry.since, after
        ):
            for each in await _asked(shared, target, parent, ids):
                found += sweep.orphaned(shared, above, [each[0]], each[1])
            after = ids[-1]
    return found


def _unread(
    warehouse: base.Warehouse, target: load.Target, kind: str, since: int, after: str
) -> Sequence[str]:
    """The next parents of live rows that are older than the reading, in the order of their ids."""
    table = f"{base.quoted(warehouse.schema)}.{base.quoted(target.table.name)}"
    batches = warehouse.read(
        f"select distinct _parent_id from {table} where _account_id = ? and _parent_type = ? "
        f"and _deleted_at is null and _version < ? and _parent_id > ? order by _parent_id limit {CHUNK}",
        (target.account, kind, since, after),
    )
    return [parent for batch in batches for parent in batch.column(0).to_pylist()]


async def _asked(
    shared: reading.Reading, target: load.Target, parent: catalog.Stream, ids: Sequence[str]
) -> list[tuple[str, int]]:
    """Those of the parents that are gone, with the version since when that is known."""
    gate, gone = asyncio.Semaphore(ABREAST), list[tuple[str, int]]()
    (name,) = [part[1:-1] for part in parent.retrieve.split("/") if part.startswith("{")]

    async def one(parent_id: str) -> None:
        async with gate:
            began = shared.client.clock.now()
            path = pages.path(parent.retrieve, {name: parent_id})
            try:
                answer = await shared.client.get(path, endpoint=parent.retrieve, tally=target.outcome.tally)
            except errors.Missing as error:
                if not reading.is_elsewhere(error):
                    gone.append((parent_id, began))
                return
            except errors.Unauthorized as error:
                if error.code != "account_invalid" or client.account_in(str(error)) != parent_id:
                    raise
                gone.append((parent_id, began))  # a connected account that was cut off
                return
            if shared.decoder(parent).objects([answer.body]).deleted[0]:
                gone.append((parent_id, answer.version))

    try:
        async with asyncio.TaskGroup() as group:
            for each in ids:
                group.create_task(one(each))
    except* errors.TidegateError as failures:
        raise _first(failures) from None
    return sorted(gone)


def _first(failures: BaseExceptionGroup[errors.TidegateError]) -> errors.TidegateError:
    error = failures.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
